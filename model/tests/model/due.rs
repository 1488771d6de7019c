//! What time alone changes, and what everyone is given when the coordinator starts again.

use crate::world::{World, ask, name, rollout_of};
use model::change::{Change, Key};
use model::lease::LeaseState;
use model::request::{Announce, Answer, Begin, Ending};
use model::rollout::{Outcome, Progress};
use model::settings::Setting;

fn state_of(world: &World, holder: &str) -> Option<LeaseState> {
    world.lease(holder).map(|lease| lease.state)
}

/// How much longer this waiter may wait, as its own ask is told.
fn left_ms(world: &mut World, holder: &str) -> u64 {
    match world.ask(&ask(holder, &format!("c{holder}"), &["p"])) {
        Answer::Queued(queued) => queued.left_ms,
        other => panic!("{other:?}"),
    }
}

/// Something is written to disk, and the clock with it.
fn write(world: &mut World) {
    world.pause("host/elsewhere", 3_600_000);
}

#[test]
fn what_is_due_is_carried_out_one_by_one_in_its_order() {
    let mut world = World::with_slots(1);
    world.set("pool/p", Setting::Ttl(2_000));
    world.granted("a", "ca", &["p"]);
    let left_of_b = left_ms(&mut world, "b");
    world.pause("pool/p", 1_000);
    assert_eq!(world.state.overdue(world.now), None, "nothing is due yet");
    world.later(10_000);
    let mut keys = Vec::new();
    while let Some(due) = world.state.overdue(world.now) {
        world.state.replay(&due.changes);
        let changed = due.changes.iter().map(Change::key).filter(|key| !matches!(key, Key::Entry(_)));
        keys.extend(changed);
    }
    // The clock of whoever waited goes on when the pause ends; then the lease is lost, and the waiter silent.
    let waiter = || Key::Ticket(name("b"));
    assert_eq!(keys, [Key::Pause(name("pool/p")), waiter(), Key::Lease(name("a")), waiter()]);
    assert_eq!(state_of(&world, "a"), Some(LeaseState::Lost));
    assert_eq!(world.state.next_due(), Some(world.now.time.plus(std::time::Duration::from_millis(left_of_b))));
}

#[test]
fn a_holder_has_its_whole_time_to_live_again_after_a_start() {
    let mut world = World::with_slots(1);
    world.set("pool/p", Setting::Ttl(2_000));
    world.granted("a", "ca", &["p"]);
    world.later(1_999);
    write(&mut world);
    world.restart();
    world.later(1_999);
    world.tick();
    assert_eq!(state_of(&world, "a"), Some(LeaseState::Held));
    world.later(1);
    world.tick();
    assert_eq!(state_of(&world, "a"), Some(LeaseState::Lost), "it may have been at work: nothing is taken back");
}

#[test]
fn a_waiter_has_ten_seconds_to_ask_again_after_a_start() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    world.queued("b", "cb", &["p"]);
    world.later(9_999);
    write(&mut world);
    world.restart();
    world.settle("a", "ca", Ending::Released);
    world.later(9_999);
    world.tick();
    assert_eq!(world.next_in_line().as_deref(), Some("b"));
    world.later(1);
    world.tick();
    assert_eq!(world.next_in_line(), None, "it is silent");
}

#[test]
fn a_wait_goes_on_from_what_is_on_disk_and_downtime_is_not_waited() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    let whole_ms = left_ms(&mut world, "b");
    world.later(9_000);
    write(&mut world);
    world.restart();
    assert_eq!(left_ms(&mut world, "b"), whole_ms);
    world.later(4_000);
    assert_eq!(left_ms(&mut world, "b"), whole_ms - 4_000);
}

#[test]
fn whoever_was_silent_is_listened_for_again_after_a_start() {
    let mut world = World::with_slots(1);
    assert!(matches!(world.ask(&ask("b", "cb", &["p"])), Answer::Granted(_)));
    world.later(30_000);
    world.tick();
    assert_eq!(
        (world.lease("b"), world.next_in_line()),
        (None, None),
        "it never answered, and its grant is taken back"
    );
    world.restart();
    assert_eq!(world.next_in_line().as_deref(), Some("b"));
}

#[test]
fn a_rollout_that_expires_counts_those_that_owe_it_and_those_in_flight() {
    let mut world = World::with_slots(3);
    for host in ["h1", "h2", "h3"] {
        world.join(host, "php", &["p"]);
    }
    world.announce_with("php", |announce: &mut Announce| announce.expires_ms = Some(10_000));
    world.ask_for("h1", "c1", &["p"], &rollout_of("php", 1));
    assert_eq!(world.begin("h1", "c1"), Begin::Go { generation: Some(1) });
    world.later(10_000);
    world.tick();
    let history = world.state.read_history(&Default::default());
    let texts: Vec<_> = history.rows.iter().map(|entry| entry.text.as_str()).collect();
    assert!(texts.contains(&"php@1: its time is over, and 3 hosts owe it"), "{texts:?}");
}

#[test]
fn a_host_that_falls_silent_in_its_restart_is_shown_with_its_step_and_why() {
    let mut world = World::with_slots(1);
    world.join("h1", "php", &["p"]);
    world.announce("php");
    let rollout = rollout_of("php", 1);
    world.ask_for("h1", "c1", &["p"], &rollout);
    world.begin("h1", "c1");
    world.later(30_000);
    world.tick();
    let detail = world.state.read_rollout(&rollout, world.now).expect("a rollout");
    let target = detail.targets.first().expect("a target");
    let report = target.report.as_ref().expect("a report");
    assert_eq!((target.progress, report.outcome), (Progress::Failed, Outcome::Failed));
    assert_eq!(report.step, world.lease("h1").expect("its lease counts").step);
    assert!(report.step.is_some());
    assert_eq!(report.cause, "stopped renewing after its restart had begun");
}
