//! What was found at a coordinator: a line for each thing, and below it what to do.

use super::text::clean;
use coordinator::store::{Finding, Verdict};

/// The sign of a verdict.
fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Fine => "✓",
        Verdict::Look => "!",
        Verdict::Wrong => "✗",
    }
}

/// All findings, in their order, and how many of them want somebody.
pub(crate) fn findings(found: &[Finding]) -> String {
    let width = found.iter().map(|finding| finding.subject.chars().count()).max().unwrap_or_default();
    let mut lines = Vec::with_capacity(found.len() + 1);
    for Finding { subject, verdict, seen, advice } in found {
        lines.push(format!("{} {subject:width$}  {}", sign(*verdict), clean(seen)));
        if !advice.is_empty() {
            lines.push(format!("  {:width$}  → {}", "", clean(advice)));
        }
    }
    let count = |wanted: Verdict| found.iter().filter(|finding| finding.verdict == wanted).count();
    lines.push(match (count(Verdict::Wrong), count(Verdict::Look)) {
        (0, 0) => "all is well".to_owned(),
        (0, look) => format!("{look} to look at"),
        (wrong, look) => format!("{wrong} wrong, {look} to look at"),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_sign_and_what_to_do_stands_below() {
        let found = [
            Finding::fine("reachable", "Redis 7.0.15, 0.4 ms"),
            Finding::look("clock", "9.0 s apart", "chronyc tracking"),
            Finding::wrong("append-only file", "off", "CONFIG SET appendonly yes"),
        ];
        let expected = "\
✓ reachable         Redis 7.0.15, 0.4 ms
! clock             9.0 s apart
                    → chronyc tracking
✗ append-only file  off
                    → CONFIG SET appendonly yes
1 wrong, 1 to look at";
        assert_eq!(findings(&found), expected);
        assert!(findings(&found[..1]).ends_with("all is well"));
        assert!(findings(&found[..2]).ends_with("1 to look at"));
    }
}
