//! The domain: the state in memory, and the one place in which requests are decided.
//!
//! Owns the order of things: decided one after the other, on disk before anyone is answered or told. Knows no HTTP and no
//! file; the committer ([`crate::commit`]) writes, the doors ask.

use crate::backup::Desk;
use crate::calls::{Calls, Turn};
use crate::clock::{Clock, Stopwatch};
use crate::commit::Records;
use crate::metrics::Metrics;
use crate::poolcounter::Inbox;
use crate::ring::{Ring, Told, tell};
use crate::store::Loaded;
use model::apply::{Decision, Nudges};
use model::change::Key;
use model::names::{Id, Pool};
use model::passage::{Move, Shut, without_login};
use model::settings::span;
use model::{Now, Reply, Request, State, Time};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How soon time is looked at again, at the soonest.
const TICK_MIN: Duration = Duration::from_millis(10);
/// How soon time is looked at again, at the latest: what becomes due meanwhile waits no longer, and the clock sees no gap.
const TICK_MAX: Duration = Duration::from_secs(1);
/// How many held asks are decided at most with the request that freed their slots. Whoever is in line behind them is woken.
const HANDED_ON_MAX: usize = 64;

/// How long a request waits while the domain is moved, before it is refused. Less than clients wait for an answer.
const MOVING_WAIT: Duration = Duration::from_secs(4);

/// Why a request was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// Nothing can be written any more; it was not done.
    #[error(
        "the store cannot be written: {0}; put that right and start the lock server again: nothing that was answered is lost"
    )]
    Store(Arc<str>),
    /// It may have been written, or not.
    #[error("the store failed while it was written: {0}")]
    Unknown(Arc<str>),
    /// The state was restored, and there may be leases that it does not know of; it was not done.
    #[error(
        "the state was restored from a backup: nothing is decided for {} more, until whoever holds a lease that it does not know has \
         given it up", span(left_ms.div_ceil(1000) * 1000))]
    Silent {
        /// For how much longer, in milliseconds.
        left_ms: u64,
    },
    /// The server stops; it was not done.
    #[error("the lock server is stopping")]
    Stopping,
    /// The domain is moved to another coordinator, or was; it was not done.
    #[error("{}", said(.0))]
    Shut(Shut),
    /// A fault of our own; it was not done.
    #[error("the request met a fault of the lock server's own; it was not done")]
    Bug,
}

/// What there is to say of a domain that decides nothing.
fn said(shut: &Shut) -> String {
    match shut {
        Shut::Moving { place } => {
            format!("the domain is being moved, {place} is the other end; nothing is decided until it is there")
        }
        Shut::Moved { to } => format!("the domain was moved to {}", without_login(to)),
    }
}

/// How far the committer is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// Everything up to this number is on disk.
    pub(crate) committed: u64,
    /// Why nothing more will be.
    pub(crate) broken: Option<Arc<str>>,
}

/// The domain of one lock server.
#[derive(Debug)]
pub(crate) struct Domain {
    inner: Mutex<Inner>,
    /// Wakes the committer.
    work: Condvar,
    /// How far the committer is.
    pub(crate) progress: watch::Sender<Progress>,
    /// Wakes the timer when something is due at last.
    timer: Notify,
    /// Calls that are held open.
    pub(crate) calls: Calls,
    /// What happened last.
    pub(crate) ring: Ring,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// When the committer last looked for something to write: it does so again and again, unless it hangs.
    beat: Mutex<Stopwatch>,
    /// Set once, when the server stops.
    pub(crate) stopping: watch::Sender<bool>,
    /// How many steps of the domain's passage were carried out.
    steps: watch::Sender<u64>,
    /// The poolcounter door, when there is one, to be looked at.
    pub(crate) poolcounter: OnceLock<Arc<Inbox>>,
    /// What reads the store for a backup, when it is this lock server's own.
    pub(crate) backup: OnceLock<Desk>,
    /// How long a body may take to arrive.
    pub(crate) body_wait: Duration,
    /// Its random name, when several doors may be over its records.
    pub(crate) name: Option<Id>,
}

