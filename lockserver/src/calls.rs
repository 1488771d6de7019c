//! Calls held open: waiters that wait for their turn, workers that wait for news.
//!
//! Owns who listens here and wakes them; a woken call asks again, and the model decides. A waiter whose turn has come is
//! decided for by the domain, with the request that freed its slot, and woken to answer. A call whose client goes away is said
//! to be silent at once, so that nobody waits for it.

use crate::domain::{Domain, Fault};
use coordinator::wire::{HOLD_MS_MAX, JoinBody};
use model::names::{Holder, Host, Id, RolloutName, Scope};
use model::request::{Answer, Ask, Ending, Join, Joined, Quiet, Settle, Settled};
use model::time::millis;
use model::{Reply, Request};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How much longer than its call a waiter or a member counts: the time to answer, and to be asked again.
const PATIENCE_MARGIN: Duration = Duration::from_secs(5);
/// Longest patience, which the model refuses to exceed.
const PATIENCE_MS_MAX: u64 = 120_000;
/// How soon a waiter whose wait is over is looked at again, at the soonest.
const RECHECK_MIN: Duration = Duration::from_millis(100);

/// Everyone who listens here.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<Registry>);

#[derive(Debug, Default)]
struct Registry {
    last: u64,
    /// By name, and by claim.
    waiters: BTreeMap<Holder, BTreeMap<Id, Listener>>,
    /// By host, and by session.
    members: BTreeMap<Host, BTreeMap<Id, Listener>>,
}

#[derive(Debug, Clone)]
struct Listener {
    /// Its number: a later call of the same name takes its place.
    number: u64,
    /// What concerns it.
    scopes: BTreeSet<Scope>,
    /// A waiter's ask; a member has none.
    turn: Option<Turn>,
    wake: Arc<Notify>,
}

impl Listener {
    fn wake(&self) {
        self.wake.notify_one();
    }
}

/// A held ask, and what came of it when its turn came.
#[derive(Debug, Clone)]
pub(crate) struct Turn(Arc<Asked>);

#[derive(Debug)]
struct Asked {
    request: Request,
    wake: Arc<Notify>,
    /// The answer, and the number that must be on disk before it is given.
    handed: OnceLock<(Reply, u64)>,
}

impl Turn {
    fn new(ask: Ask, wake: &Arc<Notify>) -> Turn {
        Turn(Arc::new(Asked { request: Request::Ask(ask), wake: Arc::clone(wake), handed: OnceLock::new() }))
    }

    /// What is asked.
    pub(crate) fn request(&self) -> &Request {
        &self.0.request
    }

    /// What came of it, when its turn came already.
    pub(crate) fn handed(&self) -> Option<&(Reply, u64)> {
        self.0.handed.get()
    }

    /// Its turn came: gives the call its answer. One that is still "not yet" is none.
    pub(crate) fn hand(&self, reply: Reply, number: u64) {
        if !matches!(reply, Reply::Asked(Answer::Queued(_))) {
            // A second one cannot be: whoever was handed its turn is not asked for again.
            let _ = self.0.handed.set((reply, number));
        }
        self.wake();
    }

    /// Has the call ask again.
    pub(crate) fn wake(&self) {
        self.0.wake.notify_one();
    }
}

impl Calls {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        // Each change to it is one insertion or removal, so a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes everyone within these scopes.
    pub(crate) fn wake(&self, scopes: &BTreeSet<Scope>) {
        if scopes.is_empty() {
            return;
        }
        let registry = self.registry();
        let all = registry.waiters.values().chain(registry.members.values()).flat_map(BTreeMap::values);
        all.filter(|listener| !scopes.is_disjoint(&listener.scopes)).for_each(Listener::wake);
    }

    /// Wakes everyone.
    pub(crate) fn wake_all(&self) {
        let registry = self.registry();
        let all = registry.waiters.values().chain(registry.members.values()).flat_map(BTreeMap::values);
        all.for_each(Listener::wake);
    }

    /// The ask that a waiter holds open here under this claim, when its turn has not come yet.
    pub(crate) fn turn(&self, holder: &Holder, claim: &Id) -> Option<Turn> {
        let turn = self.registry().waiters.get(holder)?.get(claim)?.turn.clone()?;
        turn.handed().is_none().then_some(turn)
    }

    /// Wakes whoever listens under the name of a call that ended.
    fn wake_same(&self, quiet: &Quiet) {
        let registry = self.registry();
        match quiet {
            Quiet::Waiter { holder, .. } => of_name(&registry.waiters, holder).for_each(Listener::wake),
            Quiet::Member { host, .. } => of_name(&registry.members, host).for_each(Listener::wake),
        }
    }

    /// Takes a claim's listener away: its holder has settled it, and wants nothing any more.
    fn evict(&self, holder: &Holder, claim: &Id) {
        let mut registry = self.registry();
        let Some(claims) = registry.waiters.get_mut(holder) else { return };
        if let Some(listener) = claims.remove(claim) {
            listener.wake.notify_one();
        }
        if claims.is_empty() {
            registry.waiters.remove(holder);
        }
    }

