//! What a person changes. Each change has a random name: sent again, it happens once and answers the same. Another change under
//! that name is refused.

use crate::apply::announce::announce;
use crate::apply::begin::move_target;
use crate::apply::settle::halt_if_spent;
use crate::apply::{Draft, bounds, scopes_of};
use crate::change::{Change, Operation};
use crate::history::EntryKind;
use crate::lease::{Lease, LeaseState, Purpose, TEXT_BYTES_MAX};
use crate::member::{Member, Pause};
use crate::names::{Holder, RolloutName, Scope};
use crate::request::{Act, Admin, Done};
use crate::rollout::{Ended, Outcome, Progress, Report, Rollout};
use crate::settings::{Override, SPAN_MS_MAX, Setting, SettingKind, count, span};
use crate::time::millis;
use std::time::Duration;

pub(crate) fn admin(draft: &mut Draft<'_>, admin: &Admin) -> Done {
    if let Some(before) = draft.view.operation(&admin.operation) {
        let is_other = before.act.as_ref().is_some_and(|act| *act != admin.act);
        return if is_other { Done::Replayed { operation: admin.operation.clone() } } else { before.answer.clone() };
    }
    let answer = match invalid(admin) {
        Some(refused) => refused,
        None => act(draft, admin),
    };
    if matches!(answer, Done::Announced { .. } | Done::Did { .. }) {
        draft.push(Change::OperationDone(Operation {
            id: admin.operation.clone(),
            act: Some(admin.act.clone()),
            answer: answer.clone(),
            at: draft.now.time,
        }));
    }
    answer
}

fn act(draft: &mut Draft<'_>, admin: &Admin) -> Done {
    match &admin.act {
        Act::Announce(what) => announce(draft, admin, what),
        Act::Abort { rollout, reason } => abort(draft, admin, rollout, reason),
        Act::Pause { scope, reason, for_ms } => pause(draft, admin, scope, reason, *for_ms),
        Act::Resume { scope } => resume(draft, admin, scope),
        Act::Release { holder, reason, live, forget } => release(draft, admin, holder, reason, *live, *forget),
        Act::Set { scope, setting, reason, for_ms } => set(draft, admin, scope, *setting, reason, *for_ms),
        Act::Unset { scope, kind, reason } => unset(draft, admin, scope, *kind, reason),
    }
}

fn refused(why: impl Into<String>, hint: impl Into<String>) -> Done {
    Done::Refused { why: why.into(), hint: hint.into() }
}

fn did(what: impl Into<String>) -> Done {
    Done::Did { what: what.into() }
}

/// Texts and spans out of bounds. Every change but an announcement and a resume needs a reason.
fn invalid(admin: &Admin) -> Option<Done> {
    let (text, for_ms) = match &admin.act {
        Act::Announce(what) => (Some(&what.message), None),
        Act::Resume { .. } => (None, None),
        Act::Pause { reason, for_ms, .. } => (Some(reason), Some(*for_ms)),
        Act::Set { reason, for_ms, .. } => (Some(reason), *for_ms),
        Act::Abort { reason, .. } | Act::Release { reason, .. } | Act::Unset { reason, .. } => (Some(reason), None),
    };
    if text.is_some_and(|text| text.trim().is_empty()) {
        if matches!(admin.act, Act::Announce(_)) {
            return Some(refused("a message is missing", "say what is deployed"));
        }
        return Some(refused("a reason is missing", "say why, for those who will wonder"));
    }
    if text.is_some_and(|text| text.len() > TEXT_BYTES_MAX) || admin.by.len() > TEXT_BYTES_MAX {
        return Some(refused(format!("a text is longer than {TEXT_BYTES_MAX} bytes"), "say it in fewer words"));
    }
    if for_ms.is_some_and(|ms| ms == 0 || ms > SPAN_MS_MAX) {
        return Some(refused("it would last no time, or more than a year", "choose a span such as 2h"));
    }
    None
}

