//! Waits out what is in flight: at least so long, at most so long, and in between until a predicate holds.

use crate::config::Drain;
use crate::config::Predicate;
use crate::probe::ask::{Client, ProbeError};
use crate::probe::in_flight::in_flight;
use crate::probe::observation::Observation;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// How far apart the questions are.
pub const ASK_EVERY: Duration = Duration::from_millis(250);
/// How far apart they are before the least time is over, when nothing hangs on them.
pub const TELL_EVERY: Duration = Duration::from_secs(1);
/// So much before the least time is over the first answer is asked for that counts: it is there when the time is. What is out
/// gets nothing new, so that what is gone then is gone.
pub const LEAD: Duration = Duration::from_millis(20);

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

/// Waits for the traffic to be gone, and tells what is in flight whenever that was asked. It never fails: a probe that cannot
/// be read is asked again until the most is reached. Called after the balancers confirmed that the host is out.
pub async fn drain(drain: &Drain, client: &Client, tell: impl FnMut(&str)) -> Drained {
    match &drain.until {
        Some((probe, until)) => {
            let ask = async || seen(&probe.ask(client).await, until);
            wait(drain, &probe.question.to_string(), ask, tell).await
        }
        None => {
            let started = Instant::now();
            sleep(drain.min).await;
            Drained { waited: started.elapsed(), in_flight: String::new(), timed_out: false }
        }
    }
}

/// The same by a count of somebody else's: `ask` returns what is in flight in a few words, and whether it is little enough, which
/// unknown is not. `who` is asked.
pub async fn wait(
    drain: &Drain,
    who: &str,
    mut ask: impl AsyncFnMut() -> (String, bool),
    mut tell: impl FnMut(&str),
) -> Drained {
    let started = Instant::now();
    let (least, most) = (started + drain.min, started + drain.max);
    let first = started + drain.min.saturating_sub(LEAD);
    // For people alone: before the least time nothing is decided.
    while first.saturating_duration_since(Instant::now()) > ASK_EVERY {
        let Ok((in_flight, _)) = timeout_at(first, ask()).await else { break };
        tell(&in_flight);
        sleep(TELL_EVERY.min(first.saturating_duration_since(Instant::now()))).await;
    }
    sleep_until(first).await;
    let mut in_flight = String::new();
    loop {
        let Ok(asked) = timeout_at(most, ask()).await else {
            if in_flight.is_empty() {
                in_flight = format!("{who} did not answer");
            }
            return Drained { waited: started.elapsed(), in_flight, timed_out: true };
        };
        let is_gone;
        (in_flight, is_gone) = asked;
        tell(&in_flight);
        let now = Instant::now();
        if is_gone || now >= most {
            sleep_until(least).await;
            return Drained { waited: started.elapsed(), in_flight, timed_out: !is_gone };
        }
        sleep(ASK_EVERY.min(most - now)).await;
    }
}

/// What is in flight, or why nobody can tell; and whether it is little enough.
fn seen(asked: &Result<Observation, ProbeError>, until: &Predicate) -> (String, bool) {
    match asked {
        Ok(observation) => match until.holds(observation) {
            Ok(is_gone) => (in_flight(observation, until), is_gone),
            Err(error) => (error.to_string(), false),
        },
        Err(error) => (error.to_string(), false),
    }
}
