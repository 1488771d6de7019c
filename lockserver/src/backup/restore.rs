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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Place;
    use crate::backup::{verify_backup, verify_folder};
    use model::change::Key;
    use model::state::Stored;

    /// A backup as the first release takes it, with a record of nearly every kind.
    const FORM_1: &str = include_str!("form1.jsonl");

    #[test]
    fn a_backup_of_the_first_form_is_read_by_every_later_version() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, data) = (folder.path().join("backup"), folder.path().join("data"));
        std::fs::write(&file, FORM_1).expect("written");
        let sound = verify_backup(&file).expect("sound");
        assert_eq!((sound.form, sound.records.values().sum::<u64>()), (1, 18));
        let restored = restore(&file, &data, None).expect("restored");
        assert_eq!(restored.silent, Duration::from_secs(32), "the longest time to live, and the margin");
        let kept = verify_folder(&data).expect("sound");
        assert_eq!(kept.records.values().sum::<u64>(), 21, "a floor of tokens, and two lines of history");
        let (_, loaded) = crate::store::open(Place::Folder(data)).expect("a state");
        assert_eq!(loaded.silent, restored.silent);
        let lease = loaded.state.record(&Key::Lease("mw1".parse().expect("a holder")));
        assert!(matches!(lease, Some(Stored::Lease(lease)) if lease.claim.as_str() == "c-mw1"));
        assert!(loaded.state.token_floor() == restored.floor && restored.floor > 1_000_000_000_000_000);
    }

    #[test]
    fn a_backup_that_is_not_sound_makes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, data) = (folder.path().join("backup"), folder.path().join("data"));
        std::fs::write(&file, FORM_1.replace("\"app\":1", "\"app\":2")).expect("written");
        restore(&file, &data, None).expect_err("damaged");
        assert!(!data.exists());
    }
}
