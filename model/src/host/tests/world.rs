//! A host against a small world: a balancer, a service, a coordinator and a disk, each of which may fail at any moment, and a
//! worker that dies anywhere. Whatever happens, what must hold is checked at every act; and when all is calm again, the host
//! comes to rest with nothing left behind.

use super::rig::{by_rollout, duties, lease, look, refusal, unheard, welcome};
use crate::host::{Checked, Effect, Event, Host, Locked, Phase, Prepared, Setup};
use crate::member::Presence;
use crate::request::{Answer, Begin, Ending, Granted, Own, Queued, RefusalKind, Renew, Settle, Settled};
use crate::sequence::{Act, Fault, Look, Record, Seen, Sequence, Step};
use crate::time::Time;
use proptest::prelude::*;
use std::collections::BTreeMap;

const TTL_MS: u64 = 3_000;

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Op {
    /// What is in flight is done, and answered.
    Done,
    /// It fails, or says no.
    Failed,
    /// It is done, and the answer is lost.
    Unheard,
    /// It is not done, and there is no answer.
    Lost,
    /// The worker dies before it is done.
    DiesBefore,
    /// The worker dies after it was done.
    DiesAfter,
    /// A renewal is answered, or not.
    Renewed(bool),
    /// Time goes by, in milliseconds.
    Wait(u64),
    /// The coordinator stops or resumes begins.
    Pause(bool),
    /// A deploy is announced.
    Announce,
    /// Somebody asks the worker to stop.
    Stop,
    /// A balancer forgets that the host is out.
    Forgets,
    /// The worker dies; when it was in the restart, that was handed on, and is still to come.
    DiesHandingOn,
    /// A restart that was handed on comes.
    Comes,
}

/// The world, and the host in it.
#[derive(Debug)]
struct World {
    host: Option<Host>,
    now: u64,
    main: Option<Effect<usize>>,
    /// Whether the running incarnation is being found out, beside.
    identifies: bool,
    /// Whether the host's lock is held.
    locked: bool,
    renewals: Vec<(u64, Renew)>,
    /// One journal per sequence.
    disk: Vec<Vec<Record>>,
    sequences: u32,
    /// Which claim has the lease, and when it was last heard of.
    lease: Option<(String, u64)>,
    paused: bool,
    owed: bool,
    generation: u64,
    is_in: bool,
    was_in: bool,
    incarnation: u64,
    /// How often the restart was acted since the last word.
    acts_since_begun: u32,
    /// Whether a restart that was handed on is still to come.
    handed_on: bool,
    /// The incarnation before the first restart act for the newest generation.
    first: Option<u64>,
    said_go: bool,
    stopping: bool,
    exited: bool,
}

impl World {
    fn new(is_in: bool) -> World {
        let mut world = World {
            host: None,
            now: 100_000,
            main: None,
            identifies: false,
            locked: false,
            renewals: Vec::new(),
            disk: Vec::new(),
            sequences: 0,
            lease: None,
            paused: false,
            owed: true,
            generation: 7,
            is_in,
            was_in: is_in,
            incarnation: 1,
            acts_since_begun: 0,
            handed_on: false,
            first: None,
            said_go: false,
            stopping: false,
            exited: false,
        };
        world.boot();
        world
    }

    fn boot(&mut self) {
        let setup = Setup { holder: "mw1".parse().expect("a holder"), duties: duties(), errand: None, seed: self.now };
        (self.host, self.main, self.stopping, self.exited) = (Some(Host::new(setup)), None, false, false);
        (self.identifies, self.locked) = (false, false);
        self.renewals.clear();
        self.tell(Event::Started);
        self.join();
    }

    fn join(&mut self) {
        let rollout = format!("php@{}", self.generation);
        let owed = [(rollout.as_str(), true, false)];
        self.tell(Event::Joined(Box::new(welcome(if self.owed { &owed } else { &[] }))));
    }

