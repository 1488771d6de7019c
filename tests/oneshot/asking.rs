//! Whether a service needs a restart, by the figures and limits of the chain that came before.

use super::{Scene, error, starts};
use crate::support::{Tuning, lines};

/// The rules of that chain, over what its status said: bytes are free, per cent fragmented, keys of keys.
const CHECK: &str = r#"check = { exec = ["cat", "FOLDER/figures"], rules = [
  { when = "answer.free / 1048576 <= 100", then = "restart" },
  { when = "answer.fragmentation >= 95.0", then = { exec = ["touch", "FOLDER/cleared"] } },
  { when = "answer.keys >= answer.max_keys - 5000", then = "restart" },
] }"#;

fn scene() -> Scene {
    let scene = Scene::new(&Tuning { more: "CHECK", ..Tuning::default() });
    scene.edit("CHECK", &CHECK.replace("FOLDER", &scene.folder.path().display().to_string()));
    scene
}

fn figures(scene: &Scene, free: u64, fragmentation: f64, keys: u64) {
    let text = format!(r#"{{"free": {free}, "fragmentation": {fragmentation:?}, "keys": {keys}, "max_keys": 32531}}"#);
    std::fs::write(scene.path("figures"), text).expect("written");
}

const MIB: u64 = 1_048_576;

/// Scenario 1: its limits, just inside and just outside.
#[test]
fn a_service_restarts_by_the_limits_of_the_chain_before_and_at_no_others() {
    let scene = scene();
    for (free, fragmentation, keys, restarts, clears) in [
        (101 * MIB - 1, 10.0, 100, true, false),
        (101 * MIB, 10.0, 27_530, false, false),
        (500 * MIB, 94.9, 27_530, false, false),
        (500 * MIB, 95.0, 27_530, false, true),
        (500 * MIB, 10.0, 27_531, true, false),
        (500 * MIB, 99.5, 32_000, true, true),
        // The first restart ends it: nothing is cleared before one.
        (0, 99.5, 0, true, false),
    ] {
        figures(&scene, free, fragmentation, keys);
        let before = starts(&scene.host.folder);
        let (code, out, err) = scene.run(&["restart", "web"]);
        assert_eq!(code, 0, "{out}{err}");
        assert_eq!(starts(&scene.host.folder) - before, usize::from(restarts), "{free} {fragmentation} {keys}: {out}");
        assert_eq!(out.contains("NOT restarting web"), !restarts, "{out}");
        let cleared = std::fs::remove_file(scene.path("cleared")).is_ok();
        assert_eq!(cleared, clears, "{free} {fragmentation} {keys}");
    }
}

/// Scenario 1: where nothing needs a restart no lease is asked for, so nobody need be there to give one. Scenario 2: "always"
/// restarts whatever the figures say.
#[test]
fn without_need_no_lease_is_asked_for_and_always_restarts_all_the_same() {
    let scene = scene();
    figures(&scene, 500 * MIB, 10.0, 100);
    let (code, out, err) = scene.run(&["restart", "web", "--always"]);
    assert!(code == 0 && starts(&scene.host.folder) == 1, "{out}{err}");
    scene.server.kill();
    let (code, out, err) = scene.run(&["restart", "web"]);
    assert!(code == 0 && out.contains("NOT restarting web") && err.is_empty(), "{code}: {out}{err}");
    assert_eq!(out.matches("fragmentation").count(), 1, "what the check says is said once: {out}");
    let (code, out, _) = scene.run(&["check", "web"]);
    assert!(code == 0 && out.ends_with("web needs no restart\n"), "{code}: {out}");
    assert_eq!(lines(&scene.host.folder.join("starts")).len(), 1);
}

/// Scenario 2: a check that cannot be read restarts nothing, and is an error.
#[test]
fn a_check_that_cannot_be_read_restarts_nothing_and_is_an_error() {
    let scene = scene();
    for text in ["", "garbage", "{}", r#"{"free": null, "fragmentation": 1.0, "keys": 1, "max_keys": 2}"#] {
        std::fs::write(scene.path("figures"), text).expect("written");
        let (code, _, err) = scene.run(&["restart", "web"]);
        assert!(code == 1 && error(&err).contains("check: "), "{text:?} exits {code}: {err}");
        let (code, _, err) = scene.run(&["check", "web"]);
        assert!(code == 1 && error(&err).contains("cannot be read"), "{text:?} exits {code}: {err}");
    }
    std::fs::remove_file(scene.path("figures")).expect("removed");
    let (code, _, err) = scene.run(&["restart", "web"]);
    assert!(code == 1 && error(&err).contains("check: "), "{code}: {err}");
    assert_eq!((starts(&scene.host.folder), scene.balancer.peak()), (0, 0));
}
