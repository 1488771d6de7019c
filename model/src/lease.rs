//! Leases and tickets: a holder's right to be out of service, and a waiter's place in the queue.
//!
//! Owns the records. Who may have one is decided in `apply`.

use crate::names::{Generation, Holder, Id, Pool, RolloutName, Service, Token};
use crate::sequence::Step;
use crate::time::{Now, Time, Wall};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Most pools one lease may cover.
pub const POOLS_PER_LEASE_MAX: usize = 8;
/// Longest free text (a reason, a message, a note), in bytes.
pub const TEXT_BYTES_MAX: usize = 1024;

/// What a lease is, or will be, used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A restart that a rollout owes.
    Rollout(RolloutName),
    /// A restart by hand.
    Restart(Service),
    /// A command under `run`; the text is for people.
    Run(String),
    /// A host's update, by a FleetLock client. That protocol renews nothing: the lease is never lost, and ends when the client, or
    /// a person, says so.
    FleetLock,
}

impl Purpose {
    /// The service that it restarts; `run` restarts none.
    pub fn service(&self) -> Option<&Service> {
        match self {
            Purpose::Rollout(rollout) => Some(&rollout.service),
            Purpose::Restart(service) => Some(service),
            Purpose::Run(_) | Purpose::FleetLock => None,
        }
    }

    /// The rollout that wants it.
    pub fn rollout(&self) -> Option<&RolloutName> {
        match self {
            Purpose::Rollout(rollout) => Some(rollout),
            Purpose::Restart(_) | Purpose::Run(_) | Purpose::FleetLock => None,
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Purpose::Rollout(rollout) => write!(f, "{rollout}"),
            Purpose::Restart(service) => write!(f, "restart {service}"),
            Purpose::Run(what) => write!(f, "run: {what}"),
            Purpose::FleetLock => f.pad("FleetLock"),
        }
    }
}

/// How a lease stands. In each of these it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// Its holder renews it and is at work.
    Held,
    /// Its host failed and keeps the slot, until it is well again or a person releases it.
    Failed,
    /// Its holder stopped renewing before it began.
    Lost,
}

impl fmt::Display for LeaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            LeaseState::Held => "held",
            LeaseState::Failed => "failed",
            LeaseState::Lost => "lost",
        })
    }
}

/// Why a host is failed for one of its services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step that failed, when it is known.
    pub step: Option<Step>,
    /// What happened, for people.
    pub cause: String,
    /// Whether nobody can tell what happened, so that a person is needed.
    pub stuck: bool,
    /// When, for people.
    pub at: Wall,
}

/// A holder's right to be out of service, in one or several pools at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who has it.
    pub holder: Holder,
    /// The pools it counts in, each with the fencing token of its grant.
    pub pools: BTreeMap<Pool, Token>,
    /// Which request it was granted to: the sequence's, or the command's, own random name.
    pub claim: Id,
    /// What for.
    pub purpose: Purpose,
    /// How it stands.
    pub state: LeaseState,
    /// How many tries there were on this slot, this one included.
    pub attempt: u32,
    /// The ticket that it was granted on, so that a holder who gives way gets its place back.
    pub ticket: u64,
    /// The generation that its restart satisfies, once it has begun.
    pub begun: Option<Generation>,
    /// Whether its restart act was allowed to begin.
    pub has_begun: bool,
    /// The step it last told of.
    pub step: Option<Step>,
    /// Since when it is at that step, as far as it told.
    #[serde(default)]
    pub step_since: Option<Wall>,
    /// What it last told about that step, for people.
    pub note: String,
    /// The services that failed on this host and still hold the slot.
    pub failed: BTreeMap<Service, Failure>,
    /// When it was granted.
    pub granted: Now,
    /// Since when it stands as it does.
    pub since: Now,
    /// When it was last renewed.
    pub renewed: Time,
    /// Its holder has not been heard of since the grant, and so does nothing yet: not renewed by it, begun, asked for again.
    #[serde(default)]
    pub unconfirmed: bool,
    /// How long it lives without being renewed, in milliseconds.
    pub ttl_ms: u64,
    /// How long it goes on counting when lost, in milliseconds; `None` is for ever.
    pub lost_after_ms: Option<u64>,
}

impl Lease {
    /// When time alone changes it, if ever: it is lost or taken back when it is not renewed, and freed when it was lost for long.
    pub fn due(&self) -> Option<Time> {
        match self.state {
            LeaseState::Held if self.purpose == Purpose::FleetLock => None,
            LeaseState::Held => Some(self.renewed.plus(Duration::from_millis(self.ttl_ms))),
            LeaseState::Lost => self.lost_after_ms.map(|ms| self.since.time.plus(Duration::from_millis(ms))),
            LeaseState::Failed => None,
        }
    }

    /// Whether a person is needed: for some service nobody can tell what happened.
    pub fn is_stuck(&self) -> bool {
        self.failed.values().any(|failure| failure.stuck)
    }

    /// How it stands, in the word that people read: its state, but `stuck` when it failed and a person is needed.
    pub fn standing(&self) -> String {
        if self.state == LeaseState::Failed && self.is_stuck() { "stuck".to_owned() } else { self.state.to_string() }
    }
}

/// A waiter's entry in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Its number; smaller is older.
    pub number: u64,
    /// Who waits.
    pub holder: Holder,
    /// Which request waits.
    pub claim: Id,
    /// The pools that it wants, granted together or not at all.
    pub pools: BTreeSet<Pool>,
    /// What for.
    pub purpose: Purpose,
    /// When it was taken.
    pub taken: Now,
    /// Until when its waiter counts as listening. A silent one loses its turn, not its ticket.
    pub live_until: Time,
    /// That moment has come, or its waiter went away: it is skipped without being looked at.
    #[serde(default)]
    pub silent: bool,
    /// How long it has waited, pauses apart, in milliseconds, up to `counted`.
    pub waited_ms: u64,
    /// Up to when `waited_ms` is counted.
    pub counted: Time,
    /// How long it may wait, in milliseconds.
    pub wait_ms: u64,
    /// How often a younger waiter was granted a pool that this one wants.
    pub passed: u32,
}

impl Ticket {
    /// When time alone changes it: its waiter falls silent, and after as long as it would have waited the ticket is dropped.
    pub fn due(&self) -> Time {
        let silent_for = if self.silent { self.wait_ms } else { 0 };
        self.live_until.plus(Duration::from_millis(silent_for))
    }
}
