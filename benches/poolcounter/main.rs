//! Our poolcounter door beside poolcounterd, and beside a bare tokio echo that decides nothing.
//!
//! `cargo bench -p stagger-lockserver --bench poolcounter` starts each server as a process of its own, on free ports, one after the other and
//! round after round; the load is this process. With `pairs`, `hand-over` or `storm` only that part.
//!
//! - pairs: an ACQ4ME and its RELEASE, each connection on a key of its own and one after the other; how many per second at 1, 100 and
//!   1,000 connections, and what processor time the server took for each;
//! - hand-over: one slot and 1,000 waiters: from the RELEASE of one to the LOCKED of the next;
//! - storm: 10,000 clients connect at once and wait for one slot: how long until all stand in the queue, and what memory each takes.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

mod load;
mod server;

use server::{Kind, Server};
use std::time::Duration;

/// How often each is measured, alternating.
const ROUNDS: usize = 5;
/// How long pairs are counted in a round.
const ROUND: Duration = Duration::from_millis(1_500);
const WAITERS: usize = 1_000;
const STORM: usize = 10_000;
/// How often there is a storm: poolcounterd takes long for one.
const STORMS: usize = 3;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [serve, kind] = words.as_slice()
        && serve == "serve"
    {
        return server::serve(kind);
    }
    server::allow_files();
    let is_wanted = |part: &str| words.is_empty() || words.iter().any(|word| word == part);
    if is_wanted("pairs") {
        for connections in [1, 100, 1_000] {
            pairs(connections);
        }
    }
    if is_wanted("hand-over") {
        hand_over();
    }
    if is_wanted("storm") {
        storm();
    }
}

/// The middle one; nothing is printed of the others but the least and the most.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The middle of each figure of all rounds, for each server. `backlog` says how many may stand before it.
fn rounds(
    count: usize,
    kinds: &[Kind],
    backlog: Option<i32>,
    mut measure: impl FnMut(&Server) -> Vec<f64>,
) -> Vec<Vec<f64>> {
    let mut all: Vec<Vec<Vec<f64>>> = vec![Vec::new(); kinds.len()];
    for _ in 0..count {
        for (kind, figures) in kinds.iter().zip(&mut all) {
            let server = backlog.map_or_else(|| Server::start(*kind), |backlog| Server::start_before(*kind, backlog));
            figures.push(measure(&server));
        }
    }
    let medians = |figures: Vec<Vec<f64>>| {
        let figure_count = figures[0].len();
        (0..figure_count).map(|at| median(figures.iter().map(|round| round[at]).collect())).collect()
    };
    all.into_iter().map(medians).collect()
}

fn pairs(connections: usize) {
    let measured = rounds(ROUNDS, &[Kind::Ours, Kind::Theirs, Kind::Echo], None, |server| {
        let mut load = load::Pairs::new(server.address, connections);
        load.run(ROUND / 5);
        let before = server.cpu();
        let (count, took) = load.run(ROUND);
        let cpu = server.cpu() - before;
        vec![count as f64 / took.as_secs_f64(), cpu.as_secs_f64() * 1e6 / count as f64]
    });
    let [ours, theirs, echo] = measured.as_slice() else { unreachable!("three were measured") };
    println!(
        "pairs, {connections} connections: {:.0}/s, poolcounterd {:.0}/s, echo {:.0}/s: {:.2} of poolcounterd, {:.2} of echo",
        ours[0],
        theirs[0],
        echo[0],
        ours[0] / theirs[0],
        ours[0] / echo[0]
    );
    println!(
        "  processor time of the server: {:.2} µs, poolcounterd {:.2} µs, echo {:.2} µs: {:.2} of poolcounterd",
        ours[1],
        theirs[1],
        echo[1],
        ours[1] / theirs[1]
    );
}

fn hand_over() {
    let measured = rounds(ROUNDS, &[Kind::Ours, Kind::Theirs], None, |server| {
        let mut took = load::hand_over(server.address, WAITERS);
        took.sort_unstable();
        let at = |part: usize| took[took.len() * part / 100].as_secs_f64() * 1e6;
        vec![at(50), at(99)]
    });
    let [ours, theirs] = measured.as_slice() else { unreachable!("two were measured") };
    println!(
        "hand-over, {WAITERS} waiters: p50 {:.0} µs, p99 {:.0} µs; poolcounterd {:.0} µs, {:.0} µs: {:.2}, {:.2}",
        ours[0],
        ours[1],
        theirs[0],
        theirs[1],
        ours[0] / theirs[0],
        ours[1] / theirs[1]
    );
}

fn storm() {
    let measured = rounds(STORMS, &[Kind::Ours, Kind::Theirs], Some(server::BACKLOG_THEIRS), |server| {
        let before = server.memory();
        let (took, queued, clients) = load::storm(server.address, STORM);
        let memory = server.memory().saturating_sub(before);
        drop(clients);
        vec![took.as_secs_f64(), memory as f64 / STORM as f64, queued as f64]
    });
    let [ours, theirs] = measured.as_slice() else { unreachable!("two were measured") };
    println!(
        "storm: {:.0} of {STORM} clients wait after {:.2} s, poolcounterd {:.0} after {:.2} s; {:.0} bytes each, poolcounterd {:.0}: {:.2}",
        ours[2],
        ours[0],
        theirs[2],
        theirs[0],
        ours[1],
        theirs[1],
        ours[1] / theirs[1]
    );
}
