//! A service that is the host itself: it restarts when the host boots.
//!
//! Which incarnation runs is the kernel's boot id. The act ends with the power, so it never returns when it works: the next worker
//! finds another boot id, and goes on.

use super::exec::well;
use super::{Restarted, UnitError, systemd};
use crate::config::restart::Reboot;
use crate::probe::ask::Client;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Where the kernel says which boot this is.
pub(super) const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Which boot this is.
pub(super) async fn boot_id() -> Result<String, UnitError> {
    let id = tokio::fs::read_to_string(BOOT_ID).await.map_err(|source| UnitError::BootId { source })?;
    Ok(id.trim().to_owned())
}

/// Has the host boot, and waits for the power to go.
pub(super) async fn restart(
    reboot: &Reboot,
    timeout: Duration,
    client: &Client,
    tell: impl Fn(&str),
) -> Result<Restarted, UnitError> {
    let deadline = Instant::now() + timeout;
    match &reboot.command {
        Some(command) => drop(well(client.act(command, timeout).await?)?),
        None => systemd::reboot(client).await?,
    }
    tell("asked the host to boot; waits for the power to go");
    sleep_until(deadline).await;
    Err(UnitError::StillUp { after: timeout })
}
