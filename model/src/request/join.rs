//! A worker makes itself known, or falls silent; and what it is told.

use crate::lease::Lease;
use crate::member::Sighting;
use crate::names::{Holder, Host, Id, Pool, RolloutName, Service, Token};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A worker makes itself known, and stays known by asking again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Its host.
    pub host: Host,
    /// The session of this run of the worker.
    pub session: Id,
    /// The session that it replaces: the one of the run before, from its disk.
    pub replaces: Option<Id>,
    /// Its services, each with the pools that it restarts under.
    pub services: BTreeMap<Service, BTreeSet<Pool>>,
    /// The worker's version.
    pub version: String,
    /// Where its metrics are.
    pub metrics: Option<String>,
    /// What it sees of itself at its balancers.
    pub sightings: Vec<Sighting>,
    /// How long ago it looked, in milliseconds; nothing when it has not.
    #[serde(default)]
    pub looked_ms: Option<u64>,
    /// The highest token that it was ever granted, by pool: a coordinator restored from an old copy grants none again.
    #[serde(default)]
    pub highest: BTreeMap<Pool, Token>,
    /// Why it can restart nothing until somebody helps; empty when it can.
    #[serde(default)]
    pub trouble: String,
    /// For how long this join counts, in milliseconds.
    pub patience_ms: u64,
}

/// The answer to a [`Join`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "the large one is the common one, and a reply holds it in a box")]
pub enum Joined {
    /// Known; this is what there is for it.
    Member(Welcome),
    /// Another live worker has this name.
    Duplicate {
        /// Since when it is known, in milliseconds before now.
        since_ms: u64,
        /// That worker's version.
        version: String,
    },
    /// It, or what it has, would be too much.
    Refused {
        /// Which bound, and what to do.
        why: String,
    },
}

/// What a worker is told whenever it joins.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Welcome {
    /// The restarts that it owes, failed services first, then by age.
    pub owed: Vec<Owed>,
    /// The lease that it has.
    pub lease: Option<Lease>,
}

/// A restart that a host owes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// Which rollout wants it.
    pub rollout: RolloutName,
    /// Whether it wants it whatever the check says.
    pub always: bool,
    /// Whether this host failed before and holds a slot for the service: then its check is not asked either.
    pub failed_before: bool,
}

/// A waiter's or a session's silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quiet {
    /// A waiter's.
    Waiter {
        /// Who.
        holder: Holder,
        /// Which request of its.
        claim: Id,
    },
    /// A worker's.
    Member {
        /// Whose.
        host: Host,
        /// Which session.
        session: Id,
    },
}
