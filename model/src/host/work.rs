//! A sequence under way: what is in flight, what its lease allows, when it is cut short.
//!
//! Owns the order of things around a sequence: record, then act; ask, claim, begin; renew in between. The rule that ties
//! them: before the restart act nothing goes on without a lease that is known to be its own. Called by [`super::Host`]; what
//! the coordinator answers is taken in by `answers`.

use crate::host::own::Own;
use crate::host::pace::Pace;
use crate::host::{Effect, Errand, Event, Prepared};
use crate::lease::Purpose;
use crate::names::Holder;
use crate::request::{Ask, BeginAsk, Renew, Settle};
use crate::sequence::{Act, Authority, Found, Look, Memo, Next, Plan, Record, Sequence, Step, Unwind};
use crate::time::{Time, millis};
use std::time::Duration;

/// For how long an ask is kept open, in milliseconds.
pub(super) const ASK_HOLD_MS: u64 = 10_000;
/// For how long an ask stands: a waiter that is silent for longer loses its turn.
const ASK_PATIENCE_MS: u64 = ASK_HOLD_MS + 5_000;
/// How long a sequence taken up again waits to learn whether its lease is still its own, in milliseconds. Then it is undone,
/// so that a host is not out for as long as its coordinator is.
const CLAIM_WAIT_MS: u64 = 10_000;

/// A sequence under way.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) sequence: Sequence,
    /// Whether it is the one that a one-shot command is for.
    pub(super) is_errand: bool,
    /// Whether the worker ends with this sequence, so that nothing may be tried for ever.
    pub(super) is_once: bool,
    pub(super) is_stopping: bool,
    pub(super) may_go_without: bool,
    /// When it was first asked for.
    pub(super) opened: Time,
    pub(super) doing: Doing,
    /// Since when that is under way.
    pub(super) since: Time,
    pub(super) lease: Own,
    pub(super) cut: Option<Unwind>,
    /// How often in a row nobody answered, and since when.
    pub(super) tries: u32,
    pub(super) silent_since: Option<Time>,
    holder: Holder,
    wait_ms: Option<u64>,
    prepared: Option<Memo>,
    step: Option<Step>,
    note: String,
    is_over: bool,
    /// Why its first record could not be written.
    pub(super) unopened: Option<String>,
    broken: Option<String>,
}

/// What is in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doing {
    Nothing,
    Recording(Record),
    /// The record could not be written; again at this moment.
    Rewriting(Record, Time),
    /// Again at this moment.
    Pausing(Time),
    Asking,
    /// Finding out whether the lease is its own.
    Claiming,
    Preparing(Step),
    Beginning,
    Acting(Step),
    Undoing,
    Looking,
    Inspecting,
    Settling,
}

impl Work {
    /// A new sequence.
    pub(super) fn open<R>(holder: Holder, plan: Plan, errand: Option<&Errand>, out: &mut Vec<Effect<R>>) -> Work {
        let mut work = Work::of(holder, Sequence::open(plan.clone()));
        work.is_errand = errand.is_some();
        work.is_once = errand.is_some();
        work.may_go_without = errand.is_some_and(|errand| errand.unreachable_restart);
        work.wait_ms = errand.and_then(|errand| errand.wait_ms);
        work.write(Record::Opened(Box::new(plan)), out);
        work
    }

    /// One that another worker left unfinished. What a person's command began is not gone on with: the person is not there.
    pub(super) fn resume<R>(holder: Holder, sequence: Sequence, is_once: bool, out: &mut Vec<Effect<R>>) -> Work {
        let mut work = Work::of(holder, sequence);
        work.is_once = is_once;
        if matches!(work.sequence.plan().purpose, Purpose::Restart(_)) {
            work.cut = Some(Unwind::Cancelled("the command that began it was killed".to_owned()));
        }
        work.write(Record::Resumed, out);
        work
    }

    fn of(holder: Holder, sequence: Sequence) -> Work {
        Work {
            sequence,
            is_errand: false,
            is_once: false,
            is_stopping: false,
            may_go_without: false,
            opened: Time(0),
            doing: Doing::Nothing,
            since: Time(0),
            lease: Own::default(),
            cut: None,
            tries: 0,
            silent_since: None,
            holder,
            wait_ms: None,
            prepared: None,
            step: None,
            note: String::new(),
            is_over: false,
            unopened: None,
            broken: None,
        }
    }

    /// Whether nothing more is done for it here.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// A record that could not follow: a bug of ours, or another's journal.
    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Leaves the rest to the next start.
    pub(super) fn leave(&mut self) {
        self.is_over = true;
    }

    pub(super) fn wake_at(&self) -> Option<Time> {
        let retry = match self.doing {
            Doing::Pausing(at) | Doing::Rewriting(_, at) => Some(at),
            Doing::Claiming => Some(self.since.plus(Duration::from_millis(CLAIM_WAIT_MS))),
            _ => None,
        };
        let renew = self.lease.renew_at.filter(|_| self.sequence.ended().is_none());
        let deadline = self.lease.deadline.filter(|_| self.can_be_abandoned());
        retry.into_iter().chain(renew).chain(deadline).min()
    }

