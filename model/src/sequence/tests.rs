//! What a sequence does next, and what may follow what, rule by rule.

use super::*;
use crate::lease::Purpose;
use crate::member::Presence;
use crate::request::Ending;
use crate::rollout::{Outcome, Report, Timing};
use crate::sequence::record::Balancers;

fn plan() -> Plan {
    Plan {
        sequence: "q1".parse().expect("an id"),
        service: "php".parse().expect("a service"),
        purpose: Purpose::Rollout("php@7".parse().expect("a rollout")),
        pools: ["app".parse().expect("a pool")].into(),
        depool: true,
        keep: true,
        leaseless: false,
        away_ms: 0,
        left_out: Balancers::new(),
        doubt: None,
        before: vec![Timing { step: Step::Check, ms: 5, ok: true, note: "free 3".into() }],
    }
}

fn names(names: &[&str]) -> Balancers {
    names.iter().map(|name| ((*name).to_owned(), format!("w-{name}"))).collect()
}

fn found(taken: &[&str], left: &[&str], out: &[&str]) -> Memo {
    let out = out.iter().map(|name| (*name).to_owned()).collect();
    Memo::Found(Found { taken: names(taken), left: names(left), out })
}

fn look(balancer: &str, presence: Presence) -> Look {
    Look {
        balancer: balancer.into(),
        presence,
        detail: "HTTP 500".into(),
        restore: format!("w-{balancer}"),
        is_foreign: false,
        remedy: Default::default(),
    }
}

fn granted() -> Record {
    Record::Granted { tokens: [("app".parse().expect("a pool"), 9)].into(), ms: 40 }
}

fn depool() -> Record {
    Record::Acting { step: Step::Depool, memo: Some(found(&["lb1"], &[], &[])) }
}

fn acting(step: Step) -> Record {
    let memo = (step == Step::Restart).then(|| Memo::Identity(Some("i1".into())));
    Record::Acting { step, memo }
}

fn acted(step: Step) -> Record {
    Record::Acted { step, act: Act { ms: 10, note: step.to_string(), fault: None } }
}

fn failed(step: Step) -> Record {
    let fault = Fault { cause: format!("{step} broke"), output: "pool www".into() };
    Record::Acted { step, act: Act { ms: 10, note: String::new(), fault: Some(fault) } }
}

fn seen(step: Step, seen: Seen) -> Record {
    Record::Inspected { step, seen }
}

fn begun() -> Record {
    Record::Begun { generation: Some(8), ms: 3 }
}

fn undoing() -> Record {
    Record::Undoing { why: Unwind::Cancelled("stop".into()) }
}

fn undone() -> Record {
    Record::Undone { act: Act::default() }
}

fn ended() -> Record {
    Record::Ended { ending: Ending::Released, report: Box::new(Report::plain(Outcome::Restarted)) }
}

fn run(plan: Plan, records: &[Record]) -> Sequence {
    let mut sequence = Sequence::open(plan);
    for record in records {
        sequence.record(record).unwrap_or_else(|illegal| panic!("{illegal}: {record:?}"));
    }
    sequence
}

fn may() -> Authority {
    Authority { may_begin: true, cut_short: None }
}

fn may_not() -> Authority {
    Authority { may_begin: false, cut_short: None }
}

fn cut() -> Authority {
    Authority { may_begin: true, cut_short: Some(Unwind::Cancelled("stop".into())) }
}

fn end(next: Next) -> (Ending, Report) {
    match next {
        Next::End(ending, report) => (ending, *report),
        other => panic!("not an end: {other:?}"),
    }
}

/// The records of a good run, in order.
fn good() -> Vec<Record> {
    vec![
        granted(),
        depool(),
        acted(Step::Depool),
        acting(Step::Drain),
        acted(Step::Drain),
        seen(Step::Depool, Seen::Done),
        begun(),
        acting(Step::Restart),
        acted(Step::Restart),
        acting(Step::Verify),
        acted(Step::Verify),
        acting(Step::Repool),
        acted(Step::Repool),
        ended(),
        Record::Settled,
    ]
}

