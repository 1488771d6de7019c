//! Why something waits: the headline, what hinders with its causes and the next command, then what does not.

use super::text::clean;
use model::why::{Finding, Why};
use unicode_width::UnicodeWidthStr;

/// Between a cause and the command that changes it.
const GAP: &str = "    ";

/// The answer, in a few lines.
pub(crate) fn why(why: &Why) -> String {
    let mut lines = vec![clean(&why.headline)];
    let bad: Vec<&Finding> = why.findings.iter().filter(|finding| !finding.ok).collect();
    let names_width = bad.iter().map(|finding| finding.what.width()).max().unwrap_or(0);
    for finding in bad {
        lines.push(format!(
            "✗ {:names_width$}  {}",
            clean(&finding.what),
            finding.how.replace(['\n', '\r', '\u{1b}'], " ")
        ));
        lines.extend(causes(finding));
    }
    let fine: Vec<String> = why.findings.iter().filter(|finding| finding.ok).map(good).collect();
    if !fine.is_empty() {
        lines.push(fine.join("   "));
    }
    lines.join("\n")
}

fn causes(finding: &Finding) -> impl Iterator<Item = String> {
    finding.causes.iter().filter_map(|cause| match (clean(&cause.what), &cause.next) {
        (what, Some(next)) if what.is_empty() => Some(format!("{GAP}{next}")),
        (what, Some(next)) => Some(format!("{GAP}{what}{GAP}{next}")),
        (what, None) if what.is_empty() => None,
        (what, None) => Some(format!("{GAP}{what}")),
    })
}

fn good(finding: &Finding) -> String {
    format!("✓ {} {}", clean(&finding.what), clean(&finding.how))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::why::Cause;

    fn finding(ok: bool, what: &str, how: &str, causes: &[(&str, Option<&str>)]) -> Finding {
        let causes =
            causes.iter().map(|(what, next)| Cause { what: (*what).to_owned(), next: next.map(str::to_owned) });
        Finding { ok, what: what.to_owned(), how: how.to_owned(), causes: causes.collect() }
    }

    #[test]
    fn what_hinders_comes_first_with_what_to_type() {
        let answer = Why {
            about: "host/mw1331".parse().expect("a scope"),
            headline: "mw1331 waits 41s for php-fpm@42, place 1 for rack.b4; gives up in 9m19s".to_owned(),
            findings: vec![
                finding(
                    false,
                    "rack.b4",
                    "2 of 2 out   slots=2: set by ann",
                    &[
                        (
                            "mw1316 failed 62s at restart (exit 78), for php-fpm@42",
                            Some("stagger release mw1316 --reason …"),
                        ),
                        ("mw1402 held 6s, drain, 4 in flight, for php-fpm@42", None),
                    ],
                ),
                finding(false, "members", "1 is down", &[("", Some("stagger members --down")), ("", None)]),
                finding(true, "app-eqiad", "14 of 35 out", &[]),
                finding(true, "pauses", "none", &[]),
            ],
        };
        let expected = "\
mw1331 waits 41s for php-fpm@42, place 1 for rack.b4; gives up in 9m19s
✗ rack.b4  2 of 2 out   slots=2: set by ann
    mw1316 failed 62s at restart (exit 78), for php-fpm@42    stagger release mw1316 --reason …
    mw1402 held 6s, drain, 4 in flight, for php-fpm@42
✗ members  1 is down
    stagger members --down
✓ app-eqiad 14 of 35 out   ✓ pauses none";
        assert_eq!(why(&answer), expected);
    }

    #[test]
    fn nothing_to_say_is_one_line() {
        let answer =
            Why { about: "all".parse().expect("a scope"), headline: "nothing".to_owned(), findings: Vec::new() };
        assert_eq!(why(&answer), "nothing");
    }
}
