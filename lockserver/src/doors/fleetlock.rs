//! The FleetLock door: the protocol of hosts that update themselves, such as Fedora CoreOS under Zincati. A group is a pool, and
//! a client's id is the holder.
//!
//! Owns that protocol's two requests, and what each of its statuses means. A client asks and goes away; there is no queue, and nothing
//! is renewed. It takes any status of 200 to 299 for a yes, so a yes is 200 and nothing else is.
//!
//! The protocol: <https://coreos.github.io/zincati/development/fleetlock/protocol/>.

use super::Failure;
use super::body::whole;
use crate::calls;
use crate::domain::{Domain, Fault};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use coordinator::refusal::kind;
use futures_util::future::BoxFuture;
use http::StatusCode;
use model::lease::Purpose;
use model::names::{Holder, Id, Pool};
use model::request::{Answer, Ask, Ending, Refusal, RefusalKind, Settle, Settled};
use serde::Deserialize;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The header that says that a request is meant, and not a page's.
const HEADER: &str = "fleet-lock-protocol";
/// Longest body, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// How long a body may take.
const BODY_WAIT: Duration = Duration::from_secs(5);
/// The claim of every lease by this protocol: a client asks again without knowing what it was told.
const CLAIM: &str = "fleetlock";

/// Whoever grants and takes back: a domain, or what leads to one.
pub(crate) trait Leases: fmt::Debug + Send + Sync {
    /// Asks for a lease, and does not wait.
    fn ask(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, Failure>>;
    /// Gives it back.
    fn settle(&self, settle: Settle) -> BoxFuture<'_, Result<Settled, Failure>>;
}

impl Leases for Arc<Domain> {
    fn ask(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, Failure>> {
        Box::pin(async move { calls::ask(self, ask, 0).await.map_err(Fault::into) })
    }

    fn settle(&self, settle: Settle) -> BoxFuture<'_, Result<Settled, Failure>> {
        Box::pin(async move { calls::settle(self, settle, None).await.map_err(Fault::into) })
    }
}

/// The two paths, below `/v1`.
pub(crate) fn router<S: Clone + Send + Sync + 'static>(leases: Arc<dyn Leases>) -> Router<S> {
    Router::new().route("/pre-reboot", post(pre_reboot)).route("/steady-state", post(steady_state)).with_state(leases)
}

/// `POST /v1/pre-reboot`: may this host go down? Asked again, it is the same slot.
async fn pre_reboot(State(leases): State<Arc<dyn Leases>>, request: Request) -> Response {
    let granted = async {
        let client = Client::read(request).await?;
        client.judge(leases.ask(client.ask()).await?)
    };
    respond(granted.await, "granted")
}

/// `POST /v1/steady-state`: it is well again. One that holds nothing is told the same.
async fn steady_state(State(leases): State<Arc<dyn Leases>>, request: Request) -> Response {
    let settled = async { leases.settle(Client::read(request).await?.settle()).await };
    respond(settled.await.map(|_| ()), "given back")
}

fn respond(done: Result<(), Failure>, said: &str) -> Response {
    match done {
        Ok(()) => (StatusCode::OK, format!("{said}\n")).into_response(),
        Err(failure) => failure.into_response(),
    }
}

/// Who asks, and in which group.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Client {
    id: Holder,
    group: Pool,
}

#[derive(Deserialize)]
struct Payload {
    client_params: Params,
}

#[derive(Deserialize)]
struct Params {
    id: String,
    group: String,
}

fn malformed(why: impl Into<String>) -> Failure {
    Failure::new(kind::MALFORMED, why)
}

impl Client {
    /// Reads a request, whatever it says of the body's type.
    async fn read(request: Request) -> Result<Client, Failure> {
        let (parts, body) = request.into_parts();
        if parts.headers.get(HEADER).is_none_or(|value| value.as_bytes() != b"true") {
            return Err(malformed(format!("the header \"{HEADER}: true\" is missing")));
        }
        Client::parse(&whole(body, BODY_WAIT, BODY_BYTES_MAX).await?)
    }

    fn parse(body: &[u8]) -> Result<Client, Failure> {
        let Payload { client_params: Params { id, group } } =
            serde_json::from_slice(body).map_err(|cause| malformed(format!("the body does not fit: {cause}")))?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        if group.is_empty() || !group.chars().all(allowed) {
            return Err(malformed("client_params.group has one or more of A-Z, a-z, 0-9, \".\" and \"-\""));
        }
        Ok(Client {
            id: id.parse().map_err(|cause| malformed(format!("client_params.id: {cause}")))?,
            group: group.parse().map_err(|cause| malformed(format!("client_params.group: {cause}")))?,
        })
    }

