//! Rows for the tests of this folder: the ones that the manual shows.

use model::lease::{Failure, Lease, LeaseState, Purpose};
use model::names::{Pool, Scope};
use model::read::{LeaseRow, Leases, PauseRow, PoolRow, RolloutRow, WaiterRow};
use model::rollout::{Outcome, Progress, Report, RolloutState, Tally, Target, Timing};
use model::sequence::Step;
use model::settings::PoolRules;
use model::{Now, Time, Wall};
use std::collections::{BTreeMap, BTreeSet};

/// The 24th of November 2026, 14:02:51 UTC.
pub(crate) const AT: Wall = Wall(1_795_528_971_000);

/// A rollout's purpose.
pub(crate) fn rollout_purpose() -> Purpose {
    Purpose::Rollout("php-fpm@42".parse().expect("a rollout"))
}

/// A lease of app-eqiad, held, for php-fpm@42.
pub(crate) fn lease(holder: &str) -> Lease {
    Lease {
        holder: holder.parse().expect("a holder"),
        pools: pools(&[("app-eqiad", 9127), ("rack.b4", 415)]),
        claim: "c1".parse().expect("an id"),
        purpose: rollout_purpose(),
        state: LeaseState::Held,
        attempt: 1,
        ticket: 1,
        begun: None,
        has_begun: false,
        step_since: None,
        step: None,
        note: String::new(),
        failed: BTreeMap::new(),
        granted: Now::default(),
        since: Now::default(),
        renewed: Time(0),
        ttl_ms: 30_000,
        unconfirmed: false,
        lost_after_ms: Some(3_600_000),
    }
}

fn pools(named: &[(&str, u64)]) -> BTreeMap<Pool, u64> {
    named.iter().map(|(name, token)| (name.parse().expect("a pool"), *token)).collect()
}

fn row(lease: Lease, state_ms: u64) -> LeaseRow {
    LeaseRow { stuck: false, age_ms: state_ms, state_ms, counts_ms: None, lease }
}

/// A held lease that drains.
pub(crate) fn held(holder: &str, note: &str) -> LeaseRow {
    row(Lease { step: Some(Step::Drain), note: note.to_owned(), ..lease(holder) }, 6_000)
}

/// A lease of a host that failed at its restart.
pub(crate) fn failed(holder: &str, cause: &str) -> LeaseRow {
    let failure = Failure { step: Some(Step::Restart), cause: cause.to_owned(), stuck: false, at: AT };
    let lease = Lease {
        pools: pools(&[("app-eqiad", 9113), ("rack.b4", 412)]),
        state: LeaseState::Failed,
        failed: BTreeMap::from([("php-fpm".parse().expect("a service"), failure)]),
        ..lease(holder)
    };
    row(lease, 62_000)
}

/// A lost lease of `run`.
pub(crate) fn lost(holder: &str, counts_ms: u64) -> LeaseRow {
    let lease = Lease {
        pools: pools(&[("app-eqiad", 8871)]),
        state: LeaseState::Lost,
        purpose: Purpose::Run("apt upgrade".to_owned()),
        ..lease(holder)
    };
    LeaseRow { counts_ms: Some(counts_ms), ..row(lease, 31 * 60_000) }
}

/// The first in the queue.
pub(crate) fn waiter(holder: &str) -> WaiterRow {
    WaiterRow {
        holder: holder.parse().expect("a holder"),
        number: 7,
        place: 1,
        waited_ms: 41_000,
        left_ms: 559_000,
        pools: ["app-eqiad", "rack.b4"].iter().map(|name| name.parse().expect("a pool")).collect::<BTreeSet<_>>(),
        purpose: rollout_purpose(),
        listens: true,
        why: None,
    }
}

/// A pool with so many held and failed leases and so many slots.
pub(crate) fn pool(name: &str, held: u32, failed: u32, slots: u32) -> PoolRow {
    PoolRow {
        pool: name.parse().expect("a pool"),
        slots,
        rules: PoolRules::default(),
        from_file: Vec::new(),
        overrides: Vec::new(),
        token: 9127,
        held,
        failed,
        lost: 0,
        waiting: 0,
        members: 352,
        down: 0,
        pauses: Vec::new(),
    }
}

/// A pause of two hours, five minutes old.
pub(crate) fn pause(scope: &str) -> PauseRow {
    PauseRow {
        scope: scope.parse::<Scope>().expect("a scope"),
        by: "ann@ops1".to_owned(),
        reason: "switch is being replaced".to_owned(),
        since_ms: 300_000,
        left_ms: 6_900_000,
    }
}

/// The table of the manual.
pub(crate) fn leases() -> Leases {
    Leases {
        leases: vec![lost("mwmaint1", 29 * 60_000), failed("mw1316", "exit 78"), held("mw1402", "4 in flight")],
        queue: vec![waiter("mw1331")],
        pools: vec![pool("app-eqiad", 12, 2, 35), pool("rack.b4", 1, 1, 2)],
        cut: false,
    }
}

/// The rollout of the manual.
pub(crate) fn rollout(state: RolloutState, tally: Tally) -> RolloutRow {
    RolloutRow {
        name: "php-fpm@42".parse().expect("a rollout"),
        state,
        newest: true,
        message: "wmf.12 to group1".to_owned(),
        by: "deploy@deploy1".to_owned(),
        announced: AT,
        age_ms: 101_000,
        last_report_ms: Some(134_000),
        only: Vec::new(),
        max_failures: 3,
        strict: false,
        expires_ms: 86_299_000,
        ended: None,
        halted: None,
        tally,
        in_flight: Vec::new(),
        down: Vec::new(),
        kept: Vec::new(),
        pauses: Vec::new(),
        blocked: Vec::new(),
        exit_code: 5,
    }
}

/// A target that failed at its restart.
pub(crate) fn failed_target(host: &str) -> Target {
    let report = Report {
        outcome: Outcome::Failed,
        step: Some(Step::Restart),
        cause: "exit 78: [pool www] unknown entry 'pm.max_chldren'".to_owned(),
        output: "[pool www] unknown entry 'pm.max_chldren'\n".to_owned(),
        out_of: vec!["lb1".to_owned(), "lb2".to_owned()],
        at: AT,
        ..Report::plain(Outcome::Failed)
    };
    target(host, Progress::Failed, Some(report))
}

/// A target that restarted; its steps took so long.
pub(crate) fn restarted_target(host: &str, steps: &[(Step, u64)]) -> Target {
    let timing = |(step, ms): &(Step, u64)| Timing { step: *step, ms: *ms, ok: true, note: String::new() };
    let report = Report { timings: steps.iter().map(timing).collect(), at: AT, ..Report::plain(Outcome::Restarted) };
    target(host, Progress::Ok, Some(report))
}

/// A target.
pub(crate) fn target(host: &str, progress: Progress, report: Option<Report>) -> Target {
    Target { rollout: "php-fpm@42".parse().expect("a rollout"), host: host.parse().expect("a host"), progress, report }
}
