//! Views: what a decision may look at, and cannot change.

use crate::change::{Key, Operation};
use crate::defaults::{Defaults, FromFile};
use crate::lease::{Lease, Ticket};
use crate::member::{Member, Pause};
use crate::names::{Holder, Host, Id, Pool, RolloutName, Scope, Service, Token};
use crate::passage::{Passage, Shut};
use crate::rollout::{Rollout, Target};
use crate::settings::{Override, PoolRules, ServiceRules, SettingKind};
use crate::state::{Names, Queue, State, Stored};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// A state as decisions see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    state: &'a State,
}

impl State {
    /// What decisions see of it.
    pub(crate) fn view(&self) -> View<'_> {
        View { state: self }
    }
}

impl<'a> View<'a> {
    /// A holder's lease.
    pub(crate) fn lease(&self, holder: &Holder) -> Option<&'a Lease> {
        self.state.leases.get(holder)
    }

    /// A holder's ticket.
    pub(crate) fn ticket(&self, holder: &Holder) -> Option<&'a Ticket> {
        self.state.tickets.get(holder)
    }

    /// Every lease.
    pub(crate) fn leases(&self) -> impl Iterator<Item = &'a Lease> + 'a {
        self.state.leases.values()
    }

    /// Every ticket.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = &'a Ticket> + 'a {
        self.state.tickets.values()
    }

    /// The leases that count in a pool.
    pub(crate) fn leases_in(&self, pool: &Pool) -> impl Iterator<Item = &'a Lease> + 'a {
        self.state.leases_in(pool)
    }

    /// How many leases count in a pool.
    pub(crate) fn count_in(&self, pool: &Pool) -> u32 {
        self.state.index.holders.get(pool).map_or(0, |holders| u32::try_from(holders.len()).unwrap_or(u32::MAX))
    }

    /// The pools that anybody waits for.
    pub(crate) fn wanted_pools(&self) -> impl Iterator<Item = &'a Pool> + 'a {
        self.state.index.wanted.keys()
    }

    /// How many wait for a pool.
    pub(crate) fn waiting_in(&self, pool: &Pool) -> usize {
        self.queues_of(pool).map(|(_, queue)| queue.all.len()).sum()
    }

    /// The queues of all sets that contain a pool.
    pub(crate) fn queues_of(&self, pool: &Pool) -> impl Iterator<Item = (&'a BTreeSet<Pool>, &'a Queue)> + 'a {
        let index = &self.state.index;
        index.wanted.get(pool).into_iter().flatten().filter_map(|set| Some((set, index.queues.get(set)?)))
    }

    /// The waiters for exactly this set.
    pub(crate) fn queue(&self, set: &BTreeSet<Pool>) -> Option<&'a Queue> {
        self.state.index.queues.get(set)
    }

    /// The slots of a pool.
    pub(crate) fn slots(&self, pool: &Pool) -> u32 {
        self.state.pool_rules(pool).slots.of(self.members_in(pool))
    }

    /// How many members a pool has.
    pub(crate) fn members_in(&self, pool: &Pool) -> usize {
        self.state.index.members.get(pool).map_or(0, BTreeSet::len)
    }

    /// The highest token that was ever granted in a pool, or may have been.
    pub(crate) fn token(&self, pool: &Pool) -> Token {
        self.state.tokens.get(pool).copied().unwrap_or(0).max(self.state.token_floor)
    }

    /// The highest token that was ever granted in any pool, or may have been.
    pub(crate) fn highest_token(&self) -> Token {
        self.state.tokens.values().copied().max().unwrap_or(0).max(self.state.token_floor)
    }

    /// What holds for a pool.
    pub(crate) fn pool_rules(&self, pool: &Pool) -> PoolRules {
        self.state.pool_rules(pool)
    }

    /// What holds for a service.
    pub(crate) fn service_rules(&self, service: &Service) -> ServiceRules {
        self.state.service_rules(service)
    }

    /// A host's member.
    pub(crate) fn member(&self, host: &Host) -> Option<&'a Member> {
        self.state.members.get(host)
    }

    /// Every member with a service.
    pub(crate) fn members_with<'s>(&'s self, service: &'s Service) -> impl Iterator<Item = &'a Member> + 's {
        self.state.members.values().filter(move |member| member.services.contains_key(service))
    }

    /// Every member.
    pub(crate) fn members(&self) -> impl Iterator<Item = &'a Member> + 'a {
        self.state.members.values()
    }

    /// The passage of the domain.
    pub(crate) fn passage(&self) -> Option<&'a Passage> {
        self.state.passage()
    }

    /// Why the domain decides nothing.
    pub(crate) fn shut(&self) -> Option<Shut> {
        self.state.shut()
    }

    /// Every record that goes along when the domain moves.
    pub(crate) fn luggage(&self) -> impl Iterator<Item = Stored> {
        self.state.luggage()
    }

    /// All pauses.
    pub(crate) fn pauses(&self) -> impl Iterator<Item = &'a Pause> + 'a {
        self.state.pauses.values()
    }

    /// The pause of exactly this scope.
    pub(crate) fn pause(&self, scope: &Scope) -> Option<&'a Pause> {
        self.state.pauses.get(scope)
    }

    /// One changed setting.
    pub(crate) fn setting(&self, scope: &Scope, kind: SettingKind) -> Option<&'a Override> {
        self.state.settings.get(&(scope.clone(), kind))
    }

    /// What the lock server's file says of a pool or a service.
    pub(crate) fn said_of(&self, scope: &Scope, kind: SettingKind) -> Option<&'a FromFile> {
        self.state.said_of(scope, kind)
    }

    /// What the lock server's file says.
    pub(crate) fn defaults(&self) -> &'a Defaults {
        &self.state.defaults
    }

    /// Whether there is nothing but what the lock server's file says.
    pub(crate) fn is_fresh(&self) -> bool {
        self.state.is_fresh()
    }

    /// What holds once this one is taken back, and where that comes from when nobody set it for good before.
    pub(crate) fn without(&self, was: &Override) -> String {
        self.state.without(was)
    }

    /// The newest rollout of a service.
    pub(crate) fn newest(&self, service: &Service) -> Option<&'a Rollout> {
        let generation = *self.state.generations.get(service)?;
        self.state.rollouts.get(&RolloutName { service: service.clone(), generation })
    }

    /// No token is granted that is not above this.
    pub(crate) fn token_floor(&self) -> u64 {
        self.state.token_floor
    }

    /// A service's newest generation, whether or not its record is still kept; 0 before the first.
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

    /// One target.
    pub(crate) fn target(&self, name: &RolloutName, host: &Host) -> Option<&'a Target> {
        self.state.targets.get(name)?.get(host)
    }

    /// All targets of a rollout of a service.
    pub(crate) fn targets(&self, name: &RolloutName) -> impl Iterator<Item = &'a Target> + 'a {
        self.state.targets.get(name).into_iter().flat_map(BTreeMap::values)
    }

    /// A person's change that was carried out before.
    pub(crate) fn operation(&self, id: &Id) -> Option<&'a Operation> {
        self.state.operations.get(id)
    }

    /// All operations.
    pub(crate) fn operations(&self) -> impl Iterator<Item = &'a Operation> + 'a {
        self.state.operations.values()
    }

    /// The first thing that has become due by now.
    pub(crate) fn due(&self, now: Time) -> Option<&'a Key> {
        self.next().filter(|(at, _)| *at <= now).map(|(_, key)| key)
    }

    /// When the next thing becomes due.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.next().map(|(at, _)| *at)
    }

    /// What becomes due next: nothing does while the domain is shut.
    fn next(&self) -> Option<&'a (Time, Key)> {
        self.state.index.due.first().filter(|_| self.state.shut().is_none())
    }

    /// The pools that anything names.
    pub(crate) fn known_pools(&self) -> &'a Names<Pool> {
        &self.state.index.pools
    }

    /// The services that anything names.
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
