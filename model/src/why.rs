//! Why something waits: every reason, its cause, since when, who, and the next command to type.
//!
//! Owns the answer and its parts; the files below it one kind of scope each. Changes nothing.

mod everything;
mod host;
mod pool;
mod rollout;

use crate::lease::{Lease, LeaseState, Purpose};
use crate::names::Scope;
use crate::settings::span;
use crate::state::State;
use crate::time::{Now, Wall, millis};
use serde::{Deserialize, Serialize};

/// The answer to "why": a headline, and what stands for and against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// What was asked about.
    pub about: Scope,
    /// The answer in a line.
    pub headline: String,
    /// Each reason looked at, those that hinder first.
    pub findings: Vec<Finding>,
}

/// One reason that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Whether it stands in nobody's way.
    pub ok: bool,
    /// What was looked at: a pool, the pauses, the rollout, the host.
    pub what: String,
    /// How it stands.
    pub how: String,
    /// Who or what causes that, each with the command that would change it.
    pub causes: Vec<Cause>,
}

/// One cause, and what to type about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Who or what, since when.
    pub what: String,
    /// The command that would change it, when there is one.
    pub next: Option<String>,
}

fn ago(now: Now, wall: Wall) -> String {
    span(millis(now.wall.since(wall)) / 1000 * 1000)
}

fn fine(what: impl Into<String>, how: impl Into<String>) -> Finding {
    Finding { ok: true, what: what.into(), how: how.into(), causes: Vec::new() }
}

fn bad(what: impl Into<String>, how: impl Into<String>, causes: Vec<Cause>) -> Finding {
    Finding { ok: false, what: what.into(), how: how.into(), causes }
}

fn cause(what: impl Into<String>, next: Option<String>) -> Cause {
    Cause { what: what.into(), next }
}

impl State {
    /// Why something waits, or that it does not: the answer for a host, a pool, a service, a rollout, or everything.
    pub fn why(&self, scope: &Scope, now: Now) -> Why {
        let (headline, mut findings) = match scope {
            Scope::Host(host) => self.why_host(host, now),
            Scope::Pool(pool) => self.why_pool(pool, now),
            Scope::Service(service) => self.why_service(service, now),
            Scope::Rollout(name) => self.why_rollout(name, now),
            Scope::All => self.why_all(now),
        };
        findings.sort_by_key(|finding| finding.ok);
        Why { about: scope.clone(), headline, findings }
    }
}

/// A lease as a cause of waiting, and what ends it.
fn lease_cause(lease: &Lease, now: Now) -> Cause {
    let holder = &lease.holder;
    let since = ago(now, lease.since.wall);
    let purpose = match &lease.purpose {
        Purpose::Run(what) => format!("run: {what}"),
        other => other.to_string(),
    };
    match lease.state {
        LeaseState::Held => {
            let step = lease.step.map(|step| format!(", {step}")).unwrap_or_default();
            let note = if lease.note.is_empty() { String::new() } else { format!(", {}", lease.note) };
            // Time alone never ends it.
            let is_for_ever = lease.purpose == Purpose::FleetLock;
            let next = is_for_ever.then(|| format!("when it will not come back: stagger release {holder} --live"));
            cause(format!("{holder} held {since}{step}{note}, for {purpose}"), next)
        }
        LeaseState::Failed => {
            let failure = lease.failed.values().next();
            let stuck = if lease.is_stuck() { ", STUCK" } else { "" };
            let at = failure.and_then(|failure| failure.step).map(|step| format!(" at {step}")).unwrap_or_default();
            let text = failure.map(|failure| failure.cause.clone()).unwrap_or_default();
            cause(format!("{holder} failed {since}{at}{stuck} ({text}), for {purpose}"), Some(release(lease)))
        }
        LeaseState::Lost => {
            let left = lease.lost_after_ms.map(|ms| {
                let over = millis(now.time.since(lease.since.time));
                format!("counts {} more", span(ms.saturating_sub(over) / 1000 * 1000))
            });
            let left = left.unwrap_or_else(|| "counts until released".to_owned());
            cause(format!("{holder} lost {since}, {left}, for {purpose}"), Some(release(lease)))
        }
    }
}

/// What frees the slot of a holder that does not free it by itself. Where nobody can tell what happened, or where the host is, a
/// person looks first: a released host may still be out of its balancers, uncounted.
fn release(lease: &Lease) -> String {
    let holder = &lease.holder;
    let release = format!("stagger release {holder} --reason …");
    let look = format!("look first: stagger members --out host/{holder}");
    let service = lease.failed.keys().next().or(lease.purpose.service());
    match (lease.state, service) {
        (LeaseState::Lost, Some(_)) => {
            format!("{look}; its worker brings it to its end: {holder}$ stagger worker; else {release}")
        }
        (_, Some(service)) if lease.is_stuck() => format!(
            "{look}; then {holder}$ stagger restart {service}; else {holder}$ stagger repool {service}; then {release}"
        ),
        // It fell silent in its restart, and nothing else brings that to its end.
        (LeaseState::Failed, Some(_)) if lease.has_begun => {
            format!("its worker brings it to its end: {holder}$ stagger worker; else {look}; then {release}")
        }
        (LeaseState::Failed, Some(_)) => {
            // Its slot is free when none of them is failed any more.
            let again: Vec<_> = lease.failed.keys().map(|service| format!("stagger restart {service}")).collect();
            format!("fixed? {holder}$ {}; give up: {release}", again.join(" && "))
        }
        _ => release,
    }
}
