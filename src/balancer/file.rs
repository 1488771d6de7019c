//! A flag file that something the balancer asks looks at. It survives the worker, and the machine's restart.

use super::{Move, Said, status};
use crate::config::depool::FlagFile;
use crate::probe::ask::Client;
use model::member::Presence;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::fs;
use tokio::time::timeout;

/// Makes or removes the flag, and syncs its folder, so that a power failure does not undo what was reported as done.
pub(super) async fn put(flag: &FlagFile, way: Move, within: Duration) -> Result<(), String> {
    let present = match way {
        Move::Out => flag.present_is_out,
        Move::In => !flag.present_is_out,
    };
    let done = async {
        if present {
            // What is in a flag that somebody else made is theirs.
            fs::OpenOptions::new().append(true).create(true).open(&flag.path).await?.sync_all().await?;
        } else {
            match fs::remove_file(&flag.path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        fs::File::open(flag.path.parent().unwrap_or(Path::new("/"))).await?.sync_all().await
    };
    match timeout(within, done).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err("the file system does not answer".to_owned()),
    }
}

/// Looks at the flag, and at what confirms it. While the flag says out and the other still says in, nobody can tell: before
/// a depool the flag may be somebody else's, and after it the balancer has not followed yet.
pub(super) async fn ask(flag: &FlagFile, client: &Client, within: Duration) -> Said {
    let present = match timeout(within, fs::try_exists(&flag.path)).await {
        Ok(Ok(present)) => present,
        Ok(Err(error)) => return Said::unknown(error.to_string()),
        Err(_elapsed) => return Said::unknown("the file system does not answer"),
    };
    let presence = if present == flag.present_is_out { Presence::Out } else { Presence::In };
    let Some(confirm) = &flag.confirm else {
        return Said::known(presence, "");
    };
    let said = status::ask(confirm, client).await;
    match (presence, said.presence) {
        (Presence::Out, Presence::In) => {
            Said::unknown(format!("the flag says out, and in is confirmed: {}", said.detail))
        }
        _ => said,
    }
}
