//! The lock server: a coordinator that keeps its state in memory, writes it to disk before it answers, and opens doors.
//!
//! Reading order: [`run`]; `clock`; `store` (redb) over `power` (the disk) and `commit` (group commit); [`backup`]; `file` (what its
//! configuration says) and `pulse` (whether it is alive); `domain`, the one place where requests are
//! decided; `calls` (held open) and `ring` (what is told); `metrics`; [`access`] (who may come in), `serve` (connections) with their `seats`, and `doors` (HTTP);
//! [`poolcounter`] (the door for poolcounterd's clients); [`steward`] and [`relay`] (over a store that a fleet shares).
//! No rule about leases or rollouts lives here: those are the model's.

pub mod access;
pub mod backup;
mod calls;
mod clock;
mod commit;
mod domain;
mod doors;
mod file;
mod metrics;
pub mod poolcounter;
mod power;
mod pulse;
pub mod relay;
mod ring;
#[doc(hidden)]
pub mod seams;
mod seats;
mod serve;
pub mod steward;
mod store;

pub use file::Configured;
pub use power::{NoPowerCut, PowerCut};
pub use pulse::Pulse;
pub use store::StoreError;

use access::{Access, Settings, guard};
use coordinator::wire::DOMAIN;
use domain::Domain;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Most connections at once, unless said otherwise: a worker has one or two. When there are more, those that have been longest without a
/// whole request make room; where each has one, more are answered 503 and closed.
pub const CONNECTIONS_MAX: usize = 15_000;
/// How long a client may take to send the header of its next request, or a body, unless said otherwise.
pub const CLIENT_WAIT: Duration = Duration::from_secs(60);
/// Most connections at once at the poolcounter door. More are closed.
const POOLCOUNTER_CONNECTIONS_MAX: usize = 50_000;

/// Where the state lies.
#[derive(Debug)]
pub enum Place {
    /// In a folder, which is made when it is missing.
    Folder(PathBuf),
    /// In a folder, on a disk that loses what was not synced when the process dies: for tests of power cuts.
    Fragile {
        /// Which.
        folder: PathBuf,
        /// When the process kills itself.
        cut: PowerCut,
    },
    /// In something that behaves as a file: for tests of what disks do.
    Backend(Box<dyn redb::StorageBackend>),
}

/// How a lock server runs.
#[derive(Debug)]
pub struct Options {
    /// Where its state lies.
    pub place: Place,
    /// Most connections at once: see [`CONNECTIONS_MAX`].
    pub connections_max: usize,
    /// How long a client may take to send the header of its next request, or a body. It ends idle connections too.
    pub client_wait: Duration,
    /// Where clients of poolcounterd come in, if they do: see [`poolcounter::bind`].
    pub poolcounter: Option<std::net::TcpListener>,
    /// Who may come in, and what each may do.
    pub access: Settings,
    /// What its configuration file says, now and whenever it is read again.
    pub configured: watch::Receiver<Configured>,
    /// By which others see that it is alive.
    pub pulse: Pulse,
}

impl Options {
    /// The defaults, with the state in a folder.
    pub fn folder(data: impl Into<PathBuf>) -> Options {
        let place = Place::Folder(data.into());
        Options {
            place,
            connections_max: CONNECTIONS_MAX,
            client_wait: CLIENT_WAIT,
            poolcounter: None,
            access: Settings::default(),
            configured: watch::channel(Configured::default()).1,
            pulse: Pulse::default(),
        }
    }
}

/// Why a lock server could not run, or stopped badly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state cannot be read; nothing was changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be protected as it was told.
    #[error(transparent)]
    Access(#[from] access::Error),
    /// A thread could not be started.
    #[error("no thread can be started: {0}")]
    Thread(#[source] std::io::Error),
    /// The poolcounter door could not be opened.
    #[error("the poolcounter door cannot be opened: {0}")]
    Door(#[source] std::io::Error),
    /// The poolcounter door closed by itself.
    #[error("the poolcounter door met a fault of its own")]
    DoorEnded,
    /// The last changes may not be on disk; nobody was told that they were.
    #[error("the store did not close: {0}")]
    Unclosed(String),
}

/// Runs a lock server on a listening socket until `shutdown` is ready, then stops in order: held calls are answered, no
/// new ones taken, the last changes written. That takes 3 s at most.
///
/// Dropping the future is as if the power failed: nothing that was answered is lost.
///
/// # Errors
/// The store, or the tokens or certificates, cannot be read: a state that cannot be read is never taken for an empty one. Or the
/// store did not close.
pub async fn run(listener: TcpListener, options: Options, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let Options { place, connections_max, client_wait, poolcounter, access, configured, pulse } = options;
    let access = Access::open(&access, DOMAIN, client_wait)?;
    let opening = tokio::task::spawn_blocking(move || store::open(place));
    // redb asserts what it reads: a file that was damaged on purpose can end it in a panic.
    let opened = opening.await.map_err(|cause| StoreError::Damaged { what: cause.to_string() })?;
    let (store, loaded) = opened?;
    let domain = Domain::new(loaded, client_wait, None);
    let _only_once = domain.backup.set(backup::Desk::new(store.reader()));
    // Before anybody is answered: what the file says holds from the first request on.
    let again = file::hear(&domain, &configured);
    let committer = commit::start(Arc::clone(&domain), store).map_err(Error::Thread)?;
    pulse.feel(&domain);
    let router = guarded(doors::router(Arc::clone(&domain)), &access);
    let open = |listener| {
        serve::allow_files(connections_max + POOLCOUNTER_CONNECTIONS_MAX);
        poolcounter::Door::open(listener, Arc::clone(&domain), Arc::clone(&access), POOLCOUNTER_CONNECTIONS_MAX)
    };
    let door = poolcounter.map(open).transpose().map_err(Error::Door)?;
    let ticking = async {
        domain.tick().await;
        std::future::pending::<()>().await;
    };
    let serving = async {
        serve::serve(listener, router, &access, &domain.stopping, connections_max, client_wait, shutdown).await;
        Ok(())
    };
    let served = tokio::select! {
        served = async { tokio::try_join!(serving, attend(door, &domain)) } => served.map(|_| ()),
        () = ticking => Ok(()),
        () = access.watch() => Ok(()),
        () = file::keep(&domain, configured, again) => Ok(()),
    };
    committer.close().await.and(served)
}

/// The doors behind their guard.
fn guarded(router: axum::Router, access: &Arc<Access>) -> axum::Router {
    router.layer(axum::middleware::from_fn_with_state(Arc::clone(access), guard))
}

/// Keeps the poolcounter door open until the server stops.
async fn attend(door: Option<poolcounter::Door>, domain: &Domain) -> Result<(), Error> {
    let Some(mut door) = door else { return Ok(()) };
    let mut stopping = domain.stopping.subscribe();
    tokio::select! {
        _ = stopping.wait_for(|stopping| *stopping) => {}
        () = door.ended() => return Err(Error::DoorEnded),
    }
    door.close().await;
    Ok(())
}
