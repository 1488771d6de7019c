//! The one-shot command.

use super::rig::{Rig, act, errand, failed, fault, go, paused, queued, refusal, refused};
use super::*;
use crate::request::{Answer, Queued, Refusal};

fn lockable(rig: &mut Rig) -> Vec<String> {
    assert_eq!(rig.on(Event::Started), ["lock"]);
    rig.locked()
}

/// Up to the settle of a good run, from the grant on.
fn run_well(rig: &mut Rig) {
    rig.grant();
    rig.held(30_000);
    rig.looks(&[("lb1", true)]);
    rig.acted();
    rig.acted();
    rig.looked(&[("lb1", false)]);
    rig.on(Event::Prepared(Prepared::Identity(None)));
    rig.begun(Ok(Begin::Go { generation: None }));
    rig.acted();
    rig.acted();
    assert_eq!(rig.acted(), ["+acted", "+ended", "settle released restarted"]);
}

#[test]
fn a_command_restarts_by_hand_and_ends() {
    let mut rig = Rig::new(Some(Errand { wait_ms: Some(7_000), ..errand() }));
    assert_eq!(lockable(&mut rig), ["unlock", "ask 7000"]);
    let ask = rig.ask.clone().expect("an ask");
    assert_eq!((ask.purpose.to_string().as_str(), ask.wait_ms), ("restart php", Some(7_000)));
    run_well(&mut rig);
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "exit 0"]);
    assert!(matches!(rig.finish, Some(Finish::Restarted(_))));
    assert_eq!(rig.settle.clone().expect("a settle").rollout, None);
}

#[test]
fn its_check_may_say_that_there_is_nothing_to_do() {
    let careful = || Some(Errand { always: false, ..errand() });
    let mut rig = Rig::new(careful());
    assert_eq!(lockable(&mut rig), ["unlock", "check php"]);
    assert_eq!(rig.checked(Ok(false)), ["exit 0"]);
    assert_eq!(rig.finish, Some(Finish::NothingToDo("free 3".into())));
    let mut rig = Rig::new(careful());
    lockable(&mut rig);
    assert_eq!(rig.checked(Err(fault("no socket"))), ["exit 1"]);
    let mut rig = Rig::new(careful());
    lockable(&mut rig);
    assert_eq!(rig.checked(Ok(true)), ["ask 10000"]);
}

#[test]
fn somebody_elses_lock_is_said() {
    let mut rig = Rig::new(Some(errand()));
    rig.on(Event::Started);
    assert_eq!(rig.on(Event::Busy("pid 7, the worker".into())), ["exit 2"]);
    let why = "this host is at work already: pid 7, the worker";
    assert_eq!(rig.finish, Some(Finish::NoLease(why.into())));
}

#[test]
fn it_tries_to_reach_its_coordinator_for_as_long_as_it_would_wait() {
    for wait_ms in [2_000, 60_000] {
        let mut rig = Rig::new(Some(Errand { wait_ms: Some(wait_ms), ..errand() }));
        lockable(&mut rig);
        let from = rig.now;
        while rig.answered(Err("no route")).is_empty() {
            rig.now = rig.host.wake_at().expect("a retry").0;
            let left = from + wait_ms - rig.now;
            assert_eq!(rig.on(Event::Woke), [format!("ask {}", left.min(10_000))]);
        }
        assert_eq!(rig.now - from, wait_ms, "neither before nor after");
        assert_eq!(rig.settled(Err(())), ["unlock", "exit 2"], "it is told once, since nobody answers");
    }
}

