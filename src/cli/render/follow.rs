//! A rollout under way: the live view of a terminal, and the lines for everybody else.
//!
//! Pure: it is handed the row that was read and the frame to show. [`crate::cli::follow`] reads, waits and draws.

use super::text::{age, clean, last_lines, minutes, some, span, time_of_day};
use model::Wall;
use model::read::{Blocked, RolloutRow};
use model::rollout::{Halted, RolloutState, Target};
use model::sequence::Step;

/// Cells of the bar where there is room for it, and the fewest that are worth drawing.
const BAR_CELLS: usize = 18;
const BAR_CELLS_MIN: usize = 4;
/// Eighths of a cell, from none to seven.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
/// The turning sign of what is under way.
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// Hosts named per step.
const HOSTS_SHOWN_MAX: usize = 2;
/// Lines shown of what a failed host printed.
const OUTPUT_LINES_MAX: usize = 5;

/// The targets of a rollout as people count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Done, in percent, rounded down.
    pub(crate) percent: u64,
    /// They have a lease and are at work.
    pub(crate) in_flight: u64,
    /// Well: restarted, or no restart was needed.
    pub(crate) ok: u64,
    /// Failed.
    pub(crate) failed: u64,
    /// Not done and not at work.
    pub(crate) left: u64,
}

/// Counts the targets. Between two reads a host can be seen in flight and done; it is counted once.
pub(crate) fn counts(row: &RolloutRow) -> Counts {
    let tally = &row.tally;
    let undone = u64::from(tally.owes) + u64::from(tally.begun);
    let in_flight = u64::try_from(row.in_flight.len()).unwrap_or(u64::MAX).min(undone);
    let (ok, failed) = (u64::from(tally.ok) + u64::from(tally.skipped), u64::from(tally.failed));
    let percent = ((ok + failed) * 100).checked_div(ok + failed + undone).unwrap_or(100);
    Counts { percent, in_flight, ok, failed, left: undone - in_flight }
}

/// `(in-flight: 12; ok: 306; fail: 1; left: 33)`.
pub(crate) fn words(counts: Counts) -> String {
    let Counts { in_flight, ok, failed, left, .. } = counts;
    format!("(in-flight: {in_flight}; ok: {ok}; fail: {failed}; left: {left})")
}

/// `php-fpm@42 by deploy@deploy1: wmf.12 to group1`.
pub(crate) fn headline(row: &RolloutRow) -> String {
    format!("{} by {}: {}", row.name, clean(&row.by), clean(&row.message))
}

/// The part of the terminal that is drawn again and again: how far it is, who does what, and what stands in the way; so long
/// after it was read. On a narrow terminal the bar gives way to the figures.
pub(crate) fn live(row: &RolloutRow, read_ms_ago: u64, frame: usize, columns: Option<usize>) -> Vec<String> {
    let counts = counts(row);
    let state = row.state.to_string();
    let spinner = SPINNER[frame % SPINNER.len()];
    let time = format!("{}{}", minutes(row.age_ms + read_ms_ago), to_go(row, read_ms_ago));
    let (before, after) =
        (format!("{spinner} {state:<8} {:>2}% ", counts.percent), format!("{}  {time}", words(counts)));
    let taken = before.chars().count() + after.chars().count() + 1;
    let cells = columns.map_or(BAR_CELLS, |columns| columns.saturating_sub(taken).min(BAR_CELLS));
    let bar = if cells < BAR_CELLS_MIN { String::new() } else { format!("{} ", bar(row, cells)) };
    let mut lines = vec![format!("{before}{bar}{after}")];
    let steps = steps(row);
    if !steps.is_empty() {
        lines.push(format!("  {steps}"));
    }
    lines.extend(obstacles(row).into_iter().map(|text| format!("  {text}")));
    lines
}

/// `███████████████▋░░`, with eighths of a cell.
fn bar(row: &RolloutRow, cells: usize) -> String {
    let tally = &row.tally;
    let done = (tally.ok + tally.skipped + tally.failed) as usize;
    let eighths = (done * cells * 8).checked_div(tally.total() as usize).unwrap_or(cells * 8);
    let (full, part) = (eighths / 8, EIGHTHS[eighths % 8]);
    let empty = cells - full - usize::from(!part.is_empty());
    format!("{}{part}{}", "█".repeat(full), "░".repeat(empty))
}

