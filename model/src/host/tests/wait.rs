//! The wait for a lease: it stands in nobody's way, and the lock is taken when the lease is there.

use super::rig::{Rig, errand, granted, queued, refusal};
use super::*;
use crate::request::{Answer, Queued};

/// The lease is granted, and the lock not had yet.
fn locking(mut rig: Rig) -> Rig {
    assert_eq!(rig.answered(Ok(granted(&rig.claim()))), ["lock"]);
    assert!(rig.journal.is_empty() && rig.renew.is_none(), "nothing is recorded, and nothing told");
    rig
}

fn command() -> Rig {
    let mut rig = Rig::new(Some(errand()));
    rig.on(Event::Started);
    rig.locked();
    locking(rig)
}

fn cause(rig: &Rig) -> String {
    rig.settle.clone().and_then(|settle| settle.report).expect("a report").cause
}

#[test]
fn somebody_at_work_when_the_lease_comes_gets_it_given_back_and_its_place_kept() {
    let mut rig = locking(Rig::queued());
    assert_eq!(rig.on(Event::Busy("pid 7, depool of php".into())), ["settle gave_way cancelled"]);
    assert_eq!(cause(&rig), "this host is at work already: pid 7, depool of php");
    assert_eq!(rig.settle.clone().expect("a settle").claim.as_str(), rig.claim());
    assert_eq!(rig.settled(Ok(())), ["unlock", "join"]);
    assert!(rig.owes("php@7", true, false).is_empty(), "it rests first");
    rig.now = rig.host.wake_at().expect("the end of the rest").0;
    assert_eq!(rig.on(Event::Woke), ["lock"]);
    assert_eq!(rig.locked(), ["unlock", "ask 10000"]);
    assert!(rig.on(Event::Busy("late".into())).is_empty(), "it asks, and wants no lock");
}

#[test]
fn a_command_says_who_is_at_work() {
    let mut rig = command();
    assert_eq!(rig.on(Event::Busy("pid 7, the worker".into())), ["settle cancelled cancelled"]);
    assert_eq!(rig.settled(Ok(())), ["unlock", "exit 2"]);
    assert_eq!(rig.finish, Some(Finish::NoLease("this host is at work already: pid 7, the worker".into())));
    let mut rig = Rig::new(Some(Errand { emergency: true, ..errand() }));
    rig.on(Event::Started);
    assert_eq!(rig.locked(), ["unlock", "lock"]);
    assert_eq!(rig.on(Event::Busy("pid 7, the worker".into())), ["exit 2"], "nobody was asked, so nobody is told");
}

#[test]
fn a_lock_that_cannot_be_used_gives_the_lease_back_too() {
    let mut rig = locking(Rig::queued());
    assert_eq!(rig.on(Event::NotLocked("disk full".into())), ["settle gave_way cancelled"]);
    assert_eq!((cause(&rig).as_str(), rig.host.trouble()), ("disk full", Some("disk full")));
}

#[test]
fn what_another_left_meanwhile_is_ended_first() {
    let left = Rig::draining().journal;
    let mut rig = locking(Rig::queued());
    assert_eq!(rig.unfinished(&left), ["unlock", "settle gave_way cancelled"]);
    assert_eq!(rig.settled(Ok(())), ["unlock", "join"]);
    assert_eq!(rig.host.wake_at(), Some(Time(0)));
    assert_eq!(rig.on(Event::Woke), ["lock"]);
    assert_eq!(rig.unfinished(&left), ["+resumed", "renew drain"]);

    let mut rig = command();
    rig.unfinished(&left);
    assert_eq!(rig.settled(Ok(())), ["unlock", "join"]);
    assert_eq!(rig.on(Event::Woke), ["lock"], "a command does so as well");
    assert_eq!(rig.unfinished(&left), ["+resumed", "renew drain"]);
}

#[test]
fn what_another_left_ends_a_wait() {
    let mut rig = Rig::queued();
    assert!(rig.host.is_waiting());
    assert_eq!(rig.on(Event::Noticed), ["settle gave_way cancelled"]);
    assert!(!rig.host.is_waiting());
    rig.settled(Ok(()));
    assert_eq!(rig.on(Event::Woke), ["lock"]);
    let mut rig = locking(Rig::queued());
    assert!(!rig.host.is_waiting());
    assert!(rig.on(Event::Noticed).is_empty(), "it looks at the journals anyway");
}

