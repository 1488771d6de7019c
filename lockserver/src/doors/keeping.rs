//! What keeps a lock server: backups of its state, and what its configuration file says of pools and services.

use super::body::whole;
use super::{Answered, Failure, Shared, respond};
use crate::access::Asker;
use crate::backup::NoBackup;
use crate::domain::Fault;
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use coordinator::refusal::kind;
use coordinator::wire::MOVE_BYTES_MAX;
use model::defaults::Load;
use model::{Reply, Request as Asked};
use std::sync::Arc;

/// The content type of JSON, one object on a line.
const LINES: &str = "application/x-ndjson";

/// `GET /v1/backup`: everything that was answered so far.
pub(crate) async fn backup(State(domain): Shared) -> Answered {
    let Some(desk) = domain.backup.get().cloned() else {
        let value = "the records lie in a store that a fleet shares: back that up by its own means";
        return Err(Failure::new(kind::REFUSED, value));
    };
    let own = Arc::clone(&domain);
    let taken = desk.take(domain.body_wait, move |at| own.metrics.backed_up(at)).await.map_err(|cause| {
        let kind = match &cause {
            NoBackup::Busy => kind::OVERLOADED,
            NoBackup::Closed => kind::STOPPING,
            NoBackup::Store(_) => kind::STORE,
        };
        Failure::new(kind, cause.to_string())
    })?;
    Ok(([(http::header::CONTENT_TYPE, LINES)], Body::from_stream(taken)).into_response())
}

/// `GET /v1/defaults`
pub(crate) async fn defaults(State(domain): Shared) -> Answered {
    Ok(Json(domain.read(|state, _| state.defaults().clone()).await?).into_response())
}

/// `PUT /v1/defaults`
pub(crate) async fn load(State(domain): Shared, asker: Asker, request: Request) -> Answered {
    let body = whole(request.into_body(), domain.body_wait, MOVE_BYTES_MAX).await?;
    let unread = |cause| Failure::new(kind::MALFORMED, format!("the body is not what a file says: {cause}"));
    let load: Load = serde_json::from_slice(&body).map_err(unread)?;
    let load = Load { by: asker.signature(load.by), ..load };
    match domain.submit(&Asked::Load(load).coming_from(asker.from)).await? {
        Reply::Did(done) => respond(&done),
        _ => Err(Fault::Bug.into()),
    }
}
