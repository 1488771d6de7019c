//! Rollouts: announced, owed, begun, reported, halted, ended.

use crate::world::{World, ask, failed, name, rollout_of};
use model::apply::Nudges;
use model::history::EntryKind;
use model::lease::{LeaseState, Purpose};
use model::member::DOWN_AFTER_MS;
use model::names::RolloutName;
use model::read::Selection;
use model::request::{Act, Answer, Ask, Begin, Done, Ending, Joined, Quiet, RefusalKind, Request, Settled, Welcome};
use model::rollout::{Outcome, Report, RolloutState, Tally};
use model::settings::{Setting, Slots};
use model::time::Time;
use std::time::Duration;

fn fleet(hosts: u32, slots: u32) -> World {
    let mut world = World::with_slots(slots);
    for n in 1..=hosts {
        world.join(&format!("h{n}"), "php", &["p"]);
    }
    world
}

fn announced(done: Done) -> (RolloutName, u32) {
    match done {
        Done::Announced { rollout, targets } => (rollout, targets),
        other => panic!("not announced: {other:?}"),
    }
}

fn refusal(answer: Answer) -> (RefusalKind, String) {
    match answer {
        Answer::Refused(refusal) => (refusal.kind, refusal.value),
        other => panic!("not refused: {other:?}"),
    }
}

/// One host's way through, to the given end.
fn restart(world: &mut World, host: &str, rollout: &RolloutName, ending: Ending, report: Report) {
    let claim = format!("c.{host}.{}", rollout.generation);
    assert!(matches!(world.ask_for(host, &claim, &["p"], rollout), Answer::Granted(_)), "{host} was not granted");
    assert_eq!(world.begin(host, &claim), Begin::Go { generation: Some(rollout.generation) });
    world.settle_with(host, &claim, ending, Some(rollout.clone()), Some(report));
}

fn well(world: &mut World, host: &str, rollout: &RolloutName) {
    restart(world, host, rollout, Ending::Released, Report::plain(Outcome::Restarted));
}

fn ill(world: &mut World, host: &str, rollout: &RolloutName) {
    restart(world, host, rollout, Ending::Kept, failed("exit 78"));
}

fn owed(welcome: &Welcome) -> Vec<String> {
    welcome.owed.iter().map(|owed| owed.rollout.to_string()).collect()
}

#[test]
fn a_rollout_goes_from_announced_to_done() {
    let mut world = fleet(2, 1);
    let (rollout, targets) = announced(world.announce("php"));
    assert_eq!((rollout.to_string().as_str(), targets), ("php@1", 2));
    assert_eq!(world.state_of(&rollout), RolloutState::Announced);
    assert_eq!(owed(&world.join("h1", "php", &["p"])), ["php@1"]);
    well(&mut world, "h1", &rollout);
    assert_eq!(world.state_of(&rollout), RolloutState::Rolling);
    assert_eq!(owed(&world.join("h1", "php", &["p"])), [] as [&str; 0]);
    well(&mut world, "h2", &rollout);
    assert_eq!(world.state_of(&rollout), RolloutState::Done);
    let detail = world.state.read_rollout(&rollout, world.now).expect("a rollout");
    assert_eq!(detail.row.exit_code, 0);
    assert_eq!(detail.row.tally, Tally { ok: 2, ..Tally::default() });
    assert_eq!(detail.targets[0].report.as_ref().map(|report| report.at), Some(world.now.wall));
}

#[test]
fn the_states_are_a_function_of_record_reports_and_time() {
    let mut world = fleet(3, 3);
    let (rollout, _) = announced(world.announce_with("php", |announce| announce.expires_ms = Some(50_000)));
    world.ask_for("h1", "c1", &["p"], &rollout);
    assert_eq!(world.state_of(&rollout), RolloutState::Announced);
    world.begin("h1", "c1");
    assert_eq!(world.state_of(&rollout), RolloutState::Rolling);
    assert_eq!(world.tally(&rollout), Tally { owes: 2, begun: 1, ..Tally::default() });
    world.later(49_999);
    assert_eq!(world.state_of(&rollout), RolloutState::Rolling);
    world.later(1);
    world.tick();
    assert_eq!(world.state_of(&rollout), RolloutState::Expired);
    assert_eq!(world.state.read_rollout(&rollout, world.now).expect("a rollout").row.exit_code, 5);
    assert_eq!(owed(&world.join("h2", "php", &["p"])), [] as [&str; 0]);
    let (kind, value) = refusal(world.ask_for("h2", "c2", &["p"], &rollout));
    assert_eq!((kind, value.as_str()), (RefusalKind::Ended, "php@1 has expired"));
}

#[test]
fn what_has_expired_stays_so_through_a_crash_that_loses_the_clock() {
    let mut world = fleet(2, 2);
    let (rollout, _) = announced(world.announce_with("php", |announce| announce.expires_ms = Some(50_000)));
    let waiter = Ask { patience_ms: 120_000, purpose: Purpose::Rollout(rollout.clone()), ..ask("h1", "c1", &["q"]) };
    world.pause("pool/q", 3_600_000);
    world.ask(&waiter);
    assert_eq!(world.state.next_due(), Some(world.now.time.plus(Duration::from_millis(50_000))));
    world.later(50_000);
    let tick = world.tick();
    assert_eq!(tick.nudges.scopes, [name("service/php")].into(), "whoever waits under it is told");
    let entry = world.state.read_history(&Default::default()).rows.pop().expect("an entry");
    assert_eq!((entry.kind, entry.text.as_str()), (EntryKind::Expired, "php@1: its time is over, and 2 hosts owe it"));
    // It is killed, and its clock goes on from long ago.
    world.restart();
    world.now.time = Time(world.now.time.0 - 40_000);
    assert_eq!(world.state_of(&rollout), RolloutState::Expired);
    assert_eq!(owed(&world.join("h2", "php", &["p"])), [] as [&str; 0]);
    assert_eq!(owed(&world.join("h9", "php", &["p"])), [] as [&str; 0], "nor does a host owe it that comes later");
    let (kind, value) = refusal(world.ask(&waiter));
    assert_eq!((kind, value.as_str()), (RefusalKind::Ended, "php@1 has expired"));
    assert_eq!(announced(world.announce("php")).0, rollout_of("php", 2), "it is in nobody's way");
}

