//! The last value on each side of a border: where a rule turns by one, or asks for two things at once.

use crate::world::{World, failed, name, pools, rollout_of};
use model::apply::apply;
use model::change::Change;
use model::lease::{Purpose, TEXT_BYTES_MAX};
use model::member::DOWN_AFTER_MS;
use model::request::{
    Act, Admin, Announce, Answer, Ask, Begin, Done, Ending, Join, Joined, Quiet, RefusalKind, Reply, Request, Settled,
};
use model::rollout::{Outcome, Report, RolloutState, Tally};
use model::settings::Setting;

fn fleet(hosts: u32, slots: u32) -> World {
    let mut world = World::with_slots(slots);
    for n in 1..=hosts {
        world.join(&format!("h{n}"), "php", &["p"]);
    }
    world
}

/// A worker with two services that restart under the same pool.
fn two_services() -> Join {
    let services = [(name("a"), pools(&["p"])), (name("b"), pools(&["p"]))].into();
    Join { services, ..World::join_request("h1", "a", &["p"]) }
}

fn well() -> Option<Report> {
    Some(Report::plain(Outcome::Restarted))
}

#[test]
fn a_name_of_a_person_may_be_as_long_as_a_text_and_no_longer() {
    let mut world = World::with_slots(1);
    for (bytes, is_done) in [(TEXT_BYTES_MAX, true), (TEXT_BYTES_MAX + 1, false)] {
        let act = Act::Pause { scope: name("all"), reason: "r".into(), for_ms: 1_000 };
        let admin = Admin { operation: name(&format!("op{bytes}")), by: "x".repeat(bytes), act };
        let reply = world.decide(&Request::Admin(admin)).reply;
        assert_eq!(matches!(reply, Reply::Did(Done::Did { .. })), is_done, "{bytes} bytes gave {reply:?}");
    }
}

#[test]
fn a_rollout_with_as_many_in_flight_as_left_can_be_aborted() {
    let mut world = fleet(2, 2);
    world.announce("php");
    let rollout = rollout_of("php", 1);
    world.ask_for("h1", "c1", &["p"], &rollout);
    assert_eq!(world.begin("h1", "c1"), Begin::Go { generation: Some(1) });
    let done = world.act(Act::Abort { rollout, reason: "wrong build".into() });
    assert_eq!(
        done,
        Done::Did { what: "php@1 aborted: 0 ok, 0 failed, 1 that has begun will finish, 1 left as they are".into() }
    );
}

#[test]
fn only_a_down_host_being_left_another_deploy_may_be_announced() {
    let mut world = fleet(2, 2);
    world.announce("php");
    let rollout = rollout_of("php", 1);
    world.ask_for("h1", "c1", &["p"], &rollout);
    world.begin("h1", "c1");
    world.settle_with("h1", "c1", Ending::Released, Some(rollout.clone()), well());
    assert!(matches!(world.announce("php"), Done::UnderWay { .. }), "h2 is alive and owes it");
    world.decide(&Request::Quiet(Quiet::Member { host: name("h2"), session: name("s.h2") }));
    world.later(DOWN_AFTER_MS + 1);
    world.join("h1", "php", &["p"]);
    assert_eq!(world.state_of(&rollout), RolloutState::Done);
    assert!(matches!(world.announce("php"), Done::Announced { targets: 2, .. }));
}

