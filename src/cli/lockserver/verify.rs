//! `stagger lockserver verify`: is a backup, or the store of a lock server that does not run, sound?
//!
//! Owns what is said of it. What is looked at is the crate `lockserver`'s.

use super::super::context::Context;
use super::super::failure::Failure;
use super::super::{exit, out};
use super::given::{file, folder};
use ::lockserver::StoreError;
use ::lockserver::backup::{self, Sound, Unsound};
use serde_json::json;
use std::path::PathBuf;

/// Look whether a backup, or a lock server's state, is sound
///
/// Every page and every record is read, and together they must keep what always holds. Nothing is changed. The state of a lock server that runs cannot be looked
/// at: take a backup of it, and look at that.
///
/// Exit codes: 0 sound; 1 not, or in use; 64 usage; 78 configuration.
///
/// Example: stagger lockserver verify /backup/stagger.jsonl
#[derive(Debug, Clone, clap::Args)]
pub(super) struct VerifyArgs {
    /// A backup
    #[arg(value_name = "FILE", conflicts_with = "data")]
    file: Option<PathBuf>,
    /// The folder of a state [default, without FILE: the file's, else STATE_DIRECTORY, else /var/lib/stagger-locks]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Looks at it.
pub(super) fn run(args: &VerifyArgs, context: &Context) -> Result<u8, Failure> {
    let (place, looked) = match &args.file {
        Some(file) => (file.clone(), backup::verify_backup(file)),
        None => {
            let data = folder(args.data.as_deref(), file(context)?.as_ref());
            let looked = backup::verify_folder(&data);
            (data, looked)
        }
    };
    let sound = looked.map_err(|cause| unsound(&format!("{} is not sound", place.display()), &cause))?;
    match context.globals.json {
        true => out::json(&json!({
            "place": place, "form": sound.form, "records": sound.records, "taken_ms": sound.taken, "arriving": sound.arriving
        }))?,
        false => out::result(&format!("{}: {}", place.display(), told(&sound)))?,
    }
    Ok(exit::OK)
}

fn told(sound: &Sound) -> String {
    let all: u64 = sound.records.values().sum();
    let mut text = format!("sound, form {}, {all} records", sound.form);
    if sound.arriving {
        text.push_str("; some were still to come from another coordinator");
    }
    for (kind, count) in &sound.records {
        text.push_str(&format!("\n  {kind:<12} {count}"));
    }
    text
}

/// What is not sound, and what to do.
pub(super) fn unsound(what: &str, cause: &Unsound) -> Failure {
    match cause {
        Unsound::Store(StoreError::InUse { path }) => Failure::Refused {
            why: format!("a lock server uses {}", path.display()),
            hint: "take a backup while it runs, and look at that: stagger lockserver backup FILE".to_owned(),
        },
        cause => Failure::Refused { why: format!("{what}: {cause}"), hint: String::new() },
    }
}
