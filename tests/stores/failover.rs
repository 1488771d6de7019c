//! A fail-over of Redis that loses writes: what the manual says may happen, and nothing worse.

use super::contended::{MANY, contend, turns_pass};
use super::fenced::{act, acted};
use super::servers::Watched;
use super::{SHORT, Scene};
use crate::contention::observer::Observer;
use crate::support::{Running, SOON, lines, wait_for};
use std::time::{Duration, Instant};

#[test]
fn a_fail_over_that_loses_writes_lets_no_stale_holder_act() {
    let mut watched = Watched::start();
    let scene = Scene::with_slots(&watched.url(), SHORT, 1);
    let observer = Observer::start(scene.path("markers"), scene.path("full"), 1);
    let start = |name: &str| {
        let work = format!("for i in 1 2 3 4 5 6 7 8 9 10; do {}; sleep 0.2; done", act(&scene, name));
        scene.start(name, scene.command(&scene.words(name)), &scene.turn(name, &work))
    };
    let mut processes: Vec<Running> = Vec::new();
    processes.push(start("before"));
    wait_for("the first turn", SOON, || (scene.turns().len() == 1).then_some(()));
    let is_there = || watched.replica.ask("HGET stagger:{default}:token p").contains("1").then_some(());
    wait_for("the replica knows of it", SOON, is_there);
    // What is granted from here on the replica never hears of.
    watched.freeze_replica();
    wait_for("the first is done", SOON, || processes[0].is_over().then_some(()));
    processes.push(start("unknown"));
    wait_for("a turn that is lost", SOON, || (scene.turns().len() == 2).then_some(()));
    let lost = Instant::now();
    watched.fail_over();
    processes.extend(["x", "y", "z"].map(start));
    wait_for("all are done", Duration::from_secs(180), || processes.iter_mut().all(Running::is_over).then_some(()));
    let (peak, _) = observer.finish();
    assert_eq!(peak, 1, "{:?}", scene.turns());
    let turns = scene.turns();
    assert!(turns.windows(2).all(|pair| pair[0].0 < pair[1].0), "a token was granted twice: {turns:?}");
    assert!(turns[2..].iter().all(|(token, _)| *token > 1_000_000), "{turns:?}");
    assert!(lost.elapsed() > Duration::from_secs(30), "nothing is decided for as long as an unknown lease may live");
    let names = acted(&scene);
    let order: Vec<&String> = names.iter().zip(names.iter().skip(1)).filter(|(a, b)| a != b).map(|(_, b)| b).collect();
    assert!(order.iter().all(|name| order.iter().filter(|other| *other == name).count() == 1), "{order:?}");
    assert_eq!(lines(&scene.path("refused")), [] as [&str; 0]);
    assert!(scene.must(&["history"]).contains("lacking"), "the history says that something may be gone");
}

#[test]
fn fifty_processes_contend_over_a_redis_that_fails_over_and_loses_writes() {
    let mut watched = Watched::start();
    let url = watched.url();
    let loses = |scene: &Scene<'_>| {
        watched.freeze_replica();
        turns_pass(scene, 4);
        watched.fail_over();
    };
    contend(&Scene::new(&url, SHORT), MANY, 12, Some(Box::new(loses)));
}