    pub(super) fn on<R>(&mut self, event: Event<R>, now: Time, pace: &mut Pace, out: &mut Vec<Effect<R>>) {
        match event {
            Event::Recorded(receipt) => self.recorded(receipt, now, out),
            Event::NotRecorded(why) => self.not_recorded(why, now, pace),
            Event::Answered { sent, answer } => self.answered(sent, answer, now, pace, out),
            Event::Begun { sent, begin } => self.begun(sent, begin, now, pace, out),
            Event::Prepared(prepared) => self.prepared(prepared, now, out),
            Event::Acted(act) => {
                if let Doing::Acting(step) = self.doing {
                    self.write(Record::Acted { step, act }, out);
                }
            }
            Event::Undone(act) if self.doing == Doing::Undoing => self.write(Record::Undone { act }, out),
            Event::Inspected(seen) if self.doing == Doing::Inspecting => {
                self.write(Record::Inspected { step: Step::Restart, seen }, out);
            }
            Event::Noted(note) => self.note = note,
            _ => {}
        }
    }

    pub(super) fn looked<R>(&mut self, looks: &[Look], out: &mut Vec<Effect<R>>) {
        if self.doing == Doing::Looking
            && let Some(found) = self.sequence.found()
        {
            let seen = found.confirmed(looks);
            self.write(Record::Inspected { step: Step::Depool, seen }, out);
        }
    }

    fn prepared<R>(&mut self, prepared: Prepared, now: Time, out: &mut Vec<Effect<R>>) {
        let memo = match (&self.doing, prepared) {
            (Doing::Preparing(Step::Depool), Prepared::Looks(looks)) => {
                Found::of(&looks, &self.sequence.plan().left_out).map(Memo::Found)
            }
            (Doing::Preparing(Step::Restart), Prepared::Identity(identity)) => Ok(Memo::Identity(identity)),
            _ => return,
        };
        match memo {
            Ok(memo) => {
                self.prepared = Some(memo);
                self.advance_from(now, out);
            }
            Err(fault) => {
                let act = Act { ms: millis(now.since(self.since)), fault: Some(fault), ..Act::default() };
                self.write(Record::Acted { step: Step::Depool, act }, out);
            }
        }
    }

    pub(super) fn write<R>(&mut self, record: Record, out: &mut Vec<Effect<R>>) {
        self.doing = Doing::Recording(record.clone());
        out.push(Effect::Record(record));
    }

    fn recorded<R>(&mut self, receipt: R, now: Time, out: &mut Vec<Effect<R>>) {
        let Doing::Recording(record) = self.doing.clone() else { return };
        self.doing = Doing::Nothing;
        self.tries = 0;
        if matches!(record, Record::Opened(_)) {
            self.opened = now;
        } else if let Err(illegal) = self.sequence.record(&record) {
            self.broken = Some(illegal.to_string());
            return;
        }
        match record {
            // The disk took its time, and meanwhile the authority ran out.
            Record::Acting { step: step @ (Step::Depool | Step::Restart), .. } if !self.may_go_on(now) => {
                self.write(Record::Withheld { step }, out);
            }
            Record::Acting { step, .. } => {
                self.begin(Doing::Acting(step), Some(step), now);
                self.renew(now, out);
                out.push(Effect::Act(receipt, step));
            }
            Record::Undoing { .. } => {
                self.begin(Doing::Undoing, Some(Step::Repool), now);
                self.renew(now, out);
                out.push(Effect::Undo(receipt));
            }
            _ => self.advance(now, out),
        }
    }

    /// Nothing is acted that is not recorded, so this waits for the disk; unless there is nothing yet that must go on.
    fn not_recorded(&mut self, why: String, now: Time, pace: &mut Pace) {
        match self.doing.clone() {
            Doing::Recording(Record::Opened(_)) => {
                self.unopened = Some(why);
                self.is_over = true;
            }
            Doing::Recording(record) => {
                self.doing = Doing::Rewriting(record, now.plus(pace.retry(self.tries)));
                self.tries += 1;
            }
            _ => {}
        }
    }

    fn begin(&mut self, doing: Doing, step: Option<Step>, now: Time) {
        self.doing = doing;
        self.since = now;
        if step.is_some() {
            self.step = step;
            self.note.clear();
        }
    }

    /// Whether an act may begin that takes something away from the host's users.
    fn may_go_on(&self, now: Time) -> bool {
        self.cut.is_none() && (self.sequence.plan().leaseless || self.lease.is_own(now))
    }

