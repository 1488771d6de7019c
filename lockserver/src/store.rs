//! The store: every record of the domain in one redb file, one row each.
//!
//! Owns when the file may be opened, and that a state of an older `form` is brought forward. A file that is missing, damaged,
//! foreign or in use is refused, and never taken for an empty one. Decides nothing, and keeps no state of its own.

pub(crate) mod form;
pub(crate) mod reading;

use crate::Place;
use crate::commit::Keep;
use crate::power::Disk;
use form::{FORMAT, FORMS, Forms, Row};
use model::change::Key;
use model::state::{State, Stored};
use model::time::Time;
use reading::{Contents, Reader};
use redb::{Builder, Database, DatabaseError, Durability, StorageBackend, TableDefinition};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The file with the state.
pub(crate) const FILE: &str = "state.redb";
/// The file with the state before it is whole for the first time, and copies of it.
const FILE_NEW: &str = "state.redb.new";
/// The mark that there is a state: its absence, with the mark there, is a loss.
pub(crate) const MARK: &str = "FORMAT";
/// The mark before it is whole.
const MARK_NEW: &str = "FORMAT.new";
/// Memory for pages read before: the state itself is in memory, so little is gained from more.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// The version of the form.
const META_FORMAT: &str = "format";
/// The own clock when it was last written.
const META_TIME: &str = "time_ms";
/// For how long nothing is decided when the state is next used, in milliseconds: it was restored, and there may be leases that it
/// does not know of. Gone with the first change.
const META_SILENT: &str = "silent_ms";

/// Why a store was not opened; nothing was changed. Each fits after "cannot open the store: ".
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder or the file cannot be used at all.
    #[error("{}: {cause}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// Another process has it.
    #[error("another lock server uses {}; stop that one, or choose another folder", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// There was a state, and it is gone.
    #[error("{} is missing, though there was a state; restore it, or remove {} to begin with nothing", path.display(), mark.display())]
    Missing {
        /// What is missing.
        path: PathBuf,
        /// What says that it was there.
        mark: PathBuf,
    },
    /// A state was to be made where there is something.
    #[error("{} is not empty; choose another folder, or move away what is there", path.display())]
    Occupied {
        /// Which folder.
        path: PathBuf,
    },
    /// It cannot be read, or not to its end.
    #[error("the state is damaged: {what}; restore a copy of it, or move the folder away to begin with nothing")]
    Damaged {
        /// What is wrong.
        what: String,
    },
    /// Another version wrote it, and nothing leads from its form to this one's.
    #[error("the state has form {found}, and this version reads forms up to {FORMAT}; start the version that wrote it")]
    Format {
        /// The form that it has.
        found: String,
    },
}

/// An open store.
#[derive(Debug)]
pub(crate) struct Store {
    database: Arc<Database>,
    /// Whether what is next written ends the silence that the state was restored with.
    silent: AtomicBool,
}

/// What was in it.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Every record.
    pub(crate) state: State,
    /// The own clock when it was last written.
    pub(crate) time: Time,
    /// For how long nothing is to be decided at first.
    pub(crate) silent: Duration,
}

/// Opens a store, or makes a new one where there was none.
pub(crate) fn open(place: Place) -> Result<(Store, Loaded), StoreError> {
    open_in(place, &FORMS)
}

/// The same for a program that reads these forms.
fn open_in(place: Place, forms: &Forms) -> Result<(Store, Loaded), StoreError> {
    let database = match place {
        Place::Folder(folder) => open_folder(&folder, &Disk::default(), forms)?,
        Place::Fragile { folder, cut } => open_folder(&folder, &Disk::fragile(cut), forms)?,
        Place::Backend(backend) => open_backend(backend, forms)?,
    };
    let loaded = reading::contents(&database).and_then(|contents| contents.load(forms))?;
    let silent = AtomicBool::new(!loaded.silent.is_zero());
    Ok((Store { database: Arc::new(database), silent }, loaded))
}

pub(crate) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

