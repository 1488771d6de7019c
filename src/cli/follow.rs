//! Follows a rollout to its end: a live view on a terminal, lines for everybody else, then the report.
//!
//! Owns when what is read and told. Stops nothing: Ctrl-C only detaches. A lock server that is away for a while is waited
//! for. Called by `announce --follow` and `rollouts --follow`.

use super::client::Client;
use super::context::Context;
use super::failure::Failure;
use super::screen::Screen;
use super::{exit, out, render};
use coordinator::Error;
use jiff::Timestamp;
use model::Wall;
use model::names::{Host, RolloutName, Scope};
use model::read::RolloutRow;
use model::rollout::{Progress, RolloutState};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

/// How often the rollout is read: one small answer, however many hosts it is for.
const READ_EVERY: Duration = Duration::from_millis(500);
/// How often the live view is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// How often a line is told without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);
/// How long the lock server may be away.
pub(crate) const AWAY_MAX: Duration = Duration::from_secs(600);

/// Follows a rollout to its end and reports it.
///
/// # Errors
/// There is no such rollout; or the coordinator cannot be reached at first, or for too long.
pub(crate) async fn follow(client: &Client, name: &RolloutName, context: &Context) -> Result<u8, Failure> {
    let failed = |error| Failure::system("listen for signals", error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut watch = Watch::new(client, name);
    let signalled = tokio::select! {
        ended = watch.until_it_ends() => {
            ended?;
            watch.close();
            return report(client, name, context).await;
        }
        _ = interrupt.recv() => exit::INTERRUPTED,
        _ = terminate.recv() => exit::TERMINATED,
    };
    watch.close();
    out::note(&format!(
        "detached: {name} goes on\nhint: watch it again: stagger rollouts {name} --follow; stop it: stagger abort {name} --reason …"
    ));
    Ok(signalled)
}

/// The end of it, from every host's report.
async fn report(client: &Client, name: &RolloutName, context: &Context) -> Result<u8, Failure> {
    let detail = client.rollout(name).await?;
    let leases = client.leases(Some(Scope::Service(name.service.clone()))).await?;
    match context.globals.json {
        true => out::json(&detail)?,
        false => out::result(&render::summary::summary(&detail, &leases.leases))?,
    }
    Ok(if detail.row.exit_code == 0 { exit::OK } else { exit::ROLLOUT_NOT_CLEAN })
}

/// One who watches a rollout.
struct Watch<'c> {
    client: &'c Client,
    name: RolloutName,
    screen: Option<Screen>,
    frames: Interval,
    frame: usize,
    /// What was read last, and when.
    seen: Option<(RolloutRow, Instant)>,
    /// The failed hosts that were told of.
    told: BTreeSet<Host>,
    /// Since when the coordinator is away.
    away: Option<Instant>,
    last_line: Instant,
}

