//! What a power cut leaves of a state folder: for tests, in builds with debug assertions.
//!
//! Owns an image of what is certain to be on the disk, fed by every sync of the journals' disk, and puts the folder back to it
//! at the cut. Whatever else wrote there without a sync is lost too. Below the state folder only. Without a cut it does nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The disk under a state folder, as a power cut would leave it.
#[derive(Debug)]
pub struct Platter {
    state: PathBuf,
    certain: Mutex<Image>,
}

/// What is certain to be there.
#[derive(Debug, Default)]
struct Image {
    /// The state folder and what is in it, folders before what is in them.
    entries: BTreeMap<PathBuf, Node>,
    /// The bytes of files when they were last synced, by inode.
    contents: BTreeMap<u64, Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
enum Node {
    Folder,
    File(u64),
}

impl Platter {
    /// The disk as it is found: what is there when a process starts counts as certain.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn found(state: &Path) -> io::Result<Platter> {
        let mut image = Image::default();
        if state.exists() {
            image.entries.insert(state.to_owned(), Node::Folder);
            image.walk(state)?;
        }
        Ok(Platter { state: state.to_owned(), certain: Mutex::new(image) })
    }

    /// The content of a file was synced.
    ///
    /// # Errors
    /// It cannot be read again.
    pub fn file_synced(&self, file: &Path) -> io::Result<()> {
        self.certain.lock().unwrap_or_else(PoisonError::into_inner).read(file)
    }

    /// The names in a folder were synced; not what is in them.
    ///
    /// # Errors
    /// It cannot be read again.
    pub fn folder_synced(&self, folder: &Path) -> io::Result<()> {
        let mut certain = self.certain.lock().unwrap_or_else(PoisonError::into_inner);
        if folder.starts_with(&self.state) {
            certain.list(folder)?;
        } else if self.state.parent() == Some(folder) {
            certain.entries.insert(self.state.clone(), Node::Folder);
        }
        Ok(())
    }

    /// The power is cut: what was not synced is gone, and what was removed or renamed without a sync is back.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn cut(&self) -> io::Result<()> {
        let certain = self.certain.lock().unwrap_or_else(PoisonError::into_inner);
        std::fs::remove_dir_all(&self.state)?;
        for (path, node) in &certain.entries {
            if path.parent().is_some_and(|folder| path != &self.state && !folder.exists()) {
                continue;
            }
            match node {
                Node::Folder => std::fs::create_dir(path)?,
                Node::File(inode) => std::fs::write(path, certain.contents.get(inode).map_or(&[][..], Vec::as_slice))?,
            }
        }
        Ok(())
    }
}

impl Image {
    fn walk(&mut self, folder: &Path) -> io::Result<()> {
        self.list(folder)?;
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() { self.walk(&path)? } else { self.read(&path)? }
        }
        Ok(())
    }

    fn read(&mut self, file: &Path) -> io::Result<()> {
        self.contents.insert(std::fs::metadata(file)?.ino(), std::fs::read(file)?);
        Ok(())
    }

    fn list(&mut self, folder: &Path) -> io::Result<()> {
        let is_inside = |path: &PathBuf| path.parent() == Some(folder);
        let gone: Vec<PathBuf> = self.entries.keys().filter(|path| is_inside(path)).cloned().collect();
        let mut gone: BTreeSet<u64> =
            gone.iter().filter_map(|path| self.entries.remove(path)).filter_map(Node::inode).collect();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let node = if entry.file_type()?.is_dir() { Node::Folder } else { Node::File(entry.ino()) };
            node.inode().map(|inode| gone.remove(&inode));
            self.entries.insert(entry.path(), node);
        }
        // The number of a file that is gone is soon another file's.
        self.contents.retain(|inode, _| !gone.contains(inode));
        Ok(())
    }
}

impl Node {
    fn inode(self) -> Option<u64> {
        match self {
            Node::Folder => None,
            Node::File(inode) => Some(inode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequence::disk::{Disk as _, RealDisk};
    use std::sync::Arc;

    #[test]
    fn what_was_not_synced_is_gone_and_what_was_renamed_or_removed_without_a_sync_is_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("deep/state");
        let [open, done, removed, session] =
            ["open", "done", "removed", "../session"].map(|name| state.join("in").join(name));
        let platter = Arc::new(Platter::found(&state).expect("nothing is there"));
        let disk = RealDisk::watched(Arc::clone(&platter));
        disk.make_folder(&state.join("in")).expect("made");
        for file in [&open, &removed] {
            disk.create(file).expect("made");
            disk.append(file, 0, b"synced").expect("written");
        }
        std::fs::write(&open, "synced, and then torn").expect("written");
        std::fs::write(&session, "by another, never synced").expect("written");
        std::fs::create_dir(state.join("in/unsynced")).expect("made");
        disk.rename(&open, &done).expect("renamed");
        disk.remove(&removed).expect("removed");
        platter.cut().expect("cut");
        assert_eq!(std::fs::read(&open).expect("back"), b"synced");
        assert_eq!(std::fs::read(&removed).expect("back"), b"synced");
        assert!(!done.exists() && !session.exists() && !state.join("in/unsynced").exists());
        // Once its folder is synced for whatever reason, a rename is certain.
        disk.rename(&open, &done).expect("renamed");
        disk.create(&state.join("in/next")).expect("made");
        let again = Platter::found(&state).expect("readable");
        platter.cut().expect("cut");
        assert!(done.exists() && !open.exists() && state.join("in/next").exists());
        again.cut().expect("cut");
        assert_eq!(std::fs::read(&done).expect("found"), b"synced", "what is found is certain");
    }

    #[test]
    fn a_folder_whose_own_place_was_not_synced_is_gone_with_everything() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let platter = Arc::new(Platter::found(&state).expect("nothing is there"));
        let disk = RealDisk::watched(Arc::clone(&platter));
        std::fs::create_dir_all(state.join("in")).expect("made");
        disk.create(&state.join("in/file")).expect("made");
        platter.cut().expect("cut");
        assert!(!state.exists());
    }
}
