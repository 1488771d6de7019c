//! What workers and `run` ask: join, ask, begin, renew, settle, and silence.

use super::body::{Names, Payload};
use super::{Answered, Failure, Shared, people, respond};
use crate::access::Asker;
use crate::calls;
use crate::domain::Fault;
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use coordinator::wire::{AskBody, JoinBody};
use model::names::{Holder, Host};
use model::request::{BeginAsk, Quiet, Renew, Settle};
use model::{Reply, Request};
use serde_json::{Value, json};

/// For how long an ask stands that does not say so itself, in milliseconds: time enough to ask again.
const PATIENCE_MS: u64 = 5_000;

/// `POST /v1/leases`
pub(crate) async fn ask(State(domain): Shared, payload: Payload) -> Answered {
    let AskBody { ask, hold_ms } = payload.or("patience_ms", PATIENCE_MS).read()?;
    respond(&calls::ask(&domain, ask, hold_ms).await?)
}

/// `PUT /v1/members/{host}`
pub(crate) async fn join(State(domain): Shared, asker: Asker, names: Names, payload: Payload) -> Answered {
    let host: Host = names.get(0)?;
    let payload =
        payload.named("host", host.as_str())?.or("services", json!({})).or("version", "").or("sightings", json!([]));
    let body: JoinBody = payload.or("patience_ms", 0).read()?;
    respond(&calls::join(&domain, body, asker.from).await?)
}

/// `POST /v1/leases/{holder}/begin`
pub(crate) async fn begin(State(domain): Shared, names: Names, payload: Payload) -> Answered {
    let holder: Holder = names.get(0)?;
    let begin: BeginAsk = payload.named("holder", holder.as_str())?.read()?;
    match domain.submit(&Request::Begin(begin)).await? {
        Reply::Begun(begin) => respond(&begin),
        _ => Err(Fault::Bug.into()),
    }
}

/// `PUT /v1/leases/{holder}`
pub(crate) async fn renew(State(domain): Shared, names: Names, payload: Payload) -> Answered {
    let holder: Holder = names.get(0)?;
    let renew: Renew = payload.named("holder", holder.as_str())?.or("step", Value::Null).or("note", "").read()?;
    match domain.submit(&Request::Renew(renew)).await? {
        Reply::Owned(own) => respond(&own),
        _ => Err(Fault::Bug.into()),
    }
}

/// `DELETE /v1/leases/{holder}`: its own holder settles it, by its claim; a person releases it, with a reason.
pub(crate) async fn end(state: Shared, asker: Asker, names: Names, payload: Payload) -> Answered {
    if !payload.has("claim") {
        return people::release(state, asker, names, payload).await;
    }
    let holder: Holder = names.get(0)?;
    let settle: Settle = payload.named("holder", holder.as_str())?.read()?;
    respond(&calls::settle(&state.0, settle, asker.from).await?)
}

/// `POST /v1/quiet`
pub(crate) async fn quiet(State(domain): Shared, payload: Payload) -> Answered {
    let quiet: Quiet = payload.read()?;
    domain.submit(&Request::Quiet(quiet)).await.map_err(Failure::from)?;
    Ok(Json(json!({})).into_response())
}
