//! What a look at a store's own setup finds.

use serde::Serialize;

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// It may be meant so: somebody should look.
    Look,
    /// Leases may be lost, or cannot be had.
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What, in a word or two.
    pub subject: String,
    /// How good it is.
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
    /// What to do; empty when nothing is to be done.
    pub advice: String,
}

impl Finding {
    /// As it should be.
    pub fn fine(subject: &str, seen: impl Into<String>) -> Finding {
        Finding { subject: subject.to_owned(), verdict: Verdict::Fine, seen: seen.into(), advice: String::new() }
    }

    /// Somebody should look.
    pub fn look(subject: &str, seen: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { subject: subject.to_owned(), verdict: Verdict::Look, seen: seen.into(), advice: advice.into() }
    }

    /// It is wrong.
    pub fn wrong(subject: &str, seen: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { subject: subject.to_owned(), verdict: Verdict::Wrong, seen: seen.into(), advice: advice.into() }
    }

    /// Fine when it holds, else wrong.
    pub(super) fn must(holds: bool, subject: &str, seen: impl Into<String>, advice: &str) -> Finding {
        if holds { Finding::fine(subject, seen) } else { Finding::wrong(subject, seen, advice) }
    }
}

/// Whether all of these hosts are this very machine, whoever asks for them.
pub fn is_loopback<'a>(mut hosts: impl Iterator<Item = &'a str>) -> bool {
    hosts.all(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    })
}
