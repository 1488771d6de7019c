//! The steward: whoever sits in the seat of a domain whose records lie in a store that a fleet shares.
//!
//! Runs the same engine behind the same door as the lock server; only that the records are committed to that store, and that
//! calls are heard there and answered there, instead of over connections. Owns sitting down, staying and getting up; decides
//! nothing about leases.

mod desk;
mod outbox;
mod records;

use crate::commit::{self, Committer};
use crate::domain::{Domain, Fault};
use crate::{CLIENT_WAIT, doors};
use coordinator::mailbox::Vacancy;
use coordinator::store::{SEAT_KEPT, Sitting, Store, StoreError};
use desk::{Desk, Held};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a steward says that it stays.
const STAY: Duration = Duration::from_secs(1);
/// How long one look for calls stands.
const HEAR: Duration = Duration::from_secs(20);
/// The pause after the store was away, or the seat just taken.
const PAUSE: Duration = Duration::from_millis(500);
/// The pause after the store turned out to be unfit.
const UNFIT_PAUSE: Duration = Duration::from_secs(30);
/// Beyond the longest time to live: what the clocks of two hosts may differ in that time, and a call under way.
const SILENCE_MARGIN: Duration = Duration::from_secs(2);

/// Sits down whenever `vacancy` says that somebody calls and nobody sits, and serves the domain until another sits, or until
/// `shutdown` is ready; then gets up.
///
/// Dropping the future is as if the power failed: the seat is empty some seconds later, and nothing that was answered is lost.
pub async fn attend(store: Arc<dyn Store>, vacancy: Arc<Vacancy>, shutdown: impl Future<Output = ()>) {
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return,
            () = vacancy.called() => {}
        }
        let sitting = match sit(&*store).await {
            Ok(Some(sitting)) => sitting,
            Ok(None) => continue,
            Err(cause) => {
                tracing::warn!("cannot sit for {}: {cause}", store.name());
                vacancy.explain(Some(format!("cannot decide for {}: {cause}", store.name())));
                let pause = if matches!(cause, StoreError::Unfit(_)) { UNFIT_PAUSE } else { PAUSE };
                tokio::time::sleep(pause).await;
                continue;
            }
        };
        tracing::info!("decides for {} from now on", store.name());
        let (held, served) = (Held::default(), Served::default());
        match serve(&sitting, &vacancy, &held, &served, &mut shutdown).await {
            Ok(()) => {
                if let Err(why) = served.end(&sitting).await {
                    tracing::debug!(
                        "whoever decides next for {} gives everyone a fresh time to live: {why}",
                        store.name()
                    );
                }
                if let Err(cause) = sitting.leave(held.some_told()).await {
                    tracing::debug!("the seat of {} is empty some seconds later: {cause}", store.name());
                }
                return;
            }
            Err(cause) => {
                tracing::warn!("decides for {} no longer: {cause}", store.name());
                vacancy.explain((cause != StoreError::Deposed).then(|| format!("nobody decides: {cause}")));
                if cause != StoreError::Deposed {
                    // Nobody else need wait until it is clear that this one is gone.
                    let _ = sitting.leave(Vec::new()).await;
                }
                tokio::time::sleep(PAUSE).await;
                // Somebody may wait here, and nobody else may be there.
                vacancy.call();
            }
        }
    }
}

/// Removes a domain that nobody uses any more: sits down as soon as the seat is empty, and leaves nothing behind.
///
/// # Errors
/// The store is away; or somebody sits, and stays.
pub async fn clear(store: &dyn Store) -> Result<(), StoreError> {
    let until = tokio::time::Instant::now() + SEAT_KEPT * 2;
    let sitting = loop {
        match sit(store).await? {
            Some(sitting) => break sitting,
            None if tokio::time::Instant::now() < until => tokio::time::sleep(PAUSE).await,
            None => return Err(StoreError::Away("somebody else decides there, and stays".to_owned())),
        }
    };
    sitting.erase().await
}

async fn sit(store: &dyn Store) -> Result<Option<Arc<dyn Sitting>>, StoreError> {
    let steward = coordinator::random_id().map_err(|cause| StoreError::Away(cause.to_string()))?;
    Ok(store.sit(&steward).await?.map(Arc::from))
}

