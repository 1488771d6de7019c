//! The worker: carries out what the model's host decides.
//!
//! Owns the driver, which is one `select!` around [`model::host::Host`]; the daemon ([`run`]) and the one-shot command
//! ([`once`]) share it. Never decides anything about leases or steps: every event goes into the host, every effect comes out
//! of it. Nothing is printed here. Runs on a current-thread runtime, which must live as long as the process: commands that
//! die with their parent die with the thread that started them.
//!
//! Reading order: this file; `driver` (the loop); `effects` (what each effect does); `membership` (the joins); `wake` (how
//! commands on this host tell it to look); `log` (what a daemon says); `environment` (what commands are told of the lease); `clock`.

mod clock;
mod driver;
mod effects;
mod environment;
mod log;
pub mod lonely;
mod membership;
mod wake;

#[cfg(test)]
mod tests;

pub use environment::environment;
pub use wake::wake;

use crate::balancer::lame_duck;
use crate::config::depool::lame_duck::LameDuck;
use crate::config::service::{OnFailure, Unreachable};
use crate::config::{Config, ServiceConfig};
use crate::probe::ask::{Client, ProbeError};
use crate::sequence::disk::RealDisk;
use crate::sequence::journal::{Crash, CrashPoint};
use crate::sequence::store::Journals;
use crate::sequence::{HostLock, LockError, StoreError};
use crate::telemetry::{Telemetry, TelemetryError};
use coordinator::Coordinator;
use driver::Driver;
use effects::Shop;
use futures_util::future::try_join_all;
use membership::Membership;
use model::host::{Duty, Errand, Finish, Setup};
use model::lease::Purpose;
use model::names::Service;
use model::request::Holding;
use model::rollout::Report;
use model::sequence::{Fault, Step};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use wake::Wake;

/// What a worker is given beside its configuration.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// This program's executable: with it, a restart command does not outlive a killed worker.
    pub exe: Option<PathBuf>,
    /// The process kills itself at this point of its journal, in builds with debug assertions: for tests of crashes.
    pub crash_at: Option<CrashPoint>,
    /// The same, and what was not synced in the state folder is lost: as when the host loses its power.
    pub power_cut_at: Option<CrashPoint>,
    /// The process does not die at this point, and waits there for the named pipe `pause` in its state folder.
    pub pause_at: Option<CrashPoint>,
}

/// What a one-shot restart is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What restarts.
    pub service: Service,
    /// Whether it restarts whatever the check says.
    pub always: bool,
    /// Whether it stays in its balancers.
    pub force: bool,
    /// Whether it restarts without a lease, and in its balancers when they do not confirm that it has left.
    pub emergency: bool,
    /// How long it waits for a lease at most; the pools' own bound when not said.
    pub wait: Option<Duration>,
}

/// What happens, for people: one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It waits for a lease.
    Waiting {
        /// Its place in the queue, from 1.
        place: u32,
        /// Why it waits.
        why: String,
        /// Who holds what it waits for.
        holders: Vec<Holding>,
    },
    /// It was refused a lease that it waited for, or would have had to wait for.
    Refused {
        /// Who holds it.
        holders: Vec<Holding>,
    },
    /// A step begins.
    Began(Step),
    /// A step goes on, and this is what there is to say of it.
    Noted {
        /// Which.
        step: Step,
        /// For how long, in milliseconds.
        ms: u64,
        /// How it stands.
        note: String,
    },
    /// A step has ended.
    Ended {
        /// Which.
        step: Step,
        /// How long it took, in milliseconds.
        ms: u64,
        /// What there is to say about it.
        note: String,
        /// What went wrong.
        fault: Option<Fault>,
    },
    /// It is unwound: why.
    Undoing(String),
    /// A sequence that another process left is taken up first.
    Resumed(Service),
    /// Nobody answers: what was asked, and why.
    Unanswered(String),
    /// The sequence is over.
    Over {
        /// Of which service.
        service: Service,
        /// How it ended.
        report: Box<Report>,
        /// Whether it is one that another process left, and that was taken up first.
        is_earlier: bool,
    },
    /// The host can restart nothing, or can again.
    Trouble(Trouble),
}

/// Whether a host can restart anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Why it cannot; nothing when it can again.
    pub why: Option<String>,
    /// Whether only a person can mend it.
    pub is_damage: bool,
}

