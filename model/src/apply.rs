//! The one place where anything about leases and rollouts is decided: `apply(state, request, now) → decision`.
//!
//! Pure: the same state, request and time give the same decision, and nothing is changed until its changes are replayed.
//! One file per request. First what time alone has changed, then the request.

mod admin;
mod announce;
mod ask;
mod begin;
pub mod bounds;
mod due;
mod grant;
mod join;
mod load;
mod passage;
mod renew;
mod restored;
mod settle;

pub use grant::PASSES_MAX;
pub(crate) use grant::{HOLDERS_NAMED_MAX, hindrance, listens, place};

use crate::change::Change;
use crate::history::{Entry, EntryKind};
use crate::lease::{Lease, LeaseState, Purpose, Ticket};
use crate::member::Pause;
use crate::names::{Holder, Host, Pool, Scope, Token};
use crate::passage::Stage;
use crate::request::{Reply, Request};
use crate::rollout::{Halted, Rollout};
use crate::state::State;
use crate::time::{Now, Time, millis};
use crate::view::View;
use due::Due;
use std::collections::BTreeSet;

/// More grants than a store may lack, whatever became of it: far more than are made while a replica lags behind.
const TOKENS_LACKING_MAX: Token = 1_000_000;

/// Who does in the history what follows by itself.
pub(crate) const ITSELF: &str = "stagger";

/// What a request comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is answered, once the changes are kept.
    pub reply: Reply,
    /// What becomes different.
    pub changes: Vec<Change>,
    /// Who should ask again.
    pub nudges: Nudges,
}

/// Whom a decision may help: a hint, which may be lost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nudges {
    /// Pools in which the next in line may be granted now; [`State::next_in_line`] says who that is.
    pub pools: BTreeSet<Pool>,
    /// Everyone within these who waits, or listens for what it owes, should look again: a pause, a wait or a rollout changed.
    /// What concerns a rollout is told under its service, since a waiter for an older generation waits for the newest.
    pub scopes: BTreeSet<Scope>,
}

impl Nudges {
    /// Adds another's.
    pub fn merge(&mut self, other: Nudges) {
        self.pools.extend(other.pools);
        self.scopes.extend(other.scopes);
    }

    /// Everyone within a scope.
    pub(crate) fn all_in(&mut self, scope: &Scope) {
        self.scopes.insert(match scope {
            Scope::Rollout(name) => Scope::Service(name.service.clone()),
            other => other.clone(),
        });
    }
}

/// Decides a request; nothing is changed until the changes are replayed.
pub fn apply(state: &State, request: &Request, now: Now) -> Decision {
    let Some(first) = due::next(&state.view(), now) else {
        return decide(&state.view(), request, now);
    };
    let mut state = state.clone();
    let (mut changes, mut nudges) = (Vec::new(), Nudges::default());
    let mut due = Some(first);
    while let Some(step) = due {
        state.replay(&step.changes);
        changes.extend(step.changes);
        nudges.merge(step.nudges);
        due = due::next(&state.view(), now);
    }
    let decision = decide(&state.view(), request, now);
    changes.extend(decision.changes);
    nudges.merge(decision.nudges);
    Decision { reply: decision.reply, changes, nudges }
}

fn decide(view: &View<'_>, request: &Request, now: Now) -> Decision {
    let (from, request) = request.parts();
    let mut draft = Draft { from, ..Draft::new(view, now) };
    if !matches!(request, Request::Move(_))
        && let Some(shut) = view.shut()
    {
        return Decision { reply: Reply::Shut(shut), changes: Vec::new(), nudges: Nudges::default() };
    }
    let reply = match request {
        Request::Join(join) => Reply::Joined(Box::new(join::join(&mut draft, join))),
        Request::Quiet(quiet) => {
            join::quiet(&mut draft, quiet);
            Reply::Noted
        }
        Request::Ask(ask) => Reply::Asked(ask::ask(&mut draft, ask)),
        Request::Begin(begin) => Reply::Begun(begin::begin(&mut draft, begin)),
        Request::Renew(renew) => Reply::Owned(renew::renew(&mut draft, renew)),
        Request::Settle(settle) => Reply::Settled(settle::settle(&mut draft, settle)),
        Request::Admin(admin) => Reply::Did(admin::admin(&mut draft, admin)),
        Request::Load(load) => Reply::Did(load::load(&mut draft, load)),
        Request::Move(step) => Reply::Did(passage::step(&mut draft, step)),
        Request::Tick => {
            due::forget(&mut draft);
            Reply::Noted
        }
        // Its parts were taken out above.
        Request::From { .. } => Reply::Noted,
    };
    Decision { reply, changes: draft.changes, nudges: draft.nudges }
}

