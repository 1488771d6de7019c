//! `stagger pools`: how many may be out, and where that number comes from.

use super::context::Context;
use super::failure::Failure;
use super::{exit, out, render};
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
    pool: Option<Pool>,
}

/// Shows them.
pub(crate) async fn run(args: PoolsArgs, context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    let rows = client.pools(args.pool.clone().map(Scope::Pool)).await?;
    if let (Some(pool), []) = (&args.pool, &rows[..]) {
        let hint =
            "stagger pools lists them; one exists once a worker that names it joins, or a setting does".to_owned();
        return Err(Failure::Refused { why: format!("no pool {pool} is known"), hint });
    }
    let pauses = if args.pool.is_none() { client.pauses().await? } else { Vec::new() };
    match (context.globals.json, &args.pool, &rows[..]) {
        (true, _, _) => out::json(&json!({ "pools": rows, "pauses": pauses }))?,
        (false, Some(_), [row]) => out::result(&render::pools::pool(row))?,
        (false, _, _) => out::result(&render::pools::pools(&rows, &pauses))?,
    }
    Ok(exit::OK)
}
