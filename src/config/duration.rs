//! Durations as people write them: `3s`, `1m30s`, `250ms`.
//!
//! Owns the one parser of them. Called by the configuration and by the command line.

use std::time::Duration;

/// Why a duration was refused; fits after "cannot read it: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a number with a unit, or several of them from the largest to the smallest.
    #[error("durations are written like 3s, 1m30s or 250ms (d, h, m, s, ms){}", meant.as_ref().map(|meant| format!("; did you mean {meant}?")).unwrap_or_default())]
    Form {
        /// What was probably meant.
        meant: Option<String>,
    },
    /// More than can be counted.
    #[error("this is longer than can be counted")]
    TooLong,
}

/// The units, from the largest; each in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Other words for them.
const WORDS: [(&str, &str); 16] = [
    ("day", "d"),
    ("days", "d"),
    ("hr", "h"),
    ("hrs", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("", "s"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("msec", "ms"),
];

/// Reads a duration: whole numbers, each with its unit, the larger unit first. A bare number has no unit and is refused.
///
/// # Errors
/// Text of another form, then with what was probably meant; or a duration that cannot be counted in milliseconds.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    strictly(text)?.ok_or_else(|| DurationError::Form { meant: meant(text) })
}

/// What another form probably stands for, as it is written here; a bare number is one of seconds.
fn meant(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|letter| !letter.is_whitespace()).collect::<String>().to_lowercase();
    let mut rest = text.as_str();
    let mut total_ms = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (word, tail) = tail.split_at(letters);
        let word = WORDS.iter().find(|(other, _)| *other == word).map_or(word, |(_, unit)| unit);
        let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == word)?;
        // Exact up to a millisecond for whatever somebody means; the rest is refused below.
        total_ms += number.parse::<f64>().ok()? * f64::from(u32::try_from(*unit_ms).ok()?);
        rest = tail;
    }
    let meant = Duration::try_from_secs_f64(total_ms.round() / 1000.0).ok()?;
    let written = model::settings::span(model::time::millis(meant));
    (!text.is_empty() && strictly(&written) == Ok(Some(meant))).then_some(written)
}

/// Nothing when it is of another form.
fn strictly(text: &str) -> Result<Option<Duration>, DurationError> {
    let mut rest = text;
    let mut next_unit = 0;
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let Some(digits) = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0) else { return Ok(None) };
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (word, tail) = tail.split_at(letters);
        let unit = UNITS.iter().position(|(name, _)| *name == word);
        let Some(unit) = unit.filter(|unit| *unit >= next_unit) else { return Ok(None) };
        let ms = number.parse::<u64>().ok().and_then(|count| count.checked_mul(UNITS[unit].1));
        total_ms = ms.and_then(|ms| total_ms.checked_add(ms)).ok_or(DurationError::TooLong)?;
        next_unit = unit + 1;
        rest = tail;
    }
    Ok((!text.is_empty()).then(|| Duration::from_millis(total_ms)))
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
            assert!(matches!(parse(text), Err(DurationError::Form { .. })), "{text:?}");
        }
        for text in ["99999999999999999999s", "18446744073709551615d", "18446744073709551615ms1ms"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("99999999999999999999s"), Err(DurationError::TooLong));
    }
    #[test]
    fn what_was_probably_meant_is_offered() {
        for (text, expected) in [
            ("2min", "2m"),
            ("120", "2m"),
            ("1.5m", "1m30s"),
            ("3 s", "3s"),
            ("3S", "3s"),
            ("30s1m", "1m30s"),
            ("3sec", "3s"),
            ("1 hour", "1h"),
        ] {
            assert_eq!(parse(text), Err(DurationError::Form { meant: Some(expected.to_owned()) }), "{text}");
        }
        for text in ["", "s", "-3s", "½s", "soon", "1.2.3s", "1e9m"] {
            assert_eq!(parse(text), Err(DurationError::Form { meant: None }), "{text}");
        }
        let said = parse("2min").expect_err("another form").to_string();
        assert!(said.ends_with("; did you mean 2m?"), "{said}");
    }
}
