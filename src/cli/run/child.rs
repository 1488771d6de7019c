//! The command under `run`: its start behind a guard, the signals sent to it, and its end with everything that it started.
//!
//! When standard input is a terminal, the command stays in `run`'s own process group, since only the foreground group may
//! read from one; otherwise it leads a group of its own. The guard is in neither, so that no signal from a terminal reaches
//! it. Should it be killed, `run` itself has adopted all that is left, and kills it.

use super::guard::{GUARD, THIS_PROGRAM};
use super::leash::Leash;
use super::processes::{self, Descendants, Reaped};
use crate::cli::out;
use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process, kill_process_group};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

/// The pause before those that were killed are looked for again.
const KILL_PAUSE: Duration = Duration::from_millis(20);

/// A running command.
#[derive(Debug)]
pub(super) struct Child {
    guard: tokio::process::Child,
    guard_pid: Option<Pid>,
    leash: Leash,
    /// Whether the other end of the leash is still there.
    is_leashed: bool,
    pid: Option<Pid>,
    /// Whether it leads a process group of its own.
    leads: bool,
    /// Whether it was said that something may not be signalled.
    said_refused: bool,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It has ended, and something that it started has not.
    Ended,
    /// Nothing is left of it. Its exit code, as shells say it; none when its guard was killed, and it with that.
    Over(Option<u8>),
}

impl Child {
    /// Starts it. It is killed, with everything that it started, when this program ends, and at `until` (of
    /// `CLOCK_BOOTTIME`) unless [`Child::keep_until`] says otherwise before.
    ///
    /// # Errors
    /// The system does not start this program once more. That the command itself cannot be run shows in its exit code.
    pub(super) fn start(
        command: &[OsString],
        environment: &BTreeMap<&'static str, String>,
        until: Duration,
    ) -> io::Result<Child> {
        processes::adopt_orphans()?;
        let leads = !io::stdin().is_terminal();
        let group = if leads { 0 } else { getpgrp().as_raw_nonzero().get() };
        let (ours, theirs) = Leash::pair()?;
        let guard = {
            let mut guard = tokio::process::Command::new(THIS_PROGRAM);
            guard.arg0(env!("CARGO_PKG_NAME")).arg(GUARD).arg(group.to_string()).args(command).envs(environment);
            guard.stdin(theirs).process_group(0).spawn()?
        };
        // When the guard is gone already, its end tells.
        let leash = Leash::hold(ours, &io::stdin(), until)?;
        let guard_pid = guard.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        Ok(Child { guard, guard_pid, leash, is_leashed: true, pid: None, leads, said_refused: false })
    }

    /// Lets it live until then, of `CLOCK_BOOTTIME`.
    pub(super) fn keep_until(&self, until: Duration) {
        self.leash.until(until);
    }

    /// Waits for what becomes of it. Dropping the future loses nothing. After [`News::Over`] it says the same again.
    ///
    /// # Errors
    /// The system does not tell about this program's children.
    pub(super) async fn news(&mut self) -> io::Result<News> {
        loop {
            tokio::select! {
                told = self.leash.next(), if self.is_leashed => match (told, self.pid) {
                    (Some(pid), None) => self.pid = i32::try_from(pid).ok().and_then(Pid::from_raw),
                    (Some(_code), Some(_)) => return Ok(News::Ended),
                    (None, _) => self.is_leashed = false,
                },
                status = self.guard.wait() => {
                    let code = status?.code().and_then(|code| u8::try_from(code).ok());
                    if code.is_none() {
                        self.kill_orphans().await?;
                    }
                    return Ok(News::Over(code));
                }
            }
        }
    }

    /// Kills all that the guard left when it was killed itself.
    async fn kill_orphans(&mut self) -> io::Result<()> {
        loop {
            match processes::reap()? {
                Reaped::One(..) => {}
                Reaped::NobodyLeft => return Ok(()),
                Reaped::None => {
                    self.end_all(Signal::KILL);
                    tokio::time::sleep(KILL_PAUSE).await;
                }
            }
        }
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

    /// Sends a signal to it and to everything that it started, wherever that moved to.
    pub(super) fn end_all(&mut self, signal: Signal) {
        let refused = self.left().signal(signal);
        if !refused.is_empty() && !self.said_refused {
            self.said_refused = true;
            let them = refused.named();
            out::note(&format!("warning: cannot end {them}: it runs as another user; it is waited for"));
        }
    }

    /// It and everything that it started, as far as it has not ended.
    pub(super) fn left(&self) -> Descendants {
        Descendants::of(getpid(), self.guard_pid)
    }
}
