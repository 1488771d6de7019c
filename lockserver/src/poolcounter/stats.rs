//! The figures that `STATS` tells, in poolcounterd's words and numbers.
//!
//! Owns what is counted and how it is written. What happened is told by [`super::keys`] and the sockets.

use std::io::Write as _;
use std::time::Duration;

/// What a word that is no figure is answered.
const WRONG: &[u8] = b"ERROR WRONG_STAT\n";

/// What happened since the door opened.
#[derive(Debug, Clone, Default)]
pub(super) struct Stats {
    /// How long locks were held.
    pub(super) processing: Duration,
    /// What waiters saved, whose work somebody else did: how long that one held its lock.
    pub(super) gained: Duration,
    /// How long those waited who got a slot at last, for their own work.
    pub(super) waited_for_me: Duration,
    /// The same, for anyone's work.
    pub(super) waited_for_anyone: Duration,
    /// How long those waited whose work somebody else did.
    pub(super) waited_for_good: Duration,
    /// How long those waited who got nothing.
    pub(super) wasted: Duration,
    /// Slots handed out.
    pub(super) total_acquired: u64,
    /// Locks given back by `RELEASE`.
    pub(super) total_releases: u64,
    /// Keys in use.
    pub(super) hashtable_entries: u64,
    /// Locks that are held.
    pub(super) processing_workers: u64,
    /// Locks that are waited for.
    pub(super) waiting_workers: u64,
    /// Connections that could not be served.
    pub(super) connect_errors: u64,
    /// Replies that could not be sent.
    pub(super) failed_sends: u64,
    /// Requests refused because a queue was full.
    pub(super) full_queues: u64,
    /// Requests for a fifth lock.
    pub(super) lock_mismatch: u64,
    /// Requests while another one waited.
    pub(super) lock_while_waiting: u64,
    /// Releases of nothing.
    pub(super) release_mismatch: u64,
    /// Locks that were held and are no more.
    pub(super) processed_count: u64,
}

impl Stats {
    fn counters(&self) -> [(&'static str, u64); 12] {
        [
            ("total_acquired", self.total_acquired),
            ("total_releases", self.total_releases),
            ("hashtable_entries", self.hashtable_entries),
            ("processing_workers", self.processing_workers),
            ("waiting_workers", self.waiting_workers),
            ("connect_errors", self.connect_errors),
            ("failed_sends", self.failed_sends),
            ("full_queues", self.full_queues),
            ("lock_mismatch", self.lock_mismatch),
            ("lock_while_waiting", self.lock_while_waiting),
            ("release_mismatch", self.release_mismatch),
            ("processed_count", self.processed_count),
        ]
    }

    /// What `STATS` and this word are answered, when the door has been open for so long.
    pub(super) fn tell(&self, word: &[u8], open: Duration) -> Vec<u8> {
        if word.eq_ignore_ascii_case(b"FULL") {
            return self.full(open);
        }
        if word.eq_ignore_ascii_case(b"UPTIME") {
            return uptime(open).into_bytes();
        }
        let mut counters = self.counters().into_iter();
        let counter = counters.find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()));
        counter.map_or(WRONG.to_vec(), |(name, count)| format!("{name}: {count}\n").into_bytes())
    }

    fn full(&self, open: Duration) -> Vec<u8> {
        let count = self.processed_count;
        let times = [
            ("total processing time", time(self.processing, 0)),
            ("average processing time", time(self.processing, count)),
            ("gained time", time(self.gained, 0)),
            ("waiting time", time(self.waited_for_me + self.waited_for_anyone, 0)),
            ("waiting time for me", time(self.waited_for_me, 0)),
            ("waiting time for anyone", time(self.waited_for_anyone, 0)),
            ("waiting time for good", time(self.waited_for_good, 0)),
            ("wasted timeout time", time(self.wasted, 0)),
        ];
        let mut text = uptime(open).into_bytes();
        // Writing to memory cannot fail.
        for (name, time) in times {
            let _ = writeln!(text, "{name}: {time}");
        }
        for (name, count) in self.counters() {
            let _ = writeln!(text, "{name}: {count}");
        }
        text.push(b'\n');
        text
    }
}

