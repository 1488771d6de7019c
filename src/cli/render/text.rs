//! Small texts: ages, durations, clock times, lists, and the cleaning of what others wrote.
//!
//! Owns how a number or a foreign text becomes readable, on one line and within a width. Used by everything in `render`.

use jiff::Timestamp;
use model::Wall;
use model::request::Holding;
use unicode_width::UnicodeWidthStr;

/// Below so many of a unit an age is told in it: `62s`, but `31m`.
const AGE_KEEPS_UNIT: u64 = 120;
/// From so many spaces on a gap is a wide one: a column ends, or a remark begins.
const GAP_MIN: usize = 2;
/// How much further to the right what goes on below a line stands.
const HANG: usize = 2;
/// What takes no more than this part of a line is the beginning of what stands behind it.
const BEGINNING_SHARE: usize = 5;
/// How many holders are named in a line.
const HOLDERS_SHOWN_MAX: usize = 3;
/// What a command to type begins with.
const PROGRAM: &str = "stagger";

/// An age in one unit, as short as it can be read: `6s`, `62s`, `31m`, `5h`, `3d`.
pub(crate) fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        _ if seconds < AGE_KEEPS_UNIT => format!("{seconds}s"),
        _ if seconds < AGE_KEEPS_UNIT * 60 => format!("{}m", seconds / 60),
        _ if seconds < 48 * 3600 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A duration in at most two units, whole seconds: `9m19s`, `2h`, `41s`.
pub(crate) fn span(ms: u64) -> String {
    model::settings::span(ms / 1000 * 1000)
}

/// A duration as a deploy tool tells it: `02m 14s`, `1h 02m 14s`.
pub(crate) fn minutes(ms: u64) -> String {
    let seconds = ms / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes:02}m {seconds:02}s"),
        _ => format!("{hours}h {minutes:02}m {seconds:02}s"),
    }
}

/// A duration with a tenth of a second: `19.8s`; below a tenth `40ms`, from two minutes on `2m5s`.
pub(crate) fn seconds(ms: u64) -> String {
    if ms < 100 {
        return format!("{ms}ms");
    }
    if ms >= 120_000 {
        return span(ms);
    }
    let tenths = (ms + 50) / 100;
    format!("{}.{}s", tenths / 10, tenths % 10)
}

/// The time of day, in UTC: `14:02:51`.
pub(crate) fn time_of_day(wall: Wall) -> String {
    timestamp(wall).map_or_else(|| "?".to_owned(), |at| at.strftime("%H:%M:%S").to_string())
}

/// Day and time, in UTC: `2026-11-24 14:02:51Z`.
pub(crate) fn day_and_time(wall: Wall) -> String {
    timestamp(wall).map_or_else(|| "?".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

fn timestamp(wall: Wall) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(wall.0).ok()?).ok()
}

/// `1st`, `2nd`, `3rd`, `4th`, `11th`, `21st`.
pub(crate) fn ordinal(number: u32) -> String {
    let suffix = match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}

/// `1 host`, `2 hosts`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Things side by side, the first few of them: `mw1402 mw1377 +5`.
pub(crate) fn some(things: &[String], shown_max: usize, between: &str) -> String {
    let mut text = things.iter().take(shown_max).cloned().collect::<Vec<_>>().join(between);
    if things.len() > shown_max {
        text.push_str(&format!("{between}+{}", things.len() - shown_max));
    }
    text
}

