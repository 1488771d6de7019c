//! The store: every record of the domain in one redb file, one row each.
//!
//! Owns the file's form and when it may be opened. A file that is missing, damaged, foreign or in use is refused, and
//! never taken for an empty one. Decides nothing, and keeps no state of its own.

use crate::Place;
use crate::commit::Keep;
use crate::power::Disk;
use model::change::Key;
use model::state::{State, Stored};
use model::time::Time;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition,
};
use std::fs;
use std::path::{Path, PathBuf};

/// The version of the file's form.
const FORMAT: u64 = 1;
/// The file with the state.
const FILE: &str = "state.redb";
/// The file with the state before it is whole for the first time.
const FILE_NEW: &str = "state.redb.new";
/// The mark that there is a state: its absence, with the mark there, is a loss.
const MARK: &str = "FORMAT";
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
    /// It cannot be read, or not to its end.
    #[error("the state is damaged: {what}; restore a copy of it, or move the folder away to begin with nothing")]
    Damaged {
        /// What is wrong.
        what: String,
    },
    /// Another version wrote it.
    #[error("the state has form {found}, and this version reads form {FORMAT}; start the version that wrote it")]
    Format {
        /// The form that it has.
        found: String,
    },
}

/// An open store.
#[derive(Debug)]
pub(crate) struct Store {
    database: Database,
}

/// What was in it.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Every record.
    pub(crate) state: State,
    /// The own clock when it was last written.
    pub(crate) time: Time,
}

/// What the file holds, as it is.
struct Rows {
    rows: Vec<(String, Vec<u8>)>,
    format: Option<u64>,
    time: Option<u64>,
}

/// Opens a store, or makes a new one where there was none.
pub(crate) fn open(place: Place) -> Result<(Store, Loaded), StoreError> {
    let database = match place {
        Place::Folder(folder) => open_folder(&folder, &Disk::default())?,
        Place::Fragile { folder, cut } => open_folder(&folder, &Disk::fragile(cut))?,
        Place::Backend(backend) => open_backend(backend)?,
    };
    let store = Store { database };
    let loaded = store.load()?;
    Ok((store, loaded))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

fn open_folder(folder: &Path, disk: &Disk) -> Result<Database, StoreError> {
    let (file, mark) = (folder.join(FILE), folder.join(MARK));
    let io = |path: &Path| {
        let path = path.to_owned();
        move |cause| StoreError::Io { path, cause }
    };
    disk.make_folder(folder).map_err(io(folder))?;
    let marked = match fs::read_to_string(&mark) {
        Ok(text) if text.trim() != FORMAT.to_string() => {
            return Err(StoreError::Format { found: text.trim().to_owned() });
        }
        Ok(_) => true,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => false,
        Err(cause) => return Err(io(&mark)(cause)),
    };
    match fs::metadata(&file) {
        // redb would take an empty file for a new one.
        Ok(meta) if meta.len() == 0 => {
            return Err(StoreError::Damaged { what: format!("{} is empty", file.display()) });
        }
        Ok(_) => {}
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound && marked => {
            return Err(StoreError::Missing { path: file, mark });
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => create(folder, &file, disk)?,
        Err(cause) => return Err(io(&file)(cause)),
    }
    let database = disk.open(&builder(), &file).map_err(|cause| opened(cause, &file))?;
    if !marked {
        // Whole under another name first: half a mark would be taken for another version's.
        let new = folder.join(MARK_NEW);
        disk.write(&new, &format!("{FORMAT}\n")).map_err(io(&new))?;
        disk.rename(&new, &mark).map_err(io(&mark))?;
        disk.sync_folder(folder).map_err(io(folder))?;
    }
    Ok(database)
}

/// Makes a new file whole under another name first: what bears the name is never half made.
fn create(folder: &Path, file: &Path, disk: &Disk) -> Result<(), StoreError> {
    let new = folder.join(FILE_NEW);
    let io = |cause| StoreError::Io { path: new.clone(), cause };
    match fs::remove_file(&new) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(io(cause)),
        _ => {}
    }
    let database = disk.create(&builder(), &new).map_err(|cause| opened(cause, &new))?;
    initialise(&database)?;
    drop(database);
    disk.rename(&new, file).map_err(io)?;
    disk.sync_folder(folder).map_err(|cause| StoreError::Io { path: folder.to_owned(), cause })
}

fn open_backend(backend: Box<dyn StorageBackend>) -> Result<Database, StoreError> {
    let path = Path::new("the backend");
    let is_new = backend.len().map_err(|cause| StoreError::Io { path: path.to_owned(), cause })? == 0;
    let database = builder().create_with_backend(Boxed(backend)).map_err(|cause| opened(cause, path))?;
    if is_new {
        initialise(&database)?;
    }
    Ok(database)
}

fn initialise(database: &Database) -> Result<(), StoreError> {
    let write = || -> Result<(), redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.open_table(RECORDS)?;
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_FORMAT, FORMAT)?;
        meta.insert(META_TIME, 0)?;
        drop(meta);
        transaction.commit()?;
        Ok(())
    };
    write().map_err(damaged)
}

fn damaged(cause: redb::Error) -> StoreError {
    StoreError::Damaged { what: cause.to_string() }
}

fn opened(cause: DatabaseError, path: &Path) -> StoreError {
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
    fn load(&self) -> Result<Loaded, StoreError> {
        let read = || -> Result<Rows, redb::Error> {
            let transaction = self.database.begin_read()?;
            let meta = transaction.open_table(META)?;
            let format = meta.get(META_FORMAT)?.map(|value| value.value());
            let time = meta.get(META_TIME)?.map(|value| value.value());
            let mut rows = Vec::new();
            for row in transaction.open_table(RECORDS)?.iter()? {
                let (key, value) = row?;
                rows.push((key.value().to_owned(), value.value().to_owned()));
            }
            Ok(Rows { rows, format, time })
        };
        let Rows { rows, format, time } = read().map_err(damaged)?;
        match format {
            Some(FORMAT) => {}
            found => {
                return Err(StoreError::Format {
                    found: found.map_or_else(|| "none".to_owned(), |found| found.to_string()),
                });
            }
        }
        let Some(time) = time else { return Err(StoreError::Damaged { what: "it has no clock".to_owned() }) };
        let mut state = State::default();
        for (key, value) in rows {
            let unread = |cause| StoreError::Damaged { what: format!("record {key}: {cause}") };
            let record: Stored = serde_json::from_slice(&value).map_err(unread)?;
            state.put(record);
        }
        Ok(Loaded { state, time: Time(time) })
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
            transaction.open_table(META)?.insert(META_TIME, time.0)?;
            transaction.commit()?;
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
