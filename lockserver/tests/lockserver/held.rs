//! Calls held open: woken at once, ended in order, and silent when their client goes.

use crate::common::*;
use coordinator::Coordinator;
use model::history::EntryKind;
use model::read::Selection;
use model::request::{Act, Answer, Ask, Ending, Join, Joined, RefusalKind, Renew};
use model::settings::Setting;
use std::time::{Duration, Instant};

const NOW: Duration = Duration::ZERO;
const HOLD: Duration = Duration::from_secs(15);
/// How soon a slot is handed on.
const AT_ONCE: Duration = Duration::from_millis(100);

fn join(host: &str, session: &str) -> Join {
    Join {
        host: host.parse().expect("a host"),
        session: id(session),
        replaces: None,
        services: [("php".parse().expect("a service"), [pool("app")].into())].into(),
        version: "0.1.0".into(),
        metrics: None,
        sightings: Vec::new(),
        looked_ms: None,
        highest: Default::default(),
        trouble: String::new(),
        patience_ms: 0,
    }
}

/// An ask that is held, once it stands in the queue.
async fn held(server: &Server, name: &'static str) -> tokio::task::JoinHandle<Answer> {
    held_for(server, name, &["app"]).await
}

async fn held_for(
    server: &Server,
    name: &'static str,
    pools: &'static [&'static str],
) -> tokio::task::JoinHandle<Answer> {
    let client = server.client();
    let task = tokio::spawn(async move { client.ask(&ask(name, pools), HOLD).await.expect("an answer") });
    let client = server.client();
    until("the waiter to stand in the queue", || async {
        let leases = client.leases(&Selection::default()).await.expect("leases");
        leases.queue.iter().any(|row| row.holder.as_str() == name && row.listens)
    })
    .await;
    task
}

