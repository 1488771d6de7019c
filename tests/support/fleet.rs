//! Hosts: each with a configuration, a state folder and a worker of its own. Their service is a line in a start log.

use super::{Balancer, Running, lines, signal, stagger};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How a host's service is restarted and drained.
#[derive(Debug, Clone)]
pub(crate) struct Tuning {
    pub(crate) drain: &'static str,
    pub(crate) drain_max: &'static str,
    /// Further lines of the drain's configuration.
    pub(crate) drain_more: &'static str,
    /// What the restart does beside writing the start log: shell words.
    pub(crate) restart: &'static str,
    /// How long it may take; and how long a new worker looks whether it happened.
    pub(crate) timeout: &'static str,
    /// Whether the host can tell which start of its service runs.
    pub(crate) has_identity: bool,
    /// Further lines of the service's configuration.
    pub(crate) more: &'static str,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            drain: "100ms",
            drain_max: "5s",
            drain_more: "",
            restart: "true",
            timeout: "3s",
            has_identity: true,
            more: "",
        }
    }
}

/// A host of the fleet.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) config: PathBuf,
    /// What its programs see beside nothing.
    pub(crate) environment: Vec<(String, String)>,
}

impl Host {
    pub(crate) fn new(folder: &Path, name: &str, coordinator: &str, balancer: &Balancer, tuning: &Tuning) -> Host {
        let depool = format!(
            r#"kind = "http"
out = {{ method = "PUT", url = "{balancer}/servers/{{host}}", body = "out" }}
in = {{ method = "PUT", url = "{balancer}/servers/{{host}}", body = "in" }}
status = {{ url = "{balancer}/servers/{{host}}", out_when = "answer.state == 'out'", in_when = "answer.state == 'in'" }}
tries = 3
pause = "100ms""#,
            balancer = balancer.url,
        );
        Host::with_depool(folder, name, coordinator, &depool, tuning)
    }

    /// A host that leaves its balancers as these lines of `[service.web.depool]` say.
    pub(crate) fn with_depool(folder: &Path, name: &str, coordinator: &str, depool: &str, tuning: &Tuning) -> Host {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let starts = folder.join("starts");
        let identity = match tuning.has_identity {
            true => format!(", identity = [\"sh\", \"-c\", \"cat {0} 2>/dev/null | wc -l\"]", starts.display()),
            false => String::new(),
        };
        let text = format!(
            r#"coordinator = "{url}"
listen = "127.0.0.1:0"
host = "{name}"
state = "{state}"

[service.web]
pools = ["p"]
restart = {{ kind = "exec", command = ["sh", "-c", "echo start >> {starts}; {restart}"], timeout = "{timeout}"{identity} }}
{more}
[service.web.depool]
{depool}

[service.web.drain]
min = "{drain}"
max = "{drain_max}"
{drain_more}
"#,
            url = coordinator,
            state = folder.join("state").display(),
            starts = starts.display(),
            restart = tuning.restart,
            timeout = tuning.timeout,
            more = tuning.more,
            drain = tuning.drain,
            drain_max = tuning.drain_max,
            drain_more = tuning.drain_more,
        );
        let config = folder.join("stagger.toml");
        std::fs::write(&config, text).expect("a configuration");
        Host { name: name.to_owned(), folder, config, environment: Vec::new() }
    }

    /// Has its service restarted in another way: the value of `restart`.
    pub(crate) fn restart_by(&self, restart: &str) {
        let text = std::fs::read_to_string(&self.config).expect("a configuration");
        let is_restart = |line: &&str| line.starts_with("restart = ");
        let old = text.lines().find(is_restart).expect("a way to restart");
        std::fs::write(&self.config, text.replace(old, &format!("restart = {restart}"))).expect("a configuration");
    }

    /// How often its service was started.
    pub(crate) fn starts(&self) -> usize {
        lines(&self.folder.join("starts")).len()
    }

    /// A command of the program on this host.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = stagger();
        command.args(arguments).arg("-c").arg(&self.config).envs(self.environment.clone());
        command
    }

    /// Starts its worker.
    pub(crate) fn work(&self) -> Worker {
        self.work_with(&[])
    }

    /// Starts its worker with further variables in its environment.
    pub(crate) fn work_with(&self, variables: &[(&str, &str)]) -> Worker {
        self.work_by(self.command(&["worker"]), variables)
    }

    /// Starts its worker by this command, which becomes it.
    pub(crate) fn work_by(&self, mut command: Command, variables: &[(&str, &str)]) -> Worker {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).expect("a log");
        command.envs(variables.iter().copied()).stdout(Stdio::null()).stderr(log);
        let session_file = self.folder.join("state/session");
        let replaces = lines(&session_file);
        Worker { process: Running::of(command.spawn().expect("the program starts")), session_file, replaces }
    }

    /// What its worker said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

/// A worker's process; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) process: Running,
    /// Where it writes its session down once it is welcome.
    session_file: PathBuf,
    /// The session that was written there before.
    replaces: Vec<String>,
}

impl Worker {
    pub(crate) fn signal(&self, which: rustix::process::Signal) {
        signal(&self.process.0, which);
    }

    /// The exit code, once it has ended by itself.
    pub(crate) fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.process.0.try_wait().expect("our own child")
    }

    /// Whether this very worker was welcome: not the one before it on its host.
    pub(crate) fn has_joined(&self) -> bool {
        let session = lines(&self.session_file);
        !session.is_empty() && session != self.replaces
    }
}