/// A decision in the making: what it reads, and what it has decided so far.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) view: &'a View<'a>,
    pub(crate) now: Now,
    pub(crate) changes: Vec<Change>,
    pub(crate) nudges: Nudges,
    next_entry: u64,
    /// From where it was asked for.
    from: Option<&'a str>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(view: &'a View<'a>, now: Now) -> Draft<'a> {
        let next_entry = view.next_entry();
        Draft { view, now, changes: Vec::new(), nudges: Nudges::default(), next_entry, from: None }
    }

    pub(crate) fn push(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Writes a line of history, to be found under each of these scopes; what is about a rollout also under its service. What
    /// follows by itself comes from nowhere.
    pub(crate) fn note(&mut self, by: &str, kind: EntryKind, mut scopes: Vec<Scope>, text: String) {
        let services = scopes.iter().filter_map(|scope| match scope {
            Scope::Rollout(name) => Some(Scope::Service(name.service.clone())),
            _ => None,
        });
        let services: Vec<Scope> = services.filter(|service| !scopes.contains(service)).collect();
        scopes.extend(services);
        let number = self.next_entry;
        self.next_entry += 1;
        let from = self.from.filter(|_| by != ITSELF).map(str::to_owned);
        self.push(Change::Noted(Entry { number, at: self.now.wall, by: by.to_owned(), from, kind, scopes, text }));
    }

    /// Drops a holder's ticket, when it has one.
    pub(crate) fn drop_ticket(&mut self, holder: &Holder) {
        if let Some(ticket) = self.view.ticket(holder) {
            self.push(Change::TicketDropped(holder.clone()));
            self.nudges.pools.extend(ticket.pools.clone());
        }
    }

    /// The holder of a failed or lost lease is back: what was asked for under its name meanwhile is refused.
    pub(crate) fn take_up_again(&mut self, lease: &mut Lease) {
        lease.state = LeaseState::Held;
        lease.since = self.now;
        if self.view.ticket(&lease.holder).is_some() {
            self.drop_ticket(&lease.holder);
            self.nudges.all_in(&Scope::Host(lease.holder.as_host()));
        }
    }

    /// A lease in these pools stands still from now on, or they have become full: a waiter that kept other pools for itself does
    /// so no longer, and whoever waits for those others is next.
    pub(crate) fn nudge_beside<'p>(&mut self, pools: impl Iterator<Item = &'p Pool>) {
        let view = self.view;
        self.nudges.pools.extend(pools.flat_map(|pool| view.queues_of(pool)).flat_map(|(set, _)| set).cloned());
    }

    /// A pause of this scope begins or ends: the clocks of those whom it stops are read beforehand, so that what they ran, or
    /// stood still, until now is not taken for the other. They are told, and so is whoever stands behind them.
    pub(crate) fn turn(&mut self, scope: &Scope) {
        let (view, counted) = (self.view, self.now.time);
        for ticket in stopped_by(view, scope) {
            let waited_ms = waited_ms(view, ticket, counted);
            self.push(Change::TicketHeard(Ticket { waited_ms, counted, ..ticket.clone() }));
            self.nudges.pools.extend(ticket.pools.clone());
        }
        self.nudges.all_in(scope);
    }

    /// Halts a rollout that still moves.
    pub(crate) fn halt(&mut self, mut rollout: Rollout, cause: String, host: Option<Host>) -> Rollout {
        if rollout.halted.is_some() || rollout.ended.is_some() {
            return rollout;
        }
        let scopes = [Some(Scope::Rollout(rollout.name.clone())), host.clone().map(Scope::Host)];
        self.note(
            ITSELF,
            EntryKind::Halted,
            scopes.into_iter().flatten().collect(),
            format!("{}: {cause}", rollout.name),
        );
        self.nudges.all_in(&Scope::Rollout(rollout.name.clone()));
        rollout.halted = Some(Halted { cause, host, at: self.now.wall });
        rollout
    }
}

/// Where a person would look for what became of a lease: its host, its pools, its rollout or service.
pub(crate) fn scopes_of(lease: &Lease) -> Vec<Scope> {
    let of = match &lease.purpose {
        Purpose::Rollout(name) => Some(Scope::Rollout(name.clone())),
        other => other.service().cloned().map(Scope::Service),
    };
    let pools = lease.pools.keys().cloned().map(Scope::Pool);
    std::iter::once(Scope::Host(lease.holder.as_host())).chain(pools).chain(of).collect()
}

