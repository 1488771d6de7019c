//! The commands of a single host, as they are typed and as timers run them: what they do, and how they exit. They take the
//! place of the chain of scripts that came before; docs/from-the-old-chain.md says of what.

mod asking;
mod canaries;
mod lease;
mod left;
mod regardless;

use crate::support::{Balancer, Host, LockServer, SOON, Tuning, lines, run, wait_for};
use std::path::Path;

/// A lock server with one slot, a balancer, and a host behind it.
struct Scene {
    folder: tempfile::TempDir,
    server: LockServer,
    balancer: Balancer,
    host: Host,
}

impl Scene {
    fn new(tuning: &Tuning) -> Scene {
        let folder = tempfile::tempdir().expect("a folder");
        let server = LockServer::start(folder.path());
        server.set("pool/p", "slots=1");
        let balancer = Balancer::start();
        let host = Host::new(folder.path(), "mw1331", &server.url, &balancer, tuning);
        Scene { folder, server, balancer, host }
    }

    /// Runs a command of the host to its end: exit code, and what it said on standard output and standard error.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        run(&mut self.host.command(words))
    }

    /// Puts a part of the host's file in the place of another.
    fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(&self.host.config).expect("a configuration");
        assert!(text.contains(from), "{from}");
        std::fs::write(&self.host.config, text.replace(from, to)).expect("written");
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Takes the only slot until it is dropped.
    fn take_the_slot(&self) -> crate::support::Running {
        let mut command = self.server.command(&["run", "-p", "p", "--name", "other", "--", "sleep", "300"]);
        let child = crate::support::Running::of(command.spawn().expect("the program starts"));
        wait_for("the slot is taken", SOON, || self.server.must(&["leases"]).contains("other").then_some(()));
        child
    }
}

/// The line that says why it ended.
fn error(err: &str) -> &str {
    err.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("no error is told: {err}"))
}

/// Scenario 6; seen to go wrong: the restart failed and the slot was given back. The host stays out and keeps its slot, and a
/// restart that is well ends both.
#[test]
fn a_restart_that_fails_leaves_the_host_out_and_keeps_its_slot_until_one_is_well() {
    let scene = Scene::new(&Tuning { restart: "test ! -e $(dirname BAD)/bad || exit 78", ..Tuning::default() });
    scene.edit("$(dirname BAD)", &scene.folder.path().display().to_string());
    std::fs::write(scene.path("bad"), "").expect("written");
    let (code, _, err) = scene.run(&["restart", "web"]);
    assert!(code == 1 && error(&err).contains("restart: exit 78; NOT repooling"), "{code}: {err}");
    assert!(scene.balancer.is_out("mw1331"));
    assert_eq!(scene.server.json(&["leases"])["leases"][0]["state"], "failed");
    // It has the slot; nobody else gets it.
    let (code, _, _) = run(&mut scene.server.command(&["run", "-p", "p", "--wait", "200ms", "--", "true"]));
    assert_eq!(code, 2);
    std::fs::remove_file(scene.path("bad")).expect("removed");
    let (code, out, err) = scene.run(&["restart", "web"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(!scene.balancer.is_out("mw1331"));
    assert_eq!(scene.server.json(&["leases"])["leases"].as_array().map(Vec::len), Some(0));
}

/// What Stagger left out after a failure, and a person moved since, is that person's: a good restart leaves it as it is.
#[test]
fn a_host_that_was_left_out_and_moved_by_hand_since_stays_where_a_person_put_it() {
    let by_hand: [&[&str]; 2] = [&["depool"], &["repool", "depool"]];
    for moves in by_hand {
        let (scene, _) = left_out();
        for verb in moves {
            let (code, out, err) = scene.run(&[verb, "web"]);
            assert_eq!(code, 0, "{out}{err}");
        }
        let (code, out, err) = scene.run(&["restart", "web"]);
        assert_eq!(code, 0, "{out}{err}");
        assert!(scene.balancer.is_out("mw1331"), "after {moves:?} by hand it was put in: {out}");
    }
}

/// The same, moved at the balancer itself and not by Stagger's commands: a worker sees it.
#[test]
fn a_host_that_was_left_out_put_in_and_taken_out_at_the_balancer_stays_out() {
    let (scene, starts) = left_out();
    scene.balancer.set("mw1331", false);
    let worker = scene.host.work();
    wait_for("the worker sees that the host is in", SOON, || {
        let member = &scene.server.json(&["members"])["members"][0];
        (member["sightings"][0]["presence"] == "in").then_some(())
    });
    drop(worker);
    scene.balancer.set("mw1331", true);
    let (code, out, err) = scene.run(&["restart", "web"]);
    assert_eq!((code, scene.host.starts()), (0, starts + 1), "{out}{err}");
    assert!(scene.balancer.is_out("mw1331"), "it was put in: {out}");
}

/// A host that a failed restart left out, whose service would start again; and how often it was started.
fn left_out() -> (Scene, usize) {
    let scene = Scene::new(&Tuning { restart: "test ! -e $(dirname BAD)/bad || exit 78", ..Tuning::default() });
    scene.edit("$(dirname BAD)", &scene.folder.path().display().to_string());
    std::fs::write(scene.path("bad"), "").expect("written");
    assert_eq!(scene.run(&["restart", "web"]).0, 1);
    assert!(scene.balancer.is_out("mw1331"));
    std::fs::remove_file(scene.path("bad")).expect("removed");
    let starts = scene.host.starts();
    (scene, starts)
}

/// Scenario 21: a host in two groups restarts once, and hosts of another role are untouched.
#[test]
fn a_host_in_two_groups_restarts_once_and_another_role_is_untouched() {
    let scene = Scene::new(&Tuning::default());
    scene.edit("pools = [\"p\"]", "pools = [\"p\", \"rack\"]");
    let other = Host::new(scene.folder.path(), "mwmaint1", &scene.server.url, &scene.balancer, &Tuning::default());
    let text = std::fs::read_to_string(&other.config).expect("a configuration");
    std::fs::write(&other.config, text.replace("pools = [\"p\"]", "pools = [\"maintenance\"]")).expect("written");
    let _workers = [scene.host.work(), other.work()];
    wait_for("both have joined", SOON, || {
        (scene.server.json(&["members"])["members"].as_array().map_or(0, Vec::len) == 2).then_some(())
    });
    scene.server.must(&["announce", "web", "-m", "build", "--only", "pool/p", "--only", "pool/rack", "--follow"]);
    assert_eq!((scene.host.starts(), other.starts()), (1, 0));
    assert_eq!(scene.server.json(&["rollouts", "web@1"])["row"]["tally"]["ok"], 1);
}

fn starts(folder: &Path) -> usize {
    lines(&folder.join("starts")).len()
}
