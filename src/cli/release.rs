//! `stagger release`: ends a lease that does not end by itself.

use super::context::Context;
use super::failure::Failure;
use super::{changed, client, scope};
use model::names::Holder;
use model::request::Act;

/// End a lease that does not end by itself
///
/// Of a failed or lost host; its slots are free at once. Look first: a released host may still be out of its balancers
/// (stagger members --out).
///
/// Example: stagger release mw1316 --reason "disk is being replaced" --forget
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ReleaseArgs {
    /// Whose: a host, or a name given to `run`
    #[arg(value_parser = scope::holder)]
    holder: Holder,
    /// Why, for those who will wonder
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Even when it is still renewing: it may then be out of service uncounted
    #[arg(long)]
    live: bool,
    /// The host is gone for good: remove it, and let no rollout wait for it
    #[arg(long)]
    forget: bool,
}

/// Releases it.
pub(crate) async fn run(args: ReleaseArgs, context: &Context) -> Result<u8, Failure> {
    let act = Act::Release { holder: args.holder, reason: args.reason, live: args.live, forget: args.forget };
    let done = context.client()?.admin("release", act).await?;
    changed(&client::did(done)?, context)
}
