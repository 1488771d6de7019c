//! Leases and the queue: each rule by itself.

use crate::world::{World, ask, failed, name, pools};
use model::apply::PASSES_MAX;
use model::lease::{LeaseState, Purpose};
use model::request::{AWAY_MS_MAX, Answer, Begin, Done, Ending, Own, RefusalKind, Settled};
use model::settings::{Setting, Slots};

fn refusal(answer: Answer) -> (RefusalKind, String) {
    match answer {
        Answer::Refused(refusal) => (refusal.kind, refusal.value),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_free_slot_is_granted_at_once_and_a_full_pool_queues_in_order() {
    let mut world = World::with_slots(1);
    let lease = world.granted("a", "ca", &["p"]);
    assert_eq!((lease.pools[&name("p")], lease.attempt, lease.state), (1, 1, LeaseState::Held));
    assert_eq!(world.queued("b", "cb", &["p"]), 1);
    world.later(1);
    assert_eq!(world.queued("c", "cc", &["p"]), 2);
    assert_eq!(world.queued("b", "cb", &["p"]), 1, "asking again keeps the place");
    assert_eq!(world.settle("a", "ca", Ending::Released), Settled::Done);
    assert_eq!(world.next_in_line().as_deref(), Some("b"));
    assert_eq!(world.queued("c", "cc", &["p"]), 2, "the younger does not overtake");
    assert_eq!(world.granted("b", "cb", &["p"]).pools[&name("p")], 2);
}

#[test]
fn the_same_request_again_is_the_same_lease_and_token() {
    let mut world = World::with_slots(1);
    let first = world.granted("a", "ca", &["p"]);
    world.later(500);
    let again = world.granted("a", "ca", &["p"]);
    assert_eq!(first.pools, again.pools);
    assert_eq!((again.renewed, again.granted), (world.now.time, first.granted), "asking again renews");
    let (kind, value) = refusal(world.ask(&ask("a", "other", &["p"])));
    assert_eq!(kind, RefusalKind::Busy);
    assert!(value.contains("a has a lease that is held, for run: test"), "{value}");
}

#[test]
fn several_pools_are_granted_whole_or_not_at_all() {
    let mut world = World::with_slots(2);
    world.set("pool/q", Setting::Slots(Slots::Count(1)));
    world.granted("a", "ca", &["q"]);
    assert_eq!(world.queued("b", "cb", &["p", "q"]), 1);
    let rows = world.state.read_pools(&Default::default(), world.now).rows;
    let held: Vec<_> = rows.iter().map(|row| (row.pool.to_string(), row.held, row.waiting)).collect();
    assert_eq!(held, [("p".into(), 0, 1), ("q".into(), 1, 1)]);
    // A younger one that wants only p goes past, since q is full.
    world.granted("c", "cc", &["p"]);
    world.settle("a", "ca", Ending::Released);
    let lease = world.granted("b", "cb", &["p", "q"]);
    assert_eq!(lease.pools.len(), 2);
}

#[test]
fn the_oldest_head_goes_first_among_sets_that_overlap() {
    let mut world = World::with_slots(1);
    world.set("pool/q", Setting::Slots(Slots::Count(1)));
    world.granted("a", "ca", &["p"]);
    world.later(1);
    world.queued("b", "cb", &["p", "q"]);
    world.later(1);
    world.queued("c", "cc", &["p"]);
    world.settle("a", "ca", Ending::Released);
    assert_eq!(world.next_in_line().as_deref(), Some("b"));
    let Answer::Queued(queued) = world.ask(&ask("c", "cc", &["p"])) else { panic!("c went first") };
    assert_eq!((queued.why.kind, queued.why.slots), (RefusalKind::NotFirst, Some(1)));
    assert_eq!(queued.why.value, "b asked before");
    assert!(queued.why.source.is_some_and(|source| source.contains("by ann@ops1")));
    world.granted("b", "cb", &["p", "q"]);
}

#[test]
fn one_who_was_passed_too_often_is_not_passed_again() {
    let mut world = World::with_slots(2);
    world.set("pool/q", Setting::Slots(Slots::Count(1)));
    world.granted("slow", "cs", &["q"]);
    world.queued("b", "cb", &["p", "q"]);
    for turn in 0..PASSES_MAX {
        world.later(1);
        let claim = format!("c{turn}");
        world.granted("young", &claim, &["p"]);
        world.settle("young", &claim, Ending::Released);
    }
    world.queued("young", "last", &["p"]);
    world.settle("slow", "cs", Ending::Released);
    world.granted("b", "cb", &["p", "q"]);
    world.granted("young", "last", &["p"]);
}

#[test]
fn pools_are_not_kept_for_one_whose_other_pool_does_not_move() {
    let mut world = World::with_slots(1);
    world.set("pool/q", Setting::Slots(Slots::Count(1)));
    let stay = model::request::Ask { purpose: Purpose::Restart(name("php")), ..ask("bad", "cx", &["q"]) };
    world.ask(&stay);
    world.begin("bad", "cx");
    world.settle_with("bad", "cx", Ending::Kept, None, Some(failed("exit 78")));
    world.queued("b", "cb", &["p", "q"]);
    for turn in 0..PASSES_MAX + 3 {
        world.later(1);
        let claim = format!("c{turn}");
        world.granted("young", &claim, &["p"]);
        world.settle("young", &claim, Ending::Released);
    }
}

#[test]
fn a_silent_head_loses_its_turn_and_not_its_ticket() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    world.queued("b", "cb", &["p"]);
    world.later(1);
    world.queued("c", "cc", &["p"]);
    let quiet = world.quiet("b", "cb");
    assert!(quiet.nudges.pools.contains(&name("p")));
    world.settle("a", "ca", Ending::Released);
    assert_eq!(world.next_in_line().as_deref(), Some("c"));
    world.granted("c", "cc", &["p"]);
    assert_eq!(world.queued("b", "cb", &["p"]), 1);
    world.settle("c", "cc", Ending::Released);
    world.granted("b", "cb", &["p"]);
}

#[test]
fn a_waiter_counts_as_listening_for_as_long_as_its_ask_stands() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    world.queued("b", "cb", &["p"]);
    world.later(5_000);
    world.queued("c", "cc", &["p"]);
    world.settle("a", "ca", Ending::Released);
    world.later(4_999);
    world.tick();
    assert_eq!(world.next_in_line().as_deref(), Some("b"));
    world.later(1);
    let tick = world.tick();
    assert!(tick.nudges.pools.contains(&name("p")), "whoever is behind it is told");
    assert_eq!(world.next_in_line().as_deref(), Some("c"));
    world.granted("b", "cb", &["p"]);
}

