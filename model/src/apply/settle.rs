//! A sequence ended: its report, and what becomes of its lease.

use crate::apply::begin::move_target;
use crate::apply::{Draft, scopes_of};
use crate::bound::beginning;
use crate::change::Change;
use crate::history::EntryKind;
use crate::lease::{Failure, Lease, LeaseState, Purpose, TEXT_BYTES_MAX, Ticket};
use crate::names::{RolloutName, Scope};
use crate::request::{Ending, Settle, Settled};
use crate::rollout::{Outcome, Progress, Report, Rollout};
use crate::settings::count;
use crate::time::Now;
use crate::view::View;
use std::time::Duration;

/// How long a waiter that gave way counts as listening before it has asked again, in milliseconds.
const GIVE_WAY_PATIENCE_MS: u64 = 2_000;

pub(crate) fn settle(draft: &mut Draft<'_>, settle: &Settle) -> Settled {
    let view = draft.view;
    let own = view.lease(&settle.holder).filter(|lease| lease.claim == settle.claim);
    let ticket = view.ticket(&settle.holder).filter(|ticket| ticket.claim == settle.claim);
    if ticket.is_some_and(|_| settle.ending != Ending::GaveWay) {
        draft.push(Change::TicketDropped(settle.holder.clone()));
        draft.nudges.pools.extend(ticket.iter().flat_map(|ticket| ticket.pools.clone()));
    }
    let report = settle.report.clone().map(|report| Report { at: draft.now.wall, ..report.bounded() });
    // A failed lease whose sequence has settled before: the same settle again changes nothing.
    let again = own.is_some_and(|lease| lease.state == LeaseState::Failed && !lease.has_begun && has_failed(lease));
    if let Some(report) = report.filter(|_| !again) {
        record(draft, settle, own, report);
    }
    match own {
        Some(_) if again => Settled::Done,
        Some(lease) => {
            end(draft, settle, lease.clone());
            Settled::Done
        }
        None => ticket.map_or(Settled::Gone, |ticket| {
            if settle.ending == Ending::GaveWay {
                stand_back(draft, ticket.clone());
            }
            Settled::Done
        }),
    }
}

/// It gave way before it was granted anything: its last ask stands for no longer than that of a holder that gives a lease back, so
/// that another of its name is heard.
fn stand_back(draft: &mut Draft<'_>, mut ticket: Ticket) {
    ticket.live_until = ticket.live_until.min(draft.now.time.plus(Duration::from_millis(GIVE_WAY_PATIENCE_MS)));
    draft.push(Change::TicketHeard(ticket));
}

fn has_failed(lease: &Lease) -> bool {
    lease.purpose.service().is_none_or(|service| lease.failed.contains_key(service))
}

fn end(draft: &mut Draft<'_>, settle: &Settle, mut lease: Lease) {
    let now = draft.now;
    if let Some(service) = lease.purpose.service().cloned() {
        match settle.ending {
            Ending::Released => {
                lease.failed.remove(&service);
            }
            Ending::Kept => {
                lease.failed.insert(service, failure(settle.report.as_ref(), now));
                lease.step = settle.report.as_ref().and_then(|report| report.step);
            }
            Ending::FailedReleased | Ending::Cancelled | Ending::GaveWay => {}
        }
    }
    lease.has_begun = false;
    lease.begun = None;
    lease.unconfirmed = false;
    let patience = Duration::from_millis(GIVE_WAY_PATIENCE_MS);
    let ticket = (settle.ending == Ending::GaveWay).then(|| place_again(draft, &lease, patience));
    free(draft, lease);
    draft.changes.extend(ticket.map(Change::TicketTaken));
}

/// Ends a lease, but for the failures that it still holds the slot for.
pub(crate) fn free(draft: &mut Draft<'_>, mut lease: Lease) {
    draft.nudges.pools.extend(lease.pools.keys().cloned());
    if lease.failed.is_empty() {
        draft.push(Change::LeaseEnded(lease.holder));
    } else {
        draft.nudge_beside(lease.pools.keys());
        lease.state = LeaseState::Failed;
        lease.since = draft.now;
        draft.push(Change::LeaseFailed(lease));
    }
}

/// The place that a holder had in the queue before its grant; it counts as listening for so long.
pub(crate) fn place_again(draft: &Draft<'_>, lease: &Lease, patience: Duration) -> Ticket {
    let now = draft.now;
    Ticket {
        number: lease.ticket,
        holder: lease.holder.clone(),
        claim: lease.claim.clone(),
        pools: lease.pools.keys().cloned().collect(),
        purpose: lease.purpose.clone(),
        taken: now,
        live_until: now.time.plus(patience),
        silent: patience.is_zero(),
        waited_ms: 0,
        counted: now.time,
        wait_ms: lease.pools.keys().map(|pool| draft.view.pool_rules(pool).wait_ms).min().unwrap_or(0),
        passed: 0,
    }
}

