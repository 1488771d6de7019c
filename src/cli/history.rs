//! `stagger history`: who did what, and why.

use super::client::Client;
use super::context::Context;
use super::failure::Failure;
use super::scope::Typed;
use super::{exit, known, out, render, scope};
use crate::config::duration;
use jiff::Timestamp;
use model::history::Entry;
use model::names::Scope;
use model::read::ROWS_MAX;
use std::time::Duration;

/// How many entries are shown when nothing is said.
const ENTRIES_SHOWN: usize = 50;
/// How often `--follow` looks for more.
const PAUSE: Duration = Duration::from_secs(1);

/// Show who did what, when, and why
///
/// Announcements, pauses, settings, releases, failed and lost hosts.
///
/// Example: stagger history pool/app-eqiad --since 2h
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct HistoryArgs {
    /// Only this: all, pool/P, service/S, host/H, rollout/S@N; a bare name is a host, else what alone has it
    #[arg(value_parser = scope::typed)]
    scope: Option<Typed>,
    /// As far back as this, such as 2h [default: the last 50 entries]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    since: Option<Duration>,
    /// Go on until Ctrl-C
    #[arg(long)]
    follow: bool,
}

/// Shows it.
pub(crate) async fn run(args: HistoryArgs, context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    let scope = known::looked_at_if(&client, args.scope).await?;
    let limit = if args.since.is_some() { ROWS_MAX } else { ENTRIES_SHOWN };
    let mut entries = client.history(scope.clone(), None, limit).await?;
    known::must_when_empty(&client, scope.as_ref(), entries.is_empty()).await?;
    let last = entries.last().map_or(0, |entry| entry.number);
    if let Some(since) = args.since {
        let since_ms =
            Timestamp::now().as_millisecond().saturating_sub(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        entries.retain(|entry| entry.at.0 >= u64::try_from(since_ms).unwrap_or(0));
    }
    show(&entries, context)?;
    if args.follow {
        return follow(&client, scope, last, context).await;
    }
    Ok(exit::OK)
}

/// Shows what comes behind an entry, until a signal ends the program. A coordinator that is away is waited for.
async fn follow(client: &Client, scope: Option<Scope>, mut last: u64, context: &Context) -> Result<u8, Failure> {
    let mut away = false;
    loop {
        tokio::time::sleep(PAUSE).await;
        match client.history(scope.clone(), Some(last), ROWS_MAX).await {
            Ok(entries) => {
                last = entries.last().map_or(last, |entry| entry.number);
                away = false;
                show(&entries, context)?;
            }
            Err(failure) if !std::mem::replace(&mut away, true) => {
                out::note(&format!("{}\nwaiting for it to come back", failure.render()));
            }
            Err(_) => {}
        }
    }
}

fn show(entries: &[Entry], context: &Context) -> Result<(), Failure> {
    for entry in entries {
        match context.globals.json {
            true => out::json(entry)?,
            false => out::result(&render::history::entry(entry))?,
        }
    }
    Ok(())
}
