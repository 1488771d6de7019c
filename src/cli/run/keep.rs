//! Keeping the lease while the command runs: renewing it, ending the command when ownership cannot be confirmed in time, and
//! giving the lease back.
//!
//! Ownership is counted from when the last confirmed renewal was sent. A coordinator hands a slot on after the time to live
//! at the earliest, so the command is asked to end well before, and killed before that.

use super::boottime;
use super::child::{self, Child};
use super::signals::Signals;
use super::wait::Held;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::render::text::{clean, seconds};
use crate::cli::{exit, out};
use coordinator::{Coordinator as _, Error};
use model::lease::Lease;
use model::request::{Ending, Own, Renew, Settle, Settled};
use model::time::millis;
use rustix::process::Signal;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Longest pause between two looks at the clock: while the machine sleeps, timers stand still and this clock does not.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);
/// Shortest pause between two tries to renew.
const RETRY_MIN: Duration = Duration::from_millis(50);
/// Longest grace between TERM and KILL once the lease is known to be gone.
const GRACE_MAX: Duration = Duration::from_secs(10);
/// How long giving the lease back is tried for.
const GIVE_BACK_MAX: Duration = Duration::from_secs(10);
/// The pause before the next try of it; it doubles.
const GIVE_BACK_PAUSE: Duration = Duration::from_millis(100);

/// What is to be done about the lease and the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Renew,
    Terminate,
    Kill,
}

/// Whether the lease is still ours, as far as is known. Pure: it is told the time.
#[derive(Debug)]
struct Ownership {
    ttl: Duration,
    /// When the last confirmed request was sent.
    confirmed: Duration,
    /// When the next try to renew is due; nothing while one is under way.
    renew_at: Option<Duration>,
    /// Why the last try failed.
    fault: String,
    /// When the command, told to end, is killed.
    kill_at: Option<Duration>,
    killed: bool,
}

impl Ownership {
    fn new(ttl: Duration, confirmed: Duration) -> Ownership {
        Ownership {
            ttl,
            confirmed,
            renew_at: Some(confirmed + ttl / 3),
            fault: String::new(),
            kill_at: None,
            killed: false,
        }
    }

    /// When the command is told to end, unless ownership is confirmed before: at 0.6 of the time to live.
    fn terminate_at(&self) -> Duration {
        self.confirmed + self.ttl * 6 / 10
    }

    /// What is due now, the most urgent first; each thing once.
    fn due(&mut self, now: Duration) -> Option<Due> {
        match self.kill_at {
            Some(at) if now >= at && !self.killed => {
                self.killed = true;
                return Some(Due::Kill);
            }
            None if now >= self.terminate_at() => {
                // At 0.9 of the time to live, or at once when that has passed in the machine's sleep.
                self.kill_at = Some(self.confirmed + self.ttl * 9 / 10);
                if self.fault.is_empty() {
                    self.fault = "no renewal was answered".to_owned();
                }
                return Some(Due::Terminate);
            }
            _ => {}
        }
        let renews = self.renew_at.is_some_and(|at| now >= at) && self.kill_at.is_none();
        renews.then(|| {
            self.renew_at = None;
            Due::Renew
        })
    }

    /// A try to renew came to its end. Whether the command must be told to end now.
    fn renewed(&mut self, sent: Duration, answer: Result<Own, Error>, now: Duration) -> Option<Due> {
        match answer {
            Ok(Own::Held { .. }) => {
                self.confirmed = sent;
                self.renew_at = Some(sent + self.ttl / 3);
                self.fault.clear();
                None
            }
            Ok(Own::Gone) => {
                self.fault = "it is gone: somebody released it, or it was lost".to_owned();
                let begins_to_end = self.kill_at.is_none();
                self.kill_at.get_or_insert(now + (self.ttl * 3 / 10).min(GRACE_MAX));
                begins_to_end.then_some(Due::Terminate)
            }
            Err(error) => {
                self.fault = error.to_string();
                self.renew_at = Some(now + (self.ttl / 20).max(RETRY_MIN));
                None
            }
        }
    }

