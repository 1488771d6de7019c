//! What the tests need of the world: the program itself, folders, a balancer that watches, hosts, and waiting with a deadline.
//!
//! Nothing here asks the lock server what happened: what is really in the balancer, and what really ran, decides.

mod balancer;
mod fleet;
pub(crate) mod haproxy;
pub(crate) mod http;
mod keeper;
mod php_fpm;
mod server;
mod systemd;

pub(crate) use balancer::Balancer;
pub(crate) use fleet::{Host, Tuning, Worker};
pub(crate) use keeper::Kept;
pub(crate) use php_fpm::{PhpFpm, PhpFpmOptions};
pub(crate) use server::LockServer;
pub(crate) use systemd::UserSystemd;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for something that should come soon, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The program, in an environment that says nothing.
pub(crate) fn stagger() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stagger"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("USER", "ann")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end; what it printed, and its exit code.
pub(crate) fn run(command: &mut Command) -> (i32, String, String) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the program starts");
    let _kept = Kept::process(&child);
    let output: Output = child.wait_with_output().expect("its output");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// Waits until something holds; says what it waited for when it does not in time.
pub(crate) fn wait_for<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < within, "waited {within:?} in vain for: {what}");
        pause();
    }
}

/// The pause between two looks. The only fixed wait in the tests, and nothing depends on its length.
#[expect(clippy::disallowed_methods, reason = "a look, a pause, a look: there is nothing to be woken by")]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

/// Sends a signal to a process of the test's own.
pub(crate) fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).expect("a process of our own");
}

/// The processes whose parent this one is, by `/proc`.
pub(crate) fn children(parent: rustix::process::Pid) -> Vec<rustix::process::Pid> {
    let pids = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name in brackets: the state, the parent.
        let (_, fields) = stat.rsplit_once(')')?;
        (fields.split_whitespace().nth(1)? == parent.to_string()).then_some(())
    };
    pids.filter(|pid| is_child(pid).is_some()).filter_map(rustix::process::Pid::from_raw).collect()
}

/// The processes whose command line names this file or folder, but for those that have ended.
pub(crate) fn processes_of(path: &Path) -> Vec<rustix::process::Pid> {
    let path = path.display().to_string();
    let pids = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let line = |pid: &i32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let named = pids.filter(|pid| String::from_utf8_lossy(&line(pid)).contains(&path));
    named.filter_map(rustix::process::Pid::from_raw).collect()
}

/// What a process is called; empty when it is gone.
pub(crate) fn name_of(pid: rustix::process::Pid) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// A process that is killed, by its handle, when the test is done with it.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child, #[expect(dead_code, reason = "it is there to be dropped")] Kept);

impl Running {
    /// A process that was just started; it does not outlive this one, even when that is killed.
    pub(crate) fn of(child: Child) -> Running {
        let kept = Kept::process(&child);
        Running(child, kept)
    }

    pub(crate) fn is_over(&mut self) -> bool {
        self.0.try_wait().expect("our own child").is_some()
    }

    /// kill -9, and wait until it is gone.
    pub(crate) fn kill(&mut self) {
        let _already_gone = self.0.kill();
        self.0.wait().expect("our own child");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The lines of a file; none while it is not there.
pub(crate) fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// An address for a server that must come back at it. Its loopback address is this test's alone: nobody else listens there
/// while the server is away, and no connection out of this machine is given its port.
pub(crate) fn own_address() -> String {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    let host = std::net::Ipv4Addr::new(127, high.max(1), low, COUNT.fetch_add(1, Ordering::Relaxed));
    let listener = std::net::TcpListener::bind((host, 0)).expect("a free port");
    listener.local_addr().expect("its address").to_string()
}

/// A pseudo-random sequence: the seed reproduces it.
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `below`.
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        // xorshift64*, Vigna 2016.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below
    }
}