    fn tell(&mut self, event: Event<usize>) {
        let Some(host) = &mut self.host else { return };
        let effects = host.on(event, Time(self.now));
        for effect in effects {
            match effect {
                Effect::Unlock => self.locked = false,
                Effect::Join => self.join(),
                Effect::Renew(renew) => self.renewals.push((self.now, renew)),
                Effect::Prepare(Step::Restart) => self.identifies = true,
                Effect::Exit(_) => self.exited = true,
                effect => {
                    let is_droppable = self.main.as_ref().is_none_or(|old| {
                        let is_question =
                            matches!(old, Effect::Ask { .. } | Effect::Begin(_) | Effect::Look(_) | Effect::Lock);
                        is_question
                            || matches!(old, Effect::Prepare(_) | Effect::Act(_, Step::Drain) | Effect::Check(_))
                            || matches!(old, Effect::Inspect { is_again: true })
                    });
                    assert!(is_droppable, "{:?} was dropped for {effect:?}", self.main);
                    self.check(&effect);
                    self.main = Some(effect);
                }
            }
        }
    }

    fn open(&self) -> Option<&Vec<Record>> {
        self.disk.iter().rev().find(|file| !matches!(file.last(), Some(Record::Settled)))
    }

    /// What must hold whenever something is to be done.
    fn check(&self, effect: &Effect<usize>) {
        let last = self.open().and_then(|file| file.last());
        match effect {
            Effect::Check(_) | Effect::Ask { .. } => assert!(!self.locked, "waits with the lock: {effect:?}"),
            Effect::Record(_) | Effect::Act(..) | Effect::Undo(_) => assert!(self.locked, "no lock: {effect:?}"),
            _ => {}
        }
        match effect {
            Effect::Act(receipt, step) => {
                assert_eq!(Some(*receipt), self.open().map(Vec::len), "an act with an old receipt");
                assert!(matches!(last, Some(Record::Acting { step: at, .. }) if at == step), "{step} after {last:?}");
            }
            Effect::Undo(_) => assert!(matches!(last, Some(Record::Undoing { .. })), "undo after {last:?}"),
            _ => {}
        }
        if let Effect::Act(_, Step::Restart) = effect {
            let claim =
                self.host.as_ref().and_then(Host::sequence).map(|sequence| sequence.plan().sequence.to_string());
            assert!(self.said_go, "a restart without a last word");
            assert!(!self.is_in, "a restart in rotation");
            assert_eq!(self.acts_since_begun, 0, "two restarts on one last word");
            assert!(self.first.is_none_or(|first| first == self.incarnation), "a rollout restarts once");
            assert!(self.holds(&claim.unwrap_or_default()), "a restart without a lease");
            assert!(!self.stopping, "a restart begun after a stop");
        }
    }