fn open_folder(folder: &Path, disk: &Disk, forms: &Forms) -> Result<Database, StoreError> {
    let (file, mark) = (folder.join(FILE), folder.join(MARK));
    let io = |path: &Path| {
        let path = path.to_owned();
        move |cause| StoreError::Io { path, cause }
    };
    disk.make_folder(folder).map_err(io(folder))?;
    let marked = marked(folder)?;
    if let Some(marked) = marked {
        forms.way(marked)?;
    }
    match fs::metadata(&file) {
        // redb would take an empty file for a new one.
        Ok(meta) if meta.len() == 0 => {
            return Err(StoreError::Damaged { what: format!("{} is empty", file.display()) });
        }
        Ok(_) => {}
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound && marked.is_some() => {
            return Err(StoreError::Missing { path: file, mark });
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            create(folder, disk, |database| fill(database, forms, &[], Time(0), Duration::ZERO))?
        }
        Err(cause) => return Err(io(&file)(cause)),
    }
    let open = || disk.open(&builder(), &file).map_err(|cause| opened(cause, &file));
    let mut database = open()?;
    let form = reading::form(&database)?;
    if !forms.way(form)?.is_empty() {
        // Closed, so that the copy is of a whole file; opened again, it is still this program's alone, or is refused.
        drop(database);
        keep_copy(folder, disk, form)?;
        database = open()?;
        bring_forward(&database, forms)?;
    }
    // Where the power failed between both, the file is a step ahead of its mark.
    if marked != Some(forms.current) {
        write_mark(folder, disk, forms)?;
    }
    Ok(database)
}

/// The form that the mark tells of; none when there is no mark.
///
/// # Errors
/// It cannot be read, or tells of something else.
pub(crate) fn marked(folder: &Path) -> Result<Option<u64>, StoreError> {
    let mark = folder.join(MARK);
    match fs::read_to_string(&mark) {
        Ok(text) => {
            let found = text.trim();
            found.parse().map(Some).map_err(|_| StoreError::Format { found: found.to_owned() })
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(StoreError::Io { path: mark, cause }),
    }
}

/// Writes the mark, whole under another name first: half a mark would be taken for another version's.
fn write_mark(folder: &Path, disk: &Disk, forms: &Forms) -> Result<(), StoreError> {
    let (new, mark) = (folder.join(MARK_NEW), folder.join(MARK));
    let written = disk.write(&new, format!("{}\n", forms.current).as_bytes());
    written.and_then(|()| disk.rename(&new, &mark)).and_then(|()| disk.sync_folder(folder)).map_err(io_of(&mark))
}

fn io_of(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_owned();
    move |cause| StoreError::Io { path, cause }
}

/// Keeps what was there before the form changed, for whoever wants to go back.
fn keep_copy(folder: &Path, disk: &Disk, form: u64) -> Result<(), StoreError> {
    let (file, new, copy) = (folder.join(FILE), folder.join(FILE_NEW), folder.join(format!("{FILE}.form{form}")));
    let kept = fs::read(&file).and_then(|bytes| disk.write(&new, &bytes));
    kept.and_then(|()| disk.rename(&new, &copy)).and_then(|()| disk.sync_folder(folder)).map_err(io_of(&copy))?;
    tracing::info!(
        "the state has form {form} and is brought forward; what it was before is kept in {}",
        copy.display()
    );
    Ok(())
}

/// Writes every record in the present form, all of it or nothing.
fn bring_forward(database: &Database, forms: &Forms) -> Result<(), StoreError> {
    let Contents { rows, form, time, silent } = reading::contents(database)?;
    fill(database, forms, &forms.bring(form, rows)?, time, silent)
}

/// Makes a store where there is none, from rows of the present form; nothing is decided for a while when it is first used.
///
/// # Errors
/// The folder has something in it, or cannot be written.
pub(crate) fn make(folder: &Path, rows: &[Row], time: Time, silent: Duration) -> Result<(), StoreError> {
    let disk = Disk::default();
    disk.make_folder(folder).map_err(io_of(folder))?;
    let mut entries = fs::read_dir(folder).map_err(io_of(folder))?;
    if entries.next().is_some() {
        return Err(StoreError::Occupied { path: folder.to_owned() });
    }
    create(folder, &disk, |database| fill(database, &FORMS, rows, time, silent))?;
    write_mark(folder, &disk, &FORMS)
}

/// Makes a new file whole under another name first: what bears the name is never half made.
fn create(
    folder: &Path,
    disk: &Disk,
    fill: impl FnOnce(&Database) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let (file, new) = (folder.join(FILE), folder.join(FILE_NEW));
    let io = |cause| StoreError::Io { path: new.clone(), cause };
    match fs::remove_file(&new) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(io(cause)),
        _ => {}
    }
    let database = disk.create(&builder(), &new).map_err(|cause| opened(cause, &new))?;
    fill(&database)?;
    drop(database);
    disk.rename(&new, &file).map_err(io)?;
    disk.sync_folder(folder).map_err(|cause| StoreError::Io { path: folder.to_owned(), cause })
}

