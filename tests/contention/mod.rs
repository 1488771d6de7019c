//! Many processes of `stagger run` want the same few slots, and some are killed: an observer that never asks the lock
//! server counts what really runs, by the kernel's own locks on marker files.

use crate::support::{Dice, LockServer, Running, SOON, lines, pause, stagger, wait_for};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const PROCESSES: usize = 50;
const SLOTS: usize = 3;

/// Counts, until it is stopped, how many marker files are locked at once. The kernel unlocks them when their process is gone.
struct Observer {
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicUsize>,
    looks: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

fn is_locked(path: &Path) -> bool {
    let Ok(file) = std::fs::File::open(path) else { return false };
    // Shared, so that a look never stands in the way of anything but a look.
    matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock))
}

fn running(markers: &Path) -> usize {
    let entries = std::fs::read_dir(markers).into_iter().flatten().flatten();
    entries.filter(|entry| is_locked(&entry.path())).count()
}

impl Observer {
    fn start(markers: PathBuf) -> Observer {
        let (stop, peak, looks) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (stopped, highest, looked) = (stop.clone(), peak.clone(), looks.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                highest.fetch_max(running(&markers), Ordering::Relaxed);
                looked.fetch_add(1, Ordering::Relaxed);
                std::thread::yield_now();
            }
        });
        Observer { stop, peak, looks, thread: Some(thread) }
    }

    fn finish(mut self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("a thread").join().expect("the observer");
        (self.peak.load(Ordering::Relaxed), self.looks.load(Ordering::Relaxed))
    }
}

/// What each process runs: lock a marker, write down whose turn it is, with its token, and hold for a moment.
fn script(folder: &Path, name: &str) -> String {
    format!(
        "exec 9>{0}/markers/{name}; flock -n 9 || exit 9; echo \"{name} $STAGGER_TOKEN\" >> {0}/turns; sleep 0.2 9>&-",
        folder.display()
    )
}

#[test]
fn fifty_processes_contend_for_three_slots_while_some_are_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = LockServer::start(folder.path());
    server.set("pool/p", "slots=3");
    server.set("pool/p", "ttl=2s");
    server.set("pool/p", "lost_after=1s");
    std::fs::create_dir(folder.path().join("markers")).expect("a folder");
    let observer = Observer::start(folder.path().join("markers"));

    // Nothing is granted until all wait, so that their order is known.
    server.must(&["pause", "pool/p", "--reason", "everyone lines up", "--for", "1h"]);
    let mut processes: Vec<Option<Running>> = Vec::new();
    for place in 0..PROCESSES {
        let name = format!("w{place:02}");
        let mut command = stagger();
        command.args([
            "run",
            "-p",
            "p",
            "--name",
            &name,
            "--coordinator",
            &server.url,
            "--",
            "sh",
            "-c",
            &script(folder.path(), &name),
        ]);
        command.stderr(std::process::Stdio::null());
        processes.push(Some(Running(command.spawn().expect("the program starts"))));
        wait_for("the process waits", SOON, || {
            let queue = server.json(&["leases"])["queue"].as_array().map_or(0, Vec::len);
            (queue == place + 1).then_some(())
        });
    }
    server.must(&["resume", "pool/p"]);

    // Some are killed, whatever they are at: waiting, holding, or done.
    let mut dice = Dice(0x5EED);
    let mut killed = Vec::new();
    while killed.len() < 12 {
        for _ in 0..1 + dice.roll(12) {
            pause();
        }
        let victim = usize::try_from(dice.roll(PROCESSES as u64)).expect("a place");
        if let Some(mut process) = processes[victim].take() {
            if process.is_over() {
                processes[victim] = Some(process);
                if processes.iter().flatten().count() == 0 {
                    break;
                }
            } else {
                process.kill();
                killed.push(victim);
            }
        }
        let all_over = processes.iter_mut().flatten().all(Running::is_over);
        if all_over {
            break;
        }
    }
    wait_for("every survivor had its turn", Duration::from_secs(90), || {
        processes.iter_mut().flatten().all(Running::is_over).then_some(())
    });
    let (peak, looks) = observer.finish();
    assert!(looks > 1000, "the observer hardly looked: {looks}");
    assert!(peak <= SLOTS, "{peak} ran at once, and there are {SLOTS} slots");
    assert!(peak == SLOTS, "only {peak} of {SLOTS} slots were ever used at once");
    assert!(!killed.is_empty(), "nobody was killed");

    let turns: Vec<(String, u64)> = lines(&folder.path().join("turns"))
        .iter()
        .map(|line| {
            let (name, token) = line.split_once(' ').expect("a name and a token");
            (name.to_owned(), token.parse().expect("a token"))
        })
        .collect();
    let by_token: BTreeMap<u64, &String> = turns.iter().map(|(name, token)| (*token, name)).collect();
    assert_eq!(by_token.len(), turns.len(), "a token was granted twice: {turns:?}");
    for (place, process) in processes.iter().enumerate() {
        let name = format!("w{place:02}");
        let times = turns.iter().filter(|(other, _)| *other == name).count();
        assert!(process.is_none() || times == 1, "{name} had {times} turns");
    }
    // Tokens are given in the order of grants: among the survivors that is the order in which they lined up.
    let order: Vec<&String> = by_token.into_values().collect();
    assert!(order.is_sorted(), "out of order: {order:?}");
}

#[test]
fn a_child_does_not_outlive_a_killed_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = LockServer::start(folder.path());
    std::fs::create_dir(folder.path().join("markers")).expect("a folder");
    let script = format!("exec 9>{0}/markers/x; flock -n 9 || exit 9; exec sleep 300", folder.path().display());
    let mut command = server.command(&["run", "-p", "p"]);
    let mut process = Running(command.args(["--", "sh", "-c", &script]).spawn().expect("the program starts"));
    let markers = folder.path().join("markers");
    wait_for("the child runs", SOON, || (running(&markers) == 1).then_some(()));
    process.kill();
    wait_for("the child is gone too", SOON, || (running(&markers) == 0).then_some(()));
}

#[test]
fn a_child_is_ended_before_its_lease_could_be_anyone_elses() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = LockServer::start(folder.path());
    server.set("pool/p", "slots=1");
    server.set("pool/p", "ttl=2s");
    server.set("pool/p", "lost_after=1s");
    std::fs::create_dir(folder.path().join("markers")).expect("a folder");
    let script = format!(
        "exec 9>{0}/markers/x; flock -n 9 || exit 9; trap '' TERM; while :; do sleep 0.1; done",
        folder.path().display()
    );
    let mut command = server.command(&["run", "-p", "p"]);
    command.args(["--", "sh", "-c", &script]).stderr(std::process::Stdio::null());
    let mut process = Running(command.spawn().expect("the program starts"));
    let markers = folder.path().join("markers");
    wait_for("the child runs", SOON, || (running(&markers) == 1).then_some(()));
    // The lock server stands still: nobody confirms the lease any more, and the child ignores TERM.
    server.signal(rustix::process::Signal::STOP);
    wait_for("the child is ended", SOON, || (running(&markers) == 0).then_some(()));
    server.signal(rustix::process::Signal::CONT);
    let status = wait_for("the command ends", SOON, || process.0.try_wait().expect("our own child"));
    assert_eq!(status.code(), Some(2));
    // Afterwards the slot can be had again.
    server.must(&["run", "-p", "p", "--wait", "30s", "--", "true"]);
}
