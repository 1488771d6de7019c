//! Workers that ask doors to a store, of which one dies.

use super::servers::Redis;
use crate::support::{Balancer, Host, LockServer, Running, SOON, Tuning, own_address, run, stagger, wait_for};
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;

fn door(store: &str, address: &str) -> Running {
    let mut command = stagger();
    command.args(["lockserver", "--coordinator", store, "--api", address]);
    let door = Running::of(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts"));
    wait_for("the door opens", SOON, || std::net::TcpStream::connect(address).ok().map(drop));
    door
}

#[test]
fn workers_go_on_at_the_next_door_when_one_is_killed_in_mid_rollout() {
    let (folder, redis, balancer) = (tempfile::tempdir().expect("a folder"), Redis::start(), Balancer::start());
    let addresses = [own_address(), own_address()];
    let mut doors = addresses.each_ref().map(|address| Some(door(&redis.url(), address)));
    let url = format!("http://{}", addresses.join(","));
    let tuning = Tuning { drain: "500ms", ..Tuning::default() };
    let hosts: Vec<Host> =
        (0..6).map(|place| Host::new(folder.path(), &format!("h{place}"), &url, &balancer, &tuning)).collect();
    let workers: Vec<_> = hosts.iter().map(Host::work).collect();
    for worker in &workers {
        wait_for("the worker joins", SOON, || worker.has_joined().then_some(()));
    }
    let ask = |words: &[&str]| {
        let (code, out, err) = run(stagger().args(words).args(["--coordinator", &url]));
        assert_eq!(code, 0, "{words:?}: {err}");
        out
    };
    ask(&["set", "pool/p", "slots=2", "--reason", "test"]);
    ask(&["announce", "web", "-m", "a deploy"]);
    let started = || hosts.iter().map(Host::starts).sum::<usize>();
    wait_for("some have restarted", SOON, || (started() >= 2).then_some(()));
    // With kill -9: the other one, or a worker, has to find the seat empty when this one decided.
    drop(doors[0].take());
    let rollout = wait_for("the rollout is done", Duration::from_secs(90), || {
        let (code, out, _) = run(stagger().args(["rollouts", "--json", "--coordinator", &url]));
        let rollouts: Value = serde_json::from_str(&out).ok().filter(|_| code == 0)?;
        Some(rollouts["rollouts"][0].clone()).filter(|rollout| rollout["state"] == "done")
    });
    assert_eq!(rollout["tally"]["ok"], 6, "{rollout}");
    assert!(hosts.iter().all(|host| host.starts() == 1), "each restarts once");
}

#[test]
fn a_list_of_what_does_not_belong_together_is_refused_by_the_first_who_uses_it() {
    let redis = Redis::start();
    let addresses = [own_address(), own_address(), own_address()];
    let _doors =
        [("web", 0), ("other", 1)].map(|(domain, at)| door(&format!("{}/{domain}", redis.url()), &addresses[at]));
    let folder = tempfile::tempdir().expect("a folder");
    let own = LockServer::start(folder.path());
    let own = own.url.trim_start_matches("http://");
    let (web, other, away) = (&addresses[0], &addresses[1], &addresses[2]);
    let ask = |words: &[&str], list: &[&str]| {
        run(stagger().args(words).env("STAGGER_COORDINATOR", format!("http://{}", list.join(","))))
    };
    for list in [[web.as_str(), other], [web, own], [own, web]] {
        let words = ["run", "-p", "p", "--wait", "1s", "--", "true"];
        let (code, _, err) = ask(&words, &list);
        assert_eq!(code, 2, "{list:?}: {err}");
        assert!(err.contains("listed together") || err.contains("another domain"), "{err}");
        let (code, out, _) = ask(&["doctor"], &list);
        assert_eq!((code, out.contains("do not belong together")), (1, true), "{out}");
    }
    assert_eq!(ask(&["leases"], &[web, away]).0, 0, "one that is away stops nobody");
    let (code, out, _) = ask(&["doctor"], &[web, away]);
    assert_eq!((code, out.matches("a door to a store").count(), out.matches('✗').count()), (1, 1, 1), "{out}");
}
