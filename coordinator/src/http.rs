//! The client of the lock server: one connection pool, no redirects, no proxy, a deadline on every call.
//!
//! Owns how a failure on the wire is read: refused is not applied, sent without an answer is unknown. Retries nothing by
//! itself but one call on a connection that had died unseen; pauses and patience are the caller's.

use crate::Coordinator;
use crate::error::{Error, Result};
use crate::events::{Event, Parser};
use crate::mailbox::Mailbox;
use crate::refusal::{Problem, Refusable, kind};
use crate::wire::{Answered, AskBody, Call, DOMAIN, JoinBody, LAST_EVENT_ID, Posted, lease_path};
use http::Method;
use model::history::Entry;
use model::names::{RolloutName, Scope};
use model::read::{Leases, MemberRow, Page, PauseRow, PoolRow, RolloutDetail, RolloutRow, Selection};
use model::request::{Admin, Answer, Ask, Begin, BeginAsk, Done, Join, Joined, Own, Quiet, Renew, Settle, Settled};
use model::time::millis;
use model::why::Why;
use reqwest::{Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// How long connecting may take.
pub const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// How long an answer may take, beyond the time for which it may be held.
pub const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How long a stream of events may be silent: a comment comes every 15 s.
pub const EVENT_WAIT: Duration = Duration::from_secs(40);
/// How soon a silent connection is probed for life.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Longest answer, in bytes: a full page of reports fits.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How much of an answer that makes no sense is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 80;

/// A client of one lock server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpCoordinator {
    way: Way,
    base: Url,
    /// Its address, for people.
    name: String,
}

/// How calls travel.
#[derive(Debug, Clone)]
enum Way {
    /// Over connections of their own.
    Connections(reqwest::Client),
    /// Through a store.
    Mailbox(Arc<Mailbox>),
}

/// Events as they come; see [`HttpCoordinator::events`].
#[derive(Debug)]
pub struct Events {
    response: Response,
    parser: Parser,
}

