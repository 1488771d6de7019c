//! The doors over a store: what is asked over HTTP is posted in the store as a call, and whoever sits in the domain's seat
//! answers it there.
//!
//! Keeps nothing, so that several may stand side by side. Decides nothing, and reads no more of a request than what a call
//! must say; events are calls that are held, one after the other.

use crate::access::{Access, Asker, Settings};
use crate::doors::body::whole;
use crate::doors::fleetlock::{self, Leases};
use crate::doors::{Failure, no_such_method};
use crate::{CLIENT_WAIT, CONNECTIONS_MAX, Configured, Error, guarded, serve};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use coordinator::Coordinator;
use coordinator::mailbox::Mailbox;
use coordinator::refusal::kind;
use coordinator::remote::Remote;
use coordinator::wire::{Answered, HOLD_MS_MAX, LAST_EVENT_ID, MOVE_BYTES_MAX, Posted};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use model::defaults::Load;
use model::request::{Answer, Ask, Settle, Settled};
use serde_json::Value;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How long one look for events stands, in milliseconds: a stream says as often that it is alive.
const WATCH_MS: u64 = 15_000;
/// The pause before the next look after one failed.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// The pause before what the file says is handed in again, when nobody took it.
const HAND_IN_PAUSE: Duration = Duration::from_secs(5);

/// What every handler shares.
#[derive(Debug, Clone)]
struct Relay {
    mailbox: Arc<Mailbox>,
    stopping: watch::Receiver<bool>,
}

/// Serves the domain of a mailbox's store on a listening socket until `shutdown` is ready; then what is held is ended. `domain` is
/// its name in paths, beside none at all.
///
/// Sits nowhere: whoever attends the mailbox' store does.
///
/// # Errors
/// The tokens or certificates of its settings cannot be read.
pub async fn run(
    listener: TcpListener,
    mailbox: Arc<Mailbox>,
    domain: &str,
    access: &Settings,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let access = Access::open(access, domain, CLIENT_WAIT)?;
    let (stopping, stops) = watch::channel(false);
    let router = guarded(router(Relay { mailbox, stopping: stops }, domain), &access);
    tokio::select! {
        () = serve::serve(listener, router, &access, &stopping, CONNECTIONS_MAX, CLIENT_WAIT, shutdown) => {}
        () = access.watch() => {}
    }
    Ok(())
}

/// Hands in what the file of this door says of pools and services, at once and whenever it was read again; and again until somebody
/// decides. Doors over one store are given the same file: what one of them handed in last holds. For as long as anybody reads the
/// file.
pub async fn hand_in(mailbox: Arc<Mailbox>, mut configured: watch::Receiver<Configured>) {
    loop {
        let Configured { load, is_good } = configured.borrow_and_update().clone();
        // What a wrong file said before is not handed in again: another door may have handed in something newer.
        if let Some(load) = load.filter(|_| is_good) {
            while !handed_in(&mailbox, &load).await {
                tokio::time::sleep(HAND_IN_PAUSE).await;
            }
        }
        if configured.changed().await.is_err() {
            return;
        }
    }
}

/// Whether somebody took it, or refused it for good.
async fn handed_in(mailbox: &Arc<Mailbox>, load: &Load) -> bool {
    let body = match serde_json::to_value(load) {
        Ok(body) => body,
        Err(cause) => {
            tracing::error!("{} cannot be handed in: {cause}", load.file);
            return true;
        }
    };
    let posted =
        Posted { method: Method::PUT.to_string(), path: "/v1/defaults".to_owned(), hold_ms: 0, body, from: None };
    match mailbox.call(&posted).await {
        Ok(Answered { status: 200, .. }) => true,
        Ok(Answered { status: 500.., body, .. }) => {
            tracing::warn!("{} is not taken in yet: {body}", load.file);
            false
        }
        Ok(Answered { body, .. }) => {
            tracing::error!("{} is not taken in: {body}", load.file);
            true
        }
        Err(cause) => {
            tracing::warn!("{} is not taken in yet: {cause}", load.file);
            false
        }
    }
}

fn router(relay: Relay, domain: &str) -> Router {
    let leases = Arc::new(Remote::through(Arc::clone(&relay.mailbox)));
    let v1 = Router::new()
        .route("/events", get(events))
        .fallback(any(hand_on))
        .merge(fleetlock::router(leases))
        .method_not_allowed_fallback(no_such_method);
    Router::new()
        .nest("/v1", v1.clone())
        .nest(&format!("/{domain}/v1"), v1)
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(hand_on))
        .fallback(no_such_path)
        .with_state(relay)
}

async fn healthz() -> &'static str {
    "alive\n"
}

/// `GET /readyz`: the store answers.
async fn readyz(State(relay): State<Relay>) -> Response {
    match relay.mailbox.store().seat().await {
        Ok(_) => "ready\n".into_response(),
        Err(cause) => Failure::new(kind::STORE, cause.to_string()).into_response(),
    }
}

async fn no_such_path(uri: Uri) -> Failure {
    Failure::new(kind::NO_PATH, format!("there is no {} here; the paths begin with /v1/", uri.path()))
}

