//! The whole program over real Redis and etcd servers: the demo, workers behind doors, a domain that moves, and many processes of
//! `stagger run` that want few slots while what they rest on dies, freezes or is cut off. What really runs is counted by the kernel's
//! locks on marker files, and what a stale holder may do is judged by a resource that looks at tokens.

mod contended;
mod cut;
mod demo;
mod doors;
mod failover;
mod fenced;
mod moved;
mod replies;
pub(crate) mod servers;

use crate::support::{Running, lines, run, stagger};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// How many may run at once.
const SLOTS: usize = 3;
/// Leases that live shorter than a dead steward's seat: whoever holds one then may lose it.
const SHORT: &str = "2s";
/// Leases that outlive it.
const LONG: &str = "15s";

/// How a command begins on the host at a place; the first host is the one that people use.
type Hosts<'a> = Box<dyn Fn(usize, &[&str]) -> Command + 'a>;

/// A domain of a store, and what runs under its leases.
struct Scene<'a> {
    folder: tempfile::TempDir,
    url: String,
    hosts: Hosts<'a>,
}

impl<'a> Scene<'a> {
    fn new(url: &str, ttl: &str) -> Scene<'a> {
        Scene::with_slots(url, ttl, SLOTS)
    }

    fn with_slots(url: &str, ttl: &str, slots: usize) -> Scene<'a> {
        let here = |_, words: &[&str]| {
            let mut command = stagger();
            command.args(words);
            command
        };
        Scene::spread(Box::new(here), url, ttl, slots)
    }

    fn spread(hosts: Hosts<'a>, url: &str, ttl: &str, slots: usize) -> Scene<'a> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("markers")).expect("a folder");
        let scene = Scene { folder, url: url.to_owned(), hosts };
        for setting in [&format!("slots={slots}"), &format!("ttl={ttl}"), "lost_after=1s"] {
            scene.must(&["set", "pool/p", setting, "--reason", "test"]);
        }
        scene
    }

    fn command(&self, words: &[&str]) -> Command {
        self.command_at(0, words)
    }

    fn command_at(&self, place: usize, words: &[&str]) -> Command {
        let mut command = (self.hosts)(place, words);
        command.env("STAGGER_COORDINATOR", &self.url);
        command
    }

    fn must(&self, words: &[&str]) -> String {
        let (code, out, err) = run(&mut self.command(words));
        assert_eq!(code, 0, "{words:?}: {err}");
        out
    }

    /// The leases, when somebody answers.
    fn leases(&self) -> Option<Value> {
        let (code, out, _) = run(&mut self.command(&["leases", "--json"]));
        serde_json::from_str(&out).ok().filter(|_| code == 0)
    }

    fn queued(&self) -> Option<usize> {
        Some(self.leases()?["queue"].as_array().map_or(0, Vec::len))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a process that takes its turn does: it locks its marker, writes its turn and its token down, and works.
    fn turn(&self, name: &str, work: &str) -> String {
        let folder = self.folder.path().display();
        format!("exec 9>{folder}/markers/{name}; flock 9; echo \"{name} $STAGGER_TOKEN\" >> {folder}/turns; {work}")
    }

    /// Starts a process under a lease that takes its turn, and works for a moment once it was seen that all slots can be in use.
    fn run(&self, place: usize, name: &str) -> Running {
        self.run_until("full", "sleep 0.2", place, name)
    }

    /// Starts a process under a lease that takes its turn, and does its work once a file is there.
    fn run_until(&self, file: &str, work: &str, place: usize, name: &str) -> Running {
        let folder = self.folder.path().display();
        let work = format!("while [ -d {folder} -a ! -e {folder}/{file} ]; do sleep 0.05; done; {work}");
        self.start(name, self.command_at(place, &self.words(name)), &self.turn(name, &work))
    }

    /// Shows that the outcome of whoever took turns is right: no token was granted twice, and nobody had two turns.
    fn one_turn_each(&self) {
        let turns = self.turns();
        let distinct = |what: Vec<String>| what.iter().collect::<std::collections::BTreeSet<_>>().len() == turns.len();
        assert!(distinct(turns.iter().map(|(token, _)| token.to_string()).collect()), "a token twice: {turns:?}");
        assert!(distinct(turns.iter().map(|(_, name)| name.clone()).collect()), "two turns of one: {turns:?}");
    }

    /// The words of a command that waits for its turn; the script is to follow.
    fn words<'n>(&self, name: &'n str) -> [&'n str; 10] {
        ["run", "-p", "p", "--name", name, "--wait", "5m", "--", "sh", "-c"]
    }

    fn start(&self, name: &str, mut command: Command, script: &str) -> Running {
        let log = std::fs::File::create(self.path(&format!("{name}.log"))).expect("a log");
        Running::of(command.arg(script).stdout(Stdio::null()).stderr(log).spawn().expect("the program starts"))
    }

    /// What a process said.
    fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    /// Every turn: whose, and its token, in the order in which they began.
    fn turns(&self) -> Vec<(u64, String)> {
        let read = |line: &String| {
            let (name, token) = line.split_once(' ').expect("a name and a token");
            (token.parse().expect("a token"), name.to_owned())
        };
        lines(&self.path("turns")).iter().map(read).collect()
    }
}
