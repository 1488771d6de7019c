//! What a holder says while it has its lease: the last word before the restart act, renewals, and how it ended.

use crate::names::{Generation, Holder, Id, RolloutName};
use crate::rollout::Report;
use crate::sequence::Step;
use serde::{Deserialize, Serialize};

/// Asks for the last word before the restart act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeginAsk {
    /// Who.
    pub holder: Holder,
    /// Under which claim.
    pub claim: Id,
    /// How long the holder may be silent during its restart act without being taken for lost, in milliseconds, when that is longer than
    /// its lease lives: its host boots. At most [`AWAY_MS_MAX`] is granted.
    #[serde(default)]
    pub away_ms: u64,
}

/// The longest silence that is granted to a holder whose host boots, in milliseconds: two hours.
pub const AWAY_MS_MAX: u64 = 2 * 3600 * 1000;

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
