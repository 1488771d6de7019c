//! How long a command waits whose person said so, by that person's own clock: paused, or with a lock server that is away; and
//! what becomes of a lease whose command ends while it is away.

use crate::support::{Balancer, Host, LockServer, Running, SOON, Tuning, own_address, run, signal, stagger, wait_for};
use rustix::process::Signal;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How much longer than it says a wait lasts at most, here on a busy machine.
const MORE: Duration = Duration::from_millis(750);

/// Runs a command, which must wait as long as it says, and no longer. Its exit code, and what it said.
fn waits(command: &mut Command, wait: Duration) -> (i32, String) {
    let started = Instant::now();
    let (code, out, err) = run(command);
    let waited = started.elapsed();
    assert!(wait <= waited && waited < wait + MORE, "waited {waited:?} instead of {wait:?}: {out}{err}");
    (code, err)
}

fn server(folder: &Path) -> LockServer {
    let server = LockServer::start(folder);
    server.set("pool/p", "slots=1");
    server
}

fn host(folder: &Path, server: &LockServer, balancer: &Balancer) -> Host {
    Host::new(folder, "h1", &server.url, balancer, &Tuning::default())
}

fn has_queue(server: &LockServer) -> bool {
    server.json(&["leases"])["queue"].as_array().is_some_and(|queue| !queue.is_empty())
}

#[test]
fn under_a_pause_a_wait_lasts_as_long_as_was_said_and_the_ticket_is_given_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(folder.path());
    let balancer = Balancer::start();
    let host = host(folder.path(), &server, &balancer);
    server.must(&["pause", "pool/p", "--reason", "a switch", "--for", "1h"]);

    let wait = Duration::from_secs(1);
    let (code, err) = waits(&mut server.command(&["run", "-p", "p", "--wait", "1s", "--", "true"]), wait);
    assert_eq!(code, 2, "{err}");
    let why = err.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(why.starts_with("error: no lease of p: waited 1s: pool/p is paused by ann"), "{err}");
    assert!(why.contains(": a switch; it ends in 59m"), "{err}");
    assert!(!has_queue(&server), "its ticket is still there");

    let (code, err) = waits(&mut host.command(&["restart", "web", "--always", "--wait", "1s"]), wait);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("nothing was done: waited 1s: pool/p is paused by ann"), "{err}");
    assert!(err.contains(": a switch; it ends in 59m"), "{err}");
    assert!(!has_queue(&server) && host.starts() == 0, "its ticket is still there, or it restarted");

    let (code, err) =
        waits(&mut server.command(&["run", "-p", "p", "--wait", "300ms", "-E", "75", "--", "true"]), wait * 3 / 10);
    assert_eq!(code, 75, "{err}");
}

#[test]
fn a_lock_server_that_refuses_connections_is_asked_again_for_the_wait_and_that_is_said_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("http://{}", own_address());
    let wait = Duration::from_secs(2);
    let (code, err) =
        waits(stagger().args(["run", "-p", "p", "--wait", "2s", "--coordinator", &url, "--", "true"]), wait);
    assert_eq!(code, 2, "{err}");
    let said = format!("no answer from {url}, which is asked again for 2s: ");
    assert_eq!(err.matches(&said).count(), 1, "{err}");
    assert!(err.contains(&format!("error: cannot get a lease in 2s: {url}: ")), "{err}");

    let server = server(folder.path());
    let balancer = Balancer::start();
    let host = host(folder.path(), &server, &balancer);
    server.kill();
    let (code, err) = waits(&mut host.command(&["restart", "web", "--always", "--wait", "2s"]), wait);
    assert_eq!(code, 2, "{err}");
    assert_eq!(err.matches(&format!("no answer from {}", server.url)).count(), 1, "{err}");
    assert!(err.contains("nothing was done: the coordinator cannot be reached: "), "{err}");
}

#[test]
fn a_lock_server_that_is_silent_is_waited_for_no_longer() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(folder.path());
    let balancer = Balancer::start();
    let host = host(folder.path(), &server, &balancer);
    server.signal(Signal::STOP);
    let wait = Duration::from_secs(1);
    let (code, err) = waits(&mut server.command(&["run", "-p", "p", "--wait", "1s", "--", "true"]), wait);
    assert!(code == 2 && err.contains("error: cannot get a lease in 1s: "), "{code}: {err}");
    let (code, err) = waits(&mut host.command(&["restart", "web", "--always", "--wait", "1s"]), wait);
    assert!(code == 2 && err.contains("the coordinator cannot be reached: no answer"), "{code}: {err}");
}

