//! What a host takes up next, and what follows a sequence.
//!
//! Owns the choice: first what a journal holds unfinished, then a lease that no journal tells of, then what is owed. It looks
//! under the host's lock, and gives that back before it checks or waits. Called by [`Host::on`].

use crate::host::stray::{is_at_work, stuck_report};
use crate::host::work::Work;
use crate::host::{Checked, Effect, Errand, Finish, Host, Locked, Phase};
use crate::lease::Purpose;
use crate::names::{Id, RolloutName, Service};
use crate::request::{Ending, Renew, Settle, Welcome};
use crate::rollout::{Outcome, Report, Timing};
use crate::sequence::{Plan, Sequence, Step};
use crate::time::{Time, millis};
use std::time::Duration;

/// How long to wait for a lock that somebody else has, in milliseconds.
const LOCK_RETRY_MS: u64 = 5_000;
/// How often a damaged journal is looked at again, in milliseconds.
const DAMAGE_RETRY_MS: u64 = 60_000;

/// A restart to be done.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) service: Service,
    pub(super) purpose: Purpose,
    pub(super) is_errand: bool,
    /// The name that its sequence will have, and asks under.
    pub(super) fresh: Id,
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
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Service> {
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
        self.wake_for_newer();
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
        if matches!(&self.phase, Phase::Waiting(wait) if !wait.is_locking()) {
            return self.give_up(
                Ending::GaveWay,
                "an earlier sequence is to be ended first".to_owned(),
                None,
                now,
                out,
            );
        }
        self.take_up(now, out);
    }

    pub(super) fn busy<R>(&mut self, who: &str, now: Time, out: &mut Vec<Effect<R>>) {
        self.not_locked(format!("this host is at work already: {who}"), now, out);
    }

    /// Somebody is done some time, a full disk passes: it is tried again.
    pub(super) fn not_locked<R>(&mut self, why: String, now: Time, out: &mut Vec<Effect<R>>) {
        match &self.phase {
            Phase::Waiting(wait) if wait.is_locking() => return self.not_locked_for_wait(why, now, out),
            Phase::Locking => {}
            _ => return,
        }
        if self.setup.errand.is_some() {
            return self.exit(Finish::NoLease(why), out);
        }
        let again = now.plus(Duration::from_millis(LOCK_RETRY_MS));
        self.busy_until = again;
        self.phase = if self.damage.is_some() { Phase::Stuck(again) } else { Phase::Idle };
    }

    pub(super) fn damaged<R>(&mut self, why: String, now: Time, out: &mut Vec<Effect<R>>) {
        out.push(Effect::Unlock);
        if matches!(self.phase, Phase::Waiting(_)) {
            // What was granted is given back; the next look at the journals says what is to be said.
            self.is_unchecked = true;
            let exit = self.setup.errand.as_ref().map(|_| Finish::Stuck(Box::new(stuck_report(why.clone()))));
            let ending = if exit.is_some() { Ending::Cancelled } else { Ending::GaveWay };
            return self.give_up(ending, why, exit, now, out);
        }
        if self.setup.errand.is_some() {
            return self.exit(Finish::Stuck(Box::new(stuck_report(why))), out);
        }
        self.phase = Phase::Stuck(now.plus(Duration::from_millis(DAMAGE_RETRY_MS)));
        self.damage = Some(why);
    }

    pub(super) fn locked<R>(&mut self, locked: Locked, now: Time, out: &mut Vec<Effect<R>>) {
        match &self.phase {
            Phase::Waiting(wait) if wait.is_locking() => return self.locked_for_wait(locked, now, out),
            Phase::Locking => {}
            _ => return,
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
    pub(super) fn is_to_be_passed_over(&self, sequence: &Sequence) -> bool {
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
        out.push(Effect::Unlock);
        self.phase = Phase::Idle;
        let Some(service) = self.waiting().find(|service| self.is_rested(service, now)).cloned() else { return };
        let (purpose, is_errand, skips_check) = match &self.setup.errand {
            Some(errand) => (Purpose::Restart(service.clone()), true, errand.always || self.unconfirmed.is_some()),
            None => {
                let owed = self.owed.iter().find(|owed| owed.rollout.service == service);
                let Some(owed) = owed else { return };
                (Purpose::Rollout(owed.rollout.clone()), false, owed.always || owed.failed_before)
            }
        };
        let job = Job { service: service.clone(), purpose, is_errand, fresh: locked.fresh };
        if skips_check {
            return self.wait(job, Vec::new(), now, out);
        }
        self.phase = Phase::Checking(Box::new(job));
        out.push(Effect::Check(service));
    }

    pub(super) fn is_rested(&self, service: &Service, now: Time) -> bool {
        self.rests.get(service).is_none_or(|rest| now >= rest.0)
    }

    /// It came to nothing, and must not be tried without pause.
    pub(super) fn rest(&mut self, service: Service, now: Time) {
        let tries = self.rests.get(&service).map_or(0, |rest| rest.1);
        let rest = now.plus(self.pace.rest(tries));
        self.rested_from.remove(&service);
        self.rests.insert(service, (rest, tries + 1));
    }

    /// What it rests from. Who gave way still waits in the coordinator's eyes, and could not ask under a new claim.
    pub(super) fn rested_from(&mut self, purpose: &Purpose, ending: Option<Ending>) {
        if let (Purpose::Rollout(name), Some(Ending::Cancelled)) = (purpose, ending) {
            self.rested_from.insert(name.service.clone(), name.clone());
        }
    }

    /// A rollout that is newer than the one that came to nothing ends the rest.
    fn wake_for_newer(&mut self) {
        for owed in &self.owed {
            let RolloutName { service, generation } = &owed.rollout;
            if self.rested_from.get(service).is_some_and(|old| old.generation < *generation) {
                self.rested_from.remove(service);
                self.rests.remove(service);
            }
        }
    }

    pub(super) fn checked<R>(&mut self, checked: Checked, now: Time, out: &mut Vec<Effect<R>>) {
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
            Ok(true) => return self.wait(job, timings, now, out),
            Ok(false) => {
                (Ending::Cancelled, Report { timings, cause: note.clone(), ..Report::plain(Outcome::Skipped) })
            }
            Err(fault) => {
                let (cause, output) = (fault.cause, fault.output);
                let failed = Report::plain(Outcome::Failed);
                (Ending::FailedReleased, Report { step: Some(Step::Check), cause, output, timings, ..failed })
            }
        };
        if job.is_errand {
            let failed = report.outcome == Outcome::Failed;
            return self.exit(if failed { Finish::Failed(Box::new(report)) } else { Finish::NothingToDo(note) }, out);
        }
        let (holder, rollout) = (self.setup.holder.clone(), job.purpose.rollout().cloned());
        self.tell(Settle { holder, claim: job.fresh, ending, rollout, report: Some(report.bounded()) }, None, out);
    }

    /// The lease is there, and the lock is had.
    pub(super) fn open<R>(&mut self, mut locked: Locked, out: &mut Vec<Effect<R>>) {
        let wait = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Waiting(wait) => *wait,
            other => {
                self.phase = other;
                return;
            }
        };
        let Some(duty) = self.setup.duties.get(&wait.job.service) else { return };
        let errand = self.setup.errand.as_ref().filter(|_| wait.job.is_errand);
        let plan = Plan {
            sequence: wait.job.fresh,
            left_out: locked.left_out.remove(&wait.job.service).unwrap_or_default(),
            doubt: locked.doubts.remove(&wait.job.service),
            service: wait.job.service,
            purpose: wait.job.purpose,
            pools: duty.pools.clone(),
            depool: errand.is_none_or(|errand| !errand.force && self.unconfirmed.is_none()),
            keep: duty.keep,
            leaseless: wait.grant.is_none(),
            before: wait.before,
        };
        let work = Work::open(self.setup.holder.clone(), plan, wait.grant, errand.is_some(), out);
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
            self.rest(plan.service.clone(), now);
            self.rested_from(&plan.purpose, ending);
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
        if let Some(why) = &work.unopened {
            return self.unopened(plan, why, out);
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
            // It asks once more before its wait is over.
            Some(_) if gave_way_in_time && !self.is_stopping => {
                let ends =
                    self.errand_since.zip(errand.wait_ms).map(|(since, ms)| since.plus(Duration::from_millis(ms)));
                if let (Some(ends), Some(rest)) = (ends, self.rests.get_mut(&plan.service)) {
                    rest.0 = rest.0.min(ends);
                }
            }
            Some((_, report)) if self.goes_on_in_place(&work, &report) => {
                self.unconfirmed = Some(report.cause);
                self.lock(out);
            }
            Some((_, report)) => {
                let finish = finish(report, plan.leaseless, self.unconfirmed.take(), self.is_stopping);
                self.exit(finish, out);
            }
            None => self.exit(Finish::Interrupted, out),
        }
    }

    /// Whether a depool came to nothing, all is as it was, and the errand is to be done all the same: a person's emergency, or
    /// balancers that could not tell anything and a service that does not depend on them.
    fn goes_on_in_place(&self, work: &Work, report: &Report) -> bool {
        let has_not_left = report.outcome == Outcome::Failed && report.step == Some(Step::Depool) && !report.stuck;
        let could_not_tell = work.sequence.found().is_none();
        let is_wanted = |errand: &Errand| errand.emergency || (errand.unreachable_restart && could_not_tell);
        has_not_left && !self.is_stopping && self.setup.errand.as_ref().is_some_and(is_wanted)
    }

    /// Its first record could not be written, so nothing was done; what it was granted is given back.
    fn unopened<R>(&mut self, plan: &Plan, why: &str, out: &mut Vec<Effect<R>>) {
        let cause = format!("cannot write the journal: {why}");
        let exit = self.setup.errand.as_ref().map(|_| Finish::NoLease(cause.clone()));
        let exit = if self.is_stopping { Some(Finish::Interrupted) } else { exit };
        let ending = if exit.is_some() { Ending::Cancelled } else { Ending::GaveWay };
        let report = Report { cause, timings: plan.before.clone(), ..Report::plain(Outcome::Cancelled) };
        let (holder, claim, rollout) =
            (self.setup.holder.clone(), plan.sequence.clone(), plan.purpose.rollout().cloned());
        match exit {
            Some(exit) if plan.leaseless => self.exit(exit, out),
            exit => self.tell(Settle { holder, claim, ending, rollout, report: Some(report.bounded()) }, exit, out),
        }
    }
}

fn finish(report: Report, leaseless: bool, unconfirmed: Option<String>, is_stopping: bool) -> Finish {
    match (report.outcome, unconfirmed) {
        _ if report.stuck => Finish::Stuck(Box::new(report)),
        (Outcome::Cancelled | Outcome::Skipped, _) if is_stopping => Finish::Interrupted,
        (Outcome::Cancelled | Outcome::Skipped, _) => Finish::NoLease(report.cause),
        (_, Some(why)) => Finish::Unconfirmed { report: Box::new(report), why, leaseless },
        _ if leaseless => Finish::Leaseless(Box::new(report)),
        (Outcome::Restarted, None) => Finish::Restarted(Box::new(report)),
        (Outcome::Failed, None) => Finish::Failed(Box::new(report)),
    }
}
