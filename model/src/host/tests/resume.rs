//! What a worker makes of what another left: a journal, a lease, or neither.

use super::rig::{Rig, act, by_rollout, errand, go, granted, lease, welcome};
use super::*;
use crate::lease::{LeaseState, Purpose};
use crate::request::{Own, Welcome};
use crate::sequence::{Doubt, Seen};

/// A fresh daemon that finds what this one had recorded.
fn crash(rig: &Rig) -> (Rig, Vec<String>) {
    let mut next = Rig::daemon();
    next.now = rig.now + 3_000;
    next.on(Event::Started);
    let effects = next.unfinished(&rig.journal);
    next.journal = [rig.journal.clone(), next.journal].concat();
    (next, effects)
}

fn by_hand() -> Rig {
    let mut rig = Rig::new(Some(errand()));
    rig.on(Event::Started);
    rig.locked();
    rig.grant();
    rig
}

#[test]
fn a_lease_of_which_only_the_opening_is_on_disk_is_given_back() {
    let mut torn = Rig::leased();
    torn.journal.truncate(1);
    let (mut rig, effects) = crash(&torn);
    assert_eq!(effects, ["+resumed", "+ended", "settle cancelled cancelled"]);
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "join"]);
}

#[test]
fn before_the_restart_it_learns_whether_its_lease_is_its_own() {
    let (mut rig, effects) = crash(&Rig::draining());
    assert_eq!(effects, ["+resumed", "renew drain"]);
    assert_eq!(rig.held(30_000), ["+acting", "renew drain", "act drain"]);
    let (mut rig, _) = crash(&Rig::draining());
    assert_eq!(rig.owned(rig.now, Ok(Own::Gone)), ["+undoing", "undo"]);
    assert_eq!(rig.on(Event::Undone(act())), ["+undone", "+ended", "settle cancelled cancelled"]);
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "join"]);
    assert_eq!(rig.host.wake_at(), Some(Time(0)), "there may be another one");
    assert_eq!(rig.on(Event::Woke), ["lock"]);
}

#[test]
fn nobody_to_ask_undoes_it_after_a_while() {
    let (mut rig, _) = crash(&Rig::draining());
    let from = rig.now;
    for _ in 0..5 {
        assert!(rig.owned(rig.now, Err("no route")).is_empty());
        rig.now = rig.host.wake_at().expect("a renewal").0;
        if rig.now < from + 10_000 {
            assert_eq!(rig.on(Event::Woke), ["renew drain"]);
        }
    }
    assert_eq!(rig.now, from + 10_000);
    let effects = rig.on(Event::Woke);
    assert_eq!(effects[effects.len() - 3..], ["+undoing", "renew repool", "undo"]);
    let (mut rig, _) = crash(&Rig::draining());
    rig.now = from + 9_999;
    assert_eq!(rig.on(Event::Woke), ["renew drain"], "late, and the next one is due in two seconds");
    assert_eq!(rig.host.wake_at(), Some(Time(from + 10_000)));
    rig.now = from + 10_000;
    assert_eq!(rig.on(Event::Woke), ["+undoing", "renew repool", "undo"]);
}

#[test]
fn a_depool_is_done_again_with_what_was_found_first() {
    let (mut rig, _) = crash(&Rig::depooling());
    assert_eq!(rig.held(30_000), ["+acting", "renew depool", "act depool"]);
    let found = rig.host.sequence().and_then(|sequence| sequence.found()).cloned().expect("found");
    assert!(found.taken.contains_key("lb1"));
}

#[test]
fn an_undo_is_done_again_without_asking_anybody() {
    let mut rig = Rig::draining();
    rig.on(Event::StopRequested);
    let (_, effects) = crash(&rig);
    assert_eq!(effects, ["+resumed", "+undoing", "renew repool", "undo"]);
}

