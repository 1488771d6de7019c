//! How often each may ask: a bucket for each, that fills as time goes by. Pure: time is handed in.
//!
//! As many are told apart as fit; when more come at once, those that are new share one bucket. So who asks under many names
//! bounds himself, and the memory.

use std::collections::HashMap;
use std::hash::Hash;

/// Most that are told apart.
const KEPT_MAX: usize = 20_000;
/// What a request takes out of a bucket, so that a part of one can be counted: a bucket fills by the rate each millisecond.
const REQUEST: u64 = 1_000;

/// The buckets of all who ask.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    /// Requests a second.
    rate: u64,
    /// What a full bucket has.
    full: u64,
    kept_max: usize,
    kept: HashMap<K, Bucket>,
    others: Bucket,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: u64,
    at_ms: u64,
}

impl<K: Hash + Eq> Buckets<K> {
    /// Full ones; none when there is no bound.
    pub(super) fn of(rate: u32, burst: u32) -> Option<Buckets<K>> {
        let full = u64::from(burst.max(rate)) * REQUEST;
        let others = Bucket { left: full, at_ms: 0 };
        (rate > 0).then(|| Buckets { rate: rate.into(), full, kept_max: KEPT_MAX, kept: HashMap::new(), others })
    }

    /// Takes a request out of somebody's bucket.
    ///
    /// # Errors
    /// It is empty: after how many milliseconds it is worth asking again.
    pub(super) fn take(&mut self, key: K, now_ms: u64) -> Result<(), u64> {
        let (rate, full) = (self.rate, self.full);
        if self.kept.len() >= self.kept_max && !self.kept.contains_key(&key) {
            // Whoever's bucket is full again is as good as new.
            self.kept.retain(|_, bucket| bucket.filled(rate, full, now_ms) < full);
        }
        let bucket = if self.kept.len() < self.kept_max || self.kept.contains_key(&key) {
            self.kept.entry(key).or_insert(Bucket { left: full, at_ms: now_ms })
        } else {
            &mut self.others
        };
        bucket.left = bucket.filled(rate, full, now_ms);
        bucket.at_ms = now_ms;
        match bucket.left.checked_sub(REQUEST) {
            Some(left) => {
                bucket.left = left;
                Ok(())
            }
            None => Err((REQUEST - bucket.left).div_ceil(rate)),
        }
    }
}

impl Bucket {
    fn filled(&self, rate: u64, full: u64, now_ms: u64) -> u64 {
        self.left.saturating_add(now_ms.saturating_sub(self.at_ms).saturating_mul(rate)).min(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_burst_and_then_its_rate() {
        let mut buckets = Buckets::of(10, 20).expect("a bound");
        for _ in 0..20 {
            buckets.take("a", 0).expect("within the burst");
        }
        assert_eq!(buckets.take("a", 0), Err(100));
        assert_eq!(buckets.take("a", 60), Err(40));
        buckets.take("b", 60).expect("another's");
        buckets.take("a", 100).expect("one is there again");
        assert_eq!(buckets.take("a", 100), Err(100));
        for _ in 0..20 {
            buckets.take("a", 1_000_000).expect("full again, and no more than full");
        }
        assert!(buckets.take("a", 1_000_000).is_err());
        buckets.take("a", 1_000_100).expect("time goes on");
        assert!(Buckets::<&str>::of(0, 5).is_none());
    }

    #[test]
    fn many_names_share_what_is_left_and_take_no_memory() {
        let mut buckets = Buckets::of(1, 2).expect("a bound");
        buckets.kept_max = 3;
        for name in 0..3 {
            buckets.take(name, 0).expect("its own");
        }
        buckets.take(3, 0).expect("the others' first");
        buckets.take(4, 0).expect("the others' second");
        assert!(buckets.take(5, 0).is_err(), "they share one");
        buckets.take(0, 0).expect("who was there first has its own");
        assert_eq!(buckets.kept.len(), 3);
        buckets.take(6, 10_000).expect("room again");
        assert_eq!(buckets.kept.len(), 1);
    }
}
