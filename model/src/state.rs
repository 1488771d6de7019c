//! The state of a domain: its records, and the one way in which they change.
//!
//! Owns the records and the indexes over them. Decides nothing: what changes is decided in `apply`.

mod index;

pub(crate) use index::{Index, Names, Queue};

use crate::change::{Change, Key, Operation};
use crate::defaults::{Defaults, FromFile};
use crate::history::Entry;
use crate::lease::{Lease, Ticket};
use crate::member::{Member, Pause};
use crate::names::{Generation, Holder, Host, Id, Pool, RolloutName, Scope, Service, Token};
use crate::passage::{Move, MoveStep, Passage, Shut, Stage, without_login};
use crate::rollout::{Rollout, Target};
use crate::settings::{Override, PoolRules, ServiceRules, SettingKind};
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Every record of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    pub(crate) tickets: BTreeMap<Holder, Ticket>,
    pub(crate) tokens: BTreeMap<Pool, Token>,
    pub(crate) token_floor: Token,
    pub(crate) leases: BTreeMap<Holder, Lease>,
    pub(crate) members: BTreeMap<Host, Member>,
    pub(crate) pauses: BTreeMap<Scope, Pause>,
    pub(crate) settings: BTreeMap<(Scope, SettingKind), Override>,
    pub(crate) defaults: Defaults,
    pub(crate) generations: BTreeMap<Service, Generation>,
    pub(crate) rollouts: BTreeMap<RolloutName, Rollout>,
    pub(crate) targets: BTreeMap<RolloutName, BTreeMap<Host, Target>>,
    pub(crate) operations: BTreeMap<Id, Operation>,
    pub(crate) history: BTreeMap<u64, Entry>,
    pub(crate) passage: Option<Passage>,
    pub(crate) index: Index,
}

/// One record, as a store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each holds the record of the same name")]
pub enum Stored {
    Ticket(Ticket),
    Token { pool: Pool, token: Token },
    TokenFloor(Token),
    Lease(Box<Lease>),
    Member(Box<Member>),
    Pause(Pause),
    Setting(Override),
    Defaults(Defaults),
    Generation { service: Service, generation: Generation },
    Rollout(Box<Rollout>),
    Target(Box<Target>),
    Operation(Operation),
    Entry(Entry),
    Passage(Passage),
}

impl Stored {
    /// Its name.
    pub fn key(&self) -> Key {
        match self {
            Stored::Ticket(ticket) => Key::Ticket(ticket.holder.clone()),
            Stored::Token { pool, .. } => Key::Token(pool.clone()),
            Stored::TokenFloor(_) => Key::TokenFloor,
            Stored::Lease(lease) => Key::Lease(lease.holder.clone()),
            Stored::Member(member) => Key::Member(member.host.clone()),
            Stored::Pause(pause) => Key::Pause(pause.scope.clone()),
            Stored::Setting(from) => Key::Setting(from.scope.clone(), from.setting.kind()),
            Stored::Defaults(_) => Key::Defaults,
            Stored::Generation { service, .. } => Key::Generation(service.clone()),
            Stored::Rollout(rollout) => Key::Rollout(rollout.name.clone()),
            Stored::Target(target) => Key::Target(target.rollout.clone(), target.host.clone()),
            Stored::Operation(operation) => Key::Operation(operation.id.clone()),
            Stored::Entry(entry) => Key::Entry(entry.number),
            Stored::Passage(_) => Key::Passage,
        }
    }
}

impl State {
    /// Applies changes in their order. Replaying all changes from the beginning gives the live state.
    pub fn replay(&mut self, changes: &[Change]) {
        for change in changes {
            self.change(change);
        }
    }

