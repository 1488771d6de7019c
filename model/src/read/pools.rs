//! The pools, and the pauses.

use super::{OverrideRow, Page, PauseRow, PoolRow, Selection, page};
use crate::lease::LeaseState;
use crate::member::Pause;
use crate::names::{Pool, Scope};
use crate::settings::{Override, SettingKind};
use crate::state::State;
use crate::time::{Now, millis};

impl State {
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
            from_file: self.defaults.of_pool(pool).to_vec(),
            overrides: self.override_rows(pool, now),
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

    /// What was set for a pool, and for all where that holds for it.
    fn override_rows(&self, pool: &Pool, now: Now) -> Vec<OverrideRow> {
        let own = Scope::Pool(pool.clone());
        let kinds = SettingKind::ALL.into_iter().filter(|kind| kind.is_of_pool());
        let held = kinds.filter_map(|kind| {
            self.settings.get(&(own.clone(), kind)).or_else(|| self.settings.get(&(Scope::All, kind)))
        });
        let row = |from: &Override| OverrideRow {
            set: from.clone(),
            left_ms: from.until.map(|until| millis(until.since(now.time))),
            then: self.without(from),
        };
        held.map(row).collect()
    }

    /// Every pause.
    pub fn read_pauses(&self, now: Now) -> Vec<PauseRow> {
        self.pauses.values().map(|pause| pause_row(pause, now)).collect()
    }
}

pub(super) fn pause_row(pause: &Pause, now: Now) -> PauseRow {
    PauseRow {
        scope: pause.scope.clone(),
        by: pause.by.clone(),
        reason: pause.reason.clone(),
        since_ms: millis(now.wall.since(pause.since.wall)),
        left_ms: millis(pause.until.since(now.time)),
    }
}