/// The pause that stops this holder, when there is one.
pub(crate) fn pause_of<'a>(
    view: &View<'a>,
    holder: &Holder,
    pools: impl IntoIterator<Item = &'a Pool>,
    purpose: &Purpose,
) -> Option<&'a Pause> {
    pausing(holder, pools, purpose).iter().find_map(|scope| view.pause(scope))
}

/// The scopes whose pause stops this holder.
fn pausing<'a>(holder: &Holder, pools: impl IntoIterator<Item = &'a Pool>, purpose: &Purpose) -> Vec<Scope> {
    let mut scopes = vec![Scope::All, Scope::Host(holder.as_host())];
    scopes.extend(pools.into_iter().cloned().map(Scope::Pool));
    scopes.extend(purpose.service().cloned().map(Scope::Service));
    scopes.extend(purpose.rollout().cloned().map(Scope::Rollout));
    scopes
}

/// The pools that bear on a waiter: those that it asks for, and those that a failed host keeps beside them, since its grant would
/// cover both.
fn pools_of<'a>(view: &View<'a>, ticket: &'a Ticket) -> impl Iterator<Item = &'a Pool> {
    ticket.pools.iter().chain(view.lease(&ticket.holder).into_iter().flat_map(|lease| lease.pools.keys()))
}

/// The pause that stops this waiter, when there is one.
pub(crate) fn pause_of_waiter<'a>(view: &View<'a>, ticket: &'a Ticket) -> Option<&'a Pause> {
    pause_of(view, &ticket.holder, pools_of(view, ticket), &ticket.purpose)
}

/// The waiters whom a pause of this scope stops.
fn stopped_by<'a>(view: &View<'a>, scope: &Scope) -> impl Iterator<Item = &'a Ticket> {
    let scopes = move |ticket: &'a Ticket| pausing(&ticket.holder, pools_of(view, ticket), &ticket.purpose);
    view.tickets().filter(move |ticket| scopes(ticket).contains(scope))
}

/// How long a waiter has waited by now, pauses apart, in milliseconds.
pub(crate) fn waited_ms(view: &View<'_>, ticket: &Ticket, now: Time) -> u64 {
    let since_ms = if pause_of_waiter(view, ticket).is_some() { 0 } else { millis(now.since(ticket.counted)) };
    ticket.waited_ms.saturating_add(since_ms)
}

impl State {
    /// The changes with which a state that was loaded begins, when its coordinator starts again: its downtime is nobody's fault, so
    /// whoever held or listened does so from now on. None of them is durable. To be replayed before anything else is decided:
    /// what a store keeps of a renewal or a repeated ask is old, and would seem due.
    pub fn started_again(&self, now: Now) -> Vec<Change> {
        let view = self.view();
        // A domain that is shut opens with the clock of the moment in which it was closed.
        let time = view.passage().filter(|passage| !passage.stage.is_open()).map_or(now.time, |passage| passage.time);
        let mut draft = Draft::new(&view, Now { time, ..now });
        due::grace(&mut draft);
        draft.changes
    }

    /// The changes with which a state goes on that may lack what was written last: so that no token is granted which may have been
    /// granted already. Whoever decides has to wait beforehand until what it does not know of is over. None while records come in
    /// from another coordinator: the domain opens with that one's, all of them, or not at all.
    pub fn lacking(&self, now: Now) -> Vec<Change> {
        let view = self.view();
        if view.passage().is_some_and(|passage| passage.stage == Stage::Arriving) {
            return Vec::new();
        }
        let mut draft = Draft::new(&view, now);
        let floor = view.highest_token().saturating_add(TOKENS_LACKING_MAX);
        draft.push(Change::TokensRaised(floor));
        let text = format!(
            "what was written last may be gone: look at pauses, settings and rollouts; tokens go on above {floor}"
        );
        draft.note(ITSELF, EntryKind::Lacking, vec![Scope::All], text);
        draft.changes
    }

    /// The ticket of the waiter whose turn it is in these pools: its own `ask` would be granted. `None` when nobody's would.
    pub fn next_in_line(&self, pools: &BTreeSet<Pool>, now: Now) -> Option<&Ticket> {
        grant::next_in_line(&self.view(), pools, now)
    }

    /// The next moment at which time alone changes something, if any: then a [`Request::Tick`] is worth it.
    pub fn next_due(&self) -> Option<Time> {
        self.view().next_due()
    }

    /// One thing that has become due, decided; `None` when nothing is. [`apply`] does the same before its request, on a copy
    /// of the state: whoever owns the state carries these out one after the other, and needs none.
    pub fn overdue(&self, now: Now) -> Option<Decision> {
        let Due { changes, nudges } = due::next(&self.view(), now)?;
        Some(Decision { reply: Reply::Noted, changes, nudges })
    }
}
