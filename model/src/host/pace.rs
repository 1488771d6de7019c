//! How long to wait before the next try: longer each time, up to a bound, and never in step with the other hosts.
//!
//! Owns the waits and the jitter. Pure: its numbers come from a seed.

use std::time::Duration;

/// The wait after the first call that nobody answered.
const RETRY_MS: u64 = 500;
/// The longest wait between calls that nobody answers: a slot that is to be given back stays taken for so long after an outage.
const RETRY_MS_MAX: u64 = 5_000;
/// The rest after a sequence that came to nothing: longer than a waiter that gave way counts as listening.
const REST_MS: u64 = 5_000;
/// The longest rest.
const REST_MS_MAX: u64 = 60_000;

/// A source of waits.
#[derive(Debug)]
pub(super) struct Pace {
    seed: u64,
}

impl Pace {
    pub(super) fn new(seed: u64) -> Pace {
        Pace { seed }
    }

    /// The wait before a call is made again, after so many went unanswered.
    pub(super) fn retry(&mut self, tries: u32) -> Duration {
        self.between(RETRY_MS, RETRY_MS_MAX, tries)
    }

    /// The rest before a service is taken up again, after it came to nothing so many times in a row.
    pub(super) fn rest(&mut self, tries: u32) -> Duration {
        self.between(REST_MS, REST_MS_MAX, tries)
    }

    /// Doubles from `first` up to `most`, and takes off up to a quarter.
    fn between(&mut self, first: u64, most: u64, tries: u32) -> Duration {
        let whole = first.saturating_mul(1 << tries.min(16)).min(most);
        Duration::from_millis(whole - self.next() % (whole / 4))
    }

    /// Knuth's MMIX generator; its high bits are the good ones.
    fn next(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.seed >> 33
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_jitter_takes_off_a_quarter_at_most() {
        let mut pace = Pace::new(7);
        for (tries, whole) in [(0, 500), (1, 1000), (3, 4000), (4, 5_000), (40, 5_000)] {
            let waits: Vec<u128> = (0..64).map(|_| pace.retry(tries).as_millis()).collect();
            assert!(waits.iter().all(|ms| (whole * 3 / 4..=whole).contains(ms)), "{tries}: {waits:?}");
            assert!(waits.iter().any(|ms| *ms > whole * 15 / 16) && waits.iter().any(|ms| *ms < whole * 13 / 16));
        }
        for (tries, whole) in [(0, 5_000), (3, 40_000), (4, 60_000)] {
            assert!((whole * 3 / 4..=whole).contains(&pace.rest(tries).as_millis()));
        }
    }

    #[test]
    fn every_wait_within_the_jitter_comes_up() {
        let mut pace = Pace::new(7);
        let waits: std::collections::BTreeSet<u128> = (0..4_000).map(|_| pace.retry(0).as_millis()).collect();
        assert_eq!(waits.len(), 125);
        let waits: std::collections::BTreeSet<u128> = (0..4_000).map(|_| pace.retry(1).as_millis()).collect();
        assert_eq!(waits.len(), 250, "even ones and odd ones");
    }

    #[test]
    fn hosts_do_not_wait_in_step() {
        let waits = |seed| {
            let mut pace = Pace::new(seed);
            [pace.retry(3), pace.retry(3), pace.retry(3)]
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }
}
