//! One unit, from the question to the end of its job.
//!
//! Owns the order: listen for ends, begin, wait, look. What is asked of systemd is never taken back. Called by [`super`].

use super::bus::{Bus, Says, monotonic_us};
use super::fault::{Cause, UnitFault};
use super::{incarnation, words};
use crate::config::restart::{Action, UnitName, Units};
use crate::probe::ask::Client;
use crate::unit::UnitRestarted;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// How far apart the looks are after systemd itself was started anew in the middle.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// One line of what systemd tells of a unit's commands: program, words, whether its failure matters; when it started and ended, each
/// by two clocks; process, how it ended, with what.
type Command = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);

/// Restarts a unit, and returns when its job is over and it runs anew, or ran, if that is its way. Dropped, the job goes on.
///
/// # Errors
/// The unit is not up, or not in time; or systemd does not take the job.
pub(super) async fn run(
    units: &Units,
    unit: &UnitName,
    timeout: Duration,
    client: &Client,
) -> Result<UnitRestarted, Box<UnitFault>> {
    let deadline = Instant::now() + timeout;
    let bus = Bus::connect(units.manager, client).await.map_err(|away| UnitFault::away(unit, &away))?;
    let refused = |refusal| UnitFault::refused(bus.manager, unit, units.action, refusal);
    let before = bus.says(unit).await.map_err(refused)?;
    if let Some(cause) = unusable(&bus, unit, &before).await {
        return Err(UnitFault::plain(unit, cause));
    }
    let kind: Option<String> = bus.of_service(unit, "Type").await;
    let is_oneshot = kind.as_deref() == Some("oneshot");
    if is_oneshot {
        // Once it has ended, systemd may forget it, and with it that it ran. Where this is refused, the end is looked at all the same.
        let _held = bus.hold(unit).await;
    }
    let mut ends = bus.ends().await.map_err(refused)?;
    let began_us = monotonic_us();
    let job = match bus.begin(unit, units.action).await {
        Ok(job) => job,
        Err(refusal) => return Err(refused(refusal)),
    };
    let attempt = Attempt { units, unit, is_oneshot, before, began_us, client };
    match timeout_at(deadline, ends.of(&job)).await {
        Err(_elapsed) => Err(attempt.hung(timeout).await),
        Ok(Some(result)) => {
            let over_us = monotonic_us();
            attempt.over(&bus, &result, over_us).await
        }
        Ok(None) => match timeout_at(deadline, attempt.without_its_end()).await {
            Ok(end) => end,
            Err(_elapsed) => Err(attempt.hung(timeout).await),
        },
    }
}

/// Why systemd would not take a job of this unit, so far as its file tells.
pub(super) async fn unusable(bus: &Bus, unit: &UnitName, says: &Says) -> Option<Cause> {
    match says.load.as_str() {
        "not-found" => {
            let known = bus.known().await;
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let near = crate::config::nearest::nearest(unit.as_str(), &known).map(str::to_owned);
            Some(Cause::NoSuchUnit { near, manager: bus.manager })
        }
        "masked" => Some(Cause::Masked),
        "bad-setting" | "error" => Some(Cause::Unreadable(says.load_error.clone())),
        _ => None,
    }
}

/// A job that was begun.
struct Attempt<'a> {
    units: &'a Units,
    unit: &'a UnitName,
    /// It is meant to end.
    is_oneshot: bool,
    /// What was said of the unit before.
    before: Says,
    began_us: u64,
    client: &'a Client,
}

