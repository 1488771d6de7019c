//! `stagger doctor`: looks at the coordinator's own setup.

use super::client::Client;
use super::context::Context;
use super::failure::Failure;
use super::{exit, out, render};
use coordinator::Coordinator as _;
use coordinator::remote::Remote;
use coordinator::store::{self, Finding, Seat, Store, StoreError, Verdict};
use serde_json::json;
use std::time::Instant;

/// How many calls the time of one is the middle of.
const CALLS: usize = 5;

/// Look at the coordinator's own setup: what may lose leases, or stop them
///
/// Each line is something that was looked at: ✓ as it should be, ! somebody should look, ✗ wrong; and below it what to do. Nothing is
/// changed. Exit code 1 when something is wrong.
///
/// Example: stagger doctor --coordinator redis+sentinel://s1,s2,s3/main
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DoctorArgs {}

/// Looks.
pub(crate) async fn run(_: DoctorArgs, context: &Context) -> Result<u8, Failure> {
    let url = context.coordinator()?;
    let client = Client::here(&url, &context.seats)?;
    let mut found = Vec::new();
    let opened = store::open(&url).map_err(|error| client.failure("look at it", error))?;
    if let Some(store) = &opened {
        found.extend(store.examine().await.map_err(|cause| client.failure("look at it", away(cause)))?);
        found.push(seat(&**store).await);
    }
    if opened.is_none() {
        client.coordinator().pauses().await.map_err(|error| client.failure("look at it", error))?;
    }
    found.push(call(client.coordinator(), opened.is_some()).await);
    let is_wrong = found.iter().any(|finding| finding.verdict == Verdict::Wrong);
    if context.globals.json {
        out::json(&json!({ "coordinator": client.url(), "findings": found }))?;
    } else {
        out::result(&format!("{}\n{}", client.url(), render::doctor::findings(&found)))?;
    }
    Ok(if is_wrong { exit::FAILED } else { exit::OK })
}

fn away(cause: StoreError) -> coordinator::Error {
    coordinator::Error::NotApplied { retry: !matches!(cause, StoreError::Unfit(_)), why: cause.to_string() }
}

async fn seat(store: &dyn Store) -> Finding {
    match store.seat().await {
        Ok(Seat::Taken) => Finding::fine("who decides", "somebody sits"),
        Ok(Seat::Empty) => Finding::fine("who decides", "nobody yet: whoever asks next sits down, here this command"),
        Err(cause) => Finding::wrong("who decides", cause.to_string(), "see above"),
    }
}

/// Asks something that changes nothing, some times over.
async fn call(client: &Remote, is_store: bool) -> Finding {
    let subject = if is_store { "a call through it" } else { "a call" };
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let start = Instant::now();
        if let Err(error) = client.pauses().await {
            return Finding::wrong(subject, error.to_string(), "stagger leases says what to do");
        }
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Finding::fine(subject, format!("{:.1} ms, the middle of {CALLS}", times[CALLS / 2].as_secs_f64() * 1e3))
}
