//! The leases, and the queue behind them.

use super::{LeaseRow, Leases, ROWS_MAX, Selection, WaiterRow};
use crate::lease::{Lease, LeaseState, Purpose, Ticket};
use crate::names::{Holder, Pool, Scope};
use crate::state::State;
use crate::time::{Now, millis};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

impl State {
    /// The leases and the queue within a scope.
    pub fn read_leases(&self, select: &Selection, now: Now) -> Leases {
        let limit = select.limit.unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX);
        let scope = select.scope.as_ref().unwrap_or(&Scope::All);
        let about = |holder: &Holder, is_in: &dyn Fn(&Pool) -> bool, purpose: &Purpose| match scope {
            Scope::All => true,
            Scope::Host(host) => holder.as_host() == *host,
            Scope::Pool(pool) => is_in(pool),
            Scope::Service(service) => purpose.service() == Some(service),
            Scope::Rollout(name) => *purpose == Purpose::Rollout(name.clone()),
        };
        let mut leases: Vec<LeaseRow> = (self.leases.values())
            .filter(|lease| about(&lease.holder, &|pool| lease.pools.contains_key(pool), &lease.purpose))
            .map(|lease| self.lease_row(lease, now))
            .collect();
        leases.sort_by_key(|row| {
            (std::cmp::Reverse(row.lease.state), std::cmp::Reverse(row.age_ms), row.lease.holder.clone())
        });
        let mut waiting: Vec<&Ticket> = (self.tickets.values())
            .filter(|ticket| about(&ticket.holder, &|pool| ticket.pools.contains(pool), &ticket.purpose))
            .collect();
        waiting.sort_by_key(|ticket| ticket.number);
        let cut = leases.len() > limit || waiting.len() > limit;
        leases.truncate(limit);
        let queue: Vec<_> = waiting.into_iter().take(limit).map(|ticket| self.waiter_row(ticket, now)).collect();
        let mut pools: BTreeSet<&Pool> = leases.iter().flat_map(|row| row.lease.pools.keys()).collect();
        pools.extend(queue.iter().flat_map(|row| &row.pools));
        if let Scope::Pool(pool) = scope {
            pools.insert(pool);
        }
        let pools = pools.into_iter().map(|pool| self.pool_row(pool, now)).collect();
        Leases { leases, queue, pools, cut }
    }

    /// The age of the oldest lease of each pool in each state, in milliseconds.
    pub fn read_oldest(&self, now: Now) -> BTreeMap<(&Pool, LeaseState), u64> {
        let mut oldest = BTreeMap::new();
        for lease in self.leases.values() {
            let age = millis(now.wall.since(lease.granted.wall));
            for pool in lease.pools.keys() {
                let known = oldest.entry((pool, lease.state)).or_insert(age);
                *known = age.max(*known);
            }
        }
        oldest
    }

    fn lease_row(&self, lease: &Lease, now: Now) -> LeaseRow {
        let lost_for = now.time.since(lease.since.time);
        let counts = |ms| millis(Duration::from_millis(ms).saturating_sub(lost_for));
        LeaseRow {
            stuck: lease.is_stuck(),
            age_ms: millis(now.wall.since(lease.granted.wall)),
            state_ms: millis(now.wall.since(lease.since.wall)),
            counts_ms: lease.lost_after_ms.filter(|_| lease.state == LeaseState::Lost).map(counts),
            lease: lease.clone(),
        }
    }

    fn waiter_row(&self, ticket: &Ticket, now: Now) -> WaiterRow {
        let view = self.view();
        let waited_ms = crate::apply::waited_ms(&view, ticket, now.time);
        WaiterRow {
            holder: ticket.holder.clone(),
            number: ticket.number,
            place: crate::apply::place(&view, ticket),
            waited_ms,
            left_ms: ticket.wait_ms.saturating_sub(waited_ms),
            pools: ticket.pools.clone(),
            purpose: ticket.purpose.clone(),
            listens: crate::apply::listens(ticket, now.time),
            why: crate::apply::hindrance(&view, ticket, now),
        }
    }
}