/// Why a worker cannot run.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Probes cannot be asked.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The journals cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There are no metrics.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The coordinator's client cannot make a name.
    #[error(transparent)]
    Coordinator(#[from] coordinator::Error),
    /// The metrics' address is taken, or is not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// Another daemon uses this state folder, or it cannot be locked.
    #[error("one worker runs per host and state folder: {0}")]
    Running(#[from] LockError),
    /// No such service is configured here.
    #[error("{service} is not configured here; these are: {known}")]
    UnknownService {
        /// Which.
        service: Service,
        /// Those that are.
        known: String,
    },
    /// Another live worker has this host's name.
    #[error("another worker is known as {host} (version {version}, joined {since} ago); two of one name are refused")]
    Duplicate {
        /// The name.
        host: String,
        /// That worker's version.
        version: String,
        /// For how long it has been known, for people.
        since: String,
    },
}

/// Runs the daemon until `shutdown` resolves and what is under way has come to a safe point. It joins, restarts what it
/// owes, reports, and serves its metrics on `listener` when one is given, else on the configured address. An unfinished
/// sequence on disk is finished or undone first. Dropped, it leaves everything to the next start, as a crash would.
///
/// # Errors
/// The worker cannot start, or another live worker has its name.
pub async fn run<C: Coordinator + 'static>(
    config: &Config,
    coordinator: C,
    options: Options,
    listener: Option<TcpListener>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), WorkerError> {
    let shop = shop(config, coordinator, options, "the worker")?;
    let _alone = HostLock::of_worker(&config.state, &config.host)?;
    // Before anything else: the balancers must find out what the run before this one left.
    let ducks = ducks(config).await?;
    let listener = match listener {
        Some(listener) => listener,
        None => listen(config.listen).await?,
    };
    let metrics =
        listener.local_addr().ok().filter(|address| !address.ip().is_loopback() && !address.ip().is_unspecified());
    let port = listener.local_addr().map_or(config.listen.port(), |address| address.port());
    let reachable = metrics
        .map(|address| format!("http://{address}/metrics"))
        .or_else(|| config.listen.ip().is_unspecified().then(|| format!("http://{}:{port}/metrics", config.host)));
    let membership = Membership::new(config, reachable)?;
    log::starting(config, listener.local_addr().ok());
    let wake = Wake::listen(&config.state)
        .inspect_err(|error| tracing::warn!(%error, "what commands do here is seen within a minute, not at once"));
    let serving = shop.telemetry.clone().serve(listener);
    let answering = try_join_all(ducks.into_iter().map(|(at, listener, ducks)| async move {
        let ended = lame_duck::serve(listener, ducks).await;
        let source = ended.err().unwrap_or_else(|| std::io::ErrorKind::ConnectionAborted.into());
        Err::<(), _>(WorkerError::Listen { address: at.to_string(), source })
    }));
    let url = config.coordinator.clone();
    let tell = move |purpose: Option<&Purpose>, told: Progress| log::progress(&url, purpose, told);
    let driver = Driver::new(setup(config, None), shop, Some(membership), tell).woken_by(wake.ok());
    tokio::select! {
        ended = driver.run(shutdown) => ended.map(drop),
        failed = serving => Err(failed.err().map_or_else(
            || WorkerError::Listen { address: config.listen.to_string(), source: std::io::ErrorKind::ConnectionAborted.into() },
            WorkerError::from,
        )),
        // Without one there is nothing to wait for.
        Err(failed) = answering => Err(failed),
    }
}

async fn listen(at: SocketAddr) -> Result<TcpListener, WorkerError> {
    TcpListener::bind(at).await.map_err(|source| WorkerError::Listen { address: at.to_string(), source })
}

/// The health URLs that this worker serves, by where it listens for them.
async fn ducks(config: &Config) -> Result<Vec<(SocketAddr, TcpListener, Vec<LameDuck>)>, WorkerError> {
    let mut by_address: BTreeMap<SocketAddr, Vec<LameDuck>> = BTreeMap::new();
    for duck in config.services.values().filter_map(|service| service.depool.way.lame_duck()) {
        by_address.entry(duck.listen).or_default().push(duck.clone());
    }
    let mut listening = Vec::new();
    for (at, ducks) in by_address {
        listening.push((at, listen(at).await?, ducks));
    }
    Ok(listening)
}

/// Restarts one service once, and tells of it as it goes; at the end this host's worker is told to look. `shutdown` unwinds it
/// at the next safe point.
///
/// # Errors
/// It cannot start. How it ended, well or not, is the [`Finish`].
pub async fn once<C: Coordinator + 'static>(
    config: &Config,
    coordinator: C,
    options: Options,
    wanted: Wanted,
    mut progress: impl FnMut(Progress),
    shutdown: impl Future<Output = ()>,
) -> Result<Finish, WorkerError> {
    let Some(service) = config.services.get(&wanted.service) else {
        let known: Vec<&str> = config.services.keys().map(Service::as_str).collect();
        return Err(WorkerError::UnknownService { service: wanted.service, known: known.join(", ") });
    };
    let errand = Errand {
        always: wanted.always,
        force: wanted.force,
        emergency: wanted.emergency,
        unreachable_restart: service.unreachable == Unreachable::Restart,
        wait_ms: wanted.wait.map(model::time::millis),
        service: wanted.service,
    };
    let shop = shop(config, coordinator, options, &format!("a restart of {}", errand.service))?;
    let tell = move |_: Option<&Purpose>, told: Progress| progress(told);
    let finish = Driver::new(setup(config, Some(errand)), shop, None, tell).run(shutdown).await;
    wake(&config.state);
    finish
}

fn setup(config: &Config, errand: Option<Errand>) -> Setup {
    let duty = |service: &ServiceConfig| Duty {
        pools: service.pools.clone(),
        keep: service.on_failure == OnFailure::Keep,
        away_ms: model::time::millis(service.restart.away()),
    };
    let duties = config.services.iter().map(|(name, service)| (name.clone(), duty(service))).collect();
    // Without randomness, hosts still differ by when they started.
    let seed = getrandom::u64().unwrap_or_else(|_| clock::now().0);
    Setup { holder: config.host.clone().into(), duties, errand, seed }
}

fn shop<C: Coordinator>(config: &Config, coordinator: C, options: Options, what: &str) -> Result<Shop<C>, WorkerError> {
    let journals = match (options.power_cut_at, options.pause_at) {
        (Some(point), _) => Journals::until_power_cut(&config.state, point)?,
        (None, pause_at) => {
            let pause = pause_at.map(|point| Crash::pausing(point, config.state.join("pause")));
            let crash = pause.unwrap_or_else(|| Crash::at(options.crash_at));
            Journals::in_folder(Arc::new(RealDisk::default()), &config.state, crash)?
        }
    };
    Ok(Shop {
        config: Arc::new(config.clone()),
        coordinator: Arc::new(coordinator),
        client: Client::new(&config.host)?.acting_through(options.exe),
        journals,
        telemetry: Telemetry::new(config.state.clone())?,
        what: what.to_owned(),
    })
}
