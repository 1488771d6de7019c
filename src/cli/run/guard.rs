//! The guard of a command under `run`: a process between both, whose own end says that nothing is left of the command.
//!
//! It adopts whatever the command starts and leaves behind, so that nothing gets away, and ends when there is none left. When
//! `run` is gone, or does not say in time that its lease was confirmed (it is stopped, for instance), it kills them all: a
//! command never outlives its lease. The command in turn is killed by the kernel when the guard is. Called by the program
//! itself, through `__guard`; it never talks to a coordinator, and prints only why it cannot start.

use super::boottime;
use super::leash::Leash;
use super::ownership::LOOK_EVERY_MAX;
use super::processes::{self, Descendants, Reaped};
use crate::cli::{exit, out};
use crate::probe::exec::DIE_WITH_PARENT;
use rustix::process::{Pid, Signal, WaitStatus, getpid};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The hidden command that is the guard: the process group of the command (0 for one of its own), and the command.
pub(crate) const GUARD: &str = "__guard";
/// This program, even when the file that it was started from has been replaced meanwhile.
pub(super) const THIS_PROGRAM: &str = "/proc/self/exe";

/// What processes are shown as. Without it that would be `exe`.
const NAME: &std::ffi::CStr = c"stagger-guard";
/// The pause before those that were killed are looked for again. What may not be killed, and what is stuck in the kernel, is
/// waited for.
const KILL_PAUSE: Duration = Duration::from_millis(100);

/// Is the guard, until nothing is left of the command. Returns the command's exit code, as shells say it.
pub(crate) fn guard(arguments: &[OsString]) -> u8 {
    let [group, command @ ..] = arguments else { return exit::USAGE };
    let Some(group) = group.to_str().and_then(|group| group.parse().ok()) else { return exit::USAGE };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(stay(group, command))) {
        Ok(code) => code,
        Err(error) => {
            out::note(&format!("error: cannot guard the command: {error}"));
            exit::CANNOT_START
        }
    }
}

async fn stay(group: i32, command: &[OsString]) -> io::Result<u8> {
    // Only a name.
    let _unnamed = rustix::thread::set_name(NAME);
    processes::adopt_orphans()?;
    let mut children = signal(SignalKind::child())?;
    // What is sent to all that a command started may reach the guard of a `run` among them, and is not meant for it.
    for ignored in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()] {
        let _never_read = signal(ignored)?;
    }
    let (leash, input, mut until) = Leash::take(io::stdin().as_fd().try_clone_to_owned()?.into())?;
    let command = start(group, command, input)?;
    leash.tell(u64::from(command.as_raw_nonzero().get().unsigned_abs()));
    let (mut code, mut told, mut ending) = (None, false, false);
    loop {
        loop {
            match processes::reap()? {
                Reaped::One(pid, status) if pid == command => code = Some(code_of(status)),
                Reaped::One(..) => {}
                Reaped::None => break,
                Reaped::NobodyLeft => return Ok(code.unwrap_or(exit::CANNOT_START)),
            }
        }
        if let Some(code) = code.filter(|_| !told) {
            leash.tell(u64::from(code));
            told = true;
        }
        tokio::select! {
            _ = children.recv() => {}
            order = leash.next(), if !ending => match order {
                Some(order) => until = Duration::from_millis(order),
                None => ending = true,
            },
            () = tokio::time::sleep(if ending { KILL_PAUSE } else { rest(until) }) => {}
        }
        ending |= boottime::now() >= until;
        if ending {
            let _not_ours = Descendants::of(getpid(), None).signal(Signal::KILL);
        }
    }
}

/// How long nothing is due. Timers stand still while the machine sleeps, so the clock is looked at again and again.
fn rest(until: Duration) -> Duration {
    until.saturating_sub(boottime::now()).min(LOOK_EVERY_MAX)
}

/// Starts the command, which is killed when this thread ends: the only one.
fn start(group: i32, command: &[OsString], input: OwnedFd) -> io::Result<Pid> {
    let mut shim = std::process::Command::new(THIS_PROGRAM);
    shim.arg(DIE_WITH_PARENT).arg(std::process::id().to_string()).arg("--").args(command);
    Ok(Pid::from_child(&shim.process_group(group).stdin(input).spawn()?))
}

fn code_of(status: WaitStatus) -> u8 {
    match status.exit_status() {
        Some(code) => u8::try_from(code).unwrap_or(u8::MAX),
        None => exit::of_signal(status.terminating_signal().unwrap_or(0)),
    }
}
