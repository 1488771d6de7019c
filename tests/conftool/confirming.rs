//! Balancers that do not confirm: nothing is taken for a yes.

use super::pybal::Manner;
use super::site::{APACHE, APACHES, ENTRY, Site, Tuning, UNTIL_GO, go, said, wait_until_it_restarts};
use crate::support::{SOON, lines, run, wait_for};
use std::process::Stdio;

/// Everything that a balancer can say instead of an answer, and a word that must be in the report.
const NO_ANSWERS: [(Manner, &str); 10] = [
    (Manner::Hangs, "did not answer within 500ms"),
    (Manner::Status(500), "status 500"),
    (Manner::Status(503), "status 503"),
    (Manner::Status(404), "it knows no pool"),
    (Manner::Says("garbage"), "garbage"),
    (Manner::Says(""), "not a state of PyBal"),
    (Manner::Says("{}"), "not a state of PyBal"),
    (Manner::Says("enabled/up/poo"), "enabled/up/poo"),
    (Manner::Half, ""),
    (Manner::Another("mw1001.example.org"), "mw1001"),
];

/// Scenario 10; seen to go wrong: 500, 404, garbage or nothing counted as confirmed.
#[test]
fn a_pybal_without_a_usable_answer_stops_everything_before_anything_is_touched() {
    let site = Site::new("v2");
    let host = site.host(&Tuning::default());
    for (manner, part) in NO_ANSWERS {
        site.answers(manner);
        let (code, text) = said(&host, &["restart", "web"]);
        let is_named = text.contains(&site.pybals[1].address);
        assert!(code == 1 && is_named && text.contains(part), "{manner:?} exits {code}: {text}");
        assert_eq!(site.get(APACHE, "mw1"), ENTRY, "{manner:?}");
    }
    assert!(lines(&host.folder.join("starts")).is_empty());
    for pybal in &site.pybals {
        assert_eq!(pybal.history(APACHES, "mw1.example.org").len(), 1, "it never moved");
    }
    // With --force nobody is asked.
    let (code, text) = said(&host, &["restart", "web", "--force"]);
    assert!(code == 0 && lines(&host.folder.join("starts")).len() == 1, "{text}");
    assert_eq!(site.get(APACHE, "mw1"), ENTRY);
}

/// Scenario 8: not confirmed after the tries, nothing is restarted, the depool is undone, and the PyBal is named.
#[test]
fn a_depool_that_one_pybal_does_not_confirm_is_undone_and_nothing_restarts() {
    for api in ["v2", "v3"] {
        let site = Site::new(api);
        let host = site.host(&Tuning::default());
        site.pybals[1].follows(false);
        let (code, text) = said(&host, &["restart", "web"]);
        let said = format!("etcd says no, and {} says enabled/up/pooled for {APACHES}", site.pybals[1].address);
        assert!(code == 1 && text.contains(&said), "{api} exits {code}: {text}");
        assert!(lines(&host.folder.join("starts")).is_empty(), "{api}: nothing restarts");
        assert_eq!(site.get(APACHE, "mw1"), ENTRY, "{api}: it is undone");
        site.wait_until(APACHES, "mw1", "enabled/up/pooled");
        let leases = site.server.json(&["leases"]);
        assert_eq!(leases["leases"].as_array().map(Vec::len), Some(0), "{api}: {leases}");
    }
}

/// Scenarios 8 and 10: a balancer that breaks down after the depool has not confirmed it. Whether the host is back cannot be
/// confirmed either, so a person is asked; etcd wants it in again.
#[test]
fn a_pybal_that_breaks_down_after_the_depool_has_not_confirmed_it() {
    let site = Site::new("v2");
    let host = site.host(&Tuning { tries: 3, restart: UNTIL_GO, ..Tuning::default() });
    site.pybals[1].leaves_at_the_next_change(SOON);
    let child = host.command(&["restart", "web"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let output = child.expect("the program starts").wait_with_output().expect("it ends");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains(&site.pybals[1].address) && text.contains("Connection refused"), "{text}");
    assert!(lines(&host.folder.join("starts")).is_empty());
    assert_eq!(site.get(APACHE, "mw1"), ENTRY);
}

/// Scenario 9: a repool that is not confirmed ends non-zero, and the report says so.
#[test]
fn a_repool_that_one_pybal_does_not_confirm_is_told() {
    let site = Site::new("v2");
    let host = site.host(&Tuning { restart: UNTIL_GO, ..Tuning::default() });
    let mut command = host.command(&["restart", "web"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    wait_until_it_restarts(&host);
    site.pybals[1].follows(false);
    go(&host);
    let output = child.wait_with_output().expect("it ends");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let part = format!("etcd says yes, and {} says disabled/up/not pooled for {APACHES}", site.pybals[1].address);
    assert!(output.status.code() == Some(1) && text.contains("✗ repool") && text.contains(&part), "{text}");
    // It keeps its slot; once the balancer follows, the next good run ends that.
    assert_eq!(site.server.json(&["leases"])["leases"][0]["state"], "failed");
    site.pybals[1].follows(true);
    site.wait_until(APACHES, "mw1", "enabled/up/pooled");
    let (code, text) = said(&host, &["restart", "web"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(site.server.json(&["leases"])["leases"].as_array().map(Vec::len), Some(0));
}

/// Seen to go wrong: an unknown pool name matched everything. It matches nothing, and is an error.
#[test]
fn a_pool_that_no_pybal_knows_and_a_key_that_is_not_there_are_errors() {
    let site = Site::new("v2");
    let host = site.host(&Tuning { pool: "apachez_80", ..Tuning::default() });
    let (code, text) = said(&host, &["restart", "web"]);
    let part = format!("{}: it knows no pool apachez_80", site.pybals[0].address);
    assert!(code == 1 && text.contains(&part), "{code}: {text}");
    let other = site.host(&Tuning { name: "mw10", ..Tuning::default() });
    for verb in ["restart", "depool", "repool"] {
        let (code, text) = said(&other, &[verb, "web"]);
        let expected = if verb == "restart" { 1 } else { 4 };
        let part = format!("there is no key {APACHE}/mw10.example.org");
        assert!(code == expected && text.contains(&part), "{verb} exits {code}: {text}");
    }
    for name in ["mw1", "mw1001"] {
        assert_eq!(site.get(APACHE, name), ENTRY);
    }
    assert!(lines(&host.folder.join("starts")).is_empty() && lines(&other.folder.join("starts")).is_empty());
}

/// Scenario 14, for the etcd of the balancers; seen to go wrong: a traceback.
#[test]
fn an_etcd_that_is_down_is_told_in_one_line_and_nothing_restarts() {
    for api in ["v2", "v3"] {
        let mut site = Site::new(api);
        let host = site.host(&Tuning::default());
        site.etcd.kill();
        let (code, _, err) = run(&mut host.command(&["restart", "web"]));
        let place = format!("etcd at 127.0.0.1:{}: ", site.etcd.port());
        let told: Vec<&str> = err.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(code == 1 && told.len() == 1 && told[0].contains(&place), "{api} exits {code}: {err}");
        assert!(told[0].contains("refused"), "{err}");
        assert!(lines(&host.folder.join("starts")).is_empty());
        wait_for("the lease is given back", SOON, || {
            (site.server.json(&["leases"])["leases"].as_array().map(Vec::len) == Some(0)).then_some(())
        });
    }
}
