//! The pretend service manager: starts, restarts, freezes and kills the processes of every pretend host.
//!
//! Owns the children, and kills each by its handle when it is dropped or stopped. Restarts a service only when it is asked
//! to (`POST /hosts/NAME/restart`, by the worker's restart command); never decides that one must. Called by the fleet and
//! by the acts. Its children end with the thread that spawned them, so it must live on the program's main thread.

use crate::cli::demo::http::{self, Answer, Request};
use crate::cli::demo::service::monotonic_ms;
use model::time::millis;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

/// How long a service may take from its start until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Most of what a service printed that is handed on, in bytes.
const OUTPUT_BYTES_MAX: u64 = 4 * 1024;

/// What can go wrong with the children; each fits after "cannot …: ".
#[derive(Debug, thiserror::Error)]
pub(super) enum SupervisorError {
    /// A file of a host cannot be had.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A process cannot be started, or signalled.
    #[error("{what}: {source}")]
    Process {
        /// Which, of which host.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// A service did not come up.
    #[error("{host}: its service exited with {exit}: {output}")]
    Exited {
        /// Where.
        host: String,
        /// Its exit code.
        exit: i32,
        /// What it printed.
        output: String,
    },
    /// A service neither listens nor exits.
    #[error("{host}: its service did not listen within {START_TIMEOUT:?}")]
    Silent {
        /// Where.
        host: String,
    },
    /// No such host.
    #[error("there is no host {0}")]
    Unknown(String),
}

/// One start of a service, as it wrote it down itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    /// The process.
    pub(super) pid: u32,
    /// The build that it ran, or refused to run.
    pub(super) build: u64,
    /// When, in milliseconds since 1970.
    pub(super) at_ms: u64,
}

/// What every host has in common.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// The program of services and workers: this one.
    pub(super) exe: PathBuf,
    /// The demo's folder: a folder for each host, and the file `build`.
    pub(super) folder: PathBuf,
    /// How long a start of the service takes.
    pub(super) start: Duration,
}

/// One pretend host.
#[derive(Debug)]
struct Host {
    name: String,
    folder: PathBuf,
    service: Mutex<Service>,
    worker: Mutex<Option<Child>>,
}

#[derive(Debug)]
struct Service {
    /// Where it listens; the port is 0 until its first start.
    address: SocketAddr,
    child: Option<Child>,
    /// How often it was started by this supervisor.
    starts: u64,
}

/// All pretend hosts and their processes.
#[derive(Debug, Clone)]
pub(super) struct Supervisor {
    settings: Arc<Settings>,
    hosts: Arc<Vec<Host>>,
}

impl Supervisor {
    /// Prepares the hosts, each with an address of its own; starts nothing.
    ///
    /// # Errors
    /// A host's folder cannot be made.
    pub(super) fn new(settings: Settings, hosts: Vec<(String, IpAddr)>) -> Result<Supervisor, SupervisorError> {
        let host = |(name, address): (String, IpAddr)| {
            let folder = settings.folder.join(&name);
            std::fs::create_dir_all(&folder).map_err(|source| file_error(&folder, source))?;
            let service = Service { address: SocketAddr::new(address, 0), child: None, starts: 0 };
            Ok(Host { name, folder, service: Mutex::new(service), worker: Mutex::new(None) })
        };
        let hosts = hosts.into_iter().map(host).collect::<Result<Vec<_>, _>>()?;
        Ok(Supervisor { settings: Arc::new(settings), hosts: Arc::new(hosts) })
    }

    /// Answers the hosts' restart commands until dropped.
    pub(super) async fn serve(self, listener: TcpListener) {
        http::serve(listener, move |request| {
            let supervisor = self.clone();
            async move { supervisor.answer(&request).await }
        })
        .await;
    }

    async fn answer(&self, request: &Request) -> Answer {
        let (method, parts) = (request.method.as_str(), request.parts());
        let ("POST", ["hosts", name, "restart"]) = (method, parts.as_slice()) else {
            return Answer::new(404, "there is POST /hosts/NAME/restart");
        };
        match self.restart_service(name).await {
            Ok(_) => Answer::json(&json!({ "exit": 0, "stderr": "" })),
            Err(SupervisorError::Exited { exit, output, .. }) => {
                Answer::json(&json!({ "exit": exit, "stderr": output }))
            }
            Err(error) => Answer::new(500, error.to_string()),
        }
    }

