//! How long a lease is known to be its own, and what follows when it is not.

use super::rig::{Rig, act, go};
use super::*;
use crate::request::Own;

#[test]
fn it_renews_three_times_in_the_time_to_live() {
    let mut rig = Rig::draining();
    let from = rig.now;
    assert_eq!(
        rig.host.wake_at().map(|at| at.0),
        Some(from + 2_000),
        "it told of its step, and nobody has answered yet"
    );
    rig.now += 1;
    rig.held(30_000);
    rig.now -= 1;
    assert_eq!(rig.host.wake_at().map(|at| at.0), Some(from + 10_001));
    rig.now += 1;
    rig.now += 9_999;
    assert!(rig.on(Event::Woke).is_empty());
    rig.now += 1;
    assert_eq!(rig.on(Event::Woke), ["renew drain"]);
    assert_eq!(rig.host.wake_at().map(|at| at.0), Some(rig.now + 2_000), "again soon, when nobody answers");
    assert!(rig.held(30_000).is_empty());
    assert_eq!(rig.host.wake_at().map(|at| at.0), Some(rig.now + 10_000));
}

#[test]
fn at_its_own_deadline_it_is_undone() {
    let mut rig = Rig::draining();
    let from = rig.now;
    for _ in 0..40 {
        let at = rig.host.wake_at().expect("a renewal").0;
        rig.now = at.min(from + 22_499);
        assert!(rig.on(Event::Woke).iter().all(|effect| effect == "renew drain"));
        assert!(rig.owned(rig.now, Err("no route")).is_empty());
        if rig.now == from + 22_499 {
            break;
        }
    }
    assert_eq!(rig.now, from + 22_499, "three quarters of the time to live");
    assert_eq!(rig.host.wake_at().map(|at| at.0), Some(from + 22_500));
    rig.now = from + 22_500;
    let effects = rig.on(Event::Woke);
    assert_eq!(effects[effects.len() - 4..], ["+acted", "+undoing", "renew repool", "undo"]);
    rig.on(Event::Undone(act()));
    let report = rig.settle.clone().and_then(|settle| settle.report).expect("a report");
    assert_eq!(report.cause, "the lease is not known to be its own any more");
}

#[test]
fn an_answer_counts_from_when_its_request_was_sent() {
    let mut rig = Rig::draining();
    let from = rig.now;
    rig.now = from + 20_000;
    rig.on(Event::Woke);
    assert!(rig.owned(from + 10_000, Ok(Own::Held { ttl_ms: 30_000 })).is_empty());
    assert!(rig.owned(from + 5_000, Ok(Own::Held { ttl_ms: 30_000 })).is_empty(), "an older one takes nothing back");
    rig.now = from + 32_499;
    assert!(rig.on(Event::Woke).iter().all(|effect| effect.starts_with("renew")));
    rig.now = from + 32_500;
    assert!(rig.on(Event::Woke).contains(&"undo".to_owned()));
}

#[test]
fn a_lease_that_is_gone_is_undone_at_once() {
    let mut rig = Rig::draining();
    assert_eq!(rig.owned(rig.now, Ok(Own::Gone)), ["+acted", "+undoing", "undo"], "and no longer renewed");
    assert!(rig.owned(rig.now, Ok(Own::Held { ttl_ms: 30_000 })).is_empty());
    rig.now += 60_000;
    assert!(rig.on(Event::Woke).is_empty());
    assert_eq!(rig.on(Event::Undone(act())), ["+undone", "+ended", "settle cancelled cancelled"]);
}

#[test]
fn a_lease_that_is_gone_before_the_depool_leaves_nothing_to_undo() {
    let mut rig = Rig::queued();
    rig.grant();
    assert_eq!(rig.owned(rig.now, Ok(Own::Gone)), ["+ended", "settle cancelled cancelled"]);
}

#[test]
fn a_depool_is_finished_before_it_is_undone() {
    let mut rig = Rig::depooling();
    assert!(rig.owned(rig.now, Ok(Own::Gone)).is_empty());
    assert_eq!(rig.host.wake_at(), None, "nothing to wake for");
    assert_eq!(rig.acted(), ["+acted", "+undoing", "undo"]);
}

