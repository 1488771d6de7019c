//! Whose turn it is.
//!
//! First come, first served per set of pools. Among the first of each set the oldest goes first, unless one of its pools
//! is full: then younger ones pass it, but not for ever.

use crate::apply::pause_of_waiter;
use crate::lease::{LeaseState, Purpose, Ticket};
use crate::names::{Holder, Pool, Scope};
use crate::request::{Holding, Refusal, RefusalKind};
use crate::time::{Now, Time};
use crate::view::View;
use std::collections::{BTreeMap, BTreeSet};

/// How often a waiter is passed by younger ones before its pools are kept for it. Each pass uses a slot that it could not
/// have used; kept pools may stand empty until its last one is free, so the number is not small.
pub const PASSES_MAX: u32 = 16;
/// How many holders a refusal names.
pub(crate) const HOLDERS_NAMED_MAX: usize = 10;

/// The pools of a ticket that its holder does not hold yet (a failed host asks on the slot that it kept).
pub(crate) fn missing<'t>(view: &View<'_>, ticket: &'t Ticket) -> Vec<&'t Pool> {
    let held = view.lease(&ticket.holder).map(|lease| &lease.pools);
    ticket.pools.iter().filter(|pool| !held.is_some_and(|held| held.contains_key(*pool))).collect()
}

/// Why a waiter stands aside for now, whatever is free: a pause, or its rollout's budget. It hinders nobody else.
fn set_aside(view: &View<'_>, ticket: &Ticket, now: Now) -> Option<Refusal> {
    let paused = pause_of_waiter(view, ticket).map(|pause| Refusal {
        left_ms: Some(crate::time::millis(pause.until.since(now.time))),
        ..plain(RefusalKind::Paused, format!("{} is paused by {}: {}", pause.scope, pause.by, pause.reason))
    });
    paused.or_else(|| budget(view, ticket, now))
}

/// The first full pool among those that a waiter does not hold yet.
fn full<'t>(view: &View<'_>, ticket: &'t Ticket) -> Option<&'t Pool> {
    missing(view, ticket).into_iter().find(|pool| view.count_in(pool) >= view.slots(pool))
}

/// A strict rollout lets no more hosts out at once than it may still lose.
fn budget(view: &View<'_>, ticket: &Ticket, now: Now) -> Option<Refusal> {
    let Purpose::Rollout(name) = &ticket.purpose else { return None };
    let rollout = view.rollout(name).filter(|rollout| rollout.strict)?;
    let out = ticket.pools.iter().flat_map(|pool| view.leases_in(pool)).filter(|lease| {
        lease.holder != ticket.holder && lease.purpose == ticket.purpose && lease.state == LeaseState::Held
    });
    let out: BTreeMap<&Holder, _> = out.map(|lease| (&lease.holder, lease)).collect();
    if u32::try_from(out.len()).unwrap_or(u32::MAX) < rollout.budget_left() {
        return None;
    }
    let holders = out.values().take(HOLDERS_NAMED_MAX).filter_map(|lease| {
        let pool = lease.pools.keys().next()?;
        Some(holding(lease, pool, now))
    });
    Some(Refusal {
        holders: holders.collect(),
        ..plain(RefusalKind::Full, format!("{name} is strict: as many hosts are out as may still fail"))
    })
}

fn holding(lease: &crate::lease::Lease, pool: &Pool, now: Now) -> Holding {
    let step = lease.step.map(|step| format!(", {step}")).unwrap_or_default();
    Holding {
        holder: lease.holder.clone(),
        pool: pool.clone(),
        state: lease.state,
        since_ms: crate::time::millis(now.wall.since(lease.since.wall)),
        what: format!("{}{step}", lease.purpose),
    }
}

/// The refusal that a full pool gives.
pub(crate) fn full_pool(view: &View<'_>, pool: &Pool, now: Now) -> Refusal {
    let slots = view.slots(pool);
    let holders: Vec<_> = view.leases_in(pool).map(|lease| holding(lease, pool, now)).take(HOLDERS_NAMED_MAX).collect();
    Refusal {
        kind: RefusalKind::Full,
        value: format!("{} of {slots} slots of {pool} are taken", view.count_in(pool)),
        holders,
        slots: Some(slots),
        source: Some(view.pool_rules(pool).source),
        left_ms: None,
    }
}

/// A refusal that needs no more than a sentence.
pub(crate) fn plain(kind: RefusalKind, value: String) -> Refusal {
    Refusal { kind, value, holders: Vec::new(), slots: None, source: None, left_ms: None }
}

/// Whether a waiter listens: it asked, and that ask still stands.
pub(crate) fn listens(ticket: &Ticket, now: Time) -> bool {
    now < ticket.live_until
}

