//! Whether a backup, or the store of a lock server that does not run, is sound: it is whole, every record can be read and is what its
//! key says, and together they keep the model's invariants.
//!
//! Changes nothing: a store is looked at in a copy in memory, so that even what opening would repair stays as it is.

use super::{Backup, BackupError, read};
use crate::store::form::{FORMS, Row};
use crate::store::reading::{self, Contents, record};
use crate::store::{FILE, MARK, StoreError, builder, marked, opened};
use model::invariants::OF_STATE;
use model::passage::Stage;
use model::state::State;
use model::time::Wall;
use redb::StorageBackend as _;
use redb::backends::InMemoryBackend;
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{BufReader, Read as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// How many wrong things are told at most.
const TOLD_MAX: usize = 20;

/// What was found sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// The version of the form that it has on disk.
    pub form: u64,
    /// How many records there are, by their kind: the first part of their keys.
    pub records: BTreeMap<String, u64>,
    /// When a backup was taken.
    pub taken: Option<Wall>,
    /// Whether records were still coming in from another coordinator: then they need not fit together yet.
    pub arriving: bool,
}

/// Why something is not sound.
#[derive(Debug, thiserror::Error)]
pub enum Unsound {
    /// The store cannot be opened; nothing was changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The backup is not whole.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// It can be read, and its records are wrong.
    #[error("{}", .0.join("; "))]
    Records(Vec<String>),
}

/// Looks at a backup.
///
/// # Errors
/// It is not sound.
pub fn verify_backup(path: &Path) -> Result<Sound, Unsound> {
    let backup = read(BufReader::new(File::open(path).map_err(BackupError::Io)?))?;
    let (sound, _) = examine_backup(&backup)?;
    Ok(sound)
}

/// The same for one that was read, with the state that it is.
pub(super) fn examine_backup(backup: &Backup) -> Result<(Sound, State), Unsound> {
    let rows = FORMS.bring(backup.head.form, backup.rows.clone())?;
    let (sound, state) = examine(&rows, backup.head.form)?;
    Ok((Sound { taken: Some(backup.taken()), ..sound }, state))
}

/// Looks at the store in a folder.
///
/// # Errors
/// A lock server uses it, or it is not sound.
pub fn verify_folder(folder: &Path) -> Result<Sound, Unsound> {
    let (path, mark) = (folder.join(FILE), folder.join(MARK));
    let io = |cause| StoreError::Io { path: path.clone(), cause };
    let marked = marked(folder)?;
    let mut file = match File::open(&path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound && marked.is_some() => {
            return Err(StoreError::Missing { path, mark }.into());
        }
        opened => opened.map_err(io)?,
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path }.into()),
        locked => locked.map_err(|cause| StoreError::Io { path: path.clone(), cause: cause.into() })?,
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io)?;
    let contents = contents(&bytes, &path)?;
    let form = contents.form;
    if let Some(marked) = marked.filter(|marked| *marked > form) {
        let what = format!("{} says form {marked}, and {} has form {form}", mark.display(), path.display());
        return Err(StoreError::Damaged { what }.into());
    }
    let (sound, _) = examine(&FORMS.bring(form, contents.rows)?, form)?;
    Ok(sound)
}

/// What the bytes of a store hold, every page of which is read and checked.
fn contents(bytes: &[u8], path: &Path) -> Result<Contents, StoreError> {
    let damaged = |what: String| StoreError::Damaged { what };
    if bytes.is_empty() {
        return Err(damaged(format!("{} is empty", path.display())));
    }
    let checked = || -> Result<Contents, StoreError> {
        let memory = InMemoryBackend::new();
        let filled = memory.set_len(bytes.len() as u64).and_then(|()| memory.write(0, bytes));
        filled.map_err(|cause| StoreError::Io { path: path.to_owned(), cause })?;
        let mut database = builder().create_with_backend(memory).map_err(|cause| opened(cause, path))?;
        match database.check_integrity() {
            Ok(true) => reading::contents(&database),
            Ok(false) => Err(damaged(format!("{} has pages that belong to nothing", path.display()))),
            Err(cause) => Err(opened(cause, path)),
        }
    };
    // redb asserts what it reads: a file that was damaged on purpose can end it in a panic.
    catch_unwind(AssertUnwindSafe(checked))
        .unwrap_or_else(|_| Err(damaged(format!("{} cannot be read", path.display()))))
}

/// Reads every record, counts them, and holds them against the invariants.
fn examine(rows: &[Row], form: u64) -> Result<(Sound, State), Unsound> {
    let (mut state, mut records, mut wrong) = (State::default(), BTreeMap::new(), Vec::new());
    for row in rows {
        match record(row) {
            Ok(record) => state.put(record),
            Err(what) => wrong.push(what),
        }
        let kind = row.0.split('/').next().unwrap_or_default();
        *records.entry(kind.to_owned()).or_insert(0) += 1;
    }
    let arriving = state.passage().is_some_and(|passage| passage.stage == Stage::Arriving);
    if wrong.is_empty() && !arriving {
        let broken = OF_STATE.iter().filter_map(|(rule, of)| Some(format!("not so: {rule}: {}", of(&state).err()?)));
        wrong.extend(broken);
    }
    if wrong.is_empty() {
        return Ok((Sound { form, records, taken: None, arriving }, state));
    }
    let more = wrong.len().saturating_sub(TOLD_MAX);
    wrong.truncate(TOLD_MAX);
    if more > 0 {
        wrong.push(format!("and {more} more"));
    }
    Err(Unsound::Records(wrong))
}
