//! A domain whose records lie in a store that a fleet shares: decided on by whoever sits, and the same from outside.

use crate::common::*;
use coordinator::mailbox::Mailbox;
use coordinator::remote::Remote;
use coordinator::store::memory::MemoryServer;
use coordinator::store::{Seat, Store};
use coordinator::{Coordinator, Error};
use lockserver::steward;
use model::lease::LeaseState;
use model::read::Selection;
use model::request::{Act, Answer, Begin, BeginAsk, Ending, Own, Renew};
use model::settings::Setting;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const NOW: Duration = Duration::ZERO;
const HOLD: Duration = Duration::from_secs(15);

/// One process of the fleet: it calls through the store, and sits when nobody else does.
struct Process {
    client: Remote,
    store: Arc<dyn Store>,
    mailbox: Arc<Mailbox>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Process {
    fn start(server: &MemoryServer) -> Process {
        let store: Arc<dyn Store> = Arc::new(server.open("default"));
        let mailbox = Mailbox::new(Arc::clone(&store)).expect("a mailbox");
        let client = Remote::through(Arc::clone(&mailbox));
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(steward::attend(Arc::clone(&store), mailbox.vacancy(), shutdown));
        Process { client, store, mailbox, stop: Some(stop), task }
    }

    /// Has it sit, with this many slots in the pool.
    async fn sitting(server: &MemoryServer, count: u32) -> Process {
        let process = Process::start(server);
        slots(&process.client, "app", count).await;
        process
    }

    /// Ends it in order.
    async fn leave(mut self) {
        drop(self.stop.take());
        soon("it to get up", &mut self.task).await.expect("no panic");
    }

    /// Ends it as kill -9 would: as far as the store can see, it falls silent.
    async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    async fn ask(&self, name: &str, hold: Duration) -> Answer {
        self.client.ask(&ask(name, &["app"]), hold).await.expect("an answer")
    }

    async fn renews(&self, name: &str) -> Own {
        let renew = Renew { holder: holder(name), claim: id(&format!("c-{name}")), step: None, note: String::new() };
        self.client.renew(&renew).await.expect("an answer")
    }

    async fn settles(&self, name: &str) {
        self.client.settle(&settle(name, Ending::Released)).await.expect("an answer");
    }

    async fn state_of(&self, name: &str) -> Option<LeaseState> {
        let leases = self.client.leases(&Selection::default()).await.expect("leases").leases;
        leases.into_iter().find(|row| row.lease.holder == holder(name)).map(|row| row.lease.state)
    }
}

#[tokio::test]
async fn whoever_calls_first_sits_and_answers_everyone() {
    let server = MemoryServer::default();
    let first = Process::sitting(&server, 1).await;
    let (second, third) = (Process::start(&server), Process::start(&server));
    let lease = granted(second.ask("a", NOW).await).lease;
    assert!(matches!(third.ask("b", NOW).await, Answer::Queued(_)));
    assert!(matches!(second.renews("a").await, Own::Held { .. }));
    let begin = BeginAsk { holder: holder("a"), claim: id("c-a"), away_ms: 0 };
    assert!(matches!(second.client.begin(&begin).await.expect("an answer"), Begin::Go { .. }));
    let waiting = {
        let client = third.client.clone();
        tokio::spawn(async move { client.ask(&ask("b", &["app"]), HOLD).await.expect("an answer") })
    };
    until("b to listen", || async {
        let leases = first.client.leases(&Selection::default()).await.expect("leases");
        leases.queue.iter().any(|row| row.holder == holder("b") && row.listens)
    })
    .await;
    let start = Instant::now();
    second.settles("a").await;
    let next = granted(soon("the hand-over", waiting).await.expect("no panic")).lease;
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    assert!(next.pools.values().next() > lease.pools.values().next(), "tokens grow");
    assert_eq!(first.store.seat().await, Ok(Seat::Taken));
}

#[tokio::test]
async fn a_steward_that_gets_up_is_replaced_at_once_and_nothing_is_lost() {
    let server = MemoryServer::default();
    let first = Process::sitting(&server, 1).await;
    let second = Process::start(&server);
    let before = granted(second.ask("a", NOW).await).lease;
    second.renews("a").await;
    let waiting = {
        let client = second.client.clone();
        tokio::spawn(async move { client.ask(&ask("b", &["app"]), HOLD).await.expect("an answer") })
    };
    until("b to wait", || async {
        !second.client.leases(&Selection::default()).await.expect("leases").queue.is_empty()
    })
    .await;
    first.leave().await;
    let start = Instant::now();
    // Whoever waits is told, and need not call anew.
    until("the other one to sit", || async { second.store.seat().await == Ok(Seat::Taken) }).await;
    assert!(matches!(second.renews("a").await, Own::Held { .. }));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(second.state_of("a").await, Some(LeaseState::Held));
    // The call that was held goes on with whoever sits now.
    second.settles("a").await;
    let after = granted(soon("the hand-over", waiting).await.expect("no panic")).lease;
    assert!(after.pools.values().next() > before.pools.values().next(), "tokens grow");
}

#[tokio::test]
async fn a_steward_that_dies_is_replaced_within_seconds() {
    let server = MemoryServer::default();
    let first = Process::sitting(&server, 1).await;
    let second = Process::start(&server);
    granted(second.ask("a", NOW).await);
    second.renews("a").await;
    first.kill().await;
    let start = Instant::now();
    assert!(matches!(second.renews("a").await, Own::Held { .. }), "asked while nobody sits");
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    assert!(matches!(second.ask("b", NOW).await, Answer::Queued(_)), "the slot is still taken");
}

#[tokio::test]
async fn a_holder_that_died_before_it_heard_of_its_grant_holds_up_nobody_for_long() {
    let server = MemoryServer::default();
    let first = Process::sitting(&server, 1).await;
    granted(first.ask("a", NOW).await);
    first.renews("a").await;
    // A process whose answers nobody fetches: it posts, and dies.
    let call = coordinator::store::CallId { caller: id("dead"), number: 1 };
    let body = coordinator::wire::AskBody { ask: ask("dead", &["app"]), hold_ms: 15_000 };
    let posted = coordinator::wire::Posted {
        method: "POST".into(),
        path: "/v1/leases".into(),
        hold_ms: 15_000,
        from: None,
        body: serde_json::to_value(body).expect("JSON"),
    };
    let posted = serde_json::to_vec(&posted).expect("JSON");
    first.store.post(&call, posted, HOLD * 2).await.expect("posted");
    until("the dead one to wait", || async {
        !first.client.leases(&Selection::default()).await.expect("leases").queue.is_empty()
    })
    .await;
    let second = Process::start(&server);
    let waiting = tokio::spawn(async move { (second.ask("b", HOLD).await, second) });
    until("both to wait", || async {
        first.client.leases(&Selection::default()).await.expect("leases").queue.len() == 2
    })
    .await;
    let start = Instant::now();
    first.settles("a").await;
    let (answer, _second) = soon("b's turn", waiting).await.expect("no panic");
    granted(answer);
    let took = start.elapsed();
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(6), "{took:?}");
}

