//! `stagger pools`: how many may be out, and where that number comes from.

use super::context::Context;
use super::failure::Failure;
use super::{exit, known, out, render, scope};
use model::names::Scope;
use serde_json::json;

/// Show how many hosts of each pool may be out, and why so many
///
/// Also how many are out, and what is paused. With a pool, everything that holds for it.
///
/// Example: stagger pools app-eqiad
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PoolsArgs {
    /// Only this pool, in full; or all
    #[arg(value_name = "POOL", value_parser = scope::pool_or_all)]
    about: Option<Scope>,
}

/// Shows them.
pub(crate) async fn run(args: PoolsArgs, context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    let scope = args.about.filter(|scope| *scope != Scope::All);
    let rows = client.pools(scope.clone()).await?;
    known::must_when_empty(&client, scope.as_ref(), rows.is_empty()).await?;
    let pauses = if scope.is_none() { client.pauses().await? } else { Vec::new() };
    match (context.globals.json, &scope, &rows[..]) {
        (true, _, _) => out::json(&json!({ "pools": rows, "pauses": pauses }))?,
        (false, Some(_), [row]) => out::result(&render::pools::pool(row))?,
        (false, _, _) => out::result(&render::pools::pools(&rows, &pauses))?,
    }
    Ok(exit::OK)
}
