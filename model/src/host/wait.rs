//! A wait for a lease: nothing is locked, recorded or done yet, so it stands in nobody's way.
//!
//! Owns the asks, what their answers mean, and the host's lock, which is taken when the lease is there. When somebody else has
//! it then, the lease is given back; it waits for nobody. Silence is never read as an answer. Called by [`Host::on`]; what
//! follows is in `work`.

use crate::host::idle::Job;
use crate::host::{Effect, Finish, Host, Locked, Phase, Unheard};
use crate::lease::Lease;
use crate::names::{Pool, Token};
use crate::request::{Answer, Ask, Ending, Queued, Refusal, RefusalKind, Settle};
use crate::rollout::{Outcome, Report, Timing};
use crate::sequence::Sequence;
use crate::time::{Time, millis};
use std::collections::BTreeMap;
use std::time::Duration;

/// For how long an ask is kept open, in milliseconds.
pub(super) const ASK_HOLD_MS: u64 = 10_000;
/// For how long an ask stands: a waiter that is silent for longer loses its turn.
const ASK_PATIENCE_MS: u64 = ASK_HOLD_MS + 5_000;
/// The least time between two asks, in milliseconds, when the coordinator does not keep them open.
const ASK_PAUSE_MS: u64 = 500;
/// How long a one-shot command tries to reach its coordinator, in milliseconds, unless it says how long it waits. No sooner
/// does it go without, unless it waits shorter.
const UNREACHABLE_MS: u64 = 10_000;
/// How much longer than its wait the last answer may take, in milliseconds, and telling one who has not answered so long.
const LAST_WORD_MS: u64 = 150;

/// A wait under way.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) job: Job,
    /// How long what came before took.
    pub(super) before: Vec<Timing>,
    doing: Doing,
    /// When it was first asked for; nothing was when there is none.
    since: Option<Time>,
    /// When it was last asked for.
    asked: Time,
    /// When the person who said how long to wait waits no longer, by the own clock, paused or not.
    ends: Option<Time>,
    /// How often in a row nobody answered, and since when.
    tries: u32,
    silent_since: Option<Time>,
    /// What was granted; nothing for a sequence that goes without a lease.
    pub(super) grant: Option<Grant>,
}

/// What is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Asking,
    /// Again at this moment.
    Pausing(Time),
    /// It may go on as soon as the host's lock is had.
    Locking,
}

/// A lease that was just granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) tokens: BTreeMap<Pool, Token>,
    /// How long it was waited for, in milliseconds.
    pub(super) ms: u64,
    pub(super) ttl_ms: u64,
}

impl Wait {
    pub(super) fn wake_at(&self) -> Option<Time> {
        match self.doing {
            Doing::Pausing(at) => Some(at),
            Doing::Asking => self.ends.map(|ends| ends.plus(Duration::from_millis(LAST_WORD_MS))),
            Doing::Locking => None,
        }
    }

    /// Whether it waits for the host's lock.
    pub(super) fn is_locking(&self) -> bool {
        self.doing == Doing::Locking
    }

    fn granted(&mut self, lease: Lease, now: Time) {
        let ms = self.since.map_or(0, |since| millis(now.since(since)));
        self.grant = Some(Grant { tokens: lease.pools, ms, ttl_ms: lease.ttl_ms });
        self.doing = Doing::Locking;
    }
}

impl Host {
    /// The service is to be restarted: asks for a lease, but for an emergency.
    pub(super) fn wait<R>(&mut self, job: Job, before: Vec<Timing>, now: Time, out: &mut Vec<Effect<R>>) {
        if !self.setup.duties.contains_key(&job.service) {
            return self.exit(Finish::NoLease(format!("{} is not configured", job.service)), out);
        }
        let goes_without = job.is_errand && self.setup.errand.as_ref().is_some_and(|errand| errand.emergency);
        self.phase = Phase::Waiting(Box::new(Wait {
            job,
            before,
            doing: Doing::Locking,
            since: None,
            asked: now,
            ends: None,
            tries: 0,
            silent_since: None,
            grant: None,
        }));
        if goes_without {
            return out.push(Effect::Lock);
        }
        self.ask(now, out);
    }

