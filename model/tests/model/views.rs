//! Views: a part of the state is a part, and what was not declared cannot be read.

use crate::world::{World, ask, name, pools, rollout_of};
use model::apply::apply;
use model::change::{Change, Operation};
use model::history::{ENTRIES_MAX, Entry, EntryKind};
use model::names::Holder;
use model::request::{Act, Admin, Done, Quiet, Request};
use model::state::{State, Stored};
use model::time::{Now, Time, Wall};
use model::view::{Reads, View};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Two fleets that have nothing to do with each other.
fn two_fleets() -> World {
    let mut world = World::with_slots(1);
    world.set("pool/q", model::settings::Setting::Slots(model::settings::Slots::Count(1)));
    for (host, service, pool) in [("a", "php", "p"), ("b", "php", "p"), ("x", "nginx", "q"), ("y", "nginx", "q")] {
        world.join(host, service, &[pool]);
    }
    world.announce("php");
    world.announce("nginx");
    for (host, service, pool) in [("a", "php", "p"), ("b", "php", "p"), ("x", "nginx", "q"), ("y", "nginx", "q")] {
        world.ask_for(host, &format!("c{host}"), &[pool], &rollout_of(service, 1));
    }
    world
}

fn keys(state: &State) -> Vec<String> {
    let kinds = state.records().into_iter().filter_map(|record| match record {
        Stored::Ticket(ticket) => Some(format!("ticket/{}", ticket.holder)),
        Stored::Token { pool, .. } => Some(format!("token/{pool}")),
        Stored::Lease(lease) => Some(format!("lease/{}", lease.holder)),
        Stored::Member(member) => Some(format!("member/{}", member.host)),
        Stored::Target(target) => Some(format!("target/{}/{}", target.rollout, target.host)),
        Stored::Operation(operation) => Some(format!("operation/{}", operation.id)),
        _ => None,
    });
    kinds.collect()
}

fn part(world: &World, request: &Request) -> Vec<String> {
    keys(&world.state.restrict(&world.state.expand(request.reads())))
}

#[test]
fn a_part_holds_what_a_request_touches_and_nothing_else() {
    let world = two_fleets();
    let php = ["ticket/b", "token/p", "lease/a", "member/a", "member/b", "target/php@1/a", "target/php@1/b"];
    let asked = Request::Ask(ask("b", "cb", &["p"]));
    assert_eq!(part(&world, &asked), php);
    let quiet = Request::Quiet(Quiet::Waiter { holder: name("b"), claim: name("cb") });
    assert_eq!(part(&world, &quiet), php);
    let announce = Request::Admin(Admin {
        operation: name("op9"),
        by: "ann@ops1".into(),
        act: Act::Announce(model::request::Announce {
            service: name("nginx"),
            message: "m".into(),
            only: Vec::new(),
            always: false,
            supersede: false,
            max_failures: None,
            strict: None,
            expires_ms: None,
        }),
    });
    assert_eq!(part(&world, &announce), ["member/x", "member/y", "target/nginx@1/x", "target/nginx@1/y"]);
    let again = Request::Admin(Admin {
        operation: name("op1"),
        by: "ann@ops1".into(),
        act: Act::Release { holder: name("nobody"), reason: "r".into(), live: false, forget: false },
    });
    assert_eq!(part(&world, &again), ["operation/op1"]);
    let joined = Request::Join(World::join_request("x", "nginx", &["q"]));
    let nginx = ["ticket/y", "token/q", "lease/x", "member/x", "member/y", "target/nginx@1/x"];
    assert_eq!(part(&world, &joined), nginx);
    assert_eq!(part(&world, &Request::Tick), keys(&world.state));
}

#[test]
fn a_part_reaches_as_far_as_pools_are_wanted_together() {
    let mut world = two_fleets();
    world.queued("z", "cz", &["p", "q"]);
    let reads = world.state.expand(Request::Ask(ask("b", "cb", &["p"])).reads());
    assert_eq!(reads.pools, pools(&["p", "q"]));
    assert!(reads.holders.contains(&name::<Holder>("y")));
}

#[test]
fn what_was_not_declared_cannot_be_read() {
    let world = two_fleets();
    let announce = |supersede| {
        Act::Announce(model::request::Announce {
            service: name("php"),
            message: "m".into(),
            only: Vec::new(),
            always: false,
            supersede,
            max_failures: None,
            strict: None,
            expires_ms: None,
        })
    };
    let requests = [
        Request::Ask(ask("b", "cb", &["p"])),
        Request::Join(World::join_request("new", "php", &["p"])),
        Request::Quiet(Quiet::Waiter { holder: name("b"), claim: name("cb") }),
        Request::Quiet(Quiet::Member { host: name("gone"), session: name("s") }),
        Request::Begin(model::request::BeginAsk { holder: name("a"), claim: name("ca") }),
        Request::Renew(model::request::Renew { holder: name("a"), claim: name("ca"), step: None, note: String::new() }),
        Request::Admin(Admin { operation: name("op9"), by: "x@y".into(), act: announce(true) }),
    ];
    for request in requests {
        let nothing = View::of(&world.state, Reads::default());
        let outcome = catch_unwind(AssertUnwindSafe(|| apply(&nothing, &request, world.now)));
        assert!(outcome.is_err(), "{request:?} was decided without being read for");
    }
    // Declared in part is not declared.
    let holders = Reads { holders: [name("b")].into(), targets: [name("b")].into(), ..Reads::default() };
    let request = Request::Ask(ask("b", "cb", &["p"]));
    let outcome = catch_unwind(AssertUnwindSafe(|| apply(&View::of(&world.state, holders), &request, world.now)));
    assert!(outcome.is_err(), "pools were read that nobody declared");
}

fn now() -> Now {
    Now { time: Time(1_000_000), wall: Wall(1) }
}

/// The state after a tick, and how many changes it took.
fn ticked(mut state: State) -> (State, usize) {
    let decision = apply(&state.view(), &Request::Tick, now());
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
        state.put(Stored::Operation(Operation { id, answer, at: Time(900_000 + number) }));
    }
    let (state, changes) = ticked(state);
    assert_eq!(changes, 3);
    for (id, kept) in [("op0", false), ("op2", false), ("op3", true), ("op1002", true)] {
        assert_eq!(state.record(&Change::OperationForgotten(name(id)).key()).is_some(), kept, "{id}");
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
