//! Asks for a lease: the same request again gets the same ticket, lease and token.

use crate::apply::begin::{Authority, authority};
use crate::apply::grant::{hindrance, missing, passed_by, place, plain};
use crate::apply::{Draft, bounds, waited_ms};
use crate::change::Change;
use crate::lease::{Lease, LeaseState, POOLS_PER_LEASE_MAX, Purpose, TEXT_BYTES_MAX, Ticket};
use crate::names::Pool;
use crate::request::{Answer, Ask, Granted, Queued, Refusal, RefusalKind};
use crate::settings::SPAN_MS_MAX;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest time that one ask stands, in milliseconds.
pub(crate) const PATIENCE_MS_MAX: u64 = 120_000;

pub(crate) fn ask(draft: &mut Draft<'_>, ask: &Ask) -> Answer {
    if let Some(refusal) = invalid(ask) {
        return Answer::Refused(refusal);
    }
    let lease = draft.view.lease(&ask.holder);
    if let Some(lease) = lease {
        if lease.claim == ask.claim && !settled(lease) {
            return Answer::Granted(Box::new(Granted { lease: returned(draft, lease) }));
        }
        if lease.state != LeaseState::Failed || ask.purpose.service().is_none() {
            return Answer::Refused(busy(ask, lease, draft));
        }
    }
    let purpose = match authority(draft.view, &ask.holder, &ask.purpose) {
        Authority::Restart(purpose) => purpose,
        Authority::No(refusal) => {
            if draft.view.ticket(&ask.holder).is_some_and(|ticket| !is_anothers(draft, ticket, ask)) {
                draft.drop_ticket(&ask.holder);
            }
            return Answer::Refused(refusal);
        }
    };
    if let Some(full) = bounds::pools(draft.view, &ask.pools) {
        return Answer::Refused(plain(RefusalKind::Invalid, full.to_string()));
    }
    let ticket = match take_ticket(draft, ask, purpose) {
        Ok(ticket) => ticket,
        Err(refusal) => return Answer::Refused(refusal),
    };
    decide(draft, ask, ticket, lease)
}

/// What is wrong with the request itself.
fn invalid(ask: &Ask) -> Option<Refusal> {
    let wrong = |value: &str| Some(plain(RefusalKind::Invalid, value.to_owned()));
    if ask.pools.is_empty() || ask.pools.len() > POOLS_PER_LEASE_MAX {
        return wrong(&format!(
            "a lease covers 1 to {POOLS_PER_LEASE_MAX} pools, and this asks for {}",
            ask.pools.len()
        ));
    }
    if ask.patience_ms > PATIENCE_MS_MAX {
        return wrong(&format!("an ask stands for at most {PATIENCE_MS_MAX} ms"));
    }
    if ask.wait_ms.is_some_and(|ms| ms > SPAN_MS_MAX) {
        return wrong("a wait lasts at most a year");
    }
    match &ask.purpose {
        Purpose::Run(what) if what.len() > TEXT_BYTES_MAX => {
            wrong(&format!("what is run is described in at most {TEXT_BYTES_MAX} bytes"))
        }
        _ => None,
    }
}

/// Whether a failed lease's own sequence has ended, so that only a new claim can take it up again.
fn settled(lease: &Lease) -> bool {
    lease.state == LeaseState::Failed && !lease.has_begun
}

/// Another claim holds this name.
fn busy(ask: &Ask, lease: &Lease, draft: &Draft<'_>) -> Refusal {
    let pool = lease.pools.keys().next();
    Refusal {
        holders: pool
            .map(|pool| crate::apply::grant::full_pool(draft.view, pool, draft.now).holders)
            .unwrap_or_default(),
        ..plain(
            RefusalKind::Busy,
            format!(
                "{} has a lease that is {}, for {}; a holder has one at a time",
                ask.holder, lease.state, lease.purpose
            ),
        )
    }
}

/// The holder asks on under its own claim: it is alive.
fn returned(draft: &mut Draft<'_>, lease: &Lease) -> Lease {
    let mut lease = lease.clone();
    lease.renewed = draft.now.time;
    lease.unconfirmed = false;
    if lease.state == LeaseState::Held {
        draft.push(Change::LeaseRenewed(lease.clone()));
    } else {
        draft.take_up_again(&mut lease);
        draft.push(Change::LeaseReturned(lease.clone()));
    }
    lease
}

/// Whether a ticket of this name belongs to another request that still listens.
fn is_anothers(draft: &Draft<'_>, ticket: &Ticket, ask: &Ask) -> bool {
    ticket.claim != ask.claim && crate::apply::grant::listens(ticket, draft.now.time)
}

/// The waiter's ticket, as it is after this ask; nothing is pushed yet.
fn take_ticket(draft: &Draft<'_>, ask: &Ask, purpose: Purpose) -> Result<Ticket, Refusal> {
    let (view, now) = (draft.view, draft.now);
    let live_until = now.time.plus(Duration::from_millis(ask.patience_ms));
    let wait_ms = ask.wait_ms.or_else(|| ask.pools.iter().map(|pool| view.pool_rules(pool).wait_ms).min()).unwrap_or(0);
    if let Some(old) = view.ticket(&ask.holder) {
        // A person's restart goes before what the same host waits for by itself, which is asked for again later.
        let goes_before = matches!((&purpose, &old.purpose), (Purpose::Restart(_), Purpose::Rollout(_)));
        if is_anothers(draft, old, ask) && !goes_before {
            let value = format!("{} waits already, for {}, under another claim", ask.holder, old.purpose);
            return Err(plain(RefusalKind::Busy, value));
        }
        if old.pools == ask.pools {
            // A successor of the same name keeps the place; how long it waits is its own.
            let waited_ms = if old.claim == ask.claim { waited_ms(view, old, now.time) } else { 0 };
            return Ok(Ticket {
                claim: ask.claim.clone(),
                purpose,
                live_until,
                silent: false,
                waited_ms,
                counted: now.time,
                wait_ms,
                ..old.clone()
            });
        }
    }
    Ok(Ticket {
        number: now.time.0.max(view.last_number() + 1),
        holder: ask.holder.clone(),
        claim: ask.claim.clone(),
        pools: ask.pools.clone(),
        purpose,
        taken: now,
        live_until,
        silent: false,
        waited_ms: 0,
        counted: now.time,
        wait_ms,
        passed: 0,
    })
}

