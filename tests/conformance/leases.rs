//! Leases: as many as there are slots, all pools or none, and what becomes of holders that fall silent.

use super::world::{NOW, World, ask, soon, token, until};
use coordinator::Coordinator as _;
use model::lease::{LeaseState, Purpose};
use model::request::{Act, Answer, Ask, Done, Ending, Own, RefusalKind, Settled};
use model::settings::Setting;

pub(super) async fn never_more_than_there_are_slots(world: &mut World) {
    world.slots("app", 3).await;
    let asks = (0..30).map(|number| {
        let (client, ask) = (world.remote().clone(), ask(&format!("h{number}"), &["app"]));
        async move { client.ask(&ask, NOW).await.expect("an answer") }
    });
    let answers = soon(futures_util::future::join_all(asks)).await;
    let granted = answers.iter().filter(|answer| matches!(answer, Answer::Granted(_))).count();
    assert_eq!((granted, world.leases().await.len()), (3, 3));
    let mut tokens: Vec<u64> = (answers.into_iter())
        .filter_map(|answer| if let Answer::Granted(granted) = answer { Some(token(&granted, "app")) } else { None })
        .collect();
    tokens.sort_unstable();
    assert_eq!(tokens, [1, 2, 3]);
}

pub(super) async fn several_pools_are_taken_together_or_not_at_all(world: &mut World) {
    world.slots("app", 1).await;
    world.slots("rack", 1).await;
    world.granted("a", &["rack"]).await;
    assert!(matches!(world.ask(&ask("b", &["app", "rack"]), NOW).await, Answer::Queued(_)));
    assert_eq!(world.leases().await.len(), 1, "not even the free one");
    world.settle("a", Ending::Released).await;
    assert_eq!(world.granted("b", &["app", "rack"]).await.lease.pools.len(), 2);
}

pub(super) async fn the_same_claim_again_is_the_same_lease(world: &mut World) {
    world.slots("app", 2).await;
    let first = world.granted("a", &["app"]).await.lease;
    let again = world.granted("a", &["app"]).await.lease;
    assert_eq!((&again.pools, again.ticket), (&first.pools, first.ticket));
    assert_eq!(world.leases().await.len(), 1);
}

pub(super) async fn another_claim_on_a_taken_name_is_refused(world: &mut World) {
    world.slots("app", 2).await;
    world.granted("a", &["app"]).await;
    let other = Ask { claim: "other".parse().expect("an id"), ..ask("a", &["app"]) };
    let answer = world.ask(&other, NOW).await;
    assert!(matches!(&answer, Answer::Refused(why) if why.kind == RefusalKind::Busy), "{answer:?}");
}

async fn short(world: &World) {
    world.slots("app", 1).await;
    world.set("app", Setting::Ttl(1_000)).await;
    world.set("app", Setting::LostAfter(Some(1_000))).await;
}

pub(super) async fn a_grant_that_nobody_confirms_is_taken_back(world: &mut World) {
    short(world).await;
    world.granted("a", &["app"]).await;
    until(async || world.leases().await.is_empty()).await;
    world.granted("b", &["app"]).await;
}

pub(super) async fn a_holder_that_falls_silent_is_lost_and_then_freed(world: &mut World) {
    short(world).await;
    world.granted("a", &["app"]).await;
    assert!(matches!(world.renew("a").await, Own::Held { ttl_ms: 1_000 }));
    until(async || world.state_of("a").await == Some(LeaseState::Lost)).await;
    // It still counts: what it does nobody knows.
    assert!(matches!(world.ask(&ask("b", &["app"]), NOW).await, Answer::Queued(_)));
    until(async || matches!(world.ask(&ask("b", &["app"]), NOW).await, Answer::Granted(_))).await;
    assert_eq!(world.renew("a").await, Own::Gone);
}

pub(super) async fn a_lost_holder_that_comes_back_in_time_goes_on(world: &mut World) {
    short(world).await;
    world.set("app", Setting::LostAfter(Some(60_000))).await;
    let lease = world.granted("a", &["app"]).await.lease;
    world.renew("a").await;
    until(async || world.state_of("a").await == Some(LeaseState::Lost)).await;
    assert!(matches!(world.renew("a").await, Own::Held { .. }));
    let row = world.leases().await.remove(0).lease;
    assert_eq!((row.state, row.pools), (LeaseState::Held, lease.pools));
}

pub(super) async fn a_settled_lease_is_gone(world: &mut World) {
    world.slots("app", 1).await;
    world.granted("a", &["app"]).await;
    assert_eq!(world.settle("a", Ending::Released).await, Settled::Done);
    assert_eq!(world.settle("a", Ending::Released).await, Settled::Gone);
    assert_eq!(world.renew("a").await, Own::Gone);
    assert!(world.leases().await.is_empty());
}

pub(super) async fn a_failed_host_keeps_its_slot_until_it_is_released(world: &mut World) {
    world.slots("app", 1).await;
    let restart = Ask { purpose: Purpose::Restart("php".parse().expect("a service")), ..ask("a", &["app"]) };
    assert!(matches!(world.ask(&restart, NOW).await, Answer::Granted(_)));
    world.settle("a", Ending::Kept).await;
    assert_eq!(world.state_of("a").await, Some(LeaseState::Failed));
    assert!(matches!(world.ask(&ask("b", &["app"]), NOW).await, Answer::Queued(_)));
    let holder = "a".parse().expect("a holder");
    let done = world.act(Act::Release { holder, reason: "repaired".into(), live: false, forget: false }).await;
    assert!(matches!(done, Done::Did { .. }), "{done:?}");
    world.granted("b", &["app"]).await;
}

pub(super) async fn an_ask_that_cannot_be_is_refused(world: &mut World) {
    let answer = world.ask(&ask("a", &[]), NOW).await;
    assert!(matches!(&answer, Answer::Refused(why) if why.kind == RefusalKind::Invalid), "{answer:?}");
    let patient = Ask { patience_ms: 86_400_000, ..ask("a", &["app"]) };
    let answer = world.ask(&patient, NOW).await;
    assert!(matches!(&answer, Answer::Refused(why) if why.kind == RefusalKind::Invalid), "{answer:?}");
}
