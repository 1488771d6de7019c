//! What is kept is bounded: the history, operations, and what one page shows.

use crate::world::{World, name};
use model::apply::apply;
use model::change::{Change, Operation};
use model::history::{ENTRIES_MAX, Entry, EntryKind};
use model::request::{Act, Done, Request};
use model::state::{State, Stored};
use model::time::{Now, Time, Wall};

fn now() -> Now {
    Now { time: Time(1_000_000), wall: Wall(1) }
}

/// The state after a tick, and how many changes it took.
fn ticked(mut state: State) -> (State, usize) {
    let decision = apply(&state, &Request::Tick, now());
    state.replay(&decision.changes);
    (state, decision.changes.len())
}

#[test]
fn the_history_is_bounded_and_the_oldest_go_first() {
    let mut state = State::default();
    let entry = |number| Entry {
        number,
        at: Wall(0),
        by: "x".into(),
        from: None,
        kind: EntryKind::Set,
        scopes: Vec::new(),
        text: String::new(),
    };
    let max = ENTRIES_MAX as u64;
    (1..=max).for_each(|number| state.put(Stored::Entry(entry(number))));
    assert_eq!(ticked(state.clone()).1, 0);
    (max + 1..=max + 3).for_each(|number| state.put(Stored::Entry(entry(number))));
    let (state, changes) = ticked(state);
    assert_eq!(changes, 3);
    let first = state.read_history(&model::read::Selection { after: Some("0".into()), ..Default::default() });
    assert_eq!(first.rows.last().map(|entry| entry.number), Some(max + 3));
    let numbers: Vec<u64> = state
        .records()
        .into_iter()
        .filter_map(|record| match record {
            Stored::Entry(entry) => Some(entry.number),
            _ => None,
        })
        .collect();
    assert_eq!((numbers.len(), numbers.first()), (ENTRIES_MAX, Some(&4)));
}

#[test]
fn operations_are_bounded_in_number_and_age() {
    let mut state = State::default();
    for number in 0..1003u64 {
        let id = name(&format!("op{number}"));
        let answer = Done::Did { what: "it".into() };
        state.put(Stored::Operation(Operation { id, act: None, answer, at: Time(900_000 + number) }));
    }
    let (state, changes) = ticked(state);
    assert_eq!(changes, 3);
    for (id, kept) in [("op0", false), ("op2", false), ("op3", true), ("op1002", true)] {
        assert_eq!(state.record(&Change::OperationForgotten(name(id)).key()).is_some(), kept, "{id}");
    }
}

#[test]
fn an_operation_is_remembered_for_a_day() {
    let mut world = World::with_slots(1);
    let pause = || Act::Pause { scope: name("all"), reason: "r".into(), for_ms: 1_000 };
    world.operate(name("same"), pause());
    let key = Change::OperationForgotten(name("same")).key();
    for (later_ms, is_known) in [(24 * 3_600_000 - 1, true), (1, false)] {
        world.later(later_ms);
        world.tick();
        assert_eq!(world.state.record(&key).is_some(), is_known, "after {later_ms} ms more");
        world.operate(name("same"), pause());
        let is_paused_again = world.state.record(&Change::Resumed(name("all")).key()).is_some();
        assert_eq!(is_paused_again, !is_known, "the same again does nothing for as long as it is known");
    }
}

#[test]
fn a_page_has_at_most_so_many_rows() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    world.queued("b", "cb", &["p"]);
    let shown = |limit| {
        world.state.read_leases(&model::read::Selection { limit: Some(limit), ..Default::default() }, world.now)
    };
    assert!(!shown(1).cut, "all of both is shown");
    assert!(!shown(5_000).cut);
    assert_eq!(shown(0).leases.len(), 1, "a page has at least one row");
}
