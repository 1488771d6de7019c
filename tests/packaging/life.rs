//! How the units live under a real systemd: ready, killed, hung, stopped in the middle of a sequence, started with what is wrong.
//!
//! A user's instance runs them with everything of the packaged units that says how they live. As whom, and how shut in, is
//! another's to say: `shut_in` reads that, `packaging/try` runs it.

use super::read;
use crate::support::{
    Balancer, Host, LockServer, Running, SOON, Tuning, UserSystemd, lines, own_address, run, wait_for,
};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const WORKER: &str = "stagger-worker.service";
const LOCK_SERVER: &str = "stagger-lockserver.service";
/// The keys that say how a unit lives.
const OF_LIFE: [&str; 11] = [
    "StartLimitIntervalSec",
    "Type",
    "Restart",
    "RestartSec",
    "RestartPreventExitStatus",
    "WatchdogSec",
    "ExecReload",
    "KillMode",
    "TimeoutStartSec",
    "TimeoutStopSec",
    "OOMPolicy",
];

/// A packaged unit as far as it says how it lives; it runs this, and `more` is put behind, as a drop-in would.
fn unit(name: &str, command: &str, more: &str) -> String {
    let is_kept =
        |line: &&str| line.starts_with('[') || line.split_once('=').is_some_and(|(key, _)| OF_LIFE.contains(&key));
    let text = read(&format!("packaging/{name}"));
    let (text, _) = text.split_once("[Install]").expect("a unit that can be enabled");
    let kept: Vec<&str> = text.lines().filter(is_kept).collect();
    let kept = kept.join("\n");
    format!("{kept}\nExecStart={} {command}\n{more}\n", env!("CARGO_BIN_EXE_stagger"))
}

/// A service manager, and what it knows of a unit.
struct Manager {
    systemd: UserSystemd,
    unit: &'static str,
}

impl Manager {
    fn of(unit: &'static str) -> Manager {
        Manager { systemd: UserSystemd::start(), unit }
    }

    /// Writes the unit as it is packaged, with another command and a few lines more.
    fn write(&self, command: &str, more: &str) {
        self.systemd.write(self.unit, &unit(self.unit, command, more));
    }

    /// Starts it; returns when it is ready.
    fn start(&self) {
        let (code, _, err) = self.systemd.ask(&["start", self.unit]);
        assert_eq!(code, 0, "{err}\n{}", self.log());
    }

    fn stop_later(&self) {
        self.systemd.must(&["stop", "--no-block", self.unit]);
    }

    fn says(&self, property: &str) -> String {
        self.systemd.property(self.unit, property)
    }

    fn pid(&self) -> Pid {
        let pid = self.says("MainPID").parse().ok().and_then(Pid::from_raw);
        pid.unwrap_or_else(|| panic!("it does not run\n{}", self.log()))
    }

    fn send(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a process of our own");
    }

    /// Waits until the unit is so: `active`, `inactive`, `failed`.
    fn wait_until(&self, state: &str) {
        let started = Instant::now();
        wait_for(&format!("{} is {state}", self.unit), SOON * 2, || {
            assert!(started.elapsed() < SOON, "it is {}\n{}", self.says("ActiveState"), self.log());
            (self.says("ActiveState") == state).then_some(())
        });
    }

    /// Waits until it was started again so often, and is ready.
    fn wait_until_back(&self, times: u32) {
        wait_for("it is started again", SOON, || (self.says("NRestarts") == times.to_string()).then_some(()));
        self.wait_until("active");
    }

    /// What it wrote, for a test that fails.
    fn log(&self) -> String {
        let mut journalctl = Command::new("sh");
        journalctl.args(["-c", "journalctl --quiet --output cat"]).envs(self.systemd.environment());
        run(&mut journalctl).1
    }
}

/// A host whose worker is a unit, its balancer, and a lock server.
struct Scene {
    manager: Manager,
    server: LockServer,
    balancer: Balancer,
    host: Host,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// Its commands run in the host's folder. `more` is what the unit says beside.
    fn new(tuning: &Tuning, more: &str) -> Scene {
        let folder = tempfile::tempdir().expect("a folder");
        let server = LockServer::start(folder.path());
        let balancer = Balancer::start();
        let host = Host::new(folder.path(), "mw1", &server.url, &balancer, tuning);
        let manager = Manager::of(WORKER);
        let more = format!("WorkingDirectory={}\n{more}", host.folder.display());
        manager.write(&format!("worker -c {}", host.config.display()), &more);
        manager.start();
        Scene { manager, server, balancer, host, _folder: folder }
    }

    /// Announces, once the worker is known: one that is ready need not have joined.
    fn announce(&self) {
        wait_for("the worker has joined", SOON, || (!lines(&self.file("state/session")).is_empty()).then_some(()));
        self.server.must(&["announce", "web", "-m", "build"]);
    }

    fn file(&self, name: &str) -> PathBuf {
        self.host.folder.join(name)
    }

    fn wait_until_restarting(&self) {
        wait_for("the restart has begun", SOON, || (self.host.starts() == 1).then_some(()));
    }

