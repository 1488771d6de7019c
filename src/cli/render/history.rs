//! The history: who did what, when, from where, and why; a line each.

use super::text::{clean, day_and_time};
use model::history::Entry;
use std::net::IpAddr;

/// One entry in a line: when, who, what, and the text.
pub(crate) fn entry(entry: &Entry) -> String {
    let (by, text) = (clean(&entry.by), clean(&entry.text));
    let from = entry.from.as_deref().filter(|from| !is_here(from));
    let from = from.map(|from| format!(", from {}", clean(from))).unwrap_or_default();
    format!("{}  {:<10} {text}  ({by}{from})", day_and_time(entry.at), entry.kind.word())
}

/// Whether an address is the lock server's own machine: nobody need be told.
fn is_here(address: &str) -> bool {
    address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
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
            from: None,
            kind: EntryKind::Paused,
            scopes: Vec::new(),
            text: "all for 2h: switch is\nbeing replaced".to_owned(),
        };
        assert_eq!(entry(&sample), "2026-11-24 14:02:51Z  paused     all for 2h: switch is being replaced  (ann@ops1)");
        let from = |address: &str| entry(&Entry { from: Some(address.to_owned()), ..sample.clone() });
        assert!(from("10.0.0.7").ends_with("  (ann@ops1, from 10.0.0.7)"), "{}", from("10.0.0.7"));
        assert!(from("::1").ends_with("  (ann@ops1)"), "{}", from("::1"));
    }
}
