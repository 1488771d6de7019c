//! A flag file that something the balancer asks looks at. It survives the worker, and the machine's restart.

use super::{Move, Said, status};
use crate::config::depool::{FlagFile, Status};
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

/// Looks at the flag, and at what confirms it.
pub(super) async fn ask(flag: &FlagFile, client: &Client, within: Duration) -> Said {
    match presence(flag, within).await {
        Ok(presence) => confirmed("the flag", presence, flag.confirm.as_ref(), client).await,
        Err(why) => Said::unknown(why),
    }
}

/// What the flag says: in or out.
pub(super) async fn presence(flag: &FlagFile, within: Duration) -> Result<Presence, String> {
    match timeout(within, fs::try_exists(&flag.path)).await {
        Ok(Ok(present)) if present == flag.present_is_out => Ok(Presence::Out),
        Ok(Ok(_)) => Ok(Presence::In),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err("the file system does not answer".to_owned()),
    }
}

/// What confirms it has the last word. While one says out and the other still says in, nobody can tell: before a depool it may be
/// somebody else's doing, and after it the balancer has not followed yet.
pub(super) async fn confirmed(what: &str, presence: Presence, confirm: Option<&Status>, client: &Client) -> Said {
    let Some(confirm) = confirm else { return Said::known(presence, "") };
    let said = status::ask(confirm, client).await;
    match (presence, said.presence) {
        (Presence::Out, Presence::In) => {
            Said::unknown(format!("{what} says out, and in is confirmed: {}", said.detail))
        }
        _ => said,
    }
}
