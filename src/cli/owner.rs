//! Whose the state folder is: root does no work in the folder of a worker that runs as another user.
//!
//! What root writes there the worker could neither read nor lock, and it would restart nothing any more. Called by the commands
//! that act on the host.

use super::context::user_of;
use super::failure::Failure;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Refuses to go on as root in a state folder that belongs to somebody else; `command` is what to type as that user. A folder
/// that is not there yet is nobody's.
///
/// # Errors
/// It is refused.
pub(super) fn check(state: &Path, command: &[&str]) -> Result<(), Failure> {
    let owner = std::fs::metadata(state).map(|folder| folder.uid()).unwrap_or_default();
    if owner == 0 || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let user = user_of(owner);
    let why = format!("{} belongs to {user}, whose worker could not go on with what root does there", state.display());
    Err(Failure::Refused { why, hint: format!("sudo -u {user} stagger {}", command.join(" ")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_own_folder_and_one_that_is_missing_are_no_reason_to_refuse() {
        let folder = tempfile::tempdir().expect("a folder");
        check(folder.path(), &["restart", "web"]).expect("our own");
        check(&folder.path().join("missing"), &["restart", "web"]).expect("nobody's");
    }
}
