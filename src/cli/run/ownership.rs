//! Whether the lease of `run` is still its own, and what follows for the command. Pure: it is told the time and the answers.
//!
//! Ownership is counted from when the last confirmed renewal was sent. A coordinator hands a slot on after the time to live
//! at the earliest, so the command is asked to end well before, and killed before that. Called by `keep`.

use coordinator::Error;
use model::request::Own;
use std::time::Duration;

/// Longest pause between two looks at the clock: while the machine sleeps, timers stand still and this clock does not.
pub(super) const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);
/// Shortest pause between two tries to renew.
const RETRY_MIN: Duration = Duration::from_millis(50);
/// Longest grace between TERM and KILL.
pub(super) const GRACE_MAX: Duration = Duration::from_secs(10);
/// The pause before what is left is killed once more.
pub(super) const KILL_EVERY: Duration = Duration::from_millis(100);

/// What is to be done about the lease and the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Renew,
    Terminate,
    Kill,
}

/// Whether the lease is still ours, as far as is known. Pure: it is told the time.
#[derive(Debug)]
pub(super) struct Ownership {
    ttl: Duration,
    /// When the last confirmed request was sent.
    confirmed: Duration,
    /// When the next try to renew is due; nothing while one is under way.
    renew_at: Option<Duration>,
    /// Why the last try failed.
    fault: String,
    /// When the command, told to end, is killed.
    kill_at: Option<Duration>,
    /// When it was killed last: again and again, since it may be starting things meanwhile.
    killed: Option<Duration>,
}

impl Ownership {
    pub(super) fn new(ttl: Duration, confirmed: Duration) -> Ownership {
        Ownership {
            ttl,
            confirmed,
            renew_at: Some(confirmed + ttl / 3),
            fault: String::new(),
            kill_at: None,
            killed: None,
        }
    }

    /// When the command is told to end, unless ownership is confirmed before: at 0.6 of the time to live.
    fn terminate_at(&self) -> Duration {
        self.confirmed + self.ttl * 6 / 10
    }

    /// When it is killed at the latest: at 0.9 of the time to live.
    fn kill_at_most(&self) -> Duration {
        self.confirmed + self.ttl * 9 / 10
    }

    /// Until when the command may live even if nobody here does anything any more: a little longer, so that what is done
    /// here comes first, and shorter than the time to live.
    pub(super) fn leash(&self) -> Duration {
        self.kill_at.map_or(self.kill_at_most(), |at| at.min(self.kill_at_most())) + self.ttl / 20
    }

    /// What is due now, the most urgent first; each thing once, but killing.
    pub(super) fn due(&mut self, now: Duration) -> Option<Due> {
        match self.kill_at {
            Some(at) if now >= self.killed.map_or(at, |last| last + KILL_EVERY) => {
                self.killed = Some(now);
                return Some(Due::Kill);
            }
            None if now >= self.terminate_at() => {
                // Killed at once when that time has passed too, in the machine's sleep.
                self.kill_at = Some(self.kill_at_most());
                if self.fault.is_empty() {
                    self.fault = "no renewal was answered".to_owned();
                }
                return Some(Due::Terminate);
            }
            _ => {}
        }
        let renews = self.renew_at.is_some_and(|at| now >= at) && self.kill_at.is_none();
        renews.then(|| {
            self.renew_at = None;
            Due::Renew
        })
    }

    /// A try to renew came to its end. Whether the command must be told to end now.
    pub(super) fn renewed(&mut self, sent: Duration, answer: Result<Own, Error>, now: Duration) -> Option<Due> {
        match answer {
            Ok(Own::Held { .. }) => {
                self.confirmed = sent;
                self.renew_at = Some(sent + self.ttl / 3);
                self.fault.clear();
                None
            }
            Ok(Own::Gone) => {
                self.fault = "it is gone: somebody released it, or it was lost".to_owned();
                let begins_to_end = self.kill_at.is_none();
                self.kill_at.get_or_insert(now + (self.ttl * 3 / 10).min(GRACE_MAX));
                begins_to_end.then_some(Due::Terminate)
            }
            Err(error) => {
                self.fault = error.to_string();
                self.renew_at = Some(now + (self.ttl / 20).max(RETRY_MIN));
                None
            }
        }
    }

    /// How long nothing is due, at most [`LOOK_EVERY_MAX`].
    pub(super) fn rest(&self, now: Duration) -> Duration {
        let kill = self.kill_at.map(|at| self.killed.map_or(at, |last| last + KILL_EVERY));
        let end = kill.unwrap_or_else(|| self.terminate_at());
        let renew = self.renew_at.filter(|_| self.kill_at.is_none());
        renew.map_or(end, |renew| renew.min(end)).saturating_sub(now).min(LOOK_EVERY_MAX)
    }

    pub(super) fn is_ending(&self) -> bool {
        self.kill_at.is_some()
    }

