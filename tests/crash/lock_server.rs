//! The power of the lock server is cut at one sync of its disk after another, before it, amid it and after it: what was not
//! synced is gone, as is the process. Whatever it told anyone is still so.

use crate::support::{Balancer, Host, LockServer, Running, SOON, Tuning, Worker, lines, pause, run, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const HOSTS: usize = 6;
const SLOTS: usize = 2;
/// At so many syncs of a run's first the power is cut, thrice each.
const SYNCS: usize = 12;
/// A run's syncs before a client is answered are fewer.
const SYNCS_OF_A_START_MAX: usize = 40;
const MOMENTS: [&str; 3] = ["before", "amid", "after"];

/// Whether a run died by its power cut; false when it came to answer first.
fn has_died(server: &LockServer, what: &str) -> bool {
    let died = wait_for(what, SOON, || match server.ended() {
        Some(status) => Some(Some(status)),
        None => server.answers().then_some(None),
    });
    if let Some(status) = died {
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{what}: {status}");
    }
    died.is_some()
}

#[test]
fn cut_at_every_sync_of_a_first_start_the_next_start_needs_no_help() {
    for moment in MOMENTS {
        let survived = (1..SYNCS_OF_A_START_MAX).find(|number| {
            let folder = tempfile::tempdir().expect("a folder");
            let what = format!("{moment}:{number}");
            let server = LockServer::start_until_power_cut(folder.path(), &what);
            let died = has_died(&server, &what);
            if died {
                server.restart(Some("never"));
                server.wait_until_ready();
                server.set("pool/p", "slots=3");
            }
            !died
        });
        assert!(survived.is_some_and(|number| number > 4), "{moment}: cut at each of {survived:?} syncs");
    }
}

/// What cuts the power of the lock server again and again, until it is stopped.
struct Cutter<'s> {
    server: &'s LockServer,
    /// The moments that are left, the next one last.
    moments: Vec<String>,
    is_over: &'s AtomicBool,
}

impl Cutter<'_> {
    /// Starts the server again whenever it died, with the next moment; when none is left, until it is killed.
    fn run(mut self) {
        while !self.is_over.load(Ordering::Relaxed) {
            if let Some(status) = self.server.ended() {
                assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
                let next = self.moments.pop().unwrap_or_else(|| "never".to_owned());
                self.server.restart(Some(&next));
            }
            pause();
        }
    }
}

/// Says that it is over, also when the test fails.
struct Over<'s>(&'s AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The state of the newest rollout, and its name; nothing while nobody answers.
fn newest(server: &LockServer) -> Option<(String, String)> {
    let (code, out, _) = run(server.command(&["rollouts"]).arg("--json"));
    let shown: serde_json::Value = serde_json::from_str(out.trim()).ok().filter(|_| code == 0)?;
    let row = shown["rollouts"].as_array()?.iter().find(|row| row["newest"] == true)?;
    Some((row["name"].as_str()?.to_owned(), row["state"].as_str()?.to_owned()))
}