#[tokio::test]
async fn a_freed_slot_is_taken_at_once_in_order_of_arrival() {
    let server = Server::on(&Platter::new(0)).await;
    let client = server.client();
    slots(&client, "app", 1).await;
    granted(client.ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    let (b, c) = (held(&server, "b").await, held(&server, "c").await);
    for (from, to, next) in [("a", b, "b"), ("b", c, "c")] {
        let start = Instant::now();
        client.settle(&settle(from, Ending::Released)).await.expect("an answer");
        let lease = granted(soon("the grant", to).await.expect("no panic")).lease;
        let took = start.elapsed();
        assert_eq!(lease.holder, holder(next));
        assert!(took < AT_ONCE, "{next} took over after {took:?}");
    }
    server.stop().await.expect("a clean end");
}

/// A counter, nothing when it is not there yet.
async fn counted(server: &Server, name: &str) -> u64 {
    let text = server.request("GET", "/metrics", "").await.1;
    let mut lines = text.as_str().expect("text").lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or("0");
    value.parse().expect("a number")
}

async fn commits(server: &Server) -> u64 {
    counted(server, "stagger_commits_total").await
}

#[tokio::test]
async fn a_slot_is_given_back_and_handed_on_in_one_commit() {
    let server = Server::on(&Platter::new(20)).await;
    let client = server.client();
    slots(&client, "app", 1).await;
    granted(client.ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    let (b, c) = (held(&server, "b").await, held(&server, "c").await);
    for (from, to) in [("a", b), ("b", c)] {
        let before = commits(&server).await;
        client.settle(&settle(from, Ending::Released)).await.expect("an answer");
        granted(soon("the grant", to).await.expect("no panic"));
        assert_eq!(commits(&server).await - before, 1, "{from}'s end and the grant after it are written together");
    }
}

#[tokio::test]
async fn several_slots_that_are_freed_at_once_are_handed_on_at_once() {
    let server = Server::on(&Platter::new(20)).await;
    let client = server.client();
    slots(&client, "app", 1).await;
    slots(&client, "rack", 1).await;
    granted(client.ask(&ask("a", &["app", "rack"]), NOW).await.expect("an answer"));
    let b = held(&server, "b").await;
    let c = {
        let client = server.client();
        tokio::spawn(async move { client.ask(&ask("c", &["rack"]), HOLD).await.expect("an answer") })
    };
    until("both to stand in the queue", || async {
        client.leases(&Selection::default()).await.expect("leases").queue.len() == 2
    })
    .await;
    let before = commits(&server).await;
    client.settle(&settle("a", Ending::Released)).await.expect("an answer");
    granted(soon("the one grant", b).await.expect("no panic"));
    granted(soon("the other grant", c).await.expect("no panic"));
    assert_eq!(commits(&server).await - before, 1);
}

#[tokio::test]
async fn more_slots_are_taken_at_once_with_the_change_that_made_them() {
    let platter = Platter::new(0);
    let server = Server::on(&platter).await;
    let client = server.client();
    slots(&client, "app", 1).await;
    granted(client.ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    let (b, c, d) = (held(&server, "b").await, held(&server, "c").await, held(&server, "d").await);
    let before = commits(&server).await;
    platter.slow(20);
    slots(&client, "app", 3).await;
    granted(soon("one grant", b).await.expect("no panic"));
    granted(soon("the other grant", c).await.expect("no panic"));
    assert_eq!(commits(&server).await - before, 1);
    assert!(!d.is_finished());
}

#[tokio::test]
async fn whoever_stood_behind_a_waiter_goes_at_once_when_that_can_go_no_longer() {
    let server = Server::on(&Platter::new(0)).await;
    let client = server.client();
    for name in ["app", "rack"] {
        slots(&client, name, 1).await;
    }
    granted(client.ask(&ask("x", &["app"]), NOW).await.expect("an answer"));
    granted(client.ask(&ask("y", &["rack"]), NOW).await.expect("an answer"));
    // First in line, and between two calls.
    let first = Ask { patience_ms: 60_000, ..ask("first", &["app"]) };
    client.ask(&first, NOW).await.expect("an answer");
    let both = held_for(&server, "both", &["app", "rack"]).await;
    let behind = held_for(&server, "behind", &["rack"]).await;
    client.settle(&settle("x", Ending::Released)).await.expect("an answer");
    client.settle(&settle("y", Ending::Released)).await.expect("an answer");
    assert!(!both.is_finished() && !behind.is_finished());
    let start = Instant::now();
    granted(client.ask(&first, NOW).await.expect("an answer"));
    granted(soon("the grant", behind).await.expect("no panic"));
    assert!(start.elapsed() < AT_ONCE, "it took {:?}", start.elapsed());
    assert!(!both.is_finished());
}

#[tokio::test]
async fn a_head_whose_client_goes_away_holds_nobody_up() {
    let server = Server::on(&Platter::new(0)).await;
    let client = server.client();
    slots(&client, "app", 1).await;
    granted(client.ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    let (b, c) = (held(&server, "b").await, held(&server, "c").await);
    b.abort();
    until("the head to be known as silent", || async {
        let leases = client.leases(&Selection::default()).await.expect("leases");
        leases.queue.iter().any(|row| row.holder == holder("b") && !row.listens)
    })
    .await;
    let start = Instant::now();
    client.settle(&settle("a", Ending::Released)).await.expect("an answer");
    let lease = granted(soon("the grant", c).await.expect("no panic")).lease;
    assert_eq!(lease.holder, holder("c"));
    assert!(start.elapsed() < AT_ONCE, "c took over after {:?}", start.elapsed());
    let queue = client.leases(&Selection::default()).await.expect("leases").queue;
    assert_eq!(queue[0].holder, holder("b"), "the silent one keeps its ticket");
}

#[tokio::test]
async fn a_call_that_ends_while_its_grant_is_written_blocks_nobody() {
    let platter = Platter::new(0);
    let server = Server::on(&platter).await;
    let client = server.client();
    slots(&client, "app", 1).await;
    granted(client.ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    let (b, c) = (held(&server, "b").await, held(&server, "c").await);
    platter.slow(1_500);
    let settled = {
        let client = server.client();
        tokio::spawn(async move { client.settle(&settle("a", Ending::Released)).await.expect("an answer") })
    };
    until("b to be granted", || async { counted(&server, r#"stagger_lease_grants_total{pool="app"}"#).await == 2 })
        .await;
    b.abort();
    let lease = granted(soon("the grant", c).await.expect("no panic")).lease;
    assert_eq!(lease.holder, holder("c"));
    soon("the first end", settled).await.expect("no panic");
    let leases = client.leases(&Selection::default()).await.expect("leases");
    assert_eq!((leases.leases.len(), leases.queue[0].holder.as_str()), (1, "b"), "b keeps its place");
    let history = client.history(&Selection::default()).await.expect("history").rows;
    assert!(history.iter().any(|entry| entry.kind == EntryKind::Withdrawn), "{history:?}");
}

#[tokio::test]
async fn a_waiter_that_froze_is_granted_for_no_longer_than_a_time_to_live() {
    let server = Server::on(&Platter::new(0)).await;
    let client = server.client();
    slots(&client, "app", 1).await;
    let scope = "pool/app".parse().expect("a scope");
    do_it(&client, Act::Set { scope, setting: Setting::Ttl(500), reason: "test".into(), for_ms: None }).await;
    granted(client.ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    // It gets its answer, as far as anyone can tell, and is never heard of.
    let (frozen, c) = (held(&server, "frozen").await, held(&server, "c").await);
    client.settle(&settle("a", Ending::Released)).await.expect("an answer");
    granted(soon("the grant", frozen).await.expect("no panic"));
    let lease = granted(soon("the next grant", c).await.expect("no panic")).lease;
    assert_eq!(lease.holder, holder("c"));
}

#[tokio::test]
async fn a_claim_that_is_settled_while_its_ask_is_held_is_granted_no_more() {
    let server = Server::on(&Platter::new(0)).await;
    let client = server.client();
    slots(&client, "app", 1).await;
    granted(client.ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    let b = held(&server, "b").await;
    client.settle(&settle("b", Ending::Cancelled)).await.expect("an answer");
    // The held call ends, and whatever wakes waiters brings its ticket back no more.
    let answer = soon("the held call to end", b).await.expect("no panic");
    assert!(matches!(answer, Answer::Queued(_)), "{answer:?}");
    slots(&client, "app", 2).await;
    client.settle(&settle("a", Ending::Released)).await.expect("an answer");
    let leases = client.leases(&Selection::default()).await.expect("leases");
    assert!(leases.queue.is_empty() && leases.leases.is_empty(), "{leases:?}");
}

#[tokio::test]
async fn the_same_ask_again_takes_the_place_of_the_first() {
    let server = Server::on(&Platter::new(0)).await;
    let client = server.client();
    slots(&client, "app", 1).await;
    granted(client.ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    let first = held(&server, "b").await;
    let second = {
        let client = server.client();
        tokio::spawn(async move { client.ask(&ask("b", &["app"]), HOLD).await.expect("an answer") })
    };
    let answer = soon("the first to be answered", first).await.expect("no panic");
    assert!(matches!(answer, Answer::Queued(_)), "{answer:?}");
    client.settle(&settle("a", Ending::Released)).await.expect("an answer");
    granted(soon("the grant", second).await.expect("no panic"));
}

#[tokio::test]
async fn a_wait_that_is_over_is_told_before_the_hold_is() {
    let server = Server::on(&Platter::new(0)).await;
    let client = server.client();
    slots(&client, "app", 1).await;
    granted(client.ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    let mut impatient = ask("b", &["app"]);
    impatient.wait_ms = Some(300);
    let start = Instant::now();
    let answer = client.ask(&impatient, HOLD).await.expect("an answer");
    let Answer::Refused(why) = answer else { panic!("{answer:?}") };
    assert_eq!((why.kind, why.holders[0].holder.as_str()), (RefusalKind::TimedOut, "a"));
    assert!(start.elapsed() >= Duration::from_millis(300) && start.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_held_ask_is_answered_when_the_hold_is_over() {
    let server = Server::on(&Platter::new(0)).await;
    let client = server.client();
    slots(&client, "app", 1).await;
    granted(client.ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    let answer = client.ask(&ask("b", &["app"]), Duration::from_millis(200)).await.expect("an answer");
    assert!(matches!(&answer, Answer::Queued(queued) if queued.place == 1), "{answer:?}");
    let queue = client.leases(&Selection::default()).await.expect("leases").queue;
    assert!(queue[0].listens, "it is expected to ask again");
}

#[tokio::test]
async fn time_alone_hands_a_slot_on() {
    let server = Server::on(&Platter::new(0)).await;
    let client = server.client();
    slots(&client, "app", 1).await;
    for setting in [Setting::Ttl(500), Setting::LostAfter(Some(0))] {
        let scope = "pool/app".parse().expect("a scope");
        do_it(&client, Act::Set { scope, setting, reason: "test".into(), for_ms: None }).await;
    }
    granted(client.ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    let renew = Renew { holder: holder("a"), claim: id("c-a"), step: None, note: String::new() };
    client.renew(&renew).await.expect("an answer");
    let start = Instant::now();
    let b = held(&server, "b").await;
    let lease = granted(soon("the grant", b).await.expect("no panic")).lease;
    assert_eq!(lease.holder, holder("b"));
    assert!(start.elapsed() < Duration::from_secs(3), "it took {:?}", start.elapsed());
    let metrics = server.request("GET", "/metrics", "").await.1;
    let metrics = metrics.as_str().expect("text");
    assert!(metrics.contains("stagger_lease_losses_total{pool=\"app\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_worker_hears_at_once_of_what_it_owes() {
    let server = Server::on(&Platter::new(0)).await;
    let client = server.client();
    let known = client.join(&join("mw1", "s1"), Some(&[]), NOW).await.expect("an answer");
    assert!(matches!(known, Joined::Member(_)));
    let worker = {
        let client = server.client();
        tokio::spawn(async move { client.join(&join("mw1", "s1"), Some(&[]), HOLD).await.expect("an answer") })
    };
    let held = |metrics: &str| metrics.contains("stagger_held_calls{call=\"join\"} 1");
    until("the join to be held", || async {
        held(server.request("GET", "/metrics", "").await.1.as_str().expect("text"))
    })
    .await;
    let body = r#"{"by":"me","service":"php","message":"go"}"#;
    let start = Instant::now();
    let (status, answer) = server.request("POST", "/v1/rollouts", body).await;
    assert_eq!((status, &answer["announced"]["rollout"]), (200, &"php@1".into()));
    let Joined::Member(welcome) = soon("the news", worker).await.expect("no panic") else { panic!("no member") };
    assert_eq!(welcome.owed[0].rollout.to_string(), "php@1");
    assert!(start.elapsed() < AT_ONCE, "it took {:?}", start.elapsed());
    // Knowing it, the worker is left alone until the hold is over.
    let seen = [welcome.owed[0].rollout.clone()];
    let start = Instant::now();
    client.join(&join("mw1", "s1"), Some(&seen), Duration::from_millis(300)).await.expect("an answer");
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_worker_whose_connection_ends_makes_room_for_another() {
    let server = Server::on(&Platter::new(0)).await;
    let client = server.client();
    let worker = {
        let client = server.client();
        tokio::spawn(async move { client.join(&join("mw1", "s1"), Some(&[]), HOLD).await })
    };
    until("the worker to be known", || async {
        !client.members(&Selection::default()).await.expect("members").rows.is_empty()
    })
    .await;
    let other = client.join(&join("mw1", "s2"), None, NOW).await.expect("an answer");
    assert!(matches!(other, Joined::Duplicate { .. }), "{other:?}");
    worker.abort();
    until("another session to be let in", || async {
        matches!(client.join(&join("mw1", "s2"), None, NOW).await.expect("an answer"), Joined::Member(_))
    })
    .await;
}

#[tokio::test]
async fn stopping_answers_what_is_held_and_refuses_what_comes() {
    let platter = Platter::new(0);
    let server = Server::on(&platter).await;
    let client = server.client();
    slots(&client, "app", 1).await;
    granted(client.ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    let b = held(&server, "b").await;
    let worker = {
        let client = server.client();
        tokio::spawn(async move { client.join(&join("mw1", "s1"), Some(&[]), HOLD).await.expect("an answer") })
    };
    let client = server.client();
    until("the worker to be known", || async {
        !client.members(&Selection::default()).await.expect("members").rows.is_empty()
    })
    .await;
    let start = Instant::now();
    server.stop().await.expect("a clean end");
    assert!(start.elapsed() < Duration::from_secs(3), "it took {:?}", start.elapsed());
    let answer = soon("the waiter's answer", b).await.expect("no panic");
    assert!(matches!(answer, Answer::Queued(_)), "{answer:?}");
    assert!(matches!(soon("the worker's answer", worker).await.expect("no panic"), Joined::Member(_)));

    let server = Server::on(&platter).await;
    let leases = server.client().leases(&Selection::default()).await.expect("leases");
    assert_eq!((leases.leases[0].lease.holder.as_str(), leases.queue[0].holder.as_str()), ("a", "b"));
}
