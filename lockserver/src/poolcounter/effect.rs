//! What the keys decide, in words: what a client is told, what is asked of the domain, and what comes back from there.

use std::sync::Arc;

/// Most locks of one connection.
pub(super) const LOCKS_MAX: usize = 4;

/// A connection's number, used again once it is closed.
pub(super) type Connection = u32;
/// The number of a lock on a key that names a pool; never used again.
pub(super) type LeaseNumber = u64;

/// What a client is told in one word or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    Locked,
    Done,
    QueueFull,
    Timeout,
    LockHeld,
    Released,
    NotLocked,
    BadCommand,
    BadSyntax,
    WaitForResponse,
    /// Nothing can be decided: the server stops, or cannot write. The word is ours; clients know the first one.
    Unavailable,
}

impl Reply {
    /// As it is sent.
    pub(super) fn bytes(self) -> &'static [u8] {
        match self {
            Reply::Locked => b"LOCKED\n",
            Reply::Done => b"DONE\n",
            Reply::QueueFull => b"QUEUE_FULL\n",
            Reply::Timeout => b"TIMEOUT\n",
            Reply::LockHeld => b"LOCK_HELD\n",
            Reply::Released => b"RELEASED\n",
            Reply::NotLocked => b"NOT_LOCKED\n",
            Reply::BadCommand => b"ERROR BAD_COMMAND\n",
            Reply::BadSyntax => b"ERROR BAD_SYNTAX\n",
            Reply::WaitForResponse => b"ERROR WAIT_FOR_RESPONSE\n",
            Reply::Unavailable => b"ERROR UNAVAILABLE\n",
        }
    }
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Tell a connection a word.
    Say(Connection, Reply),
    /// Tell a connection figures.
    Tell(Connection, Vec<u8>),
    /// Ask for a lease of the pool that a key names. The connection goes on when [`Keys::decided`](super::keys::Keys::decided) says what came of it.
    Ask(Box<Asking>),
    /// Give a lease back, or the wait for it up.
    End(LeaseNumber),
    /// Leave a lease alone: its holder may still be at work, and cannot be heard any more. A wait for it is given up.
    Abandon(LeaseNumber),
}

/// A lease to be asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asking {
    pub(super) lease: LeaseNumber,
    pub(super) connection: Connection,
    /// Which of the connection's locks it is, from 1.
    pub(super) ordinal: usize,
    pub(super) key: Arc<[u8]>,
    pub(super) timeout_s: u32,
}

/// What came of a lease that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It stands in the queue.
    Queued,
    /// It is there.
    Granted,
    /// It will not come.
    Refused(Reply),
}
