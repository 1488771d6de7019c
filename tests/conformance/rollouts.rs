//! Rollouts: who owes what, once for each generation, and what ends them.

use super::world::{HOLD, NOW, World, for_rollout, join, rollout, soon};
use coordinator::Coordinator as _;
use coordinator::events::Event;
use model::read::Selection;
use model::request::{Act, Answer, Begin, BeginAsk, Done, Ending, Joined, RefusalKind};
use model::rollout::RolloutState;

async fn state(world: &World, generation: u64) -> RolloutState {
    soon(world.remote().rollout(&rollout(generation))).await.expect("an answer").expect("a rollout").row.state
}

async fn owed(world: &World, host: &str) -> Vec<String> {
    world.join(host, &["php"]).await.owed.into_iter().map(|owed| owed.rollout.to_string()).collect()
}

async fn begin(world: &World, host: &str) -> Begin {
    let claim = format!("c-{host}").parse().expect("an id");
    soon(world.remote().begin(&BeginAsk { holder: host.parse().expect("a holder"), claim, away_ms: 0 }))
        .await
        .expect("an answer")
}

pub(super) async fn whoever_listens_hears_of_a_deploy_at_once(world: &mut World) {
    world.join("mw1", &["php"]).await;
    let client = world.client().await;
    let listening = tokio::spawn(async move { client.join(&join("mw1", &["php"]), Some(&[]), HOLD).await });
    let done = world.announce(|_| {}).await;
    assert_eq!(done, Done::Announced { rollout: rollout(1), targets: 1 });
    let joined = soon(listening).await.expect("no panic").expect("an answer");
    assert!(matches!(&joined, Joined::Member(welcome) if welcome.owed[0].rollout == rollout(1)), "{joined:?}");
}

pub(super) async fn a_host_restarts_once_for_a_generation(world: &mut World) {
    world.slots("app", 1).await;
    world.join("mw1", &["php"]).await;
    world.join("mw2", &["php"]).await;
    world.announce(|_| {}).await;
    world.restarts("mw1", &rollout(1)).await;
    world.renew("mw1").await;
    assert_eq!(begin(world, "mw1").await, Begin::Go { generation: Some(1) });
    world.settle_for("mw1", Ending::Released, Some(&rollout(1))).await;
    assert_eq!(owed(world, "mw1").await, [] as [&str; 0]);
    let again = model::request::Ask { claim: "again".parse().expect("an id"), ..for_rollout("mw1", &rollout(1)) };
    let answer = world.ask(&again, NOW).await;
    assert!(matches!(&answer, Answer::Refused(why) if why.kind == RefusalKind::NotOwed), "{answer:?}");
    assert_eq!(owed(world, "mw2").await, ["php@1"]);
}

pub(super) async fn a_rollout_is_done_when_everyone_is(world: &mut World) {
    world.slots("app", 2).await;
    for host in ["mw1", "mw2"] {
        world.join(host, &["php"]).await;
    }
    world.announce(|_| {}).await;
    assert_eq!(state(world, 1).await, RolloutState::Announced);
    for (host, then) in [("mw1", RolloutState::Rolling), ("mw2", RolloutState::Done)] {
        world.restarts(host, &rollout(1)).await;
        world.renew(host).await;
        begin(world, host).await;
        world.settle_for(host, Ending::Released, Some(&rollout(1))).await;
        assert_eq!(state(world, 1).await, then);
    }
}

