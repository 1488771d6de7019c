//! The seven questions of docs/questions.md: each has one command, and it answers.

use crate::support::{Balancer, Host, LockServer, SOON, Tuning, wait_for};
use std::path::Path;

/// A fleet of three with one slot: one host failed in a bad build, which halted the rollout; the others owe it.
fn troubled(folder: &Path) -> (LockServer, Balancer, Vec<Host>, Vec<crate::support::Worker>) {
    let server = LockServer::start(folder);
    server.set("pool/p", "slots=1");
    let balancer = Balancer::start();
    let tuning = Tuning { restart: "echo unknown entry >&2; exit 78", ..Tuning::default() };
    let hosts: Vec<Host> =
        ["a", "b", "c"].iter().map(|name| Host::new(folder, name, &server, &balancer, &tuning)).collect();
    let workers = hosts.iter().map(Host::work).collect();
    wait_for("every worker has joined", SOON, || {
        (server.json(&["members"])["members"].as_array().map_or(0, Vec::len) == 3).then_some(())
    });
    server.must(&["announce", "web", "-m", "bad build"]);
    wait_for("the rollout is halted", SOON, || {
        (server.json(&["rollouts", "web@1"])["row"]["state"] == "halted").then_some(())
    });
    (server, balancer, hosts, workers)
}

/// The commands that docs/questions.md shows, as far as they are questions: its console blocks, in order.
fn documented() -> Vec<String> {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/questions.md")).expect("the page");
    page.lines().filter_map(|line| line.strip_prefix("$ stagger ")).map(str::to_owned).collect()
}

#[test]
fn each_question_has_one_command_and_it_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, balancer, _hosts, _workers) = troubled(folder.path());
    let failed = ["a", "b", "c"].into_iter().find(|name| balancer.is_out(name)).expect("a host is out");
    let well = ["a", "b", "c"].into_iter().find(|name| *name != failed).expect("another");
    let asked = documented();
    assert_eq!(asked.len(), 7, "seven questions: {asked:?}");
    let kinds: Vec<&str> = asked.iter().map(|line| line.split_whitespace().next().unwrap_or_default()).collect();
    assert_eq!(kinds, ["leases", "why", "why", "rollouts", "rollouts", "members", "leases"]);

    let now = server.must(&["leases"]);
    assert!(now.contains(failed) && now.contains("failed") && now.contains("p 1/1 full"), "{now}");

    let why = server.must(&["why", well]);
    assert!(why.contains("web@1 is halted") && why.contains("stagger resume rollout/web@1"), "{why}");

    let who = server.must(&["why", "rollout/web@1"]);
    assert!(who.contains(&format!("last {failed} failed: exit 78")), "{who}");

    let what = server.must(&["rollouts", "web@1"]);
    assert!(what.contains("unknown entry") && what.contains(failed), "{what}");

    let out = server.must(&["members", "--out"]);
    assert!(out.contains(failed) && out.contains("by Stagger"), "{out}");
    assert!(!out.lines().any(|line| line.starts_with(well)), "{out}");

    let lease = server.must(&["leases", &format!("host/{failed}")]);
    assert!(lease.contains("web@1") && lease.contains("failed"), "{lease}");

    // How long will it take? A rollout that moves says so.
    server.must(&["resume", "rollout/web@1"]);
    server.must(&["release", failed, "--reason", "it was looked at"]);
    wait_for("the rollout moves, and says what is left", SOON, || {
        let shown = server.must(&["rollouts", "web@1"]);
        (shown.contains("rolling") || shown.contains("halted")).then_some(())
    });
    let history = server.must(&["history"]);
    for line in ["announced", "halted", "released", "resumed", "it was looked at"] {
        assert!(history.contains(line), "{line} is not in {history}");
    }
}
