//! What happens to a host, and what it has done.
//!
//! Owns the vocabulary between the pure host and its driver. Decides nothing.

use crate::host::Locked;
use crate::names::{Id, Service};
use crate::request::{Answer, Ask, Begin, BeginAsk, Own, Renew, Settle, Settled, Welcome};
use crate::rollout::Report;
use crate::sequence::{Act, Fault, Look, Record, Seen, Step};
use crate::time::Time;

/// What happened. `R` is the journal's receipt, which only a journal makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<R> {
    /// The worker started.
    Started,
    /// The coordinator said what there is for this host.
    Joined(Box<Welcome>),
    /// The journal holds something unfinished, and nobody is at it.
    Noticed,
    /// The host's lock is taken.
    Locked(Box<Locked>),
    /// Somebody else has the host's lock: who, for people.
    Busy(String),
    /// A journal is damaged, and only a person can mend it: why.
    Damaged(String),
    /// The lock or the journals cannot be used right now: why.
    NotLocked(String),
    /// The service's check answered.
    Checked(Checked),
    /// What was to be recorded is on disk.
    Recorded(R),
    /// It could not be written: why.
    NotRecorded(String),
    /// The coordinator answered an ask, or did not: why.
    Answered {
        /// When the request was sent.
        sent: Time,
        /// What it said.
        answer: Result<Answer, Unheard>,
    },
    /// The coordinator answered a renewal, or did not: why.
    Owned {
        /// Whose renewal.
        claim: Id,
        /// When the request was sent.
        sent: Time,
        /// What it said.
        own: Result<Own, Unheard>,
    },
    /// What must be known before an act is known.
    Prepared(Prepared),
    /// The coordinator gave the last word, or did not: why.
    Begun {
        /// When the request was sent.
        sent: Time,
        /// What it said.
        begin: Result<Begin, Unheard>,
    },
    /// A step was acted.
    Acted(Act),
    /// The depool was undone, or not.
    Undone(Act),
    /// The balancers were asked.
    Looked(Vec<Look>),
    /// The balancers were asked once more, with the receipt of the restart act that waits for it.
    LookedAgain(R, Vec<Look>),
    /// Whether the interrupted restart act was done.
    Inspected(Seen),
    /// There is something new to say about the act under way.
    Noted(String),
    /// The coordinator took a settle, or did not answer: why.
    Settled(Result<Settled, Unheard>),
    /// [`crate::host::Host::wake_at`] has come.
    Woke,
    /// Somebody asked the worker to stop.
    StopRequested,
}

/// Why the coordinator did not answer what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unheard {
    /// For people.
    pub why: String,
    /// Whether it said that the request itself is wrong: sent again as it is, it is refused again.
    pub is_for_good: bool,
}

/// What a service's check answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// The figures, for people.
    pub note: String,
    /// Whether the service needs a restart; or why nobody can tell.
    pub restart: Result<bool, Fault>,
}

/// What must be known before an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared {
    /// Before the depool: what each balancer says. Empty only when the service has none.
    Looks(Vec<Look>),
    /// Before the restart: which incarnation of the service runs, when that can be told.
    Identity(Option<String>),
}

/// What is to be done. All but [`Effect::Renew`], [`Effect::Join`], [`Effect::Unlock`], [`Effect::Exit`] and
/// `Prepare(Step::Restart)` are main effects, each answered by one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<R> {
    /// Take the host's lock, and look at the journal.
    Lock,
    /// Give the host's lock back.
    Unlock,
    /// Join afresh, now; what the coordinator said before is old.
    Join,
    /// Ask whether the service needs a restart.
    Check(Service),
    /// Write these, in this order, and sync them.
    Record(Vec<Record>),
    /// Ask for a lease; the coordinator may keep the call open for so long.
    Ask {
        /// The request.
        ask: Ask,
        /// In milliseconds.
        hold_ms: u64,
    },
    /// Say that the holder is at work.
    Renew(Renew),
    /// Find out what must be known before this step. Before a restart that goes on beside the main effect.
    Prepare(Step),
    /// Ask for the last word.
    Begin(BeginAsk),
    /// Act this step of the sequence under way. The receipt says that it was recorded.
    Act(R, Step),
    /// Put the host back where the sequence under way took it out. The receipt says that it was recorded.
    Undo(R),
    /// Ask the balancers of this service whether the host is in rotation.
    Look(Service),
    /// The restart act is recorded, as the receipt says: ask the balancers once more. Between their answer and the act is nothing.
    LookAgain(R, Service),
    /// Find out whether the interrupted restart act was done.
    Inspect {
        /// Whether it was looked for before, for as long as it may take: then one look is enough.
        is_again: bool,
    },
    /// Tell the coordinator how it ended.
    Settle(Settle),
    /// End the driver.
    Exit(Finish),
}

/// What a one-shot command is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    /// What restarts.
    pub service: Service,
    /// Whether it restarts whatever the check says.
    pub always: bool,
    /// Whether it stays in its balancers.
    pub force: bool,
    /// Whether it restarts without a lease, and in its balancers when they do not confirm that it has left.
    pub emergency: bool,
    /// Whether it restarts without a lease when the coordinator cannot be reached, and in its balancers when they cannot tell
    /// where it is.
    pub unreachable_restart: bool,
    /// How long it waits for a lease at most, in milliseconds; the pools' own bound when not said.
    pub wait_ms: Option<u64>,
}

/// How the driver ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// A daemon that was asked to stop.
    Stopped,
    /// Restarted, well, and back where it was.
    Restarted(Box<Report>),
    /// The check asked for no restart: its figures.
    NothingToDo(String),
    /// A step failed; all is undone, or kept out as designed.
    Failed(Box<Report>),
    /// No lease, and nothing was done: why.
    NoLease(String),
    /// Ran without a lease.
    Leaseless(Box<Report>),
    /// Ran in its balancers, since they did not confirm that it had left.
    Unconfirmed {
        /// How it went.
        report: Box<Report>,
        /// What they said.
        why: String,
        /// Whether it ran without a lease too.
        leaseless: bool,
    },
    /// A person is needed.
    Stuck(Box<Report>),
    /// An earlier sequence, which had to be finished first, failed or is stuck; and then there was no restart.
    Unrun {
        /// How the earlier one ended.
        earlier: Box<Report>,
        /// Why there was no restart.
        instead: Box<Finish>,
    },
    /// Asked to stop before the restart act; nothing is left of it.
    Interrupted,
}

impl Finish {
    /// The exit code that says so.
    pub fn exit_code(&self) -> u8 {
        match self {
            Finish::Stopped | Finish::Restarted(_) | Finish::NothingToDo(_) => 0,
            Finish::Failed(_) => 1,
            Finish::NoLease(_) => 2,
            Finish::Leaseless(_) | Finish::Unconfirmed { .. } => 3,
            Finish::Stuck(_) => 4,
            Finish::Unrun { earlier, .. } => {
                if earlier.stuck {
                    4
                } else {
                    1
                }
            }
            Finish::Interrupted => 143,
        }
    }
}
