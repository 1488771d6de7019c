//! The health URL that a worker serves, with a real HAProxy that asks it.

use super::scene::wait_until_joined;
use super::ways::status;
use crate::support::haproxy::Haproxy;
use crate::support::{Host, LockServer, SOON, Tuning, Worker, own_address, run, wait_for};
use std::time::Duration;

const PATH: &str = "/health/web";

fn depool(listen: &str, more: &str) -> String {
    format!("kind = \"lame-duck\"\nlisten = \"{listen}\"\npath = \"{PATH}\"\npause = \"100ms\"\n{more}")
}

/// A host in a fleet of its own.
struct Scene {
    folder: tempfile::TempDir,
    server: LockServer,
    listen: String,
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().expect("a folder");
        let server = LockServer::start(folder.path());
        server.wait_until_ready();
        Scene { folder, server, listen: own_address() }
    }

    fn host(&self, more: &str, tuning: &Tuning) -> Host {
        Host::with_depool(self.folder.path(), "mw1", &self.server.url, &depool(&self.listen, more), tuning)
    }

    fn status(&self) -> Option<String> {
        status(&self.listen, PATH)
    }

    fn until_it_says(&self, wanted: &str) {
        wait_for(&format!("it answers {wanted}"), SOON, || (self.status().as_deref() == Some(wanted)).then_some(()));
    }
}

/// Kills the worker, and returns what a new one answers first. Nobody was told anything before that.
fn first_answer_of_the_next(scene: &Scene, host: &Host, worker: &mut Worker) -> String {
    worker.process.kill();
    assert_eq!(scene.status(), None, "without a worker nobody answers");
    let (told, tell) = std::sync::mpsc::channel();
    let listen = scene.listen.clone();
    let asking = std::thread::spawn(move || {
        let first = wait_for("the first answer", SOON, || status(&listen, PATH));
        told.send(first).expect("the test waits");
    });
    *worker = host.work();
    let first = tell.recv_timeout(SOON).expect("an answer");
    asking.join().expect("no panic");
    first
}

#[test]
fn a_new_worker_answers_from_the_first_request_on_as_the_one_before_it_did() {
    let scene = Scene::new();
    let go = scene.folder.path().join("go");
    let restart: &'static str = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display()).leak();
    let host = scene.host("", &Tuning { restart, timeout: "3s", ..Tuning::default() });
    let mut worker = host.work();
    wait_until_joined(&worker);
    assert_eq!(scene.status().as_deref(), Some("200"));
    assert_eq!(first_answer_of_the_next(&scene, &host, &mut worker), "200", "in as before");
    wait_until_joined(&worker);
    scene.server.must(&["announce", "web", "-m", "build"]);
    wait_for("the restart is under way", SOON, || (host.starts() == 1).then_some(()));
    assert_eq!(scene.status().as_deref(), Some("503"));
    // Killed in the restart act: out from the first request on, and in again when all is done.
    std::fs::write(&go, "").expect("written");
    assert_eq!(first_answer_of_the_next(&scene, &host, &mut worker), "503", "out as before");
    scene.until_it_says("200");
    wait_for("it has settled", SOON, || {
        (scene.server.json(&["leases"])["leases"].as_array().is_some_and(Vec::is_empty)).then_some(())
    });
    assert_eq!(host.starts(), 1, "{}", host.log());
}

/// A command of its own does not serve the URL: a worker must.
#[test]
fn without_a_worker_nothing_is_taken_out_and_nothing_restarted() {
    let scene = Scene::new();
    let host = scene.host("", &Tuning::default());
    let flag = host.folder.join("state/lame-duck.web");
    let (code, out, err) = run(&mut host.command(&["restart", "web", "--always"]));
    assert_eq!((code, host.starts()), (1, 0), "{out}{err}");
    let said = "cannot tell whether the host is in rotation: no worker serves the health URL";
    assert!(format!("{out}{err}").contains(said), "{out}{err}");
    let (code, out, err) = run(&mut host.command(&["depool", "web"]));
    assert!(code == 4 && out.contains("no worker serves the health URL"), "{code}: {out}{err}");
    assert!(!flag.exists(), "a worker that starts finds nothing changed");
    // With one, a command moves the host, and what it said outlives that worker.
    let mut worker = host.work();
    wait_until_joined(&worker);
    let (code, out, err) = run(&mut host.command(&["depool", "web"]));
    assert_eq!((code, scene.status().as_deref()), (0, Some("503")), "{out}{err}");
    assert_eq!(first_answer_of_the_next(&scene, &host, &mut worker), "503");
    wait_until_joined(&worker);
    let (code, out, err) = run(&mut host.command(&["restart", "web", "--always"]));
    assert_eq!((code, host.starts()), (0, 1), "{out}{err}");
    assert_eq!(scene.status().as_deref(), Some("503"), "restarted in place, and left out");
    let (code, out, err) = run(&mut host.command(&["repool", "web"]));
    assert_eq!((code, scene.status().as_deref()), (0, Some("200")), "{out}{err}");
    let (code, out, err) = run(&mut host.command(&["restart", "web", "--always"]));
    assert_eq!((code, host.starts(), scene.status().as_deref()), (0, 2, Some("200")), "{out}{err}");
}