    fn ask(&self) -> Ask {
        Ask {
            holder: self.id.clone(),
            claim: claim(),
            pools: [self.group.clone()].into(),
            purpose: Purpose::FleetLock,
            wait_ms: Some(0),
            patience_ms: 0,
        }
    }

    fn settle(&self) -> Settle {
        Settle { holder: self.id.clone(), claim: claim(), ending: Ending::Released, rollout: None, report: None }
    }

    /// Whether the answer is a yes. What is full or paused is 423, which has the client ask again in some minutes.
    fn judge(&self, answer: Answer) -> Result<(), Failure> {
        let refusal = match answer {
            Answer::Granted(granted) if granted.lease.pools.contains_key(&self.group) => return Ok(()),
            Answer::Granted(granted) => {
                let pools: Vec<String> = granted.lease.pools.keys().map(ToString::to_string).collect();
                return Err(full(format!("{} holds a slot of another group: {}", self.id, pools.join(", "))));
            }
            Answer::Queued(queued) => queued.why,
            Answer::Refused(refusal) => refusal,
        };
        Err(match refusal.kind {
            RefusalKind::Paused | RefusalKind::Invalid => Failure::new(refusal.kind.word(), refusal.whole()),
            _ => full(held(&refusal)),
        })
    }
}

/// Why there is no slot, and who has them: whoever reads the client's log has nothing else to go by.
fn held(refusal: &Refusal) -> String {
    let holders: Vec<String> =
        refusal.holders.iter().map(|holding| format!("{} {}", holding.holder, holding.state)).collect();
    match holders[..] {
        [] => refusal.value.clone(),
        _ => format!("{}: {}", refusal.value, holders.join(", ")),
    }
}

fn claim() -> Id {
    CLAIM.parse().unwrap_or_else(|_| unreachable!("it is an id"))
}

fn full(value: String) -> Failure {
    Failure::new(kind::SEMAPHORE_FULL, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Client, String> {
        Client::parse(body.as_bytes()).map_err(|failure| failure.0.value)
    }

    #[test]
    fn a_client_says_who_it_is_and_in_which_group() {
        let body = r#"{"client_params":{"id":"b-1","group":"web.1","more":1},"more":{}}"#;
        let client = parse(body).expect("a client");
        assert_eq!((client.id.to_string(), client.group.to_string()), ("b-1".to_owned(), "web.1".to_owned()));
        for (wrong, why) in [
            ("", "does not fit"),
            ("{}", "missing field `client_params`"),
            (r#"{"client_params":{"id":"a"}}"#, "missing field `group`"),
            (r#"{"client_params":{"id":"","group":"a"}}"#, "client_params.id"),
            (r#"{"client_params":{"id":"a","group":""}}"#, "client_params.group"),
            (r#"{"client_params":{"id":"a","group":"a_b"}}"#, "client_params.group"),
            (r#"{"client_params":{"id":"a b","group":"a"}}"#, "client_params.id"),
            (r#"{"client_params":{"id":1,"group":"a"}}"#, "does not fit"),
        ] {
            let said = parse(wrong).expect_err(wrong);
            assert!(said.contains(why), "{wrong}: {said}");
        }
    }

    #[test]
    fn full_and_paused_are_423() {
        let client = parse(r#"{"client_params":{"id":"a","group":"g"}}"#).expect("a client");
        for (kind, said) in [
            (RefusalKind::Full, kind::SEMAPHORE_FULL),
            (RefusalKind::NotFirst, kind::SEMAPHORE_FULL),
            (RefusalKind::TimedOut, kind::SEMAPHORE_FULL),
            (RefusalKind::QueueFull, kind::SEMAPHORE_FULL),
            (RefusalKind::Busy, kind::SEMAPHORE_FULL),
            (RefusalKind::Paused, "paused"),
        ] {
            let refusal = Refusal {
                kind,
                value: "why".to_owned(),
                holders: Vec::new(),
                slots: None,
                source: None,
                left_ms: None,
            };
            let failure = client.judge(Answer::Refused(refusal)).expect_err("no");
            assert_eq!((failure.0.kind.as_str(), failure.0.status().as_u16()), (said, 423));
        }
    }
}
