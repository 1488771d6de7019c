//! The journal of one sequence: a line per record, each with its checksum, written and synced before the act that it announces.
//!
//! Owns the format and the [`Receipt`], which nothing else can make: so an act that was not recorded cannot even be asked for.
//! A torn last line is ignored, since no act followed it; any other damage is an error, and a person must look.

use crate::sequence::disk::Disk;
use crate::sequence::power::Platter;
use model::sequence::Record;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many hexadecimal digits a checksum has.
const CHECKSUM_DIGITS: usize = 8;

/// Says that records are on disk. Only a journal makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt {
    /// How many records the journal holds.
    records: u64,
}

impl Receipt {
    /// How many records the journal held then, this one included.
    pub fn records(&self) -> u64 {
        self.records
    }
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// How many bytes are known to be good.
    length: u64,
    records: u64,
    crash: Crash,
}

/// A moment of a worker's journal: just before its n-th record is written, or just after it is on disk. Counted from 1,
/// over all the journals of a process. Written `before:N` or `after:N`. Of records that are written together, those before
/// the moment are on disk then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// Nothing of the record is there.
    Before(u64),
    /// The record is there, and nothing was done that it allows.
    After(u64),
}

/// A text that is no [`CrashPoint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no point of a journal: write before:N or after:N")]
pub struct NoCrashPoint(String);

impl FromStr for CrashPoint {
    type Err = NoCrashPoint;
    fn from_str(text: &str) -> Result<CrashPoint, NoCrashPoint> {
        let wrong = || NoCrashPoint(text.to_owned());
        let (when, number) = text.split_once(':').ok_or_else(wrong)?;
        let number = number.parse().map_err(|_| wrong())?;
        match when {
            "before" => Ok(CrashPoint::Before(number)),
            "after" => Ok(CrashPoint::After(number)),
            _ => Err(wrong()),
        }
    }
}

/// Where this process is to die, in tests of what a crash leaves.
#[derive(Debug, Clone, Default)]
pub struct Crash {
    at: Option<CrashPoint>,
    /// What becomes of it there.
    blow: Blow,
    written: Arc<AtomicU64>,
}

/// What becomes of a process at its point.
#[derive(Debug, Clone, Default)]
enum Blow {
    /// It is killed.
    #[default]
    Kill,
    /// The same, and what was not synced here is lost.
    PowerCut(Arc<Platter>),
    /// It waits until somebody has opened this named pipe for writing, and closed it again: the world changes meanwhile.
    Pause(PathBuf),
}

/// A journal that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of {}: {what}", path.display())]
pub struct Damage {
    /// Which file.
    pub path: PathBuf,
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl Crash {
    /// The process kills itself at this point; only a build with debug assertions does.
    pub fn at(point: Option<CrashPoint>) -> Crash {
        Crash { at: point, ..Crash::default() }
    }

    /// The process kills itself at this point, and what was not synced is lost; only in a build with debug assertions.
    pub fn with_power(point: CrashPoint, platter: Arc<Platter>) -> Crash {
        Crash { at: Some(point), blow: Blow::PowerCut(platter), ..Crash::default() }
    }

    /// The process does not die at this point: it waits for this named pipe; only in a build with debug assertions.
    pub fn pausing(point: CrashPoint, pipe: PathBuf) -> Crash {
        Crash { at: Some(point), blow: Blow::Pause(pipe), ..Crash::default() }
    }

    /// How many of so many records are written before the point; none when it is not among them, but for tests.
    fn survivors(&self, count: usize) -> Option<usize> {
        let written = self.written.load(Ordering::Relaxed);
        let nth = match self.at {
            Some(CrashPoint::Before(number)) => number.checked_sub(1)?,
            Some(CrashPoint::After(number)) => number,
            None => return None,
        };
        let survive = usize::try_from(nth.checked_sub(written)?).ok()?;
        let is_here = match self.at {
            Some(CrashPoint::Before(_)) => survive < count,
            _ => survive > 0 && survive <= count,
        };
        (cfg!(debug_assertions) && is_here).then_some(survive)
    }

    fn strike(&self) {
        let done = match &self.blow {
            Blow::Kill => Ok(()),
            Blow::PowerCut(platter) => platter.cut(),
            Blow::Pause(pipe) => return drop(std::fs::read(pipe)),
        };
        if let Err(error) = done {
            tracing::error!(%error, "the power cannot be cut");
            return;
        }
        // As a power cut would: nothing is cleaned up. When it cannot be done, the test notices that nothing died.
        let _alive = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

impl Journal {
    /// Makes an empty journal, whose place in its folder survives a power cut.
    ///
    /// # Errors
    /// The file is there already, or cannot be made.
    pub fn create(disk: Arc<dyn Disk>, path: PathBuf, crash: Crash) -> io::Result<Journal> {
        disk.create(&path)?;
        Ok(Journal { disk, path, length: 0, records: 0, crash })
    }

    /// Opens a journal that is there, and reads it.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn open(
        disk: Arc<dyn Disk>,
        path: PathBuf,
        crash: Crash,
    ) -> io::Result<Result<(Journal, Vec<Record>), Damage>> {
        let bytes = disk.read(&path)?;
        Ok(parse(&path, &bytes).map(|(records, length)| {
            let journal = Journal { disk, path, length, records: records.len() as u64, crash };
            (journal, records)
        }))
    }

    /// Writes records behind the others and syncs them, all at once. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// They are not certain to be on disk. Then the journal is as it was: what was written in part is overwritten by the next.
    pub fn append(&mut self, records: &[Record]) -> io::Result<Receipt> {
        let lines = records.iter().map(line).collect::<io::Result<Vec<String>>>()?;
        let mut rest = &lines[..];
        if let Some(before) = self.crash.survivors(lines.len()) {
            let (first, others) = lines.split_at(before);
            self.write(first)?;
            self.crash.strike();
            rest = others;
        }
        self.write(rest)?;
        Ok(Receipt { records: self.records })
    }

    fn write(&mut self, lines: &[String]) -> io::Result<()> {
        let text = lines.concat();
        if !text.is_empty() {
            self.disk.append(&self.path, self.length, text.as_bytes())?;
        }
        self.length += text.len() as u64;
        self.records += lines.len() as u64;
        self.crash.written.fetch_add(lines.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn line(record: &Record) -> io::Result<String> {
    let json = serde_json::to_string(record)?;
    Ok(format!("{:0width$x} {json}\n", crc32fast::hash(json.as_bytes()), width = CHECKSUM_DIGITS))
}

/// The records of a journal, and how many of its bytes they take.
///
/// # Errors
/// A whole line that does not hold what was written. What follows the last line break was torn off, and is ignored.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<Record>, u64), Damage> {
    let mut records = Vec::new();
    let mut length = 0;
    for (at, whole) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let Some(line) = whole.strip_suffix(b"\n") else { break };
        let record = read(line).map_err(|what| Damage { path: path.to_owned(), line: at + 1, what })?;
        records.push(record);
        length += whole.len() as u64;
    }
    Ok((records, length))
}

fn read(line: &[u8]) -> Result<Record, String> {
    let text = std::str::from_utf8(line).map_err(|_| "it is no text".to_owned())?;
    let (checksum, json) = text.split_once(' ').ok_or("it has no checksum")?;
    if checksum.len() != CHECKSUM_DIGITS || u32::from_str_radix(checksum, 16) != Ok(crc32fast::hash(json.as_bytes())) {
        return Err("its checksum is wrong".to_owned());
    }
    serde_json::from_str(json).map_err(|error| format!("it is no record that this version knows: {error}"))
}
