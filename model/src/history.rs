//! History: who did what, from where, and why. Bounded; the oldest go first.

use crate::names::Scope;
use crate::time::Wall;
use serde::{Deserialize, Serialize};

/// How many entries are kept.
pub const ENTRIES_MAX: usize = 10_000;

/// What an entry tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A deploy was announced.
    Announced,
    /// A person ended a rollout.
    Aborted,
    /// A newer announcement ended a rollout.
    Superseded,
    /// Failures halted a rollout.
    Halted,
    /// No host owes a rollout any more.
    Done,
    /// A rollout's time is over, and hosts are left.
    Expired,
    /// A person paused something.
    Paused,
    /// A pause ended, or a halted rollout goes on.
    Resumed,
    /// A person changed a setting, or it went back by itself.
    Set,
    /// A person released a lease.
    Released,
    /// A person removed a host for good.
    Forgotten,
    /// A host failed.
    Failed,
    /// A holder stopped renewing.
    Lost,
    /// A lost lease stopped counting.
    Freed,
    /// A grant that its holder never answered was taken back.
    Withdrawn,
    /// A new worker joined.
    Joined,
    /// What was written last may be gone.
    Lacking,
    /// The domain came here from another coordinator.
    Moved,
}

impl EntryKind {
    /// The word that people read.
    pub fn word(self) -> &'static str {
        match self {
            EntryKind::Announced => "announced",
            EntryKind::Aborted => "aborted",
            EntryKind::Superseded => "superseded",
            EntryKind::Halted => "halted",
            EntryKind::Done => "done",
            EntryKind::Expired => "expired",
            EntryKind::Paused => "paused",
            EntryKind::Resumed => "resumed",
            EntryKind::Set => "set",
            EntryKind::Released => "released",
            EntryKind::Forgotten => "forgotten",
            EntryKind::Failed => "failed",
            EntryKind::Lost => "lost",
            EntryKind::Freed => "freed",
            EntryKind::Withdrawn => "withdrawn",
            EntryKind::Joined => "joined",
            EntryKind::Lacking => "lacking",
            EntryKind::Moved => "moved",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number; they grow.
    pub number: u64,
    /// When.
    pub at: Wall,
    /// Who did it: a person, a holder, or `stagger` itself.
    pub by: String,
    /// The address from which it was asked for, when it came over a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What kind of thing.
    pub kind: EntryKind,
    /// What it is about; it is found under each of these.
    pub scopes: Vec<Scope>,
    /// What happened and why, in a line.
    pub text: String,
}
