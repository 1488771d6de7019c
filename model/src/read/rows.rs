//! The rows that can be looked at; they are also what travels over HTTP. Never decides anything.

use crate::defaults::FromFile;
use crate::lease::{Lease, LeaseState, Purpose};
use crate::member::{Presence, Sighting};
use crate::names::{Holder, Host, Pool, RolloutName, Scope, Service, Token};
use crate::request::Refusal;
use crate::rollout::{Ended, Halted, RolloutState, Tally, Target};
use crate::sequence::Step;
use crate::settings::{Override, PoolRules};
use crate::time::Wall;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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
    /// What the lock server's file says of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from_file: Vec<FromFile>,
    /// What was set for it, and for all where that holds for it.
    pub overrides: Vec<OverrideRow>,
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

/// A setting that somebody changed, to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideRow {
    /// The record.
    #[serde(flatten)]
    pub set: Override,
    /// For how much longer it holds, in milliseconds; nothing when it stays.
    #[serde(default)]
    pub left_ms: Option<u64>,
    /// What holds once it is taken back, for people.
    #[serde(default)]
    pub then: String,
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
    /// When it looked, in milliseconds before now; nothing when that is not known.
    #[serde(default)]
    pub looked_ms: Option<u64>,
    /// Whether it is in rotation everywhere: by what it saw, its lease, and whether it is down.
    #[serde(default = "unknown")]
    pub presence: Presence,
    /// What else than its look says so; empty when the look tells all.
    #[serde(default)]
    pub because: String,
    /// The balancers that it was last seen in although its restart failed, which was to keep it out of them.
    #[serde(default)]
    pub in_although: Vec<String>,
    /// Why it can restart nothing until somebody helps; empty when it can.
    #[serde(default)]
    pub trouble: String,
    /// How its lease stands, when it has one.
    pub lease: Option<LeaseState>,
    /// Whether a person is needed for that lease.
    #[serde(default)]
    pub stuck: bool,
}

/// What holds when nothing is said: never yes, and never no.
fn unknown() -> Presence {
    Presence::Unknown
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
    /// The targets that failed and keep their slot until they are well.
    #[serde(default)]
    pub kept: Vec<Host>,
    /// The pauses that stop it: also of pools and hosts that it still has to restart.
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
    /// For how long it is at that step; before the first one, for how long it has its lease. In milliseconds.
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
    /// Its targets: the failed ones first, then those in flight.
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
