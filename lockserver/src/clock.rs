//! The clocks of a lock server: its own, which decides, and the wall's, for people.
//!
//! The only file that reads either. The own clock goes on from where it was last written to disk, so that the time in
//! which the server was down or stood still, and jumps of the wall clock, extend deadlines and never shorten them.

use model::{Now, Time, Wall};
use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Two readings further apart than this were not made by a server that ran: it looks at the time at least every second.
/// Nobody could renew meanwhile, so such a gap counts as nothing.
const GAP_MAX: Duration = Duration::from_millis(1_500);

/// The clocks of one run of the server.
#[derive(Debug)]
pub(crate) struct Clock {
    /// The time that was read last, and when that was.
    last: Cell<(Time, Instant)>,
}

impl Clock {
    /// A clock that goes on from a moment.
    pub(crate) fn from(base: Time) -> Clock {
        Clock { last: Cell::new((base, Instant::now())) }
    }

    /// Goes on from another moment: that of a domain which came from elsewhere.
    pub(crate) fn set(&self, time: Time) {
        self.last.set((time, Instant::now()));
    }

    /// Now, on both.
    pub(crate) fn now(&self) -> Now {
        Now { time: self.read(Instant::now()), wall: wall() }
    }

    fn read(&self, at: Instant) -> Time {
        let (time, read) = self.last.get();
        let gap = Duration::from_millis(model::time::millis(at.saturating_duration_since(read)));
        if gap > GAP_MAX {
            self.last.set((time, at));
            return time;
        }
        // What is less than a millisecond is left for the next reading.
        self.last.set((time.plus(gap), read + gap));
        time.plus(gap)
    }
}

/// The wall clock; 1970 when it is set before that.
pub(crate) fn wall() -> Wall {
    Wall(SystemTime::now().duration_since(UNIX_EPOCH).map(model::time::millis).unwrap_or_default())
}

/// The time since something began, which no jump of any clock touches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// It begins now.
    pub(crate) fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// How long ago that was, in microseconds.
    pub(crate) fn elapsed_us(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_clock_goes_on_from_where_it_was() {
        let clock = Clock::from(Time(7_000_000));
        let (one, two) = (clock.now(), clock.now());
        assert!(one.time >= Time(7_000_000) && one.time < Time(7_060_000));
        assert!(two.time >= one.time);
        assert!(one.wall > Wall(1_600_000_000_000));
    }

    #[test]
    fn what_the_server_stood_still_counts_as_nothing() {
        let clock = Clock::from(Time(1_000));
        let (_, start) = clock.last.get();
        let read = |ms| clock.read(start + Duration::from_millis(ms)).0;
        assert_eq!((read(400), read(1_900)), (1_400, 2_900));
        assert_eq!(read(3_401), 2_900, "longer than between any two looks");
        assert_eq!(read(3_501), 3_000, "and it goes on from there");
        assert_eq!(clock.read(start).0, 3_000, "never backwards");
        let micros = |us| clock.read(start + Duration::from_micros(us)).0;
        assert_eq!((micros(3_501_600), micros(3_502_200)), (3_000, 3_001), "nothing is lost by looking often");
    }
}
