//! FleetLock clients: what each of their requests is answered, and that their slots are everybody's.

use crate::common::*;
use crate::relay::Door;
use coordinator::Coordinator;
use coordinator::remote::Remote;
use coordinator::store::memory::MemoryServer;
use model::lease::{LeaseState, Purpose};
use model::read::Selection;
use model::request::{Act, Answer, Done, Ending};
use model::settings::Setting;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HEADER: &str = "fleet-lock-protocol: true\r\n";

/// A request as a client sends it; its status and the `kind` of its answer, `""` when it has none.
async fn send(address: &str, head: &str, body: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let length = body.len();
    let text = format!("{head}host: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await.expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    if status != 200 {
        assert!(body["value"].as_str().is_some_and(|value| !value.is_empty()), "{answer}");
    }
    (status, body["kind"].as_str().unwrap_or_default().to_owned())
}

async fn client(address: &str, what: &str, id: &str, group: &str) -> (u16, String) {
    let body = serde_json::json!({ "client_params": { "id": id, "group": group } }).to_string();
    send(address, &format!("POST /v1/{what} HTTP/1.1\r\n{HEADER}"), &body).await
}

fn yes() -> (u16, String) {
    (200, String::new())
}

fn full() -> (u16, String) {
    (423, "failed_lock_semaphore_full".to_owned())
}

/// The whole protocol, with a native client beside it.
async fn walk(address: &str, native: &Remote) {
    slots(native, "web", 1).await;
    assert_eq!(client(address, "steady-state", "a", "web").await, yes(), "it holds nothing, and is told the same");
    assert_eq!(client(address, "pre-reboot", "a", "web").await, yes());
    assert_eq!(client(address, "pre-reboot", "a", "web").await, yes(), "again: the same slot");
    let held = native.leases(&Selection::default()).await.expect("leases").leases;
    assert_eq!((held.len(), &held[0].lease.purpose), (1, &Purpose::FleetLock));
    assert_eq!(client(address, "pre-reboot", "b", "web").await, full());
    assert_eq!(client(address, "pre-reboot", "a", "db").await, full(), "it holds a slot of another group");
    // Another protocol, and the same slots.
    let Answer::Queued(queued) = native.ask(&ask("c", &["web"]), Duration::ZERO).await.expect("an answer") else {
        panic!("there is one slot")
    };
    assert!(queued.why.holders.iter().any(|holding| holding.holder == holder("a")), "{queued:?}");
    assert_eq!(client(address, "steady-state", "b", "web").await, yes(), "another one's slot stays");
    assert_eq!(client(address, "steady-state", "a", "web").await, yes());
    granted(native.ask(&ask("c", &["web"]), Duration::ZERO).await.expect("an answer"));
    assert_eq!(client(address, "pre-reboot", "a", "web").await, full(), "a native lease has it");
    assert_eq!(client(address, "steady-state", "c", "web").await, yes());
    assert_eq!(client(address, "pre-reboot", "a", "web").await, full(), "and no client of this protocol ends it");
    native.settle(&settle("c", Ending::Released)).await.expect("settled");
    let scope = || "pool/web".parse().expect("a scope");
    do_it(native, Act::Pause { scope: scope(), reason: "maintenance".into(), for_ms: 60_000 }).await;
    assert_eq!(client(address, "pre-reboot", "a", "web").await, (423, "paused".to_owned()));
    do_it(native, Act::Resume { scope: scope() }).await;
    assert_eq!(client(address, "pre-reboot", "a", "web").await, yes());
    assert_eq!(native.leases(&Selection::default()).await.expect("leases").queue.len(), 0, "nobody of these waits");
}

#[tokio::test]
async fn a_client_locks_unlocks_and_is_refused_as_the_protocol_says() {
    let server = Server::on(&Platter::new(0)).await;
    walk(&server.address, &server.client()).await;
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_door_to_a_store_speaks_it_too() {
    let store = MemoryServer::default();
    let door = Door::open(&store, "d").await;
    walk(&door.address, &door.client()).await;
    malformed(&door.address).await;
    door.kill().await;
}

#[tokio::test]
async fn what_is_no_request_of_this_protocol_is_refused_in_its_shape() {
    let server = Server::on(&Platter::new(0)).await;
    malformed(&server.address).await;
    assert!(server.client().leases(&Selection::default()).await.expect("leases").leases.is_empty());
    server.stop().await.expect("a clean end");
}

async fn malformed(address: &str) {
    let good = r#"{"client_params":{"id":"a","group":"web"}}"#;
    let bad = || (400, "malformed".to_owned());
    let post = "POST /v1/pre-reboot HTTP/1.1\r\n";
    assert_eq!(send(address, post, good).await, bad(), "the header is missing");
    assert_eq!(send(address, &format!("{post}fleet-lock-protocol: yes\r\n"), good).await, bad());
    for body in ["", "{", "[]", "{}", r#"{"client_params":{"id":"","group":"web"}}"#, "\u{0}"] {
        assert_eq!(send(address, &format!("{post}{HEADER}"), body).await, bad(), "{body}");
    }
    for group in ["", "a b", "a_b", "ä", "a/b"] {
        assert_eq!(client(address, "pre-reboot", "a", group).await, bad(), "{group:?}");
    }
    let long = "x".repeat(17_000);
    assert_eq!(client(address, "pre-reboot", &long, "web").await, (413, "too_large".to_owned()));
    let get = format!("GET /v1/pre-reboot HTTP/1.1\r\n{HEADER}");
    assert_eq!(send(address, &get, "").await, (405, "method".to_owned()));
}

#[tokio::test]
async fn its_slot_needs_no_renewal_outlives_the_server_and_a_person_can_end_it() {
    let platter = Platter::new(0);
    let server = Server::on(&platter).await;
    let native = server.client();
    slots(&native, "web", 1).await;
    let ttl = Act::Set {
        scope: "pool/web".parse().expect("a scope"),
        setting: Setting::Ttl(1_000),
        reason: "test".into(),
        for_ms: None,
    };
    assert!(matches!(do_it(&native, ttl).await, Done::Did { .. }));
    assert_eq!(client(&server.address, "pre-reboot", "a", "web").await, yes());
    server.kill().await;
    let server = Server::on(&platter.power_off()).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(client(&server.address, "pre-reboot", "b", "web").await, full());
    let native = server.client();
    let rows = native.leases(&Selection::default()).await.expect("leases").leases;
    assert_eq!((rows.len(), rows[0].lease.state), (1, LeaseState::Held));
    let release = Act::Release { holder: holder("a"), reason: "gone".into(), live: true, forget: false };
    do_it(&native, release).await;
    assert_eq!(client(&server.address, "pre-reboot", "b", "web").await, yes());
    server.stop().await.expect("a clean end");
}
