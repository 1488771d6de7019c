//! How the sequences of this host ended: counts that survive the worker's restarts, and that a one-shot command adds to.
//!
//! Owns one small file in the state folder. It is written under the host's lock, and moved into place whole; what a crash
//! loses is one count. Nothing is decided by it.

use model::names::Service;
use model::rollout::{Outcome, Report};
use model::time::Wall;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

/// The file in the state folder.
pub const TALLY_FILE: &str = "outcomes.json";

/// How sequences ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// By service and outcome.
    pub ended: BTreeMap<Service, BTreeMap<String, Ended>>,
    /// The services whose last sequence needs a person.
    pub stuck: BTreeSet<Service>,
}

/// One outcome of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ended {
    /// How often.
    pub count: u64,
    /// When last, in milliseconds since 1970.
    pub last_ms: u64,
}

impl Tally {
    /// What the file says; nothing, when there is none or it cannot be read.
    pub fn load(state: &Path) -> Tally {
        let text = std::fs::read(state.join(TALLY_FILE)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Counts one end, and writes the file.
    ///
    /// # Errors
    /// The file cannot be written; it is as it was.
    pub fn count(state: &Path, service: &Service, report: &Report, now: Wall) -> io::Result<()> {
        let mut tally = Tally::load(state);
        let ended = tally.ended.entry(service.clone()).or_default().entry(report.outcome.to_string()).or_default();
        ended.count += 1;
        ended.last_ms = now.0;
        if report.stuck {
            tally.stuck.insert(service.clone());
        } else if matches!(report.outcome, Outcome::Restarted | Outcome::Failed) {
            tally.stuck.remove(service);
        }
        let fresh = state.join(format!("{TALLY_FILE}.new"));
        std::fs::write(&fresh, serde_json::to_vec(&tally)?)?;
        std::fs::rename(&fresh, state.join(TALLY_FILE))
    }
}