#[test]
fn it_waits_no_longer_than_it_says_paused_or_not_and_silent_or_not() {
    let waiting = || {
        let mut rig = Rig::new(Some(Errand { wait_ms: Some(2_000), ..errand() }));
        assert_eq!(lockable(&mut rig), ["unlock", "ask 2000"]);
        rig
    };
    let mut rig = waiting();
    let pause = Refusal { left_ms: Some(60_500), ..refusal(RefusalKind::Paused) };
    let paused = || Answer::Queued(Queued { place: 1, left_ms: 2_000, why: pause.clone() });
    let sent = rig.now;
    rig.now += 100;
    assert!(rig.answered_at(sent, Ok(paused())).is_empty(), "somebody answers at once");
    rig.now += 400;
    assert_eq!(rig.on(Event::Woke), ["ask 1500"]);
    let sent = rig.now;
    rig.now += 1_500;
    assert_eq!(rig.answered_at(sent, Ok(paused())), ["ask 0"], "what is said at the end is asked at the end");
    assert_eq!(rig.answered(Ok(paused())), ["settle cancelled cancelled"]);
    assert_eq!(rig.settled(Ok(())), ["unlock", "exit 2"]);
    assert_eq!(rig.finish, Some(Finish::NoLease("waited 2s: no: paused; it ends in 1m".into())));

    let mut rig = waiting();
    let from = rig.now;
    rig.now = rig.host.wake_at().expect("the end").0;
    assert!(rig.now - from < 2_300, "{}", rig.now - from);
    assert_eq!(rig.on(Event::Woke), ["settle cancelled cancelled"]);
    rig.now = rig.host.wake_at().expect("the end").0;
    assert!(rig.now - from <= 2_300, "{}", rig.now - from);
    assert_eq!(rig.on(Event::Woke), ["unlock", "exit 2"]);
    let silent = "the coordinator cannot be reached: no answer";
    assert_eq!(rig.finish, Some(Finish::NoLease(silent.into())));
}

#[test]
fn a_short_silence_at_the_end_of_a_wait_is_none_that_restarts_without_a_lease() {
    let mut rig = Rig::new(Some(Errand { wait_ms: Some(60_000), unreachable_restart: true, ..errand() }));
    lockable(&mut rig);
    rig.now += 10_000;
    assert_eq!(rig.answered_at(rig.now - 10_000, Ok(queued())), ["ask 10000"]);
    rig.now += 49_500;
    assert_eq!(rig.answered_at(rig.now - 9_500, Ok(queued())), ["ask 500"]);
    rig.now += 400;
    assert!(rig.answered(Err("no route")).is_empty());
    rig.now = rig.host.wake_at().expect("the last try").0;
    assert_eq!(rig.on(Event::Woke), ["ask 0"]);
    assert_eq!(rig.answered(Err("no route")), ["settle cancelled cancelled"]);
}

#[test]
fn a_refusal_is_said() {
    let mut rig = Rig::new(Some(errand()));
    lockable(&mut rig);
    assert_eq!(rig.answered(Ok(refused(RefusalKind::QueueFull))), ["settle cancelled cancelled"]);
    assert_eq!(rig.settled(Ok(())), ["unlock", "exit 2"]);
    assert_eq!(rig.finish, Some(Finish::NoLease("no: queue_full".into())));
}

#[test]
fn a_failure_keeps_the_host_out_and_says_so() {
    let mut rig = Rig::new(Some(errand()));
    lockable(&mut rig);
    rig.grant();
    rig.held(30_000);
    rig.looks(&[("lb1", true)]);
    assert_eq!(rig.on(Event::Acted(failed("lb1 refused"))), ["+acted", "+undoing", "renew repool", "undo"]);
    assert_eq!(rig.on(Event::Undone(act())), ["+undone", "+ended", "settle failed_released failed"]);
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "exit 1"]);
}

#[test]
fn a_failed_undo_is_stuck() {
    let mut rig = Rig::new(Some(errand()));
    lockable(&mut rig);
    rig.grant();
    rig.held(30_000);
    rig.looks(&[("lb1", true)]);
    rig.on(Event::Acted(failed("lb1 refused")));
    assert_eq!(rig.on(Event::Undone(failed("lb1 refused"))), ["+undone", "+ended", "settle kept failed"]);
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "exit 4"]);
}

#[test]
fn force_stays_in_the_balancers() {
    let mut rig = Rig::new(Some(Errand { force: true, ..errand() }));
    lockable(&mut rig);
    rig.grant();
    assert_eq!(rig.held(30_000), ["prepare restart"]);
    assert_eq!(rig.on(Event::Prepared(Prepared::Identity(None))), ["begin"]);
    assert_eq!(rig.begun(Ok(go(7))), ["+begun", "+acting", "renew restart", "act restart"]);
    rig.acted();
    assert_eq!(rig.acted(), ["+acted", "+ended", "settle released restarted"]);
}

