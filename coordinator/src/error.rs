//! What can go wrong between a caller and a coordinator, and whether asking again can help.
//!
//! A refusal that the model knows (full, paused, gone) is an answer, not an error.

use crate::refusal::kind;
use model::request::RefusalKind;

/// The result of asking a coordinator.
pub type Result<T> = std::result::Result<T, Error>;

/// Why there is no answer. Each fits after "cannot …: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It was certainly not carried out: the coordinator could not be reached, or nothing was sent.
    #[error("{why}")]
    NotApplied {
        /// Whether it may work later.
        retry: bool,
        /// What happened.
        why: String,
    },
    /// It was not carried out, and the coordinator said so itself: it may be asked again.
    #[error("{value} ({kind})")]
    Unable {
        /// Which reason: a word of [`crate::refusal::kind`].
        kind: String,
        /// The reason in a sentence.
        value: String,
    },
    /// Nobody can tell whether it was carried out: it was sent, and no answer came. Ask the same again.
    #[error("no answer, so nobody knows whether it was done: {why}")]
    Unknown {
        /// What happened.
        why: String,
    },
    /// The request itself is wrong: asking the same again gives the same.
    #[error("{value} ({kind}, {status})")]
    Refused {
        /// Which reason.
        kind: String,
        /// The reason in a sentence.
        value: String,
        /// The status of the answer.
        status: u16,
    },
    /// An answer came that makes no sense: another server, or another version.
    #[error("the answer makes no sense: {0}")]
    Corrupt(String),
}

impl Error {
    /// Whether asking the same again can help.
    pub fn retryable(&self) -> bool {
        match self {
            Error::NotApplied { retry, .. } => *retry,
            Error::Unable { .. } | Error::Unknown { .. } => true,
            Error::Refused { .. } | Error::Corrupt(_) => false,
        }
    }

    /// Whether the coordinator said itself that this very request is wrong. A server that does not know the path, or an answer
    /// of something in between, says nothing about the request: it may be another one tomorrow.
    pub fn is_for_good(&self) -> bool {
        let wrong = [kind::MALFORMED, kind::TOO_LARGE, RefusalKind::Invalid.word()];
        matches!(self, Error::Refused { kind, .. } if wrong.contains(&kind.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_whether_a_retry_can_help() {
        let why = || "why".to_owned();
        assert!(Error::NotApplied { retry: true, why: why() }.retryable());
        assert!(!Error::NotApplied { retry: false, why: why() }.retryable());
        assert!(Error::Unable { kind: why(), value: why() }.retryable());
        assert!(Error::Unknown { why: why() }.retryable());
        assert!(!Error::Refused { kind: why(), value: why(), status: 400 }.retryable());
        assert!(!Error::Corrupt(why()).retryable());
        let refused = |kind: &str| Error::Refused { kind: kind.to_owned(), value: why(), status: 400 };
        assert!(refused("too_large").is_for_good() && refused("malformed").is_for_good());
        assert!(refused("invalid").is_for_good());
        assert!(!refused("http").is_for_good() && !refused("no_path").is_for_good());
        assert!(!Error::Unknown { why: why() }.is_for_good() && !Error::Corrupt(why()).is_for_good());
    }
}