    /// The folder of one host: its worker's configuration and state, its logs.
    ///
    /// # Errors
    /// There is no such host.
    pub(super) fn folder(&self, name: &str) -> Result<&Path, SupervisorError> {
        self.host(name).map(|host| host.folder.as_path())
    }

    fn host(&self, name: &str) -> Result<&Host, SupervisorError> {
        self.hosts.iter().find(|host| host.name == name).ok_or_else(|| SupervisorError::Unknown(name.to_owned()))
    }

    /// Kills a host's service, when it runs, and starts it again. Returns where it listens, once it does. A second call for
    /// the same host waits for the first. Cancelled in the middle, it leaves the service dead or starting.
    ///
    /// # Errors
    /// It exits instead of listening, cannot be started, or does neither in time; then it does not run.
    pub(super) async fn restart_service(&self, name: &str) -> Result<SocketAddr, SupervisorError> {
        let host = self.host(name)?;
        let mut service = host.service.lock().await;
        // Counted from here, so that a restart takes as long as it is said to, end and start of processes included.
        let started_at_ms = monotonic_ms().saturating_add(millis(self.settings.start));
        if let Some(old) = service.child.take() {
            end(old, &format!("the service of {name}")).await?;
        }
        service.starts += 1;
        let log = host.folder.join("service.log");
        let said_before = std::fs::metadata(&log).map_or(0, |meta| meta.len());
        let mut child = self.spawn_service(host, service.address, &log, started_at_ms)?;
        let identity = format!("{} {}\n", child.id().unwrap_or_default(), service.starts);
        let identity_file = host.folder.join("identity");
        std::fs::write(&identity_file, identity).map_err(|source| file_error(&identity_file, source))?;
        match tokio::time::timeout(START_TIMEOUT, listens(&mut child)).await {
            Ok(Some(address)) => {
                service.address = address;
                service.child = Some(child);
                Ok(address)
            }
            Ok(None) => {
                let status = child.wait().await.map_err(|source| process_error(name, source))?;
                Err(SupervisorError::Exited {
                    host: name.to_owned(),
                    exit: exit_code(status),
                    output: said_since(&log, said_before).map_err(|source| file_error(&log, source))?,
                })
            }
            Err(_) => Err(SupervisorError::Silent { host: name.to_owned() }),
        }
    }