#[test]
fn an_interrupted_restart_is_looked_at() {
    let (mut rig, effects) = crash(&Rig::restarting());
    assert_eq!(effects, ["+resumed", "renew restart", "inspect"]);
    rig.on(Event::Noted("looks until 18:16:30 UTC".into()));
    rig.now += 1_000;
    assert_eq!(rig.on(Event::Woke), ["renew restart"]);
    assert_eq!(rig.renew.clone().expect("a renewal").note, "looks until 18:16:30 UTC");
    assert_eq!(rig.on(Event::Inspected(Seen::Done)), ["+inspected", "+acting", "renew verify", "act verify"]);
    let (mut rig, _) = crash(&Rig::restarting());
    assert_eq!(rig.on(Event::Inspected(Seen::Unknown("?".into()))), ["+inspected", "+ended", "settle kept failed"]);
    assert!(rig.settle.clone().and_then(|settle| settle.report).is_some_and(|report| report.stuck));
    let (mut rig, _) = crash(&Rig::restarting());
    assert_eq!(rig.on(Event::Inspected(Seen::NotDone)), ["renew -"], "whose lease is it?");
    assert_eq!(rig.held(30_000), ["prepare restart", "look php"]);
    rig.looked(&[("lb1", false)]);
    assert_eq!(rig.on(Event::Prepared(Prepared::Identity(Some("i1".into())))), ["begin"]);
    assert_eq!(rig.begun(Ok(go(7))), ["renew restart", "inspect again"], "it may have come since");
    let before_act = ["+inspected", "+inspected", "+begun"];
    let restarts = [&before_act[..], &["+inspected", "+acting", "renew restart", "act restart"]].concat();
    assert_eq!(rig.on(Event::Inspected(Seen::NotDone)), restarts);
}

/// A worker that took the interrupted restart as not done, and has the last word for this generation again.
fn begun_again(generation: u64) -> (Rig, Vec<String>) {
    let (mut rig, _) = crash(&Rig::restarting());
    rig.on(Event::Inspected(Seen::NotDone));
    rig.held(30_000);
    rig.looked(&[("lb1", false)]);
    rig.on(Event::Prepared(Prepared::Identity(Some("i1".into()))));
    let effects = rig.begun(Ok(go(generation)));
    (rig, effects)
}

#[test]
fn a_restart_that_comes_late_is_not_done_again() {
    let (mut rig, _) = begun_again(7);
    let verifies = ["+inspected", "+inspected", "+begun", "+inspected", "+acting", "renew verify", "act verify"];
    assert_eq!(rig.on(Event::Inspected(Seen::Done)), verifies);
    let (_, effects) = begun_again(8);
    assert!(effects.ends_with(&["renew restart".into(), "act restart".into()]), "another generation: {effects:?}");
    let (mut rig, _) = begun_again(7);
    let effects = rig.on(Event::StopRequested);
    assert!(effects.ends_with(&["+undoing".into(), "renew repool".into(), "undo".into()]), "{effects:?}");
    let (mut rig, _) = begun_again(7);
    rig.now += 60_000;
    assert!(rig.on(Event::Woke).ends_with(&["undo".into()]), "it begins nothing without its lease");
}

#[test]
fn what_is_in_doubt_is_in_the_plan_of_its_own_service() {
    let doubt = |identity: &str| Doubt { generation: 7, identity: identity.into() };
    let mut rig = Rig::daemon_owing("php@7", true, false);
    let doubts = [("php", doubt("i1")), ("cron", doubt("i2"))];
    let doubts = doubts.into_iter().map(|(service, doubt)| (service.parse().expect("a service"), doubt)).collect();
    rig.locked();
    rig.answered(Ok(granted(&rig.claim())));
    let locked = Locked { doubts, ..rig.lockable() };
    rig.on(Event::Locked(Box::new(locked)));
    assert_eq!(rig.host.sequence().expect("a sequence").doubt(), Some(&doubt("i1")));
}

#[test]
fn an_interrupted_restart_waits_for_nobody() {
    let (mut rig, _) = crash(&Rig::restarting());
    rig.now += 60_000;
    assert_eq!(rig.on(Event::Woke), ["renew restart"]);
    assert!(rig.owned(rig.now, Ok(Own::Gone)).is_empty());
    assert_eq!(rig.on(Event::Inspected(Seen::NotDone)), ["+inspected", "+undoing", "undo"], "but it begins nothing");
}

#[test]
fn after_the_restart_it_is_finished() {
    let mut rig = Rig::restarting();
    rig.acted();
    let (mut rig, effects) = crash(&rig);
    assert_eq!(effects, ["+resumed", "+acting", "renew verify", "act verify"]);
    assert_eq!(rig.acted(), ["+acted", "+acting", "renew repool", "act repool"]);
    assert_eq!(rig.acted(), ["+acted", "+ended", "settle released restarted"]);
    let (_, effects) = crash(&rig);
    assert_eq!(effects, ["+resumed", "settle released restarted"]);
}

