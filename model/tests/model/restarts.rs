//! The coordinator starts again, from what is durable only: renewals and repeated asks are not. Longer ago than anything lives.

use crate::world::{World, ask, rollout_of};
use model::lease::LeaseState;
use model::request::{Answer, Ask, Begin, Ending, Own, RefusalKind};
use model::rollout::{Outcome, Progress, Report, RolloutState};
use model::settings::{Setting, Slots};

const TTL_MS: u64 = 2_000;

/// A world with one slot of `p`, whose leases live for two seconds.
fn world() -> World {
    let mut world = World::with_slots(1);
    world.set("pool/p", Setting::Ttl(TTL_MS));
    world
}

/// Renews for three times as long as an unrenewed lease lives; the clock is on disk then, as after a stop.
fn renew_for_long(world: &mut World, holder: &str, claim: &str) {
    for _ in 0..6 {
        world.later(TTL_MS / 2);
        assert!(matches!(world.renew(holder, claim), Own::Held { .. }));
    }
}

/// The ways in which it can start again: after a stop, and killed just after something else was written.
const WAYS: [fn(&mut World); 2] = [World::stop_and_start, |world| {
    world.set("pool/other", Setting::Slots(Slots::Count(3)));
    world.restart();
}];

#[test]
fn a_confirmed_lease_that_was_renewed_for_long_is_held_and_its_slot_taken() {
    for start_again in WAYS {
        let mut world = world();
        world.granted("a", "ca", &["p"]);
        renew_for_long(&mut world, "a", "ca");
        start_again(&mut world);
        assert_eq!(world.lease("a").map(|lease| (lease.state, lease.unconfirmed)), Some((LeaseState::Held, false)));
        world.queued("b", "cb", &["p"]);
        // It has a whole time to live from now on, and no more.
        world.later(TTL_MS - 1);
        assert!(matches!(world.renew("a", "ca"), Own::Held { .. }));
        world.later(TTL_MS);
        world.tick();
        assert_eq!(world.lease("a").map(|lease| lease.state), Some(LeaseState::Lost));
    }
}

#[test]
fn a_grant_that_nobody_heard_of_may_have_been_and_counts_as_lost() {
    let mut world = world();
    assert!(matches!(world.ask(&ask("a", "ca", &["p"])), Answer::Granted(_)));
    world.later(TTL_MS - 1);
    world.stop_and_start();
    world.later(TTL_MS);
    world.tick();
    assert_eq!(world.lease("a").map(|lease| lease.state), Some(LeaseState::Lost));
}

#[test]
fn a_restart_that_had_begun_goes_on_and_its_rollout_does_not_halt() {
    for start_again in WAYS {
        let mut world = world();
        world.join("h1", "php", &["p"]);
        world.announce_with("php", |announce| announce.max_failures = Some(1));
        let rollout = rollout_of("php", 1);
        assert!(matches!(world.ask_for("h1", "c1", &["p"], &rollout), Answer::Granted(_)));
        assert!(matches!(world.begin("h1", "c1"), Begin::Go { .. }));
        renew_for_long(&mut world, "h1", "c1");
        start_again(&mut world);
        let shown = world.state.read_rollout(&rollout, world.now).expect("a rollout");
        assert_eq!((shown.row.state, shown.targets[0].progress), (RolloutState::Rolling, Progress::Begun));
        assert!(matches!(world.renew("h1", "c1"), Own::Held { .. }));
        let report = Some(Report::plain(Outcome::Restarted));
        world.settle_with("h1", "c1", Ending::Released, Some(rollout.clone()), report);
        assert_eq!(world.state_of(&rollout), RolloutState::Done);
    }
}

#[test]
fn those_who_wait_under_a_pause_keep_their_places() {
    for start_again in WAYS {
        let mut world = world();
        world.pause("pool/p", 3_600_000);
        let patient = |holder: &str| Ask { wait_ms: Some(5_000), patience_ms: 3_000, ..ask(holder, holder, &["p"]) };
        for _ in 0..20 {
            for holder in ["w1", "w2"] {
                assert!(matches!(world.ask(&patient(holder)), Answer::Queued(_)));
            }
            world.later(1_000);
        }
        start_again(&mut world);
        let places = |world: &World| {
            let rows = world.state.read_leases(&Default::default(), world.now).queue;
            rows.into_iter().map(|row| (row.holder.to_string(), row.place)).collect::<Vec<_>>()
        };
        assert_eq!(places(&world), [("w1".to_owned(), 1), ("w2".to_owned(), 2)]);
        let Answer::Queued(queued) = world.ask(&patient("w2")) else { panic!("paused") };
        assert_eq!((queued.place, queued.why.kind), (2, RefusalKind::Paused));
        world.resume("pool/p");
        assert_eq!(world.next_in_line().as_deref(), Some("w1"));
    }
}
