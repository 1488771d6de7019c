//! What a holder does that was stopped for longer than its lease lives, and hosts whose clocks differ: judged by a resource that
//! refuses tokens older than the newest that it has seen.

use super::contended::{MANY, contend};
use super::servers::{Etcd, Redis};
use super::{SHORT, SLOTS, Scene};
use crate::support::{SOON, children, lines, run, stagger, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::process::Command;
use std::time::Duration;

/// Shell words that act on the resource once: in `acted` when it let them, in `refused` when it did not.
pub(super) fn act(scene: &Scene<'_>, name: &str) -> String {
    let folder = scene.folder.path().display();
    format!(
        "(flock 8; newest=$(cat {folder}/newest 2>/dev/null || echo 0); if [ $STAGGER_TOKEN -lt $newest ]; \
         then echo \"{name} $STAGGER_TOKEN\" >> {folder}/refused; \
         else echo $STAGGER_TOKEN > {folder}/newest; echo \"{name} $STAGGER_TOKEN\" >> {folder}/acted; fi) 8>{folder}/resource"
    )
}

/// Who acted, in order; each as often as it did.
pub(super) fn acted(scene: &Scene<'_>) -> Vec<String> {
    lines(&scene.path("acted")).iter().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
}

fn family(parent: Pid) -> Vec<Pid> {
    let mut all = vec![parent];
    for child in children(parent) {
        all.extend(family(child));
    }
    all
}

/// Stops a process and all that come from it; they are all there is once nobody new is found.
fn stop_family(parent: Pid) -> Vec<Pid> {
    let mut stopped = Vec::new();
    loop {
        let new: Vec<Pid> = family(parent).into_iter().filter(|pid| !stopped.contains(pid)).collect();
        if new.is_empty() {
            return stopped;
        }
        for pid in &new {
            // One that ended meanwhile does nothing any more.
            let _ended = kill_process(*pid, Signal::STOP);
        }
        stopped.extend(new);
    }
}

fn a_holder_is_stopped(url: &str) {
    let scene = Scene::with_slots(url, SHORT, 1);
    // Somebody who decides, and does nothing else.
    let sitting =
        scene.start("sits", scene.command(&["run", "-p", "other", "--name", "sits", "--", "sh", "-c"]), "sleep 600");
    wait_for("it sits", SOON, || scene.said("sits").is_empty().then_some(()).filter(|()| scene.leases().is_some()));
    let script = format!("while :; do {}; sleep 0.05; done", act(&scene, "stopped"));
    let mut holder = scene.start("stopped", scene.command(&scene.words("stopped")), &script);
    wait_for("it acts", SOON, || (acted(&scene).len() > 3).then_some(()));
    let next_script = format!("for i in 1 2 3 4 5 6 7 8 9 10; do {}; sleep 0.3; done", act(&scene, "next"));
    let mut next = scene.start("next", scene.command(&scene.words("next")), &next_script);
    wait_for("the next one waits", SOON, || (scene.queued() == Some(1)).then_some(()));
    // All of it at once: the command cannot act, its guard cannot end it, nobody renews.
    let stopped = stop_family(Pid::from_child(&holder.0));
    wait_for("the next one acts", Duration::from_secs(60), || {
        acted(&scene).iter().any(|name| name == "next").then_some(())
    });
    // First the command alone, so that it surely tries.
    let command_first = stopped.iter().rev();
    command_first.for_each(|pid| {
        let _ended = kill_process(*pid, Signal::CONT);
    });
    wait_for("the stopped one is ended", Duration::from_secs(60), || holder.is_over().then_some(()));
    wait_for("the next one is done", Duration::from_secs(60), || next.is_over().then_some(()));
    let acted = acted(&scene);
    let first = acted.iter().position(|name| name == "next").expect("it acted");
    assert!(acted[first..].iter().all(|name| name == "next"), "a stale holder acted: {acted:?}");
    assert_eq!(acted.len() - first, 10, "whoever holds may act");
    drop(sitting);
}

#[test]
fn a_holder_that_was_stopped_acts_no_more_over_redis() {
    a_holder_is_stopped(&Redis::start().url());
}

#[test]
fn a_holder_that_was_stopped_acts_no_more_over_etcd() {
    a_holder_is_stopped(&Etcd::start(1).url());
}

/// A host whose wall clock is two hours ahead, when its place is odd.
fn two_hours_apart(place: usize, words: &[&str]) -> Command {
    let mut program = stagger();
    if place.is_multiple_of(2) {
        program.args(words);
        return program;
    }
    let mut command = Command::new("faketime");
    command.args(["-f", "+2h"]).arg(program.get_program()).args(words).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command
}

fn clocks_differ(url: &str) {
    let (_, out, _) = run(Command::new("faketime").args(["-f", "+2h", "date", "+%s"]));
    let shifted: u64 = out.trim().parse().expect("faketime: apt-get install faketime");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs();
    assert!((7_100..7_300).contains(&(shifted - now)), "no clock differs");
    // Whoever decides changes between hosts of either clock, for the first is killed, and whoever decides next ends.
    contend(&Scene::spread(Box::new(two_hours_apart), url, SHORT, SLOTS), MANY, 12, Some(Box::new(|_| {})));
}

#[test]
fn clocks_two_hours_apart_are_no_matter_over_redis() {
    clocks_differ(&Redis::start().url());
}

#[test]
fn clocks_two_hours_apart_are_no_matter_over_etcd() {
    clocks_differ(&Etcd::start(1).url());
}
