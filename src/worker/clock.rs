//! The worker's clocks: the only place where it reads them.

use model::time::{Time, Wall};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// Now, on a clock that also counts while the machine sleeps: a lease runs out meanwhile.
pub(super) fn now() -> Time {
    let now = clock_gettime(ClockId::Boottime);
    Time(millis(now.tv_sec, now.tv_nsec))
}

/// Now, for people.
pub(super) fn wall() -> Wall {
    let now = clock_gettime(ClockId::Realtime);
    Wall(millis(now.tv_sec, now.tv_nsec))
}

/// The time of day so long after this moment, in UTC, for people: `18:16:30`.
pub(super) fn time_of_day(wall: Wall, later: Duration) -> String {
    let second = (wall.0 / 1000).saturating_add(later.as_secs()) % SECONDS_PER_DAY;
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

fn millis(seconds: i64, nanos: i64) -> u64 {
    let (seconds, nanos) = (u64::try_from(seconds).unwrap_or(0), u64::try_from(nanos).unwrap_or(0));
    seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_in_milliseconds() {
        assert_eq!(millis(3, 1_999_999), 3_001);
        assert_eq!(millis(-1, -1), 0);
        assert!(wall().0 > 1_600_000_000_000, "later than 2020");
        let before = now();
        assert!(now() >= before);
    }

    #[test]
    fn a_moment_to_come_is_told_as_a_time_of_day() {
        assert_eq!(time_of_day(Wall(1_795_528_971_999), Duration::from_secs(90)), "14:04:21");
        assert_eq!(time_of_day(Wall(1_795_564_799_000), Duration::from_secs(2)), "00:00:01");
    }
}
