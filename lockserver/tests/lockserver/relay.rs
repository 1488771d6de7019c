//! Doors over a store: they answer as a lock server does, several side by side, and the next one is asked when one is gone.

use crate::common::*;
use coordinator::events::Event;
use coordinator::mailbox::Mailbox;
use coordinator::remote::Remote;
use coordinator::store::Store;
use coordinator::store::memory::MemoryServer;
use coordinator::{Coordinator, Error};
use lockserver::{relay, steward};
use model::read::Selection;
use model::request::{Answer, Ending};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const NOW: Duration = Duration::ZERO;
const HOLD: Duration = Duration::from_secs(15);

/// A door to a domain of a memory store, in whose seat it may sit.
pub(crate) struct Door {
    pub(crate) address: String,
    stop: Option<oneshot::Sender<()>>,
    tasks: [JoinHandle<()>; 2],
}

impl Door {
    pub(crate) async fn open(server: &MemoryServer, domain: &str) -> Door {
        let store: Arc<dyn Store> = Arc::new(server.open(domain));
        let mailbox = Mailbox::new(Arc::clone(&store)).expect("a mailbox");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let attending = tokio::spawn(steward::attend(store, mailbox.vacancy(), std::future::pending()));
        let (stop, stopped) = oneshot::channel::<()>();
        let domain = domain.to_owned();
        let serving = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            relay::run(listener, mailbox, &domain, &lockserver::access::Settings::default(), shutdown)
                .await
                .expect("no fault");
        });
        Door { address, stop: Some(stop), tasks: [attending, serving] }
    }

    pub(crate) fn client(&self) -> Remote {
        Remote::new(&format!("http://{}", self.address)).expect("a client")
    }

    /// Ends it as kill -9 would.
    pub(crate) async fn kill(self) {
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
    }
}

fn listed(doors: &[&Door]) -> Remote {
    let hosts: Vec<_> = doors.iter().map(|door| door.address.as_str()).collect();
    Remote::new(&format!("http://{}", hosts.join(","))).expect("a client")
}

