//! What is told as it happens.

use crate::common::*;
use coordinator::Coordinator;
use coordinator::events::Event;
use coordinator::remote::Events;
use model::change::Change;
use model::request::{Ending, Renew};
use model::sequence::Step;
use std::time::Duration;

const NOW: Duration = Duration::ZERO;

async fn next(events: &mut Events) -> Event {
    soon("an event", events.next()).await.expect("an event")
}

/// The next event whose change has this name.
async fn next_named(events: &mut Events, name: &str) -> (u64, Change) {
    loop {
        if let Event::Changed { id, change } = next(events).await {
            let json = serde_json::to_value(&change).expect("JSON");
            if json.get(name).is_some() {
                return (id, *change);
            }
        }
    }
}

#[tokio::test]
async fn a_watcher_sees_every_change_in_order_and_goes_on_where_it_was() {
    let server = Server::on(&Platter::new(0)).await;
    let client = server.client();
    let mut events = client.events(None, None).await.expect("events");
    assert!(matches!(next(&mut events).await, Event::Reset { .. }), "a new watcher reads first");
    granted(client.ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    let (granted_at, change) = next_named(&mut events, "lease_granted").await;
    assert!(matches!(change, Change::LeaseGranted(lease) if lease.holder == holder("a")));

    let renew = |step| Renew { holder: holder("a"), claim: id("c-a"), step, note: String::new() };
    client.renew(&renew(Some(Step::Drain))).await.expect("an answer");
    client.renew(&renew(Some(Step::Drain))).await.expect("an answer");
    client.settle(&settle("a", Ending::Released)).await.expect("an answer");
    let (renewed_at, change) = next_named(&mut events, "lease_renewed").await;
    assert!(matches!(change, Change::LeaseRenewed(lease) if lease.step == Some(Step::Drain)));
    let Event::Changed { id: ended_at, change } = next(&mut events).await else { panic!("a reset") };
    assert_eq!(*change, Change::LeaseEnded(holder("a")), "a renewal that says nothing new is not told");
    drop(events);

    let mut again = client.events(None, Some(granted_at)).await.expect("events");
    assert_eq!(next(&mut again).await.id(), renewed_at);
    assert_eq!(next(&mut again).await.id(), ended_at);
}

#[tokio::test]
async fn a_watcher_of_a_scope_sees_only_that() {
    let server = Server::on(&Platter::new(0)).await;
    let client = server.client();
    for pool in ["one", "two"] {
        slots(&client, pool, 5).await;
    }
    let scope = "pool/one".parse().expect("a scope");
    let mut events = client.events(Some(&scope), None).await.expect("events");
    let Event::Reset { id: begin } = next(&mut events).await else { panic!("no reset") };
    for (name, pool) in [("a", "two"), ("b", "one"), ("c", "two"), ("d", "one")] {
        granted(client.ask(&ask(name, &[pool]), NOW).await.expect("an answer"));
    }
    for name in ["b", "d"] {
        let Event::Changed { change, .. } = next(&mut events).await else { panic!("a reset") };
        assert!(matches!(*change, Change::TokenUsed { .. }), "{change:?}");
        let Event::Changed { change, .. } = next(&mut events).await else { panic!("a reset") };
        assert!(matches!(*change, Change::LeaseGranted(lease) if lease.holder == holder(name)));
    }
    client.settle(&settle("a", Ending::Released)).await.expect("an answer");
    client.settle(&settle("b", Ending::Released)).await.expect("an answer");
    let Event::Changed { change, .. } = next(&mut events).await else { panic!("a reset") };
    assert_eq!(*change, Change::LeaseEnded(holder("b")), "what ended is found by what it was");
    let mut all = client.events(Some(&"all".parse().expect("a scope")), Some(begin)).await.expect("events");
    assert!(matches!(next(&mut all).await, Event::Changed { .. }));
}

#[tokio::test]
async fn what_is_gone_is_said_to_be_gone() {
    let platter = Platter::new(0);
    let server = Server::on(&platter).await;
    let client = server.client();
    granted(client.ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    let mut events = client.events(None, None).await.expect("events");
    let last = next(&mut events).await.id();
    server.stop().await.expect("a clean end");
    assert!(soon("the stream to end", events.next()).await.is_err());

    let server = Server::on(&platter).await;
    let client = server.client();
    let mut events = client.events(None, Some(last)).await.expect("events");
    let Event::Reset { id } = next(&mut events).await else { panic!("no reset") };
    assert!(id > last, "numbers grow across restarts: {id} after {last}");
    let mut events = client.events(None, Some(u64::MAX)).await.expect("events");
    assert!(matches!(next(&mut events).await, Event::Reset { .. }));
}

#[tokio::test]
async fn nothing_is_told_before_it_is_on_disk() {
    let platter = Platter::new(0);
    let server = Server::on(&platter).await;
    let client = server.client();
    let mut events = client.events(None, None).await.expect("events");
    next(&mut events).await;
    platter.fill();
    client.ask(&ask("a", &["app"]), NOW).await.expect_err("the disk is full");
    let told = tokio::time::timeout(Duration::from_millis(200), events.next()).await;
    assert!(told.is_err(), "{told:?}");
}
