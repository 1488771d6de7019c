//! What a daemon tells the service manager that started it: that it is ready, that it lives, and that it stops.
//!
//! Owns the words of sd_notify(3). Where no service manager listens nothing is told, and nothing depends on it. Called by
//! `worker` and `lockserver`.

use sd_notify::NotifyState;
use std::time::Duration;

/// Says that the daemon serves; and from then on, as often as the service manager wants, that it lives: for as long as the
/// runtime that this is called in goes round.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
    if let Some(within) = sd_notify::watchdog_enabled() {
        tokio::spawn(live(within));
    }
}

/// Says that it stops, and that this may take so long, whatever the service manager would usually allow.
pub(super) fn stopping(within: Duration) {
    let within_us = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(within_us)]);
}

/// Tells that the process lives, twice in each such time. Ends with the runtime.
async fn live(within: Duration) {
    let mut due = tokio::time::interval(within / 2);
    loop {
        due.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told how this process does");
    }
}