fn decide(draft: &mut Draft<'_>, ask: &Ask, ticket: Ticket, kept: Option<&Lease>) -> Answer {
    let old = draft.view.ticket(&ask.holder);
    let Some(why) = hindrance(draft.view, &ticket, draft.now) else {
        return Answer::Granted(Box::new(Granted { lease: grant(draft, &ticket, kept) }));
    };
    if ticket.waited_ms >= ticket.wait_ms && why.kind != RefusalKind::Paused {
        draft.drop_ticket(&ask.holder);
        // Above a second, milliseconds are only noise.
        let whole_ms = if ticket.waited_ms < 1000 { 1 } else { 1000 };
        let waited = crate::settings::span(ticket.waited_ms / whole_ms * whole_ms);
        // Whoever would not wait at all has not waited.
        let value = if ticket.wait_ms == 0 { why.value } else { format!("waited {waited}: {}", why.value) };
        return Answer::Refused(Refusal { kind: RefusalKind::TimedOut, value, ..why });
    }
    if old.is_none_or(|old| old.pools != ticket.pools)
        && let Some(refusal) = too_many_wait(draft, &ticket)
    {
        return Answer::Refused(refusal);
    }
    // Those behind a ticket that this one takes the place of, for other pools or what a pause stops, may have one less before them.
    let differs = |old: &&Ticket| old.pools != ticket.pools || old.purpose != ticket.purpose;
    draft.nudges.pools.extend(old.filter(differs).into_iter().flat_map(|old| old.pools.clone()));
    let place = place(draft.view, &ticket);
    let left_ms = ticket.wait_ms.saturating_sub(ticket.waited_ms);
    draft.push(match old {
        Some(old) if old.pools == ticket.pools && old.claim == ticket.claim => Change::TicketHeard(ticket),
        _ => Change::TicketTaken(ticket),
    });
    Answer::Queued(Queued { place, left_ms, why })
}

/// Why another may not wait for these pools. Whoever can be granted at once need not wait.
fn too_many_wait(draft: &Draft<'_>, ticket: &Ticket) -> Option<Refusal> {
    let view = draft.view;
    if let Some(full) = bounds::ticket(view) {
        return Some(plain(RefusalKind::QueueFull, full.to_string()));
    }
    let waiting = |pool| (pool, view.waiting_in(pool), view.pool_rules(pool).max_queue);
    let mut pools = ticket.pools.iter().map(waiting);
    let (pool, count, max) = pools.find(|(_, count, max)| *count >= *max as usize)?;
    let value = format!("{count} wait for {pool} already, and max_queue is {max}");
    let full = crate::apply::grant::full_pool(view, pool, draft.now);
    Some(Refusal { kind: RefusalKind::QueueFull, value, ..full })
}

/// Grants every pool of the ticket, with a new token each; a kept slot is a new attempt.
fn grant(draft: &mut Draft<'_>, ticket: &Ticket, kept: Option<&Lease>) -> Lease {
    let (view, now) = (draft.view, draft.now);
    let is_kept_whole = missing(view, ticket).is_empty();
    draft.drop_ticket(&ticket.holder);
    if !is_kept_whole {
        for passed in passed_by(view, ticket, now) {
            draft.push(Change::TicketPassed(Ticket { passed: passed.passed + 1, ..passed.clone() }));
        }
    }
    let mut names: Vec<Pool> = ticket.pools.iter().cloned().collect();
    names
        .extend(kept.iter().flat_map(|lease| lease.pools.keys()).filter(|pool| !ticket.pools.contains(*pool)).cloned());
    let mut pools = BTreeMap::new();
    for pool in names {
        let token = view.token(&pool) + 1;
        draft.push(Change::TokenUsed { pool: pool.clone(), token });
        pools.insert(pool, token);
    }
    let rules: Vec<_> = ticket.pools.iter().map(|pool| view.pool_rules(pool)).collect();
    let lost_after_ms = rules.iter().map(|rules| rules.lost_after_ms);
    let lease = Lease {
        holder: ticket.holder.clone(),
        pools,
        claim: ticket.claim.clone(),
        purpose: ticket.purpose.clone(),
        state: LeaseState::Held,
        attempt: kept.map_or(1, |lease| lease.attempt.saturating_add(1)),
        ticket: ticket.number,
        begun: None,
        has_begun: false,
        step_since: None,
        step: None,
        note: String::new(),
        failed: kept.map(|lease| lease.failed.clone()).unwrap_or_default(),
        granted: kept.map_or(now, |lease| lease.granted),
        since: now,
        renewed: now.time,
        unconfirmed: true,
        ttl_ms: rules.iter().map(|rules| rules.ttl_ms).min().unwrap_or(0),
        lost_after_ms: if lost_after_ms.clone().any(|ms| ms.is_none()) { None } else { lost_after_ms.flatten().max() },
    };
    draft.push(Change::LeaseGranted(lease.clone()));
    draft.nudges.pools.extend(ticket.pools.clone());
    draft.nudge_beside(ticket.pools.iter());
    lease
}
