//! A coordinator without a store: the model, a clock that the test owns, and every invariant after every step.
//!
//! Beside the model's own records it counts for itself who believes to hold what, as a bystander at the hosts would.

use model::apply::{Decision, Nudges, apply};
use model::change::Change;
use model::invariants::{OF_DECISION, OF_STATE, Taken};
use model::lease::{Lease, LeaseState, Purpose, Ticket};
use model::names::{Holder, Id, Pool, RolloutName, Scope};
use model::request::{
    Act, Admin, Announce, Answer, Ask, Begin, BeginAsk, Done, Ending, Join, Joined, Own, Quiet, Renew, Reply, Request,
    Settle, Settled, Welcome,
};
use model::rollout::{Outcome, Report};
use model::settings::{Setting, Slots};
use model::state::{State, Stored};
use model::time::{Now, Time, Wall};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A coordinator whose clock the test owns.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) now: Now,
    /// What a disk would hold: the state after durable changes only, and the clock when the last of them was written.
    pub(crate) disk: State,
    pub(crate) written: Time,
    pub(crate) operations: u32,
    /// Who was told that it holds, and what: by claim.
    pub(crate) believers: BTreeMap<Id, (Holder, BTreeSet<Pool>)>,
}

pub(crate) fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("a name")
}

pub(crate) fn pools(names: &[&str]) -> BTreeSet<Pool> {
    names.iter().map(|text| name(text)).collect()
}

pub(crate) fn ask(holder: &str, claim: &str, names: &[&str]) -> Ask {
    Ask {
        holder: name(holder),
        claim: name(claim),
        pools: pools(names),
        purpose: Purpose::Run("test".into()),
        wait_ms: None,
        patience_ms: 10_000,
    }
}

pub(crate) fn rollout_of(service: &str, generation: u64) -> RolloutName {
    RolloutName { service: name(service), generation }
}

pub(crate) fn failed(cause: &str) -> Report {
    Report { step: Some(model::sequence::Step::Restart), cause: cause.into(), ..Report::plain(Outcome::Failed) }
}

impl World {
    /// A world whose pool `p` has so many slots.
    pub(crate) fn with_slots(slots: u32) -> World {
        let now = Now { time: Time(1_000), wall: Wall(1_700_000_000_000) };
        let mut world = World { now, ..World::default() };
        world.set("pool/p", Setting::Slots(Slots::Count(slots)));
        world
    }

    pub(crate) fn later(&mut self, ms: u64) {
        self.now.time = self.now.time.plus(Duration::from_millis(ms));
        self.now.wall = Wall(self.now.wall.0 + ms);
    }

    /// Decides, and checks every invariant.
    pub(crate) fn decide(&mut self, request: &Request) -> Decision {
        let decision = apply(&self.state, request, self.now);
        assert_eq!(self.one_by_one(request), decision, "what is due first, one by one: {request:?}");
        let mut after = self.state.clone();
        after.replay(&decision.changes);
        let taken = Taken { before: &self.state, request, decision: &decision, after: &after, now: self.now };
        for (rule, check) in OF_DECISION {
            check(&taken)
                .unwrap_or_else(|wrong| panic!("{rule}: {wrong}\nby {request:?}\nchanges {:#?}", decision.changes));
        }
        for (rule, check) in OF_STATE {
            check(&after)
                .unwrap_or_else(|wrong| panic!("{rule}: {wrong}\nby {request:?}\nchanges {:#?}", decision.changes));
        }
        for change in decision.changes.iter().filter(|change| change.is_durable()) {
            self.disk.replay(std::slice::from_ref(change));
            self.written = self.now.time;
        }
        for change in &decision.changes {
            let mut alone = State::default();
            alone.replay(std::slice::from_ref(change));
            assert!(alone.records().len() <= 1, "a change touches more than one record: {change:?}");
            assert_eq!(alone.records().first(), alone.record(&change.key()).as_ref(), "nor another than its key names");
        }
        self.state = after;
        decision
    }

    /// The same as a lock server decides it: everything that is due is carried out beforehand, so that nothing is left to do but
    /// what is asked.
    fn one_by_one(&self, request: &Request) -> Decision {
        let (mut state, mut changes, mut nudges) = (self.state.clone(), Vec::new(), Nudges::default());
        while let Some(due) = state.overdue(self.now) {
            assert_eq!(due.reply, Reply::Noted);
            state.replay(&due.changes);
            changes.extend(due.changes);
            nudges.merge(due.nudges);
        }
        assert!(state.next_due().is_none_or(|at| at > self.now.time), "something is due and was not carried out");
        let last = apply(&state, request, self.now);
        changes.extend(last.changes);
        nudges.merge(last.nudges);
        Decision { reply: last.reply, changes, nudges }
    }

