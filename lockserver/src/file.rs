//! What the lock server's configuration file says of pools and services: taken in at its start, whenever the file is read again, and
//! when a domain has come here from elsewhere.
//!
//! Reads no file: the program that runs the lock server does, and tells here. Decides nothing.

use crate::clock;
use crate::domain::{Domain, Fault};
use model::defaults::Load;
use model::passage::Shut;
use model::request::Done;
use model::{Reply, Request};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// What came of reading the configuration file last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// What it says, or said when it was last right. None when there is no file: then what the last one said goes on.
    pub load: Option<Load>,
    /// Whether it could be read the last time.
    pub is_good: bool,
}

impl Default for Configured {
    /// No file.
    fn default() -> Configured {
        Configured { load: None, is_good: true }
    }
}

/// The file was read: counts that, and has the domain take in what it says if it is right.
pub(crate) fn hear(domain: &Domain, configured: &watch::Receiver<Configured>) -> Option<Instant> {
    let is_good = configured.borrow().is_good;
    domain.metrics.configured(is_good, clock::wall());
    if is_good { take_in(domain, configured) } else { None }
}

/// Has the domain take in what the file says, should it be open. What is answered from now on rests on it. Returns when to try again,
/// if that is known.
fn take_in(domain: &Domain, configured: &watch::Receiver<Configured>) -> Option<Instant> {
    let load = configured.borrow().load.clone()?;
    let file = load.file.clone();
    match domain.decide(&Request::Load(load)) {
        Ok((Reply::Did(Done::Did { what }), _)) => tracing::info!("{file}: {what}"),
        Ok((Reply::Did(Done::Refused { why, hint }), _)) => tracing::error!("{file} is not taken in: {why}: {hint}"),
        Ok(_) => tracing::error!("{file} is not taken in"),
        Err(Fault::Silent { left_ms }) => return Some(Instant::now() + Duration::from_millis(left_ms)),
        // When a domain comes here, or stays, it is tried again.
        Err(Fault::Shut(Shut::Moving { .. } | Shut::Moved { .. })) => {}
        Err(fault) => tracing::warn!("{file} is not taken in: {fault}"),
    }
    None
}

/// Has the domain take in what the file says whenever it was read again, or the domain took a step of its passage; and first at this
/// moment, if there is one. For ever: the caller drops it.
pub(crate) async fn keep(domain: &Domain, mut configured: watch::Receiver<Configured>, mut again: Option<Instant>) {
    let mut steps = domain.steps();
    let mut is_told = true;
    loop {
        tokio::select! {
            changed = configured.changed(), if is_told => {
                is_told = changed.is_ok();
                if is_told {
                    again = hear(domain, &configured).or(again);
                }
            }
            Ok(()) = steps.changed() => {
                if domain.shut().is_none() && configured.borrow().load.is_some() {
                    again = take_in(domain, &configured);
                }
            }
            () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {
                again = take_in(domain, &configured);
            }
        }
    }
}
