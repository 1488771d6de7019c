//! The whole program over a real Redis and a real etcd: the demo, and many processes of `stagger run` that want few slots while
//! some are killed, whoever decides for the others among them. What really runs is counted by the kernel's locks on marker files.

mod servers;

use crate::contention::observer::{Observer, running};
use crate::support::{Dice, Running, SOON, lines, pause, run, stagger, wait_for};
use serde_json::Value;
use servers::Server;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const SLOTS: usize = 3;

/// A domain of a store, and what runs under its leases.
struct Scene {
    folder: tempfile::TempDir,
    server: Server,
}

impl Scene {
    fn new(server: Server, ttl: &str) -> Scene {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("markers")).expect("a folder");
        let scene = Scene { folder, server };
        for setting in ["slots=3", &format!("ttl={ttl}"), "lost_after=1s"] {
            scene.must(&["set", "pool/p", setting, "--reason", "test"]);
        }
        scene
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = stagger();
        command.env("STAGGER_COORDINATOR", self.server.url()).args(words);
        command
    }

    fn must(&self, words: &[&str]) -> String {
        let (code, out, err) = run(&mut self.command(words));
        assert_eq!(code, 0, "{words:?}: {err}");
        out
    }

    fn queued(&self) -> Option<usize> {
        let (code, out, _) = run(&mut self.command(&["leases", "--json"]));
        let leases: Value = serde_json::from_str(&out).ok().filter(|_| code == 0)?;
        Some(leases["queue"].as_array().map_or(0, Vec::len))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a process that locks its marker, writes its turn and its token down, and works for a moment once it was seen that
    /// all slots can be in use.
    fn run(&self, name: &str) -> Running {
        let folder = self.folder.path().display();
        let work = format!("while [ -d {folder} -a ! -e {folder}/full ]; do sleep 0.05; done; sleep 0.2");
        let script = format!(
            "exec 9>{folder}/markers/{name}; flock 9; echo \"{name} $STAGGER_TOKEN\" >> {folder}/turns; {work}"
        );
        let mut command = self.command(&["run", "-p", "p", "--name", name, "--wait", "5m", "--", "sh", "-c", &script]);
        let log = std::fs::File::create(self.path(&format!("{name}.log"))).expect("a log");
        Running(command.stdout(Stdio::null()).stderr(log).spawn().expect("the program starts"))
    }

    /// Every turn: whose, and its token, in the order of tokens.
    fn turns(&self) -> Vec<(u64, String)> {
        let read = |line: &String| {
            let (name, token) = line.split_once(' ').expect("a name and a token");
            (token.parse().expect("a token"), name.to_owned())
        };
        let mut turns: Vec<_> = lines(&self.path("turns")).iter().map(read).collect();
        turns.sort();
        turns
    }
}

/// Leases that live shorter than a dead steward's seat: whoever holds one then may lose it.
const SHORT: &str = "2s";
/// Leases that outlive it.
const LONG: &str = "15s";

/// Lets processes contend, kills some of them, and the server itself once when it is told to.
fn contend(server: Server, ttl: &str, count: usize, kills: usize, restarts: bool) {
    let mut scene = Scene::new(server, ttl);
    let observer = Observer::start(scene.path("markers"), scene.path("full"), SLOTS);
    // Nothing is granted until all wait, so that their order is known.
    scene.must(&["pause", "pool/p", "--reason", "everyone lines up", "--for", "1h"]);
    let mut processes: Vec<Option<Running>> = Vec::new();
    for place in 0..count {
        processes.push(Some(scene.run(&format!("w{place:02}"))));
        wait_for("the process waits", SOON, || (scene.queued() == Some(place + 1)).then_some(()));
    }
    scene.must(&["resume", "pool/p"]);
    // The first that waited called first when nobody sat: it decides for all, and is killed first.
    wait_for("the first turns", SOON, || (scene.turns().len() >= SLOTS).then_some(()));
    let mut dice = Dice(0x5EED);
    let mut killed = 1;
    drop(processes[0].take());
    while killed < kills && !processes.iter_mut().flatten().all(Running::is_over) {
        let victim = usize::try_from(dice.roll(count as u64)).expect("a place");
        if processes[victim].as_mut().is_some_and(|process| !process.is_over()) {
            drop(processes[victim].take());
            killed += 1;
        }
        for _ in 0..1 + dice.roll(12) {
            pause();
        }
        if restarts && killed == 2 {
            scene.server.restart();
        }
    }
    wait_for("every survivor had its turn", Duration::from_secs(240), || {
        processes.iter_mut().flatten().all(Running::is_over).then_some(())
    });
    wait_for("nothing is left", SOON, || (running(&scene.path("markers")) == 0).then_some(()));
    let (peak, looks) = observer.finish();
    assert!(looks > 1000, "the observer hardly looked: {looks}");
    assert_eq!(peak, SLOTS, "so many ran at once, and there are {SLOTS} slots");
    let turns = scene.turns();
    assert!(turns.windows(2).all(|pair| pair[0].0 < pair[1].0), "a token was granted twice: {turns:?}");
    for (place, process) in processes.iter().enumerate().filter(|(_, process)| process.is_some()) {
        let name = format!("w{place:02}");
        let said = std::fs::read_to_string(scene.path(&format!("{name}.log"))).unwrap_or_default();
        // A grant that no steward is there to confirm is given up.
        let gave_up = ttl == SHORT && said.contains("could not be confirmed");
        assert!(
            gave_up || process.is_some() && turns.iter().any(|(_, other)| *other == name),
            "{name} had no turn: {said}"
        );
    }
}

#[test]
fn processes_contend_over_redis_while_some_are_killed() {
    contend(Server::redis(), SHORT, 20, 6, false);
}

#[test]
fn processes_contend_over_etcd_while_some_are_killed() {
    contend(Server::etcd(), SHORT, 20, 6, false);
}

#[test]
fn every_survivor_has_its_turn_though_the_steward_is_killed() {
    contend(Server::etcd(), LONG, 10, 2, false);
}

#[test]
fn processes_contend_over_a_redis_that_is_killed_and_started_again() {
    contend(Server::redis(), SHORT, 10, 3, true);
}

/// Plays the demo in a store, and looks that nothing is left of it there.
fn demo(server: &Server) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = stagger();
    command.env("TMPDIR", folder.path()).args(["demo", "--hosts", "6", "--slots", "2", "--json", "--coordinator"]);
    let (code, out, err) = run(command.arg(server.url()));
    assert_eq!(code, 0, "{out}\n{err}");
    let summary: Value = serde_json::from_str(&out).expect("a summary");
    assert_eq!((&summary["restarted"], &summary["failed_requests"]), (&6.into(), &0.into()), "{out}");
    assert!(summary["peak_out"].as_u64().is_some_and(|peak| peak == 2), "{out}");
    assert!(is_empty(folder.path()), "something is left on the disk");
    let left: Vec<String> =
        server.keys().into_iter().filter(|key| key.contains("/lease/") || key.ends_with(":lease")).collect();
    assert_eq!(left, [] as [&str; 0], "something is left in the store");
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).expect("a folder").next().is_none()
}

#[test]
fn the_demo_plays_over_redis() {
    demo(&Server::redis());
}

#[test]
fn the_demo_plays_over_etcd() {
    demo(&Server::etcd());
}
