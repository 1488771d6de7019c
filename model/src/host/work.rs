//! A sequence under way: what is in flight, what its lease allows, when it is cut short.
//!
//! Owns the order of things around a sequence: record, then act; claim, begin; renew in between. The rule that ties them:
//! before the restart act nothing goes on without a lease that is known to be its own. Called by [`super::Host`], under the
//! host's lock from the first record to the last; what the coordinator answers is taken in by `answers`.

use crate::bound::beginning;
use crate::host::own::Own;
use crate::host::pace::Pace;
use crate::host::wait::Grant;
use crate::host::{Effect, Event, Prepared, asked_to_stop};
use crate::lease::{Purpose, TEXT_BYTES_MAX};
use crate::names::Holder;
use crate::request::{BeginAsk, Renew, Settle};
use crate::sequence::{Act, Authority, Found, Look, Memo, Next, Plan, Record, Sequence, Step, Unwind};
use crate::time::{Time, millis};
use std::time::Duration;

/// How long a sequence taken up again waits to learn whether its lease is still its own, in milliseconds. Then it is undone,
/// so that a host is not out for as long as its coordinator is.
const CLAIM_WAIT_MS: u64 = 10_000;
/// How often a new note is told at most, in milliseconds.
const NOTE_PAUSE_MS: u64 = 1_000;

/// A sequence under way.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) sequence: Sequence,
    /// Whether it is the one that a one-shot command is for.
    pub(super) is_errand: bool,
    /// Whether the worker ends with this sequence, so that nothing may be tried for ever.
    pub(super) is_once: bool,
    pub(super) is_stopping: bool,
    pub(super) doing: Doing,
    /// Since when that is under way.
    pub(super) since: Time,
    pub(super) lease: Own,
    pub(super) cut: Option<Unwind>,
    /// How often in a row nobody answered.
    pub(super) tries: u32,
    holder: Holder,
    /// What must be known before the next depool or restart act, once it is.
    prepared: Option<Memo>,
    /// Whether which incarnation runs is being found out, beside the look.
    is_identifying: bool,
    /// Since when it waits to learn whether its lease is its own.
    claiming_since: Option<Time>,
    /// What has happened and is not on disk yet; it gets there before the next act.
    pub(super) unwritten: Vec<Record>,
    step: Option<Step>,
    pub(super) note: String,
    /// When the coordinator was last told where it is.
    told: Time,
    /// When it is told of a new note, whatever else is renewed when.
    note_at: Option<Time>,
    /// Why its report was refused as it was: then only what is left of it is told.
    pub(super) refused: Option<String>,
    pub(super) is_over: bool,
    /// Why its first record could not be written.
    pub(super) unopened: Option<String>,
    pub(super) broken: Option<String>,
}

/// What is in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doing {
    Nothing,
    /// The last of these announces what is done next.
    Recording(Vec<Record>),
    /// They could not be written; again at this moment.
    Rewriting(Vec<Record>, Time),
    /// Again at this moment.
    Pausing(Time),
    /// Finding out whether the lease is its own.
    Claiming,
    Preparing(Step),
    Beginning,
    Acting(Step),
    Undoing,
    Looking,
    /// The restart act is announced, and the balancers are asked once more.
    LookingAgain,
    Inspecting,
    Settling,
}

impl Work {
    /// A new sequence, with its lease unless it goes without.
    pub(super) fn open<R>(
        holder: Holder,
        plan: Plan,
        grant: Option<Grant>,
        is_errand: bool,
        out: &mut Vec<Effect<R>>,
    ) -> Work {
        let mut work = Work::of(holder, Sequence::open(plan.clone()));
        (work.is_errand, work.is_once) = (is_errand, is_errand);
        work.unwritten.push(Record::Opened(Box::new(plan)));
        match grant {
            Some(Grant { tokens, ms, ttl_ms }) => {
                work.lease.ttl_ms = ttl_ms;
                work.write(Record::Granted { tokens, ms }, out);
            }
            None => work.flush(out),
        }
        work
    }

    /// One that another worker left unfinished. What a person's command began is not gone on with: the person is not there.
    pub(super) fn resume<R>(holder: Holder, sequence: Sequence, is_once: bool, out: &mut Vec<Effect<R>>) -> Work {
        let mut work = Work::of(holder, sequence);
        work.is_once = is_once;
        if matches!(work.sequence.plan().purpose, Purpose::Restart(_)) {
            work.cut = Some(Unwind::Cancelled("the command that began it was killed".to_owned()));
        } else if work.sequence.tokens().is_empty() && !work.sequence.plan().leaseless {
            work.cut = Some(Unwind::Cancelled("its worker was killed before its lease was recorded".to_owned()));
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
            doing: Doing::Nothing,
            since: Time(0),
            lease: Own::default(),
            cut: None,
            tries: 0,
            holder,
            prepared: None,
            is_identifying: false,
            claiming_since: None,
            unwritten: Vec::new(),
            step: None,
            note: String::new(),
            told: Time(0),
            note_at: None,
            refused: None,
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
            Doing::Claiming => self.claiming_since.map(|since| since.plus(Duration::from_millis(CLAIM_WAIT_MS))),
            _ => None,
        };
        let renew = self.renew_due().filter(|_| self.sequence.ended().is_none());
        let deadline = self.lease.deadline.filter(|_| self.can_be_abandoned());
        retry.into_iter().chain(renew).chain(deadline).min()
    }

