//! The end of a rollout: how it ended, who failed and what to type about it, and how long hosts took.

use super::follow::{cause, counts, halted_by};
use super::text::{clean, count, minutes, seconds, some};
use model::lease::{Lease, LeaseState};
use model::read::{LeaseRow, RolloutDetail, RolloutRow};
use model::rollout::{Outcome, Progress, RolloutState, Target};
use model::sequence::Step;

/// Failed hosts that are told of one by one.
const FAILED_SHOWN_MAX: usize = 20;
/// Hosts of a kind for each of which there is a line to type.
const HOSTS_TYPED_MAX: usize = 3;
/// Hosts named in a list.
const HOSTS_SHOWN_MAX: usize = 10;

/// The last lines that a deployer sees. `leases` are those of the rollout: they tell which slots failed hosts keep.
pub(crate) fn summary(detail: &RolloutDetail, leases: &[LeaseRow]) -> String {
    let row = &detail.row;
    let mut lines = vec![verdict(row)];
    lines.extend(stopped(row));
    let failed: Vec<&Target> = detail.targets.iter().filter(|target| target.progress == Progress::Failed).collect();
    lines.extend(failed.iter().take(FAILED_SHOWN_MAX).map(|target| failure(target, leases)));
    if failed.len() > FAILED_SHOWN_MAX {
        lines.push(format!("  and {} more: stagger rollouts {}", failed.len() - FAILED_SHOWN_MAX, row.name));
    }
    lines.extend(remedy(&failed, row, leases));
    lines.extend(left_out(detail));
    if !row.down.is_empty() {
        let hosts: Vec<String> = row.down.iter().map(ToString::to_string).collect();
        let left = if hosts.len() == 1 { "is down and owes" } else { "are down and owe" };
        lines.push(format!("{} {left} it still: {}", count(hosts.len(), "host"), some(&hosts, HOSTS_SHOWN_MAX, ", ")));
    }
    lines.extend(pace(&detail.targets));
    lines.join("\n")
}

/// `php-fpm@42 done: 351 ok, 1 FAILED, 0 left (duration: 02m 14s)`.
fn verdict(row: &RolloutRow) -> String {
    let counts = counts(row);
    let failed = if counts.failed == 0 { "0 failed".to_owned() } else { format!("{} FAILED", counts.failed) };
    let state = match row.state {
        RolloutState::Done => "done".to_owned(),
        stopped => stopped.to_string().to_uppercase(),
    };
    let skipped = match row.tally.skipped {
        0 => String::new(),
        skipped => format!(" ({skipped} needed no restart)"),
    };
    let duration = minutes(row.last_report_ms.unwrap_or(row.age_ms));
    let (ok, left) = (counts.ok, counts.left + counts.in_flight);
    format!("{} {state}: {ok} ok{skipped}, {failed}, {left} left (duration: {duration})", row.name)
}

/// Who or what stopped it, and how it goes on.
fn stopped(row: &RolloutRow) -> Option<String> {
    let name = &row.name;
    let service = &name.service;
    match (row.state, &row.ended, &row.halted) {
        (RolloutState::Superseded | RolloutState::Aborted, Some(ended), _) => {
            Some(format!("  by {}: {}", clean(&ended.by), clean(&ended.reason)))
        }
        (RolloutState::Halted, _, Some(halted)) => Some(format!("  {}\n{}", halted_by(halted), go_on(row))),
        (RolloutState::Expired, _, _) => {
            Some(format!("  its time is over      again: stagger announce {service} -m …"))
        }
        _ => None,
    }
}

/// How a halted rollout goes on.
pub(crate) fn go_on(row: &RolloutRow) -> String {
    let name = &row.name;
    match row.tally.failed {
        0 => format!("  no host is failed any more; go on: stagger resume rollout/{name}"),
        _ => format!(
            "  fixed?  stagger announce {} -m …\n  go on all the same: stagger resume rollout/{name}",
            name.service
        ),
    }
}

