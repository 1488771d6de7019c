//! A service that a command restarts.

use super::{IDENTITY_BYTES_MAX, IDENTITY_TIMEOUT, Restarted, UnitError};
use crate::config::restart::Commands;
use crate::probe::ask::Client;
use crate::probe::exec::Exit;
use std::time::Duration;

/// Runs the command. Dropped, it kills it.
pub(super) async fn restart(commands: &Commands, timeout: Duration, client: &Client) -> Result<Restarted, UnitError> {
    let exit = well(client.act(&commands.command, timeout).await?)?;
    Ok(Restarted { output: exit.output(), ms: model::time::millis(exit.elapsed), units: Vec::new() })
}

/// What the identity command prints; nothing when there is none.
pub(super) async fn identity(commands: &Commands, client: &Client) -> Result<Option<String>, UnitError> {
    let Some(command) = &commands.identity else {
        return Ok(None);
    };
    let exit = well(client.run(command, IDENTITY_TIMEOUT).await?)?;
    let identity = exit.stdout.trim();
    if identity.is_empty() || identity.len() > IDENTITY_BYTES_MAX || exit.is_stdout_cut {
        return Err(UnitError::NoIdentity {
            bytes: if exit.is_stdout_cut { exit.stdout.len() } else { identity.len() },
        });
    }
    Ok(Some(identity.to_owned()))
}

/// A command that ended well.
pub(super) fn well(exit: Exit) -> Result<Exit, UnitError> {
    if exit.is_success() { Ok(exit) } else { Err(UnitError::Failed { exit }) }
}
