//! Replies that are lost after the store did what was asked: nothing is granted twice, no host restarts twice, no lease leaks.

use super::contended::contend;
use super::servers::{Etcd, Redis};
use super::{LONG, Scene};
use crate::support::{Balancer, Dice, Host, SOON, Tuning, wait_for};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Stands between everyone and a store. Of so many parts of what the store says one is thrown away, and its connection ended.
struct Proxy {
    port: u16,
    one_in: Arc<AtomicU64>,
    cut: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Proxy {
    fn start(store: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (one_in, cut, stop) = (Arc::new(AtomicU64::new(0)), Arc::default(), Arc::default());
        let proxy = Proxy { port, one_in, cut, stop };
        let (one_in, cut, stop) = (Arc::clone(&proxy.one_in), Arc::clone(&proxy.cut), Arc::clone(&proxy.stop));
        let dice = Arc::new(Mutex::new(Dice(0xD1CE)));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", store)) else { continue };
                let (from, to) = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
                thread::spawn(move || pass(from, to, || false));
                let (one_in, cut, dice) = (Arc::clone(&one_in), Arc::clone(&cut), Arc::clone(&dice));
                let is_lost = move || {
                    let one_in = one_in.load(Ordering::Relaxed);
                    let lost = one_in > 0 && dice.lock().expect("the dice").roll(one_in) == 0;
                    cut.fetch_add(usize::from(lost), Ordering::Relaxed);
                    lost
                };
                thread::spawn(move || pass(server, client, is_lost));
            }
        });
        proxy
    }

    /// From now on one in so many is lost; none at 0.
    fn lose(&self, one_in: u64) {
        self.one_in.store(one_in, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, is_lost: impl Fn() -> bool) {
    let mut part = [0; 16 * 1024];
    while let Ok(count) = from.read(&mut part) {
        if count == 0 || is_lost() || to.write_all(&part[..count]).is_err() {
            break;
        }
    }
    let _both_ends = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

fn replies_are_lost(port: u16, scheme: &str) {
    let proxy = Proxy::start(port);
    let url = format!("{scheme}://127.0.0.1:{}", proxy.port);
    contend(&Scene::new(&url, LONG), 12, 3, Some(Box::new(|_| proxy.lose(60))));
    assert!(proxy.cut.load(Ordering::Relaxed) > 3, "hardly a reply was lost");
    proxy.lose(0);
    // Time counts only while somebody decides, and those who were killed are to be lost. So one waits for what another holds: it
    // is told when the seat is empty, sits down, and stays.
    let scene = Scene::new(&url, LONG);
    scene.must(&["set", "pool/other", "slots=1", "--reason", "test"]);
    let other = |name| {
        let words = ["run", "-p", "other", "--name", name, "--wait", "10m", "--", "sh", "-c"];
        scene.start(name, scene.command(&words), "sleep 600")
    };
    let _sits = [other("sits"), other("waits")];
    wait_for("no lease is left", SOON * 2, || {
        let leases = scene.leases()?;
        let left = leases["leases"]
            .as_array()?
            .iter()
            .filter(|row| !["sits", "waits"].map(Value::from).contains(&row["holder"]));
        (left.count() == 0).then_some(())
    });
}

#[test]
fn no_reply_that_is_lost_grants_twice_over_redis() {
    let redis = Redis::start();
    replies_are_lost(redis.port, "redis");
}

#[test]
fn no_reply_that_is_lost_grants_twice_over_etcd() {
    let etcd = Etcd::start(1);
    replies_are_lost(etcd.port(), "etcd");
}

fn a_fleet_restarts_once(port: u16, scheme: &str) {
    let (folder, balancer, proxy) = (tempfile::tempdir().expect("a folder"), Balancer::start(), Proxy::start(port));
    let url = format!("{scheme}://127.0.0.1:{}", proxy.port);
    let scene = Scene::with_slots(&url, LONG, 2);
    let hosts: Vec<Host> = (0..4)
        .map(|place| Host::new(folder.path(), &format!("h{place}"), &url, &balancer, &Tuning::default()))
        .collect();
    let workers: Vec<_> = hosts.iter().map(Host::work).collect();
    for worker in &workers {
        wait_for("the worker joins", SOON, || worker.has_joined().then_some(()));
    }
    scene.must(&["announce", "web", "-m", "a deploy"]);
    proxy.lose(40);
    let rollout = || {
        let (code, out, _) = crate::support::run(&mut scene.command(&["rollouts", "--json"]));
        let rollouts: Value = serde_json::from_str(&out).ok().filter(|_| code == 0)?;
        Some(rollouts["rollouts"][0].clone()).filter(|rollout| rollout["state"] == "done")
    };
    let rollout = wait_for("the rollout is done", Duration::from_secs(120), rollout);
    proxy.lose(0);
    assert_eq!(rollout["tally"]["ok"], 4, "{rollout}");
    assert!(hosts.iter().all(|host| host.starts() == 1), "each restarts once");
    wait_for("no lease is left", SOON, || {
        scene.leases()?["leases"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
}

#[test]
fn no_reply_that_is_lost_restarts_a_host_twice_over_redis() {
    let redis = Redis::start();
    a_fleet_restarts_once(redis.port, "redis");
}

#[test]
fn no_reply_that_is_lost_restarts_a_host_twice_over_etcd() {
    let etcd = Etcd::start(1);
    a_fleet_restarts_once(etcd.port(), "etcd");
}
