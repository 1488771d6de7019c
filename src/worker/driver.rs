//! The loop: one event in, its effects out.
//!
//! Owns what is under way: one main effect at a time, renewals beside it, the join, the timer, and the request to stop. A new
//! main effect takes the place of one that is still under way, by dropping it. Tells of progress, and counts; none of that
//! leads back into the host. Called by [`super::run`] and [`super::once`].

use crate::sequence::{HostLock, Journal, Receipt};
use crate::worker::effects::{Beside, Came, Deed, Main, Notes, Shop};
use crate::worker::log::{self, Contact};
use crate::worker::membership::{Heard, Membership, sleep_until};
use crate::worker::wake::Wake;
use crate::worker::{Progress, Trouble, WorkerError, clock};
use coordinator::Coordinator;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use model::host::{Effect, Event, Finish, Host, Setup};
use model::lease::Purpose;
use model::names::{Holder, Service};
use model::request::{Answer, Begin, RefusalKind};
use model::rollout::Report;
use model::sequence::record::Balancers as ByName;
use model::sequence::{Fault, Found, Record, Sequence, Step, Unwind};
use model::time::{Time, millis};
use std::future::Future;
use std::sync::Arc;
use tokio::sync::mpsc;

/// A host, and what is under way for it.
pub(super) struct Driver<C, P> {
    host: Host,
    holder: Holder,
    shop: Shop<C>,
    membership: Option<Membership>,
    wake: Option<Wake>,
    contact: Contact,
    progress: P,
    main: Option<Main>,
    beside: FuturesUnordered<Beside>,
    notes: (Notes, mpsc::UnboundedReceiver<String>),
    lock: Option<HostLock>,
    journal: Option<Journal>,
    /// What is being recorded.
    recording: Vec<Record>,
    /// The step that is acted, or asked for, and since when.
    step: Option<(Step, Time)>,
    /// Whether an act was begun that has not been recorded yet: else it failed before it could be.
    is_acted: bool,
    /// The last word, while it is not told yet: how long it took, and what stood against it.
    begun: Option<(u64, Option<Fault>)>,
    /// The last service that something was done for: the reports without a sequence are about it.
    service: Option<Service>,
    waits: Option<(u32, String)>,
    /// Why the host can restart nothing, as it was last said.
    trouble: Option<String>,
    failure: Option<WorkerError>,
    finish: Option<Finish>,
}

