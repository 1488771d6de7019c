//! Many processes want few slots while some are killed, whoever decides for the others among them, and the store has its own trouble.

use super::servers::{Etcd, Redis};
use super::{LONG, SHORT, SLOTS, Scene};
use crate::contention::observer::{Observer, running};
use crate::support::{Dice, Running, SOON, pause, signal, wait_for};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// What befalls everyone in the middle of it.
pub(super) type Outage<'a> = Option<Box<dyn FnOnce() + 'a>>;

/// Lets processes contend, kills some of them, and has the outage come in between. Never do more than there are slots run, no
/// token is granted twice, and every survivor has its turn.
pub(super) fn contend(url: &str, ttl: &str, count: usize, kills: usize, mut outage: Outage<'_>) {
    let scene = Scene::new(url, ttl);
    let observer = Observer::start(scene.path("markers"), scene.path("full"), SLOTS);
    // Nothing is granted until all wait, so that their order is known.
    scene.must(&["pause", "pool/p", "--reason", "everyone lines up", "--for", "1h"]);
    let mut processes: Vec<Option<Running>> = Vec::new();
    for place in 0..count {
        processes.push(Some(scene.run(&name(place))));
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
        if killed >= 2
            && let Some(strikes) = outage.take()
        {
            strikes();
        }
    }
    assert!(outage.is_none(), "nothing befell them");
    wait_for("every survivor had its turn", Duration::from_secs(240), || {
        processes.iter_mut().flatten().all(Running::is_over).then_some(())
    });
    wait_for("nothing is left", SOON, || (running(&scene.path("markers")) == 0).then_some(()));
    let (peak, looks) = observer.finish();
    assert!(looks > 1000, "the observer hardly looked: {looks}");
    assert_eq!(peak, SLOTS, "so many ran at once, and there are {SLOTS} slots");
    let turns = scene.turns();
    let mut tokens: Vec<u64> = turns.iter().map(|(token, _)| *token).collect();
    tokens.sort_unstable();
    assert!(tokens.windows(2).all(|pair| pair[0] < pair[1]), "a token was granted twice: {turns:?}");
    for (place, _) in processes.iter().enumerate().filter(|(_, process)| process.is_some()) {
        let said = scene.said(&name(place));
        // A grant that no steward is there to confirm is given up.
        let gave_up = ttl == SHORT && said.contains("could not be confirmed");
        assert!(gave_up || turns.iter().any(|(_, other)| *other == name(place)), "{place} had no turn: {said}");
    }
}

fn name(place: usize) -> String {
    format!("w{place:02}")
}

#[test]
fn fifty_processes_contend_over_redis_while_some_are_killed() {
    contend(&Redis::start().url(), SHORT, 50, 12, None);
}

#[test]
fn fifty_processes_contend_over_etcd_while_some_are_killed() {
    contend(&Etcd::start(1).url(), SHORT, 50, 12, None);
}

#[test]
fn every_survivor_has_its_turn_though_the_steward_is_killed() {
    contend(&Etcd::start(1).url(), LONG, 10, 2, Some(Box::new(|| {})));
}

#[test]
fn processes_contend_over_a_redis_that_is_killed_and_started_again() {
    let mut redis = Redis::start();
    contend(&redis.url(), SHORT, 10, 3, Some(Box::new(|| redis.restart())));
}

#[test]
fn processes_contend_over_an_etcd_whose_leader_dies() {
    let mut etcd = Etcd::start(3);
    contend(&etcd.url(), LONG, 20, 4, Some(Box::new(|| etcd.kill_leader())));
}

/// A steward that is stopped for longer than it keeps its seat, and goes on: it is believed no more, neither by others nor by itself.
fn a_steward_freezes(url: &str) {
    let scene = Scene::with_slots(url, SHORT, 1);
    let observer = Observer::start(scene.path("markers"), scene.path("full"), 1);
    // It asks first, so it sits; and it holds the one slot.
    let stay = scene.turn("steward", "while :; do sleep 0.1; done");
    let mut steward = scene.start("steward", scene.command(&scene.words("steward")), &stay);
    wait_for("its turn", SOON, || (scene.turns().len() == 1).then_some(()));
    let mut next = scene.run("next");
    wait_for("the next one waits", SOON, || (scene.queued() == Some(1)).then_some(()));
    signal(&steward.0, Signal::STOP);
    let frozen = Instant::now();
    // Its own leash ends what runs under it; then the slot is the next one's, by whoever sits now.
    wait_for("the next one's turn", Duration::from_secs(60), || (scene.turns().len() == 2).then_some(()));
    wait_for("the seat's time is over", SOON, || (frozen.elapsed() > Duration::from_secs(8)).then_some(()));
    signal(&steward.0, Signal::CONT);
    wait_for("the next one is done", Duration::from_secs(60), || next.is_over().then_some(()));
    wait_for("the frozen one is told", Duration::from_secs(60), || steward.is_over().then_some(()));
    let (peak, _) = observer.finish();
    assert_eq!(peak, 1, "{:?}", scene.turns());
    let turns = scene.turns();
    assert!(turns[0].0 < turns[1].0, "{turns:?}");
    wait_for("no lease is left", SOON, || {
        scene.leases().filter(|leases| leases["leases"].as_array().is_some_and(Vec::is_empty)).map(drop)
    });
}

#[test]
fn a_steward_that_freezes_is_believed_no_more_over_redis() {
    a_steward_freezes(&Redis::start().url());
}

#[test]
fn a_steward_that_freezes_is_believed_no_more_over_etcd() {
    a_steward_freezes(&Etcd::start(1).url());
}
