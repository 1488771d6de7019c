//! Backups: what a store held at one moment, as text, with what proves that it is whole.
//!
//! Owns the form of the text: a line of JSON that says what it is, a line for each record, and a last one with their number and
//! a checksum over all before it. The records have the form that the store has, so the way forward from an older one is the same.
//! Reading order: this file; `desk` (of the store that is written meanwhile), `sound` (is a backup or a store sound) and `restore`.

mod desk;
mod restore;
mod sound;

pub(crate) use desk::{Desk, NoBackup};
pub use restore::{Restored, restore};
pub use sound::{Sound, Unsound, verify_backup, verify_folder};

use crate::store::form::Row;
use crate::store::reading::Contents;
use model::time::{Time, Wall};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::io::{self, BufRead, Read as _, Write};

/// The version of the text's own form, beside that of the records.
const TEXT_FORM: u64 = 1;
/// Longest line, in bytes: a record is far shorter.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// The version of the text's form.
    stagger_backup: u64,
    /// The version of the records' form.
    pub(crate) form: u64,
    /// The store's own clock, in milliseconds.
    time_ms: u64,
    /// When it was taken, for people, in milliseconds since 1970.
    taken_ms: u64,
    /// Which version of the program took it, for people.
    version: String,
}

/// One of the lines in the middle.
#[derive(Debug, Serialize, Deserialize)]
struct Line<'l> {
    key: &'l str,
    #[serde(borrow)]
    record: &'l RawValue,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    records: u64,
    crc32: String,
}

/// Why a text is no whole backup. Each fits after "cannot use it: ".
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it is no backup of a lock server: {0}")]
    Foreign(String),
    /// A later version made it.
    #[error("it is a backup of form {found}, and this version reads form {TEXT_FORM}; use the version that made it")]
    Newer {
        /// Its form.
        found: u64,
    },
    /// It ends too early.
    #[error("it is not whole: it ends behind {records} records")]
    Cut {
        /// How many there are.
        records: u64,
    },
    /// It is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// A backup that was read, and is whole.
#[derive(Debug)]
pub(crate) struct Backup {
    pub(crate) head: Head,
    pub(crate) rows: Vec<Row>,
}

impl Backup {
    /// The store's clock when it was taken.
    pub(crate) fn time(&self) -> Time {
        Time(self.head.time_ms)
    }

    /// When it was taken.
    pub(crate) fn taken(&self) -> Wall {
        Wall(self.head.taken_ms)
    }
}

/// Writes through, and counts what a checksum needs.
struct Summing<W> {
    inner: W,
    sum: crc32fast::Hasher,
}

impl<W: Write> Summing<W> {
    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.sum.update(&text);
        self.inner.write_all(&text)
    }
}

/// Writes a backup of what a store holds.
///
/// # Errors
/// It cannot be written; or a record is no JSON, which it would be refused for when it is read.
pub(crate) fn write(contents: &Contents, taken: Wall, to: impl Write) -> io::Result<()> {
    let mut to = Summing { inner: to, sum: crc32fast::Hasher::new() };
    to.line(&Head {
        stagger_backup: TEXT_FORM,
        form: contents.form,
        time_ms: contents.time.0,
        taken_ms: taken.0,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })?;
    for (key, value) in &contents.rows {
        to.line(&Line { key, record: serde_json::from_slice(value)? })?;
    }
    let Summing { mut inner, sum } = to;
    let end = End { records: contents.rows.len() as u64, crc32: format!("{:08x}", sum.finalize()) };
    serde_json::to_writer(&mut inner, &end)?;
    inner.write_all(b"\n")?;
    inner.flush()
}

/// Reads a backup whole.
///
/// # Errors
/// It cannot be read, is no backup, or not a whole one.
pub(crate) fn read(mut from: impl BufRead) -> Result<Backup, BackupError> {
    let mut sum = crc32fast::Hasher::new();
    let first = line(&mut from)?.ok_or_else(|| BackupError::Foreign("it is empty".to_owned()))?;
    let head = head(&first)?;
    sum.update(&first);
    let mut rows = Vec::new();
    loop {
        let records = rows.len() as u64;
        let Some(text) = line(&mut from)? else { return Err(BackupError::Cut { records }) };
        if !text.ends_with(b"\n") {
            return Err(BackupError::Cut { records });
        }
        if let Ok(end) = serde_json::from_slice::<End>(&text) {
            return ended(&end, records, sum, &mut from).map(|()| Backup { head, rows });
        }
        let damaged = |cause| BackupError::Damaged(format!("line {}: {cause}", records + 2));
        let Line { key, record } = serde_json::from_slice(&text).map_err(damaged)?;
        rows.push((key.to_owned(), record.get().as_bytes().to_vec()));
        sum.update(&text);
    }
}

