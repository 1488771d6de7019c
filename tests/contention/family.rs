//! What a command under `run` starts ends before its lease could be anyone else's, wherever it moved to: to a session of its
//! own, behind a parent that is gone, deaf to TERM.

use super::observer::{Observer, running};
use super::{INPUTS, Input, Scene};
use crate::support::{Running, SOON, children, name_of, wait_for};
use rustix::process::{Pid, Signal, kill_process};

/// A command that stays, one in a session of its own, and one whose parent is gone, all deaf to TERM. Each says when it is
/// there; the marker is locked while any of them lives.
fn family(scene: &Scene) -> String {
    let folder = scene.folder.path().display();
    let stay =
        |who: &str| format!("trap '' TERM HUP INT; : > {folder}/x.{who}; while [ -d {folder} ]; do sleep 0.05; done");
    let (session, orphan, command) = (stay("session"), stay("orphan"), stay("command"));
    format!("exec 9>{folder}/markers/x; flock 9; setsid sh -c \"{session}\" & (({orphan}) &); {command}")
}

fn wait_until_there(scene: &Scene) {
    for who in ["session", "orphan", "command"] {
        wait_for("the family is there", SOON, || scene.path(&format!("x.{who}")).exists().then_some(()));
    }
}

fn wait_until_gone(scene: &Scene) {
    wait_for("all of them are gone", SOON, || (running(&scene.markers()) == 0).then_some(()));
}

/// The process of `run` itself.
fn run_of(input: Input, process: &Running) -> Pid {
    let started = Pid::from_child(&process.0);
    match input {
        Input::Nothing => started,
        Input::Terminal => children(started).first().copied().expect("script runs it"),
    }
}

fn guard_of(run: Pid) -> Pid {
    let guard = children(run).into_iter().find(|pid| name_of(*pid) == "stagger-guard");
    guard.expect("a guard")
}

fn code_of(process: &mut Running) -> Option<i32> {
    wait_for("run ends", SOON, || process.0.try_wait().expect("our own child")).code()
}

/// Waits until the next one, which only locks its marker, had its turn; with the family's, never two were locked at once.
fn next_has_its_turn(scene: &Scene, observer: Observer) {
    let marker = scene.path("markers/next").display().to_string();
    let mut next = scene.run(Input::Nothing, "next", &format!("exec 9>{marker}; flock 9"));
    assert_eq!(code_of(&mut next), Some(0), "{}", scene.said("next"));
    assert_eq!(observer.finish().0, 1, "so many ran at once, and there is one slot");
}

fn observed(scene: &Scene) -> Observer {
    Observer::start(scene.markers(), scene.path("full"), 1)
}

#[test]
fn a_family_that_ignores_term_is_gone_before_its_lease_could_be_anyone_elses() {
    for input in INPUTS {
        let scene = Scene::new(1);
        let observer = observed(&scene);
        let mut process = scene.run(input, "x", &family(&scene));
        wait_until_there(&scene);
        // Nobody confirms the lease any more.
        scene.server.signal(Signal::STOP);
        wait_until_gone(&scene);
        scene.server.signal(Signal::CONT);
        assert_eq!(code_of(&mut process), Some(2), "{input:?}: {}", scene.said("x"));
        next_has_its_turn(&scene, observer);
    }
}

#[test]
fn everyone_has_time_to_end_in_order_though_the_command_ends_at_once() {
    for input in INPUTS {
        let scene = Scene::new(1);
        let folder = scene.folder.path().display();
        // The command dies of TERM; what it started needs a moment more.
        let stay = |who: &str| {
            format!(
                "trap 'sleep 0.2; : > {folder}/{who}.tidied; exit' TERM; : > {folder}/x.{who}; while [ -d {folder} ]; do sleep 0.05; done"
            )
        };
        let (session, orphan) = (stay("session"), stay("orphan"));
        let script = format!(
            "setsid sh -c \"{session}\" & (({orphan}) &); : > {folder}/x.command; while [ -d {folder} ]; do sleep 0.05; done"
        );
        let mut process = scene.run(input, "x", &script);
        wait_until_there(&scene);
        scene.server.must(&["release", "x", "--reason", "test", "--live"]);
        assert_eq!(code_of(&mut process), Some(2), "{input:?}: {}", scene.said("x"));
        for who in ["session", "orphan"] {
            assert!(scene.path(&format!("{who}.tidied")).exists(), "{input:?}: {who} had no time");
        }
    }
}

