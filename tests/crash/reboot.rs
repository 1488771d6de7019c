//! A service that is the host itself. A boot is told by the kernel's boot id; here the workers see one of the test's, in a mount
//! namespace of their own.

use super::{Scene, wait_until_joined};
use crate::support::{Host, SOON, Tuning, Worker, lines, wait_for};
use rustix::process::Signal;
use std::process::Command;
use std::time::{Duration, Instant};

const TTL: Duration = Duration::from_secs(2);

/// A host that writes down when it is asked to boot, and does nothing more.
struct Machine {
    scene: Scene,
    host: Host,
}

impl Machine {
    fn new(timeout: &str) -> Machine {
        let scene = Scene::new(1);
        scene.server.set("pool/p", &format!("ttl={}s", TTL.as_secs()));
        scene.server.set("service/web", "max_failures=1");
        let host = scene.host(
            "h",
            &Tuning { more: "verify = { tcp = \"127.0.0.1:1\", expect = \"!connected\" }", ..Tuning::default() },
        );
        host.restart_by(&format!(
            "{{ kind = \"reboot\", command = [\"sh\", \"-c\", \"echo asked >> {}\"], timeout = \"{timeout}\" }}",
            host.folder.join("starts").display()
        ));
        let machine = Machine { scene, host };
        machine.boot(1);
        machine
    }

    /// From now on it is another boot.
    fn boot(&self, number: u32) {
        let id = format!("{number:08}-0000-4000-8000-000000000000\n");
        std::fs::write(self.host.folder.join("boot_id"), id).expect("a boot id");
    }

    fn work(&self) -> Worker {
        let worker = self.host.command(&["worker"]);
        let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).arg(self.host.folder.join("boot_id"));
        command.arg(worker.get_program()).args(worker.get_args()).env_clear();
        command.envs(worker.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.host.work_by(command, &[])
    }

    fn asked(&self) -> usize {
        lines(&self.host.folder.join("starts")).len()
    }

    /// Announces, and waits until the host was asked to boot.
    fn announce(&self) -> Worker {
        let worker = self.work();
        wait_until_joined([&worker]);
        self.scene.announce();
        wait_for("the host is asked to boot", SOON, || (self.asked() == 1).then_some(()));
        worker
    }

    fn lease(&self) -> serde_json::Value {
        self.scene.server.json(&["leases", "host/h"])["leases"][0].clone()
    }

    /// Waits for longer than a lease lives that nobody renews; it counts all the while, and is not failed.
    fn is_away(&self) {
        let since = Instant::now();
        wait_for("longer than a lease lives", SOON, || (since.elapsed() > TTL * 2).then_some(()));
        let lease = self.lease();
        assert_eq!(lease["state"], "held", "{lease}");
        assert!(self.scene.balancer.is_out("h"));
    }

    fn is_done(&self) {
        self.scene.wait_until_done("web@1");
        self.scene.wait_until_settled(&self.host, "the end");
        self.scene.check(&self.host, 1, "the end");
        let shown = self.scene.server.json(&["rollouts", "web@1"]);
        assert_eq!(shown["row"]["tally"]["ok"], 1, "{shown}");
        assert!(!self.scene.server.must(&["history"]).contains("stopped renewing"));
    }
}

#[test]
fn a_host_whose_power_goes_is_verified_and_repooled_after_its_boot() {
    let machine = Machine::new("60s");
    let mut worker = machine.announce();
    worker.process.kill();
    machine.is_away();
    machine.boot(2);
    let worker = machine.work();
    machine.is_done();
    drop(worker);
}

/// A service manager that brings the host down sends TERM first, and waits: a worker that waited for it in turn would only delay it.
#[test]
fn a_worker_that_is_asked_to_stop_by_the_boot_itself_ends_at_once() {
    let machine = Machine::new("60s");
    let mut worker = machine.announce();
    worker.signal(Signal::TERM);
    let started = Instant::now();
    let status = wait_for("it ends", SOON, || worker.ended());
    assert_eq!(status.code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(20));
    machine.is_away();
    machine.boot(2);
    let worker = machine.work();
    machine.is_done();
    drop(worker);
}

/// The lock server forgets nothing of it either.
#[test]
fn the_lock_server_may_be_killed_while_the_host_boots() {
    let mut machine = Machine::new("60s");
    let mut worker = machine.announce();
    worker.process.kill();
    machine.scene.server.kill_and_restart();
    machine.is_away();
    machine.boot(2);
    let worker = machine.work();
    machine.is_done();
    drop(worker);
}

/// A worker that is started again on a host that is about to go down asks for no second boot.
#[test]
fn a_boot_that_is_still_to_come_is_not_asked_for_again() {
    let machine = Machine::new("60s");
    let mut worker = machine.announce();
    worker.process.kill();
    let mut worker = machine.work();
    wait_until_joined([&worker]);
    worker.signal(Signal::TERM);
    wait_for("it ends at once", SOON, || worker.ended());
    machine.boot(2);
    let worker = machine.work();
    machine.is_done();
    drop(worker);
}

#[test]
fn a_host_that_is_up_still_after_its_time_has_failed() {
    let machine = Machine::new("1s");
    let worker = machine.announce();
    wait_for("it has failed", SOON, || (machine.lease()["state"] == "failed").then_some(()));
    let report = &machine.scene.server.json(&["rollouts", "web@1"])["targets"][0]["report"];
    assert_eq!(report["cause"], "the host was asked to boot, and is up still after 1s", "{report}");
    assert!(machine.scene.balancer.is_out("h"));
    drop(worker);
}

/// Nothing came of it: with the same boot id for as long as it may take, it is asked for again.
#[test]
fn a_boot_that_never_came_is_asked_for_again_after_its_time() {
    let machine = Machine::new("3s");
    let mut worker = machine.announce();
    worker.process.kill();
    let mut worker = machine.work();
    wait_for("it is asked again", SOON, || (machine.asked() == 2).then_some(()));
    worker.process.kill();
    machine.boot(2);
    let worker = machine.work();
    machine.scene.wait_until_done("web@1");
    machine.scene.wait_until_settled(&machine.host, "the end");
    machine.scene.check(&machine.host, 2, "the end");
    drop(worker);
}
