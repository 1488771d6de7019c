//! The rollouts: a list, or one with every host's steps and what it printed.

use super::follow::{cause, counts, headline, obstacles, printed, to_go, words};
use super::summary::{go_on, took_ms};
use super::table::table;
use super::text::{age, clean, day_and_time, seconds, span};
use model::names::Scope;
use model::read::{RolloutDetail, RolloutRow};
use model::rollout::{Progress, Report, RolloutState, Target, Timing};
use model::sequence::FOUND_DONE;

/// One line per rollout within a scope, the newest first.
pub(crate) fn rollouts(rows: &[RolloutRow], scope: Option<&Scope>) -> String {
    if rows.is_empty() {
        let of = scope.map(|scope| format!(" of {scope}")).unwrap_or_default();
        return format!("no rollout{of}: nothing was announced, or it was too long ago");
    }
    let header = ["ROLLOUT", "STATE", "AGE", "DONE", "FLIGHT", "OK", "FAIL", "LEFT", "BY", "MESSAGE"];
    table(&header, rows.iter().map(cells).collect())
}

fn cells(row: &RolloutRow) -> Vec<String> {
    let counts = counts(row);
    vec![
        row.name.to_string(),
        state(row),
        age(row.age_ms),
        format!("{}%", counts.percent),
        counts.in_flight.to_string(),
        counts.ok.to_string(),
        counts.failed.to_string(),
        counts.left.to_string(),
        clean(&row.by),
        clean(&row.message),
    ]
}

/// Where it stands; and how many failed hosts still keep their slot when it is done.
fn state(row: &RolloutRow) -> String {
    match row.kept.len() {
        kept if kept > 0 && row.state == RolloutState::Done => format!("{}, {kept} kept", row.state),
        _ => row.state.to_string(),
    }
}

/// One rollout: how it stands, then its hosts, failed ones first, each with its steps.
pub(crate) fn rollout(detail: &RolloutDetail) -> String {
    let row = &detail.row;
    let counts = counts(row);
    let (state, words, to_go) = (row.state, words(counts), to_go(row, 0));
    let (announced, age) = (day_and_time(row.announced), age(row.age_ms));
    let standing = format!("{state}, {}% {words}{to_go}, announced {announced} ({age} ago)", counts.percent);
    let mut lines = vec![headline(row), standing];
    lines.extend(terms(row));
    lines.extend(obstacles(row));
    lines.extend((row.state == RolloutState::Halted).then(|| go_on(row)));
    if let Some(ended) = &row.ended {
        lines.push(format!("ended by {} at {}: {}", clean(&ended.by), day_and_time(ended.at), clean(&ended.reason)));
    }
    let rows = detail.targets.iter().map(|target| target_cells(row, target)).collect();
    let text = table(&["HOST", "STATE", "TOOK", "STEPS"], rows);
    let mut table_lines = text.lines();
    lines.extend(table_lines.next().map(str::to_owned));
    for (line, target) in table_lines.zip(&detail.targets) {
        lines.push(line.to_owned());
        if target.progress == Progress::Failed {
            lines.extend(printed(target, &cause(target)).into_iter().map(|line| format!("    {line}")));
        }
    }
    lines.join("\n")
}

