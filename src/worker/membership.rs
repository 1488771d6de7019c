//! How the worker is known to its coordinator: one call that is held open, and made again when it is answered.
//!
//! Owns the session, what the host sees of itself at its balancers, and how often that is looked at. An idle worker makes the
//! call twice a minute, and looks once. Decides nothing about restarts: what is owed goes to the host. Called by the driver.

use crate::config::Config;
use crate::sequence::HostLock;
use crate::worker::effects::{Shop, until};
use crate::worker::{WorkerError, clock};
use coordinator::{Coordinator, Error};
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use model::bound::beginning;
use model::lease::TEXT_BYTES_MAX;
use model::member::{Presence, SIGHTINGS_PER_MEMBER_MAX, Sighting, TOKENS_PER_MEMBER_MAX};
use model::names::{Host, Id, Pool, RolloutName, Service, Token};
use model::request::{Join, Joined, Quiet, Welcome};
use model::time::{Time, millis};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// How long a join is held open: an idle worker makes it this often.
const HOLD: Duration = Duration::from_secs(30);
/// How often a worker without a sequence looks at its balancers when nothing tells it to.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The wait after a join that nobody answered; it doubles up to the longest.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How often, and for how long, a worker whose name another one has tries again: that one may be its own past run, which the
/// coordinator has not yet noticed to be gone.
const DUPLICATE_RETRY: Duration = Duration::from_secs(5);
const DUPLICATE_WAIT: Duration = Duration::from_secs(60);
/// The wait after a join that was refused for good even without what it need not say.
const REFUSED_RETRY: Duration = Duration::from_secs(60);
/// How much of what a balancer says, and of its name, is told, in bytes of JSON.
const SAID_BYTES_MAX: usize = 256;
/// How much is told of all balancers together, and how much of the tokens, in bytes of JSON: with the services, it fits in a
/// request.
const SIGHTINGS_BYTES_MAX: usize = 24 * 1024;
const TOKENS_BYTES_MAX: usize = 16 * 1024;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// The file in the state folder that holds the session of the last run.
const SESSION_FILE: &str = "session";

/// The joins of one run.
pub(super) struct Membership {
    join: Join,
    session_file: PathBuf,
    /// What the coordinator last said is owed.
    seen: Option<Vec<RolloutName>>,
    looked: Option<Time>,
    call: Option<LocalBoxFuture<'static, Call>>,
    tries: u32,
    duplicate_since: Option<Time>,
    /// How often in a row it was refused for good. Then it says only what it must, and makes pauses.
    refusals: u32,
}

/// What one call came to.
pub(super) struct Call {
    around: Option<Around>,
    answer: coordinator::Result<Joined>,
}

/// What the driver makes of it.
#[derive(Debug)]
pub(super) enum Heard {
    /// What there is for this host.
    Welcome(Box<Welcome>),
    /// Nobody answered: why.
    Silence(String),
    /// Something answered, and not as a coordinator that could be joined: what it said.
    Answered(String),
    /// It was not let in, or somebody else has the name; it is tried again.
    Taken,
    /// Somebody else has kept the name.
    Duplicate(WorkerError),
}

impl Membership {
    /// A session of a new run; it replaces the one of the run before.
    pub(super) fn new(config: &Config, metrics: Option<String>) -> Result<Membership, WorkerError> {
        let session_file = config.state.join(SESSION_FILE);
        let replaces = std::fs::read_to_string(&session_file).ok().and_then(|text| text.trim().parse::<Id>().ok());
        let services = config.services.iter().map(|(name, service)| (name.clone(), service.pools.clone())).collect();
        let join = Join {
            host: config.host.clone(),
            session: coordinator::random_id()?,
            replaces,
            services,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            metrics,
            sightings: Vec::new(),
            looked_ms: None,
            highest: BTreeMap::new(),
            trouble: String::new(),
            // The coordinator adds what it holds the call for.
            patience_ms: 0,
        };
        Ok(Membership {
            join,
            session_file,
            seen: None,
            looked: None,
            call: None,
            tries: 0,
            duplicate_since: None,
            refusals: 0,
        })
    }

    /// Joins afresh: what was said before is old.
    pub(super) fn afresh(&mut self) {
        (self.call, self.seen, self.looked) = (None, None, None);
    }

    /// Tells the coordinator, at once, why nothing can be restarted here, or that it can again.
    pub(super) fn trouble(&mut self, why: Option<&str>) {
        self.join.trouble = beginning(why.unwrap_or_default(), TEXT_BYTES_MAX);
        (self.call, self.seen) = (None, None);
    }

