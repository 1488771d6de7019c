//! The sequences on disk: their journals, and the lock that lets one run at a time.
//!
//! Owns the files under the state folder: [`journal`] (one file per sequence, a line per record, synced before the act),
//! [`store`] (which of them is unfinished, what they left behind), `disowned` (what of that somebody else moved since), [`lock`] (who is at work on this host), over [`disk`], whose
//! [`power`] tests can cut. Never decides what a sequence does next: that is the model's. Called by the worker.

pub mod disk;
mod disowned;
pub mod journal;
pub mod lock;
pub mod power;
pub mod store;

#[cfg(test)]
mod tests;

pub use journal::{Journal, Receipt};
pub use lock::{HostLock, LockError};
pub use store::{Journals, Past, StoreError};
