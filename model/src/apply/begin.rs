//! The last word before a restart act: lease, pause, the rollout's state and its failure budget, in one decision.

use crate::apply::grant::plain;
use crate::apply::{Draft, ITSELF, pause_of};
use crate::change::Change;
use crate::history::EntryKind;
use crate::lease::{LeaseState, Purpose};
use crate::names::{Generation, Holder, Host, RolloutName, Scope};
use crate::request::{AWAY_MS_MAX, Begin, BeginAsk, Refusal, RefusalKind};
use crate::rollout::{Progress, Rollout, RolloutState, Target};
use crate::sequence::Step;
use crate::settings::count;
use crate::view::View;

/// Whether a purpose still authorises a restart, and under which name: a newer generation takes an older one's place.
#[derive(Debug)]
pub(crate) enum Authority {
    /// It does, for this purpose.
    Restart(Purpose),
    /// It does not.
    No(Refusal),
}

/// Whether this holder may restart for this purpose. Only the newest generation authorises.
pub(crate) fn authority(view: &View<'_>, holder: &Holder, purpose: &Purpose) -> Authority {
    let Purpose::Rollout(asked) = purpose else {
        return Authority::Restart(purpose.clone());
    };
    let no = |kind, value| Authority::No(plain(kind, value));
    let Some(newest) = view.newest(&asked.service).filter(|newest| newest.name.generation >= asked.generation) else {
        return no(RefusalKind::NotOwed, format!("{asked} was never announced here"));
    };
    let name = &newest.name;
    match view.target(name, &holder.as_host()).map(|target| target.progress) {
        Some(Progress::Owes | Progress::Begun) => {}
        // Counted as failed when it fell silent in the act, and back in time to bring that to its end.
        Some(Progress::Failed) if view.lease(holder).is_some_and(|lease| lease.has_begun) => {}
        Some(done) => return no(RefusalKind::NotOwed, format!("{name} counts {holder} as {done} already")),
        None if name == asked => return no(RefusalKind::NotOwed, format!("{name} is not for {holder}")),
        None => return no(RefusalKind::Ended, format!("{asked} is superseded by {name}, which is not for {holder}")),
    }
    if let Some(ended) = &newest.ended {
        return no(RefusalKind::Ended, format!("{name} was ended by {}: {}", ended.by, ended.reason));
    }
    if let Some(halted) = &newest.halted {
        return no(RefusalKind::Halted, format!("{name} is halted: {}", halted.cause));
    }
    if newest.expired {
        return no(RefusalKind::Ended, format!("{name} has expired"));
    }
    Authority::Restart(Purpose::Rollout(name.clone()))
}

pub(crate) fn begin(draft: &mut Draft<'_>, ask: &BeginAsk) -> Begin {
    let (view, now) = (draft.view, draft.now);
    let Some(lease) = view.lease(&ask.holder).filter(|lease| lease.claim == ask.claim) else {
        return Begin::Gone;
    };
    if lease.state == LeaseState::Failed && !lease.has_begun {
        return Begin::Gone;
    }
    let purpose = match authority(view, &lease.holder, &lease.purpose) {
        Authority::Restart(purpose) => purpose,
        Authority::No(refusal) if refusal.kind == RefusalKind::Halted => return Begin::Halted(refusal.value),
        Authority::No(refusal) => return Begin::Superseded(refusal.value),
    };
    if let Some(pause) = pause_of(view, &lease.holder, lease.pools.keys(), &purpose) {
        return Begin::Paused(format!("{} is paused by {}: {}", pause.scope, pause.by, pause.reason));
    }
    if let Purpose::Rollout(name) = &purpose
        && let Some(rollout) = view.rollout(name)
        && let Some(no) = over_budget(rollout, view.target(name, &lease.holder.as_host()))
    {
        return no;
    }
    let host = lease.holder.as_host();
    let generation = purpose.service().and_then(|service| owed_by(view, &host, service));
    let mut lease = lease.clone();
    lease.purpose = purpose;
    lease.has_begun = true;
    lease.begun = generation;
    (lease.step, lease.step_since) = (Some(Step::Begin), Some(now.wall));
    lease.renewed = now.time;
    lease.unconfirmed = false;
    // Written down with the begin, unlike a renewal: the coordinator may start again meanwhile.
    lease.ttl_ms = lease.ttl_ms.max(ask.away_ms.min(AWAY_MS_MAX));
    if lease.state != LeaseState::Held {
        draft.take_up_again(&mut lease);
    }
    if let (Purpose::Rollout(name), Some(_)) = (&lease.purpose, generation) {
        move_target(draft, name, &host, Progress::Begun, None);
    }
    draft.push(Change::LeaseBegun(lease));
    Begin::Go { generation }
}

/// The newest generation, when this host is a target of it: what a restart that begins now satisfies.
fn owed_by(view: &View<'_>, host: &Host, service: &crate::names::Service) -> Option<Generation> {
    let newest = view.newest(service)?;
    view.target(&newest.name, host).map(|_| newest.name.generation)
}

/// Whether the failures, and with `strict` the hosts in flight, have used up what may fail.
fn over_budget(rollout: &Rollout, own: Option<&Target>) -> Option<Begin> {
    let name = &rollout.name;
    if rollout.budget_left() == 0 {
        return Some(Begin::Halted(format!(
            "{} of {name}'s hosts failed, and max_failures is {}",
            rollout.tally.failed, rollout.max_failures
        )));
    }
    let own_begun = u32::from(own.is_some_and(|target| target.progress == Progress::Begun));
    let others = rollout.tally.begun - own_begun.min(rollout.tally.begun);
    if rollout.strict && others >= rollout.budget_left() {
        return Some(Begin::Paused(format!(
            "{name} is strict: {} in flight may still fail",
            count(others, "host", "hosts")
        )));
    }
    None
}

/// Moves one target, and the tally with it. Returns the rollout as it is then; pushes both changes.
pub(crate) fn move_target(
    draft: &mut Draft<'_>,
    name: &RolloutName,
    host: &Host,
    progress: Progress,
    report: Option<crate::rollout::Report>,
) -> Option<Rollout> {
    let mut rollout = draft.view.rollout(name)?.clone();
    let mut target = draft.view.target(name, host)?.clone();
    let was_done = rollout.state(0) == RolloutState::Done;
    let was = rollout.tally.of(target.progress);
    *was = was.saturating_sub(1);
    *rollout.tally.of(progress) += 1;
    target.progress = progress;
    target.report = report.or(target.report);
    draft.push(Change::TargetMoved(target));
    draft.push(Change::RolloutMoved(rollout.clone()));
    if !was_done && rollout.state(0) == RolloutState::Done {
        let tally = rollout.tally;
        let text = format!("{name}: {} ok, {} failed", tally.ok + tally.skipped, tally.failed);
        draft.note(ITSELF, EntryKind::Done, vec![Scope::Rollout(name.clone())], text);
    }
    Some(rollout)
}