#[test]
fn those_behind_a_kept_pool_are_told_when_it_is_kept_no_longer() {
    type Stop = fn(&mut World) -> model::apply::Decision;
    let ways: [(&str, Stop); 2] = [
        ("lost", |world| {
            world.later(30_000);
            world.tick()
        }),
        ("failed", |world| {
            world.begin("slow", "cs");
            world.later(30_000);
            world.tick()
        }),
    ];
    for (how, stop) in ways {
        let mut world = World::with_slots(1);
        world.set("pool/q", Setting::Slots(Slots::Count(1)));
        world.granted("slow", "cs", &["q"]);
        let patient = |holder, claim, names| model::request::Ask { patience_ms: 60_000, ..ask(holder, claim, names) };
        world.ask(&patient("b", "cb", &["p", "q"]));
        for turn in 0..PASSES_MAX {
            let claim = format!("c{turn}");
            world.granted("young", &claim, &["p"]);
            world.settle("young", &claim, Ending::Released);
        }
        world.ask(&patient("young", "last", &["p"]));
        assert_eq!(world.next_in_line(), None, "p is kept for b");
        let stopped = stop(&mut world);
        assert!(stopped.nudges.pools.contains(&name("p")), "{how}");
        assert_eq!(world.next_in_line().as_deref(), Some("young"), "{how}");
    }
}

