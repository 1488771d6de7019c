//! The steward's desk: calls that are being decided, or held.
//!
//! Owns one task per call, and the answers on their way out. The door answers each as if it had come over a connection.

use crate::domain::Domain;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use coordinator::refusal::{Problem, kind};
use coordinator::store::{CallAnswer, CallId, Heard, Sitting, StoreError};
use coordinator::wire::{ANSWER_BYTES_MAX, Answered, AskBody, Posted};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use model::change::Key;
use model::request::{Ask, Quiet};
use model::state::Stored;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tower::ServiceExt as _;

/// Most calls at once; one too many stays where it is until its time is over.
const CALLS_MAX: usize = 20_000;
/// Most answers that are sent at once.
const ANSWERS_MAX: usize = 50;
/// How many such batches are on their way at once: a store that syncs each of them does so for several in one.
const BATCHES_MAX: usize = 4;
/// How many callers are told that the seat is empty: some may have died meanwhile.
const TOLD_MAX: usize = 3;
/// How long whoever was granted a lease may take to confirm it, before its answer is looked for.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(3);
/// Where one asks for a lease.
const ASK: &str = "/v1/leases";

/// The calls of a sitting.
#[derive(Debug)]
pub(super) struct Desk {
    router: Router,
    domain: Arc<Domain>,
    sitting: Arc<dyn Sitting>,
    calls: Held,
    answers: Senders,
    outgoing: tokio::sync::Mutex<Receivers>,
}

/// Where answers go out. Grants go first: a slot is taken from then on, and stands idle until its holder knows.
#[derive(Debug, Clone)]
struct Senders {
    grants: mpsc::UnboundedSender<Outgoing>,
    others: mpsc::UnboundedSender<Outgoing>,
}

#[derive(Debug)]
struct Receivers {
    grants: mpsc::UnboundedReceiver<Outgoing>,
    others: mpsc::UnboundedReceiver<Outgoing>,
}

impl Receivers {
    /// Waits for answers; as many as there are, and as may be sent at once.
    async fn next(&mut self, batch: &mut Vec<Outgoing>) {
        tokio::select! {
            biased;
            Some(first) = self.grants.recv() => batch.push(first),
            Some(first) = self.others.recv() => batch.push(first),
        }
        while batch.len() < ANSWERS_MAX
            && let Ok(more) = self.grants.try_recv().or_else(|_| self.others.try_recv())
        {
            batch.push(more);
        }
    }
}

/// The calls that wait at a desk. They are still known when the desk is gone.
#[derive(Debug, Clone, Default)]
pub(super) struct Held(Arc<Mutex<BTreeMap<CallId, AbortHandle>>>);

impl Held {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<CallId, AbortHandle>> {
        // Each change to it is one insertion or removal, so a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers for a few of them, each of another caller: that the seat is empty. When all were told, all would come at once;
    /// and those who are not told are heard by whoever sits next.
    pub(super) fn some_told(&self) -> Vec<CallAnswer> {
        let mut callers = BTreeSet::new();
        let calls = self.lock();
        let some = calls.keys().filter(|id| callers.insert(id.caller.clone())).take(TOLD_MAX);
        some.map(|id| (id.clone(), packed(&Answered::seat_is_empty()))).collect()
    }
}

/// An answer on its way, and the ask that it answers with a lease.
#[derive(Debug)]
struct Outgoing {
    answer: CallAnswer,
    granted: Option<Ask>,
}

impl Desk {
    /// An empty one; what waits there is in `held`.
    pub(super) fn new(router: Router, domain: Arc<Domain>, sitting: Arc<dyn Sitting>, held: &Held) -> Desk {
        let (grants, others) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let answers = Senders { grants: grants.0, others: others.0 };
        let outgoing = Receivers { grants: grants.1, others: others.1 };
        Desk { router, domain, sitting, calls: held.clone(), answers, outgoing: tokio::sync::Mutex::new(outgoing) }
    }

    /// Takes a call up, or gives it up.
    pub(super) fn take(&self, heard: Heard) {
        match heard {
            Heard::Gone(id) => {
                if let Some(task) = self.calls.lock().remove(&id) {
                    task.abort();
                }
            }
            Heard::Call { id, request } => {
                let mut calls = self.calls.lock();
                if calls.contains_key(&id) || calls.len() >= CALLS_MAX {
                    return;
                }
                let (router, answers, known) = (self.router.clone(), self.answers.clone(), self.calls.clone());
                let name = id.clone();
                let task = tokio::spawn(async move {
                    let (answer, granted) = answer(router, &request).await;
                    known.lock().remove(&name);
                    // Nobody takes it any more when the sitting is over; whoever sits then hears the call again.
                    let way = if granted.is_some() { &answers.grants } else { &answers.others };
                    let _ = way.send(Outgoing { answer: (name, answer), granted });
                });
                calls.insert(id, task.abort_handle());
            }
        }
    }

