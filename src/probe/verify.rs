//! Whether a service is well again: several good answers in a row, steady for a while, within a bound.

use crate::config::Verify;
use crate::config::steps::Running;
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

/// The unit of a service as somebody saw it who can ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitLook {
    /// Which incarnation of it is active.
    pub incarnation: String,
    /// For how long.
    pub active: Duration,
}

/// Asks until the answers are good so many times in a row, and have been for `steady`. A bad answer, or none, starts the row
/// anew: a dying process may still answer once. None counts before `is_renewed` has said that the old process runs no more; it is
/// asked until it has. With a unit, every answer counts only beside one of the unit, from `look`, that it is
/// active and the same incarnation as before, and at the end it must have been so for as long as is asked for. Without a probe and a
/// unit it only waits for `steady`.
///
/// # Errors
/// It was not well within the bound.
pub async fn verify(
    verify: Option<&Verify>,
    steady: Duration,
    client: &Client,
    is_renewed: impl AsyncFn() -> Result<(), String>,
    look: impl AsyncFn(&Running) -> Result<UnitLook, String>,
) -> Result<Verified, VerifyError> {
    let started = Instant::now();
    let Some(verify) = verify else {
        sleep(steady).await;
        return Ok(Verified { waited: started.elapsed(), figures: String::new() });
    };
    let deadline = started + verify.within;
    let mut row = Row::default();
    let mut is_new = false;
    let mut last = "nobody answered".to_owned();
    if let Some((probe, _)) = &verify.probe {
        last = format!("{} did not answer", probe.question);
    }
    loop {
        let asking = async {
            if !is_new {
                is_renewed().await?;
                is_new = true;
            }
            ask(verify, client, &look).await
        };
        let Ok(asked) = timeout_at(deadline, asking).await else {
            return Err(VerifyError { within: verify.within, last });
        };
        let now = Instant::now();
        let mut pause = verify.every;
        match asked {
            Ok(Good { figures, unit }) => {
                let active = unit.as_ref().map(|unit| unit.active);
                row.good(now, unit.map(|unit| unit.incarnation));
                let wanted = verify.unit.as_ref().map_or(Duration::ZERO, |running| running.active);
                let missing = wanted.saturating_sub(active.unwrap_or(wanted));
                if missing.is_zero() && row.is_enough(verify.times, steady, now) {
                    return Ok(Verified { waited: now - started, figures });
                }
                if !missing.is_zero() && row.length >= verify.times {
                    pause = pause.min(missing);
                }
                last = format!("good {} times of {}, steady for too short a time", row.length, verify.times);
            }
            Err(bad) => {
                row = Row::default();
                last = bad;
            }
        }
        if now + pause >= deadline {
            return Err(VerifyError { within: verify.within, last });
        }
        sleep(pause).await;
    }
}

/// A good answer, of whatever was asked.
struct Good {
    figures: String,
    unit: Option<UnitLook>,
}

/// Asks the unit and the probe, one after the other: what a probe says of a unit that is not there is of no interest.
async fn ask(
    verify: &Verify,
    client: &Client,
    look: &impl AsyncFn(&Running) -> Result<UnitLook, String>,
) -> Result<Good, String> {
    let mut all = Vec::new();
    let unit = match &verify.unit {
        Some(running) => {
            let unit = look(running).await?;
            all.push(format!("{} active for {}", running.unit, span(unit.active)));
            Some(unit)
        }
        None => None,
    };
    if let Some((probe, expect)) = &verify.probe {
        let answer = probe.ask(client).await.map_err(|error| error.to_string())?;
        match expect.holds(&answer) {
            Ok(true) => all.push(answer.figures()),
            Ok(false) => return Err(format!("`{expect}` does not hold: {}", answer.figures())),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(Good { figures: all.join("; "), unit })
}

fn span(duration: Duration) -> String {
    // People are told whole tenths.
    model::settings::span(model::time::millis(duration) / 100 * 100)
}

/// Good answers one after the other.
#[derive(Default)]
struct Row {
    length: u32,
    since: Option<Instant>,
    /// Of which incarnation they are, when that is known.
    of: Option<String>,
}

impl Row {
    fn good(&mut self, now: Instant, of: Option<String>) {
        if self.length > 0 && self.of != of {
            *self = Row::default();
        }
        self.of = of;
        self.length = self.length.saturating_add(1);
        self.since.get_or_insert(now);
    }

    fn is_enough(&self, times: u32, steady: Duration, now: Instant) -> bool {
        self.length >= times && self.since.is_some_and(|since| now - since >= steady)
    }
}
