//! What the journal of a sequence holds: one record per line, each written and synced before the act that it announces.
//!
//! Owns the records and the small types in them. What may follow what is decided in [`super::machine`].

use crate::lease::Purpose;
use crate::member::{Presence, Remedy};
use crate::names::{Generation, Id, Pool, Service, Token};
use crate::request::Ending;
use crate::rollout::{Report, Timing};
use crate::sequence::Step;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Balancers by name, each with what is needed to put the host back there: the balancer's own words, often empty.
pub type Balancers = BTreeMap<String, String>;

/// What a sequence is for and how it is to go; fixed when it is opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its own random name; also the claim that it asks for a lease under.
    pub sequence: Id,
    /// What restarts.
    pub service: Service,
    /// What for.
    pub purpose: Purpose,
    /// The pools that it asks for.
    pub pools: BTreeSet<Pool>,
    /// Whether it leaves its balancers; `--force` does not.
    pub depool: bool,
    /// Whether a failed host keeps its slot.
    pub keep: bool,
    /// Whether it goes without a lease: a person wants it so, or nobody answers and its service says so.
    pub leaseless: bool,
    /// How long the worker may be gone by itself during the restart act, in milliseconds, such as while its host boots; 0 when it lives
    /// through it.
    #[serde(default)]
    pub away_ms: u64,
    /// Where an earlier sequence of this service took the host out and left it out, because it failed. The next good run
    /// puts it back.
    pub left_out: Balancers,
    /// What an earlier sequence of this service left in doubt.
    pub doubt: Option<Doubt>,
    /// How long what came before took.
    pub before: Vec<Timing>,
}

/// A restart act that a worker died in and that had not shown when the next one looked. Handed on, it may still come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// The generation that it satisfies when it comes.
    pub generation: Generation,
    /// Which incarnation of the service ran before the first act for that generation.
    pub identity: String,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// The sequence exists.
    Opened(Box<Plan>),
    /// Its lease is there.
    Granted {
        /// The fencing token of each pool.
        tokens: BTreeMap<Pool, Token>,
        /// How long it waited, in milliseconds.
        ms: u64,
    },
    /// A step is about to be acted.
    Acting {
        /// Which.
        step: Step,
        /// What was found before, that the undo or a look after a crash needs. Kept from the first try, when there are several.
        memo: Option<Memo>,
    },
    /// The depool or the restart was announced, and then not acted: its authority ran out while the record was written.
    Withheld {
        /// Which.
        step: Step,
    },
    /// A step was acted.
    Acted {
        /// Which.
        step: Step,
        /// What came of it.
        act: Act,
    },
    /// Somebody looked whether a step is done.
    Inspected {
        /// Which.
        step: Step,
        /// What was seen.
        seen: Seen,
    },
    /// The coordinator gave the last word: restart now.
    Begun {
        /// The generation that this restart satisfies.
        generation: Option<Generation>,
        /// How long the answer took, in milliseconds.
        ms: u64,
    },
    /// The depool is about to be undone.
    Undoing {
        /// Why.
        why: Unwind,
    },
    /// The depool was undone, or not.
    Undone {
        /// What came of it.
        act: Act,
    },
    /// A worker took the sequence up after the one before it died.
    Resumed,
    /// It is over; what is left is to tell the coordinator.
    Ended {
        /// What becomes of the lease.
        ending: Ending,
        /// What the coordinator is told.
        report: Box<Report>,
    },
    /// The coordinator knows.
    Settled,
}

impl Record {
    /// Its name, for people.
    pub fn word(&self) -> &'static str {
        match self {
            Record::Opened(_) => "opened",
            Record::Granted { .. } => "granted",
            Record::Acting { .. } => "acting",
            Record::Withheld { .. } => "withheld",
            Record::Acted { .. } => "acted",
            Record::Inspected { .. } => "inspected",
            Record::Begun { .. } => "begun",
            Record::Undoing { .. } => "undoing",
            Record::Undone { .. } => "undone",
            Record::Resumed => "resumed",
            Record::Ended { .. } => "ended",
            Record::Settled => "settled",
        }
    }
}