#[test]
fn an_emergency_asks_nobody() {
    let mut rig = Rig::new(Some(Errand { emergency: true, ..errand() }));
    assert_eq!(lockable(&mut rig), ["unlock", "lock"]);
    assert_eq!(rig.locked(), ["+opened", "prepare depool"]);
    assert_eq!(rig.looks(&[("lb1", true)]), ["+acting", "act depool"]);
    rig.now += 100_000;
    assert_eq!(rig.acted(), ["+acted", "+acting", "act drain"]);
    assert_eq!(rig.host.wake_at(), None, "there is nothing to renew");
    rig.acted();
    assert!(rig.looked(&[("lb1", false)]).is_empty());
    assert_eq!(rig.on(Event::Prepared(Prepared::Identity(None))), ["+acted", "+inspected", "+acting", "act restart"]);
    rig.acted();
    rig.acted();
    assert_eq!(rig.acted(), ["+acted", "+ended", "settle released restarted"]);
    assert_eq!(rig.settled(Err(())), ["+settled", "unlock", "exit 3"], "nobody need know");
    let mut rig = Rig::new(Some(Errand { emergency: true, force: true, ..errand() }));
    lockable(&mut rig);
    assert_eq!(rig.locked(), ["+opened", "prepare restart"]);
    assert_eq!(rig.on(Event::Prepared(Prepared::Identity(None))), ["+acting", "act restart"]);
    assert_eq!(rig.on(Event::Acted(failed("exit 1"))), ["+acted", "+ended", "settle kept failed"]);
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "exit 3"]);
}

/// What a balancer says that cannot tell.
fn unknown() -> Event<u32> {
    let look = super::rig::look("lb1", true);
    let look = crate::sequence::Look { presence: crate::member::Presence::Unknown, detail: "silent".into(), ..look };
    Event::Prepared(Prepared::Looks(vec![look]))
}

/// Why the host stayed in its balancers, and whether it had no lease either.
fn unconfirmed(rig: &Rig) -> (&str, bool) {
    match &rig.finish {
        Some(Finish::Unconfirmed { why, leaseless, .. }) => (why, *leaseless),
        other => panic!("{other:?}"),
    }
}

/// Scenario 13: balancers that cannot be reached, in an emergency.
#[test]
fn an_emergency_goes_on_in_place_when_the_balancers_cannot_tell_or_do_not_confirm() {
    let emergency = || {
        let mut rig = Rig::new(Some(Errand { emergency: true, ..errand() }));
        assert_eq!(lockable(&mut rig), ["unlock", "lock"]);
        assert_eq!(rig.locked(), ["+opened", "prepare depool"]);
        rig
    };
    let in_place = |rig: &mut Rig| {
        assert_eq!(rig.settled(Err(())), ["+settled", "unlock", "lock"]);
        assert_eq!(rig.locked(), ["unlock", "lock"], "no check is asked again");
        assert_eq!(rig.locked(), ["+opened", "prepare restart"]);
        assert_eq!(rig.on(Event::Prepared(Prepared::Identity(None))), ["+acting", "act restart"]);
        assert_eq!(rig.acted(), ["+acted", "+acting", "act verify"]);
        assert_eq!(rig.acted(), ["+acted", "+ended", "settle released restarted"], "nothing is to be put back");
        assert_eq!(rig.settled(Err(())), ["+settled", "unlock", "exit 3"]);
    };
    let mut rig = emergency();
    assert_eq!(rig.on(unknown()), ["+acted", "+ended", "settle failed_released failed"]);
    in_place(&mut rig);
    assert_eq!(unconfirmed(&rig), ("lb1 cannot tell whether the host is in rotation: silent", true));
    // They said that it was in, and then did not let it go: that is undone first.
    let mut rig = emergency();
    rig.looks(&[("lb1", true)]);
    assert_eq!(rig.on(Event::Acted(failed("stays in"))), ["+acted", "+undoing", "undo"]);
    assert_eq!(rig.on(Event::Undone(act())), ["+undone", "+ended", "settle failed_released failed"]);
    in_place(&mut rig);
    assert_eq!(unconfirmed(&rig), ("stays in", true));
    // Nobody can tell where it is now: a person is needed.
    let mut rig = emergency();
    rig.looks(&[("lb1", true)]);
    rig.on(Event::Acted(failed("stays in")));
    assert_eq!(rig.on(Event::Undone(failed("silent"))), ["+undone", "+ended", "settle kept failed"]);
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "exit 4"]);
}