#[test]
fn a_done_rollout_expires_without_a_word_and_a_halted_one_is_not_gone_on_with() {
    let mut world = fleet(1, 3);
    let (done, _) = announced(world.announce_with("php", |announce| announce.expires_ms = Some(50_000)));
    well(&mut world, "h1", &done);
    let entries = world.state.read_history(&Default::default()).rows.len();
    world.later(50_000);
    world.tick();
    assert_eq!(world.state_of(&done), RolloutState::Done);
    assert_eq!(world.state.read_history(&Default::default()).rows.len(), entries);
    assert_eq!(owed(&world.join("h2", "php", &["p"])), [] as [&str; 0]);

    let (halted, _) = announced(world.announce_with("php", |announce| {
        announce.expires_ms = Some(50_000);
        announce.max_failures = Some(1);
    }));
    world.ask_for("h1", "c2", &["p"], &halted);
    world.begin("h1", "c2");
    world.settle_with("h1", "c2", Ending::Kept, Some(halted.clone()), Some(failed("exit 78")));
    world.later(50_000);
    world.tick();
    assert_eq!(world.state_of(&halted), RolloutState::Halted);
    let no = Done::Refused { why: "php@2 has expired".into(), hint: "stagger announce php -m …".into() };
    assert_eq!(world.resume("rollout/php@2"), no);
}

#[test]
fn done_does_not_wait_for_a_host_that_is_down_and_the_exit_says_so() {
    let mut world = fleet(2, 1);
    let (rollout, _) = announced(world.announce("php"));
    world.decide(&Request::Quiet(Quiet::Member { host: name("h2"), session: name("s.h2") }));
    well(&mut world, "h1", &rollout);
    assert_eq!(world.state_of(&rollout), RolloutState::Rolling);
    world.later(DOWN_AFTER_MS);
    let row = world.state.read_rollout(&rollout, world.now).expect("a rollout").row;
    assert_eq!((row.state, row.exit_code), (RolloutState::Done, 5));
    assert_eq!(row.down, [name("h2")]);
    // It comes back, and still owes the generation.
    assert_eq!(owed(&world.join("h2", "php", &["p"])), ["php@1"]);
    well(&mut world, "h2", &rollout);
    assert_eq!(world.state.read_rollout(&rollout, world.now).expect("a rollout").row.exit_code, 0);
}

#[test]
fn a_second_deployer_is_told_who_deploys_since_when_and_why() {
    let mut world = fleet(1, 1);
    let (first, _) = announced(world.announce("php"));
    world.later(5_000);
    let Done::UnderWay { rollout, state, by, since_ms, message } = world.announce("php") else { panic!("not refused") };
    assert_eq!((rollout, state, by.as_str(), since_ms), (first.clone(), RolloutState::Announced, "ann@ops1", 5_000));
    assert_eq!(message, "build 7");
    world.join("y", "nginx", &["p"]);
    announced(world.announce("nginx"));
    let (second, _) = announced(world.announce_with("php", |announce| announce.supersede = true));
    assert_eq!(world.state_of(&first), RolloutState::Superseded);
    assert_eq!(second.generation, 2);
    well(&mut world, "h1", &second);
    announced(world.announce("php"));
    assert_eq!(world.state_of(&second), RolloutState::Done, "what is done stays done");
}

#[test]
fn ten_deploys_in_a_row_cost_a_waiting_host_one_restart() {
    let mut world = fleet(2, 1);
    let (first, _) = announced(world.announce("php"));
    world.ask_for("h1", "c1", &["p"], &first);
    world.ask_for("h2", "c2", &["p"], &first);
    for _ in 0..9 {
        announced(world.announce_with("php", |announce| announce.supersede = true));
    }
    // The one that had its lease begins for the newest.
    assert_eq!(world.begin("h1", "c1"), Begin::Go { generation: Some(10) });
    world.settle_with("h1", "c1", Ending::Released, Some(first.clone()), Some(Report::plain(Outcome::Restarted)));
    let newest = rollout_of("php", 10);
    assert_eq!(world.tally(&newest), Tally { owes: 1, ok: 1, ..Tally::default() });
    // The one that waited for the first is granted for the newest.
    let Answer::Granted(granted) = world.ask_for("h2", "c2", &["p"], &first) else { panic!("not granted") };
    assert_eq!(granted.lease.purpose, Purpose::Rollout(newest.clone()));
    world.begin("h2", "c2");
    world.settle_with("h2", "c2", Ending::Released, Some(newest.clone()), Some(Report::plain(Outcome::Restarted)));
    assert_eq!(world.state_of(&newest), RolloutState::Done);
    assert_eq!(refusal(world.ask_for("h2", "c3", &["p"], &first)).0, RefusalKind::NotOwed);
}

#[test]
fn a_newer_generation_that_is_not_for_a_host_stops_the_older_one() {
    let mut world = fleet(2, 2);
    let (first, _) = announced(world.announce("php"));
    world.ask_for("h1", "c1", &["p"], &first);
    let (_, targets) = announced(world.announce_with("php", |announce| {
        announce.supersede = true;
        announce.only = vec![name("host/h2")];
    }));
    assert_eq!(targets, 1);
    let Begin::Superseded(why) = world.begin("h1", "c1") else { panic!("went on") };
    assert_eq!(why, "php@1 is superseded by php@2, which is not for h1");
    assert_eq!(owed(&world.join("h1", "php", &["p"])), [] as [&str; 0]);
    let late = world.join("h3", "php", &["p"]);
    assert_eq!(owed(&late), [] as [&str; 0], "a rollout for a part is not for who joins outside it");
}