    fn change(&mut self, change: &Change) {
        use Change as C;
        match change.clone() {
            C::TicketTaken(ticket) | C::TicketHeard(ticket) | C::TicketPassed(ticket) => {
                self.put(Stored::Ticket(ticket));
            }
            C::TokenUsed { pool, token } => self.put(Stored::Token { pool, token }),
            C::TokensRaised(floor) => self.put(Stored::TokenFloor(floor)),
            C::LeaseGranted(lease)
            | C::LeaseRenewed(lease)
            | C::LeaseReturned(lease)
            | C::LeaseBegun(lease)
            | C::LeaseFailed(lease)
            | C::LeaseLost(lease) => self.put(Stored::Lease(Box::new(lease))),
            C::MemberJoined(member) | C::MemberHeard(member) => self.put(Stored::Member(Box::new(member))),
            C::Paused(pause) => self.put(Stored::Pause(pause)),
            C::Configured(from) => self.put(Stored::Setting(from)),
            C::DefaultsLoaded(defaults) => self.put(Stored::Defaults(defaults)),
            C::GenerationUsed { service, generation } => self.put(Stored::Generation { service, generation }),
            C::RolloutAnnounced(rollout) | C::RolloutMoved(rollout) => self.put(Stored::Rollout(Box::new(rollout))),
            C::TargetMoved(target) => self.put(Stored::Target(Box::new(target))),
            C::OperationDone(operation) => self.put(Stored::Operation(operation)),
            C::Noted(entry) => self.put(Stored::Entry(entry)),
            C::PassageMoved(passage) => self.put(Stored::Passage(passage)),
            C::Brought(record) => self.put(*record),
            C::TicketDropped(_)
            | C::LeaseEnded(_)
            | C::MemberForgotten(_)
            | C::Resumed(_)
            | C::Reverted { .. }
            | C::RolloutForgotten(_)
            | C::TargetForgotten { .. }
            | C::OperationForgotten(_)
            | C::EntryForgotten(_)
            | C::Cleared(_) => self.remove(&change.key()),
        }
    }

    /// Puts one record in, in the place of the one of the same key.
    pub fn put(&mut self, record: Stored) {
        match record {
            Stored::Ticket(ticket) => {
                self.remove(&Key::Ticket(ticket.holder.clone()));
                self.index.add_ticket(&ticket);
                self.tickets.insert(ticket.holder.clone(), ticket);
            }
            Stored::Token { pool, token } => {
                self.remove(&Key::Token(pool.clone()));
                self.index.pools.add(&pool);
                self.tokens.insert(pool, token);
            }
            Stored::TokenFloor(floor) => self.token_floor = floor,
            Stored::Lease(lease) => {
                self.remove(&Key::Lease(lease.holder.clone()));
                self.index.add_lease(&lease);
                self.leases.insert(lease.holder.clone(), *lease);
            }
            Stored::Member(member) => {
                self.remove(&Key::Member(member.host.clone()));
                self.index.add_member(&member);
                self.members.insert(member.host.clone(), *member);
            }
            Stored::Pause(pause) => {
                self.remove(&Key::Pause(pause.scope.clone()));
                self.index.add_pause(&pause);
                self.pauses.insert(pause.scope.clone(), pause);
            }
            Stored::Setting(from) => {
                self.remove(&Key::Setting(from.scope.clone(), from.setting.kind()));
                self.index.add_setting(&from);
                self.settings.insert((from.scope.clone(), from.setting.kind()), from);
            }
            Stored::Defaults(defaults) => {
                self.remove(&Key::Defaults);
                self.index.add_defaults(&defaults);
                self.defaults = defaults;
            }
            Stored::Generation { service, generation } => {
                self.remove(&Key::Generation(service.clone()));
                self.index.services.add(&service);
                self.generations.insert(service, generation);
            }
            Stored::Rollout(rollout) => {
                self.remove(&Key::Rollout(rollout.name.clone()));
                self.index.add_rollout(&rollout);
                self.rollouts.insert(rollout.name.clone(), *rollout);
            }
            Stored::Target(target) => {
                self.targets.entry(target.rollout.clone()).or_default().insert(target.host.clone(), *target);
            }
            Stored::Operation(operation) => {
                self.operations.insert(operation.id.clone(), operation);
            }
            Stored::Entry(entry) => {
                self.history.insert(entry.number, entry);
            }
            Stored::Passage(passage) => self.passage = Some(passage),
        }
    }

