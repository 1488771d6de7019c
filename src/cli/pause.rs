//! `stagger pause`: stops grants and begins for a while.

use super::context::Context;
use super::failure::Failure;
use super::scope::Typed;
use super::{changed, client, known, scope};
use crate::config::duration;
use model::request::Act;
use model::time::millis;
use std::time::Duration;

/// Stop grants and restarts for a while
///
/// Nothing new begins, what has begun finishes, nobody loses a place in the queue. It ends by itself; `resume` ends it
/// sooner.
///
/// Example: stagger pause pool/app-eqiad --reason "switch is being replaced" --for 2h
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PauseArgs {
    /// What stands still: all, pool/P, service/S, host/H or rollout/S@N; a bare name when only one thing has it
    #[arg(value_parser = scope::typed)]
    scope: Typed,
    /// Why, for those who will wonder
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// For how long, such as 30m or 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    lasting: Duration,
}

/// Pauses it.
pub(crate) async fn run(args: PauseArgs, context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    let scope = known::the_one(&client, args.scope).await?;
    known::warn(&client, &scope).await?;
    let act = Act::Pause { scope, reason: args.reason, for_ms: millis(args.lasting) };
    let done = client.admin("pause", act).await?;
    changed(&client::did(done)?, context)
}
