//! What can be looked at.

use super::body::{Names, Selected};
use super::{Answered, Failure, Shared};
use crate::poolcounter::Locks;
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use coordinator::refusal::kind;
use coordinator::wire::SettingsView;
use model::change::Key;
use model::names::{Host, Pool, Scope};
use model::read::Selection;
use model::settings::SettingKind;
use model::state::Stored;

fn found<T: serde::Serialize>(what: Option<T>, name: impl std::fmt::Display) -> Answered {
    match what {
        Some(what) => Ok(Json(what).into_response()),
        None => Err(Failure::new(kind::NOT_FOUND, format!("there is no {name}"))),
    }
}

/// `GET /v1/leases`
pub(crate) async fn leases(State(domain): Shared, Selected(select): Selected) -> Answered {
    Ok(Json(domain.read(|state, now| state.read_leases(&select, now)).await?).into_response())
}

/// `GET /v1/poolcounter`
pub(crate) async fn poolcounter(State(domain): Shared) -> Answered {
    let locks = match domain.poolcounter.get() {
        Some(door) => door.look().await,
        None => Locks::default(),
    };
    Ok(Json(locks).into_response())
}

/// `GET /v1/pools`
pub(crate) async fn pools(State(domain): Shared, Selected(select): Selected) -> Answered {
    Ok(Json(domain.read(|state, now| state.read_pools(&select, now)).await?).into_response())
}

/// `GET /v1/pools/{pool}`
pub(crate) async fn pool(State(domain): Shared, names: Names) -> Answered {
    let pool: Pool = names.get(0)?;
    let select = Selection { scope: Some(Scope::Pool(pool.clone())), ..Selection::default() };
    let rows = domain.read(|state, now| state.read_pools(&select, now)).await?.rows;
    found(rows.into_iter().next(), Scope::Pool(pool))
}

/// `GET /v1/members`
pub(crate) async fn members(State(domain): Shared, Selected(select): Selected) -> Answered {
    Ok(Json(domain.read(|state, now| state.read_members(&select, now)).await?).into_response())
}

/// `GET /v1/rollouts`
pub(crate) async fn rollouts(State(domain): Shared, Selected(select): Selected) -> Answered {
    Ok(Json(domain.read(|state, now| state.read_rollouts(&select, now)).await?).into_response())
}

/// `GET /v1/rollouts/{service}/{generation}`
pub(crate) async fn rollout(State(domain): Shared, names: Names) -> Answered {
    let name = names.rollout()?;
    found(domain.read(|state, now| state.read_rollout(&name, now)).await?, name)
}

/// `GET /v1/rollouts/{service}/{generation}/reports/{host}`
pub(crate) async fn report(State(domain): Shared, names: Names) -> Answered {
    let (name, host): (_, Host) = (names.rollout()?, names.get(2)?);
    let key = Key::Target(name.clone(), host.clone());
    let target = domain.read(|state, _| state.record(&key)).await?;
    let target = target.and_then(|record| if let Stored::Target(target) = record { Some(*target) } else { None });
    found(target, format!("{host} in {name}"))
}

/// `GET /v1/pauses`
pub(crate) async fn pauses(State(domain): Shared) -> Answered {
    Ok(Json(domain.read(|state, now| state.read_pauses(now)).await?).into_response())
}

/// `GET /v1/pauses/{scope}`
pub(crate) async fn pause(State(domain): Shared, names: Names) -> Answered {
    let scope: Scope = names.get(0)?;
    let pauses = domain.read(|state, now| state.read_pauses(now)).await?;
    found(pauses.into_iter().find(|pause| pause.scope == scope), format!("pause of {scope}"))
}

/// `GET /v1/settings/{scope}`
pub(crate) async fn settings(State(domain): Shared, names: Names) -> Answered {
    let scope: Scope = names.get(0)?;
    let view = domain.read(|state, now| {
        let records = SettingKind::ALL.into_iter().filter_map(|kind| state.record(&Key::Setting(scope.clone(), kind)));
        let overrides = records.filter_map(|record| if let Stored::Setting(from) = record { Some(from) } else { None });
        let select = Selection { scope: Some(scope.clone()), ..Selection::default() };
        let is_pool = matches!(scope, Scope::Pool(_));
        let row = is_pool.then(|| state.read_pools(&select, now).rows.into_iter().next()).flatten();
        SettingsView { scope: scope.clone(), overrides: overrides.collect(), rules: row.map(|row| row.rules) }
    });
    Ok(Json(view.await?).into_response())
}

/// `GET /v1/why`
pub(crate) async fn why_all(State(domain): Shared) -> Answered {
    Ok(Json(domain.read(|state, now| state.why(&Scope::All, now)).await?).into_response())
}

/// `GET /v1/why/{scope}`
pub(crate) async fn why(State(domain): Shared, names: Names) -> Answered {
    let scope: Scope = names.get(0)?;
    Ok(Json(domain.read(|state, now| state.why(&scope, now)).await?).into_response())
}

/// `GET /v1/history`
pub(crate) async fn history(State(domain): Shared, Selected(select): Selected) -> Answered {
    Ok(Json(domain.read(|state, _| state.read_history(&select)).await?).into_response())
}
