//! Durations as people write them: `3s`, `1m30s`, `250ms`.
//!
//! Owns the one parser of them. Called by the configuration and by the command line.

use std::time::Duration;

/// Why a duration was refused; fits after "cannot read it: ".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a number with a unit, or several of them from the largest to the smallest.
    #[error("durations are written like 3s, 1m30s or 250ms (d, h, m, s, ms)")]
    Form,
    /// More than can be counted.
    #[error("this is longer than can be counted")]
    TooLong,
}

/// The units, from the largest; each in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads a duration: whole numbers, each with its unit, the larger unit first. A bare number has no unit and is refused.
///
/// # Errors
/// Text of another form, or a duration that cannot be counted in milliseconds.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text;
    let mut next_unit = 0;
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0).ok_or(DurationError::Form)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (word, tail) = tail.split_at(letters);
        let unit = UNITS.iter().position(|(name, _)| *name == word).ok_or(DurationError::Form)?;
        if unit < next_unit {
            return Err(DurationError::Form);
        }
        let ms = number.parse::<u64>().ok().and_then(|count| count.checked_mul(UNITS[unit].1));
        total_ms = ms.and_then(|ms| total_ms.checked_add(ms)).ok_or(DurationError::TooLong)?;
        next_unit = unit + 1;
        rest = tail;
    }
    if text.is_empty() { Err(DurationError::Form) } else { Ok(Duration::from_millis(total_ms)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, ms) in [
            ("0s", 0),
            ("3s", 3_000),
            ("250ms", 250),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
            ("1d1h1m1s1ms", 90_061_001),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "3", "s", "-3s", "3 s", "1.5s", "3S", "30s1m", "1s1s", "1ms1s", "3sec", "½s", "1m 30s"] {
            assert_eq!(parse(text), Err(DurationError::Form), "{text:?}");
        }
        for text in ["99999999999999999999s", "18446744073709551615d", "18446744073709551615ms1ms"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("99999999999999999999s"), Err(DurationError::TooLong));
    }
}
