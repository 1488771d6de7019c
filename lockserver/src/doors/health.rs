//! Whether the server is alive, whether it is of use, and its metrics.

use super::{Answered, Failure, Shared};
use crate::domain::Fault;
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use coordinator::refusal::kind;
use coordinator::wire::DomainView;

/// The content type of the Prometheus text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /healthz`: the process answers.
pub(crate) async fn healthz() -> &'static str {
    "alive\n"
}

/// `GET /readyz`: requests are decided and kept.
pub(crate) async fn readyz(State(domain): Shared) -> Answered {
    if *domain.stopping.borrow() {
        return Err(Fault::Stopping.into());
    }
    match domain.fault() {
        Some(fault) => Err(fault.into()),
        None => Ok("ready\n".into_response()),
    }
}

/// `GET /v1/domain`: which one it is, and whether other doors may be over the same records.
pub(crate) async fn domain(State(domain): Shared) -> Answered {
    Ok(Json(DomainView { name: domain.name.clone() }).into_response())
}

/// `GET /metrics`
pub(crate) async fn metrics(State(domain): Shared) -> Answered {
    let text = domain.metrics.render(&domain).map_err(|cause| Failure::new(kind::BUG, cause.to_string()))?;
    Ok(([(http::header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}
