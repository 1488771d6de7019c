//! A host, a clock and a journal by hand: effects come back as short words.

use super::super::*;
use crate::host::{Checked, Errand, Finish};
use crate::lease::{Lease, LeaseState, Purpose};
use crate::member::Presence;
use crate::names::Generation;
use crate::request::{Answer, Ask, Begin, Granted, Own, Queued, Refusal, RefusalKind, Renew, Settle, Settled, Welcome};
use crate::sequence::{Act, Fault, Look, Record};
use crate::time::Now;

pub(super) struct Rig {
    pub(super) host: Host,
    pub(super) now: u64,
    /// Where the records land; one that is not answered is the last.
    pub(super) journal: Vec<Record>,
    /// Whether records wait for [`Rig::recorded`].
    pub(super) holds_records: bool,
    /// Whether the look after the restart was announced waits for [`Rig::looked_again`]; else all are out.
    pub(super) holds_looks: bool,
    pub(super) ask: Option<Ask>,
    pub(super) renew: Option<Renew>,
    pub(super) settle: Option<Settle>,
    pub(super) finish: Option<Finish>,
    /// When the last ask was sent.
    pub(super) sent: u64,
    fresh: u32,
}

pub(super) fn duties() -> BTreeMap<Service, Duty> {
    let duty = |pool: &str| Duty { pools: [pool.parse().expect("a pool")].into(), keep: true, away_ms: 0 };
    let service = |name: &str| name.parse().expect("a service");
    [(service("php"), duty("app")), (service("cron"), duty("app"))].into()
}

pub(super) fn errand() -> Errand {
    Errand {
        service: "php".parse().expect("a service"),
        always: true,
        force: false,
        emergency: false,
        unreachable_restart: false,
        wait_ms: None,
    }
}

impl Rig {
    pub(super) fn new(errand: Option<Errand>) -> Rig {
        let setup = Setup { holder: "mw1".parse().expect("a holder"), duties: duties(), errand, seed: 3 };
        Rig {
            host: Host::new(setup),
            now: 1_000_000,
            journal: Vec::new(),
            holds_records: false,
            holds_looks: false,
            ask: None,
            renew: None,
            settle: None,
            finish: None,
            sent: 0,
            fresh: 0,
        }
    }

    pub(super) fn daemon() -> Rig {
        Rig::new(None)
    }

    pub(super) fn start(&mut self) {
        self.on(Event::Started);
        self.locked();
    }

    /// A daemon that is about to lock, for what it owes.
    pub(super) fn daemon_owing(rollout: &str, always: bool, failed_before: bool) -> Rig {
        let mut rig = Rig::daemon();
        rig.start();
        assert_eq!(rig.owes(rollout, always, failed_before), ["lock"]);
        rig
    }

    /// It waits, and has no lock.
    pub(super) fn queued() -> Rig {
        let mut rig = Rig::daemon_owing("php@7", true, false);
        assert_eq!(rig.locked(), ["unlock", "ask 10000"]);
        rig
    }

    /// The lease is granted, and the lock had.
    pub(super) fn grant(&mut self) -> Vec<String> {
        assert_eq!(self.answered(Ok(granted(&self.claim()))), ["lock"], "nothing is recorded, and nothing told");
        self.locked()
    }

    /// Its lease is known to be its own, for 30 s from now, and the balancers are asked.
    pub(super) fn leased() -> Rig {
        let mut rig = Rig::queued();
        assert_eq!(rig.grant(), ["+opened", "+granted", "renew depool", "prepare depool"]);
        assert!(rig.held(30_000).is_empty());
        rig
    }

    pub(super) fn depooling() -> Rig {
        let mut rig = Rig::leased();
        rig.looks(&[("lb1", true)]);
        rig
    }

    pub(super) fn draining() -> Rig {
        let mut rig = Rig::depooling();
        rig.acted();
        rig
    }

    pub(super) fn looking() -> Rig {
        let mut rig = Rig::draining();
        rig.acted();
        rig
    }

    pub(super) fn beginning() -> Rig {
        let mut rig = Rig::looking();
        assert!(rig.looked(&[("lb1", false)]).is_empty());
        assert_eq!(rig.on(Event::Prepared(Prepared::Identity(Some("i1".into())))), ["begin"]);
        rig
    }

    pub(super) fn restarting() -> Rig {
        let mut rig = Rig::beginning();
        assert_eq!(rig.begun(Ok(go(7))), ["+acted", "+inspected", "+begun", "+acting", "renew restart", "act restart"]);
        rig
    }