impl HttpCoordinator {
    /// A client for `http://HOST:PORT`, or `http://HOST:PORT/DOMAIN`. Connects when something is asked, not before.
    ///
    /// # Errors
    /// The URL is none of these: `NotApplied`, and a retry cannot help.
    pub fn new(url: &str) -> Result<HttpCoordinator> {
        let wrong = |why: String| Error::NotApplied { retry: false, why };
        let mut base = Url::parse(url).map_err(|cause| wrong(format!("{url:?} is no URL: {cause}")))?;
        if base.scheme() != "http" {
            let scheme = base.scheme();
            return Err(wrong(format!("{scheme}:// is not spoken here; write http://HOST:PORT")));
        }
        if base.query().is_some()
            || base.fragment().is_some()
            || !base.username().is_empty()
            || base.password().is_some()
        {
            return Err(wrong(format!("{url:?} says too much; write http://HOST:PORT, or http://HOST:PORT/DOMAIN")));
        }
        let domain = base.path().trim_matches('/').to_owned();
        if domain.contains('/') {
            return Err(wrong(format!("{domain:?} is no domain: it has a slash")));
        }
        base.set_path(if domain.is_empty() || domain == DOMAIN { "" } else { &domain });
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WAIT)
            .pool_idle_timeout(None)
            .tcp_keepalive(KEEPALIVE)
            .build()
            .map_err(|cause| wrong(format!("the HTTP client does not start: {}", chain(&cause))))?;
        let name = base.as_str().trim_end_matches('/').to_owned();
        Ok(HttpCoordinator { way: Way::Connections(client), base, name })
    }

    /// A client of whoever decides for the domain of a store.
    ///
    /// # Errors
    /// None that can happen.
    pub fn through(mailbox: Arc<Mailbox>) -> Result<HttpCoordinator> {
        // Of this, only the paths below it are used.
        let base =
            Url::parse("http://store/").map_err(|cause| Error::NotApplied { retry: false, why: cause.to_string() })?;
        let name = mailbox.store().name();
        Ok(HttpCoordinator { way: Way::Mailbox(mailbox), base, name })
    }

    /// The coordinator's address, for people: without password.
    pub fn url(&self) -> &str {
        &self.name
    }

    /// Watches what happens within a scope. With `last`, the number of the last event seen, it goes on behind that one;
    /// what can no longer be told is said by [`Event::Reset`].
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub async fn events(&self, scope: Option<&Scope>, last: Option<u64>) -> Result<Events> {
        let url = self.url_of("events", &query(&Selection { scope: scope.cloned(), ..Selection::default() }));
        let Way::Connections(client) = &self.way else {
            let why = "events are told over HTTP; ask a lock server for them".to_owned();
            return Err(Error::NotApplied { retry: false, why });
        };
        let mut request = client.get(url);
        if let Some(last) = last {
            request = request.header(LAST_EVENT_ID, last);
        }
        let sent = tokio::time::timeout(CONNECT_WAIT + ANSWER_WAIT, request.send()).await;
        let response = sent.map_err(|_| Error::Unknown { why: "the server is silent".to_owned() })?.map_err(unsent)?;
        if response.status().is_success() {
            return Ok(Events { response, parser: Parser::default() });
        }
        let status = response.status().as_u16();
        Err(refused(status, &body(response).await?))
    }

    fn url_of(&self, path: &str, query: &str) -> Url {
        let mut url = self.base.clone();
        let domain = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{domain}/v1/{path}"));
        url.set_query((!query.is_empty()).then_some(query));
        url
    }

    /// Sends one request and reads the answer whole.
    async fn send(&self, method: Method, url: Url, json: Option<Vec<u8>>, hold: Duration) -> Result<(u16, Vec<u8>)> {
        match &self.way {
            Way::Connections(client) => request(client, method, url, json, hold).await,
            Way::Mailbox(mailbox) => post(mailbox, &method, &url, json, hold).await,
        }
    }

    /// Calls, and reads an answer that may be a refusal.
    async fn call<B, T>(&self, method: Method, path: &str, body: &B, hold: Duration) -> Result<T>
    where
        B: Serialize + Sync,
        T: Refusable + DeserializeOwned,
    {
        let (status, bytes) = self.send(method, self.url_of(path, ""), Some(json(body)?), hold).await?;
        if is_success(status) {
            return parse(&bytes);
        }
        let refusal = serde_json::from_slice::<Problem>(&bytes).ok().as_ref().and_then(T::of);
        refusal.ok_or_else(|| refused(status, &bytes))
    }

    async fn read<T: DeserializeOwned>(&self, path: &str, query: &str) -> Result<T> {
        let (status, bytes) = self.send(Method::GET, self.url_of(path, query), None, Duration::ZERO).await?;
        if is_success(status) { parse(&bytes) } else { Err(refused(status, &bytes)) }
    }
}

impl Events {
    /// The next event. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The stream ended or fell silent: go on with a new one from the last event's number.
    pub async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.parser.take() {
                return Ok(event);
            }
            let over = |why: &str| Error::Unknown { why: why.to_owned() };
            let part = tokio::time::timeout(EVENT_WAIT, self.response.chunk()).await;
            let part = part.map_err(|_| over("the events fell silent"))?;
            let part = part.map_err(|cause| over(&chain(&cause)))?.ok_or_else(|| over("the events ended"))?;
            self.parser.feed(&part)?;
        }
    }
}