    /// Nothing is in flight any more: does what comes next.
    pub(super) fn advance_from<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        self.doing = Doing::Nothing;
        self.advance(now, out);
    }

    fn advance<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        if self.doing != Doing::Nothing {
            return;
        }
        if self.cut.is_none() && self.sequence.is_unwindable() && !self.sequence.plan().leaseless {
            if self.sequence.tokens().is_empty() {
                return self.ask(now, out);
            }
            if self.lease.deadline.is_none() && !self.lease.is_over(now) {
                self.begin(Doing::Claiming, None, now);
                return self.renew(now, out);
            }
        }
        let authority = Authority { may_begin: self.lease.is_own(now), cut_short: self.cut.clone() };
        match self.sequence.next(&authority) {
            Next::Act(step) => self.act(step, now, out),
            Next::Begin if self.prepared.is_none() => self.prepare(Step::Restart, now, out),
            Next::Begin => {
                self.begin(Doing::Beginning, Some(Step::Begin), now);
                let claim = self.sequence.plan().sequence.clone();
                out.push(Effect::Begin(BeginAsk { holder: self.holder.clone(), claim }));
            }
            Next::Look => {
                self.begin(Doing::Looking, None, now);
                out.push(Effect::Look(self.sequence.plan().service.clone()));
            }
            Next::Inspect => {
                self.begin(Doing::Inspecting, Some(Step::Restart), now);
                self.renew(now, out);
                out.push(Effect::Inspect);
            }
            Next::Undo(why) => self.write(Record::Undoing { why }, out),
            Next::End(ending, report) => self.write(Record::Ended { ending, report }, out),
            Next::Settle(ending, report) => {
                self.begin(Doing::Settling, None, now);
                let (holder, claim) = (self.holder.clone(), self.sequence.plan().sequence.clone());
                let rollout = self.sequence.rollout();
                out.push(Effect::Settle(Settle { holder, claim, ending, rollout, report: Some(*report) }));
            }
            Next::Closed => self.is_over = true,
            Next::Wait => {}
        }
    }

    fn act<R>(&mut self, step: Step, now: Time, out: &mut Vec<Effect<R>>) {
        let memo = match step {
            Step::Depool if self.sequence.found().is_some() => None,
            Step::Depool | Step::Restart => match self.prepared.take() {
                Some(memo) => Some(memo),
                None => return self.prepare(step, now, out),
            },
            _ => None,
        };
        self.write(Record::Acting { step, memo }, out);
    }

    fn prepare<R>(&mut self, step: Step, now: Time, out: &mut Vec<Effect<R>>) {
        self.begin(Doing::Preparing(step), None, now);
        out.push(Effect::Prepare(step));
    }

    fn ask<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        self.begin(Doing::Asking, None, now);
        let plan = self.sequence.plan();
        let ask = Ask {
            holder: self.holder.clone(),
            claim: plan.sequence.clone(),
            pools: plan.pools.clone(),
            purpose: plan.purpose.clone(),
            wait_ms: self.wait_ms,
            patience_ms: ASK_PATIENCE_MS,
        };
        out.push(Effect::Ask { ask, hold_ms: ASK_HOLD_MS });
    }

    /// Says that the holder is at work, and where.
    fn renew<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        if self.sequence.plan().leaseless || self.lease.is_gone {
            self.lease.renew_at = None;
            return;
        }
        self.lease.renew_at = Some(now.plus(self.lease.pause()));
        let (holder, claim) = (self.holder.clone(), self.sequence.plan().sequence.clone());
        out.push(Effect::Renew(Renew { holder, claim, step: self.step, note: self.note.clone() }));
    }

    pub(super) fn woke<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        if self.sequence.ended().is_none() && self.lease.renew_at.is_some_and(|at| now >= at) {
            self.renew(now, out);
        }
        match self.doing.clone() {
            Doing::Pausing(at) if now >= at => return self.advance_from(now, out),
            Doing::Rewriting(record, at) if now >= at => return self.write(record, out),
            Doing::Claiming if millis(now.since(self.since)) >= CLAIM_WAIT_MS => {
                self.lease.is_given_up = true;
                return self.advance_from(now, out);
            }
            _ => {}
        }
        self.abandon(now, out);
    }

    /// Whether what is in flight can be dropped without leaving anything half done.
    fn can_be_abandoned(&self) -> bool {
        self.sequence.is_unwindable()
            && matches!(
                self.doing,
                Doing::Acting(Step::Drain)
                    | Doing::Asking
                    | Doing::Pausing(_)
                    | Doing::Claiming
                    | Doing::Preparing(_)
                    | Doing::Looking
                    | Doing::Beginning
            )
    }

    /// Drops what is in flight, when the sequence is to be unwound.
    pub(super) fn abandon<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        let is_over = self.cut.is_some() || (!self.sequence.plan().leaseless && self.lease.is_over(now));
        if !is_over || !self.can_be_abandoned() {
            return;
        }
        if self.doing == Doing::Acting(Step::Drain) {
            let act = Act { ms: millis(now.since(self.since)), note: "cut short".to_owned(), fault: None };
            return self.write(Record::Acted { step: Step::Drain, act }, out);
        }
        self.advance_from(now, out);
    }

    /// Stops at the next safe point.
    pub(super) fn stop<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        self.is_stopping = true;
        if self.cut.is_none() {
            self.cut = Some(Unwind::Cancelled("the worker was asked to stop".to_owned()));
        }
        match &self.doing {
            Doing::Pausing(_) => self.advance_from(now, out),
            _ => self.abandon(now, out),
        }
    }
}
