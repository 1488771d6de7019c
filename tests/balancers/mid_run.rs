//! What others do to a host in the middle of its restart: operators, and an HAProxy that dies.

use super::scene::{Scene, wait_until_joined};
use crate::support::haproxy::{DRAIN, MAINT, shown};
use crate::support::{Host, SOON, Tuning, Worker, run, wait_for};
use std::path::{Path, PathBuf};

fn names() -> Vec<String> {
    ["mw1", "mw1001"].map(str::to_owned).to_vec()
}

/// Shell words that wait for a file.
fn until(go: &Path) -> String {
    format!("while [ ! -e {} ]; do sleep 0.05; done", go.display())
}

/// A host that is caught in its restart, until the file that is returned is there.
fn caught_in_the_restart(scene: &Scene) -> (Host, Worker, PathBuf) {
    let go = scene.folder.path().join("go");
    let restart: &'static str = until(&go).leak();
    let host = scene.host("mw1", &Tuning { restart, timeout: "300s", ..Tuning::default() });
    let worker = host.work();
    wait_until_joined(&worker);
    scene.announce();
    wait_for("the restart is under way", SOON, || (host.starts() == 1).then_some(()));
    let state = scene.haproxy.state("app/mw1");
    assert_eq!((state.admin, state.weight), (DRAIN, 1));
    (host, worker, go)
}

#[test]
fn a_weight_that_an_operator_sets_meanwhile_stays() {
    let scene = Scene::new(&names(), 1);
    let (host, _worker, go) = caught_in_the_restart(&scene);
    scene.haproxy.set("app/mw1", "weight 50");
    std::fs::write(&go, "").expect("written");
    scene.wait_until_done("web@1");
    scene.wait_until_settled(&host);
    let state = scene.haproxy.state("app/mw1");
    assert_eq!((host.starts(), state.admin, state.weight), (1, 0, 50));
    let neighbour = scene.haproxy.state("app/mw1001");
    assert_eq!((neighbour.admin, neighbour.weight), (0, 1));
}

#[test]
fn a_maint_that_an_operator_sets_meanwhile_is_not_overwritten() {
    let scene = Scene::new(&names(), 1);
    let (host, _worker, go) = caught_in_the_restart(&scene);
    scene.haproxy.set("app/mw1", "state maint");
    scene.haproxy.set("app/mw1", "weight 50");
    std::fs::write(&go, "").expect("written");
    let report = wait_for("it is told", SOON, || {
        let shown = scene.server.json(&["rollouts", "web@1"]);
        let report = shown["targets"][0]["report"].clone();
        report.is_object().then_some(report)
    });
    assert_eq!((&report["outcome"], &report["step"]), (&"failed".into(), &"repool".into()), "{report}");
    let cause = report["cause"].as_str().expect("a cause");
    let expected = format!(
        "{} app/mw1 does not confirm that the host is in: it is out by somebody else: MAINT",
        scene.haproxy.admin
    );
    assert_eq!(cause, expected);
    let state = scene.haproxy.state("app/mw1");
    assert_eq!((host.starts(), state.admin, state.weight), (1, MAINT, 50));
    // Nor by hand.
    let (code, out, err) = run(&mut host.command(&["repool", "web"]));
    assert_eq!((code, scene.haproxy.state("app/mw1").admin), (1, MAINT), "{out}{err}");
    // When the operator is done with it, the host's next restart is an ordinary one, on the slot that it kept.
    scene.haproxy.set("app/mw1", "state ready");
    let (code, out, err) = run(&mut host.command(&["restart", "web", "--always"]));
    assert_eq!((code, host.starts()), (0, 2), "{out}{err}");
    let state = scene.haproxy.state("app/mw1");
    assert_eq!((state.admin, state.weight), (0, 50));
}

/// Scenarios 5 and 12.
#[test]
fn a_host_in_maint_is_restarted_in_place_and_left_there() {
    let scene = Scene::new(&names(), 1);
    let host = scene.host("mw1", &Tuning::default());
    scene.haproxy.set("app/mw1", "weight 50");
    scene.haproxy.set("app/mw1", "state maint");
    let worker = host.work();
    wait_until_joined(&worker);
    scene.announce();
    scene.wait_until_done("web@1");
    scene.wait_until_settled(&host);
    let state = scene.haproxy.state("app/mw1");
    assert_eq!((host.starts(), state.admin, state.weight), (1, MAINT, 50));
    let members = scene.server.must(&["members", "--out"]);
    assert!(members.contains("mw1") && members.contains("MAINT"), "{members}");
    // The deployer is told, and whoever wonders what to say to HAProxy.
    let report = scene.server.must(&["rollouts", "web@1", "--follow"]);
    assert!(report.contains("! mw1  restarted, and left out of ") && report.contains("stagger why mw1"), "{report}");
    let hosts = scene.server.must(&["rollouts", "web@1"]);
    assert!(hosts.contains(" app/mw1, not by Stagger"), "{hosts}");
    let undo = "in HAProxy: set server app/mw1 state ready";
    let why = scene.server.must(&["why", "mw1"]);
    assert!(why.contains(undo) && !why.contains("stagger repool"), "{why}");
    let (code, out, err) = run(&mut host.command(&["repool", "web"]));
    assert_eq!((code, scene.haproxy.state("app/mw1").admin), (1, MAINT), "{out}");
    assert!(err.contains(&format!("hint: {undo}")), "{err}");
}

