//! Small texts: ages, durations, clock times, lists, and the cleaning of what others wrote.
//!
//! Owns how a number or a foreign text becomes readable, on one line and within a width. Used by everything in `render`.

use jiff::Timestamp;
use model::Wall;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Below so many of a unit an age is told in it: `62s`, but `31m`.
const AGE_KEEPS_UNIT: u64 = 120;

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

/// The lines of a foreign text, cleaned, without empty ones; the last few of them, since a program says there what it died of.
pub(crate) fn last_lines(text: &str, lines_max: usize) -> Vec<String> {
    let mut lines: Vec<String> =
        text.lines().rev().map(clean).filter(|line| !line.is_empty()).take(lines_max).collect();
    lines.reverse();
    lines
}

/// Every line cut to a terminal's width, with `…` where something is missing. Without a width nothing is cut.
pub(crate) fn fit(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    text.lines().map(|line| fit_line(line, width)).collect::<Vec<_>>().join("\n")
}

fn fit_line(line: &str, width: usize) -> String {
    if line.width() <= width {
        return line.to_owned();
    }
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used < width
    };
    let mut short: String = line.chars().take_while(fits).collect();
    short.push('…');
    short
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
    fn lines_are_cut_to_the_width_and_say_so() {
        assert_eq!(fit("abcdef\nabc", Some(5)), "abcd…\nabc");
        assert_eq!(fit("abcde", Some(5)), "abcde");
        assert_eq!(fit("日本語日本", Some(6)), "日本…");
        assert_eq!(fit("abcdef", None), "abcdef");
    }
}
