//! Standard output and standard error: the only place that writes to them.
//!
//! Results go to standard output, everything else to standard error. Colours are added here, to signs that say the same
//! without them, and reach a terminal only (NO_COLOR is respected). Lines go on below when a terminal is too narrow; nothing
//! is cut, and in a file or a pipe nothing is changed.

use super::failure::Failure;
use super::render::text::fit;
use serde::Serialize;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd;

/// The version of everything that `--json` prints.
const JSON_VERSION: u32 = 1;
/// Narrower than this nothing is broken: a terminal that says so is no help.
const WIDTH_MIN: usize = 20;

const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

/// Prints a result. A reader that has gone away is none of our business.
///
/// # Errors
/// Standard output cannot be written: a full disk.
pub(crate) fn result(text: &str) -> Result<(), Failure> {
    let text = fit(text, width(&io::stdout()));
    written(write_painted(&mut anstream::stdout().lock(), &text))
}

/// Prints a result as it is: not cut, not coloured.
///
/// # Errors
/// As [`result`].
pub(crate) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    written(out.write_all(bytes).and_then(|()| out.flush()))
}

/// Prints one JSON object on a line, with its version.
///
/// # Errors
/// As [`result`].
pub(crate) fn json<T: Serialize>(body: &T) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Versioned<'t, T> {
        version: u32,
        #[serde(flatten)]
        body: &'t T,
    }
    let mut line = serde_json::to_vec(&Versioned { version: JSON_VERSION, body })
        .map_err(|error| Failure::system("write JSON", io::Error::other(error)))?;
    line.push(b'\n');
    raw(&line)
}

/// Tells something whose lines belong under each other, such as a mark under a word; as [`note`], and nothing is broken.
pub(crate) fn note_as_it_is(text: &str) {
    let _nobody_listens = write_painted(&mut anstream::stderr().lock(), text);
}

/// Tells something that is no result. When even that cannot be written, nobody listens.
pub(crate) fn note(text: &str) {
    let text = fit(text, width(&io::stderr()));
    let _nobody_listens = write_painted(&mut anstream::stderr().lock(), &text);
}

/// Whether somebody watches standard error as it is written.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

fn written(outcome: io::Result<()>) -> Result<(), Failure> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::system("write to standard output", error))
        }
        _ => Ok(()),
    }
}

fn write_painted(out: &mut impl Write, text: &str) -> io::Result<()> {
    for line in text.lines() {
        writeln!(out, "{}", painted(line))?;
    }
    out.flush()
}

/// The width of a terminal, in columns; nothing when it is none.
pub(crate) fn width(stream: &impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns >= WIDTH_MIN)
}

/// The height of a terminal, in rows; nothing when it is none.
pub(crate) fn height(stream: &impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(usize::from(size.ws_row)).filter(|rows| *rows > 0)
}

/// A line with its signs in colour.
pub(crate) fn painted(line: &str) -> String {
    let signs = [("✓", GREEN), ("✗", RED), ("error:", RED), ("warning:", RED), ("hint:", BOLD)];
    for (sign, colour) in signs {
        if let Some(rest) = line.strip_prefix(sign) {
            return format!("{colour}{sign}{PLAIN}{rest}");
        }
    }
    match line.split_once(" FAILED") {
        Some((before, after)) => format!("{before}{RED} FAILED{PLAIN}{after}"),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_repeats_what_a_sign_says_and_is_never_alone() {
        for line in
            ["✓ pauses none", "✗ mw1  restart: exit 78", "error: no", "php-fpm@42 done: 1 FAILED, 0 left", "plain"]
        {
            let bare = painted(line).replace(RED, "").replace(GREEN, "").replace(BOLD, "").replace(PLAIN, "");
            assert_eq!(bare, line);
        }
        assert_eq!(painted("✗ mw1"), "\u{1b}[31m✗\u{1b}[0m mw1");
        assert_eq!(painted("plain"), "plain");
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        assert!(written(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        assert!(written(Err(io::ErrorKind::StorageFull.into())).is_err());
        assert!(written(Ok(())).is_ok());
    }
}
