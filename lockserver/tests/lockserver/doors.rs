//! What HTTP clients may do wrong, and how the server goes on.

use crate::common::*;
use coordinator::Coordinator;
use coordinator::wire::BODY_BYTES_MAX;
use serde_json::Value;
use std::time::Duration;

async fn refused(server: &Server, method: &str, path: &str, body: &str, status: u16, kind: &str) -> String {
    let (found, answer) = server.request(method, path, body).await;
    assert_eq!((found, answer["kind"].as_str()), (status, Some(kind)), "{method} {path} {body}: {answer}");
    let value = answer["value"].as_str().expect("a sentence").to_owned();
    assert!(!value.is_empty());
    value
}

#[tokio::test]
async fn wrong_requests_are_refused_in_one_shape_and_the_server_goes_on() {
    let server = Server::on(&Platter::new(0)).await;
    let s = &server;
    refused(s, "GET", "/nothing", "", 404, "no_path").await;
    refused(s, "GET", "/v1/nothing", "", 404, "no_path").await;
    refused(s, "GET", "/v1/rollouts/php/7", "", 404, "not_found").await;
    refused(s, "GET", "/v1/rollouts/php/7/reports/mw1", "", 404, "not_found").await;
    refused(s, "GET", "/v1/pools/app", "", 404, "not_found").await;
    refused(s, "GET", "/v1/pauses/pool/app", "", 404, "not_found").await;
    refused(s, "DELETE", "/v1/history", "", 405, "method").await;
    refused(s, "PATCH", "/v1/leases", "{}", 405, "method").await;
    for body in ["", "{", "[]", "7", "{\"holder\": 7}", "{\"holder\": \"a b\"}", "\u{0}"] {
        refused(s, "POST", "/v1/leases", body, 400, "malformed").await;
    }
    let deep = format!("{{\"holder\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    refused(s, "POST", "/v1/leases", &deep, 400, "malformed").await;
    let value = refused(s, "PUT", "/v1/leases/mw1", "{\"holder\":\"mw2\",\"claim\":\"c\"}", 400, "malformed").await;
    assert!(value.contains("mw1") && value.contains("mw2"), "{value}");
    refused(s, "PUT", "/v1/leases/m%20w", "{\"claim\":\"c\"}", 400, "malformed").await;
    refused(s, "PUT", "/v1/leases/%ff", "{\"claim\":\"c\"}", 400, "malformed").await;
    refused(s, "GET", "/v1/rollouts/php/x", "", 400, "malformed").await;
    refused(s, "GET", "/v1/leases?scope=nonsense", "", 400, "malformed").await;
    refused(s, "GET", "/v1/leases?limit=-1", "", 400, "malformed").await;
    refused(s, "GET", "/v1/events?hold_ms=soon", "", 400, "malformed").await;
    refused(s, "GET", "/v1/why/nonsense", "", 400, "malformed").await;
    refused(s, "PATCH", "/v1/settings/pool/app", "{\"by\":\"me\",\"reason\":\"r\"}", 400, "malformed").await;
    refused(
        s,
        "POST",
        "/v1/leases",
        "{\"holder\":\"a\",\"claim\":\"c\",\"pools\":[],\"purpose\":{\"run\":\"x\"}}",
        400,
        "invalid",
    )
    .await;
    refused(s, "PUT", "/v1/leases/mw1", "{\"claim\":\"c\"}", 412, "gone").await;
    refused(s, "DELETE", "/v1/leases/mw1", "{\"by\":\"me\",\"reason\":\"r\"}", 409, "refused").await;
    server.client().pauses().await.expect("the server goes on");
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_body_too_long_is_refused_whether_or_not_it_says_so() {
    let server = Server::on(&Platter::new(0)).await;
    let body = format!("{{\"holder\":\"{}\"}}", "a".repeat(BODY_BYTES_MAX));
    refused(&server, "POST", "/v1/leases", &body, 413, "too_large").await;
    let chunked = format!(
        "POST /v1/leases HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let answer = server.raw(chunked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let header = format!("GET /v1/leases HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(64 * 1024));
    let answer = server.raw(header.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    for nonsense in [
        &b"\x00\x01\x02\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello TLS\r\n\r\n",
    ] {
        let answer = server.raw(nonsense).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    server.client().pauses().await.expect("the server goes on");
}

#[tokio::test]
async fn slow_clients_are_given_up() {
    let mut options = on(&Platter::new(0));
    options.client_wait = Duration::from_millis(200);
    let server = Server::start(options).await;
    // Each of these would wait for ever, were the server to wait for it.
    server.raw(b"").await;
    server.raw(b"GET /v1/lea").await;
    let answer = server.raw(b"POST /v1/leases HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"slow\""), "{answer}");
    server.client().pauses().await.expect("the server goes on");
}

#[tokio::test]
async fn connections_beyond_the_bound_are_told_so() {
    let mut options = on(&Platter::new(0));
    options.connections_max = 3;
    let server = Server::start(options).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(&server.address).await.expect("a connection");
        // Each watches, and so makes no room for others.
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        stream.read_exact(&mut [0; 64]).await.expect("an answer that goes on");
        open.push(stream);
    }
    let answer = server.raw(b"").await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 503 "), "{answer}");
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(body["kind"], "overloaded");
    drop(open);
    let client = server.client();
    until("there to be room again", || async { client.pauses().await.is_ok() }).await;
}

#[tokio::test]
async fn metrics_are_bounded_and_tell_what_happened() {
    let server = Server::on(&Platter::new(0)).await;
    let client = server.client();
    slots(&client, "app", 1).await;
    granted(client.ask(&ask("a", &["app"]), Duration::ZERO).await.expect("an answer"));
    client.ask(&ask("b", &["app"]), Duration::ZERO).await.expect("an answer");
    let mut refused = ask("c", &["app"]);
    refused.wait_ms = Some(0);
    client.ask(&refused, Duration::ZERO).await.expect("an answer");
    let (status, text) = server.request("GET", "/metrics", "").await;
    let text = text.as_str().expect("text");
    assert_eq!(status, 200);
    for line in [
        "stagger_pool_slots{pool=\"app\"} 1",
        "stagger_pool_leases{pool=\"app\",state=\"held\"} 1",
        "stagger_pool_leases{pool=\"app\",state=\"lost\"} 0",
        "stagger_pool_waiters{pool=\"app\"} 1",
        "stagger_pool_paused{pool=\"app\"} 0",
        "stagger_pool_members{pool=\"app\",state=\"alive\"} 0",
        "stagger_lease_grants_total{pool=\"app\"} 1",
        "stagger_lease_refusals_total{kind=\"timed_out\"} 1",
        "stagger_lease_wait_seconds_count{pool=\"app\"} 1",
        "stagger_store_up 1",
        "stagger_requests_total{method=\"POST\",status=\"409\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("\"a\""), "no holder is a label");
}
