//! Lines to commands, read as poolcounterd reads them.
//!
//! Owns what a line means. Knows no key and no connection.

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// `ACQ4ME` or `ACQ4ANY`: a slot of a key.
    Acquire {
        /// Whether the work may be done by anyone.
        anyone: bool,
        /// What is wanted; nothing when that cannot be read.
        wanted: Option<Wanted<'a>>,
    },
    /// `RELEASE`, whatever follows.
    Release,
    /// `STATS`, and the word behind it.
    Stats(&'a [u8]),
    /// None of these.
    Unknown,
}

/// Which slot is wanted, under the caller's own conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The key: anything without spaces.
    pub key: &'a [u8],
    /// How many may hold the key; at least 1.
    pub workers: u32,
    /// How many may hold it or wait for it; at least 1.
    pub max_queue: u32,
    /// How long to wait, in seconds; 0 is not at all.
    pub timeout_s: u32,
}

/// Reads a line.
pub fn parse(line: &[u8]) -> Command<'_> {
    if let Some(rest) = line.strip_prefix(b"ACQ4ME ") {
        Command::Acquire { anyone: false, wanted: wanted(rest) }
    } else if let Some(rest) = line.strip_prefix(b"ACQ4ANY ") {
        Command::Acquire { anyone: true, wanted: wanted(rest) }
    } else if line.starts_with(b"RELEASE") {
        Command::Release
    } else if let Some(word) = line.strip_prefix(b"STATS ") {
        Command::Stats(word)
    } else {
        Command::Unknown
    }
}

fn wanted(rest: &[u8]) -> Option<Wanted<'_>> {
    let mut fields = rest.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    let key = fields.next()?;
    let mut next = || fields.next().map_or(0, number);
    let (workers, max_queue, timeout_s) = (next(), next(), next());
    (workers > 0 && max_queue > 0).then_some(Wanted { key, workers, max_queue, timeout_s })
}

/// Digits only, else 0; what is too large for 32 bits loses its upper ones, as with poolcounterd.
fn number(field: &[u8]) -> u32 {
    let mut number: u32 = 0;
    for digit in field {
        if !digit.is_ascii_digit() {
            return 0;
        }
        number = number.wrapping_mul(10).wrapping_add(u32::from(digit - b'0'));
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acquire(line: &[u8]) -> Option<(&[u8], u32, u32, u32)> {
        match parse(line) {
            Command::Acquire { wanted, .. } => {
                wanted.map(|wanted| (wanted.key, wanted.workers, wanted.max_queue, wanted.timeout_s))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn commands_are_told_by_how_a_line_begins() {
        assert!(matches!(parse(b"ACQ4ME a 1 1 1"), Command::Acquire { anyone: false, wanted: Some(_) }));
        assert!(matches!(parse(b"ACQ4ANY a 1 1 1"), Command::Acquire { anyone: true, wanted: Some(_) }));
        for release in [&b"RELEASE"[..], b"RELEASE key", b"RELEASED"] {
            assert_eq!(parse(release), Command::Release);
        }
        assert_eq!(parse(b"STATS full"), Command::Stats(b"full"));
        assert_eq!(parse(b"STATS  full "), Command::Stats(b" full "));
        let unknown = [
            &b""[..],
            b"ACQ4ME",
            b"ACQ4ANY",
            b"ACQ4MEa 1 1 1",
            b"ACQ4ANYX a 1 1 1",
            b"acq4me a 1 1 1",
            b" RELEASE",
            b"release",
            b"STATS",
            b"STATSFULL",
            b"stats full",
        ];
        for line in unknown {
            assert_eq!(parse(line), Command::Unknown, "{line:?}");
        }
    }

    #[test]
    fn fields_stand_between_any_number_of_spaces() {
        assert_eq!(acquire(b"ACQ4ME a 2 3 4"), Some((&b"a"[..], 2, 3, 4)));
        assert_eq!(acquire(b"ACQ4ME    a   2 3   4  more words"), Some((&b"a"[..], 2, 3, 4)));
        assert_eq!(acquire(b"ACQ4ANY  k::1 01 02"), Some((&b"k::1"[..], 1, 2, 0)));
        assert_eq!(acquire(b"ACQ4ME a\tb 2 3 4"), Some((&b"a\tb"[..], 2, 3, 4)));
    }

    #[test]
    fn what_is_missing_or_no_number_counts_as_nothing() {
        for line in [&b"ACQ4ME "[..], b"ACQ4ME    ", b"ACQ4ME a", b"ACQ4ME a 1", b"ACQ4ME a 0 1 1", b"ACQ4ME a 1 0 1"] {
            assert_eq!(acquire(line), None, "{line:?}");
        }
        for number in ["-1", "+1", "1x", "0x1", "1.0", "1\r", "\u{661}"] {
            assert_eq!(acquire(format!("ACQ4ME a {number} 1 1").as_bytes()), None, "{number:?}");
            assert_eq!(acquire(format!("ACQ4ME a 1 1 {number}").as_bytes()), Some((&b"a"[..], 1, 1, 0)), "{number:?}");
        }
    }

    #[test]
    fn huge_numbers_lose_their_upper_bits() {
        assert_eq!(acquire(b"ACQ4ME a 4294967297 4294967295 2147483648"), Some((&b"a"[..], 1, u32::MAX, 1 << 31)));
        assert_eq!(acquire(b"ACQ4ME a 4294967296 1 1"), None);
        assert_eq!(acquire(b"ACQ4ME a 18446744073709551617 1 1"), Some((&b"a"[..], 1, 1, 1)));
    }
}
