//! How soon a whole fleet hears of a deploy, and what memory the calls of a fleet take.

use crate::client::{Connection, ask, slots};
use crate::permille;
use crate::server::Server;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const WORKERS: usize = 10_000;
const ROUNDS: usize = 3;
const HOLD_MS: u64 = 60_000;
/// How long the last of them is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The body of a worker's join, which knows what it owes.
fn join(seen: &str) -> String {
    format!(
        r#"{{"session":"s","services":{{"php-fpm":["app","rack.b4"]}},"version":"0.1.0","looked_ms":5,
        "sightings":[],"seen":[{seen}],"hold_ms":{HOLD_MS}}}"#
    )
}

/// Workers that are known, each with a connection over which nothing is asked.
async fn workers(server: &Server) -> Vec<Connection> {
    let mut all = Vec::new();
    for number in 0..WORKERS {
        let mut connection = server.connect().await;
        // At once: it does not say what it has seen.
        let body = join("").replace(r#""seen":[],"#, "");
        connection.must("PUT", &format!("/v1/members/host{number}"), &body).await;
        all.push(connection);
    }
    all
}

/// Waits until so many calls of a kind are held.
async fn until_held(server: &Server, call: &str, count: usize) {
    let mut connection = server.connect().await;
    let line = format!("stagger_held_calls{{call=\"{call}\"}} {count}");
    let start = Instant::now();
    while !connection.must("GET", "/metrics", "").await.contains(&line) {
        assert!(start.elapsed() < PATIENCE, "{count} calls are not held");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn measure() {
    let mut lasts = Vec::new();
    for round in 1..=ROUNDS {
        let server = Server::start(0, lockserver::CONNECTIONS_MAX).await;
        let mut person = server.connect().await;
        let mut all = JoinSet::new();
        for (number, mut connection) in workers(&server).await.into_iter().enumerate() {
            connection.send("PUT", &format!("/v1/members/host{number}"), &join("")).await.expect("a server that hears");
            all.spawn(async move {
                let (status, answer) = connection.answer().await.expect("an answer");
                let heard = Instant::now();
                assert!(status == 200 && answer.contains("php-fpm@1"), "{status}: {answer}");
                (heard, connection)
            });
        }
        until_held(&server, "join", WORKERS).await;
        let (cpu, start) = (server.cpu(), Instant::now());
        let body = r#"{"by":"bench","service":"php-fpm","message":"a deploy"}"#;
        person.must("POST", "/v1/rollouts", body).await;
        let answered = start.elapsed();
        let mut heard = Vec::new();
        while let Some(done) = all.join_next().await {
            heard.push(done.expect("no panic").0 - start);
        }
        let [first, half, last] = [0, 500, 1000].map(|part| permille(&mut heard, part).as_millis());
        println!(
            "announce {round}, {WORKERS} workers: the announcer has its answer after {} ms; the first worker knows after {first} ms, \
             half after {half} ms, the last after {last} ms; {:.0} µs of processor time each",
            answered.as_millis(),
            (server.cpu() - cpu).as_secs_f64() * 1e6 / WORKERS as f64
        );
        lasts.push(last);
    }
    lasts.sort_unstable();
    println!("announce, {WORKERS} workers: the last knows after {} ms (median of {ROUNDS})", lasts[ROUNDS / 2]);
}

pub(crate) async fn memory() {
    let server = Server::start(0, lockserver::CONNECTIONS_MAX).await;
    let before = server.memory();
    let mut all = workers(&server).await;
    for (number, connection) in all.iter_mut().enumerate() {
        connection.send("PUT", &format!("/v1/members/host{number}"), &join("")).await.expect("a server that hears");
    }
    until_held(&server, "join", WORKERS).await;
    println!("memory, {WORKERS} workers with a held call: {} bytes each", (server.memory() - before) / WORKERS as u64);
    drop((all, server));

    let server = Server::start(0, lockserver::CONNECTIONS_MAX).await;
    slots(&mut server.connect().await, "app", 1).await;
    server.connect().await.must("POST", "/v1/leases", &ask(WORKERS, 0, 0)).await;
    let before = server.memory();
    let mut all = Vec::new();
    for number in 0..WORKERS - 1 {
        let mut connection = server.connect().await;
        connection.send("POST", "/v1/leases", &ask(number, 0, HOLD_MS)).await.expect("a server that hears");
        all.push(connection);
    }
    until_held(&server, "ask", WORKERS - 1).await;
    println!("memory, {WORKERS} waiters with a held call: {} bytes each", (server.memory() - before) / WORKERS as u64);
}
