//! Clients that are slow, silent or only half there: each is ended in its time, and costs nobody else anything.

use crate::common::*;
use coordinator::Coordinator;
use lockserver::Options;
use model::names::Id;
use model::read::Selection;
use model::request::{Ending, Own, Renew};
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const NOW: Duration = Duration::ZERO;
/// How long a client may take here for its next header, or a body.
const CLIENT_WAIT: Duration = Duration::from_secs(2);
/// Slow ones of each kind.
const SLOW: usize = 100;
/// How often a byte comes.
const DRIP: Duration = Duration::from_millis(50);

const HEADER: &[u8] = b"POST /v1/leases HTTP/1.1\r\nhost: locks\r\ncontent-type: application/json\r\nx-padding: ";
const HALF: &[u8] = b"POST /v1/leases HTTP/1.1\r\nhost: locks\r\ncontent-length: 60000\r\n\r\n{\"holder\":\"";

/// How a client is slow.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Silent,
    Header,
    Body,
}

/// A client that says nothing whole; what it was told in the end, and when its connection was over.
async fn slow(address: String, kind: Kind) -> (String, Duration) {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let (mut ear, mut mouth) = stream.split();
    let say = async {
        let (at_once, drips): (&[u8], &[u8]) = match kind {
            Kind::Silent => (b"", b""),
            Kind::Header => (b"", HEADER),
            Kind::Body => (HALF, b"x"),
        };
        mouth.write_all(at_once).await?;
        let drips = drips.iter().chain(std::iter::repeat(&b'x')).take(if drips.is_empty() { 0 } else { usize::MAX });
        for byte in drips {
            mouth.write_all(&[*byte]).await?;
            tokio::time::sleep(DRIP).await;
        }
        std::future::pending::<io::Result<()>>().await
    };
    let mut told = Vec::new();
    tokio::select! {
        _ = ear.read_to_end(&mut told) => {}
        _ = say => {}
    }
    (String::from_utf8_lossy(&told).into_owned(), start.elapsed())
}

async fn server(platter: &std::sync::Arc<Platter>, connections_max: usize) -> Server {
    Server::start(Options { connections_max, client_wait: CLIENT_WAIT, ..on(platter) }).await
}

/// One lease from its ask to its end.
async fn whole_lease(server: &Server, name: &str) {
    let client = server.client();
    granted(client.ask(&ask(name, &["app"]), NOW).await.expect("an answer"));
    let claim: Id = id(&format!("c-{name}"));
    let renew = Renew { holder: holder(name), claim, step: None, note: String::new() };
    assert!(matches!(client.renew(&renew).await, Ok(Own::Held { .. })));
    client.settle(&settle(name, Ending::Released)).await.expect("an answer");
}

#[tokio::test]
async fn slow_clients_are_ended_in_their_time_and_others_are_answered_meanwhile() {
    let server = server(&Platter::new(0), 2000).await;
    let kinds = [Kind::Silent, Kind::Header, Kind::Body];
    let all: Vec<_> = kinds
        .iter()
        .flat_map(|kind| (0..SLOW).map(|_| (*kind, tokio::spawn(slow(server.address.clone(), *kind)))))
        .collect();
    let mut leases = 0;
    while !all.iter().any(|(_, task)| task.is_finished()) {
        whole_lease(&server, &format!("quick{leases}")).await;
        leases += 1;
    }
    assert!(leases > 5, "{leases} leases while {} were slow", all.len());
    for (kind, task) in all {
        let (told, after) = soon("the slow to be ended", task).await.expect("no panic");
        assert!(after >= CLIENT_WAIT, "{kind:?} was ended after {after:?}: {told}");
        assert!(after < CLIENT_WAIT * 4, "{kind:?} was ended after {after:?}");
        if let Kind::Body = kind {
            assert!(told.starts_with("HTTP/1.1 408 ") && told.contains("\"kind\":\"slow\""), "{told}");
        }
    }
    whole_lease(&server, "last").await;
}

#[tokio::test]
async fn when_every_place_is_taken_by_the_slow_they_make_room_and_a_held_call_does_not() {
    const PLACES: usize = 60;
    const OTHERS: usize = 20;
    let platter = Platter::new(0);
    let server = Server::start(Options { connections_max: PLACES, ..on(&platter) }).await;
    let client = server.client();
    slots(&client, "full", 1).await;
    granted(client.ask(&ask("a", &["full"]), NOW).await.expect("an answer"));
    let waiter = {
        let client = server.client();
        tokio::spawn(async move { client.ask(&ask("b", &["full"]), PATIENCE).await.expect("an answer") })
    };
    until("the waiter to stand in the queue", || async {
        client.leases(&Selection::default()).await.expect("leases").queue.len() == 1
    })
    .await;
    let kinds = [Kind::Silent, Kind::Header, Kind::Body];
    let all: Vec<_> =
        (0..PLACES * 3).map(|number| tokio::spawn(slow(server.address.clone(), kinds[number % 3]))).collect();
    // All others of them were refused, or made room for one of them that came late.
    until("every place to be taken", || async { all.iter().filter(|task| task.is_finished()).count() >= PLACES * 2 })
        .await;
    // Whoever comes is let in, as soon as the slow have had the time in which a first request should come; and stays.
    let mut others = Vec::new();
    for number in 0..OTHERS {
        let (name, other) = (format!("quick{number}"), server.client());
        until("to be let in", || async { other.ask(&ask(&name, &["app"]), NOW).await.is_ok() }).await;
        other.settle(&settle(&name, Ending::Released)).await.expect("an answer");
        others.push(other);
    }
    assert!(!waiter.is_finished(), "a held call is left alone");
    client.settle(&settle("a", Ending::Released)).await.expect("an answer");
    let lease = granted(soon("the grant", waiter).await.expect("no panic")).lease;
    assert_eq!(lease.holder, holder("b"));
    let left = |kind: usize| all.iter().skip(kind).step_by(3).filter(|task| !task.is_finished()).count();
    let start = Instant::now();
    while left(0) + left(1) + left(2) > PLACES - OTHERS {
        assert!(start.elapsed() < PATIENCE, "{:?} of each kind are left", [left(0), left(1), left(2)]);
        tokio::time::sleep(DRIP).await;
    }
    all.iter().for_each(tokio::task::JoinHandle::abort);
}