/// `, ~33s to go`: what was left at the pace so far when it was read. Hosts that are down are not waited for.
pub(crate) fn to_go(row: &RolloutRow, read_ms_ago: u64) -> String {
    let counts = counts(row);
    let done = counts.ok + counts.failed;
    let down = u64::try_from(row.down.len()).unwrap_or(u64::MAX);
    let undone = (counts.left + counts.in_flight).saturating_sub(down);
    match row.age_ms.saturating_mul(undone).checked_div(done) {
        Some(ms) if undone > 0 && row.state == RolloutState::Rolling && row.pauses.is_empty() => {
            format!(", ~{} to go", span(ms.saturating_sub(read_ms_ago).max(1000)))
        }
        _ => String::new(),
    }
}

/// `drain mw1402 mw1377 +5 · restart mw1288`.
fn steps(row: &RolloutRow) -> String {
    let at = |step: Option<Step>| {
        let hosts = row.in_flight.iter().filter(|flight| flight.step == step).map(|flight| flight.host.to_string());
        let hosts: Vec<String> = hosts.collect();
        let word = step.map_or_else(|| "granted".to_owned(), |step| step.to_string());
        (!hosts.is_empty()).then(|| format!("{word} {}", some(&hosts, HOSTS_SHOWN_MAX, " ")))
    };
    let all = std::iter::once(None).chain(Step::ALL.map(Some));
    all.filter_map(at).collect::<Vec<_>>().join(" · ")
}

/// What stands in the way, a line each: pauses, pools full of failed or lost hosts, hosts that are down, a halt.
pub(crate) fn obstacles(row: &RolloutRow) -> Vec<String> {
    let mut lines: Vec<String> = row.pauses.iter().map(super::pools::pause).collect();
    lines.extend(row.blocked.iter().map(blocked));
    if !row.down.is_empty() {
        let hosts: Vec<String> = row.down.iter().map(ToString::to_string).collect();
        lines.push(format!("down, and not waited for: {}", some(&hosts, 10, " ")));
    }
    if row.state == RolloutState::Done && !row.kept.is_empty() {
        let hosts: Vec<String> = row.kept.iter().map(ToString::to_string).collect();
        lines.push(format!("failed, and keep their slots: {}", some(&hosts, 10, " ")));
    }
    if let Some(halted) = &row.halted {
        let finishing = if row.in_flight.is_empty() { "" } else { "; what is in flight finishes" };
        lines.push(format!("halted: {}{finishing}", halted_by(halted)));
    }
    lines
}

/// What halted a rollout, without its last failure: that is told of with its host.
pub(crate) fn halted_by(halted: &Halted) -> String {
    let last = halted.host.as_ref().map(|host| format!("; last {host} "));
    let brief = last.and_then(|last| halted.cause.split_once(&last)).map(|(brief, _)| brief);
    clean(brief.unwrap_or(&halted.cause))
}

fn blocked(blocked: &Blocked) -> String {
    let keepers: Vec<String> = blocked.keepers.iter().map(|(holder, state)| format!("{state} {holder}")).collect();
    let keep = if keepers.len() == 1 { "keeps" } else { "keep" };
    let (waiting, pool, slots) = (blocked.waiting, &blocked.pool, blocked.slots);
    let wait = if waiting == 1 { "waits" } else { "wait" };
    format!("{waiting} {wait} for {pool}: {} {keep} {} of {slots} slots", some(&keepers, 3, ", "), keepers.len())
}

/// What failed at a host, in a line: `restart: exit 78: …`.
pub(crate) fn cause(target: &Target) -> String {
    let Some(report) = &target.report else { return "fell silent after it had begun".to_owned() };
    let step = report.step.map(|step| format!("{step}: ")).unwrap_or_default();
    let stuck = if report.stuck { "; STUCK, a person is needed" } else { "" };
    format!("{step}{}{stuck}", clean(&report.cause))
}

/// A failed host on a terminal: its name, what failed, and what it printed when that says more.
pub(crate) fn failure(target: &Target) -> Vec<String> {
    let cause = cause(target);
    let printed = printed(target, &cause);
    let mut lines = vec![format!("✗ {}  {cause}", target.host)];
    lines.extend(printed.into_iter().map(|line| format!("  {line}")));
    lines
}

