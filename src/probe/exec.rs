//! Runs one command, for a bounded time, and keeps the end of what it printed.
//!
//! Owns the process: its group, its end when the time is over or the future is dropped, and, when asked, its end with this
//! program; and what is left of those that could not be killed (`left`). Never uses a shell. A command that ended by itself may leave a service running behind it: that is left alone.
//! Called by the probes, the balancers and the units.

mod left;

pub use left::Left;

use crate::config::Command;
use model::bound::end;
use rustix::process::{Pid, Signal};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, timeout};

/// How much of each output is kept: its end.
pub const OUTPUT_BYTES_MAX: usize = model::rollout::OUTPUT_BYTES_MAX;
/// How long output is waited for once the command has ended: a service that it left behind may keep the pipe open for ever.
const OUTPUT_GRACE: Duration = Duration::from_millis(100);
/// How long a killed command may take to be gone.
const REAP_MAX: Duration = Duration::from_secs(1);
/// The variables by which a service manager speaks with this program: sd_notify(3). A command that saw them might answer in its place.
pub const NOT_FOR_COMMANDS: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];
/// The hidden command that ends with its parent; the command line calls [`die_with_parent`] for it.
pub const DIE_WITH_PARENT: &str = "__die-with-parent";

/// How to run a command.
#[derive(Debug, Clone)]
pub struct ExecOptions {
    /// After this it is killed, with its whole process group.
    pub timeout: Duration,
    /// Added to this program's own environment, which it sees without [`NOT_FOR_COMMANDS`].
    pub env: Vec<(String, String)>,
    /// This program's executable, when the command must not outlive it: it is then started through [`DIE_WITH_PARENT`].
    /// What the command itself started may outlive both.
    pub die_with_parent: Option<PathBuf>,
    /// Where it is noted when it is killed.
    pub left: Left,
}

/// How a command ended, by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code; 128 and the signal's number when a signal ended it.
    pub code: i32,
    /// The end of what it printed.
    pub stdout: String,
    /// The end of what it complained.
    pub stderr: String,
    /// Whether it printed more than is kept: its first word is not known then, nor what it did not print.
    pub is_stdout_cut: bool,
    /// Whether it complained more than is kept.
    pub is_stderr_cut: bool,
    /// How long it took.
    pub elapsed: Duration,
}

impl Exit {
    /// Whether it ended with 0.
    pub fn is_success(&self) -> bool {
        self.code == 0
    }

    /// In one line: the code, and the last words, of the complaints if there are any.
    pub fn cause(&self) -> String {
        let last = |text: &str| text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned);
        match last(&self.stderr).or_else(|| last(&self.stdout)) {
            Some(line) => format!("exit {}: {line}", self.code),
            None => format!("exit {}", self.code),
        }
    }

    /// What it printed and complained, one after the other, at most [`OUTPUT_BYTES_MAX`] bytes of it.
    pub fn output(&self) -> String {
        output(&self.stdout, &self.stderr)
    }
}

/// A command did not end by itself.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It cannot be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// Which program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// Its end cannot be learned.
    #[error("cannot wait for {program}: {source}")]
    Wait {
        /// Which program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It took too long and was killed, as far as that is possible.
    #[error("{program} took longer than {}{}", model::settings::span(model::time::millis(*after)), fate(*is_left))]
    TimedOut {
        /// Which program.
        program: String,
        /// How long it was given.
        after: Duration,
        /// What it had printed and complained.
        output: String,
        /// Something of it runs still: it is somebody else's, such as what runs under `sudo`, or the kernel does not let it go.
        is_left: bool,
    },
}

fn fate(is_left: bool) -> &'static str {
    if is_left { ", could not be killed and still runs" } else { " and was killed" }
}

/// Runs a command and waits for its end. Dropped, it kills the command and its process group.
///
/// # Errors
/// The command cannot be started, or took too long. An exit code other than 0 is no error here.
pub async fn run(command: &Command, options: &ExecOptions) -> Result<Exit, ExecError> {
    let program = || command.program().to_owned();
    let started = Instant::now();
    let mut child =
        prepare(command, options).spawn().map_err(|source| ExecError::Start { program: program(), source })?;
    let mut group = Group::of(child.id(), command, &options.left);
    let (mut out, mut err) = (Tail::of(child.stdout.take()), Tail::of(child.stderr.take()));
    let ended = timeout(options.timeout, wait(&mut child, &mut out, &mut err)).await;
    match ended {
        Ok(status) => {
            let status = status.map_err(|source| ExecError::Wait { program: program(), source })?;
            group.forget();
            // Only what is in the pipes already is of interest; too late is as good as never.
            let _late = timeout(OUTPUT_GRACE, async { tokio::join!(out.read_all(), err.read_all()) }).await;
            Ok(Exit {
                code: code(status),
                stdout: out.text(),
                stderr: err.text(),
                is_stdout_cut: out.is_cut,
                is_stderr_cut: err.is_cut,
                elapsed: started.elapsed(),
            })
        }
        Err(_elapsed) => {
            drop(group);
            // It is killed; whether it is reaped here or later by the runtime changes nothing.
            let _reaped = timeout(REAP_MAX, child.wait()).await;
            Err(ExecError::TimedOut {
                program: program(),
                after: options.timeout,
                output: output(&out.text(), &err.text()),
                is_left: options.left.ended([command], REAP_MAX).await.is_err(),
            })
        }
    }
}

