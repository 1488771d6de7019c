//! A service that systemd restarts, and a worker that dies around that: its unit says itself how often it was started.

use super::{CRASH_AT, Scene, every_point, hosts_die_at_every_point, records_of_a_sequence, wait_until_joined};
use crate::support::{Host, SOON, Tuning, UserSystemd, wait_for};
use std::time::{Duration, Instant};

/// A host whose service is a unit of its own name, which runs already; what starts it is written down from now on.
fn host_of(scene: &Scene, systemd: &UserSystemd, name: &str, timeout: &str, before: &str) -> Host {
    let mut host = scene.host(name, &Tuning::default());
    host.environment = systemd.environment();
    let folder = host.folder.display();
    systemd.write(
        &format!("{name}.service"),
        &format!(
            "[Service]\nType=exec\nWorkingDirectory={folder}\nExecStartPre=/bin/sh -c '{before}'\n\
             ExecStart=/bin/sh -c 'echo start >> starts; exec sleep 1000'\n"
        ),
    );
    host.restart_by(&format!(
        "{{ kind = \"systemd\", units = [\"{name}.service\"], manager = \"user\", timeout = \"{timeout}\" }}"
    ));
    systemd.must(&["start", &format!("{name}.service")]);
    wait_for("its unit runs", SOON, || (host.starts() == 1).then_some(()));
    std::fs::remove_file(host.folder.join("starts")).expect("our own file");
    host
}

#[test]
fn killed_at_every_point_of_the_journal_its_unit_is_restarted_once() {
    let scene = Scene::new(every_point().len());
    let systemd = UserSystemd::start();
    let host = |name: &str| host_of(&scene, &systemd, name, "60s", "true");
    hosts_die_at_every_point(&scene, host, CRASH_AT, || {});
}

/// What was recorded and not done is done soon: systemd itself says that nothing of it is under way.
#[test]
fn killed_before_systemd_was_asked_it_goes_on_long_before_a_restart_s_time_is_over() {
    let is_act = |record: &String| record.contains("\"acting\":{\"step\":\"restart\"");
    let act = records_of_a_sequence().iter().position(is_act).expect("a restart") + 1;
    let scene = Scene::new(1);
    let systemd = UserSystemd::start();
    let host = host_of(&scene, &systemd, "h", "300s", "true");
    let mut worker = host.work_with(&[(CRASH_AT, &format!("after:{act}"))]);
    wait_until_joined([&worker]);
    scene.announce();
    wait_for("it dies", SOON, || worker.ended());
    assert_eq!(host.starts(), 0, "nothing was asked for");
    let started = Instant::now();
    let worker = host.work();
    scene.wait_until_settled(&host, "the end");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}\n{}", started.elapsed(), host.log());
    scene.check(&host, 1, "the end");
    drop(worker);
}

/// A job that systemd is at goes on when the worker is killed; the next one waits for it, and does not restart beside it.
#[test]
fn killed_while_systemd_is_at_it_the_next_worker_waits_for_the_job() {
    let scene = Scene::new(1);
    let systemd = UserSystemd::start();
    let before = "test ! -e slow || { touch under-way; while [ ! -e land ]; do sleep 0.05; done; }";
    let host = host_of(&scene, &systemd, "h", "300s", before);
    std::fs::write(host.folder.join("slow"), "").expect("written");
    let mut worker = host.work();
    wait_until_joined([&worker]);
    scene.announce();
    let is_there = |name: &str| host.folder.join(name).exists().then_some(());
    wait_for("the job is under way", SOON, || is_there("under-way"));
    worker.process.kill();
    let mut worker = host.work();
    wait_for("the next worker looks", SOON, || {
        host.log().contains("what an earlier").then_some(()).or_else(|| worker.has_joined().then_some(()))
    });
    assert_eq!(host.starts(), 0);
    std::fs::write(host.folder.join("land"), "").expect("written");
    let started = Instant::now();
    scene.wait_until_settled(&host, "the end");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}\n{}", started.elapsed(), host.log());
    scene.check(&host, 1, "the end");
    assert_eq!(worker.ended(), None);
}

/// Of two units the first was asked for when the worker was killed: each is restarted once.
#[test]
fn killed_between_two_units_each_is_restarted_once() {
    let scene = Scene::new(1);
    let systemd = UserSystemd::start();
    let before = "test ! -e slow || { touch under-way; while [ ! -e land ]; do sleep 0.05; done; }";
    let first = host_of(&scene, &systemd, "first", "60s", before);
    let host = host_of(&scene, &systemd, "h", "60s", "true");
    host.restart_by(
        "{ kind = \"systemd\", units = [\"first.service\", \"h.service\"], manager = \"user\", timeout = \"60s\" }",
    );
    std::fs::write(first.folder.join("slow"), "").expect("written");
    let mut worker = host.work();
    wait_until_joined([&worker]);
    scene.announce();
    wait_for("the first is under way", SOON, || first.folder.join("under-way").exists().then_some(()));
    worker.process.kill();
    std::fs::write(first.folder.join("land"), "").expect("written");
    wait_for("the first has started", SOON, || (first.starts() == 1).then_some(()));
    assert_eq!(host.starts(), 0, "nobody asked for the second");
    let worker = host.work();
    scene.wait_until_settled(&host, "the end");
    scene.check(&host, 1, "the end");
    assert_eq!(first.starts(), 1, "the first is left alone\n{}", host.log());
    drop(worker);
}

/// Scenario 7, and the failing unit's own words in the deployer's terminal.
#[test]
fn a_unit_that_fails_keeps_the_slot_and_its_words_reach_the_deployer() {
    let scene = Scene::new(1);
    let systemd = UserSystemd::start();
    let before = "test ! -e bad || { echo \"[pool www] unknown entry\" >&2; sleep 0.5; exit 78; }";
    let broken = host_of(&scene, &systemd, "broken", "60s", before);
    let host = host_of(&scene, &systemd, "h", "60s", "true");
    host.restart_by("{ kind = \"systemd\", units = [\"broken.service\", \"h.service\"], manager = \"user\" }");
    std::fs::write(broken.folder.join("bad"), "").expect("written");
    let worker = host.work();
    wait_until_joined([&worker]);
    let announce = ["announce", "web", "-m", "bad build", "--follow"];
    let (code, out, err) = crate::support::run(&mut scene.server.command(&announce));
    assert_eq!(code, 5, "{out}\n{err}");
    let said = "broken.service: exit 78: [pool www] unknown entry; h.service restarted";
    assert!(format!("{out}{err}").contains(said), "{out}\n{err}");
    assert_eq!((broken.starts(), host.starts()), (0, 1), "all are tried");
    assert!(scene.balancer.is_out("h"));
    let shown = scene.server.json(&["leases"]);
    assert_eq!(shown["leases"][0]["state"], "failed", "{shown}");
    std::fs::remove_file(broken.folder.join("bad")).expect("the fix");
    let (code, out, err) =
        crate::support::run(&mut scene.server.command(&["announce", "web", "-m", "good", "--follow"]));
    assert_eq!(code, 0, "{out}\n{err}");
    scene.check(&host, 2, "after the fix");
    assert_eq!(broken.starts(), 1);
    drop(worker);
}
