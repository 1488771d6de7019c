//! Time as the model sees it: a number that it is handed, never a clock that it reads.
//!
//! There are two. [`Time`] is the coordinator's own and decides: it grows only while the coordinator runs, so its downtime
//! extends every deadline. [`Wall`] is for people: it is written beside what they will read, and never compared.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A moment on the coordinator's own clock, in milliseconds since it first started. Grows only while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub u64);

/// A moment on the wall clock, in milliseconds since 1970 UTC. For people only: nothing is decided by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wall(pub u64);

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Now {
    /// What decides.
    pub time: Time,
    /// What people read.
    pub wall: Wall,
}

impl Now {
    /// Both clocks so long ago. Saturates at their beginning.
    #[must_use]
    pub fn before(self, ago: Duration) -> Now {
        let ms = millis(ago);
        Now { time: Time(self.time.0.saturating_sub(ms)), wall: Wall(self.wall.0.saturating_sub(ms)) }
    }
}

impl Time {
    /// This moment, `later` on. Saturates at the end of time.
    #[must_use]
    pub fn plus(self, later: Duration) -> Time {
        Time(self.0.saturating_add(millis(later)))
    }

    /// How long ago `earlier` was; nothing, when it lies ahead.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Wall {
    /// How long ago `earlier` was; nothing, when it lies ahead.
    pub fn since(self, earlier: Wall) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in whole milliseconds, saturating.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_saturates_at_both_ends() {
        assert_eq!(Time(5).plus(Duration::from_millis(7)), Time(12));
        assert_eq!(Time(u64::MAX).plus(Duration::from_secs(1)), Time(u64::MAX));
        assert_eq!(Time(5).since(Time(9)), Duration::ZERO);
        let now = Now { time: Time(5), wall: Wall(90) };
        assert_eq!(now.before(Duration::from_millis(7)), Now { time: Time(0), wall: Wall(83) });
        assert_eq!(Time(9).since(Time(5)), Duration::from_millis(4));
        assert_eq!(Wall(9).since(Wall(5)), Duration::from_millis(4));
        assert_eq!(millis(Duration::MAX), u64::MAX);
    }
}
