//! What people change, and what they see.

use super::world::{NOW, World, admin, ask, soon, until};
use coordinator::Coordinator as _;
use model::names::Scope;
use model::read::Selection;
use model::request::{Act, Answer, Begin, BeginAsk, Done, Ending, RefusalKind};
use model::settings::{Setting, SettingKind, Slots};

fn scope(text: &str) -> Scope {
    text.parse().expect("a scope")
}

fn pause(of: &str, for_ms: u64) -> Act {
    Act::Pause { scope: scope(of), reason: "maintenance".into(), for_ms }
}

pub(super) async fn a_pause_stops_grants_and_begins_until_it_ends(world: &mut World) {
    world.slots("app", 2).await;
    world.granted("a", &["app"]).await;
    world.renew("a").await;
    world.act(pause("pool/app", 60_000)).await;
    let answer = world.ask(&ask("b", &["app"]), NOW).await;
    assert!(matches!(&answer, Answer::Queued(queued) if queued.why.kind == RefusalKind::Paused), "{answer:?}");
    let begin = BeginAsk { holder: "a".parse().expect("a holder"), claim: "c-a".parse().expect("an id"), away_ms: 0 };
    let begun = soon(world.remote().begin(&begin)).await.expect("an answer");
    assert!(matches!(&begun, Begin::Paused(why) if why.contains("maintenance")), "{begun:?}");
    assert!(matches!(world.act(Act::Resume { scope: scope("pool/app") }).await, Done::Did { .. }));
    assert_eq!(soon(world.remote().begin(&begin)).await, Ok(Begin::Go { generation: None }));
    world.granted("b", &["app"]).await;
}

pub(super) async fn a_pause_ends_by_itself(world: &mut World) {
    world.slots("app", 1).await;
    world.act(pause("all", 500)).await;
    assert!(matches!(world.ask(&ask("a", &["app"]), NOW).await, Answer::Queued(_)));
    until(async || matches!(world.ask(&ask("a", &["app"]), NOW).await, Answer::Granted(_))).await;
    assert!(soon(world.remote().pauses()).await.expect("pauses").is_empty());
}

pub(super) async fn a_live_holder_is_released_only_when_that_is_said(world: &mut World) {
    world.slots("app", 1).await;
    world.granted("a", &["app"]).await;
    world.renew("a").await;
    let release =
        |live| Act::Release { holder: "a".parse().expect("a holder"), reason: "x".into(), live, forget: false };
    assert!(matches!(world.act(release(false)).await, Done::Refused { .. }));
    assert!(matches!(world.act(release(true)).await, Done::Did { .. }));
    assert!(world.leases().await.is_empty());
}

pub(super) async fn slots_hold_for_the_next_grant(world: &mut World) {
    world.slots("app", 2).await;
    world.granted("a", &["app"]).await;
    world.granted("b", &["app"]).await;
    world.slots("app", 1).await;
    world.settle("a", Ending::Released).await;
    assert!(matches!(world.ask(&ask("c", &["app"]), NOW).await, Answer::Queued(_)), "one is out, and one may be");
    world.slots("app", 2).await;
    world.granted("c", &["app"]).await;
}

pub(super) async fn a_change_that_is_sent_again_happens_once(world: &mut World) {
    world.join("mw1", &["php"]).await;
    let announce = model::request::Announce {
        service: "php".parse().expect("a service"),
        message: "once".into(),
        only: vec![],
        always: false,
        supersede: true,
        max_failures: None,
        strict: None,
        expires_ms: None,
    };
    let change = admin(Act::Announce(announce));
    let first = soon(world.remote().admin(&change)).await.expect("an answer");
    assert!(matches!(first, Done::Announced { .. }), "{first:?}");
    assert_eq!(soon(world.remote().admin(&change)).await, Ok(first));
    assert_eq!(soon(world.remote().rollouts(&Selection::default())).await.expect("rollouts").len(), 1);
}

pub(super) async fn a_setting_goes_back(world: &mut World) {
    world.slots("app", 3).await;
    let act = Act::Set {
        scope: scope("pool/app"),
        setting: Setting::Slots(Slots::Count(7)),
        reason: "tonight".into(),
        for_ms: Some(400),
    };
    world.act(act).await;
    let slots = async || {
        let pools = soon(world.remote().pools(&Selection::default())).await.expect("pools").rows;
        pools.iter().find(|row| row.pool.as_str() == "app").map(|row| row.slots)
    };
    assert_eq!(slots().await, Some(7));
    until(async || slots().await == Some(3)).await;
    let unset = Act::Unset { scope: scope("pool/app"), kind: SettingKind::Slots, reason: "back".into() };
    assert!(matches!(world.act(unset).await, Done::Did { .. }));
}

pub(super) async fn what_is_looked_at_agrees_with_what_was_done(world: &mut World) {
    world.slots("app", 1).await;
    world.join("mw1", &["php"]).await;
    world.granted("mw1", &["app"]).await;
    assert!(matches!(world.ask(&ask("b", &["app"]), NOW).await, Answer::Queued(_)));
    world.act(pause("pool/app", 60_000)).await;
    let (client, all) = (world.remote(), Selection::default());
    let leases = soon(client.leases(&all)).await.expect("leases");
    assert_eq!((leases.leases[0].lease.holder.as_str(), leases.queue[0].holder.as_str()), ("mw1", "b"));
    let pools = soon(client.pools(&all)).await.expect("pools").rows;
    assert_eq!((pools[0].held, pools[0].slots, pools[0].members, pools[0].token), (1, 1, 1, 1));
    assert_eq!(soon(client.members(&all)).await.expect("members").rows[0].host.as_str(), "mw1");
    assert_eq!(soon(client.pauses()).await.expect("pauses")[0].reason, "maintenance");
    let history = soon(client.history(&all)).await.expect("history").rows;
    assert!(history.iter().any(|entry| entry.text.contains("maintenance")), "{history:?}");
    let why = soon(client.why(&scope("host/b"))).await.expect("why");
    assert!(format!("{why:?}").contains("maintenance"), "{why:?}");
    let none = "php@9".parse().expect("a rollout");
    assert_eq!(soon(client.rollout(&none)).await, Ok(None));
}
