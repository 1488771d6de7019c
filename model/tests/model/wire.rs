//! What travels and what is stored: readable JSON that reads back as it was written.

use crate::world::{World, ask, failed, name, rollout_of};
use model::change::{Change, Key};
use model::defaults::{Defaults, FromFile, PoolDefaults};
use model::names::Scope;
use model::request::{Act, Ending, Request};
use model::settings::{Setting, SettingKind, Slots};
use model::state::{State, Stored};

#[test]
fn names_and_settings_travel_as_people_write_them() {
    let json = |value: &dyn erased::Json| value.json();
    assert_eq!(json(&name::<Scope>("rollout/php@1")), r#""rollout/php@1""#);
    assert_eq!(json(&rollout_of("php", 7)), r#""php@7""#);
    assert_eq!(json(&Setting::Slots(Slots::Percent(10))), r#"{"slots":{"percent":10}}"#);
    assert_eq!(json(&SettingKind::LostAfter), r#""lost_after""#);
    let wrong: Result<Scope, _> = serde_json::from_str(r#""pool/a b""#);
    assert!(wrong.expect_err("refused").to_string().contains("a pool is named by letters"));
}

/// Just enough to hand values of several types to one closure.
mod erased {
    pub(crate) trait Json {
        fn json(&self) -> String;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> String {
            serde_json::to_string(self).expect("serialisable")
        }
    }
}

/// A world with every kind of record in it.
fn everything() -> World {
    let mut world = World::with_slots(1);
    world.join("a", "php", &["p"]);
    world.announce("php");
    let php = rollout_of("php", 1);
    world.ask_for("a", "c1", &["p"], &php);
    world.begin("a", "c1");
    world.settle_with("a", "c1", Ending::Kept, Some(php), Some(failed("exit 78")));
    world.queued("b", "c2", &["p"]);
    world.pause("host/z", 60_000);
    let lacking = world.state.lacking(world.now);
    world.state.replay(&lacking);
    let passage = model::passage::Passage {
        id: name("m1"),
        stage: model::passage::Stage::Arrived,
        place: "http://locks:7532".to_owned(),
        by: "ann".to_owned(),
        since: model::Wall(1),
        time: model::Time(1),
        earlier: vec![name("m0")],
    };
    let from_file = |setting| FromFile { setting, place: "lockserver.toml:9".into() };
    let table = |matches: &str| PoolDefaults {
        matches: matches.parse().expect("a pattern"),
        settings: vec![from_file(Setting::Ttl(45_000))],
    };
    let services = [(name("other"), vec![from_file(Setting::Strict(true))])].into();
    let defaults = Defaults { pools: vec![table("named"), table("rack.*")], services };
    world.state.replay(&[Change::PassageMoved(passage), Change::DefaultsLoaded(defaults)]);
    world
}

#[test]
fn every_record_goes_through_a_store_unchanged() {
    let world = everything();
    let mut kinds = std::collections::BTreeSet::new();
    let mut loaded = State::default();
    for record in world.state.records() {
        let text = serde_json::to_string(&record).expect("serialisable");
        let back: Stored = serde_json::from_str(&text).expect("readable");
        assert_eq!(back, record);
        kinds.insert(text.split('"').nth(1).unwrap_or_default().to_owned());
        loaded.put(back);
    }
    assert_eq!(loaded, world.state);
    let expected = [
        "defaults",
        "entry",
        "generation",
        "lease",
        "member",
        "operation",
        "passage",
        "pause",
        "rollout",
        "setting",
        "target",
        "ticket",
        "token",
        "token_floor",
    ];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn keys_are_readable_paths() {
    let world = everything();
    let keys: Vec<String> = world
        .state
        .records()
        .into_iter()
        .map(|record| {
            let mut alone = State::default();
            alone.put(record);
            key_of(&alone).to_string()
        })
        .collect();
    for key in [
        "ticket/b",
        "token/p",
        "token_floor",
        "lease/a",
        "member/a",
        "pause/host/z",
        "setting/pool/p/slots",
        "defaults",
        "generation/php",
        "rollout/php@1",
        "target/php@1/a",
        "operation/op1",
        "history/00000000000000000001",
        "passage",
    ] {
        assert!(keys.contains(&key.to_owned()), "{key} is not in {keys:?}");
    }
}

/// The key of a state's only record.
fn key_of(state: &State) -> Key {
    match state.records().remove(0) {
        Stored::Ticket(ticket) => Change::TicketTaken(ticket).key(),
        Stored::Token { pool, token } => Change::TokenUsed { pool, token }.key(),
        Stored::TokenFloor(floor) => Change::TokensRaised(floor).key(),
        Stored::Lease(lease) => Change::LeaseGranted(*lease).key(),
        Stored::Member(member) => Change::MemberJoined(*member).key(),
        Stored::Pause(pause) => Change::Paused(pause).key(),
        Stored::Setting(from) => Change::Configured(from).key(),
        Stored::Defaults(defaults) => Change::DefaultsLoaded(defaults).key(),
        Stored::Generation { service, generation } => Change::GenerationUsed { service, generation }.key(),
        Stored::Rollout(rollout) => Change::RolloutMoved(*rollout).key(),
        Stored::Target(target) => Change::TargetMoved(*target).key(),
        Stored::Operation(operation) => Change::OperationDone(operation).key(),
        Stored::Entry(entry) => Change::Noted(entry).key(),
        Stored::Passage(passage) => Change::PassageMoved(passage).key(),
    }
}

#[test]
fn removing_every_record_leaves_nothing_behind() {
    let world = everything();
    let mut state = world.state.clone();
    for record in world.state.records() {
        let mut alone = State::default();
        alone.put(record.clone());
        let key = key_of(&alone);
        assert_eq!(record.key(), key);
        assert!(state.record(&key).is_some());
        state.remove(&key);
        assert_eq!(state.record(&key), None);
    }
    assert_eq!(state, State::default());
}

#[test]
fn requests_travel_unchanged_and_unknown_ones_are_refused() {
    let requests = [
        Request::Ask(ask("a", "c", &["p"])),
        Request::Join(World::join_request("a", "php", &["p"])),
        Request::Tick,
        Request::Admin(model::request::Admin {
            operation: name("o"),
            by: "ann@ops1".into(),
            act: Act::Pause { scope: Scope::All, reason: "r".into(), for_ms: 1 },
        }),
    ];
    for request in requests {
        let text = serde_json::to_string(&request).expect("serialisable");
        assert_eq!(serde_json::from_str::<Request>(&text).expect("readable"), request);
    }
    assert!(serde_json::from_str::<Request>(r#"{"dance":{}}"#).is_err());
}

#[test]
fn the_words_that_people_and_metrics_read_are_fixed() {
    use model::history::EntryKind as Kind;
    use model::request::RefusalKind as Refusal;
    let json_word = |text: String| text.trim_matches('"').to_owned();
    for kind in [
        Kind::Announced,
        Kind::Aborted,
        Kind::Superseded,
        Kind::Halted,
        Kind::Paused,
        Kind::Resumed,
        Kind::Set,
        Kind::Released,
        Kind::Forgotten,
        Kind::Failed,
        Kind::Lost,
        Kind::Freed,
        Kind::Joined,
    ] {
        assert_eq!(kind.word(), json_word(serde_json::to_string(&kind).expect("serialisable")));
    }
    for kind in [
        Refusal::Full,
        Refusal::NotFirst,
        Refusal::Paused,
        Refusal::TimedOut,
        Refusal::QueueFull,
        Refusal::Busy,
        Refusal::NotOwed,
        Refusal::Halted,
        Refusal::Ended,
        Refusal::Invalid,
    ] {
        assert_eq!(kind.word(), json_word(serde_json::to_string(&kind).expect("serialisable")));
    }
    use model::rollout::{Outcome, Progress, RolloutState as State};
    for (shown, stored) in [
        (State::Announced.to_string(), serde_json::to_string(&State::Announced)),
        (State::Rolling.to_string(), serde_json::to_string(&State::Rolling)),
        (State::Done.to_string(), serde_json::to_string(&State::Done)),
        (State::Halted.to_string(), serde_json::to_string(&State::Halted)),
        (State::Aborted.to_string(), serde_json::to_string(&State::Aborted)),
        (State::Expired.to_string(), serde_json::to_string(&State::Expired)),
        (State::Superseded.to_string(), serde_json::to_string(&State::Superseded)),
        (Progress::Owes.to_string(), serde_json::to_string(&Progress::Owes)),
        (Progress::Begun.to_string(), serde_json::to_string(&Progress::Begun)),
        (Progress::Ok.to_string(), serde_json::to_string(&Progress::Ok)),
        (Progress::Skipped.to_string(), serde_json::to_string(&Progress::Skipped)),
        (Progress::Failed.to_string(), serde_json::to_string(&Progress::Failed)),
        (Outcome::Restarted.to_string(), serde_json::to_string(&Outcome::Restarted)),
        (Outcome::Skipped.to_string(), serde_json::to_string(&Outcome::Skipped)),
        (Outcome::Failed.to_string(), serde_json::to_string(&Outcome::Failed)),
        (Outcome::Cancelled.to_string(), serde_json::to_string(&Outcome::Cancelled)),
        (model::member::Presence::In.to_string(), serde_json::to_string(&model::member::Presence::In)),
        (model::member::Presence::Out.to_string(), serde_json::to_string(&model::member::Presence::Out)),
        (model::member::Presence::Unknown.to_string(), serde_json::to_string(&model::member::Presence::Unknown)),
    ] {
        assert_eq!(shown, json_word(stored.expect("serialisable")));
    }
}
