//! `stagger lockserver restore`: a backup becomes the state of a lock server again.
//!
//! Owns what is said of it. What must not come back with it is the crate `lockserver`'s.

use super::super::context::Context;
use super::super::failure::Failure;
use super::super::{exit, out, owner};
use super::given::{file, folder};
use super::verify::unsound;
use crate::config::duration;
use ::lockserver::backup;
use model::settings::span;
use model::time::millis;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// Make a backup the state of a lock server
///
/// Into a folder that is empty, or not there yet, while no lock server runs on it. Nothing is given twice: tokens and the numbers of rollouts go on far
/// above those of the backup, and rollouts that had not ended are ended, since nobody can tell what became of them. Leases of the backup count, as after any start. A lock server that
/// starts on it decides nothing at first, until whoever holds a lease that the backup does not know has given it up.
///
/// Example: stagger lockserver restore /backup/stagger.jsonl --data /var/lib/stagger-locks
#[derive(Debug, Clone, clap::Args)]
pub(super) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The folder [default: the file's, else STATE_DIRECTORY, else /var/lib/stagger-locks]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// For how long nothing is decided at first [default: the longest time to live, and 2s]; 0s when nobody holds a lease any more
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    silent: Option<Duration>,
}

/// Restores it.
pub(super) fn run(args: &RestoreArgs, context: &Context) -> Result<u8, Failure> {
    let data = folder(args.data.as_deref(), file(context)?.as_ref());
    let (from, to) = (args.file.display().to_string(), data.display().to_string());
    owner::check(&data, &["lockserver", "restore", &from, "--data", &to])?;
    let restored = backup::restore(&args.file, &data, args.silent)
        .map_err(|cause| unsound(&format!("cannot restore {from}"), &cause))?;
    let records: u64 = restored.sound.records.values().sum();
    let silent_ms = millis(restored.silent);
    if context.globals.json {
        let floor = restored.floor;
        out::json(&json!({ "data": data, "records": records, "silent_ms": silent_ms, "tokens_above": floor }))?;
        return Ok(exit::OK);
    }
    out::result(&format!("{to}: {records} records; tokens go on above {}", restored.floor))?;
    let silence = match silent_ms {
        0 => String::new(),
        ms => format!("; it decides nothing for {}", span(ms)),
    };
    out::note(&format!(
        "start the lock server{silence}. Then look at what it cannot know of: stagger leases, stagger pools, stagger rollouts; announce \
         again what should restart"
    ));
    Ok(exit::OK)
}