#[test]
fn only_names_pools_hosts_and_services() {
    for (only, expected) in [("pool/p", 2), ("pool/q", 1), ("host/h1", 1), ("service/php", 3), ("all", 3)] {
        let mut world = fleet(2, 2);
        world.join("x", "php", &["q"]);
        world.join("y", "nginx", &["p"]);
        let (_, targets) = announced(world.announce_with("php", |announce| announce.only = vec![name(only)]));
        assert_eq!(targets, expected, "{only}");
    }
    let mut world = fleet(1, 1);
    let wrong = world.announce_with("php", |announce| announce.only = vec![name("rollout/php@1")]);
    assert!(matches!(wrong, Done::Refused { why, .. } if why == "rollout/php@1 is no part of the fleet"));
    let wrong = world.announce_with("php", |announce| announce.max_failures = Some(0));
    assert!(matches!(wrong, Done::Refused { why, .. } if why.contains("max_failures")));
    let wrong = world.announce_with("php", |announce| announce.expires_ms = Some(u64::MAX));
    assert!(matches!(wrong, Done::Refused { why, .. } if why.contains("expires")));
    let many = world.announce_with("php", |announce| announce.only = vec![name("all"); 1001]);
    assert!(matches!(many, Done::Refused { .. }));
    announced(world.announce_with("php", |announce| announce.only = vec![name("all"); 1000]));
}

#[test]
fn a_deploy_for_nobody_is_refused_and_announced_again_when_somebody_is_there() {
    let mut world = fleet(1, 1);
    let entries = |world: &World| world.state.read_history(&Selection::default()).rows.len();
    let before = entries(&world);
    let nobody = |service: &str, only: &[&str]| Done::ForNobody {
        service: name(service),
        only: only.iter().map(|scope| name(scope)).collect(),
    };
    let only = |world: &mut World, service: &str, only: &[&str]| {
        world.announce_with(service, |announce| announce.only = only.iter().map(|scope| name(scope)).collect())
    };
    assert_eq!(world.announce("web"), nobody("web", &[]));
    assert_eq!(only(&mut world, "web", &["pool/p"]), nobody("web", &[]), "no part of the fleet has it");
    let parts = ["pool/q", "host/h2", "service/web"];
    assert_eq!(only(&mut world, "php", &parts), nobody("php", &parts));
    assert_eq!(entries(&world), before, "nothing was done");
    world.join("h2", "web", &["p"]);
    assert_eq!(announced(world.announce("web")), (name("web@1"), 1), "no generation was used up");
    assert_eq!(announced(only(&mut world, "php", &["pool/q", "host/h1"])).1, 1, "one of the parts has it");
}

#[test]
fn a_deploy_for_nobody_takes_nobodys_place_and_hosts_that_are_down_are_somebody() {
    let mut world = fleet(1, 1);
    let (rollout, _) = announced(world.announce("php"));
    let refused = world.announce_with("php", |announce| {
        announce.supersede = true;
        announce.only = vec![name("pool/q")];
    });
    assert!(matches!(refused, Done::ForNobody { .. }));
    assert_eq!(owed(&world.join("h1", "php", &["p"])), [rollout.to_string()]);
    world.later(DOWN_AFTER_MS);
    assert_eq!(announced(world.announce_with("php", |announce| announce.supersede = true)).1, 1);
}

#[test]
fn a_host_that_joins_later_owes_the_newest_generation_too() {
    let mut world = fleet(1, 1);
    let (rollout, _) = announced(world.announce_with("php", |announce| announce.only = vec![name("pool/p")]));
    let welcome = world.join("new", "php", &["p"]);
    assert_eq!(owed(&welcome), ["php@1"]);
    assert!(!welcome.owed[0].always && !welcome.owed[0].failed_before);
    assert_eq!(world.tally(&rollout).owes, 2);
    world.act(Act::Abort { rollout: rollout.clone(), reason: "wrong build".into() });
    assert_eq!(owed(&world.join("newer", "php", &["p"])), [] as [&str; 0]);
    assert_eq!(world.tally(&rollout).owes, 2);
}

#[test]
fn the_history_of_a_service_tells_how_its_rollouts_ended() {
    let mut world = fleet(2, 2);
    let (rollout, _) = announced(world.announce("php"));
    well(&mut world, "h1", &rollout);
    ill(&mut world, "h2", &rollout);
    let of_php = Selection { scope: Some(name("service/php")), ..Selection::default() };
    let entries = world.state.read_history(&of_php).rows;
    let last = entries.last().expect("an entry");
    let done: Vec<_> = entries.iter().filter(|entry| entry.kind == EntryKind::Done).collect();
    assert_eq!((done.len(), done[0].text.as_str(), done[0].by.as_str()), (1, "php@1: 1 ok, 1 failed", "stagger"));
    assert_eq!(last.kind, EntryKind::Done);
}

#[test]
fn a_halted_rollout_whose_hosts_are_all_well_says_so() {
    let mut world = fleet(2, 1);
    world.set("pool/p", Setting::Ttl(2_000));
    let (rollout, _) = announced(world.announce("php"));
    world.ask_for("h1", "c1", &["p"], &rollout);
    world.begin("h1", "c1");
    world.later(2_000);
    world.tick();
    assert_eq!(world.state_of(&rollout), RolloutState::Halted, "it fell silent in its restart");
    let restarted = Some(Report::plain(Outcome::Restarted));
    world.settle_with("h1", "c1", Ending::Released, Some(rollout.clone()), restarted);
    let why = world.state.why(&model::names::Scope::Rollout(rollout.clone()), world.now);
    let cause = &why.findings.iter().find(|finding| !finding.ok).expect("a halt").causes[0];
    assert!(cause.what.ends_with("; no host is failed any more"), "{cause:?}");
    assert_eq!(cause.next.as_deref(), Some("stagger resume rollout/php@1"));
    let did = "php@1 goes on; 3 more halt it again, or fewer that fill a pool";
    assert_eq!(world.resume("rollout/php@1"), Done::Did { what: did.into() });
}

#[test]
fn failures_that_fill_a_pool_halt_the_rollout_and_the_rest_is_left_as_it_was() {
    let mut world = fleet(5, 2);
    let (rollout, _) = announced(world.announce_with("php", |announce| announce.max_failures = Some(4)));
    ill(&mut world, "h1", &rollout);
    assert_eq!(world.state_of(&rollout), RolloutState::Rolling);
    ill(&mut world, "h2", &rollout);
    assert_eq!(world.state_of(&rollout), RolloutState::Halted);
    let row = world.state.read_rollout(&rollout, world.now).expect("a rollout").row;
    let halted = row.halted.expect("halted");
    assert_eq!(halted.cause, "failed hosts keep all 2 slots of p; last h2 failed: exit 78");
    assert_eq!((halted.host, row.exit_code), (Some(name("h2")), 5));
    assert_eq!(owed(&world.join("h3", "php", &["p"])), [] as [&str; 0]);
    assert_eq!(refusal(world.ask_for("h3", "c3", &["p"], &rollout)).0, RefusalKind::Halted);
}

