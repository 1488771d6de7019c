//! Access from end to end: a lock server with encryption and tokens, a worker with a token of its host's, a deployer, and those who
//! may not. All are the program itself.

use crate::support::{Balancer, Host, Running, SOON, Tuning, own_address, run, stagger, wait_for};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A lock server that wants tokens, and where everything about it lies.
struct Site {
    folder: tempfile::TempDir,
    address: String,
    ca: PathBuf,
    tokens: PathBuf,
    log: PathBuf,
    process: Option<Running>,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let address = own_address();
        let (ip, _) = address.rsplit_once(':').expect("an address");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let key = KeyPair::generate().expect("a key");
        let own = CertificateParams::new(vec![ip.to_owned()]).expect("parameters");
        let certificate = own.signed_by(&key, &authority).expect("a certificate");
        std::fs::write(path("ca.pem"), authority.pem()).expect("written");
        std::fs::write(path("tls.crt"), certificate.pem()).expect("written");
        std::fs::write(path("tls.key"), key.serialize_pem()).expect("written");
        let (ca, tokens, log) = (path("ca.pem"), path("tokens"), path("lockserver.log"));
        Site { folder, address, ca, tokens, log, process: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// What `stagger lockserver token` prints.
    fn token(&self, arguments: &[&str]) -> String {
        let mut command = stagger();
        command.args(["lockserver", "token"]).args(arguments).arg("--tokens").arg(&self.tokens);
        let (code, out, err) = run(&mut command);
        assert_eq!(code, 0, "{arguments:?}: {err}");
        out.trim().to_owned()
    }

    /// Makes a token, and the file that its owner has.
    fn add(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let text = self.token(&[&["add", name], arguments].concat());
        assert!(text.starts_with("stagger_"), "{text}");
        let file = self.path(&format!("{name}.token"));
        let new = self.path("new.token");
        std::fs::write(&new, text).expect("written");
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        std::fs::rename(&new, &file).expect("in its place");
        file
    }

    fn start(&mut self) {
        let mut command = stagger();
        command.args(["lockserver", "--api", &self.address, "--data"]).arg(self.path("data"));
        command.arg("--tls-cert").arg(self.path("tls.crt")).arg("--tls-key").arg(self.path("tls.key"));
        command.arg("--tokens").arg(&self.tokens).stdout(Stdio::null());
        let log = std::fs::File::create(&self.log).expect("a log");
        self.process = Some(Running::of(command.stderr(log).spawn().expect("the program starts")));
        let (_, file) = self.person("probe", None);
        let is_up = || (run(stagger().args(["pools", "-c"]).arg(&file)).0 == 1).then_some(());
        wait_for("the lock server answers, and refuses whoever shows no token", SOON, is_up);
    }

    /// A configuration of somebody who types commands.
    fn person(&self, name: &str, token: Option<&Path>) -> (String, PathBuf) {
        let token = token.map(|file| format!("token = \"{}\"\n", file.display())).unwrap_or_default();
        let text = format!("coordinator = \"{}\"\n{token}tls = {{ ca = \"{}\" }}\n", self.url(), self.ca.display());
        let file = self.path(&format!("{name}.toml"));
        std::fs::write(&file, &text).expect("written");
        (text, file)
    }

    fn command(&self, config: &Path, arguments: &[&str]) -> Command {
        let mut command = stagger();
        command.args(arguments).arg("-c").arg(config);
        command
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

#[test]
fn a_worker_restarts_through_a_deploy_that_a_deployer_announces_and_nobody_else_can() {
    let mut site = Site::new();
    let worker = site.add("mw1331", &["--role", "worker", "--host", "mw1331"]);
    let other = site.add("mw1402", &["--role", "worker", "--host", "mw1402"]);
    let deploy = site.add("deploy1", &["--role", "deploy", "--for", "90d"]);
    let admin = site.add("boss", &["--role", "admin"]);
    site.start();
    let balancer = Balancer::start();
    let host = Host::new(site.folder.path(), "mw1331", &site.url(), &balancer, &Tuning::default());
    let configured = |token: &Path| {
        let text = std::fs::read_to_string(&host.config).expect("a configuration");
        let rest: Vec<_> =
            text.lines().filter(|line| !line.starts_with("token =") && !line.starts_with("tls =")).collect();
        let top = format!("token = \"{}\"\ntls = {{ ca = \"{}\" }}", token.display(), site.ca.display());
        std::fs::write(&host.config, format!("{top}\n{}\n", rest.join("\n"))).expect("written");
    };
    let must = |file: &Path, arguments: &[&str]| {
        let (code, out, err) = run(&mut site.command(file, arguments));
        assert_eq!(code, 0, "{arguments:?}: {err}");
        out
    };
    let refused = |file: &Path, arguments: &[&str], part: &str| {
        let (code, _, err) = run(&mut site.command(file, arguments));
        assert!(code == 1 && err.contains(part) && err.contains("hint: "), "{arguments:?}: {code}: {err}");
    };
    let (_, boss) = site.person("boss", Some(&admin));
    let (_, deployer) = site.person("deployer", Some(&deploy));
    let (_, nobody) = site.person("nobody", None);
    must(&boss, &["set", "pool/p", "slots=1", "--reason", "test"]);

    // A worker with another host's token is not let in, and goes on trying.
    configured(&other);
    let mut strange = host.work();
    wait_for("the other host's token is refused", SOON, || {
        site.log().contains("token=\"mw1402\" reason=\"host\"").then_some(())
    });
    assert!(strange.ended().is_none() && !strange.has_joined());
    drop(strange);
    configured(&worker);
    let mut own = host.work();
    wait_for("the worker has joined", SOON, || own.has_joined().then_some(()));

    refused(&nobody, &["announce", "web", "-m", "bad"], "unauthorized, 401");
    refused(&host.config, &["announce", "web", "-m", "bad"], "the role deploy, and the token mw1331 has worker");
    refused(&deployer, &["set", "pool/p", "slots=9", "--reason", "r"], "the role admin");
    refused(&deployer, &["release", "mw1331", "--reason", "r"], "the role admin");
    assert_eq!(host.starts(), 0);
    let followed = must(&deployer, &["announce", "web", "-m", "build 7", "--follow"]);
    assert!(followed.contains("web@1 done") && followed.contains("1 ok"), "{followed}");
    assert_eq!(host.starts(), 1);
    let history = must(&boss, &["history", "--json"]);
    let announced = history.lines().find(|line| line.contains("\"announced\"")).expect("it is in the history");
    let (address, _) = site.address.rsplit_once(':').expect("an address");
    assert!(announced.contains("deploy1 for ann@") && announced.contains("\"from\":\"127."), "{address}: {announced}");

    // One token is revoked, and another takes its place while everything runs.
    site.token(&["revoke", "mw1331"]);
    wait_for("the worker is refused", SOON, || site.log().contains("reason=\"revoked\"").then_some(()));
    assert!(own.ended().is_none(), "it goes on trying");
    let is_down = |down: bool| must(&boss, &["members", "--json"]).contains(&format!("\"down\":{down}")).then_some(());
    wait_for("the worker counts as down", SOON, || is_down(true));
    site.add("mw1331", &["--role", "worker", "--host", "mw1331"]);
    wait_for("the worker is back with its new token", SOON, || is_down(false));
    let announce = ["announce", "web", "-m", "build 8", "--follow"];
    let followed = must(&deployer, &announce);
    assert!(followed.contains("web@2 done") && followed.contains("1 ok"), "{followed}");
    assert_eq!(host.starts(), 2);

    let list = must(&boss, &["lockserver", "token", "list", "--tokens", &site.tokens.display().to_string()]);
    assert!(list.contains("deploy1") && list.contains("until 20"), "{list}");
    let said = format!("{}{}{list}{history}", site.log(), host.log());
    for file in [&worker, &other, &deploy, &admin] {
        let secret = std::fs::read_to_string(file).expect("a token");
        assert!(!said.contains(&secret), "a token was told");
    }
    assert!(!said.contains("stagger_"), "{said}");
}

#[test]
fn a_client_says_what_is_wrong_with_its_token_or_its_certificates_before_it_tells_anyone() {
    let mut site = Site::new();
    let reader = site.add("reader", &["--role", "read"]);
    site.start();
    let told = |command: &mut Command, code: i32, part: &str| {
        let (found, _, err) = run(command);
        assert!(found == code && err.contains(part), "{found}: {err}");
        assert!(!err.contains("stagger_"), "{err}");
    };
    let file = reader.display().to_string();
    let (_, config) = site.person("reader", None);
    let (code, _, err) = run(site.command(&config, &["pools"]).env("STAGGER_TOKEN_FILE", &reader));
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = run(&mut site.command(&config, &["pools", "--token-file", &file]));
    assert_eq!(code, 0, "{err}");
    told(stagger().args(["pools", "--coordinator", &site.url(), "--token-file", &file]), 2, "invalid peer certificate");
    told(stagger().args(["pools", "--coordinator", "http://10.255.255.1:1", "--token-file", &file]), 64, "unencrypted");
    told(
        &mut site.command(&config, &["pools", "--token-file", "/nonexistent"]),
        2,
        "cannot read the token in /nonexistent",
    );
    std::fs::set_permissions(&reader, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    told(&mut site.command(&config, &["pools", "--token-file", &file]), 2, "chmod 600");
    std::fs::write(&site.ca, "nonsense").expect("written");
    told(&mut site.command(&config, &["pools"]), 64, "ca.pem");
}

#[test]
fn a_token_is_made_once_and_the_file_is_refused_when_it_is_damaged() {
    let site = Site::new();
    let tokens = site.tokens.display().to_string();
    let with = |arguments: &[&str]| {
        let mut command = stagger();
        command.args(["lockserver", "token"]).args(arguments).args(["--tokens", &tokens]);
        run(&mut command)
    };
    let (code, _, err) = with(&["list"]);
    assert!(code == 1 && err.contains("token add"), "{code}: {err}");
    let (code, out, err) = with(&["add", "a", "--role", "worker", "--json"]);
    assert!(code == 0 && err.contains("for every host"), "{code}: {err}");
    let made: serde_json::Value = serde_json::from_str(out.trim()).expect("JSON");
    assert!(made["token"].as_str().is_some_and(|token| token.starts_with("stagger_")), "{made}");
    for (arguments, code, part) in [
        (&["add", "a", "--role", "read"][..], 1, "already"),
        (&["add", "b", "--role", "root"], 64, "the roles are"),
        (&["add", "b c", "--role", "read"], 64, "named by"),
        (&["add", "b", "--role", "read", "--host", "mw1"], 64, "only a worker's"),
        (&["revoke", "b"], 1, "no token b"),
    ] {
        let (found, _, err) = with(arguments);
        assert!(found == code && err.contains(part), "{arguments:?}: {found}: {err}");
    }
    assert_eq!(with(&["revoke", "a"]).0, 0);
    let (code, out, _) = with(&["list"]);
    assert!(code == 0 && out.contains("revoked 20"), "{out}");
    assert_eq!(with(&["add", "a", "--role", "read"]).0, 0, "the name is free again");
    let text = std::fs::read_to_string(&site.tokens).expect("the file");
    std::fs::write(&site.tokens, text.trim_end()).expect("written");
    let (code, _, err) = with(&["add", "c", "--role", "read"]);
    assert!(code == 1 && err.contains("line 3") && err.contains("middle"), "{code}: {err}");
    let mut server = stagger();
    server.args(["lockserver", "--api", "127.0.0.1:0", "--tokens", &tokens, "--data"]).arg(site.path("data"));
    let (code, _, err) = run(&mut server);
    assert!(code == 78 && err.contains("line 3"), "{code}: {err}");
}
