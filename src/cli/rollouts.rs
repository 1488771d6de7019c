//! `stagger rollouts`: what was announced and how far it is, or one of them with every host.

use super::context::Context;
use super::failure::Failure;
use super::{exit, follow, known, out, render};
use model::names::{NameError, Scope};
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
    /// This rollout in full: SERVICE@N; or only these: all, pool/P, service/S, host/H; a bare name is a service
    #[arg(value_name = "S@N", value_parser = about)]
    about: Option<Scope>,
    /// Stay until it has ended; Ctrl-C detaches and stops nothing
    #[arg(long, requires = "about")]
    follow: bool,
}

/// `S@N`, a scope, or a bare service.
fn about(text: &str) -> Result<Scope, NameError> {
    match text {
        _ if text == "all" || text.contains('/') => text.parse(),
        _ if text.contains('@') => text.parse().map(Scope::Rollout),
        _ => text.parse().map(Scope::Service),
    }
}

/// Shows them.
pub(crate) async fn run(args: RolloutsArgs, context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    if args.follow && matches!(args.about, Some(Scope::Rollout(_))) {
        client.until_it_answers("read the rollout", follow::AWAY_MAX).await?;
    }
    if let Some(scope @ Scope::Rollout(_)) = &args.about {
        known::must(&client, scope).await?;
    }
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
            let rows = client.rollouts(scope.clone()).await?;
            known::must_when_empty(&client, scope.as_ref(), rows.is_empty()).await?;
            match context.globals.json {
                true => out::json(&json!({ "rollouts": rows }))?,
                false => out::result(&render::rollouts::rollouts(&rows, scope.as_ref()))?,
            }
        }
    }
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_a_service_and_one_with_an_at_a_rollout() {
        for (text, scope) in [
            ("php-fpm", "service/php-fpm"),
            ("php-fpm@42", "rollout/php-fpm@42"),
            ("host/mw1", "host/mw1"),
            ("all", "all"),
        ] {
            assert_eq!(about(text).map(|scope| scope.to_string()), Ok(scope.to_owned()));
        }
        assert!(about("a b").is_err() && about("").is_err() && about("a@b").is_err() && about("pools/a").is_err());
    }
}
