//! What somebody else decided about a host is left alone.

use super::site::{APACHE, APACHES, ENTRY, NGINX, NGINXES, Site, Tuning, UNTIL_GO, go, said, wait_until_it_restarts};
use crate::support::lines;
use std::process::Stdio;

const IN: &str = "enabled/up/pooled";
const OUT: &str = "disabled/up/not pooled";
const INACTIVE: &str = r#"{"pooled": "inactive", "weight": 50}"#;

/// Scenario 5: a host that somebody took out, for now or for good, is restarted in place and left out.
#[test]
fn a_host_that_somebody_took_out_is_restarted_in_place_and_left_out() {
    for (theirs, seen) in [(r#"{"pooled": "no", "weight": 10}"#, OUT), (INACTIVE, "gone")] {
        let site = Site::new("v2");
        let host = site.host(&Tuning::default());
        site.set(APACHE, "mw1", theirs);
        site.wait_until(APACHES, "mw1", seen);
        let (code, text) = said(&host, &["restart", "web"]);
        let told = text.contains("out of eqiad/appserver/apache2/mw1.example.org already, not by Stagger");
        assert!(code == 0 && told && !text.contains("✓ repool"), "{code}: {text}");
        assert_eq!(lines(&host.folder.join("starts")).len(), 1);
        assert_eq!(site.get(APACHE, "mw1"), theirs, "not written at all");
        site.wait_until(APACHES, "mw1", seen);
    }
}

/// Scenario 5: of two services, one pooled, only that one leaves and rejoins.
#[test]
fn of_two_services_only_the_pooled_one_leaves_and_rejoins() {
    for (theirs, seen) in [(r#"{"pooled": "no", "weight": 10}"#, OUT), (INACTIVE, "gone")] {
        let site = Site::new("v3");
        let host = site.host(&Tuning { has_both: true, ..Tuning::default() });
        site.set(NGINX, "mw1", theirs);
        site.wait_until(NGINXES, "mw1", seen);
        let (code, text) = said(&host, &["restart", "web"]);
        assert_eq!(code, 0, "{text}");
        assert_eq!((site.get(APACHE, "mw1").as_str(), site.get(NGINX, "mw1").as_str()), (ENTRY, theirs));
        for pybal in &site.pybals {
            assert_eq!(pybal.history(APACHES, "mw1.example.org"), [IN, OUT, IN]);
            assert_eq!(pybal.history(NGINXES, "mw1.example.org"), [IN, seen]);
        }
    }
}

/// Seen to go wrong: an operator made the host inactive, with another weight, in the middle of a run, and the run wrote it all
/// back. Scenario 12: a host that is inactive is never repooled.
#[test]
fn an_operator_who_makes_the_host_inactive_in_the_middle_keeps_it_so() {
    for api in ["v2", "v3"] {
        let site = Site::new(api);
        let host = site.host(&Tuning { restart: UNTIL_GO, tries: 2, ..Tuning::default() });
        let mut command = host.command(&["restart", "web"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        wait_until_it_restarts(&host);
        site.set(APACHE, "mw1", INACTIVE);
        site.wait_until(APACHES, "mw1", "gone");
        go(&host);
        let output = child.wait_with_output().expect("it ends");
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.code() == Some(1) && text.contains("inactive"), "{api}: {text}");
        assert_eq!(site.get(APACHE, "mw1"), INACTIVE, "{api}: not a byte of it is ours");
    }
}

/// Another weight that somebody wrote while the host was out stays.
#[test]
fn a_weight_that_was_changed_while_the_host_was_out_stays() {
    let site = Site::new("v2");
    let host = site.host(&Tuning { restart: UNTIL_GO, ..Tuning::default() });
    let mut command = host.command(&["restart", "web"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    wait_until_it_restarts(&host);
    site.set(APACHE, "mw1", r#"{"pooled":"no","weight":25}"#);
    go(&host);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(site.get(APACHE, "mw1"), r#"{"pooled":"yes","weight":25}"#);
}

/// Scenario 12: by hand both ways may be gone twice, nothing to do is 0, and a host that is inactive is never put back.
#[test]
fn by_hand_it_leaves_and_rejoins_and_an_inactive_host_is_left_so() {
    let site = Site::new("v2");
    let host = site.host(&Tuning { tries: 2, ..Tuning::default() });
    let out = ENTRY.replacen("\"yes\"", "\"no\"", 1);
    for (verb, entry, state, already) in [
        ("repool", ENTRY, IN, true),
        ("depool", &out, OUT, false),
        ("depool", &out, OUT, true),
        ("repool", ENTRY, IN, false),
        ("repool", ENTRY, IN, true),
    ] {
        let (code, text) = said(&host, &[verb, "web"]);
        assert!(code == 0 && text.contains(", as before") == already, "{verb} exits {code}: {text}");
        assert_eq!(site.get(APACHE, "mw1"), entry, "{verb}");
        site.wait_until(APACHES, "mw1", state);
    }
    site.set(APACHE, "mw1", INACTIVE);
    site.wait_until(APACHES, "mw1", "gone");
    let (code, text) = said(&host, &["depool", "web"]);
    assert!(code == 0 && text.contains("out, as before (inactive; confirmed by"), "{code}: {text}");
    let (code, text) = said(&host, &["repool", "web"]);
    assert!(code == 1 && text.contains("✗ eqiad") && text.contains("inactive"), "{code}: {text}");
    assert_eq!(site.get(APACHE, "mw1"), INACTIVE);
}