/// The first in line of each set that contains one of these pools.
fn heads<'a>(view: &View<'a>, pools: &BTreeSet<Pool>, now: Now) -> BTreeMap<u64, &'a Ticket> {
    let mut heads = BTreeMap::new();
    if view.pause(&Scope::All).is_some() {
        return heads;
    }
    let is_paused = |pool: &Pool| view.pause(&Scope::Pool(pool.clone())).is_some();
    for pool in pools {
        // Those who all stand aside need not be looked at one by one.
        for (_, queue) in view.queues_of(pool).filter(|(set, _)| !set.iter().any(is_paused)) {
            let mut tickets = queue.listening.values().filter_map(|holder| view.ticket(holder));
            let first = tickets.find(|ticket| set_aside(view, ticket, now).is_none());
            heads.extend(first.map(|ticket| (ticket.number, ticket)));
        }
    }
    heads
}

/// Whether a passed-over waiter's pools are kept for it. Only when those that are full will be free by themselves: where
/// all slots are failed or lost, nothing is won by letting the others wait too.
fn reserves(view: &View<'_>, ticket: &Ticket) -> bool {
    let moves = |pool: &Pool| view.leases_in(pool).any(|lease| lease.state == LeaseState::Held);
    ticket.passed >= PASSES_MAX
        && missing(view, ticket).into_iter().filter(|pool| view.count_in(pool) >= view.slots(pool)).all(moves)
}

/// Why it is not this waiter's turn; `None`: it is. A failed host on the slot that it kept waits for nobody.
pub(crate) fn hindrance(view: &View<'_>, ticket: &Ticket, now: Now) -> Option<Refusal> {
    if let Some(refusal) = set_aside(view, ticket, now) {
        return Some(refusal);
    }
    if let Some(pool) = full(view, ticket) {
        return Some(full_pool(view, pool, now));
    }
    if missing(view, ticket).is_empty() {
        return None;
    }
    let mut same_set = older_in_set(view, ticket).filter(|older| set_aside(view, older, now).is_none());
    let first = same_set
        .find(|older| full(view, older).is_none())
        .or_else(|| older_heads(view, ticket, now).find(|head| full(view, head).is_none() || reserves(view, head)))?;
    let pool = ticket.pools.first()?;
    Some(Refusal {
        slots: Some(view.slots(pool)),
        source: Some(view.pool_rules(pool).source),
        ..plain(RefusalKind::NotFirst, format!("{} asked before", first.holder))
    })
}

/// The older waiters for exactly the same pools that are not silent, oldest first.
fn older_in_set<'a>(view: &View<'a>, ticket: &Ticket) -> impl Iterator<Item = &'a Ticket> {
    let older = view.queue(&ticket.pools).map(|queue| queue.listening.range(..ticket.number));
    let view = *view;
    older.into_iter().flatten().filter_map(move |(_, holder)| view.ticket(holder))
}

/// A waiter's place among those for the same pools, from 1.
pub(crate) fn place(view: &View<'_>, ticket: &Ticket) -> u32 {
    let older = view.queue(&ticket.pools).map_or(0, |queue| queue.older(ticket.number));
    u32::try_from(older + 1).unwrap_or(u32::MAX)
}

/// The heads that are older than this waiter and want one of its pools; its own ticket for other pools is none of them.
fn older_heads<'a>(view: &View<'a>, ticket: &Ticket, now: Now) -> impl Iterator<Item = &'a Ticket> {
    let (number, holder) = (ticket.number, ticket.holder.clone());
    let older = heads(view, &ticket.pools, now).into_values().take_while(move |head| head.number < number);
    older.filter(move |head| head.holder != holder)
}

/// The older heads that a grant to this waiter passes over because a pool of theirs is full.
pub(crate) fn passed_by<'a>(view: &View<'a>, ticket: &Ticket, now: Now) -> Vec<&'a Ticket> {
    older_heads(view, ticket, now).filter(|head| full(view, head).is_some()).collect()
}

/// The waiter whose own ask would be granted now.
pub(crate) fn next_in_line<'a>(view: &View<'a>, pools: &BTreeSet<Pool>, now: Now) -> Option<&'a Ticket> {
    let mut line = heads(view, pools, now);
    // A failed host has its slot, and may go where the head of its set finds a pool full.
    line.extend(with_a_slot(view, pools).map(|ticket| (ticket.number, ticket)));
    line.into_values().find(|waiter| hindrance(view, waiter, now).is_none())
}

/// The waiters for one of these pools that have a lease already, and are not silent.
fn with_a_slot<'a>(view: &View<'a>, pools: &BTreeSet<Pool>) -> impl Iterator<Item = &'a Ticket> {
    let sets = pools.iter().flat_map(|pool| view.queues_of(pool)).map(|(set, _)| set);
    let leases = sets.flatten().flat_map(|pool| view.leases_in(pool));
    let wanted = leases.filter_map(|lease| view.ticket(&lease.holder));
    wanted.filter(|ticket| !ticket.silent && !ticket.pools.is_disjoint(pools))
}