/// Scenario 13, when it is the service that says so: balancers that cannot be asked, but not some that say no.
#[test]
fn a_service_may_say_that_it_restarts_though_its_balancers_cannot_be_asked() {
    let leased = |unreachable_restart| {
        let mut rig = Rig::new(Some(Errand { unreachable_restart, ..errand() }));
        lockable(&mut rig);
        rig.grant();
        rig.held(30_000);
        rig
    };
    let mut rig = leased(true);
    assert_eq!(rig.on(unknown()), ["+acted", "+ended", "settle failed_released failed"]);
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "lock"]);
    assert_eq!(rig.locked(), ["unlock", "ask 10000"], "under a lease all the same");
    assert_eq!(rig.grant(), ["+opened", "+granted", "renew -"]);
    assert_eq!(rig.held(30_000), ["prepare restart"]);
    assert_eq!(rig.on(Event::Prepared(Prepared::Identity(None))), ["begin"]);
    rig.begun(Ok(Begin::Go { generation: None }));
    rig.acted();
    rig.acted();
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "exit 3"]);
    assert_eq!(unconfirmed(&rig), ("lb1 cannot tell whether the host is in rotation: silent", false));
    // Once is enough, and without that word nothing restarts.
    let mut rig = leased(false);
    rig.on(unknown());
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "exit 1"]);
    // Balancers that were asked, and did not let it go, are not unreachable.
    let mut rig = leased(true);
    rig.looks(&[("lb1", true)]);
    rig.on(Event::Acted(failed("stays in")));
    rig.on(Event::Undone(act()));
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "exit 1"]);
}

/// Asks until the command gives up; returns what it does then.
fn ask_in_vain(rig: &mut Rig) -> Vec<String> {
    let from = rig.now;
    loop {
        let effects = rig.answered(Err("no route"));
        if !effects.is_empty() {
            assert!(rig.now - from >= 10_000, "{}", rig.now - from);
            return effects;
        }
        rig.now = rig.host.wake_at().expect("a retry").0;
        assert!(rig.now - from < 30_000);
        assert_eq!(rig.on(Event::Woke), ["ask 10000"]);
    }
}

#[test]
fn a_coordinator_that_cannot_be_reached_means_no_restart() {
    let mut rig = Rig::new(Some(errand()));
    lockable(&mut rig);
    assert_eq!(ask_in_vain(&mut rig), ["settle cancelled cancelled"]);
    for _ in 0..2 {
        assert!(rig.settled(Err(())).is_empty());
        rig.now = rig.host.wake_at().expect("a retry").0;
        assert_eq!(rig.on(Event::Woke), ["settle cancelled cancelled"]);
    }
    assert_eq!(rig.settled(Err(())), ["unlock", "exit 2"]);
    assert_eq!(rig.finish, Some(Finish::NoLease("the coordinator cannot be reached: no route".into())));
}

#[test]
fn silence_is_counted_from_the_last_answer() {
    let mut rig = Rig::new(Some(errand()));
    lockable(&mut rig);
    assert!(rig.answered(Err("no route")).is_empty());
    rig.now += 9_000;
    rig.on(Event::Woke);
    let sent = rig.now;
    rig.now += 5_000;
    assert_eq!(rig.answered_at(sent, Ok(queued())), ["ask 10000"]);
    assert!(rig.answered(Err("no route")).is_empty(), "it was heard of a moment ago");
}

#[test]
fn a_service_may_say_that_it_restarts_all_the_same() {
    let mut rig = Rig::new(Some(Errand { unreachable_restart: true, ..errand() }));
    lockable(&mut rig);
    assert_eq!(ask_in_vain(&mut rig), ["lock"]);
    assert_eq!(rig.locked(), ["+opened", "prepare depool"]);
    rig.looks(&[("lb1", true)]);
    rig.acted();
    rig.acted();
    rig.looked(&[("lb1", false)]);
    rig.on(Event::Prepared(Prepared::Identity(None)));
    assert!(matches!(rig.journal.first(), Some(Record::Opened(plan)) if plan.leaseless));
    assert!(matches!(rig.journal.last(), Some(Record::Acting { step: Step::Restart, .. })));
    rig.acted();
    rig.acted();
    rig.acted();
    assert_eq!(rig.settled(Err(())), ["+settled", "unlock", "exit 3"]);
}

