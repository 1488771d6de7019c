//! Whether a service is well again: several good answers in a row, steady for a while, within a bound.

use crate::config::Verify;
use crate::probe::ask::Client;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// A service that is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How long it took.
    pub waited: Duration,
    /// The last answer, for people; empty when nobody asked.
    pub figures: String,
}

/// A service did not become well in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not well within {}: {last}", model::settings::span(model::time::millis(*within)))]
pub struct VerifyError {
    /// How long it was given.
    pub within: Duration,
    /// What was wrong last.
    pub last: String,
}

/// Asks until the answers are good so many times in a row, and have been for `steady`. A bad answer, or none, starts the row
/// anew: a dying process may still answer once. None counts before `is_renewed` has said that the old process runs no more; it is
/// asked until it has. Without a probe it only waits for `steady`.
///
/// # Errors
/// It was not well within the bound.
pub async fn verify(
    verify: Option<&Verify>,
    steady: Duration,
    client: &Client,
    is_renewed: impl AsyncFn() -> Result<(), String>,
) -> Result<Verified, VerifyError> {
    let started = Instant::now();
    let Some(verify) = verify else {
        sleep(steady).await;
        return Ok(Verified { waited: started.elapsed(), figures: String::new() });
    };
    let deadline = started + verify.within;
    let mut row = Row::default();
    let mut is_new = false;
    let mut last = format!("{} did not answer", verify.probe.question);
    loop {
        let asked = async {
            if !is_new {
                is_renewed().await?;
                is_new = true;
            }
            judge(verify, client).await
        };
        let Ok(judged) = timeout_at(deadline, asked).await else {
            return Err(VerifyError { within: verify.within, last });
        };
        let now = Instant::now();
        match judged {
            Ok(figures) => {
                row.good(now);
                if row.is_enough(verify.times, steady, now) {
                    return Ok(Verified { waited: now - started, figures });
                }
                last = format!("good {} times of {}, steady for too short a time", row.length, verify.times);
            }
            Err(bad) => {
                row = Row::default();
                last = bad;
            }
        }
        if now + verify.every >= deadline {
            return Err(VerifyError { within: verify.within, last });
        }
        sleep(verify.every).await;
    }
}

/// Asks once: what a good answer held, or what is wrong.
async fn judge(verify: &Verify, client: &Client) -> Result<String, String> {
    let answer = verify.probe.ask(client).await.map_err(|error| error.to_string())?;
    match verify.expect.holds(&answer) {
        Ok(true) => Ok(answer.figures()),
        Ok(false) => Err(format!("`{}` does not hold: {}", verify.expect, answer.figures())),
        Err(error) => Err(error.to_string()),
    }
}

/// Good answers one after the other.
#[derive(Default)]
struct Row {
    length: u32,
    since: Option<Instant>,
}

impl Row {
    fn good(&mut self, now: Instant) {
        self.length = self.length.saturating_add(1);
        self.since.get_or_insert(now);
    }

    fn is_enough(&self, times: u32, steady: Duration, now: Instant) -> bool {
        self.length >= times && self.since.is_some_and(|since| now - since >= steady)
    }
}