#[test]
fn a_good_run_goes_through_its_steps_in_order() {
    let expected = [
        Next::Act(Step::Depool),
        Next::Act(Step::Depool),
        Next::Wait,
        Next::Act(Step::Drain),
        Next::Wait,
        Next::Look,
        Next::Begin,
        Next::Act(Step::Restart),
        Next::Wait,
        Next::Act(Step::Verify),
        Next::Wait,
        Next::Act(Step::Repool),
        Next::Wait,
    ];
    let mut sequence = Sequence::open(plan());
    let records = good();
    for (expected, record) in expected.into_iter().zip(&records) {
        assert_eq!(sequence.next(&may()), expected, "before {record:?}");
        sequence.record(record).expect("a legal record");
    }
    let (ending, report) = end(sequence.next(&may()));
    assert_eq!((ending, report.outcome, report.stuck), (Ending::Released, Outcome::Restarted, false));
    assert_eq!((report.step, report.cause.as_str(), report.out_of.len()), (None, "", 0));
    let steps: Vec<_> = report.timings.iter().map(|timing| (timing.step, timing.ms, timing.ok)).collect();
    let ask = [(Step::Check, 5, true), (Step::Ask, 40, true), (Step::Depool, 10, true), (Step::Drain, 10, true)];
    let rest = [(Step::Begin, 3, true), (Step::Restart, 10, true), (Step::Verify, 10, true), (Step::Repool, 10, true)];
    assert_eq!(steps, [ask, rest].concat());
    assert_eq!(report.timings[3].note, "drain");
    sequence.record(&ended()).expect("a legal record");
    assert_eq!(sequence.ended().map(|(ending, _)| ending), Some(Ending::Released));
    assert_eq!(sequence.next(&may()), Next::Settle(Ending::Released, Box::new(Report::plain(Outcome::Restarted))));
    assert!(!sequence.is_closed());
    sequence.record(&Record::Settled).expect("a legal record");
    assert_eq!(sequence.next(&may()), Next::Closed);
    assert!(sequence.is_closed() && sequence.ended().is_some());
    assert_eq!(sequence.rollout().map(|name| name.to_string()), Some("php@8".into()));
    assert_eq!((sequence.identity(), sequence.tokens().len(), sequence.is_resumed()), (Some("i1"), 1, false));
    assert!(sequence.left_out().is_empty());
}

#[test]
fn replay_stands_where_the_live_sequence_stood() {
    let mut records = vec![Record::Opened(Box::new(plan()))];
    let mut live = Sequence::open(plan());
    for record in good() {
        live.record(&record).expect("a legal record");
        records.push(record);
        let lines: Vec<String> = records.iter().map(|r| serde_json::to_string(r).expect("json")).collect();
        let read: Vec<Record> = lines.iter().map(|line| serde_json::from_str(line).expect("a record")).collect();
        assert_eq!(Sequence::replay(&read), Ok(Some(live.clone())));
    }
    assert_eq!(Sequence::replay(&[]), Ok(None));
    assert_eq!(Sequence::replay(&[granted()]).map_err(|illegal| illegal.record), Err("granted"));
    let broken = [Record::Opened(Box::new(plan())), begun()];
    let illegal = Sequence::replay(&broken).expect_err("a last word before the depool");
    assert_eq!(illegal.to_string(), "a sequence that is opened cannot be followed by \"begun\"");
}

#[test]
fn before_the_restart_act_it_is_unwound() {
    for upto in 0..=7 {
        let records = &good()[..upto];
        let sequence = run(plan(), records);
        for (authority, cause) in [(cut(), "stop"), (may_not(), "the lease is not known to be its own any more")] {
            let next = sequence.next(&authority);
            match upto {
                0 | 1 => {
                    let (ending, report) = end(next);
                    assert_eq!((ending, report.outcome), (Ending::Cancelled, Outcome::Cancelled));
                    assert_eq!(report.cause, cause);
                }
                2 | 4 => assert_eq!(next, Next::Wait, "an act is under way"),
                _ => assert_eq!(next, Next::Undo(Unwind::Cancelled(cause.into())), "after {upto}"),
            }
        }
        assert!(sequence.is_unwindable(), "after {upto}");
    }
    let unwound = run(plan(), &[&good()[..3], &[undoing(), undone()]].concat());
    let (ending, report) = end(unwound.next(&may()));
    assert_eq!((ending, report.outcome, report.cause.as_str()), (Ending::Cancelled, Outcome::Cancelled, "stop"));
    assert!(!unwound.is_unwindable() && report.out_of.is_empty());
    let paused = Record::Undoing { why: Unwind::GaveWay("a pause".into()) };
    let (ending, report) = end(run(plan(), &[&good()[..3], &[paused, undone()]].concat()).next(&may()));
    assert_eq!((ending, report.outcome, report.cause.as_str()), (Ending::GaveWay, Outcome::Cancelled, "a pause"));
}

