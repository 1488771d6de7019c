//! Keys that name a pool: each lock on one is a lease of the domain, asked for, renewed and given back here.
//!
//! Owns one task per such lock. Decides nothing: the domain does, and the door is told through its inbox.

use super::effect::{Asking, LOCKS_MAX, LeaseNumber, Outcome, Reply};
use super::inbox::Inbox;
use crate::calls;
use crate::domain::{Domain, Fault};
use crate::metrics::Poolcounter;
use coordinator::wire::HOLD_MS_MAX;
use model::lease::Purpose;
use model::names::{Holder, Pool};
use model::passage::Shut;
use model::request::{Answer, Ask, Ending, Own, RefusalKind, Renew, Settle};
use model::settings::SPAN_MS_MAX;
use model::{Reply as Decided, Request};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// How long a waiter counts as listening before its ask is held, in milliseconds: the time to say that it waits.
const PATIENCE_MS: u64 = 5_000;
/// How much longer than its client a waiter may wait, in milliseconds: the door tells time-outs, and pauses do not stop those.
const WAIT_MARGIN_MS: u64 = 60_000;
/// A lease is renewed so many times while it would live without.
const RENEWALS: u64 = 3;
/// How soon it is renewed again, at the soonest.
const RENEW_MIN: Duration = Duration::from_millis(100);
/// The pause before what was refused is tried again, while the domain is moved.
const RETRY: Duration = Duration::from_secs(1);
/// How many names are tried, when leases of earlier connections bear the first ones.
const NAMES_MAX: usize = 64;

/// The leases of the door's connections.
#[derive(Debug)]
pub(super) struct Leases {
    domain: Arc<Domain>,
    runtime: Handle,
    inbox: Arc<Inbox>,
    /// What ends each: `true` gives it back, gone leaves it alone.
    ends: HashMap<LeaseNumber, oneshot::Sender<bool>>,
    tasks: JoinSet<()>,
}

impl Leases {
    /// None yet. Their tasks run on this runtime.
    pub(super) fn new(domain: Arc<Domain>, runtime: Handle, inbox: Arc<Inbox>) -> Leases {
        Leases { domain, runtime, inbox, ends: HashMap::new(), tasks: JoinSet::new() }
    }

    /// Whether a key names a pool that the domain knows.
    pub(super) fn is_pool(&self, key: &[u8]) -> bool {
        pool(key).is_some_and(|pool| self.domain.knows_pool(&pool))
    }

    /// Where the door is counted.
    pub(super) fn metrics(&self) -> &Poolcounter {
        &self.domain.metrics.poolcounter
    }

    /// Asks for a lease, for a client at this address.
    pub(super) fn ask(&mut self, asking: &Asking, peer: Option<SocketAddr>) {
        while self.tasks.try_join_next().is_some() {}
        let Asking { lease, ordinal, timeout_s, .. } = *asking;
        let Some((pool, claim)) = pool(&asking.key).zip(coordinator::random_id().ok()) else {
            self.inbox.decided(lease, Outcome::Refused(Reply::Unavailable));
            return;
        };
        let peer =
            peer.map_or_else(|| "unknown".to_owned(), |peer| format!("{}:{}", peer.ip().to_canonical(), peer.port()));
        let Ok(holder) = name(&peer, ordinal) else {
            self.inbox.decided(lease, Outcome::Refused(Reply::Unavailable));
            return;
        };
        let wait_ms = match timeout_s {
            0 => 0,
            seconds => (u64::from(seconds) * 1000 + WAIT_MARGIN_MS).min(SPAN_MS_MAX),
        };
        let ask = Ask {
            holder,
            claim,
            pools: [pool].into(),
            purpose: Purpose::Run(format!("poolcounter {peer}")),
            wait_ms: Some(wait_ms),
            patience_ms: PATIENCE_MS,
        };
        let (end, ended) = oneshot::channel();
        self.ends.insert(lease, end);
        let keeping =
            Keeping { domain: Arc::clone(&self.domain), inbox: Arc::clone(&self.inbox), lease, ask, peer, ordinal };
        self.tasks.spawn_on(keeping.keep(ended), &self.runtime);
    }

    /// Gives a lease back, or its wait up.
    pub(super) fn end(&mut self, lease: LeaseNumber) {
        if let Some(end) = self.ends.remove(&lease) {
            // Its task has ended when it was refused.
            let _ = end.send(true);
        }
    }

    /// Leaves a lease alone; a wait is given up.
    pub(super) fn leave(&mut self, lease: LeaseNumber) {
        self.ends.remove(&lease);
    }

    /// Forgets one that was refused.
    pub(super) fn refused(&mut self, lease: LeaseNumber) {
        self.ends.remove(&lease);
    }

