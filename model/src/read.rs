//! What can be looked at: rows for people and programs, computed from the state. Changes nothing.
//!
//! Ages are durations before now, so that nobody compares clocks. Lists are paged: at most [`ROWS_MAX`] rows each.

use crate::apply::pause_of;
use crate::history::Entry;
use crate::lease::{Lease, LeaseState, Purpose, Ticket};
use crate::member::{Member, Pause, Sighting};
use crate::names::{Holder, Host, Pool, RolloutName, Scope, Service, Token};
use crate::request::Refusal;
use crate::rollout::{Ended, Halted, Progress, Rollout, RolloutState, Tally, Target};
use crate::sequence::Step;
use crate::settings::{Override, PoolRules};
use crate::state::State;
use crate::time::{Now, Wall, millis};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Most rows of one answer.
pub const ROWS_MAX: usize = 1000;

/// A part of a list, and where the next part begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// What to give as `after` for the rest; nothing when this is the end.
    pub next: Option<String>,
}

/// Which part of a list, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Selection {
    /// Only what is about this; everything when not said.
    pub scope: Option<Scope>,
    /// The row to begin behind: a page's `next`.
    pub after: Option<String>,
    /// How many rows at most; [`ROWS_MAX`] when not said.
    pub limit: Option<usize>,
}

/// A lease, to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    /// The record.
    #[serde(flatten)]
    pub lease: Lease,
    /// Whether a person is needed.
    pub stuck: bool,
    /// Since when it is granted, in milliseconds before now.
    pub age_ms: u64,
    /// Since when it stands as it does, in milliseconds before now.
    pub state_ms: u64,
    /// For how much longer a lost one counts, in milliseconds.
    pub counts_ms: Option<u64>,
}

/// A waiter, to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaiterRow {
    /// Who.
    pub holder: Holder,
    /// The ticket's number: smaller is older.
    pub number: u64,
    /// The place among those who want the same pools, from 1.
    pub place: u32,
    /// For how long, in milliseconds.
    pub waited_ms: u64,
    /// For how much longer at most, in milliseconds.
    pub left_ms: u64,
    /// For which pools.
    pub pools: BTreeSet<Pool>,
    /// What for.
    pub purpose: Purpose,
    /// Whether it listens; a silent one loses its turn.
    pub listens: bool,
    /// Why it is not granted; nothing when its next ask will be.
    pub why: Option<Refusal>,
}

/// A pool, to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRow {
    /// Which.
    pub pool: Pool,
    /// How many leases may exist at once.
    pub slots: u32,
    /// What holds for it.
    pub rules: PoolRules,
    /// What was changed for it.
    pub overrides: Vec<Override>,
    /// The highest token granted.
    pub token: Token,
    /// Leases held.
    pub held: u32,
    /// Leases of failed hosts.
    pub failed: u32,
    /// Leases of lost holders.
    pub lost: u32,
    /// How many wait.
    pub waiting: u32,
    /// Its members, and how many of them are down.
    pub members: u32,
    /// Members that are down.
    pub down: u32,
    /// The pauses that stop it: its own, or everything's.
    pub pauses: Vec<PauseRow>,
}

/// A pause, to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseRow {
    /// What stands still.
    pub scope: Scope,
    /// Who paused it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when, in milliseconds before now.
    pub since_ms: u64,
    /// For how much longer, in milliseconds.
    pub left_ms: u64,
}

/// A member, to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRow {
    /// Its host.
    pub host: Host,
    /// Whether it is down.
    pub down: bool,
    /// When it was last heard of, in milliseconds before now.
    pub heard_ms: u64,
    /// The worker's version.
    pub version: String,
    /// Its services and their pools.
    pub services: BTreeMap<Service, BTreeSet<Pool>>,
    /// Where its metrics are.
    pub metrics: Option<String>,
    /// What it last saw of itself at its balancers.
    pub sightings: Vec<Sighting>,
    /// Why it can restart nothing until somebody helps; empty when it can.
    #[serde(default)]
    pub trouble: String,
    /// How its lease stands, when it has one.
    pub lease: Option<LeaseState>,
}

