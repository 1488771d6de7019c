//! A coordinator that is elsewhere: a lock server, or whoever decides for the domain of a store.
//!
//! Owns what is asked of it, and how its answers are read: refused is not applied. How a request gets there is `connections`'
//! and [`mailbox`](crate::mailbox)'s. Retries nothing: pauses and patience are the caller's.

mod backup;
mod connections;
mod credentials;
mod several;
mod watch;

use crate::Coordinator;
use crate::error::{Error, Result};
use crate::mailbox::Mailbox;
use crate::refusal::{Problem, Refusable, kind, status};
use crate::wire::{AskBody, Call, DomainView, JoinBody, Luggage, PassageView, lease_path};
use connections::Connections;
use http::Method;
use model::history::Entry;
use model::names::{RolloutName, Scope};
use model::passage::Move;
use model::read::{Leases, MemberRow, Page, PauseRow, PoolRow, RolloutDetail, RolloutRow, Selection};
use model::request::{Admin, Answer, Ask, Begin, BeginAsk, Done, Join, Joined, Own, Quiet, Renew, Settle, Settled};
use model::time::millis;
use model::why::Why;
use serde::Serialize;
use serde::de::DeserializeOwned;
use several::Several;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

pub use backup::{BACKUP_WAIT, Backup};
pub use connections::{ANSWER_WAIT, CONNECT_WAIT};
pub use credentials::Credentials;
pub use watch::{EVENT_WAIT, Events};

/// How much of an answer that makes no sense is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 80;

/// How often one request follows a domain that was moved.
const HOPS_MAX: usize = 4;

/// A client of one coordinator, and of the one that its domain is moved to. Cheap to clone; clones go along.
#[derive(Clone)]
pub struct Remote {
    way: Arc<RwLock<Way>>,
    reach: Option<Reach>,
}

/// Reaches a coordinator at a URL.
pub type Reach = Arc<dyn Fn(&str) -> Result<Remote> + Send + Sync>;

/// How calls travel.
#[derive(Debug, Clone)]
enum Way {
    /// Over connections of their own.
    Connections(Connections),
    /// Over connections to one of several doors.
    Several(Several),
    /// Through a store.
    Mailbox(Arc<Mailbox>),
}

impl Way {
    async fn send(&self, request: &Request) -> Result<Reply> {
        match self {
            Way::Connections(connections) => connections.send(request).await,
            Way::Several(several) => several.send(request).await,
            Way::Mailbox(mailbox) => mailbox.send(request).await,
        }
    }
}

/// One request, however it travels.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Path and query, below the domain: `/v1/leases?limit=1`.
    pub(crate) path: String,
    /// The body, as JSON.
    pub(crate) json: Option<Vec<u8>>,
    /// How long the answer may be held.
    pub(crate) hold: Duration,
}

impl Request {
    /// One without a body, which is answered at once.
    fn new(method: Method, path: String) -> Request {
        Request { method, path, json: None, hold: Duration::ZERO }
    }
}

