//! What a sequence writes down, and when: what happened waits in memory for what is to be done next, and one sync serves both.
//!
//! Owns the order of record and act. A crash in between only has the last act done again, or looked at, which its own
//! record allows. Called by `work` and `answers`.

use crate::host::Effect;
use crate::host::pace::Pace;
use crate::host::work::{Doing, Work};
use crate::sequence::{Look, Record, Seen, Step};
use crate::time::Time;

impl Work {
    /// Takes a record in; `false` when it cannot be.
    fn take(&mut self, record: Record) -> bool {
        match self.sequence.record(&record) {
            Ok(()) => self.unwritten.push(record),
            Err(illegal) => self.broken = Some(illegal.to_string()),
        }
        self.broken.is_none()
    }

    /// Something has happened. It goes to the disk with what announces the next act: until then a crash only has it done again.
    pub(super) fn happened<R>(&mut self, record: Record, now: Time, out: &mut Vec<Effect<R>>) {
        if self.take(record) {
            self.advance_from(now, out);
        }
    }

    /// Something is to be done: it waits until this is on disk, with all that happened before it.
    pub(super) fn write<R>(&mut self, record: Record, out: &mut Vec<Effect<R>>) {
        if self.take(record) {
            self.flush(out);
        }
    }

    pub(super) fn flush<R>(&mut self, out: &mut Vec<Effect<R>>) {
        let records = std::mem::take(&mut self.unwritten);
        self.doing = Doing::Recording(records.clone());
        out.push(Effect::Record(records));
    }

    pub(super) fn recorded<R>(&mut self, receipt: R, now: Time, out: &mut Vec<Effect<R>>) {
        let Doing::Recording(records) = &self.doing else { return };
        let last = records.last().cloned();
        self.doing = Doing::Nothing;
        self.tries = 0;
        let Some(record) = last else { return };
        match record {
            Record::Acting { step, .. } if !self.may_act(step, now) => {
                self.happened(Record::Withheld { step }, now, out);
            }
            Record::Acting { step: Step::Restart, .. } if self.sequence.plan().depool => {
                self.begin(Doing::LookingAgain, None, now);
                out.push(Effect::LookAgain(receipt, self.sequence.plan().service.clone()));
            }
            Record::Acting { step, .. } => self.do_now(receipt, step, now, out),
            Record::Undoing { .. } => {
                self.begin(Doing::Undoing, Some(Step::Repool), now);
                self.renew(now, out);
                out.push(Effect::Undo(receipt));
            }
            _ => self.advance(now, out),
        }
    }

    /// The balancers were asked at the very last. When they do not all say that the host is out, nothing is done, and it begins with
    /// the look before the last word again: that is the one that decides what follows.
    pub(super) fn looked_again<R>(&mut self, receipt: R, looks: &[Look], now: Time, out: &mut Vec<Effect<R>>) {
        if self.doing != Doing::LookingAgain {
            return;
        }
        let step = Step::Restart;
        let is_out = self.sequence.found().is_some_and(|found| found.confirmed(looks) == Seen::Done);
        if is_out && self.may_act(step, now) {
            self.do_now(receipt, step, now, out);
        } else {
            self.happened(Record::Withheld { step }, now, out);
        }
    }

    fn do_now<R>(&mut self, receipt: R, step: Step, now: Time, out: &mut Vec<Effect<R>>) {
        self.begin(Doing::Acting(step), Some(step), now);
        self.renew(now, out);
        out.push(Effect::Act(receipt, step));
    }

    /// Nothing is acted that is not recorded, so this waits for the disk; unless nothing is begun that must go on.
    pub(super) fn not_recorded(&mut self, why: String, now: Time, pace: &mut Pace) {
        match self.doing.clone() {
            Doing::Recording(records) if matches!(records.first(), Some(Record::Opened(_))) => {
                self.unopened = Some(why);
                self.is_over = true;
            }
            Doing::Recording(records) => {
                self.doing = Doing::Rewriting(records, now.plus(pace.retry(self.tries)));
                self.tries += 1;
            }
            _ => {}
        }
    }
}
