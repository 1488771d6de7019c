//! The lock server over HTTP, from outside: one binary, a file per subject.

mod access;
mod common;
mod doors;
mod events;
mod fleetlock;
mod held;
mod manual;
mod passage;
mod poolcounter;
mod relay;
mod round_trip;
mod slow;
mod steward;
mod store;