    fn wait_until_settled(&self) {
        wait_for("its lease is given back", SOON, || {
            let shown = self.server.json(&["leases", "host/mw1"]);
            shown["leases"].as_array().is_some_and(Vec::is_empty).then_some(())
        });
    }
}

/// A restart that writes down what it sees and what it has started, and ends when the file `go` is there.
const LONG: Tuning = Tuning {
    drain: "100ms",
    drain_max: "5s",
    drain_more: "",
    restart: "env > seen; setsid sleep 1000 & echo $! > left; while [ ! -e go ]; do sleep 0.05; done",
    timeout: "30s",
    has_identity: true,
    more: "",
};

/// It is ready when it is at work, and not only when somebody answers; killed, it is back.
#[test]
fn a_worker_is_ready_without_its_coordinator_and_comes_back_when_it_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let balancer = Balancer::start();
    let nobody = format!("http://{}", own_address());
    let host = Host::new(folder.path(), "mw1", &nobody, &balancer, &Tuning::default());
    let manager = Manager::of(WORKER);
    manager.write(&format!("worker -c {}", host.config.display()), "");
    manager.start();
    let first = manager.pid();
    assert!(!lines(&folder.path().join("mw1/state/worker.lock")).is_empty(), "it says that it is ready before it is");
    manager.send(Signal::KILL);
    manager.wait_until_back(1);
    assert_ne!(manager.pid(), first);
    manager.systemd.must(&["stop", WORKER]);
    assert_eq!((manager.says("ActiveState").as_str(), manager.says("Result").as_str()), ("inactive", "success"));
}

/// The restart takes longer than the unit lets a stop take: the worker says how long it needs.
#[test]
fn a_worker_that_is_stopped_in_the_middle_of_a_restart_brings_it_to_its_end() {
    let stop_max = Duration::from_secs(1);
    let scene = Scene::new(&LONG, "TimeoutStopSec=1s");
    scene.announce();
    scene.wait_until_restarting();
    scene.manager.stop_later();
    let asked = Instant::now();
    wait_for("more time has passed than a stop may take", SOON, || (asked.elapsed() > stop_max * 2).then_some(()));
    assert_eq!(scene.manager.says("ActiveState"), "deactivating", "{}", scene.manager.log());
    assert!(scene.balancer.is_out("mw1"));
    std::fs::write(scene.file("go"), "").expect("a file");
    scene.manager.wait_until("inactive");
    assert_eq!(scene.manager.says("Result"), "success");
    assert!(!scene.balancer.is_out("mw1"), "{}", scene.manager.log());
    assert_eq!(scene.host.starts(), 1);
    scene.wait_until_settled();
    let seen = lines(&scene.file("seen"));
    let is_ours = |line: &&String| line.starts_with("NOTIFY_SOCKET=") || line.starts_with("WATCHDOG_");
    assert!(seen.iter().any(|line| line == "STAGGER_HOST=mw1"), "{seen:?}");
    assert_eq!(seen.iter().find(is_ours), None, "a command can speak in the worker's place");
}

#[test]
fn a_worker_that_is_stopped_before_the_restart_undoes_it_at_once() {
    let scene = Scene::new(&Tuning { drain: "5s", ..Tuning::default() }, "");
    scene.announce();
    wait_for("the host is out", SOON, || scene.balancer.is_out("mw1").then_some(()));
    scene.manager.stop_later();
    scene.manager.wait_until("inactive");
    assert_eq!(scene.manager.says("Result"), "success");
    assert!(!scene.balancer.is_out("mw1"));
    assert_eq!(scene.host.starts(), 0);
}

/// What its command had started goes with it, wherever that moved to, before the next worker looks.
#[test]
fn a_worker_that_is_killed_in_the_middle_of_a_restart_leaves_nothing_behind_and_goes_on() {
    let scene = Scene::new(&LONG, "RestartSec=100ms");
    scene.announce();
    scene.wait_until_restarting();
    let left = wait_for("its command started something", SOON, || lines(&scene.file("left")).first().cloned());
    let runs = || Path::new("/proc").join(&left).exists();
    assert!(runs());
    scene.manager.send(Signal::KILL);
    scene.manager.wait_until_back(1);
    assert!(!runs(), "what the command left behind still runs beside the new worker");
    scene.wait_until_settled();
    assert!(!scene.balancer.is_out("mw1"), "{}", scene.manager.log());
    // The line of the start was written: that is another incarnation.
    assert_eq!(scene.host.starts(), 1);
}

#[test]
fn a_worker_that_hangs_is_killed_and_started_again() {
    let scene = Scene::new(&Tuning::default(), "WatchdogSec=1s\nTimeoutStopSec=1s\nRestartSec=100ms");
    let mut heard = std::collections::BTreeSet::new();
    wait_for("it says again and again that it lives", SOON, || {
        heard.insert(scene.manager.says("WatchdogTimestampMonotonic"));
        (heard.len() > 4).then_some(())
    });
    assert_eq!(scene.manager.says("NRestarts"), "0", "{}", scene.manager.log());
    scene.manager.send(Signal::STOP);
    scene.manager.wait_until_back(1);
}

