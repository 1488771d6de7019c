//! Who is told that it may go: whoever a decision lets go, whichever pools it was about.

use crate::world::{World, ask, name, pools};
use model::apply::Nudges;
use model::lease::Purpose;
use model::request::{Act, Admin, Answer, Ask, BeginAsk, Ending, Quiet, RefusalKind, Renew, Request};
use model::settings::{Setting, Slots};

/// Whether a waiter is the next in line of a pool that these name.
fn is_next(world: &World, holder: &str, nudges: &Nudges) -> bool {
    let next = |pool: &model::names::Pool| world.state.next_in_line(&[pool.clone()].into(), world.now);
    nudges.pools.iter().filter_map(next).any(|ticket| ticket.holder == name(holder))
}

fn told_by(world: &mut World, act: Act) -> Nudges {
    let admin = Admin { operation: name("told"), by: "ann@ops1".into(), act };
    world.decide(&Request::Admin(admin)).nudges
}

/// `head` waits for `p` and `q`, and keeps `behind` from `q`.
fn kept_from_its_turn(world: &mut World) {
    world.set("pool/q", Setting::Slots(Slots::Count(1)));
    world.granted("x", "cx", &["p"]);
    world.granted("y", "cy", &["q"]);
    world.queued("head", "ch", &["p", "q"]);
    world.later(1);
    world.queued("behind", "cb", &["q"]);
}

#[test]
fn a_grant_that_fills_a_pool_tells_whoever_stood_behind_one_that_wants_it() {
    let mut world = World::with_slots(1);
    world.granted("x", "cx", &["p"]);
    world.queued("first", "cf", &["p"]);
    world.later(1);
    world.set("pool/q", Setting::Slots(Slots::Count(1)));
    world.granted("y", "cy", &["q"]);
    world.queued("head", "ch", &["p", "q"]);
    world.later(1);
    world.queued("behind", "cb", &["q"]);
    world.settle("x", "cx", Ending::Released);
    world.settle("y", "cy", Ending::Released);
    assert_eq!(world.state.next_in_line(&pools(&["q"]), world.now), None, "the head keeps q while p is free");
    let nudges = world.decide(&Request::Ask(ask("first", "cf", &["p"]))).nudges;
    assert!(is_next(&world, "behind", &nudges), "{nudges:?}");
}

#[test]
fn slots_that_fall_tell_whoever_stood_behind_one_that_wants_them() {
    let mut world = World::with_slots(2);
    kept_from_its_turn(&mut world);
    world.settle("y", "cy", Ending::Released);
    assert!(world.state.next_in_line(&pools(&["q"]), world.now).is_some_and(|next| next.holder == name("head")));
    let slots = Setting::Slots(Slots::Count(1));
    let act = Act::Set { scope: name("pool/p"), setting: slots, reason: "r".into(), for_ms: None };
    let nudges = told_by(&mut world, act);
    assert!(is_next(&world, "behind", &nudges), "{nudges:?}");
}

#[test]
fn members_that_go_tell_whoever_stood_behind_one_that_wants_their_slots() {
    for forget in [true, false] {
        let mut world = World::with_slots(1);
        world.set("pool/p", Setting::Slots(Slots::Percent(50)));
        for n in 0..4 {
            world.join(&format!("h{n}"), "php", &["p"]);
        }
        kept_from_its_turn(&mut world);
        world.settle("y", "cy", Ending::Released);
        assert!(world.state.next_in_line(&pools(&["q"]), world.now).is_some_and(|next| next.holder == name("head")));
        let nudges = if forget {
            world.decide(&Request::Quiet(Quiet::Member { host: name("h0"), session: name("s.h0") }));
            let release = Act::Release { holder: name("h0"), reason: "gone".into(), live: false, forget: true };
            told_by(&mut world, release)
        } else {
            world.decide(&Request::Join(World::join_request("h0", "php", &["elsewhere"]))).nudges
        };
        assert!(is_next(&world, "behind", &nudges), "forgotten {forget}: {nudges:?}");
    }
}

#[test]
fn a_pause_tells_whoever_stood_behind_those_that_it_stops() {
    for scope in ["pool/p", "host/head"] {
        let mut world = World::with_slots(2);
        kept_from_its_turn(&mut world);
        world.settle("y", "cy", Ending::Released);
        let pause = Act::Pause { scope: name(scope), reason: "r".into(), for_ms: 60_000 };
        let nudges = told_by(&mut world, pause);
        assert!(is_next(&world, "behind", &nudges), "{scope}: {nudges:?}");
    }
}

#[test]
fn a_waiter_that_wants_other_pools_tells_whoever_stood_behind_it() {
    for other in ["p", "r"] {
        let mut world = World::with_slots(2);
        kept_from_its_turn(&mut world);
        world.set("pool/r", Setting::Slots(Slots::Count(1)));
        world.granted("z", "cz", &["r"]);
        world.settle("y", "cy", Ending::Released);
        let nudges = world.decide(&Request::Ask(ask("head", "ch", &[other]))).nudges;
        assert!(is_next(&world, "behind", &nudges), "now for {other}: {nudges:?}");
    }
}

#[test]
fn what_was_asked_under_the_name_of_a_failed_host_is_refused_when_that_is_back() {
    for back in ["renew", "ask", "begin"] {
        let mut world = World::with_slots(2);
        world.set("pool/q", Setting::Slots(Slots::Count(1)));
        let restart = |claim: &str, names: &[&str]| Ask {
            purpose: Purpose::Restart(name("php")),
            patience_ms: 100_000,
            ..ask("h", claim, names)
        };
        world.ask(&restart("c1", &["p"]));
        world.begin("h", "c1");
        world.granted("x", "cx", &["q"]);
        world.later(30_000);
        world.renew("x", "cx");
        assert!(
            matches!(world.ask(&restart("c2", &["p", "q"])), Answer::Queued(_)),
            "its host failed, and it waits for q"
        );
        world.queued("behind", "cb", &["q"]);
        let request = match back {
            "renew" => Request::Renew(Renew { holder: name("h"), claim: name("c1"), step: None, note: String::new() }),
            "ask" => Request::Ask(restart("c1", &["p"])),
            _ => Request::Begin(BeginAsk { holder: name("h"), claim: name("c1"), away_ms: 0 }),
        };
        let nudges = world.decide(&request).nudges;
        assert!(nudges.scopes.contains(&name("host/h")), "{back}: {nudges:?}");
        let Answer::Refused(refusal) = world.ask(&restart("c2", &["p", "q"])) else { panic!("{back}: not refused") };
        assert_eq!(refusal.kind, RefusalKind::Busy);
        world.settle("x", "cx", Ending::Released);
        let next = world.state.next_in_line(&pools(&["q"]), world.now);
        assert_eq!(next.map(|ticket| ticket.holder.as_str()), Some("behind"), "{back}");
    }
}
