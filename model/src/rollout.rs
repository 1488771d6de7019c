//! Rollouts: one announced deploy, its targets, and how far it got.
//!
//! Owns the records and the state, which is a pure function of record, reports and time: nobody advances it.

use crate::bound::{beginning, end};
use crate::lease::TEXT_BYTES_MAX;
use crate::names::{Host, Id, NAME_BYTES_MAX, Pool, RolloutName, Scope, Service};
use crate::sequence::Step;
use crate::time::{Now, Time, Wall};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// Longest output that a report carries, in bytes of JSON.
pub const OUTPUT_BYTES_MAX: usize = 8 * 1024;
/// Most steps, and most balancers, that a report lists.
pub const TIMINGS_MAX: usize = 32;

/// One announced deploy: the desired state that workers converge to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Service and generation.
    pub name: RolloutName,
    /// The announcer's own id; the same announcement again is the same rollout.
    pub id: Id,
    /// What is deployed, for people.
    pub message: String,
    /// Who announced it.
    pub by: String,
    /// When.
    pub announced: Now,
    /// The part of the fleet that it is for; everything when empty.
    pub only: Vec<Scope>,
    /// Whether hosts restart whatever their check says.
    pub always: bool,
    /// How many failed hosts halt it.
    pub max_failures: u32,
    /// How many of the failed are forgiven: those that a person saw when resuming it.
    pub forgiven: u32,
    /// Whether hosts in flight count as failed when another wants to begin.
    pub strict: bool,
    /// When it is no longer owed.
    pub expires: Time,
    /// That moment has come. Recorded, so that no crash of the coordinator brings it back to life.
    #[serde(default)]
    pub expired: bool,
    /// Somebody ended it before it was done.
    pub ended: Option<Ended>,
    /// Failures, or a person, stopped it; `resume` lets it go on.
    pub halted: Option<Halted>,
    /// Its targets, counted as their reports come.
    pub tally: Tally,
}

/// Who ended a rollout, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// A newer generation took its place; otherwise it was aborted.
    pub superseded: bool,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When, for people.
    pub at: Wall,
}

/// What halted a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halted {
    /// Why, for people: the count and the bound that it reached.
    pub cause: String,
    /// The host whose failure did it.
    pub host: Option<Host>,
    /// When, for people.
    pub at: Wall,
}

/// How many targets stand where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Not begun yet.
    pub owes: u32,
    /// Begun, and no report yet.
    pub begun: u32,
    /// Restarted and well.
    pub ok: u32,
    /// Well without a restart: the check asked for none.
    pub skipped: u32,
    /// Failed.
    pub failed: u32,
}

impl Tally {
    /// All of them.
    pub fn total(&self) -> u32 {
        self.owes + self.begun + self.ok + self.skipped + self.failed
    }

    /// The count of one progress.
    pub fn of(&mut self, progress: Progress) -> &mut u32 {
        match progress {
            Progress::Owes => &mut self.owes,
            Progress::Begun => &mut self.begun,
            Progress::Ok => &mut self.ok,
            Progress::Skipped => &mut self.skipped,
            Progress::Failed => &mut self.failed,
        }
    }
}

/// How far one target of a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It has not begun its restart.
    Owes,
    /// Its restart act was allowed to begin.
    Begun,
    /// It restarted and is well.
    Ok,
    /// It is well, and its check asked for no restart.
    Skipped,
    /// It failed.
    Failed,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Progress::Owes => "owes",
            Progress::Begun => "begun",
            Progress::Ok => "ok",
            Progress::Skipped => "skipped",
            Progress::Failed => "failed",
        })
    }
}

/// One host of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Which rollout.
    pub rollout: RolloutName,
    /// Which host.
    pub host: Host,
    /// How far it is.
    pub progress: Progress,
    /// What it reported last.
    pub report: Option<Report>,
}

/// How a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Restarted, well, and back in its balancers.
    Restarted,
    /// The check asked for no restart.
    Skipped,
    /// A step failed.
    Failed,
    /// It gave way before it began; nothing was restarted.
    Cancelled,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Outcome::Restarted => "restarted",
            Outcome::Skipped => "skipped",
            Outcome::Failed => "failed",
            Outcome::Cancelled => "cancelled",
        })
    }
}

/// How long one step took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Which step.
    pub step: Step,
    /// How long, in milliseconds.
    pub ms: u64,
    /// Whether it did what it should.
    pub ok: bool,
    /// What there is to say about it.
    pub note: String,
}

/// What a host tells when its sequence has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// The step that failed.
    pub step: Option<Step>,
    /// Why, for people: one line.
    pub cause: String,
    /// What the failing unit printed.
    pub output: String,
    /// Whether a person is needed.
    pub stuck: bool,
    /// The balancers that it is out of.
    pub out_of: Vec<String>,
    /// Each step and how long it took.
    pub timings: Vec<Timing>,
    /// When, for people; the coordinator writes it.
    pub at: Wall,
}

