//! Balancers that are spoken to over HTTP.

use super::Move;
use crate::config::depool::{HttpBalancer, Method};
use crate::probe::ask::Client;
use crate::probe::observation::Observation;
use std::time::Duration;

/// Asks the balancer to take the host out or in. Any status but 2xx is a no, told in one line.
pub(super) async fn put(balancer: &HttpBalancer, way: Move, client: &Client, timeout: Duration) -> Result<(), String> {
    let request = match way {
        Move::Out => &balancer.take_out,
        Move::In => &balancer.put_in,
    };
    let method = match request.method {
        Method::Get => http::Method::GET,
        Method::Put => http::Method::PUT,
        Method::Post => http::Method::POST,
        Method::Patch => http::Method::PATCH,
        Method::Delete => http::Method::DELETE,
    };
    let answered = client.request(method, &request.url, request.body.as_deref(), timeout).await;
    match answered.map_err(|error| error.to_string())? {
        Observation::Http { status: 200..300, .. } => Ok(()),
        other => Err(other.figures()),
    }
}
