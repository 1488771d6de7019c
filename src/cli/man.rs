//! `stagger man`: the manual pages, one for each command.

use super::context::Context;
use super::failure::Failure;
use super::{command, exit, out};
use serde_json::json;
use std::path::PathBuf;

/// Write the manual pages, one for each command, into a folder
///
/// Example: stagger man /usr/local/share/man/man1
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ManArgs {
    /// The folder; it is made when it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes them.
pub(crate) fn run(args: &ManArgs, context: &Context) -> Result<u8, Failure> {
    let folder = args.folder.display();
    let failed = |error| Failure::system(format!("write the manual pages into {folder}"), error);
    std::fs::create_dir_all(&args.folder).map_err(failed)?;
    clap_mangen::generate_to(command(), &args.folder).map_err(failed)?;
    match context.globals.json {
        true => out::json(&json!({ "folder": args.folder }))?,
        false => out::note(&format!("manual pages are in {folder}")),
    }
    Ok(exit::OK)
}
