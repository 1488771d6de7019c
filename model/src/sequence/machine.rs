//! Where a sequence stands, and which record may follow which.
//!
//! One [`Sequence::record`] serves live and replay, so that a sequence after a crash stands exactly where its journal says.
//! Pure: never acts, never waits, knows no clock and no lease. Called by the host. What comes next is in [`super::next`].

use crate::lease::Purpose;
use crate::names::{Generation, Pool, RolloutName, Token};
use crate::request::Ending;
use crate::rollout::{Report, Timing};
use crate::sequence::record::Balancers;
use crate::sequence::{Act, Doubt, Fault, Found, Illegal, Memo, Plan, Record, Seen, Step, Unwind};
use std::collections::BTreeMap;

/// How often the host is taken out of its balancers, when one of them forgets it.
pub const DEPOOLS_MAX: u32 = 3;
/// How often a sequence restarts the service, when the worker dies in each of these acts and nothing is seen of it.
pub const RESTARTS_MAX: u32 = 3;
/// What is noted of a restart act that a worker died in, and that the next one found done: nobody knows how long it took.
pub const FOUND_DONE: &str = "done, and its worker was killed in it";

/// Where a sequence stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing is done, or the depool is to be done once more.
    Opened,
    Acting(Step),
    Depooled,
    Drained,
    /// The balancers were seen to agree.
    Confirmed,
    Begun,
    /// The last word is there, for a generation of which an earlier act is in doubt.
    Doubtful,
    /// A worker died in the restart act.
    Interrupted,
    Restarted,
    Verified,
    Repooled,
    Failed(Step, Fault),
    Undoing(Unwind),
    Undone(Unwind),
    /// A person is needed.
    Stuck(Step, Fault),
    Ended,
    Settled,
}

/// One host's way through a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    pub(super) plan: Plan,
    tokens: BTreeMap<Pool, Token>,
    pub(super) found: Option<Found>,
    /// Which incarnation of the service ran before the restart act.
    identity: Option<String>,
    generation: Option<Generation>,
    doubt: Option<Doubt>,
    depools: u32,
    /// How many restart acts the worker died in that did not show afterwards.
    misses: u32,
    is_back: bool,
    is_undone: bool,
    is_resumed: bool,
    pub(super) timings: Vec<Timing>,
    pub(super) end: Option<(Ending, Box<Report>)>,
    pub(super) stage: Stage,
}

impl Sequence {
    /// A sequence that has just been opened.
    pub fn open(plan: Plan) -> Sequence {
        Sequence {
            timings: plan.before.clone(),
            doubt: plan.doubt.clone(),
            plan,
            tokens: BTreeMap::new(),
            found: None,
            identity: None,
            generation: None,
            depools: 0,
            misses: 0,
            is_back: false,
            is_undone: false,
            is_resumed: false,
            end: None,
            stage: Stage::Opened,
        }
    }

    /// Where a journal says that its sequence stands; `None` for one without a record.
    ///
    /// # Errors
    /// A record that cannot follow the ones before it.
    pub fn replay(records: &[Record]) -> Result<Option<Sequence>, Illegal> {
        let Some((first, rest)) = records.split_first() else { return Ok(None) };
        let Record::Opened(plan) = first else {
            return Err(Illegal { at: "not opened".to_owned(), record: first.word() });
        };
        let mut sequence = Sequence::open((**plan).clone());
        for record in rest {
            sequence.record(record)?;
        }
        Ok(Some(sequence))
    }

    /// What it is for, and how it is to go.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The fencing token of each pool; empty before the lease.
    pub fn tokens(&self) -> &BTreeMap<Pool, Token> {
        &self.tokens
    }

    /// What was found at the balancers before the depool; `None` before that was recorded.
    pub fn found(&self) -> Option<&Found> {
        self.found.as_ref()
    }

    /// A restart act that may still come: what the next sequence of the service gets as its plan's `doubt`.
    pub fn doubt(&self) -> Option<&Doubt> {
        self.doubt.as_ref()
    }

    /// Which incarnation of the service ran before the restart act; of several acts for one generation, before the first.
    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// Which incarnation ran before the first act for the generation that is begun, when an earlier one was broken off: what it
    /// did already need not be done again.
    pub fn since(&self) -> Option<String> {
        self.doubted(self.generation)
    }

    /// Whether a worker took it up after another one died.
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// How it ended, once it has.
    pub fn ended(&self) -> Option<(Ending, &Report)> {
        self.end.as_ref().map(|(ending, report)| (*ending, &**report))
    }

