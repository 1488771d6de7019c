//! What must always hold, each a named function: of a state alone, or of one decision.
//!
//! Called by the tests after every step that they drive; decides nothing.

use crate::apply::{Decision, bounds, hindrance, listens};
use crate::change::Change;
use crate::defaults::TABLES_MAX;
use crate::history::ENTRIES_MAX;
use crate::lease::{Lease, LeaseState, Purpose, Ticket};
use crate::member::Pause;
use crate::names::{RolloutName, Scope};
use crate::request::{Answer, Begin, Reply, Request};
use crate::rollout::{Progress, Tally};
use crate::state::{Index, State};
use crate::time::Now;
use std::collections::{BTreeMap, BTreeSet};

/// What is wrong, when something is.
pub type Verdict = Result<(), String>;

/// A rule that every state obeys, with its name.
pub type OfState = (&'static str, fn(&State) -> Verdict);

/// A rule that every decision obeys, with its name.
pub type OfDecision = (&'static str, fn(&Taken<'_>) -> Verdict);

/// One decision: the state before, what was asked and decided, and the state after.
#[derive(Debug)]
pub struct Taken<'a> {
    /// Before.
    pub before: &'a State,
    /// What was asked.
    pub request: &'a Request,
    /// What was decided.
    pub decision: &'a Decision,
    /// After.
    pub after: &'a State,
    /// When.
    pub now: Now,
}

/// The rules of a state.
pub const OF_STATE: [OfState; 7] = [
    ("the index is what the records say", the_index_is_what_the_records_say),
    ("no two grants share a token", no_two_grants_share_a_token),
    ("nobody waits for what it holds", nobody_waits_for_what_it_holds),
    ("a failed lease says for what", a_failed_lease_says_for_what),
    ("the tally counts the targets", the_tally_counts_the_targets),
    ("only the newest rollout moves", only_the_newest_rollout_moves),
    ("everything is bounded", everything_is_bounded),
];

/// The rules of a decision.
pub const OF_DECISION: [OfDecision; 11] = [
    ("nothing is granted beyond the slots", nothing_is_granted_beyond_the_slots),
    ("tokens grow", tokens_grow),
    ("grants happen only inside the waiter's own ask", grants_happen_only_inside_the_own_ask),
    ("a pause stops grants and begins", a_pause_stops_grants_and_begins),
    ("only the newest generation authorises", only_the_newest_generation_authorises),
    ("what is over stays over", what_is_over_stays_over),
    ("no host restarts twice for a rollout", no_host_restarts_twice_for_a_rollout),
    ("time frees nothing that began or failed", time_frees_nothing_that_began_or_failed),
    ("only what nobody confirmed is taken back", only_what_nobody_confirmed_is_taken_back),
    ("failures stay within the budget", failures_stay_within_the_budget),
    ("whoever may go is told", whoever_may_go_is_told),
];

fn hold(is: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if is { Ok(()) } else { Err(otherwise()) }
}

/// The indexes can be made anew from the records at any time.
pub fn the_index_is_what_the_records_say(state: &State) -> Verdict {
    let mut anew = State::default();
    state.records().into_iter().for_each(|record| anew.put(record));
    hold(anew.index == state.index, || format!("{:?} is not {:?}", state.index, Index::default()))?;
    hold(anew == *state, || "a record is lost on its way through a store".to_owned())
}

/// In a pool no two leases have the same token, and none is above the highest that was granted.
pub fn no_two_grants_share_a_token(state: &State) -> Verdict {
    let mut seen = BTreeSet::new();
    for lease in state.leases.values() {
        hold(!lease.pools.is_empty(), || format!("{} has a lease of nothing", lease.holder))?;
        for (pool, token) in &lease.pools {
            hold(seen.insert((pool, token)), || format!("{pool}:{token} was granted twice"))?;
            let highest = state.tokens.get(pool).copied().unwrap_or(0);
            hold(*token <= highest, || format!("{pool}:{token} is above the highest, {highest}"))?;
        }
    }
    Ok(())
}

/// A holder waits only when its lease is a failed one: it wants to try again.
pub fn nobody_waits_for_what_it_holds(state: &State) -> Verdict {
    let mut numbers = BTreeSet::new();
    for ticket in state.tickets.values() {
        let lease = state.leases.get(&ticket.holder);
        hold(lease.is_none_or(|lease| lease.state == LeaseState::Failed), || {
            format!("{} holds and waits", ticket.holder)
        })?;
        hold(!ticket.pools.is_empty(), || format!("{} waits for nothing", ticket.holder))?;
        hold(numbers.insert(ticket.number), || format!("two tickets have the number {}", ticket.number))?;
    }
    Ok(())
}

