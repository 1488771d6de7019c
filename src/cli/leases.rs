//! `stagger leases`: who holds, who waits, and how full each pool is.

use super::context::Context;
use super::failure::Failure;
use super::scope::Typed;
use super::{exit, known, out, render, scope};
use model::lease::LeaseState;
use model::read::Leases;

/// Show who holds a lease, and who waits for one
///
/// And how full each pool is. Holders come first, lost and failed ones at the top, then the queue in its order.
///
/// Example: stagger leases pool/app-eqiad
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LeasesArgs {
    /// Only this: all, pool/P, service/S, host/H, rollout/S@N; a bare name is a host, else what alone has it
    #[arg(value_parser = scope::typed)]
    scope: Option<Typed>,
    /// Only holders in this state, or only waiters
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<State>,
}

/// What an empty list of everything says.
const NOBODY: &str = "nobody holds, nobody waits";

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum State {
    Held,
    Failed,
    Lost,
    Stuck,
    Waiting,
}

/// Shows them.
pub(crate) async fn run(args: LeasesArgs, context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    let scope = known::looked_at_if(&client, args.scope).await?;
    let mut leases = client.leases(scope.clone()).await?;
    let is_empty = leases.leases.is_empty() && leases.queue.is_empty();
    known::must_when_empty(&client, scope.as_ref(), is_empty).await?;
    if let Some(state) = args.state {
        keep(&mut leases, state);
    }
    match context.globals.json {
        true => out::json(&leases)?,
        false => out::result(&render::leases::leases(&leases, args.state.map_or(NOBODY, nobody)))?,
    }
    Ok(exit::OK)
}

/// What an empty list says.
fn nobody(state: State) -> &'static str {
    match state {
        State::Held => "nobody holds",
        State::Failed => "no lease is failed",
        State::Lost => "no lease is lost",
        State::Stuck => "no lease is stuck",
        State::Waiting => "nobody waits",
    }
}

fn keep(leases: &mut Leases, state: State) {
    leases.leases.retain(|row| match state {
        State::Held => row.lease.state == LeaseState::Held,
        State::Failed => row.lease.state == LeaseState::Failed,
        State::Lost => row.lease.state == LeaseState::Lost,
        State::Stuck => row.lease.standing() == "stuck",
        State::Waiting => false,
    });
    if state != State::Waiting {
        leases.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_state_is_shown_alone() {
        let left = |state| {
            let mut leases = render::samples::leases();
            keep(&mut leases, state);
            let holders = leases.leases.iter().map(|row| row.lease.holder.to_string());
            holders.chain(leases.queue.iter().map(|row| row.holder.to_string())).collect::<Vec<_>>()
        };
        assert_eq!(left(State::Held), ["mw1402"]);
        assert_eq!(left(State::Failed), ["mw1316"]);
        assert_eq!(left(State::Lost), ["mwmaint1"]);
        assert_eq!(left(State::Stuck), [""; 0]);
        assert_eq!(left(State::Waiting), ["mw1331"]);
    }
}