    pub(super) fn claim(&self) -> String {
        let of_sequence = self.host.sequence().map(|sequence| sequence.plan().sequence.clone());
        of_sequence.or_else(|| self.ask.as_ref().map(|ask| ask.claim.clone())).expect("a claim").to_string()
    }

    pub(super) fn on(&mut self, event: Event<u32>) -> Vec<String> {
        let effects = self.host.on(event, Time(self.now));
        let mut words = Vec::new();
        for effect in effects {
            self.take(effect, &mut words);
        }
        words
    }

    fn take(&mut self, effect: Effect<u32>, words: &mut Vec<String>) {
        let text = match effect {
            Effect::Lock => "lock".to_owned(),
            Effect::Unlock => "unlock".to_owned(),
            Effect::Join => "join".to_owned(),
            Effect::Check(service) => format!("check {service}"),
            Effect::Record(records) => {
                words.extend(records.iter().map(|record| format!("+{}", record.word())));
                self.journal.extend(records);
                if !self.holds_records {
                    words.extend(self.recorded());
                }
                return;
            }
            Effect::Ask { ask, hold_ms } => {
                self.ask = Some(ask);
                self.sent = self.now;
                format!("ask {hold_ms}")
            }
            Effect::Renew(renew) => {
                let step = renew.step.map_or("-".to_owned(), |step| step.to_string());
                self.renew = Some(renew);
                format!("renew {step}")
            }
            Effect::Prepare(step) => format!("prepare {step}"),
            Effect::Begin(_) => "begin".to_owned(),
            Effect::Act(_, step) => format!("act {step}"),
            Effect::Undo(_) => "undo".to_owned(),
            Effect::Look(service) => format!("look {service}"),
            Effect::LookAgain(..) if self.holds_looks => "look again".to_owned(),
            Effect::LookAgain(..) => {
                words.extend(self.looked_again(&[("lb1", false), ("lb2", false)]));
                return;
            }
            Effect::Inspect { is_again: false } => "inspect".to_owned(),
            Effect::Inspect { is_again: true } => "inspect again".to_owned(),
            Effect::Settle(settle) => {
                let outcome = settle.report.as_ref().map(|report| report.outcome.to_string()).unwrap_or_default();
                let text = format!("settle {} {outcome}", word(&settle.ending));
                self.settle = Some(settle);
                text
            }
            Effect::Exit(finish) => {
                let code = finish.exit_code();
                self.finish = Some(finish);
                format!("exit {code}")
            }
        };
        words.push(text);
    }

    pub(super) fn recorded(&mut self) -> Vec<String> {
        self.on(Event::Recorded(u32::try_from(self.journal.len()).expect("few")))
    }

    pub(super) fn lockable(&mut self) -> Locked {
        self.fresh += 1;
        let fresh = format!("q{}", self.fresh).parse().expect("an id");
        Locked { fresh, unfinished: None, left_out: BTreeMap::new(), doubts: BTreeMap::new() }
    }

    pub(super) fn locked(&mut self) -> Vec<String> {
        let locked = self.lockable();
        self.on(Event::Locked(Box::new(locked)))
    }

    /// The lock is taken, and there is a journal like this.
    pub(super) fn unfinished(&mut self, records: &[Record]) -> Vec<String> {
        let locked = Locked { unfinished: Some(records.to_vec()), ..self.lockable() };
        self.on(Event::Locked(Box::new(locked)))
    }

    pub(super) fn owes(&mut self, rollout: &str, always: bool, failed_before: bool) -> Vec<String> {
        self.on(Event::Joined(Box::new(welcome(&[(rollout, always, failed_before)]))))
    }

    pub(super) fn checked(&mut self, restart: Result<bool, Fault>) -> Vec<String> {
        self.on(Event::Checked(Checked { ms: 5, note: "free 3".into(), restart }))
    }

    pub(super) fn answered(&mut self, answer: Result<Answer, &str>) -> Vec<String> {
        self.answered_at(self.now, answer)
    }

    pub(super) fn answered_at(&mut self, sent: u64, answer: Result<Answer, &str>) -> Vec<String> {
        self.on(Event::Answered { sent: Time(sent), answer: answer.map_err(unheard) })
    }

    pub(super) fn owned(&mut self, sent: u64, own: Result<Own, &str>) -> Vec<String> {
        let claim = self.renew.clone().expect("a renewal").claim;
        self.on(Event::Owned { claim, sent: Time(sent), own: own.map_err(unheard) })
    }

    pub(super) fn held(&mut self, ttl_ms: u64) -> Vec<String> {
        self.owned(self.now, Ok(Own::Held { ttl_ms }))
    }

