//! A host behind PyBals that follow an etcd, and its lock server.

use super::pybal::{Manner, Pools, PyBal};
use crate::stores::servers::Etcd;
use crate::support::{Host, LockServer, SOON, lines, run, wait_for};
use std::process::Command;

/// What conftool's keys of the first service begin with, and of the second.
pub(crate) const APACHE: &str = "/conftool/v1/pools/eqiad/appserver/apache2";
pub(crate) const NGINX: &str = "/conftool/v1/pools/eqiad/appserver/nginx";
/// The pools that follow them.
pub(crate) const APACHES: &str = "apaches_80";
pub(crate) const NGINXES: &str = "appservers-https_443";
/// What an entry says before anybody touches it: an order, blanks and fields of its own.
pub(crate) const ENTRY: &str = r#"{"weight":17, "pooled": "yes", "note": "\"pooled\": \"yes\""}"#;

/// How a host is configured.
pub(crate) struct Tuning {
    pub(crate) name: &'static str,
    /// Whether both services are named, or the first only.
    pub(crate) has_both: bool,
    /// The pool of the first service, as the file calls it.
    pub(crate) pool: &'static str,
    pub(crate) tries: u32,
    pub(crate) pause: &'static str,
    pub(crate) timeout: &'static str,
    /// What the restart does beside writing the start log: shell words.
    pub(crate) restart: &'static str,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            name: "mw1",
            has_both: false,
            pool: APACHES,
            tries: 4,
            pause: "100ms",
            timeout: "500ms",
            restart: "true",
        }
    }
}

/// What a restart waits for when the test wants to look around in the middle of it: a file `go` in the host's folder.
pub(crate) const UNTIL_GO: &str = "while ! [ -e $(dirname $0)/go ]; do sleep 0.05; done";

pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) server: LockServer,
    pub(crate) etcd: Etcd,
    /// Both follow both services.
    pub(crate) pybals: [PyBal; 2],
    api: &'static str,
}

impl Site {
    /// Entries of mw1 and mw1001, pooled in both services, by `v2` or `v3` of etcd.
    pub(crate) fn new(api: &'static str) -> Site {
        let folder = tempfile::tempdir().expect("a folder");
        let server = LockServer::start(folder.path());
        server.set("pool/p", "slots=1");
        let etcd = Etcd::with(1, "--enable-v2");
        let pools = Pools::from([(APACHES, APACHE), (NGINXES, NGINX)]);
        let pybals = [(); 2].map(|()| PyBal::start(api, etcd.port(), pools.clone()));
        let site = Site { folder, server, etcd, pybals, api };
        for place in [APACHE, NGINX] {
            for host in ["mw1", "mw1001"] {
                site.set(place, host, ENTRY);
            }
        }
        let is_in = |pybal: &PyBal| pybal.state(NGINXES, "mw1001.example.org").as_deref() == Some("enabled/up/pooled");
        wait_for("the PyBals know the hosts", SOON, || site.pybals.iter().all(is_in).then_some(()));
        site
    }

    fn etcdctl(&self, words: &[&str]) -> String {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", &self.api[1..])
            .args(["--endpoints", &format!("http://127.0.0.1:{}", self.etcd.port())]);
        let (code, out, err) = run(command.args(words));
        assert_eq!(code, 0, "etcdctl {words:?}: {err}");
        out
    }

    /// Writes an entry as an operator would.
    pub(crate) fn set(&self, place: &str, host: &str, entry: &str) {
        let verb = if self.api == "v2" { "set" } else { "put" };
        self.etcdctl(&[verb, &format!("{place}/{host}.example.org"), entry]);
    }

    /// What an entry says, byte for byte.
    pub(crate) fn get(&self, place: &str, host: &str) -> String {
        let key = format!("{place}/{host}.example.org");
        let words: &[&str] = if self.api == "v2" { &["get", &key] } else { &["get", "--print-value-only", &key] };
        let value = self.etcdctl(words);
        value.strip_suffix('\n').unwrap_or(&value).to_owned()
    }

    /// How both PyBals see a host in a pool, once they agree.
    pub(crate) fn wait_until(&self, pool: &str, host: &str, state: &str) {
        let host = format!("{host}.example.org");
        let is_so = |pybal: &PyBal| pybal.state(pool, &host).as_deref().unwrap_or("gone") == state;
        wait_for(&format!("{host} is {state}"), SOON, || self.pybals.iter().all(is_so).then_some(()));
    }

    pub(crate) fn answers(&self, manner: Manner) {
        self.pybals[1].answers(manner);
    }

    pub(crate) fn host(&self, tuning: &Tuning) -> Host {
        let name = tuning.name;
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let script = folder.join("restart.sh");
        std::fs::write(&script, format!("echo start >> $(dirname $0)/starts\n{}\n", tuning.restart)).expect("a script");
        let key =
            |place: &str, pool: &str| format!("{{ key = \"{place}/{{host}}.example.org\", pools = [\"{pool}\"] }}");
        let mut keys = vec![key(APACHE, tuning.pool)];
        if tuning.has_both {
            keys.push(key(NGINX, NGINXES));
        }
        let text = format!(
            r#"coordinator = "{url}"
listen = "127.0.0.1:0"
host = "{name}"
state = "{state}"

[service.web]
pools = ["p"]
restart = {{ kind = "exec", command = ["sh", "{script}"], timeout = "30s", identity = ["sh", "-c", "cat {starts} 2>/dev/null | wc -l"] }}
drain = {{ min = "100ms" }}

[service.web.depool]
kind = "conftool"
etcd = "etcd://127.0.0.1:{port}"
api = "{api}"
pybals = ["{one}", "{two}"]
keys = [{keys}]
tries = {tries}
pause = "{pause}"
timeout = "{timeout}"
"#,
            url = self.server.url,
            state = folder.join("state").display(),
            script = script.display(),
            starts = folder.join("starts").display(),
            port = self.etcd.port(),
            api = self.api,
            one = self.pybals[0].url(),
            two = self.pybals[1].url(),
            keys = keys.join(", "),
            tries = tuning.tries,
            pause = tuning.pause,
            timeout = tuning.timeout,
        );
        let config = folder.join("stagger.toml");
        std::fs::write(&config, text).expect("a configuration");
        Host { name: name.to_owned(), folder, config, environment: Vec::new() }
    }
}

/// Lets a restart that waits go on.
pub(crate) fn go(host: &Host) {
    std::fs::write(host.folder.join("go"), "").expect("written");
}

/// Runs a command of a host to its end: exit code, and everything that was said.
pub(crate) fn said(host: &Host, words: &[&str]) -> (i32, String) {
    let (code, out, err) = run(&mut host.command(words));
    (code, format!("{out}{err}"))
}

/// Waits until the restart of a host is under way.
pub(crate) fn wait_until_it_restarts(host: &Host) {
    wait_for("the restart is under way", SOON, || (!lines(&host.folder.join("starts")).is_empty()).then_some(()));
}
