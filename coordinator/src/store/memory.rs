//! A store in this process's memory, for tests: as exact as the others, and nothing of it outlives the process.

use super::{
    ANSWER_KEPT, CallAnswer, CallId, Doing, Finding, Heard, Record, SEAT_KEPT, Seat, Sitting, Store, StoreError, Write,
};
use model::names::Id;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// What stands for a server: every handle of it has the same domains. It can be stopped and started.
#[derive(Debug, Clone, Default)]
pub struct MemoryServer {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Held while one thing is done, and never across a wait.
    state: Mutex<State>,
    /// Something happened that somebody may wait for.
    happened: Notify,
}

#[derive(Debug, Default)]
struct State {
    is_stopped: bool,
    /// How often it was started again.
    starts: u64,
    domains: HashMap<String, Domain>,
}

#[derive(Debug, Default)]
struct Domain {
    records: BTreeMap<String, Vec<u8>>,
    /// How often somebody sat: the number of who sat last.
    sits: u64,
    /// Until when that one keeps the seat.
    seated_until: Option<Instant>,
    /// The start of the server in which a steward last wrote.
    written_in: Option<u64>,
    calls: BTreeMap<CallId, (Vec<u8>, Instant)>,
    /// What the one who sat last has not heard.
    unheard: VecDeque<Heard>,
    answers: HashMap<Id, VecDeque<(u64, Vec<u8>, Instant)>>,
}

/// A domain of a [`MemoryServer`].
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    domain: String,
}

#[derive(Debug)]
struct Seated {
    store: MemoryStore,
    number: u64,
    start: u64,
    may_lack: bool,
}

impl MemoryServer {
    /// A new handle of a domain.
    pub fn open(&self, domain: &str) -> MemoryStore {
        MemoryStore { shared: self.shared.clone(), domain: domain.to_owned() }
    }

    /// From now on nothing can be done, as when a server is dead.
    pub fn stop(&self) {
        self.shared.lock().is_stopped = true;
        self.shared.happened.notify_waiters();
    }

    /// Undoes [`MemoryServer::stop`]; who sat is told that the store was replaced.
    pub fn start(&self) {
        let mut state = self.shared.lock();
        state.is_stopped = false;
        state.starts += 1;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Domain {
    fn reply(&mut self, answers: Vec<CallAnswer>) {
        for (id, text) in answers {
            if self.calls.remove(&id).is_some() {
                let lying = self.answers.entry(id.caller).or_default();
                lying.push_back((id.number, text, Instant::now() + ANSWER_KEPT));
            }
        }
    }

    fn is_seated(&self) -> bool {
        self.seated_until.is_some_and(|until| until > Instant::now())
    }

    fn seat(&self) -> Seat {
        if self.is_seated() { Seat::Taken } else { Seat::Empty }
    }

    fn drop_what_is_out_of_time(&mut self) {
        let now = Instant::now();
        self.calls.retain(|_, (_, until)| *until > now);
        self.answers.retain(|_, answers| {
            answers.retain(|(_, _, until)| *until > now);
            !answers.is_empty()
        });
    }
}

impl MemoryStore {
    /// Does one thing, whole, when the server is there.
    fn with<T>(&self, act: impl FnOnce(&mut Domain, u64) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut state = self.shared.lock();
        if state.is_stopped {
            return Err(StoreError::Away(format!("{} is stopped", self.name())));
        }
        let start = state.starts;
        let domain = state.domains.entry(self.domain.clone()).or_default();
        domain.drop_what_is_out_of_time();
        let done = act(domain, start);
        drop(state);
        self.shared.happened.notify_waiters();
        done
    }

    /// Does it again whenever something happened, until it gives something.
    async fn wait<T>(
        &self,
        patience: Duration,
        mut act: impl FnMut(&mut Domain, u64) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let deadline = Instant::now() + patience;
        loop {
            let mut happened = pin!(self.shared.happened.notified());
            happened.as_mut().enable();
            let given = {
                let mut state = self.shared.lock();
                if state.is_stopped {
                    return Err(StoreError::Away(format!("{} is stopped", self.name())));
                }
                let start = state.starts;
                let domain = state.domains.entry(self.domain.clone()).or_default();
                domain.drop_what_is_out_of_time();
                act(domain, start)?
            };
            if given.is_some() || timeout_at(deadline, happened).await.is_err() {
                return Ok(given);
            }
        }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Store for MemoryStore {
    fn name(&self) -> String {
        format!("memory:{}", self.domain)
    }

    fn post(&self, call: &CallId, request: Vec<u8>, kept: Duration) -> Doing<'_, Seat> {
        let call = call.clone();
        Box::pin(async move {
            self.with(|domain, _| {
                domain.calls.insert(call.clone(), (request.clone(), Instant::now() + kept));
                domain.unheard.push_back(Heard::Call { id: call, request });
                Ok(domain.seat())
            })
        })
    }

    fn answer(&self, caller: &Id, patience: Duration) -> Doing<'_, Option<CallAnswer>> {
        let caller = caller.clone();
        Box::pin(async move {
            self.wait(patience, |domain, _| {
                let next = domain.answers.get_mut(&caller).and_then(VecDeque::pop_front);
                Ok(next.map(|(number, text, _)| (CallId { caller: caller.clone(), number }, text)))
            })
            .await
        })
    }

    fn take_back(&self, call: &CallId) -> Doing<'_, ()> {
        let call = call.clone();
        Box::pin(async move {
            self.with(|domain, _| {
                if domain.calls.remove(&call).is_some() {
                    domain.unheard.push_back(Heard::Gone(call));
                }
                Ok(())
            })
        })
    }

    fn seat(&self) -> Doing<'_, Seat> {
        Box::pin(async move { self.with(|domain, _| Ok(domain.seat())) })
    }

