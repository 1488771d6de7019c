//! The two hidden ways to start this program, as the helper of itself: `__die-with-parent PARENT -- CMD…`, which becomes a
//! command that ends with its parent, and `__guard GROUP CMD…`, which keeps `run`'s command on a leash.
//!
//! Looked for before anything else is set up, since every command that a worker runs starts through here. Never typed by a
//! person, so that what is wrong is told in few words.

use super::{exit, out, run};
use crate::probe::exec::{self, DIE_WITH_PARENT};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};

/// Does what a hidden command asks for, and returns the code to exit with; nothing when the program was called by its user.
pub(super) fn main(mut arguments: impl Iterator<Item = OsString>) -> Option<u8> {
    let name = arguments.nth(1)?;
    if name == DIE_WITH_PARENT {
        return Some(die_with_parent(&arguments.collect::<Vec<_>>()));
    }
    (name == run::GUARD).then(|| run::guard(&arguments.collect::<Vec<_>>()))
}

/// Becomes the command; returns only when it cannot.
fn die_with_parent(arguments: &[OsString]) -> u8 {
    let [parent, dashes, command @ ..] = arguments else { return exit::USAGE };
    let Some(parent) = parent.to_str().and_then(|parent| parent.parse().ok()) else { return exit::USAGE };
    if dashes != "--" {
        return exit::USAGE;
    }
    let error = exec::die_with_parent(parent, command);
    not_run(command.first().map_or(OsStr::new("nothing"), OsString::as_os_str), &error)
}

/// Says that a program cannot be run, and returns the code that shells have for it.
fn not_run(program: &OsStr, error: &io::Error) -> u8 {
    out::note(&format!("error: cannot run {}: {error}", program.to_string_lossy()));
    match error.kind() {
        ErrorKind::NotFound => exit::NOT_FOUND,
        _ => exit::CANNOT_START,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(words: &[&str]) -> Option<u8> {
        main(words.iter().map(OsString::from))
    }

    #[test]
    fn what_a_person_types_is_left_to_the_command_line() {
        assert_eq!(called(&["stagger"]), None);
        assert_eq!(called(&["stagger", "run", "-p", "a", "--", DIE_WITH_PARENT]), None);
    }

    #[test]
    fn what_nobody_would_ask_for_is_refused() {
        for words in [&["stagger", DIE_WITH_PARENT][..], &["stagger", DIE_WITH_PARENT, "x", "--", "true"]] {
            assert_eq!(called(words), Some(exit::USAGE), "{words:?}");
        }
        assert_eq!(called(&["stagger", DIE_WITH_PARENT, "7", "true"]), Some(exit::USAGE));
        let parent = std::process::id().to_string();
        assert_eq!(
            called(&["stagger", DIE_WITH_PARENT, &parent, "--", "true"]),
            Some(exit::CANNOT_START),
            "not a parent"
        );
        assert_eq!(called(&["stagger", run::GUARD, "x"]), Some(exit::USAGE));
    }
}