    /// Takes one record out; nothing, when there is none.
    pub fn remove(&mut self, key: &Key) {
        match key {
            Key::Ticket(holder) => {
                if let Some(ticket) = self.tickets.remove(holder) {
                    self.index.drop_ticket(&ticket);
                }
            }
            Key::Token(pool) => {
                if self.tokens.remove(pool).is_some() {
                    self.index.pools.drop(pool);
                }
            }
            Key::TokenFloor => self.token_floor = 0,
            Key::Lease(holder) => {
                if let Some(lease) = self.leases.remove(holder) {
                    self.index.drop_lease(&lease);
                }
            }
            Key::Member(host) => {
                if let Some(member) = self.members.remove(host) {
                    self.index.drop_member(&member);
                }
            }
            Key::Pause(scope) => {
                if let Some(pause) = self.pauses.remove(scope) {
                    self.index.drop_pause(&pause);
                }
            }
            Key::Setting(scope, kind) => {
                if let Some(from) = self.settings.remove(&(scope.clone(), *kind)) {
                    self.index.drop_setting(&from);
                }
            }
            Key::Defaults => self.index.drop_defaults(&std::mem::take(&mut self.defaults)),
            Key::Generation(service) => {
                if self.generations.remove(service).is_some() {
                    self.index.services.drop(service);
                }
            }
            Key::Rollout(name) => {
                if let Some(rollout) = self.rollouts.remove(name) {
                    self.index.drop_rollout(&rollout);
                }
            }
            Key::Target(name, host) => {
                if let Some(targets) = self.targets.get_mut(name) {
                    targets.remove(host);
                    if targets.is_empty() {
                        self.targets.remove(name);
                    }
                }
            }
            Key::Operation(id) => {
                self.operations.remove(id);
            }
            Key::Entry(number) => {
                self.history.remove(number);
            }
            Key::Passage => self.passage = None,
        }
    }

    /// The record of this key, as a store keeps it; `None` when there is none, so that it is to be deleted.
    pub fn record(&self, key: &Key) -> Option<Stored> {
        Some(match key {
            Key::Ticket(holder) => Stored::Ticket(self.tickets.get(holder)?.clone()),
            Key::Token(pool) => Stored::Token { pool: pool.clone(), token: *self.tokens.get(pool)? },
            Key::TokenFloor => Stored::TokenFloor((self.token_floor > 0).then_some(self.token_floor)?),
            Key::Lease(holder) => Stored::Lease(Box::new(self.leases.get(holder)?.clone())),
            Key::Member(host) => Stored::Member(Box::new(self.members.get(host)?.clone())),
            Key::Pause(scope) => Stored::Pause(self.pauses.get(scope)?.clone()),
            Key::Setting(scope, kind) => Stored::Setting(self.settings.get(&(scope.clone(), *kind))?.clone()),
            Key::Defaults => Stored::Defaults((!self.defaults.is_empty()).then(|| self.defaults.clone())?),
            Key::Generation(service) => {
                Stored::Generation { service: service.clone(), generation: *self.generations.get(service)? }
            }
            Key::Rollout(name) => Stored::Rollout(Box::new(self.rollouts.get(name)?.clone())),
            Key::Target(name, host) => Stored::Target(Box::new(self.targets.get(name)?.get(host)?.clone())),
            Key::Operation(id) => Stored::Operation(self.operations.get(id)?.clone()),
            Key::Entry(number) => Stored::Entry(self.history.get(number)?.clone()),
            Key::Passage => Stored::Passage(self.passage.clone()?),
        })
    }

    /// Every record that a store keeps.
    pub fn records(&self) -> Vec<Stored> {
        let keys = (self.tickets.keys().cloned().map(Key::Ticket))
            .chain(self.tokens.keys().cloned().map(Key::Token))
            .chain([Key::TokenFloor])
            .chain(self.leases.keys().cloned().map(Key::Lease))
            .chain(self.members.keys().cloned().map(Key::Member))
            .chain(self.pauses.keys().cloned().map(Key::Pause))
            .chain(self.settings.keys().map(|(scope, kind)| Key::Setting(scope.clone(), *kind)))
            .chain([Key::Defaults])
            .chain(self.generations.keys().cloned().map(Key::Generation))
            .chain(self.rollouts.keys().cloned().map(Key::Rollout))
            .chain(
                self.targets
                    .iter()
                    .flat_map(|(name, hosts)| hosts.keys().map(|host| Key::Target(name.clone(), host.clone()))),
            )
            .chain(self.operations.keys().cloned().map(Key::Operation))
            .chain(self.history.keys().copied().map(Key::Entry))
            .chain([Key::Passage]);
        keys.filter_map(|key| self.record(&key)).collect()
    }

