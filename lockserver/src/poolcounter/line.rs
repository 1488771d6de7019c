//! Bytes to lines: where one ends, and what of it counts.
//!
//! Owns the bound of a line. Knows no command.

/// Longest line, its end included, in bytes: as much as poolcounterd's buffer holds.
pub const LINE_BYTES_MAX: usize = 1024;

/// What bytes begin with.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A whole line.
    Line {
        /// What of it counts: without its end, one carriage return before that, and whatever stands behind a NUL.
        text: &'a [u8],
        /// How many bytes it took.
        bytes: usize,
    },
    /// Not yet a whole one.
    Part,
    /// A line that is longer than [`LINE_BYTES_MAX`].
    TooLong,
}

/// Cuts the first line off.
pub fn cut(bytes: &[u8]) -> Cut<'_> {
    let within = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    match within.iter().position(|byte| *byte == b'\n') {
        Some(end) => Cut::Line { text: text(&bytes[..end]), bytes: end + 1 },
        None if bytes.len() >= LINE_BYTES_MAX => Cut::TooLong,
        None => Cut::Part,
    }
}

fn text(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8]) -> (&[u8], usize) {
        match cut(bytes) {
            Cut::Line { text, bytes } => (text, bytes),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_line_ends_at_its_newline_and_loses_one_carriage_return() {
        assert_eq!(line(b"RELEASE\nSTATS"), (&b"RELEASE"[..], 8));
        assert_eq!(line(b"RELEASE\r\n"), (&b"RELEASE"[..], 9));
        assert_eq!(line(b"RELEASE\r\r\n"), (&b"RELEASE\r"[..], 10));
        assert_eq!(line(b"\n"), (&b""[..], 1));
        assert_eq!(cut(b""), Cut::Part);
        assert_eq!(cut(b"RELEASE\r"), Cut::Part);
    }

    #[test]
    fn what_stands_behind_a_nul_does_not_count() {
        assert_eq!(line(b"RELEASE\0x\0y\n"), (&b"RELEASE"[..], 12));
        assert_eq!(line(b"\0RELEASE\n"), (&b""[..], 9));
        assert_eq!(line(b"a\0\r\n"), (&b"a"[..], 4));
        assert_eq!(line(b"a\r\0b\n"), (&b"a\r"[..], 5), "only the one before the end is taken away");
    }

    #[test]
    fn a_line_takes_no_more_than_the_buffer() {
        let mut longest = vec![b'x'; LINE_BYTES_MAX - 1];
        assert_eq!(cut(&longest), Cut::Part);
        longest.push(b'\n');
        assert_eq!(line(&longest).1, LINE_BYTES_MAX);
        longest[LINE_BYTES_MAX - 1] = b'x';
        assert_eq!(cut(&longest), Cut::TooLong);
        longest.push(b'\n');
        assert_eq!(cut(&longest), Cut::TooLong);
    }
}