    /// Whether the coordinator knows its end: nothing is left to do.
    pub fn is_closed(&self) -> bool {
        self.stage == Stage::Settled
    }

    /// The rollout that its report is for: the generation that its restart satisfies, else the one that wanted it.
    pub fn rollout(&self) -> Option<RolloutName> {
        let begun = self.generation.map(|generation| RolloutName { service: self.plan.service.clone(), generation });
        begun.or_else(|| match &self.plan.purpose {
            Purpose::Rollout(name) => Some(name.clone()),
            _ => None,
        })
    }

    /// Where Stagger took the host out and it still is: what the next sequence of the service gets as its plan's `left_out`.
    pub fn left_out(&self) -> Balancers {
        match &self.found {
            None => self.plan.left_out.clone(),
            Some(_) if self.is_back => Balancers::new(),
            Some(found) if self.is_undone => found.left.clone(),
            Some(found) => found.ours(),
        }
    }

    /// Whether it is over, and its coordinator was told.
    pub fn is_settled(&self) -> bool {
        self.stage == Stage::Settled
    }

    /// Takes in what was recorded.
    ///
    /// # Errors
    /// A record that cannot follow the ones before it; then nothing has changed.
    pub fn record(&mut self, record: &Record) -> Result<(), Illegal> {
        let Some(stage) = self.after(record) else {
            return Err(Illegal { at: self.stage.word(), record: record.word() });
        };
        match record {
            Record::Granted { tokens, ms } => {
                self.tokens.clone_from(tokens);
                self.time(Step::Ask, &Act { ms: *ms, ..Act::default() });
            }
            Record::Acting { memo: Some(Memo::Found(found)), .. } if self.found.is_none() => {
                self.found = Some(found.clone());
            }
            Record::Acting { memo: Some(Memo::Identity(identity)), .. } => {
                self.identity = self.doubted(self.generation).or_else(|| identity.clone());
            }
            Record::Inspected { step: Step::Restart, seen: Seen::NotDone } => {
                self.misses += u32::from(self.stage == Stage::Interrupted);
                self.leave_in_doubt();
            }
            Record::Inspected { step: Step::Restart, seen: Seen::Done } => {
                self.doubt = None;
                let note = FOUND_DONE.to_owned();
                self.timings.push(Timing { step: Step::Restart, ms: 0, ok: true, note });
            }
            Record::Acted { step, act } => {
                if *step == Step::Restart {
                    self.doubt = None;
                }
                self.depools += u32::from(*step == Step::Depool);
                self.is_back = *step == Step::Repool && act.fault.is_none();
                self.time(*step, act);
            }
            Record::Begun { generation, ms } => {
                self.generation = *generation;
                self.identity = self.doubted(*generation);
                self.time(Step::Begin, &Act { ms: *ms, ..Act::default() });
            }
            Record::Undone { act } => {
                self.is_undone = act.fault.is_none();
                self.time(Step::Repool, act);
            }
            Record::Resumed => self.is_resumed = true,
            Record::Ended { ending, report } => self.end = Some((*ending, report.clone())),
            _ => {}
        }
        self.stage = stage;
        Ok(())
    }

    fn time(&mut self, step: Step, act: &Act) {
        let note = act.fault.as_ref().map_or(&act.note, |fault| &fault.cause).clone();
        self.timings.push(Timing { step, ms: act.ms, ok: act.fault.is_none(), note });
    }

    /// Which incarnation ran before the first act for this generation, when such an act is in doubt. A person's restart is done
    /// whatever came before it.
    fn doubted(&self, generation: Option<Generation>) -> Option<String> {
        let is_by_rollout = matches!(self.plan.purpose, Purpose::Rollout(_));
        let doubt = self.doubt.as_ref().filter(|doubt| is_by_rollout && Some(doubt.generation) == generation)?;
        Some(doubt.identity.clone())
    }

    /// The restart act has not shown. What was noted before the first act for its generation is kept.
    fn leave_in_doubt(&mut self) {
        let (Some(generation), Some(identity)) = (self.generation, &self.identity) else { return };
        if self.doubt.as_ref().is_none_or(|doubt| doubt.generation != generation) {
            self.doubt = Some(Doubt { generation, identity: identity.clone() });
        }
    }

