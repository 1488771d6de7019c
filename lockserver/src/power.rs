//! The disk that the store lies on; and one that loses what was not synced when its process dies, for tests of power cuts.
//!
//! Owns every sync but those of redb on a real file; and in such a test what was written and not synced, and the moment at
//! which the process kills itself. Called by the store.

use redb::{Builder, Database, DatabaseError, StorageBackend};
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// When a disk loses its power by itself: at its n-th sync, counted from 1 over the files and folders of a process. Written
/// `never`, `before:N`, `amid:N` or `after:N`; or it hangs there, `hang:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerCut {
    /// Only when the process is killed.
    Never,
    /// Nothing of what is to be synced is there.
    Before(u64),
    /// A part of it is there.
    Amid(u64),
    /// All of it is there, and nobody knows yet.
    After(u64),
    /// The disk does not answer any more; the process stays.
    Hang(u64),
}

/// A text that is no [`PowerCut`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no moment of a disk: write never, before:N, amid:N, after:N or hang:N")]
pub struct NoPowerCut(String);

impl FromStr for PowerCut {
    type Err = NoPowerCut;
    fn from_str(text: &str) -> Result<PowerCut, NoPowerCut> {
        let wrong = || NoPowerCut(text.to_owned());
        if text == "never" {
            return Ok(PowerCut::Never);
        }
        let (when, number) = text.split_once(':').ok_or_else(wrong)?;
        let number = number.parse().map_err(|_| wrong())?;
        match when {
            "before" => Ok(PowerCut::Before(number)),
            "amid" => Ok(PowerCut::Amid(number)),
            "after" => Ok(PowerCut::After(number)),
            "hang" => Ok(PowerCut::Hang(number)),
            _ => Err(wrong()),
        }
    }
}

/// A disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    /// What a power cut takes, in tests.
    fragile: Option<Arc<Fragile>>,
}

impl Disk {
    /// One that loses what was not synced.
    pub(crate) fn fragile(cut: PowerCut) -> Disk {
        Disk { fragile: Some(Arc::new(Fragile { cut, syncs: AtomicU64::new(0), unsynced: Mutex::default() })) }
    }

    /// Makes a folder and those above it, where they are missing; they stay, whatever happens.
    pub(crate) fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if folder.is_dir() {
            // A run that was killed may have made it and not come to the sync. What was there before any may not be ours to sync.
            let _not_ours = self.sync_folder(above);
            return Ok(());
        }
        if above != Path::new(".") {
            self.make_folder(above)?;
        }
        match fs::create_dir(folder) {
            Err(cause) if !folder.is_dir() => return Err(cause),
            _ => self.note(|| Ok(Unsynced::Made(folder.to_owned())))?,
        }
        self.sync_folder(above)
    }

    /// Writes a file; its content stays, its name may not.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create(path)?;
        self.note(|| Ok(Unsynced::Made(path.to_owned())))?;
        self.note(|| Ok(Unsynced::Written(file.try_clone()?)))?;
        file.write_all(bytes)?;
        self.synced(|| file.sync_all(), |unsynced| !matches!(unsynced, Unsynced::Written(_)))
    }

    /// Gives a file another name in its folder, until it is synced perhaps only for now.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        self.note(|| Ok(Unsynced::Renamed { from: from.to_owned(), to: to.to_owned() }))
    }

    /// Makes sure of the names in a folder.
    pub(crate) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let is_elsewhere = |unsynced: &Unsynced| match unsynced {
            Unsynced::Made(path) | Unsynced::Renamed { to: path, .. } => path.parent() != Some(folder),
            Unsynced::Written(_) => true,
        };
        self.synced(|| File::open(folder)?.sync_all(), is_elsewhere)
    }

    /// Opens a database that is there.
    pub(crate) fn open(&self, builder: &Builder, path: &Path) -> Result<Database, DatabaseError> {
        match &self.fragile {
            None => builder.open(path),
            Some(fragile) => builder.create_with_backend(Cached::on(path, fragile)?),
        }
    }

    /// Makes a database where there is no file.
    pub(crate) fn create(&self, builder: &Builder, path: &Path) -> Result<Database, DatabaseError> {
        let Some(fragile) = &self.fragile else { return builder.create(path) };
        File::create_new(path)?;
        self.note(|| Ok(Unsynced::Made(path.to_owned())))?;
        builder.create_with_backend(Cached::on(path, fragile)?)
    }

    fn note(&self, unsynced: impl FnOnce() -> io::Result<Unsynced>) -> io::Result<()> {
        if let Some(fragile) = &self.fragile {
            fragile.unsynced().push(unsynced()?);
        }
        Ok(())
    }

    fn synced(&self, sync: impl FnOnce() -> io::Result<()>, is_left: impl Fn(&Unsynced) -> bool) -> io::Result<()> {
        let Some(fragile) = &self.fragile else { return sync() };
        // Names may be there before what they name.
        let part = || {
            fragile.unsynced().retain(|unsynced| matches!(unsynced, Unsynced::Written(_)));
            Ok(())
        };
        fragile.sync(part, sync, || fragile.unsynced().retain(is_left))
    }
}

