//! The committer: one thread that writes what was decided, as much at once as has come together.
//!
//! Group commit is what makes many grants per sync of the disk possible: while one batch is synced, the next gathers.
//! A batch that fails closes the domain for good: what is in memory is then ahead of the disk, and nobody may be told.

use crate::Error;
use crate::domain::{Batch, Domain, Fault, Progress};
use model::change::Key;
use model::state::Stored;
use model::time::Time;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the own clock is written while something is held.
const CLOCK_WRITTEN: Duration = Duration::from_secs(5);
/// How long closing may take.
const CLOSE_WAIT: Duration = Duration::from_secs(3);

/// Records by their keys; none is to be deleted.
pub(crate) type Records = Vec<(Key, Option<Stored>)>;

/// Where records are kept.
pub(crate) trait Keep: Send + 'static {
    /// Writes records, deletes those that are none any more, and moves the clock: all of it or nothing, and kept when it returns.
    ///
    /// # Errors
    /// Why not; it may have been done all the same.
    fn commit(&self, records: &[(Key, Option<Stored>)], time: Time) -> Result<(), String>;
}

/// The thread, and what stops it.
#[derive(Debug)]
pub(crate) struct Committer {
    domain: Arc<Domain>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the thread.
pub(crate) fn start(domain: Arc<Domain>, store: impl Keep) -> std::io::Result<Committer> {
    let own = Arc::clone(&domain);
    let thread = std::thread::Builder::new().name("commit".to_owned()).spawn(move || commit(&own, &store))?;
    Ok(Committer { domain, thread: Some(thread) })
}

impl Committer {
    /// Writes what is left, and closes the store.
    pub(crate) async fn close(mut self) -> Result<(), Error> {
        self.domain.close(Fault::Stopping);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let joined = tokio::time::timeout(CLOSE_WAIT, tokio::task::spawn_blocking(move || thread.join())).await;
        let unclosed = |why: &str| Err(Error::Unclosed(why.to_owned()));
        match joined {
            Err(_) => unclosed("the disk takes too long"),
            Ok(Err(_) | Ok(Err(_))) => unclosed("a fault of its own"),
            Ok(Ok(Ok(()))) => match self.domain.progress.borrow().broken.clone() {
                Some(why) => unclosed(&why),
                None => Ok(()),
            },
        }
    }
}

impl Drop for Committer {
    /// The server was dropped, not stopped: the thread ends by itself.
    fn drop(&mut self) {
        self.domain.close(Fault::Stopping);
    }
}

fn commit(domain: &Domain, store: &impl Keep) {
    while let Some(batch) = domain.next_batch(CLOCK_WRITTEN) {
        if let Err(why) = write(domain, store, &batch) {
            tracing::error!("the store cannot be written: {why}; nothing is granted any more");
            let why: Arc<str> = why.into();
            domain.close(Fault::Store(Arc::clone(&why)));
            domain.progress.send_modify(|progress| progress.broken = Some(why));
            return;
        }
        domain.ring.publish(batch.told);
        domain.progress.send_if_modified(|progress: &mut Progress| {
            let moved = progress.committed < batch.number;
            progress.committed = batch.number;
            moved
        });
    }
    if let Some(time) = domain.time()
        && let Err(why) = store.commit(&[], time)
    {
        tracing::warn!("the clock was not written at the end: {why}; deadlines are a little longer");
    }
}

fn write(domain: &Domain, store: &impl Keep, batch: &Batch) -> Result<(), String> {
    if batch.records.is_empty() && !batch.ticks {
        return Ok(());
    }
    let timer = domain.metrics.commit_seconds.start_timer();
    // redb asserts what it reads back from the disk: a panic there is a failed commit, not the end of the thread alone.
    let written = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.commit(&batch.records, batch.time)));
    timer.observe_duration();
    written.map_err(|_| "the store failed".to_owned())??;
    domain.metrics.commits.inc();
    domain.metrics.commit_records.inc_by(batch.records.len() as u64);
    Ok(())
}