    /// How long nothing is due.
    fn rest(&self, now: Duration) -> Duration {
        let end = if self.killed { None } else { Some(self.kill_at.unwrap_or_else(|| self.terminate_at())) };
        let renew = self.renew_at.filter(|_| self.kill_at.is_none());
        let next = [end, renew].into_iter().flatten().min();
        next.map_or(LOOK_EVERY_MAX, |at| at.saturating_sub(now)).min(LOOK_EVERY_MAX)
    }

    fn is_ending(&self) -> bool {
        self.kill_at.is_some()
    }
}

type Renewal<'f> = Pin<Box<dyn Future<Output = (Duration, Result<Own, Error>)> + 'f>>;

/// Stays with the command until it has ended. Returns its exit code, or 2 when it was ended because the lease could not be
/// confirmed.
///
/// # Errors
/// The command's end cannot be learned.
pub(super) async fn keep(client: &Client, held: &Held, mut child: Child, signals: &mut Signals) -> Result<u8, Failure> {
    let lease = &held.lease;
    let mut own = Ownership::new(Duration::from_millis(lease.ttl_ms), held.confirmed);
    let mut renewal: Option<Renewal<'_>> = None;
    let status = loop {
        let now = boottime::now();
        while let Some(due) = own.due(now) {
            match due {
                Due::Renew => renewal = Some(Box::pin(renew(client, lease))),
                Due::Terminate => terminate(&child, &own, now),
                Due::Kill => child.end_all(Signal::KILL),
            }
        }
        tokio::select! {
            status = child.wait() => break status,
            signal = signals.next() => child.forward(signal),
            (sent, answer) = finish(&mut renewal), if renewal.is_some() => {
                renewal = None;
                let now = boottime::now();
                if own.renewed(sent, answer, now) == Some(Due::Terminate) {
                    terminate(&child, &own, now);
                }
            }
            () = tokio::time::sleep(own.rest(now)) => {}
        }
    };
    let status = status.map_err(|error| Failure::system("wait for the command", error))?;
    if own.is_ending() {
        // What it left behind had the same time to end.
        child.end_all(Signal::KILL);
        out::note("error: the command was ended, because the lease could not be confirmed");
        return Ok(exit::NO_LEASE);
    }
    Ok(child::code(status))
}

fn terminate(child: &Child, own: &Ownership, now: Duration) {
    let silence = seconds(millis(now.saturating_sub(own.confirmed)));
    out::note(&format!(
        "warning: the lease was last confirmed {silence} ago: {}; ending the command",
        clean(&own.fault)
    ));
    child.end_all(Signal::TERM);
}

/// Renews once, within a third of the time to live.
async fn renew(client: &Client, lease: &Lease) -> (Duration, Result<Own, Error>) {
    let renew = Renew { holder: lease.holder.clone(), claim: lease.claim.clone(), step: None, note: String::new() };
    let limit = Duration::from_millis(lease.ttl_ms) / 3;
    let sent = boottime::now();
    let answer = timeout(limit, client.coordinator().renew(&renew)).await;
    (sent, answer.unwrap_or_else(|_| Err(Error::Unknown { why: "the coordinator is silent".to_owned() })))
}

async fn finish(renewal: &mut Option<Renewal<'_>>) -> (Duration, Result<Own, Error>) {
    match renewal {
        Some(renewal) => renewal.await,
        None => std::future::pending().await,
    }
}