#[test]
fn what_a_command_began_is_not_gone_on_with() {
    let (_, effects) = crash(&by_hand());
    assert_eq!(effects, ["+resumed", "+ended", "settle cancelled cancelled"]);
    let mut rig = by_hand();
    rig.held(30_000);
    rig.looks(&[("lb1", true)]);
    let (_, effects) = crash(&rig);
    assert_eq!(effects, ["+resumed", "+undoing", "renew repool", "undo"]);
}

#[test]
fn a_command_first_ends_what_was_left_and_then_does_its_own() {
    let mut rig = Rig::new(Some(errand()));
    rig.on(Event::Started);
    assert_eq!(rig.unfinished(&Rig::leased().journal), ["+resumed", "renew depool", "prepare depool"]);
    rig.owned(rig.now, Ok(Own::Gone));
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "lock"]);
    assert_eq!(rig.locked(), ["unlock", "ask 10000"]);
    assert_eq!(rig.ask.clone().expect("an ask").purpose.to_string(), "restart php");
}

#[test]
fn a_command_does_not_wait_for_ever_for_what_was_left() {
    let mut ended = Rig::restarting();
    ended.on(Event::Acted(super::rig::failed("exit 1")));
    let mut rig = Rig::new(Some(errand()));
    rig.on(Event::Started);
    assert_eq!(rig.unfinished(&ended.journal), ["+resumed", "settle kept failed"]);
    for _ in 0..2 {
        rig.settled(Err(()));
        rig.now = rig.host.wake_at().expect("a retry").0;
        assert_eq!(rig.on(Event::Woke), ["settle kept failed"]);
    }
    assert_eq!(rig.settled(Err(())), ["unlock", "exit 1"]);
    match rig.finish.clone() {
        Some(Finish::Unrun { earlier, instead }) => {
            assert_eq!((earlier.cause.as_str(), instead.exit_code()), ("exit 1", 2));
        }
        other => panic!("{other:?}"),
    }
    let mut rig = Rig::new(Some(errand()));
    rig.on(Event::Started);
    rig.unfinished(&ended.journal);
    rig.on(Event::StopRequested);
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "exit 143"]);
}

#[test]
fn an_emergency_passes_over_what_only_waits_to_be_told() {
    let mut ended = Rig::restarting();
    let journal_before = ended.journal.clone();
    ended.on(Event::Acted(super::rig::failed("exit 1")));
    for errand in [Errand { emergency: true, ..errand() }, Errand { unreachable_restart: true, ..errand() }] {
        let mut rig = Rig::new(Some(errand.clone()));
        rig.on(Event::Started);
        assert_eq!(rig.unfinished(&ended.journal)[0], "unlock");
        if errand.emergency {
            assert_eq!(rig.unfinished(&ended.journal)[0], "+opened");
        } else {
            assert_eq!(rig.ask.as_ref().map(|ask| ask.claim.as_str()), Some("q1"));
        }
        let mut rig = Rig::new(Some(errand));
        rig.on(Event::Started);
        assert_eq!(rig.unfinished(&journal_before)[0], "+resumed", "but not over what is half done");
    }
}

#[test]
fn a_closed_or_an_empty_journal_is_nothing_unfinished() {
    let mut rig = Rig::leased();
    rig.on(Event::StopRequested);
    rig.settled(Ok(()));
    let (_, effects) = crash(&rig);
    assert_eq!(effects, ["unlock"]);
    let (_, effects) = crash(&Rig::daemon());
    assert_eq!(effects, ["unlock"]);
}

