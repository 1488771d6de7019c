//! What can be found without looking at every record.
//!
//! Derived: the state keeps it whenever a record is put in or taken out, and no store holds it. Decides nothing.

use crate::lease::{Lease, Ticket};
use crate::member::Member;
use crate::names::{Holder, Host, Pool, Scope, Service};
use crate::settings::Override;
use std::collections::{BTreeMap, BTreeSet};

/// The indexes of a state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Index {
    /// Who has a lease in a pool.
    pub(crate) holders: BTreeMap<Pool, BTreeSet<Holder>>,
    /// The waiters for one set of pools, oldest first.
    pub(crate) queues: BTreeMap<BTreeSet<Pool>, BTreeMap<u64, Holder>>,
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
    /// Every ticket number in use, by waiters and (`true`) by holders who may give way.
    pub(crate) numbers: BTreeSet<(u64, Holder, bool)>,
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
        self.queues.entry(ticket.pools.clone()).or_default().insert(ticket.number, ticket.holder.clone());
        for pool in &ticket.pools {
            self.wanted.entry(pool.clone()).or_default().insert(ticket.pools.clone());
        }
    }

    pub(super) fn drop_ticket(&mut self, ticket: &Ticket) {
        self.tickets -= 1;
        ticket.pools.iter().for_each(|pool| self.pools.drop(pool));
        self.numbers.remove(&(ticket.number, ticket.holder.clone(), false));
        let Some(queue) = self.queues.get_mut(&ticket.pools) else { return };
        queue.remove(&ticket.number);
        if !queue.is_empty() {
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
        self.numbers.insert((lease.ticket, lease.holder.clone(), true));
        for pool in lease.pools.keys() {
            self.holders.entry(pool.clone()).or_default().insert(lease.holder.clone());
        }
    }

    pub(super) fn drop_lease(&mut self, lease: &Lease) {
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

    pub(super) fn add_setting(&mut self, from: &Override) {
        match &from.scope {
            Scope::Pool(pool) => self.pools.add(pool),
            Scope::Service(service) => self.services.add(service),
            _ => {}
        }
    }

    pub(super) fn drop_setting(&mut self, from: &Override) {
        match &from.scope {
            Scope::Pool(pool) => self.pools.drop(pool),
            Scope::Service(service) => self.services.drop(service),
            _ => {}
        }
    }
}
