//! The pretend service, a process of its own for each host: `stagger demo-service`.
//!
//! Answers `GET /` after a few milliseconds, `/slow?ms=N` after so long and `/healthz` at once, each with its build and pid.
//! Killed, it loses the requests that it is at. It takes a while to start, reads which build is installed when it does, and
//! refuses to run a broken one. Started by the supervisor; ends with the process that started it.

use crate::cli::demo::http::{self, Answer, Request};
use crate::cli::out;
use serde_json::json;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};

/// How a service ends that cannot use its configuration: `EX_CONFIG` of sysexits.h.
const EXIT_CONFIGURATION: u8 = 78;
/// How it ends when it cannot have its address, or its files.
const EXIT_FAILED: u8 = 1;
/// How long an ordinary request takes.
const ANSWER_TIME: Duration = Duration::from_millis(3);
/// Longest that a slow one may be asked to take.
const SLOW_TIME_MAX: Duration = Duration::from_secs(30);
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 256;

/// A pretend service of `stagger demo`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DemoServiceArgs {
    /// Where to listen; its port may be 0
    #[arg(long)]
    address: SocketAddr,
    /// The file that says which build is installed: its number, and on a second line what is wrong with it
    #[arg(long)]
    build: PathBuf,
    /// The file that every start is written to
    #[arg(long)]
    starts: PathBuf,
    /// When its start is over, on the system's monotonic clock, in milliseconds
    #[arg(long)]
    started_at_ms: u64,
    /// The process that it ends with
    #[arg(long)]
    parent: i32,
}

/// What goes wrong before the service listens; each fits after "cannot start: ".
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("the process that started it is gone")]
    Orphan,
    #[error("{0}")]
    Broken(String),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
}

/// The build that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Build {
    /// Its number.
    pub(super) number: u64,
    /// What is wrong with it; nothing with a good one.
    pub(super) fault: Option<String>,
}

impl Build {
    /// Installs it: services that start from now on run it. Atomic, so that none reads half of it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn install(&self, path: &Path) -> std::io::Result<()> {
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, format!("{}\n{}", self.number, self.fault.as_deref().unwrap_or_default()))?;
        std::fs::rename(fresh, path)
    }

    fn read(path: &Path) -> Result<Build, StartError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| StartError::File { path: path.to_owned(), source })?;
        let (number, fault) = text.split_once('\n').unwrap_or((text.as_str(), ""));
        let number = number.parse().map_err(|_| StartError::Broken(format!("no build is installed: {text:?}")))?;
        Ok(Build { number, fault: Some(fault.to_owned()).filter(|fault| !fault.is_empty()) })
    }
}

/// Runs the service until it is killed. Returns its exit code when it cannot start.
pub(crate) async fn run(args: DemoServiceArgs) -> u8 {
    let error = match start(&args).await {
        Ok((listener, build)) => {
            serve(listener, build).await;
            return 0;
        }
        Err(error) => error,
    };
    out::note(&error.to_string());
    if matches!(error, StartError::Broken(_)) { EXIT_CONFIGURATION } else { EXIT_FAILED }
}

async fn start(args: &DemoServiceArgs) -> Result<(TcpListener, u64), StartError> {
    end_with(args.parent)?;
    let build = Build::read(&args.build)?;
    log_start(args, &build)?;
    if let Some(fault) = build.fault {
        return Err(StartError::Broken(format!("[build {}] {fault}", build.number)));
    }
    tokio::time::sleep(Duration::from_millis(args.started_at_ms.saturating_sub(monotonic_ms()))).await;
    let listener = listen(args.address).map_err(|source| StartError::Listen { address: args.address, source })?;
    let address = listener.local_addr().map_err(|source| StartError::Listen { address: args.address, source })?;
    // The supervisor waits for this line. It may be gone; then this process ends as well.
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{address}").and_then(|()| out.flush());
    Ok((listener, build.number))
}

/// The system's monotonic clock, in milliseconds: the same for all processes.
pub(super) fn monotonic_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanoseconds) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds * 1000 + nanoseconds / 1_000_000
}

/// Has the kernel kill this process when its parent ends, even by SIGKILL.
fn end_with(parent: i32) -> Result<(), StartError> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    let asked = set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
    // A parent that ended before the question was asked sends no signal any more.
    let is_its_child = getppid().is_some_and(|pid| pid.as_raw_nonzero().get() == parent);
    if asked && is_its_child { Ok(()) } else { Err(StartError::Orphan) }
}

/// One line per start, with pid, build and time in milliseconds since 1970: what the acts count restarts by.
fn log_start(args: &DemoServiceArgs, build: &Build) -> Result<(), StartError> {
    let failed = |source| StartError::File { path: args.starts.clone(), source };
    let mut log = OpenOptions::new().create(true).append(true).open(&args.starts).map_err(failed)?;
    let at_ms = jiff::Timestamp::now().as_millisecond();
    let line = format!("pid={} build={} at_ms={at_ms}\n", std::process::id(), build.number);
    log.write_all(line.as_bytes()).map_err(failed)
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // The connections of the process before may still be dying.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn serve(listener: TcpListener, build: u64) {
    http::serve(listener, move |request| async move { answer(&request, build).await }).await;
}

async fn answer(request: &Request, build: u64) -> Answer {
    let Some(time) = time_of(request) else {
        return Answer::new(404, "there are /, /slow and /healthz");
    };
    tokio::time::sleep(time).await;
    Answer::json(&json!({ "build": build, "pid": std::process::id() }))
}

/// How long a request takes; `None` when there is no such path.
fn time_of(request: &Request) -> Option<Duration> {
    match request.parts().as_slice() {
        [] => Some(ANSWER_TIME),
        ["slow"] => {
            let ms = request.query("ms").and_then(|ms| ms.parse().ok()).unwrap_or(0);
            Some(Duration::from_millis(ms).min(SLOW_TIME_MAX))
        }
        ["healthz"] => Some(Duration::ZERO),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_reads_as_it_was_installed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("build");
        assert!(matches!(Build::read(&path), Err(StartError::File { .. })));
        for fault in [None, Some("unknown entry 'pm.max_chldren'".to_owned())] {
            let build = Build { number: 3, fault };
            build.install(&path).expect("installed");
            assert_eq!(Build::read(&path).expect("a build"), build);
        }
        std::fs::write(&path, "nonsense").expect("written");
        assert!(matches!(Build::read(&path), Err(StartError::Broken(_))));
    }

    #[test]
    fn a_request_takes_its_time() {
        let time_ms = |target: &str| time_of(&Request::get(target)).map(|time| time.as_millis());
        let targets = ["/", "/slow?ms=2500", "/slow", "/slow?ms=99999999", "/healthz", "/else"];
        assert_eq!(targets.map(time_ms), [Some(3), Some(2500), Some(0), Some(30_000), Some(0), None]);
    }

    #[tokio::test]
    async fn it_answers_with_its_build_and_pid() {
        let answered = answer(&Request::get("/"), 7).await;
        let body: serde_json::Value = serde_json::from_str(&answered.body).expect("JSON");
        assert_eq!((answered.status, body), (200, json!({ "build": 7, "pid": std::process::id() })));
        assert_eq!(answer(&Request::get("/else"), 7).await.status, 404);
    }
}
