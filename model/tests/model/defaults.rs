//! What the lock server's file says holds where nobody has set anything, and comes in like any other request; and what a copy of the
//! past must not bring back.

use crate::world::*;
use model::defaults::{Defaults, FromFile, Load, PoolDefaults};
use model::names::{Pool, Scope};
use model::passage::{Move, MoveStep};
use model::read::Selection;
use model::request::{Answer, Done, Reply, Request};
use model::rollout::RolloutState;
use model::settings::{Setting, SettingKind, Slots};
use model::state::State;
use model::time::Wall;

fn table(matches: &str, settings: &[(Setting, u32)]) -> PoolDefaults {
    PoolDefaults { matches: matches.parse().expect("a pattern"), settings: from(settings) }
}

fn from(settings: &[(Setting, u32)]) -> Vec<FromFile> {
    settings.iter().map(|(setting, line)| FromFile { setting: *setting, place: format!("f.toml:{line}") }).collect()
}

fn load(world: &mut World, defaults: Defaults) -> Result<String, String> {
    let load = Load { by: "lockserver@locks1".into(), file: "/etc/f.toml".into(), defaults };
    match world.decide(&Request::Load(load)).reply {
        Reply::Did(Done::Did { what }) => Ok(what),
        Reply::Did(Done::Refused { why, .. }) => Err(why),
        other => panic!("{other:?}"),
    }
}

fn count(slots: u32) -> Setting {
    Setting::Slots(Slots::Count(slots))
}

fn of_pools(pools: Vec<PoolDefaults>) -> Defaults {
    Defaults { pools, ..Defaults::default() }
}

fn rules(world: &World, pool: &str) -> (u32, String) {
    let select = Selection { scope: Some(Scope::Pool(name(pool))), ..Selection::default() };
    let row = world.state.read_pools(&select, world.now).rows.remove(0);
    (row.slots, row.rules.source)
}

#[test]
fn what_is_set_wins_over_the_file_and_the_file_over_the_default() {
    let mut world = World::with_slots(1);
    load(&mut world, of_pools(vec![table("p", &[(count(3), 2)]), table("*", &[(count(7), 5)])])).expect("taken in");
    assert_eq!(rules(&world, "p").0, 1, "what was set wins");
    world.set("pool/q", Setting::Wait(60_000));
    assert_eq!(rules(&world, "q"), (7, "f.toml:5".to_owned()));
    world.set("all", count(2));
    assert!(rules(&world, "q").1.starts_with("set all slots=2 "), "{:?}", rules(&world, "q"));
    let unset = |scope: &str| model::request::Act::Unset {
        scope: name(scope),
        kind: SettingKind::Slots,
        reason: "test".into(),
    };
    let done = world.act(unset("all"));
    assert!(matches!(&done, Done::Did { what } if what == "all slots: 2 → 10% (default)"), "{done:?}");
    let done = world.act(unset("pool/p"));
    assert!(matches!(&done, Done::Did { what } if what == "pool/p slots: 1 → 3 (f.toml:2)"), "{done:?}");
    assert_eq!(rules(&world, "p"), (3, "f.toml:2".to_owned()));
    world.restart();
    assert_eq!(rules(&world, "p"), (3, "f.toml:2".to_owned()), "it is a record");
}

#[test]
fn a_file_that_frees_slots_has_the_next_in_line_granted() {
    let mut world = World::default();
    load(&mut world, of_pools(vec![table("p", &[(count(1), 2)])])).expect("taken in");
    assert!(world.state.knows_pool(&name::<Pool>("p")), "it is named by itself");
    assert!(matches!(world.ask(&ask("a", "c-a", &["p"])), Answer::Granted(_)));
    assert!(matches!(world.ask(&ask("b", "c-b", &["p"])), Answer::Queued(_)));
    // That whoever may go is told, an invariant holds.
    let what = load(&mut world, of_pools(vec![table("p", &[(count(2), 2)])])).expect("taken in");
    assert_eq!(what, "p slots 1 → 2");
    assert!(matches!(world.ask(&ask("b", "c-b", &["p"])), Answer::Granted(_)));
    let history = world.state.read_history(&Selection::default()).rows;
    assert!(history.iter().any(|entry| entry.by == "lockserver@locks1" && entry.text == "/etc/f.toml: p slots 1 → 2"));
    let what = load(&mut world, Defaults::default()).expect("taken in");
    assert_eq!(what, "p slots 2 → default");
    assert!(world.state.defaults().is_empty() && world.disk.defaults().is_empty());
}