/// Gives the lease back; tried for a bounded time, since what is not given back is lost and shows.
pub(super) async fn give_back(client: &Client, lease: &Lease) {
    let settle = Settle {
        holder: lease.holder.clone(),
        claim: lease.claim.clone(),
        ending: Ending::Released,
        rollout: None,
        report: None,
    };
    let until = Instant::now() + GIVE_BACK_MAX;
    let mut pause = GIVE_BACK_PAUSE;
    let fault = loop {
        let left = until.saturating_duration_since(Instant::now());
        match timeout(left, client.coordinator().settle(&settle)).await {
            Ok(Ok(Settled::Done)) => return,
            Ok(Ok(Settled::Gone)) => return out::note("warning: the lease was gone before it was given back"),
            Ok(Err(fault)) if fault.retryable() && Instant::now() + pause < until => tokio::time::sleep(pause).await,
            Ok(Err(fault)) => break fault.to_string(),
            Err(_) => break "the coordinator is silent".to_owned(),
        }
        pause *= 2;
    };
    let holder = &lease.holder;
    out::note(&format!(
        "warning: cannot give the lease back: {}\nhint: it still counts, and is lost soon: stagger release {holder} --reason …",
        clean(&fault)
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(100 + seconds)
    }

    fn owned() -> Ownership {
        Ownership::new(TTL, at(0))
    }

    fn silent() -> Result<Own, Error> {
        Err(Error::Unknown { why: "silent".to_owned() })
    }

    #[test]
    fn a_lease_is_renewed_at_a_third_of_its_time_and_only_once() {
        let mut own = owned();
        assert_eq!(own.due(at(9)), None);
        assert_eq!(own.rest(at(9)), Duration::from_secs(1));
        assert_eq!(own.due(at(10)), Some(Due::Renew));
        assert_eq!(own.due(at(11)), None, "one is under way");
        assert_eq!(own.renewed(at(10), Ok(Own::Held { ttl_ms: 30_000 }), at(12)), None);
        assert_eq!((own.due(at(19)), own.due(at(20))), (None, Some(Due::Renew)));
        assert!(!own.is_ending());
    }

    #[test]
    fn a_silent_coordinator_is_asked_again_until_the_command_must_end() {
        let mut own = owned();
        assert_eq!(own.due(at(10)), Some(Due::Renew));
        assert_eq!(own.renewed(at(10), silent(), at(11)), None);
        assert_eq!(own.due(at(11)), None);
        assert_eq!(own.due(at(13)), Some(Due::Renew), "a twentieth later");
        assert_eq!(own.renewed(at(13), silent(), at(17)), None);
        assert_eq!(own.due(at(18)), Some(Due::Terminate), "0.6 of the time to live since it was confirmed");
        assert_eq!(own.due(at(26)), None, "nothing is renewed that is being ended");
        assert_eq!(own.due(at(27)), Some(Due::Kill), "0.9 of it");
        assert_eq!(own.due(at(60)), None);
        assert!(own.is_ending());
        assert_eq!(own.fault, "no answer, so nobody knows whether it was done: silent");
    }

    #[test]
    fn ownership_counts_from_when_the_renewal_was_sent_not_from_its_answer() {
        let mut own = owned();
        assert_eq!(own.due(at(10)), Some(Due::Renew));
        own.renewed(at(10), Ok(Own::Held { ttl_ms: 30_000 }), at(17));
        assert_eq!(own.due(at(27)), Some(Due::Renew));
        assert_eq!(own.due(at(28)), Some(Due::Terminate));
    }

    #[test]
    fn a_lease_that_is_gone_ends_the_command_at_once() {
        let mut own = owned();
        assert_eq!(own.due(at(10)), Some(Due::Renew));
        assert_eq!(own.renewed(at(10), Ok(Own::Gone), at(11)), Some(Due::Terminate));
        assert_eq!(own.due(at(19)), None);
        assert_eq!(own.due(at(20)), Some(Due::Kill), "0.3 of the time to live later");
        let mut slow = Ownership::new(Duration::from_secs(3600), at(0));
        slow.renewed(at(1), Ok(Own::Gone), at(2));
        assert_eq!(slow.kill_at, Some(at(12)), "and no later than the longest grace");
        assert_eq!(slow.renewed(at(3), Ok(Own::Gone), at(9)), None, "it is told once");
        assert_eq!(slow.kill_at, Some(at(12)));
    }

    #[test]
    fn a_machine_that_slept_too_long_ends_its_command_without_grace() {
        let mut own = owned();
        assert_eq!(own.due(at(3000)), Some(Due::Terminate));
        assert_eq!(own.due(at(3000)), Some(Due::Kill));
        assert_eq!(own.due(at(3000)), None);
        assert_eq!(own.rest(at(3000)), LOOK_EVERY_MAX);
        assert_eq!(own.fault, "no renewal was answered");
    }
}
