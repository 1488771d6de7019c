//! What one client was told, in order: all that the checker sees.

use std::collections::BTreeMap;
use std::time::Duration;

/// A time that something took, since the test began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Duration,
    pub(super) to: Duration,
}

impl Span {
    pub(super) fn overlaps(self, other: Span) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

/// One call of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Who.
    pub(super) holder: u32,
    /// Which of its claims.
    pub(super) claim: u32,
    /// What was asked.
    pub(super) asked: Asked,
    /// From when it was sent to when its answer was there, or that there is none.
    pub(super) span: Span,
    /// The answer; nothing when none came.
    pub(super) told: Option<Told>,
}

/// What a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// For a lease.
    Lease,
    /// Whether it has its lease: a renewal, or the last word before a restart act.
    Word,
    /// To end its lease, or its wait.
    End,
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// It has the lease, with these tokens.
    Granted(BTreeMap<&'static str, u64>),
    /// Not yet.
    NotYet,
    /// No, and why.
    Refused(String),
    /// It still has it.
    Yours,
    /// It has it no longer.
    Gone,
    /// It is ended.
    Done,
}
