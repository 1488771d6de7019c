//! Whoever is first in line, and does not take its turn: how long the others wait for it.

use crate::host::{HOLD, Host, Steward, store};
use crate::lossy::Lossy;
use crate::server::Server;
use coordinator::Coordinator as _;
use coordinator::store::CallId;
use coordinator::wire::{AskBody, Posted};
use model::lease::Purpose;
use model::read::Selection;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many take turns while answers are lost.
const HOSTS: usize = 20;
/// How many turns each of them has.
const TURNS: usize = 5;

fn run() -> Purpose {
    Purpose::Run("bench".into())
}

async fn queue(steward: &Steward, length: usize) {
    while steward.client.leases(&Selection::default()).await.expect("leases").queue.len() < length {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn measure(server: &mut Server) {
    println!("  heads: one that was killed: the next has its turn after {:.1} s", killed(server).await.as_secs_f64());
    println!(
        "  heads: one that lives and asks no more, 5 s after it last did: {:.1} s",
        silent(server).await.as_secs_f64()
    );
    let (lossless, lossy) = (dropped(server, u64::MAX).await, dropped(server, 20).await);
    println!(
        "  heads: {} turns, none lost {:.1} s; one in twenty answers lost {:.1} s",
        HOSTS * TURNS,
        lossless.as_secs_f64(),
        lossy.as_secs_f64()
    );
}

/// It asked, and was killed: its answer lies there, and nobody fetches it.
async fn killed(server: &Server) -> Duration {
    let url = format!("{}/killed", server.url());
    let steward = Steward::sit(&url, 1).await;
    let mut first = Host::new(&url, 1);
    first.take_turn(run()).await;
    let dead = Host::new(&url, 2);
    let body = AskBody { ask: dead.ask_for(run(), HOLD), hold_ms: model::time::millis(HOLD) };
    let body = serde_json::to_value(body).expect("JSON");
    let posted = Posted {
        method: "POST".into(),
        path: "/v1/leases".into(),
        hold_ms: model::time::millis(HOLD),
        from: None,
        body,
    };
    let call = CallId { caller: coordinator::random_id().expect("an id"), number: 1 };
    store(&url).post(&call, serde_json::to_vec(&posted).expect("JSON"), HOLD * 2).await.expect("posted");
    queue(&steward, 1).await;
    next(&url, &steward, first).await
}

/// Its ask stands for five seconds more, and it does not ask again.
async fn silent(server: &Server) -> Duration {
    let url = format!("{}/silent", server.url());
    let steward = Steward::sit(&url, 1).await;
    let mut first = Host::new(&url, 1);
    first.take_turn(run()).await;
    let idle = Host::new(&url, 2);
    let ask = idle.ask_for(run(), Duration::from_secs(5));
    idle.client.ask(&ask, Duration::ZERO).await.expect("an answer");
    next(&url, &steward, first).await
}

/// From the end of the first one's turn until the next one that lives has its own.
async fn next(url: &str, steward: &Steward, first: Host) -> Duration {
    let mut next = Host::new(url, 3);
    let waiting = tokio::spawn(async move { next.take_turn(run()).await });
    queue(steward, 2).await;
    let start = Instant::now();
    first.settle(|_| {}).await;
    waiting.await.expect("its turn");
    start.elapsed()
}

async fn dropped(server: &Server, one_in: u64) -> Duration {
    let url = format!("{}/dropped{one_in}", server.url());
    let _steward = Steward::sit(&url, 2).await;
    let answers = Arc::default();
    let start = Instant::now();
    let hosts: Vec<_> = (0..HOSTS)
        .map(|number| {
            let store = Arc::new(Lossy { inner: store(&url), one_in, answers: Arc::clone(&answers) });
            let mut host = Host::by(store, number);
            tokio::spawn(async move {
                for _ in 0..TURNS {
                    host.take_turn(run()).await;
                    host.settle(|_| {}).await;
                }
            })
        })
        .collect();
    for host in hosts {
        host.await.expect("its turns");
    }
    start.elapsed()
}