    fn spawn_service(
        &self,
        host: &Host,
        address: SocketAddr,
        log: &Path,
        started_at_ms: u64,
    ) -> Result<Child, SupervisorError> {
        let errors = append(log)?;
        let mut command = Command::new(&self.settings.exe);
        command.arg("demo-service").args(["--address", &address.to_string()]);
        command.arg("--build").arg(self.settings.folder.join("build"));
        command.arg("--starts").arg(host.folder.join("starts.log"));
        command.args(["--started-at-ms", &started_at_ms.to_string()]);
        command.args(["--parent", &std::process::id().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        spawn(command, &format!("the service of {}", host.name))
    }

    /// Starts a host's worker with the `stagger.toml` in its folder. It ends with this process.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) async fn start_worker(&self, name: &str) -> Result<(), SupervisorError> {
        let host = self.host(name)?;
        let log = host.folder.join("worker.log");
        let (out, errors) = (append(&log)?, append(&log)?);
        let mut command = Command::new(&self.settings.exe);
        // The environment must not lead it to another coordinator than its configuration does.
        command.env_remove("STAGGER_COORDINATOR");
        command.arg("__die-with-parent").arg(std::process::id().to_string()).arg("--");
        command.arg(&self.settings.exe).arg("worker").arg("-c").arg(host.folder.join("stagger.toml"));
        command.stdin(Stdio::null()).stdout(out).stderr(errors);
        *host.worker.lock().await = Some(spawn(command, &format!("the worker of {name}"))?);
        Ok(())
    }

    /// Kills a host's worker as a power cut would, and waits until it is gone.
    ///
    /// # Errors
    /// It cannot be killed.
    pub(super) async fn kill_worker(&self, name: &str) -> Result<(), SupervisorError> {
        match self.host(name)?.worker.lock().await.take() {
            Some(child) => end(child, &format!("the worker of {name}")).await,
            None => Ok(()),
        }
    }

    /// Whether a host's worker runs.
    ///
    /// # Errors
    /// There is no such host.
    pub(super) async fn worker_runs(&self, name: &str) -> Result<bool, SupervisorError> {
        let mut worker = self.host(name)?.worker.lock().await;
        Ok(worker.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None))))
    }

    /// Freezes a host's service and worker, as if it were cut off: connections stay open, and nobody answers.
    ///
    /// # Errors
    /// One of them cannot be signalled.
    pub(super) async fn unplug(&self, name: &str) -> Result<(), SupervisorError> {
        self.signal(name, Signal::STOP).await
    }

    /// Lets a frozen host go on.
    ///
    /// # Errors
    /// One of its processes cannot be signalled.
    pub(super) async fn plug_in(&self, name: &str) -> Result<(), SupervisorError> {
        self.signal(name, Signal::CONT).await
    }

    async fn signal(&self, name: &str, signal: Signal) -> Result<(), SupervisorError> {
        let host = self.host(name)?;
        let (service, worker) = (host.service.lock().await, host.worker.lock().await);
        // The worker first: it must not see its service vanish.
        let pids = [&*worker, &service.child].into_iter().flatten().filter_map(Child::id);
        for pid in pids {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let sent = pid.map_or(Err(rustix::io::Errno::SRCH), |pid| kill_process(pid, signal));
            sent.map_err(|error| process_error(name, error.into()))?;
        }
        Ok(())
    }

    /// Every start of a host's service, oldest first, by its own account.
    ///
    /// # Errors
    /// The account cannot be read.
    pub(super) fn starts(&self, name: &str) -> Result<Vec<Start>, SupervisorError> {
        let path = self.host(name)?.folder.join("starts.log");
        let text = std::fs::read_to_string(&path).map_err(|source| file_error(&path, source))?;
        Ok(text.lines().filter_map(parse_start).collect())
    }

    /// Kills every process and waits until all are gone. Goes on after an error, and returns the first one.
    ///
    /// # Errors
    /// A process could not be killed.
    pub(super) async fn stop(&self) -> Result<(), SupervisorError> {
        let mut first = Ok(());
        let mut dying = Vec::new();
        for host in self.hosts.iter() {
            dying.extend(host.worker.lock().await.take());
            dying.extend(host.service.lock().await.child.take());
        }
        // All at once, then wait: they die side by side.
        let killed: Vec<_> = dying.iter_mut().map(Child::start_kill).collect();
        for (mut child, killed) in dying.into_iter().zip(killed) {
            let ended = killed.and(child.wait().await.map(|_| ()));
            first = first.and(ended.map_err(|source| process_error("a child", source)));
        }
        first
    }
}

fn file_error(path: &Path, source: std::io::Error) -> SupervisorError {
    SupervisorError::File { path: path.to_owned(), source }
}

fn process_error(what: &str, source: std::io::Error) -> SupervisorError {
    SupervisorError::Process { what: what.to_owned(), source }
}

/// In a process group of its own, so that Ctrl-C reaches the demo alone; killed when its handle is dropped.
fn spawn(mut command: Command, what: &str) -> Result<Child, SupervisorError> {
    command.process_group(0).kill_on_drop(true);
    command.spawn().map_err(|source| process_error(what, source))
}

async fn end(mut child: Child, what: &str) -> Result<(), SupervisorError> {
    child.kill().await.map_err(|source| process_error(what, source))
}

fn append(path: &Path) -> Result<File, SupervisorError> {
    OpenOptions::new().create(true).append(true).open(path).map_err(|source| file_error(path, source))
}

/// The address that a starting service prints once it listens; `None` when it ends instead.
async fn listens(child: &mut Child) -> Option<SocketAddr> {
    let mut line = String::new();
    BufReader::new(child.stdout.take()?).read_line(&mut line).await.ok()?;
    line.trim().parse().ok()
}

/// The exit code; of one that a signal ended, 128 and its number, as a shell says it.
fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

fn said_since(log: &Path, offset: u64) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

fn parse_start(line: &str) -> Option<Start> {
    let value = |key: &str| line.split(' ').filter_map(|word| word.split_once('=')).find(|(name, _)| *name == key);
    Some(Start {
        pid: value("pid")?.1.parse().ok()?,
        build: value("build")?.1.parse().ok()?,
        at_ms: value("at_ms")?.1.parse().ok()?,
    })
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