/// A failed host for a log: one line, and what it printed behind it.
pub(crate) fn failure_line(target: &Target, now: Wall) -> Vec<String> {
    let cause = cause(target);
    let printed = printed(target, &cause);
    let mut lines = vec![format!("{} {} warning: {} {cause}", time_of_day(now), target.rollout, target.host)];
    lines.extend(printed.into_iter().map(|line| format!("  {line}")));
    lines
}

/// The last lines of what a host printed, without those that its cause repeats.
pub(crate) fn printed(target: &Target, cause: &str) -> Vec<String> {
    let output = target.report.as_ref().map(|report| report.output.as_str()).unwrap_or_default();
    let mut lines = last_lines(output, OUTPUT_LINES_MAX);
    lines.retain(|line| !cause.contains(line.as_str()));
    lines
}

/// How far it is, for a log: `14:03:09 php-fpm@42 40% (in-flight: 33; ok: 140; fail: 1; left: 178)`, with what stands in the way.
pub(crate) fn progress_line(row: &RolloutRow, now: Wall) -> String {
    let counts = counts(row);
    let obstacles = obstacles(row).into_iter().map(|text| format!("; {text}")).collect::<String>();
    format!("{} {} {}% {}{obstacles}", time_of_day(now), row.name, counts.percent, words(counts))
}

