//! The command under `run`: its start, the signals sent to it, and its end with everything that it started.
//!
//! It is started through `__die-with-parent`, so that it is killed when `run` is. When standard input is a terminal it stays
//! in `run`'s own process group, since only the foreground group may read from one; otherwise it leads a group of its own.

use crate::probe::exec::DIE_WITH_PARENT;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

/// Most processes that are looked through for descendants: a bound on a machine gone wild.
const PROCESSES_MAX: usize = 1_000_000;

/// A running command.
#[derive(Debug)]
pub(super) struct Child {
    inner: tokio::process::Child,
    pid: Option<Pid>,
    /// Whether it leads a process group of its own.
    leads: bool,
}

impl Child {
    /// Starts it. Call it on the thread that lives as long as the program: the command is killed when that thread ends.
    ///
    /// # Errors
    /// The system does not start this program once more. That the command itself is not there shows in its exit code.
    pub(super) fn start(command: &[OsString], environment: &BTreeMap<&'static str, String>) -> io::Result<Child> {
        let leads = !io::stdin().is_terminal();
        let mut shim = tokio::process::Command::new(std::env::current_exe()?);
        shim.arg(DIE_WITH_PARENT).arg(std::process::id().to_string()).arg("--").args(command);
        shim.envs(environment).kill_on_drop(true);
        if leads {
            shim.process_group(0);
        }
        let inner = shim.spawn()?;
        let pid = inner.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        Ok(Child { inner, pid, leads })
    }

    /// Waits for its end. Dropping the future loses nothing.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.inner.wait().await
    }

    /// Hands on a signal that `run` got.
    pub(super) fn forward(&self, signal: Signal) {
        // What is typed at a terminal reaches every process of the foreground group by itself.
        if !self.leads && (signal == Signal::INT || signal == Signal::QUIT) {
            return;
        }
        if let Some(pid) = self.pid {
            let sent = if self.leads { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
            // It has ended in this moment; its end is waited for anyway.
            let _gone = sent;
        }
    }

    /// Sends a signal to it and to everything that it started.
    pub(super) fn end_all(&self, signal: Signal) {
        let Some(pid) = self.pid else { return };
        if self.leads {
            let _gone = kill_process_group(pid, signal);
            return;
        }
        for descendant in descendants(pid) {
            let _gone = kill_process(descendant, signal);
        }
        if self.inner.id().is_some() {
            let _gone = kill_process(pid, signal);
        }
    }
}

/// The exit code that tells how a command ended, as shells say it.
pub(super) fn code(status: ExitStatus) -> u8 {
    match status.code() {
        Some(code) => u8::try_from(code).unwrap_or(u8::MAX),
        None => super::exit::of_signal(status.signal().unwrap_or(0)),
    }
}

/// Every process that this one started, and what those started, as far as their parents still live.
fn descendants(ancestor: Pid) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.take(PROCESSES_MAX).filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let parents: BTreeMap<i32, i32> = pids.filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
    let ancestor = ancestor.as_raw_nonzero().get();
    let descends = |pid: i32| {
        let mut chain = std::iter::successors(Some(pid), |pid| parents.get(pid).copied()).skip(1).take(parents.len());
        chain.any(|pid| pid == ancestor)
    };
    parents.keys().copied().filter(|pid| descends(*pid)).filter_map(Pid::from_raw).collect()
}

/// The parent, from `/proc/PID/stat`: the second field behind the name, which is in brackets and may hold anything.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn the_exit_code_is_the_commands_own() {
        assert_eq!(code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(code(ExitStatus::from_raw(255 << 8)), 255);
        assert_eq!(code(ExitStatus::from_raw(15)), 143);
    }

    #[test]
    fn descendants_are_found_however_deep() {
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "(sleep 60 & sleep 60; :); :"])
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("a shell");
        let pid = Pid::from_child(&shell);
        let deadline = Instant::now() + Duration::from_secs(10);
        // The shell, a subshell, and two that sleep.
        while descendants(pid).len() < 3 {
            assert!(Instant::now() < deadline, "found {:?}", descendants(pid));
            std::thread::yield_now();
        }
        for descendant in descendants(pid) {
            kill_process(descendant, Signal::KILL).expect("killed");
        }
        shell.wait().expect("ended");
    }
}
