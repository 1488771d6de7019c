//! A backup becomes the state of a lock server again, such that nobody is told what is no longer so.
//!
//! Owns in which order: everything is looked at before anything is written. What a copy of the past must not bring back is the
//! model's to say ([`State::restored`]); for how long a lock server that starts on it decides nothing is said here.

use super::sound::{Sound, Unsound, examine_backup};
use super::{BackupError, read};
use crate::clock;
use crate::store::form::Row;
use crate::store::{StoreError, make};
use model::Now;
use model::names::Token;
use model::state::State;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

/// Beyond the longest time to live: what clocks of hosts may differ in that time, and a call under way.
const SILENCE_MARGIN: Duration = Duration::from_secs(2);

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What the backup held.
    pub sound: Sound,
    /// For how long a lock server that starts on it decides nothing.
    pub silent: Duration,
    /// What every token granted from now on is above.
    pub floor: Token,
}

/// Makes the state in a folder, which must be empty or missing, of a backup. A lock server that starts on it decides nothing for
/// `silent`, and by default for the longest time to live: until whoever holds a lease that the backup does not know has given it up.
///
/// # Errors
/// The backup is not sound, or the folder has something in it: then nothing was written. Or it cannot be written.
pub fn restore(path: &Path, folder: &Path, silent: Option<Duration>) -> Result<Restored, Unsound> {
    let backup = read(BufReader::new(File::open(path).map_err(BackupError::Io)?))?;
    let (sound, mut state) = examine_backup(&backup)?;
    let now = Now { time: backup.time(), wall: clock::wall() };
    state.replay(&state.restored(now, backup.taken()));
    let silent = silent.unwrap_or_else(|| state.longest_ttl() + SILENCE_MARGIN);
    let rows = rows(&state)?;
    make(folder, &rows, now.time, silent)?;
    Ok(Restored { sound, silent, floor: state.token_floor() })
}

fn rows(state: &State) -> Result<Vec<Row>, StoreError> {
    let row = |record: model::state::Stored| {
        let unwritten = |cause: serde_json::Error| StoreError::Damaged { what: cause.to_string() };
        Ok((record.key().to_string(), serde_json::to_vec(&record).map_err(unwritten)?))
    };
    state.records().into_iter().map(row).collect()
}
