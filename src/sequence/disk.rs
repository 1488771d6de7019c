//! The few things that a journal asks of a disk.
//!
//! Owns the order of write and sync. The trait is there for tests, which let the power fail between the two.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// What a journal asks of a disk. Every call blocks until it is done.
pub trait Disk: Debug + Send + Sync {
    /// Makes a folder and those above it, where they are missing.
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
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)
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
        OpenOptions::new().write(true).create_new(true).open(file)?.sync_all()?;
        match file.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }

    fn append(&self, file: &Path, length: u64, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(file)?;
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        file.write_all(bytes)?;
        file.sync_data()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        std::fs::remove_file(file)
    }
}
