//! What a process started, and what that started: found in `/proc`, counted, named and signalled.
//!
//! Complete for a process that adopts the orphans below it (`PR_SET_CHILD_SUBREAPER`): whatever group or session a descendant
//! moved to, its line of parents leads here. A look is no moment: what is started meanwhile is found by the next one.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, set_child_subreaper, wait};
use std::collections::BTreeMap;
use std::io;

/// Most processes that are looked through: a bound on a machine gone wild.
const PROCESSES_MAX: usize = 1_000_000;
/// How many processes are named to a person.
const NAMED_MAX: usize = 4;

/// One of `/proc`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    parent: i32,
    name: String,
    /// It has ended, and its parent has not looked yet.
    is_over: bool,
}

/// What came of a look at the own children.
#[derive(Debug)]
pub(super) enum Reaped {
    /// One has ended.
    One(Pid, WaitStatus),
    /// All that are there are at work.
    None,
    /// There are none, and so no descendants.
    NobodyLeft,
}

/// Makes this process the parent of every descendant whose own parent ends.
///
/// # Errors
/// The system knows no such thing: a Linux before 3.4.
pub(super) fn adopt_orphans() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Takes note of one child that has ended. Waits for nothing.
///
/// # Errors
/// None that is known.
pub(super) fn reap() -> io::Result<Reaped> {
    match wait(WaitOptions::NOHANG) {
        Ok(Some((pid, status))) => Ok(Reaped::One(pid, status)),
        Ok(None) => Ok(Reaped::None),
        Err(Errno::CHILD) => Ok(Reaped::NobodyLeft),
        Err(error) => Err(error.into()),
    }
}

/// What is below this process, without `except`.
#[derive(Debug)]
pub(super) struct Descendants(Vec<(Pid, String)>);

impl Descendants {
    /// Looks for them.
    pub(super) fn of(ancestor: Pid, except: Option<Pid>) -> Descendants {
        let all = all();
        let ancestor = ancestor.as_raw_nonzero().get();
        let descends = |pid: i32| {
            let parent = |pid: &i32| all.get(pid).map(|process| process.parent);
            std::iter::successors(Some(pid), parent).skip(1).take(all.len()).any(|pid| pid == ancestor)
        };
        let below = all.iter().filter(|(pid, process)| !process.is_over && descends(**pid));
        let named = below.filter_map(|(pid, process)| Some((Pid::from_raw(*pid)?, process.name.clone())));
        Descendants(named.filter(|(pid, _)| Some(*pid) != except).collect())
    }

    /// Sends each a signal. Returns those that may not be signalled: they run as somebody else.
    pub(super) fn signal(&self, signal: Signal) -> Descendants {
        let refused = |pid: &Pid| kill_process(*pid, signal) == Err(Errno::PERM);
        Descendants(self.0.iter().filter(|(pid, _)| refused(pid)).cloned().collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `sleep (4711), nginx (4712) and 3 more`.
    pub(super) fn named(&self) -> String {
        let names: Vec<_> = self.0.iter().take(NAMED_MAX).map(|(pid, name)| format!("{name} ({pid})")).collect();
        match self.0.len().saturating_sub(NAMED_MAX) {
            0 => names.join(", "),
            more => format!("{} and {more} more", names.join(", ")),
        }
    }
}

fn all() -> BTreeMap<i32, Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return BTreeMap::new() };
    let pids = entries.take(PROCESSES_MAX).filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let read = |pid: i32| parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?);
    pids.filter_map(|pid| Some((pid, read(pid)?))).collect()
}

/// `/proc/PID/stat`: the process id, the name in brackets, which may hold anything, the state, the parent.
fn parse(stat: &[u8]) -> Option<Process> {
    let stat = String::from_utf8_lossy(stat);
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let mut fields = after.split_whitespace();
    let state = fields.next()?;
    Some(Process { parent: fields.next()?.parse().ok()?, name: name.to_owned(), is_over: matches!(state, "Z" | "X") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_name_may_hold_anything() {
        let process = Process { parent: 12, name: "a) S 3 (b".to_owned(), is_over: false };
        assert_eq!(parse(b"7 (a) S 3 (b) S 12 7 7 0"), Some(process));
        assert!(parse(b"7 (\xff) Z 12 7").expect("one that has ended").is_over);
        assert_eq!(parse(b"7 (a"), None);
    }

    #[test]
    fn descendants_are_found_however_deep_and_ended_together() {
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "(sleep 60 & setsid -w sleep 60; :); :"])
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("a shell");
        let pid = Pid::from_child(&shell);
        let deadline = Instant::now() + Duration::from_secs(10);
        // A subshell and two that sleep.
        let found = loop {
            let found = Descendants::of(pid, None);
            if found.0.iter().filter(|(_, name)| name == "sleep").count() == 2 {
                break found;
            }
            assert!(Instant::now() < deadline, "found {found:?}");
            std::thread::yield_now();
        };
        assert!(found.named().contains("sleep ("), "{}", found.named());
        let first = found.0[0].0;
        assert!(Descendants::of(pid, Some(first)).0.iter().all(|(pid, _)| *pid != first));
        assert!(found.signal(Signal::KILL).is_empty(), "they are our own");
        shell.wait().expect("ended");
        assert!(Descendants::of(pid, None).is_empty());
    }

    #[test]
    fn few_are_named_and_the_rest_is_counted() {
        let some = |count: i32| {
            Descendants((1..=count).filter_map(|pid| Some((Pid::from_raw(pid)?, format!("p{pid}")))).collect()).named()
        };
        assert_eq!(some(2), "p1 (1), p2 (2)");
        assert_eq!(some(6), "p1 (1), p2 (2), p3 (3), p4 (4) and 2 more");
    }
}
