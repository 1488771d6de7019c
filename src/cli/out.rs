//! Standard output and standard error: the only place that writes to them.
//!
//! Results go to standard output, everything else to standard error. Colours are added here, to signs that say the same
//! without them, and reach a terminal only (NO_COLOR is respected). Lines go on below when a terminal is too narrow; nothing
//! is cut, and in a file or a pipe nothing is changed.

use super::failure::Failure;
use super::render::text::fit;
use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::OnceLock;

/// The version of everything that `--json` prints.
const JSON_VERSION: u32 = 1;
/// Narrower than this nothing is broken: a terminal that says so is no help.
const WIDTH_MIN: usize = 20;

/// The commands that read a host's file, or would read it for the coordinator.
const OF_HOST: [&str; 18] = [
    "abort", "announce", "check", "depool", "doctor", "history", "leases", "members", "pause", "pools", "release",
    "repool", "restart", "resume", "rollouts", "run", "set", "why",
];
/// The `-c FILE` that this command was given, for those that it proposes.
static GIVEN: OnceLock<String> = OnceLock::new();

const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

/// From now on, what is proposed to be typed on this host names this file, too.
pub(crate) fn propose_with(file: &Path) {
    let file = file.display().to_string();
    let is_plain = !file.is_empty() && file.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+:@,".contains(c));
    let quoted = if is_plain { file } else { format!("'{}'", file.replace('\'', "'\\''")) };
    let _given_once = GIVEN.set(format!(" -c {quoted}"));
}

/// The text, in which every command for this host names the file that was given.
fn proposing<'t>(text: &'t str, given: Option<&str>) -> Cow<'t, str> {
    const PROGRAM: &str = "stagger";
    let Some(given) = given else { return text.into() };
    let (mut with, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(PROGRAM) {
        let (before, behind) = rest.split_at(at + PROGRAM.len());
        with.push_str(before);
        rest = behind;
        // Behind a prompt it is another host's: `mw1$ stagger restart web`.
        let is_word = before[..at].chars().next_back().is_none_or(char::is_whitespace);
        let is_others = before[..at].ends_with("$ ");
        let command = behind.strip_prefix(' ').and_then(|behind| behind.split_whitespace().next()).unwrap_or_default();
        let command = command.trim_end_matches([',', ';', '.', ')', ':']);
        if is_word && !is_others && OF_HOST.contains(&command) {
            with.push_str(given);
        }
    }
    with.push_str(rest);
    with.into()
}

/// Prints a result. A reader that has gone away is none of our business.
///
/// # Errors
/// Standard output cannot be written: a full disk.
pub(crate) fn result(text: &str) -> Result<(), Failure> {
    let text = fit(&proposing(text, GIVEN.get().map(String::as_str)), width(&io::stdout()));
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
    let text = proposing(text, GIVEN.get().map(String::as_str));
    let _nobody_listens = write_painted(&mut anstream::stderr().lock(), &text);
}

/// Tells something that is no result. When even that cannot be written, nobody listens.
pub(crate) fn note(text: &str) {
    let text = fit(&proposing(text, GIVEN.get().map(String::as_str)), width(&io::stderr()));
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
    let signs = [("✓", GREEN), ("✗", RED), ("! ", BOLD), ("error:", RED), ("warning:", RED), ("hint:", BOLD)];
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
    fn what_is_proposed_for_this_host_names_the_file_that_was_given() {
        let given = Some(" -c /srv/h.toml");
        for (text, expected) in [
            ("hint: stagger why mw1", "hint: stagger -c /srv/h.toml why mw1"),
            (
                "fixed? mw2$ stagger restart web; else stagger pools",
                "fixed? mw2$ stagger restart web; else stagger -c /srv/h.toml pools",
            ),
            ("sudo -u stagger stagger depool web", "sudo -u stagger stagger -c /srv/h.toml depool web"),
            ("look before: stagger history", "look before: stagger -c /srv/h.toml history"),
            ("stagger.toml names them; /run/stagger set", "stagger.toml names them; /run/stagger set"),
            ("stagger demo", "stagger demo"),
        ] {
            assert_eq!(proposing(text, given), expected);
            assert_eq!(proposing(text, None), text);
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        assert!(written(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        assert!(written(Err(io::ErrorKind::StorageFull.into())).is_err());
        assert!(written(Ok(())).is_ok());
    }
}
