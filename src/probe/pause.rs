//! Pauses between tries, with jitter, so that a fleet that failed together does not try again together.

use std::time::Duration;

/// Waits for half to one and a half times `around`, at random.
pub async fn jittered(around: Duration) {
    // Without randomness the middle is as good as any.
    tokio::time::sleep(spread(around, getrandom::u32().unwrap_or(u32::MAX / 2))).await;
}

/// Half of `around`, and a share of `around` that is as large as the number.
fn spread(around: Duration, number: u32) -> Duration {
    around.mul_f64(0.5 + f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_keeps_its_bounds() {
        let around = Duration::from_secs(10);
        assert_eq!(spread(around, 0), Duration::from_secs(5));
        assert_eq!(spread(around, u32::MAX), Duration::from_secs(15));
        assert_eq!(spread(around, u32::MAX / 2).as_secs_f64().round(), 10.0);
    }
}