fn prepare(command: &Command, options: &ExecOptions) -> tokio::process::Command {
    let mut prepared = match &options.die_with_parent {
        Some(exe) => {
            let mut shim = tokio::process::Command::new(exe);
            shim.arg(DIE_WITH_PARENT).arg(std::process::id().to_string()).arg("--").arg(command.program());
            shim
        }
        None => tokio::process::Command::new(command.program()),
    };
    for variable in NOT_FOR_COMMANDS {
        prepared.env_remove(variable);
    }
    prepared
        .args(command.words().iter().skip(1))
        .envs(options.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    prepared
}

/// Waits for the end while it reads, so that a full pipe never stops the command.
async fn wait(
    child: &mut tokio::process::Child,
    out: &mut Tail<tokio::process::ChildStdout>,
    err: &mut Tail<tokio::process::ChildStderr>,
) -> io::Result<ExitStatus> {
    loop {
        tokio::select! {
            status = child.wait() => return status,
            () = out.read_some(), if !out.is_ended() => {}
            () = err.read_some(), if !err.is_ended() => {}
        }
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn output(stdout: &str, stderr: &str) -> String {
    let mut all = stdout.to_owned();
    if !all.is_empty() && !all.ends_with('\n') {
        all.push('\n');
    }
    all.push_str(stderr);
    end(&all, OUTPUT_BYTES_MAX)
}

/// A command's process group; killed when dropped, unless the command has ended by itself.
struct Group<'a> {
    leader: Option<Pid>,
    command: &'a Command,
    left: &'a Left,
}

impl<'a> Group<'a> {
    fn of(id: Option<u32>, command: &'a Command, left: &'a Left) -> Self {
        Self { leader: id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw), command, left }
    }

    fn forget(&mut self) {
        self.leader = None;
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            // It may be gone already; then there is nothing to kill. Whether it can be killed at all shows when somebody looks.
            let _gone = rustix::process::kill_process_group(leader, Signal::KILL);
            self.left.note(self.command, leader);
        }
    }
}

/// The end of an output, while it is read.
struct Tail<R> {
    from: Option<R>,
    kept: Vec<u8>,
    /// Whether something before what is kept was let go.
    is_cut: bool,
}

impl<R: AsyncRead + Unpin> Tail<R> {
    fn of(from: Option<R>) -> Self {
        Self { from, kept: Vec::new(), is_cut: false }
    }

    fn is_ended(&self) -> bool {
        self.from.is_none()
    }

    /// Reads what there is. Loses nothing when dropped.
    async fn read_some(&mut self) {
        let Some(from) = &mut self.from else { return };
        let mut chunk = [0; 4096];
        match from.read(&mut chunk).await {
            Ok(0) | Err(_) => self.from = None,
            Ok(length) => {
                self.kept.extend_from_slice(&chunk[..length]);
                let surplus = self.kept.len().saturating_sub(OUTPUT_BYTES_MAX);
                self.kept.drain(..surplus);
                self.is_cut |= surplus > 0;
            }
        }
    }

    async fn read_all(&mut self) {
        while !self.is_ended() {
            self.read_some().await;
        }
    }

    /// As text; what is not UTF-8, or was cut in the middle of a letter, is replaced.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

/// Becomes the command `argv`, which from then on is killed when the process `parent`, which must be this one's parent,
/// ends. Returns only when that failed.
pub fn die_with_parent(parent: u32, argv: &[OsString]) -> io::Error {
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    // The parent may have died before the line above; then nobody would ever send the signal.
    let present = rustix::process::getppid().and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok());
    if present != Some(parent) {
        return io::Error::other("the program that wanted this command is gone");
    }
    match argv.split_first() {
        Some((program, arguments)) => std::process::Command::new(program).args(arguments).exec(),
        None => io::Error::new(io::ErrorKind::InvalidInput, "no command was given"),
    }
}