    fn examine(&self) -> Doing<'_, Vec<Finding>> {
        Box::pin(async move { self.with(|_, _| Ok(vec![Finding::fine("memory", "it is there")])) })
    }

    fn sit(&self, _steward: &Id) -> Doing<'_, Option<Box<dyn Sitting>>> {
        Box::pin(async move {
            self.with(|domain, start| {
                if domain.is_seated() {
                    return Ok(None);
                }
                domain.sits += 1;
                domain.seated_until = Some(Instant::now() + SEAT_KEPT);
                let calls = domain.calls.iter();
                domain.unheard =
                    calls.map(|(id, (request, _))| Heard::Call { id: id.clone(), request: request.clone() }).collect();
                let may_lack = domain.written_in.is_some_and(|written_in| written_in != start);
                let seated = Seated { store: self.clone(), number: domain.sits, start, may_lack };
                Ok(Some(Box::new(seated) as Box<dyn Sitting>))
            })
        })
    }
}

impl Seated {
    /// Whether this one still has the seat, or nobody took it since.
    fn check(&self, domain: &mut Domain, start: u64) -> Result<(), StoreError> {
        if domain.sits != self.number || domain.seated_until.is_none() {
            return Err(StoreError::Deposed);
        }
        if start != self.start {
            return Err(StoreError::Replaced);
        }
        Ok(())
    }

    /// Does one thing, when nobody else took the seat.
    fn with<T>(&self, act: impl FnOnce(&mut Domain) -> T) -> Result<T, StoreError> {
        self.store.with(|domain, start| {
            self.check(domain, start)?;
            Ok(act(domain))
        })
    }
}

impl Sitting for Seated {
    fn may_lack(&self) -> bool {
        self.may_lack
    }

    fn load(&self) -> Doing<'_, Vec<Record>> {
        Box::pin(async move {
            self.with(|domain| domain.records.iter().map(|(key, text)| (key.clone(), text.clone())).collect())
        })
    }

    fn commit(&self, writes: Vec<Write>) -> Doing<'_, ()> {
        Box::pin(async move {
            self.with(|domain| {
                for (key, text) in writes {
                    match text {
                        Some(text) => domain.records.insert(key, text),
                        None => domain.records.remove(&key),
                    };
                }
                domain.written_in = Some(self.start);
                domain.seated_until = Some(Instant::now() + SEAT_KEPT);
            })
        })
    }

    fn hear(&self, patience: Duration) -> Doing<'_, Vec<Heard>> {
        Box::pin(async move {
            let heard = self.store.wait(patience, |domain, start| {
                self.check(domain, start)?;
                let mut heard: Vec<_> = domain.unheard.drain(..).collect();
                heard.retain(|heard| match heard {
                    Heard::Call { id, .. } => domain.calls.contains_key(id),
                    Heard::Gone(_) => true,
                });
                Ok((!heard.is_empty()).then_some(heard))
            });
            Ok(heard.await?.unwrap_or_default())
        })
    }

    fn reply(&self, answers: Vec<CallAnswer>) -> Doing<'_, ()> {
        Box::pin(async move { self.with(|domain| domain.reply(answers)) })
    }

    fn take_back_answer(&self, call: &CallId) -> Doing<'_, bool> {
        let call = call.clone();
        Box::pin(async move {
            self.with(|domain| {
                let Some(lying) = domain.answers.get_mut(&call.caller) else { return false };
                let before = lying.len();
                lying.retain(|(number, _, _)| *number != call.number);
                lying.len() < before
            })
        })
    }

    fn stay(&self) -> Doing<'_, ()> {
        Box::pin(async move { self.with(|domain| domain.seated_until = Some(Instant::now() + SEAT_KEPT)) })
    }

    fn erase(&self) -> Doing<'_, ()> {
        Box::pin(async move { self.with(|domain| *domain = Domain { sits: domain.sits, ..Domain::default() }) })
    }

    fn leave(&self, answers: Vec<CallAnswer>) -> Doing<'_, ()> {
        Box::pin(async move {
            self.with(|domain| {
                domain.reply(answers);
                domain.seated_until = None;
            })
        })
    }
}