    /// Leaves all of them alone, and waits until no waiter of theirs stands in a queue.
    pub(super) async fn abandon(mut self) {
        self.ends.clear();
        while self.tasks.join_next().await.is_some() {}
    }
}

fn pool(key: &[u8]) -> Option<Pool> {
    std::str::from_utf8(key).ok()?.parse().ok()
}

fn name(peer: &str, ordinal: usize) -> Result<Holder, model::names::NameError> {
    format!("poolcounter-{peer}-{ordinal}").parse()
}

/// One lock: its lease, from the ask to the end.
struct Keeping {
    domain: Arc<Domain>,
    inbox: Arc<Inbox>,
    lease: LeaseNumber,
    ask: Ask,
    peer: String,
    ordinal: usize,
}

impl Keeping {
    async fn keep(mut self, mut ended: oneshot::Receiver<bool>) {
        let outcome = tokio::select! {
            biased;
            _ = &mut ended => {
                // The ask may have been decided, and not answered.
                return self.settle(Ending::Cancelled).await;
            }
            outcome = self.asked() => outcome,
        };
        self.inbox.decided(self.lease, outcome);
        if outcome != Outcome::Granted {
            return;
        }
        let is_ended = tokio::select! {
            biased;
            is_ended = ended => is_ended,
            () = self.renew() => return,
        };
        if is_ended == Ok(true) {
            self.settle(Ending::Released).await;
        }
    }

    /// Asks until it is granted or refused.
    async fn asked(&mut self) -> Outcome {
        let first = loop {
            match self.domain.submit(&Request::Ask(self.ask.clone())).await {
                Ok(Decided::Asked(Answer::Refused(why))) if why.kind == RefusalKind::Busy && self.next_name() => {}
                first => break first,
            }
        };
        let mut answer = match first {
            Ok(Decided::Asked(answer)) => Ok(answer),
            Ok(_) => Err(Fault::Bug),
            Err(fault) => Err(fault),
        };
        if let Ok(Answer::Queued(_)) = answer {
            self.inbox.decided(self.lease, Outcome::Queued);
        }
        loop {
            answer = match answer {
                Ok(Answer::Granted(_)) => return Outcome::Granted,
                Ok(Answer::Refused(why)) => return Outcome::Refused(refusal(why.kind)),
                // Nothing is held open any more; the door is about to close too.
                Ok(Answer::Queued(_)) if *self.domain.stopping.borrow() => return std::future::pending().await,
                Ok(Answer::Queued(_)) => calls::ask(&self.domain, self.ask.clone(), HOLD_MS_MAX).await,
                Err(Fault::Shut(Shut::Moving { .. }) | Fault::Silent { .. }) => {
                    tokio::time::sleep(RETRY).await;
                    calls::ask(&self.domain, self.ask.clone(), HOLD_MS_MAX).await
                }
                Err(fault) => {
                    tracing::warn!("a poolcounter lock on {} is refused: {fault}", self.ask.holder);
                    return Outcome::Refused(Reply::Unavailable);
                }
            };
        }
    }

    /// A lease of an earlier connection from the same address still bears the name.
    fn next_name(&mut self) -> bool {
        self.ordinal += LOCKS_MAX;
        let next = name(&self.peer, self.ordinal).ok().filter(|_| self.ordinal <= NAMES_MAX * LOCKS_MAX);
        let is_new = next.is_some();
        self.ask.holder = next.unwrap_or_else(|| self.ask.holder.clone());
        is_new
    }

    /// Renews the lease, for as long as the caller lets it: the connection lives.
    async fn renew(&self) {
        let (holder, claim) = (self.ask.holder.clone(), self.ask.claim.clone());
        let renew = Request::Renew(Renew { holder, claim, step: None, note: String::new() });
        loop {
            let pause = match self.domain.decide(&renew) {
                Ok((Decided::Owned(Own::Held { ttl_ms }), _)) => {
                    Duration::from_millis(ttl_ms / RENEWALS).max(RENEW_MIN)
                }
                // A person released it. Its client cannot be told, and gives it back as ever.
                Ok(_) => return std::future::pending().await,
                Err(_) => RETRY,
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Ends the lease, or the wait for it.
    async fn settle(&self, ending: Ending) {
        let (holder, claim) = (self.ask.holder.clone(), self.ask.claim.clone());
        let settle = Settle { holder, claim, ending, rollout: None, report: None };
        while let Err(Fault::Shut(Shut::Moving { .. }) | Fault::Silent { .. }) =
            calls::settle(&self.domain, settle.clone(), None).await
        {
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// What a client is told for a refusal: words that it knows.
fn refusal(kind: RefusalKind) -> Reply {
    match kind {
        RefusalKind::QueueFull => Reply::QueueFull,
        RefusalKind::TimedOut | RefusalKind::Full | RefusalKind::NotFirst | RefusalKind::Paused => Reply::Timeout,
        _ => Reply::Unavailable,
    }
}
