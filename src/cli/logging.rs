//! Logs of what runs for long: the worker and the lock server. Nothing else logs.
//!
//! Plain lines on standard error. Under systemd without a time, since the journal has its own.

use std::io::{self, IsTerminal as _};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// The variables that say how much is logged, such as `debug` or `stagger=debug,lockserver=info`.
const VARIABLES: [&str; 2] = ["STAGGER_LOG", "RUST_LOG"];
/// How much is logged when nothing is said.
const USUAL: &str = "info";
/// The variable by which systemd says that standard error goes to its journal.
const JOURNAL_VARIABLE: &str = "JOURNAL_STREAM";

/// Starts logging. Call it once; a second call changes nothing.
pub(crate) fn start() {
    let wanted = VARIABLES.iter().find_map(|name| std::env::var(name).ok());
    let filter = wanted.map_or_else(|| EnvFilter::new(USUAL), EnvFilter::new);
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let _already_started = match std::env::var_os(JOURNAL_VARIABLE) {
        Some(_) => lines.without_time().try_init(),
        None => lines.try_init(),
    };
}
