//! How the rest of the server speaks to the thread of the door: a list, and a bell that wakes it.

use super::keys::{LeaseNumber, Outcome};
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What was decided about leases, and whether the door is to close.
#[derive(Debug)]
pub(super) struct Inbox {
    decided: Mutex<Vec<(LeaseNumber, Outcome)>>,
    is_stopping: AtomicBool,
    bell: OwnedFd,
}

impl Inbox {
    /// An empty one.
    pub(super) fn new() -> io::Result<Inbox> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Inbox { decided: Mutex::default(), is_stopping: AtomicBool::new(false), bell })
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