    pub(crate) fn tick(&mut self) -> Decision {
        self.decide(&Request::Tick)
    }

    /// Killed and started again: only what is durable is left, and the clock goes on from where it was written.
    pub(crate) fn restart(&mut self) {
        self.now.time = self.written;
        self.stop_and_start();
    }

    /// Stopped and started again: only what is durable is left, and the clock goes on from where it was. However long ago
    /// anything durable was written: whoever held still holds, and whoever waited still listens.
    pub(crate) fn stop_and_start(&mut self) {
        let mut loaded = State::default();
        self.disk.records().into_iter().for_each(|record| loaded.put(record));
        self.state = loaded;
        let held = |world: &World| {
            let leases = world.state.read_leases(&Default::default(), world.now).leases.into_iter();
            leases.map(|row| row.lease).filter(|lease| lease.state == LeaseState::Held).collect::<Vec<_>>()
        };
        let tickets = |world: &World| -> Vec<Ticket> {
            let records = world.state.records().into_iter();
            records.filter_map(|record| if let Stored::Ticket(ticket) = record { Some(ticket) } else { None }).collect()
        };
        let (held_before, tickets_before) = (held(self), tickets(self));
        let changes = self.state.started_again(self.now);
        assert!(!changes.iter().any(Change::is_durable), "nothing is to be written: {changes:?}");
        self.state.replay(&changes);
        self.tick();
        let grants =
            |leases: Vec<Lease>| leases.into_iter().map(|lease| (lease.holder, lease.pools)).collect::<Vec<_>>();
        assert_eq!(grants(held(self)), grants(held_before), "whoever held still holds");
        let numbers = |tickets: &[Ticket]| tickets.iter().map(|ticket| ticket.number).collect::<Vec<_>>();
        assert_eq!(numbers(&tickets(self)), numbers(&tickets_before), "whoever waited still waits");
        assert!(tickets(self).iter().all(|ticket| !ticket.silent), "and listens");
    }

