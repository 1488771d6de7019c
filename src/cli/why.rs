//! `stagger why`: why something waits, who causes it, and what to type.

use super::client::Client;
use super::context::Context;
use super::failure::Failure;
use super::scope::Typed;
use super::{exit, known, out, render, scope};
use crate::worker::lonely;
use model::names::Scope;

/// Explain why something waits, and what to type
///
/// Of a host, a pool, a service or a rollout: every cause, and the next command. Without a scope, of this host.
///
/// Example: stagger why mw1331
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WhyArgs {
    /// About this: all, pool/P, service/S, host/H, rollout/S@N; a bare name is a host, else what alone has it [default: this host]
    #[arg(value_parser = scope::typed)]
    scope: Option<Typed>,
}

/// Explains it.
pub(crate) async fn run(args: WhyArgs, context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    let (scope, is_this_host) = match args.scope {
        Some(typed) => (known::looked_at(&client, typed).await?, false),
        None => (Scope::Host(context.host()?), true),
    };
    match known::must(&client, &scope).await {
        Err(Failure::Refused { why, hint }) if is_this_host => {
            let hint = format!("of the whole fleet: stagger why all; {hint}");
            return Err(Failure::Refused { why, hint });
        }
        known => known?,
    }
    let why = client.why(&scope).await?;
    if scope == Scope::All {
        warn_of_lonely(&client).await;
    }
    match context.globals.json {
        true => out::json(&why)?,
        false => out::result(&render::why::why(&why))?,
    }
    Ok(exit::OK)
}

/// Says which pools may be mistyped; nothing, when that cannot be told.
async fn warn_of_lonely(client: &Client) {
    for found in lonely::anywhere(client.coordinator()).await.unwrap_or_default() {
        let pool = &found.pool;
        out::note(&format!(
            "warning: one host alone is in the pool {pool}; is {} meant, of {} hosts?\n\
             hint: who that is: stagger members pool/{pool}; if it is right: stagger set pool/{pool} slots=1 --reason …",
            found.near, found.members
        ));
    }
}
