//! Where a host is, as far as anybody can tell; and what is told of one that is at work, gave up, or is stuck.

use crate::readings::{about, why};
use crate::world::{World, ask, failed, name, rollout_of};
use model::lease::Purpose;
use model::member::{Presence, Remedy, Sighting};
use model::names::Scope;
use model::request::{Ending, Quiet, Renew, Request};
use model::sequence::Step;
use model::settings::Setting;

/// What `members` shows of a host: whether it is in rotation, and why that is believed or not.
fn presence(world: &World, host: &str) -> (Presence, String) {
    let row = world.state.read_members(&about(&format!("host/{host}")), world.now).rows.remove(0);
    (row.presence, row.because)
}

/// A host that saw itself in at its balancer, so long ago.
fn seen_in(host: &str, looked_ms: Option<u64>) -> model::request::Join {
    let seen = Sighting {
        service: name("php"),
        balancer: "lb1".into(),
        presence: Presence::In,
        by_stagger: false,
        detail: String::new(),
        remedy: Remedy::default(),
    };
    model::request::Join { sightings: vec![seen], looked_ms, ..World::join_request(host, "php", &["p"]) }
}

/// Tells at which step a host is.
fn at(world: &mut World, host: &str, claim: &str, step: Step) {
    let step = Renew { holder: name(host), claim: name(claim), step: Some(step), note: String::new() };
    world.decide(&Request::Renew(step));
}

#[test]
fn a_host_that_is_at_work_lost_or_down_is_never_shown_as_in() {
    let mut world = World::with_slots(2);
    world.set("pool/p", Setting::Ttl(2_000));
    world.joined(&seen_in("a", Some(1_000)));
    assert_eq!(presence(&world, "a"), (Presence::In, String::new()));
    world.announce("php");
    let php = rollout_of("php", 1);
    world.ask_for("a", "c1", &["p"], &php);
    at(&mut world, "a", "c1", Step::Gate);
    assert_eq!(presence(&world, "a"), (Presence::In, String::new()), "nothing is done before depool");
    at(&mut world, "a", "c1", Step::Drain);
    assert_eq!(presence(&world, "a"), (Presence::Out, "by Stagger, at drain, for php@1".into()));
    world.decide(&Request::Quiet(Quiet::Member { host: name("a"), session: name("s.a") }));
    world.later(5_000);
    world.tick();
    assert_eq!(presence(&world, "a"), (Presence::Unknown, "its worker is down; lost at drain".into()));
    let said = why(&world, "host/a");
    let line = "- balancer: nobody can tell: its worker is down; lost at drain, looked 6s ago".to_owned();
    assert!(said.contains(&line), "{said:?}");
    world.release("a", false, false);
    assert_eq!(presence(&world, "a"), (Presence::Unknown, "its worker is down".into()), "released, and still silent");
    world.joined(&seen_in("a", Some(0)));
    assert_eq!(presence(&world, "a"), (Presence::In, String::new()));
}

#[test]
fn a_failed_host_is_in_only_when_it_has_looked_since() {
    let mut world = World::with_slots(1);
    world.joined(&seen_in("a", Some(0)));
    world.announce("php");
    let php = rollout_of("php", 1);
    world.later(1);
    world.ask_for("a", "c1", &["p"], &php);
    world.begin("a", "c1");
    world.settle_with("a", "c1", Ending::Kept, Some(php), Some(failed("exit 78")));
    assert_eq!(presence(&world, "a"), (Presence::Unknown, "failed at restart, and it has not looked since".into()));
    world.later(50);
    world.joined(&seen_in("a", Some(51)));
    assert_eq!(presence(&world, "a").0, Presence::Unknown, "a look from before");
    world.joined(&seen_in("a", Some(10)));
    assert_eq!(presence(&world, "a"), (Presence::In, String::new()), "somebody put it back");
    let row = world.state.read_members(&about("host/a"), world.now).rows.remove(0);
    assert_eq!(row.in_although, ["lb1"], "and it takes traffic");
    let typed = "fixed? a$ stagger restart php; else a$ stagger depool php";
    let said = why(&world, "host/a");
    assert!(said.contains(&"- balancer: php IN at lb1, although it failed, looked 0s ago".to_owned()), "{said:?}");
    assert!(said.contains(&format!("     | {typed}")), "{said:?}");
    let said = why(&world, "all");
    assert!(said.contains(&"- members: 1 failed, and takes traffic".to_owned()), "{said:?}");
    assert!(said.contains(&format!("    a IN at lb1 for php | {typed}")), "{said:?}");
}

