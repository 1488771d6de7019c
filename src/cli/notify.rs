//! What a daemon tells the service manager that started it: that it is ready, that it lives, and that it stops.
//!
//! Owns the words of sd_notify(3). Where no service manager listens nothing is told, and nothing depends on it. Called by
//! `worker` and `lockserver`.

use sd_notify::NotifyState;
use std::time::Duration;

/// Says that the daemon serves; and from then on, as often as the service manager wants, that it lives: for as long as the
/// runtime that this is called in goes round, and it says so itself.
pub(super) fn ready(lives: impl Fn() -> bool + Send + 'static) {
    tell(&[NotifyState::Ready]);
    if let Some(within) = sd_notify::watchdog_enabled() {
        tokio::spawn(live(within, lives));
    }
}

/// Says that the daemon reads its configuration again.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager is not told that the configuration is read again"),
    }
}

/// Says that it has, whatever came of it.
pub(super) fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// Says that it stops, and that this may take so long, whatever the service manager would usually allow.
pub(super) fn stopping(within: Duration) {
    let within_us = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(within_us)]);
}

/// Tells that the process lives, eight times in each such time, so that one that is missed is no harm; not while it does not. Ends with the runtime.
async fn live(within: Duration, lives: impl Fn() -> bool) {
    let mut due = tokio::time::interval(within / 8);
    let mut lived = true;
    loop {
        due.tick().await;
        let lives = lives();
        if lives {
            tell(&[NotifyState::Watchdog]);
        } else if lived {
            tracing::error!("it hangs, and the service manager is no longer told that it lives");
        }
        lived = lives;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told how this process does");
    }
}
