//! How long a lease is known to be the host's own: three answers, and unknown begins nothing.
//!
//! Owns the local deadline, which is shorter than the time to live, and when to renew. Called by `work` and `answers`.

use crate::time::Time;
use std::time::Duration;

/// Of the time to live, the part after which a lease that was not renewed is no longer taken for its own: 3 of 4.
const KNOWN_PARTS: (u64, u64) = (3, 4);
/// A lease is renewed so many times in its time to live.
const RENEWALS: u64 = 3;
/// The wait before a renewal that nobody answered is sent again: this part of the time to live, within these bounds.
const RENEW_RETRY_PART: u64 = 10;
const RENEW_RETRY_MS: (u64, u64) = (50, 2_000);

/// What is known of the lease.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) ttl_ms: u64,
    /// Until when it is known to be its own; `None` before that was said.
    pub(super) deadline: Option<Time>,
    /// Known not to be its own any more.
    pub(super) is_gone: bool,
    /// Nobody said in time whether it is its own.
    pub(super) is_given_up: bool,
    pub(super) renew_at: Option<Time>,
}

impl Own {
    /// Whether it is known to be its own now.
    pub(super) fn is_own(&self, now: Time) -> bool {
        !self.is_gone && self.deadline.is_some_and(|deadline| now < deadline)
    }

    /// Whether it is not, or nobody said so in time.
    pub(super) fn is_over(&self, now: Time) -> bool {
        self.is_gone || self.is_given_up || self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// It was its own when a request sent at `sent` was answered.
    pub(super) fn heard(&mut self, sent: Time) {
        let known = sent.plus(Duration::from_millis(self.ttl_ms * KNOWN_PARTS.0 / KNOWN_PARTS.1));
        if self.deadline.is_none_or(|deadline| deadline < known) {
            self.deadline = Some(known);
            self.renew_at = Some(sent.plus(Duration::from_millis(self.ttl_ms / RENEWALS)));
        }
    }

    /// The wait before the next renewal, when this one is not answered.
    pub(super) fn pause(&self) -> Duration {
        let part = (self.ttl_ms / RENEW_RETRY_PART).clamp(RENEW_RETRY_MS.0, RENEW_RETRY_MS.1);
        Duration::from_millis(if self.ttl_ms == 0 { RENEW_RETRY_MS.1 } else { part })
    }
}