fn abort(draft: &mut Draft<'_>, admin: &Admin, name: &RolloutName, reason: &str) -> Done {
    let Some(rollout) = draft.view.rollout(name) else {
        return refused(format!("there is no {name}"), "stagger rollouts");
    };
    let tally = rollout.tally;
    let left = tally.owes + tally.begun;
    if rollout.ended.is_some() || left == 0 {
        return refused(format!("{name} has ended already"), format!("stagger rollouts {name}"));
    }
    let ended = Ended { superseded: false, by: admin.by.clone(), reason: reason.to_owned(), at: draft.now.wall };
    draft.push(Change::RolloutMoved(Rollout { ended: Some(ended), ..rollout.clone() }));
    draft.note(&admin.by, EntryKind::Aborted, vec![Scope::Rollout(name.clone())], format!("{name}: {reason}"));
    draft.nudges.all_in(&Scope::Rollout(name.clone()));
    // Whoever has a lease is in flight; only those that have begun their restart finish it.
    let purpose = Purpose::Rollout(name.clone());
    let waver = |lease: &&Lease| lease.purpose == purpose && lease.state == LeaseState::Held && !lease.has_begun;
    let put_back = u32::try_from(draft.view.leases().filter(waver).count()).unwrap_or(u32::MAX).min(tally.owes);
    let back = match put_back {
        0 => String::new(),
        1 => "1 that has not begun its restart is put back, ".to_owned(),
        more => format!("{more} that have not begun their restart are put back, "),
    };
    did(format!(
        "{name} aborted: {} ok, {} failed, {} will finish, {back}{} left as they are",
        tally.ok + tally.skipped,
        tally.failed,
        count(tally.begun, "that has begun", "that have begun"),
        tally.owes - put_back
    ))
}

fn pause(draft: &mut Draft<'_>, admin: &Admin, scope: &Scope, reason: &str, for_ms: u64) -> Done {
    if let Some(full) = bounds::pause(draft.view, scope) {
        return refused(full.why, full.hint);
    }
    let now = draft.now;
    let before = draft.view.pause(scope);
    let pause = Pause {
        scope: scope.clone(),
        by: admin.by.clone(),
        reason: reason.to_owned(),
        since: before.map_or(now, |before| before.since),
        until: now.time.plus(Duration::from_millis(for_ms)),
    };
    draft.push(Change::Paused(pause));
    draft.note(&admin.by, EntryKind::Paused, vec![scope.clone()], format!("{scope} for {}: {reason}", span(for_ms)));
    draft.turn(scope);
    let begun = draft.view.leases().filter(|lease| lease.has_begun && lease.state == LeaseState::Held).count();
    let finish = count(u32::try_from(begun).unwrap_or(u32::MAX), "that has begun finishes", "that have begun finish");
    let before = before.map(|before| {
        let left = span(millis(before.until.since(now.time)) / 1000 * 1000);
        format!("; it takes the place of {left} by {}: {}", before.by, before.reason)
    });
    did(format!("{scope} is paused for {}; nothing new begins, {finish}{}", span(for_ms), before.unwrap_or_default()))
}

fn resume(draft: &mut Draft<'_>, admin: &Admin, scope: &Scope) -> Done {
    let halted = match scope {
        Scope::Rollout(name) => draft.view.rollout(name).filter(|rollout| rollout.halted.is_some()),
        _ => None,
    };
    if let Some(Rollout { name, expired: true, .. }) = halted {
        return refused(format!("{name} has expired"), format!("stagger announce {} -m …", name.service));
    }
    let mut what = Vec::new();
    if draft.view.pause(scope).is_some() {
        draft.push(Change::Resumed(scope.clone()));
        what.push(format!("{scope} is no longer paused"));
    }
    if let Some(rollout) = halted {
        let name = &rollout.name;
        let forgiven = rollout.tally.failed;
        let forgives = match forgiven {
            0 => String::new(),
            some => format!("; {} forgiven", count(some, "failed host is", "failed hosts are")),
        };
        let more = count(rollout.max_failures, "more halts", "more halt");
        what.push(format!("{name} goes on{forgives}; {more} it again, or fewer that fill a pool"));
        draft.push(Change::RolloutMoved(Rollout { halted: None, forgiven, ..rollout.clone() }));
    }
    if what.is_empty() {
        return refused(format!("{scope} is neither paused nor halted"), "stagger pools; stagger rollouts");
    }
    let what = what.join("; ");
    draft.note(&admin.by, EntryKind::Resumed, vec![scope.clone()], what.clone());
    draft.turn(scope);
    did(what)
}