#[test]
fn a_fix_gets_through_failed_hosts_first_on_the_slots_they_keep() {
    let mut world = fleet(3, 2);
    let (bad, _) = announced(world.announce("php"));
    ill(&mut world, "h1", &bad);
    ill(&mut world, "h2", &bad);
    let (fix, _) = announced(world.announce("php"));
    assert_eq!(world.state_of(&bad), RolloutState::Superseded);
    let welcome = world.join("h1", "php", &["p"]);
    assert!(welcome.owed[0].failed_before);
    assert_eq!(welcome.lease.map(|lease| lease.state), Some(LeaseState::Failed));
    assert!(matches!(world.ask_for("h3", "w3", &["p"], &fix), Answer::Queued(_)));
    well(&mut world, "h1", &fix);
    well(&mut world, "h2", &fix);
    assert!(matches!(world.ask_for("h3", "w3", &["p"], &fix), Answer::Granted(_)));
}

#[test]
fn max_failures_halts_and_resume_forgives_those_that_were_seen() {
    let mut world = fleet(9, 9);
    world.set("service/php", Setting::MaxFailures(2));
    let (rollout, _) = announced(world.announce("php"));
    world.ask_for("h9", "c9", &["p"], &rollout);
    ill(&mut world, "h1", &rollout);
    ill(&mut world, "h2", &rollout);
    assert_eq!(world.state_of(&rollout), RolloutState::Halted);
    let cause =
        world.state.read_rollout(&rollout, world.now).and_then(|detail| detail.row.halted).expect("halted").cause;
    assert_eq!(cause, "2 hosts failed, and max_failures is 2; last h2 failed: exit 78");
    assert!(matches!(world.begin("h9", "c9"), Begin::Halted(why) if why.contains("php@1 is halted")));
    let done = world.resume("rollout/php@1");
    assert_eq!(
        done,
        Done::Did {
            what: "php@1 goes on; 2 failed hosts are forgiven; 2 more halt it again, or fewer that fill a pool".into()
        }
    );
    assert_eq!(world.begin("h9", "c9"), Begin::Go { generation: Some(1) });
    ill(&mut world, "h3", &rollout);
    assert_eq!(world.state_of(&rollout), RolloutState::Rolling);
    ill(&mut world, "h4", &rollout);
    assert_eq!(world.state_of(&rollout), RolloutState::Halted);
    assert!(matches!(world.resume("rollout/php@2"), Done::Refused { .. }));
}

#[test]
fn a_strict_rollout_lets_no_more_out_than_may_fail() {
    let mut world = fleet(5, 5);
    let (rollout, _) = announced(world.announce_with("php", |announce| {
        announce.max_failures = Some(2);
        announce.strict = Some(true);
    }));
    world.ask_for("h1", "c1", &["p"], &rollout);
    world.ask_for("h2", "c2", &["p"], &rollout);
    let Answer::Queued(queued) = world.ask_for("h3", "c3", &["p"], &rollout) else { panic!("granted") };
    assert_eq!(queued.why.kind, RefusalKind::Full);
    assert_eq!(queued.why.value, "php@1 is strict: as many hosts are out as may still fail");
    assert_eq!(queued.why.holders.len(), 2);
    // One that asks for something else is not hindered by those that stand aside.
    world.granted("other", "co", &["p"]);
    world.begin("h1", "c1");
    world.settle_with("h1", "c1", Ending::Kept, Some(rollout.clone()), Some(failed("exit 1")));
    assert!(matches!(world.ask_for("h3", "c3", &["p"], &rollout), Answer::Queued(_)), "one failed, one is out");
    assert_eq!(world.begin("h2", "c2"), Begin::Go { generation: Some(1) });
    assert_eq!(world.begin("h2", "c2"), Begin::Go { generation: Some(1) }, "asked again, it does not count itself");
    world.settle_with("h2", "c2", Ending::Released, Some(rollout.clone()), Some(Report::plain(Outcome::Restarted)));
    assert!(matches!(world.ask_for("h3", "c3", &["p"], &rollout), Answer::Granted(_)));
}

#[test]
fn a_strict_budget_is_checked_at_begin_too() {
    let mut world = fleet(3, 3);
    let (rollout, _) = announced(world.announce_with("php", |announce| announce.max_failures = Some(2)));
    for host in ["h1", "h2", "h3"] {
        world.ask_for(host, &format!("c{host}"), &["p"], &rollout);
    }
    let (_, _) = announced(world.announce_with("php", |announce| {
        announce.supersede = true;
        announce.strict = Some(true);
        announce.max_failures = Some(1);
    }));
    assert_eq!(world.begin("h1", "ch1"), Begin::Go { generation: Some(2) });
    assert!(
        matches!(world.begin("h2", "ch2"), Begin::Paused(why) if why == "php@2 is strict: 1 host in flight may still fail")
    );
}

#[test]
fn abort_ends_what_has_not_begun() {
    let mut world = fleet(3, 3);
    let (rollout, _) = announced(world.announce("php"));
    world.ask_for("h1", "c1", &["p"], &rollout);
    world.ask_for("h2", "c2", &["p"], &rollout);
    world.begin("h1", "c1");
    let abort = || Act::Abort { rollout: rollout.clone(), reason: "wrong build".into() };
    let done = world.act(abort());
    assert_eq!(
        done,
        Done::Did { what: "php@1 aborted: 0 ok, 0 failed, 1 that has begun will finish, 1 that has not begun its restart is put back, 1 left as they are".into() }
    );
    assert_eq!(world.state_of(&rollout), RolloutState::Aborted);
    assert!(
        matches!(world.begin("h2", "c2"), Begin::Superseded(why) if why == "php@1 was ended by ann@ops1: wrong build")
    );
    assert_eq!(refusal(world.ask_for("h3", "c3", &["p"], &rollout)).0, RefusalKind::Ended);
    assert!(matches!(world.act(abort()), Done::Refused { .. }));
    world.settle_with("h1", "c1", Ending::Released, Some(rollout.clone()), Some(Report::plain(Outcome::Restarted)));
    assert_eq!(world.tally(&rollout), Tally { owes: 2, ok: 1, ..Tally::default() });
    assert!(matches!(
        world.act(Act::Abort { rollout: rollout_of("php", 9), reason: "r".into() }),
        Done::Refused { .. }
    ));
}