    pub(super) fn on<R>(&mut self, event: Event<R>, now: Time, pace: &mut Pace, out: &mut Vec<Effect<R>>) {
        match event {
            Event::Recorded(receipt) => self.recorded(receipt, now, out),
            Event::NotRecorded(why) => self.not_recorded(why, now, pace),
            Event::Begun { sent, begin } => self.begun(sent, begin, now, pace, out),
            Event::Prepared(prepared) => self.prepared(prepared, now, out),
            Event::Acted(act) => {
                if let Doing::Acting(step) = self.doing {
                    self.happened(Record::Acted { step, act }, now, out);
                }
            }
            Event::LookedAgain(receipt, looks) => self.looked_again(receipt, &looks, now, out),
            Event::Undone(act) if self.doing == Doing::Undoing => self.happened(Record::Undone { act }, now, out),
            Event::Inspected(seen) if self.doing == Doing::Inspecting => {
                self.note.clear();
                self.happened(Record::Inspected { step: Step::Restart, seen }, now, out);
            }
            Event::Noted(note) => self.noted(note),
            _ => {}
        }
    }

    /// A new note is told soon, and not too often.
    fn noted(&mut self, note: String) {
        let (Doing::Acting(_) | Doing::Inspecting) = self.doing else { return };
        let note = beginning(&note, TEXT_BYTES_MAX);
        if note != self.note {
            self.note = note;
            self.note_at = Some(self.told.plus(Duration::from_millis(NOTE_PAUSE_MS)));
        }
    }

    /// When the coordinator is to be told next where it is; never, when there is nobody to tell.
    fn renew_due(&self) -> Option<Time> {
        let renew_at = self.lease.renew_at?;
        Some(self.note_at.map_or(renew_at, |at| at.min(renew_at)))
    }

    pub(super) fn looked<R>(&mut self, looks: &[Look], now: Time, out: &mut Vec<Effect<R>>) {
        if self.doing == Doing::Looking
            && let Some(found) = self.sequence.found()
        {
            let seen = found.confirmed(looks);
            self.happened(Record::Inspected { step: Step::Depool, seen }, now, out);
        }
    }

    fn prepared<R>(&mut self, prepared: Prepared, now: Time, out: &mut Vec<Effect<R>>) {
        let memo = match (&self.doing, prepared) {
            (Doing::Preparing(Step::Depool), Prepared::Looks(looks)) => {
                Found::of(&looks, &self.sequence.plan().left_out).map(Memo::Found)
            }
            (doing, Prepared::Identity(identity)) if self.is_identifying => {
                let is_awaited = *doing == Doing::Preparing(Step::Restart);
                self.is_identifying = false;
                self.prepared = Some(Memo::Identity(identity));
                if is_awaited {
                    self.advance_from(now, out);
                }
                return;
            }
            _ => return,
        };
        match memo {
            Ok(memo) => {
                self.prepared = Some(memo);
                self.advance_from(now, out);
            }
            Err(fault) => {
                let act = Act { ms: millis(now.since(self.since)), fault: Some(fault), ..Act::default() };
                self.happened(Record::Acted { step: Step::Depool, act }, now, out);
            }
        }
    }

    pub(super) fn begin(&mut self, doing: Doing, step: Option<Step>, now: Time) {
        self.doing = doing;
        self.since = now;
        if step.is_some() {
            (self.step, self.note_at) = (step, None);
            self.note.clear();
        }
    }

    /// Whether an act may begin that takes something away from the host's users.
    pub(super) fn may_go_on(&self, now: Time) -> bool {
        self.cut.is_none() && (self.sequence.plan().leaseless || self.lease.is_own(now))
    }

    /// Whether an act that was announced may be done: the disk took its time, and meanwhile its authority can have run out.
    pub(super) fn may_act(&self, step: Step, now: Time) -> bool {
        !matches!(step, Step::Depool | Step::Restart) || self.may_go_on(now)
    }

