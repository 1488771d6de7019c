//! The acts: what is done to the fleet, and what must be seen of it then.
//!
//! Owns their order, and what every act must leave behind: no failed request, never too many hosts out, everybody in again
//! and nobody holding a slot. Each act has a file. What they see of the hosts they see at the balancer and in the services'
//! own account of their starts; the lock server is only asked how a rollout stands.

mod bad_build;
mod deploy;
mod kill;
mod slow;
mod stage;
mod unplugged;

pub(super) use stage::Stage;

use crate::cli::demo::fleet::FleetError;
use crate::cli::demo::summary::Played;
use crate::cli::demo::supervisor::SupervisorError;
use std::time::Duration;

/// How long after an act everything must be as it was before.
const REST_TIMEOUT: Duration = Duration::from_secs(20);

/// An act, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Act {
    /// A good build for everyone.
    Deploy,
    /// Requests that take longer than the least drain.
    Slow,
    /// A build that does not start, and then one that does.
    BadBuild,
    /// A worker killed while its host is out.
    #[value(name = "kill-9")]
    Kill9,
    /// A host cut off in the middle.
    Unplugged,
}

impl Act {
    /// All of them, in the order in which they are played.
    pub(super) const ALL: [Act; 5] = [Act::Deploy, Act::Slow, Act::BadBuild, Act::Kill9, Act::Unplugged];

    /// Its name, for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Act::Deploy => "deploy",
            Act::Slow => "slow",
            Act::BadBuild => "bad build",
            Act::Kill9 => "kill -9",
            Act::Unplugged => "unplugged",
        }
    }
}

/// Why an act did not go well; each is a line for people.
#[derive(Debug, thiserror::Error)]
pub(super) enum ActError {
    /// The lock server did not answer as it should.
    #[error("the lock server: {0}")]
    Coordinator(#[from] coordinator::Error),
    /// A process of a host could not be handled.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// Something else of the fleet.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// Something did not happen in time.
    #[error("not within {limit:?}: {what}")]
    Late {
        /// What should have.
        what: String,
        /// How long was waited.
        limit: Duration,
    },
    /// What was seen is not what must be.
    #[error("{0}")]
    Seen(String),
}

/// An error, unless what must be seen is seen.
fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), ActError> {
    if holds { Ok(()) } else { Err(ActError::Seen(otherwise())) }
}

/// Plays one act, and looks at what it left behind.
pub(super) async fn play(stage: &Stage<'_>, act: Act) -> Played {
    let before = stage.counts();
    let (told, deploy) = match act {
        Act::Deploy => match deploy::play(stage).await {
            Ok((detail, figures)) => (Ok(detail), Some(figures)),
            Err(error) => (Err(error), None),
        },
        Act::Slow => (slow::play(stage).await, None),
        Act::BadBuild => (bad_build::play(stage).await, None),
        Act::Kill9 => (kill::play(stage).await, None),
        Act::Unplugged => (unplugged::play(stage).await, None),
    };
    let told = match told {
        Ok(detail) => stage.at_rest(REST_TIMEOUT).await.map(|()| detail),
        Err(error) => Err(error),
    };
    let told = told.and_then(|detail| stage.unharmed(&before).map(|()| detail));
    Played { name: act.name(), ok: told.is_ok(), detail: told.unwrap_or_else(|error| error.to_string()), deploy }
}