    fn ask<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        let Phase::Waiting(wait) = &mut self.phase else { return };
        let Some(duty) = self.setup.duties.get(&wait.job.service) else { return };
        (wait.doing, wait.asked) = (Doing::Asking, now);
        wait.since.get_or_insert(now);
        let errand = self.setup.errand.as_ref().filter(|_| wait.job.is_errand);
        let wait_ms = errand.and_then(|errand| errand.wait_ms);
        if errand.is_some() {
            // What it waited before it gave way to a pause counts too.
            let since = *self.errand_since.get_or_insert(now);
            wait.ends = wait_ms.map(|ms| since.plus(Duration::from_millis(ms)));
        }
        let ask = Ask {
            holder: self.setup.holder.clone(),
            claim: wait.job.fresh.clone(),
            pools: duty.pools.clone(),
            purpose: wait.job.purpose.clone(),
            wait_ms,
            patience_ms: ASK_PATIENCE_MS,
        };
        let hold_ms = wait.ends.map_or(ASK_HOLD_MS, |ends| millis(ends.since(now)).min(ASK_HOLD_MS));
        out.push(Effect::Ask { ask, hold_ms });
    }

    pub(super) fn wait_on<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        let Phase::Waiting(wait) = &self.phase else { return };
        match wait.doing {
            Doing::Pausing(at) if now >= at => self.ask(now, out),
            Doing::Asking if wait.wake_at().is_some_and(|at| now >= at) => {
                self.unheard("no answer", now, out);
            }
            _ => {}
        }
    }

    pub(super) fn answered<R>(
        &mut self,
        sent: Time,
        answer: Result<Answer, Unheard>,
        now: Time,
        out: &mut Vec<Effect<R>>,
    ) {
        let Phase::Waiting(wait) = &mut self.phase else { return };
        if wait.doing != Doing::Asking {
            return;
        }
        match answer {
            Ok(Answer::Granted(granted)) if granted.lease.claim == wait.job.fresh => {
                wait.granted(granted.lease, now);
                out.push(Effect::Lock);
            }
            Ok(Answer::Granted(granted)) => {
                self.unheard(&format!("it answered for {}", granted.lease.claim), now, out);
            }
            Ok(Answer::Queued(Queued { why, .. })) if wait.ends.is_some_and(|ends| sent >= ends) => {
                let cause = format!("{}: {}", self.waited(), why.whole());
                let exit = self.no_lease(cause.clone());
                self.give_up(Ending::Cancelled, cause, exit, now, out);
            }
            Ok(Answer::Queued(queued)) => {
                (wait.tries, wait.silent_since) = (0, None);
                let next = sent.plus(Duration::from_millis(ASK_PAUSE_MS));
                let next = wait.ends.map_or(next, |ends| next.min(ends));
                if now < next {
                    wait.doing = Doing::Pausing(next);
                } else if queued.why.kind == RefusalKind::Paused && self.has_another(now) {
                    self.step_aside(now);
                } else {
                    self.ask(now, out);
                }
            }
            Ok(Answer::Refused(Refusal { value: why, .. })) | Err(Unheard { why, is_for_good: true }) => {
                let exit = self.no_lease(why.clone());
                self.give_up(Ending::Cancelled, why, exit, now, out);
            }
            Err(unheard) => self.unheard(&unheard.why, now, out),
        }
    }

    /// Nobody answered an ask. Only a person's command gives up, or goes on without.
    fn unheard<R>(&mut self, why: &str, now: Time, out: &mut Vec<Effect<R>>) {
        let Phase::Waiting(wait) = &mut self.phase else { return };
        let silent_since = *wait.silent_since.get_or_insert(wait.asked);
        let errand = self.setup.errand.as_ref().filter(|_| wait.job.is_errand);
        let enough = silent_since.plus(Duration::from_millis(UNREACHABLE_MS));
        let ends = errand.map(|_| wait.ends.unwrap_or(enough));
        if ends.is_none_or(|ends| now < ends) {
            let again = now.plus(self.pace.retry(wait.tries));
            wait.doing = Doing::Pausing(ends.map_or(again, |ends| again.min(ends)));
            wait.tries += 1;
            return;
        }
        let was_never_heard = self.errand_since == Some(silent_since);
        if errand.is_some_and(|errand| errand.unreachable_restart) && (was_never_heard || now >= enough) {
            wait.doing = Doing::Locking;
            return out.push(Effect::Lock);
        }
        let is_late = wait.ends.is_some();
        let cause = format!("the coordinator cannot be reached: {why}");
        let exit = self.no_lease(cause.clone());
        self.give_up(Ending::Cancelled, cause, exit, now, out);
        if is_late {
            self.tell_until(now.plus(Duration::from_millis(LAST_WORD_MS)));
        }
    }

    /// How long the errand was waited for.
    fn waited(&self) -> String {
        let wait_ms = self.setup.errand.as_ref().and_then(|errand| errand.wait_ms);
        format!("waited {}", crate::settings::span(wait_ms.unwrap_or(0)))
    }

    /// Whether another service is to restart, and may be taken up.
    fn has_another(&self, now: Time) -> bool {
        let Phase::Waiting(wait) = &self.phase else { return false };
        self.waiting().any(|service| *service != wait.job.service && self.is_rested(service, now))
    }

    /// A pause may last for days, and another service need not wait for its end. The ticket stays: whoever of this host asks
    /// next for the same pools has its place, and whoever asks for others gives it up, since a name has one ticket. That is not before the last ask stands no longer, since until then nobody else
    /// of this name is heard; and the service rests beyond that, or it would be the first to be taken up again.
    fn step_aside(&mut self, now: Time) {
        let Phase::Waiting(wait) = &self.phase else { return };
        let service = wait.job.service.clone();
        self.busy_until = now.plus(Duration::from_millis(ASK_PATIENCE_MS));
        self.rest(service, self.busy_until);
        self.phase = Phase::Idle;
    }

    /// The lease is there, and so is the lock: the sequence begins, unless another one must be ended first.
    pub(super) fn locked_for_wait<R>(&mut self, locked: Locked, now: Time, out: &mut Vec<Effect<R>>) {
        let is_free = match Sequence::replay(locked.unfinished.as_deref().unwrap_or_default()) {
            Ok(Some(sequence)) => self.is_to_be_passed_over(&sequence),
            Ok(None) => true,
            Err(_) => false,
        };
        if is_free {
            return self.open(locked, out);
        }
        // It came up while this one waited: the next look at the journals takes it up.
        self.is_unchecked = true;
        out.push(Effect::Unlock);
        self.give_up(Ending::GaveWay, "an earlier sequence is to be ended first".to_owned(), None, now, out);
    }

    /// The lease is there, and the lock is not to be had.
    pub(super) fn not_locked_for_wait<R>(&mut self, cause: String, now: Time, out: &mut Vec<Effect<R>>) {
        let (ending, exit) = match self.no_lease(cause.clone()) {
            None => (Ending::GaveWay, None),
            some => (Ending::Cancelled, some),
        };
        self.give_up(ending, cause, exit, now, out);
    }

    /// How a command ends that has no lease; a daemon goes on.
    fn no_lease(&self, cause: String) -> Option<Finish> {
        self.setup.errand.as_ref().map(|_| Finish::NoLease(cause))
    }

    /// Ends a wait: gives back what it may have been granted, and its place in the queue unless it only gives way.
    pub(super) fn give_up<R>(
        &mut self,
        ending: Ending,
        cause: String,
        exit: Option<Finish>,
        now: Time,
        out: &mut Vec<Effect<R>>,
    ) {
        let wait = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Waiting(wait) => *wait,
            other => {
                self.phase = other;
                return;
            }
        };
        self.rest(wait.job.service.clone(), now);
        self.rested_from(&wait.job.purpose, Some(ending));
        match (wait.since, exit) {
            (Some(_), exit) => {
                let report = Report { cause, timings: wait.before, ..Report::plain(Outcome::Cancelled) };
                let settle = Settle {
                    holder: self.setup.holder.clone(),
                    claim: wait.job.fresh,
                    ending,
                    rollout: wait.job.purpose.rollout().cloned(),
                    report: Some(report.bounded()),
                };
                self.tell(settle, exit, out);
            }
            (None, Some(exit)) => self.exit(exit, out),
            (None, None) => {}
        }
    }
}
