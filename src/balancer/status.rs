//! Reads a status question: in, out, or nobody can tell.

use super::Said;
use crate::config::depool::Status;
use crate::probe::ask::Client;
use crate::probe::holds::PredicateError;
use model::member::Presence;

/// Asks, and looks which of the two predicates holds. When an answer is not a good one, a predicate that does not look at
/// its status says nothing about it, and the other may still.
pub(super) async fn ask(status: &Status, client: &Client) -> Said {
    let observation = match status.probe.ask(client).await {
        Ok(observation) => observation,
        Err(error) => return Said::unknown(error.to_string()),
    };
    let figures = observation.figures();
    let said = |presence| Said::known(presence, figures.clone());
    match (status.out_when.holds(&observation), status.in_when.holds(&observation)) {
        (Ok(true), Ok(false) | Err(PredicateError::NoAnswer { .. })) => said(Presence::Out),
        (Ok(false) | Err(PredicateError::NoAnswer { .. }), Ok(true)) => said(Presence::In),
        (Ok(true), Ok(true)) => Said::unknown(format!("both in and out: {figures}")),
        (Err(error), _) | (_, Err(error)) => Said::unknown(error.to_string()),
        (Ok(false), Ok(false)) => Said::foreign(format!("neither in nor out: {figures}")),
    }
}