/// Foreign text on one line, without anything that a terminal would obey.
pub(crate) fn clean(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first few holders that are in the way, each behind a semicolon: `; mw1402 held 6s, php-fpm@42, drain`.
pub(crate) fn holders(holders: &[Holding]) -> String {
    let text = |holding: &Holding| {
        format!("; {} {} {}, {}", holding.holder, holding.state, age(holding.since_ms), clean(&holding.what))
    };
    holders.iter().take(HOLDERS_SHOWN_MAX).map(text).collect()
}

/// The lines of a foreign text, cleaned, without empty ones; the last few of them, since a program says there what it died of.
pub(crate) fn last_lines(text: &str, lines_max: usize) -> Vec<String> {
    let mut lines: Vec<String> =
        text.lines().rev().map(clean).filter(|line| !line.is_empty()).take(lines_max).collect();
    lines.reverse();
    lines
}

/// Every line within a terminal's width. Without a width nothing is changed.
///
/// A line that is too long is broken at its wide gaps first, where a column or a remark begins, and then between words; what
/// follows stands below, indented. Nothing is cut. A word and a command to type are never broken: one that is wider than the
/// terminal has a line of its own, which the terminal itself goes on over, so that it is still copied as one.
pub(crate) fn fit(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    text.lines().flat_map(|line| broken(line, width)).collect::<Vec<_>>().join("\n")
}

/// The rows of a terminal of this width that a text takes, once it is within it.
pub(crate) fn rows(text: &str, width: usize) -> usize {
    text.lines().map(|line| line.width().div_ceil(width).max(1)).sum()
}

fn broken(line: &str, width: usize) -> Vec<String> {
    if line.width() <= width {
        return vec![line.to_owned()];
    }
    let body = line.trim_start_matches(' ');
    let indent = line.len() - body.len();
    let mut page = Page { lines: vec![" ".repeat(indent)], is_blank: true, hang: " ".repeat(indent + HANG), width };
    for (gap, part) in parts(body) {
        // Below the first line the columns no longer stand under each other, and what is typed has a line of its own.
        let is_below = page.lines.len() > 1;
        let gap = if is_below { GAP_MIN } else { gap };
        if is_below && begins_command(part) {
            page.next_line();
        }
        if page.has_room(gap, part) {
            page.put(gap, part);
            continue;
        }
        // Behind a short beginning there is room for most of a text: it goes on there.
        let is_beside = !page.is_blank && page.last_width() <= width / BEGINNING_SHARE && !begins_command(part);
        if !is_beside {
            page.next_line();
            if page.has_room(0, part) {
                page.put(0, part);
                continue;
            }
        }
        let mut gap = if is_beside { gap } else { 1 };
        for unit in units(part) {
            if !page.has_room(gap, unit) {
                page.next_line();
            }
            page.put(gap, unit);
            gap = 1;
        }
    }
    page.lines
}

/// Lines while they are filled.
struct Page {
    lines: Vec<String>,
    /// Whether there is nothing yet on the last one.
    is_blank: bool,
    /// What the lines below the first begin with.
    hang: String,
    width: usize,
}

impl Page {
    fn last_width(&self) -> usize {
        self.lines.last().map_or(0, |line| line.width())
    }

    fn has_room(&self, gap: usize, text: &str) -> bool {
        let gap = if self.is_blank { 0 } else { gap };
        self.last_width() + gap + text.width() <= self.width
    }

    fn put(&mut self, gap: usize, text: &str) {
        if let Some(line) = self.lines.last_mut() {
            line.extend(std::iter::repeat_n(' ', if self.is_blank { 0 } else { gap }));
            line.push_str(text);
            self.is_blank = false;
        }
    }

    fn next_line(&mut self) {
        if !self.is_blank {
            self.lines.push(self.hang.clone());
            self.is_blank = true;
        }
    }
}

/// What stands between wide gaps, each with the gap before it.
fn parts(line: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let mut rest = line;
    let mut gap = 0;
    while !rest.is_empty() {
        let end = rest.find("  ").unwrap_or(rest.len());
        parts.push((gap, &rest[..end]));
        let after = rest[end..].trim_start_matches(' ');
        gap = rest.len() - end - after.len();
        rest = after;
    }
    parts
}

/// What may not be broken: each word by itself, and each command whole. A command begins with the program's name or with a
/// prompt (`mw1$`), and goes to the next punctuation mark or to the end.
fn units(part: &str) -> Vec<&str> {
    let mut units = Vec::new();
    let mut rest = part;
    while !rest.is_empty() {
        let is_end = |word: &str| word.ends_with([';', ',', '.', ':', ')', '`']);
        let mut end = rest.find(' ').unwrap_or(rest.len());
        if begins_command(rest) {
            for word in rest[end..].split(' ').skip(1) {
                end += 1 + word.len();
                if is_end(word) {
                    break;
                }
            }
        }
        units.push(&rest[..end]);
        rest = rest[end..].trim_start_matches(' ');
    }
    units
}

fn begins_command(text: &str) -> bool {
    let word = text.split(' ').next().unwrap_or(text).trim_start_matches(['(', '`']);
    word == PROGRAM || word.ends_with('$')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_durations_read_at_a_glance() {
        let texts = [0, 6_999, 62_000, 119_999, 120_000, 31 * 60_000, 7_199_000, 7_200_000, 172_800_000].map(age);
        assert_eq!(texts, ["0s", "6s", "62s", "119s", "2m", "31m", "119m", "2h", "2d"]);
        assert_eq!([134_000, 3_734_000, 999].map(minutes), ["02m 14s", "1h 02m 14s", "00m 00s"]);
        assert_eq!([19_840, 0, 7_949, 119_960, 125_000].map(seconds), ["19.8s", "0ms", "7.9s", "120.0s", "2m5s"]);
        assert_eq!([559_900, 41_000].map(span), ["9m19s", "41s"]);
    }

    #[test]
    fn times_are_told_in_utc() {
        assert_eq!(time_of_day(Wall(1_795_528_971_000)), "14:02:51");
        assert_eq!(day_and_time(Wall(1_795_528_971_999)), "2026-11-24 14:02:51Z");
        assert_eq!(day_and_time(Wall(u64::MAX)), "?");
    }

    #[test]
    fn counts_and_lists() {
        assert_eq!(
            [1, 2, 3, 4, 11, 12, 13, 21, 112].map(ordinal),
            ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th"]
        );
        assert_eq!((count(1, "host"), count(0, "host")), ("1 host".to_owned(), "0 hosts".to_owned()));
        let names = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(some(&names, 2, " "), "a b +1");
        assert_eq!(some(&names, 3, ", "), "a, b, c");
    }

    #[test]
    fn what_others_wrote_cannot_move_the_cursor() {
        assert_eq!(clean("a\u{1b}[2Jb\r\n  c\t"), "a [2Jb c");
        assert_eq!(last_lines("one\n\ntwo\u{7}\nthree\n", 2), ["two", "three"]);
    }

    #[test]
    fn a_line_too_long_goes_on_below_at_its_gaps_and_then_at_its_words() {
        assert_eq!(fit("abcdef ghi", None), "abcdef ghi");
        assert_eq!(fit("abc de\nabc", Some(6)), "abc de\nabc");
        assert_eq!(fit("mw1    failed  62s", Some(18)), "mw1    failed  62s");
        assert_eq!(fit("mw1    failed  62s", Some(15)), "mw1    failed\n  62s");
        assert_eq!(fit("mw1    failed  62s  restart", Some(16)), "mw1    failed\n  62s  restart");
        assert_eq!(fit("  one two three four", Some(12)), "  one two\n    three\n    four");
        assert_eq!(fit("日本 日本 日本", Some(9)), "日本 日本\n  日本");
    }

    #[test]
    fn a_text_goes_on_behind_a_short_beginning() {
        let line = "✗ web2  restart: exit 78: [pool www] unknown entry; keeps app-eqiad";
        let expected = "✗ web2  restart: exit 78: [pool www]\n  unknown entry; keeps app-eqiad";
        assert_eq!(fit(line, Some(40)), expected);
    }

    #[test]
    fn nothing_is_lost_and_nothing_overflows_but_a_word_or_a_command() {
        let lines = [
            "HOLDER    STATE       AGE  STEP     POOL:TOKEN                  FOR",
            "mw1316    failed      62s  restart  app-eqiad:9113 rack.b4:412  php-fpm@42, exit 78: [pool www] no entry",
            "    mw1316 failed 62s at restart (exit 78), for php-fpm@42    stagger release mw1316 --reason …",
            "  fixed?  mw1316$ stagger restart php-fpm      give up: stagger release mw1316 --reason …",
            "hint: watch it: stagger rollouts php-fpm@42 --follow; take its place: --supersede",
            "",
        ];
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for width in 20..130 {
            for line in lines {
                let fitted = fit(line, Some(width));
                assert_eq!(words(&fitted), words(line), "{width}");
                for row in fitted.lines().filter(|row| row.width() > width) {
                    let whole = row.trim_start();
                    assert!(whole.starts_with("stagger ") || whole.starts_with("mw1316$ "), "{width}: {row:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_typed_stays_on_one_line() {
        for (line, command) in [
            (
                "    mw1 failed 62s at restart, for php-fpm@42    stagger release mw1 --reason …",
                "stagger release mw1 --reason …",
            ),
            (
                "app is paused by ann@ops1 5m ago: a switch; ends with: stagger resume pool/app",
                "stagger resume pool/app",
            ),
            ("    down    mw1$ stagger worker; gone for good: stagger release mw1 --forget", "mw1$ stagger worker;"),
            ("a released host may still be out (stagger members --out)", "(stagger members --out)"),
        ] {
            for width in 20..100 {
                assert!(fit(line, Some(width)).lines().any(|row| row.contains(command)), "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_command_behind_a_broken_cause_has_a_line_of_its_own() {
        let line = "    2s ago: failed hosts keep all slots of demo    stagger resume rollout/demo@2   or announce";
        let expected = "    2s ago: failed hosts keep all slots\n      of demo\n      stagger resume rollout/demo@2\n      or announce";
        assert_eq!(fit(line, Some(40)), expected);
    }

    #[test]
    fn a_line_wider_than_the_terminal_takes_several_rows() {
        assert_eq!((rows("abcde", 5), rows("abcdef", 5), rows("a\n\nb", 5), rows("", 5)), (1, 2, 3, 0));
    }
}
