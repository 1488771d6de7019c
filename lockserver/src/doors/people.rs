//! What people change: announce, abort, pause, resume, release, set.

use super::body::{Names, Payload};
use super::{Answered, Failure, Shared, respond};
use crate::access::Asker;
use crate::domain::{Domain, Fault};
use axum::extract::State;
use coordinator::refusal::kind;
use coordinator::wire::{Nothing, PauseBody, Reason, ReleaseBody, SettingBody, Signed};
use model::names::{Holder, Scope};
use model::request::{Act, Admin, Announce, Done};
use model::{Reply, Request};
use serde_json::json;

async fn carry_out<T>(domain: &Domain, asker: Asker, signed: Signed<T>, act: impl FnOnce(T) -> Act) -> Answered {
    let admin = Admin { operation: signed.operation, by: asker.signature(signed.by), act: act(signed.what) };
    let (operation, by) = (admin.operation.clone(), admin.by.clone());
    match domain.submit(&Request::Admin(admin).coming_from(asker.from.clone())).await? {
        Reply::Did(done) => {
            if matches!(done, Done::Replayed { .. }) {
                domain.metrics.replays.inc();
                let from = asker.from.unwrap_or_default();
                tracing::warn!(%operation, by, from, "refused: the operation was another change before");
            }
            respond(&done)
        }
        _ => Err(Fault::Bug.into()),
    }
}

/// `POST /v1/rollouts`
pub(crate) async fn announce(State(domain): Shared, asker: Asker, payload: Payload) -> Answered {
    let payload = payload.or("only", json!([])).or("always", false).or("supersede", false);
    carry_out(&domain, asker, payload.signed::<Announce>()?, Act::Announce).await
}

/// `POST /v1/rollouts/{service}/{generation}/abort`
pub(crate) async fn abort(State(domain): Shared, asker: Asker, names: Names, payload: Payload) -> Answered {
    let rollout = names.rollout()?;
    carry_out(&domain, asker, payload.signed()?, |Reason { reason }| Act::Abort { rollout, reason }).await
}

/// `PUT /v1/pauses/{scope}`
pub(crate) async fn pause(State(domain): Shared, asker: Asker, names: Names, payload: Payload) -> Answered {
    let scope: Scope = names.get(0)?;
    carry_out(&domain, asker, payload.signed()?, |PauseBody { reason, for_ms }| Act::Pause { scope, reason, for_ms })
        .await
}

/// `DELETE /v1/pauses/{scope}`
pub(crate) async fn resume(State(domain): Shared, asker: Asker, names: Names, payload: Payload) -> Answered {
    let scope: Scope = names.get(0)?;
    carry_out(&domain, asker, payload.signed()?, |Nothing {}| Act::Resume { scope }).await
}

/// `DELETE /v1/leases/{holder}`, by a person.
pub(crate) async fn release(State(domain): Shared, asker: Asker, names: Names, payload: Payload) -> Answered {
    let holder: Holder = names.get(0)?;
    let act = |ReleaseBody { reason, live, forget }| Act::Release { holder, reason, live, forget };
    carry_out(&domain, asker, payload.signed()?, act).await
}

/// `PATCH /v1/settings/{scope}`
pub(crate) async fn set(State(domain): Shared, asker: Asker, names: Names, payload: Payload) -> Answered {
    let scope: Scope = names.get(0)?;
    let Signed { operation, by, what } = payload.signed::<SettingBody>()?;
    let SettingBody { reason, set, unset, for_ms } = what;
    let act = match (set, unset) {
        (Some(setting), None) => Act::Set { scope, setting, reason, for_ms },
        (None, Some(kind)) => Act::Unset { scope, kind, reason },
        _ => return Err(Failure::new(kind::MALFORMED, "say one of set and unset")),
    };
    carry_out(&domain, asker, Signed { operation, by, what: act }, |act| act).await
}
