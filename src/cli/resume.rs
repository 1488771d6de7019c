//! `stagger resume`: ends a pause, and lets a halted rollout go on.

use super::context::Context;
use super::failure::Failure;
use super::{changed, client};
use model::names::Scope;
use model::request::Act;

/// End a pause, or let a halted rollout go on
///
/// The hosts of the rollout that failed so far are then forgiven.
///
/// Example: stagger resume rollout/php-fpm@42
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ResumeArgs {
    /// What goes on: all, pool/P, service/S, host/H or rollout/S@N
    scope: Scope,
}

/// Resumes it.
pub(crate) async fn run(args: ResumeArgs, context: &Context) -> Result<u8, Failure> {
    let done = context.client()?.admin("resume", Act::Resume { scope: args.scope }).await?;
    changed(&client::did(done)?, context)
}