impl Leases for Remote {
    fn ask(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, Failure>> {
        Box::pin(async move { Coordinator::ask(self, &ask, Duration::ZERO).await.map_err(failed) })
    }

    fn settle(&self, settle: Settle) -> BoxFuture<'_, Result<Settled, Failure>> {
        Box::pin(async move { Coordinator::settle(self, &settle).await.map_err(failed) })
    }
}

/// Hands a request on, and its answer back. A client that goes away takes its call back.
async fn hand_on(State(relay): State<Relay>, asker: Asker, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let read = whole(body, CLIENT_WAIT, MOVE_BYTES_MAX).await;
    let posted = match read.and_then(|body| post(&parts.method, path_of(&parts.uri), asker, &body)) {
        Ok(posted) => posted,
        Err(failure) => return failure.into_response(),
    };
    let mut stopping = relay.stopping.clone();
    tokio::select! {
        answered = relay.mailbox.call(&posted) => match answered {
            Ok(answered) => respond(answered),
            Err(error) => failed(error).into_response(),
        },
        _ = stopping.wait_for(|stopping| *stopping) => {
            Failure::new(kind::UNKNOWN, "the lock server stops: ask the next one").into_response()
        }
    }
}

/// The path below the domain, with its query: as the steward's door has it.
fn path_of(uri: &Uri) -> String {
    // A nested router has taken the domain and the version away.
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if uri.path() == "/metrics" { path.to_owned() } else { format!("/v1{path}") }
}

/// The call for a request. Who acts is signed here: behind this door nobody knows the token.
fn post(method: &Method, path: String, asker: Asker, body: &[u8]) -> Result<Posted, Failure> {
    let malformed = |cause| Failure::new(kind::MALFORMED, format!("the body is no JSON object: {cause}"));
    let mut body = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).map_err(malformed)? };
    if let Some(Value::String(by)) = body.get_mut("by") {
        *by = asker.signature(std::mem::take(by));
    }
    let hold_ms = body.get("hold_ms").and_then(Value::as_u64).unwrap_or(0).min(HOLD_MS_MAX);
    Ok(Posted { method: method.to_string(), path, hold_ms, from: asker.from, body })
}

fn respond(answered: Answered) -> Response {
    let status = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let content = if answered.is_text { "text/plain; version=0.0.4; charset=utf-8" } else { "application/json" };
    match answered.bytes() {
        Ok(bytes) => (status, [(header::CONTENT_TYPE, content)], bytes).into_response(),
        Err(cause) => Failure::new(kind::BUG, cause.to_string()).into_response(),
    }
}

fn failed(error: coordinator::Error) -> Failure {
    match error {
        coordinator::Error::NotApplied { why, .. } => Failure::new(kind::STORE, why),
        coordinator::Error::Unknown { why } => Failure::new(kind::UNKNOWN, why),
        other => Failure::new(kind::BUG, other.to_string()),
    }
}

/// `GET /v1/events`: server-sent events, each part of them a call of its own.
async fn events(State(relay): State<Relay>, uri: Uri, headers: HeaderMap) -> Response {
    let last = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let scope = uri.query().unwrap_or_default().split('&').find(|part| part.starts_with("scope=")).unwrap_or_default();
    let watch = Watch { relay, scope: scope.to_owned(), last };
    // The first part is asked for before anything is said, so that a refusal has its status.
    let (first, watch) = match watch.next().await {
        Ok(next) => next,
        Err(refused) => return *refused,
    };
    let rest = futures_util::stream::unfold(Some(watch), |watch| async {
        let watch = watch?;
        let mut stopping = watch.relay.stopping.clone();
        tokio::select! {
            next = watch.next() => next.ok().map(|(text, watch)| (Ok::<_, Infallible>(text), Some(watch))),
            _ = stopping.wait_for(|stopping| *stopping) => None,
        }
    });
    let all = futures_util::StreamExt::chain(futures_util::stream::iter([Ok(first)]), rest);
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(all)).into_response()
}

/// Where a watcher is.
struct Watch {
    relay: Relay,
    /// The part of the query that says what it watches.
    scope: String,
    /// The number of the last event that it has seen.
    last: Option<String>,
}

impl Watch {
    /// The next part of the stream. What is refused is an answer of its own.
    async fn next(mut self) -> Result<(String, Watch), Box<Response>> {
        let after = self.last.as_ref().map(|last| format!("&after={last}")).unwrap_or_default();
        let path = format!("/v1/events?hold_ms={WATCH_MS}&{}{after}", self.scope);
        let posted = Posted { method: "GET".to_owned(), path, hold_ms: WATCH_MS, from: None, body: Value::Null };
        let answered = match self.relay.mailbox.call(&posted).await {
            Ok(answered) => answered,
            // Nobody sits, for a while: the stream stays, and goes on from where it was.
            Err(error) if error.retryable() && self.last.is_some() => {
                tokio::time::sleep(WATCH_PAUSE).await;
                return Ok((": nobody decides\n\n".to_owned(), self));
            }
            Err(error) => return Err(Box::new(failed(error).into_response())),
        };
        match answered {
            Answered { status: 200, body: Value::String(text), is_text: true } => {
                let newest = text.lines().rev().find_map(|line| line.strip_prefix("id: "));
                self.last = newest.map(str::to_owned).or(self.last);
                Ok((text, self))
            }
            refused => Err(Box::new(respond(refused))),
        }
    }
}
