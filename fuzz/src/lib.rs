//! What must hold of every parser, whatever it is given: beyond "no panic", what is read prints as what reads the same, and bounds hold.
//!
//! Each module has one `check`, which the fuzz target of its name calls, and the tests of the main workspace on every seed.

pub mod answers;
pub mod api;
pub mod config;
pub mod poolcounter;
pub mod records;
pub mod store;

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// What JSON reads as this type prints as JSON that reads the same. Returns it.
fn round<T: Serialize + DeserializeOwned + PartialEq + Debug>(json: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(json).ok()?;
    let printed = serde_json::to_vec(&read).expect("what was read can be printed");
    let again: T = serde_json::from_slice(&printed).expect("what was printed can be read");
    assert_eq!(read, again, "printed as {}", String::from_utf8_lossy(&printed));
    Some(read)
}
