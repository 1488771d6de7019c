//! `stagger abort`: ends a rollout before it is done.

use super::context::Context;
use super::failure::Failure;
use super::{changed, client, scope};
use model::names::RolloutName;
use model::request::Act;

/// End a rollout before it is done
///
/// Nobody new begins, what has begun finishes, the rest stay as they are.
///
/// Example: stagger abort php-fpm@42 --reason "wrong build"
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AbortArgs {
    /// Which: SERVICE@N
    #[arg(value_name = "S@N", value_parser = scope::rollout)]
    rollout: RolloutName,
    /// Why, for those who will wonder
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Aborts it.
pub(crate) async fn run(args: AbortArgs, context: &Context) -> Result<u8, Failure> {
    let act = Act::Abort { rollout: args.rollout, reason: args.reason };
    let done = context.client()?.admin("abort", act).await?;
    changed(&client::did(done)?, context)
}
