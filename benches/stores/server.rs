//! The servers, and what they count themselves.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take until it listens.
const READY: Duration = Duration::from_secs(20);

/// Which server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Redis,
    Etcd,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Redis => "redis",
            Kind::Etcd => "etcd",
        }
    }
}

/// A server in a folder of its own; gone with its value.
pub(crate) struct Server {
    kind: Kind,
    pub(crate) port: u16,
    _folder: tempfile::TempDir,
    process: Child,
}

impl Server {
    #[expect(clippy::disallowed_methods, reason = "a look, a pause, a look: there is nothing to be woken by")]
    pub(crate) fn start(kind: Kind) -> Server {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [port, peers] = listeners.each_ref().map(|listener| listener.local_addr().expect("an address").port());
        drop(listeners);
        let folder = tempfile::tempdir().expect("a folder");
        let (program, args) = match kind {
            Kind::Redis => {
                ("redis-server", format!("--port {port} --bind 127.0.0.1 --save --appendonly yes --appendfsync always"))
            }
            Kind::Etcd => {
                let (clients, peers) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peers}"));
                let args = format!(
                    "--data-dir data --listen-client-urls {clients} --advertise-client-urls {clients} --listen-peer-urls {peers} \
                     --initial-advertise-peer-urls {peers} --initial-cluster default={peers} --log-level error --logger zap"
                );
                ("etcd", args)
            }
        };
        // Of util-linux: it ends with the thread that starts it, even when the benchmark is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", program]);
        command.args(args.split_whitespace()).current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process =
            command.spawn().unwrap_or_else(|cause| panic!("cannot start {program} ({cause}): apt-get install it"));
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < READY, "{program} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Server { kind, port, _folder: folder, process }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.kind.name(), self.port)
    }

    /// What is counted, in words.
    pub(crate) fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Redis => "commands",
            Kind::Etcd => "proposals",
        }
    }

    /// How many commands of clients Redis has carried out, those within scripts not counted again; or how many proposals etcd has
    /// committed.
    pub(crate) async fn count(&self) -> u64 {
        match self.kind {
            Kind::Redis => {
                let mut command = Command::new("redis-cli");
                command.args(["-p", &self.port.to_string(), "INFO", "commandstats"]);
                let info = command.output().expect("redis-cli").stdout;
                let info = String::from_utf8_lossy(&info).into_owned();
                let of = |line: &str| {
                    let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(':')?;
                    let counted = ["evalsha", "blpop", "brpop"].contains(&name);
                    rest.strip_prefix("calls=")?.split(',').next()?.parse::<u64>().ok().filter(|_| counted)
                };
                info.lines().filter_map(of).sum()
            }
            Kind::Etcd => {
                let url = format!("http://127.0.0.1:{}/metrics", self.port);
                let text = get(&url).await.text().await.expect("text");
                let line = text.lines().find_map(|line| line.strip_prefix("etcd_server_proposals_committed_total "));
                line.and_then(|value| value.parse::<f64>().ok()).expect("a count") as u64
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// As many files as the system allows: each host has connections of its own.
pub(crate) fn allow_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("more files");
}

/// Asks over a connection that nobody encrypts.
async fn get(url: &str) -> reqwest::Response {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let tls = builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).build().expect("a client");
    client.get(url).send().await.expect("an answer")
}
