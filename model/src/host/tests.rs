//! What a host decides, rule by rule; and against a small world with crashes, in [`world`].

mod errand;
mod lease;
mod refused;
mod resume;
mod rig;
mod wait;
mod world;

use super::*;
use crate::host::tests::rig::{Rig, act, fault, go, granted, look, paused, queued, refused};
use crate::request::{Begin, Ending, RefusalKind};
use crate::rollout::Outcome;
use crate::sequence::{Record, Step};

#[test]
fn a_daemon_goes_through_a_rollout_and_is_idle_again() {
    let mut rig = Rig::daemon();
    assert_eq!(rig.on(Event::Started), ["lock"]);
    assert_eq!(rig.locked(), ["unlock"], "nothing is unfinished");
    assert!(rig.host.is_idle());
    assert_eq!(rig.host.wake_at(), None, "only something from outside moves it");
    assert_eq!(rig.owes("php@7", false, false), ["lock"]);
    assert_eq!(rig.locked(), ["unlock", "check php"]);
    assert_eq!(rig.checked(Ok(true)), ["ask 10000"]);
    let ask = rig.ask.clone().expect("an ask");
    assert_eq!((ask.holder.as_str(), ask.purpose.to_string().as_str(), ask.patience_ms), ("mw1", "php@7", 15_000));
    assert_eq!((ask.pools.len(), ask.wait_ms), (1, None));
    rig.now += 40;
    let claims = ["+opened", "+granted", "renew depool", "prepare depool"];
    assert_eq!(rig.grant(), claims, "its lease is claimed at once, and what it is for is told");
    assert!(rig.held(30_000).is_empty());
    let depools = ["+acting", "renew depool", "act depool"];
    assert_eq!(rig.looks(&[("lb1", true), ("lb2", false)]), depools);
    assert_eq!(rig.acted(), ["+acted", "+acting", "renew drain", "act drain"]);
    assert_eq!(rig.acted(), ["prepare restart", "look php"], "side by side");
    assert!(rig.looked(&[("lb1", false), ("lb2", false)]).is_empty(), "what runs is not known yet");
    assert_eq!(rig.on(Event::Prepared(Prepared::Identity(Some("i1".into())))), ["begin"]);
    let restarts = ["+acted", "+inspected", "+begun", "+acting", "renew restart", "act restart"];
    assert_eq!(rig.begun(Ok(go(8))), restarts);
    assert_eq!(rig.acted(), ["+acted", "+acting", "renew verify", "act verify"]);
    assert_eq!(rig.acted(), ["+acted", "+acting", "renew repool", "act repool"]);
    assert_eq!(rig.acted(), ["+acted", "+ended", "settle released restarted"]);
    let settle = rig.settle.clone().expect("a settle");
    assert_eq!(settle.rollout.map(|name| name.to_string()), Some("php@8".into()));
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "join"]);
    assert!(rig.host.is_idle() && rig.host.owed.is_empty());
    assert_eq!(rig.host.wake_at(), None);
    let report = settle.report.expect("a report");
    let timed: Vec<_> = report.timings.iter().map(|timing| (timing.step, timing.ms)).collect();
    assert_eq!(timed[..3], [(Step::Check, 5), (Step::Ask, 40), (Step::Depool, 10)]);
    assert_eq!(report.out_of, ["lb2"], "somebody else had taken it out there");
}

#[test]
fn a_check_that_asks_for_nothing_takes_no_lease() {
    let mut rig = Rig::daemon_owing("php@7", false, false);
    assert_eq!(rig.locked(), ["unlock", "check php"]);
    assert_eq!(rig.checked(Ok(false)), ["settle cancelled skipped"]);
    let settle = rig.settle.clone().expect("a settle");
    assert_eq!(settle.rollout.map(|name| name.to_string()), Some("php@7".into()));
    let report = settle.report.expect("a report");
    assert_eq!((report.timings.len(), report.cause.as_str()), (1, "free 3"));
    assert_eq!(rig.settled(Ok(())), ["unlock", "join"]);
    assert!(rig.host.is_idle() && rig.host.owed.is_empty());
}