/// A rollout, to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutRow {
    /// Which.
    pub name: RolloutName,
    /// Where it stands.
    pub state: RolloutState,
    /// Whether it is the newest of its service.
    pub newest: bool,
    /// What is deployed.
    pub message: String,
    /// Who announced it.
    pub by: String,
    /// When.
    pub announced: Wall,
    /// How long ago that was, in milliseconds.
    pub age_ms: u64,
    /// When its last report came, in milliseconds after it was announced; nothing before the first.
    pub last_report_ms: Option<u64>,
    /// The part of the fleet that it is for; everything when empty.
    pub only: Vec<Scope>,
    /// How many failed hosts halt it.
    pub max_failures: u32,
    /// Whether it counts hosts in flight as failed.
    pub strict: bool,
    /// For how much longer it is owed, in milliseconds.
    pub expires_ms: u64,
    /// Who ended it.
    pub ended: Option<Ended>,
    /// What halted it.
    pub halted: Option<Halted>,
    /// Its targets, counted.
    pub tally: Tally,
    /// The hosts in flight, with their step.
    pub in_flight: Vec<FlightRow>,
    /// The targets that owe it and are down.
    pub down: Vec<Host>,
    /// The pauses that stop it.
    pub pauses: Vec<PauseRow>,
    /// The full pools that its hosts wait for.
    pub blocked: Vec<Blocked>,
    /// The exit code of whoever follows it, when it ended now.
    pub exit_code: u8,
}

/// A host in flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlightRow {
    /// Which.
    pub host: Host,
    /// At which step.
    pub step: Option<Step>,
    /// What it says about it.
    pub note: String,
    /// For how long it has its lease, in milliseconds.
    pub ms: u64,
}

/// A pool that keeps hosts waiting with leases that do not move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// Which.
    pub pool: Pool,
    /// How many wait for it.
    pub waiting: u32,
    /// Who keeps slots of it, failed or lost.
    pub keepers: BTreeMap<Holder, LeaseState>,
    /// How many slots it has.
    pub slots: u32,
}

/// A rollout with every host's report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutDetail {
    /// The rollout.
    pub row: RolloutRow,
    /// Its targets, the failed ones first.
    pub targets: Vec<Target>,
}

/// Everything that a look at the leases shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leases {
    /// Holders: lost and failed ones first, then by age.
    pub leases: Vec<LeaseRow>,
    /// Waiters, oldest first.
    pub queue: Vec<WaiterRow>,
    /// The pools that these have or want.
    pub pools: Vec<PoolRow>,
    /// Whether there are more than are shown.
    pub cut: bool,
}

