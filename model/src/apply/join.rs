//! Workers come, stay, and fall silent.

use crate::apply::begin::{Authority, authority};
use crate::apply::due::withdraw;
use crate::apply::{Draft, bounds};
use crate::bound::beginning;
use crate::change::Change;
use crate::history::EntryKind;
use crate::lease::{Purpose, TEXT_BYTES_MAX};
use crate::member::{Member, SIGHTINGS_PER_MEMBER_MAX, Sighting, TOKENS_PER_MEMBER_MAX};
use crate::names::{Holder, Host, Scope, Service};
use crate::request::{Join, Joined, Owed, Quiet, Welcome};
use crate::rollout::{Progress, Rollout, Target, is_among};
use std::time::Duration;

pub(crate) fn join(draft: &mut Draft<'_>, join: &Join) -> Joined {
    let (view, now) = (draft.view, draft.now);
    let old = view.member(&join.host);
    if let Some(old) = old
        && old.session != join.session
        && old.is_live(now.time)
        && join.replaces.as_ref() != Some(&old.session)
    {
        let since_ms = crate::time::millis(now.wall.since(old.joined.wall));
        return Joined::Duplicate { since_ms, version: old.version.clone() };
    }
    if let Some(full) = bounds::member(view, join) {
        return Joined::Refused { why: full.to_string() };
    }
    let sightings: Vec<Sighting> = join.sightings.iter().take(SIGHTINGS_PER_MEMBER_MAX).cloned().collect();
    // A call that says nothing of a look repeats what the last one saw.
    let repeated = old.filter(|old| old.sightings == sightings).and_then(|old| old.looked);
    let member = Member {
        host: join.host.clone(),
        session: join.session.clone(),
        services: join.services.clone(),
        version: beginning(&join.version, TEXT_BYTES_MAX),
        metrics: join.metrics.as_deref().map(|at| beginning(at, TEXT_BYTES_MAX)),
        looked: join.looked_ms.map(|ms| now.before(Duration::from_millis(ms))).or(repeated),
        sightings,
        trouble: beginning(&join.trouble, TEXT_BYTES_MAX),
        joined: old.map_or(now, |old| old.joined),
        heard: now,
        live_until: now.time.plus(Duration::from_millis(join.patience_ms.min(crate::apply::ask::PATIENCE_MS_MAX))),
    };
    let is_news = old.is_none_or(|old| {
        let heard_alike = Member { heard: old.heard, live_until: old.live_until, looked: old.looked, ..member.clone() };
        heard_alike != *old
    });
    if old.is_none() {
        let text = format!("{} joined, with {}", join.host, services(&member));
        draft.note(join.host.as_str(), EntryKind::Joined, vec![Scope::Host(join.host.clone())], text);
    }
    raise_tokens(draft, join);
    let mut owed = Vec::new();
    for service in member.services.keys() {
        owed.extend(owes(draft, &member, service));
    }
    owed.sort_by_key(|owed: &Owed| (!owed.failed_before, owed.rollout.clone()));
    if is_news {
        draft.nudges.pools.extend(member.pools().into_iter().cloned());
        // A percentage of the pools that it leaves may be a slot less.
        draft.nudge_beside(old.into_iter().flat_map(Member::pools));
        draft.push(Change::MemberJoined(member));
    } else {
        draft.push(Change::MemberHeard(member));
    }
    Joined::Member(Welcome { owed, lease: view.lease(&join.host.clone().into()).cloned() })
}

/// How far above its own highest token a coordinator believes a worker: a copy is not older than so many grants.
const TOKENS_BEHIND_MAX: u64 = 1_000_000_000;

/// A token that a worker has seen is never granted again, even by a coordinator that was restored from an old copy.
fn raise_tokens(draft: &mut Draft<'_>, join: &Join) {
    for (pool, token) in join.highest.iter().take(TOKENS_PER_MEMBER_MAX) {
        let own = draft.view.token(pool);
        // One that cannot be known cannot be granted either.
        if *token > own && *token - own <= TOKENS_BEHIND_MAX && bounds::pools(draft.view, [pool]).is_none() {
            draft.push(Change::TokenUsed { pool: pool.clone(), token: *token });
        }
    }
}

fn services(member: &Member) -> String {
    let names: Vec<_> = member.services.keys().map(Service::as_str).collect();
    if names.is_empty() { "no services".to_owned() } else { names.join(", ") }
}

/// What the host owes for one of its services. A host that joins after the announcement owes it too.
fn owes(draft: &mut Draft<'_>, member: &Member, service: &Service) -> Option<Owed> {
    let view = draft.view;
    let newest = view.newest(service)?;
    let holder: Holder = member.host.clone().into();
    let failed_before = view.lease(&holder).is_some_and(|lease| lease.failed.contains_key(service));
    let owed = || Owed { rollout: newest.name.clone(), always: newest.always, failed_before };
    if view.target(&newest.name, &member.host).is_none() {
        let is_owed = newest.ended.is_none() && !newest.expired && is_for(newest, member);
        if !is_owed {
            return None;
        }
        add_target(draft, newest.clone(), &member.host);
        return newest.halted.is_none().then(owed);
    }
    match authority(view, &holder, &Purpose::Rollout(newest.name.clone())) {
        Authority::Restart(_) => Some(owed()),
        Authority::No(_) => None,
    }
}

fn add_target(draft: &mut Draft<'_>, mut rollout: Rollout, host: &Host) {
    rollout.tally.owes += 1;
    draft.push(Change::TargetMoved(Target {
        rollout: rollout.name.clone(),
        host: host.clone(),
        progress: Progress::Owes,
        report: None,
    }));
    draft.push(Change::RolloutMoved(rollout));
}

/// Whether a rollout is for this member: for everyone with the service, or for the parts that it names.
pub(crate) fn is_for(rollout: &Rollout, member: &Member) -> bool {
    has_among(&rollout.only, &rollout.name.service, member)
}

/// Whether a member has this service, and lies in one of these parts of the fleet for it.
pub(crate) fn has_among(only: &[Scope], service: &Service, member: &Member) -> bool {
    member.services.get(service).is_some_and(|pools| is_among(only, &member.host, service, pools))
}

pub(crate) fn quiet(draft: &mut Draft<'_>, quiet: &Quiet) {
    let now = draft.now.time;
    match quiet {
        Quiet::Waiter { holder, claim } => {
            if let Some(ticket) = draft.view.ticket(holder).filter(|ticket| ticket.claim == *claim) {
                let mut ticket = ticket.clone();
                (ticket.live_until, ticket.silent) = (now, true);
                draft.nudges.pools.extend(ticket.pools.clone());
                draft.push(Change::TicketHeard(ticket));
            }
            let lease = draft.view.lease(holder).filter(|lease| lease.claim == *claim && lease.unconfirmed);
            if let Some(lease) = lease.cloned() {
                withdraw(draft, lease);
            }
        }
        Quiet::Member { host, session } => {
            if let Some(member) = draft.view.member(host).filter(|member| member.session == *session) {
                draft.push(Change::MemberHeard(Member { live_until: now, ..member.clone() }));
            }
        }
    }
}
