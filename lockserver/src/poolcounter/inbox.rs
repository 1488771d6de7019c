//! How the rest of the server speaks to the thread of the door: a list, and a bell that wakes it.
//!
//! Owns what can be looked at of the door, too.

use super::effect::{LeaseNumber, Outcome};
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long whoever looks waits: a door that is closed says nothing.
const LOOK_WAIT: Duration = Duration::from_secs(2);

/// Most locks that are shown at once.
pub(super) const LOCKS_SHOWN_MAX: usize = 1_000;

/// The locks of the door, as they are shown.
#[derive(Debug, Default, serde::Serialize)]
pub(crate) struct Locks {
    /// By key; who holds it first, then who waits, the oldest first.
    pub(super) locks: Vec<Lock>,
    /// Whether there are more than are shown.
    pub(super) cut: bool,
}

/// A lock, as it is shown.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Lock {
    pub(super) key: String,
    /// The address of the client.
    pub(super) client: String,
    /// `held`, `waiting`, or `waiting for anyone`.
    pub(super) state: &'static str,
    /// Since when, in milliseconds before now.
    pub(super) since_ms: u64,
    /// Whether the key names a pool: then it is a lease too.
    pub(super) is_lease: bool,
}

/// What was decided about leases, who wants to look at the door, and whether it is to close.
#[derive(Debug)]
pub(crate) struct Inbox {
    decided: Mutex<Vec<(LeaseNumber, Outcome)>>,
    looks: Mutex<Vec<oneshot::Sender<Locks>>>,
    is_stopping: AtomicBool,
    bell: OwnedFd,
}

impl Inbox {
    /// An empty one.
    pub(super) fn new() -> io::Result<Inbox> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Inbox { decided: Mutex::default(), looks: Mutex::default(), is_stopping: AtomicBool::new(false), bell })
    }

    fn list(&self) -> MutexGuard<'_, Vec<(LeaseNumber, Outcome)>> {
        // Each change to it is one push, or all that is in it taken out.
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what came of a lease.
    pub(super) fn decided(&self, lease: LeaseNumber, outcome: Outcome) {
        self.list().push((lease, outcome));
        self.ring();
    }

    /// The locks that there are; none once the door is closed.
    pub(crate) async fn look(&self) -> Locks {
        let (tells, told) = oneshot::channel();
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).push(tells);
        self.ring();
        tokio::time::timeout(LOOK_WAIT, told).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Who wants to look.
    pub(super) fn looks(&self) -> Vec<oneshot::Sender<Locks>> {
        std::mem::take(&mut *self.looks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has the door close.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.ring();
    }

    fn ring(&self) {
        // It cannot fail but when it has been rung four billion times for nothing: then it rings already.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    /// What wakes the door.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Takes everything out, and silences the bell beforehand.
    pub(super) fn take(&self) -> Vec<(LeaseNumber, Outcome)> {
        // Nothing to read is as good.
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        std::mem::take(&mut *self.list())
    }

    /// Whether the door is to close.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }
}
