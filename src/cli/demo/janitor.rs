//! The one who clears up after a demo that was killed: `stagger demo-janitor`.
//!
//! A process of its own that does nothing until its standard input ends, which is when the demo ends, however it does; then
//! it removes the demo's folder, if that is still there. Owns nothing. Started by the fleet. (The demo's other processes need
//! nobody: the kernel kills them when it ends.)

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// How long to try: processes that are just dying may still write into the folder.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause between two tries.
const REMOVE_PAUSE: Duration = Duration::from_millis(20);

/// Clear up after a `stagger demo` that was killed.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DemoJanitorArgs {
    /// The demo's folder
    folder: PathBuf,
}

/// Waits for the demo's end, then removes its folder. Returns the exit code: 1 when the folder is left.
pub(crate) async fn run(args: DemoJanitorArgs) -> u8 {
    // It has nothing else to do, so it may block. An input that cannot be read has ended as well.
    let _ended = io::copy(&mut io::stdin().lock(), &mut io::sink());
    u8::from(remove(&args.folder).await.is_err())
}

async fn remove(folder: &Path) -> io::Result<()> {
    let deadline = Instant::now() + REMOVE_TIMEOUT;
    loop {
        match std::fs::remove_dir_all(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(REMOVE_PAUSE).await,
        }
    }
}

/// Starts it; it waits for as long as the child's standard input is open.
///
/// # Errors
/// The process cannot be started.
pub(super) fn start(exe: &Path, folder: &Path) -> io::Result<Child> {
    let mut command = Command::new(exe);
    command.arg("demo-janitor").arg(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // Out of reach of a Ctrl-C, which is for the demo.
    command.process_group(0);
    command.spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_that_is_still_written_to_goes_in_the_end() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("demo");
        std::fs::create_dir_all(folder.join("host1/state")).expect("made");
        std::fs::write(folder.join("host1/state/journal"), "x").expect("written");
        remove(&folder).await.expect("removed");
        assert!(!folder.exists());
        remove(&folder).await.expect("nothing to remove");
    }
}