impl Report {
    /// A report of this outcome with nothing else to say.
    pub fn plain(outcome: Outcome) -> Report {
        Report {
            outcome,
            step: None,
            cause: String::new(),
            output: String::new(),
            stuck: false,
            out_of: Vec::new(),
            timings: Vec::new(),
            at: Wall(0),
        }
    }

    /// The same with every text and list cut to its bound, in bytes of JSON, so that a request with it always fits. The end of
    /// an output is kept: that is where a program says what it died of.
    #[must_use]
    pub fn bounded(mut self) -> Report {
        self.cause = beginning(&self.cause, TEXT_BYTES_MAX);
        self.output = end(&self.output, OUTPUT_BYTES_MAX);
        self.out_of.truncate(TIMINGS_MAX);
        for balancer in &mut self.out_of {
            *balancer = beginning(balancer, NAME_BYTES_MAX);
        }
        self.timings.truncate(TIMINGS_MAX);
        for timing in &mut self.timings {
            timing.note = beginning(&timing.note, TEXT_BYTES_MAX);
        }
        self
    }

    /// What is left of it when it was refused as it is: how it ended, and why no more is told.
    #[must_use]
    pub fn without_details(&self, refused: &str) -> Report {
        let (refused, cause) = (beginning(refused, TEXT_BYTES_MAX / 4), beginning(&self.cause, TEXT_BYTES_MAX / 4));
        let cause = format!("{cause} (the whole report was refused: {refused})").trim_start().to_owned();
        Report { step: self.step, stuck: self.stuck, cause, at: self.at, ..Report::plain(self.outcome) }
    }
}

/// Whether a host lies in one of these parts of the fleet, for a service that it restarts under these pools; every host does
/// when no part is named.
pub fn is_among(only: &[Scope], host: &Host, service: &Service, pools: &BTreeSet<Pool>) -> bool {
    only.is_empty()
        || only.iter().any(|scope| match scope {
            Scope::All => true,
            Scope::Pool(pool) => pools.contains(pool),
            Scope::Service(name) => name == service,
            Scope::Host(name) => name == host,
            Scope::Rollout(_) => false,
        })
}

/// Where a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Announced; nobody has begun.
    Announced,
    /// Under way.
    Rolling,
    /// Every live target has reported.
    Done,
    /// Failures, or a person, stopped it.
    Halted,
    /// A person ended it.
    Aborted,
    /// Its time is over and targets are left.
    Expired,
    /// A newer generation took its place.
    Superseded,
}

impl fmt::Display for RolloutState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            RolloutState::Announced => "announced",
            RolloutState::Rolling => "rolling",
            RolloutState::Done => "done",
            RolloutState::Halted => "halted",
            RolloutState::Aborted => "aborted",
            RolloutState::Expired => "expired",
            RolloutState::Superseded => "superseded",
        })
    }
}

impl RolloutState {
    /// Whether it still moves, so that another announcement of the service must wait.
    pub fn is_under_way(self) -> bool {
        matches!(self, RolloutState::Announced | RolloutState::Rolling)
    }

    /// Whether it authorises restarts, when it is the newest.
    pub fn authorises(self) -> bool {
        matches!(self, RolloutState::Announced | RolloutState::Rolling | RolloutState::Done)
    }
}

impl Rollout {
    /// When it expires, unless that is recorded or it ended otherwise.
    pub fn due(&self) -> Option<Time> {
        (!self.expired && self.ended.is_none()).then_some(self.expires)
    }

    /// Where it stands, when `down` of the targets that owe it are down.
    pub fn state(&self, down: u32) -> RolloutState {
        let left = self.tally.owes + self.tally.begun;
        match (&self.ended, &self.halted) {
            (Some(ended), _) if ended.superseded => RolloutState::Superseded,
            (Some(_), _) => RolloutState::Aborted,
            (None, _) if left == 0 => RolloutState::Done,
            (None, Some(_)) => RolloutState::Halted,
            (None, None) if self.expired => RolloutState::Expired,
            (None, None) if self.tally.owes <= down && self.tally.begun == 0 => RolloutState::Done,
            (None, None) if left == self.tally.total() && self.tally.begun == 0 => RolloutState::Announced,
            (None, None) => RolloutState::Rolling,
        }
    }

    /// How many more hosts may fail before it halts.
    pub fn budget_left(&self) -> u32 {
        self.max_failures.saturating_sub(self.tally.failed.saturating_sub(self.forgiven))
    }

    /// The exit code of whoever follows it to its end: 0 when all is well, 5 when hosts failed, are left, or it was stopped.
    pub fn exit_code(&self, state: RolloutState) -> u8 {
        // Nobody is in flight when it is done; those who still owe it are down.
        let clean = state == RolloutState::Done && self.tally.failed == 0 && self.tally.owes == 0;
        if clean { 0 } else { 5 }
    }
}