#[test]
fn after_the_restart_act_was_announced_nothing_cuts_it_short() {
    let expected = [(8, Next::Wait), (9, Next::Act(Step::Verify)), (11, Next::Act(Step::Repool))];
    for (upto, expected) in expected {
        let sequence = run(plan(), &good()[..upto]);
        for authority in [cut(), may_not()] {
            assert_eq!(sequence.next(&authority), expected, "after {upto}");
        }
        assert!(!sequence.is_unwindable(), "after {upto}");
    }
    let (ending, _) = end(run(plan(), &good()[..13]).next(&cut()));
    assert_eq!(ending, Ending::Released);
}

#[test]
fn a_failure_before_the_restart_is_undone_and_gives_the_slot_back() {
    for (upto, step) in [(2, Step::Depool), (4, Step::Drain)] {
        let mut sequence = run(plan(), &[&good()[..upto], &[failed(step)]].concat());
        let fault = Fault { cause: format!("{step} broke"), output: "pool www".into() };
        let why = Unwind::Failed(step, fault);
        assert_eq!(sequence.next(&may()), Next::Undo(why.clone()));
        assert_eq!(sequence.next(&cut()), Next::Undo(why.clone()), "the failure is what is told");
        sequence.record(&Record::Undoing { why: why.clone() }).expect("a legal record");
        assert_eq!(sequence.next(&may_not()), Next::Undo(why));
        sequence.record(&undone()).expect("a legal record");
        let (ending, report) = end(sequence.next(&may()));
        assert_eq!((ending, report.outcome, report.step), (Ending::FailedReleased, Outcome::Failed, Some(step)));
        assert_eq!((report.cause, report.output, report.stuck), (format!("{step} broke"), "pool www".into(), false));
    }
}

#[test]
fn balancers_that_cannot_tell_fail_the_depool_before_it_is_tried() {
    let sequence = run(plan(), &[granted(), failed(Step::Depool)]);
    let (ending, report) = end(sequence.next(&may()));
    assert_eq!((ending, report.step), (Ending::FailedReleased, Some(Step::Depool)));
    assert!(
        report.timings.iter().any(|timing| timing.step == Step::Depool && !timing.ok && timing.note == "depool broke")
    );
}

#[test]
fn a_failed_undo_needs_a_person() {
    let fault = Fault { cause: "lb1 refused".into(), output: "no".into() };
    let undone = Record::Undone { act: Act { fault: Some(fault), ..Act::default() } };
    let whys = [
        (Unwind::Cancelled("stop".into()), "stop; then cannot put the host back: lb1 refused"),
        (Unwind::GaveWay("a pause".into()), "a pause; then cannot put the host back: lb1 refused"),
        (Unwind::Failed(Step::Drain, Fault::plain("x")), "drain: x; then cannot put the host back: lb1 refused"),
    ];
    for (why, cause) in whys {
        let opt_out = Plan { keep: false, ..plan() };
        let sequence = run(opt_out, &[&good()[..3], &[Record::Undoing { why }, undone.clone()]].concat());
        let (ending, report) = end(sequence.next(&may()));
        assert_eq!((ending, report.outcome, report.stuck), (Ending::Kept, Outcome::Failed, true));
        assert_eq!((report.cause.as_str(), report.output.as_str(), report.step), (cause, "no", Some(Step::Repool)));
        assert_eq!(report.out_of, ["lb1"]);
        assert_eq!(sequence.left_out(), names(&["lb1"]));
    }
}

#[test]
fn a_failure_from_the_restart_on_leaves_the_host_out_and_keeps_the_slot() {
    for (upto, step) in [(8, Step::Restart), (10, Step::Verify), (12, Step::Repool)] {
        for (keep, expected) in [(true, Ending::Kept), (false, Ending::FailedReleased)] {
            let sequence = run(Plan { keep, ..plan() }, &[&good()[..upto], &[failed(step)]].concat());
            let (ending, report) = end(sequence.next(&cut()));
            assert_eq!((ending, report.outcome, report.step), (expected, Outcome::Failed, Some(step)));
            assert_eq!((report.out_of.clone(), report.stuck), (vec!["lb1".to_owned()], false));
            assert_eq!(sequence.left_out(), names(&["lb1"]));
        }
    }
}