fn release(draft: &mut Draft<'_>, admin: &Admin, holder: &Holder, reason: &str, live: bool, forget: bool) -> Done {
    let view = draft.view;
    let host = holder.as_host();
    let (lease, ticket, member) = (view.lease(holder), view.ticket(holder), view.member(&host));
    if forget && member.is_some_and(|member| member.is_live(draft.now.time)) {
        return refused(
            format!("{host} is alive"),
            format!("stop its worker first; stagger release {holder} without --forget ends its lease only"),
        );
    }
    if let Some(lease) = lease
        && lease.state == LeaseState::Held
        && !live
    {
        let why = match lease.purpose {
            // Nobody can tell more: its protocol renews nothing.
            Purpose::FleetLock => format!("{holder} has not said that it is well again, by FleetLock"),
            _ => format!("{holder} still renews its lease, for {}", lease.purpose),
        };
        return refused(why, "wait for it; or release it with --live, and it may be out of service uncounted");
    }
    if lease.is_none() && ticket.is_some() && !forget {
        return refused(format!("{holder} has no lease, it waits for one"), format!("stagger why host/{holder}"));
    }
    if lease.is_none() && ticket.is_none() && !(forget && member.is_some()) {
        return refused(format!("{holder} has no lease"), "stagger leases");
    }
    let mut freed = Vec::new();
    if let Some(lease) = lease {
        freed.extend(lease.pools.keys().map(ToString::to_string));
        draft.push(Change::LeaseEnded(holder.clone()));
        draft.nudges.pools.extend(lease.pools.keys().cloned());
        if !forget {
            given_up(draft, lease);
        }
    }
    if let Some(ticket) = ticket {
        draft.push(Change::TicketDropped(holder.clone()));
        draft.nudges.pools.extend(ticket.pools.clone());
    }
    let scopes = lease.map_or_else(|| vec![Scope::Host(host.clone())], scopes_of);
    if forget {
        forget_host(draft, &host);
        draft.note(&admin.by, EntryKind::Forgotten, scopes, format!("{host}: {reason}"));
    } else {
        draft.note(&admin.by, EntryKind::Released, scopes, format!("{holder}: {reason}"));
    }
    let slots = match &freed[..] {
        [] => "no slot".to_owned(),
        [pool] => format!("a slot of {pool}"),
        pools => format!("a slot each of {}", pools.join(", ")),
    };
    did(format!("{holder} released: {slots} freed{}", if forget { ", and the host is forgotten" } else { "" }))
}

/// A host whose restart had begun, and that has not failed yet, is given up: nobody may ever say what came of it, so it counts as
/// failed. A report that comes all the same is believed.
fn given_up(draft: &mut Draft<'_>, lease: &Lease) {
    let Purpose::Rollout(name) = &lease.purpose else { return };
    let host = lease.holder.as_host();
    if draft.view.target(name, &host).is_none_or(|target| target.progress != Progress::Begun) {
        return;
    }
    let report = Report {
        step: lease.step,
        cause: "released after its restart had begun".to_owned(),
        at: draft.now.wall,
        ..Report::plain(Outcome::Failed)
    };
    let cause = format!("{host} failed: {}", report.cause);
    if let Some(rollout) = move_target(draft, name, &host, Progress::Failed, Some(report)) {
        halt_if_spent(draft, rollout, None, host, &cause);
    }
}