impl<C: Coordinator + 'static, P: FnMut(Option<&Purpose>, Progress)> Driver<C, P> {
    pub(super) fn new(setup: Setup, shop: Shop<C>, membership: Option<Membership>, progress: P) -> Driver<C, P> {
        Driver {
            holder: setup.holder.clone(),
            host: Host::new(setup),
            shop,
            membership,
            wake: None,
            contact: Contact::default(),
            progress,
            main: None,
            beside: FuturesUnordered::new(),
            notes: mpsc::unbounded_channel(),
            lock: None,
            journal: None,
            recording: Vec::new(),
            step: None,
            is_acted: false,
            begun: None,
            service: None,
            waits: None,
            trouble: None,
            failure: None,
            finish: None,
        }
    }

    /// It looks at its balancers at once when it is told to by this.
    pub(super) fn woken_by(mut self, wake: Option<Wake>) -> Self {
        self.wake = wake;
        self
    }

    /// Tells people, with what it is for.
    fn say(&mut self, progress: Progress) {
        (self.progress)(self.host.purpose(), progress);
    }

    /// Runs until the host says that it is over.
    pub(super) async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<Finish, WorkerError> {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut is_asked_to_stop = false;
        self.take(Event::Started);
        while self.finish.is_none() {
            let wake_at = self.host.wake_at();
            // In a sequence it is the sequence that asks the balancers.
            let may_look = self.host.is_idle() || self.host.is_waiting();
            tokio::select! {
                biased;
                () = &mut shutdown, if !is_asked_to_stop => {
                    is_asked_to_stop = true;
                    self.take(Event::StopRequested);
                }
                came = under_way(&mut self.main) => {
                    self.main = None;
                    self.came(came);
                }
                Some(event) = self.beside.next() => self.take(event),
                Some(note) = self.notes.1.recv() => self.noted(note),
                call = joined(&mut self.membership, &self.shop, may_look) => self.joined(call),
                () = woken(self.wake.as_ref()) => self.carry_out(Effect::Join),
                () = sleep_until(wake_at) => self.take(Event::Woke),
            }
        }
        if let Some(membership) = &mut self.membership {
            membership.goodbye(&self.shop).await;
        }
        match (self.failure, self.finish) {
            (Some(failure), _) => Err(failure),
            (None, finish) => Ok(finish.unwrap_or(Finish::Stopped)),
        }
    }

    fn noted(&mut self, note: String) {
        if let Some((step, since)) = self.step {
            self.say(Progress::Noted { step, ms: millis(clock::now().since(since)), note: note.clone() });
        }
        self.take(Event::Noted(note));
    }

    fn came(&mut self, came: Came) {
        if let Some(lock) = came.lock {
            self.lock = Some(lock);
        }
        if let Some(journal) = came.journal {
            self.journal = Some(journal);
        }
        self.take(came.event);
    }

    fn joined(&mut self, call: crate::worker::membership::Call) {
        let Some(membership) = &mut self.membership else { return };
        let heard = membership.heard(call);
        self.shop.telemetry.coordinator(!matches!(heard, Heard::Silence(_) | Heard::Answered(_)));
        let has_joined = self.contact.has_joined();
        self.contact.say(&heard, &self.shop.config.coordinator, clock::now());
        match heard {
            Heard::Welcome(welcome) => {
                if !has_joined {
                    tokio::spawn(log::lonely(Arc::clone(&self.shop.coordinator), self.shop.config.clone()));
                }
                self.take(Event::Joined(welcome));
                self.notice();
            }
            Heard::Silence(_) | Heard::Answered(_) | Heard::Taken => {}
            Heard::Duplicate(failure) => {
                self.failure = Some(failure);
                self.take(Event::StopRequested);
            }
        }
    }

    /// A command that was killed may have left a sequence half done, and nobody else comes to end it. A wait is given up for
    /// that only when nobody is at it.
    fn notice(&mut self) {
        let may_look = self.lock.is_none() && (self.host.is_idle() || self.host.is_waiting());
        if may_look
            && self.shop.journals.has_open().unwrap_or(false)
            && (self.host.is_idle() || self.shop.is_lock_free())
        {
            self.take(Event::Noticed);
        }
    }

    /// Gives the host an event, and carries out what it says.
    fn take(&mut self, event: Event<Receipt>) {
        self.tell(&event);
        let effects = self.host.on(event, clock::now());
        for effect in effects {
            self.carry_out(effect);
        }
        self.tell_trouble();
    }

    /// Says it once per change, here and to the coordinator.
    fn tell_trouble(&mut self) {
        let trouble = self.host.trouble();
        if trouble == self.trouble.as_deref() {
            return;
        }
        let told = Trouble { why: trouble.map(str::to_owned), is_damage: self.host.stuck().is_some() };
        self.trouble.clone_from(&told.why);
        self.shop.telemetry.stuck(told.is_damage);
        if let Some(membership) = &mut self.membership {
            membership.trouble(told.why.as_deref());
        }
        self.say(Progress::Trouble(told));
    }

    fn carry_out(&mut self, effect: Effect<Receipt>) {
        let main = match effect {
            Effect::Unlock => {
                (self.journal, self.lock) = (None, None);
                return;
            }
            Effect::Join => {
                if let Some(membership) = &mut self.membership {
                    membership.afresh();
                }
                return;
            }
            Effect::Renew(renew) => return self.beside.push(self.shop.renew(renew)),
            Effect::Prepare(Step::Restart) => return self.identify(),
            Effect::Exit(finish) => {
                self.finish = Some(finish);
                return;
            }
            Effect::Lock => self.shop.lock(),
            Effect::Check(service) => {
                self.begin(Step::Check);
                self.service = Some(service.clone());
                self.shop.check(&service)
            }
            Effect::Record(records) => self.record(records),
            Effect::Ask { ask, hold_ms } => {
                self.service = ask.purpose.service().cloned();
                self.shop.ask(ask, hold_ms)
            }
            Effect::Begin(ask) => {
                self.begin(Step::Begin);
                self.shop.begin(ask)
            }
            Effect::Prepare(_) => self.with_deed(ByName::new(), |shop, deed| shop.prepare(&deed)),
            Effect::Inspect { is_again } => {
                self.with_deed(ByName::new(), |shop, deed| shop.inspect(&deed, is_again, &self.notes.0))
            }
            Effect::Look(service) => self.shop.look(&service),
            Effect::LookAgain(receipt, service) => self.shop.look_again(receipt, &service),
            Effect::Act(receipt, step) => {
                self.begin(step);
                self.is_acted = true;
                let found = self.host.sequence().and_then(|sequence| sequence.found());
                let balancers = match step {
                    Step::Depool => found.map(|found| found.taken.clone()),
                    _ => found.map(Found::ours),
                };
                let notes = self.notes.0.clone();
                self.with_deed(balancers.unwrap_or_default(), |shop, deed| shop.act(receipt, step, deed, notes))
            }
            Effect::Undo(receipt) => {
                self.step = Some((Step::Repool, clock::now()));
                let found = self.host.sequence().and_then(|sequence| sequence.found());
                let taken = found.map(|found| found.taken.clone()).unwrap_or_default();
                let notes = self.notes.0.clone();
                self.with_deed(taken, |shop, deed| shop.undo(receipt, deed, notes))
            }
            Effect::Settle(settle) => {
                self.count_untracked(settle.report.as_ref());
                self.shop.settle(settle)
            }
        };
        self.main = Some(main);
    }

    fn record(&mut self, records: Vec<Record>) -> Main {
        self.recording.clone_from(&records);
        self.shop.record(self.journal.take(), records)
    }

    fn identify(&self) {
        if let Some(deed) = self.deed(ByName::new()) {
            self.beside.push(self.shop.identify(&deed));
        }
    }

    /// A step of the sequence under way, with what it needs of it.
    fn with_deed(&self, balancers: ByName, act: impl FnOnce(&Shop<C>, Deed) -> Main) -> Main {
        match self.deed(balancers) {
            Some(deed) => act(&self.shop, deed),
            // The host acts only in a sequence.
            None => Box::pin(std::future::pending()),
        }
    }

    fn deed(&self, balancers: ByName) -> Option<Deed> {
        let sequence = self.host.sequence()?;
        Some(Deed {
            service: sequence.plan().service.clone(),
            holder: self.holder.clone(),
            tokens: sequence.tokens().clone(),
            balancers,
            out: sequence.found().map(|found| found.out.clone()).unwrap_or_default(),
            identity: sequence.identity().map(str::to_owned),
            since: sequence.since(),
        })
    }

    fn begin(&mut self, step: Step) {
        self.step = Some((step, clock::now()));
        self.say(Progress::Began(step));
    }

    /// A report without a sequence is counted when it is told for the first time.
    fn count_untracked(&mut self, report: Option<&Report>) {
        if let (None, Some(service), Some(report)) = (self.host.sequence(), self.service.take(), report) {
            self.over(service, report.clone(), false);
        }
    }

    fn over(&mut self, service: Service, report: Report, is_earlier: bool) {
        self.shop.count(&service, &report);
        self.say(Progress::Over { service, report: Box::new(report), is_earlier });
    }

    /// Tells people, and counts, what an event means.
    fn tell(&mut self, event: &Event<Receipt>) {
        match event {
            Event::Checked(checked) => {
                self.ended(checked.ms, checked.note.clone(), checked.restart.clone().err());
            }
            Event::Acted(act) | Event::Undone(act) => self.ended(act.ms, act.note.clone(), act.fault.clone()),
            Event::Recorded(_) => self.recorded(),
            Event::Answered { answer: Ok(Answer::Queued(queued)), .. } => {
                let waits = (queued.place, queued.why.value.clone());
                if self.waits.as_ref() != Some(&waits) {
                    let (place, why) = waits.clone();
                    self.say(Progress::Waiting { place, why, holders: queued.why.holders.clone() });
                    self.waits = Some(waits);
                }
            }
            Event::Answered { answer: Ok(Answer::Refused(refusal)), .. }
                if matches!(refusal.kind, RefusalKind::TimedOut | RefusalKind::Full | RefusalKind::Paused) =>
            {
                self.say(Progress::Refused { holders: refusal.holders.clone() });
            }
            Event::Begun { begin: Ok(begin), .. } => self.begun(begin),
            Event::Answered { answer: Err(unheard), .. }
            | Event::Begun { begin: Err(unheard), .. }
            | Event::Settled(Err(unheard)) => {
                // Its place is told again when there is an answer.
                self.waits = None;
                self.say(Progress::Unanswered(unheard.why.clone()));
            }
            _ => {}
        }
        match event {
            Event::Answered { answer: Ok(_), .. } | Event::Begun { begin: Ok(_), .. } | Event::Settled(Ok(_)) => {
                self.shop.telemetry.coordinator(true);
            }
            Event::Answered { answer: Err(_), .. } | Event::Begun { begin: Err(_), .. } | Event::Settled(Err(_)) => {
                self.shop.telemetry.coordinator(false);
            }
            _ => {}
        }
    }

    fn begun(&mut self, begin: &Begin) {
        let fault = match begin {
            Begin::Go { .. } => None,
            Begin::Paused(why) | Begin::Halted(why) | Begin::Superseded(why) => Some(Fault::plain(why.clone())),
            Begin::Gone => Some(Fault::plain("the lease is gone")),
        };
        let ms = self.step.take().map_or(0, |(_, since)| millis(clock::now().since(since)));
        self.begun = Some((ms, fault));
    }

    /// Tells the last word, once the grant before it was told.
    fn tell_begun(&mut self) {
        if let Some((ms, fault)) = self.begun.take() {
            self.step = Some((Step::Begin, clock::now()));
            self.ended(ms, String::new(), fault);
        }
    }

    /// The step that began last has ended.
    fn ended(&mut self, ms: u64, note: String, fault: Option<Fault>) {
        let Some((step, _)) = self.step.take() else { return };
        let service = self.host.sequence().map(|sequence| sequence.plan().service.clone()).or(self.service.clone());
        if let Some(service) = service {
            self.shop.telemetry.step(&service, step, ms, fault.is_none());
        }
        self.say(Progress::Ended { step, ms, note, fault });
    }

    fn recorded(&mut self) {
        let sequence = self.host.sequence();
        let is_earlier = sequence.is_some_and(Sequence::is_resumed);
        let service = sequence.map(|sequence| sequence.plan().service.clone());
        for record in std::mem::take(&mut self.recording) {
            // Without a way to depool the grant is only recorded with the first act, behind the last word.
            if !matches!(record, Record::Granted { .. }) {
                self.tell_begun();
            }
            self.on_disk(record, service.clone(), is_earlier);
        }
    }

    fn on_disk(&mut self, record: Record, service: Option<Service>, is_earlier: bool) {
        match (record, service) {
            (Record::Opened(_), _) => (self.waits, self.service) = (None, None),
            (Record::Granted { ms, .. }, _) => {
                self.step = Some((Step::Ask, clock::now()));
                self.ended(ms, String::new(), None);
            }
            (Record::Acted { step, act }, _) if !std::mem::take(&mut self.is_acted) => {
                self.step = Some((step, clock::now()));
                self.ended(act.ms, act.note, act.fault);
            }
            (Record::Resumed, Some(service)) => self.say(Progress::Resumed(service)),
            (Record::Undoing { why }, _) => {
                let why = match why {
                    Unwind::Failed(step, fault) => format!("{step}: {}", fault.cause),
                    Unwind::Cancelled(why) | Unwind::GaveWay(why) => why,
                };
                self.say(Progress::Undoing(why));
            }
            (Record::Ended { report, .. }, Some(service)) => self.over(service, *report, is_earlier),
            _ => {}
        }
    }
}

/// The main effect under way; never, when there is none.
async fn under_way(main: &mut Option<Main>) -> Came {
    match main {
        Some(main) => main.await,
        None => std::future::pending().await,
    }
}

async fn joined<C: Coordinator + 'static>(
    membership: &mut Option<Membership>,
    shop: &Shop<C>,
    may_look: bool,
) -> crate::worker::membership::Call {
    match membership {
        Some(membership) => membership.call(shop, may_look).await,
        None => std::future::pending().await,
    }
}

async fn woken(wake: Option<&Wake>) {
    match wake {
        Some(wake) => wake.told().await,
        None => std::future::pending().await,
    }
}