#[test]
fn a_host_that_failed_and_gave_its_slot_back_is_not_owed_another_try() {
    let mut world = fleet(2, 2);
    world.announce("php");
    let rollout = rollout_of("php", 1);
    world.ask_for("h1", "c1", &["p"], &rollout);
    world.begin("h1", "c1");
    world.settle_with("h1", "c1", Ending::FailedReleased, Some(rollout.clone()), Some(failed("exit 78")));
    match world.ask_for("h1", "c2", &["p"], &rollout) {
        Answer::Refused(refusal) => assert_eq!(refusal.kind, RefusalKind::NotOwed),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_failed_service_is_owed_before_one_of_an_earlier_name() {
    let mut world = World::with_slots(1);
    let join = two_services();
    world.joined(&join);
    world.announce("b");
    let rollout = rollout_of("b", 1);
    world.ask_for("h1", "c1", &["p"], &rollout);
    world.begin("h1", "c1");
    world.settle_with("h1", "c1", Ending::Kept, Some(rollout), Some(failed("exit 78")));
    world.announce("b");
    world.announce("a");
    let Joined::Member(welcome) = world.joined(&join) else { panic!("no member") };
    let owed: Vec<_> = welcome.owed.iter().map(|owed| owed.rollout.to_string()).collect();
    assert_eq!(owed, ["b@2", "a@1"]);
}

#[test]
fn a_token_that_is_known_is_not_written_again() {
    let mut world = fleet(1, 1);
    let granted = world.granted("h1", "c1", &["p"]);
    let token = granted.pools[&name("p")];
    for (highest, is_news) in [(token, false), (token + 1, true)] {
        let join = Join { highest: [(name("p"), highest)].into(), ..World::join_request("h1", "php", &["p"]) };
        let decision = apply(&world.state, &Request::Join(join), world.now);
        let is_raised = decision.changes.iter().any(|change| matches!(change, Change::TokenUsed { .. }));
        assert_eq!(is_raised, is_news, "{highest}");
    }
}

#[test]
fn a_host_that_joins_at_the_moment_of_expiry_owes_nothing() {
    for (late_ms, owed) in [(0, 1), (1, 0)] {
        let mut world = fleet(1, 1);
        world.announce_with("php", |announce: &mut Announce| announce.expires_ms = Some(60_000));
        world.later(59_999 + late_ms);
        assert_eq!(world.join("h2", "php", &["p"]).owed.len(), owed);
    }
}

#[test]
fn a_late_report_of_one_service_counts_though_another_keeps_the_slot() {
    let mut world = World::with_slots(1);
    world.set("pool/p", Setting::LostAfter(Some(60_000)));
    world.joined(&two_services());
    world.announce("a");
    world.ask_for("h1", "ca", &["p"], &rollout_of("a", 1));
    world.begin("h1", "ca");
    world.settle_with("h1", "ca", Ending::Kept, Some(rollout_of("a", 1)), Some(failed("exit 78")));
    world.announce("b");
    let rollout = rollout_of("b", 1);
    assert!(matches!(world.ask_for("h1", "cb", &["p"], &rollout), Answer::Granted(_)));
    world.later(600_000);
    world.tick();
    world.later(600_000);
    world.tick();
    let settled = world.settle_with("h1", "cb", Ending::Released, Some(rollout.clone()), well());
    assert_eq!(settled, Settled::Done);
    assert_eq!(world.tally(&rollout), Tally { ok: 1, ..Tally::default() });
}

#[test]
fn a_report_counts_in_the_rollout_that_it_began_for_though_a_newer_one_was_announced() {
    let mut world = fleet(1, 1);
    world.announce("php");
    let rollout = rollout_of("php", 1);
    world.ask_for("h1", "c1", &["p"], &rollout);
    assert_eq!(world.begin("h1", "c1"), Begin::Go { generation: Some(1) });
    world.announce_with("php", |announce| announce.supersede = true);
    world.settle_with("h1", "c1", Ending::Kept, Some(rollout.clone()), Some(failed("exit 78")));
    assert_eq!(world.tally(&rollout), Tally { failed: 1, ..Tally::default() });
}

#[test]
fn a_healthy_holder_does_not_count_among_those_whose_failures_fill_a_pool() {
    let mut world = fleet(3, 2);
    world.announce("php");
    let rollout = rollout_of("php", 1);
    for (host, claim) in [("h1", "c1"), ("h2", "c2")] {
        let ask = Ask { purpose: Purpose::Rollout(rollout.clone()), ..crate::world::ask(host, claim, &["p"]) };
        assert!(matches!(world.ask(&ask), Answer::Granted(_)));
        world.begin(host, claim);
    }
    world.settle_with("h1", "c1", Ending::Kept, Some(rollout.clone()), Some(failed("exit 78")));
    assert_eq!(world.state_of(&rollout), RolloutState::Rolling);
    world.settle_with("h2", "c2", Ending::Kept, Some(rollout.clone()), Some(failed("exit 78")));
    assert_eq!(world.state_of(&rollout), RolloutState::Halted);
}
