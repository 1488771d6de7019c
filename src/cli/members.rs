//! `stagger members`: every worker known, alive or down, and who is out of a balancer.

use super::context::Context;
use super::failure::Failure;
use super::render::members::Filter;
use super::scope::Typed;
use super::{exit, known, out, render, scope};
use serde_json::json;

/// Show every worker known, and who is out of a balancer
///
/// When it was last heard of, its version, and the balancers that it is out of, by whose doing.
///
/// Example: stagger members --out
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MembersArgs {
    /// Only this: all, pool/P, service/S, host/H, rollout/S@N; a bare name is a host, else what alone has it
    #[arg(value_parser = scope::typed)]
    scope: Option<Typed>,
    /// Only those that are down
    #[arg(long)]
    down: bool,
    /// Only those that are out of a balancer, or of whom nobody can tell
    #[arg(long)]
    out: bool,
}

/// Shows them.
pub(crate) async fn run(args: MembersArgs, context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    let scope = known::looked_at_if(&client, args.scope).await?;
    let mut rows = client.members(scope.clone()).await?;
    known::must_when_empty(&client, scope.as_ref(), rows.is_empty()).await?;
    let filter = Filter { down: args.down, out: args.out };
    rows.retain(|row| filter.keeps(row));
    match context.globals.json {
        true => out::json(&json!({ "members": rows }))?,
        false => out::result(&render::members::members(&rows, filter, scope.as_ref()))?,
    }
    Ok(exit::OK)
}