#[test]
fn a_balancer_that_forgets_is_asked_again_a_few_times() {
    let again = [
        seen(Step::Depool, Seen::NotDone),
        acting(Step::Depool),
        acted(Step::Depool),
        acting(Step::Drain),
        acted(Step::Drain),
    ];
    let mut records = good()[..5].to_vec();
    for _ in 1..machine::DEPOOLS_MAX {
        records.extend(again.clone());
        assert_eq!(run(plan(), &records).next(&may()), Next::Look);
    }
    records.push(seen(Step::Depool, Seen::NotDone));
    let sequence = run(plan(), &records);
    let cause = "in rotation again, although it was taken out 3 times";
    assert_eq!(sequence.next(&may()), Next::Undo(Unwind::Failed(Step::Depool, Fault::plain(cause))));
    let unknown = run(plan(), &[&good()[..5], &[seen(Step::Depool, Seen::Unknown("lb1 said 500".into()))]].concat());
    assert_eq!(unknown.next(&may()), Next::Undo(Unwind::Failed(Step::Depool, Fault::plain("lb1 said 500"))));
}

#[test]
fn a_host_that_was_out_is_restarted_in_place_and_left_out() {
    let depool = Record::Acting { step: Step::Depool, memo: Some(found(&[], &[], &["lb1"])) };
    let mut sequence = run(plan(), &[granted(), depool, acted(Step::Depool)]);
    assert_eq!(sequence.next(&may()), Next::Look, "nothing is in flight, so nothing is drained");
    let (ending, _) = end(sequence.next(&cut()));
    assert_eq!(ending, Ending::Cancelled, "nothing was taken, so nothing is undone");
    assert!(sequence.record(&undoing()).is_err());
    for record in [seen(Step::Depool, Seen::Done), begun(), acting(Step::Restart), acted(Step::Restart)] {
        sequence.record(&record).expect("a legal record");
    }
    for record in [acting(Step::Verify), acted(Step::Verify)] {
        sequence.record(&record).expect("a legal record");
    }
    assert!(sequence.record(&acting(Step::Repool)).is_err(), "there is nothing to put back");
    let (ending, report) = end(sequence.next(&may()));
    assert_eq!((ending, report.outcome, report.out_of), (Ending::Released, Outcome::Restarted, vec!["lb1".to_owned()]));
}

#[test]
fn a_restart_act_in_which_the_worker_dies_again_and_again_is_given_up() {
    let miss = [Record::Resumed, seen(Step::Restart, Seen::NotDone)];
    let once_more = [&good()[5..7], &[seen(Step::Restart, Seen::NotDone)], &good()[7..8]].concat();
    let mut records = [&good()[..8], &miss].concat();
    for _ in 1..machine::RESTARTS_MAX {
        assert_eq!(run(plan(), &records).next(&may()), Next::Look, "once more");
        records.extend(once_more.iter().chain(&miss).cloned());
    }
    let (ending, report) = end(run(plan(), &records).next(&may()));
    assert_eq!((ending, report.step, report.stuck), (Ending::Kept, Some(Step::Restart), true));
    assert_eq!(report.cause, "the worker died in each of 3 restart acts, and the same incarnation still runs");
}

#[test]
fn a_host_that_somebody_puts_back_meanwhile_is_not_restarted() {
    let depool = Record::Acting { step: Step::Depool, memo: Some(found(&[], &[], &["lb1"])) };
    let mut records = vec![granted(), depool, acted(Step::Depool)];
    for _ in 1..machine::DEPOOLS_MAX {
        records.extend([seen(Step::Depool, Seen::NotDone), acting(Step::Depool), acted(Step::Depool)]);
        assert_eq!(run(plan(), &records).next(&may()), Next::Look);
    }
    records.push(seen(Step::Depool, Seen::NotDone));
    let (ending, report) = end(run(plan(), &records).next(&may()));
    assert_eq!((ending, report.step), (Ending::FailedReleased, Some(Step::Depool)));
}

