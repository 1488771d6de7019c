//! A host's entry in etcd: JSON such as `{"pooled": "yes", "weight": 10}`.
//!
//! Owns reading its one word and replacing it. Every other byte stays where it is: the weight, the order, fields that nobody
//! here knows.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::fmt;

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooled {
    /// The host takes part.
    Yes,
    /// It does not, for now.
    No,
    /// It was taken away by a person.
    Inactive,
}

impl fmt::Display for Pooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Pooled::Yes => "yes",
            Pooled::No => "no",
            Pooled::Inactive => "inactive",
        })
    }
}

#[derive(Deserialize)]
struct Fields<'v> {
    #[serde(borrow)]
    pooled: &'v RawValue,
}

/// The value as it stands in the text. A second one, or a text that is no object, is an error.
fn raw(text: &str) -> Result<&RawValue, String> {
    if !text.trim_start().starts_with('{') {
        return Err("it is no JSON object".to_owned());
    }
    serde_json::from_str::<Fields<'_>>(text)
        .map(|fields| fields.pooled)
        .map_err(|error| format!("it cannot be read: {error}"))
}

/// What it says; anything but the three words is an error.
pub(super) fn read(text: &str) -> Result<Pooled, String> {
    let raw = raw(text)?.get();
    match serde_json::from_str::<String>(raw).as_deref() {
        Ok("yes") => Ok(Pooled::Yes),
        Ok("no") => Ok(Pooled::No),
        Ok("inactive") => Ok(Pooled::Inactive),
        _ => Err(format!("pooled is {raw}: neither yes, no nor inactive")),
    }
}

/// The same text with another word, and nothing else changed.
pub(super) fn with(text: &str, word: Pooled) -> Result<String, String> {
    let raw = raw(text)?.get();
    // It is a part of the text: that is where it was borrowed from.
    let start = raw.as_ptr().addr() - text.as_ptr().addr();
    let (before, after) = (&text[..start], &text[start + raw.len()..]);
    Ok(format!("{before}\"{word}\"{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_word_changes_and_no_other_byte() {
        for (before, after) in [
            (r#"{"pooled": "yes", "weight": 10}"#, r#"{"pooled": "no", "weight": 10}"#),
            (r#"{"weight":10,"pooled":"yes"}"#, r#"{"weight":10,"pooled":"no"}"#),
            (
                "{ \"a\" : 1.50 ,\n \"pooled\"\t:  \"yes\" , \"z\":{\"pooled\":\"yes\"}}\n",
                "{ \"a\" : 1.50 ,\n \"pooled\"\t:  \"no\" , \"z\":{\"pooled\":\"yes\"}}\n",
            ),
            (r#"{"notes":"\"pooled\": \"yes\"","pooled":"yes"}"#, r#"{"notes":"\"pooled\": \"yes\"","pooled":"no"}"#),
            (r#"{"pooled":"\u0079es","weight":1e400}"#, r#"{"pooled":"no","weight":1e400}"#),
        ] {
            assert_eq!(read(before), Ok(Pooled::Yes), "{before}");
            assert_eq!(with(before, Pooled::No).as_deref(), Ok(after));
            assert_eq!(read(after), Ok(Pooled::No));
        }
        assert_eq!(read(r#"{"pooled": "inactive", "weight": 50}"#), Ok(Pooled::Inactive));
    }

    #[test]
    fn what_is_no_entry_is_an_error() {
        for text in [
            "",
            "null",
            "yes",
            r#"["yes"]"#,
            r#"{"weight": 10}"#,
            r#"{"pooled": true}"#,
            r#"{"pooled": "Yes"}"#,
            r#"{"pooled": "yes""#,
            r#"{"pooled": "yes", "pooled": "no"}"#,
            r#"{"pooled": "yes"} x"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest! {
        /// Whatever else stands in an entry comes back as it was when the word goes there and back.
        #[test]
        fn there_and_back_leaves_every_byte(before in "[ \n\t]{0,3}", name in "[a-zA-Z\"\\\\é]{0,8}", number in any::<i64>(), after in "[ \n]{0,3}") {
            prop_assume!(name != "pooled");
            let name = serde_json::to_string(&name).expect("a string");
            let text = format!("{before}{{{name}:{number},{after}\"pooled\"{before}:\"yes\"{after}}}");
            let out = with(&text, Pooled::No).expect("an entry");
            prop_assert_eq!(read(&out), Ok(Pooled::No));
            prop_assert_eq!(with(&out, Pooled::Yes), Ok(text));
        }
    }
}
