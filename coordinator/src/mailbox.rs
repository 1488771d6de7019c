//! Calls through a store: posted, heard by whoever sits in the domain's seat, and answered there.
//!
//! Owns which calls wait, and who looks for their answers. Sits nowhere itself: when nobody does, it says so
//! ([`Mailbox::vacancy`]), and whoever may sit does what it likes with that.

use crate::error::{Error, Result};
use crate::remote::{Reply, Request};
use crate::store::{CallId, Seat, Store, StoreError};
use crate::wire::{Answered, Posted};
use model::names::Id;
use model::time::millis;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// How long an answer may take, beyond the time for which it may be held: a seat may have to be found empty and taken first.
pub const ANSWER_WAIT: Duration = Duration::from_secs(15);
/// When a call without an answer looks whether somebody sits at all: soon, and when a seat that fell silent as it came must be
/// empty; then half as often each time.
const LOOK_FIRST: [Duration; 2] = [Duration::from_secs(2), Duration::from_millis(3_100)];
/// How seldom it looks at last.
const LOOK_LAST: Duration = Duration::from_secs(16);
/// How long one look for answers stands.
const FETCH: Duration = Duration::from_secs(30);
/// How many stewards may get up, one after the other, while one call waits.
const STEWARDS_MAX: usize = 20;
/// The pause after a look for answers failed.
const FETCH_PAUSE: Duration = Duration::from_millis(300);

/// One process' calls through a store.
#[derive(Debug)]
pub struct Mailbox {
    store: Arc<dyn Store>,
    caller: Id,
    calls: Mutex<Calls>,
    vacancy: Arc<Vacancy>,
}

/// Tells whoever may sit that a call found the seat empty, and callers why that one could not sit.
#[derive(Debug, Default)]
pub struct Vacancy {
    called: Notify,
    trouble: Mutex<Option<String>>,
}

impl Vacancy {
    /// Somebody calls, and nobody sits.
    pub fn call(&self) {
        self.called.notify_one();
    }

    /// Waits until that is so.
    pub async fn called(&self) {
        self.called.notified().await;
    }

    /// Says why nobody sits though somebody could; `None` when that is over.
    pub fn explain(&self, why: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Why nobody sits, when that is known here.
    fn why(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Debug, Default)]
struct Calls {
    last: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Vec<u8>>>,
    /// Whether a task looks for answers.
    is_fetching: bool,
}

impl Mailbox {
    /// A mailbox in this store, under a random name. Sends nothing yet.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn new(store: Arc<dyn Store>) -> Result<Arc<Mailbox>> {
        let caller = crate::random_id()?;
        Ok(Arc::new(Mailbox { store, caller, calls: Mutex::default(), vacancy: Arc::default() }))
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Where it is said that a call found the seat empty.
    pub fn vacancy(&self) -> Arc<Vacancy> {
        Arc::clone(&self.vacancy)
    }

    /// Calls, and waits for the answer: at most for as long as it may be held, and [`ANSWER_WAIT`]. A steward that gets up meanwhile
    /// has it call anew. Dropped, the call is taken back.
    ///
    /// # Errors
    /// The store is away, or unfit; or nobody answered.
    pub async fn call(self: &Arc<Self>, posted: &Posted) -> Result<Answered> {
        for _ in 0..STEWARDS_MAX {
            let answered = self.call_once(posted).await?;
            if !answered.is_seat_empty() {
                return Ok(answered);
            }
        }
        Err(Error::Unknown { why: format!("whoever decides for {} gets up again and again", self.store.name()) })
    }

