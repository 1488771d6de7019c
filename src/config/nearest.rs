//! What somebody probably meant who mistyped a word.
//!
//! Owns how near is near enough. Called where a key, a kind, a function or a name is not known.

/// Up to so many typing mistakes, a word is taken for a known one.
const TYPOS_MAX: usize = 2;

/// The known word that this one was probably meant to be; nothing when none is near.
pub(crate) fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    let near = known.iter().filter_map(|candidate| Some((distance(word, candidate)?, *candidate)));
    near.min().map(|(_, near)| near)
}

/// How many typing mistakes lie between a word and a known one, capitals aside; nothing when they are too many for a mistake.
pub(crate) fn distance(word: &str, known: &str) -> Option<usize> {
    // What differs that much in length needs no closer look: names can be long, and many.
    if word.len().abs_diff(known.len()) > TYPOS_MAX * char::MAX.len_utf8() {
        return None;
    }
    let (word, small) = (word.to_lowercase(), known.to_lowercase());
    Some(strsim::levenshtein(&word, &small)).filter(|typos| *typos <= TYPOS_MAX && *typos * 2 <= known.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_found_and_a_far_one_is_not() {
        let known = ["pools", "drain", "in", "depool"];
        assert_eq!(nearest("pool", &known), Some("pools"));
        assert_eq!(nearest("dpeool", &known), Some("depool"));
        assert_eq!(nearest("DEPOOL", &known), Some("depool"));
        assert_eq!(nearest("gate", &known), None);
        assert_eq!(nearest("on", &known), Some("in"));
        assert_eq!(nearest("ab", &known), None);
    }
}