    /// How many waiters, and how many workers, listen.
    pub(crate) fn count(&self) -> (usize, usize) {
        let registry = self.registry();
        let waiters = registry.waiters.values().map(BTreeMap::len).sum();
        (waiters, registry.members.values().map(BTreeMap::len).sum())
    }
}

/// The listeners of one name, whatever their claim or session.
fn of_name<'a, N: Ord>(
    all: &'a BTreeMap<N, BTreeMap<Id, Listener>>,
    name: &N,
) -> impl Iterator<Item = &'a Listener> + use<'a, N> {
    all.get(name).into_iter().flat_map(BTreeMap::values)
}

fn add<N: Ord + Clone>(
    all: &mut BTreeMap<N, BTreeMap<Id, Listener>>,
    name: &N,
    id: &Id,
    listener: Listener,
) -> Option<Listener> {
    all.entry(name.clone()).or_default().insert(id.clone(), listener)
}

/// Takes a listener out, when it is still that of this number.
fn take<N: Ord>(all: &mut BTreeMap<N, BTreeMap<Id, Listener>>, name: &N, id: &Id, number: u64) -> bool {
    let Some(ids) = all.get_mut(name) else { return false };
    if ids.get(id).is_none_or(|listener| listener.number != number) {
        return false;
    }
    ids.remove(id);
    if ids.is_empty() {
        all.remove(name);
    }
    true
}

/// A call that listens. Dropped while it is held, its client went away.
struct Held {
    domain: Arc<Domain>,
    quiet: Quiet,
    number: u64,
    wake: Arc<Notify>,
    answered: bool,
}

impl Held {
    fn waiter(domain: &Arc<Domain>, ask: Ask) -> (Held, Turn) {
        let quiet = Quiet::Waiter { holder: ask.holder.clone(), claim: ask.claim.clone() };
        let wake = Arc::new(Notify::new());
        let own = [Scope::All, Scope::Host(ask.holder.as_host())].into_iter();
        let service = ask.purpose.service().cloned().map(Scope::Service);
        let scopes = own.chain(ask.pools.iter().cloned().map(Scope::Pool)).chain(service).collect();
        let turn = Turn::new(ask, &wake);
        let listener = Listener { number: 0, scopes, turn: Some(turn.clone()), wake };
        (Held::new(domain, quiet, listener), turn)
    }

    /// A worker owes what concerns its services; pools and pauses are its waiters' affair.
    fn member(domain: &Arc<Domain>, join: Join) -> Held {
        let quiet = Quiet::Member { host: join.host, session: join.session };
        let scopes = join.services.into_keys().map(Scope::Service).collect();
        Held::new(domain, quiet, Listener { number: 0, scopes, turn: None, wake: Arc::default() })
    }

    fn new(domain: &Arc<Domain>, quiet: Quiet, mut listener: Listener) -> Held {
        let wake = Arc::clone(&listener.wake);
        let mut registry = domain.calls.registry();
        registry.last += 1;
        let number = registry.last;
        listener.number = number;
        let before = match &quiet {
            Quiet::Waiter { holder, claim } => add(&mut registry.waiters, holder, claim, listener),
            Quiet::Member { host, session } => add(&mut registry.members, host, session, listener),
        };
        drop(registry);
        if let Some(before) = before {
            before.wake.notify_one();
        }
        Held { domain: Arc::clone(domain), quiet, number, wake, answered: false }
    }

    /// Whether no later call of the same name took its place.
    fn is_latest(&self) -> bool {
        let registry = self.domain.calls.registry();
        let listener = match &self.quiet {
            Quiet::Waiter { holder, claim } => registry.waiters.get(holder).and_then(|claims| claims.get(claim)),
            Quiet::Member { host, session } => registry.members.get(host).and_then(|sessions| sessions.get(session)),
        };
        listener.is_some_and(|listener| listener.number == self.number)
    }

    /// Whether its claim was settled meanwhile.
    fn is_evicted(&self) -> bool {
        let Quiet::Waiter { holder, claim } = &self.quiet else { return false };
        let registry = self.domain.calls.registry();
        registry.waiters.get(holder).is_none_or(|claims| !claims.contains_key(claim))
    }

    /// It is answered: whoever asked will ask again.
    fn answered(mut self) {
        self.answered = true;
    }