#[test]
fn a_damaged_journal_gives_the_lease_back_and_is_stuck() {
    let mut rig = locking(Rig::queued());
    assert_eq!(rig.on(Event::Damaged("line 3".into())), ["unlock", "settle gave_way cancelled"]);
    rig.settled(Ok(()));
    assert_eq!(rig.on(Event::Woke), ["lock"]);
    assert_eq!(rig.on(Event::Damaged("line 3".into())), ["unlock"]);
    assert_eq!(rig.host.stuck(), Some("line 3"));
    let mut rig = command();
    assert_eq!(rig.on(Event::Damaged("line 3".into())), ["unlock", "settle cancelled cancelled"]);
    assert_eq!(rig.settled(Ok(())), ["unlock", "exit 4"]);
    let mut rig = command();
    assert_eq!(rig.unfinished(&[Record::Settled]), ["unlock", "settle gave_way cancelled"], "one that makes no sense");
}

fn waits_because(kind: RefusalKind) -> Answer {
    Answer::Queued(Queued { place: 1, left_ms: 60_000, why: refusal(kind) })
}

#[test]
fn a_paused_service_does_not_keep_another_from_its_turn() {
    let mut rig = Rig::queued();
    let both = || Event::Joined(Box::new(rig::welcome(&[("php@7", true, false), ("cron@2", true, false)])));
    assert!(rig.on(both()).is_empty(), "it waits");
    let sent = rig.now;
    rig.now += 10_000;
    assert_eq!(rig.answered_at(sent, Ok(waits_because(RefusalKind::Full))), ["ask 10000"], "a full pool moves");
    assert!(rig.answered(Ok(waits_because(RefusalKind::Paused))).is_empty());
    rig.now = rig.host.wake_at().expect("the next ask").0;
    assert_eq!(rig.on(Event::Woke), ["ask 10000"], "the answer came at once: nothing was waited for");
    let sent = rig.now;
    rig.now += 10_000;
    assert!(rig.answered_at(sent, Ok(waits_because(RefusalKind::Paused))).is_empty());
    assert!(rig.host.is_idle());
    assert_eq!(rig.host.wake_at().map(|at| at.0), Some(rig.now + 15_000), "until its last ask stands no longer");
    rig.now += 15_000;
    assert_eq!(rig.on(both()), ["lock"], "both are owed, the paused one first");
    assert_eq!(rig.locked(), ["unlock", "ask 10000"]);
    assert_eq!(rig.ask.clone().expect("an ask").purpose.to_string(), "cron@2");
    assert!(rig.on(Event::Joined(Box::new(rig::welcome(&[("cron@2", true, false)])))).is_empty(), "it waits");
    let sent = rig.now;
    rig.now += 10_000;
    assert_eq!(rig.answered_at(sent, Ok(waits_because(RefusalKind::Paused))), ["ask 10000"], "there is no other");
    assert_eq!(rig.answered_at(sent, Ok(queued())), ["ask 10000"]);
}

#[test]
fn an_ask_that_took_as_long_as_the_least_time_between_two_is_followed_at_once() {
    for (took_ms, effects) in [(499, Vec::new()), (500, vec!["ask 10000"])] {
        let mut rig = Rig::queued();
        let sent = rig.now;
        rig.now += took_ms;
        assert_eq!(rig.answered_at(sent, Ok(queued())), effects, "{took_ms} ms");
    }
}

#[test]
fn a_wait_that_came_to_nothing_tells_how_long_its_check_took() {
    let mut rig = Rig::daemon_owing("php@7", false, false);
    rig.locked();
    assert_eq!(rig.checked(Ok(true)), ["ask 10000"]);
    assert_eq!(rig.answered(Ok(rig::refused(RefusalKind::TimedOut))), ["settle cancelled cancelled"]);
    let report = rig.settle.clone().and_then(|settle| settle.report).expect("a report");
    let timed: Vec<_> = report.timings.iter().map(|timing| (timing.step, timing.ms)).collect();
    assert_eq!(timed, [(Step::Check, 5)]);
}

#[test]
fn a_lease_that_is_given_back_for_want_of_a_disk_says_so_and_how_long_its_check_took() {
    let mut rig = Rig::daemon_owing("php@7", false, false);
    rig.locked();
    rig.checked(Ok(true));
    rig.holds_records = true;
    rig.grant();
    assert_eq!(rig.on(Event::NotRecorded("full".into())), ["unlock", "settle gave_way cancelled"]);
    assert_eq!(cause(&rig), "cannot write the journal: full");
    let report = rig.settle.clone().and_then(|settle| settle.report).expect("a report");
    let timed: Vec<_> = report.timings.iter().map(|timing| (timing.step, timing.ms)).collect();
    assert_eq!(timed, [(Step::Check, 5)]);
}
