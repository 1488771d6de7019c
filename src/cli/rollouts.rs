//! `stagger rollouts`: what was announced and how far it is, or one of them with every host.

use super::context::Context;
use super::failure::Failure;
use super::{exit, follow, out, render};
use model::names::{NameError, RolloutName, Scope};
use serde_json::json;

/// Show the rollouts, or one of them host by host
///
/// One of them shows every host's steps, how long each took, and what a failed one printed.
///
/// With --follow it stays to the end, and exits 5 when a host failed or is left.
///
/// Example: stagger rollouts php-fpm@42 --follow
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RolloutsArgs {
    /// This rollout in full: SERVICE@N; or only these: all, pool/P, service/S, host/H
    #[arg(value_name = "S@N", value_parser = about)]
    about: Option<Scope>,
    /// Stay until it has ended; Ctrl-C detaches and stops nothing
    #[arg(long, requires = "about")]
    follow: bool,
}

/// `S@N` or a scope.
fn about(text: &str) -> Result<Scope, NameError> {
    match text.parse::<Scope>() {
        Err(NameError::NoScope(_)) => text.parse::<RolloutName>().map(Scope::Rollout),
        other => other,
    }
}

/// Shows them.
pub(crate) async fn run(args: RolloutsArgs, context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    match args.about {
        Some(Scope::Rollout(name)) if args.follow => return follow::follow(&client, &name, context).await,
        Some(other) if args.follow => {
            return Err(Failure::usage(
                format!("{other} is no single rollout to follow"),
                "write SERVICE@N, such as php-fpm@42",
            ));
        }
        Some(Scope::Rollout(name)) => {
            let detail = client.rollout(&name).await?;
            match context.globals.json {
                true => out::json(&detail)?,
                false => out::result(&render::rollouts::rollout(&detail))?,
            }
        }
        scope => {
            let rows = client.rollouts(scope).await?;
            match context.globals.json {
                true => out::json(&json!({ "rollouts": rows }))?,
                false => out::result(&render::rollouts::rollouts(&rows))?,
            }
        }
    }
    Ok(exit::OK)
}