/// Serves the domain. Returns when `shutdown` is ready.
async fn serve(
    sitting: &Arc<dyn Sitting>,
    vacancy: &Vacancy,
    held: &Held,
    served: &Served,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StoreError> {
    let mut shutdown = pin!(shutdown);
    let staying = async {
        loop {
            tokio::time::sleep(STAY).await;
            if let Err(cause) = sitting.stay().await {
                return cause;
            }
        }
    };
    let serving = async {
        let rows = sitting.load().await?;
        let records::Read { mut loaded, name, is_whole } = records::read(rows)?;
        if sitting.may_lack() {
            let silence = loaded.state.longest_ttl() + SILENCE_MARGIN;
            let why = format!(
                "the store may lack what was written last: nothing is decided for {silence:?}, until whoever holds a lease that it \
                 does not know has given it up"
            );
            tracing::warn!("{why}");
            vacancy.explain(Some(why));
            tokio::time::sleep(silence).await;
            // Written at once, so that the next one need not wait again.
            sitting.commit(records::go_on(&mut loaded).map_err(StoreError::Away)?).await?;
        }
        let is_named = name.is_some();
        let name = name.map_or_else(coordinator::random_id, Ok);
        let name = name.map_err(|cause| StoreError::Away(cause.to_string()))?;
        if !is_named || is_whole {
            sitting.commit(records::begun(&name, loaded.time).map_err(StoreError::Away)?).await?;
        }
        let start = if is_whole && !sitting.may_lack() { Domain::exact } else { Domain::new };
        let domain = start(loaded, CLIENT_WAIT, Some(name));
        let keep = records::Shared::new(Arc::clone(sitting));
        let committer =
            commit::start(Arc::clone(&domain), keep).map_err(|cause| StoreError::Away(cause.to_string()))?;
        vacancy.explain(None);
        served.begin(&domain, committer);
        let serving = Serving { domain, sitting, held };
        Err(serving.run().await)
    };
    tokio::select! {
        () = &mut shutdown => Ok(()),
        cause = staying => Err(cause),
        ended = serving => ended,
    }
}

/// What a sitting served, for its end. Dropped, what was decided is written, and no more.
#[derive(Default)]
struct Served(Mutex<Option<(Arc<Domain>, Committer)>>);

impl Served {
    fn begin(&self, domain: &Arc<Domain>, committer: Committer) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Arc::clone(domain), committer));
    }

    /// Writes everything, renewals too, so that the next steward goes on from this very moment. Else it could not tell who has
    /// renewed, and with many that sit for a moment each no time to live would ever end.
    async fn end(self, sitting: &Arc<dyn Sitting>) -> Result<(), String> {
        let served = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some((domain, committer)) = served else { return Ok(()) };
        committer.close().await.map_err(|cause| cause.to_string())?;
        let (records, time) = domain.faint().ok_or("the memory is in doubt")?;
        let rows = records::ended(&records, time)?;
        sitting.commit(rows).await.map_err(|cause| cause.to_string())
    }
}

/// A domain that is served. Dropped, it decides nothing any more.
struct Serving<'a> {
    domain: Arc<Domain>,
    sitting: &'a Arc<dyn Sitting>,
    held: &'a Held,
}

impl Serving<'_> {
    /// Hears, decides and answers. Returns why that ended.
    async fn run(&self) -> StoreError {
        let desk = Desk::new(
            doors::router(Arc::clone(&self.domain)),
            Arc::clone(&self.domain),
            Arc::clone(self.sitting),
            self.held,
        );
        let hearing = async {
            loop {
                match self.sitting.hear(HEAR).await {
                    Ok(heard) => heard.into_iter().for_each(|heard| desk.take(heard)),
                    Err(cause) => return cause,
                }
            }
        };
        let mut progress = self.domain.progress.subscribe();
        let broken = async {
            let ended = progress.wait_for(|progress| progress.broken.is_some()).await;
            let why = ended.ok().and_then(|progress| progress.broken.clone());
            StoreError::Away(why.map_or_else(|| "the committer ended".to_owned(), |why| why.to_string()))
        };
        tokio::select! {
            cause = hearing => cause,
            cause = desk.answer() => cause,
            cause = broken => cause,
            () = self.domain.tick() => StoreError::Away("the domain is closed".to_owned()),
        }
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        // First of all: a call that is dropped with the desk must not count as one whose caller went away.
        self.domain.close(Fault::Stopping);
    }
}