/// What came of one act.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Act {
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// What there is to say about it.
    pub note: String,
    /// What went wrong.
    pub fault: Option<Fault>,
}

/// What went wrong in an act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// In one line, for people.
    pub cause: String,
    /// What the failing program printed.
    pub output: String,
}

impl Fault {
    /// A fault that printed nothing.
    pub fn plain(cause: impl Into<String>) -> Fault {
        Fault { cause: cause.into(), output: String::new() }
    }
}

/// What was found before an act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Memo {
    /// Where the host was in rotation.
    Found(Found),
    /// Which incarnation of the service ran; `None` when nobody can tell.
    Identity(Option<String>),
}

/// Where the host was in rotation before the depool.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Found {
    /// It was in: this sequence takes it out, and puts it back.
    pub taken: Balancers,
    /// It was out, by an earlier sequence that failed: only a good end of this one puts it back.
    pub left: Balancers,
    /// It was out by somebody else's doing, and stays so.
    pub out: BTreeSet<String>,
}

impl Found {
    /// Sorts what the balancers said, given where an earlier sequence left the host out.
    ///
    /// # Errors
    /// A balancer that cannot tell. Then nothing may be done.
    pub fn of(looks: &[Look], left_out: &Balancers) -> Result<Found, Fault> {
        let mut found = Found::default();
        for look in looks {
            match (look.presence, left_out.get(&look.balancer)) {
                (Presence::Unknown, _) => return Err(Fault::plain(look.unknown())),
                (Presence::In, _) => {
                    found.taken.insert(look.balancer.clone(), look.restore.clone());
                }
                (Presence::Out, Some(restore)) if !look.is_foreign => {
                    found.left.insert(look.balancer.clone(), restore.clone());
                }
                (Presence::Out, _) => {
                    found.out.insert(look.balancer.clone());
                }
            }
        }
        Ok(found)
    }

    /// Where Stagger, in this sequence or an earlier one, took the host out: a good end puts it back there.
    pub fn ours(&self) -> Balancers {
        self.left.iter().chain(&self.taken).map(|(name, restore)| (name.clone(), restore.clone())).collect()
    }

    /// Whether the balancers agree that the host is out.
    pub fn confirmed(&self, looks: &[Look]) -> Seen {
        let expected = self.taken.keys().chain(self.left.keys()).chain(&self.out);
        if let Some(silent) = expected.into_iter().find(|name| looks.iter().all(|look| look.balancer != **name)) {
            return Seen::Unknown(format!("{silent} was not asked"));
        }
        if let Some(look) = looks.iter().find(|look| look.presence == Presence::Unknown) {
            return Seen::Unknown(look.unknown());
        }
        match looks.iter().find(|look| look.presence == Presence::In) {
            Some(_) => Seen::NotDone,
            None => Seen::Done,
        }
    }
}

/// What one balancer says of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Which balancer.
    pub balancer: String,
    /// Whether the host is in rotation there.
    pub presence: Presence,
    /// What the balancer said, when that helps.
    pub detail: String,
    /// What is needed to put the host back as it was.
    pub restore: String,
    /// Whether it is out by what Stagger never does, so by somebody else, even where Stagger had taken it out.
    pub is_foreign: bool,
    /// What puts it in again, where it is not in.
    #[serde(default)]
    pub remedy: Remedy,
}

impl Look {
    fn unknown(&self) -> String {
        format!("{} cannot tell whether the host is in rotation: {}", self.balancer, self.detail)
    }
}

/// Whether a step turned out to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// It is.
    Done,
    /// It is not.
    NotDone,
    /// Nobody can tell, and why.
    Unknown(String),
}

/// Why a sequence gives up before its restart act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unwind {
    /// A step failed.
    Failed(Step, Fault),
    /// It is not wanted any more, or has no authority; the text is for people.
    Cancelled(String),
    /// It gives way, and keeps its place in the queue; the text is for people.
    GaveWay(String),
}

/// A record that cannot follow what was recorded before: a journal of another make, or a bug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a sequence that is {at} cannot be followed by {record:?}")]
pub struct Illegal {
    /// Where the sequence stood.
    pub at: String,
    /// The record that came.
    pub record: &'static str,
}