#[test]
fn a_holder_that_stops_renewing_is_lost_and_still_counted() {
    let mut world = World::with_slots(1);
    world.set("pool/p", Setting::Ttl(2_000));
    world.set("pool/p", Setting::LostAfter(Some(5_000)));
    world.granted("a", "ca", &["p"]);
    world.later(1_999);
    world.tick();
    assert_eq!(world.lease("a").map(|lease| lease.state), Some(LeaseState::Held));
    world.later(1);
    world.tick();
    assert_eq!(world.lease("a").map(|lease| lease.state), Some(LeaseState::Lost));
    assert_eq!(world.queued("b", "cb", &["p"]), 1, "a lost lease counts");
    // It comes back in time and goes on.
    world.later(4_000);
    assert_eq!(world.renew("a", "ca"), Own::Held { ttl_ms: 2_000 });
    assert_eq!(world.lease("a").map(|lease| lease.state), Some(LeaseState::Held));
    // Silent for good: after the time to live and lost_after the slot is free.
    world.later(2_000);
    world.tick();
    world.later(4_999);
    world.queued("b", "cb", &["p"]);
    world.later(1);
    assert_eq!(world.granted("b", "cb", &["p"]).pools[&name("p")], 2);
    assert_eq!(world.renew("a", "ca"), Own::Gone);
    assert_eq!(world.settle("a", "ca", Ending::Released), Settled::Gone);
}

#[test]
fn lost_after_never_waits_for_a_person() {
    let mut world = World::with_slots(1);
    world.set("pool/p", Setting::Ttl(2_000));
    world.set("pool/p", Setting::LostAfter(None));
    world.granted("a", "ca", &["p"]);
    world.later(400 * 24 * 3_600_000);
    world.tick();
    assert_eq!(world.lease("a").map(|lease| lease.state), Some(LeaseState::Lost));
    let done = world.release("a", false, false);
    assert_eq!(done, Done::Did { what: "a released: a slot of p freed".into() });
    assert_eq!(world.lease("a"), None);
}

#[test]
fn a_failed_host_keeps_its_slot_until_it_is_well_or_released() {
    let mut world = World::with_slots(1);
    let restart =
        |claim: &str| model::request::Ask { purpose: Purpose::Restart(name("php")), ..ask("a", claim, &["p"]) };
    world.ask(&restart("c1"));
    world.begin("a", "c1");
    world.settle_with("a", "c1", Ending::Kept, None, Some(failed("exit 78")));
    world.later(1_000_000_000);
    world.tick();
    let lease = world.lease("a").expect("kept");
    assert_eq!((lease.state, lease.failed[&name("php")].cause.as_str()), (LeaseState::Failed, "exit 78"));
    assert_eq!(world.renew("a", "c1"), Own::Gone, "a settled lease is nobody's to renew");
    world.queued("b", "cb", &["p"]);
    // The fix: a new attempt on the slot that it holds, before anyone who waits.
    let Answer::Granted(granted) = world.ask(&restart("c2")) else { panic!("not granted") };
    assert_eq!((granted.lease.attempt, granted.lease.pools[&name("p")]), (2, 2));
    world.begin("a", "c2");
    world.settle_with("a", "c2", Ending::Released, None, None);
    assert_eq!(world.lease("a"), None);
    world.granted("b", "cb", &["p"]);
}