#[test]
fn a_check_that_cannot_be_read_is_a_failure_without_a_lease() {
    let mut rig = Rig::daemon_owing("php@7", false, false);
    rig.locked();
    assert_eq!(rig.checked(Err(fault("no socket"))), ["settle failed_released failed"]);
    let report = rig.settle.clone().and_then(|settle| settle.report).expect("a report");
    assert_eq!(
        (report.step, report.cause.as_str(), report.output.as_str()),
        (Some(Step::Check), "no socket", "printed")
    );
    assert!(report.timings.iter().any(|timing| timing.step == Step::Check && timing.ms == 5 && !timing.ok));
}

#[test]
fn always_and_failed_before_ask_no_check() {
    for (always, failed_before) in [(true, false), (false, true)] {
        let mut rig = Rig::daemon_owing("php@7", always, failed_before);
        assert_eq!(rig.locked(), ["unlock", "ask 10000"]);
    }
}

#[test]
fn an_unanswered_report_without_a_sequence_is_sent_again_and_then_left() {
    let mut rig = Rig::daemon_owing("php@7", false, false);
    rig.locked();
    rig.checked(Ok(false));
    for _ in 0..5 {
        assert!(rig.settled(Err(())).is_empty());
        let at = rig.host.wake_at().expect("a retry");
        assert!(at.0 > rig.now, "it waits first");
        assert!(rig.on(Event::Woke).is_empty(), "not yet");
        rig.now = at.0;
        assert_eq!(rig.on(Event::Woke), ["settle cancelled skipped"]);
        assert_eq!(rig.host.wake_at(), None);
    }
    assert_eq!(rig.settled(Err(())), ["unlock", "join"]);
    assert!(rig.host.is_idle());
}

#[test]
fn what_is_owed_for_an_unknown_service_is_nobodys() {
    let mut rig = Rig::daemon();
    rig.start();
    assert!(rig.owes("nginx@1", false, false).is_empty());
    assert!(rig.host.owed.is_empty());
}

#[test]
fn the_first_owed_is_taken_up_first() {
    let mut rig = Rig::daemon();
    rig.start();
    let mut welcome = rig::welcome(&[("php@7", true, false), ("cron@2", true, false)]);
    welcome.lease = None;
    assert_eq!(rig.on(Event::Joined(Box::new(welcome))), ["lock"]);
    rig.locked();
    assert_eq!(rig.ask.clone().expect("an ask").purpose.to_string(), "php@7");
}

#[test]
fn a_refusal_ends_the_sequence_and_rests_the_service() {
    for kind in [RefusalKind::TimedOut, RefusalKind::Busy, RefusalKind::NotOwed, RefusalKind::Halted] {
        let mut rig = Rig::queued();
        assert_eq!(rig.answered(Ok(refused(kind))), ["settle cancelled cancelled"]);
        assert_eq!(rig.settled(Ok(())), ["unlock", "join"]);
        assert!(rig.owes("php@7", true, false).is_empty(), "it rests first");
        let at = rig.host.wake_at().expect("the end of the rest");
        assert!((3_750..=5_000).contains(&(at.0 - rig.now)), "{at:?}");
        rig.now = at.0 - 1;
        assert!(rig.on(Event::Woke).is_empty());
        rig.now = at.0;
        assert_eq!(rig.on(Event::Woke), ["lock"]);
    }
}

#[test]
fn a_newer_rollout_ends_the_rest_from_one_that_was_aborted() {
    let mut rig = Rig::queued();
    rig.answered(Ok(refused(RefusalKind::NotOwed)));
    rig.settled(Ok(()));
    assert!(rig.owes("php@7", true, false).is_empty(), "the same one is not taken up again at once");
    assert_eq!(rig.owes("php@8", true, false), ["lock"]);
}

