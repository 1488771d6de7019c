//! What can be found without looking at every record.
//!
//! Derived: the state keeps it whenever a record is put in or taken out, and no store holds it. Decides nothing.

use crate::change::Key;
use crate::defaults::Defaults;
use crate::lease::{Lease, Ticket};
use crate::member::{Member, Pause};
use crate::names::{Holder, Host, Pool, Scope, Service};
use crate::rollout::Rollout;
use crate::settings::Override;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The indexes of a state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Index {
    /// Who has a lease in a pool.
    pub(crate) holders: BTreeMap<Pool, BTreeSet<Holder>>,
    /// The waiters for one set of pools.
    pub(crate) queues: BTreeMap<BTreeSet<Pool>, Queue>,
    /// The sets of pools that are waited for and contain this one.
    pub(crate) wanted: BTreeMap<Pool, BTreeSet<BTreeSet<Pool>>>,
    /// The members of a pool.
    pub(crate) members: BTreeMap<Pool, BTreeSet<Host>>,
    /// The pools that anything names.
    pub(crate) pools: Names<Pool>,
    /// The services that anything names.
    pub(crate) services: Names<Service>,
    /// How many tickets there are.
    pub(crate) tickets: usize,
    /// How many members there are.
    pub(crate) hosts: usize,
    /// What time alone changes, by when.
    pub(crate) due: BTreeSet<(Time, Key)>,
    /// Every ticket number in use, by waiters and (`true`) by holders who may give way.
    pub(crate) numbers: BTreeSet<(u64, Holder, bool)>,
}

/// The waiters for one set of pools, by number: the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Queue {
    /// All of them.
    pub(crate) all: BTreeMap<u64, Holder>,
    /// Those that are not silent.
    pub(crate) listening: BTreeMap<u64, Holder>,
    /// All their numbers in order, so that a place is found without counting.
    order: VecDeque<u64>,
}

impl Queue {
    /// How many have a smaller number.
    pub(crate) fn older(&self, number: u64) -> usize {
        self.order.partition_point(|other| *other < number)
    }

    fn add(&mut self, ticket: &Ticket) {
        self.order.insert(self.older(ticket.number), ticket.number);
        self.all.insert(ticket.number, ticket.holder.clone());
        if !ticket.silent {
            self.listening.insert(ticket.number, ticket.holder.clone());
        }
    }

    fn drop(&mut self, ticket: &Ticket) {
        if self.all.remove(&ticket.number).is_some() {
            self.order.remove(self.older(ticket.number));
        }
        self.listening.remove(&ticket.number);
    }
}

/// Names, each with how many records bear it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names<N>(BTreeMap<N, usize>);

impl<N> Default for Names<N> {
    fn default() -> Names<N> {
        Names(BTreeMap::new())
    }
}