/// `✗ mw1316  restart: exit 78: …; out of lb1, lb2; keeps app-eqiad, rack.b4`.
fn failure(target: &Target, leases: &[LeaseRow]) -> String {
    let out_of = target.report.as_ref().map(super::restart::out_of).unwrap_or_default();
    let kept = lease_of(target, leases);
    let kept = kept.map(|lease| lease.pools.keys().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    let kept = kept.map(|pools| format!("; keeps {pools}")).unwrap_or_default();
    format!("✗ {}  {}{out_of}{kept}", target.host, cause(target))
}

/// The lease that a failed host keeps.
fn lease_of<'l>(target: &Target, leases: &'l [LeaseRow]) -> Option<&'l Lease> {
    let leases = leases.iter().map(|row| &row.lease);
    leases.filter(|lease| lease.state != LeaseState::Held).find(|lease| lease.holder.as_host() == target.host)
}

/// What to type about the failed hosts: about those whose worker is gone, those that a person must look at, and the others.
fn remedy(failed: &[&Target], row: &RolloutRow, leases: &[LeaseRow]) -> Vec<String> {
    let service = &row.name.service;
    let is_silent = |target: &Target| {
        lease_of(target, leases).is_some_and(|lease| lease.has_begun && lease.state == LeaseState::Failed)
    };
    let (silent, others): (Vec<&Target>, Vec<&Target>) = failed.iter().partition(|target| is_silent(target));
    let is_stuck = |target: &Target| target.report.as_ref().is_some_and(|report| report.stuck);
    let (stuck, others): (Vec<&Target>, Vec<&Target>) = others.into_iter().partition(|target| is_stuck(target));
    let mut lines = Vec::new();
    let named = silent.iter().take(HOSTS_TYPED_MAX);
    lines.extend(
        named.map(|target| format!("  its worker is down, and brings it to its end: {}$ stagger worker", target.host)),
    );
    let named = stuck.iter().take(HOSTS_TYPED_MAX);
    lines.extend(named.map(|target| format!("  look first: stagger why {}", target.host)));
    let keeps = others.iter().any(|target| lease_of(target, leases).is_some());
    let (again, give_up) = match &others[..] {
        [] => return lines,
        [target] => (format!("{}$ stagger restart {service}", target.host), target.host.to_string()),
        _ => (format!("on each: stagger restart {service}"), "HOST".to_owned()),
    };
    lines.push(format!("  fixed?  {again}"));
    lines.extend(keeps.then(|| format!("  give up: stagger release {give_up} --reason …")));
    lines
}

/// The hosts that are well, and out of a balancer all the same.
fn left_out(detail: &RolloutDetail) -> Vec<String> {
    let left = |target: &Target| {
        let report = target.report.as_ref().filter(|_| target.progress == Progress::Ok)?;
        let left = super::restart::left_out(report)?;
        Some(format!("! {}  restarted, and {left}: stagger why {}", target.host, target.host))
    };
    let mut lines: Vec<String> = detail.targets.iter().filter_map(left).collect();
    let more = lines.len().saturating_sub(HOSTS_SHOWN_MAX);
    lines.truncate(HOSTS_SHOWN_MAX);
    lines.extend((more > 0).then(|| format!("  and {more} more: stagger members --out")));
    lines
}

/// `slowest mw1402 19.8s (drain 14.2s); median 7.9s`, over those that restarted. Waiting for a lease is not counted.
fn pace(targets: &[Target]) -> Option<String> {
    let restarted = targets.iter().filter_map(|target| {
        let report = target.report.as_ref().filter(|report| report.outcome == Outcome::Restarted)?;
        Some((took_ms(target)?, target, report))
    });
    let mut restarted: Vec<_> = restarted.collect();
    restarted.sort_by_key(|(ms, target, _)| (*ms, std::cmp::Reverse(target.host.clone())));
    let (slowest_ms, slowest, report) = restarted.last()?;
    let median_ms = restarted[(restarted.len() - 1) / 2].0;
    let longest = report.timings.iter().filter(|timing| timing.step != Step::Ask).max_by_key(|timing| timing.ms);
    let longest = longest.map(|timing| format!(" ({} {})", timing.step, seconds(timing.ms))).unwrap_or_default();
    Some(format!("slowest {} {}{longest}; median {}", slowest.host, seconds(*slowest_ms), seconds(median_ms)))
}

