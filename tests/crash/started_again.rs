//! The lock server is killed and stopped, and started again, when what holds has been renewed for longer than it lives without:
//! renewals are not on its disk, and nobody loses anything.

use super::{Scene, wait_until_joined};
use crate::support::{Host, LockServer, Running, SOON, Tuning, Worker, lines, wait_for};
use rustix::process::Signal;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

const TTL: Duration = Duration::from_secs(4);

fn server_with_ttl(scene: &Scene, pool: &str) {
    scene.server.set(pool, &format!("ttl={}s", TTL.as_secs()));
}

/// Lets renewals go on for longer than a lease lives without, and has the lock server write its clock with something else.
fn longer_than_a_lease_lives(server: &LockServer, slots: usize) {
    let since = Instant::now();
    wait_for("longer than a lease lives", SOON, || (since.elapsed() > TTL * 5 / 4).then_some(()));
    server.set("pool/other", &format!("slots={slots}"));
}

/// Kills the lock server and starts it again; then the same with TERM.
fn killed_and_stopped(server: &mut LockServer) {
    longer_than_a_lease_lives(server, 3);
    server.kill_and_restart();
    longer_than_a_lease_lives(server, 4);
    server.signal(Signal::TERM);
    wait_for("it has stopped", SOON, || server.ended());
    server.kill_and_restart();
}

/// Nobody was lost or failed, and nothing was taken back.
fn nobody_lost_anything(server: &LockServer) {
    let history = server.must(&["history"]);
    for word in ["stopped renewing", "never answered", "halted"] {
        assert!(!history.contains(word), "{history}");
    }
}

#[test]
fn a_restart_under_way_is_brought_to_its_end_and_the_rollout_is_done() {
    let mut scene = Scene::new(1);
    server_with_ttl(&scene, "pool/p");
    scene.server.set("service/web", "max_failures=1");
    let go = scene.folder.path().join("go");
    let restart: &'static str = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display()).leak();
    let tuning = Tuning { restart, timeout: "300s", ..Tuning::default() };
    let hosts: Vec<Host> = ["h0", "h1"].iter().map(|name| scene.host(name, &tuning)).collect();
    let workers: Vec<Worker> = hosts.iter().map(Host::work).collect();
    wait_until_joined(&workers);
    scene.announce();
    wait_for("a restart is under way", SOON, || hosts.iter().any(|host| host.starts() > 0).then_some(()));
    killed_and_stopped(&mut scene.server);
    let shown = scene.server.json(&["leases"]);
    let states: Vec<_> = shown["leases"].as_array().into_iter().flatten().map(|lease| &lease["state"]).collect();
    assert_eq!(states, ["held"], "{shown}");
    let shown = scene.server.json(&["rollouts", "web@1"]);
    assert_eq!((&shown["row"]["state"], &shown["row"]["tally"]["begun"]), (&"rolling".into(), &1.into()), "{shown}");
    std::fs::write(&go, "").expect("written");
    scene.wait_until_done("web@1");
    for host in &hosts {
        scene.wait_until_settled(host, "the end");
        scene.check(host, 1, "the end");
    }
    assert_eq!(scene.balancer.peak(), 1, "one slot, one out");
    nobody_lost_anything(&scene.server);
}

/// A command under `run` in the pool `q`, which writes down when it starts, and when it ends once it may.
fn runs(server: &LockServer, name: &str, log: &Path, go: &Path) -> Running {
    let script = format!(
        "echo {name} starts >> {log}; while [ ! -e {go} ]; do sleep 0.05; done; echo {name} ends >> {log}",
        log = log.display(),
        go = go.display()
    );
    let mut command = server.command(&["run", "-p", "q", "--name", name, "--", "sh", "-c", &script]);
    Running::of(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts"))
}

#[test]
fn no_two_commands_are_on_one_slot() {
    let mut scene = Scene::new(1);
    scene.server.set("pool/q", "slots=1");
    server_with_ttl(&scene, "pool/q");
    let (log, go) = (scene.folder.path().join("runs"), scene.folder.path().join("go"));
    let first = runs(&scene.server, "first", &log, &go);
    wait_for("the first has its lease", SOON, || (lines(&log) == ["first starts"]).then_some(()));
    let second = runs(&scene.server, "second", &log, &go);
    wait_for("the second waits", SOON, || {
        (scene.server.json(&["leases"])["queue"][0]["holder"] == "second").then_some(())
    });
    killed_and_stopped(&mut scene.server);
    longer_than_a_lease_lives(&scene.server, 5);
    assert_eq!(lines(&log), ["first starts"]);
    std::fs::write(&go, "").expect("written");
    for mut running in [first, second] {
        let status = wait_for("it ends", SOON, || running.0.try_wait().expect("our own child"));
        assert_eq!(status.code(), Some(0), "{:?}", lines(&log));
    }
    assert_eq!(lines(&log), ["first starts", "first ends", "second starts", "second ends"]);
    nobody_lost_anything(&scene.server);
}
