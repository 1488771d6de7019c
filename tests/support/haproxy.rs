//! A real HAProxy, which keeps its addresses when it is killed and started again. What it says of itself when the test asks is
//! what the program is held against.

use super::{Running, SOON, own_address, wait_for};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// Bits of `srv_admin_state`: forced into maintenance, and into drain.
pub(crate) const MAINT: u32 = 0x01;
pub(crate) const DRAIN: u32 = 0x08;

/// An HAProxy with a folder of its own; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Haproxy {
    folder: PathBuf,
    /// Its runtime socket over TCP, of the level admin.
    pub(crate) admin: String,
    /// The same, as a file.
    pub(crate) socket: PathBuf,
    /// A runtime socket of the level operator, which may only look.
    pub(crate) operator: PathBuf,
    /// Where its frontend listens; it hands everything to the first backend.
    pub(crate) front: String,
    process: Mutex<Option<Running>>,
}

/// A server, as HAProxy shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    /// 0 stopped, 1 starting, 2 running, 3 stopping.
    pub(crate) operation: u32,
    /// The bits of its administrative state.
    pub(crate) admin: u32,
    /// Its weight, as a user sees it.
    pub(crate) weight: u32,
}

impl Haproxy {
    /// Starts one with these backends, whole sections of its configuration, in the folder `name` within `folder`. It keeps no state over
    /// a restart unless the test has [`Haproxy::save_state`] do so.
    pub(crate) fn start(folder: &Path, name: &str, backends: &str) -> Haproxy {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let haproxy = Haproxy {
            admin: own_address(),
            socket: folder.join("admin.sock"),
            operator: folder.join("operator.sock"),
            front: own_address(),
            folder,
            process: Mutex::new(None),
        };
        haproxy.configure(backends);
        haproxy.restart();
        haproxy
    }

    /// Writes its configuration anew; it counts from the next start.
    pub(crate) fn configure(&self, backends: &str) {
        let first = backends.lines().find_map(|line| line.strip_prefix("backend ")).expect("a backend").trim();
        let text = format!(
            "global\n    stats socket ipv4@{admin} level admin\n    stats socket {socket} level admin\n    \
             stats socket {operator} level operator\n    server-state-file {state}\n\
             defaults\n    mode http\n    timeout connect 2s\n    timeout client 60s\n    timeout server 60s\n    \
             load-server-state-from-file global\n\
             frontend front\n    bind {front}\n    default_backend {first}\n{backends}\n",
            admin = self.admin,
            socket = self.socket.display(),
            operator = self.operator.display(),
            state = self.state_file().display(),
            front = self.front,
        );
        std::fs::write(self.folder.join("haproxy.cfg"), text).expect("a configuration");
    }

    fn state_file(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// kill -9, if it runs, and starts it again; returns when its socket answers.
    pub(crate) fn restart(&self) {
        self.kill();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).expect("a log");
        // Debian has it where the PATH of a user does not lead.
        let program =
            ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"].into_iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(program.unwrap_or("haproxy"));
        command.arg("-db").arg("-f").arg(self.folder.join("haproxy.cfg")).stdin(Stdio::null());
        let started = command.stdout(log.try_clone().expect("a log")).stderr(log).spawn();
        let child = started.unwrap_or_else(|cause| panic!("cannot start haproxy ({cause}): apt-get install haproxy"));
        *self.process() = Some(Running::of(child));
        wait_for("HAProxy answers", SOON, || {
            let is_over = self.process().as_mut().is_none_or(Running::is_over);
            assert!(!is_over, "HAProxy ended: {}", self.log());
            self.answer("show info").map(drop)
        });
    }

    /// kill -9.
    pub(crate) fn kill(&self) {
        drop(self.process().take());
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.process.lock().expect("no panic")
    }

    /// What it printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Writes what it knows of its servers into its state file, as is done before a reload: the next start goes on from there.
    pub(crate) fn save_state(&self) {
        self.keep_state(&self.ask("show servers state"));
    }

    /// Has the next start go on from this answer of an earlier moment.
    pub(crate) fn keep_state(&self, states: &str) {
        std::fs::write(self.state_file(), states).expect("written");
    }

    fn answer(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.admin).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(format!("{command}\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// What it answers to a command on its runtime socket.
    pub(crate) fn ask(&self, command: &str) -> String {
        self.answer(command).unwrap_or_else(|| panic!("HAProxy does not answer {command}: {}", self.log()))
    }

    /// Does something to a server, `BACKEND/SERVER`, as an operator would: `state maint`, `weight 50`.
    pub(crate) fn set(&self, server: &str, what: &str) {
        let answer = self.ask(&format!("set server {server} {what}"));
        assert_eq!(answer.trim(), "", "set server {server} {what}");
    }

    /// What it shows of a server, `BACKEND/SERVER`.
    pub(crate) fn state(&self, server: &str) -> Shown {
        shown(&self.ask("show servers state"), server).unwrap_or_else(|| panic!("no server {server}"))
    }

    /// Whether a server is in drain or in maintenance.
    pub(crate) fn is_out(&self, server: &str) -> bool {
        self.state(server).admin & (DRAIN | MAINT) != 0
    }
}

/// A server's line in the answer to `show servers state`.
pub(crate) fn shown(states: &str, server: &str) -> Option<Shown> {
    let mine = |fields: &Vec<&str>| fields.len() > 7 && format!("{}/{}", fields[1], fields[3]) == server;
    let fields = states.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(mine)?;
    let number = |place: usize| fields[place].parse::<u32>().expect("a number");
    Some(Shown { operation: number(5), admin: number(6), weight: number(7) })
}