    /// Nothing is in flight any more: does what comes next.
    pub(super) fn advance_from<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        self.doing = Doing::Nothing;
        self.advance(now, out);
    }

    pub(super) fn advance<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        if self.doing != Doing::Nothing {
            return;
        }
        let needs_lease = self.cut.is_none() && self.sequence.is_unwindable() && !self.sequence.plan().leaseless;
        if needs_lease && self.lease.deadline.is_none() && !self.lease.is_over(now) {
            return self.claim(now, out);
        }
        let authority = Authority { may_begin: self.lease.is_own(now), cut_short: self.cut.clone() };
        match self.sequence.next(&authority) {
            Next::Act(step) => self.act(step, now, out),
            Next::Begin if self.prepared.is_none() => self.prepare(Step::Restart, now, out),
            Next::Begin => {
                self.begin(Doing::Beginning, Some(Step::Begin), now);
                let plan = self.sequence.plan();
                let (holder, claim) = (self.holder.clone(), plan.sequence.clone());
                out.push(Effect::Begin(BeginAsk { holder, claim, away_ms: plan.away_ms }));
            }
            Next::Look => {
                self.identify(out);
                self.look(now, out);
            }
            Next::Inspect { .. } if self.gives_way_to_boot() => self.leave(),
            Next::Inspect { is_again } => {
                self.begin(Doing::Inspecting, Some(Step::Restart), now);
                self.renew(now, out);
                out.push(Effect::Inspect { is_again });
            }
            Next::Undo(why) => self.write(Record::Undoing { why }, out),
            Next::End(ending, report) => self.write(Record::Ended { ending, report }, out),
            Next::Settle(..) => {
                self.begin(Doing::Settling, None, now);
                out.extend(self.settle().map(Effect::Settle));
            }
            Next::Closed => self.is_over = true,
            Next::Wait => {}
        }
    }

    /// What the coordinator is told at the end.
    pub(super) fn settle(&self) -> Option<Settle> {
        let (ending, report) = self.sequence.ended()?;
        let (holder, claim) = (self.holder.clone(), self.sequence.plan().sequence.clone());
        let report = match &self.refused {
            None => report.clone(),
            Some(why) => report.without_details(why),
        };
        Some(Settle { holder, claim, ending, rollout: self.sequence.rollout(), report: Some(report) })
    }

    fn look<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        self.begin(Doing::Looking, None, now);
        out.push(Effect::Look(self.sequence.plan().service.clone()));
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

    /// Finds out whether the lease is its own, and tells the next step before that is acted: a lease of which no step is known
    /// is one under which nothing was done. What is found at the balancers is asked meanwhile, since that changes nothing.
    fn claim<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        let next = self.sequence.next(&Authority { may_begin: true, cut_short: None });
        if self.claiming_since.is_none() {
            self.claiming_since = Some(now);
            self.step = match &next {
                Next::Act(step) => Some(*step),
                _ => None,
            };
            self.renew(now, out);
        }
        let is_first = self.prepared.is_none() && self.sequence.found().is_none();
        match next {
            Next::Act(Step::Depool) if is_first => self.prepare(Step::Depool, now, out),
            _ => self.begin(Doing::Claiming, None, now),
        }
    }

    fn prepare<R>(&mut self, step: Step, now: Time, out: &mut Vec<Effect<R>>) {
        self.begin(Doing::Preparing(step), None, now);
        match step {
            Step::Restart if self.is_identifying => {}
            Step::Restart => self.identify(out),
            _ => out.push(Effect::Prepare(step)),
        }
    }

    /// Finds out which incarnation runs, beside whatever else is under way.
    fn identify<R>(&mut self, out: &mut Vec<Effect<R>>) {
        self.prepared = None;
        self.is_identifying = true;
        out.push(Effect::Prepare(Step::Restart));
    }

    /// Says that the holder is at work, and where.
    pub(super) fn renew<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        if self.sequence.plan().leaseless || self.lease.is_gone {
            self.lease.renew_at = None;
            return;
        }
        (self.told, self.note_at) = (now, None);
        self.lease.renew_at = Some(now.plus(self.lease.pause()));
        let (holder, claim) = (self.holder.clone(), self.sequence.plan().sequence.clone());
        out.push(Effect::Renew(Renew { holder, claim, step: self.step, note: self.note.clone() }));
    }

    pub(super) fn woke<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        if self.sequence.ended().is_none() && self.renew_due().is_some_and(|at| now >= at) {
            self.renew(now, out);
        }
        match self.doing.clone() {
            Doing::Pausing(at) if now >= at => return self.advance_from(now, out),
            Doing::Rewriting(records, at) if now >= at => {
                self.unwritten = records;
                return self.flush(out);
            }
            Doing::Claiming if self.claiming_since.is_some_and(|at| millis(now.since(at)) >= CLAIM_WAIT_MS) => {
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
                    | Doing::Pausing(_)
                    | Doing::Claiming
                    | Doing::Preparing(_)
                    | Doing::Looking
                    | Doing::Inspecting
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
            return self.happened(Record::Acted { step: Step::Drain, act }, now, out);
        }
        self.advance_from(now, out);
    }

    /// Stops at the next safe point.
    pub(super) fn stop<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        self.is_stopping = true;
        if self.cut.is_none() {
            self.cut = Some(Unwind::Cancelled(asked_to_stop(self.is_once)));
        }
        match &self.doing {
            Doing::Pausing(_) => self.advance_from(now, out),
            Doing::Acting(Step::Restart) | Doing::Inspecting if self.gives_way_to_boot() => self.leave(),
            _ => self.abandon(now, out),
        }
    }

    /// Whether it may be the host itself that goes down, and waits for this very worker: then the next start goes on.
    fn gives_way_to_boot(&self) -> bool {
        self.is_stopping && self.sequence.plan().away_ms > 0
    }
}
