//! A store that a fleet shares: what Redis and etcd do for a domain.
//!
//! The domain's records lie in the store. Whoever sits in the domain's **seat**, its **steward**, decides: it has read every
//! record, and every write of its own bears a proof that nobody else has taken the seat since. Everyone else **posts** a
//! call and waits for its answer. So a store needs no rule about leases: it keeps records, calls and answers, and lets one
//! sit at a time.
//!
//! What must hold of every store, and is tested for each of them:
//! - a write or an answer of a steward whose seat was taken by another changes nothing, and says so ([`StoreError::Deposed`]);
//! - one commit is applied whole or not at all, and what was committed is what the next steward loads;
//! - a call that was posted stays until it is answered, taken back or out of time, whoever sits;
//! - an answer is given once to a caller that goes on looking by one store, or stays until it is out of time.
//!
//! Nothing rests on the store's clock but when an empty seat can be taken, and when what nobody wants is thrown away.

pub mod etcd;
pub mod finding;
pub mod memory;
pub mod redis;

use futures_util::future::BoxFuture;
use model::names::Id;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long a steward that says nothing keeps its seat.
pub const SEAT_KEPT: Duration = Duration::from_secs(5);
/// How long an answer that nobody fetches is kept.
pub const ANSWER_KEPT: Duration = Duration::from_secs(60);
/// Longest call and longest answer, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// What a store does, under way.
pub type Doing<'a, T> = BoxFuture<'a, Result<T, StoreError>>;
/// A call's answer.
pub type CallAnswer = (CallId, Vec<u8>);
/// A record: its key, as `lease/web01`, and its text.
pub type Record = (String, Vec<u8>);
/// A record to be written; `None` deletes it.
pub type Write = (String, Option<Vec<u8>>);

/// Why a store did not do as asked. Each fits after "cannot …: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It was certainly not done: the store cannot be reached, or refuses for now.
    #[error("{0}")]
    Away(String),
    /// Nobody can tell whether it was done: it was sent, and no answer came.
    #[error("no answer, so nobody knows whether it was done: {0}")]
    Unknown(String),
    /// Somebody else has the seat; nothing was changed.
    #[error("another steward has the seat")]
    Deposed,
    /// What lies there may be older than what was written last: the store was replaced by a copy of it. Nothing was changed.
    #[error("the store was replaced by a copy, which may lack what was written last")]
    Replaced,
    /// The store must not be used as it is, or cannot be: a person must change that first.
    #[error("{0}")]
    Unfit(String),
}

/// One call: who waits for it, and which of its calls it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId {
    /// The caller's random name.
    pub caller: Id,
    /// A number of the caller's own, never used twice.
    pub number: u64,
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.caller, self.number)
    }
}

impl std::str::FromStr for CallId {
    type Err = String;

    fn from_str(text: &str) -> Result<CallId, String> {
        let read = || {
            let (caller, number) = text.split_once('/')?;
            Some(CallId { caller: caller.parse().ok()?, number: number.parse().ok()? })
        };
        read().ok_or_else(|| format!("{text:?} names no call"))
    }
}

/// What a steward hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A call came, or lay there when the seat was taken. The same call may be heard twice.
    Call {
        /// Which.
        id: CallId,
        /// What is asked.
        request: Vec<u8>,
    },
    /// Its caller wants no answer any more.
    Gone(CallId),
}

/// Whether somebody sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    /// Somebody does, or did until a few seconds ago.
    Taken,
    /// Nobody does.
    Empty,
}

pub use finding::{Finding, Verdict, is_loopback};

/// A store, as callers and would-be stewards see it.
///
/// Dropping a future gives it up; whether it was done is then unknown. [`Store::answer`] may lose an answer so, where an answer
/// is fetched once and not kept until its caller calls again.
pub trait Store: fmt::Debug + Send + Sync {
    /// The store's address and domain, for people: without password.
    fn name(&self) -> String;

    /// Posts a call. It may be thrown away when it is not answered within `kept`. Returns whether somebody sits who will hear it.
    fn post(&self, call: &CallId, request: Vec<u8>, kept: Duration) -> Doing<'_, Seat>;