#[test]
fn it_gives_way_to_a_pause_and_comes_back() {
    let give_way = |wait_ms: Option<u64>| {
        let mut rig = Rig::new(Some(Errand { wait_ms, force: true, ..errand() }));
        lockable(&mut rig);
        rig.grant();
        rig.held(30_000);
        rig.on(Event::Prepared(Prepared::Identity(None)));
        rig.now += 1_000;
        assert_eq!(rig.begun(Ok(paused())), ["+ended", "settle gave_way cancelled"]);
        rig
    };
    for (wait_ms, ask) in [(None, "ask 10000"), (Some(60_000), "ask 10000"), (Some(1_001), "ask 0")] {
        let mut rig = give_way(wait_ms);
        assert_eq!(rig.settled(Ok(())), ["+settled", "unlock"]);
        rig.now = rig.host.wake_at().expect("a rest").0;
        assert_eq!(rig.on(Event::Woke), ["lock"]);
        assert_eq!(rig.locked(), ["unlock", ask]);
        assert_eq!(rig.claim(), "q3", "under a name of its own");
        rig.now += 1_000;
        rig.on(Event::StopRequested);
        assert_eq!(rig.settled(Ok(())), ["unlock", "exit 143"]);
    }
    let mut rig = give_way(Some(1_000));
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "exit 2"]);
    assert_eq!(rig.finish, Some(Finish::NoLease("all is paused".into())));
    let mut rig = give_way(None);
    rig.on(Event::StopRequested);
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "exit 143"]);
}

#[test]
fn a_stop_before_the_restart_is_told_apart_from_one_after_it() {
    let mut rig = Rig::new(Some(errand()));
    lockable(&mut rig);
    rig.on(Event::StopRequested);
    let told = rig.settle.as_ref().and_then(|settle| settle.report.as_ref()).map(|report| report.cause.as_str());
    assert_eq!(told, Some("interrupted"), "a command is no worker");
    assert_eq!(rig.settled(Ok(())), ["unlock", "exit 143"]);
    let mut rig = Rig::new(Some(errand()));
    lockable(&mut rig);
    run_well(&mut rig);
    rig.on(Event::StopRequested);
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "exit 0"]);
}

#[test]
fn a_journal_that_cannot_be_written_ends_it() {
    let mut rig = Rig::new(Some(errand()));
    rig.holds_records = true;
    lockable(&mut rig);
    rig.grant();
    assert_eq!(rig.on(Event::NotRecorded("disk full".into())), ["unlock", "settle cancelled cancelled"]);
    assert_eq!(rig.settled(Ok(())), ["unlock", "exit 2"]);
    assert_eq!(rig.finish, Some(Finish::NoLease("cannot write the journal: disk full".into())));
}

#[test]
fn without_a_lease_there_is_nobody_to_tell_that_the_journal_cannot_be_written() {
    let mut rig = Rig::new(Some(Errand { emergency: true, ..errand() }));
    assert_eq!(lockable(&mut rig), ["unlock", "lock"]);
    rig.holds_records = true;
    assert_eq!(rig.locked(), ["+opened"]);
    assert_eq!(rig.on(Event::NotRecorded("disk full".into())), ["unlock", "exit 2"]);
    assert_eq!(rig.finish, Some(Finish::NoLease("cannot write the journal: disk full".into())));
}

#[test]
fn what_was_found_out_for_nobody_is_found_out_again() {
    let mut rig = Rig::new(Some(Errand { force: true, ..errand() }));
    lockable(&mut rig);
    rig.grant();
    assert!(rig.on(Event::Prepared(Prepared::Identity(Some("of before".into())))).is_empty());
    assert_eq!(rig.held(30_000), ["prepare restart"]);
    assert_eq!(rig.on(Event::Prepared(Prepared::Identity(Some("i1".into())))), ["begin"]);
}

#[test]
fn a_service_that_is_not_configured_is_refused() {
    let mut rig = Rig::new(Some(Errand { service: "nginx".parse().expect("a service"), ..errand() }));
    assert_eq!(lockable(&mut rig), ["unlock", "exit 2"]);
    assert_eq!(rig.finish, Some(Finish::NoLease("nginx is not configured".into())));
}

#[test]
fn a_disk_that_cannot_be_used_is_said() {
    let mut rig = Rig::new(Some(errand()));
    rig.on(Event::Started);
    assert_eq!(rig.on(Event::NotLocked("disk full".into())), ["exit 2"]);
    assert_eq!(rig.finish, Some(Finish::NoLease("disk full".into())));
}

#[test]
fn a_damaged_journal_is_stuck() {
    let mut rig = Rig::new(Some(errand()));
    rig.on(Event::Started);
    assert_eq!(rig.on(Event::Damaged("line 3".into())), ["unlock", "exit 4"]);
}
