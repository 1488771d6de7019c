//! The unit: what actually restarts when a service restarts.
//!
//! Owns the restart act, and the look whether it happened. Never retries a restart, never decides whether there is to be
//! one. Called by the worker.

use crate::config::ServiceConfig;
use crate::config::service::Restart;
use crate::probe::ask::Client;
use crate::probe::exec::{ExecError, Exit};
use model::sequence::{Fault, Seen};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long the question which incarnation runs may take.
pub const IDENTITY_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest identity, in bytes.
pub const IDENTITY_BYTES_MAX: usize = 1024;
/// How long the same incarnation must be seen, at the least, before a restart counts as not done.
pub const QUIET: Duration = Duration::from_secs(2);
/// How much longer to go on asking while nobody can tell: a service in the middle of its restart may have no identity.
pub const INSPECT_MAX: Duration = Duration::from_secs(5);
/// How far apart the looks in that time are.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What restarts.
#[derive(Debug, Clone)]
pub struct Unit {
    restart: Restart,
    client: Client,
}

/// A restart that worked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restarted {
    /// What the command printed and complained.
    pub output: String,
    /// How long it took, in milliseconds.
    pub ms: u64,
}

/// A restart, or the question which incarnation runs, did not work.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// The command ended with something else than 0.
    #[error("{}", exit.cause())]
    Failed {
        /// How it ended.
        exit: Exit,
    },
    /// The command did not end by itself.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The identity is empty, or longer than [`IDENTITY_BYTES_MAX`].
    #[error("the identity command printed {bytes} bytes, and not between 1 and {IDENTITY_BYTES_MAX}")]
    NoIdentity {
        /// How much it printed.
        bytes: usize,
    },
}

impl UnitError {
    /// The exit code, when there is one.
    pub fn exit(&self) -> Option<i32> {
        match self {
            UnitError::Failed { exit } => Some(exit.code),
            UnitError::Exec(_) | UnitError::NoIdentity { .. } => None,
        }
    }

    /// What the failing command printed and complained.
    pub fn output(&self) -> String {
        match self {
            UnitError::Failed { exit } => exit.output(),
            UnitError::Exec(ExecError::TimedOut { output, .. }) => output.clone(),
            UnitError::Exec(_) | UnitError::NoIdentity { .. } => String::new(),
        }
    }
}

impl From<UnitError> for Fault {
    fn from(error: UnitError) -> Fault {
        Fault { cause: error.to_string(), output: error.output() }
    }
}

impl Unit {
    /// The unit of a service. Its commands run in the client's environment.
    pub fn new(service: &ServiceConfig, client: &Client) -> Self {
        Self { restart: service.restart.clone(), client: client.of(&service.name) }
    }

    /// Restarts, once. The command sees the client's environment. A second call restarts again. Dropped, it kills the command
    /// and nobody can tell whether the service was restarted.
    ///
    /// # Errors
    /// The command failed, took too long, or could not be started.
    pub async fn restart(&self) -> Result<Restarted, UnitError> {
        let exit = well(self.client.act(&self.restart.command, self.restart.timeout).await?)?;
        Ok(Restarted { output: exit.output(), ms: model::time::millis(exit.elapsed) })
    }

    /// Which incarnation of the service runs; nothing when no command is configured that knows.
    ///
    /// # Errors
    /// The command failed, took too long, or said nothing.
    pub async fn identity(&self) -> Result<Option<String>, UnitError> {
        let Some(command) = &self.restart.identity else {
            return Ok(None);
        };
        let exit = well(self.client.run(command, IDENTITY_TIMEOUT).await?)?;
        let identity = exit.stdout.trim();
        if identity.is_empty() || identity.len() > IDENTITY_BYTES_MAX {
            return Err(UnitError::NoIdentity { bytes: identity.len() });
        }
        Ok(Some(identity.to_owned()))
    }

    /// Whether another incarnation than `before` runs, or nobody could ever tell: what answers then is no old process. It
    /// is none of this, and why, while the same one runs or nobody can tell yet.
    ///
    /// # Errors
    /// Why not.
    pub async fn is_renewed(&self, before: Option<&str>) -> Result<(), String> {
        let Some(before) = before else { return Ok(()) };
        match self.identity().await {
            Ok(Some(present)) if present == before => {
                Err("the old process still runs: its identity is the same".to_owned())
            }
            Ok(_) => Ok(()),
            Err(error) => Err(format!("which incarnation runs cannot be told: {error}")),
        }
    }

    /// How long [`Unit::inspect`] looks at most before it can tell that the restart did not happen. It tells at once, when it
    /// cannot be told here.
    pub fn inspection(&self, before: Option<&str>, is_again: bool) -> Option<Duration> {
        (before.is_some() && self.restart.identity.is_some()).then(|| self.quiet(is_again))
    }

    fn quiet(&self, is_again: bool) -> Duration {
        if is_again { Duration::ZERO } else { self.restart.timeout.max(QUIET) }
    }

    /// Whether a restart that was begun, and whose end nobody saw, happened: another incarnation than `before` runs. A restart
    /// that was handed to somebody else, such as the service manager, may go on after its command died; so that the same one
    /// runs is believed only after it was seen without a break for as long as a restart may take, its timeout; or at once, when that
    /// was done before. While nobody can tell, it is asked again, for [`INSPECT_MAX`] longer than that.
    pub async fn inspect(&self, before: Option<&str>, is_again: bool) -> Seen {
        let Some(before) = before else {
            return Seen::Unknown("which incarnation ran before the restart was not recorded".to_owned());
        };
        let quiet = self.quiet(is_again);
        let deadline = Instant::now() + quiet + INSPECT_MAX;
        let mut same_since: Option<Instant> = None;
        loop {
            let asked = self.identity().await;
            let now = Instant::now();
            let unclear = match asked {
                Ok(None) => return Seen::Unknown("no identity command is configured".to_owned()),
                Ok(Some(present)) if present != before => return Seen::Done,
                Ok(Some(_)) if now - *same_since.get_or_insert(now) >= quiet => return Seen::NotDone,
                Ok(Some(_)) => "it was the same one for too short a time".to_owned(),
                Err(error) => {
                    same_since = None;
                    error.to_string()
                }
            };
            if now >= deadline {
                return Seen::Unknown(format!("which incarnation runs cannot be told: {unclear}"));
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

fn well(exit: Exit) -> Result<Exit, UnitError> {
    if exit.is_success() { Ok(exit) } else { Err(UnitError::Failed { exit }) }
}

#[cfg(test)]
mod tests;
