//! `stagger pools`: how many may be out, and where that number comes from.

use super::context::Context;
use super::failure::Failure;
use super::{exit, known, out, render, scope};
use model::names::{Pool, Scope};
use serde_json::json;

/// Show how many hosts of each pool may be out, and why so many
///
/// Also how many are out, and what is paused. With a pool, everything that holds for it.
///
/// Example: stagger pools app-eqiad
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PoolsArgs {
    /// Only this pool, in full
    #[arg(value_parser = scope::pool)]
    pool: Option<Pool>,
}

/// Shows them.
pub(crate) async fn run(args: PoolsArgs, context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    let scope = args.pool.clone().map(Scope::Pool);
    let rows = client.pools(scope.clone()).await?;
    known::must_when_empty(&client, scope.as_ref(), rows.is_empty()).await?;
    let pauses = if args.pool.is_none() { client.pauses().await? } else { Vec::new() };
    match (context.globals.json, &args.pool, &rows[..]) {
        (true, _, _) => out::json(&json!({ "pools": rows, "pauses": pauses }))?,
        (false, Some(_), [row]) => out::result(&render::pools::pool(row))?,
        (false, _, _) => out::result(&render::pools::pools(&rows, &pauses))?,
    }
    Ok(exit::OK)
}