pub(super) async fn failures_halt_it_and_a_person_lets_it_go_on(world: &mut World) {
    world.slots("app", 3).await;
    for host in ["mw1", "mw2", "mw3"] {
        world.join(host, &["php"]).await;
    }
    world.announce(|announce| announce.max_failures = Some(1)).await;
    world.restarts("mw1", &rollout(1)).await;
    world.renew("mw1").await;
    begin(world, "mw1").await;
    world.restarts("mw2", &rollout(1)).await;
    world.renew("mw2").await;
    world.settle_for("mw1", Ending::Kept, Some(&rollout(1))).await;
    assert_eq!(state(world, 1).await, RolloutState::Halted);
    assert!(matches!(begin(world, "mw2").await, Begin::Halted(_)));
    let answer = world.ask(&for_rollout("mw3", &rollout(1)), NOW).await;
    assert!(matches!(&answer, Answer::Refused(why) if why.kind == RefusalKind::Halted), "{answer:?}");
    let scope = "rollout/php@1".parse().expect("a scope");
    assert!(matches!(world.act(Act::Resume { scope }).await, Done::Did { .. }));
    assert_eq!(begin(world, "mw2").await, Begin::Go { generation: Some(1) });
}

pub(super) async fn an_aborted_one_wants_nothing_more(world: &mut World) {
    world.slots("app", 1).await;
    world.join("mw1", &["php"]).await;
    world.announce(|_| {}).await;
    world.restarts("mw1", &rollout(1)).await;
    world.renew("mw1").await;
    world.act(Act::Abort { rollout: rollout(1), reason: "no".into() }).await;
    assert_eq!(state(world, 1).await, RolloutState::Aborted);
    assert_ne!(begin(world, "mw1").await, Begin::Go { generation: Some(1) });
    assert_eq!(owed(world, "mw1").await, [] as [&str; 0]);
}

pub(super) async fn a_newer_one_takes_the_place_of_an_older_one(world: &mut World) {
    world.slots("app", 1).await;
    world.join("mw1", &["php"]).await;
    world.announce(|_| {}).await;
    assert!(matches!(world.announce(|_| {}).await, Done::UnderWay { .. }));
    let done = world.announce(|announce| announce.supersede = true).await;
    assert_eq!(done, Done::Announced { rollout: rollout(2), targets: 1 });
    assert_eq!(state(world, 1).await, RolloutState::Superseded);
    assert_eq!(owed(world, "mw1").await, ["php@2"]);
    // Whoever restarts for the older one has restarted for the newest.
    world.restarts("mw1", &rollout(2)).await;
    world.renew("mw1").await;
    assert_eq!(begin(world, "mw1").await, Begin::Go { generation: Some(2) });
}

pub(super) async fn only_a_part_of_the_fleet_owes_it(world: &mut World) {
    for host in ["mw1", "mw2"] {
        world.join(host, &["php"]).await;
    }
    let only = vec!["host/mw2".parse().expect("a scope")];
    let done = world.announce(|announce| announce.only = only).await;
    assert_eq!(done, Done::Announced { rollout: rollout(1), targets: 1 });
    assert_eq!(owed(world, "mw1").await, [] as [&str; 0]);
    assert_eq!(owed(world, "mw2").await, ["php@1"]);
}

pub(super) async fn a_second_worker_of_a_name_is_refused(world: &mut World) {
    world.join("mw1", &["php"]).await;
    let other = model::request::Join { session: "other".parse().expect("an id"), ..join("mw1", &["php"]) };
    let joined = soon(world.remote().join(&other, None, NOW)).await.expect("an answer");
    assert!(matches!(joined, Joined::Duplicate { .. }), "{joined:?}");
}

pub(super) async fn a_deploy_for_nobody_is_refused(world: &mut World) {
    assert!(matches!(world.announce(|_| {}).await, Done::ForNobody { .. }));
    assert!(soon(world.remote().rollouts(&Selection::default())).await.expect("rollouts").is_empty());
}

pub(super) async fn events_tell_what_happens(world: &mut World) {
    let mut events = soon(world.remote().events(None, None)).await.expect("events");
    let first = soon(events.next()).await.expect("an event");
    assert!(matches!(first, Event::Reset { .. }), "{first:?}");
    world.slots("app", 1).await;
    let second = soon(events.next()).await.expect("an event");
    assert!(matches!(second, Event::Changed { id, .. } if id == first.id() + 1), "{second:?}");
}