impl Coordinator for HttpCoordinator {
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
        let sent = self.send(Method::POST, self.url_of("quiet", ""), Some(json(quiet)?), Duration::ZERO).await?;
        if is_success(sent.0) { Ok(()) } else { Err(refused(sent.0, &sent.1)) }
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

/// Sends one request over a connection.
async fn request(
    client: &reqwest::Client,
    method: Method,
    url: Url,
    json: Option<Vec<u8>>,
    hold: Duration,
) -> Result<(u16, Vec<u8>)> {
    let once = || async {
        let mut request = client.request(method.clone(), url.clone()).timeout(hold + ANSWER_WAIT);
        if let Some(json) = &json {
            request = request.header(http::header::CONTENT_TYPE, "application/json").body(json.clone());
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        Ok::<_, reqwest::Error>((status, response))
    };
    let (status, response) = match once().await {
        Ok(answered) => answered,
        // A connection that the server had closed while it lay idle. Everything may be sent twice, so it is; and
        // whatever comes of the second, the first one may have been carried out.
        Err(cause) if was_cut(&cause) => once().await.map_err(|cause| Error::Unknown { why: chain(&cause) })?,
        Err(cause) => return Err(unsent(cause)),
    };
    Ok((status, body(response).await?))
}

/// Posts the same request through a store.
async fn post(
    mailbox: &Arc<Mailbox>,
    method: &Method,
    url: &Url,
    json: Option<Vec<u8>>,
    hold: Duration,
) -> Result<(u16, Vec<u8>)> {
    let body = match &json {
        Some(json) => parse(json)?,
        None => serde_json::Value::Null,
    };
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("{}{query}", url.path());
    let posted = Posted { method: method.to_string(), path, hold_ms: millis(hold), body };
    let Answered { status, body } = mailbox.call(&posted).await?;
    Ok((status, serde_json::to_vec(&body).map_err(|cause| Error::Corrupt(cause.to_string()))?))
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

/// Reads an answer whole, within its bound. An answer cut short leaves unknown what was done.
async fn body(mut response: Response) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let part = response.chunk().await.map_err(|cause| Error::Unknown { why: chain(&cause) })?;
        let Some(part) = part else { return Ok(bytes) };
        bytes.extend_from_slice(&part);
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(Error::Corrupt(format!("it is longer than {ANSWER_BYTES_MAX} bytes")));
        }
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
        kind::STORE | kind::STOPPING | kind::OVERLOADED => Error::Unable { kind: name, value },
        _ if status == 408 => Error::Unable { kind: name, value },
        _ if status >= 500 => Error::Unknown { why: value },
        _ if status >= 400 => Error::Refused { kind: name, value, status },
        _ => Error::Corrupt(value),
    }
}

/// What a request that got no answer means for the caller.
fn unsent(cause: reqwest::Error) -> Error {
    let why = chain(&cause);
    if cause.is_connect() {
        return Error::NotApplied { retry: true, why };
    }
    if cause.is_builder() {
        return Error::NotApplied { retry: false, why };
    }
    Error::Unknown { why }
}

/// Whether the connection ended before the first byte of an answer.
fn was_cut(cause: &reqwest::Error) -> bool {
    !cause.is_connect() && !cause.is_builder() && !cause.is_timeout() && cause.is_request()
}

/// An error and its causes in a line, without saying anything twice. That a request was sent, and where to, the caller knows:
/// the layers of the HTTP client are left out where a cause below them says more.
fn chain(cause: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = Some(cause);
    while let Some(error) = next {
        let part = error.to_string();
        let is_layer = part.starts_with("error sending request") || part.starts_with("client error (");
        let says_more = !is_layer || error.source().is_none();
        if says_more && !text.contains(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_checked_before_anything_is_sent() {
        for (url, path) in [
            ("http://127.0.0.1:7532", "/v1/leases"),
            ("http://127.0.0.1:7532/", "/v1/leases"),
            ("http://127.0.0.1:7532/default", "/v1/leases"),
            ("http://127.0.0.1:7532/eqiad/", "/eqiad/v1/leases"),
        ] {
            let client = HttpCoordinator::new(url).expect("a client");
            assert_eq!(client.url_of("leases", "").path(), path);
        }
        for url in
            ["", "127.0.0.1:7532", "https://a:1", "redis://a:1", "http://a:1/b/c", "http://u:p@a:1", "http://a:1/?q"]
        {
            let error = HttpCoordinator::new(url).expect_err(url);
            assert!(!error.retryable(), "{url}: {error}");
        }
    }

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
