//! What comes next in a sequence, and what is reported when it ends.
//!
//! Pure: decides from where the sequence stands and what it may do; the host carries it out. Changes nothing.

use crate::request::Ending;
use crate::rollout::{Outcome, Report};
use crate::sequence::machine::{Sequence, Stage};
use crate::sequence::{Fault, Step, Unwind};

/// What a sequence may do now, as its host knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Whether its lease is known to be its own.
    pub may_begin: bool,
    /// Why it is to stop at the next safe point.
    pub cut_short: Option<Unwind>,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Record this act, then do it.
    Act(Step),
    /// Look at the balancers: is the host out?
    Look,
    /// Find out whether the restart act, in which a worker died, was done.
    Inspect {
        /// Whether it was looked for before, for as long as it may take: then one look is enough.
        is_again: bool,
    },
    /// Ask for the last word.
    Begin,
    /// Record it, then put the host back where this sequence took it out.
    Undo(Unwind),
    /// Record that it is over.
    End(Ending, Box<Report>),
    /// Tell the coordinator.
    Settle(Ending, Box<Report>),
    /// Nothing yet: an act is under way.
    Wait,
    /// Nothing: it is closed.
    Closed,
}

impl Sequence {
    /// What is to be done next.
    pub fn next(&self, authority: &Authority) -> Next {
        let unwind = match &authority.cut_short {
            Some(why) => Some(why.clone()),
            None if authority.may_begin || self.plan.leaseless => None,
            None => Some(Unwind::Cancelled("the lease is not known to be its own any more".to_owned())),
        };
        match (&self.stage, unwind) {
            (_, Some(why)) if self.is_on_its_way() => self.give_up(why),
            (Stage::Acting(_), _) => Next::Wait,
            (Stage::Drained, None) => Next::Look,
            (Stage::Interrupted, _) => Next::Inspect { is_again: false },
            (Stage::Doubtful, _) => Next::Inspect { is_again: true },
            (Stage::Failed(step @ (Step::Depool | Step::Drain), fault), _) => {
                self.give_up(Unwind::Failed(*step, fault.clone()))
            }
            (Stage::Failed(step, fault), _) => self.fail(*step, fault, false),
            (Stage::Stuck(step, fault), _) => self.fail(*step, fault, true),
            (Stage::Undoing(why), _) => Next::Undo(why.clone()),
            (Stage::Undone(why), _) => self.unwound(why.clone()),
            (Stage::Repooled, _) => self.restarted(),
            (Stage::Verified, _) if !self.has_ours() => self.restarted(),
            (Stage::Ended | Stage::Settled, _) => self.settle(),
            _ => self.next_act().map_or(Next::Begin, Next::Act),
        }
    }

    fn settle(&self) -> Next {
        match &self.end {
            Some((ending, report)) if self.stage == Stage::Ended => Next::Settle(*ending, report.clone()),
            _ => Next::Closed,
        }
    }

    fn give_up(&self, why: Unwind) -> Next {
        if self.has_taken() { Next::Undo(why) } else { self.unwound(why) }
    }

    /// Nothing of it is left.
    fn unwound(&self, why: Unwind) -> Next {
        match why {
            Unwind::Failed(step, fault) => {
                Next::End(Ending::FailedReleased, Box::new(self.failure(step, &fault, false)))
            }
            Unwind::Cancelled(cause) => self.end(Ending::Cancelled, Outcome::Cancelled, cause),
            Unwind::GaveWay(cause) => self.end(Ending::GaveWay, Outcome::Cancelled, cause),
        }
    }

    fn restarted(&self) -> Next {
        self.end(Ending::Released, Outcome::Restarted, String::new())
    }

    fn end(&self, ending: Ending, outcome: Outcome, cause: String) -> Next {
        Next::End(ending, Box::new(Report { cause, ..self.report(outcome) }.bounded()))
    }

    fn fail(&self, step: Step, fault: &Fault, stuck: bool) -> Next {
        let ending = if self.plan.keep || stuck { Ending::Kept } else { Ending::FailedReleased };
        Next::End(ending, Box::new(self.failure(step, fault, stuck)))
    }

    fn failure(&self, step: Step, fault: &Fault, stuck: bool) -> Report {
        let (cause, output) = (fault.cause.clone(), fault.output.clone());
        Report { step: Some(step), cause, output, stuck, ..self.report(Outcome::Failed) }.bounded()
    }

    fn report(&self, outcome: Outcome) -> Report {
        let others = self.found.iter().flat_map(|found| found.out.iter().cloned());
        Report {
            out_of: self.left_out().into_keys().chain(others).collect(),
            timings: self.timings.clone(),
            ..Report::plain(outcome)
        }
    }
}
