//! kill -9 of the worker at every point of the journal, and a new worker on the host: the host is in the balancer, its
//! service restarted exactly once, its lease is settled.
//!
//! The points are enumerated from the code: a whole sequence is run once, and the journal that it left has one line per
//! record; the worker is killed just before each is written, and just after each is on disk.

mod handed_on;
mod lock_server;
mod power;
mod reboot;
mod started_again;
mod systemd;

use crate::support::{Balancer, Host, LockServer, SOON, Tuning, Worker, lines, wait_for};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// The variable that makes a worker of a debug build kill itself at a point of its journal.
pub(crate) const CRASH_AT: &str = "STAGGER_CRASH_AT";
/// The same, and what was not synced is lost.
pub(crate) const POWER_CUT_AT: &str = "STAGGER_POWER_CUT_AT";

/// The records in a host's journals, one a line.
pub(crate) fn journal_lines(host: &Host) -> Vec<String> {
    let entries = std::fs::read_dir(host.folder.join("state/sequences")).into_iter().flatten().flatten();
    entries.flat_map(|entry| lines(&entry.path())).collect()
}

struct Scene {
    folder: tempfile::TempDir,
    server: LockServer,
    balancer: Balancer,
}

impl Scene {
    fn new(slots: usize) -> Scene {
        Scene::with(slots, LockServer::start)
    }

    /// With a lock server that loses what it did not sync whenever it is killed.
    fn with_fragile_server(slots: usize) -> Scene {
        Scene::with(slots, |folder| {
            let server = LockServer::start_until_power_cut(folder, "never");
            server.wait_until_ready();
            server
        })
    }

    fn with(slots: usize, start: impl FnOnce(&Path) -> LockServer) -> Scene {
        let folder = tempfile::tempdir().expect("a folder");
        let server = start(folder.path());
        server.set("pool/p", &format!("slots={slots}"));
        server.set("pool/p", "ttl=10s");
        server.set("service/web", "max_failures=1000");
        Scene { server, balancer: Balancer::start(), folder }
    }

    fn host(&self, name: &str, tuning: &Tuning) -> Host {
        Host::new(self.folder.path(), name, &self.server.url, &self.balancer, tuning)
    }

    fn announce(&self) {
        self.server.must(&["announce", "web", "-m", "build"]);
    }

    fn wait_until_done(&self, rollout: &str) {
        wait_for("the rollout is done", Duration::from_secs(90), || {
            let shown = self.server.json(&["rollouts", rollout]);
            (shown["row"]["state"] == "done").then_some(())
        });
    }

    /// Its service has started, and its lease is given back. A rollout is done before that when the host counts as down.
    fn wait_until_settled(&self, host: &Host, what: &str) {
        wait_for(&format!("{} at {what} has restarted and settled", host.name), SOON, || {
            let shown = self.server.json(&["leases", &format!("host/{}", host.name)]);
            (host.starts() > 0 && shown["leases"].as_array().is_some_and(Vec::is_empty)).then_some(())
        });
    }

    /// The host is in, restarted so often, and neither holds nor waits.
    fn check(&self, host: &Host, starts: usize, what: &str) {
        assert_eq!(host.starts(), starts, "{what}: starts of {}\n{}", host.name, host.log());
        assert!(!self.balancer.is_out(&host.name), "{what}: {} was left out\n{}", host.name, host.log());
        let shown = self.server.json(&["leases", &format!("host/{}", host.name)]);
        assert_eq!(shown["leases"].as_array().map(Vec::len), Some(0), "{what}: {shown}");
        assert_eq!(shown["queue"].as_array().map(Vec::len), Some(0), "{what}: {shown}");
    }
}

fn wait_until_joined<'w>(workers: impl IntoIterator<Item = &'w Worker>) {
    for worker in workers {
        wait_for("a worker has joined", SOON, || worker.has_joined().then_some(()));
    }
}

/// The records that a whole sequence writes, undisturbed.
fn records_of_a_sequence() -> &'static [String] {
    static RECORDS: OnceLock<Vec<String>> = OnceLock::new();
    RECORDS.get_or_init(|| {
        let scene = Scene::new(1);
        let host = scene.host("whole", &Tuning::default());
        let worker = host.work();
        wait_until_joined([&worker]);
        scene.announce();
        scene.wait_until_done("web@1");
        scene.check(&host, 1, "undisturbed");
        let is_closed = |records: &Vec<String>| records.last().is_some_and(|last| last.ends_with("\"settled\""));
        let records = wait_for("the journal is closed", SOON, || Some(journal_lines(&host)).filter(is_closed));
        assert!((10..60).contains(&records.len()), "a sequence of {} records", records.len());
        records
    })
}

