//! Asking again, and asking with something in hand.

use crate::world::{World, ask, failed, name, pools};
use model::lease::Purpose;
use model::request::{Answer, Ask, Ending, Queued, Refusal, RefusalKind, Request};
use model::settings::{SPAN_MS_MAX, Setting, Slots};

/// An ask that restarts a service by hand.
fn by_hand(holder: &str, claim: &str, names: &[&str]) -> Ask {
    Ask { purpose: Purpose::Restart(name("php")), ..ask(holder, claim, names) }
}

/// It failed, and keeps its slot.
fn fails(world: &mut World, holder: &str, claim: &str, names: &[&str]) {
    assert!(matches!(world.ask(&by_hand(holder, claim, names)), Answer::Granted(_)));
    world.begin(holder, claim);
    world.settle_with(holder, claim, Ending::Kept, None, Some(failed("exit 78")));
}

fn queued(world: &mut World, ask: &Ask) -> Queued {
    match world.ask(ask) {
        Answer::Queued(queued) => queued,
        other => panic!("{other:?}"),
    }
}

fn refused(world: &mut World, ask: &Ask) -> Refusal {
    match world.ask(ask) {
        Answer::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wait_may_last_a_year_and_no_longer() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    let wait = |ms| Ask { wait_ms: Some(ms), ..ask("b", "cb", &["p"]) };
    assert_eq!(queued(&mut world, &wait(SPAN_MS_MAX)).left_ms, SPAN_MS_MAX);
    let refusal = refused(&mut world, &wait(SPAN_MS_MAX + 1));
    assert_eq!((refusal.kind, refusal.value.as_str()), (RefusalKind::Invalid, "a wait lasts at most a year"));
}

#[test]
fn a_name_that_holds_under_another_claim_is_told_what_it_holds() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    let refusal = refused(&mut world, &ask("a", "other", &["p"]));
    assert_eq!(refusal.kind, RefusalKind::Busy);
    let holders: Vec<_> =
        refusal.holders.iter().map(|holding| (holding.holder.as_str(), holding.what.as_str())).collect();
    assert_eq!(holders, [("a", "run: test")]);
}

#[test]
fn whoever_asks_again_is_listened_for_as_long_again() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    world.queued("b", "cb", &["p"]);
    world.later(9_000);
    world.queued("b", "cb", &["p"]);
    world.later(9_999);
    world.settle("a", "ca", Ending::Released);
    assert_eq!(world.next_in_line().as_deref(), Some("b"));
    world.later(1);
    world.tick();
    assert_eq!(world.next_in_line(), None);
}

#[test]
fn a_silent_waiter_that_asks_again_has_its_turn_back() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    world.queued("b", "cb", &["p"]);
    world.quiet("b", "cb");
    assert_eq!(world.queued("b", "cb", &["p"]), 1);
    world.settle("a", "ca", Ending::Released);
    assert_eq!(world.next_in_line().as_deref(), Some("b"));
}

#[test]
fn whoever_asks_again_may_say_anew_how_long_it_waits() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    let wait = |ms| Ask { wait_ms: Some(ms), ..ask("b", "cb", &["p"]) };
    assert_eq!(queued(&mut world, &wait(60_000)).left_ms, 60_000);
    world.later(2_000);
    assert_eq!(queued(&mut world, &wait(5_000)).left_ms, 3_000);
    assert_eq!(queued(&mut world, &wait(90_000)).left_ms, 88_000);
}

#[test]
fn only_an_ask_that_changes_what_is_waited_for_is_worth_a_disk() {
    let mut world = World::with_slots(1);
    world.set("pool/q", Setting::Slots(Slots::Count(1)));
    world.granted("a", "ca", &["p", "q"]);
    let mut writes = |claim: &str, names: &[&str]| {
        let decision = world.decide(&Request::Ask(ask("b", claim, names)));
        decision.changes.iter().any(model::change::Change::is_durable)
    };
    assert!(writes("cb", &["p"]));
    assert!(!writes("cb", &["p"]), "the same again");
    assert!(writes("cb", &["p", "q"]));
    assert!(!writes("cb", &["p", "q"]), "the same again");
    world.quiet("b", "cb");
    let decision = world.decide(&Request::Ask(ask("b", "other", &["p", "q"])));
    assert!(decision.changes.iter().any(model::change::Change::is_durable), "a successor");
}

#[test]
fn a_failed_host_that_tries_in_another_pool_keeps_what_it_has() {
    let mut world = World::with_slots(1);
    world.set("pool/q", Setting::Slots(Slots::Count(1)));
    fails(&mut world, "h1", "c1", &["p", "q"]);
    let Answer::Granted(granted) = world.ask(&by_hand("h1", "c2", &["q"])) else { panic!("it is its own slot") };
    assert_eq!(granted.lease.pools, [(name("p"), 2), (name("q"), 2)].into(), "each with a new token");
    assert_eq!(world.queued("other", "co", &["p"]), 1, "the slot is taken");
}

#[test]
fn failed_hosts_that_want_a_further_pool_take_turns_though_the_first_in_line_cannot_go() {
    let mut world = World::with_slots(2);
    world.set("pool/q", Setting::Slots(Slots::Count(1)));
    fails(&mut world, "b", "b1", &["p"]);
    fails(&mut world, "c", "c1", &["p"]);
    world.granted("d", "cd", &["q"]);
    for ask in [ask("a", "ca", &["p", "q"]), by_hand("b", "b2", &["p", "q"]), by_hand("c", "c2", &["p", "q"])] {
        assert_eq!(queued(&mut world, &ask).why.kind, RefusalKind::Full);
    }
    world.settle("d", "cd", Ending::Released);
    let next = world.state.next_in_line(&pools(&["q"]), world.now).map(|ticket| ticket.holder.to_string());
    assert_eq!(next.as_deref(), Some("b"), "it need not ask again by itself");
    let why = queued(&mut world, &by_hand("c", "c2", &["p", "q"])).why;
    assert_eq!((why.kind, why.value.as_str()), (RefusalKind::NotFirst, "b asked before"));
    let Answer::Granted(granted) = world.ask(&by_hand("b", "b2", &["p", "q"])) else { panic!("its turn") };
    assert_eq!(granted.lease.pools.keys().cloned().collect::<std::collections::BTreeSet<_>>(), pools(&["p", "q"]));
}
