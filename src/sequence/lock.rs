//! The locks that guard a host: one sequence at a time, the daemon and the one-shot command included; and one daemon.
//!
//! Owns the lock files and what they say of their holders. A lock is the kernel's, so it ends with its process whatever happens.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// The file in the state folder that whoever runs a sequence has locked.
pub const LOCK_FILE: &str = "lock";
/// The file in the state folder that the daemon has locked for as long as it lives.
pub const WORKER_LOCK_FILE: &str = "worker.lock";
/// How much is read of what a lock file says, in bytes.
const SAYS_BYTES_MAX: u64 = 200;

/// A lock, held. Dropped, it is given back.
#[derive(Debug)]
pub struct HostLock {
    _file: File,
}

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody has it.
    #[error("{who}")]
    Busy {
        /// Who, and what runs there.
        who: String,
    },
    /// The file cannot be used.
    #[error("cannot lock {path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl HostLock {
    /// Takes the lock on sequences, and writes into it which process has it and what it does; when that cannot be written,
    /// the lock is had all the same. Never waits.
    ///
    /// # Errors
    /// Somebody has it, or the file cannot be used.
    pub fn take(state: &Path, what: &str) -> Result<HostLock, LockError> {
        HostLock::on(&state.join(LOCK_FILE), what)
    }

    /// Takes the lock that one daemon may have per state folder. Never waits.
    ///
    /// # Errors
    /// Another one has it, or the file cannot be used.
    pub fn of_worker(state: &Path) -> Result<HostLock, LockError> {
        HostLock::on(&state.join(WORKER_LOCK_FILE), "a worker")
    }

    fn on(path: &Path, what: &str) -> Result<HostLock, LockError> {
        let unusable = |source| LockError::Io { path: path.display().to_string(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Busy { who: holder(&mut file) }),
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        if let Err(error) = say(&mut file, what) {
            tracing::warn!(%error, path = %path.display(), "cannot write down who has the lock");
        }
        Ok(HostLock { _file: file })
    }
}

fn say(file: &mut File, what: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(format!("pid {}, {what}\n", std::process::id()).as_bytes())
}

fn holder(file: &mut File) -> String {
    let mut says = String::new();
    let read = file.take(SAYS_BYTES_MAX).read_to_string(&mut says);
    match says.lines().next() {
        Some(line) if read.is_ok() && !line.is_empty() => line.to_owned(),
        _ => "another process".to_owned(),
    }
}
