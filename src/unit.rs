//! The unit: what actually restarts when a service restarts.
//!
//! Owns the restart act, and the look whether it happened. Never retries a restart, never decides whether there is to be
//! one. Called by the worker.
//!
//! Reading order: this file; `exec` (by a command); `systemd` (units, over D-Bus); `reboot` (the whole host); `look` (how long
//! to look before it is said what was seen).

mod exec;
mod look;
mod reboot;
pub mod systemd;

pub use look::{INSPECT_MAX, LOOK_EVERY, QUIET};

use crate::config::ServiceConfig;
use crate::config::restart::{Restart, Way};
use crate::probe::ask::Client;
use crate::probe::exec::{ExecError, Exit};
use look::{Glimpse, Look};
use model::sequence::{Fault, Seen};
use std::time::Duration;
use systemd::SystemdError;
use tokio::time::{Instant, sleep};

/// How long the question which incarnation runs may take.
pub const IDENTITY_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest identity that a command may print, in bytes.
pub const IDENTITY_BYTES_MAX: usize = 1024;

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
    /// Each unit that systemd restarted. Those that an act before this one had restarted are missing.
    pub units: Vec<UnitRestarted>,
}

/// A unit that systemd restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitRestarted {
    /// Which.
    pub unit: String,
    /// How long that took from the start of its job until it was active, or had ended, in milliseconds.
    pub ms: u64,
    /// It ran and ended well, as it is meant to, and is not active.
    pub has_ended: bool,
}

impl Restarted {
    /// In one line, for people: each unit and its time; empty when a command restarted it.
    pub fn note(&self) -> String {
        let each = self.units.iter().map(|UnitRestarted { unit, ms, has_ended }| {
            let became = if *has_ended { "ended well" } else { "active" };
            format!("{unit} {became} after {}", model::settings::span(*ms))
        });
        each.collect::<Vec<_>>().join(", ")
    }
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
    /// Systemd could not do it, or could not be asked.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// The kernel does not say which boot this is.
    #[error("cannot read {}: {source}", reboot::BOOT_ID)]
    BootId {
        /// Why.
        source: std::io::Error,
    },
    /// The host was asked to boot, and did not.
    #[error("the host was asked to boot, and is up still after {}", model::settings::span(model::time::millis(*after)))]
    StillUp {
        /// How long it was given.
        after: Duration,
    },
}

impl UnitError {
    /// The exit code, when there is one.
    pub fn exit(&self) -> Option<i32> {
        match self {
            UnitError::Failed { exit } => Some(exit.code),
            UnitError::Systemd(error) => error.exit(),
            _ => None,
        }
    }

    /// What the failing command, or unit, printed and complained.
    pub fn output(&self) -> String {
        match self {
            UnitError::Failed { exit } => exit.output(),
            UnitError::Exec(ExecError::TimedOut { output, .. }) => output.clone(),
            UnitError::Systemd(error) => error.output(),
            _ => String::new(),
        }
    }
}

impl From<UnitError> for Fault {
    fn from(error: UnitError) -> Fault {
        Fault { cause: error.to_string(), output: error.output() }
    }
}

impl Unit {
    /// The unit of a service. Its commands run in the client's environment, by which a user's systemd is found too.
    pub fn new(service: &ServiceConfig, client: &Client) -> Self {
        Self { restart: service.restart.clone(), client: client.of(&service.name) }
    }

    /// Restarts, once. Commands see the client's environment. A second call restarts again, but for the units that no longer run as
    /// `since` says: which incarnation ran before an earlier act that was broken off. Dropped, it kills its command; nobody
    /// can tell then whether the service was restarted, and what systemd was asked for goes on. A reboot never returns
    /// when it works; what it waits for is told.
    ///
    /// # Errors
    /// The command or a unit failed, took too long, or could not be started; systemd could not be asked. Of several units
    /// all were tried.
    pub async fn restart(&self, since: Option<&str>, tell: impl Fn(&str)) -> Result<Restarted, UnitError> {
        let timeout = self.restart.timeout;
        match &self.restart.way {
            Way::Exec(commands) => exec::restart(commands, timeout, &self.client).await,
            Way::Systemd(units) => Ok(systemd::restart(units, timeout, since, &self.client).await?),
            Way::Reboot(reboot) => reboot::restart(reboot, timeout, &self.client, tell).await,
        }
    }