#[test]
fn rests_grow_and_another_service_does_not_rest() {
    let mut rig = Rig::queued();
    rig.answered(Ok(refused(RefusalKind::TimedOut)));
    rig.settled(Ok(()));
    rig.owes("php@7", true, false);
    rig.now = rig.host.wake_at().expect("a rest").0;
    rig.on(Event::Woke);
    rig.locked();
    rig.answered(Ok(refused(RefusalKind::TimedOut)));
    rig.settled(Ok(()));
    let welcome = rig::welcome(&[("php@7", true, false), ("cron@2", true, false)]);
    assert_eq!(rig.on(Event::Joined(Box::new(welcome))), ["lock"], "cron need not rest");
    assert_eq!(rig.locked(), ["unlock", "ask 10000"]);
    assert_eq!(rig.ask.clone().expect("an ask").purpose.to_string(), "cron@2");
    rig.answered(Ok(refused(RefusalKind::TimedOut)));
    rig.settled(Ok(()));
    rig.owes("php@7", true, false);
    let rest = rig.host.wake_at().expect("a rest").0 - rig.now;
    assert!((7_500..=10_000).contains(&rest), "{rest}");
}

#[test]
fn a_failure_does_not_hold_the_next_deploy_up() {
    let mut rig = Rig::restarting();
    rig.on(Event::Acted(rig::failed("exit 78")));
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "join"]);
    assert_eq!(rig.owes("php@8", false, true), ["lock"]);
    assert_eq!(rig.locked(), ["unlock", "ask 10000"]);
    assert_eq!(rig.answered(Ok(refused(RefusalKind::TimedOut))), ["settle cancelled cancelled"]);
    rig.settled(Ok(()));
    rig.owes("php@8", false, true);
    let rest = rig.host.wake_at().expect("a rest").0 - rig.now;
    assert!(rest <= 5_000, "the rests begin anew: {rest}");
}

#[test]
fn a_waiter_asks_on_for_as_long_as_it_is_queued() {
    let mut rig = Rig::queued();
    rig.now += 10_000;
    let sent = rig.sent;
    assert_eq!(rig.answered_at(sent, Ok(queued())), ["ask 10000"], "the call was kept open");
    assert!(rig.answered(Ok(queued())).is_empty(), "it was not");
    assert_eq!(rig.host.wake_at().map(|at| at.0), Some(rig.now + 500));
    rig.now += 499;
    assert!(rig.on(Event::Woke).is_empty(), "not yet");
    rig.now += 1;
    assert_eq!(rig.on(Event::Woke), ["ask 10000"]);
}

#[test]
fn a_coordinator_that_does_not_answer_is_asked_again_for_ever_by_a_daemon() {
    let mut rig = Rig::queued();
    let mut waits = Vec::new();
    for _ in 0..20 {
        assert!(rig.answered(Err("refused")).is_empty());
        let at = rig.host.wake_at().expect("a retry").0;
        waits.push(at - rig.now);
        rig.now = at;
        assert_eq!(rig.on(Event::Woke), ["ask 10000"]);
    }
    assert!((375..=500).contains(&waits[0]) && (750..=1000).contains(&waits[1]), "{waits:?}");
    assert!(waits[10..].iter().all(|wait| (3_750..=5_000).contains(wait)), "{waits:?}");
}

#[test]
fn an_answer_for_another_claim_is_no_grant() {
    let mut rig = Rig::queued();
    assert!(rig.answered(Ok(granted("somebody"))).is_empty());
    assert!(rig.journal.iter().all(|record| !matches!(record, Record::Granted { .. })));
    rig.now = rig.host.wake_at().expect("a retry").0;
    assert_eq!(rig.on(Event::Woke), ["ask 10000"]);
}

#[test]
fn no_last_word_no_restart() {
    let halted = Begin::Halted("3 failed".into());
    let superseded = Begin::Superseded("php@9".into());
    for (begin, ending) in [
        (paused(), Ending::GaveWay),
        (halted, Ending::Cancelled),
        (superseded, Ending::Cancelled),
        (Begin::Gone, Ending::Cancelled),
    ] {
        let mut rig = Rig::beginning();
        let renews: &[&str] = if begin == Begin::Gone { &["undo"] } else { &["renew repool", "undo"] };
        assert_eq!(rig.begun(Ok(begin)), [&["+acted", "+inspected", "+undoing"], renews].concat());
        let settles = format!("settle {} cancelled", rig::word(&ending));
        assert_eq!(rig.on(Event::Undone(act())), ["+undone", "+ended", &settles]);
        assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "join"]);
    }
}

