//! Hand-overs: one slot, and many who wait for it.

use crate::host::{Host, Steward};
use crate::server::Server;
use coordinator::Coordinator as _;
use model::lease::Purpose;
use model::read::Selection;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How many hand-overs are counted.
const HANDOVERS: u32 = 100;
/// How long the same hosts are watched while they only wait.
const IDLE: Duration = Duration::from_secs(30);

pub(crate) async fn measure(server: &mut Server) {
    for waiters in [10, 100, 1_000] {
        let url = format!("{}/w{waiters}", server.url());
        let steward = Steward::sit(&url, 1).await;
        let mut first = Host::new(&url, 9_999);
        first.take_turn(Purpose::Run("bench".into())).await;
        // Whoever has its turn says so, and waits for the word to go on.
        let (turns, mut turn) = mpsc::unbounded_channel();
        let hosts: Vec<_> = (0..waiters)
            .map(|number| {
                let (mut host, turns) = (Host::new(&url, number), turns.clone());
                let (go, mut going) = mpsc::unbounded_channel::<()>();
                let task = tokio::spawn(async move {
                    loop {
                        host.take_turn(Purpose::Run("bench".into())).await;
                        turns.send(number).expect("counted");
                        if going.recv().await.is_none() {
                            return;
                        }
                        host.settle(|_| {}).await;
                    }
                });
                (go, task)
            })
            .collect();
        while steward.client.leases(&Selection::default()).await.expect("leases").queue.len() < waiters.min(500) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = server.count().await;
        tokio::time::sleep(IDLE).await;
        let idle = (server.count().await - before) as f64 / IDLE.as_secs_f64();
        let (before, start) = (server.count().await, Instant::now());
        first.settle(|_| {}).await;
        let mut times = Vec::new();
        for _ in 0..HANDOVERS {
            let since = Instant::now();
            let number = turn.recv().await.expect("a turn");
            times.push(since.elapsed());
            hosts[number].0.send(()).expect("it waits");
        }
        let took = start.elapsed().as_secs_f64();
        let all = (server.count().await - before) as f64;
        times.sort_unstable();
        println!(
            "  hand-over, {waiters:5} wait: {:5.1} {} each; {:.1} ms in the middle; {:.1} {} a second while all only wait",
            (all - idle * took) / f64::from(HANDOVERS),
            server.unit(),
            times[times.len() / 2].as_secs_f64() * 1e3,
            idle,
            server.unit(),
        );
        hosts.iter().for_each(|(_, task)| task.abort());
    }
}
