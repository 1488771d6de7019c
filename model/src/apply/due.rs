//! What time alone changes: leases are lost, lost ones stop counting, rollouts expire, pauses and settings end, what is old is
//! forgotten.

use crate::apply::begin::move_target;
use crate::apply::bounds::{ROLLOUTS_PAST_MAX, TARGETS_PAST_MAX};
use crate::apply::settle::{filled_by_failures, free, halt_if_spent, place_again};
use crate::apply::{Draft, ITSELF, Nudges, scopes_of};
use crate::change::{Change, Key};
use crate::history::{ENTRIES_MAX, EntryKind};
use crate::lease::{Failure, Lease, LeaseState, Purpose, Ticket};
use crate::member::{Member, Pause};
use crate::names::{RolloutName, Scope};
use crate::rollout::{Outcome, Progress, Report, Rollout};
use crate::settings::{Override, count};
use crate::time::Now;
use crate::view::View;
use std::time::Duration;

/// How long a finished rollout and its reports are kept, in milliseconds: 7 days.
pub(crate) const REPORTS_KEPT_MS: u64 = 7 * 24 * 3600 * 1000;
/// How long, and how many at most, operations are remembered.
const OPERATIONS_KEPT_MS: u64 = 24 * 3600 * 1000;
const OPERATIONS_MAX: usize = 1000;
/// How long waiters and members count as alive after the coordinator started again, in milliseconds.
const GRACE_MS: u64 = 10_000;

/// The changes of one thing that has become due.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) changes: Vec<Change>,
    pub(crate) nudges: Nudges,
}

/// The next thing in the view that has become due, decided; to be replayed before the one after it is looked for.
pub(crate) fn next(view: &View<'_>, now: Now) -> Option<Due> {
    let key = view.due(now.time)?;
    let mut draft = Draft::new(view, now);
    match key {
        Key::Pause(scope) => pause(&mut draft, view.pause(scope)?),
        Key::Setting(scope, kind) => setting(&mut draft, view.setting(scope, *kind)?),
        Key::Rollout(name) => rollout(&mut draft, view.rollout(name)?),
        Key::Lease(holder) => lease(&mut draft, view.lease(holder)?.clone()),
        Key::Ticket(holder) => ticket(&mut draft, view.ticket(holder)?.clone()),
        _ => return None,
    }
    Some(Due { changes: draft.changes, nudges: draft.nudges })
}

fn pause(draft: &mut Draft<'_>, pause: &Pause) {
    draft.push(Change::Resumed(pause.scope.clone()));
    draft.note(ITSELF, EntryKind::Resumed, vec![pause.scope.clone()], format!("the pause of {} is over", pause.scope));
    draft.turn(&pause.scope);
}

fn setting(draft: &mut Draft<'_>, from: &Override) {
    let (scope, kind) = (from.scope.clone(), from.setting.kind());
    let back = crate::apply::admin::take_back(draft, from);
    let text = format!("{scope} {}: {} → {back}, its time is over", kind.word(), from.setting);
    crate::apply::admin::nudge(draft, &scope, kind);
    draft.note(ITSELF, EntryKind::Set, vec![scope], text);
}

fn rollout(draft: &mut Draft<'_>, rollout: &Rollout) {
    let (name, left) = (&rollout.name, rollout.tally.owes + rollout.tally.begun);
    if left > 0 {
        let scopes = vec![Scope::Rollout(name.clone())];
        draft.note(
            ITSELF,
            EntryKind::Expired,
            scopes,
            format!("{name}: its time is over, and {} it", count(left, "host owes", "hosts owe")),
        );
        draft.nudges.all_in(&Scope::Rollout(name.clone()));
    }
    draft.push(Change::RolloutMoved(Rollout { expired: true, ..rollout.clone() }));
}

fn lease(draft: &mut Draft<'_>, lease: Lease) {
    match lease.state {
        LeaseState::Held if lease.has_begun => lost_after_begin(draft, lease),
        LeaseState::Held if lease.unconfirmed => withdraw(draft, lease),
        LeaseState::Held => lost(draft, lease),
        _ => freed(draft, lease),
    }
}

/// It fell silent before it began: it still counts, and may come back.
fn lost(draft: &mut Draft<'_>, mut lease: Lease) {
    let step = lease.step.map(|step| format!(" at {step}")).unwrap_or_default();
    let text = format!("{} stopped renewing{step}, for {}", lease.holder, lease.purpose);
    draft.note(ITSELF, EntryKind::Lost, scopes_of(&lease), text);
    draft.nudge_beside(lease.pools.keys());
    lease.state = LeaseState::Lost;
    lease.since = draft.now;
    draft.push(Change::LeaseLost(lease));
}