#[test]
fn a_journal_that_makes_no_sense_is_stuck_and_told_once() {
    let mut rig = Rig::daemon();
    rig.on(Event::Started);
    assert_eq!(rig.unfinished(&[Record::Settled]), ["unlock"]);
    assert!(rig.host.stuck().is_some_and(|why| why.contains("settled")));
    assert_eq!((rig.host.trouble(), rig.host.is_idle()), (rig.host.stuck(), false));
    let held = || Box::new(Welcome { lease: Some(lease("q9", by_rollout())), ..welcome(&[("php@7", true, false)]) });
    assert_eq!(rig.on(Event::Joined(Box::new(welcome(&[])))), [""; 0]);
    assert_eq!(rig.on(Event::Joined(held())), ["settle kept failed"]);
    assert!(rig.settle.clone().and_then(|settle| settle.report).is_some_and(|report| report.stuck));
    assert!(rig.settled(Ok(())).is_empty());
    assert!(rig.on(Event::Joined(held())).is_empty() && rig.on(Event::Woke).is_empty(), "it takes nothing up");
    assert_eq!(rig.on(Event::StopRequested), ["exit 0"]);
    assert!(Rig::queued().host.stuck().is_none());
}

#[test]
fn a_damaged_journal_is_looked_at_again_and_its_end_is_noticed() {
    let mut rig = Rig::daemon();
    rig.on(Event::Started);
    assert_eq!(rig.on(Event::Damaged("line 3".into())), ["unlock"]);
    rig.owes("php@7", true, false);
    for _ in 0..3 {
        assert_eq!(rig.host.wake_at().map(|at| at.0), Some(rig.now + 60_000));
        rig.now += 59_999;
        assert!(rig.on(Event::Woke).is_empty(), "not yet");
        rig.now += 1;
        assert_eq!(rig.on(Event::Woke), ["lock"]);
        assert_eq!((rig.host.stuck(), rig.host.wake_at()), (Some("line 3"), None), "nobody knows better yet");
        assert_eq!(rig.on(Event::Damaged("line 3".into())), ["unlock"]);
    }
    for event in [Event::Busy("pid 7".into()), Event::NotLocked("disk full".into())] {
        rig.now = rig.host.wake_at().expect("another look").0;
        assert_eq!(rig.on(Event::Woke), ["lock"]);
        assert!(rig.on(event).is_empty());
        assert_eq!((rig.host.stuck(), rig.host.is_idle()), (Some("line 3"), false));
        assert_eq!(rig.host.wake_at().map(|at| at.0), Some(rig.now + 5_000));
    }
    rig.now += 5_000;
    rig.on(Event::Woke);
    assert_eq!(rig.locked(), ["unlock", "ask 10000"], "somebody moved it away");
    assert_eq!((rig.host.stuck(), rig.host.trouble()), (None, None));
}

/// A command that first ends a sequence in this way, and comes to nothing itself.
fn unrun(failure: &str, stuck: bool) -> Rig {
    let mut left = Rig::restarting();
    if !stuck {
        left.on(Event::Acted(super::rig::failed(failure)));
    }
    let mut rig = Rig::new(Some(Errand { always: false, ..errand() }));
    rig.on(Event::Started);
    rig.unfinished(&left.journal);
    if stuck {
        rig.on(Event::Inspected(Seen::Unknown(failure.into())));
    }
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "lock"]);
    assert_eq!(rig.locked(), ["unlock", "check php"]);
    rig
}

#[test]
fn a_command_that_only_ended_what_was_left_does_not_hide_how() {
    for (stuck, code) in [(false, 1), (true, 4)] {
        let mut rig = unrun("exit 78", stuck);
        assert_eq!(rig.checked(Ok(false)), [format!("exit {code}")]);
        match rig.finish {
            Some(Finish::Unrun { earlier, instead }) => {
                assert!(earlier.cause.contains("exit 78") && earlier.stuck == stuck, "{earlier:?}");
                assert_eq!(*instead, Finish::NothingToDo("free 3".into()));
            }
            other => panic!("{other:?}"),
        }
        let mut rig = unrun("exit 78", stuck);
        rig.checked(Err(super::rig::fault("no socket")));
        assert!(matches!(rig.finish, Some(Finish::Failed(_))), "its own failure comes first");
    }
}

/// A daemon that is told of a lease that no journal tells of, and has the lock.
fn stray(change: impl FnOnce(&mut crate::lease::Lease)) -> (Rig, Vec<String>) {
    let mut rig = Rig::daemon();
    rig.start();
    let mut lease = crate::lease::Lease { step: Some(Step::Depool), ..lease("lost", by_rollout()) };
    change(&mut lease);
    let effects = rig.on(Event::Joined(Box::new(Welcome { lease: Some(lease), owed: Vec::new() })));
    if effects.is_empty() {
        return (rig, effects);
    }
    assert_eq!(effects, ["lock"]);
    let effects = rig.locked();
    (rig, effects)
}

