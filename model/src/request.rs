//! What can be asked of the coordinator, and what it answers.
//!
//! Owns the requests and answers, a file for each kind of asker; they are also what travels over HTTP. A refusal is an
//! answer, not an error.

mod admin;
mod ask;
mod hold;
mod join;

pub use admin::{Act, Admin, Announce, Done, for_nobody, replayed};
pub use ask::{Answer, Ask, Granted, Holding, Queued, Refusal, RefusalKind};
pub use hold::{AWAY_MS_MAX, Begin, BeginAsk, Ending, Own, Renew, Settle, Settled};
pub use join::{Join, Joined, Owed, Quiet, Welcome};

use crate::defaults::Load;
use crate::passage::{Move, Shut};
use serde::{Deserialize, Serialize};

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
    /// The lock server's file was read.
    Load(Load),
    /// A person moves the domain to another coordinator, or from one.
    Move(Move),
    /// Time went by.
    Tick,
    /// A request that came from somewhere: the history says from where.
    From {
        /// The address.
        from: String,
        /// What is asked.
        request: Box<Request>,
    },
}

impl Request {
    /// The same, as it came from an address; as it is when nobody knows from where.
    #[must_use]
    pub fn coming_from(self, from: Option<String>) -> Request {
        match from {
            Some(from) => Request::From { from, request: Box::new(self) },
            None => self,
        }
    }

    /// From where it came, and what is asked.
    pub fn parts(&self) -> (Option<&str>, &Request) {
        match self {
            Request::From { from, request } => (Some(from), request.parts().1),
            other => (None, other),
        }
    }
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
    /// To [`Request::Admin`], [`Request::Load`] and [`Request::Move`].
    Did(Done),
    /// To anything but the steps of a passage, while the domain is shut: nothing was decided.
    Shut(Shut),
    /// To what has no answer.
    Noted,
}