#[test]
fn a_file_that_is_wrong_is_not_tried_again_and_one_that_is_right_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("stagger.toml");
    std::fs::write(&file, "nonsense = 1\n").expect("a file");
    let manager = Manager::of(WORKER);
    manager.write(&format!("worker -c {}", file.display()), "RestartSec=100ms");
    assert_ne!(manager.systemd.ask(&["start", WORKER]).0, 0);
    assert_eq!((manager.says("ActiveState").as_str(), manager.says("ExecMainStatus").as_str()), ("failed", "78"));
    assert_eq!(manager.says("NRestarts"), "0");
    let state = folder.path().join("state");
    let right =
        format!("coordinator = \"http://127.0.0.1:1\"\nlisten = \"127.0.0.1:0\"\nstate = \"{}\"\n", state.display());
    std::fs::write(&file, right).expect("a file");
    manager.start();
    assert_eq!(manager.says("ActiveState"), "active");
}

/// Whatever it is asked then, it does not answer; a start anew opens its disk anew.
#[test]
fn a_lock_server_whose_disk_hangs_is_killed_and_started_again() {
    const SYNCS: u32 = 40;
    let folder = tempfile::tempdir().expect("a folder");
    let address = own_address();
    let manager = Manager::of(LOCK_SERVER);
    let command = format!("lockserver --api {address} --data {}", folder.path().join("data").display());
    let hangs =
        format!("WatchdogSec=1s\nTimeoutStopSec=1s\nRestartSec=100ms\nEnvironment=STAGGER_POWER_CUT_AT=hang:{SYNCS}");
    manager.write(&command, &hangs);
    manager.start();
    let set = |number: u32| {
        let setting = format!("slots={}", number + 1);
        let mut command = crate::support::stagger();
        command.args(["set", "pool/p", &setting, "--reason", "test", "--coordinator", &format!("http://{address}")]);
        Running::of(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts"))
    };
    let mut asked: Vec<Running> = Vec::new();
    let is_over = |asked: &mut Vec<Running>| asked.last_mut().is_none_or(Running::is_over);
    wait_for("it is started again", SOON * 2, || {
        // One after the other, until nobody is answered any more.
        if is_over(&mut asked) && asked.len() < SYNCS as usize * 2 {
            asked.push(set(asked.len() as u32));
        }
        (manager.says("NRestarts") != "0").then_some(())
    });
    assert!(asked.len() > 10, "it was started again before its disk hung: {}", manager.log());
    manager.wait_until("active");
    let (code, out, err) =
        run(crate::support::stagger().args(["pools", "p", "--coordinator", &format!("http://{address}")]));
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn a_lock_server_reads_its_file_again_when_its_unit_is_reloaded() {
    let folder = tempfile::tempdir().expect("a folder");
    let (address, file) = (own_address(), folder.path().join("lockserver.toml"));
    std::fs::write(&file, "").expect("a file");
    let manager = Manager::of(LOCK_SERVER);
    let data = folder.path().join("data");
    manager.write(&format!("lockserver -c {} --api {address} --data {}", file.display(), data.display()), "");
    manager.start();
    let first = manager.pid();
    std::fs::write(&file, "[[pool]]\nmatch = \"app\"\nslots = 3\n").expect("a file");
    manager.systemd.must(&["reload", LOCK_SERVER]);
    wait_for("its file holds", SOON, || {
        let (_, out, _) = run(crate::support::stagger().args(["pools", "--coordinator", &format!("http://{address}")]));
        out.contains("lockserver.toml:3").then_some(())
    });
    manager.wait_until("active");
    assert_eq!(manager.pid(), first);
}

#[test]
fn the_lock_server_is_ready_when_it_answers_and_comes_back_with_what_it_knew() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = own_address();
    let manager = Manager::of(LOCK_SERVER);
    manager.write(&format!("lockserver --api {address} --data {}", folder.path().join("data").display()), "");
    manager.start();
    // No waiting here: whoever is ready answers.
    let ask = |arguments: &[&str]| {
        run(crate::support::stagger().args(arguments).args(["--coordinator", &format!("http://{address}")]))
    };
    let (code, _, err) = ask(&["set", "pool/p", "slots=3", "--reason", "test"]);
    assert_eq!(code, 0, "{err}");
    manager.send(Signal::KILL);
    manager.wait_until_back(1);
    let (code, out, err) = ask(&["pools", "p"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains('3'), "{out}");
    manager.systemd.must(&["stop", LOCK_SERVER]);
    assert_eq!((manager.says("ActiveState").as_str(), manager.says("Result").as_str()), ("inactive", "success"));
    manager.write("lockserver --nonsense", "RestartSec=100ms");
    assert_ne!(manager.systemd.ask(&["start", LOCK_SERVER]).0, 0);
    assert_eq!((manager.says("ExecMainStatus").as_str(), manager.says("NRestarts").as_str()), ("64", "0"));
}