#[test]
fn lost_after_begin_is_a_failure_and_time_never_frees_it() {
    let mut world = fleet(2, 1);
    world.set("pool/p", Setting::Ttl(2_000));
    world.set("pool/p", Setting::LostAfter(Some(1_000)));
    let (rollout, _) = announced(world.announce_with("php", |announce| announce.max_failures = Some(9)));
    world.ask_for("h1", "c1", &["p"], &rollout);
    world.begin("h1", "c1");
    world.later(2_000);
    world.tick();
    assert_eq!(world.lease("h1").map(|lease| lease.state), Some(LeaseState::Failed));
    assert_eq!(world.tally(&rollout).failed, 1);
    assert_eq!(world.state_of(&rollout), RolloutState::Halted, "it fills the pool");
    let targets = world.state.read_rollout(&rollout, world.now).expect("a rollout").targets;
    assert_eq!(targets[0].report.as_ref().map(|report| report.at), Some(world.now.wall));
    world.later(100_000_000);
    world.tick();
    assert_eq!(world.lease("h1").map(|lease| lease.state), Some(LeaseState::Failed));
    // It comes back, and brings to its end what it began.
    assert!(matches!(world.renew("h1", "c1"), model::request::Own::Held { .. }));
    world.settle_with("h1", "c1", Ending::Released, Some(rollout.clone()), Some(Report::plain(Outcome::Restarted)));
    assert_eq!(world.lease("h1"), None);
    assert_eq!(world.tally(&rollout), Tally { owes: 1, ok: 1, ..Tally::default() });
    assert_eq!(world.state_of(&rollout), RolloutState::Halted, "a person looks before it goes on");
}

#[test]
fn one_that_comes_back_may_begin_again_what_it_had_not_done() {
    let mut world = fleet(5, 5);
    world.set("pool/p", Setting::Ttl(2_000));
    let (rollout, _) = announced(world.announce("php"));
    world.ask_for("h1", "c1", &["p"], &rollout);
    world.begin("h1", "c1");
    world.later(2_000);
    world.tick();
    assert_eq!(world.tally(&rollout).failed, 1);
    assert_eq!(world.begin("h1", "c1"), Begin::Go { generation: Some(1) });
    assert_eq!(world.tally(&rollout), Tally { owes: 4, begun: 1, ..Tally::default() });
    assert_eq!(world.lease("h1").map(|lease| lease.state), Some(LeaseState::Held));
}

#[test]
fn a_lease_that_is_gone_begins_nothing_and_its_report_still_counts() {
    let mut world = fleet(1, 1);
    world.set("pool/p", Setting::LostAfter(Some(0)));
    let (rollout, _) = announced(world.announce("php"));
    world.ask_for("h1", "c1", &["p"], &rollout);
    assert_eq!(world.begin("h1", "other"), Begin::Gone);
    world.renew("h1", "c1");
    world.later(30_000);
    world.tick();
    assert_eq!(world.begin("h1", "c1"), Begin::Gone);
    let report = || Some(Report::plain(Outcome::Restarted));
    let settled = world.settle_with("h1", "c1", Ending::Released, Some(rollout.clone()), report());
    assert_eq!(settled, Settled::Gone);
    assert_eq!(world.tally(&rollout).ok, 1);
    // A late bad word does not undo a good one.
    world.settle_with("h1", "c1", Ending::Kept, Some(rollout.clone()), Some(failed("late")));
    assert_eq!(world.tally(&rollout).ok, 1);
}

#[test]
fn a_skipped_host_and_one_that_gave_way_are_counted_as_such() {
    let mut world = fleet(2, 1);
    let (rollout, _) = announced(world.announce("php"));
    world.settle_with("h1", "c0", Ending::Cancelled, Some(rollout.clone()), Some(Report::plain(Outcome::Skipped)));
    assert_eq!(world.tally(&rollout), Tally { owes: 1, skipped: 1, ..Tally::default() });
    world.ask_for("h2", "c2", &["p"], &rollout);
    world.begin("h2", "c2");
    world.settle_with("h2", "c2", Ending::GaveWay, Some(rollout.clone()), Some(Report::plain(Outcome::Cancelled)));
    assert_eq!(world.tally(&rollout), Tally { owes: 1, skipped: 1, ..Tally::default() });
    assert_eq!(owed(&world.join("h2", "php", &["p"])), ["php@1"]);
}

#[test]
fn a_restart_by_hand_satisfies_the_newest_generation_and_its_failure_is_not_the_rollouts() {
    let mut world = fleet(2, 2);
    let (rollout, _) = announced(world.announce("php"));
    let by_hand = |claim: &str| model::request::Ask {
        purpose: Purpose::Restart(name("php")),
        ..crate::world::ask("h1", claim, &["p"])
    };
    world.ask(&by_hand("m1"));
    assert_eq!(world.begin("h1", "m1"), Begin::Go { generation: Some(1) });
    world.settle_with("h1", "m1", Ending::Kept, None, Some(failed("exit 1")));
    assert_eq!(world.tally(&rollout), Tally { owes: 2, ..Tally::default() });
    world.ask(&by_hand("m2"));
    world.begin("h1", "m2");
    world.settle_with("h1", "m2", Ending::Released, None, Some(Report::plain(Outcome::Restarted)));
    assert_eq!(world.tally(&rollout), Tally { owes: 1, ok: 1, ..Tally::default() });
    let purpose = Purpose::Restart(name("unknown"));
    world.ask(&model::request::Ask { purpose, ..by_hand("m3") });
    assert_eq!(world.begin("h1", "m3"), Begin::Go { generation: None });
}

#[test]
fn what_is_not_owed_is_refused() {
    let mut world = fleet(1, 1);
    assert_eq!(refusal(world.ask_for("h1", "c", &["p"], &rollout_of("php", 1))).1, "php@1 was never announced here");
    let (rollout, _) = announced(world.announce("php"));
    assert_eq!(refusal(world.ask_for("h1", "c", &["p"], &rollout_of("php", 2))).0, RefusalKind::NotOwed);
    assert_eq!(refusal(world.ask_for("zz", "c", &["p"], &rollout)).1, "php@1 is not for zz");
    well(&mut world, "h1", &rollout);
    assert_eq!(refusal(world.ask_for("h1", "c", &["p"], &rollout)).1, "php@1 counts h1 as ok already");
}

