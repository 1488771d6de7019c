//! `stagger repool`: puts a service of this host back into its balancers, by hand.

use super::context::Context;
use super::depool::bring;
use super::failure::Failure;
use model::member::Presence;
use model::names::Service;

/// Put a service of this host back into its balancers, or all of them
///
/// Without a service, every one of the host's file, one after the other. Each balancer must confirm. One at which the host is in a state of somebody's own, neither in nor out, is left alone.
/// It ends no lease: a failed host's slot is given back by `restart` or `release`.
///
/// Exit codes: 0 every balancer confirms; 1 one does not; 4 nobody can tell, a person is needed.
///
/// Example: stagger repool php-fpm
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RepoolArgs {
    /// Which; all of this host when left out
    service: Option<Service>,
}

/// Puts it back.
pub(crate) async fn run(args: RepoolArgs, context: &Context) -> Result<u8, Failure> {
    bring(args.service.as_ref(), Presence::In, context).await
}