/// What a power cut takes, beside what is written to databases.
#[derive(Debug)]
struct Fragile {
    cut: PowerCut,
    syncs: AtomicU64,
    /// The latest last.
    unsynced: Mutex<Vec<Unsynced>>,
}

#[derive(Debug)]
enum Unsynced {
    Made(PathBuf),
    Written(File),
    Renamed { from: PathBuf, to: PathBuf },
}

impl Fragile {
    fn unsynced(&self) -> MutexGuard<'_, Vec<Unsynced>> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Syncs, unless the power is cut before that or when only a part is there.
    fn sync(
        &self,
        part: impl FnOnce() -> io::Result<()>,
        whole: impl FnOnce() -> io::Result<()>,
        then: impl FnOnce(),
    ) -> io::Result<()> {
        let number = self.syncs.fetch_add(1, Ordering::SeqCst) + 1;
        while self.cut == PowerCut::Hang(number) {
            std::thread::park();
        }
        if self.cut == PowerCut::Before(number) {
            return self.die();
        }
        if self.cut == PowerCut::Amid(number) {
            part()?;
            return self.die();
        }
        whole()?;
        then();
        if self.cut == PowerCut::After(number) { self.die() } else { Ok(()) }
    }

    fn die(&self) -> io::Result<()> {
        for unsynced in self.unsynced().drain(..).rev() {
            match unsynced {
                Unsynced::Made(path) if path.is_dir() => fs::remove_dir_all(path)?,
                Unsynced::Made(path) => fs::remove_file(path)?,
                Unsynced::Written(file) => file.set_len(0)?,
                Unsynced::Renamed { from, to } => fs::rename(to, from)?,
            }
        }
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
        Err(io::Error::other("no power"))
    }
}

/// A file whose writes stay in memory until it is synced: so they are lost whenever the process dies.
#[derive(Debug)]
struct Cached {
    file: File,
    fragile: Arc<Fragile>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    bytes: Vec<u8>,
    /// Where each write since the last sync began and ended.
    written: Vec<(usize, usize)>,
}

impl Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes, {} writes", self.bytes.len(), self.written.len())
    }
}

impl Cached {
    fn on(path: &Path, fragile: &Arc<Fragile>) -> io::Result<Cached> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let memory = Memory { bytes: fs::read(path)?, written: Vec::new() };
        Ok(Cached { file, fragile: Arc::clone(fragile), memory: Mutex::new(memory) })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes to the file what was written to memory; or every n-th piece of it, as a disk may that has its own order.
    fn flush(&self, memory: &Memory, nth: usize) -> io::Result<()> {
        self.file.set_len(memory.bytes.len() as u64)?;
        for (start, end) in memory.written.iter().step_by(nth) {
            if let Some(piece) = memory.bytes.get(*start..*end.min(&memory.bytes.len())) {
                self.file.write_all_at(piece, *start as u64)?;
            }
        }
        Ok(())
    }
}

fn place(offset: u64, length: usize) -> io::Result<(usize, usize)> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    Ok((start, start.saturating_add(length)))
}

impl StorageBackend for Cached {
    fn len(&self) -> io::Result<u64> {
        Ok(self.memory().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (start, end) = place(offset, out.len())?;
        out.copy_from_slice(self.memory().bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.memory().bytes.resize(place(len, 0)?.0, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut memory = self.memory();
        let whole = || {
            self.flush(&memory, 1)?;
            self.file.sync_data()
        };
        self.fragile.sync(|| self.flush(&memory, 2), whole, || {})?;
        memory.written.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (start, end) = place(offset, data.len())?;
        let mut memory = self.memory();
        memory.bytes.get_mut(start..end).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        memory.written.push((start, end));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_written() {
        assert_eq!("never".parse(), Ok(PowerCut::Never));
        assert_eq!("before:1".parse(), Ok(PowerCut::Before(1)));
        assert_eq!("amid:2".parse(), Ok(PowerCut::Amid(2)));
        assert_eq!("after:30".parse(), Ok(PowerCut::After(30)));
        assert_eq!("hang:7".parse(), Ok(PowerCut::Hang(7)));
        for wrong in ["", "amid", "amid:", "amid:-1", "never:1", "during:1", "1"] {
            assert!(wrong.parse::<PowerCut>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_written_and_not_synced_is_in_memory_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, b"0123").expect("written");
        let fragile = Fragile { cut: PowerCut::Never, syncs: AtomicU64::new(0), unsynced: Mutex::default() };
        let cached = Cached::on(&path, &Arc::new(fragile)).expect("opened");
        cached.set_len(6).expect("longer");
        cached.write(1, b"abc").expect("written");
        let mut read = [9; 6];
        cached.read(0, &mut read).expect("read");
        assert_eq!(&read, b"0abc\0\0");
        assert_eq!(fs::read(&path).expect("the file"), b"0123");
        assert!(cached.write(5, b"xy").is_err() && cached.read(1, &mut read).is_err(), "beyond its end");
        cached.sync_data().expect("synced");
        assert_eq!(fs::read(&path).expect("the file"), b"0abc\0\0");
        cached.write(0, b"x").expect("written");
        cached.write(5, b"y").expect("written");
        cached.flush(&cached.memory(), 2).expect("a part");
        assert_eq!(fs::read(&path).expect("the file"), b"xabc\0\0");
    }
}
