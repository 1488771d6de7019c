//! The lock server as a process, at an address that it keeps when it is killed and started again.

use super::{Running, SOON, own_address, run, signal, stagger, wait_for};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

/// The variable that has a lock server of a debug build lose what it did not sync.
const POWER_CUT_AT: &str = "STAGGER_POWER_CUT_AT";

#[derive(Debug)]
pub(crate) struct LockServer {
    pub(crate) url: String,
    pub(crate) data: PathBuf,
    address: String,
    process: Mutex<Running>,
    starts: AtomicUsize,
}

/// Starts one, whose power is cut at this moment, if it is to be.
fn launch(address: &str, data: &Path, power_cut: Option<&str>) -> Running {
    let mut command = stagger();
    command.args(["lockserver", "--api", address, "--data"]).arg(data).stdout(Stdio::null());
    command.envs(power_cut.map(|moment| (POWER_CUT_AT, moment)));
    let log = std::fs::OpenOptions::new().create(true).append(true).open(data.with_extension("log")).expect("a log");
    Running::of(command.stderr(log).spawn().expect("the program starts"))
}

impl LockServer {
    /// Starts one on an own folder, and waits until it answers.
    pub(crate) fn start(folder: &Path) -> LockServer {
        let server = LockServer::begin(folder, None);
        server.wait_until_ready();
        server
    }

    /// Starts one on an own folder. It loses what it did not sync, at this moment or `never` by itself.
    pub(crate) fn start_until_power_cut(folder: &Path, moment: &str) -> LockServer {
        LockServer::begin(folder, Some(moment))
    }

    fn begin(folder: &Path, power_cut: Option<&str>) -> LockServer {
        let data = folder.join("lockserver");
        let address = own_address();
        let process = Mutex::new(launch(&address, &data, power_cut));
        LockServer { url: format!("http://{address}"), data, address, process, starts: AtomicUsize::new(1) }
    }

    fn process(&self) -> MutexGuard<'_, Running> {
        self.process.lock().expect("no panic")
    }

    /// Whether it answers what it is asked, and not only listens.
    pub(crate) fn answers(&self) -> bool {
        let Ok(mut stream) = std::net::TcpStream::connect(&self.address) else { return false };
        let mut answer = String::new();
        let asked = stream.write_all(b"GET /v1/pools HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok_and(|_| answer.starts_with("HTTP/1.1 200 "))
    }

    pub(crate) fn wait_until_ready(&self) {
        wait_for("the lock server answers", SOON, || self.answers().then_some(()));
    }

    /// How it ended, once it has by itself.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        self.process().0.try_wait().expect("our own child")
    }

    /// kill -9, and start it again at the same address, over the same folder.
    pub(crate) fn kill_and_restart(&mut self) {
        self.restart(None);
        self.wait_until_ready();
    }

    /// kill -9, and it stays away.
    pub(crate) fn kill(&self) {
        self.process().kill();
    }

    /// Starts it again after it was killed; this time its power may be cut.
    pub(crate) fn restart(&self, power_cut: Option<&str>) {
        let mut process = self.process();
        process.kill();
        *process = launch(&self.address, &self.data, power_cut);
        self.starts.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was started.
    pub(crate) fn starts(&self) -> usize {
        self.starts.load(Ordering::Relaxed)
    }

    pub(crate) fn signal(&self, which: rustix::process::Signal) {
        signal(&self.process().0, which);
    }

    /// A command of the program against this server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = stagger();
        command.args(arguments).env("STAGGER_COORDINATOR", &self.url);
        command
    }

    /// Runs a command against this server; it must end with 0. What it printed.
    pub(crate) fn must(&self, arguments: &[&str]) -> String {
        let (code, out, err) = run(&mut self.command(arguments));
        assert_eq!(code, 0, "stagger {arguments:?}: {err}");
        out
    }

    /// What a listing command shows, as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let (code, out, err) = run(self.command(arguments).arg("--json"));
        assert_eq!(code, 0, "stagger {arguments:?}: {err}");
        serde_json::from_str(out.trim()).unwrap_or_else(|error| panic!("{arguments:?} printed {out}: {error}"))
    }

    /// Changes a setting.
    pub(crate) fn set(&self, scope: &str, setting: &str) {
        self.must(&["set", scope, setting, "--reason", "test"]);
    }
}
