//! A restart that its command hands on, as `systemctl restart` hands a job to the service manager, and that goes on when the
//! worker is killed: however late it comes, whoever begins again sees that it came, and does not restart once more.

use super::{Scene, wait_until_joined};
use crate::support::{Host, SOON, Tuning, wait_for};
use std::path::PathBuf;

/// A host whose restart is handed on, the first time, to a process in a session of its own; that one restarts the service when the
/// test says so. The command itself would wait for it.
fn that_hands_on(scene: &Scene) -> Host {
    let host = scene.host("h", &Tuning { restart: "THE RESTART", ..Tuning::default() });
    let (script, starts) = (host.folder.join("restart"), host.folder.join("starts"));
    let lines = format!(
        "cd {folder}\nif mkdir job; then\n\
         setsid sh -c 'while [ ! -e land ]; do sleep 0.05; done; echo start >> starts; touch landed' </dev/null >/dev/null 2>&1 &\n\
         touch handed; wait\n\
         else echo start >> starts; fi\n",
        folder = host.folder.display()
    );
    std::fs::write(&script, lines).expect("a script");
    let text = std::fs::read_to_string(&host.config).expect("a configuration");
    let command = format!("echo start >> {}; THE RESTART", starts.display());
    assert!(text.contains(&command), "{text}");
    std::fs::write(&host.config, text.replace(&command, &format!("sh {}", script.display()))).expect("a configuration");
    host
}

fn wait_for_file(file: PathBuf) {
    wait_for(&format!("{} is there", file.display()), SOON, || file.exists().then_some(()));
}

/// Lets the job do its restart, and waits until it has.
fn land(host: &Host) {
    std::fs::write(host.folder.join("land"), "").expect("written");
    wait_for_file(host.folder.join("landed"));
}

#[test]
fn one_that_comes_later_than_its_timeout_is_not_done_again() {
    let scene = Scene::new(1);
    let host = that_hands_on(&scene);
    let mut worker = host.work();
    wait_until_joined([&worker]);
    scene.announce();
    wait_for_file(host.folder.join("handed"));
    worker.process.kill();
    drop(worker);
    // The next worker looks for as long as the restart may take, takes it as not done, and is kept from beginning it again.
    scene.server.must(&["pause", "service/web", "--for", "1h", "--reason", "test"]);
    let worker = host.work();
    wait_for("it waits to begin again", SOON, || {
        let shown = scene.server.json(&["leases", "host/h"]);
        let is_waiting = shown["queue"].as_array().is_some_and(|queue| queue.len() == 1);
        (is_waiting && shown["leases"].as_array().is_some_and(Vec::is_empty)).then_some(())
    });
    assert_eq!(host.starts(), 0, "nothing has restarted yet");
    land(&host);
    scene.server.must(&["resume", "service/web"]);
    scene.wait_until_done("web@1");
    scene.wait_until_settled(&host, "the late restart");
    scene.check(&host, 1, "the job's restart is the only one");
    drop(worker);
}

/// The strictest of all: an `identity` that fails while a job is under way, so that nobody takes it as not done.
#[test]
fn one_whose_identity_tells_of_the_job_is_never_begun_again_beside_it() {
    let scene = Scene::new(1);
    let host = that_hands_on(&scene);
    let text = std::fs::read_to_string(&host.config).expect("a configuration");
    let told = format!("(test ! -e {0}/job || test -e {0}/landed) && cat", host.folder.display());
    assert!(text.contains("\"cat "), "{text}");
    std::fs::write(&host.config, text.replace("\"cat ", &format!("\"{told} "))).expect("a configuration");
    let mut worker = host.work();
    wait_until_joined([&worker]);
    scene.announce();
    wait_for_file(host.folder.join("handed"));
    worker.process.kill();
    drop(worker);
    let worker = host.work();
    wait_for("it is stuck", SOON, || {
        let shown = scene.server.json(&["leases", "host/h"]);
        (shown["leases"][0]["stuck"] == true).then_some(())
    });
    assert_eq!(host.starts(), 0, "nothing was begun beside the job");
    land(&host);
    assert_eq!(host.starts(), 1);
    drop(worker);
}
