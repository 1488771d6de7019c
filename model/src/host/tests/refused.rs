//! Requests that the coordinator refuses for good: sent again as they are, they would be refused again.

use super::rig::{Rig, errand, for_good};
use super::*;

fn failed() -> Rig {
    let mut rig = Rig::restarting();
    assert_eq!(rig.on(Event::Acted(rig::failed("exit 78"))), ["+acted", "+ended", "settle kept failed"]);
    rig
}

#[test]
fn a_report_that_is_refused_is_told_without_its_details() {
    let mut rig = failed();
    assert_eq!(rig.settle_refused(), ["settle kept failed"], "at once");
    let report = rig.settle.clone().and_then(|settle| settle.report).expect("a report");
    assert_eq!((report.step, report.output.as_str(), report.timings.len()), (Some(Step::Restart), "", 0));
    assert_eq!(report.cause, "exit 78 (the whole report was refused: too large)");
    assert!(rig.settled(Err(())).is_empty(), "nobody answers");
    rig.now = rig.host.wake_at().expect("a retry").0;
    rig.on(Event::Woke);
    assert!(rig.settle.clone().and_then(|settle| settle.report).is_some_and(|again| again == report));
    assert_eq!(rig.settled(Ok(())), ["+settled", "unlock", "join"]);
    let Some(Record::Ended { report, .. }) = rig.journal.iter().rev().nth(1) else { panic!("not ended") };
    assert_eq!(report.output, "printed", "the journal has it whole");
}

#[test]
fn what_is_refused_even_so_is_left_to_the_coordinator() {
    let mut rig = failed();
    rig.settle_refused();
    assert_eq!(rig.settle_refused(), ["+settled", "unlock", "join"]);
    let mut rig = Rig::daemon_owing("php@7", false, false);
    rig.locked();
    rig.checked(Ok(false));
    assert_eq!(rig.settle_refused(), ["settle cancelled skipped"]);
    let report = rig.settle.clone().and_then(|settle| settle.report).expect("a report");
    assert_eq!(report.cause, "free 3 (the whole report was refused: too large)");
    assert_eq!(rig.settle_refused(), ["unlock", "join"]);
}

#[test]
fn a_wait_and_a_begin_end_with_it() {
    let mut rig = Rig::queued();
    let answered = |rig: &Rig| Event::Answered { sent: Time(rig.now), answer: Err(for_good("no such pool")) };
    assert_eq!(rig.on(answered(&rig)), ["settle cancelled cancelled"]);
    let mut rig = Rig::new(Some(errand()));
    rig.on(Event::Started);
    rig.locked();
    rig.on(answered(&rig));
    rig.settled(Ok(()));
    assert_eq!(rig.finish, Some(Finish::NoLease("no such pool".into())), "it does not even wait for ten seconds");
    let mut rig = Rig::beginning();
    let begun = Event::Begun { sent: Time(rig.now), begin: Err(for_good("malformed")) };
    assert_eq!(rig.on(begun), ["+acted", "+inspected", "+undoing", "renew repool", "undo"]);
}

#[test]
fn a_renewal_goes_on_and_says_less() {
    let mut rig = Rig::draining();
    rig.on(Event::Noted("\u{1}".repeat(5_000)));
    rig.now += 1_000;
    rig.on(Event::Woke);
    let renew = rig.renew.clone().expect("a renewal");
    assert!(serde_json::to_string(&renew.note).expect("JSON").len() <= 1_026, "bounded as it travels");
    let refused = Event::Owned { claim: renew.claim, sent: Time(rig.now), own: Err(for_good("too large")) };
    assert!(rig.on(refused).is_empty());
    rig.now = rig.host.wake_at().expect("the next renewal").0;
    assert_eq!(rig.on(Event::Woke), ["renew drain"]);
    assert_eq!(rig.renew.clone().expect("a renewal").note, "");
}
