//! What etcd and the PyBals say together; and the entry in a real etcd, by both of its ways.

use super::*;
use crate::config::depool::Way;
use crate::probe::fixture::{Server, client, nobody, serve, service, wait_until};
use axum::Router;
use axum::http::StatusCode;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const KEY: &str = "/conftool/v1/pools/eqiad/appserver/apache2/mw1.example.org";
const NAME: &str = "eqiad/appserver/apache2/mw1.example.org";

/// An etcd of one member that speaks both ways; gone when dropped.
struct Etcd {
    _folder: tempfile::TempDir,
    member: String,
    process: Child,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

impl Etcd {
    /// With what is given besides, such as certificates; `client` is how its own program asks it.
    async fn start(scheme: &str, more: &[String], client: &[String]) -> Etcd {
        let folder = tempfile::tempdir().expect("a folder");
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [port, peers] = listeners.map(|listener| listener.local_addr().expect("its address").port());
        let (member, peers) = (format!("127.0.0.1:{port}"), format!("http://127.0.0.1:{peers}"));
        let clients = format!("{scheme}://{member}");
        let mut command = Command::new("etcd");
        command.args(["--enable-v2", "--name", "m", "--listen-client-urls", &clients, "--data-dir"]).arg(folder.path());
        command.args(["--advertise-client-urls", &clients, "--listen-peer-urls", &peers]);
        command.args(["--initial-advertise-peer-urls", &peers, "--initial-cluster", &format!("m={peers}")]);
        let started = command.args(more).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process =
            started.unwrap_or_else(|cause| panic!("cannot start etcd ({cause}): apt-get install etcd-server"));
        let etcd = Etcd { _folder: folder, member, process };
        let health = || ctl("3", &clients, client, &["endpoint", "health"]).is_ok();
        wait_until("etcd serves", health).await;
        etcd
    }

    fn set(&self, api: &str, value: &str) {
        let verb = if api == "v2" { "set" } else { "put" };
        ctl(&api[1..], &format!("http://{}", self.member), &[], &[verb, KEY, value]).expect("written");
    }