    /// Waits until it is woken, `patience` is over, or the server stops. Returns whether to ask again.
    async fn woken(&self, patience: Duration, over: &mut std::pin::Pin<Box<tokio::time::Sleep>>) -> bool {
        let mut stopping = self.domain.stopping.subscribe();
        tokio::select! {
            () = self.wake.notified() => self.is_latest(),
            () = tokio::time::sleep(patience) => true,
            () = over => false,
            _ = stopping.wait_for(|stopping| *stopping) => false,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut registry = self.domain.calls.registry();
        let was_latest = match &self.quiet {
            Quiet::Waiter { holder, claim } => take(&mut registry.waiters, holder, claim, self.number),
            Quiet::Member { host, session } => take(&mut registry.members, host, session, self.number),
        };
        drop(registry);
        if self.answered || !was_latest {
            return;
        }
        // Nobody is left to hear what comes of it; a domain that is closed forgets its listeners when it starts again.
        let _ = self.domain.decide(&Request::Quiet(self.quiet.clone()));
        // A call of the same name may have come in between: it asks again, and is not silent.
        self.domain.calls.wake_same(&self.quiet);
    }
}

fn bounded(hold_ms: u64) -> Duration {
    Duration::from_millis(hold_ms.min(HOLD_MS_MAX))
}

fn patience(said_ms: u64, hold: Duration) -> u64 {
    said_ms.max(millis(hold + PATIENCE_MARGIN)).min(PATIENCE_MS_MAX)
}

/// Asks for a lease, and goes on asking whenever that may help until it is granted, refused, or the hold is over.
pub(crate) async fn ask(domain: &Arc<Domain>, mut ask: Ask, hold_ms: u64) -> Result<Answer, Fault> {
    let hold = bounded(hold_ms);
    if hold.is_zero() {
        return answer(domain.submit(&Request::Ask(ask)).await?);
    }
    ask.patience_ms = patience(ask.patience_ms, hold);
    let (held, turn) = Held::waiter(domain, ask.clone());
    let mut over = Box::pin(tokio::time::sleep(hold));
    loop {
        let answer = answer(domain.submit_held(&turn).await?)?;
        if held.is_evicted() {
            // It was settled over another call while this one asked: what that came to is given back.
            held.answered();
            settled(domain, cancelled(&ask), None).await?;
            return Ok(answer);
        }
        if let Answer::Queued(queued) = &answer {
            // Its own wait may be over before the hold is.
            let left = Duration::from_millis(queued.left_ms).max(RECHECK_MIN);
            if held.woken(left, &mut over).await || turn.handed().is_some() {
                continue;
            }
        }
        held.answered();
        return Ok(answer);
    }
}

fn answer(reply: Reply) -> Result<Answer, Fault> {
    match reply {
        Reply::Asked(answer) => Ok(answer),
        _ => Err(Fault::Bug),
    }
}

fn cancelled(ask: &Ask) -> Settle {
    let (holder, claim) = (ask.holder.clone(), ask.claim.clone());
    Settle { holder, claim, ending: Ending::Cancelled, rollout: None, report: None }
}

/// Settles a claim; a call of its that is still held is asked for no more.
pub(crate) async fn settle(domain: &Domain, settle: Settle, from: Option<String>) -> Result<Settled, Fault> {
    if settle.ending != Ending::GaveWay {
        domain.calls.evict(&settle.holder, &settle.claim);
    }
    settled(domain, settle, from).await
}

async fn settled(domain: &Domain, settle: Settle, from: Option<String>) -> Result<Settled, Fault> {
    match domain.submit(&Request::Settle(settle).coming_from(from)).await? {
        Reply::Settled(settled) => Ok(settled),
        _ => Err(Fault::Bug),
    }
}

/// Makes a worker known, and keeps the call until what it owes differs from what it has seen, or the hold is over.
pub(crate) async fn join(domain: &Arc<Domain>, body: JoinBody, from: Option<String>) -> Result<Joined, Fault> {
    let JoinBody { mut join, seen, hold_ms } = body;
    let hold = bounded(hold_ms);
    join.patience_ms = patience(join.patience_ms, hold);
    let request = Request::Join(join.clone()).coming_from(from);
    let Some(seen) = seen.filter(|_| !hold.is_zero()) else { return joined(domain, &request).await };
    let seen: BTreeSet<RolloutName> = seen.into_iter().collect();
    let held = Held::member(domain, join);
    let mut over = Box::pin(tokio::time::sleep(hold));
    let mut is_over = false;
    loop {
        let answer = joined(domain, &request).await?;
        let is_news = match &answer {
            Joined::Member(welcome) => differs(welcome, &seen),
            Joined::Duplicate { .. } | Joined::Refused { .. } => true,
        };
        if is_news || is_over {
            held.answered();
            return Ok(answer);
        }
        is_over = !held.woken(hold, &mut over).await;
    }
}

fn differs(welcome: &model::request::Welcome, seen: &BTreeSet<RolloutName>) -> bool {
    welcome.owed.iter().map(|owed| owed.rollout.clone()).collect::<BTreeSet<_>>() != *seen
}

async fn joined(domain: &Domain, request: &Request) -> Result<Joined, Fault> {
    match domain.submit(request).await? {
        Reply::Joined(joined) => Ok(*joined),
        _ => Err(Fault::Bug),
    }
}