/// A failed lease names the services that failed; a lost one has not begun.
pub fn a_failed_lease_says_for_what(state: &State) -> Verdict {
    state.leases.values().try_for_each(|lease| match lease.state {
        LeaseState::Failed => {
            let is_run = matches!(lease.purpose, Purpose::Run(_));
            hold(is_run || !lease.failed.is_empty(), || format!("{} failed for nothing", lease.holder))
        }
        LeaseState::Lost => hold(!lease.has_begun, || format!("{} is lost, though it began", lease.holder)),
        LeaseState::Held => Ok(()),
    })
}

/// Reports are counted as they come, and the count is right.
pub fn the_tally_counts_the_targets(state: &State) -> Verdict {
    state.rollouts.values().try_for_each(|rollout| {
        let mut tally = Tally::default();
        for target in state.targets.get(&rollout.name).into_iter().flat_map(BTreeMap::values) {
            *tally.of(target.progress) += 1;
        }
        hold(tally == rollout.tally, || format!("{} counts {:?}, and there are {tally:?}", rollout.name, rollout.tally))
    })
}

/// Every rollout but a service's newest has ended, or has nothing left.
pub fn only_the_newest_rollout_moves(state: &State) -> Verdict {
    state.rollouts.values().try_for_each(|rollout| {
        let newest = state.generations.get(&rollout.name.service).copied().unwrap_or(0);
        let left = rollout.tally.owes + rollout.tally.begun;
        let is_over = rollout.ended.is_some() || left == 0 || rollout.name.generation == newest || rollout.expired;
        hold(is_over, || format!("{} still moves under {newest}", rollout.name))?;
        hold(rollout.name.generation <= newest, || format!("{} is newer than the newest, {newest}", rollout.name))
    })
}

/// Texts and lists are cut where they enter.
pub fn everything_is_bounded(state: &State) -> Verdict {
    let text = crate::lease::TEXT_BYTES_MAX;
    hold(state.history.len() <= ENTRIES_MAX + 1000, || "the history is too long".to_owned())?;
    for (what, count, max) in [
        ("tables of pools", state.defaults.pools.len(), TABLES_MAX),
        ("tables of services", state.defaults.services.len(), TABLES_MAX),
        ("pools", state.index.pools.len(), bounds::POOLS_MAX),
        ("services", state.index.services.len(), bounds::SERVICES_MAX),
        ("members", state.members.len(), bounds::MEMBERS_MAX),
        ("pauses", state.pauses.len(), bounds::PAUSES_MAX + 1),
        ("rollouts", state.rollouts.len(), bounds::ROLLOUTS_MAX),
    ] {
        hold(count <= max, || format!("there are {count} {what}"))?;
    }
    for lease in state.leases.values() {
        hold(lease.note.len() <= text, || format!("the note of {} is too long", lease.holder))?;
    }
    for target in state.targets.values().flat_map(BTreeMap::values) {
        let output = target.report.as_ref().map_or(0, |report| report.output.len());
        hold(output <= crate::rollout::OUTPUT_BYTES_MAX, || format!("{} printed too much", target.host))?;
    }
    Ok(())
}

fn granted<'a>(taken: &'a Taken<'_>) -> impl Iterator<Item = &'a Lease> {
    taken.decision.changes.iter().filter_map(|change| match change {
        Change::LeaseGranted(lease) => Some(lease),
        _ => None,
    })
}

/// After a grant each pool newly taken is within its slots. (Cutting slots may leave more; nothing is granted then.)
pub fn nothing_is_granted_beyond_the_slots(taken: &Taken<'_>) -> Verdict {
    let had = |lease: &Lease, pool| {
        taken.before.leases.get(&lease.holder).is_some_and(|lease| lease.pools.contains_key(pool))
    };
    granted(taken).try_for_each(|lease| {
        lease.pools.keys().filter(|pool| !had(lease, pool)).try_for_each(|pool| {
            let (view, count) = (
                taken.after.view(),
                taken.after.leases.values().filter(|lease| lease.pools.contains_key(pool)).count(),
            );
            hold(count <= view.slots(pool) as usize, || format!("{count} of {} slots of {pool}", view.slots(pool)))
        })
    })
}

