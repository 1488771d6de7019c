//! Waits out what is in flight: at least so long, at most so long, and in between until a predicate holds.

use crate::config::Drain;
use crate::probe::ask::Client;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// How far apart the questions are.
pub const ASK_EVERY: Duration = Duration::from_millis(250);

/// How a drain went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drained {
    /// How long it took.
    pub waited: Duration,
    /// What was last seen in flight, or why nothing was; empty when nobody asked.
    pub in_flight: String,
    /// Whether the most was reached before the traffic was gone; it goes on anyway.
    pub timed_out: bool,
}

/// Waits for the traffic to be gone. It never fails: a probe that cannot be read is asked again until the most is reached.
/// Called after the balancers confirmed that the host is out.
pub async fn drain(drain: &Drain, client: &Client) -> Drained {
    let started = Instant::now();
    let deadline = started + drain.max;
    sleep(drain.min).await;
    let mut in_flight = String::new();
    let Some((probe, until)) = &drain.until else {
        return Drained { waited: started.elapsed(), in_flight, timed_out: false };
    };
    loop {
        let Ok(asked) = timeout_at(deadline, probe.ask(client)).await else {
            if in_flight.is_empty() {
                in_flight = format!("{} did not answer", probe.question);
            }
            return Drained { waited: started.elapsed(), in_flight, timed_out: true };
        };
        let gone = match &asked {
            Ok(observation) => {
                in_flight = observation.figures();
                until.holds(observation).unwrap_or_else(|error| {
                    in_flight = error.to_string();
                    false
                })
            }
            Err(error) => {
                in_flight = error.to_string();
                false
            }
        };
        let now = Instant::now();
        if gone || now >= deadline {
            return Drained { waited: now - started, in_flight, timed_out: !gone };
        }
        sleep(ASK_EVERY.min(deadline - now)).await;
    }
}
