//! The invariants themselves: a state at a bound is let through, and one just beyond it is not.

use crate::world::{World, name, rollout_of};
use model::apply::apply;
use model::apply::bounds::{MEMBERS_MAX, PAUSES_MAX, POOLS_MAX, ROLLOUTS_MAX, SERVICES_MAX};
use model::change::Key;
use model::history::{ENTRIES_MAX, Entry, EntryKind};
use model::invariants::{Taken, everything_is_bounded, what_is_over_stays_over};
use model::lease::TEXT_BYTES_MAX;
use model::member::{Member, Pause};
use model::request::{Announce, Request};
use model::rollout::{OUTPUT_BYTES_MAX, Outcome, Report, Rollout};
use model::state::{State, Stored};
use model::time::{Now, Time, Wall};

/// A state with so many of one thing; `world` has one of everything.
fn with(world: &World, count: usize, record: impl Fn(&World, u64) -> Stored) -> State {
    let mut state = State::default();
    (1..=count as u64).for_each(|number| state.put(record(world, number)));
    state
}

fn world() -> World {
    let mut world = World::with_slots(1);
    world.join("h1", "php", &["p"]);
    world.announce("php");
    world
}

fn entry(_: &World, number: u64) -> Stored {
    let (by, text) = ("x".into(), String::new());
    Stored::Entry(Entry { number, at: Wall(0), by, from: None, kind: EntryKind::Set, scopes: Vec::new(), text })
}

fn pause(_: &World, number: u64) -> Stored {
    let (scope, until) = (name(&format!("host/h{number}")), Time(u64::MAX));
    Stored::Pause(Pause { scope, by: "x".into(), reason: "r".into(), since: Now::default(), until })
}

fn pool(_: &World, number: u64) -> Stored {
    Stored::Token { pool: name(&format!("p{number}")), token: 1 }
}

fn service(_: &World, number: u64) -> Stored {
    Stored::Generation { service: name(&format!("s{number}")), generation: 1 }
}

fn member(world: &World, number: u64) -> Stored {
    match world.state.record(&Key::Member(name("h1"))) {
        Some(Stored::Member(known)) => Stored::Member(Box::new(Member { host: name(&format!("h{number}")), ..*known })),
        other => panic!("{other:?}"),
    }
}

fn rollout(world: &World, number: u64) -> Stored {
    match world.state.record(&Key::Rollout(rollout_of("php", 1))) {
        Some(Stored::Rollout(known)) => {
            Stored::Rollout(Box::new(Rollout { name: rollout_of("php", number), ..*known }))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn as_many_as_may_be_are_let_through_and_one_more_is_not() {
    type Make = fn(&World, u64) -> Stored;
    let bounds: [(&str, usize, Make); 6] = [
        ("the history is too long", ENTRIES_MAX + 1_000, entry),
        ("there are 1026 pauses", PAUSES_MAX + 1, pause),
        ("there are 4097 pools", POOLS_MAX, pool),
        ("there are 1025 services", SERVICES_MAX, service),
        ("there are 16385 members", MEMBERS_MAX, member),
        ("there are 4097 rollouts", ROLLOUTS_MAX, rollout),
    ];
    let world = world();
    for (wrong, max, make) in bounds {
        let mut state = with(&world, max, make);
        assert_eq!(everything_is_bounded(&state), Ok(()), "{max} are as many as may be, and {wrong} says of one more");
        state.put(make(&world, max as u64 + 1));
        assert_eq!(everything_is_bounded(&state), Err(wrong.to_owned()));
    }
}

#[test]
fn a_text_of_its_full_length_is_let_through_and_a_longer_one_is_not() {
    let mut world = World::with_slots(1);
    let lease = world.granted("a", "ca", &["p"]);
    let target = |bytes| {
        let report = Report { output: "x".repeat(bytes), ..Report::plain(Outcome::Failed) };
        let (rollout, host, progress) = (rollout_of("php", 1), name("h1"), model::rollout::Progress::Failed);
        Stored::Target(Box::new(model::rollout::Target { rollout, host, progress, report: Some(report) }))
    };
    let noted = |bytes| Stored::Lease(Box::new(model::lease::Lease { note: "x".repeat(bytes), ..lease.clone() }));
    for (fits, beyond, wrong) in [
        (noted(TEXT_BYTES_MAX), noted(TEXT_BYTES_MAX + 1), "the note of a is too long"),
        (target(OUTPUT_BYTES_MAX), target(OUTPUT_BYTES_MAX + 1), "h1 printed too much"),
    ] {
        let mut state = State::default();
        state.put(fits);
        assert_eq!(everything_is_bounded(&state), Ok(()));
        state.put(beyond);
        assert_eq!(everything_is_bounded(&state), Err(wrong.to_owned()));
    }
}

#[test]
fn a_rollout_may_be_owed_up_to_its_time_and_not_at_it() {
    let mut world = World::with_slots(1);
    world.join("h1", "php", &["p"]);
    world.announce_with("php", |announce: &mut Announce| announce.expires_ms = Some(60_000));
    let request = Request::Tick;
    let decision = apply(&world.state, &request, world.now);
    let verdict = |now| {
        let (before, after) = (&world.state, &world.state);
        what_is_over_stays_over(&Taken { before, request: &request, decision: &decision, after, now })
    };
    let at = |ms| Now { time: Time(world.now.time.0 + ms), ..world.now };
    assert_eq!(verdict(at(59_999)), Ok(()));
    assert_eq!(verdict(at(60_000)), Err("php@1 is owed after its time".into()));
}
