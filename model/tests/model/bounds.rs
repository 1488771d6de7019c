//! Bounds on everything: what would be one too many is refused with what to do, and what exists goes on.

use crate::world::{World, ask, name, pools};
use model::apply::apply;
use model::apply::bounds::*;
use model::lease::{Purpose, Ticket};
use model::member::Pause;
use model::names::{Host, Pool, Service};
use model::request::{
    Act, Admin, Announce, Answer, Begin, Done, Join, Joined, Own, Refusal, RefusalKind, Reply, Request, Settled,
};
use model::rollout::{Rollout, Tally};
use model::settings::{Setting, SettingKind};
use model::state::{State, Stored};
use model::time::{Now, Time, Wall};

/// What is decided; the state is as it was.
fn reply(world: &World, request: &Request) -> Reply {
    apply(&world.state, request, world.now).reply
}

fn asked(world: &World, holder: &str, names: &[&str]) -> Answer {
    match reply(world, &Request::Ask(ask(holder, "c", names))) {
        Reply::Asked(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn joined(world: &World, join: Join) -> Joined {
    match reply(world, &Request::Join(join)) {
        Reply::Joined(joined) => *joined,
        other => panic!("{other:?}"),
    }
}

fn done(world: &World, act: Act) -> Done {
    match reply(world, &Request::Admin(Admin { operation: name("op"), by: "ann@ops1".into(), act })) {
        Reply::Did(done) => done,
        other => panic!("{other:?}"),
    }
}

fn set(scope: &str) -> Act {
    Act::Set { scope: name(scope), setting: setting_of(scope), reason: "test".into(), for_ms: None }
}

fn setting_of(scope: &str) -> Setting {
    if scope.starts_with("service/") { Setting::Strict(true) } else { Setting::Ttl(5_000) }
}

fn announce(service: &str) -> Act {
    Act::Announce(Announce {
        service: name(service),
        message: "m".into(),
        only: Vec::new(),
        always: false,
        supersede: true,
        max_failures: None,
        strict: None,
        expires_ms: None,
    })
}

fn is_refused(done: &Done, with: &str) -> bool {
    matches!(done, Done::Refused { why, .. } if why.contains(with))
}

fn put(world: &mut World, records: impl IntoIterator<Item = Stored>) {
    records.into_iter().for_each(|record| world.state.put(record));
}

#[test]
fn pools_are_bounded_and_those_that_are_known_go_on() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    let token = |number: usize| Stored::Token { pool: name(&format!("p{number}")), token: 1 };
    put(&mut world, (1..POOLS_MAX).map(token));
    let Answer::Refused(Refusal { kind: RefusalKind::Invalid, value, .. }) = asked(&world, "b", &["new"]) else {
        panic!("one too many")
    };
    let why = "pool/new would be new, and at most 4096 pools are known at once";
    assert_eq!(value, format!("{why}: use one of those that stagger pools shows"));
    assert!(is_refused(&done(&world, set("pool/new")), why));
    let join = World::join_request("h", "php", &["p", "new"]);
    assert!(matches!(joined(&world, join), Joined::Refused { why: said } if said.contains(why)));
    // What is known goes on, and what is seen of others' tokens makes none.
    assert!(matches!(asked(&world, "b", &["p7"]), Answer::Granted(_)));
    assert!(matches!(done(&world, set("pool/p7")), Done::Did { .. }));
    let seen = [(name::<Pool>("unknown"), 9), (name::<Pool>("p7"), 9)];
    let join = Join { highest: seen.into(), ..World::join_request("h", "php", &["p7"]) };
    assert!(matches!(world.joined(&join), Joined::Member(_)));
    assert!(matches!(asked(&world, "b", &["unknown"]), Answer::Refused(_)));
    let Answer::Granted(granted) = asked(&world, "b", &["p7"]) else { panic!("it is known") };
    assert_eq!(granted.lease.pools[&name("p7")], 10);
    assert!(matches!(world.renew("a", "ca"), Own::Held { .. }));
    assert_eq!(world.begin("a", "ca"), Begin::Go { generation: None });
    assert_eq!(world.settle("a", "ca", model::request::Ending::Released), Settled::Done);
}

#[test]
fn services_are_bounded_and_those_that_are_known_go_on() {
    let mut world = World::with_slots(1);
    let generation = |number| Stored::Generation { service: name(&format!("s{number}")), generation: 1 };
    put(&mut world, (0..SERVICES_MAX).map(generation));
    let why = "service/new would be new, and at most 1024 services are known at once";
    assert!(is_refused(&done(&world, set("service/new")), why));
    let join = World::join_request("h", "new", &["p"]);
    assert!(matches!(joined(&world, join), Joined::Refused { why: said } if said.contains(why)));
    assert!(matches!(done(&world, set("service/s7")), Done::Did { .. }));
    world.join("h", "s7", &["p"]);
    assert!(matches!(done(&world, announce("s7")), Done::Announced { .. }));
}

#[test]
fn the_last_pool_and_the_last_service_may_be_used() {
    let mut world = World::with_slots(1);
    let token = |number: usize| Stored::Token { pool: name(&format!("p{number}")), token: 1 };
    put(&mut world, (2..POOLS_MAX).map(token));
    assert!(matches!(asked(&world, "b", &["last"]), Answer::Granted(_)));
    assert!(matches!(asked(&world, "b", &["last", "beyond"]), Answer::Refused(_)));
    let generation = |number| Stored::Generation { service: name(&format!("s{number}")), generation: 1 };
    put(&mut world, (1..SERVICES_MAX).map(generation));
    assert!(matches!(done(&world, set("service/last")), Done::Did { .. }));
    let mut join = World::join_request("h", "last", &["p"]);
    assert!(matches!(joined(&world, join.clone()), Joined::Member(_)));
    join.services.insert(name("beyond"), pools(&["p"]));
    assert!(matches!(joined(&world, join), Joined::Refused { .. }));
}

#[test]
fn a_service_is_known_for_as_long_as_something_is_set_for_it() {
    let mut world = World::with_slots(1);
    let generation = |number| Stored::Generation { service: name(&format!("s{number}")), generation: 1 };
    put(&mut world, (1..SERVICES_MAX).map(generation));
    world.set("service/last", Setting::Strict(true));
    assert!(is_refused(&done(&world, set("service/beyond")), "at most 1024 services are known at once"));
    assert!(matches!(done(&world, set("service/last")), Done::Did { .. }), "it is known");
    let unset = Act::Unset { scope: name("service/last"), kind: SettingKind::Strict, reason: "test".into() };
    assert!(matches!(world.act(unset), Done::Did { .. }));
    assert!(matches!(done(&world, set("service/beyond")), Done::Did { .. }));
}

#[test]
fn a_member_may_have_as_many_services_and_pools_as_a_member_has_at_most() {
    let world = World::with_slots(1);
    let mut many = World::join_request("h0", "php", &["p"]);
    many.services = (0..64).map(|number| (name::<Service>(&format!("s{number}")), pools(&["p"]))).collect();
    assert!(matches!(joined(&world, many), Joined::Member(_)));
    let wide = World::join_request("h0", "php", &["a", "b", "c", "d", "e", "f", "g", "h"]);
    assert!(matches!(joined(&world, wide), Joined::Member(_)));
}

#[test]
fn members_and_what_each_has_are_bounded() {
    let mut world = World::with_slots(1);
    world.join("h0", "php", &["p"]);
    let known = match world.state.record(&model::change::Key::Member(name("h0"))) {
        Some(Stored::Member(member)) => *member,
        other => panic!("{other:?}"),
    };
    let member = |number: usize| {
        let host: Host = name(&format!("h{number}"));
        Stored::Member(Box::new(model::member::Member { host, ..known.clone() }))
    };
    put(&mut world, (1..MEMBERS_MAX).map(member));
    let refused = |join| match joined(&world, join) {
        Joined::Refused { why } => why,
        other => panic!("{other:?}"),
    };
    let why = "new would be new, and there are 16384 members already: stagger release HOST --forget for each that is gone for good";
    assert_eq!(refused(World::join_request("new", "php", &["p"])), why);
    assert!(matches!(joined(&world, World::join_request("h0", "php", &["p", "q"])), Joined::Member(_)));
    let mut many = World::join_request("h0", "php", &["p"]);
    many.services = (0..65).map(|number| (name::<Service>(&format!("s{number}")), pools(&["p"]))).collect();
    assert_eq!(refused(many), "h0 has 65 services, and a member has at most 64: configure fewer");
    let nine = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let wide = World::join_request("h0", "php", &nine);
    assert_eq!(refused(wide), "php is in 9 pools, and a lease covers at most 8: configure fewer");
}

#[test]
fn waiters_are_bounded_in_all_and_whoever_need_not_wait_is_granted() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    let ticket = |number: usize| {
        Stored::Ticket(Ticket {
            number: 1_000_000 + number as u64,
            holder: name(&format!("w{number}")),
            claim: name("c"),
            pools: pools(&["p"]),
            purpose: Purpose::Run("x".into()),
            taken: world.now,
            live_until: world.now.time.plus(std::time::Duration::from_secs(60)),
            silent: false,
            waited_ms: 0,
            counted: world.now.time,
            wait_ms: 600_000,
            passed: 0,
        })
    };
    let tickets: Vec<_> = (0..TICKETS_MAX).map(ticket).collect();
    put(&mut world, tickets);
    let Answer::Refused(refusal) = asked(&world, "new", &["p"]) else { panic!("one too many") };
    let why = "65536 wait already, for one pool or another: try again later";
    assert_eq!((refusal.kind, refusal.value.as_str()), (RefusalKind::QueueFull, why));
    assert!(matches!(asked(&world, "new", &["free"]), Answer::Granted(_)));
    assert!(matches!(asked(&world, "w7", &["p"]), Answer::Queued(_)), "it stands in the queue already");
}

#[test]
fn a_full_queue_refuses_nobody_whose_turn_it_is() {
    let mut world = World::with_slots(1);
    world.set("pool/p", Setting::MaxQueue(1));
    world.granted("a", "ca", &["p"]);
    world.queued("b", "cb", &["p"]);
    world.settle("a", "ca", model::request::Ending::Released);
    world.quiet("b", "cb");
    world.granted("c", "cc", &["p"]);
}

#[test]
fn pauses_are_bounded_and_everything_can_always_be_paused() {
    let mut world = World::with_slots(1);
    let pause = |number| {
        let (scope, until) = (name(&format!("host/h{number}")), Time(u64::MAX));
        Stored::Pause(Pause { scope, by: "x".into(), reason: "r".into(), since: Now::default(), until })
    };
    put(&mut world, (0..PAUSES_MAX).map(pause));
    let pause = |scope: &str| Act::Pause { scope: name(scope), reason: "r".into(), for_ms: 1_000 };
    assert!(is_refused(&done(&world, pause("host/new")), "there are 1024 pauses already"));
    assert!(matches!(done(&world, pause("host/h7")), Done::Did { .. }));
    assert!(matches!(done(&world, pause("all")), Done::Did { .. }));
}

#[test]
fn rollouts_are_bounded_and_the_oldest_that_are_over_are_forgotten() {
    let mut world = World::with_slots(1);
    world.join("h", "php", &["p"]);
    world.announce("php");
    let first = match world.state.record(&model::change::Key::Rollout(name("php@1"))) {
        Some(Stored::Rollout(rollout)) => *rollout,
        other => panic!("{other:?}"),
    };
    let rollout = |generation: u64| {
        let announced = Now { time: Time(world.now.time.0 + generation), wall: Wall(0) };
        let name = model::names::RolloutName { service: name("php"), generation };
        Stored::Rollout(Box::new(Rollout { name, announced, tally: Tally::default(), ..first.clone() }))
    };
    let newest = ROLLOUTS_MAX as u64;
    let rollouts: Vec<_> = (2..=newest).map(rollout).collect();
    put(&mut world, rollouts);
    put(&mut world, [Stored::Generation { service: name("php"), generation: newest }]);
    assert!(is_refused(&done(&world, announce("php")), "4096 rollouts are kept already"));
    world.later(newest + 1);
    let tick = apply(&world.state, &Request::Tick, world.now);
    world.state.replay(&tick.changes);
    let kept: Vec<u64> = rollouts_of(&world.state);
    assert_eq!(kept, (newest - ROLLOUTS_PAST_MAX as u64..=newest).collect::<Vec<_>>());
    assert!(matches!(done(&world, announce("php")), Done::Announced { .. }));
}

#[test]
fn past_rollouts_are_kept_for_as_long_as_their_targets_are_not_too_many() {
    let mut world = World::with_slots(1);
    world.join("h", "php", &["p"]);
    world.announce("php");
    let first = match world.state.record(&model::change::Key::Rollout(name("php@1"))) {
        Some(Stored::Rollout(rollout)) => *rollout,
        other => panic!("{other:?}"),
    };
    let most = u32::try_from(TARGETS_PAST_MAX).expect("few");
    for (targets, kept) in [([1, most - 1], vec![1, 2, 3]), ([2, most - 1], vec![2, 3]), ([7, most], vec![2, 3])] {
        let mut state = State::default();
        for (generation, ok) in [(1, targets[0]), (2, targets[1]), (3, most)] {
            let announced = Now { time: Time(generation), wall: Wall(0) };
            let (name, tally) = (crate::world::rollout_of("php", generation), Tally { ok, ..Tally::default() });
            state.put(Stored::Rollout(Box::new(Rollout { name, announced, tally, ..first.clone() })));
        }
        state.put(Stored::Generation { service: name("php"), generation: 3 });
        let tick = apply(&state, &Request::Tick, world.now);
        state.replay(&tick.changes);
        assert_eq!(rollouts_of(&state), kept, "{targets:?}");
    }
}

fn rollouts_of(state: &State) -> Vec<u64> {
    let generations = state.records().into_iter().filter_map(|record| match record {
        Stored::Rollout(rollout) => Some(rollout.name.generation),
        _ => None,
    });
    generations.collect()
}
