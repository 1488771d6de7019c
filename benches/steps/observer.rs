//! Watches a lease from outside: the lock server's events, and the moment in which each comes.

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long the next event may take.
const WITHIN: Duration = Duration::from_secs(30);
/// What is between two events, in their order.
pub(crate) const SPANS: [&str; 6] = [
    "granted → drains: claim, look, depool",
    "→ last word: drain, look",
    "→ restarts: journal, the very last look",
    "→ restarted: the unit, and asking for it",
    "→ rejoins: verify",
    "→ settled: repool, journal, settle",
];

/// Listens, from its beginning.
pub(crate) struct Observer {
    events: Receiver<(Instant, Value)>,
}

/// One lease.
pub(crate) struct Seen {
    /// When it was granted, and when each of [`SPANS`] ended.
    moments: Vec<Instant>,
}

impl Seen {
    pub(crate) fn spans(&self) -> Vec<f64> {
        self.moments.windows(2).map(|pair| ms(pair[1] - pair[0])).collect()
    }

    pub(crate) fn total(&self) -> f64 {
        self.moments.first().zip(self.moments.last()).map_or(0.0, |(first, last)| ms(*last - *first))
    }
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

impl Observer {
    pub(crate) fn of(url: &str) -> Observer {
        let address = url.trim_start_matches("http://").to_owned();
        let mut stream = TcpStream::connect(&address).expect("a lock server");
        write!(stream, "GET /v1/events HTTP/1.1\r\nhost: {address}\r\n\r\n").expect("asked");
        let (tell, events) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let now = Instant::now();
                let Some(data) = line.strip_prefix("data: ").and_then(|data| serde_json::from_str(data).ok()) else {
                    continue;
                };
                if tell.send((now, data)).is_err() {
                    return;
                }
            }
        });
        Observer { events }
    }

    /// The next lease, from its grant to its end; nothing when a step was told too late to be seen.
    pub(crate) fn watch(&self) -> Option<Seen> {
        let mut all: Vec<(Instant, Value)> = Vec::new();
        while all.last().is_none_or(|(_, change)| !change["lease_ended"].is_string()) {
            let next = self.events.recv_timeout(WITHIN);
            all.push(next.unwrap_or_else(|_| panic!("the host does not go on behind {:?}", all.last())));
        }
        let is_at = |change: &Value, step: &str| change["lease_renewed"]["step"] == step;
        let wanted: [&dyn Fn(&Value) -> bool; 7] = [
            &|change| change["lease_granted"].is_object(),
            &|change| is_at(change, "drain"),
            &|change| change["lease_begun"].is_object(),
            &|change| is_at(change, "restart"),
            &|change| is_at(change, "verify"),
            &|change| is_at(change, "repool"),
            &|change| change["lease_ended"].is_string(),
        ];
        let find = |is_wanted: &dyn Fn(&Value) -> bool| all.iter().find(|(_, change)| is_wanted(change));
        let moments = wanted.into_iter().map(|is_wanted| find(is_wanted).map(|(at, _)| *at)).collect::<Option<_>>()?;
        Some(Seen { moments })
    }
}