#[tokio::test]
async fn two_doors_show_one_domain() {
    let server = MemoryServer::default();
    let (one, other) = (Door::open(&server, "web").await, Door::open(&server, "web").await);
    slots(&one.client(), "app", 1).await;
    granted(one.client().ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    let client = other.client();
    let waiting = tokio::spawn(async move { client.ask(&ask("b", &["app"]), HOLD).await });
    let reader = one.client();
    until("b to listen", || async {
        reader.leases(&Selection::default()).await.expect("leases").queue.iter().any(|row| row.listens)
    })
    .await;
    other.client().settle(&settle("a", Ending::Released)).await.expect("an answer");
    granted(soon("the hand-over", waiting).await.expect("no panic").expect("an answer"));
    // By its name, too; and no other's.
    let named = Remote::new(&format!("http://{}/web", one.address)).expect("a client");
    assert_eq!(named.leases(&Selection::default()).await.expect("leases").leases.len(), 1);
    let stranger = Remote::new(&format!("http://{}/other", one.address)).expect("a client");
    let refused = stranger.leases(&Selection::default()).await.expect_err("no such domain");
    assert!(matches!(&refused, Error::Refused { kind, .. } if kind == "no_path"), "{refused}");
    // Refusals are the model's own.
    let busy = one.client().ask(&model::request::Ask { claim: id("x"), ..ask("b", &["app"]) }, NOW).await;
    assert!(matches!(busy, Ok(Answer::Refused(_))), "{busy:?}");
}

#[tokio::test]
async fn a_client_that_goes_away_loses_its_turn_at_once() {
    let server = MemoryServer::default();
    let door = Door::open(&server, "web").await;
    slots(&door.client(), "app", 1).await;
    granted(door.client().ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    let client = door.client();
    let waiting = tokio::spawn(async move { client.ask(&ask("b", &["app"]), HOLD).await });
    let reader = door.client();
    let listens = || async {
        reader.leases(&Selection::default()).await.expect("leases").queue.iter().filter(|row| row.listens).count()
    };
    until("b to listen", || async { listens().await == 1 }).await;
    waiting.abort();
    until("b to be silent", || async { listens().await == 0 }).await;
}

#[tokio::test]
async fn events_are_told_through_a_store_and_by_its_doors_and_gone_on_with() {
    let server = MemoryServer::default();
    let door = Door::open(&server, "web").await;
    let mailbox = Mailbox::new(Arc::new(server.open("web"))).expect("a mailbox");
    for client in [door.client(), Remote::through(mailbox)] {
        let mut events = client.events(None, None).await.expect("events");
        let Event::Reset { id } = soon("the first", events.next()).await.expect("an event") else { panic!("no reset") };
        slots(&client, "app", 2).await;
        let Event::Changed { id: seen, .. } = soon("a change", events.next()).await.expect("an event") else {
            panic!("a reset")
        };
        assert_eq!(seen, id + 1);
        drop(events);
        slots(&client, "app", 3).await;
        let mut again = client.events(None, Some(seen)).await.expect("events");
        for number in 1..=3 {
            let next = soon("the next", again.next()).await.expect("an event");
            assert!(matches!(next, Event::Changed { id, .. } if id == seen + number), "{next:?}");
        }
        // What another steward told cannot be gone on with.
        let mut lost = client.events(None, Some(7)).await.expect("events");
        assert!(matches!(soon("a reset", lost.next()).await.expect("an event"), Event::Reset { .. }));
    }
}

#[tokio::test]
async fn the_next_door_is_asked_when_one_is_gone() {
    let server = MemoryServer::default();
    let (one, other) = (Door::open(&server, "web").await, Door::open(&server, "web").await);
    // The steward sits behind the other one, so that only a door is gone.
    slots(&other.client(), "app", 2).await;
    let client = listed(&[&one, &other]);
    granted(client.ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    let mut events = client.events(None, None).await.expect("events");
    let last = soon("the first", events.next()).await.expect("an event").id();
    one.kill().await;
    granted(client.ask(&ask("b", &["app"]), NOW).await.expect("the other one answers"));
    until("the events to go on", || async {
        let Ok(mut events) = client.events(None, Some(last)).await else { return false };
        matches!(events.next().await, Ok(Event::Changed { id, .. }) if id == last + 1)
    })
    .await;
    other.kill().await;
    let error = client.leases(&Selection::default()).await.expect_err("nobody is there");
    assert!(matches!(&error, Error::NotApplied { retry: true, .. }), "{error}");
}

#[tokio::test]
async fn lock_servers_that_know_nothing_of_each_other_are_not_taken_for_one() {
    let server = MemoryServer::default();
    let (web, db) = (Door::open(&server, "web").await, Door::open(&server, "db").await);
    let (one, other) = (Server::on(&Platter::new(0)).await, Server::on(&Platter::new(0)).await);
    let both = Remote::new(&format!("http://{},{}", one.address, other.address)).expect("a client");
    let error = both.ask(&ask("a", &["app"]), NOW).await.expect_err("each would grant its slots");
    assert!(!error.retryable() && error.to_string().contains("keeps records of its own"), "{error}");
    assert!(one.client().leases(&Selection::default()).await.expect("leases").leases.is_empty());
    let mixed = listed(&[&web, &db]);
    let error = mixed.ask(&ask("a", &["app"]), NOW).await.expect_err("another domain");
    assert!(!error.retryable() && error.to_string().contains("another domain"), "{error}");
    for door in [&web, &db] {
        assert!(door.client().leases(&Selection::default()).await.expect("leases").leases.is_empty());
    }
}

#[tokio::test]
async fn a_door_that_stops_says_so_and_its_store_away_is_told() {
    let server = MemoryServer::default();
    let mut door = Door::open(&server, "web").await;
    slots(&door.client(), "app", 1).await;
    server.stop();
    let away = door.client().leases(&Selection::default()).await.expect_err("the store is away");
    assert!(away.retryable(), "{away}");
    server.start();
    let client = door.client();
    let mut events = tokio::spawn(async move { client.events(None, None).await });
    drop(door.stop.take());
    soon("it to stop", &mut door.tasks[1]).await.expect("no panic");
    let _ = soon("the events to end", &mut events).await;
}