/// Removes a host for good: it is no member, and no rollout waits for it.
fn forget_host(draft: &mut Draft<'_>, host: &crate::names::Host) {
    // A percentage of one member less may be a slot less.
    draft.nudge_beside(draft.view.member(host).into_iter().flat_map(Member::pools));
    draft.push(Change::MemberForgotten(host.clone()));
    for rollout in draft.view.rollouts() {
        let target = draft.view.target(&rollout.name, host);
        let Some(target) = target.filter(|target| matches!(target.progress, Progress::Owes | Progress::Begun)) else {
            continue;
        };
        let mut rollout = rollout.clone();
        let count = rollout.tally.of(target.progress);
        *count = count.saturating_sub(1);
        draft.push(Change::TargetForgotten { rollout: rollout.name.clone(), host: host.clone() });
        draft.push(Change::RolloutMoved(rollout));
    }
}

fn set(draft: &mut Draft<'_>, admin: &Admin, scope: &Scope, to: Setting, reason: &str, for_ms: Option<u64>) -> Done {
    if let Err(wrong) = to.check(scope) {
        return refused(wrong.to_string(), "stagger pools shows what holds now");
    }
    if let Some(full) = bounds::setting(draft.view, scope) {
        return refused(full.why, full.hint);
    }
    let word = to.kind().word();
    let was = value(draft, scope, to.kind());
    let before = draft.view.setting(scope, to.kind()).cloned().map(Box::new);
    let lasting_before = before.and_then(|before| if before.until.is_none() { Some(before) } else { before.before });
    draft.push(Change::Configured(Override {
        scope: scope.clone(),
        setting: to,
        by: admin.by.clone(),
        reason: reason.to_owned(),
        at: draft.now.wall,
        until: for_ms.map(|ms| draft.now.time.plus(Duration::from_millis(ms))),
        before: lasting_before.filter(|_| for_ms.is_some()),
    }));
    let lasting = for_ms.map(|ms| format!(" for {}", span(ms))).unwrap_or_default();
    let what = format!("{scope} {word}: {was} → {to}{lasting}");
    draft.note(&admin.by, EntryKind::Set, vec![scope.clone()], format!("{what}: {reason}"));
    nudge(draft, scope, to.kind());
    did(match to.kind() {
        SettingKind::Ttl | SettingKind::LostAfter => format!("{what}; leases that are there keep theirs"),
        _ => what,
    })
}

fn unset(draft: &mut Draft<'_>, admin: &Admin, scope: &Scope, kind: SettingKind, reason: &str) -> Done {
    let Some(was) = draft.view.setting(scope, kind) else {
        return refused(format!("{} of {scope} was not changed", kind.word()), "stagger pools");
    };
    let back = take_back(draft, was);
    let what = format!("{scope} {}: {} → {back}", kind.word(), was.setting);
    draft.note(&admin.by, EntryKind::Set, vec![scope.clone()], format!("{what}: {reason}"));
    nudge(draft, scope, kind);
    did(what)
}

/// Whom a changed setting may help: more slots the next in line, fewer those beside, another wait all who wait. The others
/// change nobody's turn.
pub(crate) fn nudge(draft: &mut Draft<'_>, scope: &Scope, kind: SettingKind) {
    match (kind, scope) {
        (SettingKind::Slots, Scope::Pool(pool)) => {
            draft.nudges.pools.insert(pool.clone());
            draft.nudge_beside([pool].into_iter());
        }
        (SettingKind::Slots, _) => draft.nudges.pools.extend(draft.view.wanted_pools().cloned()),
        (SettingKind::Wait, _) => draft.nudges.all_in(scope),
        _ => {}
    }
}

/// Takes a changed setting back: to what was set for good before it, else to what holds without it. Returns to what.
pub(crate) fn take_back(draft: &mut Draft<'_>, was: &Override) -> String {
    draft.push(match &was.before {
        Some(before) => Change::Configured((**before).clone()),
        None => Change::Reverted { scope: was.scope.clone(), kind: was.setting.kind() },
    });
    draft.view.without(was)
}

/// The value that holds now, as people type it.
fn value(draft: &Draft<'_>, scope: &Scope, kind: SettingKind) -> String {
    let view = draft.view;
    let from = view.setting(scope, kind).or_else(|| view.setting(&Scope::All, kind));
    let setting = from.map(|from| from.setting).or_else(|| view.said_of(scope, kind).map(|from| from.setting));
    setting.unwrap_or_else(|| kind.default()).to_string()
}
