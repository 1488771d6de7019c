//! Members and pauses: who belongs to the domain, and what is to stand still.

use crate::names::{Host, Id, Pool, Scope, Service};
use crate::time::{Now, Time};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How long after it fell silent a member is shown as down, in milliseconds: a restart of the worker takes less.
pub const DOWN_AFTER_MS: u64 = 5_000;
/// Most services per member.
pub const SERVICES_PER_MEMBER_MAX: usize = 64;
/// Most balancers that a member tells of, over all its services.
pub const SIGHTINGS_PER_MEMBER_MAX: usize = 512;
/// Most pools of which a member tells the highest token that it was granted.
pub const TOKENS_PER_MEMBER_MAX: usize = 512;

/// Whether a host is in a balancer's rotation, as far as anyone can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It takes traffic.
    In,
    /// It takes none.
    Out,
    /// Nobody can tell. Never read as yes, nor as no.
    Unknown,
}

impl fmt::Display for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Presence::In => "in",
            Presence::Out => "out",
            Presence::Unknown => "unknown",
        })
    }
}

/// What puts a host in again at a balancer at which it is not in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// `stagger repool`.
    #[default]
    Repool,
    /// `stagger restart`: it is meant to be in, and the balancer finds it ill.
    Restart,
    /// Whoever took it out, since Stagger never ends that: what is to be said to the balancer, where that is known.
    Theirs(Option<String>),
}

/// What a host sees of itself at one of its balancers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Which service.
    pub service: Service,
    /// Which balancer.
    pub balancer: String,
    /// Whether it is in rotation there.
    pub presence: Presence,
    /// Whether Stagger itself took it out; otherwise somebody else did.
    pub by_stagger: bool,
    /// What the balancer said, when that helps.
    pub detail: String,
    /// What puts it in again, where it is not in.
    #[serde(default)]
    pub remedy: Remedy,
}

/// A worker known to the domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its host.
    pub host: Host,
    /// Its present session.
    pub session: Id,
    /// Its services, each with the pools that it restarts under.
    pub services: BTreeMap<Service, BTreeSet<Pool>>,
    /// The worker's version.
    pub version: String,
    /// Where its metrics are, when they can be reached.
    pub metrics: Option<String>,
    /// What it last saw of itself at its balancers.
    pub sightings: Vec<Sighting>,
    /// When it looked; nothing when that is not known.
    #[serde(default)]
    pub looked: Option<Now>,
    /// Why it can restart nothing until somebody helps; empty when it can.
    #[serde(default)]
    pub trouble: String,
    /// When it first joined.
    pub joined: Now,
    /// When it was last heard of.
    pub heard: Now,
    /// Until when its session counts as alive.
    pub live_until: Time,
}

impl Member {
    /// Whether another session of the same name must be refused.
    pub fn is_live(&self, now: Time) -> bool {
        now < self.live_until
    }

    /// Whether it is shown as down, and rollouts no longer wait for it.
    pub fn is_down(&self, now: Time) -> bool {
        now.0 >= self.live_until.0.saturating_add(DOWN_AFTER_MS)
    }

    /// Every pool that it belongs to.
    pub fn pools(&self) -> BTreeSet<&Pool> {
        self.services.values().flatten().collect()
    }
}

/// Something that is to stand still for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// What stands still.
    pub scope: Scope,
    /// Who paused it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Now,
    /// When it ends by itself.
    pub until: Time,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_member_is_replaceable_at_once_and_down_a_little_later() {
        let member = Member {
            host: "mw1".parse().expect("a host"),
            session: "s1".parse().expect("an id"),
            services: BTreeMap::new(),
            version: String::new(),
            metrics: None,
            sightings: Vec::new(),
            looked: None,
            trouble: String::new(),
            joined: Now::default(),
            heard: Now::default(),
            live_until: Time(1000),
        };
        assert!(member.is_live(Time(999)) && !member.is_live(Time(1000)));
        assert!(!member.is_down(Time(5999)) && member.is_down(Time(6000)));
    }
}