    async fn call_once(self: &Arc<Self>, posted: &Posted) -> Result<Answered> {
        let hold = Duration::from_millis(posted.hold_ms);
        let request =
            serde_json::to_vec(posted).map_err(|cause| Error::NotApplied { retry: false, why: cause.to_string() })?;
        let (sender, mut answer) = oneshot::channel();
        let call = Call { id: self.register(sender), mailbox: Arc::clone(self) };
        let ends = Instant::now() + hold + ANSWER_WAIT;
        if self.store.post(&call.id, request, hold + ANSWER_WAIT).await.map_err(error)? == Seat::Empty {
            self.vacancy.call();
        }
        let [mut look, mut next_look] = LOOK_FIRST;
        loop {
            let wake = ends.min(Instant::now() + look);
            match tokio::time::timeout_at(wake, &mut answer).await {
                Ok(Ok(answer)) => return read(&answer),
                Ok(Err(_)) => return Err(Error::Unknown { why: "nobody looks for its answer".to_owned() }),
                Err(_) if Instant::now() >= ends => {
                    let unknown = || format!("whoever decides for {} did not answer", self.store.name());
                    return Err(Error::Unknown { why: self.vacancy.why().unwrap_or_else(unknown) });
                }
                Err(_) => {}
            }
            (look, next_look) = (next_look, (next_look * 2).min(LOOK_LAST));
            // A store that is away now may be back before the call is over.
            if self.store.seat().await == Ok(Seat::Empty) {
                self.vacancy.call();
            }
        }
    }

    /// Calls with what would be an HTTP request.
    pub(crate) async fn send(self: &Arc<Self>, request: &Request) -> Result<Reply> {
        let body = match &request.json {
            Some(json) => serde_json::from_slice(json).map_err(|cause| Error::Corrupt(cause.to_string()))?,
            None => serde_json::Value::Null,
        };
        let (method, path) = (request.method.to_string(), request.path.clone());
        let posted = Posted { method, path, hold_ms: millis(request.hold), from: None, body };
        let answered = self.call(&posted).await?;
        let status = answered.status;
        Ok(Reply { status, body: answered.bytes().map_err(|cause| Error::Corrupt(cause.to_string()))? })
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        // Each change to it is one insertion or removal, so a panic elsewhere leaves it whole.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(self: &Arc<Self>, sender: oneshot::Sender<Vec<u8>>) -> CallId {
        let mut calls = self.calls();
        calls.last += 1;
        let number = calls.last;
        calls.waiting.insert(number, sender);
        if !calls.is_fetching {
            calls.is_fetching = true;
            tokio::spawn(Arc::clone(self).fetch());
        }
        CallId { caller: self.caller.clone(), number }
    }

    /// Looks for answers for as long as anybody waits. Never cancelled in the middle, so that none is lost.
    async fn fetch(self: Arc<Self>) {
        while self.is_wanted() {
            match self.store.answer(&self.caller, FETCH).await {
                Ok(Some((call, answer))) => {
                    if let Some(sender) = self.calls().waiting.remove(&call.number) {
                        // Whoever waited may have gone away just now.
                        let _ = sender.send(answer);
                    }
                }
                Ok(None) => {}
                Err(_) => tokio::time::sleep(FETCH_PAUSE).await,
            }
        }
    }

    fn is_wanted(&self) -> bool {
        let mut calls = self.calls();
        calls.is_fetching = !calls.waiting.is_empty();
        calls.is_fetching
    }
}

/// A call that waits; dropped before its answer came, it is taken back.
struct Call {
    id: CallId,
    mailbox: Arc<Mailbox>,
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.mailbox.calls().waiting.remove(&self.id.number).is_none() {
            return;
        }
        let (mailbox, id) = (Arc::clone(&self.mailbox), self.id.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // When that fails it is thrown away later.
            runtime.spawn(async move { mailbox.store.take_back(&id).await });
        }
    }
}

fn read(answer: &[u8]) -> Result<Answered> {
    Answered::unpack(answer).map_err(|cause| Error::Corrupt(cause.to_string()))
}

fn error(error: StoreError) -> Error {
    match error {
        StoreError::Away(why) => Error::NotApplied { retry: true, why },
        StoreError::Unfit(why) => Error::NotApplied { retry: false, why },
        unknown => Error::Unknown { why: unknown.to_string() },
    }
}