#[test]
fn services_share_an_address_by_their_paths_and_another_path_is_nobodys() {
    let scene = Scene::new();
    let more = format!(
        "[service.api]\npools = [\"p\"]\nrestart = {{ kind = \"exec\", command = [\"true\"] }}\n\
         depool = {{ kind = \"lame-duck\", listen = \"{}\", path = \"/health/api\" }}\n",
        scene.listen
    );
    let host = scene.host("", &Tuning { more: more.leak(), ..Tuning::default() });
    let worker = host.work();
    wait_until_joined(&worker);
    let (code, out, err) = run(&mut host.command(&["depool", "api"]));
    assert_eq!(code, 0, "{out}{err}");
    let at = |path| status(&scene.listen, path).expect("an answer");
    assert_eq!([at("/health/api"), at(PATH), at("/")], ["503", "200", "404"]);
}

#[test]
fn an_address_that_is_taken_stops_the_worker_before_it_does_anything() {
    let scene = Scene::new();
    let taken = std::net::TcpListener::bind(&scene.listen).expect("free");
    let host = scene.host("", &Tuning::default());
    let (code, _, err) = run(&mut host.command(&["worker"]));
    assert!(code == 1 && err.contains(&format!("cannot listen on {}", scene.listen)), "{code}: {err}");
    drop(taken);
}

/// The balancer's own word is what counts, when it is asked: the restart waits until HAProxy has found the host down, by a health
/// check of the URL.
#[test]
fn haproxy_confirms_what_the_health_url_says() {
    let scene = Scene::new();
    let (address, port) = scene.listen.rsplit_once(':').expect("an address");
    let haproxy = Haproxy::start(
        scene.folder.path(),
        "lb",
        &format!(
            "backend app\n    option httpchk GET {PATH}\n    \
             server mw1 127.0.0.1:9 check addr {address} port {port} inter 100ms rise 2 fall 3\n"
        ),
    );
    let socket = haproxy.admin.replace(':', "/");
    let ask = format!("exec 3<>/dev/tcp/{socket} && echo show servers state app >&3 && cat <&3");
    let more = format!(
        "tries = 100\nconfirm = {{ exec = [\"bash\", \"-c\", \"{ask}\"], \
         out_when = \"stdout.contains(' mw1 127.0.0.1 0 ')\", in_when = \"stdout.contains(' mw1 127.0.0.1 2 ')\" }}"
    );
    let witness = scene.folder.path().join("witness");
    let restart: &'static str = format!("bash -c '{ask}' >> {}", witness.display()).leak();
    let host = scene.host(&more, &Tuning { restart, ..Tuning::default() });
    let worker = host.work();
    wait_until_joined(&worker);
    wait_for("HAProxy has found it well", SOON, || (haproxy.state("app/mw1").operation == 2).then_some(()));
    scene.server.must(&["announce", "web", "-m", "build"]);
    wait_for("it has restarted", Duration::from_secs(60), || {
        let shown = scene.server.json(&["rollouts", "web@1"]);
        (shown["row"]["state"] == "done").then_some(())
    });
    let states = std::fs::read_to_string(&witness).expect("a witness");
    let state = crate::support::haproxy::shown(&states, "app/mw1").expect("its line");
    assert_eq!((state.operation, state.admin), (0, 0), "down by its check, and not by anyone's will");
    assert_eq!(haproxy.state("app/mw1").operation, 2, "confirmed by HAProxy");
    assert_eq!(host.starts(), 1);
}
