//! The sequence: one host's way through a restart.
//!
//! Owns its steps, what its journal holds ([`record`]), where it stands ([`machine`]) and what comes next ([`next`]). It
//! knows no leases, only whether it may begin and whether it is cut short, and does nothing itself: the host drives it, live
//! and after a crash alike.

pub mod machine;
pub mod next;
pub mod record;

#[cfg(test)]
mod tests;

pub use machine::{FOUND_DONE, Sequence};
pub use next::{Authority, Next};
pub use record::{Act, Doubt, Fault, Found, Illegal, Look, Memo, Plan, Record, Seen, Unwind};

use serde::{Deserialize, Serialize};
use std::fmt;

/// One act of a sequence, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Does the service need a restart?
    Check,
    /// Wait for a lease.
    Ask,
    /// Do the gates allow it?
    Gate,
    /// Leave the balancers.
    Depool,
    /// Wait out what is in flight.
    Drain,
    /// Ask for the last word.
    Begin,
    /// Restart.
    Restart,
    /// Be healthy.
    Verify,
    /// Rejoin the balancers.
    Repool,
    /// Report, and give the lease back.
    Settle,
}

impl Step {
    /// All of them, in their order.
    pub const ALL: [Step; 10] = [
        Step::Check,
        Step::Ask,
        Step::Gate,
        Step::Depool,
        Step::Drain,
        Step::Begin,
        Step::Restart,
        Step::Verify,
        Step::Repool,
        Step::Settle,
    ];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Step::Check => "check",
            Step::Ask => "ask",
            Step::Gate => "gate",
            Step::Depool => "depool",
            Step::Drain => "drain",
            Step::Begin => "begin",
            Step::Restart => "restart",
            Step::Verify => "verify",
            Step::Repool => "repool",
            Step::Settle => "settle",
        })
    }
}