    /// The call under way; it is made when there is none. Never ends but with an answer.
    pub(super) async fn call<C: Coordinator + 'static>(&mut self, shop: &Shop<C>, may_look: bool) -> Call {
        if self.call.is_none() {
            self.call = Some(self.make(shop, may_look));
        }
        let Some(call) = &mut self.call else { return std::future::pending().await };
        let came = call.await;
        self.call = None;
        came
    }

    fn make<C: Coordinator + 'static>(&mut self, shop: &Shop<C>, may_look: bool) -> LocalBoxFuture<'static, Call> {
        let now = clock::now();
        let is_due = self.looked.is_none_or(|looked| now.since(looked) >= LOOK_EVERY);
        let looks = may_look && is_due;
        // Also before the first look: a coordinator that was restored from an old copy must not grant its tokens again.
        let reads = looks || self.looked.is_none();
        if looks {
            self.looked = Some(now);
        }
        let is_bare = self.refusals > 0;
        let pause = match (self.duplicate_since, self.tries) {
            (Some(_), _) => DUPLICATE_RETRY,
            _ if self.refusals > 1 => REFUSED_RETRY,
            _ if is_bare => Duration::ZERO,
            (None, 0) => Duration::ZERO,
            (None, tries) => RETRY.saturating_mul(1 << (tries - 1).min(8)).min(RETRY_MAX),
        };
        let (shop, mut join, seen, looked) = (shop.clone(), self.join.clone(), self.seen.clone(), self.looked);
        async move {
            if !pause.is_zero() {
                crate::probe::pause::jittered(pause).await;
            }
            let around = if reads { Some(look_around(&shop, looks).await) } else { None };
            if let Some(around) = &around {
                around.tell(&mut join);
            }
            if is_bare {
                join.sightings.clear();
                join.trouble.clear();
            }
            join.looked_ms = looked.filter(|_| !is_bare).map(|looked| millis(clock::now().since(looked)));
            let answer = shop.coordinator.join(&join, seen.as_deref(), HOLD).await;
            Call { around, answer }
        }
        .boxed_local()
    }

    /// Takes an answer in.
    pub(super) fn heard(&mut self, call: Call) -> Heard {
        if let Some(around) = call.around {
            around.tell(&mut self.join);
        }
        match call.answer {
            Ok(Joined::Member(welcome)) => {
                (self.tries, self.duplicate_since) = (0, None);
                // One that was refused whole is not told whole again by this run.
                self.refusals = self.refusals.min(1);
                self.seen = Some(welcome.owed.iter().map(|owed| owed.rollout.clone()).collect());
                self.remember();
                Heard::Welcome(Box::new(welcome))
            }
            Ok(Joined::Duplicate { since_ms, version }) => {
                let now = clock::now();
                let host = self.join.host.to_string();
                let since = model::settings::span(since_ms / 1000 * 1000);
                let is_new = self.duplicate_since.is_none();
                let tried_since = *self.duplicate_since.get_or_insert(now);
                if is_new {
                    let tries_for = model::settings::span(millis(DUPLICATE_WAIT));
                    tracing::warn!(host, version, joined_ago = since, tries_for, "another worker has this host's name");
                }
                if now.since(tried_since) < DUPLICATE_WAIT {
                    return Heard::Taken;
                }
                Heard::Duplicate(WorkerError::Duplicate { host, version, since })
            }
            Ok(Joined::Refused { why }) => {
                tracing::error!(why, "the coordinator does not let this worker in");
                self.tries = self.tries.saturating_add(1);
                self.seen = None;
                Heard::Taken
            }
            Err(error) => {
                self.tries = self.tries.saturating_add(1);
                self.seen = None;
                self.refusals =
                    if error.is_for_good() { self.refusals.saturating_add(1) } else { self.refusals.min(1) };
                match error {
                    Error::NotApplied { .. } | Error::Unknown { .. } => Heard::Silence(error.to_string()),
                    _ => Heard::Answered(error.to_string()),
                }
            }
        }
    }

    /// Writes the session down, for the next run to replace. Without it, that run waits until this one is missed.
    fn remember(&mut self) {
        if self.join.replaces.as_ref() == Some(&self.join.session) {
            return;
        }
        match std::fs::write(&self.session_file, self.join.session.as_str()) {
            Ok(()) => self.join.replaces = Some(self.join.session.clone()),
            Err(error) => tracing::warn!(%error, "cannot write the session down"),
        }
    }

    /// Says that this worker listens no longer. Bounded, and of no consequence when nobody hears it.
    pub(super) async fn goodbye<C: Coordinator + 'static>(&mut self, shop: &Shop<C>) {
        self.call = None;
        let (host, session): (Host, Id) = (self.join.host.clone(), self.join.session.clone());
        let quiet = Quiet::Member { host, session };
        let _unheard = tokio::time::timeout(GOODBYE, shop.coordinator.quiet(&quiet)).await;
    }
}