#[test]
fn a_lock_server_that_comes_back_within_the_wait_grants_the_lease() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(folder.path());
    server.kill();
    let mut command = server.command(&["run", "-p", "p", "--wait", "1m", "--", "true"]);
    let log = folder.path().join("run.log");
    command.stderr(std::fs::File::create(&log).expect("a log"));
    let mut waiting = Running::of(command.spawn().expect("the program starts"));
    wait_for("it is said that nobody answers", SOON, || said(&log).contains("no answer from ").then_some(()));
    server.restart(None);
    let ended = wait_for("it had its turn", SOON, || waiting.0.try_wait().expect("our own child"));
    assert_eq!(ended.code(), Some(0), "{}", said(&log));
}

fn said(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

/// A command under `run` that has begun, and ends with 7 when a file is there.
struct Begun {
    process: Running,
    log: std::path::PathBuf,
    end: std::path::PathBuf,
}

fn begin(folder: &Path, server: &LockServer) -> Begun {
    let [log, begun, end] = ["run.log", "begun", "end"].map(|name| folder.join(name));
    let script = format!(": > {}; while [ ! -e {} ]; do sleep 0.05; done; exit 7", begun.display(), end.display());
    let mut command = server.command(&["run", "-p", "p", "--name", "x", "--", "sh", "-c", &script]);
    command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).expect("a log"));
    let process = Running::of(command.spawn().expect("the program starts"));
    wait_for("the command runs", SOON, || begun.exists().then_some(()));
    Begun { process, log, end }
}

impl Begun {
    /// Its exit code, once it has ended.
    fn code(&mut self) -> Option<i32> {
        wait_for("run ends", SOON, || self.process.0.try_wait().expect("our own child")).code()
    }

    fn wait_until_said(&self) {
        let words = "warning: cannot give the lease back yet: no answer from ";
        wait_for("it is said that the lease cannot be given back", SOON, || {
            said(&self.log).contains(words).then_some(())
        });
    }
}

fn leases(server: &LockServer) -> usize {
    server.json(&["leases"])["leases"].as_array().map_or(0, Vec::len)
}

#[test]
fn a_lease_is_given_back_when_the_lock_server_is_back_though_the_command_ended_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(folder.path());
    let mut begun = begin(folder.path(), &server);
    server.kill();
    std::fs::write(&begun.end, "").expect("written");
    begun.wait_until_said();
    let since = Instant::now();
    // Longer than a few tries in quick succession last.
    wait_for("a while passes", SOON, || (since.elapsed() > Duration::from_secs(8)).then_some(()));
    assert!(!begun.process.is_over(), "{}", said(&begun.log));
    server.restart(None);
    assert_eq!(begun.code(), Some(7), "{}", said(&begun.log));
    let log = said(&begun.log);
    assert_eq!(log.matches("cannot give the lease back").count(), 1, "{log}");
    server.wait_until_ready();
    assert_eq!(leases(&server), 0, "{log}");
}

#[test]
fn a_lease_is_given_back_after_the_outage_that_ended_its_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(folder.path());
    server.set("pool/p", "ttl=2s");
    let mut begun = begin(folder.path(), &server);
    server.kill();
    begun.wait_until_said();
    server.restart(None);
    assert_eq!(begun.code(), Some(2), "{}", said(&begun.log));
    server.wait_until_ready();
    assert_eq!(leases(&server), 0, "{}", said(&begun.log));
}

#[test]
fn a_signal_ends_giving_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(folder.path());
    let mut begun = begin(folder.path(), &server);
    server.kill();
    std::fs::write(&begun.end, "").expect("written");
    begun.wait_until_said();
    let since = Instant::now();
    signal(&begun.process.0, Signal::INT);
    assert_eq!(begun.code(), Some(7), "{}", said(&begun.log));
    assert!(since.elapsed() < Duration::from_secs(3), "it went on for {:?}", since.elapsed());
    assert!(said(&begun.log).contains("warning: cannot give the lease back: interrupted"), "{}", said(&begun.log));
    server.restart(None);
    server.wait_until_ready();
    assert_eq!(leases(&server), 1, "it still counts");
}
