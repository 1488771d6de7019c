//! The guard: every request passes it before a door sees it.
//!
//! Owns the order of the questions, and how a no looks. What is decided is [`super::judge`]'s; here it is only asked, counted and said.

use super::admission::{Peer, one_of};
use super::bearer::Bearer;
use super::judge::{self, Refusal};
use super::routes::{Need, need};
use super::tokens::{Role, Token, Tokens};
use super::{Access, lock};
use crate::doors::Failure;
use crate::doors::body::whole;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use coordinator::refusal::{Problem, kind};
use coordinator::wire::BODY_BYTES_MAX;
use futures_util::StreamExt as _;
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// How much of a path is told in the log, in bytes.
const PATH_BYTES_MAX: usize = 120;
/// Longest page of figures, in bytes.
const FIGURES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// So long after its end a token is looked at again: by then it is over.
const EXPIRED_BY: Duration = Duration::from_millis(10);

/// Who asks, for the doors: where it is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asker {
    /// From which address.
    pub(crate) from: Option<String>,
    /// By which token.
    pub(crate) token: Option<String>,
}

impl Asker {
    /// Who acts, as the history has it, when it says of itself to be somebody.
    pub(crate) fn signature(&self, said: String) -> String {
        self.token.as_ref().map_or(said.clone(), |token| judge::signature(token, &said))
    }
}

/// Lets a request pass, or refuses it; then nothing was done. A call that is held, or a stream, ends when its token does.
pub(crate) async fn guard(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    // Every connection has one; a request without is let do nothing that a stranger may not.
    let unknown = || Peer { address: Ipv4Addr::UNSPECIFIED.into(), certificate: Arc::default() };
    let peer = request.extensions().get::<Peer>().cloned().unwrap_or_else(unknown);
    if access.tokens.is_none() && access.addresses.is_none() {
        request.extensions_mut().insert(Asker { from: Some(peer.address.to_string()), token: None });
        return access.show(request, next).await;
    }
    let asked = format!("{} {}", request.method(), model::bound::beginning(request.uri().path(), PATH_BYTES_MAX));
    let no = match access.pass(request, &peer).await {
        Ok((request, None)) => return access.show(request, next).await,
        Ok((request, Some(pass))) => {
            let over = pass.clone().over(Arc::clone(&access));
            tokio::select! {
                response = access.show(request, next) => {
                    let response = if pass.may_only_look { without_login(response).await } else { response };
                    return until(response, pass.over(access));
                }
                refusal = over => No::Refused(refusal),
            }
        }
        Err(no) => no,
    };
    match no {
        No::Refused(refusal) => {
            access.count.refused_request(&refusal, peer.address, &asked);
            refuse(refusal)
        }
        No::Unread(failure) => failure.into_response(),
    }
}

/// What a request passed by: it counts as long as that does.
#[derive(Debug, Clone)]
struct Pass {
    bearer: Bearer,
    certificate: Arc<[String]>,
    need: Need,
    may_only_look: bool,
}

impl Pass {
    /// Who shows it, when that one may do what is asked.
    fn check<'t>(&self, tokens: &'t Tokens) -> Result<&'t Token, Refusal> {
        let token = judge::who(tokens, &self.bearer, &self.certificate, now())?;
        judge::may(token, self.need).map(|()| token)
    }

    /// Waits until it counts no more: then why.
    async fn over(self, access: Arc<Access>) -> Refusal {
        let mut reads = access.reads.subscribe();
        loop {
            let Some(tokens) = &access.tokens else { return std::future::pending().await };
            let expires = match self.check(&tokens.get()) {
                Ok(token) => token.expires,
                Err(refusal) => return refusal,
            };
            let left = expires.map(|at| Duration::try_from(at.duration_since(now())).unwrap_or_default());
            tokio::select! {
                // The sender is the access' own, and lives as long.
                _ = reads.changed() => {}
                () = tokio::time::sleep(left.unwrap_or_default() + EXPIRED_BY), if left.is_some() => {}
            }
        }
    }
}

/// The answer, which ends early when the pass does, if it is a stream.
fn until(response: Response, over: impl Future<Output = Refusal> + Send + 'static) -> Response {
    let content = response.headers().get(header::CONTENT_TYPE);
    if content.is_none_or(|content| content.as_bytes() != b"text/event-stream") {
        return response;
    }
    let (parts, body) = response.into_parts();
    let over = Box::pin(async { drop(over.await) });
    Response::from_parts(parts, Body::from_stream(body.into_data_stream().take_until(over)))
}

/// Why a request does not pass.
enum No {
    Refused(Refusal),
    /// What it acts for cannot be read.
    Unread(Failure),
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> No {
        No::Refused(refusal)
    }
}

impl Access {
    /// Has a door answer; to the page of figures those of access are added.
    async fn show(&self, request: Request, next: Next) -> Response {
        let is_figures = request.uri().path() == "/metrics";
        let response = next.run(request).await;
        if is_figures { with_figures(response, self.count.render()).await } else { response }
    }