/// The first line for a log: who announced what, for how many hosts, how long ago.
pub(crate) fn opening_line(row: &RolloutRow, now: Wall) -> String {
    let hosts = super::text::count(usize::try_from(row.tally.total()).unwrap_or(0), "host");
    format!("{} {}, for {hosts}, announced {} ago", time_of_day(now), headline(row), age(row.age_ms))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{AT, failed_target, pause, rollout, target};
    use super::*;
    use model::read::FlightRow;
    use model::rollout::{Halted, Progress, Tally};

    fn flight(host: &str, step: Option<Step>) -> FlightRow {
        FlightRow { host: host.parse().expect("a host"), step, note: String::new(), ms: 0 }
    }

    fn rolling() -> RolloutRow {
        let tally = Tally { owes: 41, begun: 4, ok: 300, skipped: 6, failed: 1 };
        let mut row = rollout(RolloutState::Rolling, tally);
        let hosts = ["mw1402", "mw1377", "mw3", "mw4", "mw5", "mw6", "mw7"].map(|host| flight(host, Some(Step::Drain)));
        row.in_flight.extend(hosts);
        row.in_flight.extend(["mw1288", "mw8", "mw9"].map(|host| flight(host, Some(Step::Restart))));
        row.in_flight.extend(["mw1411", "mw1420"].map(|host| flight(host, Some(Step::Verify))));
        row.blocked.push(Blocked {
            pool: "rack.b4".parse().expect("a pool"),
            waiting: 4,
            keepers: [("mw1316".parse().expect("a holder"), model::lease::LeaseState::Failed)].into(),
            slots: 2,
        });
        row
    }

    #[test]
    fn the_live_view_shows_how_far_who_and_what_blocks() {
        let expected = [
            "⠹ rolling  87% ███████████████▋░░ (in-flight: 12; ok: 306; fail: 1; left: 33)  01m 41s, ~14s to go",
            "  drain mw1402 mw1377 +5 · restart mw1288 mw8 +1 · verify mw1411 mw1420",
            "  4 wait for rack.b4: failed mw1316 keeps 1 of 2 slots",
        ];
        assert_eq!(live(&rolling(), 0, 2, None), expected);
        assert_eq!(live(&rolling(), 0, 2, Some(200)), expected);
        let narrow = |columns| live(&rolling(), 0, 2, Some(columns)).remove(0);
        let whole = "⠹ rolling  87% ██████▉░ (in-flight: 12; ok: 306; fail: 1; left: 33)  01m 41s, ~14s to go";
        assert_eq!((narrow(88).as_str(), narrow(88).chars().count()), (whole, 88));
        let without = "⠹ rolling  87% (in-flight: 12; ok: 306; fail: 1; left: 33)  01m 41s, ~14s to go";
        assert_eq!((narrow(80).as_str(), without.chars().count()), (without, 79));
        assert_eq!(headline(&rolling()), "php-fpm@42 by deploy@deploy1: wmf.12 to group1");
    }

    #[test]
    fn the_bar_is_empty_at_first_and_full_at_last() {
        let bars = [(0, 352), (1, 351), (176, 176), (352, 0), (0, 0)].map(|(ok, owes)| {
            let row = rollout(RolloutState::Rolling, Tally { ok, owes, ..Tally::default() });
            (bar(&row, BAR_CELLS), counts(&row).percent)
        });
        let expected = [
            ("░░░░░░░░░░░░░░░░░░", 0),
            ("░░░░░░░░░░░░░░░░░░", 0),
            ("█████████░░░░░░░░░", 50),
            ("██████████████████", 100),
            ("██████████████████", 100),
        ];
        assert_eq!(bars, expected.map(|(bar, percent)| (bar.to_owned(), percent)));
    }

    #[test]
    fn nothing_is_promised_while_nothing_moves() {
        let mut row = rollout(RolloutState::Rolling, Tally { ok: 10, owes: 10, ..Tally::default() });
        assert_eq!(to_go(&row, 0), ", ~1m41s to go");
        assert_eq!(to_go(&row, 1_000), ", ~1m40s to go", "it shrinks until the next read");
        row.down = ["mw1", "mw2"].iter().map(|host| host.parse().expect("a host")).collect();
        assert_eq!(to_go(&row, 0), ", ~1m20s to go");
        row.pauses.push(pause("all"));
        assert_eq!(to_go(&row, 0), "");
        row.pauses.clear();
        row.state = RolloutState::Halted;
        assert_eq!(to_go(&row, 0), "");
        assert_eq!(to_go(&rollout(RolloutState::Rolling, Tally { owes: 10, ..Tally::default() }), 0), "");
    }

    #[test]
    fn a_host_that_was_read_twice_is_counted_once() {
        let mut row = rollout(RolloutState::Rolling, Tally { ok: 2, ..Tally::default() });
        row.in_flight.push(flight("mw1", None));
        assert_eq!(counts(&row), Counts { percent: 100, in_flight: 0, ok: 2, failed: 0, left: 0 });
        assert_eq!(steps(&row), "granted mw1");
    }

    #[test]
    fn whatever_stands_in_the_way_is_named() {
        let mut row = rolling();
        row.blocked[0].keepers.insert("mw9".parse().expect("a holder"), model::lease::LeaseState::Lost);
        row.blocked[0].waiting = 1;
        row.pauses.push(pause("all"));
        row.down.push("mw5".parse().expect("a host"));
        row.halted = Some(Halted { cause: "3 hosts failed, and max_failures is 3".to_owned(), host: None, at: AT });
        let expected = [
            "all is paused by ann@ops1 5m ago, 1h55m more: switch is being replaced; ends with: stagger resume all",
            "1 waits for rack.b4: failed mw1316, lost mw9 keep 2 of 2 slots",
            "down, and not waited for: mw5",
            "halted: 3 hosts failed, and max_failures is 3; what is in flight finishes",
        ];
        assert_eq!(obstacles(&row), expected);
    }

    #[test]
    fn without_a_terminal_there_are_lines() {
        let line = "14:02:51 php-fpm@42 87% (in-flight: 12; ok: 306; fail: 1; left: 33); 4 wait for rack.b4: failed mw1316 keeps 1 of 2 slots";
        assert_eq!(progress_line(&rolling(), AT), line);
        let opening = "14:02:51 php-fpm@42 by deploy@deploy1: wmf.12 to group1, for 352 hosts, announced 101s ago";
        assert_eq!(opening_line(&rolling(), AT), opening);
        let warning = "14:02:51 php-fpm@42 warning: mw1316 restart: exit 78: [pool www] unknown entry 'pm.max_chldren'";
        assert_eq!(failure_line(&failed_target("mw1316"), AT), [warning]);
    }

    #[test]
    fn a_failed_host_shows_what_it_printed_unless_its_cause_says_it_already() {
        let mut failed = failed_target("mw1316");
        let line = "✗ mw1316  restart: exit 78: [pool www] unknown entry 'pm.max_chldren'";
        assert_eq!(failure(&failed), [line]);
        let report = failed.report.as_mut().expect("a report");
        report.output = "[conf] reading\n[pool www] unknown entry 'pm.max_chldren'\n".to_owned();
        report.stuck = true;
        assert_eq!(failure(&failed), [format!("{line}; STUCK, a person is needed"), "  [conf] reading".to_owned()]);
        assert_eq!(failure(&target("mw1", Progress::Failed, None)), ["✗ mw1  fell silent after it had begun"]);
    }
}