#[test]
fn the_same_again_changes_nothing_and_what_is_wrong_is_refused() {
    let mut world = World::with_slots(1);
    let good = of_pools(vec![table("*", &[(count(3), 2)])]);
    load(&mut world, good.clone()).expect("taken in");
    let before = world.state.clone();
    assert_eq!(load(&mut world, good).as_deref(), Ok("it says what it said"));
    assert_eq!(world.state, before);
    let moved = of_pools(vec![table("*", &[(count(3), 9)])]);
    assert_eq!(load(&mut world, moved).as_deref(), Ok("only its lines have moved"));
    let wrong = of_pools(vec![table("*", &[(count(0), 2)])]);
    let why = load(&mut world, wrong).expect_err("no slots");
    assert_eq!(why, "f.toml:2: slots lies between 1 and 100000, and this is 0");
    assert_eq!(rules(&world, "p").0, 1);
}

#[test]
fn a_domain_that_only_has_a_file_is_fresh() {
    let mut world = World::default();
    load(&mut world, of_pools(vec![table("p", &[(count(1), 2)])])).expect("taken in");
    assert!(world.state.is_fresh());
    world.set("pool/p", count(2));
    assert!(!world.state.is_fresh());
}

#[test]
fn a_copy_of_the_past_gives_nothing_a_second_time() {
    let mut world = World::with_slots(2);
    world.now.wall = Wall(1_800_000_000_000);
    world.join("h1", "php", &["p"]);
    world.announce("php");
    assert!(matches!(world.ask(&ask("run1", "c-1", &["p"])), Answer::Granted(_)));
    let taken = world.now.wall;
    let copy = world.state.clone();
    let restored = |at: Wall| -> State {
        let mut state = copy.clone();
        let now = model::Now { time: world.now.time, wall: at };
        state.replay(&state.restored(now, taken));
        for (rule, check) in model::invariants::OF_STATE {
            check(&state).unwrap_or_else(|wrong| panic!("{rule}: {wrong}"));
        }
        state
    };
    let first = restored(Wall(taken.0 + 3_600_000));
    assert_eq!(first.token_floor(), (taken.0 + 3_600_000) * 1000);
    let again = restored(Wall(taken.0 + 3_600_001));
    assert!(again.token_floor() >= first.token_floor() + 1000, "the same copy is used twice");
    assert!(restored(Wall(0)).token_floor() > 1_000_000, "whatever the clock says");
    assert_eq!(first.records().len(), copy.records().len() + 3, "a floor, and two lines of history");

    let mut world = World { state: first, now: world.now, operations: world.operations, ..World::default() };
    let row = world.state.read_rollout(&rollout_of("php", 1), world.now).expect("it is kept").row;
    assert_eq!(row.state, RolloutState::Aborted);
    assert!(row.ended.expect("ended").reason.starts_with("restored from a backup 1h old"));
    world.join("h1", "php", &["p"]);
    let announced = world.announce("php");
    let Done::Announced { rollout, .. } = &announced else { panic!("{announced:?}") };
    // An hour later, and as soon as a minute later again; of a service, too, that the copy knows nothing of.
    let minutes = |at: Wall| (at.0 - 1_767_225_600_000) / 60_000;
    assert!(
        rollout.generation > minutes(taken) && rollout.generation >= 1_002,
        "a number is given twice: {announced:?}"
    );
    world.join("h2", "other", &["p"]);
    let announced = world.announce("other");
    let Done::Announced { rollout, .. } = &announced else { panic!("{announced:?}") };
    assert!(rollout.generation > minutes(taken), "a number is given twice: {announced:?}");
    let Answer::Granted(granted) = world.ask(&ask("run2", "c-2", &["p"])) else { panic!("a slot is free") };
    assert!(granted.lease.pools.values().all(|token| *token > world.state.token_floor()));
}

#[test]
fn a_domain_comes_to_a_lock_server_that_has_a_file_and_brings_what_the_old_one_said() {
    let (mut old, mut new) = (World::default(), World::default());
    load(&mut old, of_pools(vec![table("p", &[(count(5), 2)])])).expect("taken in");
    old.set("pool/q", count(4));
    load(&mut new, of_pools(vec![table("p", &[(count(9), 7)])])).expect("taken in");
    let step = |world: &mut World, step: MoveStep| {
        let wanted = Move { passage: name("m1"), by: "ann".into(), step };
        match world.decide(&Request::Move(wanted)).reply {
            Reply::Did(Done::Did { .. }) => {}
            other => panic!("{other:?}"),
        }
    };
    step(&mut old, MoveStep::Close { to: "http://new:1".into() });
    let time = old.state.passage().expect("closed").time;
    step(&mut new, MoveStep::Arrive { from: "http://old:1".into(), time });
    assert!(new.state.defaults().is_empty(), "what comes takes its place");
    let records: Vec<_> = old.state.luggage().collect();
    let there = records.len() as u64;
    step(&mut new, MoveStep::Bring { records });
    step(&mut old, MoveStep::HandOver);
    step(&mut new, MoveStep::Open { count: there });
    assert_eq!(rules(&new, "p"), (5, "f.toml:2".to_owned()));
    // Its own file, read again, takes the place of that.
    load(&mut new, of_pools(vec![table("p", &[(count(9), 7)])])).expect("taken in");
    assert_eq!(rules(&new, "p"), (9, "f.toml:7".to_owned()));
}
