//! Grants that nobody confirms: taken back, since their holder has done nothing, and may never have learned of them.

use crate::world::{World, ask, failed, name};
use model::history::EntryKind;
use model::lease::{LeaseState, Purpose};
use model::request::{Answer, Ask, Ending, Own};
use model::settings::Setting;

/// A world with one slot of `p`, whose leases live for two seconds; `a` was granted it and `b` waits.
fn granted_and_silent() -> World {
    let mut world = World::with_slots(1);
    world.set("pool/p", Setting::Ttl(2_000));
    assert!(matches!(world.ask(&ask("a", "ca", &["p"])), Answer::Granted(_)));
    assert_eq!(world.queued("b", "cb", &["p"]), 1);
    world
}

#[test]
fn a_grant_that_its_holder_never_answers_is_taken_back_and_its_place_kept() {
    let mut world = granted_and_silent();
    assert!(world.lease("a").expect("a lease").unconfirmed);
    world.later(1_999);
    world.tick();
    assert_eq!(world.lease("a").map(|lease| lease.state), Some(LeaseState::Held));
    world.later(1);
    let tick = world.tick();
    assert_eq!(world.lease("a"), None);
    assert!(tick.nudges.pools.contains(&name("p")), "whoever is next is told");
    let entry = world.state.read_history(&Default::default()).rows.pop().expect("an entry");
    assert_eq!(entry.kind, EntryKind::Withdrawn);
    assert_eq!(entry.text, "a never answered its grant, for run: test: it is taken back");
    // It is not its turn while it is silent, and it is the first again when it is back.
    assert_eq!(world.next_in_line().as_deref(), Some("b"));
    assert_eq!(world.renew("a", "ca"), Own::Gone, "what it would begin, it does not");
    assert_eq!(world.lease("a"), None);
    let Answer::Granted(granted) = world.ask(&ask("a", "ca", &["p"])) else { panic!("it was the first") };
    assert_eq!(granted.lease.pools[&name("p")], 2, "with a token of its own");
}

#[test]
fn whoever_was_heard_of_is_lost_as_ever() {
    type Heard = fn(&mut World);
    let ways: [(&str, Heard); 3] = [
        ("renewed", |world| assert!(matches!(world.renew("a", "ca"), Own::Held { .. }))),
        ("asked again", |world| assert!(matches!(world.ask(&ask("a", "ca", &["p"])), Answer::Granted(_)))),
        ("known to a coordinator that was killed: what it confirmed is not on disk", World::restart),
    ];
    for (how, heard) in ways {
        let mut world = granted_and_silent();
        world.later(1_000);
        heard(&mut world);
        world.later(2_000);
        world.tick();
        assert_eq!(world.lease("a").map(|lease| lease.state), Some(LeaseState::Lost), "{how}");
        world.quiet("a", "ca");
        assert_eq!(world.lease("a").map(|lease| lease.state), Some(LeaseState::Lost), "{how}");
    }
    let mut world = granted_and_silent();
    world.begin("a", "ca");
    world.later(2_000);
    world.tick();
    assert_eq!(world.lease("a").map(|lease| lease.state), Some(LeaseState::Failed), "begun");
}

#[test]
fn a_call_that_ends_before_its_grant_was_answered_gives_it_back_at_once() {
    let mut world = granted_and_silent();
    world.quiet("a", "another");
    assert!(world.lease("a").is_some(), "another request's silence");
    let quiet = world.quiet("a", "ca");
    assert_eq!(world.lease("a"), None);
    assert!(quiet.nudges.pools.contains(&name("p")));
    assert_eq!(world.next_in_line().as_deref(), Some("b"));
    // One that was heard of is not given back by a connection that ends.
    world.granted("b", "cb", &["p"]);
    world.quiet("b", "cb");
    assert_eq!(world.lease("b").map(|lease| lease.state), Some(LeaseState::Held));
}

#[test]
fn a_failed_host_whose_next_try_is_taken_back_keeps_its_slot() {
    let mut world = World::with_slots(1);
    world.set("pool/p", Setting::Ttl(2_000));
    let restart = |claim: &str| Ask { purpose: Purpose::Restart(name("php")), ..ask("a", claim, &["p"]) };
    world.ask(&restart("c1"));
    world.settle_with("a", "c1", Ending::Kept, None, Some(failed("exit 78")));
    world.ask(&restart("c2"));
    world.later(2_000);
    world.tick();
    let lease = world.lease("a").expect("its slot");
    assert_eq!((lease.state, lease.unconfirmed), (LeaseState::Failed, false));
    assert!(matches!(world.ask(&restart("c2")), Answer::Granted(_)), "and tries again");
}

#[test]
fn a_coordinator_that_starts_again_takes_nobody_for_silent_by_what_is_on_its_disk() {
    // Heard of again and again, for many times to live, and none of it is on the disk.
    let mut world = World::with_slots(2);
    world.set("pool/p", Setting::Ttl(2_000));
    world.granted("run", "cr", &["p"]);
    world.granted("begun", "cb", &["p"]);
    world.begin("begun", "cb");
    world.queued("waits", "cw", &["p"]);
    world.pause("pool/p", 3_600_000);
    for _ in 0..20 {
        world.later(1_000);
        assert!(matches!(world.renew("run", "cr"), Own::Held { .. }));
        assert!(matches!(world.renew("begun", "cb"), Own::Held { .. }));
        assert!(matches!(world.ask(&ask("waits", "cw", &["p"])), Answer::Queued(_)));
    }
    world.restart();
    world.tick();
    for holder in ["run", "begun"] {
        assert_eq!(world.lease(holder).map(|lease| lease.state), Some(LeaseState::Held), "{holder}");
    }
    let Answer::Queued(queued) = world.ask(&ask("waits", "cw", &["p"])) else { panic!("its ticket is gone") };
    assert_eq!(queued.place, 1);
    assert!(matches!(world.renew("run", "cr"), Own::Held { .. }));
    // From then on as ever.
    world.later(2_000);
    world.tick();
    assert_eq!(world.lease("run").map(|lease| lease.state), Some(LeaseState::Lost));
    assert_eq!(world.lease("begun").map(|lease| lease.state), Some(LeaseState::Failed));
}
