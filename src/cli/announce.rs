//! `stagger announce`: announces a deploy; every worker that it is for restarts when it may.

use super::context::Context;
use super::failure::Failure;
use super::scope::Typed;
use super::{client, exit, follow, known, out, render, scope};
use crate::config::duration;
use model::names::Service;
use model::request::{Act, Announce, Done};
use model::time::millis;
use serde_json::json;
use std::time::Duration;

/// Announce a deploy
///
/// Every host that has the service restarts it, as its lease allows. Hosts that are down, or join later, catch up until it
/// expires. A service that no host has is refused with exit 1. Prints the rollout's name. With --follow it stays to the end, and exits 5 when a host failed or is left.
///
/// Example: stagger announce php-fpm -m "wmf.12 to group1" --follow
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AnnounceArgs {
    /// What restarts
    #[arg(value_parser = scope::service)]
    service: Service,
    /// What is deployed, for people
    #[arg(short, long, value_name = "TEXT")]
    message: String,
    /// Stay until it has ended; Ctrl-C detaches and stops nothing
    #[arg(long)]
    follow: bool,
    /// Only this part of the fleet: pool/P, host/H, service/S; may be given several times
    #[arg(long, value_name = "SCOPE", value_parser = scope::typed)]
    only: Vec<Typed>,
    /// Restart whatever the hosts' checks say
    #[arg(long)]
    always: bool,
    /// Take the place of one that is under way
    #[arg(long)]
    supersede: bool,
    /// How many failed hosts halt it [default: the service's setting]
    #[arg(long, value_name = "N")]
    max_failures: Option<u32>,
    /// How long hosts owe it, such as 24h [default: the service's setting]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    expires: Option<Duration>,
}

/// Announces it.
pub(crate) async fn run(args: AnnounceArgs, context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    if args.follow {
        client.until_it_answers("announce", follow::AWAY_MAX).await?;
    }
    let mut only = Vec::new();
    for part in args.only {
        only.push(known::the_one(&client, part).await.map_err(|failure| failure.while_doing("announce"))?);
    }
    for part in &only {
        known::must(&client, part).await.map_err(|failure| failure.while_doing("announce"))?;
    }
    let act = Act::Announce(Announce {
        service: args.service,
        message: args.message,
        only,
        always: args.always,
        supersede: args.supersede,
        max_failures: args.max_failures,
        strict: None,
        expires_ms: args.expires.map(millis),
    });
    let (rollout, targets) = match client.admin("announce", act).await? {
        Done::Announced { rollout, targets } => (rollout, targets),
        Done::ForNobody { service, only } => return Err(known::for_nobody(&client, &service, &only).await),
        other => return client::did(other).map(|_| exit::OK),
    };
    match context.globals.json {
        true => out::json(&json!({ "rollout": rollout, "targets": targets }))?,
        false => out::result(&rollout.to_string())?,
    }
    if args.follow {
        return follow::follow(&client, &rollout, context).await;
    }
    let hosts = render::text::count(usize::try_from(targets).unwrap_or(0), "host");
    out::note(&format!("for {hosts}; watch it: stagger rollouts {rollout} --follow"));
    Ok(exit::OK)
}
