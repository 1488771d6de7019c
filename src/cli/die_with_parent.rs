//! `stagger __die-with-parent`: becomes another program that ends when its parent does. For Stagger's own use.

use super::exit;
use super::out;
use crate::probe::exec;
use std::ffi::OsString;
use std::io::ErrorKind;

/// Become another program that is killed when this process' parent ends.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DieWithParentArgs {
    /// The parent's process id
    parent: u32,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Becomes it; returns only when it cannot.
pub(crate) fn run(args: &DieWithParentArgs) -> u8 {
    let error = exec::die_with_parent(args.parent, &args.command);
    let program = args.command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
    out::note(&format!("error: cannot run {program}: {error}"));
    match error.kind() {
        ErrorKind::NotFound => exit::NOT_FOUND,
        _ => exit::CANNOT_START,
    }
}
