//! Whoever decides is killed: what was answered stays, and who waits goes on. A dead steward's seat is empty some seconds later.

use super::world::{HOLD, NOW, World, ask, granted, rollout, soon, token};
use coordinator::Coordinator as _;
use model::lease::LeaseState;
use model::read::Selection;
use model::request::{Act, Answer, Ending, Own};
use std::time::{Duration, Instant};

pub(super) async fn what_was_answered_is_there_after_a_crash(world: &mut World) {
    world.slots("app", 1).await;
    world.join("mw1", &["php"]).await;
    world.announce(|_| {}).await;
    let lease = world.granted("a", &["app"]).await.lease;
    world.renew("a").await;
    assert!(matches!(world.ask(&ask("b", &["app"]), NOW).await, Answer::Queued(_)));
    world.act(Act::Pause { scope: "host/x".parse().expect("a scope"), reason: "x".into(), for_ms: 60_000 }).await;
    world.crash().await;
    assert!(matches!(world.renew("a").await, Own::Held { .. }));
    let row = world.leases().await.remove(0).lease;
    assert_eq!((row.state, row.pools, row.claim), (LeaseState::Held, lease.pools, lease.claim));
    let client = world.remote();
    let queue = soon(client.leases(&Selection::default())).await.expect("leases").queue;
    assert_eq!(queue[0].holder.as_str(), "b");
    assert_eq!(soon(client.pauses()).await.expect("pauses")[0].scope.to_string(), "host/x");
    assert!(soon(client.rollout(&rollout(1))).await.expect("an answer").is_some());
    assert_eq!(soon(client.pools(&Selection::default())).await.expect("pools").rows[0].slots, 1);
    assert_eq!(world.join("mw1", &["php"]).await.owed[0].rollout, rollout(1));
}

pub(super) async fn tokens_grow_over_a_crash(world: &mut World) {
    world.slots("app", 1).await;
    let before = token(&world.granted("a", &["app"]).await, "app");
    world.settle("a", Ending::Released).await;
    world.crash().await;
    assert!(token(&world.granted("b", &["app"]).await, "app") > before);
}

pub(super) async fn a_held_call_goes_on_after_a_crash(world: &mut World) {
    world.slots("app", 1).await;
    world.granted("a", &["app"]).await;
    world.renew("a").await;
    let client = world.client().await;
    let waiting = tokio::spawn(async move {
        let start = Instant::now();
        loop {
            // As workers do: what has no answer is asked again, under the same claim.
            match client.ask(&ask("b", &["app"]), HOLD).await {
                Ok(Answer::Queued(_)) => {}
                Ok(answer) => return answer,
                Err(error) => assert!(error.retryable() && start.elapsed() < Duration::from_secs(60), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    world.listens("b", true).await;
    world.crash().await;
    world.settle("a", Ending::Released).await;
    let next =
        granted(tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("in time").expect("no panic"));
    assert_eq!(next.lease.holder.as_str(), "b");
}
