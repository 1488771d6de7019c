//! What a person changes.

use crate::names::{Holder, Id, RolloutName, Scope, Service};
use crate::rollout::RolloutState;
use crate::settings::{Setting, SettingKind};
use serde::{Deserialize, Serialize};

/// A person's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admin {
    /// A random name for this change: sent again, it happens once.
    pub operation: Id,
    /// Who.
    pub by: String,
    /// What.
    pub act: Act,
}

/// What a person can change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Announces a deploy.
    Announce(Announce),
    /// Ends a rollout: nobody new begins.
    Abort {
        /// Which.
        rollout: RolloutName,
        /// Why.
        reason: String,
    },
    /// Stops grants and begins.
    Pause {
        /// Where.
        scope: Scope,
        /// Why.
        reason: String,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// Ends a pause, and un-halts a rollout.
    Resume {
        /// Where.
        scope: Scope,
    },
    /// Ends a lease.
    Release {
        /// Whose.
        holder: Holder,
        /// Why.
        reason: String,
        /// Even when it is still renewed.
        live: bool,
        /// And removes the host: it is gone for good.
        forget: bool,
    },
    /// Changes a setting.
    Set {
        /// Where.
        scope: Scope,
        /// Which, and to what.
        setting: Setting,
        /// Why.
        reason: String,
        /// For how long, in milliseconds; for good when not said.
        for_ms: Option<u64>,
    },
    /// Takes a changed setting back.
    Unset {
        /// Where.
        scope: Scope,
        /// Which.
        kind: SettingKind,
        /// Why.
        reason: String,
    },
}

/// Announces a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// What restarts.
    pub service: Service,
    /// What is deployed, for people.
    pub message: String,
    /// The part of the fleet that it is for; everything when empty.
    pub only: Vec<Scope>,
    /// Whether hosts restart whatever their check says.
    pub always: bool,
    /// Takes the place of one that is under way.
    pub supersede: bool,
    /// How many failed hosts halt it; the service's setting when not said.
    pub max_failures: Option<u32>,
    /// Whether hosts in flight count as failed; the service's setting when not said.
    pub strict: Option<bool>,
    /// How long it is owed, in milliseconds; the service's setting when not said.
    pub expires_ms: Option<u64>,
}

/// The answer to an [`Admin`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// Announced.
    Announced {
        /// Its name.
        rollout: RolloutName,
        /// How many hosts it is for.
        targets: u32,
    },
    /// Done, in a sentence.
    Did {
        /// What.
        what: String,
    },
    /// Not done: something stands against it.
    Refused {
        /// What.
        why: String,
        /// What to do.
        hint: String,
    },
    /// Not done: something else was done under this operation's name.
    Replayed {
        /// The name.
        operation: Id,
    },
    /// Not done: no host would restart for it, now or when it is back.
    ForNobody {
        /// What no host has.
        service: Service,
        /// The parts of the fleet of which no host has it; empty when none has it at all.
        only: Vec<Scope>,
    },
    /// Not done: another rollout is under way.
    UnderWay {
        /// Which.
        rollout: RolloutName,
        /// How it stands.
        state: RolloutState,
        /// Who announced it.
        by: String,
        /// Since when, in milliseconds before now.
        since_ms: u64,
        /// What it deploys.
        message: String,
    },
}

/// What [`Done::Replayed`] says, for people.
pub fn replayed(operation: &Id) -> String {
    format!("the operation {operation} was another change before; each change has a random name of its own")
}

/// What [`Done::ForNobody`] says, for people.
pub fn for_nobody(service: &Service, only: &[Scope]) -> String {
    let parts = only.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if parts.is_empty() { format!("no host has {service}") } else { format!("no host of {parts} has {service}") }
}