fn head(line: &[u8]) -> Result<Head, BackupError> {
    #[derive(Deserialize)]
    struct Form {
        stagger_backup: u64,
    }
    let foreign =
        |cause: serde_json::Error| BackupError::Foreign(format!("its first line says something else: {cause}"));
    match serde_json::from_slice::<Form>(line).map_err(foreign)?.stagger_backup {
        TEXT_FORM => serde_json::from_slice(line).map_err(foreign),
        found => Err(BackupError::Newer { found }),
    }
}

fn ended(end: &End, records: u64, sum: crc32fast::Hasher, rest: &mut impl BufRead) -> Result<(), BackupError> {
    if end.records != records {
        return Err(BackupError::Damaged(format!("it has {records} records, and its end speaks of {}", end.records)));
    }
    let found = format!("{:08x}", sum.finalize());
    if end.crc32 != found {
        return Err(BackupError::Damaged(format!("its checksum is {found}, and its end says {}", end.crc32)));
    }
    if !rest.fill_buf()?.is_empty() {
        return Err(BackupError::Damaged("something stands behind its end".to_owned()));
    }
    Ok(())
}

/// The next line with its end; none when there is no more.
fn line(from: &mut impl BufRead) -> Result<Option<Vec<u8>>, BackupError> {
    let mut text = Vec::new();
    from.take(LINE_BYTES_MAX).read_until(b'\n', &mut text)?;
    if text.len() as u64 == LINE_BYTES_MAX {
        return Err(BackupError::Damaged(format!("a line has more than {LINE_BYTES_MAX} bytes")));
    }
    Ok((!text.is_empty()).then_some(text))
}

/// Whether a text is a whole backup, read as it comes in: what a command looks at before it gives a file its name. Returns how many
/// records there are.
///
/// # Errors
/// It is not.
pub fn count(from: impl BufRead) -> Result<u64, BackupError> {
    read(from).map(|backup| backup.rows.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sample() -> (Contents, Vec<u8>) {
        let row = |key: &str, value: &str| (key.to_owned(), value.as_bytes().to_vec());
        let rows = vec![
            row("generation/php", r#"{"generation":{"service":"php","generation":4}}"#),
            row("token/p", r#"{"token":{"pool":"p","token":7}}"#),
        ];
        let contents = Contents { rows, form: 1, time: Time(12), silent: Duration::ZERO };
        let mut text = Vec::new();
        write(&contents, Wall(1_700_000_000_000), &mut text).expect("written");
        (contents, text)
    }

    #[test]
    fn what_is_written_is_read() {
        let (contents, text) = sample();
        let backup = read(&text[..]).expect("a backup");
        assert_eq!(backup.rows, contents.rows);
        assert_eq!((backup.head.form, backup.time(), backup.taken()), (1, Time(12), Wall(1_700_000_000_000)));
        assert_eq!(count(&text[..]).expect("a backup"), 2);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let (_, text) = sample();
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut damaged = text.clone();
                damaged[at] ^= 1 << bit;
                let read = read(&damaged[..]);
                // A checksum's own letters may change their case.
                let is_case = damaged.eq_ignore_ascii_case(&text) && damaged != text;
                assert!(read.is_err() || is_case && at > text.len() - 12, "bit {bit} of byte {at} was not missed");
            }
            read(&text[..at]).expect_err("a part");
        }
        let behind = [&text[..], b"x"].concat();
        assert!(matches!(read(&behind[..]), Err(BackupError::Damaged(_))));
    }

    #[test]
    fn what_is_no_backup_is_named_as_what_it_is() {
        assert!(matches!(read(&b""[..]), Err(BackupError::Foreign(_))));
        assert!(matches!(read(&b"hello\n"[..]), Err(BackupError::Foreign(_))));
        assert!(matches!(read(&br#"{"stagger_backup":2}"#[..]), Err(BackupError::Newer { found: 2 })));
        let (_, text) = sample();
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        let without_one = [lines[0], lines[1], lines[3]].concat();
        assert!(matches!(read(&without_one[..]), Err(BackupError::Damaged(_))));
        assert!(matches!(read(&[lines[0], lines[1]].concat()[..]), Err(BackupError::Cut { records: 1 })));
    }
}
