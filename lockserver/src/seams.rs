//! Seams for the fuzz targets, and for the test that repeats what they found: what comes over a line, through a door, out of a file, without
//! sockets, threads or a disk.
//!
//! No part of the interface, and asked by no program. Decides nothing: all of it is what the lock server itself uses.

pub use crate::poolcounter::{Command, Cut, LINE_BYTES_MAX, Wanted, cut, parse};

use crate::Place;
use crate::commit::Keep as _;
use crate::domain::{Domain, Progress};
use crate::doors;
use crate::doors::body::whole;
use crate::store::{self, Loaded};
use axum::body::Body;
use axum::http::Request;
use futures_util::FutureExt as _;
use model::state::Stored;
use model::{Now, State, Time};
use redb::StorageBackend;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

/// How often a request is looked at before it counts as held: each look writes what was decided so far.
const LOOKS: usize = 8;
/// Most bytes of an answer that are looked at.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most bytes of a store in memory: a damaged one can ask for any number.
const IMAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
const BODY_WAIT: Duration = Duration::from_secs(60);

/// A lock server that is asked in this very thread, one request after the other; what it decides is kept at once.
#[derive(Debug)]
pub struct Rig {
    runtime: Runtime,
    domain: Arc<Domain>,
    router: axum::Router,
}

impl Rig {
    /// One that has these records, and whose clock is there.
    ///
    /// # Errors
    /// The system gives it no timers.
    pub fn new(records: Vec<Stored>, time_ms: u64) -> io::Result<Rig> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let mut state = State::default();
        records.into_iter().for_each(|record| state.put(record));
        let domain = Domain::new(Loaded { state, time: Time(time_ms), silent: Duration::ZERO }, BODY_WAIT, None);
        let router = doors::router(Arc::clone(&domain));
        Ok(Rig { runtime, domain, router })
    }

    /// Makes a request. Returns its status and its body; nothing when it is held open, and then its client goes away. What no server of
    /// HTTP would hand to a door is nothing, too.
    pub fn ask(&self, method: &str, path: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let _timers = self.runtime.enter();
        let request = Request::builder().method(method).uri(path).header("fleet-lock-protocol", "true");
        let request = request.body(Body::from(body.to_vec())).ok()?;
        let answered = {
            let mut answering = pin!(self.router.clone().oneshot(request));
            (0..LOOKS).find_map(|_| {
                let answered = answering.as_mut().now_or_never();
                self.keep();
                answered
            })
        };
        // Whoever was dropped while it was held has fallen silent.
        self.keep();
        let Ok(response) = answered?;
        let status = response.status().as_u16();
        let body = whole(response.into_body(), BODY_WAIT, ANSWER_BYTES_MAX).now_or_never()?.ok()?;
        Some((status, body))
    }

    /// Looks at the state; nothing when a fault of its own has closed it.
    pub fn look<T>(&self, look: impl FnOnce(&State, Now) -> T) -> Option<T> {
        self.domain.glance(look)
    }

    /// Does what the committer does, without a disk.
    fn keep(&self) {
        let Some(batch) = self.domain.next_batch(Duration::ZERO) else { return };
        self.domain.ring.publish(batch.told);
        self.domain.progress.send_modify(|progress: &mut Progress| progress.committed = batch.number);
    }
}

/// The bytes of a store into which this was written, one commit after the other.
///
/// # Errors
/// Why it could not be.
pub fn image(commits: &[Vec<Stored>]) -> Result<Vec<u8>, String> {
    let memory = Memory::default();
    let place = Place::Backend(Box::new(memory.clone()));
    let (store, _) = store::open(place).map_err(|error| error.to_string())?;
    for (number, commit) in commits.iter().enumerate() {
        let records: Vec<_> = commit.iter().map(|record| (record.key(), Some(record.clone()))).collect();
        store.commit(&records, Time(number as u64 + 1))?;
    }
    drop(store);
    let bytes = memory.bytes().clone();
    Ok(bytes)
}

/// Opens a store that has these bytes, as the lock server does when it starts; the records in it.
///
/// # Errors
/// It is refused, in these words.
pub fn open(bytes: Vec<u8>) -> Result<Vec<Stored>, String> {
    let memory = Memory(Arc::new(Mutex::new(bytes)));
    let opened = catch_unwind(AssertUnwindSafe(|| store::open(Place::Backend(Box::new(memory)))));
    match opened {
        Ok(Ok((_, loaded))) => Ok(loaded.state.records()),
        Ok(Err(error)) => Err(error.to_string()),
        // So does `run`, of the thread in which it opens the store.
        Err(_) => Err("redb found what cannot be".to_owned()),
    }
}

/// A file that is nowhere but in memory.
#[derive(Debug, Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn part(offset: u64, length: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    Ok(start..start.checked_add(length).ok_or(io::ErrorKind::InvalidInput)?)
}

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let part = part(offset, out.len())?;
        out.copy_from_slice(self.bytes().get(part).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = part(len, 0)?.start;
        if len > IMAGE_BYTES_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes().resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let part = part(offset, data.len())?;
        self.bytes().get_mut(part).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        Ok(())
    }
}
