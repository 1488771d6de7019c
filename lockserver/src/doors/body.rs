//! Reading requests: bodies within their bounds, names checked where they enter, refusals in the one shape.

use super::Failure;
use crate::access::Asker;
use crate::domain::Domain;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use coordinator::refusal::kind;
use coordinator::wire::BODY_BYTES_MAX;
use futures_util::StreamExt;
use http::request::Parts;
use model::names::{NameError, RolloutName};
use model::read::Selection;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

fn malformed(value: impl Into<String>) -> Failure {
    Failure::new(kind::MALFORMED, value)
}

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asker, Infallible> {
        Ok(parts.extensions.get::<Asker>().cloned().unwrap_or_default())
    }
}

/// The body of a request: a JSON object, or nothing, which is an empty one.
#[derive(Debug)]
pub(crate) struct Payload(Map<String, Value>);

impl FromRequest<Arc<Domain>> for Payload {
    type Rejection = Failure;

    async fn from_request(request: Request, domain: &Arc<Domain>) -> Result<Payload, Failure> {
        let bytes = whole(request.into_body(), domain.body_wait, BODY_BYTES_MAX).await?;
        if bytes.is_empty() {
            return Ok(Payload(Map::new()));
        }
        let object = serde_json::from_slice(&bytes);
        object.map(Payload).map_err(|cause| malformed(format!("the body is no JSON object: {cause}")))
    }
}

/// The body of a request, whole and in time.
pub(crate) async fn whole(body: Body, within: Duration, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let read = tokio::time::timeout(within, bytes(body, bytes_max)).await;
    read.map_err(|_| Failure::new(kind::SLOW, format!("the body did not come within {within:?}")))?
}

async fn bytes(body: Body, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(part) = stream.next().await {
        let part = part.map_err(|cause| malformed(format!("the body ended early: {cause}")))?;
        if bytes.len() + part.len() > bytes_max {
            return Err(Failure::new(kind::TOO_LARGE, format!("a body has at most {bytes_max} bytes")));
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

impl Payload {
    /// A field that the path says: the body may leave it out, and must not say another.
    pub(crate) fn named(mut self, field: &str, value: &str) -> Result<Payload, Failure> {
        match self.0.insert(field.to_owned(), Value::String(value.to_owned())) {
            Some(said) if said != value => {
                Err(malformed(format!("the path says {field} {value:?}, and the body {said}")))
            }
            _ => Ok(self),
        }
    }

    /// A field that may be left out.
    pub(crate) fn or(mut self, field: &str, value: impl Into<Value>) -> Payload {
        self.0.entry(field.to_owned()).or_insert_with(|| value.into());
        self
    }

    /// Whether the body has a field.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    /// The body as what it should be.
    pub(crate) fn read<T: DeserializeOwned>(self) -> Result<T, Failure> {
        serde_json::from_value(Value::Object(self.0))
            .map_err(|cause| malformed(format!("the body does not fit: {cause}")))
    }

    /// The body of a person's change. Without an operation it gets one, and cannot be repeated safely.
    pub(crate) fn signed<T: DeserializeOwned>(self) -> Result<coordinator::wire::Signed<T>, Failure> {
        if self.has("operation") {
            return self.read();
        }
        let operation = coordinator::random_id().map_err(|cause| Failure::new(kind::BUG, cause.to_string()))?;
        self.or("operation", String::from(operation)).read()
    }
}

/// The variable parts of a path, in their order.
#[derive(Debug)]
pub(crate) struct Names(Vec<String>);

impl<S: Send + Sync> FromRequestParts<S> for Names {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Names, Failure> {
        let path = Path::<Vec<String>>::from_request_parts(parts, state).await;
        path.map(|Path(names)| Names(names)).map_err(|cause| malformed(format!("the path cannot be read: {cause}")))
    }
}

impl Names {
    /// One of them.
    pub(crate) fn get<T: FromStr<Err = NameError>>(&self, place: usize) -> Result<T, Failure> {
        self.text(place)?.parse().map_err(|cause: NameError| malformed(cause.to_string()))
    }

    /// One of them, as it is.
    pub(crate) fn text(&self, place: usize) -> Result<&str, Failure> {
        self.0.get(place).map(String::as_str).ok_or_else(|| malformed("the path is too short"))
    }

    /// The first two as a rollout.
    pub(crate) fn rollout(&self) -> Result<RolloutName, Failure> {
        let service = self.get(0)?;
        let number = self.text(1)?;
        let generation = number.parse().map_err(|_| malformed(format!("{number:?} is no generation")))?;
        Ok(RolloutName { service, generation })
    }
}

/// What the query says: which part of a list is asked for, unless said otherwise.
#[derive(Debug)]
pub(crate) struct Selected<T = Selection>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Selected<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Selected<T>, Failure> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|Query(select)| Selected(select))
            .map_err(|cause| malformed(format!("the query cannot be read: {cause}")))
    }
}