    fn holds(&self, claim: &str) -> bool {
        self.lease.as_ref().is_some_and(|(own, heard)| own == claim && self.now < heard + TTL_MS)
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Wait(ms) => {
                self.now += ms;
                if self.host.as_ref().and_then(Host::wake_at).is_some_and(|at| at.0 <= self.now) {
                    self.tell(Event::Woke);
                }
            }
            Op::Renewed(is_answered) => {
                if let Some((sent, renew)) = self.renewals.pop() {
                    let own = self.own(&renew.claim.to_string());
                    let own = if is_answered { Ok(own) } else { Err(unheard("no route")) };
                    self.tell(Event::Owned { claim: renew.claim, sent: Time(sent), own });
                }
            }
            Op::Pause(paused) => self.paused = paused,
            Op::Announce => {
                if !std::mem::replace(&mut self.owed, true) {
                    self.generation += 1;
                    self.first = None;
                }
                self.join();
            }
            Op::Stop => {
                self.stopping = true;
                self.tell(Event::StopRequested);
            }
            Op::Forgets => self.forgets(),
            Op::Comes => self.comes(),
            op => self.main(op),
        }
        if self.exited {
            self.boot();
        }
    }

    fn main(&mut self, op: Op) {
        if std::mem::take(&mut self.identifies) {
            let identity = Some(self.incarnation.to_string());
            self.tell(Event::Prepared(Prepared::Identity(identity)));
        }
        let Some(effect) = self.main.take() else {
            if matches!(op, Op::DiesBefore | Op::DiesAfter | Op::DiesHandingOn) {
                self.boot();
            }
            return;
        };
        if matches!(op, Op::DiesHandingOn) && matches!(effect, Effect::Act(_, Step::Restart)) {
            self.handed_on = true;
            self.first.get_or_insert(self.incarnation);
        }
        if matches!(op, Op::DiesBefore | Op::DiesHandingOn) {
            return self.boot();
        }
        let event = self.outcome(effect, op);
        if matches!(op, Op::DiesAfter) {
            return self.boot();
        }
        self.tell(event);
    }

    /// It comes at any moment but the last before a restart act, of which nobody can tell.
    fn comes(&mut self) {
        let is_too_late = match &self.main {
            Some(Effect::Record(records)) => {
                matches!(records.last(), Some(Record::Acting { step: Step::Restart, .. }))
            }
            Some(Effect::LookAgain(..) | Effect::Act(_, Step::Restart)) => true,
            _ => false,
        };
        if !is_too_late && std::mem::take(&mut self.handed_on) {
            self.incarnation += 1;
        }
    }

    /// At any moment but the last before a restart act, of which nobody can tell.
    fn forgets(&mut self) {
        self.is_in |= self.was_in && !matches!(self.main, Some(Effect::Act(_, Step::Restart)));
    }

    fn own(&mut self, claim: &str) -> Own {
        let now = self.now;
        match &mut self.lease {
            Some((own, heard)) if own == claim && now < *heard + TTL_MS => {
                *heard = now;
                Own::Held { ttl_ms: TTL_MS }
            }
            _ => Own::Gone,
        }
    }

    /// Does it, as far as it is done, and returns what the host hears.
    fn outcome(&mut self, effect: Effect<usize>, op: Op) -> Event<usize> {
        let now = self.now;
        let (sent, is_done) = (Time(now), !matches!(op, Op::Failed | Op::Lost));
        let is_heard = matches!(op, Op::Done | Op::DiesAfter);
        match effect {
            Effect::Lock => {
                if !is_done {
                    return Event::Busy("pid 7".into());
                }
                self.locked = true;
                self.sequences += 1;
                let fresh = format!("q{}", self.sequences).parse().expect("an id");
                let replayed = self.disk.last().map(|file| Sequence::replay(file).expect("a legal journal"));
                let replayed = replayed.flatten();
                let php = || "php".parse().expect("a service");
                let left = replayed.as_ref().map(Sequence::left_out).unwrap_or_default();
                let left_out = BTreeMap::from([(php(), left)]);
                let doubt = replayed.and_then(|sequence| sequence.doubt().cloned());
                let doubts = doubt.map(|doubt| (php(), doubt)).into_iter().collect();
                Event::Locked(Box::new(Locked { fresh, unfinished: self.open().cloned(), left_out, doubts }))
            }
            Effect::Check(_) => Event::Checked(Checked { ms: 1, note: String::new(), restart: Ok(is_done) }),
            Effect::Record(records) => self.record(records, op, is_done),
            Effect::Ask { ask, .. } => {
                let claim = ask.claim.to_string();
                let is_free = self.lease.as_ref().is_none_or(|(own, heard)| *own == claim || now >= heard + TTL_MS);
                let answer = match op {
                    Op::Failed => Ok(Answer::Refused(refusal(RefusalKind::TimedOut))),
                    Op::Lost => Err(unheard("no route")),
                    _ if is_free => {
                        self.lease = Some((claim.clone(), now));
                        let lease = crate::lease::Lease { ttl_ms: TTL_MS, ..lease(&claim, by_rollout()) };
                        Ok(Answer::Granted(Box::new(Granted { lease })))
                    }
                    _ => Ok(Answer::Queued(Queued { place: 1, left_ms: 1, why: refusal(RefusalKind::Full) })),
                };
                Event::Answered { sent, answer: if is_heard || !is_done { answer } else { Err(unheard("cut")) } }
            }
            Effect::Begin(ask) => {
                let begin = match self.own(&ask.claim.to_string()) {
                    Own::Gone => Begin::Gone,
                    Own::Held { .. } if self.paused => Begin::Paused("paused".into()),
                    Own::Held { .. } if matches!(op, Op::Failed) => Begin::Halted("halted".into()),
                    Own::Held { .. } => Begin::Go { generation: Some(self.generation) },
                };
                let is_lost = matches!(op, Op::Lost | Op::Unheard);
                self.said_go = !is_lost && matches!(begin, Begin::Go { .. });
                Event::Begun { sent, begin: if is_lost { Err(unheard("cut")) } else { Ok(begin) } }
            }
            Effect::Prepare(_) => Event::Prepared(Prepared::Looks(self.looks(op))),
            Effect::Look(_) => Event::Looked(self.looks(op)),
            Effect::LookAgain(receipt, _) => Event::LookedAgain(receipt, self.looks(op)),
            Effect::Inspect { .. } => Event::Inspected(self.inspect(op)),
            Effect::Act(_, step) => Event::Acted(self.act(step, is_done, op)),
            Effect::Undo(_) => {
                self.is_in |= is_done && self.was_in;
                Event::Undone(self.came_of(op))
            }
            Effect::Settle(settle) => self.settle(&settle, is_done, is_heard),
            other => panic!("not a main effect: {other:?}"),
        }
    }

    /// A worker that dies in the middle may have written the first of them.
    fn record(&mut self, records: Vec<Record>, op: Op, is_done: bool) -> Event<usize> {
        if !is_done {
            return Event::NotRecorded("disk full".into());
        }
        let kept = if matches!(op, Op::DiesAfter) { self.kept(records.len()) } else { records.len() };
        let mut count = 0;
        for record in records.into_iter().take(kept) {
            match &record {
                Record::Opened(_) => {
                    self.disk.push(Vec::new());
                    self.was_in = self.is_in;
                }
                Record::Begun { .. } => self.acts_since_begun = 0,
                _ => {}
            }
            let file = self.disk.iter_mut().rev().find(|file| !matches!(file.last(), Some(Record::Settled)));
            let file = file.expect("an open journal");
            file.push(record);
            count = file.len();
        }
        Event::Recorded(count)
    }

    /// How many of so many reach the disk when the power fails: any number, by the clock.
    fn kept(&self, of: usize) -> usize {
        usize::try_from(self.now).expect("a small number") % (of + 1)
    }

    fn looks(&self, op: Op) -> Vec<Look> {
        match op {
            Op::Failed | Op::Lost => vec![Look { presence: Presence::Unknown, ..look("lb1", false) }],
            _ => vec![look("lb1", self.is_in)],
        }
    }

    fn inspect(&self, op: Op) -> Seen {
        let before = self.host.as_ref().and_then(Host::sequence).and_then(|sequence| sequence.identity());
        match op {
            Op::Failed | Op::Lost => Seen::Unknown("no answer".into()),
            _ if before == Some(self.incarnation.to_string().as_str()) => Seen::NotDone,
            _ => Seen::Done,
        }
    }

    fn act(&mut self, step: Step, is_done: bool, op: Op) -> Act {
        let found = self.host.as_ref().and_then(Host::sequence).and_then(|sequence| sequence.found()).cloned();
        let ours = found.is_some_and(|found| !found.ours().is_empty());
        match step {
            Step::Depool if is_done => self.is_in &= !ours,
            Step::Restart => {
                assert!(!self.is_in, "restarted in rotation");
                self.acts_since_begun += 1;
                self.first.get_or_insert(self.incarnation);
                self.incarnation += u64::from(is_done);
            }
            Step::Repool if is_done => self.is_in |= ours,
            _ => {}
        }
        self.came_of(op)
    }

    fn came_of(&self, op: Op) -> Act {
        let fault = (!matches!(op, Op::Done | Op::DiesAfter)).then(|| Fault::plain("broke"));
        Act { ms: 1, note: String::new(), fault }
    }

    fn settle(&mut self, settle: &Settle, is_done: bool, is_heard: bool) -> Event<usize> {
        if is_done {
            if self.lease.as_ref().is_some_and(|(own, _)| *own == settle.claim.to_string()) {
                self.lease = None;
            }
            self.owed &= matches!(settle.ending, Ending::Cancelled | Ending::GaveWay);
        }
        let answer = if is_done && is_heard { Ok(Settled::Done) } else { Err(unheard("no route")) };
        Event::Settled(answer)
    }

    /// Nothing fails any more: the host comes to rest.
    fn calm(&mut self) {
        self.paused = false;
        self.owed = false;
        for _ in 0..400 {
            while !self.renewals.is_empty() {
                self.run(Op::Renewed(true));
            }
            if self.main.is_some() || self.identifies {
                self.run(Op::Done);
                continue;
            }
            match self.host.as_ref().and_then(Host::wake_at) {
                Some(at) => self.run(Op::Wait(at.0.saturating_sub(self.now))),
                None => break,
            }
        }
        let host = self.host.as_ref().expect("a host");
        assert!(matches!(host.phase, Phase::Idle), "not at rest: {:?}, {:?}", host.phase, self.main);
        assert!(self.open().is_none(), "left unfinished: {:?}", self.open());
        self.check_rest();
    }

    /// Where the host is in rotation follows from how its last sequence ended.
    fn check_rest(&self) {
        let Some(file) = self.disk.last() else { return };
        let sequence = Sequence::replay(file).expect("a legal journal").expect("a sequence");
        let (ending, report) = sequence.ended().expect("it has ended");
        let had_left = !sequence.plan().left_out.is_empty();
        match ending {
            Ending::Released => assert_eq!(self.is_in, self.was_in || had_left, "after a good end"),
            Ending::Cancelled | Ending::GaveWay | Ending::FailedReleased => {
                assert_eq!(self.is_in, self.was_in, "after {ending:?}: {report:?}");
            }
            Ending::Kept => assert!(report.step.is_some()),
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        30 => Just(Op::Done),
        2 => Just(Op::Failed),
        1 => Just(Op::Unheard),
        1 => Just(Op::Lost),
        1 => Just(Op::DiesBefore),
        1 => Just(Op::DiesAfter),
        1 => Just(Op::DiesHandingOn),
        2 => Just(Op::Comes),
        6 => any::<bool>().prop_map(Op::Renewed),
        4 => (0..1_500_u64).prop_map(Op::Wait),
        1 => (2_000..20_000_u64).prop_map(Op::Wait),
        1 => any::<bool>().prop_map(Op::Pause),
        2 => Just(Op::Announce),
        1 => Just(Op::Stop),
        1 => Just(Op::Forgets),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_restart_is_wrong_and_no_host_is_left_out(
        is_in in any::<bool>(),
        ops in prop::collection::vec(op(), 0..120),
    ) {
        let mut world = World::new(is_in);
        for op in ops {
            world.run(op);
        }
        world.calm();
    }
}

/// Killed at every single moment of a good run, before and after each effect: the next start ends it well.
#[test]
fn killed_anywhere_it_is_finished_or_undone() {
    for death in [Op::DiesBefore, Op::DiesAfter] {
        for moment in 0..40 {
            let mut world = World::new(true);
            for _ in 0..moment {
                world.run(Op::Renewed(true));
                world.run(Op::Done);
            }
            let before = world.incarnation;
            world.run(death);
            world.calm();
            assert!(world.is_in, "{death:?} at {moment}");
            assert!(world.incarnation - before <= 1);
        }
    }
}

/// A restart that was handed on, and comes at any moment after: none is done beside it, if that could be told.
#[test]
fn one_that_was_handed_on_is_not_done_again() {
    for moment in 0..40 {
        let mut world = World::new(true);
        while !matches!(world.main, Some(Effect::Act(_, Step::Restart))) {
            world.run(Op::Renewed(true));
            world.run(Op::Done);
        }
        world.run(Op::DiesHandingOn);
        world.paused = moment % 2 == 0;
        for at in 0..60 {
            if at >= moment {
                world.run(Op::Comes);
            }
            if at == 20 {
                world.paused = false;
            }
            world.run(Op::Renewed(true));
            world.run(Op::Done);
            world.run(Op::Wait(500));
        }
        world.calm();
        assert!(world.is_in, "at {moment}");
    }
}

#[test]
fn a_quiet_run_restarts_once() {
    let mut world = World::new(true);
    for _ in 0..60 {
        world.run(Op::Renewed(true));
        world.run(Op::Done);
    }
    assert_eq!((world.incarnation, world.is_in, world.owed), (2, true, false));
    world.calm();
    assert_eq!(world.disk.len(), 1);
}
