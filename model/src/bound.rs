//! How much of a text travels: so many bytes of JSON, whatever it holds.
//!
//! Owns the cut, and the mark that says so. A text full of escapes takes up to six times its length, so the length alone bounds
//! nothing. Pure; called wherever what a program printed, or a balancer said, goes into a request.

/// Stands where something was left out.
const MARK: char = '…';

/// How many bytes a letter takes in JSON, as serde_json writes it.
fn encoded(letter: char) -> usize {
    match letter {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    }
}

/// How many of these letters fit, with the mark; nothing when all of them fit.
fn cut(letters: impl Iterator<Item = char> + Clone, bytes_max: usize) -> Option<usize> {
    let fits = |bytes_max: usize| {
        let mut left = bytes_max;
        letters.clone().take_while(move |letter| {
            let bytes = encoded(*letter);
            let fits = bytes <= left;
            left = left.saturating_sub(bytes);
            fits
        })
    };
    let is_whole = fits(bytes_max).count() == letters.clone().count();
    (!is_whole).then(|| fits(bytes_max.saturating_sub(MARK.len_utf8())).count())
}

/// The beginning of a text, at most so many bytes of JSON. The same again changes nothing.
pub fn beginning(text: &str, bytes_max: usize) -> String {
    match cut(text.chars(), bytes_max) {
        None => text.to_owned(),
        Some(count) => text.chars().take(count).chain([MARK]).collect(),
    }
}

/// The end of a text, at most so many bytes of JSON. The same again changes nothing.
pub fn end(text: &str, bytes_max: usize) -> String {
    match cut(text.chars().rev(), bytes_max) {
        None => text.to_owned(),
        Some(count) => [MARK].into_iter().chain(text.chars().skip(text.chars().count() - count)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_cut_is_marked_and_on_a_letters_edge() {
        assert_eq!((beginning("exit 78", 7).as_str(), end("exit 78", 7).as_str()), ("exit 78", "exit 78"));
        assert_eq!((beginning("exit 78", 6).as_str(), end("exit 78", 6).as_str()), ("exi…", "… 78"));
        assert_eq!((beginning("ééé", 5).as_str(), end("a\n\u{1}", 10).as_str()), ("é…", "a\n\u{1}"));
        assert_eq!((end("a\n\u{1}", 8).as_str(), beginning("", 0).as_str()), ("…", ""));
    }

    fn letter() -> impl Strategy<Value = char> {
        prop_oneof![Just('a'), Just('"'), Just('\n'), Just('\u{1}'), Just('é'), Just('…'), any::<char>()]
    }

    proptest! {
        #[test]
        fn what_is_cut_fits_and_is_not_cut_again(letters in prop::collection::vec(letter(), 0..80), bytes_max in 3..60_usize) {
            let text: String = letters.into_iter().collect();
            for (bounded, is_end) in [(beginning(&text, bytes_max), false), (end(&text, bytes_max), true)] {
                let json = serde_json::to_string(&bounded).expect("JSON");
                prop_assert!(json.len() - 2 <= bytes_max, "{}", json);
                let again = if is_end { end(&bounded, bytes_max) } else { beginning(&bounded, bytes_max) };
                prop_assert_eq!(&again, &bounded);
                let whole = serde_json::to_string(&text).expect("JSON").len() - 2;
                prop_assert_eq!(whole <= bytes_max, bounded == text);
            }
        }
    }
}
