//! Workers come, stay, and fall silent.

use crate::apply::begin::{Authority, authority};
use crate::apply::due::withdraw;
use crate::apply::{Draft, bounds};
use crate::change::Change;
use crate::history::EntryKind;
use crate::lease::{Purpose, TEXT_BYTES_MAX};
use crate::member::{Member, SERVICES_PER_MEMBER_MAX};
use crate::names::{Holder, Host, Scope, Service};
use crate::request::{Join, Joined, Owed, Quiet, Welcome};
use crate::rollout::{Progress, Rollout, Target, head};
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
    let member = Member {
        host: join.host.clone(),
        session: join.session.clone(),
        services: join.services.clone(),
        version: head(&join.version, TEXT_BYTES_MAX).to_owned(),
        metrics: join.metrics.as_deref().map(|at| head(at, TEXT_BYTES_MAX).to_owned()),
        sightings: join.sightings.iter().take(SERVICES_PER_MEMBER_MAX).cloned().collect(),
        trouble: head(&join.trouble, TEXT_BYTES_MAX).to_owned(),
        joined: old.map_or(now, |old| old.joined),
        heard: now,
        live_until: now.time.plus(Duration::from_millis(join.patience_ms.min(crate::apply::ask::PATIENCE_MS_MAX))),
    };
    let is_news = old.is_none_or(|old| {
        let heard_alike = Member { heard: old.heard, live_until: old.live_until, ..member.clone() };
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
    for (pool, token) in join.highest.iter().take(SERVICES_PER_MEMBER_MAX) {
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
    is_among(&rollout.only, &rollout.name.service, member)
}

/// Whether a member with this service lies in one of these scopes; all do when there are none.
pub(crate) fn is_among(only: &[Scope], service: &Service, member: &Member) -> bool {
    let Some(pools) = member.services.get(service) else { return false };
    only.is_empty()
        || only.iter().any(|scope| match scope {
            Scope::All => true,
            Scope::Pool(pool) => pools.contains(pool),
            Scope::Service(name) => name == service,
            Scope::Host(host) => *host == member.host,
            Scope::Rollout(_) => false,
        })
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