#[test]
fn what_an_earlier_failure_left_out_is_put_back_by_a_good_end_only() {
    let plan = || Plan { left_out: names(&["lb1", "lb2"]), ..plan() };
    let depool = Record::Acting { step: Step::Depool, memo: Some(found(&["lb3"], &["lb1"], &[])) };
    let upto = |count: usize| {
        let mut records = good();
        records[1] = depool.clone();
        records[..count].to_vec()
    };
    assert_eq!(run(plan(), &upto(1)).left_out(), names(&["lb1", "lb2"]), "nothing is known yet");
    assert_eq!(run(plan(), &upto(11)).next(&may()), Next::Act(Step::Repool));
    let ours: Vec<String> = run(plan(), &upto(3)).found().map(Found::ours).unwrap_or_default().into_keys().collect();
    assert_eq!(ours, ["lb1", "lb3"]);
    assert!(run(plan(), &upto(13)).left_out().is_empty());
    let undone = run(plan(), &[upto(3), vec![undoing(), undone()]].concat());
    assert_eq!(undone.left_out(), names(&["lb1"]), "an undo puts back what this sequence took");
    assert_eq!(end(undone.next(&may())).1.out_of, ["lb1"]);
    let failed = run(plan(), &[upto(12), vec![failed(Step::Repool)]].concat());
    assert_eq!(failed.left_out(), names(&["lb1", "lb3"]));
    let only_left = Record::Acting { step: Step::Depool, memo: Some(found(&[], &["lb1"], &[])) };
    let sequence = run(plan(), &[granted(), only_left, acted(Step::Depool)]);
    assert_eq!(sequence.next(&may()), Next::Look);
    let (ending, report) = end(sequence.next(&cut()));
    assert_eq!((ending, report.out_of), (Ending::Cancelled, vec!["lb1".to_owned()]));
}

#[test]
fn no_balancers_at_all_means_drain_and_no_repool() {
    let depool = Record::Acting { step: Step::Depool, memo: Some(found(&[], &[], &[])) };
    let mut records = good()[..11].to_vec();
    records[1] = depool;
    assert_eq!(run(plan(), &records[..3]).next(&may()), Next::Act(Step::Drain));
    assert_eq!(end(run(plan(), &records).next(&may())).0, Ending::Released);
}

#[test]
fn force_leaves_the_balancers_alone() {
    let plan = || Plan { depool: false, left_out: names(&["lb1"]), ..plan() };
    let records =
        [granted(), begun(), acting(Step::Restart), acted(Step::Restart), acting(Step::Verify), acted(Step::Verify)];
    assert_eq!(run(plan(), &records[..1]).next(&may()), Next::Begin);
    assert_eq!(run(plan(), &records[..2]).next(&may()), Next::Act(Step::Restart));
    assert_eq!(end(run(plan(), &records[..2]).next(&cut())).0, Ending::Cancelled);
    let done = run(plan(), &records);
    let (ending, report) = end(done.next(&may()));
    assert_eq!((ending, report.out_of, done.left_out()), (Ending::Released, vec!["lb1".to_owned()], names(&["lb1"])));
    let interrupted = [&records[..3], &[Record::Resumed, seen(Step::Restart, Seen::NotDone)]].concat();
    assert_eq!(run(plan(), &interrupted).next(&may()), Next::Begin);
    let withheld = [&records[..3], &[Record::Withheld { step: Step::Restart }]].concat();
    assert_eq!(run(plan(), &withheld).next(&may()), Next::Begin);
    assert_eq!(run(plan(), &[&records[..2], &[Record::Resumed]].concat()).next(&may()), Next::Begin);
    assert!(Sequence::open(plan()).record(&failed(Step::Depool)).is_err());
}

#[test]
fn without_a_lease_nobody_has_a_last_word() {
    let plan = || Plan { leaseless: true, ..plan() };
    let records = &good()[1..6];
    assert_eq!(run(plan(), &[]).next(&may_not()), Next::Act(Step::Depool));
    assert_eq!(run(plan(), records).next(&may_not()), Next::Act(Step::Restart));
    assert_eq!(run(plan(), &[records, &[acting(Step::Restart)]].concat()).next(&may_not()), Next::Wait);
    assert!(matches!(run(plan(), records).next(&cut()), Next::Undo(_)));
    let forced = Plan { depool: false, ..plan() };
    assert_eq!(run(forced, &[]).next(&may_not()), Next::Act(Step::Restart));
}

#[test]
fn after_a_crash_steps_are_done_again_and_the_memo_is_kept() {
    let cases = [
        (1, Next::Act(Step::Depool)),
        (2, Next::Act(Step::Depool)),
        (3, Next::Act(Step::Drain)),
        (4, Next::Act(Step::Drain)),
        (5, Next::Look),
        (6, Next::Look),
        (7, Next::Look),
        (8, Next::Inspect { is_again: false }),
        (9, Next::Act(Step::Verify)),
        (10, Next::Act(Step::Verify)),
        (11, Next::Act(Step::Repool)),
        (12, Next::Act(Step::Repool)),
    ];
    for (upto, expected) in cases {
        let sequence = run(plan(), &[&good()[..upto], &[Record::Resumed]].concat());
        assert_eq!(sequence.next(&may()), expected, "after {upto}");
        assert!(sequence.is_resumed());
    }
    let again = Record::Acting { step: Step::Depool, memo: Some(found(&[], &[], &["lb1"])) };
    let sequence = run(plan(), &[&good()[..2], &[Record::Resumed, again]].concat());
    assert_eq!(
        sequence.found().map(|found| found.taken.clone()),
        Some(names(&["lb1"])),
        "the first memo is the true one"
    );
    let undo = run(plan(), &[&good()[..3], &[undoing(), Record::Resumed]].concat());
    assert_eq!(undo.next(&may()), Next::Undo(Unwind::Cancelled("stop".into())));
}

