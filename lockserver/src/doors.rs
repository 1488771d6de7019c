//! The doors: how others reach the domain over HTTP.
//!
//! Owns paths, statuses and the shape of refusals. Decides nothing about leases: requests go to the domain as they are.

pub(crate) mod body;
mod events;
pub(crate) mod fleetlock;
mod health;
mod keeping;
mod leases;
mod passage;
mod people;
mod reads;

use crate::domain::{Domain, Fault};
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use coordinator::refusal::{Problem, Refusable, kind};
use coordinator::wire::DOMAIN;
use model::passage::Shut;
use serde::Serialize;
use std::sync::Arc;

/// What every handler shares.
pub(crate) type Shared = State<Arc<Domain>>;

/// What a handler returns.
pub(crate) type Answered = Result<Response, Failure>;

/// A refusal, on its way out.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Box<Problem>);

impl Failure {
    /// A refusal that needs no more than a sentence.
    pub(crate) fn new(kind: &str, value: impl Into<String>) -> Failure {
        Failure(Box::new(Problem::new(kind, value)))
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        let kind = match fault {
            Fault::Store(_) => kind::STORE,
            Fault::Unknown(_) => kind::UNKNOWN,
            Fault::Stopping => kind::STOPPING,
            Fault::Silent { .. } => kind::SILENT,
            Fault::Shut(Shut::Moving { .. }) => kind::MOVING,
            Fault::Shut(Shut::Moved { .. }) => kind::MOVED,
            Fault::Bug => kind::BUG,
        };
        let to = if let Fault::Shut(Shut::Moved { to }) = &fault { Some(to.clone()) } else { None };
        Failure(Box::new(Problem { to, ..Problem::new(kind, fault.to_string()) }))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0.status(), Json(self.0)).into_response()
    }
}

/// A success, or the refusal that the model gave.
pub(crate) fn respond<T: Refusable + Serialize>(answer: &T) -> Answered {
    match answer.problem() {
        Some(problem) => Err(Failure(Box::new(problem))),
        None => Ok(Json(answer).into_response()),
    }
}

/// Every path there is.
pub(crate) fn router(domain: Arc<Domain>) -> Router {
    let v1 = Router::new()
        .route("/leases", get(reads::leases).post(leases::ask))
        .route("/leases/{holder}", put(leases::renew).delete(leases::end))
        .route("/leases/{holder}/begin", post(leases::begin))
        .route("/quiet", post(leases::quiet))
        .route("/members", get(reads::members))
        .route("/members/{host}", put(leases::join))
        .route("/pools", get(reads::pools))
        .route("/pools/{pool}", get(reads::pool))
        .route("/rollouts", get(reads::rollouts).post(people::announce))
        .route("/rollouts/{service}/{generation}", get(reads::rollout))
        .route("/rollouts/{service}/{generation}/abort", post(people::abort))
        .route("/rollouts/{service}/{generation}/reports/{host}", get(reads::report))
        .route("/pauses", get(reads::pauses))
        .route("/pauses/{*scope}", get(reads::pause).put(people::pause).delete(people::resume))
        .route("/settings/{*scope}", get(reads::settings).patch(people::set))
        .route("/why", get(reads::why_all))
        .route("/why/{*scope}", get(reads::why))
        .route("/history", get(reads::history))
        .route("/poolcounter", get(reads::poolcounter))
        .route("/events", get(events::events))
        .route("/backup", get(keeping::backup))
        .route("/defaults", get(keeping::defaults).put(keeping::load))
        .route("/move", get(passage::look).post(passage::step))
        .route("/domain", get(health::domain))
        .route("/records", get(passage::records))
        .merge(fleetlock::router(Arc::new(Arc::clone(&domain))));
    Router::new()
        .nest("/v1", v1.clone())
        .nest(&format!("/{DOMAIN}/v1"), v1)
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&domain), around))
        .with_state(domain)
}

/// Refuses what comes too late, and counts what is answered.
async fn around(State(domain): Shared, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let stopping = *domain.stopping.borrow();
    let response = if stopping && request.uri().path() != "/metrics" && request.uri().path() != "/healthz" {
        Failure::from(Fault::Stopping).into_response()
    } else {
        next.run(request).await
    };
    domain.metrics.answered(&method, response.status());
    response
}

async fn no_such_path(request: Request) -> Failure {
    let path = request.uri().path();
    let mut parts = path.trim_start_matches('/').split('/');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    if second == Some("v1") && first != DOMAIN {
        let value = format!("there is no domain {first:?} here: this lock server has one, {DOMAIN:?}");
        return Failure::new(kind::NO_PATH, value);
    }
    Failure::new(kind::NO_PATH, format!("there is no {path}; the paths begin with /v1/"))
}

pub(crate) async fn no_such_method(request: Request) -> Failure {
    Failure::new(kind::METHOD, format!("{} cannot be done to {}", request.method(), request.uri().path()))
}
