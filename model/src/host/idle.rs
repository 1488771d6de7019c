//! What a host takes up next, and what follows a sequence.
//!
//! Owns the choice: first what a journal holds unfinished, then a lease that no journal tells of, then what is owed. It holds
//! the host's lock from before the check to the end of the sequence. Called by [`Host::on`].

use crate::host::work::Work;
use crate::host::{Checked, Effect, Finish, Host, Locked, Phase, Telling};
use crate::lease::{Lease, LeaseState, Purpose};
use crate::names::{Id, Service};
use crate::request::{Ending, Own, Renew, Settle, Settled, Welcome};
use crate::rollout::{Outcome, Report, Timing};
use crate::sequence::record::Balancers;
use crate::sequence::{Found, Look, Plan, Sequence, Step};
use crate::time::{Time, millis};
use std::time::Duration;

/// How long to wait for a lock that somebody else has, in milliseconds.
const LOCK_RETRY_MS: u64 = 5_000;
/// How often a damaged journal is looked at again, in milliseconds.
const DAMAGE_RETRY_MS: u64 = 60_000;
/// How often something without a journal is told, when nobody answers; it comes up again by itself.
const TELL_TRIES_MAX: u32 = 5;

/// A restart to be done.
#[derive(Debug)]
pub(super) struct Job {
    service: Service,
    purpose: Purpose,
    is_errand: bool,
    fresh: Id,
    left_out: Balancers,
}

impl Host {
    pub(super) fn lock<R>(&mut self, out: &mut Vec<Effect<R>>) {
        self.phase = Phase::Locking;
        out.push(Effect::Lock);
    }

    /// When something that waits may be taken up.
    pub(super) fn idle_until(&self) -> Option<Time> {
        let at_once = (self.is_unchecked || self.stray.is_some()).then_some(Time(0));
        let waiting = self.waiting().map(|service| self.rests.get(service).map_or(Time(0), |rest| rest.0));
        waiting.chain(at_once).min().map(|at| at.max(self.busy_until))
    }

    /// The services that are to restart, in order.
    fn waiting(&self) -> impl Iterator<Item = &Service> {
        let errand = self.setup.errand.iter().map(|errand| &errand.service);
        errand.chain(self.owed.iter().map(|owed| &owed.rollout.service))
    }