#[test]
fn an_interrupted_restart_is_done_or_not_or_a_person_is_needed() {
    let interrupted = [&good()[..8], &[Record::Resumed]].concat();
    let after =
        |seen_: Seen| run(Plan { keep: false, ..plan() }, &[&interrupted[..], &[seen(Step::Restart, seen_)]].concat());
    assert_eq!(
        run(plan(), &interrupted).next(&cut()),
        Next::Inspect { is_again: false },
        "it is not unwound before that is known"
    );
    assert_eq!(after(Seen::Done).next(&cut()), Next::Act(Step::Verify));
    let last = after(Seen::Done).timings.last().cloned().expect("a timing");
    assert_eq!((last.step, last.ok, last.note.as_str()), (Step::Restart, true, FOUND_DONE), "its step is not missing");
    assert_eq!(after(Seen::NotDone).next(&may()), Next::Look);
    assert!(matches!(after(Seen::NotDone).next(&may_not()), Next::Undo(_)));
    let stuck = after(Seen::Unknown("no identity".into()));
    let (ending, report) = end(stuck.next(&may()));
    assert_eq!((ending, report.stuck, report.step), (Ending::Kept, true, Some(Step::Restart)));
    assert!(report.cause.ends_with("whether it happened: no identity"), "{}", report.cause);
    assert_eq!(stuck.left_out(), names(&["lb1"]));
}

#[test]
fn a_restart_in_doubt_is_looked_for_once_more_after_the_last_word_for_its_generation() {
    let not_done = || seen(Step::Restart, Seen::NotDone);
    let in_doubt = [&good()[..8], &[Record::Resumed, not_done(), seen(Step::Depool, Seen::Done)]].concat();
    let doubt = Doubt { generation: 8, identity: "i1".into() };
    assert_eq!(run(plan(), &in_doubt).doubt(), Some(&doubt));
    let with = |plan: Plan, records: &[Record]| run(plan, &[&in_doubt, records].concat());
    let again = with(plan(), &[begun()]);
    assert_eq!(again.next(&may()), Next::Inspect { is_again: true });
    assert!(matches!(again.next(&may_not()), Next::Undo(_)), "nothing is begun yet");
    assert_eq!(again.identity(), Some("i1"));
    let done = with(plan(), &[begun(), seen(Step::Restart, Seen::Done)]);
    assert_eq!((done.next(&cut()), done.doubt()), (Next::Act(Step::Verify), None));
    assert_eq!(with(plan(), &[begun(), not_done()]).next(&may()), Next::Act(Step::Restart));
    let stuck = with(plan(), &[begun(), seen(Step::Restart, Seen::Unknown("?".into()))]);
    assert!(end(stuck.next(&may())).1.stuck);
    // What was noted first is kept, however often it is begun again.
    let memo = Some(Memo::Identity(Some("i2".into())));
    let second = [begun(), not_done(), Record::Acting { step: Step::Restart, memo: memo.clone() }];
    assert_eq!(with(plan(), &second).identity(), Some("i1"));
    assert_eq!(with(plan(), &second).since().as_deref(), Some("i1"), "what the first act did is not done again");
    assert_eq!(run(plan(), &good()[..8]).since(), None, "nothing came before the first");
    let third = [&second[..], &[Record::Resumed, not_done()]].concat();
    assert_eq!(with(plan(), &third).doubt(), Some(&doubt));
    assert_eq!(with(plan(), &[&second[..], &[acted(Step::Restart)]].concat()).doubt(), None);
    // Another generation is another restart.
    let newer = Record::Begun { generation: Some(9), ms: 1 };
    assert_eq!(with(plan(), std::slice::from_ref(&newer)).next(&may()), Next::Act(Step::Restart));
    let interrupted = [newer, Record::Acting { step: Step::Restart, memo }, Record::Resumed, not_done()];
    let newer = Doubt { generation: 9, identity: "i2".into() };
    assert_eq!(with(plan(), &interrupted).doubt(), Some(&newer));
    // A later sequence gets it, and hands it on; what a person wants is done whatever came before.
    let later = || Plan { doubt: Some(doubt.clone()), ..plan() };
    assert_eq!(run(later(), &good()[..7]).next(&may()), Next::Inspect { is_again: true });
    assert_eq!(run(later(), &good()[..5]).doubt(), Some(&doubt));
    let by_hand = Plan { purpose: Purpose::Restart("php".parse().expect("a service")), ..later() };
    assert_eq!(run(by_hand, &good()[..7]).next(&may()), Next::Act(Step::Restart));
}

