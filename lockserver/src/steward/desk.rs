//! The steward's desk: calls that are being decided, or held.
//!
//! Owns one task per call, and the answers on their way out. The door answers each as if it had come over a connection.

use super::outbox::{self, Batch, Lane, Outbox, Outgoing, Senders};
use crate::access::Asker;
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
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tower::ServiceExt as _;

/// Most calls at once; one too many stays where it is until its time is over.
const CALLS_MAX: usize = 20_000;
/// How many such batches are on their way at once: a store that syncs each of them does so for several in one.
const BATCHES_MAX: usize = 4;
/// How many callers are told that the seat is empty: some may have died meanwhile.
const TOLD_MAX: usize = 3;
/// How long whoever was granted a lease may take to confirm it, before its answer is looked for.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(3);
/// Where one asks for a lease.
const ASK: &str = "/v1/leases";
/// Where one says that one is there, and is held until there is something to know.
const JOIN: &str = "/v1/members/";

/// The calls of a sitting.
#[derive(Debug)]
pub(super) struct Desk {
    router: Router,
    domain: Arc<Domain>,
    sitting: Arc<dyn Sitting>,
    calls: Held,
    answers: Senders,
    outbox: tokio::sync::Mutex<Outbox>,
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

impl Desk {
    /// An empty one; what waits there is in `held`.
    pub(super) fn new(router: Router, domain: Arc<Domain>, sitting: Arc<dyn Sitting>, held: &Held) -> Desk {
        let (answers, outbox) = outbox::outbox();
        Desk { router, domain, sitting, calls: held.clone(), answers, outbox: tokio::sync::Mutex::new(outbox) }
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
                    let (answer, lane, granted) = answer(router, &request).await;
                    known.lock().remove(&name);
                    answers.hand_in(lane, Outgoing { answer: (name, answer), granted });
                });
                calls.insert(id, task.abort_handle());
            }
        }
    }

    /// Sends answers for ever. Returns why that ended.
    pub(super) async fn answer(&self) -> StoreError {
        let mut outbox = self.outbox.lock().await;
        let mut under_way = FuturesUnordered::new();
        loop {
            let Batch { answers, is_full_of_news } = tokio::select! {
                Some((done, news_took)) = under_way.next() => match done {
                    Ok(()) => {
                        if let Some(took) = news_took {
                            outbox.sent(took);
                        }
                        continue;
                    }
                    Err(cause) => return cause,
                },
                batch = outbox.next(), if under_way.len() < BATCHES_MAX => batch,
            };
            let mut outgoing = Vec::with_capacity(answers.len());
            for Outgoing { answer, granted } in answers {
                if let Some(ask) = granted {
                    self.expect_confirmation(answer.0.clone(), ask);
                }
                outgoing.push(answer);
            }
            let sent = Instant::now();
            let reply = self.sitting.reply(outgoing);
            under_way.push(async move { (reply.await, is_full_of_news.then(|| sent.elapsed())) });
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

/// Has the door answer a call. Returns the answer, how soon it goes out, and the ask that it grants.
async fn answer(router: Router, request: &[u8]) -> (Vec<u8>, Lane, Option<Ask>) {
    let posted: Posted = match serde_json::from_slice(request) {
        Ok(posted) => posted,
        Err(cause) => {
            let why = format!("the call makes no sense: {cause}");
            return (packed(&refused(kind::MALFORMED, &why)), Lane::Others, None);
        }
    };
    let answered = match ask_door(router, &posted).await {
        Ok(answered) => answered,
        Err(why) => refused(kind::MALFORMED, &why),
    };
    let is_join = posted.method == "PUT" && posted.path.contains(JOIN);
    let is_grant = posted.method == "POST" && posted.path.ends_with(ASK) && answered.status == 200;
    let granted = is_grant && answered.body.get("granted").is_some();
    let ask = granted.then(|| serde_json::from_value::<AskBody>(posted.body).ok()).flatten().map(|body| body.ask);
    let lane = match ask {
        Some(_) => Lane::Grants,
        None if is_join => Lane::News,
        None => Lane::Others,
    };
    (packed(&answered), lane, ask)
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
        .extension(Asker { from: posted.from.clone(), token: None })
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