    /// Waits for the next answer to this caller; `None` when none came within `patience`. One at a time per caller.
    fn answer(&self, caller: &Id, patience: Duration) -> Doing<'_, Option<CallAnswer>>;

    /// Takes a call back: its answer is not wanted any more. Nothing, when there is none.
    fn take_back(&self, call: &CallId) -> Doing<'_, ()>;

    /// Whether somebody sits.
    fn seat(&self) -> Doing<'_, Seat>;

    /// Looks at the store's own setup: what may lose leases, or stop them. Changes nothing that stays.
    ///
    /// What cannot be looked at is a finding, too; fails only when nothing can be asked at all.
    fn examine(&self) -> Doing<'_, Vec<Finding>>;

    /// Sits down, when the seat is empty; `None` when it is not.
    fn sit(&self, steward: &Id) -> Doing<'_, Option<Box<dyn Sitting>>>;
}

/// The seat, taken: what only a steward may do. Every method fails with [`StoreError::Deposed`] once another sits.
pub trait Sitting: fmt::Debug + Send + Sync {
    /// Whether the store was replaced by a copy, or started again, since a steward last wrote: then what is loaded may lack
    /// what that one wrote last. It stays so for whoever sits, until one of them commits.
    fn may_lack(&self) -> bool;

    /// Every record, each as safe as one that was committed.
    fn load(&self) -> Doing<'_, Vec<Record>>;

    /// Writes and deletes records, whole or not at all. When it returns they are as safe as the store makes them. Stays seated.
    fn commit(&self, writes: Vec<Write>) -> Doing<'_, ()>;

    /// Waits until everything written so far is wherever it will ever be, for a write that nobody may miss; fails when that takes
    /// long. A store whose commits are that safe anyway has nothing to wait for.
    fn spread(&self) -> Doing<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Waits for calls, at most `patience`; at first it hears those that lay there. One at a time.
    fn hear(&self, patience: Duration) -> Doing<'_, Vec<Heard>>;

    /// Answers calls: each is over with it. One whose caller took it back is none any more.
    fn reply(&self, answers: Vec<CallAnswer>) -> Doing<'_, ()>;

    /// Takes an answer back. Returns whether it lay there: then its caller has not fetched it, or has called nothing since.
    fn take_back_answer(&self, call: &CallId) -> Doing<'_, bool>;

    /// Stays seated: to be said more often than every [`SEAT_KEPT`].
    fn stay(&self) -> Doing<'_, ()>;

    /// Removes the domain whole: its records, what was called and answered, and the seat. Another may begin it anew.
    fn erase(&self) -> Doing<'_, ()>;

    /// Gets up, so that another can sit at once. In the same moment a few calls are answered, with word of it.
    fn leave(&self, answers: Vec<CallAnswer>) -> Doing<'_, ()>;
}

/// The store at this URL; none when it is no store's. Connects when something is asked, not before.
///
/// # Errors
/// It is the URL of a store, and wrong: `NotApplied`, and a retry cannot help.
pub fn open(url: &str) -> crate::Result<Option<Arc<dyn Store>>> {
    let wrong = |error: StoreError| crate::Error::NotApplied { retry: false, why: error.to_string() };
    let Some((scheme, _)) = url.split_once("://") else { return Ok(None) };
    Ok(match scheme {
        "redis" | "rediss" | "redis+sentinel" | "redis+cluster" | "rediss+cluster" => {
            Some(Arc::new(redis::RedisStore::new(url).map_err(wrong)?))
        }
        "etcd" | "etcds" => Some(Arc::new(etcd::EtcdStore::new(url).map_err(wrong)?)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_named_readably() {
        let id = CallId { caller: "a1b2".parse().expect("an id"), number: 7 };
        assert_eq!(id.to_string(), "a1b2/7");
        assert_eq!("a1b2/7".parse(), Ok(id));
        for wrong in ["", "a1b2", "a1b2/", "/7", "a1b2/x"] {
            assert!(wrong.parse::<CallId>().is_err(), "{wrong}");
        }
    }
}