/// What came back, whole.
#[derive(Debug)]
pub(crate) struct Reply {
    /// As HTTP has it.
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Remote {
    /// A client for `http://HOST:PORT`, or `http://HOST:PORT/DOMAIN`; with several of `HOST:PORT`, which commas part, of doors to one
    /// store. Connects when something is asked, not before.
    ///
    /// # Errors
    /// The URL is none of these: `NotApplied`, and a retry cannot help.
    pub fn new(url: &str) -> Result<Remote> {
        Remote::known(url, &Credentials::default())
    }

    /// The same, or for `https://…`, with what the lock server knows us by, and we it.
    ///
    /// # Errors
    /// The URL is none of these, a file makes no sense, or the token must not be sent there: `NotApplied`, and a retry cannot help.
    pub fn known(url: &str, credentials: &Credentials) -> Result<Remote> {
        Ok(Remote::by(match Several::new(url, credentials)? {
            Some(several) => Way::Several(several),
            None => Way::Connections(Connections::new(url, credentials)?),
        }))
    }

    fn by(way: Way) -> Remote {
        Remote { way: Arc::new(RwLock::new(way)), reach: None }
    }

    /// The same, but that it goes along when the domain is moved: `reach` is given the new URL.
    #[must_use]
    pub fn following(self, reach: Reach) -> Remote {
        Remote { reach: Some(reach), ..self }
    }

    /// A client of whoever decides for the domain of a store.
    pub fn through(mailbox: Arc<Mailbox>) -> Remote {
        Remote::by(Way::Mailbox(mailbox))
    }

    /// The coordinator's address, for people: without password.
    pub fn url(&self) -> String {
        match &self.way() {
            Way::Connections(connections) => connections.name().to_owned(),
            Way::Several(several) => several.name().to_owned(),
            Way::Mailbox(mailbox) => mailbox.store().name(),
        }
    }

    /// Watches what happens within a scope. With `last`, the number of the last event seen, it goes on behind that one;
    /// what can no longer be told is said by [`Event::Reset`](crate::events::Event::Reset).
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub async fn events(&self, scope: Option<&Scope>, last: Option<u64>) -> Result<Events> {
        let select = Selection { scope: scope.cloned(), ..Selection::default() };
        let path = path_of("events", &query(&select));
        let reply = match &self.way() {
            Way::Mailbox(mailbox) => return Ok(Events::posted(Arc::clone(mailbox), path, last)),
            Way::Connections(connections) => match connections.watch(&path, last).await? {
                Ok(response) => return Ok(Events::streamed(response)),
                Err(reply) => reply,
            },
            Way::Several(several) => match several.watch(&path, last).await? {
                Ok(response) => return Ok(Events::streamed(response)),
                Err(reply) => reply,
            },
        };
        if let (Some(to), Some(reach)) = (moved(&reply), &self.reach) {
            self.go_along(&to, reach)?;
            return Err(Error::NotApplied { retry: true, why: "the domain was moved".to_owned() });
        }
        Err(refused(reply.status, &reply.body))
    }

    /// Takes a backup of the state of this very lock server.
    ///
    /// # Errors
    /// As of everything that is asked; or its records lie in a store, which has ways of its own.
    pub async fn backup(&self) -> Result<Backup> {
        let path = path_of("backup", "");
        match &self.way() {
            Way::Connections(connections) => match connections.watch(&path, None).await? {
                Ok(response) => Ok(Backup::of(response)),
                Err(reply) => Err(refused(reply.status, &reply.body)),
            },
            // Whoever sits there says that it has none to give.
            way => {
                let Reply { status, body } = way.send(&Request::new(Method::GET, path)).await?;
                Err(refused(status, &body))
            }
        }
    }

    /// How far the passage of this very domain is.
    ///
    /// # Errors
    /// As of everything that is asked.
    pub async fn passage(&self) -> Result<PassageView> {
        self.ask_here(Request::new(Method::GET, path_of("move", ""))).await
    }

    /// Which domain this is, as whoever answers says.
    ///
    /// # Errors
    /// As of everything that is asked.
    pub async fn domain(&self) -> Result<DomainView> {
        self.ask_here(Request::new(Method::GET, path_of("domain", ""))).await
    }

    /// Records of this very domain, which is closed; behind the ones that gave `after`.
    ///
    /// # Errors
    /// As of everything that is asked; or it is open.
    pub async fn luggage(&self, after: Option<String>) -> Result<Luggage> {
        let select = Selection { after, ..Selection::default() };
        self.ask_here(Request::new(Method::GET, path_of("records", &query(&select)))).await
    }

    /// Has this very domain take a step of its passage.
    ///
    /// # Errors
    /// As of everything that is asked. That it refuses is an answer.
    pub async fn step(&self, step: &Move) -> Result<Done> {
        let request = Request { json: Some(json(step)?), ..Request::new(Method::POST, path_of("move", "")) };
        let Reply { status, body } = self.way().send(&request).await?;
        if is_success(status) {
            return parse(&body);
        }
        let refusal = serde_json::from_slice::<Problem>(&body).ok().as_ref().and_then(Done::of);
        refusal.ok_or_else(|| refused(status, &body))
    }

    /// Asks this very domain, wherever it was moved.
    async fn ask_here<T: DeserializeOwned>(&self, request: Request) -> Result<T> {
        let Reply { status, body } = self.way().send(&request).await?;
        if is_success(status) { parse(&body) } else { Err(refused(status, &body)) }
    }

    fn way(&self) -> Way {
        self.way.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends one request and reads the answer whole.
    async fn send(&self, method: Method, path: String, json: Option<Vec<u8>>, hold: Duration) -> Result<Reply> {
        let request = Request { method, path, json, hold };
        for _ in 0..HOPS_MAX {
            let reply = self.way().send(&request).await?;
            let Some(to) = moved(&reply) else { return Ok(reply) };
            let Some(reach) = &self.reach else { return Ok(reply) };
            self.go_along(&to, reach)?;
        }
        Err(Error::NotApplied { retry: true, why: "the domain is moved on and on".to_owned() })
    }

    /// Asks at this place from now on.
    fn go_along(&self, to: &str, reach: &Reach) -> Result<()> {
        let new = reach(to)?.way();
        *self.way.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Calls, and reads an answer that may be a refusal.
    async fn call<B, T>(&self, method: Method, path: &str, body: &B, hold: Duration) -> Result<T>
    where
        B: Serialize + Sync,
        T: Refusable + DeserializeOwned,
    {
        let Reply { status, body } = self.send(method, path_of(path, ""), Some(json(body)?), hold).await?;
        if is_success(status) {
            return parse(&body);
        }
        let refusal = serde_json::from_slice::<Problem>(&body).ok().as_ref().and_then(T::of);
        refusal.ok_or_else(|| refused(status, &body))
    }

    async fn read<T: DeserializeOwned>(&self, path: &str, query: &str) -> Result<T> {
        let asked = self.send(Method::GET, path_of(path, query), None, Duration::ZERO).await;
        let read = asked.and_then(|Reply { status, body }| match is_success(status) {
            true => parse(&body),
            false => Err(refused(status, &body)),
        });
        // Nothing was to be done, so nobody need wonder whether it was.
        read.map_err(|error| match error {
            Error::Unknown { why } => Error::NotApplied { retry: true, why },
            other => other,
        })
    }
}

impl Coordinator for Remote {
    async fn join(&self, join: &Join, seen: Option<&[RolloutName]>, hold: Duration) -> Result<Joined> {
        let body = JoinBody { join: join.clone(), seen: seen.map(<[RolloutName]>::to_vec), hold_ms: millis(hold) };
        self.call(Method::PUT, &format!("members/{}", join.host), &body, hold).await
    }

    async fn ask(&self, ask: &Ask, hold: Duration) -> Result<Answer> {
        let body = AskBody { ask: ask.clone(), hold_ms: millis(hold) };
        self.call(Method::POST, "leases", &body, hold).await
    }

    async fn begin(&self, begin: &BeginAsk) -> Result<Begin> {
        self.call(Method::POST, &format!("{}/begin", lease_path(&begin.holder)), begin, Duration::ZERO).await
    }

    async fn renew(&self, renew: &Renew) -> Result<Own> {
        self.call(Method::PUT, &lease_path(&renew.holder), renew, Duration::ZERO).await
    }

    async fn settle(&self, settle: &Settle) -> Result<Settled> {
        self.call(Method::DELETE, &lease_path(&settle.holder), settle, Duration::ZERO).await
    }

    async fn admin(&self, admin: &Admin) -> Result<Done> {
        let Call { method, path, body } =
            Call::of(admin).map_err(|cause| Error::NotApplied { retry: false, why: cause.to_string() })?;
        self.call(method, &path, &body, Duration::ZERO).await
    }

    async fn quiet(&self, quiet: &Quiet) -> Result<()> {
        let Reply { status, body } =
            self.send(Method::POST, path_of("quiet", ""), Some(json(quiet)?), Duration::ZERO).await?;
        if is_success(status) { Ok(()) } else { Err(refused(status, &body)) }
    }

    async fn leases(&self, select: &Selection) -> Result<Leases> {
        self.read("leases", &query(select)).await
    }

    async fn pools(&self, select: &Selection) -> Result<Page<PoolRow>> {
        self.read("pools", &query(select)).await
    }

    async fn pauses(&self) -> Result<Vec<PauseRow>> {
        self.read("pauses", "").await
    }

    async fn members(&self, select: &Selection) -> Result<Page<MemberRow>> {
        self.read("members", &query(select)).await
    }

    async fn rollouts(&self, select: &Selection) -> Result<Vec<RolloutRow>> {
        self.read("rollouts", &query(select)).await
    }

    async fn rollout(&self, name: &RolloutName) -> Result<Option<RolloutDetail>> {
        let path = format!("rollouts/{}/{}", name.service, name.generation);
        match self.read(&path, "").await {
            Ok(detail) => Ok(Some(detail)),
            Err(Error::Refused { kind: name, .. }) if name == kind::NOT_FOUND => Ok(None),
            Err(other) => Err(other),
        }
    }

    async fn history(&self, select: &Selection) -> Result<Page<Entry>> {
        self.read("history", &query(select)).await
    }

    async fn why(&self, scope: &Scope) -> Result<Why> {
        self.read(&format!("why/{scope}"), "").await
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Remote").field(&self.way()).finish()
    }
}

/// Where the domain was moved to, when that is the answer.
fn moved(reply: &Reply) -> Option<String> {
    if reply.status != status(kind::MOVED).as_u16() {
        return None;
    }
    let problem: Problem = serde_json::from_slice(&reply.body).ok()?;
    problem.to.filter(|_| problem.kind == kind::MOVED)
}

/// Where something is asked, below the domain.
fn path_of(path: &str, query: &str) -> String {
    if query.is_empty() { format!("/v1/{path}") } else { format!("/v1/{path}?{query}") }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// A selection as a URL's query. Of the characters that names may have, only `+` means something else there.
fn query(select: &Selection) -> String {
    let parts = [
        select.scope.as_ref().map(|scope| format!("scope={}", escape(&scope.to_string()))),
        select.after.as_ref().map(|after| format!("after={}", escape(after))),
        select.limit.map(|limit| format!("limit={limit}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("&")
}

fn escape(text: &str) -> String {
    text.replace('%', "%25").replace('+', "%2B").replace('&', "%26").replace('#', "%23")
}

fn json<B: Serialize>(body: &B) -> Result<Vec<u8>> {
    serde_json::to_vec(body).map_err(|cause| Error::NotApplied { retry: false, why: cause.to_string() })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|cause| Error::Corrupt(format!("{} ({cause})", shown(bytes))))
}

/// What there is to say of an answer that makes no sense: its first line. A page for people says nothing but that it is one.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start();
    match text.lines().next() {
        None => "and nothing else".to_owned(),
        Some(_) if text.starts_with('<') => "a page of HTML".to_owned(),
        Some(line) => format!("{:?}", model::bound::beginning(line, SHOWN_BYTES_MAX)),
    }
}

/// What an answer that is no success means for the caller.
fn refused(status: u16, bytes: &[u8]) -> Error {
    let Ok(Problem { kind: name, value, .. }) = serde_json::from_slice(bytes) else {
        let value = format!("status {status}, {}", shown(bytes));
        return match status {
            500.. => Error::Unknown { why: value },
            408 => Error::Unable { kind: "http".to_owned(), value },
            // A lock server says what it refuses: this is something else.
            _ => Error::Corrupt(value),
        };
    };
    match name.as_str() {
        kind::STORE | kind::SILENT | kind::STOPPING | kind::OVERLOADED | kind::MOVING | kind::LIMITED => {
            Error::Unable { kind: name, value }
        }
        _ if status == 408 => Error::Unable { kind: name, value },
        _ if status >= 500 => Error::Unknown { why: value },
        _ if status >= 400 => Error::Refused { kind: name, value, status },
        _ => Error::Corrupt(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_survives_the_query() {
        let scope = Some("pool/a+b".parse().expect("a scope"));
        assert_eq!(
            query(&Selection { scope, after: Some("x%y".into()), limit: Some(3) }),
            "scope=pool/a%2Bb&after=x%25y&limit=3"
        );
        assert_eq!(query(&Selection::default()), "");
    }

    #[test]
    fn a_status_says_what_became_of_the_request() {
        let problem = |kind: &str| serde_json::to_vec(&Problem::new(kind, "v")).expect("JSON");
        assert!(matches!(refused(503, &problem("store")), Error::Unable { .. }));
        assert!(matches!(refused(503, &problem("stopping")), Error::Unable { .. }));
        assert!(matches!(refused(503, &problem("unknown")), Error::Unknown { .. }));
        assert!(matches!(refused(500, b"oops"), Error::Unknown { .. }));
        assert!(matches!(refused(502, b"<html>"), Error::Unknown { .. }));
        assert!(matches!(refused(408, b""), Error::Unable { .. }));
        assert!(matches!(refused(404, &problem("not_found")), Error::Refused { status: 404, .. }));
        assert!(matches!(refused(302, b""), Error::Corrupt(_)));
    }

    #[test]
    fn the_answer_of_another_server_is_a_line() {
        let page = format!("\n<!DOCTYPE html>\n<html>{}</html>", "<p>It works!</p>\n".repeat(100));
        let Error::Corrupt(why) = parse::<Leases>(page.as_bytes()).expect_err("no leases") else {
            panic!("it makes sense")
        };
        assert_eq!(why, "a page of HTML (expected value at line 2 column 1)");
        let said = |bytes: &[u8]| match refused(404, bytes) {
            Error::Corrupt(said) => said,
            other => panic!("{other}"),
        };
        assert_eq!(said(page.as_bytes()), "status 404, a page of HTML");
        assert_eq!(said("x\ny".repeat(100).as_bytes()), "status 404, \"x\"");
        assert_eq!(said("x".repeat(100).as_bytes()).len(), "status 404, ".len() + 2 + SHOWN_BYTES_MAX);
        assert_eq!(said(b""), "status 404, and nothing else");
    }
}