/// A command that takes a lease of the pool `q`, writes down its token, and keeps the lease until it is told to end.
fn keeper(server: &LockServer, number: usize, told: &Path, end: &Path) -> Running {
    let name = format!("keeper{number}");
    let script = format!(
        "echo {name} $STAGGER_TOKEN >> {told}; while [ ! -e {end} ]; do sleep 0.1; done",
        told = told.display(),
        end = end.display()
    );
    let mut command = server.command(&["run", "-p", "q", "--name", &name, "--", "sh", "-c", &script]);
    Running::of(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts"))
}

/// Every keeper that was told of its lease has it, with that token. Whether anybody answered that.
fn check_keepers(server: &LockServer, told: &Path) -> bool {
    let told = tokens(told);
    let (code, out, _) = run(server.command(&["leases", "pool/q"]).arg("--json"));
    if code != 0 {
        return false;
    }
    let shown: serde_json::Value = serde_json::from_str(out.trim()).expect("JSON");
    let leases = shown["leases"].as_array().expect("leases");
    let kept: BTreeMap<&str, u64> = leases
        .iter()
        .map(|lease| (lease["holder"].as_str().expect("a holder"), lease["pools"]["q"].as_u64().expect("a token")))
        .collect();
    for (name, token) in told {
        assert_eq!(kept.get(name.as_str()), Some(&token), "{name} was told of {token}: {shown}");
    }
    true
}

/// Who was given which token, in the order in which they wrote it down.
fn tokens(path: &Path) -> Vec<(String, u64)> {
    let parse = |line: String| {
        let (name, token) = line.split_once(' ').expect("a name and a token");
        (name.to_owned(), token.parse().expect("a token"))
    };
    lines(path).into_iter().map(parse).collect()
}

struct Rig {
    folder: tempfile::TempDir,
    server: LockServer,
    balancer: Balancer,
}

impl Rig {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Hosts whose restarts write down the token that they were given.
    fn hosts(&self) -> Vec<Host> {
        let restart = format!("echo $STAGGER_HOST $STAGGER_TOKEN >> {}", self.path("tokens").display());
        let tuning = Tuning { restart: restart.leak(), ..Tuning::default() };
        let host =
            |place| Host::new(self.folder.path(), &format!("h{place}"), &self.server.url, &self.balancer, &tuning);
        (0..HOSTS).map(host).collect()
    }

    /// Announces, until it is known that it was, after the one `before`; its name.
    fn announce(&self, before: Option<&String>) -> String {
        wait_for("the rollout is announced", SOON, || {
            let (code, out, _) = run(&mut self.server.command(&["announce", "web", "-m", "build"]));
            match out.split_whitespace().next().filter(|_| code == 0) {
                Some(name) => Some(name.to_owned()),
                // Nobody knows whether it was done: it is looked up.
                None => newest(&self.server).map(|(name, _)| name).filter(|name| Some(name) != before),
            }
        })
    }

    fn check(&self, hosts: &[Host], rounds: &[String]) {
        for host in hosts {
            assert_eq!(host.starts(), rounds.len(), "{} in {rounds:?}:\n{}", host.name, host.log());
        }
        assert_eq!(self.balancer.out_now(), 0, "somebody was left out");
        assert!(self.balancer.peak() <= SLOTS, "{} were out at once", self.balancer.peak());
        let tokens = tokens(&self.path("tokens"));
        let mut highest = 0;
        for round in tokens.chunks(HOSTS) {
            let granted: BTreeSet<u64> = round.iter().map(|(_, token)| *token).collect();
            assert_eq!(granted.len(), HOSTS, "a token was granted twice: {round:?}");
            assert!(granted.first().is_some_and(|lowest| *lowest > highest), "tokens do not grow: {tokens:?}");
            highest = granted.last().copied().unwrap_or(highest);
        }
    }
}

#[test]
fn cut_at_one_sync_after_another_during_rollouts_nothing_is_forgotten_that_anyone_was_told() {
    let folder = tempfile::tempdir().expect("a folder");
    // The first run makes the store, and comes far enough to be given its settings.
    let server = LockServer::start_until_power_cut(folder.path(), &format!("after:{SYNCS_OF_A_START_MAX}"));
    server.wait_until_ready();
    server.set("pool/p", &format!("slots={SLOTS}"));
    server.set("pool/q", "slots=1000");
    let rig = Rig { folder, server, balancer: Balancer::start() };
    let (told, end) = (rig.path("told"), rig.path("end"));
    let hosts = rig.hosts();
    let _workers: Vec<Worker> = hosts.iter().map(Host::work).collect();
    let mut moments: Vec<String> =
        (1..=SYNCS).flat_map(|number| MOMENTS.map(|moment| format!("{moment}:{number}"))).collect();
    moments.reverse();
    let cuts = moments.len();
    let is_over = AtomicBool::new(false);
    let (mut rounds, mut keepers) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let cutter = Cutter { server: &rig.server, moments, is_over: &is_over };
        let cutting = scope.spawn(|| cutter.run());
        let _over = Over(&is_over);
        let deadline = Instant::now() + Duration::from_secs(90);
        while rig.server.starts() <= cuts + 1 {
            rounds.push(rig.announce(rounds.last()));
            let rollout = rounds.last().expect("just announced");
            while newest(&rig.server) != Some((rollout.clone(), "done".to_owned())) {
                assert!(Instant::now() < deadline, "{rounds:?}, {} starts", rig.server.starts());
                assert!(!cutting.is_finished(), "the lock server did not die of its power cut");
                if keepers.len() < rig.server.starts() {
                    check_keepers(&rig.server, &told);
                    keepers.push(keeper(&rig.server, keepers.len(), &told, &end));
                }
                pause();
            }
        }
        rig.check(&hosts, &rounds);
        wait_for("every keeper has its lease, or was never told of any", SOON, || {
            let over =
                keepers.iter_mut().filter_map(|keeper: &mut Running| keeper.0.try_wait().expect("our own child"));
            (over.count() + lines(&told).len() == keepers.len()).then_some(())
        });
        assert!(check_keepers(&rig.server, &told), "the lock server does not answer");
    });
    assert!(rounds.is_sorted_by_key(|name| name.trim_start_matches("web@").parse::<u64>().expect("a generation")));
    std::fs::write(&end, "").expect("written");
    let status = |keeper: &mut Running| wait_for("a keeper ends", SOON, || keeper.0.try_wait().expect("our own child"));
    let codes: Vec<Option<i32>> = keepers.iter_mut().map(|keeper| status(keeper).code()).collect();
    // Whom nobody answered at all ends with 2; all others had their lease to the end.
    let kept = codes.iter().filter(|code| **code == Some(0)).count();
    assert!(kept == lines(&told).len() && kept > cuts / 4, "{kept} kept a lease: {codes:?}");
    assert!(codes.iter().all(|code| matches!(code, Some(0 | 2))), "{codes:?}");
}
