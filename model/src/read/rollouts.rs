//! The rollouts: where each stands, and what it waits for.

use super::pools::pause_row;
use super::{Blocked, FlightRow, ROWS_MAX, RolloutDetail, RolloutRow, Selection};
use crate::lease::{LeaseState, Purpose};
use crate::names::{Host, Pool, RolloutName, Scope, Service};
use crate::rollout::{Progress, Rollout, Target};
use crate::state::State;
use crate::time::{Now, millis};
use std::collections::{BTreeMap, BTreeSet};

impl State {
    /// The rollouts within a scope, newest announcement first.
    pub fn read_rollouts(&self, select: &Selection, now: Now) -> Vec<RolloutRow> {
        let about = |rollout: &Rollout| match &select.scope {
            None | Some(Scope::All) => true,
            Some(Scope::Service(service)) => rollout.name.service == *service,
            Some(Scope::Rollout(name)) => rollout.name == *name,
            Some(Scope::Host(host)) => self.targets.get(&rollout.name).is_some_and(|hosts| hosts.contains_key(host)),
            Some(Scope::Pool(pool)) => self
                .index
                .members
                .get(pool)
                .into_iter()
                .flatten()
                .any(|host| self.targets.get(&rollout.name).is_some_and(|hosts| hosts.contains_key(host))),
        };
        let mut rollouts: Vec<&Rollout> = self.rollouts.values().filter(|rollout| about(rollout)).collect();
        rollouts.sort_by_key(|rollout| std::cmp::Reverse((rollout.announced.time, rollout.name.clone())));
        rollouts.truncate(select.limit.unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX));
        rollouts.into_iter().map(|rollout| self.rollout_row(rollout, now)).collect()
    }

    /// The newest rollout of each service.
    pub fn read_newest_rollouts(&self, now: Now) -> Vec<RolloutRow> {
        let name =
            |(service, generation): (&Service, &u64)| RolloutName { service: service.clone(), generation: *generation };
        let newest = self.generations.iter().map(name).filter_map(|name| self.rollouts.get(&name));
        newest.map(|rollout| self.rollout_row(rollout, now)).collect()
    }

    /// One rollout with every host's report.
    pub fn read_rollout(&self, name: &RolloutName, now: Now) -> Option<RolloutDetail> {
        let row = self.rollout_row(self.rollouts.get(name)?, now);
        let mut targets: Vec<Target> = self.targets.get(name).into_iter().flat_map(BTreeMap::values).cloned().collect();
        let flies: BTreeSet<&Host> = row.in_flight.iter().map(|flight| &flight.host).collect();
        targets.sort_by_key(|target| {
            let is_first = target.progress == Progress::Failed;
            let is_in_flight = flies.contains(&target.host) && target.progress <= Progress::Begun;
            (std::cmp::Reverse((is_first, is_in_flight, target.progress)), target.host.clone())
        });
        Some(RolloutDetail { row, targets })
    }

    pub(crate) fn rollout_row(&self, rollout: &Rollout, now: Now) -> RolloutRow {
        let targets = self.targets.get(&rollout.name);
        let is_down = |host: &Host| self.members.get(host).is_none_or(|member| member.is_down(now.time));
        let owing = targets.into_iter().flat_map(BTreeMap::values).filter(|target| target.progress == Progress::Owes);
        let down: Vec<Host> = owing.filter(|target| is_down(&target.host)).map(|target| target.host.clone()).collect();
        let state = rollout.state(u32::try_from(down.len()).unwrap_or(u32::MAX));
        let keeps = |host: &&Host| {
            self.leases
                .get(&(*host).clone().into())
                .is_some_and(|lease| lease.failed.contains_key(&rollout.name.service))
        };
        let failed = targets.into_iter().flatten().filter(|(_, target)| target.progress == Progress::Failed);
        let kept = failed.map(|(host, _)| host).filter(keeps);
        let reports = targets.into_iter().flat_map(BTreeMap::values).filter_map(|target| target.report.as_ref());
        let last_report = reports.map(|report| report.at).max();
        let purpose = Purpose::Rollout(rollout.name.clone());
        let flying = self.leases.values().filter(|lease| lease.purpose == purpose && lease.state == LeaseState::Held);
        let in_flight = flying.map(|lease| FlightRow {
            host: lease.holder.as_host(),
            step: lease.step,
            note: lease.note.clone(),
            ms: millis(now.wall.since(lease.step_since.unwrap_or(lease.since.wall))),
        });
        RolloutRow {
            name: rollout.name.clone(),
            state,
            newest: self.generations.get(&rollout.name.service) == Some(&rollout.name.generation),
            message: rollout.message.clone(),
            by: rollout.by.clone(),
            announced: rollout.announced.wall,
            age_ms: millis(now.wall.since(rollout.announced.wall)),
            last_report_ms: last_report.map(|at| millis(at.since(rollout.announced.wall))),
            only: rollout.only.clone(),
            max_failures: rollout.max_failures,
            strict: rollout.strict,
            expires_ms: millis(rollout.expires.since(now.time)),
            ended: rollout.ended.clone(),
            halted: rollout.halted.clone(),
            tally: rollout.tally,
            in_flight: in_flight.collect(),
            down,
            kept: kept.cloned().collect(),
            pauses: (self.pauses.values())
                .filter(|pause| self.stops(&pause.scope, rollout))
                .map(|pause| pause_row(pause, now))
                .collect(),
            blocked: self.blocked(&purpose),
            exit_code: rollout.exit_code(state),
        }
    }

    /// Whether a pause of this scope stops a rollout, or a host that is still to restart for it.
    fn stops(&self, scope: &Scope, rollout: &Rollout) -> bool {
        let is_left = |host: &Host| {
            let target = self.targets.get(&rollout.name).and_then(|hosts| hosts.get(host));
            target.is_some_and(|target| matches!(target.progress, Progress::Owes | Progress::Begun))
        };
        let restarts_under = |host: &Host, pool: &Pool| {
            let pools = self.members.get(host).and_then(|member| member.services.get(&rollout.name.service));
            pools.is_some_and(|pools| pools.contains(pool))
        };
        match scope {
            Scope::All => true,
            Scope::Service(service) => *service == rollout.name.service,
            Scope::Rollout(name) => *name == rollout.name,
            Scope::Host(host) => is_left(host),
            Scope::Pool(pool) => {
                let hosts = self.index.members.get(pool).into_iter().flatten();
                hosts.into_iter().any(|host| restarts_under(host, pool) && is_left(host))
            }
        }
    }

    /// The pools full of leases that do not move by themselves and that hosts of this purpose wait for.
    fn blocked(&self, purpose: &Purpose) -> Vec<Blocked> {
        let mut waiting: BTreeMap<&Pool, u32> = BTreeMap::new();
        for ticket in self.tickets.values().filter(|ticket| ticket.purpose == *purpose) {
            for pool in &ticket.pools {
                *waiting.entry(pool).or_default() += 1;
            }
        }
        let view = self.view();
        let blocked =
            waiting.into_iter().filter(|(pool, _)| view.count_in(pool) >= view.slots(pool)).map(|(pool, waiting)| {
                let kept = self.leases_in(pool).filter(|lease| lease.state != LeaseState::Held);
                let keepers = kept.map(|lease| (lease.holder.clone(), lease.state)).collect();
                Blocked { pool: pool.clone(), waiting, keepers, slots: view.slots(pool) }
            });
        blocked.filter(|blocked| !blocked.keepers.is_empty()).collect()
    }
}
