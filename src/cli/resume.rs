//! `stagger resume`: ends a pause, and lets a halted rollout go on.

use super::context::Context;
use super::failure::Failure;
use super::scope::Typed;
use super::{changed, client, known, scope};
use model::names::Scope;
use model::request::Act;

/// End a pause, or let a halted rollout go on
///
/// The hosts of the rollout that failed so far are then forgiven.
///
/// Example: stagger resume rollout/php-fpm@42
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ResumeArgs {
    /// What goes on: all, pool/P, service/S, host/H or rollout/S@N; a bare name when only one pause has it
    #[arg(value_parser = scope::typed)]
    scope: Typed,
}

/// Resumes it.
pub(crate) async fn run(args: ResumeArgs, context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    let scope = match args.scope {
        Typed::Scope(scope) => scope,
        // Something may be paused that is not there yet, or no longer.
        Typed::Bare(name) => {
            let paused: Vec<Scope> = client.pauses().await?.into_iter().map(|pause| pause.scope).collect();
            known::the_one_of(&name, &paused)?.ok_or_else(|| Failure::Refused {
                why: format!("{name} is not paused"),
                hint: "what is paused: stagger pools".to_owned(),
            })?
        }
    };
    let done = client.admin("resume", Act::Resume { scope }).await?;
    changed(&client::did(done)?, context)
}
