//! What is told of the demo: a line per act, and one object for programs.
//!
//! Owns their texts. Judges nothing but whether every act went well.

use crate::cli::demo::fleet::Options;
use crate::cli::demo::observer::Counts;
use crate::cli::render::text::fit;
use serde::Serialize;
use std::time::Duration;
use unicode_width::UnicodeWidthStr as _;

/// How wide the names of the acts are.
const NAME_WIDTH: usize = 10;
/// The least width of what stands behind them.
const TEXT_WIDTH_MIN: usize = 10;

/// One act, played.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Played {
    /// Which.
    pub(super) name: &'static str,
    /// Whether all was as it should be.
    pub(super) ok: bool,
    /// What was seen, or what was wrong.
    pub(super) detail: String,
    /// The figures of the deploy.
    #[serde(skip)]
    pub(super) deploy: Option<Deploy>,
}

/// The figures of the act that deploys to everyone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Deploy {
    /// Hosts that restarted, by their services' own account.
    pub(super) restarted: u32,
    /// Hosts that failed.
    pub(super) failed: u32,
    /// From the announcement until all was done.
    pub(super) wall: Duration,
    /// What the observer at the balancer counted meanwhile.
    pub(super) counts: Counts,
}

impl Played {
    /// The act in a line; on a terminal of this width in several, when one is not enough.
    pub(super) fn lines(&self, width: Option<usize>) -> String {
        let sign = if self.ok { "✓" } else { "✗" };
        under(&format!("{sign} {:<NAME_WIDTH$} ", self.name), &self.detail, width)
    }
}

/// The whole demo, as programs read it. Figures of the deploy are missing when that act was not played.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Summary {
    hosts: u32,
    slots: u32,
    restarted: Option<u32>,
    failed: Option<u32>,
    /// The most hosts that were out at once, in all acts.
    peak_out: u32,
    /// Requests during the deploy. One that fails in another act makes that act fail.
    requests: Option<u64>,
    failed_requests: Option<u64>,
    /// Those of them that were made while at least one host was out.
    requests_while_out: Option<u64>,
    wall_s: Option<f64>,
    /// ceil(hosts / slots) × (least drain + restart): what no order of restarts can beat.
    bound_s: f64,
    efficiency: Option<f64>,
    acts: Vec<Played>,
}

impl Summary {
    /// A summary of nothing yet.
    pub(super) fn new(options: &Options) -> Summary {
        Summary {
            hosts: options.hosts,
            slots: options.slots,
            restarted: None,
            failed: None,
            peak_out: 0,
            requests: None,
            failed_requests: None,
            requests_while_out: None,
            wall_s: None,
            bound_s: options.bound().as_secs_f64(),
            efficiency: None,
            acts: Vec::new(),
        }
    }

    /// Adds an act.
    pub(super) fn add(&mut self, played: Played) {
        if let Some(deploy) = &played.deploy {
            let wall_s = deploy.wall.as_secs_f64();
            self.restarted = Some(deploy.restarted);
            self.failed = Some(deploy.failed);
            self.requests = Some(deploy.counts.requests);
            self.failed_requests = Some(deploy.counts.failed_requests);
            self.requests_while_out = Some(deploy.counts.requests_while_out);
            self.wall_s = Some(thousandths(wall_s));
            self.efficiency = Some(thousandths(self.bound_s / wall_s));
        }
        self.acts.push(played);
    }

    /// Adds the most hosts that the observer saw out at once, in all acts.
    pub(super) fn close(&mut self, peak_out: u32) {
        self.peak_out = peak_out;
    }

    /// Whether every act went well.
    pub(super) fn is_well(&self) -> bool {
        self.acts.iter().all(|act| act.ok)
    }
}

/// A text behind what it is about. What has no room on the first line stands below it, under the text.
pub(super) fn under(head: &str, text: &str, width: Option<usize>) -> String {
    let indent = head.width();
    let fitted = fit(text, width.map(|width| width.saturating_sub(indent).max(TEXT_WIDTH_MIN)));
    let lines: Vec<&str> = fitted.lines().map(str::trim_start).collect();
    format!("{head}{}", lines.join(&format!("\n{}", " ".repeat(indent))))
}

fn thousandths(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// A number with its thousands apart: `14,210`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stand_below_each_other() {
        let line = |name, ok| Played { name, ok, detail: "20 ok".to_owned(), deploy: None }.lines(None);
        assert_eq!(line("deploy", true), "✓ deploy     20 ok");
        assert_eq!(line("bad build", false), "✗ bad build  20 ok");
    }

    #[test]
    fn what_has_no_room_stands_under_the_text_and_nothing_is_cut() {
        let detail = "20 ok in 12.5s (bound 12.0s), never more than 2 out; 6,676 requests, none failed";
        let played = Played { name: "deploy", ok: true, detail: detail.to_owned(), deploy: None };
        let expected = "✓ deploy     20 ok in 12.5s (bound 12.0s), never more than 2 out; 6,676
             requests, none failed";
        assert_eq!(played.lines(Some(80)), expected);
        for width in 30..110 {
            let lines = played.lines(Some(width));
            assert!(lines.lines().all(|line| line.width() <= width), "{width}: {lines}");
            assert!(lines.lines().skip(1).all(|line| line.starts_with("             ")), "{width}: {lines}");
            assert!(lines.split_whitespace().skip(2).eq(detail.split_whitespace()), "{width}: {lines}");
        }
    }

    #[test]
    fn numbers_are_grouped() {
        let texts = [0, 7, 999, 1000, 14_210, 123_456, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "7", "999", "1,000", "14,210", "123,456", "1,234,567"]);
    }

    #[test]
    fn programs_get_one_object_with_the_deploys_figures() {
        let options =
            Options { hosts: 5, slots: 2, drain: Duration::from_secs(1), restart: Duration::from_millis(200) };
        let mut summary = Summary::new(&options);
        let counts = Counts { peak_out: 1, requests: 10, requests_while_out: 6, ..Counts::default() };
        let deploy = Deploy { restarted: 5, failed: 0, wall: Duration::from_millis(4000), counts };
        summary.add(Played { name: "deploy", ok: true, detail: "5 ok".to_owned(), deploy: Some(deploy) });
        summary.close(2);
        let expected = r#"{"hosts":5,"slots":2,"restarted":5,"failed":0,"peak_out":2,"requests":10,"failed_requests":0,"requests_while_out":6,"wall_s":4.0,"bound_s":3.6,"efficiency":0.9,"acts":[{"name":"deploy","ok":true,"detail":"5 ok"}]}"#;
        assert_eq!(serde_json::to_string(&summary).expect("JSON"), expected);
        assert!(summary.is_well());
        summary.add(Played { name: "slow", ok: false, detail: String::new(), deploy: None });
        assert!(!summary.is_well());
    }
}
