//! What happens, as it happens: server-sent events, numbered, to be gone on with.
//!
//! Each watcher reads the ring at its own pace; one that is too slow, or asks for what is gone, is told to read again.

use super::body::Selected;
use super::{Answered, Failure, Shared};
use crate::domain::{Domain, Fault};
use crate::ring::{Told, covers, word};
use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use coordinator::refusal::kind;
use coordinator::wire::{EVENT_RESET, HOLD_MS_MAX, LAST_EVENT_ID};
use http::{HeaderMap, header};
use model::names::Scope;
use model::passage::Shut;
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// How often a silent stream says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How many events are sent in one part.
const PART_MAX: usize = 64;
/// Most watchers at once.
const WATCHERS_MAX: usize = 1000;

static WATCHERS: AtomicUsize = AtomicUsize::new(0);

/// One of the watchers that there may be; dropped, it makes room.
struct Seat;

impl Seat {
    fn take() -> Result<Seat, Failure> {
        if WATCHERS.fetch_add(1, Ordering::Relaxed) < WATCHERS_MAX {
            return Ok(Seat);
        }
        WATCHERS.fetch_sub(1, Ordering::Relaxed);
        Err(Failure::new(kind::OVERLOADED, format!("{WATCHERS_MAX} watch already")))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        WATCHERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where a watcher is.
struct Watcher {
    domain: Arc<Domain>,
    scope: Scope,
    /// The number that it has seen; nothing, when it begins.
    seen: Option<u64>,
    newest: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    /// After how long a silence it is said that the stream is alive.
    silence: Duration,
    _seat: Seat,
}

/// How a watcher wants to be told.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Telling {
    /// As an answer that is over with the next events, or without any after so many milliseconds; else as a stream.
    hold_ms: Option<u64>,
}

/// `GET /v1/events`
pub(crate) async fn events(
    State(domain): Shared,
    Selected(select): Selected,
    Selected(telling): Selected<Telling>,
    headers: HeaderMap,
) -> Answered {
    let last = headers.get(LAST_EVENT_ID).map(|value| value.to_str().unwrap_or_default());
    let seen = last.or(select.after.as_deref()).map(last_seen).transpose()?;
    if let Some(shut) = domain.shut() {
        return Err(Fault::Shut(shut).into());
    }
    let (newest, stopping) = (domain.ring.watch(), domain.stopping.subscribe());
    let scope = select.scope.unwrap_or(Scope::All);
    let silence = telling.hold_ms.map_or(KEEP_ALIVE, |ms| Duration::from_millis(ms.min(HOLD_MS_MAX)));
    let mut watcher = Watcher { domain, scope, seen, newest, stopping, silence, _seat: Seat::take()? };
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    if telling.hold_ms.is_some() {
        return Ok((headers, watcher.next().await.unwrap_or_default()).into_response());
    }
    let stream = futures_util::stream::unfold(watcher, |mut watcher| async move {
        let text = watcher.next().await?;
        Some((Ok::<_, Infallible>(text), watcher))
    });
    Ok((headers, Body::from_stream(stream)).into_response())
}

fn last_seen(text: &str) -> Result<u64, Failure> {
    text.trim().parse().map_err(|_| Failure::new(kind::MALFORMED, "last-event-id is the number of an event"))
}

impl Watcher {
    /// The next part of the stream; nothing when the server stops.
    async fn next(&mut self) -> Option<String> {
        let Some(mut seen) = self.seen else {
            let newest = self.domain.ring.newest();
            self.seen = Some(newest);
            return Some(reset(newest));
        };
        loop {
            self.newest.borrow_and_update();
            let told = match self.domain.ring.behind(seen, PART_MAX) {
                Ok(told) => told,
                Err(gone) => {
                    self.seen = Some(gone.0);
                    return Some(reset(gone.0));
                }
            };
            if let Some((last, _)) = told.last() {
                seen = *last;
                self.seen = Some(seen);
                let text = self.text(&told);
                if !text.is_empty() {
                    return Some(text);
                }
                continue;
            }
            if matches!(self.domain.shut(), Some(Shut::Moved { .. })) {
                return None;
            }
            tokio::select! {
                changed = self.newest.changed() => changed.ok()?,
                () = tokio::time::sleep(self.silence) => return Some(": alive\n\n".to_owned()),
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
            }
        }
    }

    fn text(&self, told: &[(u64, Arc<Told>)]) -> String {
        let mut text = String::new();
        for (number, told) in told.iter().filter(|(_, told)| covers(&self.scope, told)) {
            match serde_json::to_string(&told.change) {
                Ok(json) => {
                    // Writing to a string cannot fail.
                    let _ = write!(text, "id: {number}\nevent: {}\ndata: {json}\n\n", word(&told.change));
                }
                Err(cause) => tracing::error!("a change cannot be written as JSON: {cause}"),
            }
        }
        text
    }
}

fn reset(number: u64) -> String {
    format!("id: {number}\nevent: {EVENT_RESET}\ndata: {{}}\n\n")
}
