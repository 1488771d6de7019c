//! The history: who did what, when, and why; a line each.

use super::text::{clean, day_and_time};
use model::history::Entry;

/// One entry in a line: when, who, what, and the text.
pub(crate) fn entry(entry: &Entry) -> String {
    let (by, text) = (clean(&entry.by), clean(&entry.text));
    format!("{}  {:<10} {text}  ({by})", day_and_time(entry.at), entry.kind.word())
}

#[cfg(test)]
mod tests {
    use super::super::samples::AT;
    use super::*;
    use model::history::EntryKind;

    #[test]
    fn a_line_says_when_what_and_who() {
        let sample = Entry {
            number: 7,
            at: AT,
            by: "ann@ops1".to_owned(),
            kind: EntryKind::Paused,
            scopes: Vec::new(),
            text: "all for 2h: switch is\nbeing replaced".to_owned(),
        };
        assert_eq!(entry(&sample), "2026-11-24 14:02:51Z  paused     all for 2h: switch is being replaced  (ann@ops1)");
    }
}
