//! The demo over a store, and a demo whose domain moves to one and back in the middle of it.

use super::servers::{Etcd, Redis};
use crate::demo::Running;
use crate::support::{SOON, run, stagger, wait_for};
use serde_json::Value;
use std::path::Path;

/// Plays the demo in a store, and looks that nothing is left of it there.
fn demo(url: &str, keys: impl Fn() -> Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = stagger();
    command.env("TMPDIR", folder.path()).args(["demo", "--hosts", "6", "--slots", "2", "--json", "--coordinator"]);
    let (code, out, err) = run(command.arg(url));
    assert_eq!(code, 0, "{out}\n{err}");
    let summary: Value = serde_json::from_str(&out).expect("a summary");
    assert_eq!((&summary["restarted"], &summary["failed_requests"]), (&6.into(), &0.into()), "{out}");
    assert!(summary["peak_out"].as_u64().is_some_and(|peak| peak == 2), "{out}");
    assert!(is_empty(folder.path()), "something is left on the disk");
    // An answer that nobody fetched is gone in a minute.
    let left: Vec<String> =
        keys().into_iter().filter(|key| key.contains("demo-") && !key.contains(":answers:")).collect();
    assert_eq!(left, [] as [&str; 0], "something is left in the store");
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).expect("a folder").next().is_none()
}

#[test]
fn the_demo_plays_over_redis() {
    let redis = Redis::start();
    demo(&redis.url(), || redis.keys());
}

#[test]
fn the_demo_plays_over_etcd() {
    let etcd = Etcd::start(1);
    demo(&etcd.url(), || etcd.keys());
}

/// What a command says, as JSON; it must succeed.
fn ask(url: &str, words: &[&str]) -> Option<Value> {
    let mut command = stagger();
    let (code, out, _) = run(command.args(words).args(["--json", "--coordinator", url]));
    serde_json::from_str(&out).ok().filter(|_| code == 0)
}

fn well(url: &str) -> Option<u64> {
    let rollouts = ask(url, &["rollouts"])?;
    rollouts["rollouts"].as_array()?.iter().map(|row| row["tally"]["ok"].as_u64()).sum()
}

fn carry_over(from: &str, to: &str) {
    let mut command = stagger();
    let (code, out, err) = run(command.args(["move", "--from", from, "--to", to]));
    assert_eq!(code, 0, "{out}\n{err}");
    assert!(out.contains("✓ moved"), "{out}");
}

#[test]
fn a_demo_moves_to_etcd_and_back_in_mid_rollout() {
    let (folder, etcd) = (tempfile::tempdir().expect("a folder"), Etcd::start(1));
    let demo = Running::start(folder.path(), &["--hosts", "20", "--slots", "2", "--acts", "deploy"]);
    let (here, there) = (demo.url.clone(), etcd.url());
    wait_for("some hosts are well", SOON, || well(&here).filter(|well| *well >= 4));
    carry_over(&here, &there);
    let before = wait_for("it is there", SOON, || well(&there));
    assert!(before < 20, "it is over already");
    wait_for("others are well", SOON, || well(&there).filter(|well| *well >= before + 2));
    carry_over(&there, &here);
    let moved = run(stagger().args(["leases", "--coordinator", &there]));
    assert_eq!(moved.0, 0, "who asks there is sent here: {}", moved.2);
    let (code, out) = demo.end();
    assert_eq!(code, 0, "{out}");
    // No request failed, never more than two were out, and everyone restarted once: else the act is not well.
    assert!(out.contains("✓ deploy     20 ok"), "{out}");
    assert!(out.contains("never more than 2 out") && out.contains("none failed"), "{out}");
}