#[test]
fn a_second_service_that_is_well_does_not_free_the_slot_of_a_failed_one() {
    let mut world = World::with_slots(1);
    world.set("pool/q", Setting::Slots(Slots::Count(1)));
    let restart = |service: &str, claim: &str, names: &[&str]| model::request::Ask {
        purpose: Purpose::Restart(name(service)),
        ..ask("a", claim, names)
    };
    world.ask(&restart("php", "c1", &["p"]));
    world.settle_with("a", "c1", Ending::Kept, None, Some(failed("exit 78")));
    let Answer::Granted(granted) = world.ask(&restart("nginx", "c2", &["p", "q"])) else { panic!("not granted") };
    assert_eq!(granted.lease.pools.keys().cloned().collect::<std::collections::BTreeSet<_>>(), pools(&["p", "q"]));
    world.settle("a", "c2", Ending::Released);
    let lease = world.lease("a").expect("php still failed");
    assert_eq!((lease.state, lease.failed.len()), (LeaseState::Failed, 1));
    // A run under the failed host's name is refused; it is no way to be well.
    assert_eq!(refusal(world.ask(&ask("a", "c3", &["p"]))).0, RefusalKind::Busy);
}

#[test]
fn a_failure_that_is_undone_or_cancelled_does_not_count_as_well() {
    let mut world = World::with_slots(1);
    let restart =
        |claim: &str| model::request::Ask { purpose: Purpose::Restart(name("php")), ..ask("a", claim, &["p"]) };
    world.ask(&restart("c1"));
    world.settle_with("a", "c1", Ending::FailedReleased, None, Some(failed("not confirmed")));
    assert_eq!(world.lease("a"), None, "undone: the slot is free");
    world.ask(&restart("c2"));
    world.settle_with("a", "c2", Ending::Kept, None, None);
    assert!(world.lease("a").expect("kept").is_stuck(), "a failure without a report is nobody's to explain");
    for (claim, ending) in [("c3", Ending::Cancelled), ("c4", Ending::FailedReleased)] {
        world.ask(&restart(claim));
        world.settle("a", claim, ending);
        assert_eq!(world.lease("a").map(|lease| lease.state), Some(LeaseState::Failed), "{claim}");
    }
    // Settled twice: the same.
    assert_eq!(world.settle("a", "c4", Ending::Released), Settled::Done);
    assert_eq!(world.lease("a").map(|lease| lease.state), Some(LeaseState::Failed));
}

#[test]
fn a_waiter_that_gives_way_keeps_its_place_and_another_of_its_name_is_soon_heard() {
    let mut world = World::with_slots(1);
    world.granted("x", "cx", &["p"]);
    let patient = |claim| model::request::Ask { patience_ms: 15_000, ..ask("a", claim, &["p"]) };
    let is_busy = |answer| matches!(answer, Answer::Refused(refusal) if refusal.kind == RefusalKind::Busy);
    world.ask(&patient("c1"));
    world.later(1);
    world.queued("b", "cb", &["p"]);
    assert_eq!(world.settle("a", "c1", Ending::GaveWay), Settled::Done);
    world.later(1_999);
    assert!(is_busy(world.ask(&patient("c2"))), "it may come back at once");
    world.later(1);
    assert!(matches!(world.ask(&patient("c2")), Answer::Queued(queued) if queued.place == 1));
    // One that has fallen silent does not listen again because it says so.
    world.quiet("a", "c2");
    assert_eq!(world.settle("a", "c2", Ending::GaveWay), Settled::Done);
    assert!(matches!(world.ask(&patient("c3")), Answer::Queued(queued) if queued.place == 1));
    assert_eq!(world.settle("a", "c1", Ending::GaveWay), Settled::Gone, "another's ticket is left alone");
    assert!(is_busy(world.ask(&patient("c4"))));
}

#[test]
fn giving_way_keeps_the_place() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    world.later(1);
    world.queued("b", "cb", &["p"]);
    world.settle("a", "ca", Ending::GaveWay);
    assert_eq!(world.queued("b", "cb", &["p"]), 2, "a stands before b again");
    world.granted("a", "ca", &["p"]);
    world.settle("a", "ca", Ending::Cancelled);
    world.granted("b", "cb", &["p"]);
}

