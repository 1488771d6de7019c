//! What a request reads, and the part of the state that this is.
//!
//! Called by whoever loads a state for a request, and by the tests, which hold that a part decides like the whole.

use super::View;
use crate::names::{Holder, Host, Id, Pool, RolloutName, Service};
use crate::request::{Act, Request};
use crate::rollout::Target;
use crate::state::{State, Stored};
use std::collections::{BTreeMap, BTreeSet};

/// What a request reads, beside the rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reads {
    /// Everything there is.
    pub everything: bool,
    /// Pools: their leases, tokens, members' number, and the tickets of all who want them.
    pub pools: BTreeSet<Pool>,
    /// Holders: their lease and ticket, and the pools of both.
    pub holders: BTreeSet<Holder>,
    /// Hosts: their member's record.
    pub hosts: BTreeSet<Host>,
    /// Services all of whose members and targets are read.
    pub services: BTreeSet<Service>,
    /// Single targets: of every rollout of these hosts.
    pub targets: BTreeSet<Host>,
    /// A person's change, to answer it as before.
    pub operation: Option<Id>,
}

impl Request {
    /// What must be loaded to decide it. [`State::restrict`] adds the pools that these lead to.
    pub fn reads(&self) -> Reads {
        let of = |holder: &Holder| Reads {
            holders: [holder.clone()].into(),
            targets: [holder.as_host()].into(),
            hosts: [holder.as_host()].into(),
            ..Reads::default()
        };
        match self {
            Request::Join(join) => {
                Reads { pools: join.highest.keys().cloned().collect(), ..of(&join.host.clone().into()) }
            }
            Request::Quiet(crate::request::Quiet::Waiter { holder, .. }) => of(holder),
            Request::Quiet(crate::request::Quiet::Member { host, .. }) => of(&host.clone().into()),
            Request::Ask(ask) => Reads { pools: ask.pools.clone(), ..of(&ask.holder) },
            Request::Begin(begin) => of(&begin.holder),
            Request::Renew(renew) => of(&renew.holder),
            Request::Settle(settle) => of(&settle.holder),
            Request::Tick | Request::Restarted => Reads { everything: true, ..Reads::default() },
            Request::Admin(admin) => {
                let reads = match &admin.act {
                    Act::Announce(announce) => {
                        Reads { services: [announce.service.clone()].into(), ..Reads::default() }
                    }
                    Act::Release { holder, .. } => of(holder),
                    Act::Abort { .. }
                    | Act::Pause { .. }
                    | Act::Resume { .. }
                    | Act::Set { .. }
                    | Act::Unset { .. } => Reads { everything: true, ..Reads::default() },
                };
                Reads { operation: Some(admin.operation.clone()), ..reads }
            }
        }
    }
}

impl State {
    /// Adds what the named things lead to, until nothing is added any more: the pools of a holder's lease and ticket, the
    /// pools that somebody wants together with one of these, all who want them, and the targets of all who hold them.
    pub fn expand(&self, mut reads: Reads) -> Reads {
        loop {
            let before = (reads.pools.len(), reads.holders.len(), reads.targets.len());
            for holder in &reads.holders {
                let lease = self.leases.get(holder).into_iter().flat_map(|lease| lease.pools.keys());
                let ticket = self.tickets.get(holder).into_iter().flat_map(|ticket| &ticket.pools);
                reads.pools.extend(lease.chain(ticket).cloned());
            }
            for pool in reads.pools.clone() {
                for set in self.index.wanted.get(&pool).into_iter().flatten() {
                    reads.pools.extend(set.iter().cloned());
                    let queue = self.index.queues.get(set);
                    reads.holders.extend(queue.into_iter().flat_map(|queue| queue.all.values()).cloned());
                }
                reads.targets.extend(self.leases_in(&pool).map(|lease| lease.holder.as_host()));
            }
            if before == (reads.pools.len(), reads.holders.len(), reads.targets.len()) {
                return reads;
            }
        }
    }

    /// The part of the state that (expanded) reads cover: what a store would load.
    pub fn restrict(&self, reads: &Reads) -> State {
        if reads.everything {
            return self.clone();
        }
        let view = View { state: self, reads: reads.clone() };
        let mut part = State::default();
        for pause in self.pauses.values() {
            part.put(Stored::Pause(pause.clone()));
        }
        for rollout in self.rollouts.values() {
            part.put(Stored::Rollout(Box::new(rollout.clone())));
        }
        for from in self.settings.values() {
            part.put(Stored::Setting(from.clone()));
        }
        for (service, generation) in &self.generations {
            part.put(Stored::Generation { service: service.clone(), generation: *generation });
        }
        for ticket in self.tickets.values().filter(|ticket| view.covers_ticket(ticket)) {
            part.put(Stored::Ticket(ticket.clone()));
        }
        for lease in self.leases.values().filter(|lease| view.covers_lease(lease)) {
            part.put(Stored::Lease(Box::new(lease.clone())));
        }
        for member in self.members.values().filter(|member| view.covers_member(member)) {
            part.put(Stored::Member(Box::new(member.clone())));
        }
        for (pool, token) in self.tokens.iter().filter(|(pool, _)| reads.pools.contains(pool)) {
            part.put(Stored::Token { pool: pool.clone(), token: *token });
        }
        part.targets = self
            .targets
            .iter()
            .map(|(name, hosts)| {
                let whole = reads.services.contains(&name.service);
                let covered = |host: &Host| whole || reads.targets.contains(host);
                (
                    name.clone(),
                    hosts.iter().filter(|(host, _)| covered(host)).map(|(h, t)| (h.clone(), t.clone())).collect(),
                )
            })
            .filter(|(_, hosts): &(RolloutName, BTreeMap<Host, Target>)| !hosts.is_empty())
            .collect();
        part.operations = reads
            .operation
            .iter()
            .filter_map(|id| self.operations.get(id).map(|op| (id.clone(), op.clone())))
            .collect();
        // Only their ends are read: what the next number is, and what is too old to be kept.
        part.history = self.history.last_key_value().map(|(n, e)| (*n, e.clone())).into_iter().collect();
        if let Some(last) = self.index.numbers.last() {
            part.index.numbers.insert(last.clone());
        }
        // What there is in all is known everywhere.
        (part.index.pools, part.index.services) = (self.index.pools.clone(), self.index.services.clone());
        (part.index.tickets, part.index.hosts) = (self.index.tickets, self.index.hosts);
        part
    }
}