    pub(super) fn take_up<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        let is_due = self.idle_until().is_some_and(|at| now >= at);
        if is_due && !self.is_stopping && self.is_idle() {
            self.lock(out);
        }
    }

    pub(super) fn joined<R>(&mut self, welcome: Welcome, now: Time, out: &mut Vec<Effect<R>>) {
        self.owed =
            welcome.owed.into_iter().filter(|owed| self.setup.duties.contains_key(&owed.rollout.service)).collect();
        let stray = welcome.lease.filter(is_at_work);
        match (&self.phase, stray) {
            (Phase::Idle, stray) => {
                self.stray = stray;
                if self.idle_until().is_none() {
                    // Nothing is left that it could hinder, nor anything that would show its end.
                    (self.hindrance, self.is_unwritable) = (None, false);
                }
                self.take_up(now, out);
            }
            (Phase::Stuck(_), Some(lease)) if !self.has_told_stuck => {
                let why = self.damage.clone().unwrap_or_default();
                out.push(Effect::Settle(self.stuck_lease(&lease, why)));
                self.has_told_stuck = true;
            }
            _ => {}
        }
    }

    pub(super) fn noticed<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        self.is_unchecked = true;
        self.take_up(now, out);
    }

    pub(super) fn busy<R>(&mut self, who: &str, now: Time, out: &mut Vec<Effect<R>>) {
        if !matches!(self.phase, Phase::Locking) {
            return;
        }
        if self.setup.errand.is_some() {
            return self.exit(Finish::NoLease(format!("this host is at work already: {who}")), out);
        }
        let again = now.plus(Duration::from_millis(LOCK_RETRY_MS));
        self.busy_until = again;
        self.phase = if self.damage.is_some() { Phase::Stuck(again) } else { Phase::Idle };
    }

    /// A full disk passes, or somebody makes room: it is tried again.
    pub(super) fn not_locked<R>(&mut self, why: &str, now: Time, out: &mut Vec<Effect<R>>) {
        if !matches!(self.phase, Phase::Locking) {
            return;
        }
        if self.setup.errand.is_some() {
            return self.exit(Finish::NoLease(why.to_owned()), out);
        }
        let again = now.plus(Duration::from_millis(LOCK_RETRY_MS));
        self.busy_until = again;
        self.phase = if self.damage.is_some() { Phase::Stuck(again) } else { Phase::Idle };
    }

    pub(super) fn damaged<R>(&mut self, why: String, now: Time, out: &mut Vec<Effect<R>>) {
        out.push(Effect::Unlock);
        if self.setup.errand.is_some() {
            return self.exit(Finish::Stuck(Box::new(stuck_report(why))), out);
        }
        self.phase = Phase::Stuck(now.plus(Duration::from_millis(DAMAGE_RETRY_MS)));
        self.damage = Some(why);
    }

    pub(super) fn locked<R>(&mut self, locked: Locked, now: Time, out: &mut Vec<Effect<R>>) {
        if !matches!(self.phase, Phase::Locking) {
            return;
        }
        self.is_unchecked = false;
        match Sequence::replay(locked.unfinished.as_deref().unwrap_or_default()) {
            Err(illegal) => return self.damaged(illegal.to_string(), now, out),
            Ok(Some(sequence)) if !self.is_to_be_passed_over(&sequence) => {
                let work = Work::resume(self.setup.holder.clone(), sequence, self.setup.errand.is_some(), out);
                self.phase = Phase::Working(Box::new(work));
            }
            Ok(_) => self.choose(locked, now, out),
        }
        (self.damage, self.has_told_stuck) = (None, false);
    }

    /// One that only waits to be told does not stand in the way of a restart without a lease.
    fn is_to_be_passed_over(&self, sequence: &Sequence) -> bool {
        let may_go_without = self.setup.errand.as_ref().is_some_and(|e| e.emergency || e.unreachable_restart);
        sequence.is_closed() || (sequence.ended().is_some() && may_go_without)
    }

    fn choose<R>(&mut self, locked: Locked, now: Time, out: &mut Vec<Effect<R>>) {
        if let Some(lease) = self.stray.take() {
            let (holder, claim) = (self.setup.holder.clone(), lease.claim.clone());
            out.push(Effect::Renew(Renew { holder, claim, step: None, note: String::new() }));
            self.phase = Phase::Stray(Box::new(lease));
            return;
        }
        let is_rested = |service: &&Service| self.rests.get(*service).is_none_or(|rest| now >= rest.0);
        let Some(service) = self.waiting().find(is_rested).cloned() else {
            out.push(Effect::Unlock);
            self.phase = Phase::Idle;
            return;
        };
        let left_out = locked.left_out.get(&service).cloned().unwrap_or_default();
        let (purpose, is_errand, skips_check) = match &self.setup.errand {
            Some(errand) => {
                self.errand_since.get_or_insert(now);
                (Purpose::Restart(service.clone()), true, errand.always)
            }
            None => {
                let owed = self.owed.iter().find(|owed| owed.rollout.service == service);
                let Some(owed) = owed else { return };
                (Purpose::Rollout(owed.rollout.clone()), false, owed.always || owed.failed_before)
            }
        };
        let job = Job { service: service.clone(), purpose, is_errand, fresh: locked.fresh, left_out };
        if skips_check {
            return self.open(job, Vec::new(), out);
        }
        self.phase = Phase::Checking(Box::new(job));
        out.push(Effect::Check(service));
    }

    pub(super) fn checked<R>(&mut self, checked: Checked, out: &mut Vec<Effect<R>>) {
        let job = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Checking(job) => *job,
            other => {
                self.phase = other;
                return;
            }
        };
        let Checked { ms, note, restart } = checked;
        let timings = vec![Timing { step: Step::Check, ms, ok: restart.is_ok(), note: note.clone() }];
        let (ending, report) = match restart {
            Ok(true) => return self.open(job, timings, out),
            Ok(false) => {
                (Ending::Cancelled, Report { timings, cause: note.clone(), ..Report::plain(Outcome::Skipped) })
            }
            Err(fault) => {
                let (cause, output) = (fault.cause, fault.output);
                let failed = Report::plain(Outcome::Failed);
                (Ending::FailedReleased, Report { step: Some(Step::Check), cause, output, timings, ..failed })
            }
        };
        out.push(Effect::Unlock);
        if job.is_errand {
            let failed = report.outcome == Outcome::Failed;
            return self.exit(if failed { Finish::Failed(Box::new(report)) } else { Finish::NothingToDo(note) }, out);
        }
        let rollout = match job.purpose {
            Purpose::Rollout(name) => Some(name),
            _ => None,
        };
        let holder = self.setup.holder.clone();
        self.tell(Settle { holder, claim: job.fresh, ending, rollout, report: Some(report.bounded()) }, out);
    }

    fn open<R>(&mut self, job: Job, before: Vec<Timing>, out: &mut Vec<Effect<R>>) {
        let Some(duty) = self.setup.duties.get(&job.service) else {
            out.push(Effect::Unlock);
            return self.exit(Finish::NoLease(format!("{} is not configured", job.service)), out);
        };
        let errand = self.setup.errand.as_ref().filter(|_| job.is_errand);
        let plan = Plan {
            sequence: job.fresh,
            service: job.service,
            purpose: job.purpose,
            pools: duty.pools.clone(),
            depool: errand.is_none_or(|errand| !errand.force),
            keep: duty.keep,
            leaseless: errand.is_some_and(|errand| errand.emergency),
            left_out: job.left_out,
            before,
        };
        let work = Work::open(self.setup.holder.clone(), plan, errand, out);
        self.phase = Phase::Working(Box::new(work));
    }

    /// A sequence is over, as far as it goes here.
    pub(super) fn worked<R>(&mut self, work: Work, now: Time, out: &mut Vec<Effect<R>>) {
        let plan = work.sequence.plan();
        let end = work.sequence.ended().map(|(ending, report)| (ending, report.clone()));
        let ending = end.as_ref().map(|(ending, _)| *ending);
        // What came to an end, good or bad, is no longer owed; what came to nothing is, and must not be tried without pause.
        if matches!(ending, Some(Ending::Released | Ending::Kept | Ending::FailedReleased)) {
            self.rests.remove(&plan.service);
        } else {
            let tries = self.rests.get(&plan.service).map_or(0, |rest| rest.1);
            let rest = now.plus(self.pace.rest(tries));
            self.rests.insert(plan.service.clone(), (rest, tries + 1));
        }
        self.owed.clear();
        self.is_unchecked = work.sequence.is_resumed();
        if let Some((_, report)) = end.as_ref().filter(|(_, report)| report.outcome == Outcome::Failed)
            && self.setup.errand.is_some()
            && !work.is_errand
            && !self.earlier.as_ref().is_some_and(|earlier| earlier.stuck)
        {
            self.earlier = Some(Box::new(report.clone()));
        }
        let Some(errand) = &self.setup.errand else {
            if self.is_stopping {
                return self.exit(Finish::Stopped, out);
            }
            out.push(Effect::Join);
            return;
        };
        let is_unsettled = !work.sequence.is_closed();
        let waited_ms = self.errand_since.map_or(0, |since| millis(now.since(since)));
        let gave_way_in_time =
            ending == Some(Ending::GaveWay) && errand.wait_ms.is_none_or(|wait_ms| waited_ms < wait_ms);
        match end {
            _ if self.is_stopping && !work.is_errand => self.exit(Finish::Interrupted, out),
            _ if !work.is_errand && is_unsettled => {
                let why = "the coordinator does not answer, and an earlier sequence is still to be settled";
                self.exit(Finish::NoLease(why.to_owned()), out);
            }
            _ if !work.is_errand => {
                self.rests.clear();
                self.lock(out);
            }
            Some(_) if gave_way_in_time && !self.is_stopping => {}
            Some((_, report)) => self.exit(finish(report, plan.leaseless, self.is_stopping), out),
            None => {
                let cause = format!("cannot write the journal: {}", work.unopened.unwrap_or_default());
                self.exit(Finish::NoLease(cause), out);
            }
        }
    }

    /// Tells the coordinator something that needs no sequence.
    fn tell<R>(&mut self, settle: Settle, out: &mut Vec<Effect<R>>) {
        out.push(Effect::Settle(settle.clone()));
        self.phase = Phase::Telling(Box::new(Telling { settle, tries: 0, retry_at: None }));
    }

    pub(super) fn settled<R>(&mut self, settled: Result<Settled, String>, now: Time, out: &mut Vec<Effect<R>>) {
        match &mut self.phase {
            Phase::Working(work) => work.settled(settled.is_ok(), now, &mut self.pace, out),
            Phase::Telling(telling) if settled.is_err() && telling.tries < TELL_TRIES_MAX => {
                telling.retry_at = Some(now.plus(self.pace.retry(telling.tries)));
                telling.tries += 1;
            }
            Phase::Telling(_) => {
                self.owed.clear();
                self.phase = Phase::Idle;
                out.push(Effect::Join);
            }
            _ => {}
        }
    }

    /// Whether a lease that no journal tells of is still there.
    pub(super) fn owned<R>(
        &mut self,
        claim: &Id,
        sent: Time,
        own: Result<Own, String>,
        now: Time,
        out: &mut Vec<Effect<R>>,
    ) {
        match &mut self.phase {
            Phase::Working(work) if work.sequence.plan().sequence == *claim => work.owned(sent, &own, now, out),
            Phase::Stray(lease) if lease.claim == *claim => {
                let has_begun = lease.has_begun;
                let service =
                    lease.purpose.service().filter(|service| self.setup.duties.contains_key(*service)).cloned();
                match (own, service) {
                    (Ok(Own::Held { .. }), Some(service)) if !has_begun => out.push(Effect::Look(service)),
                    (Ok(Own::Held { .. }), _) => {
                        self.settle_stray("its journal is gone, and nobody can tell how far its restart came", out);
                    }
                    (Ok(Own::Gone) | Err(_), _) => {
                        out.push(Effect::Unlock);
                        self.phase = Phase::Idle;
                    }
                }
            }
            _ => {}
        }
    }

    pub(super) fn looked<R>(&mut self, looks: &[Look], now: Time, out: &mut Vec<Effect<R>>) {
        match &mut self.phase {
            Phase::Working(work) => work.looked(looks, now, out),
            Phase::Stray(_) => match Found::of(looks, &Balancers::new()) {
                Ok(found) if found.out.is_empty() => self.settle_stray("", out),
                Ok(found) => {
                    let out_of: Vec<String> = found.out.into_iter().collect();
                    let why = format!("its journal is gone, and the host is out of {}", out_of.join(", "));
                    self.settle_stray(&why, out);
                }
                Err(fault) => self.settle_stray(&format!("its journal is gone, and {}", fault.cause), out),
            },
            _ => {}
        }
    }

    /// Gives a stray lease back when all is well, and marks it stuck otherwise.
    fn settle_stray<R>(&mut self, why: &str, out: &mut Vec<Effect<R>>) {
        let Phase::Stray(lease) = &self.phase else { return };
        let settle = if why.is_empty() {
            let report =
                Report { cause: "its journal is gone; nothing was done".into(), ..Report::plain(Outcome::Cancelled) };
            Settle { ending: Ending::Cancelled, report: Some(report), ..self.stuck_lease(lease, String::new()) }
        } else {
            self.stuck_lease(lease, why.to_owned())
        };
        out.push(Effect::Unlock);
        self.tell(settle, out);
    }

    fn stuck_lease(&self, lease: &Lease, why: String) -> Settle {
        let rollout = match &lease.purpose {
            Purpose::Rollout(name) => Some(name.clone()),
            _ => None,
        };
        let report = Some(stuck_report(why).bounded());
        Settle { holder: self.setup.holder.clone(), claim: lease.claim.clone(), ending: Ending::Kept, rollout, report }
    }
}

/// A lease whose sequence is not over: one that a person or the next rollout must end is left as it is.
fn is_at_work(lease: &Lease) -> bool {
    lease.purpose.service().is_some() && (lease.state != LeaseState::Failed || lease.has_begun)
}

fn stuck_report(cause: String) -> Report {
    Report { cause, stuck: true, ..Report::plain(Outcome::Failed) }
}

fn finish(report: Report, leaseless: bool, is_stopping: bool) -> Finish {
    match report.outcome {
        _ if report.stuck => Finish::Stuck(Box::new(report)),
        Outcome::Cancelled | Outcome::Skipped if is_stopping => Finish::Interrupted,
        Outcome::Cancelled | Outcome::Skipped => Finish::NoLease(report.cause),
        _ if leaseless => Finish::Leaseless(Box::new(report)),
        Outcome::Restarted => Finish::Restarted(Box::new(report)),
        Outcome::Failed => Finish::Failed(Box::new(report)),
    }
}