fn page<T>(rows: impl Iterator<Item = (String, T)>, select: &Selection) -> Page<T> {
    let limit = select.limit.unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX);
    let mut rows = rows.skip_while(|(key, _)| select.after.as_ref().is_some_and(|after| key <= after));
    let mut page = Page { rows: Vec::new(), next: None };
    let mut last = None;
    for (key, row) in rows.by_ref().take(limit) {
        page.rows.push(row);
        last = Some(key);
    }
    if rows.next().is_some() {
        page.next = last;
    }
    page
}

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
        let paused = pause_of(&view, &ticket.holder, &ticket.pools, &ticket.purpose).is_some();
        let since_ms = if paused { 0 } else { millis(now.time.since(ticket.counted)) };
        let waited_ms = ticket.waited_ms.saturating_add(since_ms);
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

    /// The pools within a scope.
    pub fn read_pools(&self, select: &Selection, now: Now) -> Page<PoolRow> {
        let names = &self.index.pools;
        let about = |pool: &Pool| match &select.scope {
            None | Some(Scope::All) => true,
            Some(Scope::Pool(name)) => pool == name,
            Some(Scope::Host(host)) => {
                let member = self.members.get(host).is_some_and(|member| member.pools().contains(pool));
                member || self.leases.get(&host.clone().into()).is_some_and(|lease| lease.pools.contains_key(pool))
            }
            Some(Scope::Service(service)) => self
                .members
                .values()
                .any(|member| member.services.get(service).is_some_and(|pools| pools.contains(pool))),
            Some(Scope::Rollout(name)) => self
                .members
                .values()
                .any(|member| member.services.get(&name.service).is_some_and(|pools| pools.contains(pool))),
        };
        page(names.iter().filter(|pool| about(pool)).map(|pool| (pool.to_string(), self.pool_row(pool, now))), select)
    }

    pub(crate) fn pool_row(&self, pool: &Pool, now: Now) -> PoolRow {
        let view = self.view();
        let count = |state| {
            u32::try_from(self.leases_in(pool).filter(|lease| lease.state == state).count()).unwrap_or(u32::MAX)
        };
        let hosts = self.index.members.get(pool).into_iter().flatten();
        let down = hosts.filter(|host| self.members.get(*host).is_some_and(|member| member.is_down(now.time))).count();
        let pauses = [Scope::All, Scope::Pool(pool.clone())];
        PoolRow {
            pool: pool.clone(),
            slots: view.slots(pool),
            rules: self.pool_rules(pool),
            overrides: self.overrides(&Scope::Pool(pool.clone())).cloned().collect(),
            token: view.token(pool),
            held: count(LeaseState::Held),
            failed: count(LeaseState::Failed),
            lost: count(LeaseState::Lost),
            waiting: u32::try_from(view.waiting_in(pool)).unwrap_or(u32::MAX),
            members: u32::try_from(view.members_in(pool)).unwrap_or(u32::MAX),
            down: u32::try_from(down).unwrap_or(u32::MAX),
            pauses: pauses
                .iter()
                .filter_map(|scope| self.pauses.get(scope))
                .map(|pause| pause_row(pause, now))
                .collect(),
        }
    }

    /// Every pause.
    pub fn read_pauses(&self, now: Now) -> Vec<PauseRow> {
        self.pauses.values().map(|pause| pause_row(pause, now)).collect()
    }

    /// The members within a scope.
    pub fn read_members(&self, select: &Selection, now: Now) -> Page<MemberRow> {
        let about = |member: &Member| match &select.scope {
            None | Some(Scope::All) => true,
            Some(Scope::Host(host)) => member.host == *host,
            Some(Scope::Service(service)) => member.services.contains_key(service),
            Some(Scope::Pool(pool)) => member.pools().contains(pool),
            Some(Scope::Rollout(name)) => self.targets.get(name).is_some_and(|hosts| hosts.contains_key(&member.host)),
        };
        let row = |member: &Member| MemberRow {
            host: member.host.clone(),
            down: member.is_down(now.time),
            heard_ms: millis(now.wall.since(member.heard.wall)),
            version: member.version.clone(),
            services: member.services.clone(),
            metrics: member.metrics.clone(),
            sightings: member.sightings.clone(),
            trouble: member.trouble.clone(),
            lease: self.leases.get(&member.host.clone().into()).map(|lease| lease.state),
        };
        let rows =
            self.members.values().filter(|member| about(member)).map(|member| (member.host.to_string(), row(member)));
        page(rows, select)
    }

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
        targets.sort_by_key(|target| (std::cmp::Reverse(target.progress), target.host.clone()));
        Some(RolloutDetail { row, targets })
    }

    pub(crate) fn rollout_row(&self, rollout: &Rollout, now: Now) -> RolloutRow {
        let targets = self.targets.get(&rollout.name);
        let is_down = |host: &Host| self.members.get(host).is_none_or(|member| member.is_down(now.time));
        let owing = targets.into_iter().flat_map(BTreeMap::values).filter(|target| target.progress == Progress::Owes);
        let down: Vec<Host> = owing.filter(|target| is_down(&target.host)).map(|target| target.host.clone()).collect();
        let state = rollout.state(u32::try_from(down.len()).unwrap_or(u32::MAX));
        let reports = targets.into_iter().flat_map(BTreeMap::values).filter_map(|target| target.report.as_ref());
        let last_report = reports.map(|report| report.at).max();
        let purpose = Purpose::Rollout(rollout.name.clone());
        let flying = self.leases.values().filter(|lease| lease.purpose == purpose && lease.state == LeaseState::Held);
        let in_flight = flying.map(|lease| FlightRow {
            host: lease.holder.as_host(),
            step: lease.step,
            note: lease.note.clone(),
            ms: millis(now.wall.since(lease.since.wall)),
        });
        let scopes = [Scope::All, Scope::Service(rollout.name.service.clone()), Scope::Rollout(rollout.name.clone())];
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
            pauses: scopes
                .iter()
                .filter_map(|scope| self.pauses.get(scope))
                .map(|pause| pause_row(pause, now))
                .collect(),
            blocked: self.blocked(&purpose),
            exit_code: rollout.exit_code(state),
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

    /// The history within a scope, the newest entries of it, oldest first; `after` is an entry's number.
    pub fn read_history(&self, select: &Selection) -> Page<Entry> {
        let limit = select.limit.unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX);
        let after: u64 = select.after.as_ref().and_then(|after| after.parse().ok()).unwrap_or(0);
        let about = |entry: &&Entry| match &select.scope {
            None | Some(Scope::All) => true,
            Some(scope) => entry.scopes.contains(scope),
        };
        let mut rows: Vec<Entry> = self
            .history
            .range(after.saturating_add(1)..)
            .map(|(_, entry)| entry)
            .filter(about)
            .rev()
            .take(limit)
            .cloned()
            .collect();
        rows.reverse();
        let next = rows.last().map(|entry| entry.number.to_string());
        Page { rows, next }
    }
}

fn pause_row(pause: &Pause, now: Now) -> PauseRow {
    PauseRow {
        scope: pause.scope.clone(),
        by: pause.by.clone(),
        reason: pause.reason.clone(),
        since_ms: millis(now.wall.since(pause.since.wall)),
        left_ms: millis(pause.until.since(now.time)),
    }
}