#[test]
fn a_refusal_drops_the_ticket() {
    let mut world = fleet(2, 1);
    let (rollout, _) = announced(world.announce("php"));
    world.ask_for("h1", "c1", &["p"], &rollout);
    world.ask_for("h2", "c2", &["p"], &rollout);
    world.act(Act::Abort { rollout: rollout.clone(), reason: "r".into() });
    let decision = world.decide(&Request::Ask(model::request::Ask {
        purpose: Purpose::Rollout(rollout.clone()),
        ..crate::world::ask("h2", "c2", &["p"])
    }));
    assert!(decision.nudges.pools.contains(&name("p")));
    assert_eq!(world.state.read_leases(&Default::default(), world.now).queue, []);
}

#[test]
fn a_duplicate_is_refused_and_a_successor_is_not() {
    let mut world = fleet(1, 1);
    let other = |session: &str, replaces: Option<&str>| model::request::Join {
        session: name(session),
        replaces: replaces.map(name),
        ..World::join_request("h1", "php", &["p"])
    };
    world.later(7_000);
    let Joined::Duplicate { since_ms, version } = world.joined(&other("s2", None)) else { panic!("joined twice") };
    assert_eq!((since_ms, version.as_str()), (7_000, "0.1.0"));
    assert!(matches!(world.joined(&other("s2", Some("wrong"))), Joined::Duplicate { .. }));
    assert!(matches!(world.joined(&other("s2", Some("s.h1"))), Joined::Member(_)));
    // One that fell silent may be replaced by anyone.
    world.decide(&Request::Quiet(Quiet::Member { host: name("h1"), session: name("old") }));
    assert!(matches!(world.joined(&other("s3", None)), Joined::Duplicate { .. }));
    world.decide(&Request::Quiet(Quiet::Member { host: name("h1"), session: name("s2") }));
    assert!(matches!(world.joined(&other("s3", None)), Joined::Member(_)));
    world.later(60_000);
    assert!(matches!(world.joined(&other("s4", None)), Joined::Member(_)));
}

#[test]
fn a_join_that_says_nothing_new_is_not_worth_a_disk() {
    let mut world = World::with_slots(1);
    let join = World::join_request("h1", "php", &["p"]);
    let first = world.decide(&Request::Join(join.clone()));
    assert!(first.changes.iter().any(model::change::Change::is_durable));
    assert!(first.nudges.pools.contains(&name("p")), "a percentage may have grown");
    world.later(1_000);
    let again = world.decide(&Request::Join(join.clone()));
    assert!(!again.changes.is_empty() && !again.changes.iter().any(model::change::Change::is_durable));
    let moved = model::request::Join { version: "0.2.0".into(), ..join };
    assert!(world.decide(&Request::Join(moved)).changes.iter().any(model::change::Change::is_durable));
}

#[test]
fn a_forgotten_host_is_waited_for_no_more() {
    let mut world = fleet(2, 1);
    let (rollout, _) = announced(world.announce("php"));
    world.ask_for("h1", "c1", &["p"], &rollout);
    world.renew("h1", "c1");
    world.later(70_000);
    world.tick();
    world.join("h2", "php", &["p"]);
    let done = world.release("h1", false, true);
    assert_eq!(done, Done::Did { what: "h1 released: a slot of p freed, and the host is forgotten".into() });
    assert_eq!(world.tally(&rollout), Tally { owes: 1, ..Tally::default() });
    well(&mut world, "h2", &rollout);
    assert_eq!(world.state_of(&rollout), RolloutState::Done);
}

#[test]
fn old_rollouts_are_forgotten_and_generations_are_not() {
    let mut world = fleet(1, 1);
    let (rollout, _) = announced(world.announce("php"));
    well(&mut world, "h1", &rollout);
    let week = 7 * 24 * 3_600_000;
    world.later(week - 1);
    world.tick();
    assert!(world.state.read_rollout(&rollout, world.now).is_some());
    world.later(1);
    world.tick();
    assert_eq!(world.state.read_rollout(&rollout, world.now), None);
    let target = |record: &model::state::Stored| matches!(record, model::state::Stored::Target(_));
    assert!(!world.state.records().iter().any(target), "its reports are gone with it");
    assert_eq!(announced(world.announce("php")).0.generation, 2);
}

#[test]
fn a_lease_keeps_its_rollout_from_being_forgotten() {
    let mut world = fleet(1, 1);
    let (rollout, _) = announced(world.announce("php"));
    ill(&mut world, "h1", &rollout);
    world.later(30 * 24 * 3_600_000);
    world.tick();
    assert!(world.state.read_rollout(&rollout, world.now).is_some());
}

#[test]
fn reports_are_cut_to_their_bounds() {
    let mut world = fleet(1, 1);
    let (rollout, _) = announced(world.announce("php"));
    let timing =
        model::rollout::Timing { step: model::sequence::Step::Drain, ms: 1, ok: true, note: "ö".repeat(1000) };
    let report = Report {
        cause: "é".repeat(1000),
        output: format!("{}the end", "x".repeat(9000)),
        out_of: vec!["lb".into(); 99],
        timings: vec![timing; 99],
        ..failed("")
    };
    restart(&mut world, "h1", &rollout, Ending::Kept, report);
    let detail = world.state.read_rollout(&rollout, world.now).expect("a rollout");
    let report = detail.targets[0].report.clone().expect("a report");
    assert!((1000..=1024).contains(&report.cause.len()) && report.cause.ends_with('…'), "{}", report.cause);
    assert!((8180..=8192).contains(&report.output.len()) && report.output.starts_with('…'));
    assert!(report.output.ends_with("the end"));
    assert_eq!((report.out_of.len(), report.timings.len()), (32, 32));
    assert!((1000..=1024).contains(&report.timings[0].note.len()));
}

