//! The queue: in the order of tickets, told at once, and nobody who is silent holds it up.

use super::world::{HOLD, NOW, World, ask, granted, soon, token};
use coordinator::Coordinator as _;
use model::request::{Answer, Ask, Ending, RefusalKind};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

async fn waits(world: &World, name: &str) -> JoinHandle<Answer> {
    let (client, ask) = (world.client().await, ask(name, &["app"]));
    let waiting = tokio::spawn(async move { client.ask(&ask, HOLD).await.expect("an answer") });
    world.listens(name, true).await;
    waiting
}

pub(super) async fn turns_come_in_the_order_of_tickets(world: &mut World) {
    world.slots("app", 1).await;
    let mut last = token(&world.granted("a", &["app"]).await, "app");
    let mut waiting = Vec::new();
    for name in ["b", "c", "d"] {
        waiting.push((name, waits(world, name).await));
    }
    let mut holder = "a";
    for (name, waiting) in waiting {
        world.settle(holder, Ending::Released).await;
        let next = granted(soon(waiting).await.expect("no panic"));
        assert_eq!(next.lease.holder.as_str(), name);
        assert!(token(&next, "app") > last, "tokens grow");
        (holder, last) = (name, token(&next, "app"));
        world.renew(name).await;
    }
}

pub(super) async fn a_waiter_that_goes_away_loses_its_turn_and_not_its_ticket(world: &mut World) {
    world.slots("app", 1).await;
    world.granted("a", &["app"]).await;
    let gone = waits(world, "b").await;
    let next = waits(world, "c").await;
    gone.abort();
    world.listens("b", false).await;
    world.settle("a", Ending::Released).await;
    granted(soon(next).await.expect("no panic"));
    // It is back, and still before whoever came after it.
    let last = waits(world, "d").await;
    let back = waits(world, "b").await;
    world.settle("c", Ending::Released).await;
    granted(soon(back).await.expect("no panic"));
    last.abort();
}

pub(super) async fn the_next_is_told_at_once(world: &mut World) {
    world.slots("app", 1).await;
    world.granted("a", &["app"]).await;
    let next = waits(world, "b").await;
    let start = Instant::now();
    world.settle("a", Ending::Released).await;
    granted(soon(next).await.expect("no panic"));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}: it was not told, but looked", start.elapsed());
}

pub(super) async fn a_wait_ends_when_it_is_over(world: &mut World) {
    world.slots("app", 1).await;
    world.granted("a", &["app"]).await;
    let impatient = Ask { wait_ms: Some(300), ..ask("b", &["app"]) };
    let answer = world.ask(&impatient, HOLD).await;
    let Answer::Refused(why) = answer else { panic!("{answer:?}") };
    assert_eq!((why.kind, why.holders[0].holder.as_str()), (RefusalKind::TimedOut, "a"));
}

pub(super) async fn whoever_wants_other_pools_goes_past(world: &mut World) {
    world.slots("app", 1).await;
    world.slots("db", 1).await;
    world.granted("a", &["app"]).await;
    assert!(matches!(world.ask(&ask("b", &["app"]), NOW).await, Answer::Queued(_)));
    world.granted("c", &["db"]).await;
}
