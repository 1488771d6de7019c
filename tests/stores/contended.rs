//! Many processes want few slots while some are killed, whoever decides for the others among them, and the store has its own trouble.

use super::servers::{Etcd, Redis};
use super::{LONG, SHORT, SLOTS, Scene};
use crate::contention::observer::{Observer, running};
use crate::support::{Dice, Running, SOON, pause, signal, wait_for};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// What befalls everyone in the middle of it.
pub(super) type Outage<'a> = Option<Box<dyn FnOnce(&Scene<'_>) + 'a>>;

/// How many processes contend.
pub(super) const MANY: usize = 50;

/// Lets processes contend, kills some of them, and has the outage come in between. Never do more than there are slots run, no
/// token is granted twice, and every survivor has its turn.
pub(super) fn contend(scene: &Scene<'_>, count: usize, kills: usize, mut outage: Outage<'_>) {
    let observer = Observer::start(scene.path("markers"), scene.path("full"), SLOTS);
    // Nothing is granted until all wait, so that their order is known.
    scene.must(&["pause", "pool/p", "--reason", "everyone lines up", "--for", "1h"]);
    let mut processes: Vec<Option<Running>> = Vec::new();
    for place in 0..count {
        processes.push(Some(scene.run(place, &name(place))));
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
            strikes(scene);
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
    scene.one_turn_each();
    let turns = scene.turns();
    for (place, _) in processes.iter().enumerate().filter(|(_, process)| process.is_some()) {
        let said = scene.said(&name(place));
        assert!(turns.iter().any(|(_, other)| *other == name(place)), "{place} had no turn: {said}");
    }
}

fn name(place: usize) -> String {
    format!("w{place:02}")
}

/// The outage lasts until so many more had their turn, whoever is cut off, dead or frozen meanwhile.
pub(super) fn turns_pass(scene: &Scene<'_>, more: usize) {
    let before = scene.turns().len();
    wait_for("the others go on", Duration::from_secs(120), || (scene.turns().len() >= before + more).then_some(()));
}

#[test]
fn every_survivor_has_its_turn_though_the_steward_is_killed() {
    let etcd = Etcd::start(1);
    contend(&Scene::new(&etcd.url(), LONG), 10, 2, Some(Box::new(|_| {})));
}

#[test]
fn fifty_processes_contend_over_a_redis_that_is_killed_and_started_again_while_some_of_them_are_killed() {
    let mut redis = Redis::start();
    contend(&Scene::new(&redis.url(), SHORT), MANY, 12, Some(Box::new(|_| redis.restart())));
}

#[test]
fn fifty_processes_contend_over_an_etcd_whose_leader_dies_while_some_of_them_are_killed() {
    let mut etcd = Etcd::start(3);
    contend(&Scene::new(&etcd.url(), SHORT), MANY, 12, Some(Box::new(|_| etcd.kill_leader())));
}

/// A steward that is stopped for longer than it keeps its seat, and goes on: it is believed no more, neither by others nor by
/// itself. To it all leases look as if nobody had renewed them, so it would grant every slot anew.
fn a_steward_freezes(url: &str) {
    let scene = Scene::new(url, LONG);
    let observer = Observer::start(scene.path("markers"), scene.path("full"), SLOTS);
    // It asks first, so it sits; and it holds a slot.
    let stay = scene.turn("steward", "while :; do sleep 0.1; done");
    let mut steward = scene.start("steward", scene.command(&scene.words("steward")), &stay);
    let after = |count: usize| {
        wait_for("a turn", Duration::from_secs(60), || (scene.turns().len() == count).then_some(()));
    };
    after(1);
    let mut others: Vec<Running> = Vec::new();
    for (place, name) in ["a", "b", "c", "d", "e", "f", "g"].into_iter().enumerate() {
        others.push(scene.run_until("end", "true", place, name));
        match place + 2 {
            turns if turns <= SLOTS => after(turns),
            waits => wait_for("it waits", SOON, || (scene.queued() == Some(waits - SLOTS)).then_some(())),
        }
    }
    signal(&steward.0, Signal::STOP);
    // Its own leash ends what runs under it; then the slot is the next one's, by whoever sits now.
    after(SLOTS + 1);
    signal(&steward.0, Signal::CONT);
    wait_for("the frozen one is told", Duration::from_secs(60), || steward.is_over().then_some(()));
    // Long enough for it to have withdrawn and granted everything, had it been believed.
    let told = Instant::now();
    wait_for("nothing happens", SOON, || (told.elapsed() > Duration::from_secs(3)).then_some(()));
    assert_eq!(scene.turns().len(), SLOTS + 1, "{:?}", scene.turns());
    std::fs::write(scene.path("end"), "").expect("written");
    for other in &mut others {
        let ended = wait_for("its end", Duration::from_secs(60), || other.0.try_wait().expect("our own child"));
        assert!(ended.success(), "{ended}: nobody else lost anything by it");
    }
    assert_eq!(observer.finish().0, SLOTS, "{:?}", scene.turns());
    scene.one_turn_each();
    let mut turns = scene.turns();
    turns.sort_unstable();
    let names: Vec<&str> = turns.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["steward", "a", "b", "c", "d", "e", "f", "g"], "in the order of their tickets");
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