#[test]
fn cutting_the_slots_of_a_percentage_halts_nothing_by_itself() {
    let mut world = fleet(3, 2);
    let (rollout, _) = announced(world.announce_with("php", |announce| announce.max_failures = Some(5)));
    ill(&mut world, "h1", &rollout);
    world.set("pool/p", Setting::Slots(Slots::Count(1)));
    assert_eq!(world.state_of(&rollout), RolloutState::Rolling);
    world.set("pool/p", Setting::Slots(Slots::Count(3)));
    well(&mut world, "h2", &rollout);
    well(&mut world, "h3", &rollout);
    assert_eq!(world.state_of(&rollout), RolloutState::Done);
}

#[test]
fn a_services_settings_hold_for_its_next_rollout() {
    let mut world = fleet(1, 1);
    world.set("service/php", Setting::Strict(true));
    world.set("service/php", Setting::Expires(5_000));
    world.set("all", Setting::MaxFailures(7));
    let (rollout, _) = announced(world.announce("php"));
    let row = world.state.read_rollout(&rollout, world.now).expect("a rollout").row;
    assert_eq!((row.strict, row.expires_ms, row.max_failures), (true, 5_000, 7));
    world.join("y", "nginx", &["p"]);
    announced(world.announce("nginx"));
    let row = world.state.read_rollout(&rollout_of("nginx", 1), world.now).expect("a rollout").row;
    assert_eq!((row.strict, row.expires_ms, row.max_failures), (false, 24 * 3_600_000, 7));
}

#[test]
fn a_tally_adds_up() {
    let tally = Tally { owes: 1, begun: 20, ok: 300, skipped: 4_000, failed: 50_000 };
    assert_eq!(tally.total(), 54_321);
}

#[test]
fn a_rollout_that_is_halted_by_its_last_host_is_done_and_the_exit_says_so() {
    let mut world = fleet(2, 2);
    let (rollout, _) = announced(world.announce_with("php", |announce| announce.max_failures = Some(1)));
    world.ask_for("h2", "c2", &["p"], &rollout);
    world.begin("h2", "c2");
    ill(&mut world, "h1", &rollout);
    let row = |world: &World| world.state.read_rollout(&rollout, world.now).expect("a rollout").row;
    assert_eq!(row(&world).state, RolloutState::Halted, "one is in flight");
    world.settle_with("h2", "c2", Ending::Released, Some(rollout.clone()), Some(Report::plain(Outcome::Restarted)));
    assert_eq!((row(&world).state, row(&world).exit_code), (RolloutState::Done, 5));
    assert!(row(&world).halted.is_some());
}

#[test]
fn a_done_rollout_with_a_host_in_flight_again_is_not_clean() {
    let mut world = fleet(2, 2);
    let (rollout, _) = announced(world.announce("php"));
    well(&mut world, "h1", &rollout);
    world.ask_for("h2", "c2", &["p"], &rollout);
    world.begin("h2", "c2");
    let detail = world.state.read_rollout(&rollout, world.now).expect("a rollout");
    assert_eq!((detail.row.state, detail.row.exit_code), (RolloutState::Rolling, 5));
    assert_eq!(detail.targets[0].host, name("h2"), "those in flight first");
}

#[test]
fn an_aborted_rollout_is_not_halted_by_those_in_flight() {
    let mut world = fleet(3, 3);
    let (rollout, _) = announced(world.announce_with("php", |announce| announce.max_failures = Some(1)));
    world.ask_for("h1", "c1", &["p"], &rollout);
    world.begin("h1", "c1");
    world.act(Act::Abort { rollout: rollout.clone(), reason: "r".into() });
    world.settle_with("h1", "c1", Ending::Kept, Some(rollout.clone()), Some(failed("exit 1")));
    let row = world.state.read_rollout(&rollout, world.now).expect("a rollout").row;
    assert_eq!((row.state, row.halted), (RolloutState::Aborted, None));
}

#[test]
fn every_line_of_history_has_its_own_number() {
    let mut world = fleet(1, 1);
    world.announce("php");
    world.announce_with("php", |announce| announce.supersede = true);
    let history = world.state.read_history(&Default::default());
    let numbers: Vec<u64> = history.rows.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, (1..=5).collect::<Vec<_>>(), "{:?}", history.rows);
    assert_eq!(history.rows[4].text, "php@2 for 1 host: build 7");
    assert_eq!(history.rows[3].text, "php@1 is superseded by php@2");
}

#[test]
fn nudges_reach_those_whom_a_decision_may_help() {
    let mut world = fleet(2, 1);
    let announce = |id: &str, supersede| {
        Request::Admin(model::request::Admin {
            operation: name(id),
            by: "ann@ops1".into(),
            act: Act::Announce(model::request::Announce {
                service: name("php"),
                message: "m".into(),
                only: Vec::new(),
                always: false,
                supersede,
                max_failures: None,
                strict: None,
                expires_ms: None,
            }),
        })
    };
    let decision = world.decide(&announce("a1", false));
    assert_eq!(decision.nudges.scopes, [name("service/php")].into());
    assert_eq!(world.decide(&announce("a2", false)).nudges, Nudges::default(), "a refusal helps nobody");
    // What fell due is told of too, beside the request's own.
    world.set("pool/p", Setting::Ttl(1_000));
    world.pause("host/zz", 500);
    world.granted("r", "cr", &["p"]);
    world.later(600);
    let tick = world.tick();
    assert_eq!(tick.nudges.scopes, [name("host/zz")].into(), "the pause is over");
    let settle = model::request::Settle {
        holder: name("r"),
        claim: name("cr"),
        ending: Ending::Released,
        rollout: None,
        report: None,
    };
    let settled = world.decide(&Request::Settle(settle));
    assert_eq!((settled.nudges.pools, settled.nudges.scopes), (crate::world::pools(&["p"]), [].into()));
}

#[test]
fn a_late_cancel_does_not_open_an_older_rollout_again() {
    let mut world = fleet(1, 1);
    world.set("pool/p", Setting::Ttl(2_000));
    let (first, _) = announced(world.announce_with("php", |announce| announce.max_failures = Some(1)));
    world.ask_for("h1", "c1", &["p"], &first);
    world.begin("h1", "c1");
    world.later(2_000);
    world.tick();
    announced(world.announce("php"));
    let cancelled = || Some(Report::plain(Outcome::Cancelled));
    world.settle_with("h1", "c1", Ending::Cancelled, Some(first.clone()), cancelled());
    assert_eq!((world.state_of(&first), world.tally(&first).failed), (RolloutState::Done, 1));
}