#[tokio::test]
async fn a_caller_that_goes_away_while_it_is_held_loses_its_turn_at_once() {
    let server = MemoryServer::default();
    let first = Process::sitting(&server, 1).await;
    granted(first.ask("a", NOW).await);
    first.renews("a").await;
    let second = Process::start(&server);
    let client = second.client.clone();
    let gone = tokio::spawn(async move { client.ask(&ask("gone", &["app"]), HOLD).await });
    until("it to listen", || async {
        let leases = first.client.leases(&Selection::default()).await.expect("leases");
        leases.queue.iter().any(|row| row.listens)
    })
    .await;
    gone.abort();
    until("it to be silent", || async {
        let leases = first.client.leases(&Selection::default()).await.expect("leases");
        leases.queue.iter().all(|row| !row.listens)
    })
    .await;
    drop(second.mailbox);
}

#[tokio::test]
async fn after_a_fail_over_nothing_is_decided_until_every_unknown_holder_must_have_given_up() {
    let server = MemoryServer::default();
    let first = Process::sitting(&server, 1).await;
    let act = Act::Set {
        scope: "pool/app".parse().expect("a scope"),
        setting: Setting::Ttl(2_000),
        reason: "test".into(),
        for_ms: None,
    };
    do_it(&first.client, act).await;
    granted(first.ask("a", NOW).await);
    server.stop();
    let away = first.client.leases(&Selection::default()).await.expect_err("no answer");
    assert!(away.retryable() && matches!(away, Error::NotApplied { .. } | Error::Unknown { .. }), "{away}");
    server.start();
    // The default time to live is the longest here, and longer than a call waits: nobody is answered before that is over.
    let early = first.client.ask(&ask("b", &["app"]), NOW).await;
    assert!(matches!(early, Err(Error::Unknown { .. })), "{early:?}");
}

#[tokio::test]
async fn a_dead_holder_is_lost_though_nobody_sits_for_longer_than_a_moment() {
    let server = MemoryServer::default();
    let first = Process::sitting(&server, 1).await;
    for setting in [Setting::Ttl(2_000), Setting::LostAfter(Some(1_000))] {
        let scope = "pool/app".parse().expect("a scope");
        do_it(&first.client, Act::Set { scope, setting, reason: "test".into(), for_ms: None }).await;
    }
    granted(first.ask("dead", NOW).await);
    first.renews("dead").await;
    first.leave().await;
    // Commands come and go, each of them steward for a moment.
    let start = Instant::now();
    loop {
        let passing = Process::start(&server);
        let is_held = passing.state_of("dead").await.is_some();
        tokio::time::sleep(Duration::from_millis(100)).await;
        passing.leave().await;
        if !is_held {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "it is never lost");
    }
    assert!(start.elapsed() > Duration::from_millis(2_500), "not before its time: {:?}", start.elapsed());
    let last = Process::start(&server);
    granted(last.ask("next", NOW).await);
}

#[tokio::test]
async fn a_holder_that_renewed_in_time_keeps_its_lease_though_its_steward_died_and_the_next_sat_for_a_moment() {
    let server = MemoryServer::default();
    let first = Process::sitting(&server, 1).await;
    for setting in [Setting::Ttl(2_000), Setting::LostAfter(Some(1_000))] {
        let scope = "pool/app".parse().expect("a scope");
        do_it(&first.client, Act::Set { scope, setting, reason: "test".into(), for_ms: None }).await;
    }
    granted(first.ask("a", NOW).await);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        assert!(matches!(first.renews("a").await, Own::Held { .. }));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // None of these renewals was written; nor is one by the next, which hears nothing of it.
    first.kill().await;
    let passing = Process::start(&server);
    assert_eq!(passing.state_of("a").await, Some(LeaseState::Held));
    passing.leave().await;
    let last = Process::start(&server);
    assert!(matches!(last.ask("b", NOW).await, Answer::Queued(_)), "the slot is taken");
    assert_eq!(last.state_of("a").await, Some(LeaseState::Held));
    assert!(matches!(last.renews("a").await, Own::Held { .. }));
}
