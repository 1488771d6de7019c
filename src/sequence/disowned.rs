//! Where a host that Stagger left out was put in, or taken out anew, by somebody else since: that is not Stagger's doing any more.
//!
//! Owns the files `SERVICE.disowned` beside the journals: a line for each time, synced. They speak of one sequence, and mean nothing
//! when there is a newer one of the service. Called by the journals.

use crate::sequence::disk::Disk;
use model::names::{Id, Service};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Longest file that is added to, in bytes; one that is longer is not kept by anything here.
const BYTES_MAX: usize = 1024 * 1024;

/// One time.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// The sequence that left the host out.
    sequence: Id,
    /// The balancers that it does not count for any more.
    balancers: BTreeSet<String>,
}

/// The balancers that a sequence's leaving out does not count for any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Disowned {
    /// These.
    At(BTreeSet<String>),
    /// The file is damaged: any of them may be. What is not known to be Stagger's doing is not undone.
    Perhaps,
}

fn file(folder: &Path, service: &Service) -> PathBuf {
    folder.join(format!("{service}.disowned"))
}

/// What is disowned of this sequence.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read(disk: &dyn Disk, folder: &Path, service: &Service, sequence: &Id) -> io::Result<Disowned> {
    let (_, bytes) = match disk.read(&file(folder, service)) {
        Ok(bytes) => whole_lines(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Disowned::At(BTreeSet::new())),
        Err(error) => return Err(error),
    };
    let mut all = BTreeSet::new();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<Line>(line) {
            Ok(line) if line.sequence == *sequence => all.extend(line.balancers),
            Ok(_) => {}
            Err(_) => return Ok(Disowned::Perhaps),
        }
    }
    Ok(Disowned::At(all))
}

/// Writes it down; on the disk when this returns.
///
/// # Errors
/// It is not certain to be on the disk.
pub(super) fn add(
    disk: &dyn Disk,
    folder: &Path,
    service: &Service,
    sequence: Id,
    balancers: BTreeSet<String>,
) -> io::Result<()> {
    let path = file(folder, service);
    let mut length = match disk.read(&path) {
        Ok(bytes) => whole_lines(bytes).0,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            disk.create(&path)?;
            0
        }
        Err(error) => return Err(error),
    };
    // Of an older sequence nothing is worth keeping; and of one, so much is never told.
    if read(disk, folder, service, &sequence)? == Disowned::At(BTreeSet::new()) || length > BYTES_MAX {
        length = 0;
    }
    let mut line = serde_json::to_vec(&Line { sequence, balancers }).map_err(io::Error::other)?;
    line.push(b'\n');
    disk.append(&path, length as u64, &line)
}

/// The lines that were written to their end, and how long they are: the last one may have been torn.
fn whole_lines(mut bytes: Vec<u8>) -> (usize, Vec<u8>) {
    let length = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    bytes.truncate(length);
    (length, bytes)
}