#[test]
fn a_last_word_that_does_not_come_is_asked_for_until_the_deadline() {
    let mut rig = Rig::beginning();
    assert!(rig.begun(Err("timed out")).is_empty());
    let at = rig.host.wake_at().expect("a retry").0;
    rig.now = at - 1;
    assert!(rig.on(Event::Woke).is_empty(), "not yet");
    rig.now = at;
    assert!(rig.on(Event::Woke).iter().any(|effect| effect == "begin"));
    rig.now += 22_500;
    assert_eq!(rig.on(Event::Woke), ["renew begin", "+acted", "+inspected", "+undoing", "renew repool", "undo"]);
}

#[test]
fn a_failed_step_is_told_with_what_it_printed() {
    let mut rig = Rig::restarting();
    assert_eq!(rig.on(Event::Acted(rig::failed("exit 78"))), ["+acted", "+ended", "settle kept failed"]);
    let report = rig.settle.clone().and_then(|settle| settle.report).expect("a report");
    assert_eq!(
        (report.step, report.cause.as_str(), report.output.as_str()),
        (Some(Step::Restart), "exit 78", "printed")
    );
    assert_eq!(report.out_of, ["lb1"]);
}

#[test]
fn balancers_that_cannot_tell_stop_it_before_the_depool() {
    let mut rig = Rig::leased();
    let unknown = vec![crate::sequence::Look { presence: crate::member::Presence::Unknown, ..look("lb1", true) }];
    rig.now += 7;
    let effects = rig.on(Event::Prepared(Prepared::Looks(unknown)));
    assert_eq!(effects, ["+acted", "+ended", "settle failed_released failed"]);
    let timings = rig.settle.clone().and_then(|settle| settle.report).expect("a report").timings;
    assert_eq!(timings.last().map(|timing| (timing.step, timing.ms, timing.ok)), Some((Step::Depool, 7, false)));
}

#[test]
fn a_balancer_that_forgot_is_asked_again_without_looking_what_was_before() {
    let mut rig = Rig::looking();
    assert_eq!(rig.looked(&[("lb1", true)]), ["+acted", "+inspected", "+acting", "renew depool", "act depool"]);
    let memo = rig.journal.iter().rev().find(|record| matches!(record, Record::Acting { .. }));
    assert!(matches!(memo, Some(Record::Acting { memo: None, .. })));
}

/// The restart is announced, on disk, and the balancers are asked at the very last.
fn announced() -> Rig {
    let mut rig = Rig::beginning();
    rig.holds_looks = true;
    assert_eq!(rig.begun(Ok(go(7))), ["+acted", "+inspected", "+begun", "+acting", "look again"]);
    rig
}

fn cannot_tell() -> Vec<crate::sequence::Look> {
    vec![crate::sequence::Look { presence: crate::member::Presence::Unknown, ..look("lb1", true) }]
}

#[test]
fn between_the_balancers_answer_and_the_restart_is_nothing() {
    assert_eq!(announced().looked_again(&[("lb1", false)]), ["renew restart", "act restart"]);
    let mut rig = announced();
    assert!(rig.on(Event::StopRequested).is_empty(), "it is asked, and answers soon");
    assert_eq!(rig.looked_again(&[("lb1", false)]), ["+withheld", "+undoing", "renew repool", "undo"]);
    let mut rig = announced();
    rig.now += 22_500;
    assert_eq!(rig.looked_again(&[("lb1", false)]), ["+withheld", "+undoing", "renew repool", "undo"]);
}

#[test]
fn a_balancer_that_forgot_meanwhile_is_left_again_and_the_last_word_asked_for_again() {
    let mut rig = announced();
    assert_eq!(rig.looked_again(&[("lb1", true)]), ["prepare restart", "look php"]);
    assert_eq!(
        rig.looked(&[("lb1", true)]),
        ["+withheld", "+inspected", "+acting", "renew depool", "act depool"],
        "the last word is not taken for one of a restart to come"
    );
    rig.acted();
    assert!(rig.acted().contains(&"look php".to_owned()), "out, and drained");
    rig.looked(&[("lb1", false)]);
    assert_eq!(rig.on(Event::Prepared(Prepared::Identity(Some("i1".into())))), ["begin"]);
    rig.holds_looks = false;
    assert!(rig.begun(Ok(go(7))).contains(&"act restart".to_owned()));
}