#[test]
fn an_act_that_was_withheld_is_not_past_the_restart() {
    let sequence = run(plan(), &[&good()[..8], &[Record::Withheld { step: Step::Restart }]].concat());
    assert_eq!(sequence.next(&may()), Next::Look);
    assert!(matches!(sequence.next(&may_not()), Next::Undo(_)));
    let sequence = run(plan(), &[&good()[..2], &[Record::Withheld { step: Step::Depool }]].concat());
    assert_eq!(sequence.next(&may()), Next::Act(Step::Depool));
    assert!(matches!(sequence.next(&may_not()), Next::Undo(_)));
}

#[test]
fn the_report_is_bounded_and_names_the_rollout_that_wanted_it() {
    let fault = Fault { cause: "x".repeat(5000), output: "y".repeat(50_000) };
    let failed = Record::Acted { step: Step::Restart, act: Act { fault: Some(fault), ..Act::default() } };
    let sequence = run(plan(), &[&good()[..8], &[failed]].concat());
    let (_, report) = end(sequence.next(&may()));
    assert_eq!((report.cause.len(), report.output.len()), (1024, 8192));
    assert!(report.cause.ends_with("x…") && report.output.starts_with("…y"), "and the cut is seen");
    assert_eq!(run(plan(), &good()[..3]).rollout().map(|name| name.to_string()), Some("php@7".into()));
    let by_hand = Plan { purpose: Purpose::Restart("php".parse().expect("a service")), ..plan() };
    assert_eq!(Sequence::open(by_hand).rollout(), None);
    let long = Authority { may_begin: true, cut_short: Some(Unwind::Cancelled("z".repeat(5000))) };
    assert_eq!(end(Sequence::open(plan()).next(&long)).1.cause.len(), 1024);
}

#[test]
fn what_the_balancers_said_is_sorted_and_unknown_is_never_a_yes() {
    let looks = [look("a", Presence::In), look("b", Presence::Out), look("c", Presence::Out), look("d", Presence::In)];
    let found = Found::of(&looks, &names(&["c", "d", "gone"])).expect("all could tell");
    assert_eq!((found.taken.clone(), found.left.clone()), (names(&["a", "d"]), names(&["c"])));
    assert_eq!(found.out, ["b".to_owned()].into());
    let theirs = Look { is_foreign: true, ..look("c", Presence::Out) };
    let kept = Found::of(&[theirs], &names(&["c"])).expect("it could tell");
    assert_eq!((kept.left.len(), kept.out.len()), (0, 1), "somebody put it into a state of their own meanwhile");
    let fault = Found::of(&[look("a", Presence::Unknown)], &Balancers::new()).expect_err("unknown");
    assert_eq!(fault.cause, "a cannot tell whether the host is in rotation: HTTP 500");
    let out = |name| look(name, Presence::Out);
    assert_eq!(found.confirmed(&[out("a"), out("b"), out("c"), out("d")]), Seen::Done);
    assert_eq!(found.confirmed(&[out("a"), look("b", Presence::In), out("c"), out("d")]), Seen::NotDone);
    assert_eq!(found.confirmed(&[out("a"), out("b"), out("c")]), Seen::Unknown("d was not asked".into()));
    assert_eq!(found.confirmed(&[out("a"), out("c"), out("d")]), Seen::Unknown("b was not asked".into()));
    assert_eq!(found.confirmed(&[out("a"), out("b"), out("d")]), Seen::Unknown("c was not asked".into()));
    let unknown = [out("a"), look("b", Presence::In), look("c", Presence::Unknown), out("d")];
    assert!(matches!(found.confirmed(&unknown), Seen::Unknown(why) if why.starts_with("c cannot tell")));
    assert_eq!(Found::default().confirmed(&[]), Seen::Done);
}