#[test]
fn a_host_in_flight_is_told_with_the_age_of_its_step() {
    let mut world = World::with_slots(1);
    world.joined(&seen_in("a", Some(0)));
    world.announce("php");
    world.ask_for("a", "c1", &["p"], &rollout_of("php", 1));
    let ms = |world: &World| {
        world.state.read_rollout(&rollout_of("php", 1), world.now).expect("a rollout").row.in_flight[0].ms
    };
    world.later(3_000);
    assert_eq!(ms(&world), 3_000, "granted");
    at(&mut world, "a", "c1", Step::Drain);
    assert_eq!(ms(&world), 0);
    world.later(2_000);
    at(&mut world, "a", "c1", Step::Drain);
    assert_eq!(ms(&world), 2_000, "still at it");
    world.begin("a", "c1");
    assert_eq!(ms(&world), 0);
}

#[test]
fn a_host_that_fell_silent_in_its_restart_is_brought_to_its_end_by_its_worker() {
    let mut world = World::with_slots(1);
    world.set("pool/p", Setting::Ttl(2_000));
    world.joined(&seen_in("a", Some(0)));
    world.announce("php");
    world.ask_for("a", "c1", &["p"], &rollout_of("php", 1));
    world.begin("a", "c1");
    world.later(2_000);
    world.tick();
    let said = why(&world, "pool/p");
    let typed = "its worker brings it to its end: a$ stagger worker; else look first";
    assert!(said.iter().any(|line| line.contains(typed)), "{said:?}");
}

#[test]
fn a_host_without_a_balancer_is_out_of_none() {
    let mut world = World::with_slots(1);
    let join = model::request::Join { sightings: Vec::new(), ..seen_in("a", Some(0)) };
    world.joined(&join);
    world.granted("a", "c1", &["p"]);
    at(&mut world, "a", "c1", Step::Restart);
    assert_eq!(presence(&world, "a").0, Presence::In);
    world.joined(&model::request::Join { looked_ms: None, ..World::join_request("b", "php", &["p"]) });
    assert_eq!(presence(&world, "b"), (Presence::Unknown, "it has not looked yet".into()));
    world.settle("a", "c1", Ending::Released);
    world.granted("b", "c2", &["p"]);
    at(&mut world, "b", "c2", Step::Restart);
    assert_eq!(presence(&world, "b").0, Presence::Out, "it has not said so");
}

#[test]
fn the_age_of_a_look_grows_until_the_next() {
    let mut world = World::with_slots(1);
    let looked = |world: &World| world.state.read_members(&about("host/a"), world.now).rows.remove(0).looked_ms;
    world.joined(&seen_in("a", Some(1_000)));
    world.later(500);
    assert_eq!(looked(&world), Some(1_500));
    world.joined(&seen_in("a", None));
    assert_eq!(looked(&world), Some(1_500), "the same again, and no new look");
    world.joined(&seen_in("a", Some(0)));
    assert_eq!(looked(&world), Some(0));
    world.joined(&model::request::Join { looked_ms: None, ..World::join_request("a", "php", &["p"]) });
    assert_eq!(looked(&world), None, "it says nothing any more");
}

#[test]
fn a_paused_pool_or_host_is_shown_at_the_rollout_that_it_stops() {
    let mut world = World::with_slots(1);
    world.join("a", "php", &["p"]);
    world.join("b", "nginx", &["q"]);
    world.announce("php");
    let pauses = |world: &World| {
        let row = world.state.read_rollouts(&about("rollout/php@1"), world.now).remove(0);
        row.pauses.iter().map(|pause| pause.scope.to_string()).collect::<Vec<_>>()
    };
    for scope in ["pool/p", "pool/q", "host/a", "host/b", "service/nginx"] {
        world.pause(scope, 60_000);
    }
    assert_eq!(pauses(&world), ["pool/p", "host/a"]);
    let said = why(&world, "rollout/php@1");
    assert!(said.contains(&"- pauses: pool/p is paused".to_owned()), "{said:?}");
    let skipped = model::rollout::Report::plain(model::rollout::Outcome::Skipped);
    world.settle_with("a", "c1", Ending::Cancelled, Some(rollout_of("php", 1)), Some(skipped));
    assert_eq!(pauses(&world), [] as [&str; 0], "nobody is left whom they stop");
}

