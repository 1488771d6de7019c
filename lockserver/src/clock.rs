//! The clocks of a lock server: its own, which decides, and the wall's, for people.
//!
//! The only file that reads either. The own clock goes on from where it was last written to disk, so that the time in
//! which the server was down, and jumps of the wall clock, extend deadlines and never shorten them.

use model::{Now, Time, Wall};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The clocks of one run of the server.
#[derive(Debug)]
pub(crate) struct Clock {
    base: Time,
    started: Instant,
}

impl Clock {
    /// A clock that goes on from a moment.
    pub(crate) fn from(base: Time) -> Clock {
        Clock { base, started: Instant::now() }
    }

    /// Now, on both.
    pub(crate) fn now(&self) -> Now {
        Now { time: self.base.plus(self.started.elapsed()), wall: wall() }
    }
}

/// The wall clock; 1970 when it is set before that.
pub(crate) fn wall() -> Wall {
    Wall(SystemTime::now().duration_since(UNIX_EPOCH).map(model::time::millis).unwrap_or_default())
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
}
