//! Whether a service needs a restart, by its own check.
//!
//! Owns the walk through the rules. A check that cannot be read is an error: it restarts nothing. Called by the worker,
//! before any lease is asked for.

use crate::config::Check;
use crate::config::steps::Then;
use crate::probe::ask::{Client, ProbeError};
use crate::probe::fastcgi;
use crate::probe::holds::PredicateError;

/// What the check says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the service needs a restart.
    pub restart: bool,
    /// The rule that asked for it, or a word that none did.
    pub why: String,
    /// What was answered, for people.
    pub figures: String,
    /// What rules did, in order.
    pub ran: Vec<Ran>,
}

/// What a rule did: a command that it ran, or a request that it sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The command, or the request.
    pub command: String,
    /// Whether it ended with 0, or was answered with a status of 2xx.
    pub ok: bool,
    /// How it ended, in one line.
    pub outcome: String,
}

/// The check cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// There is no answer.
    #[error("the check cannot be read: {0}")]
    Silent(#[from] ProbeError),
    /// A rule cannot be judged over the answer.
    #[error("the check cannot be read: {0}")]
    Rule(#[from] PredicateError),
}

/// Asks the check once, and walks through its rules in order: commands are run, requests are sent, and the first restart ends it.
/// One that fails is told of and changes nothing else: the service needs a restart no more and no less for it. Dropped in the
/// middle, a command that runs is killed; a request that was sent may still be carried out.
///
/// # Errors
/// The check cannot be read. What earlier rules do may be done.
pub async fn verdict(check: &Check, client: &Client) -> Result<Verdict, CheckError> {
    let observation = check.probe.ask(client).await?;
    let figures = observation.figures();
    let mut ran = Vec::new();
    for rule in &check.rules {
        if !rule.when.holds(&observation)? {
            continue;
        }
        match &rule.then {
            Then::Restart => {
                return Ok(Verdict { restart: true, why: rule.when.to_string(), figures, ran });
            }
            Then::Exec(command) => {
                let outcome = client.act(command, check.probe.timeout).await;
                let (ok, outcome) = match outcome {
                    Ok(exit) => (exit.is_success(), exit.cause()),
                    Err(error) => (false, error.to_string()),
                };
                ran.push(Ran { command: command.to_string(), ok, outcome });
            }
            Then::FastCgi(request) => {
                let (ok, outcome) = match fastcgi::ask(request, check.probe.timeout).await {
                    Ok(answer) => (answer.failure().is_none(), answer.figures()),
                    Err(error) => (false, error.to_string()),
                };
                ran.push(Ran { command: request.to_string(), ok, outcome });
            }
        }
    }
    Ok(Verdict { restart: false, why: "no rule asks for a restart".to_owned(), figures, ran })
}
