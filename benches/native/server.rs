//! The server that is measured, a process of its own: it is given its listening socket as standard input.

use crate::client::Connection;
use crate::disk::Slow;
use lockserver::{Options, Place};
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const BACKLOG: i32 = 4_096;

/// A running server; it is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Where it says how often its disk was synced.
    syncs: SocketAddr,
}

impl Server {
    /// Starts one, and waits until it answers.
    pub(crate) async fn start(sync_ms: u64, connections_max: usize) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        rustix::net::listen(&listener, BACKLOG).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["serve", &sync_ms.to_string(), &connections_max.to_string()]);
        command.stdin(Stdio::from(OwnedFd::from(listener))).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        let mut told = std::io::BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        std::io::BufRead::read_line(&mut told, &mut line).expect("its first line");
        let server = Server { child, address, syncs: line.trim().parse().expect("an address") };
        server.connect().await.must("GET", "/readyz", "").await;
        server
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::to(self.address).await.expect("a connection")
    }

    /// How often its disk was synced.
    pub(crate) fn syncs(&self) -> u64 {
        let mut text = String::new();
        let mut stream = std::net::TcpStream::connect(self.syncs).expect("a connection");
        stream.read_to_string(&mut text).expect("a number");
        text.parse().expect("a number")
    }

    /// The memory that it has, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a living process");
        let mut lines = status.lines();
        let kib = lines.find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.expect("its memory") * 1024
    }

    /// The processor time that all its threads have taken.
    pub(crate) fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("a living process");
        let spent = tasks.flatten().filter_map(|task| -> Option<u64> {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse().ok()
        });
        Duration::from_nanos(spent.sum())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks the system for as many files as it gives. Children have them too.
pub(crate) fn allow_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("as many files as the system allows");
}

/// Is the server, until it is killed: as `stagger lockserver` runs it, but for its disk.
pub(crate) fn serve(sync_ms: u64, connections_max: usize) {
    let listener =
        TcpListener::from(std::io::stdin().as_fd().try_clone_to_owned().expect("a socket as standard input"));
    listener.set_nonblocking(true).expect("a listener");
    let folder = tempfile::tempdir().expect("a folder");
    let syncs = Arc::new(AtomicU64::new(0));
    tell(&syncs);
    let file =
        std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(folder.path().join("state.redb"));
    let disk = Slow { file: file.expect("a file"), longer: Duration::from_millis(sync_ms), syncs };
    let options = Options { place: Place::Backend(Box::new(disk)), connections_max, ..Options::folder("") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        lockserver::run(listener, options, std::future::pending()).await.expect("a clean end");
    });
}

/// Tells whoever connects, at an address that is printed, how often the disk was synced.
fn tell(syncs: &Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    println!("{}", listener.local_addr().expect("an address"));
    let syncs = Arc::clone(syncs);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let told = std::io::Write::write_all(&mut &stream, syncs.load(Ordering::Relaxed).to_string().as_bytes());
            told.expect("somebody who listens");
        }
    });
}
