//! A health URL that the worker serves for the balancers: 200 while the host is in, 503 while it is out.
//!
//! Owns what is answered there, and the file behind it: each request looks at it, so that a worker that starts answers from the
//! first one on as the one before it did. Never serves by itself: the worker does, as long as it runs. Where no worker serves, the
//! balancers take the host for down; nothing is taken out then, since nobody could confirm it.

use super::{Move, Said, file};
use crate::config::depool::lame_duck::LameDuck;
use crate::door;
use crate::probe::Observation;
use crate::probe::ask::Client;
use crate::probe::observation::excerpt;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use model::member::Presence;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// How long a request waits for the file system.
const FLAG_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves the health URLs of these services on a listener of theirs. Never ends by itself; dropped, it answers nobody any more.
///
/// # Errors
/// The listener broke.
pub async fn serve(listener: TcpListener, ducks: Vec<LameDuck>) -> io::Result<()> {
    let router = Router::new().fallback(answer).with_state(Arc::<[LameDuck]>::from(ducks));
    door::serve(listener, router).await
}

/// Whatever the method is: balancers use several. A file that cannot be looked at is neither in nor out.
async fn answer(State(ducks): State<Arc<[LameDuck]>>, uri: Uri) -> (StatusCode, String) {
    let Some(duck) = ducks.iter().find(|duck| duck.path == uri.path()) else {
        return (StatusCode::NOT_FOUND, "no service has its health URL here\n".to_owned());
    };
    match file::presence(&duck.flag, FLAG_TIMEOUT).await {
        Ok(Presence::In) => (StatusCode::OK, says(duck, Presence::In)),
        Ok(_) => (StatusCode::SERVICE_UNAVAILABLE, says(duck, Presence::Out)),
        Err(why) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{}: {why}\n", says(duck, Presence::Unknown).trim_end()))
        }
    }
}

fn says(duck: &LameDuck, presence: Presence) -> String {
    format!("{} on {} is {presence}\n", duck.service, duck.host)
}

/// Writes down that the host is out or in. Nobody is taken out of balancers that ask nobody.
pub(super) async fn put(duck: &LameDuck, way: Move, client: &Client, within: Duration) -> Result<(), String> {
    if matches!(way, Move::Out) {
        served(duck, client, within).await?;
    }
    file::put(&duck.flag, way, within).await
}

/// Asks the health URL as a balancer does, and what confirms it.
pub(super) async fn ask(duck: &LameDuck, client: &Client, within: Duration) -> Said {
    match served(duck, client, within).await {
        Ok(presence) => file::confirmed("the health URL", presence, duck.flag.confirm.as_ref(), client).await,
        Err(why) => Said::unknown(why),
    }
}

/// What the health URL answers. Only an answer of this service on this host counts.
async fn served(duck: &LameDuck, client: &Client, within: Duration) -> Result<Presence, String> {
    let answered = client.request(http::Method::GET, &duck.url, None, within).await;
    let answered = answered.map_err(|error| format!("no worker serves the health URL: {error}"))?;
    let presences = [(200, Presence::In), (503, Presence::Out)];
    let is = |code: u16, presence| matches!(&answered, Observation::Http { status, body, .. } if *status == code && *body == says(duck, presence));
    let found = presences.into_iter().find(|(code, presence)| is(*code, *presence));
    let strange = || format!("the health URL is answered by somebody else: {}", excerpt(&answered.figures()));
    found.map(|(_, presence)| presence).ok_or_else(strange)
}