#[test]
fn a_lease_without_a_journal_is_given_back_when_all_is_well() {
    let (mut rig, effects) = stray(|_| ());
    assert_eq!(effects, ["renew -"], "is it still there?");
    assert_eq!(rig.held(30_000), ["look php"]);
    assert_eq!(rig.looked(&[("lb1", true)]), ["settle cancelled cancelled"]);
    let settle = rig.settle.clone().expect("a settle");
    assert_eq!((settle.claim.as_str(), settle.rollout.is_some()), ("lost", true));
    let report = settle.report.expect("a report");
    assert_eq!((report.cause.as_str(), report.stuck), ("its journal is gone; nothing was done", false));
    assert_eq!(rig.settled(Ok(())), ["unlock", "join"]);
    assert_eq!(rig.host.wake_at(), None);
}

#[test]
fn a_lease_of_which_no_step_is_known_is_given_back_without_a_look() {
    let untouched = |lease: &mut crate::lease::Lease| lease.step = None;
    let (mut rig, effects) = stray(untouched);
    assert_eq!(effects, ["renew -"]);
    assert_eq!(rig.held(30_000), ["settle cancelled cancelled"], "whatever the balancers say of others' doings");
    let by_hand = |lease: &mut crate::lease::Lease| {
        (lease.step, lease.purpose) = (None, Purpose::Restart("php".parse().expect("a service")));
    };
    let (rig, effects) = stray(by_hand);
    assert!(effects.is_empty() && rig.host.is_idle(), "a command may be about to take the lock");
    let (mut rig, _) = stray(|lease| {
        by_hand(lease);
        lease.state = LeaseState::Lost;
    });
    assert_eq!(rig.held(30_000), ["settle cancelled cancelled"], "it is dead");
}

#[test]
fn a_lease_without_a_journal_is_stuck_when_the_host_is_out_or_may_have_restarted() {
    let (mut rig, _) = stray(|lease| lease.state = LeaseState::Lost);
    rig.held(30_000);
    assert_eq!(rig.looked(&[("lb1", true), ("lb2", false)]), ["settle kept failed"]);
    let report = rig.settle.clone().and_then(|settle| settle.report).expect("a report");
    assert_eq!((report.stuck, report.cause.as_str()), (true, "its journal is gone, and the host is out of lb2"));
    let (mut rig, _) = stray(|_| ());
    rig.held(30_000);
    let unknown = crate::sequence::Look { presence: crate::member::Presence::Unknown, ..super::look("lb1", true) };
    assert_eq!(rig.on(Event::Looked(vec![unknown])), ["settle kept failed"]);
    let (mut rig, _) = stray(|lease| lease.has_begun = true);
    assert_eq!(rig.held(30_000), ["settle kept failed"]);
    let (mut rig, effects) = stray(|lease| (lease.state, lease.has_begun) = (LeaseState::Failed, true));
    assert_eq!(effects, ["renew -"], "one that was lost in the act");
    assert_eq!(rig.held(30_000), ["settle kept failed"]);
    let (mut rig, _) = stray(|lease| lease.purpose = Purpose::Restart("old".parse().expect("a service")));
    assert_eq!(rig.held(30_000), ["settle kept failed"], "a service that is not configured any more");
    assert_eq!(rig.settle.clone().expect("a settle").rollout, None);
}

#[test]
fn a_lease_that_is_kept_or_not_a_workers_is_left_alone() {
    assert!(stray(|lease| lease.state = LeaseState::Failed).1.is_empty());
    assert!(stray(|lease| lease.purpose = Purpose::Run("apt".into())).1.is_empty());
    let (mut rig, _) = stray(|_| ());
    assert_eq!(rig.owned(rig.now, Ok(Own::Gone)), ["unlock"]);
    assert!(rig.host.is_idle() && rig.host.wake_at().is_none());
    let (mut rig, _) = stray(|_| ());
    assert_eq!(rig.owned(rig.now, Err("no route")), ["unlock"], "it is told of again");
    let (mut rig, _) = stray(|_| ());
    let other = Event::Owned { claim: "other".parse().expect("an id"), sent: Time(rig.now), own: Ok(Own::Gone) };
    assert!(rig.on(other).is_empty());
    assert_eq!(rig.on(Event::StopRequested), ["unlock", "exit 0"]);
}

