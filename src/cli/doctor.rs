//! `stagger doctor`: looks at the coordinator's own setup.

use super::client::Client;
use super::context::Context;
use super::failure::{DOCTOR, Failure};
use super::{exit, out, render};
use coordinator::refusal::kind;
use coordinator::remote::Remote;
use coordinator::store::{self, Finding, Seat, Store, StoreError, Verdict};
use coordinator::{Coordinator as _, Error};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Instant;

/// How many calls the time of one is the middle of.
const CALLS: usize = 5;

/// Look at the coordinator's own setup: what may lose leases, or stop them
///
/// Each line is something that was looked at: ✓ as it should be, ! somebody should look, ✗ wrong; and below it what to do. No setting and
/// no lease is changed. Exit code 1 when something is wrong.
///
/// Example: stagger doctor --coordinator redis+sentinel://s1,s2,s3/main
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DoctorArgs {}

/// Looks.
pub(crate) async fn run(_: DoctorArgs, context: &Context) -> Result<u8, Failure> {
    let url = context.coordinator()?;
    let client = Client::here(&url, &context.seats()?)?;
    let mut found = Vec::new();
    let opened = store::open(&url).map_err(|error| client.failure(DOCTOR, error))?;
    match &opened {
        Some(store) => match store.examine().await {
            Ok(all) => {
                found.extend(all);
                found.push(seat(&**store).await);
                found.push(call(client.coordinator(), "a call through it").await);
            }
            Err(StoreError::Unfit(why)) => {
                found.push(Finding::wrong("fit for leases", why, "put that right, and look again"))
            }
            Err(cause) => return Err(client.failure(DOCTOR, away(cause))),
        },
        None => found.extend(servers(&url, context).await?),
    }
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

/// Each lock server of a URL, alone; and whether they belong together. Fails only when nobody can be asked.
async fn servers(url: &str, context: &Context) -> Result<Vec<Finding>, Failure> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (hosts, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (mut found, mut domains, mut away) = (Vec::new(), BTreeSet::new(), None);
    for host in hosts.split(',') {
        let client = Client::here(&format!("{scheme}://{host}{path}"), &context.seats()?)?;
        match client.coordinator().domain().await {
            Err(error @ Error::Refused { .. }) => found.push(told(host, &error)),
            Err(error) => {
                found.push(Finding::wrong(
                    host,
                    error.to_string(),
                    "start it, or leave it out of the list on every host",
                ));
                away.get_or_insert((client, error));
            }
            Ok(domain) => {
                let what = match &domain.name {
                    Some(name) => format!("a door to a store, whose domain is {name}: look at that store, too"),
                    None => "a lock server with records of its own".to_owned(),
                };
                domains.insert(domain.name);
                found.push(Finding::fine(host, what));
                found.push(call(client.coordinator(), &format!("{host}, a call")).await);
            }
        }
    }
    if let (true, Some((client, error))) = (domains.is_empty() && found.len() == 1, away) {
        return Err(client.failure(DOCTOR, error));
    }
    if hosts.contains(',') && (domains.len() > 1 || domains.contains(&None)) {
        found.push(Finding::wrong(
            "the list",
            "these do not belong together, and each would grant every slot",
            "list doors to one domain of one store only",
        ));
    }
    Ok(found)
}

/// A refusal to do anything here: the domain was moved, which is as it should be.
fn told(subject: &str, error: &Error) -> Finding {
    match error {
        Error::Refused { kind, value, .. } if kind == kind::MOVED => {
            Finding::look(subject, value.as_str(), "name that one in every configuration; then this one may go")
        }
        other => Finding::wrong(subject, other.to_string(), "stagger leases says what to do"),
    }
}

/// Asks something that changes nothing, some times over.
async fn call(client: &Remote, subject: &str) -> Finding {
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let start = Instant::now();
        if let Err(error) = client.pauses().await {
            return told(subject, &error);
        }
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Finding::fine(subject, format!("{:.1} ms, the middle of {CALLS}", times[CALLS / 2].as_secs_f64() * 1e3))
}
