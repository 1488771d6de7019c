//! The few things that a journal asks of a disk.
//!
//! Owns the order of write and sync. The trait is there for tests, which let the power fail between the two; and tests of whole
//! processes have every sync told to a [`Platter`].

use crate::sequence::power::Platter;
use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Arc;

/// What a journal asks of a disk. Every call blocks until it is done.
pub trait Disk: Debug + Send + Sync {
    /// Makes a folder and those above it, where they are missing, and syncs their places: after a power cut they are still there.
    ///
    /// # Errors
    /// It cannot be made.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;

    /// The names in a folder, in no order.
    ///
    /// # Errors
    /// It cannot be read.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// A whole file.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&self, file: &Path) -> io::Result<Vec<u8>>;

    /// Makes an empty file that was not there, and syncs its folder: after a power cut it is still there.
    ///
    /// # Errors
    /// It is there already, or cannot be made.
    fn create(&self, file: &Path) -> io::Result<()>;

    /// Writes behind the first `length` bytes of a file, drops what stood there before, and syncs it.
    ///
    /// # Errors
    /// It is not certain to be on the disk. A part of it may be.
    fn append(&self, file: &Path, length: u64, bytes: &[u8]) -> io::Result<()>;

    /// Gives a file another name in its folder; not synced: nothing is lost when it still has the old one.
    ///
    /// # Errors
    /// It still has the old one.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; not synced.
    ///
    /// # Errors
    /// It is still there.
    fn remove(&self, file: &Path) -> io::Result<()>;
}

/// The file system.
#[derive(Debug, Clone, Default)]
pub struct RealDisk {
    /// What learns of every sync, in tests of power cuts.
    platter: Option<Arc<Platter>>,
}

impl RealDisk {
    /// One that tells of every sync.
    pub fn watched(platter: Arc<Platter>) -> RealDisk {
        RealDisk { platter: Some(platter) }
    }

    fn sync_file(&self, file: &File, path: &Path) -> io::Result<()> {
        file.sync_data()?;
        self.platter.as_ref().map_or(Ok(()), |platter| platter.file_synced(path))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()?;
        self.platter.as_ref().map_or(Ok(()), |platter| platter.folder_synced(folder))
    }
}

impl Disk for RealDisk {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if folder.is_dir() {
            // A run that was killed may have made it and not come to the sync. What was there before any may not be ours to sync.
            let _not_ours = self.sync_folder(above);
            return Ok(());
        }
        if above != Path::new(".") {
            self.make_folder(above)?;
        }
        match std::fs::create_dir(folder) {
            Err(error) if !folder.is_dir() => Err(error),
            _ => self.sync_folder(above),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(file)
    }

    fn create(&self, file: &Path) -> io::Result<()> {
        self.sync_file(&OpenOptions::new().write(true).create_new(true).open(file)?, file)?;
        file.parent().map_or(Ok(()), |folder| self.sync_folder(folder))
    }

    fn append(&self, path: &Path, length: u64, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        file.write_all(bytes)?;
        self.sync_file(&file, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        std::fs::remove_file(file)
    }
}