/// What a host finds when it looks around.
struct Around {
    /// What it sees of itself at its balancers; nothing when they were not asked.
    sightings: Option<Vec<Sighting>>,
    /// The highest token that it was granted, by pool.
    highest: BTreeMap<Pool, Token>,
}

impl Around {
    fn tell(&self, join: &mut Join) {
        if let Some(sightings) = &self.sightings {
            join.sightings.clone_from(sightings);
        }
        join.highest.clone_from(&self.highest);
    }
}

/// What the host finds in its journals and, when it `looks`, sees of itself at its balancers.
async fn look_around<C: Coordinator + 'static>(shop: &Shop<C>, looks: bool) -> Around {
    let found = {
        let (journals, config) = (shop.journals.clone(), shop.config.clone());
        let read = move || (journals.left_out(config.services.keys()), journals.highest_tokens());
        tokio::task::spawn_blocking(read).await
    };
    let (left_out, highest) = found.map_or_else(
        |_| Default::default(),
        |(left_out, highest)| (left_out.unwrap_or_default(), highest.unwrap_or_default()),
    );
    let own: BTreeSet<Pool> = shop.config.services.values().flat_map(|service| service.pools.clone()).collect();
    let highest = tokens(highest, &own);
    if !looks {
        return Around { sightings: None, highest };
    }
    let mut sightings = Vec::new();
    for service in shop.config.services.keys() {
        let Some(balancers) = shop.balancers(service, &shop.client) else { continue };
        let left = left_out.get(service);
        let mut is_back = BTreeSet::new();
        for look in balancers.look().await {
            let is_ours = left.is_some_and(|left| left.contains_key(&look.balancer));
            if is_ours && look.presence == Presence::In {
                is_back.insert(look.balancer.clone());
            }
            sightings.push(Sighting {
                service: service.clone(),
                by_stagger: is_ours && look.presence == Presence::Out && !look.is_foreign,
                balancer: beginning(&look.balancer, SAID_BYTES_MAX),
                presence: look.presence,
                detail: beginning(&look.detail, SAID_BYTES_MAX),
                remedy: look.remedy,
            });
        }
        if !is_back.is_empty() {
            disown(shop, service.clone(), is_back).await;
        }
    }
    Around { sightings: Some(sighted(sightings)), highest }
}

/// Somebody put the host back where it had been left out. When it is out there again, that is not Stagger's doing.
async fn disown<C: Coordinator + 'static>(shop: &Shop<C>, service: Service, is_back: BTreeSet<String>) {
    let shop = shop.clone();
    let write = move || {
        // Whoever has the lock is moving the host, and what was seen may be old.
        let Ok(_lock) = HostLock::take(&shop.config.state, "what somebody else moved") else { return };
        if let Err(error) = shop.journals.disown(&service, |name| is_back.contains(name)) {
            tracing::warn!(%error, %service, "cannot write down that somebody put the host back");
        }
    };
    // What could not be written is seen again.
    let _unwritten = tokio::task::spawn_blocking(write).await;
}

/// As much as fits in a request. Where the host is in says least, so that is left out first.
fn sighted(mut sightings: Vec<Sighting>) -> Vec<Sighting> {
    sightings.sort_by_key(|seen| seen.presence == Presence::In);
    sightings.truncate(SIGHTINGS_PER_MEMBER_MAX);
    within(sightings, SIGHTINGS_BYTES_MAX)
}

/// As many as fit in a request, those of its own pools first.
fn tokens(highest: BTreeMap<Pool, Token>, own: &BTreeSet<Pool>) -> BTreeMap<Pool, Token> {
    let (mut first, others): (Vec<_>, Vec<_>) = highest.into_iter().partition(|(pool, _)| own.contains(pool));
    first.extend(others);
    first.truncate(TOKENS_PER_MEMBER_MAX);
    within(first, TOKENS_BYTES_MAX).into_iter().collect()
}

/// The first of these that take at most so many bytes of JSON, all together.
fn within<T: Serialize>(all: Vec<T>, bytes_max: usize) -> Vec<T> {
    let mut left = bytes_max;
    let fits = |one: &T| {
        let bytes = serde_json::to_string(one).map_or(usize::MAX, |json| json.len() + 1);
        let fits = bytes <= left;
        left = left.saturating_sub(bytes);
        fits
    };
    all.into_iter().take_while(fits).collect()
}

/// Sleeps until this moment; for ever, when there is none.
pub(super) async fn sleep_until(at: Option<Time>) {
    match at {
        Some(at) => tokio::time::sleep(until(at)).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