    /// Where a record leads; `None` when it cannot come here.
    fn after(&self, record: &Record) -> Option<Stage> {
        let stage = self.stage.clone();
        match record {
            Record::Opened(_) => None,
            Record::Granted { .. } => {
                (stage == Stage::Opened && self.found.is_none() && self.tokens.is_empty()).then_some(stage)
            }
            Record::Acting { step, memo } => self.after_acting(*step, memo.as_ref()),
            Record::Withheld { step } => match (stage, step) {
                (Stage::Acting(Step::Depool), Step::Depool) => Some(Stage::Opened),
                (Stage::Acting(Step::Restart), Step::Restart) => Some(self.before_begin()),
                _ => None,
            },
            Record::Acted { step, act } => self.after_acted(*step, act),
            Record::Inspected { step, seen } => self.after_inspected(*step, seen),
            Record::Begun { generation, .. } => {
                let is_doubtful = self.doubted(*generation).is_some();
                self.is_ready().then_some(if is_doubtful { Stage::Doubtful } else { Stage::Begun })
            }
            Record::Undoing { why } => (self.is_undoable() && self.has_taken()).then(|| Stage::Undoing(why.clone())),
            Record::Undone { act } => match (stage, &act.fault) {
                (Stage::Undoing(why), None) => Some(Stage::Undone(why)),
                (Stage::Undoing(why), Some(fault)) => Some(Stage::Stuck(Step::Repool, left_half(&why, fault))),
                _ => None,
            },
            Record::Resumed => self.after_resumed(),
            Record::Ended { .. } => self.may_end().then_some(Stage::Ended),
            Record::Settled => (stage == Stage::Ended).then_some(Stage::Settled),
        }
    }

    fn after_acting(&self, step: Step, memo: Option<&Memo>) -> Option<Stage> {
        let knows = match step {
            Step::Depool => self.found.is_some() || matches!(memo, Some(Memo::Found(_))),
            Step::Restart => matches!(memo, Some(Memo::Identity(_))),
            _ => true,
        };
        (knows && self.next_act() == Some(step)).then_some(Stage::Acting(step))
    }

    fn after_acted(&self, step: Step, act: &Act) -> Option<Stage> {
        let is_acting = self.stage == Stage::Acting(step);
        match &act.fault {
            Some(fault) if is_acting => Some(Stage::Failed(step, fault.clone())),
            // Nobody could tell where the host is in rotation: the depool fails without having been tried.
            Some(fault) if step == Step::Depool && self.next_act() == Some(Step::Depool) => {
                Some(Stage::Failed(step, fault.clone()))
            }
            None if is_acting => match step {
                // A host that was out before has nothing in flight.
                Step::Depool if self.was_out() => Some(Stage::Drained),
                Step::Depool => Some(Stage::Depooled),
                Step::Drain => Some(Stage::Drained),
                Step::Restart => Some(Stage::Restarted),
                Step::Verify => Some(Stage::Verified),
                Step::Repool => Some(Stage::Repooled),
                _ => None,
            },
            _ => None,
        }
    }

    fn after_inspected(&self, step: Step, seen: &Seen) -> Option<Stage> {
        match (step, &self.stage, seen) {
            (Step::Depool, Stage::Drained | Stage::Confirmed, Seen::Done) => Some(Stage::Confirmed),
            (Step::Depool, Stage::Begun, Seen::Done) => Some(Stage::Begun),
            (Step::Depool, Stage::Drained | Stage::Confirmed | Stage::Begun, Seen::NotDone)
                if self.depools < DEPOOLS_MAX =>
            {
                Some(Stage::Opened)
            }
            (Step::Depool, Stage::Drained | Stage::Confirmed | Stage::Begun, Seen::NotDone) => {
                let cause = format!("in rotation again, although it was taken out {} times", self.depools);
                Some(Stage::Failed(Step::Depool, Fault::plain(cause)))
            }
            (Step::Depool, Stage::Drained | Stage::Confirmed | Stage::Begun, Seen::Unknown(why)) => {
                Some(Stage::Failed(Step::Depool, Fault::plain(why.clone())))
            }
            (Step::Restart, Stage::Interrupted | Stage::Doubtful, Seen::Done) => Some(Stage::Restarted),
            (Step::Restart, Stage::Interrupted, Seen::NotDone) if self.misses + 1 < RESTARTS_MAX => {
                Some(self.before_begin())
            }
            (Step::Restart, Stage::Interrupted, Seen::NotDone) => {
                let cause = format!(
                    "the worker died in each of {RESTARTS_MAX} restart acts, and the same incarnation still runs"
                );
                Some(Stage::Stuck(Step::Restart, Fault::plain(cause)))
            }
            (Step::Restart, Stage::Doubtful, Seen::NotDone) => Some(Stage::Begun),
            (Step::Restart, Stage::Interrupted | Stage::Doubtful, Seen::Unknown(why)) => {
                let cause =
                    format!("the worker died during the restart, and nobody can tell whether it happened: {why}");
                Some(Stage::Stuck(Step::Restart, Fault::plain(cause)))
            }
            _ => None,
        }
    }