#[test]
fn a_rollout_with_nothing_left_has_nothing_to_halt() {
    let mut world = fleet(1, 2);
    let (rollout, _) = announced(world.announce_with("php", |announce| announce.max_failures = Some(1)));
    ill(&mut world, "h1", &rollout);
    let row = world.state.read_rollout(&rollout, world.now).expect("a rollout").row;
    assert_eq!((row.state, row.halted, row.exit_code), (RolloutState::Done, None, 5));
}

#[test]
fn what_is_in_flight_and_what_is_left_are_superseded_alike() {
    let mut world = fleet(2, 1);
    let (first, _) = announced(world.announce("php"));
    world.ask_for("h1", "c1", &["p"], &first);
    world.begin("h1", "c1");
    announced(world.announce_with("php", |announce| announce.supersede = true));
    assert_eq!(world.state_of(&first), RolloutState::Superseded, "one owes it, and one is in flight");
}

#[test]
fn a_lost_lease_is_told_under_its_host_and_its_rollout() {
    let mut world = fleet(1, 1);
    let (rollout, _) = announced(world.announce("php"));
    world.ask_for("h1", "c1", &["p"], &rollout);
    world.renew("h1", "c1");
    world.later(30_000);
    world.tick();
    for scope in ["host/h1", "rollout/php@1"] {
        let select = model::read::Selection { scope: Some(name(scope)), ..Default::default() };
        let last = world.state.read_history(&select).rows.pop().expect("an entry");
        assert_eq!(last.text, "h1 stopped renewing, for php@1", "{scope}");
    }
}

#[test]
fn a_host_that_was_given_up_after_its_restart_had_begun_counts_as_failed_until_it_reports() {
    let mut world = World::with_slots(2);
    world.join("a", "php", &["p"]);
    world.join("b", "php", &["p"]);
    world.announce("php");
    let rollout = rollout_of("php", 1);
    for host in ["a", "b"] {
        assert!(matches!(world.ask_for(host, &format!("c{host}"), &["p"], &rollout), Answer::Granted(_)));
        world.begin(host, &format!("c{host}"));
    }
    world.settle_with("b", "cb", Ending::Released, Some(rollout.clone()), Some(Report::plain(Outcome::Restarted)));
    assert!(matches!(world.release("a", true, false), Done::Did { .. }));
    let tally = world.tally(&rollout);
    assert_eq!((tally.ok, tally.failed, tally.begun), (1, 1, 0));
    assert!(!world.state_of(&rollout).is_under_way(), "nothing is left to wait for");
    // It was only cut off, and is well.
    world.settle_with("a", "ca", Ending::Released, Some(rollout.clone()), Some(Report::plain(Outcome::Restarted)));
    assert_eq!(world.tally(&rollout).ok, 2);
}

#[test]
fn a_host_that_failed_already_keeps_its_report_when_it_is_released() {
    let mut world = World::with_slots(1);
    world.set("pool/p", model::settings::Setting::Ttl(2_000));
    world.join("a", "php", &["p"]);
    world.announce("php");
    let rollout = rollout_of("php", 1);
    world.ask_for("a", "ca", &["p"], &rollout);
    world.begin("a", "ca");
    world.later(2_000);
    world.tick();
    let report = |world: &World| {
        let detail = world.state.read_rollout(&rollout, world.now).expect("a rollout");
        detail.targets[0].report.as_ref().map(|report| report.cause.clone())
    };
    let before = report(&world);
    assert!(before.is_some(), "it fell silent in its restart");
    assert!(matches!(world.release("a", true, false), Done::Did { .. }));
    assert_eq!(report(&world), before);
    assert_eq!(world.tally(&rollout).failed, 1);
}

#[test]
fn an_operation_that_comes_again_as_another_change_is_refused_and_changes_nothing() {
    let mut world = fleet(1, 1);
    let pause = |scope: &str| Act::Pause { scope: name(scope), reason: "r".into(), for_ms: 60_000 };
    let done = world.operate(name("o1"), pause("pool/p"));
    assert!(matches!(done, Done::Did { .. }), "{done:?}");
    assert_eq!(world.operate(name("o1"), pause("pool/p")), done, "the very same is answered as before");
    let replayed = Done::Replayed { operation: name("o1") };
    for other in [pause("all"), Act::Resume { scope: name("pool/p") }] {
        let admin = model::request::Admin { operation: name("o1"), by: "mallory".into(), act: other };
        let decision = world.decide(&Request::Admin(admin));
        assert_eq!((decision.reply, decision.changes), (model::Reply::Did(replayed.clone()), Vec::new()));
    }
    // What an older version kept says nothing of what was asked: it is answered as before.
    let kept = r#"{"id": "o2", "answer": {"did": {"what": "done"}}, "at": 1}"#;
    let kept: model::change::Operation = serde_json::from_str(kept).expect("an operation");
    world.state.put(model::state::Stored::Operation(kept));
    assert_eq!(world.operate(name("o2"), pause("all")), Done::Did { what: "done".into() });
}

#[test]
fn the_history_says_from_where_and_what_follows_by_itself_comes_from_nowhere() {
    let mut world = fleet(1, 1);
    let act = Act::Pause { scope: name("pool/p"), reason: "r".into(), for_ms: 1_000 };
    let admin = Request::Admin(model::request::Admin { operation: name("o1"), by: "ann@ops1".into(), act });
    world.decide(&admin.coming_from(Some("10.0.0.7".into())));
    world.later(2_000);
    world.decide(&Request::Tick.coming_from(Some("10.0.0.8".into())));
    let rows = world.state.read_history(&Default::default()).rows;
    let told: Vec<_> = rows.iter().rev().take(2).map(|entry| (entry.by.as_str(), entry.from.as_deref())).collect();
    assert_eq!(told, [("stagger", None), ("ann@ops1", Some("10.0.0.7"))]);
    let old = r#"{"number": 1, "at": 0, "by": "x", "kind": "set", "scopes": [], "text": "t"}"#;
    assert_eq!(serde_json::from_str::<model::history::Entry>(old).expect("an entry of before").from, None);
}