#[test]
fn steps_are_named_and_ordered() {
    let names: Vec<String> = Step::ALL.iter().map(Step::to_string).collect();
    assert_eq!(names.join(" "), "check ask gate depool drain begin restart verify repool settle");
    assert!(Step::ALL.is_sorted());
    assert_eq!(format!("{:>7}", Step::Ask), "    ask");
}

/// Every record at every place where a sequence can stand.
#[test]
fn only_what_can_follow_is_taken() {
    let at = |upto: usize, more: &[Record]| [&good()[..upto], more].concat();
    let stuck = seen(Step::Restart, Seen::Unknown("?".into()));
    let in_doubt = at(8, &[Record::Resumed, seen(Step::Restart, Seen::NotDone)]);
    let stations: Vec<(&str, Vec<Record>)> = vec![
        ("opened", vec![]),
        ("granted", at(1, &[])),
        ("depooling", at(2, &[])),
        ("depooled", at(3, &[])),
        ("draining", at(4, &[])),
        ("drained", at(5, &[])),
        ("confirmed", at(6, &[])),
        ("begun", at(7, &[])),
        ("restarting", at(8, &[])),
        ("interrupted", at(8, &[Record::Resumed])),
        ("doubtful", [in_doubt, vec![seen(Step::Depool, Seen::Done), begun()]].concat()),
        ("restarted", at(9, &[])),
        ("verifying", at(10, &[])),
        ("verified", at(11, &[])),
        ("repooling", at(12, &[])),
        ("repooled", at(13, &[])),
        ("ended", at(14, &[])),
        ("settled", at(15, &[])),
        ("failed untried", at(1, &[failed(Step::Depool)])),
        ("failed depool", at(2, &[failed(Step::Depool)])),
        ("failed drain", at(4, &[failed(Step::Drain)])),
        ("failed restart", at(8, &[failed(Step::Restart)])),
        ("undoing", at(3, &[undoing()])),
        ("undone", at(3, &[undoing(), undone()])),
        ("stuck", at(8, &[Record::Resumed, stuck])),
    ];
    let table: Vec<String> =
        stations.iter().map(|(name, records)| format!("{name}: {}", takes(records)).trim_end().to_owned()).collect();
    assert_eq!(table.join("\n"), TABLE.trim());
}

fn takes(records: &[Record]) -> String {
    let mut candidates: Vec<(String, Record)> = vec![
        ("opened".into(), Record::Opened(Box::new(plan()))),
        ("granted".into(), granted()),
        ("depool+memo".into(), depool()),
        ("restart-memo".into(), Record::Acting { step: Step::Restart, memo: None }),
        ("begun".into(), begun()),
        ("undoing".into(), undoing()),
        ("undone".into(), undone()),
        ("resumed".into(), Record::Resumed),
        ("ended".into(), ended()),
        ("settled".into(), Record::Settled),
    ];
    for step in Step::ALL {
        candidates.push((format!("{step}…"), acting(step)));
        candidates.push((format!("{step}✓"), acted(step)));
        candidates.push((format!("{step}✗"), failed(step)));
        candidates.push((format!("{step}-"), Record::Withheld { step }));
        candidates.push((format!("{step}?"), seen(step, Seen::Done)));
    }
    let sequence = run(plan(), records);
    let taken = candidates.into_iter().filter(|(_, record)| {
        let mut tried = sequence.clone();
        let is_taken = tried.record(record).is_ok();
        assert!(is_taken || tried == sequence, "a refused record changes nothing");
        is_taken
    });
    taken.map(|(name, _)| name).collect::<Vec<_>>().join(" ")
}

const TABLE: &str = "
opened: granted depool+memo resumed ended depool✗
granted: depool+memo resumed ended depool✗
depooling: resumed depool✓ depool✗ depool-
depooled: undoing resumed drain…
draining: resumed drain✓ drain✗
drained: undoing resumed depool?
confirmed: begun undoing resumed depool?
begun: undoing resumed depool? restart…
restarting: resumed restart✓ restart✗ restart-
interrupted: resumed restart?
doubtful: undoing resumed restart?
restarted: resumed verify…
verifying: resumed verify✓ verify✗
verified: resumed repool…
repooling: resumed repool✓ repool✗
repooled: resumed ended
ended: resumed settled
settled:
failed untried: resumed ended
failed depool: undoing resumed
failed drain: undoing resumed
failed restart: resumed ended
undoing: undoing undone resumed
undone: resumed ended
stuck: resumed ended
";
