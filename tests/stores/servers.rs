//! A real Redis and a real etcd, each on free ports of the loopback, in a folder of its own, gone with its value.

use crate::support::{SOON, wait_for};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

/// What kind of server.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Redis,
    Etcd,
}

/// A server.
#[derive(Debug)]
pub(super) struct Server {
    kind: Kind,
    folder: tempfile::TempDir,
    ports: [u16; 2],
    process: Option<Child>,
}

/// A port that was free just now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

impl Server {
    /// A Redis that has everything on its disk before it answers.
    pub(super) fn redis() -> Server {
        Server::start(Kind::Redis)
    }

    /// An etcd of one member.
    pub(super) fn etcd() -> Server {
        Server::start(Kind::Etcd)
    }

    fn start(kind: Kind) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let mut server = Server { kind, folder, ports: [free_port(), free_port()], process: None };
        server.launch();
        server
    }

    fn launch(&mut self) {
        let [port, peers] = self.ports;
        let (program, package, args) = match self.kind {
            Kind::Redis => {
                let args = format!("--port {port} --bind 127.0.0.1 --appendonly yes --appendfsync always");
                ("redis-server", "redis-server", args)
            }
            Kind::Etcd => {
                let (clients, peers) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peers}"));
                let args = format!(
                    "--data-dir data --listen-client-urls {clients} --advertise-client-urls {clients} --listen-peer-urls {peers} \
                     --initial-advertise-peer-urls {peers} --initial-cluster default={peers}"
                );
                ("etcd", "etcd-server", args)
            }
        };
        let log =
            std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).expect("a log");
        let mut command = Command::new(program);
        command.args(args.split_whitespace()).current_dir(self.folder.path()).stdin(Stdio::null());
        let started = command.stdout(log.try_clone().expect("a log")).stderr(log).spawn();
        self.process =
            Some(started.unwrap_or_else(|cause| panic!("cannot start {program} ({cause}): apt-get install {package}")));
        wait_for("the server listens", SOON, || TcpStream::connect(("127.0.0.1", port)).ok().map(drop));
    }

    /// Kills it with kill -9 and starts it again on what is on its disk.
    pub(super) fn restart(&mut self) {
        self.kill();
        self.launch();
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("killed");
            process.wait().expect("ended");
        }
    }

    /// The coordinator's URL.
    pub(super) fn url(&self) -> String {
        let scheme = match self.kind {
            Kind::Redis => "redis",
            Kind::Etcd => "etcd",
        };
        format!("{scheme}://127.0.0.1:{}", self.ports[0])
    }

    /// Every key there is, by the server's own client.
    pub(super) fn keys(&self) -> Vec<String> {
        let port = self.ports[0];
        let line = match self.kind {
            Kind::Redis => format!("redis-cli -p {port} keys *"),
            Kind::Etcd => format!("etcdctl --endpoints 127.0.0.1:{port} get --prefix --keys-only /"),
        };
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().expect("a program"));
        let output = command.env("ETCDCTL_API", "3").args(words).output().expect("its client");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).lines().filter(|key| !key.is_empty()).map(str::to_owned).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