impl Attempt<'_> {
    /// The job is over, so.
    async fn over(&self, bus: &Bus, result: &str, over_us: u64) -> Result<UnitRestarted, Box<UnitFault>> {
        let refused = |refusal| UnitFault::refused(bus.manager, self.unit, self.units.action, refusal);
        let says = bus.says(self.unit).await.map_err(refused)?;
        match self.amiss(result, &says) {
            None => Ok(self.restarted(&says, over_us)),
            Some(cause) => Err(self.failed(bus, &says, cause).await),
        }
    }

    /// What is wrong with how the job ended. That it is done says only that nothing is left to do: systemd calls a start so, too, whose
    /// conditions do not hold.
    fn amiss(&self, result: &str, says: &Says) -> Option<Cause> {
        let is_new = says.invocation.is_some() && says.invocation != self.before.invocation;
        let may_be_old = self.units.action == Action::ReloadOrRestart && self.before.is_active();
        let is_over = says.active == "inactive";
        match result {
            "done" if says.is_active() && (is_new || may_be_old) => None,
            "done" if says.is_active() => Some(Cause::SameStart),
            "done" if is_over && self.is_oneshot && is_new => None,
            "done" if is_over && !says.condition && says.condition_us >= self.began_us => Some(Cause::Condition),
            "done" if is_over && self.is_oneshot && says.invocation.is_none() => Some(Cause::Forgotten),
            "done" => Some(Cause::NotActive(says.state())),
            other => Some(Cause::Job(other.to_owned())),
        }
    }

    /// From the start of the job until it was active, or had ended; one that was only reloaded has been active for longer.
    fn restarted(&self, says: &Says, over_us: u64) -> UnitRestarted {
        let active_us = if says.active_since_us > self.began_us { says.active_since_us } else { over_us };
        let ms = active_us.saturating_sub(self.began_us) / 1000;
        UnitRestarted { unit: self.unit.to_string(), ms, has_ended: !says.is_active() }
    }

    /// Our time is over. The job goes on: to take it back would leave the unit wherever it is.
    async fn hung(&self, timeout: Duration) -> Box<UnitFault> {
        let state = match Bus::connect(self.units.manager, self.client).await {
            Ok(bus) => bus.says(self.unit).await.ok(),
            Err(_away) => None,
        };
        let cause = Cause::Hung { after: timeout, state: state.as_ref().map(Says::state) };
        let words = match state.and_then(|says| says.invocation) {
            Some(id) => Some(words::last(&id, self.client).await),
            None => None,
        };
        Box::new(UnitFault { unit: self.unit.to_string(), cause, exit: None, words })
    }

    /// Systemd itself was started anew in the middle, and tells no end: what becomes of the unit tells it.
    async fn without_its_end(&self) -> Result<UnitRestarted, Box<UnitFault>> {
        loop {
            if let Ok(bus) = Bus::connect(self.units.manager, self.client).await
                && let Ok(says) = bus.says(self.unit).await
                && says.job.is_none()
                && (says.is_active() || says.is_down())
            {
                let action = self.units.action;
                let is_another = incarnation::of(&says, action) != incarnation::of(&self.before, action);
                return match says.is_active() && is_another {
                    true => Ok(self.restarted(&says, monotonic_us())),
                    false => Err(self.failed(&bus, &says, Cause::Broken(says.state())).await),
                };
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// With what the unit itself says of it.
    async fn failed(&self, bus: &Bus, says: &Says, cause: Cause) -> Box<UnitFault> {
        let result: Option<String> = bus.of_service(self.unit, "Result").await;
        let exit = self.exit(bus).await;
        let is_new = says.invocation != self.before.invocation;
        let words = match says.invocation.as_deref().filter(|_| is_new) {
            Some(id) => Some(words::last(id, self.client).await),
            None => None,
        };
        let cause = match (cause, result.filter(|result| result != "success")) {
            (Cause::Job(job), Some(result)) if job == "failed" => Cause::Failed(result),
            (Cause::NotActive(_), Some(result)) => Cause::Failed(result),
            (cause, _) => cause,
        };
        Box::new(UnitFault { unit: self.unit.to_string(), cause, exit, words })
    }

    /// How the command of this job ended that did not end well: one before or after the main one, or that one itself.
    async fn exit(&self, bus: &Bus) -> Option<i32> {
        for name in ["ExecStartPre", "ExecStartPost", "ExecReload"] {
            let Some(commands) = bus.of_service::<Vec<Command>>(self.unit, name).await else { continue };
            let ours = commands.into_iter().filter(|command| command.4 >= self.began_us);
            if let Some(code) = ours.filter_map(|command| code(command.8, command.9)).next_back() {
                return Some(code);
            }
        }
        let number = async |name: &str| bus.of_service::<i32>(self.unit, name).await;
        let started: Option<u64> = bus.of_service(self.unit, "ExecMainStartTimestampMonotonic").await;
        let is_ours = started.is_some_and(|started| started >= self.began_us);
        let (how, with) = (number("ExecMainCode").await?, number("ExecMainStatus").await?);
        code(how, with).filter(|_| is_ours)
    }
}

/// The exit code of a process that did not end well, 128 and more for a signal. Numbers of `waitid`: 1 it exited, 2 and 3 a
/// signal ended it.
fn code(how: i32, with: i32) -> Option<i32> {
    match how {
        1 => Some(with).filter(|status| *status != 0),
        2 | 3 => Some(128 + with),
        _ => None,
    }
}