    pub(super) fn looks(&mut self, looks: &[(&str, bool)]) -> Vec<String> {
        let looks = looks.iter().map(|(name, is_in)| look(name, *is_in)).collect();
        self.on(Event::Prepared(Prepared::Looks(looks)))
    }

    pub(super) fn looked(&mut self, looks: &[(&str, bool)]) -> Vec<String> {
        let looks = looks.iter().map(|(name, is_in)| look(name, *is_in)).collect();
        self.on(Event::Looked(looks))
    }

    pub(super) fn looked_again(&mut self, looks: &[(&str, bool)]) -> Vec<String> {
        let looks = looks.iter().map(|(name, is_in)| look(name, *is_in)).collect();
        self.on(Event::LookedAgain(u32::try_from(self.journal.len()).expect("few"), looks))
    }

    pub(super) fn acted(&mut self) -> Vec<String> {
        self.on(Event::Acted(act()))
    }

    pub(super) fn begun(&mut self, begin: Result<Begin, &str>) -> Vec<String> {
        self.on(Event::Begun { sent: Time(self.now), begin: begin.map_err(unheard) })
    }

    pub(super) fn settled(&mut self, settled: Result<(), ()>) -> Vec<String> {
        self.on(Event::Settled(settled.map(|()| Settled::Done).map_err(|()| unheard("no route"))))
    }

    /// A settle is refused, and would be again.
    pub(super) fn settle_refused(&mut self) -> Vec<String> {
        self.on(Event::Settled(Err(for_good("too large"))))
    }
}

pub(super) fn unheard(why: &str) -> Unheard {
    Unheard { why: why.to_owned(), is_for_good: false }
}

pub(super) fn for_good(why: &str) -> Unheard {
    Unheard { why: why.to_owned(), is_for_good: true }
}

pub(super) fn word<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

pub(super) fn act() -> Act {
    Act { ms: 10, ..Act::default() }
}

pub(super) fn fault(cause: &str) -> Fault {
    Fault { cause: cause.to_owned(), output: "printed".to_owned() }
}

pub(super) fn failed(cause: &str) -> Act {
    Act { ms: 10, note: String::new(), fault: Some(fault(cause)) }
}

pub(super) fn look(balancer: &str, is_in: bool) -> Look {
    let presence = if is_in { Presence::In } else { Presence::Out };
    Look {
        balancer: balancer.to_owned(),
        presence,
        detail: String::new(),
        restore: String::new(),
        is_foreign: false,
        remedy: Default::default(),
    }
}

pub(super) fn welcome(owed: &[(&str, bool, bool)]) -> Welcome {
    let owed = owed.iter().map(|(rollout, always, failed_before)| Owed {
        rollout: rollout.parse().expect("a rollout"),
        always: *always,
        failed_before: *failed_before,
    });
    Welcome { owed: owed.collect(), lease: None }
}

pub(super) fn lease(claim: &str, purpose: Purpose) -> Lease {
    Lease {
        holder: "mw1".parse().expect("a holder"),
        pools: [("app".parse().expect("a pool"), 9)].into(),
        claim: claim.parse().expect("an id"),
        purpose,
        state: LeaseState::Held,
        attempt: 1,
        ticket: 1,
        begun: None,
        has_begun: false,
        step_since: None,
        step: None,
        note: String::new(),
        failed: BTreeMap::new(),
        granted: Now::default(),
        since: Now::default(),
        renewed: Time(0),
        unconfirmed: false,
        ttl_ms: 30_000,
        lost_after_ms: None,
    }
}

pub(super) fn by_rollout() -> Purpose {
    Purpose::Rollout("php@7".parse().expect("a rollout"))
}

pub(super) fn granted(claim: &str) -> Answer {
    Answer::Granted(Box::new(Granted { lease: lease(claim, by_rollout()) }))
}

pub(super) fn refusal(kind: RefusalKind) -> Refusal {
    Refusal {
        kind,
        value: format!("no: {}", kind.word()),
        holders: Vec::new(),
        slots: None,
        source: None,
        left_ms: None,
    }
}

pub(super) fn refused(kind: RefusalKind) -> Answer {
    Answer::Refused(refusal(kind))
}

pub(super) fn queued() -> Answer {
    Answer::Queued(Queued { place: 1, left_ms: 60_000, why: refusal(RefusalKind::Full) })
}

pub(super) fn go(generation: Generation) -> Begin {
    Begin::Go { generation: Some(generation) }
}

pub(super) fn paused() -> Begin {
    Begin::Paused("all is paused".into())
}
