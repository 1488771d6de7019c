//! Units that systemd restarts, asked over D-Bus. No text of systemctl's is ever read.
//!
//! Owns the order of several units, and what tells their incarnations apart. Never cancels what it asked systemd for: a job whose
//! asker is gone goes on, and is waited for by whoever looks next. Everything asked has a time limit. Called by the unit, and
//! by the worker when it verifies.
//!
//! Reading order: this file; `incarnation` (which start of a unit runs); `bus` (how systemd is reached and asked); `job` (one
//! unit, from the question to the end of its job); `fault` (what went wrong, in people's words); `words` (what a unit said last).

mod bus;
mod fault;
mod incarnation;
mod job;
mod words;

#[cfg(test)]
mod tests;

pub use fault::{SystemdError, UnitFault};

use super::look::Glimpse;
use super::{Restarted, UnitRestarted};
use crate::config::restart::{Manager, UnitName, Units};
use crate::config::steps::Running;
use crate::probe::ask::Client;
use bus::{Bus, Says};
use incarnation::Incarnations;
use std::time::Duration;
use tokio::time::Instant;

/// For how long no job must be seen, and the same incarnation, before a restart counts as not done: what was asked of systemd before
/// its asker died has reached it by then.
pub const QUIET: Duration = Duration::from_secs(1);

/// A unit that is active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Up {
    /// Which incarnation it is.
    pub incarnation: String,
    /// For how long it has been active.
    pub active: Duration,
}

/// Restarts the units one after the other, all of them, whatever becomes of each; but leaves alone those that were restarted
/// `since`.
///
/// # Errors
/// Some unit failed; each is named.
pub(super) async fn restart(
    units: &Units,
    timeout: Duration,
    since: Option<&str>,
    client: &Client,
) -> Result<Restarted, SystemdError> {
    let started = Instant::now();
    let since = since.map(Incarnations::parse);
    let (mut fine, mut failed) = (Vec::new(), Vec::new());
    for unit in &units.units {
        match one(units, unit, timeout, since.as_ref(), client).await {
            Ok(Some(restarted)) => fine.push(restarted),
            Ok(None) => {}
            Err(fault) => failed.push(*fault),
        }
    }
    if failed.is_empty() {
        let ms = model::time::millis(started.elapsed());
        return Ok(Restarted { output: String::new(), ms, units: fine });
    }
    Err(SystemdError::Units { failed, fine: fine.into_iter().map(|restarted| restarted.unit).collect() })
}

/// Restarts one; nothing when it was restarted since.
async fn one(
    units: &Units,
    unit: &UnitName,
    timeout: Duration,
    since: Option<&Incarnations>,
    client: &Client,
) -> Result<Option<UnitRestarted>, Box<UnitFault>> {
    if let Some(since) = since {
        let bus = Bus::connect(units.manager, client).await.map_err(|away| UnitFault::away(unit, &away))?;
        let says =
            bus.says(unit).await.map_err(|refusal| UnitFault::refused(bus.manager, unit, units.action, refusal))?;
        if since.glimpse(unit, &says, units.action) == Glimpse::Other {
            return Ok(None);
        }
    }
    job::run(units, unit, timeout, client).await.map(Some)
}

/// Which incarnation of each unit runs. One that is down has none.
///
/// # Errors
/// Systemd cannot be asked.
pub(super) async fn identity(units: &Units, client: &Client) -> Result<String, SystemdError> {
    let mut incarnations = Incarnations::default();
    for (unit, says) in all(units, client).await? {
        incarnations.note(unit, &says, units.action);
    }
    Ok(incarnations.to_string())
}

/// The units that systemd would take no job of, if there are any.
///
/// # Errors
/// Systemd cannot be asked.
pub(super) async fn unfit(units: &Units, client: &Client) -> Result<Option<SystemdError>, SystemdError> {
    let bus = Bus::connect(units.manager, client).await?;
    let mut failed = Vec::new();
    for unit in &units.units {
        let says = bus.must_say(unit).await?;
        failed.extend(job::unusable(&bus, unit, &says).await.map(|cause| *UnitFault::plain(unit, cause)));
    }
    let is_fit = failed.is_empty();
    Ok((!is_fit).then(|| SystemdError::Units { failed, fine: Vec::new() }))
}

/// What is seen of a restart that was begun when these incarnations ran.
pub(super) async fn glimpse(units: &Units, before: &str, client: &Client) -> Glimpse {
    let all = match all(units, client).await {
        Ok(all) => all,
        Err(error) => return Glimpse::Unclear(error.to_string()),
    };
    let before = Incarnations::parse(before);
    let each = all.into_iter().map(|(unit, says)| before.glimpse(unit, &says, units.action));
    incarnation::together(each)
}

async fn all<'u>(units: &'u Units, client: &Client) -> Result<Vec<(&'u UnitName, Says)>, SystemdError> {
    let bus = Bus::connect(units.manager, client).await?;
    let mut all = Vec::new();
    for unit in &units.units {
        all.push((unit, bus.must_say(unit).await?));
    }
    Ok(all)
}

/// How long a unit has been active, and since which start.
///
/// # Errors
/// It is not active, or systemd cannot be asked.
pub async fn running(running: &Running, client: &Client) -> Result<Up, SystemdError> {
    let bus = Bus::connect(running.manager, client).await?;
    let says = bus.must_say(&running.unit).await?;
    if !says.is_active() {
        return Err(SystemdError::NotActive { unit: running.unit.to_string(), state: says.state() });
    }
    let active = Duration::from_micros(bus::monotonic_us().saturating_sub(says.active_since_us));
    Ok(Up { incarnation: says.invocation.unwrap_or_default(), active })
}

/// Asks for a boot of the host: logind, which asks who must be asked; where there is none, systemd itself.
///
/// # Errors
/// Neither took it.
pub(super) async fn reboot(client: &Client) -> Result<(), SystemdError> {
    let bus = Bus::connect(Manager::System, client).await?;
    bus.reboot().await
}
