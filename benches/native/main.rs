//! The lock server's own API: how many grants it makes durable in a second and with one sync of its disk, how soon a whole fleet hears of a
//! deploy, what a worker's connection takes, and what slow clients cost others.
//!
//! `cargo bench -p stagger-lockserver --bench native` starts the server as a process of its own, on free ports; the load is this process,
//! and the slow clients are another. With `grants`, `announce`, `memory` or `slow` only that part.
//!
//! - grants: 100 slots and 1,000 waiters, each of which gives back at once what it was granted and asks again; with a real file, and with one
//!   whose syncs take 5 ms longer;
//! - announce: 10,000 workers, each with its held call; from the announcement to the answer of the last;
//! - memory: what the server's memory grows by, for each of 10,000 workers with a held call, and of 10,000 waiters with theirs;
//! - slow: how long calls take when there is nobody else, and when 10,000 connections are silent, send a header byte by byte, or half a body.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

mod announce;
mod client;
mod disk;
mod grants;
mod server;
mod slow;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    server::allow_files();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", sync_ms, connections] => {
            return server::serve(sync_ms.parse().expect("milliseconds"), connections.parse().expect("a number"));
        }
        ["slow-clients", address, count] => {
            return slow::attack(address.parse().expect("an address"), count.parse().expect("a number"));
        }
        _ => {}
    }
    let is_wanted = |part: &str| words.is_empty() || words.iter().any(|word| word == part);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if is_wanted("grants") {
        for sync_ms in [0, 5] {
            runtime.block_on(grants::measure(sync_ms));
        }
    }
    if is_wanted("announce") {
        runtime.block_on(announce::measure());
    }
    if is_wanted("memory") {
        runtime.block_on(announce::memory());
    }
    if is_wanted("slow") {
        runtime.block_on(slow::measure());
    }
}

/// The value below which so many of a thousand lie. Sorts them.
fn permille(figures: &mut [std::time::Duration], part: usize) -> std::time::Duration {
    figures.sort_unstable();
    figures[(figures.len() * part / 1000).min(figures.len() - 1)]
}