    pub(crate) fn ask(&mut self, ask: &Ask) -> Answer {
        match self.decide(&Request::Ask(ask.clone())).reply {
            Reply::Asked(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// Asks for a lease, gets it, and confirms it.
    pub(crate) fn granted(&mut self, holder: &str, claim: &str, names: &[&str]) -> Lease {
        match self.ask(&ask(holder, claim, names)) {
            Answer::Granted(granted) => {
                self.renew(holder, claim);
                granted.lease
            }
            other => panic!("{holder} was not granted: {other:?}"),
        }
    }

    /// Asks for a lease and has to wait; the place.
    pub(crate) fn queued(&mut self, holder: &str, claim: &str, names: &[&str]) -> u32 {
        match self.ask(&ask(holder, claim, names)) {
            Answer::Queued(queued) => queued.place,
            other => panic!("{holder} was not queued: {other:?}"),
        }
    }

    pub(crate) fn begin(&mut self, holder: &str, claim: &str) -> Begin {
        self.begin_away(holder, claim, 0)
    }

    /// The same of a holder that may be silent for so long then.
    pub(crate) fn begin_away(&mut self, holder: &str, claim: &str, away_ms: u64) -> Begin {
        let ask = BeginAsk { holder: name(holder), claim: name(claim), away_ms };
        match self.decide(&Request::Begin(ask)).reply {
            Reply::Begun(begin) => begin,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn renew(&mut self, holder: &str, claim: &str) -> Own {
        let renew = Renew { holder: name(holder), claim: name(claim), step: None, note: String::new() };
        match self.decide(&Request::Renew(renew)).reply {
            Reply::Owned(own) => own,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn settle(&mut self, holder: &str, claim: &str, ending: Ending) -> Settled {
        self.settle_with(holder, claim, ending, None, None)
    }

    pub(crate) fn settle_with(
        &mut self,
        holder: &str,
        claim: &str,
        ending: Ending,
        rollout: Option<RolloutName>,
        report: Option<Report>,
    ) -> Settled {
        self.believers.remove(&name::<Id>(claim));
        let settle = Settle { holder: name(holder), claim: name(claim), ending, rollout, report };
        match self.decide(&Request::Settle(settle)).reply {
            Reply::Settled(settled) => settled,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn quiet(&mut self, holder: &str, claim: &str) -> Decision {
        self.decide(&Request::Quiet(Quiet::Waiter { holder: name(holder), claim: name(claim) }))
    }

    pub(crate) fn act(&mut self, act: Act) -> Done {
        self.operations += 1;
        let operation = name(&format!("op{}", self.operations));
        self.operate(operation, act)
    }

    pub(crate) fn operate(&mut self, operation: Id, act: Act) -> Done {
        match self.decide(&Request::Admin(Admin { operation, by: "ann@ops1".into(), act })).reply {
            Reply::Did(done) => done,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn set(&mut self, scope: &str, setting: Setting) {
        let act = Act::Set { scope: name(scope), setting, reason: "test".into(), for_ms: None };
        let done = self.act(act);
        assert!(matches!(done, Done::Did { .. }), "{done:?}");
    }

    pub(crate) fn pause(&mut self, scope: &str, for_ms: u64) {
        let done = self.act(Act::Pause { scope: name(scope), reason: "frozen".into(), for_ms });
        assert!(matches!(done, Done::Did { .. }), "{done:?}");
    }

    pub(crate) fn resume(&mut self, scope: &str) -> Done {
        self.act(Act::Resume { scope: name(scope) })
    }

    pub(crate) fn release(&mut self, holder: &str, live: bool, forget: bool) -> Done {
        self.act(Act::Release { holder: name(holder), reason: "gone".into(), live, forget })
    }

    pub(crate) fn announce(&mut self, service: &str) -> Done {
        self.announce_with(service, |_| {})
    }

    pub(crate) fn announce_with(&mut self, service: &str, change: impl FnOnce(&mut Announce)) -> Done {
        let mut announce = Announce {
            service: name(service),
            message: "build 7".into(),
            only: Vec::new(),
            always: false,
            supersede: false,
            max_failures: None,
            strict: None,
            expires_ms: None,
        };
        change(&mut announce);
        self.act(Act::Announce(announce))
    }

    pub(crate) fn join_request(host: &str, service: &str, names: &[&str]) -> Join {
        Join {
            host: name(host),
            session: name(&format!("s.{host}")),
            replaces: None,
            services: [(name(service), pools(names))].into(),
            version: "0.1.0".into(),
            metrics: None,
            sightings: Vec::new(),
            looked_ms: Some(0),
            highest: BTreeMap::new(),
            trouble: String::new(),
            patience_ms: 60_000,
        }
    }

    pub(crate) fn joined(&mut self, join: &Join) -> Joined {
        match self.decide(&Request::Join(join.clone())).reply {
            Reply::Joined(joined) => *joined,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn join(&mut self, host: &str, service: &str, names: &[&str]) -> Welcome {
        match self.joined(&World::join_request(host, service, names)) {
            Joined::Member(welcome) => welcome,
            other => panic!("{other:?}"),
        }
    }

    /// A host asks for the restart that a rollout owes.
    pub(crate) fn ask_for(&mut self, host: &str, claim: &str, names: &[&str], rollout: &RolloutName) -> Answer {
        let ask = Ask { purpose: Purpose::Rollout(rollout.clone()), ..ask(host, claim, names) };
        self.ask(&ask)
    }

    pub(crate) fn tally(&self, rollout: &RolloutName) -> model::rollout::Tally {
        self.state.read_rollout(rollout, self.now).expect("a rollout").row.tally
    }

    pub(crate) fn state_of(&self, rollout: &RolloutName) -> model::rollout::RolloutState {
        self.state.read_rollout(rollout, self.now).expect("a rollout").row.state
    }

    /// The lease of a holder, as a look at the leases shows it.
    pub(crate) fn lease(&self, holder: &str) -> Option<Lease> {
        let select = model::read::Selection { scope: Some(Scope::Host(name(holder))), ..Default::default() };
        self.state.read_leases(&select, self.now).leases.into_iter().next().map(|row| row.lease)
    }

    pub(crate) fn next_in_line(&self) -> Option<String> {
        self.state.next_in_line(&pools(&["p"]), self.now).map(|ticket| ticket.holder.to_string())
    }

    /// How many believe, at most, to hold a slot of this pool.
    pub(crate) fn believing(&self, pool: &str) -> usize {
        let pool: Pool = name(pool);
        self.believers.values().filter(|(_, pools)| pools.contains(&pool)).count()
    }
}