/// It fell silent after it began: that is a failure, of the rollout too, and time never frees it.
fn lost_after_begin(draft: &mut Draft<'_>, mut lease: Lease) {
    let host = lease.holder.as_host();
    let cause = "stopped renewing after its restart had begun".to_owned();
    draft.note(ITSELF, EntryKind::Failed, scopes_of(&lease), format!("{host} {cause}"));
    if let Some(service) = lease.purpose.service().cloned() {
        let failure = Failure { step: lease.step, cause: cause.clone(), stuck: false, at: draft.now.wall };
        lease.failed.insert(service.clone(), failure);
        if let (Purpose::Rollout(_), Some(generation)) = (&lease.purpose, lease.begun) {
            let report =
                Report { step: lease.step, cause: cause.clone(), at: draft.now.wall, ..Report::plain(Outcome::Failed) };
            let name = RolloutName { service, generation };
            if let Some(rollout) = move_target(draft, &name, &host, Progress::Failed, Some(report)) {
                let filled = filled_by_failures(draft.view, &lease, true);
                halt_if_spent(draft, rollout, filled, host.clone(), &format!("{host} {cause}"));
            }
        }
    }
    draft.nudge_beside(lease.pools.keys());
    lease.state = LeaseState::Failed;
    lease.since = draft.now;
    draft.push(Change::LeaseFailed(lease));
}

/// A lost one's time is over: it no longer counts, but for the failures that it still holds the slot for.
fn freed(draft: &mut Draft<'_>, lease: Lease) {
    let text = format!("{} did not come back: its lease no longer counts", lease.holder);
    draft.note(ITSELF, EntryKind::Freed, scopes_of(&lease), text);
    free(draft, lease);
}

/// Its holder was never heard of after the grant: it has done nothing, and may never have learned of it. Its slot is free,
/// and it is where it was in the queue.
pub(crate) fn withdraw(draft: &mut Draft<'_>, mut lease: Lease) {
    let text = format!("{} never answered its grant, for {}: it is taken back", lease.holder, lease.purpose);
    draft.note(ITSELF, EntryKind::Withdrawn, scopes_of(&lease), text);
    lease.unconfirmed = false;
    let ticket = place_again(draft, &lease, Duration::ZERO);
    free(draft, lease);
    draft.push(Change::TicketTaken(ticket));
}

/// Its waiter falls silent, and loses its turn; or it was silent for as long as it would have waited, and loses its ticket.
fn ticket(draft: &mut Draft<'_>, ticket: Ticket) {
    draft.nudges.pools.extend(ticket.pools.iter().cloned());
    draft.push(match ticket.silent {
        false => Change::TicketHeard(Ticket { silent: true, ..ticket }),
        true => Change::TicketDropped(ticket.holder),
    });
}

/// The coordinator started again: its downtime makes nobody lost. What its holders confirmed is not on disk, so any of them may
/// be at work.
pub(crate) fn grace(draft: &mut Draft<'_>) {
    let now = draft.now.time;
    let until = now.plus(Duration::from_millis(GRACE_MS));
    for lease in draft.view.leases().filter(|lease| lease.state == LeaseState::Held) {
        draft.push(Change::LeaseRenewed(Lease { renewed: now, unconfirmed: false, ..lease.clone() }));
    }
    for ticket in draft.view.tickets() {
        draft.push(Change::TicketHeard(Ticket { live_until: until, silent: false, counted: now, ..ticket.clone() }));
    }
    for member in draft.view.members() {
        draft.push(Change::MemberHeard(Member { live_until: until, ..member.clone() }));
    }
}

/// Forgets what is too old to be kept.
pub(crate) fn forget(draft: &mut Draft<'_>) {
    let (view, now) = (draft.view, draft.now.time);
    for number in view.entries_too_many(ENTRIES_MAX) {
        draft.push(Change::EntryForgotten(number));
    }
    let mut operations: Vec<_> = view.operations().collect();
    operations.sort_by_key(|operation| operation.at);
    let over = operations.len().saturating_sub(OPERATIONS_MAX);
    for (place, operation) in operations.into_iter().enumerate() {
        if place < over || now.since(operation.at) >= Duration::from_millis(OPERATIONS_KEPT_MS) {
            draft.push(Change::OperationForgotten(operation.id.clone()));
        }
    }
    forget_rollouts(draft);
}

/// Forgets the rollouts that are too old, and of those that a newer one took the place of the oldest beyond what is kept.
fn forget_rollouts(draft: &mut Draft<'_>) {
    let (view, now) = (draft.view, draft.now.time);
    let mut newest_first: Vec<&Rollout> = view.rollouts().collect();
    newest_first.sort_by_key(|rollout| std::cmp::Reverse((rollout.announced.time, rollout.name.clone())));
    let (mut past, mut targets) = (0, 0);
    for rollout in newest_first {
        let is_past = view.generation(&rollout.name.service) != rollout.name.generation;
        if is_past {
            past += 1;
            targets += rollout.tally.total() as usize;
        }
        let is_over = is_past && (past > ROLLOUTS_PAST_MAX || targets > TARGETS_PAST_MAX);
        let is_old =
            now.since(rollout.announced.time) >= Duration::from_millis(REPORTS_KEPT_MS) && now >= rollout.expires;
        let purpose = || Purpose::Rollout(rollout.name.clone());
        if !(is_over || is_old) || view.leases().any(|lease| lease.purpose == purpose()) {
            continue;
        }
        for target in view.targets(&rollout.name) {
            let (rollout, host) = (target.rollout.clone(), target.host.clone());
            draft.push(Change::TargetForgotten { rollout, host });
        }
        draft.push(Change::RolloutForgotten(rollout.name.clone()));
    }
}