    /// The passage of the domain that was last under way, or is.
    pub fn passage(&self) -> Option<&Passage> {
        self.passage.as_ref()
    }

    /// Why this domain decides nothing but the steps of its passage; `None` when it decides.
    pub fn shut(&self) -> Option<Shut> {
        let passage = self.passage.as_ref().filter(|passage| !passage.stage.is_open())?;
        Some(match passage.stage {
            Stage::Gone => Shut::Moved { to: passage.place.clone() },
            _ => Shut::Moving { place: without_login(&passage.place) },
        })
    }

    /// The clock with which this step would open the domain: that of the moment in which it was closed. So no time has passed for
    /// anyone who waits, listens or holds.
    pub fn opening(&self, wanted: &Move) -> Option<Time> {
        let here = self.passage.as_ref().filter(|here| here.id == wanted.passage)?;
        let opens = match wanted.step {
            MoveStep::Open { .. } => here.stage == Stage::Arriving,
            MoveStep::Undo => here.stage == Stage::Closed,
            _ => false,
        };
        opens.then_some(here.time)
    }

    /// Every record that goes along when the domain moves.
    pub fn luggage(&self) -> impl Iterator<Item = Stored> {
        self.records().into_iter().filter(|record| !matches!(record, Stored::Passage(_)))
    }

    /// Whether any record names a pool: a setting, a member, a waiter, or a grant that there ever was.
    pub fn knows_pool(&self, pool: &Pool) -> bool {
        self.index.pools.contains(pool)
    }

    /// What holds for a pool: the defaults, what the lock server's file says of it, what was set for all, what was set for it.
    pub(crate) fn pool_rules(&self, pool: &Pool) -> PoolRules {
        let mut rules = PoolRules::default();
        for from in self.defaults.of_pool(pool) {
            rules.put(from.setting, || from.place.clone());
        }
        for scope in [Scope::All, Scope::Pool(pool.clone())] {
            self.overrides(&scope).for_each(|from| rules.take(from));
        }
        rules
    }

    /// What holds for the rollouts of a service.
    pub(crate) fn service_rules(&self, service: &Service) -> ServiceRules {
        let mut rules = ServiceRules::default();
        self.defaults.of_service(service).iter().for_each(|from| rules.put(from.setting));
        for scope in [Scope::All, Scope::Service(service.clone())] {
            self.overrides(&scope).for_each(|from| rules.put(from.setting));
        }
        rules
    }

    /// What was set for a scope, in the order of [`SettingKind::ALL`].
    pub(crate) fn overrides<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = &'a Override> + 'a {
        SettingKind::ALL.into_iter().filter_map(move |kind| self.settings.get(&(scope.clone(), kind)))
    }

    /// What holds once a setting is taken back, as people type it, and where that comes from when it was never set for this scope.
    pub(crate) fn without(&self, was: &Override) -> String {
        let kind = was.setting.kind();
        let for_all = self.settings.get(&(Scope::All, kind)).filter(|_| was.scope != Scope::All);
        match (&was.before, for_all) {
            (Some(before), _) => before.setting.to_string(),
            (None, Some(for_all)) => format!("{} (set for all)", for_all.setting),
            (None, None) => match self.said_of(&was.scope, kind) {
                Some(from) => format!("{} ({})", from.setting, from.place),
                None => format!("{} (default)", kind.default()),
            },
        }
    }

    /// What the lock server's file says.
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// What the lock server's file says of a pool or a service.
    pub(crate) fn said_of(&self, scope: &Scope, kind: SettingKind) -> Option<&FromFile> {
        let said = match scope {
            Scope::Pool(pool) => self.defaults.of_pool(pool),
            Scope::Service(service) => self.defaults.of_service(service),
            _ => &[],
        };
        said.iter().find(|from| from.setting.kind() == kind)
    }

    /// Whether there is nothing but what the lock server's file says.
    pub fn is_fresh(&self) -> bool {
        self.luggage().all(|record| matches!(record, Stored::Defaults(_)))
    }

    /// The leases that count in a pool.
    pub(crate) fn leases_in<'a>(&'a self, pool: &Pool) -> impl Iterator<Item = &'a Lease> + 'a {
        self.index.holders.get(pool).into_iter().flatten().filter_map(|holder| self.leases.get(holder))
    }
}
