//! How long to look, after a crash in the middle of a restart, before it is said whether that happened.
//!
//! Pure: takes in what was seen and when. Called by the unit, which looks again and again until this can tell.

use model::sequence::Seen;
use std::time::Duration;
use tokio::time::Instant;

/// How long the same incarnation must be seen, at the least, before a restart by a command counts as not done.
pub const QUIET: Duration = Duration::from_secs(2);
/// How much longer to go on asking while nobody can tell: a service in the middle of its restart may have no identity.
pub const INSPECT_MAX: Duration = Duration::from_secs(5);
/// How far apart the looks in that time are.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What was seen at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Glimpse {
    /// Another incarnation runs.
    Other,
    /// The same one, or none: nothing has come of it so far.
    Same,
    /// The restart goes on: what is seen of it.
    Busy(String),
    /// Nobody can tell at this moment: why.
    Unclear(String),
    /// Nobody can ever tell: why.
    Untold(String),
}

/// What was seen so far.
#[derive(Debug)]
pub(super) struct Look {
    quiet: Duration,
    /// Until when a restart that goes on is waited for.
    busy_until: Instant,
    /// Until when it is asked again while nobody can tell.
    until: Instant,
    same_since: Option<Instant>,
}

impl Look {
    /// A look that begins now; the same incarnation must be seen for so long, and a restart that goes on is waited for so long.
    pub(super) fn new(quiet: Duration, busy_max: Duration, now: Instant) -> Look {
        Look { quiet, busy_until: now + busy_max, until: now + quiet + INSPECT_MAX, same_since: None }
    }

    /// Takes in what was seen; `None`: look again.
    pub(super) fn judge(&mut self, glimpse: Glimpse, now: Instant) -> Option<Seen> {
        let unclear = match glimpse {
            Glimpse::Other => return Some(Seen::Done),
            Glimpse::Untold(why) => return Some(Seen::Unknown(why)),
            Glimpse::Same if now - *self.same_since.get_or_insert(now) >= self.quiet => return Some(Seen::NotDone),
            Glimpse::Same => "it was the same one for too short a time".to_owned(),
            Glimpse::Busy(_) if now < self.busy_until => {
                self.same_since = None;
                self.until = now + self.quiet + INSPECT_MAX;
                return None;
            }
            Glimpse::Busy(what) => return Some(Seen::Unknown(format!("the restart goes on for too long: {what}"))),
            Glimpse::Unclear(why) => {
                self.same_since = None;
                why
            }
        };
        (now >= self.until).then(|| Seen::Unknown(format!("which incarnation runs cannot be told: {unclear}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn look(quiet: u32, busy: u32) -> (Look, Instant) {
        let now = Instant::now();
        (Look::new(SECOND * quiet, SECOND * busy, now), now)
    }

    fn busy() -> Glimpse {
        Glimpse::Busy("its job runs".to_owned())
    }

    #[test]
    fn another_incarnation_is_done_and_the_same_one_must_be_seen_for_a_while() {
        let (mut seen, now) = look(2, 0);
        assert_eq!(seen.judge(Glimpse::Same, now), None);
        assert_eq!(seen.judge(Glimpse::Same, now + SECOND), None);
        assert_eq!(seen.judge(Glimpse::Unclear("gone".to_owned()), now + SECOND), None);
        assert_eq!(seen.judge(Glimpse::Same, now + SECOND * 3), None, "with a break in it, it begins anew");
        assert_eq!(seen.judge(Glimpse::Same, now + SECOND * 5), Some(Seen::NotDone));
        assert_eq!(seen.judge(Glimpse::Other, now + SECOND * 5), Some(Seen::Done));
        let (mut again, now) = look(0, 0);
        assert_eq!(again.judge(Glimpse::Same, now), Some(Seen::NotDone), "one look is enough");
    }

    #[test]
    fn a_restart_that_goes_on_is_waited_for_and_not_for_ever() {
        let (mut seen, now) = look(1, 100);
        assert_eq!(seen.judge(Glimpse::Same, now), None);
        for second in 1..100 {
            assert_eq!(seen.judge(busy(), now + SECOND * second), None);
        }
        assert_eq!(seen.judge(Glimpse::Same, now + SECOND * 100), None, "what was before its end does not count");
        assert_eq!(seen.judge(Glimpse::Same, now + SECOND * 101), Some(Seen::NotDone));
        let too_long = Seen::Unknown("the restart goes on for too long: its job runs".to_owned());
        assert_eq!(seen.judge(busy(), now + SECOND * 101), Some(too_long));
    }

    #[test]
    fn what_nobody_can_tell_is_asked_again_for_a_while() {
        let (mut seen, now) = look(1, 0);
        let unclear = || Glimpse::Unclear("exit 1: gone".to_owned());
        assert_eq!(seen.judge(unclear(), now), None);
        let unknown = Some(Seen::Unknown("which incarnation runs cannot be told: exit 1: gone".to_owned()));
        assert_eq!(seen.judge(unclear(), now + SECOND + INSPECT_MAX), unknown);
        assert_eq!(seen.judge(Glimpse::Untold("none".to_owned()), now), Some(Seen::Unknown("none".to_owned())));
    }
}
