//! What Redis and etcd have to do for a fleet, counted at the server, and how long it takes.
//!
//! `cargo bench --bench stores` starts a Redis and an etcd of its own, on free ports; `-- redis`, or `-- etcd`, just that one; with
//! `hand-over`, `heads` or `fleet` just that part. Every host is a
//! client of its own, as a worker is, in this one process; another client of it decides.
//!
//! - hand-over: one slot, and so many hosts that wait for it; requests at the server for each hand-over, and the time of one. What the same
//!   hosts cost while they only wait is counted apart, and taken off;
//! - fleet: 1,000 hosts roll through 100 slots, each out for a second;
//! - heads: whoever is first in line was killed, or lives and asks no more; or one in twenty answers is lost on its way.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

mod fleet;
mod handover;
mod heads;
mod host;
mod lossy;
mod server;

use server::{Kind, Server};

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    // Whoever names none of these means all of them.
    let is_wanted = |word: &str, all: &[&str]| {
        let named = |one: &str| wanted.iter().any(|word| word == one);
        named(word) || !all.iter().any(|one| named(one))
    };
    let kinds = [Kind::Redis, Kind::Etcd].into_iter().filter(|kind| is_wanted(kind.name(), &["redis", "etcd"]));
    let part = |name: &str| is_wanted(name, &["hand-over", "heads", "fleet"]);
    server::allow_files();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    for kind in kinds {
        println!("{}", kind.name());
        runtime.block_on(async {
            if part("hand-over") {
                handover::measure(&mut Server::start(kind)).await;
            }
            if part("heads") {
                heads::measure(&mut Server::start(kind)).await;
            }
            if part("fleet") {
                fleet::measure(&mut Server::start(kind)).await;
            }
        });
    }
}