    /// Whether another incarnation than `before` runs, or nobody could ever tell: what answers then is no old process. It
    /// is none of this, and why, while the same one runs or nobody can tell yet. Systemd itself ends a restart only when the new
    /// process is there.
    ///
    /// # Errors
    /// Why not.
    pub async fn is_renewed(&self, before: Option<&str>) -> Result<(), String> {
        let (Way::Exec(_), Some(before)) = (&self.restart.way, before) else { return Ok(()) };
        match self.identity().await {
            Ok(Some(present)) if present == before => {
                Err("the old process still runs: its identity is the same".to_owned())
            }
            Ok(_) => Ok(()),
            Err(error) => Err(format!("which incarnation runs cannot be told: {error}")),
        }
    }

    /// Which incarnation of the service runs; nothing when no command is configured that knows. A unit of systemd's that is down
    /// has none, and that is said too, so that it can be told when it is up.
    ///
    /// # Errors
    /// The command failed, took too long, or said nothing; systemd did not say.
    pub async fn identity(&self) -> Result<Option<String>, UnitError> {
        match &self.restart.way {
            Way::Exec(commands) => exec::identity(commands, &self.client).await,
            Way::Systemd(units) => Ok(Some(systemd::identity(units, &self.client).await?)),
            Way::Reboot(_) => reboot::boot_id().await.map(Some),
        }
    }

    /// Which of its units systemd would not restart, and why, so far as that can be told beforehand: there is none of that name, it is
    /// masked, or its file cannot be used. Nothing when all can be, or something else restarts.
    ///
    /// # Errors
    /// Systemd did not say.
    pub async fn unfit(&self) -> Result<Option<String>, UnitError> {
        let Way::Systemd(units) = &self.restart.way else { return Ok(None) };
        let faults = systemd::unfit(units, &self.client).await?;
        Ok(faults.map(|faults| faults.to_string()))
    }

    /// How long [`Unit::inspect`] looks at most before it can tell that the restart did not happen, unless it sees that it goes on.
    /// It tells at once, when it cannot be told here.
    pub fn inspection(&self, before: Option<&str>, is_again: bool) -> Option<Duration> {
        let knows = !matches!(&self.restart.way, Way::Exec(commands) if commands.identity.is_none());
        (before.is_some() && knows).then(|| self.quiet(is_again))
    }

    /// For how long the same incarnation must be seen. Systemd says itself whether a job of the restart is left.
    fn quiet(&self, is_again: bool) -> Duration {
        match &self.restart.way {
            _ if is_again => Duration::ZERO,
            Way::Systemd(_) => systemd::QUIET,
            Way::Exec(_) | Way::Reboot(_) => self.restart.timeout.max(QUIET),
        }
    }

    /// Whether a restart that was begun, and whose end nobody saw, happened: another incarnation than `before` runs. A restart
    /// that was handed to somebody else, such as the service manager, may go on after its command died; so that the same one
    /// runs is believed only after it was seen without a break for as long as a restart may take, its timeout; or at once, when that
    /// was done before. Systemd is asked whether its job goes on, and waited for as long as it does, for twice its timeout at
    /// most; when there is none, little more is waited. While nobody can tell, it is asked again, for [`INSPECT_MAX`] longer.
    ///
    /// Of several units all must run anew. When some do and some do not, the act was broken off between them: it is not done, and
    /// done again it leaves those alone that do.
    pub async fn inspect(&self, before: Option<&str>, is_again: bool) -> Seen {
        let Some(before) = before else {
            return Seen::Unknown("which incarnation ran before the restart was not recorded".to_owned());
        };
        let mut look = Look::new(self.quiet(is_again), self.busy_max(), Instant::now());
        loop {
            let glimpse = self.glimpse(before).await;
            if let Some(seen) = look.judge(glimpse, Instant::now()) {
                return seen;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// For how long a restart that is seen to go on is waited for.
    fn busy_max(&self) -> Duration {
        match &self.restart.way {
            Way::Systemd(units) => {
                self.restart.timeout.saturating_mul(2 * u32::try_from(units.units.len()).unwrap_or(1))
            }
            Way::Exec(_) | Way::Reboot(_) => Duration::ZERO,
        }
    }

    async fn glimpse(&self, before: &str) -> Glimpse {
        if let Way::Systemd(units) = &self.restart.way {
            return systemd::glimpse(units, before, &self.client).await;
        }
        match self.identity().await {
            Ok(None) => Glimpse::Untold("no identity command is configured".to_owned()),
            Ok(Some(present)) if present != before => Glimpse::Other,
            Ok(Some(_)) => Glimpse::Same,
            Err(error) => Glimpse::Unclear(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