#[test]
fn a_balancer_that_cannot_tell_any_more_stops_it_before_the_restart() {
    let mut rig = announced();
    assert_eq!(rig.on(Event::LookedAgain(0, cannot_tell())), ["prepare restart", "look php"]);
    assert_eq!(rig.on(Event::Looked(cannot_tell())), ["+withheld", "+inspected", "+undoing", "renew repool", "undo"]);
    assert_eq!(rig.on(Event::Undone(act())), ["+undone", "+ended", "settle failed_released failed"]);
}

#[test]
fn stop_at_once_when_nothing_is_under_way() {
    let mut rig = Rig::daemon();
    assert_eq!(rig.on(Event::Started), ["lock"]);
    assert_eq!(rig.on(Event::StopRequested), ["unlock", "exit 0"]);
    assert!(rig.on(Event::StopRequested).is_empty(), "a second one changes nothing");
    let mut rig = Rig::daemon();
    rig.start();
    assert_eq!(rig.on(Event::StopRequested), ["exit 0"]);
    assert!(rig.owes("php@7", true, false).is_empty(), "it takes nothing up any more");
    let mut rig = Rig::daemon_owing("php@7", false, false);
    rig.locked();
    assert_eq!(rig.on(Event::StopRequested), ["unlock", "exit 0"]);
}

#[test]
fn stop_waits_for_what_is_being_told_but_not_for_ever() {
    let telling = || {
        let mut rig = Rig::daemon_owing("php@7", false, false);
        rig.locked();
        rig.checked(Ok(false));
        rig
    };
    let mut rig = telling();
    assert!(rig.on(Event::StopRequested).is_empty());
    assert_eq!(rig.settled(Ok(())), ["unlock", "exit 0"]);
    let mut rig = telling();
    rig.settled(Err(()));
    assert_eq!(rig.on(Event::StopRequested), ["settle cancelled skipped"], "once more, at once");
    assert!(rig.settled(Err(())).is_empty());
    rig.now = rig.host.wake_at().expect("a retry").0;
    rig.on(Event::Woke);
    assert_eq!(rig.settled(Err(())), ["unlock", "exit 0"]);
}

#[test]
fn stop_in_the_queue_gives_the_ticket_back() {
    let mut rig = Rig::queued();
    assert_eq!(rig.on(Event::StopRequested), ["unlock", "settle cancelled cancelled"]);
    assert_eq!(rig.settled(Ok(())), ["unlock", "exit 0"]);
    let mut rig = Rig::queued();
    rig.answered(Err("refused"));
    assert_eq!(rig.on(Event::StopRequested), ["unlock", "settle cancelled cancelled"], "between two asks too");
    let mut rig = Rig::queued();
    rig.answered(Ok(granted(&rig.claim())));
    assert_eq!(rig.on(Event::StopRequested), ["unlock", "settle cancelled cancelled"], "and what was granted");
    assert!(rig.journal.is_empty());
}

#[test]
fn stop_before_the_restart_undoes_and_after_it_finishes() {
    let mut rig = Rig::draining();
    assert_eq!(rig.on(Event::StopRequested), ["+acted", "+undoing", "renew repool", "undo"], "the drain is cut short");
    assert!(rig.on(Event::StopRequested).is_empty(), "a second one changes nothing");
    assert_eq!(rig.on(Event::Undone(act())), ["+undone", "+ended", "settle cancelled cancelled"]);
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "exit 0"]);
    let mut rig = Rig::restarting();
    assert!(rig.on(Event::StopRequested).is_empty());
    assert_eq!(rig.acted(), ["+acted", "+acting", "renew verify", "act verify"]);
    assert_eq!(rig.acted(), ["+acted", "+acting", "renew repool", "act repool"]);
    assert_eq!(rig.acted(), ["+acted", "+ended", "settle released restarted"]);
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "exit 0"]);
}

