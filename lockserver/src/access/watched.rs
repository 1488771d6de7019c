//! Files that are read again when they change: while the new ones make no sense, the old ones count.
//!
//! Owns when to read. What is in them is the caller's.

use std::fmt::{self, Display};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Reads them; what is wrong with them is said as a text.
type Load<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// Something that was read from files.
pub(super) struct Watched<T> {
    paths: Vec<PathBuf>,
    load: Load<T>,
    value: RwLock<Arc<T>>,
    seen: Mutex<Seen>,
}

/// How the files were when they were read last.
#[derive(Debug)]
struct Seen {
    stamps: Vec<Option<Stamp>>,
    /// Why what is on disk does not count, when it does not.
    wrong: Option<String>,
}

/// What differs when a file was written, or another one was put in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl From<Metadata> for Stamp {
    fn from(metadata: Metadata) -> Stamp {
        // The time of the last change of the file or of what is known of it: nobody sets it by hand.
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Stamp { device: metadata.dev(), inode: metadata.ino(), bytes: metadata.len(), changed }
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| std::fs::metadata(Path::new(path)).ok().map(Stamp::from);
    paths.iter().map(stamp).collect()
}

impl<T> Watched<T> {
    /// Reads them for the first time.
    ///
    /// # Errors
    /// They make no sense.
    pub(super) fn open<E: Display>(
        paths: Vec<PathBuf>,
        load: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Watched<T>, E> {
        // What changes while it is read is seen at the next look.
        let stamps = stamps(&paths);
        let value = RwLock::new(Arc::new(load()?));
        let load = Box::new(move || load().map_err(|error| error.to_string()));
        Ok(Watched { paths, load, value, seen: Mutex::new(Seen { stamps, wrong: None }) })
    }

    /// What counts.
    pub(super) fn get(&self) -> Arc<T> {
        Arc::clone(&self.value.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads them again when they have changed. Returns whether what counts is what is on disk.
    pub(super) fn look(&self) -> bool {
        let mut seen = super::lock(&self.seen);
        let now = stamps(&self.paths);
        // What was wrong is tried again: it may have been the moment between two writes.
        if now == seen.stamps && seen.wrong.is_none() {
            return true;
        }
        seen.stamps = now;
        let names = || self.paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        match (self.load)() {
            Ok(value) => {
                tracing::info!("{} changed, and counts from now on", names());
                *self.value.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
                seen.wrong = None;
            }
            Err(why) => {
                if seen.wrong.as_ref() != Some(&why) {
                    tracing::error!("what was read before still counts: {why}");
                }
                seen.wrong = Some(why);
            }
        }
        seen.wrong.is_none()
    }
}

impl<T: fmt::Debug> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("paths", &self.paths).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_read_and_what_is_wrong_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("number");
        // A file of the same size, that takes the other's place.
        let write = |text: &str| {
            let new = folder.path().join("new");
            std::fs::write(&new, text).expect("written");
            std::fs::rename(&new, &path).expect("in its place");
        };
        write("1");
        let read = path.clone();
        let load = move || {
            let text = std::fs::read_to_string(&read).map_err(|error| error.to_string())?;
            text.trim().parse::<u32>().map_err(|error| error.to_string())
        };
        let watched = Watched::open(vec![path.clone()], load).expect("a number");
        assert_eq!((watched.look(), *watched.get()), (true, 1));
        write("2");
        assert_eq!((watched.look(), *watched.get()), (true, 2));
        write("x");
        assert_eq!((watched.look(), *watched.get()), (false, 2));
        assert!(!watched.look(), "it is still wrong");
        std::fs::remove_file(&path).expect("removed");
        assert_eq!((watched.look(), *watched.get()), (false, 2));
        write("3");
        assert_eq!((watched.look(), *watched.get()), (true, 3));
    }
}