#[test]
fn a_host_at_work_on_its_failure_is_shown_at_work_and_given_no_advice_that_cannot_work() {
    let mut world = World::with_slots(1);
    world.joined(&seen_in("a", Some(0)));
    world.announce("php");
    let php = rollout_of("php", 1);
    world.ask_for("a", "c1", &["p"], &php);
    world.begin("a", "c1");
    world.later(30_000);
    world.tick();
    assert_eq!(world.lease("a").map(|lease| lease.state), Some(model::lease::LeaseState::Failed));
    let note = "looks until 18:16:30 whether its restart happened";
    let renew = Renew { holder: name("a"), claim: name("c1"), step: Some(Step::Restart), note: note.into() };
    world.decide(&Request::Renew(renew));
    let said = why(&world, "host/a");
    let lease = format!("+ lease: a held 0s, restart, {note}, for php@1");
    assert!(said.contains(&lease), "{said:?}");
    assert!(said.contains(&"+ rollout: php@1 failed here, and a is at work on it".to_owned()), "{said:?}");
    assert!(!said.iter().any(|line| line.contains("stagger restart")), "{said:?}");
    let said = why(&world, "all");
    assert!(said[0].ends_with("; 1 is at work"), "{said:?}");
    assert!(said.contains(&format!("+ at work: a held 0s, restart, {note}, for php@1")), "{said:?}");
    let row = world.state.read_rollouts(&about("rollout/php@1"), world.now).remove(0);
    assert_eq!((row.state.to_string().as_str(), &row.kept[..]), ("done", &[name("a")][..]));
    let said = why(&world, "rollout/php@1");
    assert_eq!(said[1..3], ["- kept: 1 failed host keeps its slot".to_owned(), format!("    {} | ", &lease[9..])]);
    world.settle("a", "c1", Ending::Released);
    let row = world.state.read_rollouts(&about("rollout/php@1"), world.now).remove(0);
    assert_eq!(row.kept, [], "it is well again");
}

#[test]
fn a_host_that_gave_up_its_wait_says_so_and_that_it_asks_again() {
    let mut world = World::with_slots(1);
    world.joined(&seen_in("a", Some(0)));
    world.announce("php");
    let gave_way = model::rollout::Report {
        cause: "waited 10m: 1 of 1 slots of p are taken".into(),
        ..model::rollout::Report::plain(model::rollout::Outcome::Cancelled)
    };
    world.settle_with("a", "c1", Ending::Cancelled, Some(rollout_of("php", 1)), Some(gave_way));
    world.later(4_000);
    let said = why(&world, "host/a");
    assert_eq!(
        said[..3],
        [
            "a owes php@1, and neither holds nor waits",
            "- rollout: php@1 owes, announced",
            "    gave way 4s ago: waited 10m: 1 of 1 slots of p are taken; its worker asks again | ",
        ]
    );
    world.ask_for("a", "c2", &["p"], &rollout_of("php", 1));
    assert!(why(&world, "host/a").contains(&"+ rollout: php@1 owes, announced".to_owned()));
}

#[test]
fn what_is_stuck_or_lost_is_to_be_looked_at_before_it_is_released() {
    let mut world = World::with_slots(1);
    world.joined(&seen_in("a", Some(0)));
    let restart = model::request::Ask { purpose: Purpose::Restart(name("php")), ..ask("a", "c1", &["p"]) };
    world.ask(&restart);
    at(&mut world, "a", "c1", Step::Drain);
    world.later(30_000);
    world.tick();
    let lost = "look first: stagger members --out host/a; its worker brings it to its end: a$ stagger worker; else stagger release a --reason …";
    let stuck = "look first: stagger members --out host/a; then a$ stagger restart php; else a$ stagger repool php; then stagger release a --reason …";
    let advised = |world: &World| {
        let findings = world.state.why(&name::<Scope>("host/a"), world.now).findings;
        findings.into_iter().flat_map(|finding| finding.causes).find_map(|cause| cause.next)
    };
    assert_eq!(advised(&world).as_deref(), Some(lost), "lost");
    world.renew("a", "c1");
    let report = model::rollout::Report { stuck: true, ..failed("nobody can tell") };
    world.settle_with("a", "c1", Ending::Kept, None, Some(report));
    assert_eq!(advised(&world).as_deref(), Some(stuck), "stuck");
}