#[test]
fn stop_lets_a_depool_finish_before_it_undoes_it() {
    let mut rig = Rig::depooling();
    assert!(rig.on(Event::StopRequested).is_empty());
    assert_eq!(rig.acted(), ["+acted", "+undoing", "renew repool", "undo"]);
}

#[test]
fn stop_drops_what_can_be_dropped() {
    let mut rig = Rig::looking();
    assert_eq!(rig.on(Event::StopRequested), ["+acted", "+undoing", "renew repool", "undo"]);
    let mut rig = Rig::beginning();
    assert_eq!(rig.on(Event::StopRequested), ["+acted", "+inspected", "+undoing", "renew repool", "undo"]);
    let mut rig = Rig::leased();
    assert_eq!(rig.on(Event::StopRequested), ["+ended", "settle cancelled cancelled"]);
}

#[test]
fn stop_while_the_restart_is_being_recorded_withholds_it() {
    let mut rig = Rig::beginning();
    rig.holds_records = true;
    assert_eq!(rig.begun(Ok(go(7))), ["+acted", "+inspected", "+begun", "+acting"]);
    assert!(rig.on(Event::StopRequested).is_empty(), "a record cannot be taken back");
    rig.holds_records = false;
    assert_eq!(rig.recorded(), ["+withheld", "+undoing", "renew repool", "undo"]);
}

#[test]
fn a_settle_is_sent_for_ever_but_a_stopping_worker_leaves_it_to_its_next_start() {
    let mut rig = Rig::restarting();
    rig.on(Event::Acted(rig::failed("exit 78")));
    for _ in 0..30 {
        assert!(rig.settled(Err(())).is_empty());
        rig.now = rig.host.wake_at().expect("a retry").0;
        assert_eq!(rig.on(Event::Woke), ["settle kept failed"]);
    }
    assert!(rig.settled(Err(())).is_empty());
    assert_eq!(rig.on(Event::StopRequested), ["settle kept failed"], "once more, at once");
    assert_eq!(rig.settled(Err(())), ["unlock", "exit 0"]);
    assert!(matches!(rig.journal.last(), Some(Record::Ended { .. })), "the journal says what is left to do");
    let mut rig = Rig::leased();
    rig.on(Event::StopRequested);
    for _ in 0..2 {
        assert!(rig.settled(Err(())).is_empty());
        rig.now = rig.host.wake_at().expect("a retry").0;
        assert_eq!(rig.on(Event::Woke), ["settle cancelled cancelled"]);
    }
    assert_eq!(rig.settled(Err(())), ["unlock", "exit 0"]);
}

#[test]
fn a_full_disk_stops_what_is_not_begun_and_holds_what_is() {
    let mut rig = Rig::daemon_owing("php@7", true, false);
    rig.holds_records = true;
    rig.locked();
    assert_eq!(rig.grant(), ["+opened", "+granted"]);
    assert_eq!(rig.on(Event::NotRecorded("full".into())), ["unlock", "settle gave_way cancelled"], "it gives it back");
    assert_eq!(rig.settled(Ok(())), ["unlock", "join"]);
    assert!(rig.owes("php@7", true, false).is_empty() && rig.host.wake_at().is_some(), "it rests");
    rig.now = rig.host.wake_at().expect("the end of the rest").0;
    assert_eq!(rig.on(Event::Woke), ["lock"]);
    rig.locked();
    assert_eq!(rig.grant(), ["+opened", "+granted"]);
    assert_eq!(rig.host.trouble(), Some("full"), "that a lock can be had says nothing of it");
    rig.on(Event::NotRecorded("full".into()));
    rig.settled(Ok(()));
    rig.owes("php@7", true, false);
    assert_eq!(rig.host.trouble(), Some("full"));
    rig.on(Event::Joined(Box::new(rig::welcome(&[]))));
    assert_eq!(rig.host.trouble(), None, "there is nothing left to write");

    let mut rig = Rig::depooling();
    rig.holds_records = true;
    assert_eq!(rig.acted(), ["+acted", "+acting"]);
    assert!(rig.host.trouble().is_none());
    let mut waits = Vec::new();
    for _ in 0..3 {
        assert!(rig.on(Event::NotRecorded("full".into())).is_empty());
        assert_eq!(rig.host.trouble(), Some("full"));
        assert!(rig.on(Event::Woke).is_empty(), "not yet");
        let from = rig.now;
        let mut effects = Vec::new();
        while !effects.contains(&"+acted".to_owned()) {
            let at = rig.host.wake_at().expect("a retry").0;
            assert!(at > rig.now);
            rig.now = at;
            effects = rig.on(Event::Woke);
            assert!(effects.iter().all(|effect| effect == "renew depool" || effect.starts_with('+')), "{effects:?}");
        }
        waits.push(rig.now - from);
    }
    assert!(waits.is_sorted() && waits[0] >= 375 && waits[2] >= 1_500, "{waits:?}");
    assert_eq!(rig.recorded(), ["renew drain", "act drain"]);
    assert!(rig.host.trouble().is_none() && rig.host.stuck().is_none());
    let written = rig.journal.iter().filter(|record| record.word() == "acted").count();
    assert_eq!(written, 4, "the same ones again and again");
}