    /// Sends answers for ever. Returns why that ended.
    pub(super) async fn answer(&self) -> StoreError {
        let mut outgoing = self.outgoing.lock().await;
        let mut batch = Vec::with_capacity(ANSWERS_MAX);
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(done) = under_way.next() => match done {
                    Ok(()) => continue,
                    Err(cause) => return cause,
                },
                () = outgoing.next(&mut batch), if under_way.len() < BATCHES_MAX => {}
            }
            let mut answers = Vec::with_capacity(batch.len());
            for Outgoing { answer, granted } in batch.drain(..) {
                if let Some(ask) = granted {
                    self.expect_confirmation(answer.0.clone(), ask);
                }
                answers.push(answer);
            }
            under_way.push(self.sitting.reply(answers));
        }
    }

    /// Looks after a grant: when nobody fetched it, nobody is there, and the next in line need not wait for a time to live.
    fn expect_confirmation(&self, id: CallId, ask: Ask) {
        let (domain, sitting) = (Arc::clone(&self.domain), Arc::clone(&self.sitting));
        tokio::spawn(async move {
            tokio::time::sleep(CONFIRMED_WITHIN).await;
            let key = Key::Lease(ask.holder.clone());
            let is_unconfirmed = domain.glance(|state, _| match state.record(&key) {
                Some(Stored::Lease(lease)) => lease.claim == ask.claim && lease.unconfirmed,
                _ => false,
            });
            if is_unconfirmed == Some(true) && sitting.take_back_answer(&id).await == Ok(true) {
                // A domain that is closed has no use for it.
                let _ = domain.decide(&model::Request::Quiet(Quiet::Waiter { holder: ask.holder, claim: ask.claim }));
            }
        });
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.calls.lock().values().for_each(AbortHandle::abort);
    }
}

/// Has the door answer a call. Returns the answer, and the ask that it grants.
async fn answer(router: Router, request: &[u8]) -> (Vec<u8>, Option<Ask>) {
    let posted: Posted = match serde_json::from_slice(request) {
        Ok(posted) => posted,
        Err(cause) => return (packed(&refused(kind::MALFORMED, &format!("the call makes no sense: {cause}"))), None),
    };
    let answered = match ask_door(router, &posted).await {
        Ok(answered) => answered,
        Err(why) => refused(kind::MALFORMED, &why),
    };
    let is_grant = posted.method == "POST" && posted.path.ends_with(ASK) && answered.status == 200;
    let granted = is_grant && answered.body.get("granted").is_some();
    let ask = granted.then(|| serde_json::from_value::<AskBody>(posted.body).ok()).flatten().map(|body| body.ask);
    (packed(&answered), ask)
}

async fn ask_door(router: Router, posted: &Posted) -> Result<Answered, String> {
    let body = match &posted.body {
        serde_json::Value::Null => Body::empty(),
        body => Body::from(body.to_string()),
    };
    let request = Request::builder()
        .method(posted.method.as_str())
        .uri(&posted.path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(|cause| format!("the call is no request: {cause}"))?;
    let response = match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let status = response.status().as_u16();
    let content = response.headers().get(header::CONTENT_TYPE);
    let is_json = content.is_some_and(|content| content.as_bytes().starts_with(b"application/json"));
    let bytes = to_bytes(response.into_body(), ANSWER_BYTES_MAX / 2).await;
    let bytes = bytes.map_err(|_| "the answer is too long; ask for fewer rows".to_owned())?;
    let is_text = !is_json;
    let body = match is_text {
        true => serde_json::Value::from(String::from_utf8_lossy(&bytes).into_owned()),
        false => serde_json::from_slice(&bytes).map_err(|cause| format!("the answer is no JSON: {cause}"))?,
    };
    Ok(Answered { status, body, is_text })
}

fn refused(kind: &str, why: &str) -> Answered {
    let problem = Problem::new(kind, why);
    let status = problem.status().as_u16();
    Answered { status, body: serde_json::to_value(problem).unwrap_or_default(), is_text: false }
}

/// The answer as it is sent, or why it cannot be.
fn packed(answered: &Answered) -> Vec<u8> {
    let packed = answered.pack().or_else(|cause| refused(kind::MALFORMED, &cause.to_string()).pack());
    packed.unwrap_or_default()
}