#[test]
fn after_the_restart_act_a_lost_lease_stops_nothing() {
    let mut rig = Rig::restarting();
    assert!(rig.owned(rig.now, Ok(Own::Gone)).is_empty());
    rig.now += 60_000;
    assert!(rig.on(Event::Woke).is_empty());
    assert_eq!(rig.acted(), ["+acted", "+acting", "act verify"]);
    assert_eq!(rig.acted(), ["+acted", "+acting", "act repool"]);
    assert_eq!(rig.acted(), ["+acted", "+ended", "settle released restarted"]);
}

#[test]
fn after_the_restart_act_silence_stops_nothing_and_it_goes_on_renewing() {
    let mut rig = Rig::restarting();
    rig.now += 60_000;
    assert_eq!(rig.on(Event::Woke), ["renew restart"]);
    assert!(rig.host.wake_at().expect("a renewal").0 > rig.now, "the deadline wakes nobody any more");
    assert_eq!(rig.acted(), ["+acted", "+acting", "renew verify", "act verify"]);
}

#[test]
fn a_lease_that_ran_out_unnoticed_restarts_nothing() {
    // The worker was stopped, or the machine slept: the answer is there, and the time is over.
    let mut rig = Rig::beginning();
    let sent = rig.now;
    rig.now += 40_000;
    let late = Event::Begun { sent: Time(sent), begin: Ok(go(7)) };
    assert_eq!(rig.on(late), ["+acted", "+inspected", "+begun", "+undoing", "renew repool", "undo"]);
    let mut rig = Rig::beginning();
    rig.holds_records = true;
    rig.begun(Ok(go(7)));
    rig.now += 22_500;
    rig.holds_records = false;
    assert_eq!(rig.recorded(), ["+withheld", "+undoing", "renew repool", "undo"]);
    let mut rig = Rig::leased();
    rig.holds_records = true;
    assert_eq!(rig.looks(&[("lb1", true)]), ["+acting"]);
    rig.now += 22_500;
    rig.holds_records = false;
    assert_eq!(rig.recorded(), ["+withheld", "+undoing", "renew repool", "undo"]);
}

#[test]
fn a_last_word_is_a_renewal_too() {
    let mut rig = Rig::beginning();
    rig.now += 20_000;
    rig.holds_records = true;
    assert_eq!(rig.begun(Ok(go(7))), ["+acted", "+inspected", "+begun", "+acting"]);
    rig.now += 22_499;
    rig.holds_records = false;
    assert_eq!(rig.recorded(), ["renew restart", "act restart"], "it is not undone");
}

#[test]
fn a_restart_that_was_withheld_is_undone() {
    let mut rig = Rig::beginning();
    rig.holds_records = true;
    rig.begun(Ok(go(7)));
    assert!(rig.on(Event::StopRequested).is_empty());
    rig.now += 22_500;
    assert_eq!(rig.recorded(), ["+withheld", "+undoing"]);
}

#[test]
fn another_claims_answer_is_not_its_own() {
    let mut rig = Rig::draining();
    let other = Event::Owned { claim: "other".parse().expect("an id"), sent: Time(rig.now), own: Ok(Own::Gone) };
    assert!(rig.on(other).is_empty());
}

#[test]
fn a_short_time_to_live_is_renewed_often() {
    let mut rig = Rig::queued();
    rig.grant();
    assert!(rig.held(600).is_empty());
    assert_eq!(rig.host.wake_at().map(|at| at.0), Some(rig.now + 200));
    rig.now += 200;
    rig.on(Event::Woke);
    assert_eq!(rig.host.wake_at().map(|at| at.0), Some(rig.now + 60));
    let sent = rig.now;
    rig.now += 30;
    rig.owned(sent - 200, Ok(Own::Held { ttl_ms: 600 }));
    assert_eq!(rig.host.wake_at().map(|at| at.0), Some(sent + 60), "an answer that tells nothing new changes nothing");
    rig.owned(sent, Ok(Own::Held { ttl_ms: 600 }));
    assert_eq!(rig.host.wake_at().map(|at| at.0), Some(sent + 200));
}

#[test]
fn nothing_is_renewed_after_the_end() {
    let mut rig = Rig::restarting();
    rig.on(Event::Acted(super::rig::failed("exit 1")));
    rig.now += 60_000;
    assert!(rig.on(Event::Woke).is_empty());
    assert_eq!(rig.host.wake_at(), None);
}