#[test]
fn a_lock_that_cannot_be_had_right_now_is_tried_again() {
    let mut rig = Rig::daemon();
    rig.on(Event::Started);
    assert!(rig.on(Event::NotLocked("disk full".into())).is_empty());
    assert_eq!((rig.host.trouble(), rig.host.stuck()), (Some("disk full"), None));
    assert!(rig.host.is_idle());
    assert!(rig.owes("php@7", true, false).is_empty(), "not at every join");
    assert_eq!(rig.host.wake_at().map(|at| at.0), Some(rig.now + 5_000));
    rig.now += 4_999;
    assert!(rig.on(Event::Woke).is_empty(), "not yet");
    rig.now += 1;
    assert_eq!(rig.on(Event::Woke), ["lock"]);
    assert_eq!(rig.host.trouble(), Some("disk full"), "until it is known to be over");
    assert_eq!(rig.locked(), ["unlock", "ask 10000"]);
    assert_eq!(rig.host.trouble(), None);
    assert!(rig.on(Event::NotLocked("late".into())).is_empty());
}

#[test]
fn somebody_elses_lock_is_waited_for() {
    let mut rig = Rig::daemon_owing("php@7", true, false);
    assert!(rig.on(Event::Busy("pid 7".into())).is_empty());
    assert!(rig.owes("php@7", true, false).is_empty(), "not at every join");
    assert_eq!(rig.host.wake_at().map(|at| at.0), Some(rig.now + 5_000));
    rig.now += 5_000;
    assert_eq!(rig.on(Event::Woke), ["lock"]);
    assert!(rig.on(Event::Noticed).is_empty(), "it is at it");
    assert_eq!(rig.locked(), ["unlock", "ask 10000"]);
    assert!(rig.on(Event::Busy("late".into())).is_empty());
    assert!(rig.locked().is_empty(), "a late word changes nothing");
}

#[test]
fn something_unfinished_that_is_noticed_is_looked_at() {
    let mut rig = Rig::daemon();
    rig.start();
    assert_eq!(rig.on(Event::Noticed), ["lock"]);
    assert_eq!(rig.locked(), ["unlock"]);
    assert_eq!(rig.host.wake_at(), None);
}

