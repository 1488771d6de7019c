//! What is told of hosts that HAProxy finds ill, that take traffic although they failed, and of which nobody can tell.

use super::follower::Follower;
use super::scene::{Scene, by, wait_until_joined};
use crate::support::haproxy::DRAIN;
use crate::support::{Host, SOON, Tuning, run, wait_for};
use std::path::Path;
use std::time::Duration;

/// A backend of one server, whose check fails while the flag is there.
fn backend(health: &Follower) -> String {
    format!(
        "backend app\n    option httpchk GET /\n    server mw1 {} check inter 100ms rise 2 fall 1\n",
        health.address
    )
}

fn flagged(folder: &Path) -> std::path::PathBuf {
    let flag = folder.join("ill");
    std::fs::write(&flag, "").expect("written");
    flag
}

fn wait_until_down(scene: &Scene) {
    wait_for("its check finds it down", SOON, || (scene.haproxy.state("app/mw1").operation == 0).then_some(()));
}

/// A service that died by itself is what a restart is for: it is meant to be in, and its check finds it down.
#[test]
fn a_host_that_its_check_finds_down_is_taken_out_restarted_and_put_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let flag = flagged(folder.path());
    let health = Follower::of(&flag);
    let scene = Scene::with(&backend(&health), 1);
    wait_until_down(&scene);
    let restart: &'static str = format!("rm -f {}", flag.display()).leak();
    let depool = format!("{}\ntries = 200", by(&scene.haproxy.admin));
    let tuning = Tuning { restart, ..Tuning::default() };
    let host = Host::with_depool(scene.folder.path(), "mw1", &scene.server.url, &depool, &tuning);
    let worker = host.work();
    wait_until_joined(&worker);
    let why = scene.server.must(&["why", "mw1"]);
    assert!(why.contains("meant to be in, and found ill there") && why.contains("mw1$ stagger restart web"), "{why}");
    let all = scene.server.must(&["why", "all"]);
    assert!(all.contains("1 is neither in nor out") && all.contains("mw1$ stagger restart web"), "{all}");
    let (code, out, err) = run(&mut host.command(&["repool", "web"]));
    assert!(code == 4 && err.contains("hint: stagger -c ") && err.contains(" restart web"), "{code} {out}{err}");
    scene.announce();
    scene.wait_until_done("web@1");
    scene.wait_until_settled(&host);
    let state = scene.haproxy.state("app/mw1");
    assert_eq!((host.starts(), state.admin, state.operation), (1, 0, 2));
    let shown = scene.server.json(&["rollouts", "web@1"]);
    let report = &shown["targets"][0]["report"];
    let steps: Vec<_> = report["timings"].as_array().expect("timings").iter().map(|timing| &timing["step"]).collect();
    assert!(report["outcome"] == "restarted" && steps.contains(&&"depool".into()), "{report}");
}

/// HAProxy forgets who is out when it starts again without a state file: a host that failed gets traffic.
#[test]
fn a_failed_host_that_takes_traffic_is_cried_out() {
    let scene = Scene::new(&["mw1".to_owned()], 1);
    let host = scene.host("mw1", &Tuning { restart: "exit 7", ..Tuning::default() });
    let (code, out, err) = run(&mut host.command(&["restart", "web", "--always"]));
    assert_eq!((code, scene.haproxy.state("app/mw1").admin), (1, DRAIN), "{out}{err}");
    scene.haproxy.restart();
    assert_eq!(scene.haproxy.state("app/mw1").admin, 0, "forgotten");
    let worker = host.work();
    wait_until_joined(&worker);
    // A worker that has something to do first looks at its next call, half a minute later.
    wait_for("it is told where it is in", Duration::from_secs(60), || {
        let members = scene.server.must(&["members", "--out"]);
        (members.contains("IN at ") && members.contains("although it failed")).then_some(())
    });
    for scope in ["all", "mw1"] {
        let why = scene.server.must(&["why", scope]);
        let typed = "fixed? mw1$ stagger restart web; else mw1$ stagger depool web";
        assert!(why.contains(" IN at ") && why.contains(typed), "{why}");
    }
}

#[test]
fn a_restart_says_at_which_step_nobody_could_tell() {
    let scene = Scene::new(&["mw1".to_owned()], 1);
    let host = scene.host("mw1", &Tuning::default());
    scene.haproxy.kill();
    let (code, out, err) = run(&mut host.command(&["restart", "web", "--always"]));
    assert!(code == 1 && out.contains("✗ depool") && out.contains("cannot tell"), "{code} {out}{err}");
}
