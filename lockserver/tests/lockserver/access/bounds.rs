//! From where clients may come, and how much each may ask.

use super::scene::*;
use crate::common::*;
use lockserver::access::{Allow, Limits, Settings};
use std::net::TcpListener;
use tokio::io::AsyncReadExt as _;

fn networks(texts: &[&str]) -> Vec<ipnet::IpNet> {
    texts.iter().map(|text| text.parse().expect("a network")).collect()
}

#[tokio::test]
async fn only_clients_of_the_networks_that_are_named_are_let_in() {
    let (log, _kept) = Log::start();
    let allow = Allow { api: networks(&["127.0.0.1/32", "10.0.0.0/8"]), poolcounter: networks(&["127.0.0.2/32"]) };
    let poolcounter = TcpListener::bind("127.0.0.1:0").expect("a port");
    let door = poolcounter.local_addr().expect("an address").to_string();
    let access = Settings { allow, ..Settings::default() };
    let options = lockserver::Options { access, poolcounter: Some(poolcounter), ..on(&Platter::new(0)) };
    let server = Server::start(options).await;
    let healthz = async |from| asked(&server.address, from, "GET /healthz", "", None).await.expect("an answer");
    assert_eq!(healthz(HERE).await.status, 200);
    let refused = healthz(ELSEWHERE).await;
    assert_eq!((refused.status, refused.kind()), (403, "forbidden"), "{refused:?}");
    assert_eq!(counted(&server.address, "network").await, 1);
    // A client of poolcounterd is told nothing: its protocol has no word for it.
    let mut stream = connect(&door, HERE).await;
    assert_eq!(soon("the end", stream.read(&mut [0; 8])).await.unwrap_or(0), 0);
    until("it to be counted", || async { counted(&server.address, "network").await == 2 }).await;
    let mut stream = connect(&door, ELSEWHERE).await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"ACQ4ME k 1 1 1\n").await.expect("sent");
    let mut reply = [0; 7];
    soon("a reply", stream.read_exact(&mut reply)).await.expect("a reply");
    assert_eq!(&reply, b"LOCKED\n");
    // A line can be lost to a test beside this one that logs the same for the first time: each of the next ones is another chance.
    until("a line in the log", || async {
        healthz(ELSEWHERE).await;
        log.text().contains("from=127.0.0.2 token=\"-\" reason=\"network\"")
    })
    .await;
}

#[tokio::test]
async fn an_address_and_a_token_may_ask_so_often_and_no_more() {
    let tokens = Tokens::new();
    // So few a second that nothing is filled up while the test runs.
    let limits = Limits { requests: 1, burst: 12, connections: 0 };
    let server = server(Settings { limits: Some(limits), ..tokens.settings() }).await;
    let pools = async |from, who| {
        asked(&server.address, from, "GET /v1/pools", "", Some(&tokens.bearer(who))).await.expect("an answer")
    };
    let mut by_token = None;
    for _ in 0..8 {
        assert_eq!(pools(HERE, "reader").await.status, 200);
    }
    for _ in 0..8 {
        let answer = pools(ELSEWHERE, "reader").await;
        if answer.status != 200 {
            by_token = Some(answer);
            break;
        }
    }
    let by_token = by_token.expect("the token is bounded wherever it is used");
    assert_eq!((by_token.status, by_token.kind()), (429, "limited"), "{by_token:?}");
    assert!(
        by_token.head.contains("retry-after: 1") && by_token.body["value"].to_string().contains("token"),
        "{by_token:?}"
    );
    assert_eq!(pools(ELSEWHERE, "boss").await.status, 200, "another's is not");
    let mut by_address = None;
    for _ in 0..20 {
        let answer = pools(ELSEWHERE, "stranger").await;
        if answer.status != 401 {
            by_address = Some(answer);
            break;
        }
    }
    let by_address = by_address.expect("who guesses is bounded");
    assert_eq!((by_address.status, by_address.kind()), (429, "limited"), "{by_address:?}");
    assert!(by_address.body["value"].to_string().contains("address"), "{by_address:?}");
    assert!(counted(&server.address, "requests").await >= 2);
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_no_more() {
    let limits = Limits { requests: 0, burst: 0, connections: 3 };
    let server = server(Settings { limits: Some(limits), ..Settings::default() }).await;
    let mut held = vec![connect(&server.address, ELSEWHERE).await];
    held.push(connect(&server.address, ELSEWHERE).await);
    held.push(connect(&server.address, ELSEWHERE).await);
    let refused = asked(&server.address, ELSEWHERE, "GET /healthz", "", None).await.expect("an answer");
    assert_eq!((refused.status, refused.kind()), (429, "limited"), "{refused:?}");
    assert!(refused.head.contains("retry-after: "), "{refused:?}");
    assert_eq!(asked(&server.address, HERE, "GET /healthz", "", None).await.expect("an answer").status, 200);
    assert_eq!(counted(&server.address, "connections").await, 1);
    held.clear();
    until("room again", || async {
        asked(&server.address, ELSEWHERE, "GET /healthz", "", None).await.is_some_and(|answer| answer.status == 200)
    })
    .await;
}