#[test]
fn its_own_lease_is_no_stray() {
    let mut rig = Rig::draining();
    let own = Welcome { lease: Some(lease(&rig.claim(), by_rollout())), owed: Vec::new() };
    assert!(rig.on(Event::Joined(Box::new(own))).is_empty());
    rig.on(Event::StopRequested);
    rig.on(Event::Undone(act()));
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "exit 0"]);
}

#[test]
fn a_journal_takes_the_claim_that_the_coordinator_knows() {
    let mut rig = Rig::daemon();
    rig.on(Event::Started);
    let held = Welcome { lease: Some(lease("q2", by_rollout())), owed: Vec::new() };
    assert!(rig.on(Event::Joined(Box::new(held))).is_empty(), "the journal is looked at first");
    assert_eq!(rig.unfinished(&Rig::draining().journal), ["+resumed", "renew drain"]);
    assert_eq!(rig.renew.clone().expect("a renewal").claim.as_str(), "q2");
}

#[test]
fn what_was_left_out_is_in_the_plan_of_its_own_service() {
    let mut rig = Rig::daemon_owing("php@7", true, false);
    let left = |name: &str| BTreeMap::from([(name.to_owned(), String::new())]);
    let left_out = [("php", left("lb1")), ("cron", left("lb2"))];
    let left_out = left_out.into_iter().map(|(service, left)| (service.parse().expect("a service"), left)).collect();
    rig.locked();
    rig.answered(Ok(granted(&rig.claim())));
    let locked = Locked { left_out, ..rig.lockable() };
    rig.on(Event::Locked(Box::new(locked)));
    assert_eq!(rig.host.sequence().expect("a sequence").plan().left_out, left("lb1"));
}

/// A worker whose host may boot in its restart, up to the act or the look for it.
fn of_a_host_that_boots(mut rig: Rig, begins: impl FnOnce(&mut Rig)) -> Rig {
    rig.host.setup.duties.values_mut().for_each(|duty| duty.away_ms = 600_000);
    begins(&mut rig);
    rig
}

#[test]
fn a_worker_that_waits_for_its_own_host_to_go_down_leaves_the_rest_to_the_next_start() {
    let restart = |rig: &mut Rig| {
        rig.grant();
        rig.held(30_000);
        rig.looks(&[("lb1", true)]);
        rig.acted();
        rig.acted();
        rig.looked(&[("lb1", false)]);
        rig.on(Event::Prepared(Prepared::Identity(Some("boot 1".into()))));
        assert!(rig.begun(Ok(go(7))).ends_with(&["act restart".into()]));
    };
    let mut rig = of_a_host_that_boots(Rig::queued(), restart);
    assert_eq!(rig.host.sequence().map(|sequence| sequence.plan().away_ms), Some(600_000));
    let journal = rig.journal.len();
    assert_eq!(rig.on(Event::StopRequested), ["unlock", "exit 0"]);
    assert_eq!(rig.journal.len(), journal, "nothing of it is over");
    // Started again before the power goes, it looks, and gives way to the same.
    let (mut again, effects) = crash(&rig);
    assert!(effects.last().is_some_and(|last| last.starts_with("inspect")), "{effects:?}");
    assert_eq!(again.on(Event::StopRequested), ["unlock", "exit 0"]);
    let mut slow = Rig::daemon();
    slow.holds_records = true;
    slow.on(Event::Started);
    assert_eq!(slow.unfinished(&rig.journal), ["+resumed"]);
    assert!(slow.on(Event::StopRequested).is_empty());
    assert_eq!(slow.recorded(), ["unlock", "exit 0"], "whenever it is asked to");
    // After the boot it goes on.
    let (mut after, _) = crash(&again);
    let effects = after.on(Event::Inspected(Seen::Done));
    assert!(effects.ends_with(&["act verify".into()]), "{effects:?}");
    // Any other restart is brought to its end.
    assert!(Rig::restarting().on(Event::StopRequested).is_empty());
}