    fn get(&self, api: &str) -> String {
        let words: &[&str] = if api == "v2" { &["get", KEY] } else { &["get", "--print-value-only", KEY] };
        let value = ctl(&api[1..], &format!("http://{}", self.member), &[], words).expect("read");
        value.strip_suffix('\n').unwrap_or(&value).to_owned()
    }
}

/// What etcd's own program says.
fn ctl(version: &str, endpoint: &str, more: &[String], words: &[&str]) -> Result<String, String> {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", version).args(["--endpoints", endpoint]).args(more).args(words);
    let output =
        command.output().unwrap_or_else(|cause| panic!("cannot run etcdctl ({cause}): apt-get install etcd-client"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// The configured way, and its one entry.
fn conftool(etcd: &str, api: &str, pybal: &str) -> (Conftool, Entry) {
    let keys = format!(
        r#"
        [service.app.depool]
        kind = "conftool"
        etcd = "{etcd}"
        api = "{api}"
        pybals = ["{pybal}"]
        keys = [{{ key = "/conftool/v1/pools/eqiad/appserver/apache2/{{host}}.example.org", pools = ["apaches_80"] }}]
        "#
    );
    let Way::Conftool(conftool) = service(&keys).depool.way else { panic!("another way") };
    let entry = conftool.entries[0].clone();
    assert_eq!((entry.key.as_str(), entry.name.as_str()), (KEY, NAME));
    (conftool, entry)
}

const WITHIN: Duration = Duration::from_secs(5);

#[tokio::test]
async fn one_word_is_replaced_and_what_somebody_else_wrote_meanwhile_is_not_lost() {
    let etcd = Etcd::start("http", &[], &[]).await;
    for api in ["v2", "v3"] {
        // A member that is gone is passed over.
        let url = format!("etcd://{},{}", nobody().await, etcd.member);
        let (conftool, entry) = conftool(&url, api, "http://lvs1:9090");
        let error = etcd::read(&conftool, KEY, WITHIN).await.expect_err("nothing is there");
        assert!(error.contains(&format!("there is no key {KEY}")), "{error}");
        let before = "{\"weight\":10,\"pooled\":\"yes\", \"more\": [1.50, \"ü&+=%\"]}";
        etcd.set(api, before);
        put(&conftool, &entry, Move::Out, WITHIN).await.expect("out");
        assert_eq!(etcd.get(api), before.replace("yes", "no"), "{api}");
        put(&conftool, &entry, Move::Out, WITHIN).await.expect("out already");
        put(&conftool, &entry, Move::In, WITHIN).await.expect("in");
        assert_eq!(etcd.get(api), before, "{api}: not a byte is another");
        // Between the read and the write, somebody writes.
        let kept = etcd::read(&conftool, KEY, WITHIN).await.expect("there");
        let theirs = r#"{"pooled": "inactive", "weight": 50}"#;
        etcd.set(api, theirs);
        let late = etcd::replace(&conftool, KEY, before, kept.revision, WITHIN).await;
        assert_eq!(late, Ok(Replaced::Moved), "{api}");
        for way in [Move::Out, Move::In] {
            let error = put(&conftool, &entry, way, WITHIN).await.expect_err("not ours");
            assert!(error.ends_with("it is inactive, and left so"), "{error}");
        }
        assert_eq!(etcd.get(api), theirs, "{api}");
        etcd.set(api, "garbage");
        let error = put(&conftool, &entry, Move::In, WITHIN).await.expect_err("no entry");
        assert!(error.contains("no JSON object") && etcd.get(api) == "garbage", "{error}");
    }
}

#[tokio::test]
async fn a_write_that_nobody_answered_cannot_come_after_the_host_was_put_back() {
    let etcd = Etcd::start("http", &[], &[]).await;
    for api in ["v2", "v3"] {
        let (conftool, entry) = conftool(&format!("etcd://{}", etcd.member), api, "http://lvs1:9090");
        let before = r#"{"pooled": "yes", "weight": 10}"#;
        etcd.set(api, before);
        let kept = etcd::read(&conftool, KEY, WITHIN).await.expect("there");
        seal(&conftool, &entry, WITHIN).await.expect("sealed");
        let late = etcd::replace(&conftool, KEY, "{\"pooled\": \"no\"}", kept.revision, WITHIN).await;
        assert_eq!((late, etcd.get(api).as_str()), (Ok(Replaced::Moved), before), "{api}");
    }
}

#[tokio::test]
async fn an_etcd_that_is_not_there_or_not_an_etcd_is_told_in_one_line() {
    let gone = nobody().await;
    let nonsense = serve(Router::new().fallback(|| async { "garbage" })).await;
    let missing = serve(Router::new()).await;
    let at = |server: &Server| server.url.trim_start_matches("http://").to_owned();
    for (member, api, part) in [
        (gone.clone(), "v2", "Connection refused"),
        (gone.clone(), "v3", "Connection refused"),
        (at(&nonsense), "v2", "not an answer of etcd: garbage"),
        (at(&missing), "v2", "does not serve v2"),
    ] {
        let (conftool, _) = conftool(&format!("etcd://{member}"), api, "http://lvs1:9090");
        let error = etcd::read(&conftool, KEY, WITHIN).await.expect_err("no answer");
        let is_named = error.starts_with(&format!("etcd at {member}: ")) && error.contains(part);
        assert!(is_named && !error.contains('\n'), "{api}: {error}");
    }
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let member = silent.local_addr().expect("an address").to_string();
    for api in ["v2", "v3"] {
        let (conftool, _) = conftool(&format!("etcd://{member}"), api, "http://lvs1:9090");
        let error = etcd::read(&conftool, KEY, Duration::from_millis(100)).await.expect_err("silence");
        assert!(error.starts_with(&format!("etcd at {member}")), "{error}");
    }
}

/// Makes an authority `ca.crt` and a certificate of 127.0.0.1, `tls.crt` with `tls.key`.
fn make_certificates(folder: &Path) {
    let openssl = |line: &str| {
        let mut command = Command::new("openssl");
        let output = command.args(line.split_whitespace()).current_dir(folder).output().expect("openssl");
        assert!(output.status.success(), "openssl {line}: {output:?}");
    };
    let new = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    openssl(&format!("{new} -x509 -keyout ca.key -out ca.crt -subj /CN=authority"));
    openssl(&format!("{new} -keyout tls.key -out tls.csr -subj /CN=test"));
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").expect("written");
    openssl("x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out tls.crt");
}

#[tokio::test]
async fn both_ways_are_encrypted_when_the_url_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    make_certificates(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (ca, cert, key) = (path("ca.crt"), path("tls.crt"), path("tls.key"));
    let server = [
        format!("--cert-file={cert}"),
        format!("--key-file={key}"),
        format!("--trusted-ca-file={ca}"),
        "--client-cert-auth".to_owned(),
    ];
    let client = [format!("--cacert={ca}"), format!("--cert={cert}"), format!("--key={key}")];
    let etcd = Etcd::start("https", &server, &client).await;
    let place = format!("https://{}", etcd.member);
    ctl("3", &place, &client, &["put", KEY, r#"{"pooled": "yes"}"#]).expect("written");
    let client = [format!("--ca-file={ca}"), format!("--cert-file={cert}"), format!("--key-file={key}")];
    ctl("2", &place, &client, &["set", KEY, r#"{"pooled": "yes"}"#]).expect("written");
    for api in ["v2", "v3"] {
        let url = format!("etcds://{}", etcd.member);
        let (whole, entry) = conftool(&format!("{url}?ca={ca}&cert={cert}&key={key}"), api, "http://lvs1:9090");
        put(&whole, &entry, Move::Out, WITHIN).await.unwrap_or_else(|why| panic!("{api}: {why}"));
        let kept = etcd::read(&whole, KEY, WITHIN).await.expect("there");
        assert_eq!(kept.value, r#"{"pooled": "no"}"#);
        // Neither a server of another authority is trusted, nor a client without a certificate.
        for less in [url.clone(), format!("{url}?ca={ca}"), format!("{url}?ca={}", path("none"))] {
            let (less, _) = conftool(&less, api, "http://lvs1:9090");
            assert!(etcd::read(&less, KEY, WITHIN).await.is_err(), "{api}: {}", less.etcd);
        }
    }
}

fn state(text: &str) -> Result<Told, String> {
    let [enabled, up, pooled] = text.split('/').collect::<Vec<_>>().try_into().expect("three words");
    Ok(Told::State(pybal::State { enabled: enabled == "enabled", up: up == "up", pooled: pooled == "pooled" }))
}

/// Scenario 10: all must agree, and whoever does not is named.
#[test]
fn everybody_must_agree_and_who_does_not_is_named() {
    use Pooled::{Inactive, No, Yes};
    use Presence::{In, Out, Unknown};
    let pybal = |name: &str| PyBal {
        name: name.to_owned(),
        pool: "apaches_80".to_owned(),
        host: "mw1".to_owned(),
        pool_url: "http://lvs1:9090/pools/apaches_80".parse().expect("a URL"),
        url: "http://lvs1:9090/pools/apaches_80/mw1".parse().expect("a URL"),
    };
    let (one, two) = (pybal("lvs1:9090"), pybal("lvs2:9090"));
    let in_all = || state("enabled/up/pooled");
    let out_all = || state("disabled/up/not pooled");
    let failed = || Err::<Told, _>("lvs2:9090: status 500".to_owned());
    for (pooled, first, second, presence, detail) in [
        (Yes, in_all(), in_all(), In, "yes; confirmed by lvs1:9090, lvs2:9090"),
        (No, out_all(), state("disabled/down/not pooled"), Out, "no; confirmed by lvs1:9090, lvs2:9090"),
        (Inactive, Ok(Told::Absent), out_all(), Out, "inactive; confirmed by lvs1:9090, lvs2:9090"),
        (Yes, in_all(), out_all(), Unknown, "etcd says yes, and lvs2:9090 says disabled/up/not pooled for apaches_80"),
        (No, out_all(), in_all(), Unknown, "etcd says no, and lvs2:9090 says enabled/up/pooled for apaches_80"),
        (
            No,
            out_all(),
            state("disabled/up/pooled"),
            Unknown,
            "etcd says no, and lvs2:9090 says disabled/up/pooled for apaches_80",
        ),
        (
            No,
            out_all(),
            state("enabled/down/not pooled"),
            Unknown,
            "etcd says no, and lvs2:9090 says enabled/down/not pooled for apaches_80",
        ),
        (No, out_all(), Ok(Told::Absent), Unknown, "etcd says no, and lvs2:9090 has no mw1 in apaches_80"),
        (Yes, in_all(), Ok(Told::Absent), Unknown, "etcd says yes, and lvs2:9090 has no mw1 in apaches_80"),
        (Yes, in_all(), failed(), Unknown, "etcd says yes, and lvs2:9090: status 500"),
        (No, out_all(), failed(), Unknown, "etcd says no, and lvs2:9090: status 500"),
        (
            Inactive,
            Ok(Told::Absent),
            in_all(),
            Unknown,
            "etcd says inactive, and lvs2:9090 says enabled/up/pooled for apaches_80",
        ),
    ] {
        let said = combine(Ok(pooled), &[(&one, first), (&two, second)]);
        assert_eq!((said.presence, said.detail.as_str()), (presence, detail));
        assert_eq!(said.is_foreign, pooled == Inactive, "{detail}");
        assert!(!said.is_unwell);
    }
    // Meant to take part, and ill: it can be taken out and put back, and is not in.
    let ill = combine(Ok(Yes), &[(&one, in_all()), (&two, state("enabled/down/not pooled"))]);
    assert_eq!((ill.presence, ill.is_unwell), (Unknown, true));
    let said = combine(Err("etcd at a:1 did not answer".to_owned()), &[(&one, in_all())]);
    assert_eq!((said.presence, said.detail.as_str()), (Unknown, "etcd at a:1 did not answer"));
    assert_eq!(combine(Ok(No), &[]).presence, Unknown, "nobody confirms");
}

/// Scenario 10: a status that is no answer says nothing, whatever its body.
#[tokio::test]
async fn a_status_of_404_is_absence_only_when_the_pool_says_so() {
    let host = r#"{"pooled": true, "up": true, "enabled": true, "weight": 10}"#;
    let listing = format!("{{\"mw1001.example.org\": {host}}}");
    for (status, at_host, pool, at_pool, expected) in [
        (200, host, 200, listing.as_str(), Ok("enabled/up/pooled")),
        (404, host, 200, listing.as_str(), Ok("absent")),
        (404, "", 404, host, Err("it knows no pool apaches_80")),
        (404, "", 500, "", Err("status 500")),
        (404, "", 200, "garbage", Err("not the hosts of a pool")),
        (404, "", 200, "mw1001.example.org:\tenabled/up/pooled\n", Err("not the hosts of a pool")),
        (500, host, 200, listing.as_str(), Err("status 500")),
        (302, host, 200, listing.as_str(), Err("status 302")),
        (204, host, 200, listing.as_str(), Err("status 204")),
    ] {
        let answer = |status: u16, body: &str| (StatusCode::from_u16(status).expect("a status"), body.to_owned());
        let (at_host, at_pool) = (answer(status, at_host), answer(pool, at_pool));
        let router = Router::new()
            .route("/pools/apaches_80/mw1.example.org", axum::routing::get(|| async { at_host }))
            .route("/pools/apaches_80", axum::routing::get(|| async { at_pool }));
        let server = serve(router).await;
        let (_, entry) = conftool("etcd://a:1", "v2", &server.url);
        let told = pybal::ask(&entry.pybals[0], &client(), WITHIN).await;
        match (told, expected) {
            (Ok(Told::State(state)), Ok(expected)) => assert_eq!(state.to_string(), expected),
            (Ok(Told::Absent), Ok(expected)) => assert_eq!(expected, "absent"),
            (Err(why), Err(part)) => {
                let name = server.url.trim_start_matches("http://");
                assert!(why.starts_with(name) && why.contains(part), "{why}");
            }
            (told, expected) => panic!("{status} {pool}: {told:?}, not {expected:?}"),
        }
    }
}
