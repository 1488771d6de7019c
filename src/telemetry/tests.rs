//! What the metrics say.

use super::Telemetry;
use super::tally::{TALLY_FILE, Tally};
use model::rollout::{Outcome, Report};
use model::sequence::Step;
use model::time::Wall;

#[test]
fn every_metric_is_there_with_its_help() {
    let folder = tempfile::tempdir().expect("a folder");
    let telemetry = Telemetry::new(folder.path().to_owned()).expect("metrics");
    let php = "php".parse().expect("a service");
    telemetry.step(&php, Step::Depool, 30, true);
    telemetry.step(&php, Step::Ask, 2_000, true);
    telemetry.step(&php, Step::Verify, 60_000, false);
    telemetry.coordinator(true);
    let mut report = Report::plain(Outcome::Restarted);
    Tally::count(folder.path(), &php, &report, Wall(5_000)).expect("written");
    Tally::count(folder.path(), &php, &report, Wall(7_500)).expect("written");
    let text = telemetry.render().expect("text");
    for line in [
        r#"stagger_step_duration_seconds_count{outcome="ok",service="php",step="depool"} 1"#,
        r#"stagger_step_duration_seconds_sum{outcome="failed",service="php",step="verify"} 60"#,
        r#"stagger_probe_failures_total{step="verify"} 1"#,
        "stagger_lease_wait_seconds_sum 2",
        "stagger_coordinator_up 1",
        "stagger_sequence_stuck 0",
        r#"stagger_sequences_total{outcome="restarted",service="php"} 2"#,
        r#"stagger_sequence_last_timestamp_seconds{outcome="restarted",service="php"} 7.5"#,
    ] {
        assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let family = name.trim_end_matches("_count").trim_end_matches("_sum");
        assert!(text.contains(&format!("# HELP {family} ")), "{family} has no help");
    }
    report = Report { stuck: true, ..Report::plain(Outcome::Failed) };
    Tally::count(folder.path(), &php, &report, Wall(8_000)).expect("written");
    assert!(telemetry.render().expect("text").contains("stagger_sequence_stuck 1"));
    Tally::count(folder.path(), &php, &Report::plain(Outcome::Cancelled), Wall(8_000)).expect("written");
    assert!(!Tally::load(folder.path()).stuck.is_empty(), "giving way makes nothing well");
    Tally::count(folder.path(), &php, &Report::plain(Outcome::Restarted), Wall(9_000)).expect("written");
    assert!(telemetry.render().expect("text").contains("stagger_sequence_stuck 0"));
    telemetry.stuck(true);
    assert!(telemetry.render().expect("text").contains("stagger_sequence_stuck 1"));
    telemetry.coordinator(false);
    assert!(telemetry.render().expect("text").contains("stagger_coordinator_up 0"));
}

#[test]
fn a_tally_that_cannot_be_read_is_empty() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(Tally::load(folder.path()), Tally::default());
    std::fs::write(folder.path().join(TALLY_FILE), "{").expect("written");
    assert_eq!(Tally::load(folder.path()), Tally::default());
}