/// What it was announced with, where that is not the usual.
fn terms(row: &RolloutRow) -> Option<String> {
    let mut terms = Vec::new();
    if !row.only.is_empty() {
        terms.push(format!("only {}", row.only.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")));
    }
    if row.state.is_under_way() {
        let strict = if row.strict { ", those in flight counted" } else { "" };
        let failures = super::text::count(row.max_failures as usize, "failure");
        terms.push(format!("halts at {failures}{strict}"));
        terms.push(format!("expires in {}", span(row.expires_ms)));
    }
    (!terms.is_empty()).then(|| terms.join("; "))
}

fn target_cells(row: &RolloutRow, target: &Target) -> Vec<String> {
    let has_ended = !matches!(target.progress, Progress::Owes | Progress::Begun);
    let took = took_ms(target).filter(|_| has_ended).map_or_else(|| "–".to_owned(), seconds);
    vec![target.host.to_string(), progress(row, target), took, steps(row, target)]
}

fn progress(row: &RolloutRow, target: &Target) -> String {
    let flies = row.in_flight.iter().any(|flight| flight.host == target.host);
    match target.progress {
        Progress::Owes if row.down.contains(&target.host) => "down".to_owned(),
        Progress::Owes | Progress::Begun if flies => "in flight".to_owned(),
        other => other.to_string(),
    }
}

/// `depool 40ms drain 3.0s …`; what failed; where it is; or why it gave way.
fn steps(row: &RolloutRow, target: &Target) -> String {
    let mut parts = Vec::new();
    let flight = row.in_flight.iter().find(|flight| flight.host == target.host);
    match (&target.report, target.progress) {
        (Some(report), Progress::Ok) => {
            parts.push(timings(report));
            parts.extend(super::restart::left_out(report));
        }
        (Some(report), Progress::Skipped | Progress::Failed) => parts.push(timings(report)),
        // What halted it is said once, above all hosts.
        (Some(report), _) if row.halted.as_ref().is_some_and(|halted| report.cause.contains(&halted.cause)) => {}
        // Why it gave way before is over once it is at it again.
        (Some(report), Progress::Owes | Progress::Begun) if flight.is_none() && !report.cause.is_empty() => {
            let ago = (row.announced.0 + row.age_ms).saturating_sub(report.at.0);
            parts.push(format!("gave way {} ago: {}", age(ago), clean(&report.cause)));
        }
        (Some(_), Progress::Owes | Progress::Begun) => {}
        (None, _) => {}
    }
    if target.progress == Progress::Failed {
        parts.push(cause(target));
    }
    if let Some(flight) = flight {
        let step = flight.step.map_or_else(|| "granted".to_owned(), |step| step.to_string());
        parts.push(format!("{step} since {}", age(flight.ms)));
        parts.push(clean(&flight.note));
    }
    parts.retain(|part| !part.is_empty());
    if parts.is_empty() { "–".to_owned() } else { parts.join("; ") }
}

fn timings(report: &Report) -> String {
    let timing = |timing: &Timing| {
        let failed = if timing.ok { "" } else { " ✗" };
        if timing.note == FOUND_DONE {
            // Nobody knows how long it took.
            return format!("{} ?", timing.step);
        }
        format!("{} {}{failed}", timing.step, seconds(timing.ms))
    };
    report.timings.iter().map(timing).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::samples::{AT, failed_target, restarted_target, rollout as sample, target};
    use super::*;
    use model::read::FlightRow;
    use model::rollout::{Ended, Halted, Outcome, Tally};
    use model::sequence::Step;

    #[test]
    fn the_list_shows_how_far_each_is() {
        let done = sample(RolloutState::Done, Tally { ok: 351, failed: 1, ..Tally::default() });
        let expected = "\
ROLLOUT     STATE  AGE   DONE  FLIGHT  OK   FAIL  LEFT  BY              MESSAGE
php-fpm@42  done   101s  100%  0       351  1     0     deploy@deploy1  wmf.12 to group1";
        assert_eq!(rollouts(&[done], None), expected);
        let mut kept = sample(RolloutState::Done, Tally { ok: 351, failed: 1, ..Tally::default() });
        kept.kept.push("mw1316".parse().expect("a host"));
        assert!(rollouts(&[kept.clone()], None).contains("php-fpm@42  done, 1 kept  101s"));
        let detail = RolloutDetail { row: kept, targets: Vec::new() };
        assert!(rollout(&detail).contains("\nfailed, and keep their slots: mw1316"), "{}", rollout(&detail));
        assert_eq!(rollouts(&[], None), "no rollout: nothing was announced, or it was too long ago");
        let scope = "host/mw1".parse().expect("a scope");
        assert!(rollouts(&[], Some(&scope)).starts_with("no rollout of host/mw1: "));
    }

    #[test]
    fn one_rollout_shows_every_host_with_its_steps_and_what_it_printed() {
        let tally = Tally { owes: 3, begun: 0, ok: 1, skipped: 1, failed: 1 };
        let mut row = sample(RolloutState::Rolling, tally);
        row.only = vec!["pool/app-eqiad".parse().expect("a scope")];
        row.strict = true;
        row.down.push("mw4".parse().expect("a host"));
        row.in_flight.push(FlightRow {
            host: "mw3".parse().expect("a host"),
            step: Some(Step::Drain),
            note: "4 in flight".to_owned(),
            ms: 6_000,
        });
        let mut gave_way = Report::plain(Outcome::Cancelled);
        gave_way.cause = "all is paused by ann@ops1".to_owned();
        gave_way.at = model::Wall(AT.0 + 60_000);
        gave_way.timings = vec![Timing { step: Step::Check, ms: 4, ok: true, note: String::new() }];
        let mut failed = failed_target("mw1316");
        let report = failed.report.as_mut().expect("a report");
        report.output = "reading the configuration\n".to_owned();
        report.timings = vec![
            Timing { step: Step::Drain, ms: 3_000, ok: true, note: String::new() },
            Timing { step: Step::Restart, ms: 210, ok: false, note: String::new() },
        ];
        let targets = vec![
            failed,
            target("mw2", Progress::Skipped, Some(Report::plain(Outcome::Skipped))),
            restarted_target("mw1", &[(Step::Ask, 9_000), (Step::Drain, 3_000), (Step::Restart, 200)]),
            target("mw3", Progress::Owes, None),
            target("mw4", Progress::Owes, None),
            target("mw5", Progress::Owes, Some(gave_way)),
        ];
        let expected = "\
php-fpm@42 by deploy@deploy1: wmf.12 to group1
rolling, 50% (in-flight: 1; ok: 2; fail: 1; left: 2), ~1m7s to go, announced 2026-11-24 14:02:51Z (101s ago)
only pool/app-eqiad; halts at 3 failures, those in flight counted; expires in 23h58m
down, and not waited for: mw4
HOST    STATE      TOOK  STEPS
mw1316  failed     3.2s  drain 3.0s restart 0.2s ✗; restart: exit 78: [pool www] unknown entry 'pm.max_chldren'
    reading the configuration
mw2     skipped    –     –
mw1     ok         3.2s  ask 9.0s drain 3.0s restart 0.2s
mw3     in flight  –     drain since 6s; 4 in flight
mw4     down       –     –
mw5     owes       –     gave way 41s ago: all is paused by ann@ops1";
        assert_eq!(rollout(&RolloutDetail { row, targets }), expected);
    }

    #[test]
    fn what_is_out_still_and_what_nobody_timed_are_shown() {
        let row = sample(RolloutState::Done, Tally { ok: 1, ..Tally::default() });
        let mut target = restarted_target("mw1", &[(Step::Depool, 200), (Step::Restart, 0)]);
        let report = target.report.as_mut().expect("a report");
        report.out_of = vec!["lb1".to_owned()];
        report.timings[1].note = FOUND_DONE.to_owned();
        assert_eq!(steps(&row, &target), "depool 0.2s restart ?; left out of lb1, not by Stagger");
    }

    #[test]
    fn what_halted_it_is_not_repeated_for_every_host() {
        let mut row = sample(RolloutState::Halted, Tally { owes: 1, ..Tally::default() });
        row.halted = Some(Halted { cause: "3 hosts failed".to_owned(), host: None, at: AT });
        let mut gave_way = Report { at: AT, ..Report::plain(Outcome::Cancelled) };
        gave_way.cause = "php-fpm@42 is halted: 3 hosts failed".to_owned();
        assert_eq!(steps(&row, &target("mw1", Progress::Owes, Some(gave_way.clone()))), "–");
        gave_way.cause = "the gate is closed".to_owned();
        assert_eq!(
            steps(&row, &target("mw1", Progress::Owes, Some(gave_way.clone()))),
            "gave way 101s ago: the gate is closed"
        );
        row.halted = None;
        row.in_flight.push(FlightRow {
            host: "mw1".parse().expect("a host"),
            step: Some(Step::Drain),
            note: String::new(),
            ms: 0,
        });
        assert_eq!(steps(&row, &target("mw1", Progress::Owes, Some(gave_way))), "drain since 0s", "that is over");
    }

    #[test]
    fn a_halted_one_says_what_to_type() {
        let mut row = sample(RolloutState::Halted, Tally { owes: 1, failed: 3, ..Tally::default() });
        row.halted = Some(Halted { cause: "3 hosts failed".to_owned(), host: None, at: AT });
        let text = rollout(&RolloutDetail { row, targets: Vec::new() });
        let expected = "halted: 3 hosts failed\n  fixed?  stagger announce php-fpm -m …\n  go on all the same: \
                        stagger resume rollout/php-fpm@42";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn an_ended_one_says_by_whom() {
        let mut row = sample(RolloutState::Aborted, Tally { owes: 1, ..Tally::default() });
        row.ended =
            Some(Ended { superseded: false, by: "ann@ops1".to_owned(), reason: "wrong build".to_owned(), at: AT });
        let text = rollout(&RolloutDetail { row, targets: Vec::new() });
        assert!(text.ends_with("\nended by ann@ops1 at 2026-11-24 14:02:51Z: wrong build"), "{text}");
        assert!(!text.contains("expires"));
    }
}