#[test]
fn a_note_travels_with_the_next_renewal() {
    let mut rig = Rig::draining();
    rig.held(30_000);
    let from = rig.now;
    assert!(rig.on(Event::Noted("4 in flight".into())).is_empty());
    assert_eq!(rig.host.wake_at(), Some(Time(from + 1_000)), "soon, and not at once");
    rig.now += 400;
    assert!(rig.on(Event::Noted("3 in flight".into())).is_empty());
    assert_eq!(rig.host.wake_at(), Some(Time(from + 1_000)));
    rig.now = from + 1_000;
    assert_eq!(rig.on(Event::Woke), ["renew drain"]);
    assert_eq!(rig.renew.clone().expect("a renewal").note, "3 in flight");
    rig.held(30_000);
    assert!(rig.on(Event::Noted("3 in flight".into())).is_empty());
    assert_eq!(rig.host.wake_at(), Some(Time(rig.now + 10_000)), "nothing new, nothing told");
    assert_eq!(rig.acted(), ["prepare restart", "look php"]);
    assert!(rig.on(Event::Noted("late".into())).is_empty());
    assert_eq!(rig.host.wake_at(), Some(Time(rig.now + 10_000)), "a note of an act that is over");
    rig.looked(&[("lb1", false)]);
    rig.on(Event::Prepared(Prepared::Identity(None)));
    rig.now += 10_000;
    rig.on(Event::Woke);
    assert_eq!(rig.renew.clone().expect("a renewal").note, "", "a new step has its own notes");
}

#[test]
fn a_late_answer_to_a_renewal_does_not_put_a_note_off() {
    let mut rig = Rig::draining();
    let told = rig.now;
    rig.on(Event::Noted("4 in flight".into()));
    rig.now += 300;
    assert!(rig.owned(told, Ok(crate::request::Own::Held { ttl_ms: 30_000 })).is_empty());
    assert_eq!(rig.host.wake_at(), Some(Time(told + 1_000)));
    rig.now = told + 1_000;
    assert_eq!(rig.on(Event::Woke), ["renew drain"]);
    assert_eq!(rig.renew.clone().expect("a renewal").note, "4 in flight");
}

#[test]
fn a_late_answer_changes_nothing() {
    let mut rig = Rig::draining();
    assert!(rig.answered(Ok(granted("q1"))).is_empty());
    assert!(rig.begun(Ok(go(7))).is_empty());
    assert!(rig.on(Event::Undone(act())).is_empty());
    assert!(rig.on(Event::Inspected(crate::sequence::Seen::Done)).is_empty());
    assert!(rig.on(Event::Prepared(Prepared::Identity(None))).is_empty());
    assert!(rig.on(Event::Prepared(Prepared::Looks(Vec::new()))).is_empty());
    assert!(rig.looked(&[("lb1", false)]).is_empty());
    assert!(rig.settled(Ok(())).is_empty());
    assert!(rig.checked(Ok(true)).is_empty());
    assert!(rig.on(Event::NotRecorded("late".into())).is_empty());
    assert!(rig.recorded().is_empty());
    assert_eq!(rig.acted(), ["prepare restart", "look php"]);
    assert!(rig.acted().is_empty());
}

#[test]
fn a_record_that_cannot_follow_stops_everything() {
    let mut rig = Rig::draining();
    let Phase::Working(work) = &mut rig.host.phase else { panic!("a sequence is under way") };
    let mut effects: Vec<Effect<u32>> = Vec::new();
    work.write(Record::Settled, &mut effects);
    assert!(effects.is_empty(), "it does not even reach the disk");
    assert_eq!(rig.on(Event::Woke), ["unlock"]);
    let why = "a sequence that is acting drain cannot be followed by \"settled\"";
    assert_eq!(rig.host.stuck(), Some(why));
}

#[test]
fn outcomes_have_their_exit_codes() {
    let report = || Box::new(crate::rollout::Report::plain(Outcome::Failed));
    let unrun = |stuck| Finish::Unrun {
        earlier: Box::new(crate::rollout::Report { stuck, ..*report() }),
        instead: Box::new(Finish::NothingToDo(String::new())),
    };
    let codes = [
        (Finish::Stopped, 0),
        (Finish::Restarted(report()), 0),
        (Finish::NothingToDo(String::new()), 0),
        (Finish::Failed(report()), 1),
        (Finish::NoLease(String::new()), 2),
        (Finish::Leaseless(report()), 3),
        (Finish::Unconfirmed { report: report(), why: String::new(), leaseless: false }, 3),
        (Finish::Stuck(report()), 4),
        (Finish::Interrupted, 143),
        (unrun(false), 1),
        (unrun(true), 4),
    ];
    for (finish, code) in codes {
        assert_eq!(finish.exit_code(), code, "{finish:?}");
    }
}
