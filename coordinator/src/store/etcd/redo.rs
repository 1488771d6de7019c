//! Commits that one transaction cannot hold: cut into pieces, and written down as a whole before. Pure.

use super::super::Write;
use std::collections::BTreeMap;

/// Most operations of one transaction: 128 are allowed by default, and the last one may delete the redo record besides.
const OPERATIONS_MAX: usize = 127;
/// Most bytes in one transaction: 1.5 MiB are allowed by default, with what is around them.
const PIECE_BYTES_MAX: usize = 1024 * 1024;
/// What an operation takes besides key and text, in bytes.
const OPERATION_BYTES: usize = 64;
/// Longest record, with its key, in bytes: it fits into one transaction alone.
pub(super) const RECORD_BYTES_MAX: usize = 1024 * 1024 + 256 * 1024;
/// Longest part of a redo record, in bytes.
pub(super) const PART_BYTES_MAX: usize = 1000 * 1024;

/// The last write of each key: a transaction may touch a key once.
pub(super) fn last_of_each(writes: Vec<Write>) -> Vec<Write> {
    writes.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect()
}

fn bytes(write: &Write) -> usize {
    write.0.len() + write.1.as_ref().map_or(0, Vec::len)
}

/// The first record that is too long.
pub(super) fn too_long(writes: &[Write]) -> Option<&Write> {
    writes.iter().find(|write| bytes(write) > RECORD_BYTES_MAX)
}

/// Pieces that a transaction can hold.
pub(super) fn pieces(writes: &[Write]) -> Vec<&[Write]> {
    let mut pieces = Vec::new();
    let (mut begin, mut size) = (0, 0);
    for (at, write) in writes.iter().enumerate() {
        let more = bytes(write) + OPERATION_BYTES;
        if at > begin && (at - begin == OPERATIONS_MAX || size + more > PIECE_BYTES_MAX) {
            pieces.push(&writes[begin..at]);
            (begin, size) = (at, 0);
        }
        size += more;
    }
    pieces.push(&writes[begin..]);
    pieces
}

/// Writes down what is to be written: `put KEY BYTES`, a line end, the text and a line end, or `delete KEY` and a line end.
pub(super) fn encode(writes: &[Write]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, text) in writes {
        match text {
            Some(text) => {
                out.extend_from_slice(format!("put {key} {}\n", text.len()).as_bytes());
                out.extend_from_slice(text);
                out.push(b'\n');
            }
            None => out.extend_from_slice(format!("delete {key}\n").as_bytes()),
        }
    }
    out
}

/// Reads what [`encode`] wrote; `None` when it is anything else.
pub(super) fn decode(mut rest: &[u8]) -> Option<Vec<Write>> {
    let mut writes = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(&rest[..end]).ok()?;
        rest = &rest[end + 1..];
        if let Some(key) = line.strip_prefix("delete ") {
            writes.push((key.to_owned(), None));
            continue;
        }
        let (key, length) = line.strip_prefix("put ")?.rsplit_once(' ')?;
        let length = length.parse().ok()?;
        let text = rest.get(..length)?.to_vec();
        rest = rest[length..].strip_prefix(b"\n")?;
        writes.push((key.to_owned(), Some(text)));
    }
    Some(writes)
}

/// What makes a redo record valid: how many parts and bytes it has.
pub(super) fn seal(parts: usize, bytes: usize) -> String {
    format!("{parts} parts, {bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, length: usize) -> Write {
        (key.to_owned(), Some(vec![b'\n'; length]))
    }

    #[test]
    fn what_is_written_down_is_read_again_and_nothing_else() {
        let writes = vec![put("lease/a", 3), ("lease/b".to_owned(), None), put("pause/rollout/x@1", 0)];
        let text = encode(&writes);
        assert_eq!(decode(&text), Some(writes));
        assert_eq!(decode(b""), Some(vec![]));
        assert_eq!(decode(&text[1..]), None);
        assert_eq!(decode(&text[..text.len() - 1]), None);
        assert_eq!(decode(b"put a 9\nb\n"), None);
    }

    #[test]
    fn pieces_fit_and_lose_nothing() {
        for (count, length, expected) in
            [(0, 0, 1), (127, 10, 1), (128, 10, 2), (300, 10, 3), (3, 1024 * 1024, 3), (8, 500_000, 4)]
        {
            let writes: Vec<Write> = (0..count).map(|at| put(&format!("r/{at:05}"), length)).collect();
            let pieces = pieces(&writes);
            assert_eq!(pieces.len(), expected, "{count} of {length} bytes");
            assert_eq!(pieces.concat(), writes);
        }
    }

    #[test]
    fn of_each_key_the_last_write_holds() {
        let writes = vec![put("a", 1), put("b", 1), ("a".to_owned(), None), put("b", 2)];
        assert_eq!(last_of_each(writes), vec![("a".to_owned(), None), put("b", 2)]);
    }
}