/// Every grant has, in each of its pools, a token above all before it.
pub fn tokens_grow(taken: &Taken<'_>) -> Verdict {
    let before = |pool| taken.before.tokens.get(pool).copied().unwrap_or(0).max(taken.before.token_floor);
    let (floor, raised) = (taken.before.token_floor, taken.after.token_floor);
    hold(raised >= floor, || format!("the floor of all tokens fell from {floor} to {raised}"))?;
    for (pool, token) in &taken.before.tokens {
        let after = taken.after.tokens.get(pool).copied().unwrap_or(0);
        hold(after >= *token, || format!("the token of {pool} fell from {token} to {after}"))?;
    }
    granted(taken).try_for_each(|lease| {
        lease
            .pools
            .iter()
            .try_for_each(|(pool, token)| hold(*token > before(pool), || format!("{pool}:{token} is not new")))
    })
}

/// Nobody is granted anything but the one who asks, and who asks is told so.
pub fn grants_happen_only_inside_the_own_ask(taken: &Taken<'_>) -> Verdict {
    granted(taken).try_for_each(|lease| {
        let is_asker =
            matches!(taken.request, Request::Ask(ask) if ask.holder == lease.holder && ask.claim == lease.claim);
        let is_told = matches!(&taken.decision.reply, Reply::Asked(Answer::Granted(told)) if told.lease == *lease);
        hold(is_asker && is_told, || format!("{} was granted what it did not ask for", lease.holder))
    })
}

fn pauses_of<'a>(state: &'a State, lease: &Lease) -> Vec<&'a Pause> {
    let covers = |scope: &Scope| match scope {
        Scope::All => true,
        Scope::Pool(pool) => lease.pools.contains_key(pool),
        Scope::Service(service) => lease.purpose.service() == Some(service),
        Scope::Host(host) => lease.holder.as_host() == *host,
        Scope::Rollout(name) => lease.purpose == Purpose::Rollout(name.clone()),
    };
    state.pauses.values().filter(|pause| covers(&pause.scope)).collect()
}

fn begun<'a>(taken: &'a Taken<'_>) -> impl Iterator<Item = &'a Lease> {
    taken.decision.changes.iter().filter_map(|change| match change {
        Change::LeaseBegun(lease) => Some(lease),
        _ => None,
    })
}

/// While a pause lasts, nothing in its scope is granted or begun.
pub fn a_pause_stops_grants_and_begins(taken: &Taken<'_>) -> Verdict {
    granted(taken).chain(begun(taken)).try_for_each(|lease| {
        let pauses = pauses_of(taken.after, lease);
        hold(pauses.is_empty(), || {
            format!("{} went on under {:?}", lease.holder, pauses.first().map(|pause| &pause.scope))
        })
    })
}

fn is_go(taken: &Taken<'_>) -> bool {
    matches!(taken.decision.reply, Reply::Begun(Begin::Go { .. }))
}

/// A restart that begins for a rollout begins for the newest, which is neither halted, ended nor over.
pub fn only_the_newest_generation_authorises(taken: &Taken<'_>) -> Verdict {
    begun(taken).try_for_each(|lease| {
        hold(is_go(taken), || format!("{} began and was not told", lease.holder))?;
        let Purpose::Rollout(name) = &lease.purpose else { return Ok(()) };
        let newest = taken.after.generations.get(&name.service);
        hold(newest == Some(&name.generation), || {
            format!("{} began for {name}, and the newest is {newest:?}", lease.holder)
        })?;
        let rollout = taken.after.rollouts.get(name).ok_or("no such rollout")?;
        let is_open = rollout.ended.is_none() && rollout.halted.is_none() && !rollout.expired;
        hold(is_open, || format!("{} began for {name}, which is over", lease.holder))
    })
}

/// A rollout whose time has come is expired, or had ended before, and never comes back.
pub fn what_is_over_stays_over(taken: &Taken<'_>) -> Verdict {
    taken.after.rollouts.values().try_for_each(|rollout| {
        let name = &rollout.name;
        let is_over = rollout.expired || rollout.ended.is_some();
        hold(is_over || taken.now.time < rollout.expires, || format!("{name} is owed after its time"))?;
        let before = taken.before.rollouts.get(name);
        let was_over = before.is_some_and(|before| before.expired || before.ended.is_some());
        hold(is_over || !was_over, || format!("{name} came back"))
    })
}

