//! What a command left running when it ended, and what follows. Pure: it is told the time.
//!
//! The rule: it is waited for, since the lease must not be anyone else's while it works, and a service that a command has
//! just started must not be killed by that command's end. Whoever does not want to wait sends `run` a signal that ends: then
//! all that is left is ended too. Called by `keep`.

use super::ownership::{GRACE_MAX, KILL_EVERY, LOOK_EVERY_MAX};
use rustix::process::Signal;
use std::time::Duration;

/// What is still there after this is worth a word.
const SAY_AFTER: Duration = Duration::from_secs(1);

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Say,
    Terminate,
    Kill,
}

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Leftover {
    /// When the command ended.
    since: Option<Duration>,
    /// Somebody wants `run` to end.
    is_unwanted: bool,
    is_said: bool,
    kill_at: Option<Duration>,
}

impl Leftover {
    /// The command has ended, and something is left.
    pub(super) fn begins(&mut self, now: Duration) {
        self.since.get_or_insert(now);
    }

    /// Whether the command has ended.
    pub(super) fn is_all(&self) -> bool {
        self.since.is_some()
    }

    /// `run` got a signal, before the command's end or after.
    pub(super) fn signalled(&mut self, signal: Signal) {
        self.is_unwanted |= [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT].contains(&signal);
    }

    /// What is due now; each thing once, but killing.
    pub(super) fn due(&mut self, now: Duration) -> Option<Due> {
        let since = self.since?;
        if self.is_unwanted && self.kill_at.is_none() {
            self.kill_at = Some(now + GRACE_MAX);
            return Some(Due::Terminate);
        }
        if self.kill_at.is_some_and(|at| now >= at) {
            self.kill_at = Some(now + KILL_EVERY);
            return Some(Due::Kill);
        }
        if !self.is_said && self.kill_at.is_none() && now >= since + SAY_AFTER {
            self.is_said = true;
            return Some(Due::Say);
        }
        None
    }

    /// How long nothing is due, at most [`LOOK_EVERY_MAX`].
    pub(super) fn rest(&self, now: Duration) -> Duration {
        let say = self.since.filter(|_| !self.is_said).map(|since| since + SAY_AFTER);
        self.kill_at.or(say).map_or(LOOK_EVERY_MAX, |at| at.saturating_sub(now)).min(LOOK_EVERY_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_is_waited_for_and_told_of_once() {
        let mut left = Leftover::default();
        assert_eq!((left.due(at(100)), left.rest(at(100)), left.is_all()), (None, LOOK_EVERY_MAX, false));
        left.begins(at(100));
        assert_eq!((left.due(at(100)), left.rest(at(100)), left.is_all()), (None, at(1), true));
        assert_eq!((left.due(at(101)), left.due(at(101))), (Some(Due::Say), None));
        assert_eq!((left.due(at(9000)), left.rest(at(9000))), (None, LOOK_EVERY_MAX));
    }

    #[test]
    fn whoever_does_not_want_to_wait_ends_it() {
        let mut left = Leftover::default();
        left.begins(at(100));
        left.signalled(Signal::USR1);
        assert_eq!(left.due(at(100)), None);
        left.signalled(Signal::TERM);
        assert_eq!((left.due(at(103)), left.due(at(103))), (Some(Due::Terminate), None));
        left.signalled(Signal::TERM);
        assert_eq!((left.due(at(112)), left.due(at(113)), left.due(at(113))), (None, Some(Due::Kill), None));
        assert_eq!(
            (left.rest(at(113)), left.due(at(114))),
            (KILL_EVERY, Some(Due::Kill)),
            "again, while anything is left"
        );
    }

    #[test]
    fn a_command_that_was_told_to_end_leaves_nothing() {
        let mut left = Leftover::default();
        left.signalled(Signal::INT);
        assert_eq!(left.due(at(100)), None, "it ends as it likes");
        left.begins(at(105));
        assert_eq!(left.due(at(105)), Some(Due::Terminate));
    }
}