#[test]
fn the_lease_is_kept_until_what_the_command_left_behind_has_ended() {
    for input in INPUTS {
        let scene = Scene::new(1);
        let observer = observed(&scene);
        let (folder, go) = (scene.folder.path().display(), scene.path("go"));
        let stay = format!("while [ -d {folder} -a ! -e {} ]; do sleep 0.05; done", go.display());
        let script = format!("exec 9>{folder}/markers/x; flock 9; setsid sh -c '{stay}' & (({stay}) &); exit 5");
        let mut process = scene.run(input, "x", &script);
        wait_for("it is told what is waited for", SOON, || {
            let said = scene.said("x");
            (said.contains("the command has ended, and what it started has not: ") && said.contains("sh ("))
                .then_some(())
        });
        let marker = scene.path("markers/next").display().to_string();
        let mut next = scene.run(Input::Nothing, "next", &format!("exec 9>{marker}; flock 9"));
        wait_for("the next one waits", SOON, || (scene.queued() == 1).then_some(()));
        assert!(!process.is_over() && !next.is_over());
        std::fs::write(&go, "").expect("a file");
        assert_eq!(code_of(&mut process), Some(5), "{input:?}: the command's own");
        assert_eq!(code_of(&mut next), Some(0), "{}", scene.said("next"));
        assert_eq!(observer.finish().0, 1, "so many ran at once, and there is one slot");
    }
}

#[test]
fn whoever_does_not_want_to_wait_ends_what_the_command_left_behind() {
    for input in INPUTS {
        let scene = Scene::new(1);
        let folder = scene.folder.path().display();
        let stay = format!("while [ -d {folder} ]; do sleep 0.05; done");
        let script = format!("exec 9>{folder}/markers/x; flock 9; setsid sh -c '{stay}' & (({stay}) &); exit 5");
        let mut process = scene.run(input, "x", &script);
        wait_for("it is waited", SOON, || scene.said("x").contains("the lease is kept").then_some(()));
        kill_process(run_of(input, &process), Signal::TERM).expect("our own");
        assert_eq!(code_of(&mut process), Some(5), "{input:?}: {}", scene.said("x"));
        assert_eq!(running(&scene.markers()), 0);
    }
}

#[test]
fn nothing_outlives_a_killed_run() {
    for input in INPUTS {
        let scene = Scene::new(1);
        let observer = observed(&scene);
        let process = scene.run(input, "x", &family(&scene));
        wait_until_there(&scene);
        kill_process(run_of(input, &process), Signal::KILL).expect("our own");
        wait_until_gone(&scene);
        next_has_its_turn(&scene, observer);
    }
}

#[test]
fn nothing_outlives_a_killed_guard_and_the_lease_is_given_back() {
    for input in INPUTS {
        let scene = Scene::new(1);
        let observer = observed(&scene);
        let mut process = scene.run(input, "x", &family(&scene));
        wait_until_there(&scene);
        let guard = guard_of(run_of(input, &process));
        kill_process(guard, Signal::TERM).expect("our own");
        kill_process(guard, Signal::KILL).expect("our own");
        assert_eq!(code_of(&mut process), Some(137), "{input:?}: {}", scene.said("x"));
        assert_eq!(running(&scene.markers()), 0, "nothing is left when the lease is given back");
        assert!(scene.said("x").contains("the guard of the command was killed"), "{}", scene.said("x"));
        next_has_its_turn(&scene, observer);
    }
}

#[test]
fn the_command_dies_with_run_and_guard_together() {
    let scene = Scene::new(1);
    let script = format!("exec 9>{}/x; flock 9; trap '' TERM; exec sleep 300", scene.markers().display());
    let process = scene.run(Input::Nothing, "x", &script);
    wait_for("it runs", SOON, || (running(&scene.markers()) == 1).then_some(()));
    let run = run_of(Input::Nothing, &process);
    let guard = guard_of(run);
    // Stopped first, so that neither can do anything about the other's end.
    for signal in [Signal::STOP, Signal::KILL] {
        kill_process(guard, signal).expect("our own");
        kill_process(run, signal).expect("our own");
    }
    wait_until_gone(&scene);
}

#[test]
fn a_command_whose_run_is_stopped_does_not_outlive_its_lease() {
    for input in INPUTS {
        let scene = Scene::new(1);
        let observer = observed(&scene);
        let mut process = scene.run(input, "x", &family(&scene));
        wait_until_there(&scene);
        let run = run_of(input, &process);
        kill_process(run, Signal::STOP).expect("our own");
        next_has_its_turn(&scene, observer);
        assert_eq!(running(&scene.markers()), 0);
        // script(1) stops itself when what it runs is stopped, and then sees no end of it; its end is ours.
        for pid in [Pid::from_child(&process.0), run] {
            kill_process(pid, Signal::CONT).expect("our own");
        }
        wait_for("it is told why", SOON, || scene.said("x").contains("error: the command was ended").then_some(()));
        if input == Input::Nothing {
            assert_eq!(code_of(&mut process), Some(2), "{}", scene.said("x"));
        }
    }
}
