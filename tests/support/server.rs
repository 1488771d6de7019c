//! The lock server as a process, at an address that it keeps when it is killed and started again.

use super::{Running, SOON, free_port, run, signal, stagger, wait_for};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};

#[derive(Debug)]
pub(crate) struct LockServer {
    pub(crate) url: String,
    pub(crate) data: PathBuf,
    address: String,
    process: Running,
}

fn launch(address: &str, data: &std::path::Path) -> Running {
    let mut command = stagger();
    command.args(["lockserver", "--api", address, "--data"]).arg(data).stdout(Stdio::null());
    let log = std::fs::OpenOptions::new().create(true).append(true).open(data.with_extension("log")).expect("a log");
    Running(command.stderr(log).spawn().expect("the program starts"))
}

impl LockServer {
    /// Starts one on an own folder, and waits until it answers.
    pub(crate) fn start(folder: &std::path::Path) -> LockServer {
        let data = folder.join("lockserver");
        let address = format!("127.0.0.1:{}", free_port());
        let process = launch(&address, &data);
        let server = LockServer { url: format!("http://{address}"), data, address, process };
        server.wait_until_ready();
        server
    }

    pub(crate) fn wait_until_ready(&self) {
        wait_for("the lock server answers", SOON, || std::net::TcpStream::connect(&self.address).ok());
    }

    /// kill -9, and start it again at the same address, over the same folder.
    pub(crate) fn kill_and_restart(&mut self) {
        self.process.kill();
        self.process = launch(&self.address, &self.data);
        self.wait_until_ready();
    }

    pub(crate) fn signal(&self, which: rustix::process::Signal) {
        signal(&self.process.0, which);
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