fn failure(report: Option<&Report>, now: Now) -> Failure {
    match report {
        Some(report) => Failure {
            step: report.step,
            cause: beginning(&report.cause, TEXT_BYTES_MAX),
            stuck: report.stuck,
            at: now.wall,
        },
        None => Failure { step: None, cause: "no report".to_owned(), stuck: true, at: now.wall },
    }
}

/// Which rollout the report counts in.
fn counts_in(settle: &Settle, own: Option<&Lease>) -> Option<RolloutName> {
    let by_lease = own.and_then(|lease| {
        let service = lease.purpose.service()?.clone();
        lease.begun.map(|generation| RolloutName { service, generation })
    });
    by_lease.or_else(|| settle.rollout.clone())
}

/// Counts the report in its rollout, and halts that when it is one failure too many.
fn record(draft: &mut Draft<'_>, settle: &Settle, own: Option<&Lease>, report: Report) {
    let host = settle.holder.as_host();
    let by_hand = own.is_some_and(|lease| matches!(lease.purpose, Purpose::Restart(_)));
    let failed = report.outcome == Outcome::Failed;
    if failed {
        let step = report.step.map(|step| format!(" at {step}")).unwrap_or_default();
        let text = format!("{host} failed{step}: {}", report.cause);
        let mut scopes = own.map_or_else(|| vec![Scope::Host(host.clone())], scopes_of);
        scopes.extend(settle.rollout.clone().map(Scope::Rollout).filter(|rollout| !scopes.contains(rollout)));
        draft.note(host.as_str(), EntryKind::Failed, scopes, text);
    }
    let Some(name) = counts_in(settle, own) else { return };
    let Some(target) = draft.view.target(&name, &host) else { return };
    let progress = match report.outcome {
        Outcome::Restarted => Progress::Ok,
        // A restart by hand that failed is not the rollout's failure.
        _ if by_hand => return,
        Outcome::Skipped => Progress::Skipped,
        Outcome::Failed => Progress::Failed,
        Outcome::Cancelled => Progress::Owes,
    };
    // A late word about a host that is known to be well, or to have failed, does not undo that.
    let is_late = own.is_none() && matches!(target.progress, Progress::Ok | Progress::Skipped | Progress::Failed);
    // A rollout that has nothing left, and a newer one in its place, is not opened again.
    let is_newest = draft.view.generation(&name.service) == name.generation;
    let is_reopening = progress == Progress::Owes && target.progress != Progress::Begun && !is_newest;
    if is_late && progress != Progress::Ok || is_reopening {
        return;
    }
    let cause = format!("{host} failed: {}", report.cause);
    let Some(rollout) = move_target(draft, &name, &host, progress, Some(report)) else { return };
    if failed {
        let pools_failed = own.and_then(|lease| filled_by_failures(draft.view, lease, settle.ending == Ending::Kept));
        halt_if_spent(draft, rollout, pools_failed, host, &cause);
    }
}

/// The pool that failed leases fill, this one counted when its slot is kept.
pub(crate) fn filled_by_failures(view: &View<'_>, lease: &Lease, kept: bool) -> Option<String> {
    let failed_others = |pool| {
        view.leases_in(pool).filter(|other| other.state == LeaseState::Failed && other.holder != lease.holder).count()
    };
    let full = lease.pools.keys().find(|pool| {
        let failed = u32::try_from(failed_others(pool)).unwrap_or(u32::MAX).saturating_add(u32::from(kept));
        kept && failed >= view.slots(pool)
    })?;
    Some(match view.slots(full) {
        1 => format!("a failed host keeps the only slot of {full}"),
        slots => format!("failed hosts keep all {slots} slots of {full}"),
    })
}

/// Halts a rollout whose failures have used up its budget, or fill a pool.
pub(crate) fn halt_if_spent(
    draft: &mut Draft<'_>,
    rollout: Rollout,
    pool_filled: Option<String>,
    host: crate::names::Host,
    last: &str,
) {
    let spent = (rollout.budget_left() == 0).then(|| {
        format!("{} failed, and max_failures is {}", count(rollout.tally.failed, "host", "hosts"), rollout.max_failures)
    });
    let left = rollout.tally.owes + rollout.tally.begun > 0;
    let is_newest = draft.view.generation(&rollout.name.service) == rollout.name.generation;
    if let Some(cause) = spent.or(pool_filled).filter(|_| left && is_newest) {
        let halted = draft.halt(rollout, format!("{cause}; last {last}"), Some(host));
        draft.push(Change::RolloutMoved(halted));
    }
}