#[test]
fn a_waiter_gives_up_and_times_out() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    world.queued("b", "cb", &["p"]);
    assert_eq!(world.settle("b", "cb", Ending::Cancelled), Settled::Done);
    assert_eq!(world.settle("b", "cb", Ending::Cancelled), Settled::Gone);
    let short = model::request::Ask { wait_ms: Some(3_000), ..ask("c", "cc", &["p"]) };
    let Answer::Queued(queued) = world.ask(&short) else { panic!("not queued") };
    assert_eq!(queued.left_ms, 3_000);
    world.later(2_999);
    assert!(matches!(world.ask(&short), Answer::Queued(queued) if queued.left_ms == 1));
    world.later(1);
    let answer = world.ask(&short);
    let Answer::Refused(refusal) = answer else { panic!("{answer:?}") };
    assert_eq!(refusal.kind, RefusalKind::TimedOut);
    assert_eq!(refusal.value, "waited 3s: 1 of 1 slots of p are taken");
    assert_eq!(refusal.holders[0].holder.as_str(), "a");
    assert_eq!(world.state.read_leases(&Default::default(), world.now).queue, []);
    // A wait of nothing is an answer at once.
    let now = model::request::Ask { wait_ms: Some(0), ..ask("d", "cd", &["p"]) };
    assert_eq!(refusal_kind(world.ask(&now)), RefusalKind::TimedOut);
    for (wait_ms, said) in [(300, "waited 300ms: "), (1_250, "waited 1s: ")] {
        let short = model::request::Ask { wait_ms: Some(wait_ms), ..ask("e", "ce", &["p"]) };
        assert!(matches!(world.ask(&short), Answer::Queued(_)));
        world.later(wait_ms);
        let Answer::Refused(refusal) = world.ask(&short) else { panic!("still queued") };
        assert!(refusal.value.starts_with(said), "{}", refusal.value);
    }
}

fn refusal_kind(answer: Answer) -> RefusalKind {
    refusal(answer).0
}

#[test]
fn a_silent_ticket_is_dropped_after_its_wait() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    let short = model::request::Ask { wait_ms: Some(20_000), ..ask("c", "cc", &["p"]) };
    world.ask(&short);
    world.later(29_999);
    world.tick();
    assert_eq!(world.state.read_leases(&Default::default(), world.now).queue.len(), 1);
    world.later(1);
    let tick = world.tick();
    assert_eq!(world.state.read_leases(&Default::default(), world.now).queue.len(), 0);
    assert!(tick.nudges.pools.contains(&name("p")));
}