/// Just before each record is written, and just after it is on disk.
pub(crate) fn every_point() -> Vec<String> {
    let records = records_of_a_sequence().len();
    (1..=records).flat_map(|number| [format!("before:{number}"), format!("after:{number}")]).collect()
}

/// A host per point, whose worker dies there as the variable says, and is started again; `also` is done at each death.
fn dies_at_every_point(scene: &Scene, variable: &str, also: impl Fn()) {
    let host = |name: &str| scene.host(name, &Tuning::default());
    hosts_die_at_every_point(scene, host, variable, also);
}

/// The same with hosts of another make.
fn hosts_die_at_every_point(scene: &Scene, host: impl Fn(&str) -> Host, variable: &str, also: impl Fn()) {
    let points = every_point();
    let hosts: Vec<Host> = (0..points.len()).map(|place| host(&format!("h{place:02}"))).collect();
    let mut workers: Vec<Worker> =
        hosts.iter().zip(&points).map(|(host, point)| host.work_with(&[(variable, point)])).collect();
    wait_until_joined(&workers);
    scene.announce();
    let mut alive: Vec<usize> = (0..hosts.len()).collect();
    wait_for("all die at their points", Duration::from_secs(90), || {
        alive.retain(|place| {
            let (host, point) = (&hosts[*place], &points[*place]);
            let Some(status) = workers[*place].ended() else { return true };
            also();
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{point}: {}", host.log());
            workers[*place] = host.work();
            false
        });
        alive.is_empty().then_some(())
    });
    scene.server.wait_until_ready();
    scene.wait_until_done("web@1");
    for (host, point) in hosts.iter().zip(&points) {
        scene.wait_until_settled(host, point);
        scene.check(host, 1, point);
    }
}

#[test]
fn killed_at_every_point_of_the_journal() {
    dies_at_every_point(&Scene::new(every_point().len()), CRASH_AT, || {});
}

/// A host whose restart can be caught in the act, and that may or may not be able to tell what became of it.
fn killed_inside_the_restart(has_identity: bool) -> (Scene, Host, Worker) {
    let scene = Scene::new(1);
    let tuning = Tuning { restart: "sleep 300", timeout: "300s", has_identity, ..Tuning::default() };
    let host = scene.host("h", &tuning);
    let mut worker = host.work();
    wait_until_joined([&worker]);
    scene.announce();
    wait_for("the restart is under way", SOON, || (host.starts() == 1).then_some(()));
    worker.process.kill();
    let text = std::fs::read_to_string(&host.config).expect("a configuration").replace("sleep 300", "true");
    std::fs::write(&host.config, text).expect("a configuration");
    (scene, host, worker)
}

#[test]
fn killed_inside_the_restart_the_identity_decides() {
    let (scene, host, mut worker) = killed_inside_the_restart(true);
    worker = {
        drop(worker);
        host.work()
    };
    scene.wait_until_done("web@1");
    wait_for("it has settled", SOON, || {
        (scene.server.json(&["leases"])["leases"].as_array().is_some_and(Vec::is_empty)).then_some(())
    });
    scene.check(&host, 1, "the service had started");
    drop(worker);
}

#[test]
fn killed_inside_a_restart_that_nobody_can_look_into_it_is_stuck_out_and_counted() {
    let (scene, host, worker) = killed_inside_the_restart(false);
    drop(worker);
    let worker = host.work();
    wait_for("it is stuck", SOON, || {
        let shown = scene.server.json(&["leases", "host/h"]);
        (shown["leases"][0]["state"] == "failed" && shown["leases"][0]["stuck"] == true).then_some(())
    });
    assert!(scene.balancer.is_out("h"), "a stuck host stays out");
    assert_eq!(host.starts(), 1, "nothing is restarted that nobody understands");
    // A person looks, and restarts it by hand: the same slot, and all is well again.
    drop(worker);
    let (code, _, err) = crate::support::run(&mut host.command(&["restart", "web", "--always"]));
    assert_eq!(code, 0, "{err}");
    scene.check(&host, 2, "after a person's restart");
}

