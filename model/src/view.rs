//! Views: the part of the state that a request touches.
//!
//! A partly loaded state must not read as empty, for then unknown would be no. So a view yields only what was declared
//! in [`Reads`]; asking for more is a bug, and panics in tests. Settings, pauses, generations and rollouts (their
//! targets apart) are the domain's rules: small, and in every view.

mod part;

pub use part::Reads;

use crate::change::{Key, Operation};
use crate::lease::{Lease, Ticket};
use crate::member::{Member, Pause};
use crate::names::{Holder, Host, Id, Pool, RolloutName, Service, Token};
use crate::rollout::{Rollout, Target};
use crate::settings::{PoolRules, ServiceRules};
use crate::state::{Names, Queue, State};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// The part of a state that a request may look at.
#[derive(Debug, Clone)]
pub struct View<'a> {
    state: &'a State,
    reads: Reads,
}

impl State {
    /// A view of everything.
    pub fn view(&self) -> View<'_> {
        View { state: self, reads: Reads { everything: true, ..Reads::default() } }
    }
}

impl<'a> View<'a> {
    /// A view of a state that was loaded for these (expanded) reads.
    pub fn of(state: &'a State, reads: Reads) -> View<'a> {
        View { state, reads }
    }

    /// What it covers.
    pub fn reads(&self) -> &Reads {
        &self.reads
    }

    /// A copy of the state behind it.
    pub(crate) fn to_state(&self) -> State {
        self.state.clone()
    }

    fn covers_pool(&self, pool: &Pool) -> bool {
        self.reads.everything || self.reads.pools.contains(pool)
    }

    fn covers_lease(&self, lease: &Lease) -> bool {
        self.reads.everything
            || self.reads.holders.contains(&lease.holder)
            || lease.pools.keys().any(|pool| self.reads.pools.contains(pool))
    }

    /// Whoever wants a covered pool is among the expanded reads' holders.
    fn covers_ticket(&self, ticket: &Ticket) -> bool {
        self.reads.everything || self.reads.holders.contains(&ticket.holder)
    }

    fn covers_member(&self, member: &Member) -> bool {
        self.reads.everything
            || self.reads.hosts.contains(&member.host)
            || member.services.keys().any(|service| self.reads.services.contains(service))
            || member.pools().into_iter().any(|pool| self.reads.pools.contains(pool))
    }

    fn covers_service(&self, service: &Service) -> bool {
        self.reads.everything || self.reads.services.contains(service)
    }

    /// A named holder's lease.
    pub(crate) fn lease(&self, holder: &Holder) -> Option<&'a Lease> {
        let lease = self.state.leases.get(holder);
        debug_assert!(
            self.reads.everything || self.reads.holders.contains(holder),
            "the lease of {holder} was not declared to be read"
        );
        lease
    }

