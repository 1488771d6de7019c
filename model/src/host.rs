//! The host: what its worker does next.
//!
//! Owns every decision of a worker, the daemon's and the one-shot command's alike: [`Host::on`] takes what happened and
//! returns what is to be done. Pure: no I/O, no clock, no randomness but its seed. The driver carries the effects out, one
//! *main* effect at a time: a new one takes the place of one that is still under way.
//!
//! Reading order: [`event`] (what happens, what is done), this file (who the host is, and its phases), `idle` (what it takes
//! up next), `wait` (the wait for a lease), `work` (a sequence under way), `paper` (what it writes down), `own` (its lease),
//! `answers` (what the coordinator says to it), `telling` and `stray` (what has no journal), `pace` (how long to wait).

mod answers;
pub mod event;
mod idle;
mod own;
mod pace;
mod paper;
mod stray;
mod telling;
mod wait;
mod work;

#[cfg(test)]
mod tests;

pub use event::{Checked, Effect, Errand, Event, Finish, Prepared, Unheard};

use crate::lease::{Lease, Purpose};
use crate::names::{Holder, Id, Pool, RolloutName, Service};
use crate::request::{Ending, Owed};
use crate::rollout::Report;
use crate::sequence::record::Balancers;
use crate::sequence::{Doubt, Sequence};
use crate::time::Time;
use pace::Pace;
use std::collections::{BTreeMap, BTreeSet};
use telling::Telling;
use wait::Wait;
use work::Work;

/// Who the host is, and what it has.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The name under which it holds leases.
    pub holder: Holder,
    /// Its services.
    pub duties: BTreeMap<Service, Duty>,
    /// The one thing that a one-shot command is for; a daemon has none.
    pub errand: Option<Errand>,
    /// Where its jitter starts; different on every host.
    pub seed: u64,
}

/// One service of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duty {
    /// The pools that it restarts under.
    pub pools: BTreeSet<Pool>,
    /// Whether the host keeps its slot when it fails.
    pub keep: bool,
    /// How long the worker may be gone by itself during the restart act, in milliseconds, such as while its host boots; 0 when it lives
    /// through it.
    pub away_ms: u64,
}

/// What an unfinished sequence, or the lack of one, looks like when the host's lock was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// A fresh random name, for a sequence to come.
    pub fresh: Id,
    /// What the journal holds of a sequence that was not closed.
    pub unfinished: Option<Vec<crate::sequence::Record>>,
    /// Where the newest sequence of each service left the host out.
    pub left_out: BTreeMap<Service, Balancers>,
    /// What the newest sequence of each service left in doubt.
    pub doubts: BTreeMap<Service, Doubt>,
}

/// What a worker decides.
#[derive(Debug)]
pub struct Host {
    setup: Setup,
    phase: Phase,
    owed: Vec<Owed>,
    /// A lease of this host that no journal here tells of.
    stray: Option<Lease>,
    is_stopping: bool,
    has_told_stuck: bool,
    /// Whether the journal is still to be looked at for something unfinished.
    is_unchecked: bool,
    /// Not to take the lock before this: somebody else had it.
    busy_until: Time,
    /// Per service: not before this, and how often in a row it came to nothing.
    rests: BTreeMap<Service, (Time, u32)>,
    /// Per service that rests: the rollout that came to nothing, when nobody waits for it any more. A newer one need not wait.
    rested_from: BTreeMap<Service, RolloutName>,
    /// When a lease for the errand was first asked for.
    errand_since: Option<Time>,
    /// Why the errand stays in its balancers, though it was to leave them: they did not confirm that.
    unconfirmed: Option<String>,
    /// How an earlier sequence ended badly that was finished before the errand.
    earlier: Option<Box<Report>>,
    /// Why a person is needed before anything is done.
    damage: Option<String>,
    /// Why nothing can be written or locked right now.
    hindrance: Option<String>,
    /// Whether that is so since something could not be written; then only a write shows that it is over.
    is_unwritable: bool,
    pace: Pace,
}

/// What a host is at.
#[derive(Debug)]
enum Phase {
    /// Nothing; or something that must wait.
    Idle,
    /// Taking the lock that guards the host, to look at the journals.
    Locking,
    /// Asking whether the service needs a restart.
    Checking(Box<idle::Job>),
    /// Waiting for a lease, without the lock.
    Waiting(Box<Wait>),
    /// A sequence is under way.
    Working(Box<Work>),
    /// Telling the coordinator something that needs no sequence.
    Telling(Box<Telling>),
    /// Finding out about a lease that no journal tells of.
    Stray(Box<Lease>),
    /// A person is needed: a journal is damaged. Looked at again at this moment, since somebody may have moved it away.
    Stuck(Time),
    /// The driver was told to end.
    Over,
}

/// Why something is undone that was asked to stop: a command, or the worker.
fn asked_to_stop(is_once: bool) -> String {
    if is_once { "interrupted".to_owned() } else { "the worker was asked to stop".to_owned() }
}

impl Host {
    /// A worker that has just started. Its first event is [`Event::Started`].
    pub fn new(setup: Setup) -> Host {
        Host {
            pace: Pace::new(setup.seed),
            setup,
            phase: Phase::Idle,
            owed: Vec::new(),
            stray: None,
            is_stopping: false,
            has_told_stuck: false,
            is_unchecked: true,
            busy_until: Time(0),
            rests: BTreeMap::new(),
            rested_from: BTreeMap::new(),
            errand_since: None,
            unconfirmed: None,
            earlier: None,
            damage: None,
            hindrance: None,
            is_unwritable: false,
        }
    }

