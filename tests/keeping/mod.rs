//! A lock server that is cared for: its file is read again, its state is backed up while it is used, restored elsewhere, and looked at.

mod backup;
mod defaults;
mod reload;
mod verify;

use crate::support::{Running, SOON, own_address, run, signal, stagger, wait_for};
use coordinator::remote::Remote;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A lock server with a file, in a folder of its own.
struct Server {
    folder: tempfile::TempDir,
    address: String,
    process: Running,
}

impl Server {
    /// One whose file says this, and that is given these flags beside.
    fn start(file: &str, flags: &[&str]) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("lockserver.toml"), file).expect("a file");
        let address = own_address();
        let process = launch(folder.path(), &address, flags);
        let server = Server { folder, address, process };
        server.wait_until_it_answers();
        server
    }

    /// kill -9, and start it again on the same folder.
    fn kill_and_restart(&mut self) {
        self.process.kill();
        self.process = launch(self.folder.path(), &self.address, &[]);
        self.wait_until_it_answers();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn client(&self) -> Remote {
        Remote::new(&self.url()).expect("a URL")
    }

    fn wait_until_it_answers(&self) {
        wait_for("the lock server answers", SOON, || (run(&mut self.command(&["pools"])).0 == 0).then_some(()));
    }

    /// A command of the program against this server.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = stagger();
        command.args(arguments).env("STAGGER_COORDINATOR", self.url());
        command
    }

    /// Runs a command against this server; it must end with 0. What it printed.
    fn must(&self, arguments: &[&str]) -> String {
        let (code, out, err) = run(&mut self.command(arguments));
        assert_eq!(code, 0, "stagger {arguments:?}: {out}{err}");
        out
    }

    /// Has it read this as its file, as `systemctl reload` does.
    fn reload(&self, file: &str) {
        std::fs::write(self.path("lockserver.toml"), file).expect("a file");
        signal(&self.process.0, rustix::process::Signal::HUP);
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until its log says so.
    fn wait_until_logged(&self, what: &str) {
        wait_for(&format!("the log says {what}"), SOON, || self.log().contains(what).then_some(()));
    }

    /// A metric, as it stands.
    fn metric(&self, name: &str) -> String {
        let metrics = get(&self.address, "/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}")).to_owned()
    }
}

fn launch(folder: &Path, address: &str, flags: &[&str]) -> Running {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log");
    let mut command = stagger();
    command.arg("lockserver").arg("-c").arg(folder.join("lockserver.toml")).args(["--api", address]);
    command.arg("--data").arg(folder.join("data")).args(flags).stdout(Stdio::null()).stderr(log);
    Running::of(command.spawn().expect("the program starts"))
}

/// What is answered to a GET.
fn get(address: &str, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    let mut answer = String::new();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer)).expect("an answer");
    answer
}

/// Runs a command on files, which asks nobody. Its exit code, and all that it printed.
fn on_files(arguments: &[&str], path: &Path, more: &[&Path]) -> (i32, String) {
    let mut command = stagger();
    command.arg("lockserver").args(arguments).arg(path);
    for (flag, path) in ["--data"].iter().zip(more) {
        command.arg(flag).arg(path);
    }
    let (code, out, err) = run(&mut command);
    (code, format!("{out}{err}"))
}
