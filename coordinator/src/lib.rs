//! What workers and commands ask of a coordinator, whatever it is.
//!
//! Reading order: [`error`], [`Coordinator`], [`wire`] and [`refusal`] (how it travels), [`events`] (what is told as it happens),
//! [`remote`] (the coordinator that is elsewhere: a server, or whoever decides in a store). No rule about leases or rollouts lives here: those are the model's.

pub mod error;
pub mod events;
pub mod mailbox;
pub mod refusal;
pub mod remote;
pub mod store;
pub mod wire;

pub use error::{Error, Result};

use model::history::Entry;
use model::names::{Id, RolloutName, Scope};
use model::read::{Leases, MemberRow, Page, PauseRow, PoolRow, RolloutDetail, RolloutRow, Selection};
use model::request::{Admin, Answer, Ask, Begin, BeginAsk, Done, Join, Joined, Own, Quiet, Renew, Settle, Settled};
use model::why::Why;
use std::future::Future;
use std::time::Duration;

/// Bytes of chance in a [`random_id`]: no two will ever be the same.
const ID_BYTES: usize = 16;

/// What workers and commands ask. Everything may be asked again: the same claim, session or operation gives the same
/// answer, so after [`Error::Unknown`] one asks the same again.
///
/// Dropping a future gives the call up; whether it was carried out is then unknown.
pub trait Coordinator: Send + Sync {
    /// Makes a worker known, and keeps it known. With `seen`, the rollouts that the caller knows itself to owe, the answer
    /// may take up to `hold`: it comes as soon as what is owed differs from `seen`. Without, it comes at once.
    fn join(
        &self,
        join: &Join,
        seen: Option<&[RolloutName]>,
        hold: Duration,
    ) -> impl Future<Output = Result<Joined>> + Send;

    /// Asks for a lease. The answer may take up to `hold`: it comes as soon as it is granted or refused.
    fn ask(&self, ask: &Ask, hold: Duration) -> impl Future<Output = Result<Answer>> + Send;

    /// Asks for the last word before the restart act.
    fn begin(&self, begin: &BeginAsk) -> impl Future<Output = Result<Begin>> + Send;

    /// Says that a holder is still at work.
    fn renew(&self, renew: &Renew) -> impl Future<Output = Result<Own>> + Send;

    /// Ends a sequence, with the host's report.
    fn settle(&self, settle: &Settle) -> impl Future<Output = Result<Settled>> + Send;

    /// Carries out a person's change.
    fn admin(&self, admin: &Admin) -> impl Future<Output = Result<Done>> + Send;

    /// Says that a waiter or a worker listens no longer.
    fn quiet(&self, quiet: &Quiet) -> impl Future<Output = Result<()>> + Send;

    /// The leases and the queue.
    fn leases(&self, select: &Selection) -> impl Future<Output = Result<Leases>> + Send;

    /// The pools.
    fn pools(&self, select: &Selection) -> impl Future<Output = Result<Page<PoolRow>>> + Send;

    /// The pauses.
    fn pauses(&self) -> impl Future<Output = Result<Vec<PauseRow>>> + Send;

    /// The members.
    fn members(&self, select: &Selection) -> impl Future<Output = Result<Page<MemberRow>>> + Send;

    /// The rollouts, newest announcement first.
    fn rollouts(&self, select: &Selection) -> impl Future<Output = Result<Vec<RolloutRow>>> + Send;

    /// One rollout with every host's report; `None` when there is none of that name.
    fn rollout(&self, name: &RolloutName) -> impl Future<Output = Result<Option<RolloutDetail>>> + Send;

    /// The history.
    fn history(&self, select: &Selection) -> impl Future<Output = Result<Page<Entry>>> + Send;

    /// Why something waits.
    fn why(&self, scope: &Scope) -> impl Future<Output = Result<Why>> + Send;
}

/// A random name for a claim, a session or an operation: 32 hexadecimal digits.
///
/// # Errors
/// The system has no randomness to give.
pub fn random_id() -> Result<Id> {
    let mut bytes = [0_u8; ID_BYTES];
    let failed =
        |why: String| Error::NotApplied { retry: false, why: format!("the system gives no random numbers: {why}") };
    getrandom::fill(&mut bytes).map_err(|cause| failed(cause.to_string()))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.parse().map_err(|cause: model::names::NameError| failed(cause.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_names_are_long_and_never_the_same() {
        let (one, other) = (random_id().expect("an id"), random_id().expect("an id"));
        assert_eq!(one.as_str().len(), 2 * ID_BYTES);
        assert_ne!(one, other);
    }
}