fn uptime(open: Duration) -> String {
    let (minutes, seconds) = (open.as_secs() / 60, open.as_secs() % 60);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    let (days, hours) = (hours / 24, hours % 24);
    format!("uptime: {days} days, {hours}h {minutes}m {seconds}s\n")
}

/// A sum of times, or its mean: `[[[D days ]Hh ]Mm ]S.ffffffs`. In single precision, as poolcounterd reckons.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "so it is told"
)]
fn time(sum: Duration, count: u64) -> String {
    let mut seconds = sum.as_secs() as f32 + sum.subsec_micros() as f32 * 1.0e-6_f32;
    if count > 0 {
        seconds /= count as f32;
    }
    if seconds < 60.0 {
        return format!("{seconds:.6}s");
    }
    let minutes = (seconds / 60.0) as u64;
    seconds %= 60.0;
    if minutes < 60 {
        return format!("{minutes}m {seconds:.6}s");
    }
    let (hours, minutes) = (minutes / 60, minutes % 60);
    if hours < 24 {
        return format!("{hours}h {minutes}m {seconds:.6}s");
    }
    format!("{} days {}h {minutes}m {seconds:.6}s", hours / 24, hours % 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(stats: &Stats, word: &str) -> String {
        String::from_utf8(stats.tell(word.as_bytes(), Duration::from_secs(93_784))).expect("text")
    }

    #[test]
    fn the_full_figures_stand_in_their_order() {
        let stats = Stats {
            processing: Duration::from_micros(62_040_000),
            processed_count: 2,
            waited_for_me: Duration::from_micros(1_500_000),
            waited_for_anyone: Duration::from_micros(250_000),
            total_acquired: 7,
            ..Stats::default()
        };
        let full = told(&stats, "full");
        let lines: Vec<&str> = full.lines().collect();
        assert_eq!(
            lines[..9],
            [
                "uptime: 1 days, 2h 3m 4s",
                "total processing time: 1m 2.040001s",
                "average processing time: 31.020000s",
                "gained time: 0.000000s",
                "waiting time: 1.750000s",
                "waiting time for me: 1.500000s",
                "waiting time for anyone: 0.250000s",
                "waiting time for good: 0.000000s",
                "wasted timeout time: 0.000000s",
            ]
        );
        assert_eq!((lines[9], lines[20]), ("total_acquired: 7", "processed_count: 2"));
        assert_eq!(lines.len(), 22, "an empty line is the end");
        assert!(full.ends_with(": 2\n\n"));
    }

    #[test]
    fn one_figure_is_one_line_and_its_word_may_be_written_anyhow() {
        let stats = Stats { waiting_workers: 3, ..Stats::default() };
        assert_eq!(told(&stats, "Waiting_Workers"), "waiting_workers: 3\n");
        assert_eq!(told(&stats, "uptime"), "uptime: 1 days, 2h 3m 4s\n");
        for wrong in ["", "foo", " FULL", "FULL ", "waiting time"] {
            assert_eq!(told(&stats, wrong), "ERROR WRONG_STAT\n");
        }
    }

    #[test]
    fn times_show_no_larger_unit_than_they_need() {
        let shown = |secs| time(Duration::from_secs(secs), 0);
        assert_eq!(shown(59), "59.000000s");
        assert_eq!(shown(60), "1m 0.000000s");
        assert_eq!(shown(3_661), "1h 1m 1.000000s");
        assert_eq!(shown(86_400), "1 days 0h 0m 0.000000s");
        assert_eq!(shown(200_000), "2 days 7h 33m 20.000000s");
        assert_eq!(time(Duration::from_secs(10), 4), "2.500000s");
    }
}
