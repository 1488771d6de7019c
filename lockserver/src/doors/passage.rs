//! The steps by which the domain moves to another coordinator, and what it takes along.

use super::body::{Selected, whole};
use super::{Answered, Failure, Shared, respond};
use crate::access::Asker;
use crate::domain::Fault;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use coordinator::refusal::kind;
use coordinator::wire::{LUGGAGE_BYTES, Luggage, MOVE_BYTES_MAX, PassageView};
use model::passage::{Move, Passage, without_login};
use model::{Reply, Request as Asked};

/// `GET /v1/move`
pub(crate) async fn look(State(domain): Shared) -> Answered {
    let view = domain.read_shut(|state, now| PassageView {
        passage: state.passage().map(|passage| Passage { place: without_login(&passage.place), ..passage.clone() }),
        records: state.luggage().count() as u64,
        fresh: state.is_fresh(),
        time: now.time,
    });
    Ok(Json(view.await?).into_response())
}

/// `POST /v1/move`
pub(crate) async fn step(State(domain): Shared, asker: Asker, request: Request) -> Answered {
    let body = whole(request.into_body(), domain.body_wait, MOVE_BYTES_MAX).await?;
    let unread = |cause| Failure::new(kind::MALFORMED, format!("the body is no step of a move: {cause}"));
    let step: Move = serde_json::from_slice(&body).map_err(unread)?;
    let step = Move { by: asker.signature(step.by), ..step };
    match domain.submit(&Asked::Move(step).coming_from(asker.from)).await? {
        Reply::Did(done) => respond(&done),
        _ => Err(Fault::Bug.into()),
    }
}

/// `GET /v1/records`: what goes along, when the domain is closed.
pub(crate) async fn records(State(domain): Shared, Selected(select): Selected) -> Answered {
    let from = match select.after.as_deref().map(str::parse) {
        None => 0,
        Some(Ok(from)) => from,
        Some(Err(_)) => return Err(Failure::new(kind::MALFORMED, "after is a number that an answer gave")),
    };
    let read = domain.read_shut(|state, _| state.shut().is_some().then(|| luggage(state, from))).await?;
    let luggage = read.ok_or_else(|| Failure::new(kind::REFUSED, "it is open: its records change meanwhile"))?;
    Ok(Json(luggage).into_response())
}

/// The records from a place on. As long as the domain is closed they stay the same, in the same order.
fn luggage(state: &model::State, from: usize) -> Luggage {
    let (mut records, mut bytes) = (Vec::new(), 0);
    let mut next = None;
    for (place, record) in state.luggage().enumerate().skip(from) {
        if bytes >= LUGGAGE_BYTES {
            next = Some(place.to_string());
            break;
        }
        bytes += serde_json::to_string(&record).map_or(0, |text| text.len());
        records.push(record);
    }
    Luggage { records, next }
}
