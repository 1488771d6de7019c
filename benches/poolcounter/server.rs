//! The servers that are measured, each a process of its own: it is given its listening socket as standard input, as poolcounterd takes it.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How many may stand before poolcounterd's own listener.
pub(crate) const BACKLOG_THEIRS: i32 = 20;
/// More than any part but the storm needs.
const BACKLOG: i32 = 4_096;

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Theirs,
    Echo,
}

/// A running server; it is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts one, and waits until it answers.
    pub(crate) fn start(kind: Kind) -> Server {
        Server::start_before(kind, BACKLOG)
    }

    /// The same, when so many may stand before it: ours changes that by itself.
    pub(crate) fn start_before(kind: Kind, backlog: i32) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        rustix::net::listen(&listener, backlog).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let mut command = match kind {
            Kind::Theirs => Command::new("poolcounterd"),
            Kind::Ours | Kind::Echo => {
                let mut command = Command::new(std::env::current_exe().expect("this program"));
                command.args(["serve", if kind == Kind::Ours { "ours" } else { "echo" }]);
                command
            }
        };
        // poolcounterd tells of every client that goes.
        command.stdin(Stdio::from(OwnedFd::from(listener))).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{kind:?} cannot be started: {error}; poolcounterd is in Debian's package poolcounter")
        });
        let server = Server { child, address };
        let mut client = std::net::TcpStream::connect(address).expect("a connection");
        std::io::Write::write_all(&mut client, b"STATS uptime\n").expect("a server that hears");
        std::io::Read::read_exact(&mut client, &mut [0; 10]).expect("a server that answers");
        server
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("a living process")
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

    /// The memory that it has, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = self.proc("status");
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.expect("its memory") * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks the system for as many files as a storm needs. Children have them too.
pub(crate) fn allow_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("as many files as the system allows");
}

/// Is one of the servers, until it is killed.
pub(crate) fn serve(kind: &str) {
    let listener = std::io::stdin().as_fd().try_clone_to_owned().expect("a socket as standard input");
    let listener = TcpListener::from(listener);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        match kind {
            "ours" => ours(listener).await,
            _ => echo(listener).await,
        }
    });
}

/// The lock server, as `stagger lockserver -l` runs it.
async fn ours(poolcounter: TcpListener) {
    let folder = tempfile::tempdir().expect("a folder");
    let api = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let options = lockserver::Options { poolcounter: Some(poolcounter), ..lockserver::Options::folder(folder.path()) };
    lockserver::run(api, options, std::future::pending()).await.expect("a clean end");
}

async fn echo(listener: TcpListener) {
    listener.set_nonblocking(true).expect("a listener");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    loop {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok(bytes @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..bytes]).await.is_err() {
                    break;
                }
            }
        });
    }
}
