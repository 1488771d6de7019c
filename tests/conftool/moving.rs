//! A host leaves and rejoins, whatever dies meanwhile.

use super::pybal::Manner;
use super::site::{APACHE, APACHES, ENTRY, NGINX, NGINXES, Site, Tuning, UNTIL_GO, go, said, wait_until_it_restarts};
use crate::support::{SOON, lines, wait_for};
use std::process::Stdio;
use std::time::{Duration, Instant};

const IN: &str = "enabled/up/pooled";
const OUT: &str = "disabled/up/not pooled";

/// Scenario 3: it leaves, both balancers agree, it restarts, it rejoins, they agree again, and not a byte of its entry is
/// another. By both ways to speak to etcd, and with PyBals of both forms.
#[test]
fn a_pooled_host_leaves_restarts_and_rejoins_and_its_entry_is_as_it_was() {
    for api in ["v2", "v3"] {
        let site = Site::new(api);
        site.answers(Manner::Lines);
        let host = site.host(&Tuning { has_both: true, restart: UNTIL_GO, ..Tuning::default() });
        let _worker = host.work();
        wait_for("the worker has joined", SOON, || {
            (site.server.json(&["members"])["members"].as_array().map_or(0, Vec::len) == 1).then_some(())
        });
        site.server.must(&["announce", "web", "-m", "build"]);
        wait_until_it_restarts(&host);
        for (place, pool) in [(APACHE, APACHES), (NGINX, NGINXES)] {
            let during = ENTRY.replacen("\"yes\"", "\"no\"", 1);
            assert_eq!(site.get(place, "mw1"), during, "{api}");
            assert!(
                site.pybals.iter().all(|pybal| pybal.state(pool, "mw1.example.org").as_deref() == Some(OUT)),
                "{api}"
            );
        }
        go(&host);
        wait_for("the rollout is done", SOON, || {
            (site.server.json(&["rollouts", "web@1"])["row"]["state"] == "done").then_some(())
        });
        for (place, pool) in [(APACHE, APACHES), (NGINX, NGINXES)] {
            assert_eq!(site.get(place, "mw1"), ENTRY, "{api}: as it was");
            for pybal in &site.pybals {
                assert_eq!(pybal.history(pool, "mw1.example.org"), [IN, OUT, IN], "{api}");
            }
        }
        let shown = site.server.json(&["rollouts", "web@1"]).to_string();
        assert!(shown.contains("out of eqiad/appserver/apache2/mw1.example.org"), "{shown}");
    }
}

/// Seen to go wrong: a host called `mw1` also moved `mw1001`.
#[test]
fn a_host_whose_name_is_the_beginning_of_another_moves_alone() {
    let site = Site::new("v2");
    let host = site.host(&Tuning { has_both: true, ..Tuning::default() });
    let (code, text) = said(&host, &["restart", "web"]);
    assert_eq!(code, 0, "{text}");
    for (place, pool) in [(APACHE, APACHES), (NGINX, NGINXES)] {
        assert_eq!(site.get(place, "mw1001"), ENTRY);
        for pybal in &site.pybals {
            assert_eq!(pybal.history(pool, "mw1.example.org"), [IN, OUT, IN]);
            assert_eq!(pybal.history(pool, "mw1001.example.org"), [IN], "nobody touched it");
        }
    }
}

/// Scenario 10: of the pools that are acted on every balancer is asked, and no other.
#[test]
fn every_pybal_is_asked_for_its_own_pools_and_for_no_other() {
    let site = Site::new("v2");
    let host = site.host(&Tuning::default());
    let (code, text) = said(&host, &["restart", "web"]);
    assert_eq!(code, 0, "{text}");
    for pybal in &site.pybals {
        let asked = pybal.asked();
        let expected = format!("/pools/{APACHES}/mw1.example.org");
        assert!(asked.len() >= 3 && asked.iter().all(|path| *path == expected), "{asked:?}");
    }
    assert_eq!(site.get(NGINX, "mw1"), ENTRY, "the other service is not acted on");
}

/// Seen to go wrong: killed between depool and repool, the host stayed out for good, and the next run left it so.
#[test]
fn killed_while_the_host_is_out_it_is_put_back_by_the_next_worker() {
    let site = Site::new("v2");
    let host = site.host(&Tuning { restart: UNTIL_GO, ..Tuning::default() });
    let mut worker = host.work();
    wait_for("the worker has joined", SOON, || worker.has_joined().then_some(()));
    site.server.must(&["announce", "web", "-m", "build"]);
    wait_until_it_restarts(&host);
    worker.process.kill();
    assert_ne!(site.get(APACHE, "mw1"), ENTRY, "it is out");
    go(&host);
    let _worker = host.work();
    wait_for("the rollout is done", SOON, || {
        (site.server.json(&["rollouts", "web@1"])["row"]["state"] == "done").then_some(())
    });
    assert_eq!(site.get(APACHE, "mw1"), ENTRY);
    site.wait_until(APACHES, "mw1", IN);
    assert_eq!(lines(&host.folder.join("starts")).len(), 1, "its service had started");
}

/// Seen to go wrong: five tries in three milliseconds at a balancer that refused connections for a moment.
#[test]
fn a_pybal_that_is_away_for_some_seconds_is_waited_for() {
    let site = Site::new("v2");
    let away = Duration::from_secs(2);
    site.pybals[1].leaves_at_the_next_change(away);
    let host = site.host(&Tuning { tries: 30, pause: "200ms", ..Tuning::default() });
    let started = Instant::now();
    let (code, text) = said(&host, &["restart", "web"]);
    assert_eq!(code, 0, "{text}");
    assert!(started.elapsed() >= away, "it was away");
    assert!(site.pybals[1].asked().len() < 60, "it was not stormed: {:?}", site.pybals[1].asked().len());
    assert_eq!(site.get(APACHE, "mw1"), ENTRY);
}

/// Scenario 3, with a balancer that follows late.
#[test]
fn a_pybal_that_follows_slowly_is_waited_for() {
    let site = Site::new("v3");
    site.pybals[0].is_slow(Duration::from_millis(700));
    let host = site.host(&Tuning { tries: 30, restart: UNTIL_GO, ..Tuning::default() });
    let child = host.command(&["restart", "web"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut child = crate::support::Running::of(child.expect("the program starts"));
    wait_until_it_restarts(&host);
    assert_eq!(site.pybals[0].state(APACHES, "mw1.example.org").as_deref(), Some(OUT), "the slow one too");
    go(&host);
    let status = wait_for("it ends", SOON, || child.0.try_wait().expect("our own child"));
    assert_eq!(status.code(), Some(0));
    assert_eq!(site.pybals[0].history(APACHES, "mw1.example.org"), [IN, OUT, IN]);
}

/// A service that died by itself is what a restart is for: it is meant to be in, and its balancers find it ill.
#[test]
fn a_host_that_its_balancers_find_ill_can_be_restarted_and_rejoins_when_it_is_well() {
    let site = Site::new("v2");
    for pybal in &site.pybals {
        pybal.finds_ill(APACHES, "mw1.example.org");
    }
    let host = site.host(&Tuning::default());
    let (code, text) = said(&host, &["restart", "web"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(site.get(APACHE, "mw1"), ENTRY);
    site.wait_until(APACHES, "mw1", IN);
}