    /// The request, with who asks, when it may pass; and what by, where it takes something.
    async fn pass(&self, mut request: Request, peer: &Peer) -> Result<(Request, Option<Pass>), No> {
        let mut asker = Asker { from: Some(peer.address.to_string()), token: None };
        let mut passed = None;
        let (need, path) = need(request.method(), request.uri().path(), &self.domain);
        if self.tokens.is_none() && need != Need::Nothing {
            self.not_too_often_from(peer)?;
        }
        if let Some(tokens) = &self.tokens {
            let is_open = need == Need::Nothing || need == Need::Figures && is_here(peer.address);
            if !is_open {
                let tokens = tokens.get();
                let (bearer, certificate) = (Bearer::read(request.headers()), Arc::clone(&peer.certificate));
                // Strangers take from their address, and whoever is known from what is its own: so nobody's guesses keep others out.
                let token = judge::who(&tokens, &bearer, &certificate, now()).or_else(|refusal| {
                    self.not_too_often_from(peer)?;
                    Err(refusal)
                })?;
                self.not_too_often(token)?;
                judge::may(token, need)?;
                passed = Some(Pass { bearer, certificate, need, may_only_look: token.role == Role::Read });
                request = self.may_for(request, token, need, path.as_deref()).await?;
                asker.token = Some(token.name.to_string());
            }
            // Nobody behind the guard has any business with it.
            request.headers_mut().remove(header::AUTHORIZATION);
        }
        request.extensions_mut().insert(asker);
        Ok((request, passed))
    }

    fn not_too_often_from(&self, peer: &Peer) -> Result<(), Refusal> {
        let Some(addresses) = &self.addresses else { return Ok(()) };
        let taken = lock(addresses).take(one_of(peer.address), self.now_ms());
        taken.map_err(|wait_ms| Refusal::requests("address", None, wait_ms))
    }

    fn not_too_often(&self, token: &Token) -> Result<(), Refusal> {
        let Some(names) = &self.names else { return Ok(()) };
        let taken = lock(names).take(token.name.as_str().into(), self.now_ms());
        taken.map_err(|wait_ms| Refusal::requests("token", Some(token), wait_ms))
    }

    /// Whether the token may act for whom the request acts. A body that says so is read, and handed on as it is.
    async fn may_for(&self, request: Request, token: &Token, need: Need, path: Option<&str>) -> Result<Request, No> {
        if !judge::wants_body(token, need) {
            judge::may_for(token, need, path, &Value::Null)?;
            return Ok(request);
        }
        let (parts, body) = request.into_parts();
        let bytes = whole(body, self.body_wait, BODY_BYTES_MAX).await.map_err(No::Unread)?;
        let unread = |cause| No::Unread(Failure::new(kind::MALFORMED, format!("the body is no JSON: {cause}")));
        // What is not understood here must not be understood otherwise behind the guard.
        let said = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).map_err(unread)? };
        judge::may_for(token, need, path, &said)?;
        Ok(Request::from_parts(parts, Body::from(bytes)))
    }
}

/// Now, for tokens that expire. The wall clock: a date is what people mean.
fn now() -> Timestamp {
    let ms = i64::try_from(crate::clock::wall().0).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

/// Whether an address is this machine's own.
fn is_here(address: IpAddr) -> bool {
    address.is_loopback()
}

fn refuse(refusal: Refusal) -> Response {
    let mut response = Failure::new(refusal.reason.kind(), refusal.value).into_response();
    let headers = response.headers_mut();
    if refusal.reason.kind() == kind::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"stagger\""));
    }
    if let Some(after) = refusal.retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after));
    }
    response
}

/// An answer to somebody who may only look. To where a domain has moved is told without the password there: that opens more than looking.
async fn without_login(response: Response) -> Response {
    if response.status() != StatusCode::GONE {
        return response;
    }
    let (parts, body) = response.into_parts();
    let problem = axum::body::to_bytes(body, BODY_BYTES_MAX).await.ok();
    let problem = problem.and_then(|bytes| serde_json::from_slice::<Problem>(&bytes).ok());
    let Some(problem) = problem else { return Failure::new(kind::BUG, "the answer cannot be shown").into_response() };
    let to = problem.to.as_deref().map(model::passage::without_login);
    (parts.status, axum::Json(Problem { to, ..problem })).into_response()
}

/// The page of figures with those of access behind the others.
async fn with_figures(response: Response, figures: Vec<u8>) -> Response {
    if response.status() != StatusCode::OK {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    match axum::body::to_bytes(body, FIGURES_BYTES_MAX).await {
        Ok(bytes) => {
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, Body::from([bytes.as_ref(), &figures].concat()))
        }
        Err(cause) => Failure::new(kind::BUG, cause.to_string()).into_response(),
    }
}