/// How long a host took, without its wait for a lease; nothing when it told no timings.
pub(crate) fn took_ms(target: &Target) -> Option<u64> {
    let timings = &target.report.as_ref()?.timings;
    let own = timings.iter().filter(|timing| timing.step != Step::Ask).map(|timing| timing.ms).collect::<Vec<_>>();
    (!own.is_empty()).then(|| own.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::super::samples::{AT, failed, failed_target, restarted_target, rollout};
    use super::*;
    use model::rollout::{Ended, Halted, Tally};

    fn detail(state: RolloutState, tally: Tally, targets: Vec<Target>) -> RolloutDetail {
        RolloutDetail { row: rollout(state, tally), targets }
    }

    fn restarted() -> Vec<Target> {
        vec![
            restarted_target("mw1", &[(Step::Ask, 60_000), (Step::Drain, 3_000), (Step::Restart, 900)]),
            restarted_target("mw1402", &[(Step::Ask, 1_000), (Step::Drain, 14_200), (Step::Restart, 5_600)]),
            restarted_target("mw2", &[(Step::Drain, 7_000), (Step::Verify, 900)]),
        ]
    }

    #[test]
    fn a_failed_host_ends_the_report_with_what_to_type() {
        let mut targets = vec![failed_target("mw1316")];
        targets.extend(restarted());
        let tally = Tally { ok: 351, failed: 1, ..Tally::default() };
        let text = summary(&detail(RolloutState::Done, tally, targets), &[failed("mw1316", "exit 78")]);
        let expected = "\
php-fpm@42 done: 351 ok, 1 FAILED, 0 left (duration: 02m 14s)
✗ mw1316  restart: exit 78: [pool www] unknown entry 'pm.max_chldren'; out of lb1, lb2; keeps app-eqiad, rack.b4
  fixed?  mw1316$ stagger restart php-fpm
  give up: stagger release mw1316 --reason …
slowest mw1402 19.8s (drain 14.2s); median 7.9s";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_good_end_is_two_lines() {
        let tally = Tally { ok: 2, skipped: 1, ..Tally::default() };
        let text = summary(&detail(RolloutState::Done, tally, restarted()), &[]);
        let expected = "\
php-fpm@42 done: 3 ok (1 needed no restart), 0 failed, 0 left (duration: 02m 14s)
slowest mw1402 19.8s (drain 14.2s); median 7.9s";
        assert_eq!(text, expected);
        assert_eq!(pace(&[]), None);
        assert_eq!(took_ms(&failed_target("mw1")), None);
    }

    #[test]
    fn what_is_to_be_done_first_is_said_first() {
        let tally = Tally { failed: 1, owes: 1, ..Tally::default() };
        let mut silent = detail(RolloutState::Halted, tally, vec![failed_target("mw1")]);
        let mut lease = failed("mw1", "stopped renewing");
        lease.lease.has_begun = true;
        let text = summary(&silent, &[lease]);
        let expected = "\n  its worker is down, and brings it to its end: mw1$ stagger worker";
        assert!(text.ends_with(expected) && !text.contains("stagger restart"), "{text}");
        let report = silent.targets[0].report.as_mut().expect("a report");
        (report.stuck, report.step) = (true, Some(Step::Repool));
        let text = summary(&silent, &[failed("mw1", "cannot put the host back")]);
        assert!(text.ends_with("\n  look first: stagger why mw1") && !text.contains("stagger restart"), "{text}");
        assert!(text.contains("; perhaps out of lb1, lb2; keeps app-eqiad"), "nobody can tell: {text}");
    }

    #[test]
    fn a_host_that_stays_out_is_told_of() {
        let mut target = restarted_target("mw3", &[(Step::Depool, 2), (Step::Restart, 200)]);
        target.report.as_mut().expect("a report").out_of = vec!["lb1 app/mw3".to_owned()];
        let text = summary(&detail(RolloutState::Done, Tally { ok: 1, ..Tally::default() }, vec![target]), &[]);
        let line = "\n! mw3  restarted, and left out of lb1 app/mw3, not by Stagger: stagger why mw3\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn a_stopped_rollout_says_by_what_and_how_it_goes_on() {
        let tally = Tally { owes: 18, failed: 2, ..Tally::default() };
        let mut halted = detail(RolloutState::Halted, tally, vec![failed_target("mw1"), failed_target("mw2")]);
        halted.row.halted = Some(Halted { cause: "2 hosts failed and fill pool app".to_owned(), host: None, at: AT });
        let cause = "restart: exit 78: [pool www] unknown entry 'pm.max_chldren'; out of lb1, lb2";
        let expected = format!(
            "\
php-fpm@42 HALTED: 0 ok, 2 FAILED, 18 left (duration: 02m 14s)
  2 hosts failed and fill pool app
  fixed?  stagger announce php-fpm -m …
  go on all the same: stagger resume rollout/php-fpm@42
✗ mw1  {cause}
✗ mw2  {cause}
  fixed?  on each: stagger restart php-fpm"
        );
        assert_eq!(summary(&halted, &[]), expected, "they keep no slot that could be released");
        let kept = summary(&halted, &[failed("mw1", "exit 78")]);
        assert!(kept.ends_with("\n  give up: stagger release HOST --reason …"), "{kept}");
        let (host, last) =
            ("mw2".parse().expect("a host"), "2 hosts failed and fill pool app; last mw2 failed: exit 78");
        halted.row.halted = Some(Halted { cause: last.to_owned(), host: Some(host), at: AT });
        assert_eq!(summary(&halted, &[]), expected, "the failure itself is told with its host");
        halted.row.tally.failed = 0;
        halted.targets.clear();
        let mended = summary(&halted, &[]);
        assert!(mended.ends_with("  no host is failed any more; go on: stagger resume rollout/php-fpm@42"), "{mended}");
        let mut aborted = detail(RolloutState::Aborted, Tally { owes: 1, ..Tally::default() }, Vec::new());
        let (by, reason) = ("ann@ops1".to_owned(), "wrong build".to_owned());
        aborted.row.ended = Some(Ended { superseded: false, by, reason, at: AT });
        assert!(
            summary(&aborted, &[])
                .ends_with(" ABORTED: 0 ok, 0 failed, 1 left (duration: 02m 14s)\n  by ann@ops1: wrong build")
        );
        let expired = detail(RolloutState::Expired, Tally { owes: 1, ..Tally::default() }, Vec::new());
        assert!(summary(&expired, &[]).ends_with("\n  its time is over      again: stagger announce php-fpm -m …"));
    }

    #[test]
    fn hosts_that_are_down_are_listed_by_name() {
        let mut left = detail(RolloutState::Done, Tally { ok: 1, owes: 2, ..Tally::default() }, Vec::new());
        left.row.down = ["mw1", "mw2"].iter().map(|host| host.parse().expect("a host")).collect();
        left.row.last_report_ms = None;
        let expected = "\
php-fpm@42 done: 1 ok, 0 failed, 2 left (duration: 01m 41s)
2 hosts are down and owe it still: mw1, mw2";
        assert_eq!(summary(&left, &[]), expected);
    }

    #[test]
    fn many_failed_hosts_are_cut_and_counted() {
        let targets: Vec<Target> = (0..23).map(|n| failed_target(&format!("mw{n}"))).collect();
        let text = summary(&detail(RolloutState::Done, Tally { failed: 23, ..Tally::default() }, targets), &[]);
        assert!(text.contains("\n  and 3 more: stagger rollouts php-fpm@42\n"));
        assert_eq!(text.matches('✗').count(), FAILED_SHOWN_MAX);
    }
}