    /// How long ago the lease was last confirmed.
    pub(super) fn silence(&self, now: Duration) -> Duration {
        now.saturating_sub(self.confirmed)
    }

    /// Why it could not be confirmed since; empty when there was no try.
    pub(super) fn fault(&self) -> &str {
        &self.fault
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(100 + seconds)
    }

    fn owned() -> Ownership {
        Ownership::new(TTL, at(0))
    }

    fn silent() -> Result<Own, Error> {
        Err(Error::Unknown { why: "silent".to_owned() })
    }

    #[test]
    fn a_lease_is_renewed_at_a_third_of_its_time_and_only_once() {
        let mut own = owned();
        assert_eq!(own.due(at(9)), None);
        assert_eq!(own.rest(at(9)), Duration::from_secs(1));
        assert_eq!(own.due(at(10)), Some(Due::Renew));
        assert_eq!(own.due(at(11)), None, "one is under way");
        assert_eq!(own.renewed(at(10), Ok(Own::Held { ttl_ms: 30_000 }), at(12)), None);
        assert_eq!((own.due(at(19)), own.due(at(20))), (None, Some(Due::Renew)));
        assert!(!own.is_ending());
    }

    #[test]
    fn a_silent_coordinator_is_asked_again_until_the_command_must_end() {
        let mut own = owned();
        assert_eq!(own.due(at(10)), Some(Due::Renew));
        assert_eq!(own.renewed(at(10), silent(), at(11)), None);
        assert_eq!(own.due(at(11)), None);
        assert_eq!(own.due(at(13)), Some(Due::Renew), "a twentieth later");
        assert_eq!(own.renewed(at(13), silent(), at(17)), None);
        assert_eq!(own.due(at(18)), Some(Due::Terminate), "0.6 of the time to live since it was confirmed");
        assert_eq!(own.due(at(26)), None, "nothing is renewed that is being ended");
        assert_eq!(own.due(at(27)), Some(Due::Kill), "0.9 of it");
        assert_eq!((own.due(at(27)), own.rest(at(27))), (None, KILL_EVERY));
        assert_eq!(own.due(at(60)), Some(Due::Kill), "again, while anything is left");
        assert!(own.is_ending());
        assert_eq!(own.fault, "no answer, so nobody knows whether it was done: silent");
    }

    #[test]
    fn ownership_counts_from_when_the_renewal_was_sent_not_from_its_answer() {
        let mut own = owned();
        assert_eq!(own.due(at(10)), Some(Due::Renew));
        own.renewed(at(10), Ok(Own::Held { ttl_ms: 30_000 }), at(17));
        assert_eq!(own.due(at(27)), Some(Due::Renew));
        assert_eq!(own.due(at(28)), Some(Due::Terminate));
    }

    #[test]
    fn a_command_is_leashed_shorter_than_its_lease_and_longer_than_its_grace() {
        let mut own = owned();
        assert_eq!(own.leash(), at(28) + Duration::from_millis(500));
        assert_eq!(own.due(at(18)), Some(Due::Terminate));
        assert_eq!(own.leash(), at(28) + Duration::from_millis(500));
        assert_eq!(own.due(at(27)), Some(Due::Kill));
        let mut own = owned();
        own.renewed(at(10), Ok(Own::Held { ttl_ms: 30_000 }), at(11));
        assert_eq!(own.leash(), at(38) + Duration::from_millis(500), "each confirmation makes it longer");
        own.renewed(at(20), Ok(Own::Gone), at(21));
        assert_eq!(own.leash(), at(31) + Duration::from_millis(500), "and its end shorter");
    }

    #[test]
    fn a_lease_that_is_gone_ends_the_command_at_once() {
        let mut own = owned();
        assert_eq!(own.due(at(10)), Some(Due::Renew));
        assert_eq!(own.renewed(at(10), Ok(Own::Gone), at(11)), Some(Due::Terminate));
        assert_eq!(own.due(at(19)), None);
        assert_eq!(own.due(at(20)), Some(Due::Kill), "0.3 of the time to live later");
        let mut slow = Ownership::new(Duration::from_secs(3600), at(0));
        slow.renewed(at(1), Ok(Own::Gone), at(2));
        assert_eq!(slow.kill_at, Some(at(12)), "and no later than the longest grace");
        assert_eq!(slow.renewed(at(3), Ok(Own::Gone), at(9)), None, "it is told once");
        assert_eq!(slow.kill_at, Some(at(12)));
    }

    #[test]
    fn a_machine_that_slept_too_long_ends_its_command_without_grace() {
        let mut own = owned();
        assert_eq!(own.due(at(3000)), Some(Due::Terminate));
        assert_eq!(own.due(at(3000)), Some(Due::Kill));
        assert_eq!(own.due(at(3000)), None);
        assert_eq!(own.fault, "no renewal was answered");
    }
}