impl<N: Ord + Clone> Names<N> {
    /// One more record bears it.
    pub(super) fn add(&mut self, name: &N) {
        match self.0.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                self.0.insert(name.clone(), 1);
            }
        }
    }

    /// One fewer does.
    pub(super) fn drop(&mut self, name: &N) {
        let Some(count) = self.0.get_mut(name) else { return };
        *count -= 1;
        if *count == 0 {
            self.0.remove(name);
        }
    }

    /// Those that any record bears.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &N> {
        self.0.keys()
    }

    /// Whether any record bears it.
    pub(crate) fn contains(&self, name: &N) -> bool {
        self.0.contains_key(name)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Index {
    pub(super) fn add_ticket(&mut self, ticket: &Ticket) {
        self.tickets += 1;
        ticket.pools.iter().for_each(|pool| self.pools.add(pool));
        self.numbers.insert((ticket.number, ticket.holder.clone(), false));
        self.due.insert((ticket.due(), Key::Ticket(ticket.holder.clone())));
        self.queues.entry(ticket.pools.clone()).or_default().add(ticket);
        for pool in &ticket.pools {
            self.wanted.entry(pool.clone()).or_default().insert(ticket.pools.clone());
        }
    }

    pub(super) fn drop_ticket(&mut self, ticket: &Ticket) {
        self.tickets -= 1;
        ticket.pools.iter().for_each(|pool| self.pools.drop(pool));
        self.numbers.remove(&(ticket.number, ticket.holder.clone(), false));
        self.due.remove(&(ticket.due(), Key::Ticket(ticket.holder.clone())));
        let Some(queue) = self.queues.get_mut(&ticket.pools) else { return };
        queue.drop(ticket);
        if !queue.all.is_empty() {
            return;
        }
        self.queues.remove(&ticket.pools);
        for pool in &ticket.pools {
            if let Some(sets) = self.wanted.get_mut(pool) {
                sets.remove(&ticket.pools);
                if sets.is_empty() {
                    self.wanted.remove(pool);
                }
            }
        }
    }

    pub(super) fn add_lease(&mut self, lease: &Lease) {
        self.due.extend(lease.due().map(|at| (at, Key::Lease(lease.holder.clone()))));
        self.numbers.insert((lease.ticket, lease.holder.clone(), true));
        for pool in lease.pools.keys() {
            self.holders.entry(pool.clone()).or_default().insert(lease.holder.clone());
        }
    }

    pub(super) fn drop_lease(&mut self, lease: &Lease) {
        self.forget_due(lease.due(), Key::Lease(lease.holder.clone()));
        self.numbers.remove(&(lease.ticket, lease.holder.clone(), true));
        for pool in lease.pools.keys() {
            if let Some(holders) = self.holders.get_mut(pool) {
                holders.remove(&lease.holder);
                if holders.is_empty() {
                    self.holders.remove(pool);
                }
            }
        }
    }

    pub(super) fn add_member(&mut self, member: &Member) {
        self.hosts += 1;
        member.services.keys().for_each(|service| self.services.add(service));
        member.pools().into_iter().for_each(|pool| self.pools.add(pool));
        for pool in member.pools() {
            self.members.entry(pool.clone()).or_default().insert(member.host.clone());
        }
    }

    pub(super) fn drop_member(&mut self, member: &Member) {
        self.hosts -= 1;
        member.services.keys().for_each(|service| self.services.drop(service));
        member.pools().into_iter().for_each(|pool| self.pools.drop(pool));
        for pool in member.pools() {
            if let Some(hosts) = self.members.get_mut(pool) {
                hosts.remove(&member.host);
                if hosts.is_empty() {
                    self.members.remove(pool);
                }
            }
        }
    }

    pub(super) fn add_pause(&mut self, pause: &Pause) {
        self.due.insert((pause.until, Key::Pause(pause.scope.clone())));
    }

    pub(super) fn drop_pause(&mut self, pause: &Pause) {
        self.due.remove(&(pause.until, Key::Pause(pause.scope.clone())));
    }

    pub(super) fn add_rollout(&mut self, rollout: &Rollout) {
        self.due.extend(rollout.due().map(|at| (at, Key::Rollout(rollout.name.clone()))));
    }

    pub(super) fn drop_rollout(&mut self, rollout: &Rollout) {
        self.forget_due(rollout.due(), Key::Rollout(rollout.name.clone()));
    }

    fn forget_due(&mut self, at: Option<Time>, key: Key) {
        if let Some(at) = at {
            self.due.remove(&(at, key));
        }
    }

    pub(super) fn add_defaults(&mut self, defaults: &Defaults) {
        defaults.named_pools().iter().for_each(|pool| self.pools.add(pool));
        defaults.services.keys().for_each(|service| self.services.add(service));
    }

    pub(super) fn drop_defaults(&mut self, defaults: &Defaults) {
        defaults.named_pools().iter().for_each(|pool| self.pools.drop(pool));
        defaults.services.keys().for_each(|service| self.services.drop(service));
    }

    pub(super) fn add_setting(&mut self, from: &Override) {
        self.due.extend(from.until.map(|at| (at, Key::Setting(from.scope.clone(), from.setting.kind()))));
        match &from.scope {
            Scope::Pool(pool) => self.pools.add(pool),
            Scope::Service(service) => self.services.add(service),
            _ => {}
        }
    }

    pub(super) fn drop_setting(&mut self, from: &Override) {
        self.forget_due(from.until, Key::Setting(from.scope.clone(), from.setting.kind()));
        match &from.scope {
            Scope::Pool(pool) => self.pools.drop(pool),
            Scope::Service(service) => self.services.drop(service),
            _ => {}
        }
    }
}