/// What the mutex guards. It is one mutex, because it is one decision: whether a lease may be granted depends on every
/// lease, ticket and rule of its pools, so two requests can only be decided one after the other; a decision takes some
/// microseconds, and nothing in here waits for a disk or a network. A finer lock would have to be as coarse as the widest
/// set of pools, and would buy nothing, since all of them wait for the same disk.
#[derive(Debug)]
struct Inner {
    state: State,
    clock: Clock,
    /// Records that differ from the disk's.
    dirty: BTreeSet<Key>,
    /// Records that differ from the disk's in what is not worth writing.
    faint: BTreeSet<Key>,
    /// What to tell once `dirty` is on disk.
    told: Vec<Told>,
    /// The number of the last decision that changed something durable.
    number: u64,
    /// Why nothing is decided any more.
    closed: Option<Fault>,
    /// Until when nothing is decided, because the state was restored.
    silent_until: Option<Time>,
    /// Whether the timer waits for something to become due at all.
    timer_idle: bool,
}

/// What the committer takes at once.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The records that changed, as they are now; `None` is to be deleted.
    pub(crate) records: Records,
    /// What to tell afterwards.
    pub(crate) told: Vec<Told>,
    /// The number that is reached with it.
    pub(crate) number: u64,
    /// The own clock, which no record is ahead of.
    pub(crate) time: Time,
    /// Whether the clock is to be written though no record is: something is held, and time counts for it.
    pub(crate) ticks: bool,
}

impl Domain {
    /// A domain that goes on from what was loaded.
    ///
    /// `name` is its random name, when its records lie in a store that several doors may be over.
    pub(crate) fn new(loaded: Loaded, body_wait: Duration, name: Option<Id>) -> Arc<Domain> {
        let Loaded { mut state, time, silent } = loaded;
        let grace = state.started_again(Now { time, wall: crate::clock::wall() });
        state.replay(&grace);
        // The records themselves are as old as before.
        let faint = grace.iter().map(model::change::Change::key).collect();
        Domain::begin(Loaded { state, time, silent }, faint, body_wait, name)
    }

    /// A domain that goes on from what was loaded, which lacks nothing: not even renewals.
    pub(crate) fn exact(loaded: Loaded, body_wait: Duration, name: Option<Id>) -> Arc<Domain> {
        Domain::begin(loaded, BTreeSet::new(), body_wait, name)
    }

    fn begin(loaded: Loaded, faint: BTreeSet<Key>, body_wait: Duration, name: Option<Id>) -> Arc<Domain> {
        let Loaded { state, time, silent } = loaded;
        if !silent.is_zero() {
            let left_ms = model::time::millis(silent);
            tracing::warn!("{}", Fault::Silent { left_ms });
        }
        let clock = Clock::from(time);
        let inner = Inner {
            state,
            clock,
            dirty: BTreeSet::new(),
            faint,
            told: Vec::new(),
            number: 0,
            closed: None,
            silent_until: (!silent.is_zero()).then(|| time.plus(silent)),
            timer_idle: false,
        };
        Arc::new(Domain {
            inner: Mutex::new(inner),
            work: Condvar::new(),
            progress: watch::Sender::new(Progress::default()),
            timer: Notify::new(),
            calls: Calls::default(),
            ring: Ring::new(crate::clock::wall()),
            metrics: Metrics::new(),
            beat: Mutex::new(Stopwatch::start()),
            stopping: watch::Sender::new(false),
            steps: watch::Sender::new(0),
            poolcounter: OnceLock::new(),
            backup: OnceLock::new(),
            body_wait,
            name,
        })
    }