#[test]
fn the_queue_is_bounded() {
    let mut world = World::with_slots(1);
    world.set("pool/p", Setting::MaxQueue(2));
    world.granted("a", "ca", &["p"]);
    world.queued("b", "cb", &["p"]);
    world.queued("c", "cc", &["p"]);
    let (kind, value) = refusal(world.ask(&ask("d", "cd", &["p"])));
    assert_eq!((kind, value.as_str()), (RefusalKind::QueueFull, "2 wait for p already, and max_queue is 2"));
    world.queued("b", "cb", &["p"]);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let mut world = World::with_slots(1);
    let kind = |answer| refusal(answer).0;
    assert_eq!(kind(world.ask(&ask("a", "c", &[]))), RefusalKind::Invalid);
    let many: Vec<String> = (0..9).map(|n| format!("p{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(kind(world.ask(&ask("a", "c", &many))), RefusalKind::Invalid);
    let patient = model::request::Ask { patience_ms: 120_001, ..ask("a", "c", &["p"]) };
    assert_eq!(kind(world.ask(&patient)), RefusalKind::Invalid);
    let long = model::request::Ask { purpose: Purpose::Run("x".repeat(1025)), ..ask("a", "c", &["p"]) };
    assert_eq!(kind(world.ask(&long)), RefusalKind::Invalid);
    let ages = model::request::Ask { wait_ms: Some(u64::MAX), ..ask("a", "c", &["p"]) };
    assert_eq!(kind(world.ask(&ages)), RefusalKind::Invalid);
    let fits = model::request::Ask {
        purpose: Purpose::Run("x".repeat(1024)),
        patience_ms: 120_000,
        ..ask("a", "c", &many[..8])
    };
    assert!(matches!(world.ask(&fits), Answer::Granted(_)));
}

#[test]
fn a_name_that_waits_under_another_claim_is_busy_while_that_one_listens() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    world.queued("b", "c1", &["p"]);
    world.later(1);
    world.queued("c", "cc", &["p"]);
    assert_eq!(refusal(world.ask(&ask("b", "c2", &["p"]))).0, RefusalKind::Busy);
    world.quiet("b", "wrong");
    assert_eq!(refusal(world.ask(&ask("b", "c2", &["p"]))).0, RefusalKind::Busy);
    world.quiet("b", "c1");
    let taken = world.decide(&model::request::Request::Ask(ask("b", "c2", &["p"])));
    assert!(taken.changes.iter().any(model::change::Change::is_durable), "whose ticket it is must not be forgotten");
    assert_eq!(world.queued("b", "c2", &["p"]), 1, "the same host, started again, keeps its place");
    let row = world.state.read_leases(&Default::default(), world.now).queue.remove(0);
    assert_eq!((row.holder.as_str(), row.waited_ms), ("b", 0), "its wait is its own");
    // Wanting other pools is a new ticket.
    world.later(1);
    world.quiet("b", "c2");
    world.set("pool/q", Setting::Slots(Slots::Count(1)));
    world.granted("z", "cz", &["q"]);
    assert_eq!(world.queued("b", "c3", &["p", "q"]), 1);
    assert_eq!(world.queued("c", "cc", &["p"]), 1);
}

#[test]
fn a_persons_restart_goes_before_what_the_same_host_waits_for_by_itself() {
    let mut world = World::with_slots(1);
    world.set("pool/p", Setting::Slots(Slots::Count(1)));
    world.join("b", "php", &["p"]);
    world.announce("php");
    let rollout = crate::world::rollout_of("php", 1);
    world.granted("a", "ca", &["p"]);
    assert!(matches!(world.ask_for("b", "worker", &["p"], &rollout), Answer::Queued(_)));
    world.later(1);
    world.queued("c", "cc", &["p"]);
    let by_hand = |claim| model::request::Ask { purpose: Purpose::Restart(name("php")), ..ask("b", claim, &["p"]) };
    let Answer::Queued(queued) = world.ask(&by_hand("person")) else { panic!("not queued") };
    assert_eq!(queued.place, 1, "and has its place");
    let (kind, value) = refusal(world.ask_for("b", "worker", &["p"], &rollout));
    assert_eq!((kind, value.as_str()), (RefusalKind::Busy, "b waits already, for restart php, under another claim"));
    assert_eq!(refusal(world.ask(&by_hand("other"))).0, RefusalKind::Busy, "two people are two too many");
    // What the worker waited for is over: that is nothing to the person.
    world.act(model::request::Act::Abort { rollout: rollout.clone(), reason: "wrong".into() });
    assert_eq!(refusal(world.ask_for("b", "worker", &["p"], &rollout)).0, RefusalKind::Ended);
    world.settle("b", "worker", Ending::Cancelled);
    world.settle("a", "ca", Ending::Released);
    assert!(matches!(world.ask(&by_hand("person")), Answer::Granted(_)));
}

#[test]
fn settings_take_effect_at_once_and_nothing_held_is_revoked() {
    let mut world = World::with_slots(2);
    world.granted("a", "ca", &["p"]);
    world.granted("b", "cb", &["p"]);
    world.set("pool/p", Setting::Slots(Slots::Count(1)));
    assert_eq!(world.renew("b", "cb"), Own::Held { ttl_ms: 30_000 });
    world.queued("c", "cc", &["p"]);
    world.settle("a", "ca", Ending::Released);
    world.queued("c", "cc", &["p"]);
    world.settle("b", "cb", Ending::Released);
    world.granted("c", "cc", &["p"]);
}

#[test]
fn the_strictest_pool_gives_the_times_of_a_lease() {
    let mut world = World::with_slots(1);
    world.set("pool/q", Setting::Ttl(5_000));
    world.set("pool/q", Setting::LostAfter(Some(9_000)));
    world.set("pool/q", Setting::Wait(4_000));
    let lease = world.granted("a", "ca", &["p", "q"]);
    assert_eq!((lease.ttl_ms, lease.lost_after_ms), (5_000, Some(3_600_000)));
    let Answer::Queued(queued) = world.ask(&ask("b", "cb", &["p", "q"])) else { panic!("not queued") };
    assert_eq!(queued.left_ms, 4_000);
    world.set("pool/q", Setting::LostAfter(None));
    world.settle("a", "ca", Ending::Released);
    assert_eq!(world.granted("b", "cb", &["p", "q"]).lost_after_ms, None, "never is the longest of all");
}

#[test]
fn a_restart_of_the_coordinator_forgets_nothing_and_loses_nobody() {
    let mut world = World::with_slots(1);
    world.set("pool/p", Setting::Ttl(2_000));
    let lease = world.granted("a", "ca", &["p"]);
    world.queued("b", "cb", &["p"]);
    world.later(1_900);
    world.restart();
    world.later(1_900);
    world.tick();
    assert_eq!(world.lease("a").map(|lease| (lease.state, lease.pools)), Some((LeaseState::Held, lease.pools)));
    assert_eq!(world.queued("b", "cb", &["p"]), 1);
    world.settle("a", "ca", Ending::Released);
    world.restart();
    assert_eq!(world.granted("b", "cb", &["p"]).pools[&name("p")], 2, "tokens grow across restarts");
}

#[test]
fn a_coordinator_restored_from_an_old_copy_grants_no_token_again() {
    let mut world = World::with_slots(1);
    let join = |token| model::request::Join {
        highest: [(name("p"), token)].into(),
        ..World::join_request("h", "php", &["p"])
    };
    world.joined(&join(41));
    assert_eq!(world.granted("a", "ca", &["p"]).pools[&name("p")], 42);
    world.settle("a", "ca", Ending::Released);
    world.joined(&join(7));
    assert_eq!(world.granted("a", "cb", &["p"]).pools[&name("p")], 43, "a lower one changes nothing");
    world.settle("a", "cb", Ending::Released);
    world.joined(&join(1_000_000_043));
    world.joined(&join(u64::MAX));
    assert_eq!(world.granted("a", "cc", &["p"]).pools[&name("p")], 1_000_000_044, "nobody is believed without bounds");
}

#[test]
fn a_state_that_may_lack_what_was_written_last_grants_no_token_again() {
    let mut world = World::with_slots(1);
    assert_eq!(world.granted("a", "ca", &["p"]).pools[&name("p")], 1);
    world.settle("a", "ca", Ending::Released);
    let lacking = world.state.lacking(world.now);
    world.state.replay(&lacking);
    // Also in a pool of which nothing is known any more.
    let two = world.granted("a", "cb", &["p", "q"]).pools;
    assert_eq!((two[&name("p")], two[&name("q")]), (1_000_002, 1_000_002));
    world.settle("a", "cb", Ending::Released);
    let again = world.state.lacking(world.now);
    world.state.replay(&again);
    assert_eq!(world.granted("b", "cc", &["q"]).pools[&name("q")], 2_000_003);
    let entries = world.state.read_history(&Default::default()).rows;
    assert_eq!(entries.iter().filter(|entry| entry.kind == model::history::EntryKind::Lacking).count(), 2);
}

#[test]
fn a_lost_attempt_on_a_kept_slot_falls_back_to_failed() {
    let mut world = World::with_slots(1);
    world.set("pool/p", Setting::Ttl(2_000));
    world.set("pool/p", Setting::LostAfter(Some(1_000)));
    let restart =
        |claim: &str| model::request::Ask { purpose: Purpose::Restart(name("php")), ..ask("a", claim, &["p"]) };
    world.ask(&restart("c1"));
    world.settle_with("a", "c1", Ending::Kept, None, Some(failed("exit 78")));
    world.ask(&restart("c2"));
    world.renew("a", "c2");
    world.later(2_000);
    world.tick();
    assert_eq!(world.lease("a").map(|lease| lease.state), Some(LeaseState::Lost));
    world.later(1_000);
    world.tick();
    assert_eq!(world.lease("a").map(|lease| lease.state), Some(LeaseState::Failed));
}

#[test]
fn release_needs_live_for_one_that_renews_and_forget_needs_a_dead_one() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    assert!(matches!(world.release("a", false, false), Done::Refused { why, .. } if why.contains("still renews")));
    assert_eq!(world.release("a", true, false), Done::Did { what: "a released: a slot of p freed".into() });
    assert!(matches!(world.release("a", true, false), Done::Refused { why, .. } if why == "a has no lease"));
    world.granted("b", "cb", &["p"]);
    world.queued("c", "cc", &["p"]);
    let refused = world.release("c", false, false);
    assert!(matches!(refused, Done::Refused { why, .. } if why == "c has no lease, it waits for one"));
    assert_eq!(world.queued("c", "cc", &["p"]), 1, "and keeps its place");
    world.join("h", "php", &["p"]);
    assert!(matches!(world.release("h", false, true), Done::Refused { why, .. } if why == "h is alive"));
    assert!(matches!(world.release("h", false, false), Done::Refused { .. }));
    world.later(60_000);
    assert_eq!(
        world.release("h", false, true),
        Done::Did { what: "h released: no slot freed, and the host is forgotten".into() }
    );
    assert_eq!(world.state.read_members(&Default::default(), world.now).rows, []);
}

