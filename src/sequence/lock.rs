//! The locks that guard a host: one sequence at a time, the daemon and the one-shot command included; and one daemon.
//!
//! Owns the lock files and what they say of their holders. A lock is the kernel's, so it ends with its process whatever happens.

use model::names::Host;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The file in the state folder that whoever runs a sequence has locked.
pub const LOCK_FILE: &str = "lock";
/// The file in the state folder that the daemon has locked for as long as it lives.
pub const WORKER_LOCK_FILE: &str = "worker.lock";
/// What a daemon's lock file says of it, before its host.
const WORKER_OF: &str = "the worker of ";
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
    pub fn of_worker(state: &Path, host: &Host) -> Result<HostLock, LockError> {
        HostLock::on(&state.join(WORKER_LOCK_FILE), &format!("{WORKER_OF}{host}"))
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

/// The host whose worker works in this state folder now, as far as its lock file tells. The lock itself is not touched: a worker that
/// starts in this very moment must have it.
pub fn worker_in(state: &Path) -> Option<String> {
    let path = state.join(WORKER_LOCK_FILE);
    let says = std::fs::read_to_string(&path).ok()?;
    let (_, who) = says.trim_end().strip_prefix("pid ")?.split_once(", ")?;
    let host = who.strip_prefix(WORKER_OF)?;
    // A worker that was killed leaves its words, and no lock: proc(5), `1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE 0 EOF`.
    let file = format!(":{}", std::fs::metadata(&path).ok()?.ino());
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let is_held = locks.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.contains(&"FLOCK") && words.iter().any(|word| word.ends_with(&file))
    });
    is_held.then(|| host.to_owned())
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