    /// The lease of a holder found in a covered pool.
    pub(crate) fn held(&self, holder: &Holder) -> Option<&'a Lease> {
        self.state.leases.get(holder)
    }

    /// A named holder's ticket.
    pub(crate) fn ticket(&self, holder: &Holder) -> Option<&'a Ticket> {
        debug_assert!(
            self.reads.everything || self.reads.holders.contains(holder),
            "the ticket of {holder} was not declared to be read"
        );
        self.state.tickets.get(holder)
    }

    /// Every covered lease.
    pub(crate) fn leases(&self) -> impl Iterator<Item = &'a Lease> + '_ {
        self.state.leases.values().filter(|lease| self.covers_lease(lease))
    }

    /// Every covered ticket.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = &'a Ticket> + '_ {
        self.state.tickets.values().filter(|ticket| self.covers_ticket(ticket))
    }

    /// The leases that count in a covered pool.
    pub(crate) fn leases_in(&self, pool: &Pool) -> impl Iterator<Item = &'a Lease> + 'a {
        debug_assert!(self.covers_pool(pool), "the leases in {pool} were not declared to be read");
        self.state.leases_in(pool)
    }

    /// How many leases count in a covered pool.
    pub(crate) fn count_in(&self, pool: &Pool) -> u32 {
        debug_assert!(self.covers_pool(pool), "the leases in {pool} were not declared to be read");
        self.state.index.holders.get(pool).map_or(0, |holders| u32::try_from(holders.len()).unwrap_or(u32::MAX))
    }

    /// The pools that anybody waits for. For views of everything.
    pub(crate) fn wanted_pools(&self) -> impl Iterator<Item = &'a Pool> + 'a {
        debug_assert!(self.reads.everything, "not every queue was declared to be read");
        self.state.index.wanted.keys()
    }

    /// How many wait for a covered pool.
    pub(crate) fn waiting_in(&self, pool: &Pool) -> usize {
        self.queues_of(pool).map(|(_, queue)| queue.all.len()).sum()
    }

    /// The queues of all sets that contain a covered pool.
    pub(crate) fn queues_of(&self, pool: &Pool) -> impl Iterator<Item = (&'a BTreeSet<Pool>, &'a Queue)> + 'a {
        debug_assert!(self.covers_pool(pool), "the queue of {pool} was not declared to be read");
        let index = &self.state.index;
        index.wanted.get(pool).into_iter().flatten().filter_map(|set| Some((set, index.queues.get(set)?)))
    }

    /// The ticket of a waiter found in a queue.
    pub(crate) fn queued(&self, holder: &Holder) -> Option<&'a Ticket> {
        self.state.tickets.get(holder)
    }

    /// The waiters for exactly this set.
    pub(crate) fn queue(&self, set: &BTreeSet<Pool>) -> Option<&'a Queue> {
        debug_assert!(set.iter().all(|pool| self.covers_pool(pool)), "a queue was not declared to be read");
        self.state.index.queues.get(set)
    }

    /// The slots of a covered pool.
    pub(crate) fn slots(&self, pool: &Pool) -> u32 {
        self.state.pool_rules(pool).slots.of(self.members_in(pool))
    }

    /// How many members a covered pool has.
    pub(crate) fn members_in(&self, pool: &Pool) -> usize {
        debug_assert!(self.covers_pool(pool), "the members of {pool} were not declared to be read");
        self.state.index.members.get(pool).map_or(0, BTreeSet::len)
    }

    /// The highest token ever granted in a covered pool.
    pub(crate) fn token(&self, pool: &Pool) -> Token {
        debug_assert!(self.covers_pool(pool), "the token of {pool} was not declared to be read");
        self.state.tokens.get(pool).copied().unwrap_or(0)
    }

    /// What holds for a pool.
    pub(crate) fn pool_rules(&self, pool: &Pool) -> PoolRules {
        self.state.pool_rules(pool)
    }

    /// What holds for a service.
    pub(crate) fn service_rules(&self, service: &Service) -> ServiceRules {
        self.state.service_rules(service)
    }

    /// A named host's member.
    pub(crate) fn member(&self, host: &Host) -> Option<&'a Member> {
        debug_assert!(
            self.reads.everything || self.reads.hosts.contains(host) || self.state.members.contains_key(host),
            "the member {host} was not declared to be read"
        );
        self.state.members.get(host)
    }

    /// Every member with a covered service.
    pub(crate) fn members_with<'s>(&'s self, service: &'s Service) -> impl Iterator<Item = &'a Member> + 's {
        debug_assert!(self.covers_service(service), "the members with {service} were not declared to be read");
        self.state.members.values().filter(move |member| member.services.contains_key(service))
    }

    /// Every covered member.
    pub(crate) fn members(&self) -> impl Iterator<Item = &'a Member> + '_ {
        self.state.members.values().filter(|member| self.covers_member(member))
    }

    /// All pauses.
    pub(crate) fn pauses(&self) -> impl Iterator<Item = &'a Pause> + 'a {
        self.state.pauses.values()
    }

    /// The pause of exactly this scope.
    pub(crate) fn pause(&self, scope: &crate::names::Scope) -> Option<&'a Pause> {
        self.state.pauses.get(scope)
    }

    /// One changed setting.
    pub(crate) fn setting(
        &self,
        scope: &crate::names::Scope,
        kind: crate::settings::SettingKind,
    ) -> Option<&'a crate::settings::Override> {
        self.state.settings.get(&(scope.clone(), kind))
    }

    /// The newest rollout of a service.
    pub(crate) fn newest(&self, service: &Service) -> Option<&'a Rollout> {
        let generation = *self.state.generations.get(service)?;
        self.state.rollouts.get(&RolloutName { service: service.clone(), generation })
    }

    /// A service's newest generation, whether or not its record is still kept.
    pub(crate) fn generation(&self, service: &Service) -> u64 {
        self.state.generations.get(service).copied().unwrap_or(0)
    }

    /// One rollout.
    pub(crate) fn rollout(&self, name: &RolloutName) -> Option<&'a Rollout> {
        self.state.rollouts.get(name)
    }

    /// All rollouts.
    pub(crate) fn rollouts(&self) -> impl Iterator<Item = &'a Rollout> + 'a {
        self.state.rollouts.values()
    }

    /// One covered target.
    pub(crate) fn target(&self, name: &RolloutName, host: &Host) -> Option<&'a Target> {
        debug_assert!(
            self.reads.targets.contains(host) || self.covers_service(&name.service),
            "the target {host} of {name} was not declared to be read"
        );
        self.state.targets.get(name)?.get(host)
    }

    /// All targets of a rollout of a covered service.
    pub(crate) fn targets(&self, name: &RolloutName) -> impl Iterator<Item = &'a Target> + 'a {
        debug_assert!(self.covers_service(&name.service), "the targets of {name} were not declared to be read");
        self.state.targets.get(name).into_iter().flat_map(BTreeMap::values)
    }

    /// A person's change that was carried out before.
    pub(crate) fn operation(&self, id: &Id) -> Option<&'a Operation> {
        debug_assert!(
            self.reads.everything || self.reads.operation.as_ref() == Some(id),
            "the operation {id} was not declared to be read"
        );
        self.state.operations.get(id)
    }

    /// All covered operations.
    pub(crate) fn operations(&self) -> impl Iterator<Item = &'a Operation> + 'a {
        self.state.operations.values()
    }

    /// The first thing covered that has become due by now.
    pub(crate) fn due(&self, now: Time) -> Option<&'a Key> {
        let due = self.state.index.due.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| key);
        due.into_iter().find(|key| match key {
            // All that a lease's end may touch must be there.
            Key::Lease(holder) => {
                let lease = self.state.leases.get(holder);
                lease.is_some_and(|lease| lease.pools.keys().all(|pool| self.covers_pool(pool)))
            }
            Key::Ticket(holder) => self.state.tickets.get(holder).is_some_and(|ticket| self.covers_ticket(ticket)),
            _ => true,
        })
    }

    /// When the next thing becomes due, covered or not.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.state.index.due.first().map(|(at, _)| *at)
    }

    /// The pools that anything names, covered or not.
    pub(crate) fn known_pools(&self) -> &'a Names<Pool> {
        &self.state.index.pools
    }

    /// The services that anything names, covered or not.
    pub(crate) fn known_services(&self) -> &'a Names<Service> {
        &self.state.index.services
    }

    /// How many wait in all.
    pub(crate) fn waiting(&self) -> usize {
        self.state.index.tickets
    }

    /// How many members there are in all.
    pub(crate) fn hosts(&self) -> usize {
        self.state.index.hosts
    }

    /// The oldest entries of the history, when it is longer than it may be.
    pub(crate) fn entries_too_many(&self, max: usize) -> Vec<u64> {
        let over = self.state.history.len().saturating_sub(max);
        self.state.history.keys().take(over).copied().collect()
    }

    /// The number of the next history entry.
    pub(crate) fn next_entry(&self) -> u64 {
        self.state.history.last_key_value().map_or(1, |(number, _)| number + 1)
    }

    /// The highest ticket number in use.
    pub(crate) fn last_number(&self) -> u64 {
        self.state.index.numbers.last().map_or(0, |(number, ..)| *number)
    }
}