    fn after_resumed(&self) -> Option<Stage> {
        Some(match self.stage.clone() {
            Stage::Acting(Step::Depool) => Stage::Opened,
            Stage::Acting(Step::Drain) => Stage::Depooled,
            Stage::Acting(Step::Restart) => Stage::Interrupted,
            Stage::Acting(Step::Verify) => Stage::Restarted,
            Stage::Acting(Step::Repool) => Stage::Verified,
            // Time went by: look again, and ask again.
            Stage::Confirmed | Stage::Begun | Stage::Doubtful => self.before_begin(),
            Stage::Settled => return None,
            other => other,
        })
    }

    /// The act that this stage leads to.
    pub(super) fn next_act(&self) -> Option<Step> {
        match &self.stage {
            Stage::Opened if self.plan.depool => Some(Step::Depool),
            Stage::Depooled => Some(Step::Drain),
            Stage::Begun => Some(Step::Restart),
            // Without a lease nobody has a last word.
            _ if self.plan.leaseless && self.is_ready() => Some(Step::Restart),
            Stage::Restarted => Some(Step::Verify),
            Stage::Verified if self.has_ours() => Some(Step::Repool),
            _ => None,
        }
    }

    pub(super) fn has_ours(&self) -> bool {
        self.found.as_ref().is_some_and(|found| !found.taken.is_empty() || !found.left.is_empty())
    }

    pub(super) fn has_taken(&self) -> bool {
        self.found.as_ref().is_some_and(|found| !found.taken.is_empty())
    }

    fn was_out(&self) -> bool {
        let was_out = |found: &Found| found.taken.is_empty() && !(found.left.is_empty() && found.out.is_empty());
        self.found.as_ref().is_some_and(was_out)
    }

    /// Where it stands when all is done that comes before the last look.
    fn before_begin(&self) -> Stage {
        if self.plan.depool { Stage::Drained } else { Stage::Opened }
    }

    /// Whether the last word comes next.
    fn is_ready(&self) -> bool {
        self.stage == Stage::Confirmed || (self.stage == Stage::Opened && !self.plan.depool)
    }

    fn may_end(&self) -> bool {
        match &self.stage {
            Stage::Repooled | Stage::Undone(_) | Stage::Stuck(..) => true,
            Stage::Verified => !self.has_ours(),
            Stage::Failed(..) => !(self.is_undoable() && self.has_taken()),
            _ => self.is_on_its_way() && !self.has_taken(),
        }
    }

    /// Whether what it did can be undone: it lies before the restart act, and nothing is under way.
    fn is_undoable(&self) -> bool {
        let has_failed_before = matches!(self.stage, Stage::Failed(Step::Depool | Step::Drain, _));
        self.is_on_its_way() || has_failed_before || matches!(self.stage, Stage::Undoing(_))
    }

    /// Whether nothing is under way, and the restart act is still to come.
    pub(super) fn is_on_its_way(&self) -> bool {
        use Stage::{Begun, Confirmed, Depooled, Doubtful, Drained, Opened};
        matches!(self.stage, Opened | Depooled | Drained | Confirmed | Begun | Doubtful)
    }

    /// Whether it is on its way to a restart act that it may still be kept from.
    pub fn is_unwindable(&self) -> bool {
        self.is_on_its_way() || matches!(self.stage, Stage::Acting(Step::Depool | Step::Drain))
    }
}

impl Stage {
    fn word(&self) -> String {
        match self {
            Stage::Acting(step) => format!("acting {step}"),
            Stage::Failed(step, _) => format!("failed at {step}"),
            Stage::Stuck(step, _) => format!("stuck at {step}"),
            other => {
                let text = format!("{other:?}");
                text.split('(').next().unwrap_or_default().to_lowercase()
            }
        }
    }
}

/// The fault of an undo that failed, with why it was tried.
fn left_half(why: &Unwind, fault: &Fault) -> Fault {
    let before = match why {
        Unwind::Failed(step, first) => format!("{step}: {}", first.cause),
        Unwind::Cancelled(cause) | Unwind::GaveWay(cause) => cause.clone(),
    };
    Fault { cause: format!("{before}; then cannot put the host back: {}", fault.cause), output: fault.output.clone() }
}
