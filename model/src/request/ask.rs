//! Asking for a lease: the grant, the place in the queue, and every reason for a no.

use crate::lease::{Lease, LeaseState, Purpose};
use crate::names::{Holder, Id, Pool};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

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
    /// For how much longer a pause stands in the way, in milliseconds, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
}

impl Refusal {
    /// The reason in a sentence, and when it ends by itself, for whoever waits no longer.
    pub fn whole(&self) -> String {
        let end = self.left_ms.map(|ms| format!("; it ends in {}", crate::settings::span(ms / 1000 * 1000)));
        format!("{}{}", self.value, end.unwrap_or_default())
    }
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