fn open_backend(backend: Box<dyn StorageBackend>, forms: &Forms) -> Result<Database, StoreError> {
    let path = Path::new("the backend");
    let is_new = backend.len().map_err(|cause| StoreError::Io { path: path.to_owned(), cause })? == 0;
    let database = builder().create_with_backend(Boxed(backend)).map_err(|cause| opened(cause, path))?;
    if is_new {
        fill(&database, forms, &[], Time(0), Duration::ZERO)?;
    }
    if !forms.way(reading::form(&database)?)?.is_empty() {
        bring_forward(&database, forms)?;
    }
    Ok(database)
}

/// Writes these rows and no others, with the present form and a clock.
fn fill(database: &Database, forms: &Forms, rows: &[Row], time: Time, silent: Duration) -> Result<(), StoreError> {
    let write = || -> Result<(), redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.delete_table(RECORDS)?;
        let mut table = transaction.open_table(RECORDS)?;
        for (key, value) in rows {
            table.insert(key.as_str(), value.as_slice())?;
        }
        drop(table);
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_FORMAT, forms.current)?;
        meta.insert(META_TIME, time.0)?;
        match model::time::millis(silent) {
            0 => meta.remove(META_SILENT)?,
            ms => meta.insert(META_SILENT, ms)?,
        };
        drop(meta);
        transaction.commit()?;
        Ok(())
    };
    write().map_err(damaged)
}

fn damaged(cause: redb::Error) -> StoreError {
    StoreError::Damaged { what: cause.to_string() }
}

pub(crate) fn opened(cause: DatabaseError, path: &Path) -> StoreError {
    match cause {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.to_owned() },
        DatabaseError::UpgradeRequired(found) => StoreError::Format { found: format!("redb {found}") },
        DatabaseError::Storage(redb::StorageError::Io(cause)) if cause.kind() != std::io::ErrorKind::InvalidData => {
            StoreError::Io { path: path.to_owned(), cause }
        }
        other => StoreError::Damaged { what: format!("{}: {other}", path.display()) },
    }
}

impl Store {
    /// What reads it while it is written, for as long as it is open.
    pub(crate) fn reader(&self) -> Reader {
        Reader::of(&self.database)
    }
}

impl Keep for Store {
    fn commit(&self, records: &[(Key, Option<Stored>)], time: Time) -> Result<(), String> {
        let mut rows = Vec::with_capacity(records.len());
        for (key, record) in records {
            let value = record.as_ref().map(serde_json::to_vec).transpose().map_err(|cause| cause.to_string())?;
            rows.push((key.to_string(), value));
        }
        let write = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            let mut table = transaction.open_table(RECORDS)?;
            for (key, value) in &rows {
                match value {
                    Some(value) => table.insert(key.as_str(), value.as_slice())?,
                    None => table.remove(key.as_str())?,
                };
            }
            drop(table);
            let mut meta = transaction.open_table(META)?;
            meta.insert(META_TIME, time.0)?;
            // The clock alone moves in the silence too.
            let ends_silence = !rows.is_empty() && self.silent.load(Ordering::Relaxed);
            if ends_silence {
                meta.remove(META_SILENT)?;
            }
            drop(meta);
            transaction.commit()?;
            if ends_silence {
                self.silent.store(false, Ordering::Relaxed);
            }
            Ok(())
        };
        write().map_err(|cause| cause.to_string())
    }
}

/// A backend of any kind, as redb wants it.
#[derive(Debug)]
struct Boxed(Box<dyn StorageBackend>);

impl StorageBackend for Boxed {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.0.write(offset, data)
    }

    fn close(&self) -> Result<(), std::io::Error> {
        self.0.close()
    }
}

#[cfg(test)]
mod tests;