    fn lock(&self) -> Result<MutexGuard<'_, Inner>, Fault> {
        let in_doubt = |_| Fault::Store("a fault of its own left the memory in doubt".into());
        self.inner.lock().map_err(in_doubt)
    }

    /// Decides a request, and says which number must be on disk before the answer is given.
    pub(crate) fn decide(&self, request: &Request) -> Result<(Reply, u64), Fault> {
        let mut inner = self.lock()?;
        self.carry_out(&mut inner, request)
    }

    /// Decides a held ask, unless its turn came before: then this is what came of it.
    fn decide_held(&self, turn: &Turn) -> Result<(Reply, u64), Fault> {
        let mut inner = self.lock()?;
        match turn.handed() {
            Some(handed) => Ok(handed.clone()),
            None => self.carry_out(&mut inner, turn.request()),
        }
    }

    /// Decides a request, and in the same breath the held asks of those whose turn it makes: so both are one write.
    fn carry_out(&self, inner: &mut Inner, request: &Request) -> Result<(Reply, u64), Fault> {
        if let Some(fault) = &inner.closed {
            return Err(fault.clone());
        }
        listen(inner)?;
        if let (_, Request::Move(step)) = request.parts() {
            return self.carry_out_step(inner, step, request);
        }
        let now = inner.clock.now();
        let mut nudges = Nudges::default();
        // What is due is carried out beforehand and one by one, so that no decision needs a copy of the state.
        while let Some(due) = unless_it_panics(request, || inner.state.overdue(now))? {
            nudges.merge(self.take_in(inner, due, now).1);
        }
        let (reply, more) = self.apply(inner, request, now)?;
        if let Reply::Shut(shut) = reply {
            return Err(Fault::Shut(shut));
        }
        nudges.merge(more);
        let number = inner.number;
        self.hand_on(inner, nudges, now);
        Ok((reply, number))
    }

    /// Carries out a step of the domain's passage. All calls that are held are woken: they find it shut, or open.
    fn carry_out_step(&self, inner: &mut Inner, step: &Move, request: &Request) -> Result<(Reply, u64), Fault> {
        if let Some(time) = inner.state.opening(step) {
            inner.clock.set(time);
        }
        let now = inner.clock.now();
        let was_shut = inner.state.shut().is_some();
        let (reply, _) = self.apply(inner, request, now)?;
        if was_shut && inner.state.shut().is_none() {
            self.ring.reset();
        }
        self.steps.send_modify(|steps| *steps += 1);
        self.calls.wake_all();
        self.timer.notify_one();
        Ok((reply, inner.number))
    }

    /// Decides one request, and takes in what it changes.
    fn apply(&self, inner: &mut Inner, request: &Request, now: Now) -> Result<(Reply, Nudges), Fault> {
        let decision = unless_it_panics(request, || model::apply(&inner.state, request, now))?;
        Ok(self.take_in(inner, decision, now))
    }

    /// Takes in what a decision changes.
    fn take_in(&self, inner: &mut Inner, decision: Decision, now: Now) -> (Reply, Nudges) {
        self.metrics.decided(&inner.state, &decision, now);
        for change in &decision.changes {
            inner.told.extend(tell(change, &inner.state));
            let differ = if change.is_durable() { &mut inner.dirty } else { &mut inner.faint };
            differ.insert(change.key());
            inner.state.replay(std::slice::from_ref(change));
        }
        if decision.changes.iter().any(model::change::Change::is_durable) {
            inner.number += 1;
        }
        if !inner.dirty.is_empty() || !inner.told.is_empty() {
            self.work.notify_one();
        }
        if inner.timer_idle && !decision.changes.is_empty() {
            inner.timer_idle = false;
            self.timer.notify_one();
        }
        (decision.reply, decision.nudges)
    }

    /// Decides the held ask of whoever is next in line, per pool that has become freer, and wakes whoever else a decision may
    /// help. Who is next and has no call here is between two of them, and the next will do. Each step ends a ticket, so
    /// there is an end.
    fn hand_on(&self, inner: &mut Inner, mut nudges: Nudges, now: Now) {
        let mut count = 0;
        while let Some(pool) = nudges.pools.pop_first() {
            let Some(waiter) = inner.state.next_in_line(&[pool].into(), now) else { continue };
            let Some(turn) = self.calls.turn(&waiter.holder, &waiter.claim) else { continue };
            if count == HANDED_ON_MAX {
                turn.wake();
                continue;
            }
            count += 1;
            let Ok((reply, more)) = self.apply(inner, turn.request(), now) else { continue };
            nudges.merge(more);
            turn.hand(reply, inner.number);
        }
        self.calls.wake(&nudges.scopes);
    }

    /// Decides a request and waits until everything that the decision saw is on disk.
    ///
    /// Dropped, the request may have been decided or not; asked again it is the same.
    pub(crate) async fn submit(&self, request: &Request) -> Result<Reply, Fault> {
        let (reply, number) = self.unless_moving(|| self.decide(request)).await?;
        self.kept(number).await?;
        Ok(reply)
    }

    /// Does something that is refused while the domain is moved: as soon as that is over, or refused when it takes too long.
    async fn unless_moving<T>(&self, attempt: impl Fn() -> Result<T, Fault>) -> Result<T, Fault> {
        let (mut steps, ends) = (self.steps.subscribe(), tokio::time::Instant::now() + MOVING_WAIT);
        loop {
            let tried = attempt();
            let is_moving = matches!(tried, Err(Fault::Shut(Shut::Moving { .. })));
            if !is_moving || !matches!(tokio::time::timeout_at(ends, steps.changed()).await, Ok(Ok(()))) {
                return tried;
            }
        }
    }

    /// The same for a held ask.
    pub(crate) async fn submit_held(&self, turn: &Turn) -> Result<Reply, Fault> {
        let (reply, number) = self.unless_moving(|| self.decide_held(turn)).await?;
        self.kept(number).await?;
        Ok(reply)
    }

    /// Looks at the state, and waits until what was seen is on disk.
    pub(crate) async fn read<T>(&self, look: impl Fn(&State, Now) -> T) -> Result<T, Fault> {
        let seen_at = self.unless_moving(|| {
            let inner = self.lock()?;
            if let Some(fault) = &inner.closed {
                return Err(fault.clone());
            }
            if let Some(shut) = inner.state.shut() {
                return Err(Fault::Shut(shut));
            }
            Ok((look(&inner.state, inner.clock.now()), inner.number))
        });
        let (seen, number) = seen_at.await?;
        self.kept(number).await?;
        Ok(seen)
    }

    /// Looks at the state though it may be shut, and waits until what was seen is on disk: for its passage.
    pub(crate) async fn read_shut<T>(&self, look: impl FnOnce(&State, Now) -> T) -> Result<T, Fault> {
        let (seen, number) = {
            let inner = self.lock()?;
            (look(&inner.state, inner.clock.now()), inner.number)
        };
        self.kept(number).await?;
        Ok(seen)
    }

    /// Wakes when the domain took a step of its passage.
    pub(crate) fn steps(&self) -> watch::Receiver<u64> {
        self.steps.subscribe()
    }

    /// Why nothing is decided, when that is because the domain is moved.
    pub(crate) fn shut(&self) -> Option<Shut> {
        self.glance(|state, _| state.shut()).flatten()
    }

    /// Whether any record names this pool.
    pub(crate) fn knows_pool(&self, pool: &Pool) -> bool {
        self.lock().is_ok_and(|inner| inner.state.knows_pool(pool))
    }

    /// Looks at the state as it is, whatever the disk does: for metrics.
    pub(crate) fn glance<T>(&self, look: impl FnOnce(&State, Now) -> T) -> Option<T> {
        let inner = self.lock().ok()?;
        Some(look(&inner.state, inner.clock.now()))
    }

    async fn kept(&self, number: u64) -> Result<(), Fault> {
        let mut progress = self.progress.subscribe();
        let reached = progress.wait_for(|progress| progress.committed >= number || progress.broken.is_some()).await;
        let reached = reached.map_err(|_| Fault::Unknown("it ended".into()))?;
        if reached.committed >= number {
            return Ok(());
        }
        Err(Fault::Unknown(reached.broken.clone().unwrap_or_else(|| "it ended".into())))
    }

    /// Lets time go by, for ever: the caller drops it.
    pub(crate) async fn tick(&self) {
        loop {
            let Ok(wait) = self.until_due() else { return };
            tokio::select! {
                () = tokio::time::sleep(wait) => {
                    if matches!(self.decide(&Request::Tick), Err(Fault::Store(_) | Fault::Stopping)) {
                        return;
                    }
                }
                () = self.timer.notified() => {}
            }
        }
    }

    fn until_due(&self) -> Result<Duration, Fault> {
        let mut inner = self.lock()?;
        let now = inner.clock.now().time;
        if let Some(until) = inner.silent_until {
            return Ok(until.since(now).clamp(TICK_MIN, TICK_MAX));
        }
        let due = inner.state.next_due();
        inner.timer_idle = due.is_none();
        Ok(due.map_or(TICK_MAX, |due| due.since(now).clamp(TICK_MIN, TICK_MAX)))
    }

    /// Whether decisions are made, and the committer looked for something to write within such a time. Waits for the mutex, as
    /// everybody does.
    pub(crate) fn beats(&self, within: Duration) -> bool {
        let decides = self.lock().is_ok();
        decides && self.beat.lock().is_ok_and(|beat| Duration::from_micros(beat.elapsed_us()) <= within)
    }

    /// Waits until there is something to write or to tell, or `patience` is over; `None` when the domain is closed and
    /// everything is written. For the committer's thread: it blocks.
    pub(crate) fn next_batch(&self, patience: Duration) -> Option<Batch> {
        *self.beat.lock().ok()? = Stopwatch::start();
        let inner = self.lock().ok()?;
        let idle = |inner: &mut Inner| inner.dirty.is_empty() && inner.told.is_empty() && inner.closed.is_none();
        let (mut guard, waited) = self.work.wait_timeout_while(inner, patience, idle).ok()?;
        let inner = &mut *guard;
        if inner.dirty.is_empty() && inner.told.is_empty() && inner.closed.is_some() {
            return None;
        }
        let keys = std::mem::take(&mut inner.dirty);
        inner.faint.retain(|key| !keys.contains(key));
        let records = keys.into_iter().map(|key| (inner.state.record(&key), key)).map(|(record, key)| (key, record));
        let time = inner.clock.now().time;
        Some(Batch {
            records: records.collect(),
            told: std::mem::take(&mut inner.told),
            number: inner.number,
            time,
            ticks: waited.timed_out() && inner.state.next_due().is_some(),
        })
    }

    /// What the disk lacks though everything durable is written, and the clock. For a steward that gets up: nothing is decided any more.
    pub(crate) fn faint(&self) -> Option<(Records, Time)> {
        let inner = self.lock().ok()?;
        let records = inner.faint.iter().map(|key| (key.clone(), inner.state.record(key))).collect();
        Some((records, inner.clock.now().time))
    }

    /// Decides nothing any more, for this reason.
    pub(crate) fn close(&self, fault: Fault) {
        if let Ok(mut inner) = self.inner.lock() {
            inner.closed.get_or_insert(fault);
        }
        self.work.notify_all();
    }

    /// Why nothing can be decided, when that is so.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.lock().map_or_else(Some, |mut inner| inner.closed.clone().or_else(|| listen(&mut inner).err()))
    }

    /// The own clock, to be written at the very end.
    pub(crate) fn time(&self) -> Option<Time> {
        self.lock().ok().map(|inner| inner.clock.now().time)
    }
}

/// Refuses to decide while the state is silent. When that is over, whoever holds a lease has had no chance to renew it: all begin anew.
fn listen(inner: &mut Inner) -> Result<(), Fault> {
    let Some(until) = inner.silent_until else { return Ok(()) };
    let now = inner.clock.now();
    if now.time < until {
        return Err(Fault::Silent { left_ms: model::time::millis(until.since(now.time)) });
    }
    inner.silent_until = None;
    let grace = inner.state.started_again(now);
    inner.state.replay(&grace);
    inner.faint.extend(grace.iter().map(model::change::Change::key));
    tracing::info!(
        "whoever held a lease that the restored state does not know has given it up: it decides from now on"
    );
    Ok(())
}

/// A decision is pure: a panic in it has changed nothing, so that one odd request takes nobody else down.
fn unless_it_panics<T>(request: &Request, decide: impl FnOnce() -> T) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(decide)).map_err(|_| {
        // A step of a move may hold the password of a store.
        let request = match request.parts() {
            (_, Request::Move(_)) => "a step of a move".to_owned(),
            (_, other) => format!("{other:?}"),
        };
        tracing::error!(request, "a decision failed; the request was not carried out");
        Fault::Bug
    })
}