/// Whoever is well for a generation does not begin for it again.
pub fn no_host_restarts_twice_for_a_rollout(taken: &Taken<'_>) -> Verdict {
    begun(taken).try_for_each(|lease| {
        let Purpose::Rollout(name) = &lease.purpose else { return Ok(()) };
        let progress = progress_of(taken.before, name, lease);
        let is_open = matches!(progress, None | Some(Progress::Owes | Progress::Begun | Progress::Failed));
        hold(is_open, || format!("{} began for {name} though it was {progress:?}", lease.holder))
    })
}

fn progress_of(state: &State, name: &RolloutName, lease: &Lease) -> Option<Progress> {
    Some(state.targets.get(name)?.get(&lease.holder.as_host())?.progress)
}

/// A lease that began, or failed, ends by its own settle or a person's release, never by time.
pub fn time_frees_nothing_that_began_or_failed(taken: &Taken<'_>) -> Verdict {
    stays(taken, |lease| lease.has_begun || !lease.failed.is_empty())
}

/// A holder that was heard of since its grant may be at work: when it falls silent, its lease is lost before it is freed.
pub fn only_what_nobody_confirmed_is_taken_back(taken: &Taken<'_>) -> Verdict {
    let may_be_at_work = |lease: &&Lease| lease.state == LeaseState::Held && !lease.unconfirmed && !lease.has_begun;
    stays(taken, |lease| may_be_at_work(lease) && lease.failed.is_empty() && lease.lost_after_ms != Some(0))
}

/// These leases end by their own settle or a person's release only.
fn stays(taken: &Taken<'_>, which: impl Fn(&&Lease) -> bool) -> Verdict {
    let is_own = |lease: &Lease| match taken.request {
        Request::Settle(settle) => settle.holder == lease.holder,
        Request::Admin(_) => true,
        _ => false,
    };
    taken.before.leases.values().filter(which).try_for_each(|lease| {
        let is_there = taken.after.leases.contains_key(&lease.holder);
        hold(is_there || is_own(lease), || format!("the lease of {} ended by itself", lease.holder))
    })
}

/// Nobody begins when as many have failed as may; with `strict`, those in flight count as failed.
pub fn failures_stay_within_the_budget(taken: &Taken<'_>) -> Verdict {
    begun(taken).try_for_each(|lease| {
        let Purpose::Rollout(name) = &lease.purpose else { return Ok(()) };
        let rollout = taken.after.rollouts.get(name).ok_or("no such rollout")?;
        let failed = rollout.tally.failed.saturating_sub(rollout.forgiven);
        hold(failed < rollout.max_failures, || format!("{name} began another after {failed} failures"))?;
        let at_stake = failed + rollout.tally.begun;
        let is_safe = !rollout.strict || at_stake <= rollout.max_failures;
        hold(is_safe, || format!("{name} is strict, and {at_stake} may fail"))
    })
}

/// Whoever listens and is hindered no longer is among those who are told, and so need not wait until its call is over.
pub fn whoever_may_go_is_told(taken: &Taken<'_>) -> Verdict {
    let nudges = &taken.decision.nudges;
    let is_asker = |ticket: &Ticket| match taken.request {
        Request::Ask(ask) => ask.holder == ticket.holder,
        _ => false,
    };
    let may_go = |state: &State, ticket: &Ticket| hindrance(&state.view(), ticket, taken.now).is_none();
    let is_told = |ticket: &Ticket| {
        let own = [Some(Scope::All), Some(Scope::Host(ticket.holder.as_host()))].into_iter().flatten();
        let mut scopes = own.chain(ticket.purpose.service().cloned().map(Scope::Service));
        scopes.any(|scope| nudges.scopes.contains(&scope))
            || ticket
                .pools
                .iter()
                .any(|pool| nudges.pools.contains(pool) || nudges.scopes.contains(&Scope::Pool(pool.clone())))
    };
    let waiting = taken.after.tickets.values().filter(|ticket| listens(ticket, taken.now.time) && !is_asker(ticket));
    waiting.filter(|ticket| may_go(taken.after, ticket)).try_for_each(|ticket| {
        let could_before = taken.before.tickets.get(&ticket.holder).is_some_and(|old| may_go(taken.before, old));
        hold(could_before || is_told(ticket), || format!("{} may go, and is not told", ticket.holder))
    })
}
