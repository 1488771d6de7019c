//! kill -9 of the lock server again and again, while 200 clients take leases in a few small pools and give them back within milliseconds. Each
//! writes down what it was told, and afterwards a checker that sees nothing but that decides whether anything was forgotten.
//!
//! `STAGGER_KILLS=100` kills it so often, [`KILLS`] times unless set. The seed of a run is printed, and `STAGGER_KILLS_SEED` takes it: the
//! moments are then drawn alike, though what the kill meets is not.

mod checker;
mod client;
mod log;

use crate::support::{Dice, LockServer, SOON, wait_for};
use client::{Client, Course};
use coordinator::remote::Remote;
use log::Span;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: u32 = 200;
/// How often the lock server is killed unless `STAGGER_KILLS` says otherwise.
const KILLS: u32 = 25;
/// The pools, and how many may hold each.
const POOLS: [(&str, usize); 4] = [("one", 1), ("two", 2), ("three", 3), ("five", 5)];
/// It is killed when at most so many more leases were granted, and then at most so many milliseconds later: enough happens between two
/// kills however slow the machine is.
const GRANTS: u64 = 24;
const LATER_MS: u64 = 40;
/// So long after its start it is killed at most, in milliseconds, when that is to be while it starts.
const STARTS_MS: u64 = 60;
/// One kill of so many comes while it starts.
const EARLY: u64 = 4;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

#[test]
#[expect(clippy::print_stderr, reason = "the seed is for whoever runs it again")]
fn killed_under_200_clients_the_lock_server_forgets_nothing_that_it_told_anyone() {
    let kills = variable("STAGGER_KILLS").map_or(KILLS, |count| u32::try_from(count).expect("a count"));
    let seed = variable("STAGGER_KILLS_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 32 | u64::from(kills));
    eprintln!("STAGGER_KILLS={kills} STAGGER_KILLS_SEED={seed}");
    let folder = tempfile::tempdir().expect("a folder");
    let server = LockServer::start(folder.path());
    for (pool, slots) in POOLS {
        server.set(&format!("pool/{pool}"), &format!("slots={slots}"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let course = Arc::new(Course { begun: Instant::now(), is_over: AtomicBool::new(false), grants: AtomicU64::new(0) });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let remote = Remote::new(&server.url).expect("a client");
            runtime.spawn(Client::new(number, remote, Arc::clone(&course), seed).run())
        })
        .collect();
    let mut dice = Dice(seed | 1);
    let deaths: Vec<Span> = (0..kills).map(|_| kill(&server, &runtime, &course, &mut dice)).collect();
    server.wait_until_ready();
    course.is_over.store(true, Ordering::Relaxed);
    let ended = async {
        let mut logs = Vec::new();
        for client in clients {
            logs.push(client.await.expect("no panic"));
        }
        logs
    };
    let logs =
        runtime.block_on(async { tokio::time::timeout(SOON, ended).await }).expect("every client comes to its end");
    let seen = checker::check(&logs, &POOLS.into(), &deaths);
    let faults = seen.faults.join("\n");
    assert!(faults.is_empty(), "seed {seed}, {} grants, {} faults:\n{faults}", seen.grants, seen.faults.len());
    assert!(seen.grants > kills as usize * 5 && seen.holders > CLIENTS as usize / 2, "little was tried: {seen:?}");
    wait_for("nobody holds and nobody waits", SOON, || {
        let shown = server.json(&["leases"]);
        (shown["leases"].as_array()?.is_empty() && shown["queue"].as_array()?.is_empty()).then_some(())
    });
    eprintln!(
        "{} grants, {} answers, {} asks without one, {:.1?}",
        seen.grants,
        seen.answers,
        seen.unanswered,
        course.begun.elapsed()
    );
}

/// Kills the server at a moment that the dice say, and starts it again.
fn kill(server: &LockServer, runtime: &tokio::runtime::Runtime, course: &Course, dice: &mut Dice) -> Span {
    let is_early = dice.roll(EARLY) == 0;
    if !is_early {
        let enough = course.grants.load(Ordering::Relaxed) + dice.roll(GRANTS);
        wait_for("some more leases are granted", SOON, || {
            (course.grants.load(Ordering::Relaxed) >= enough).then_some(())
        });
    }
    let lives = Duration::from_millis(dice.roll(if is_early { STARTS_MS } else { LATER_MS }));
    runtime.block_on(async { tokio::time::sleep(lives).await });
    let from = course.begun.elapsed();
    server.kill();
    let to = course.begun.elapsed();
    server.restart(None);
    Span { from, to }
}
