//! What access counts, and what it says in the log: each no, by its reason.
//!
//! Labels are the reasons, which are few. The log says who and from where, and never what a token is; of a flood it tells the first
//! lines of each second, and how many there were; one reason's does not hide another's.

use super::judge::{Reason, Refusal};
use crate::clock::Stopwatch;
use prometheus::{Encoder as _, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};
use std::net::IpAddr;
use std::sync::Mutex;

/// Most lines in the log in one second, for each reason.
const LINES_MAX: u32 = 20;

/// The figures of one lock server's access.
#[derive(Debug)]
pub(super) struct Count {
    registry: Registry,
    refusals: IntCounterVec,
    files: IntGaugeVec,
    started: Stopwatch,
    said: Mutex<[Said; Reason::ALL.len()]>,
}

/// What the log was told of one reason in the current second.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    second: u64,
    lines: u32,
    unsaid: u64,
}

impl Count {
    /// All at nothing.
    pub(super) fn new() -> Count {
        let registry = Registry::new();
        let refusals = IntCounterVec::new(
            Opts::new("stagger_access_refusals_total", "Requests and connections that were not let in."),
            &["reason"],
        );
        let files =
            IntGaugeVec::new(Opts::new("stagger_access_file_up", "Whether what counts is what is on disk."), &["file"]);
        let (Ok(refusals), Ok(files)) = (refusals, files) else { unreachable!("a metric is defined wrongly") };
        for collector in [Box::new(refusals.clone()) as Box<dyn prometheus::core::Collector>, Box::new(files.clone())] {
            if let Err(cause) = registry.register(collector) {
                unreachable!("a metric is defined wrongly: {cause}");
            }
        }
        for reason in Reason::ALL {
            refusals.with_label_values(&[reason.word()]).inc_by(0);
        }
        // Nothing is wrong with what nobody named.
        for file in ["tokens", "certificates"] {
            files.with_label_values(&[file]).set(1);
        }
        Count { registry, refusals, files, started: Stopwatch::start(), said: Mutex::default() }
    }

    /// A no to somebody at an address.
    pub(super) fn refused(&self, refusal: &Refusal, from: IpAddr) {
        self.refused_request(refusal, from, "a connection");
    }

    /// A no to what somebody at an address asked for.
    pub(super) fn refused_request(&self, refusal: &Refusal, from: IpAddr, asked: &str) {
        self.refusals.with_label_values(&[refusal.reason.word()]).inc();
        if !self.may_say(refusal.reason) {
            return;
        }
        let (reason, token) = (refusal.reason.word(), refusal.token.as_deref().unwrap_or("-"));
        tracing::warn!(%from, token, reason, asked, "refused: {}", refusal.value);
    }

    fn may_say(&self, reason: Reason) -> bool {
        let second = self.started.elapsed_us() / 1_000_000;
        let mut all = super::lock(&self.said);
        // Its place among them all; a number of its own.
        let said = &mut all[reason as usize];
        if said.second != second {
            if said.unsaid > 0 {
                tracing::warn!(reason = reason.word(), "{} more were refused within a second", said.unsaid);
            }
            *said = Said { second, ..Said::default() };
        }
        said.lines += u32::from(said.lines < LINES_MAX + 1);
        let may = said.lines <= LINES_MAX;
        said.unsaid += u64::from(!may);
        may
    }

    /// Whether the tokens on disk are those that count.
    pub(super) fn tokens_read(&self, is_read: bool) {
        self.files.with_label_values(&["tokens"]).set(is_read.into());
    }

    /// Whether the certificates on disk are those that count.
    pub(super) fn certificates_read(&self, is_read: bool) {
        self.files.with_label_values(&["certificates"]).set(is_read.into());
    }

    /// All of it as text; nothing when it cannot be written.
    pub(super) fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(cause) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!("the figures of access cannot be written: {cause}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_no_is_counted_by_its_reason_and_a_flood_does_not_fill_the_log() {
        let count = Count::new();
        let from = "10.0.0.7".parse().expect("an address");
        for _ in 0..100 {
            count.refused(&Refusal::network(), from);
        }
        let text = String::from_utf8(count.render()).expect("a text");
        assert!(text.contains("stagger_access_refusals_total{reason=\"network\"} 100\n"), "{text}");
        assert!(text.contains("stagger_access_refusals_total{reason=\"revoked\"} 0\n"), "{text}");
        let said = super::super::lock(&count.said)[Reason::Network as usize];
        assert!(said.unsaid > 0, "a hundred lines in a moment are too many: {said:?}");
    }
}