    /// The sequence under way.
    pub fn sequence(&self) -> Option<&Sequence> {
        match &self.phase {
            Phase::Working(work) => Some(&work.sequence),
            _ => None,
        }
    }

    /// What that which is under way is for.
    pub fn purpose(&self) -> Option<&Purpose> {
        match &self.phase {
            Phase::Checking(job) => Some(&job.purpose),
            Phase::Waiting(wait) => Some(&wait.job.purpose),
            Phase::Working(work) => Some(&work.sequence.plan().purpose),
            Phase::Stray(lease) => Some(&lease.purpose),
            _ => None,
        }
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    /// Whether it waits for a lease, and has not taken the lock.
    pub fn is_waiting(&self) -> bool {
        matches!(&self.phase, Phase::Waiting(wait) if !wait.is_locking())
    }

    /// Why a person is needed before this worker does anything more.
    pub fn stuck(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Why this worker can restart nothing, now or until somebody helps.
    pub fn trouble(&self) -> Option<&str> {
        self.damage.as_deref().or(self.hindrance.as_deref())
    }

    /// When [`Event::Woke`] is due; `None` when only something from outside moves the host.
    pub fn wake_at(&self) -> Option<Time> {
        match &self.phase {
            Phase::Idle => self.idle_until(),
            Phase::Waiting(wait) => wait.wake_at(),
            Phase::Working(work) => work.wake_at(),
            Phase::Telling(telling) => telling.wake_at(),
            Phase::Stuck(again) => Some(*again),
            _ => None,
        }
    }

    /// Takes in what happened, and returns what is to be done, in this order. `now` is the worker's own clock.
    pub fn on<R>(&mut self, event: Event<R>, now: Time) -> Vec<Effect<R>> {
        let mut out = Vec::new();
        self.mark(&event);
        match event {
            Event::Started => self.lock(&mut out),
            Event::Joined(welcome) => self.joined(*welcome, now, &mut out),
            Event::Noticed => self.noticed(now, &mut out),
            Event::Locked(locked) => self.locked(*locked, now, &mut out),
            Event::Busy(who) => self.busy(&who, now, &mut out),
            Event::NotLocked(why) => self.not_locked(why, now, &mut out),
            Event::Damaged(why) => self.damaged(why, now, &mut out),
            Event::Checked(checked) => self.checked(checked, now, &mut out),
            Event::Answered { sent, answer } => self.answered(sent, answer, now, &mut out),
            Event::StopRequested => self.stop(now, &mut out),
            Event::Woke => self.woke(now, &mut out),
            Event::Owned { claim, sent, own } => self.owned(&claim, sent, own, now, &mut out),
            Event::Looked(looks) => self.looked(&looks, now, &mut out),
            Event::Settled(settled) => self.settled(settled, now, &mut out),
            other => {
                if let Phase::Working(work) = &mut self.phase {
                    work.on(other, now, &mut self.pace, &mut out);
                }
            }
        }
        self.close(now, &mut out);
        out
    }

    /// Whether the disk can be used, as far as this event tells.
    fn mark<R>(&mut self, event: &Event<R>) {
        let (hindrance, is_unwritable) = match event {
            Event::Recorded(_) => (None, false),
            Event::Locked(_) if !self.is_unwritable => (None, false),
            Event::NotLocked(why) => (Some(why), false),
            Event::NotRecorded(why) => (Some(why), true),
            _ => return,
        };
        (self.hindrance, self.is_unwritable) = (hindrance.cloned(), is_unwritable);
    }

    fn woke<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        match &mut self.phase {
            Phase::Idle => self.take_up(now, out),
            Phase::Working(work) => work.woke(now, out),
            Phase::Stuck(again) if now >= *again => self.lock(out),
            Phase::Waiting(_) => self.wait_on(now, out),
            Phase::Telling(_) => self.tell_again(now, out),
            _ => {}
        }
    }

    fn stop<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        self.is_stopping = true;
        match &mut self.phase {
            Phase::Working(work) => work.stop(now, out),
            Phase::Locking | Phase::Checking(_) | Phase::Stray(_) => {
                out.push(Effect::Unlock);
                self.exit(Finish::Interrupted, out);
            }
            Phase::Waiting(_) => {
                let why = asked_to_stop(self.setup.errand.is_some());
                out.push(Effect::Unlock);
                self.give_up(Ending::Cancelled, why, Some(Finish::Interrupted), now, out);
            }
            Phase::Telling(_) => self.tell_and_stop(out),
            Phase::Idle | Phase::Stuck(_) => self.exit(Finish::Interrupted, out),
            Phase::Over => {}
        }
    }

    /// Ends the driver; a daemon has no outcome of its own.
    fn exit<R>(&mut self, finish: Finish, out: &mut Vec<Effect<R>>) {
        self.phase = Phase::Over;
        let has_not_run = matches!(finish, Finish::NothingToDo(_) | Finish::NoLease(_));
        let finish = match self.earlier.take() {
            Some(earlier) if has_not_run => Finish::Unrun { earlier, instead: Box::new(finish) },
            _ => finish,
        };
        out.push(Effect::Exit(if self.setup.errand.is_some() { finish } else { Finish::Stopped }));
    }

    /// Whether this event ended the sequence that is under way, and what follows.
    fn close<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        let Phase::Working(work) = &self.phase else { return };
        if let Some(why) = work.broken() {
            let why = why.to_owned();
            return self.damaged(why, now, out);
        }
        if !work.is_over() {
            return;
        }
        out.push(Effect::Unlock);
        if let Phase::Working(work) = std::mem::replace(&mut self.phase, Phase::Idle) {
            self.worked(*work, now, out);
        }
    }
}
