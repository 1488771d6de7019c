//! Many processes of `stagger run` want the same few slots, and some are killed: an observer that never asks the lock
//! server counts what really runs, by the kernel's own locks on marker files.

mod confirming;
mod family;
pub(crate) mod observer;

use crate::support::{Dice, LockServer, Running, SOON, lines, pause, run, stagger, wait_for};
use observer::{Observer, running};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const SLOTS: usize = 3;

/// What a command under `run` has for standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Nothing,
    Terminal,
}

const INPUTS: [Input; 2] = [Input::Nothing, Input::Terminal];

/// A folder with a lock server of one pool, and what runs under its leases.
struct Scene {
    folder: tempfile::TempDir,
    server: LockServer,
}

impl Scene {
    /// With so many slots, and leases that are soon someone else's.
    fn new(slots: usize) -> Scene {
        let folder = tempfile::tempdir().expect("a folder");
        let server = LockServer::start(folder.path());
        for setting in [format!("slots={slots}").as_str(), "ttl=2s", "lost_after=1s"] {
            server.set("pool/p", setting);
        }
        std::fs::create_dir(folder.path().join("markers")).expect("a folder");
        Scene { folder, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn markers(&self) -> PathBuf {
        self.path("markers")
    }

    /// What a holder of this name says to people.
    fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    fn queued(&self) -> usize {
        self.server.json(&["leases"])["queue"].as_array().map_or(0, Vec::len)
    }

    /// Starts a shell script under a lease. At a terminal the process returned is `script`, whose child is `run`.
    fn run(&self, input: Input, name: &str, script: &str) -> Running {
        let words = ["run", "-p", "p", "--name", name, "--wait", "5m", "--", "sh", "-c", script];
        let mut command = match input {
            Input::Nothing => self.server.command(&words),
            Input::Terminal => terminal(&self.server, &words),
        };
        let log = std::fs::File::create(self.path(&format!("{name}.log"))).expect("a log");
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        Running::of(command.spawn().expect("the program starts"))
    }
}

/// The program at a terminal of its own, by script(1) of util-linux (Debian: bsdutils).
fn terminal(server: &LockServer, words: &[&str]) -> Command {
    let quoted = |word: &str| format!("'{}'", word.replace('\'', "'\\''"));
    let program = stagger().get_program().to_string_lossy().into_owned();
    let line: Vec<_> = std::iter::once(program.as_str()).chain(words.iter().copied()).map(quoted).collect();
    let mut command = Command::new("script");
    command.args(["-qec", &format!("exec {}", line.join(" ")), "/dev/null"]).env_clear();
    command.envs(server.command(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))));
    // Held open: a terminal at which nobody types.
    command.stdin(Stdio::piped());
    command
}

/// What each process runs: lock a marker, write down whose turn it is, with its token, and work for a moment, once it was
/// seen that all slots can be in use. With `family` the command ends before what it started does.
fn turn(scene: &Scene, name: &str, family: bool) -> String {
    let folder = scene.folder.path().display();
    let work = format!("while [ -d {folder} -a ! -e {folder}/full ]; do sleep 0.05; done; sleep 0.2");
    let work = if family { format!("setsid sh -c '{work}' & (({work}) &)") } else { work };
    format!("exec 9>{folder}/markers/{name}; flock 9; echo \"{name} $STAGGER_TOKEN\" >> {folder}/turns; {work}")
}

/// Lets the processes contend, kills `kills` of them, whatever they are at, and looks at what ran.
fn contend(inputs: &[Input], count: usize, kills: usize, family: bool) {
    let scene = Scene::new(SLOTS);
    let observer = Observer::start(scene.markers(), scene.path("full"), SLOTS);
    // Nothing is granted until all wait, so that their order is known.
    scene.server.must(&["pause", "pool/p", "--reason", "everyone lines up", "--for", "1h"]);
    let mut processes: Vec<Option<Running>> = Vec::new();
    for place in 0..count {
        let name = format!("w{place:02}");
        let process = scene.run(inputs[place % inputs.len()], &name, &turn(&scene, &name, family));
        processes.push(Some(process));
        wait_for("the process waits", SOON, || (scene.queued() == place + 1).then_some(()));
    }
    scene.server.must(&["resume", "pool/p"]);

    let mut dice = Dice(0x5EED);
    let mut killed = 0;
    while killed < kills && !processes.iter_mut().flatten().all(Running::is_over) {
        for _ in 0..1 + dice.roll(12) {
            pause();
        }
        let victim = usize::try_from(dice.roll(count as u64)).expect("a place");
        if processes[victim].as_mut().is_some_and(|process| !process.is_over()) {
            // At a terminal this takes the terminal away.
            drop(processes[victim].take());
            killed += 1;
        }
    }
    wait_for("every survivor had its turn", Duration::from_secs(90), || {
        processes.iter_mut().flatten().all(Running::is_over).then_some(())
    });
    wait_for("nothing is left", SOON, || (running(&scene.markers()) == 0).then_some(()));
    let (peak, looks) = observer.finish();
    assert!(looks > 1000, "the observer hardly looked: {looks}");
    assert_eq!(peak, SLOTS, "so many ran at once, and there are {SLOTS} slots");
    assert!(killed > 0, "nobody was killed");
    let survivors: Vec<String> = processes
        .iter()
        .enumerate()
        .filter_map(|(place, process)| process.as_ref().map(|_| format!("w{place:02}")))
        .collect();
    check_turns(&scene.path("turns"), &survivors);
}

fn check_turns(file: &Path, survivors: &[String]) {
    let turns: Vec<(String, u64)> = lines(file)
        .iter()
        .map(|line| {
            let (name, token) = line.split_once(' ').expect("a name and a token");
            (name.to_owned(), token.parse().expect("a token"))
        })
        .collect();
    let by_token: BTreeMap<u64, &String> = turns.iter().map(|(name, token)| (*token, name)).collect();
    assert_eq!(by_token.len(), turns.len(), "a token was granted twice: {turns:?}");
    for name in survivors {
        let times = turns.iter().filter(|(other, _)| other == name).count();
        assert_eq!(times, 1, "{name} had so many turns");
    }
    // Tokens are given in the order of grants: that is the order in which they lined up.
    let order: Vec<&String> = by_token.into_values().collect();
    assert!(order.is_sorted(), "out of order: {order:?}");
}

#[test]
fn fifty_processes_contend_for_three_slots_while_some_are_killed() {
    contend(&[Input::Nothing], 50, 12, false);
}

#[test]
fn families_contend_at_terminals_and_without_while_some_are_killed() {
    contend(&INPUTS, 24, 6, true);
}

#[test]
fn a_command_that_cannot_be_run_asks_for_no_lease() {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "").expect("written");
    let plain = plain.display().to_string();
    for (program, code, why) in
        [("no-such-program", 127, "it is in no folder of PATH"), (plain.as_str(), 126, "is no executable file")]
    {
        // Nobody is there to be asked.
        let url = "http://127.0.0.1:1";
        let (exit, _, err) =
            run(stagger().args(["run", "-p", "p", "-E", "9", "--coordinator", url, "--", program, "x"]));
        assert_eq!(exit, code, "{err}");
        assert!(err.starts_with(&format!("error: cannot run {program}: ")) && err.contains(why), "{err}");
    }
}