/// What Stagger left out when a restart failed, an operator may make their own: then it is not put back.
#[test]
fn a_failed_host_that_an_operator_put_into_maint_is_restarted_there_and_left() {
    let scene = Scene::new(&names(), 1);
    let well = scene.folder.path().join("well");
    let restart: &'static str = format!("test -e {}", well.display()).leak();
    let host = scene.host("mw1", &Tuning { restart, ..Tuning::default() });
    let (code, out, err) = run(&mut host.command(&["restart", "web", "--always"]));
    assert_eq!((code, scene.haproxy.state("app/mw1").admin), (1, DRAIN), "{out}{err}");
    scene.haproxy.set("app/mw1", "state maint");
    assert_eq!(scene.haproxy.state("app/mw1").admin, MAINT, "the drain is gone");
    std::fs::write(&well, "").expect("written");
    let (code, out, err) = run(&mut host.command(&["restart", "web", "--always"]));
    assert_eq!((code, host.starts()), (0, 2), "{out}{err}");
    assert!(format!("{out}{err}").contains("already, not by Stagger"), "{out}{err}");
    assert_eq!(scene.haproxy.state("app/mw1").admin, MAINT);
    assert!(scene.server.json(&["leases"])["leases"].as_array().is_some_and(Vec::is_empty), "its slot is free");
    // Without an operator, the next good run puts it back.
    scene.haproxy.set("app/mw1", "state ready");
    std::fs::remove_file(&well).expect("ill again");
    let (code, _, _) = run(&mut host.command(&["restart", "web", "--always"]));
    assert_eq!((code, scene.haproxy.state("app/mw1").admin), (1, DRAIN));
    std::fs::write(&well, "").expect("written");
    let (code, out, err) = run(&mut host.command(&["restart", "web", "--always"]));
    assert_eq!((code, scene.haproxy.state("app/mw1").admin), (0, 0), "{out}{err}");
}

/// A host whose drain lasts until a file is there, and whose restart asks HAProxy where it stands at that very moment.
fn draining_when_haproxy_dies(keeps_state: bool) -> (Scene, Host, usize) {
    let scene = Scene::new(&names(), 1);
    let (go, witness) = (scene.folder.path().join("go"), scene.folder.path().join("witness"));
    let socket = scene.haproxy.admin.replace(':', "/");
    let restart: &'static str = format!(
        "bash -c 'exec 3<>/dev/tcp/{socket} && echo show servers state app >&3 && cat <&3 >> {}'",
        witness.display()
    )
    .leak();
    let drain_more: &'static str = format!("exec = [\"test\", \"-e\", {go:?}]\nuntil = \"exit == 0\"").leak();
    let tuning = Tuning { drain_max: "60s", drain_more, restart, ..Tuning::default() };
    let host = scene.host("mw1", &tuning);
    let worker = host.work();
    wait_until_joined(&worker);
    scene.announce();
    wait_for("it drains", SOON, || {
        let shown = scene.server.json(&["leases", "host/mw1"]);
        (shown["leases"][0]["step"] == "drain").then_some(())
    });
    assert_eq!(scene.haproxy.state("app/mw1").admin, DRAIN);
    if keeps_state {
        scene.haproxy.save_state();
    }
    scene.haproxy.restart();
    assert_eq!(scene.haproxy.state("app/mw1").admin, if keeps_state { DRAIN } else { 0 });
    std::fs::write(&go, "").expect("written");
    scene.wait_until_done("web@1");
    scene.wait_until_settled(&host);
    assert_eq!(host.starts(), 1);
    let states = std::fs::read_to_string(&witness).expect("a witness");
    assert_eq!(shown(&states, "app/mw1").map(|state| state.admin), Some(DRAIN), "restarted in rotation: {states}");
    assert_eq!(scene.haproxy.state("app/mw1").admin, 0);
    let shown = scene.server.json(&["rollouts", "web@1"]);
    let timings = shown["targets"][0]["report"]["timings"].as_array().expect("timings").clone();
    let depools = timings.iter().filter(|timing| timing["step"] == "depool").count();
    drop(worker);
    (scene, host, depools)
}

#[test]
fn an_haproxy_that_forgot_the_drain_is_left_again_before_the_restart() {
    let (_scene, _host, depools) = draining_when_haproxy_dies(false);
    assert_eq!(depools, 2, "once more");
}

#[test]
fn an_haproxy_with_a_state_file_does_not_forget() {
    let (_scene, _host, depools) = draining_when_haproxy_dies(true);
    assert_eq!(depools, 1);
}
