//! What can be asked of the coordinator, and what it answers.
//!
//! Owns the requests and answers; they are also what travels over HTTP. A refusal is an answer, not an error.

use crate::lease::{Lease, LeaseState, Purpose};
use crate::member::Sighting;
use crate::names::{Generation, Holder, Host, Id, Pool, RolloutName, Scope, Service, Token};
use crate::rollout::{Report, RolloutState};
use crate::sequence::Step;
use crate::settings::{Setting, SettingKind};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that changes the state, and who may be told of it at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A worker is here, or still here.
    Join(Join),
    /// A session or a waiter fell silent: its connection closed, or it says goodbye.
    Quiet(Quiet),
    /// A waiter asks for a lease, or asks again.
    Ask(Ask),
    /// A holder asks for the last word before its restart act.
    Begin(BeginAsk),
    /// A holder is still at work.
    Renew(Renew),
    /// A sequence ended.
    Settle(Settle),
    /// A person changes something.
    Admin(Admin),
    /// Time went by.
    Tick,
    /// The coordinator started again: everyone gets a fresh time to live, since its downtime is nobody's fault.
    Restarted,
}

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

/// Asks for a lease. Asked again with the same claim, ticket, lease and token stay the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Who asks.
    pub holder: Holder,
    /// The sequence's, or the command's, own random name.
    pub claim: Id,
    /// The pools, granted together or not at all.
    pub pools: BTreeSet<Pool>,
    /// What for.
    pub purpose: Purpose,
    /// How long it waits at most, in milliseconds; the pools' own bound when not said.
    pub wait_ms: Option<u64>,
    /// For how long this ask stands, in milliseconds: until then the waiter counts as listening.
    pub patience_ms: u64,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The lease is there, with its tokens.
    Granted(Box<Granted>),
    /// Not yet.
    Queued(Queued),
    /// No.
    Refused(Refusal),
}

/// A granted lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The lease.
    pub lease: Lease,
}

/// A place in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// The place, from 1, among those who want the same pools.
    pub place: u32,
    /// How much longer it may wait, in milliseconds.
    pub left_ms: u64,
    /// Why it waits.
    pub why: Refusal,
}

/// Why not. Each names who holds, how many there may be, and where that number comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Which reason.
    pub kind: RefusalKind,
    /// The reason in a sentence.
    pub value: String,
    /// Who holds what is wanted, the first few.
    pub holders: Vec<Holding>,
    /// How many slots there are, where that matters.
    pub slots: Option<u32>,
    /// Where that number comes from.
    pub source: Option<String>,
}

/// Every reason for a no or a not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// No slot is free.
    Full,
    /// Somebody older is first.
    NotFirst,
    /// Paused.
    Paused,
    /// The wait is over.
    TimedOut,
    /// Too many wait already.
    QueueFull,
    /// This name waits, or holds, under another claim.
    Busy,
    /// The rollout does not want this restart: it is done, not for this host, or unknown.
    NotOwed,
    /// The rollout is halted.
    Halted,
    /// The rollout ended: aborted, expired or superseded.
    Ended,
    /// The request itself is wrong.
    Invalid,
}

impl RefusalKind {
    /// The word in metrics and JSON.
    pub fn word(self) -> &'static str {
        match self {
            RefusalKind::Full => "full",
            RefusalKind::NotFirst => "not_first",
            RefusalKind::Paused => "paused",
            RefusalKind::TimedOut => "timed_out",
            RefusalKind::QueueFull => "queue_full",
            RefusalKind::Busy => "busy",
            RefusalKind::NotOwed => "not_owed",
            RefusalKind::Halted => "halted",
            RefusalKind::Ended => "ended",
            RefusalKind::Invalid => "invalid",
        }
    }
}

/// One who holds what another wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Who.
    pub holder: Holder,
    /// In which pool.
    pub pool: Pool,
    /// How.
    pub state: LeaseState,
    /// Since when, in milliseconds before now.
    pub since_ms: u64,
    /// What for, and where it is: for people.
    pub what: String,
}

/// Asks for the last word before the restart act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeginAsk {
    /// Who.
    pub holder: Holder,
    /// Under which claim.
    pub claim: Id,
}

/// The answer to a [`BeginAsk`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Begin {
    /// Restart now. It satisfies this generation, when a rollout wanted it.
    Go {
        /// The newest generation announced.
        generation: Option<Generation>,
    },
    /// Not now: a pause, or a strict budget. Undo, give way, keep the ticket.
    Paused(String),
    /// The rollout is halted, or its budget is used up. Undo.
    Halted(String),
    /// The rollout no longer wants this restart. Undo.
    Superseded(String),
    /// The lease is gone. Undo.
    Gone,
}

/// A holder is still at work, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// Who.
    pub holder: Holder,
    /// Under which claim.
    pub claim: Id,
    /// The step that it is at.
    pub step: Option<Step>,
    /// What there is to say about it.
    pub note: String,
}

/// The answer to a [`Renew`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Own {
    /// Still its own, for so long from when the request was sent.
    Held {
        /// In milliseconds.
        ttl_ms: u64,
    },
    /// No longer. What was begun may be finished; nothing new may begin.
    Gone,
}

/// A sequence ended, or its waiter gives up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settle {
    /// Who.
    pub holder: Holder,
    /// Under which claim.
    pub claim: Id,
    /// What becomes of the lease.
    pub ending: Ending,
    /// The rollout that the report is for.
    pub rollout: Option<RolloutName>,
    /// The host's report.
    pub report: Option<Report>,
}

/// What becomes of a lease when its sequence ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All is well: the slot is free.
    Released,
    /// The host failed and keeps its slot.
    Kept,
    /// The host failed, and its service opts out of keeping the slot.
    FailedReleased,
    /// Nothing was begun, and nothing is wanted any more.
    Cancelled,
    /// Nothing was begun; it gives way and keeps its place in the queue.
    GaveWay,
}

/// The answer to a [`Settle`]; in every case the report, if it still counts, is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// Done; or done before.
    Done,
    /// There was no such lease any more.
    Gone,
}

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

/// What `apply` answers to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Join`].
    Joined(Box<Joined>),
    /// To [`Request::Ask`].
    Asked(Answer),
    /// To [`Request::Begin`].
    Begun(Begin),
    /// To [`Request::Renew`].
    Owned(Own),
    /// To [`Request::Settle`].
    Settled(Settled),
    /// To [`Request::Admin`].
    Did(Done),
    /// To what has no answer.
    Noted,
}
