//! A host whose service died by itself, behind an HAProxy whose check has found it down.

use super::follower::Follower;
use super::scene::{Scene, wait_until_joined};
use crate::support::haproxy::{DRAIN, Shown};
use crate::support::{Host, SOON, Tuning, Worker, wait_for};
use std::path::PathBuf;

/// It is well again once it is restarted.
struct Ill {
    scene: Scene,
    host: Host,
    worker: Worker,
    go: PathBuf,
    _folder: tempfile::TempDir,
    _health: Follower,
}

impl Ill {
    /// It drains until a file is there.
    fn host() -> Ill {
        let folder = tempfile::tempdir().expect("a folder");
        let (ill, go) = (folder.path().join("ill"), folder.path().join("go"));
        std::fs::write(&ill, "").expect("written");
        let health = Follower::of(&ill);
        let server = format!("server mw1 {} check inter 100ms rise 2 fall 1", health.address);
        let scene = Scene::with(&format!("backend app\n    option httpchk GET /\n    {server}\n"), 1);
        let restart: &'static str = format!("rm -f {}", ill.display()).leak();
        let drain_more: &'static str = format!("exec = [\"test\", \"-e\", {go:?}]\nuntil = \"exit == 0\"").leak();
        let tuning = Tuning { drain_max: "60s", drain_more, restart, ..Tuning::default() };
        let host = scene.host("mw1", &tuning);
        let worker = host.work();
        wait_until_joined(&worker);
        wait_for("its check has found it down", SOON, || (scene.haproxy.state("app/mw1").operation == 0).then_some(()));
        scene.announce();
        wait_for("it drains", SOON, || (scene.haproxy.state("app/mw1").admin == DRAIN).then_some(()));
        Ill { scene, host, worker, go, _folder: folder, _health: health }
    }

    fn drains_no_more(&self) {
        std::fs::write(&self.go, "").expect("written");
    }

    fn is_restarted_and_in(&self) {
        self.scene.wait_until_done("web@1");
        self.scene.wait_until_settled(&self.host);
        let Shown { operation, admin, .. } = self.scene.haproxy.state("app/mw1");
        assert_eq!((self.host.starts(), admin, operation), (1, 0, 2), "{}", self.host.log());
    }
}

#[test]
fn it_is_taken_out_restarted_and_put_back() {
    let ill = Ill::host();
    ill.drains_no_more();
    ill.is_restarted_and_in();
    drop(ill.worker);
}

/// It is put back as it was, ill, and that is no failure: nobody need look.
#[test]
fn when_it_is_not_restarted_after_all_it_is_as_it_was() {
    let ill = Ill::host();
    let server = &ill.scene.server;
    server.must(&["pause", "service/web", "--for", "1h", "--reason", "test"]);
    ill.drains_no_more();
    wait_for("it waits again", SOON, || {
        let shown = server.json(&["leases", "host/mw1"]);
        let is_empty = |list: &str| shown[list].as_array().is_some_and(Vec::is_empty);
        (is_empty("leases") && !is_empty("queue")).then_some(())
    });
    let Shown { operation, admin, .. } = ill.scene.haproxy.state("app/mw1");
    assert_eq!((ill.host.starts(), admin, operation), (0, 0, 0), "{}", ill.host.log());
    server.must(&["resume", "service/web"]);
    ill.is_restarted_and_in();
    drop(ill.worker);
}