#[test]
fn a_host_that_an_operator_took_out_is_restarted_in_place_and_left_out() {
    let scene = Scene::new(1);
    let host = scene.host("h", &Tuning::default());
    scene.balancer.set("h", true);
    let worker = host.work();
    wait_until_joined([&worker]);
    scene.announce();
    scene.wait_until_done("web@1");
    assert_eq!(host.starts(), 1);
    assert!(scene.balancer.is_out("h"), "what an operator took out is not put in");
    let out = scene.server.must(&["members", "--out"]);
    assert!(out.contains('h'), "{out}");
}

#[test]
fn a_balancer_that_does_not_answer_stops_the_restart() {
    let scene = Scene::new(1);
    let host = scene.host("h", &Tuning::default());
    let worker = host.work();
    wait_until_joined([&worker]);
    scene.balancer.fail(true);
    scene.announce();
    wait_for("the failure is reported", SOON, || {
        let shown = scene.server.json(&["rollouts", "web@1"]);
        (shown["row"]["tally"]["failed"] == 1).then_some(())
    });
    assert_eq!(host.starts(), 0, "nothing restarts that the balancer has not confirmed out");
    scene.balancer.fail(false);
    assert!(!scene.balancer.is_out("h"));
    let shown = scene.server.json(&["rollouts", "web@1"]);
    let report = &shown["targets"][0]["report"];
    assert_eq!(report["step"], "depool", "{report}");
    assert!(report["cause"].as_str().is_some_and(|cause| cause.contains("500")), "{report}");
}

#[test]
fn a_failing_restart_keeps_the_slot_and_tells_what_the_unit_printed() {
    let scene = Scene::new(1);
    let tuning =
        Tuning { restart: "echo \\\"[pool www] unknown entry 'pm.max_chldren'\\\" >&2; exit 78", ..Tuning::default() };
    let host = scene.host("h", &tuning);
    let worker = host.work();
    wait_until_joined([&worker]);
    let (code, out, err) =
        crate::support::run(&mut scene.server.command(&["announce", "web", "-m", "bad build", "--follow"]));
    assert_eq!(code, 5, "{out}\n{err}");
    assert!(format!("{out}{err}").contains("unknown entry 'pm.max_chldren'"), "{out}\n{err}");
    assert!(scene.balancer.is_out("h"));
    let shown = scene.server.json(&["leases"]);
    assert_eq!(shown["leases"][0]["state"], "failed", "{shown}");
    // The fix is announced; the failed host goes first on the slot it keeps, and is repooled.
    let text = std::fs::read_to_string(&host.config).expect("a configuration");
    let fixed = text.replace("exit 78", "exit 0");
    assert_ne!(text, fixed);
    std::fs::write(&host.config, fixed).expect("a configuration");
    drop(worker);
    let worker = host.work();
    wait_until_joined([&worker]);
    let (code, out, err) =
        crate::support::run(&mut scene.server.command(&["announce", "web", "-m", "good build", "--follow"]));
    assert_eq!(code, 0, "{out}\n{err}");
    scene.check(&host, 2, "after the fix");
}

#[test]
fn two_workers_with_one_name_and_two_on_one_host() {
    let scene = Scene::new(1);
    let host = scene.host("h", &Tuning::default());
    let worker = host.work();
    wait_until_joined([&worker]);
    // The same state folder: the host's lock says who has it.
    let (code, _, err) = crate::support::run(&mut host.command(&["worker"]));
    assert_ne!(code, 0);
    let pid = format!("pid {}", worker.process.0.id());
    assert!(err.contains(&pid) && err.contains("the worker of "), "{err}");
    // Another state folder, the same name: the lock server says so.
    let text = std::fs::read_to_string(&host.config).expect("a configuration");
    let other = scene.folder.path().join("other.toml");
    std::fs::write(&other, text.replace("h/state", "h/state2")).expect("a configuration");
    let mut command = crate::support::stagger();
    command.args(["worker", "-c"]).arg(&other).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
    let mut second = crate::support::Running::of(command.spawn().expect("the program starts"));
    let stderr = second.0.stderr.take().expect("piped");
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::BufRead::lines(std::io::BufReader::new(stderr)).map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    wait_for("the second is refused as a duplicate", SOON, || {
        told.try_iter().find(|line| line.to_lowercase().contains("duplicate") || line.contains("another")).map(|_| ())
    });
    drop(second);
    assert!(scene.server.json(&["members"])["members"][0]["down"] == false, "the first goes on");
    drop(worker);
}