impl<'c> Watch<'c> {
    fn new(client: &'c Client, name: &RolloutName) -> Watch<'c> {
        let mut frames = interval(DRAW_EVERY);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Watch {
            client,
            name: name.clone(),
            screen: Screen::open(),
            frames,
            frame: 0,
            seen: None,
            told: BTreeSet::new(),
            away: None,
            last_line: Instant::now(),
        }
    }

    /// Reads and tells until it has ended.
    async fn until_it_ends(&mut self) -> Result<(), Failure> {
        loop {
            let next = Instant::now() + READ_EVERY;
            if let Some(row) = self.read().await? {
                self.tell(row).await?;
            }
            if self.seen.as_ref().is_some_and(|(row, _)| has_ended(row)) {
                return Ok(());
            }
            self.draw_until(tokio::time::sleep_until(next)).await;
        }
    }

    /// Reads the rollout; nothing while the coordinator is away.
    async fn read(&mut self) -> Result<Option<RolloutRow>, Failure> {
        let client = self.client;
        let scope = Some(Scope::Rollout(self.name.clone()));
        match self.draw_until(client.rollouts(scope)).await {
            Ok(rows) => {
                if self.away.take().is_some() {
                    self.say(vec!["the lock server is back".to_owned()]);
                }
                let found = rows.into_iter().find(|row| row.name == self.name);
                found.map(Some).ok_or_else(|| Failure::Refused {
                    why: format!("there is no {}", self.name),
                    hint: "stagger rollouts".to_owned(),
                })
            }
            Err(failure) => self.missed(failure).map(|()| None),
        }
    }

    /// A read that got no answer: said once, and borne for a while, when the rollout was seen before.
    fn missed(&mut self, failure: Failure) -> Result<(), Failure> {
        let passes = matches!(&failure, Failure::Coordinator { source, .. } if source.retryable() || matches!(source, Error::Corrupt(_)));
        let now = Instant::now();
        if !passes || self.seen.is_none() || self.away.is_some_and(|since| now - since > AWAY_MAX) {
            return Err(failure);
        }
        if self.away.is_none() {
            self.away = Some(now);
            let name = &self.name;
            let silence = match &failure {
                Failure::Coordinator { url, source, .. } => {
                    format!("no answer from {url}, which is asked again: {source}")
                }
                other => other.to_string(),
            };
            self.say(vec![format!("{}; {name} may go on meanwhile", render::text::clean(&silence))]);
        }
        Ok(())
    }

    /// Tells what is new in a row.
    async fn tell(&mut self, row: RolloutRow) -> Result<(), Failure> {
        let before = self.seen.replace((row.clone(), Instant::now()));
        if before.is_none() {
            self.say(vec![match self.screen {
                Some(_) => render::follow::headline(&row),
                None => render::follow::opening_line(&row, now()),
            }]);
        }
        if row.tally.failed > 0 && before.is_none_or(|(before, _)| before.tally.failed != row.tally.failed) {
            self.tell_failures().await;
        }
        let is_last = has_ended(&row);
        if self.screen.is_none() && (is_last || self.last_line.elapsed() >= LINE_EVERY) {
            self.last_line = Instant::now();
            self.say(vec![render::follow::progress_line(&row, now())]);
        }
        Ok(())
    }

    /// Tells of failed hosts that were not told of. When they cannot be read now, the next read tries again.
    async fn tell_failures(&mut self) {
        let client = self.client;
        let name = self.name.clone();
        let Ok(detail) = self.draw_until(client.rollout(&name)).await else {
            if let Some((row, _)) = &mut self.seen {
                row.tally.failed = 0;
            }
            return;
        };
        let new = detail
            .targets
            .iter()
            .filter(|target| target.progress == Progress::Failed && !self.told.contains(&target.host));
        let new: Vec<_> = new.cloned().collect();
        for target in new {
            let lines = match self.screen {
                Some(_) => render::follow::failure(&target),
                None => render::follow::failure_line(&target, now()),
            };
            self.say(lines);
            self.told.insert(target.host);
        }
    }

    /// Lines that stay.
    fn say(&mut self, lines: Vec<String>) {
        let live = self.live();
        match &mut self.screen {
            Some(screen) => screen.draw(&lines, &live),
            None => out::note(&lines.join("\n")),
        }
    }

    /// The live view of this moment: what was read last, grown older.
    fn live(&self) -> Vec<String> {
        let Some((row, read)) = &self.seen else { return Vec::new() };
        render::follow::live(row, model::time::millis(read.elapsed()), self.frame, out::width(&std::io::stderr()))
    }

    /// Draws while something else goes on.
    async fn draw_until<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = std::pin::pin!(other);
        loop {
            tokio::select! {
                biased;
                done = &mut other => return done,
                _ = self.frames.tick(), if self.screen.is_some() && self.seen.is_some() => {
                    self.frame = self.frame.wrapping_add(1);
                    self.say(Vec::new());
                }
            }
        }
    }

    /// Takes the live view away.
    fn close(&mut self) {
        if let Some(screen) = &mut self.screen {
            screen.draw(&[], &[]);
        }
    }
}

/// Whether there is nothing more to see: it is done; or it was stopped, and what was in flight has come to its end.
fn has_ended(row: &RolloutRow) -> bool {
    match row.state {
        RolloutState::Announced | RolloutState::Rolling => false,
        RolloutState::Done => true,
        RolloutState::Halted | RolloutState::Aborted | RolloutState::Expired | RolloutState::Superseded => {
            row.in_flight.is_empty()
        }
    }
}

fn now() -> Wall {
    Wall(u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::read::FlightRow;
    use model::rollout::Tally;

    #[test]
    fn a_stopped_rollout_is_followed_until_what_is_in_flight_has_ended() {
        let mut row = render::samples::rollout(RolloutState::Rolling, Tally::default());
        assert!(!has_ended(&row));
        for state in [RolloutState::Halted, RolloutState::Aborted, RolloutState::Expired, RolloutState::Superseded] {
            row.state = state;
            row.in_flight =
                vec![FlightRow { host: "mw1".parse().expect("a host"), step: None, note: String::new(), ms: 0 }];
            assert!(!has_ended(&row), "{state}");
            row.in_flight.clear();
            assert!(has_ended(&row), "{state}");
        }
        row.state = RolloutState::Done;
        assert!(has_ended(&row));
    }
}