#[test]
fn asking_again_and_renewing_are_not_worth_a_disk_and_coming_back_is() {
    let mut world = World::with_slots(1);
    world.set("pool/p", Setting::Ttl(2_000));
    let request = model::request::Request::Ask(ask("a", "ca", &["p"]));
    let is_durable = |world: &mut World| world.decide(&request).changes.iter().any(model::change::Change::is_durable);
    assert!(is_durable(&mut world), "a grant");
    assert!(!is_durable(&mut world), "the same again");
    world.later(2_000);
    world.tick();
    assert!(is_durable(&mut world), "back in time");
    let renew = model::request::Request::Renew(model::request::Renew {
        holder: name("a"),
        claim: name("ca"),
        step: None,
        note: String::new(),
    });
    assert!(!world.decide(&renew).changes.iter().any(model::change::Change::is_durable));
    world.later(2_000);
    world.tick();
    assert!(world.decide(&renew).changes.iter().any(model::change::Change::is_durable));
}

#[test]
fn a_holder_whose_host_boots_may_be_silent_for_as_long_as_it_said() {
    let mut world = World::with_slots(3);
    world.granted("a", "ca", &["p"]);
    assert_eq!(world.begin_away("a", "ca", 600_000), Begin::Go { generation: None });
    let state = |world: &World| world.lease("a").map(|lease| lease.state);
    world.later(599_999);
    world.tick();
    assert_eq!(state(&world), Some(LeaseState::Held));
    world.later(1);
    world.tick();
    assert_eq!(state(&world), Some(LeaseState::Failed), "longer than that it has failed");
    assert_eq!(world.renew("a", "ca"), Own::Held { ttl_ms: 600_000 }, "and may come back");
    let mut ttl = |holder: &str, away_ms| {
        world.granted(holder, holder, &["p"]);
        world.begin_away(holder, holder, away_ms);
        world.lease(holder).map(|lease| lease.ttl_ms)
    };
    assert_eq!(ttl("b", 1), Some(30_000), "less than it lives anyway is nothing");
    assert_eq!(ttl("c", u64::MAX), Some(AWAY_MS_MAX), "and there is a most");
}
