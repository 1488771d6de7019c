//! The lock server is killed, or stands still, while rollouts are under way; a worker stands still in mid-sequence.
//!
//! The balancer counts who is out; the start logs say what restarted; the tokens are those that the restarts were given.

mod patience;

use crate::support::{Balancer, Dice, Host, LockServer, SOON, Tuning, Worker, lines, pause, wait_for};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const HOSTS: usize = 20;
const SLOTS: usize = 2;

struct Fleet {
    server: LockServer,
    balancer: Balancer,
    hosts: Vec<Host>,
    workers: Vec<Worker>,
}

fn fleet(folder: &Path, count: usize, ttl: &str) -> Fleet {
    let server = LockServer::start(folder);
    server.set("pool/p", &format!("slots={SLOTS}"));
    server.set("pool/p", &format!("ttl={ttl}"));
    let balancer = Balancer::start();
    let tokens = folder.join("tokens");
    let restart: &'static str =
        Box::leak(format!("echo $STAGGER_HOST $STAGGER_TOKEN >> {}", tokens.display()).into_boxed_str());
    let tuning = Tuning { restart, ..Tuning::default() };
    let hosts: Vec<Host> =
        (0..count).map(|n| Host::new(folder, &format!("h{n:02}"), &server.url, &balancer, &tuning)).collect();
    let workers = hosts.iter().map(Host::work).collect();
    let fleet = Fleet { server, balancer, hosts, workers };
    wait_for("every worker has joined", SOON, || {
        let members = fleet.server.json(&["members"]);
        (members["members"].as_array().map_or(0, Vec::len) == count).then_some(())
    });
    fleet
}

impl Fleet {
    /// How the newest rollout stands; nothing while the lock server is away.
    fn state(&self, rollout: &str) -> Option<String> {
        let (code, out, _) = crate::support::run(self.server.command(&["rollouts", rollout]).arg("--json"));
        let value: serde_json::Value = serde_json::from_str(out.trim()).ok().filter(|_| code == 0)?;
        value["row"]["state"].as_str().map(str::to_owned)
    }

    fn announce(&self) -> String {
        self.server
            .must(&["announce", "web", "-m", "build"])
            .split_whitespace()
            .next()
            .expect("a rollout's name")
            .to_owned()
    }

    /// Each host restarted once more, all are in, and never were more out than there are slots.
    fn check(&self, rounds: usize, tokens: &Path) {
        for host in &self.hosts {
            assert_eq!(
                host.starts(),
                rounds,
                "{} restarted {} times in {rounds} rollouts:\n{}",
                host.name,
                host.starts(),
                host.log()
            );
        }
        assert_eq!(self.balancer.out_now(), 0, "somebody was left out");
        assert!(self.balancer.peak() <= SLOTS, "{} were out at once", self.balancer.peak());
        let mut all = Vec::new();
        let mut by_host: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for line in lines(tokens) {
            let (host, token) = line.split_once(' ').expect("a host and a token");
            let token: u64 = token.parse().expect("a token");
            by_host.entry(host.to_owned()).or_default().push(token);
            all.push(token);
        }
        assert_eq!(all.len(), rounds * self.hosts.len());
        for (host, tokens) in by_host {
            assert!(tokens.is_sorted_by(|a, b| a < b), "the tokens of {host} do not grow: {tokens:?}");
        }
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "a token was granted twice: {all:?}");
    }
}

#[test]
fn the_lock_server_is_killed_a_hundred_times_during_ten_rollouts() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut fleet = fleet(folder.path(), HOSTS, "5s");
    let mut dice = Dice(0xDEAD);
    let (mut kills, mut rounds) = (0, 0);
    while rounds < 10 || kills < 100 {
        let rollout = fleet.announce();
        rounds += 1;
        assert!(rounds <= 40, "only {kills} kills in {rounds} rollouts");
        let mut kills_left = 12;
        while fleet.state(&rollout).as_deref() != Some("done") {
            for _ in 0..3 + dice.roll(20) {
                pause();
            }
            if kills_left > 0 {
                fleet.server.kill_and_restart();
                kills_left -= 1;
                kills += 1;
            }
        }
    }
    fleet.check(rounds, &folder.path().join("tokens"));
    assert!(kills >= 100, "{kills} kills");
}

#[test]
fn the_lock_server_stands_still_five_times_for_longer_than_a_lease_lives() {
    let folder = tempfile::tempdir().expect("a folder");
    let fleet = fleet(folder.path(), 6, "2s");
    let rollout = fleet.announce();
    let mut dice = Dice(0xBEEF);
    for _ in 0..5 {
        for _ in 0..5 + dice.roll(20) {
            pause();
        }
        fleet.server.signal(rustix::process::Signal::STOP);
        let resumed = std::time::Instant::now() + Duration::from_millis(2_500);
        wait_for("longer than a time to live", SOON, || (std::time::Instant::now() >= resumed).then_some(()));
        fleet.server.signal(rustix::process::Signal::CONT);
    }
    wait_for("the rollout is done", Duration::from_secs(120), || {
        (fleet.state(&rollout).as_deref() == Some("done")).then_some(())
    });
    fleet.check(1, &folder.path().join("tokens"));
}

#[test]
fn a_worker_stands_still_in_mid_sequence_for_longer_than_its_lease_lives() {
    let folder = tempfile::tempdir().expect("a folder");
    let fleet = fleet(folder.path(), 6, "2s");
    let rollout = fleet.announce();
    let (place, host) = wait_for("a host is out", SOON, || {
        fleet.hosts.iter().enumerate().find(|(_, host)| fleet.balancer.is_out(&host.name))
    });
    fleet.workers[place].signal(rustix::process::Signal::STOP);
    wait_for("its lease is lost or failed", SOON, || {
        let leases = fleet.server.json(&["leases", &format!("host/{}", host.name)]);
        let state = leases["leases"][0]["state"].as_str().unwrap_or("none").to_owned();
        matches!(state.as_str(), "lost" | "failed").then_some(())
    });
    fleet.workers[place].signal(rustix::process::Signal::CONT);
    wait_for("the rollout is done", Duration::from_secs(120), || {
        (fleet.state(&rollout).as_deref() == Some("done")).then_some(())
    });
    fleet.check(1, &folder.path().join("tokens"));
}
