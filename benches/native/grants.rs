//! How many grants are durable in a second, and with one sync of the disk.

use crate::client::{ask, end, slots};
use crate::permille;
use crate::server::Server;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

const SLOTS: usize = 100;
const WAITERS: usize = 1_000;
/// So long it goes on before it counts, and then it counts.
const WARM: Duration = Duration::from_secs(1);
const ROUND: Duration = Duration::from_secs(5);
const ROUNDS: usize = 3;
const HOLD_MS: u64 = 60_000;

#[derive(Debug, Default)]
struct Count {
    grants: Cell<u64>,
    /// From the end of a lease to its answer, which is the next one's grant too.
    ends: RefCell<Vec<Duration>>,
}

pub(crate) async fn measure(sync_ms: u64) {
    let server = Server::start(sync_ms, lockserver::CONNECTIONS_MAX).await;
    slots(&mut server.connect().await, "app", SLOTS).await;
    let count = Rc::new(Count::default());
    let local = LocalSet::new();
    for holder in 0..WAITERS {
        let mut connection = server.connect().await;
        let count = Rc::clone(&count);
        local.spawn_local(async move {
            for claim in 0.. {
                let answer = connection.must("POST", "/v1/leases", &ask(holder, claim, HOLD_MS)).await;
                assert!(answer.contains("\"granted\""), "{answer}");
                count.grants.set(count.grants.get() + 1);
                let (path, body) = end(holder, claim);
                let start = Instant::now();
                connection.must("DELETE", &path, &body).await;
                count.ends.borrow_mut().push(start.elapsed());
            }
        });
    }
    local.run_until(tokio::time::sleep(WARM)).await;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        count.ends.borrow_mut().clear();
        let (grants, syncs, cpu, start) = (count.grants.get(), server.syncs(), server.cpu(), Instant::now());
        local.run_until(tokio::time::sleep(ROUND)).await;
        let took = start.elapsed();
        let grants = (count.grants.get() - grants) as f64;
        let syncs = (server.syncs() - syncs) as f64;
        let cpu = (server.cpu() - cpu).as_secs_f64();
        let p99 = permille(&mut count.ends.borrow_mut(), 990);
        rounds.push((grants / took.as_secs_f64(), grants / syncs, cpu * 1e6 / grants, p99));
    }
    rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (per_second, per_sync, cpu, p99) = rounds[ROUNDS / 2];
    println!(
        "grants, {SLOTS} slots, {WAITERS} waiters, syncs {sync_ms} ms longer: {per_second:.0}/s, {per_sync:.1} per sync; \
         {cpu:.0} µs of processor time each; a lease ends within {p99:.1?} (p99)"
    );
}
