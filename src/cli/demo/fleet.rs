//! The pretend fleet: a lock server, hosts with a service and a worker each, a balancer, and the load on it.
//!
//! Owns everything that the demo starts, and clears it away. Called by `run`; the acts reach its parts through it.

use crate::cli::demo::balancer::Balancer;
use crate::cli::demo::config::{self, World};
use crate::cli::demo::janitor;
use crate::cli::demo::load;
use crate::cli::demo::locks::{Locks, STOP_TIMEOUT};
use crate::cli::demo::service::Build;
use crate::cli::demo::supervisor::{self, Supervisor, SupervisorError};
use coordinator::Coordinator as _;
use coordinator::remote::Remote;
use coordinator::store::StoreError;
use model::names::{Pool, Scope};
use model::read::Selection;
use model::request::{Act, Admin, Done};
use model::settings::{Setting, Slots};
use model::time::millis;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The service that restarts.
pub(super) const SERVICE: &str = "demo";
/// The pool that it restarts under.
pub(super) const POOL: &str = "demo";
/// Who changes things here.
const WHO: &str = "demo";
/// How long a lease lives without being renewed: short, so that nobody waits long to see one lost.
pub(super) const TTL: Duration = Duration::from_secs(3);
/// How long a host may wait for its slot: longer than any act takes.
const WAIT: Duration = Duration::from_secs(24 * 3600);
/// How long the workers may take to make themselves known, with so much more for each.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
const JOIN_TIMEOUT_PER_HOST: Duration = Duration::from_millis(500);
/// How often one looks whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Workers that start at once: more would only wait for the processor.
const STARTING_MAX: usize = 8;
/// The size of the fleet, and its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Options {
    /// How many hosts.
    pub(super) hosts: u32,
    /// How many of them may be out at once.
    pub(super) slots: u32,
    /// The least drain.
    pub(super) drain: Duration,
    /// How long a service takes to start.
    pub(super) restart: Duration,
}

impl Options {
    /// The least time in which all hosts can restart: ceil(hosts / slots) × (least drain + restart).
    pub(super) fn bound(&self) -> Duration {
        (self.drain + self.restart) * self.hosts.div_ceil(self.slots)
    }
}

/// Why the fleet could not be started or cleared away; each fits after "cannot …: ".
#[derive(Debug, thiserror::Error)]
pub(super) enum FleetError {
    /// The system refused something.
    #[error("{what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A process of a host.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// The coordinator did not answer as it should.
    #[error("the coordinator: {0}")]
    Coordinator(#[from] coordinator::Error),
    /// The lock server could not run, or stopped badly.
    #[error("the lock server: {0}")]
    LockServer(#[from] lockserver::Error),
    /// The coordinator said no.
    #[error("the coordinator refuses: {0}")]
    Refused(String),
    /// A task of the demo's own ended in a panic.
    #[error("a part of the demo ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// A worker ended by itself.
    #[error("the worker of {host} ended: {said}")]
    Worker {
        /// Where.
        host: String,
        /// The end of its log.
        said: String,
    },
    /// Workers that did not make themselves known.
    #[error("{0} workers did not join in time")]
    Late(usize),
    /// The lock server does not stop.
    #[error("the lock server did not stop within {STOP_TIMEOUT:?}")]
    Unstopped,
    /// The URL of no store.
    #[error("{0} names no store; leave it out, and the demo starts a lock server of its own")]
    NoStore(String),
    /// The demo's records are still in the store.
    #[error("the demo's records are left in {store}: {source}")]
    Uncleared {
        /// Which.
        store: String,
        /// Why.
        source: StoreError,
    },
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> FleetError {
    move |source| FleetError::System { what, source }
}

/// The tasks and sockets that only starting and stopping need.
#[derive(Debug)]
struct Parts {
    locks: Locks,
    tasks: JoinSet<()>,
    janitor: Child,
}

/// The pretend fleet.
#[derive(Debug)]
pub(super) struct Fleet {
    options: Options,
    names: Vec<String>,
    exe: PathBuf,
    folder: tempfile::TempDir,
    supervisor: Supervisor,
    balancer: Balancer,
    parts: Parts,
    /// The load, once there is something to ask.
    clients: Mutex<Option<JoinSet<()>>>,
    client_side: SocketAddr,
    admin_side: SocketAddr,
    supervisor_side: SocketAddr,
    /// The number of the build that is installed.
    build: Mutex<u64>,
}

impl Fleet {
    /// Opens the sockets and starts what runs in this process: coordinator, balancer, supervisor. No host yet. The leases lie in the
    /// store of this URL, when there is one, else in a lock server.
    ///
    /// # Errors
    /// The system refuses a socket or a folder.
    pub(super) async fn prepare(options: Options, store: Option<&str>) -> Result<Fleet, FleetError> {
        let exe = std::env::current_exe().map_err(system("find this program"))?;
        let folder = tempfile::Builder::new().prefix("stagger-demo-").tempdir().map_err(system("make a folder"))?;
        let janitor = janitor::start(&exe, folder.path()).map_err(system("start the janitor"))?;
        let digits = options.hosts.to_string().len();
        let names: Vec<String> = (1..=options.hosts).map(|number| format!("host{number:0digits$}")).collect();
        let hosts = names.iter().cloned().zip((1..=options.hosts).map(address_of)).collect();
        let settings =
            supervisor::Settings { exe: exe.clone(), folder: folder.path().to_owned(), start: options.restart };
        let supervisor = Supervisor::new(settings, hosts)?;
        let balancer = Balancer::new(options.drain);

        let (client_listener, client_side) = bind().await?;
        let (admin_listener, admin_side) = bind().await?;
        let (supervisor_listener, supervisor_side) = bind().await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(balancer.clone().serve_clients(client_listener));
        tasks.spawn(balancer.clone().serve_admin(admin_listener));
        tasks.spawn(supervisor.clone().serve(supervisor_listener));
        let locks = Locks::start(store, folder.path()).await?;
        let parts = Parts { locks, tasks, janitor };
        let (clients, build) = (Mutex::new(None), Mutex::new(0));
        Ok(Fleet {
            options,
            names,
            exe,
            folder,
            supervisor,
            balancer,
            parts,
            clients,
            client_side,
            admin_side,
            supervisor_side,
            build,
        })
    }

    /// Starts every host with its service and its worker, waits until all are known, and puts the load on them. Cancelled,
    /// it leaves what it started to [`Fleet::stop`].
    ///
    /// # Errors
    /// Something does not come up.
    pub(super) async fn start(&self) -> Result<(), FleetError> {
        self.set(Setting::Slots(Slots::Count(self.options.slots))).await?;
        self.set(Setting::Ttl(millis(TTL))).await?;
        self.set(Setting::Wait(millis(WAIT))).await?;
        self.install(None)?;
        let mut starting = JoinSet::new();
        for name in self.names.clone() {
            let supervisor = self.supervisor.clone();
            starting.spawn(async move { supervisor.restart_service(&name).await.map(|address| (name, address)) });
        }
        let mut services = Vec::new();
        while let Some(started) = starting.join_next().await {
            services.push(started??);
        }
        services.sort();
        for (name, address) in &services {
            self.balancer.add(name, *address);
            let folder = self.supervisor.folder(name)?;
            let text = config::text(&self.world(), name, *address, folder);
            std::fs::write(folder.join("stagger.toml"), text).map_err(system("write a configuration"))?;
        }
        self.start_workers().await?;
        *lock(&self.clients) = Some(load::start(self.client_side, &self.balancer));
        Ok(())
    }

    fn world(&self) -> World<'_> {
        World {
            coordinator: self.parts.locks.url(),
            balancer: self.admin_side,
            supervisor: self.supervisor_side,
            exe: &self.exe,
            service: SERVICE,
            pool: POOL,
            drain: self.options.drain,
        }
    }

    async fn start_workers(&self) -> Result<(), FleetError> {
        let deadline = Instant::now() + JOIN_TIMEOUT + JOIN_TIMEOUT_PER_HOST * self.options.hosts;
        let mut started = 0;
        loop {
            let joined = self.coordinator().members(&Selection::default()).await?.rows.len();
            if joined == self.names.len() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(FleetError::Late(self.names.len() - joined));
            }
            for name in &self.names[..started] {
                self.check_worker(name).await?;
            }
            while started < self.names.len() && started < joined + STARTING_MAX {
                self.supervisor.start_worker(&self.names[started]).await?;
                started += 1;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Nothing, while the worker runs.
    async fn check_worker(&self, name: &str) -> Result<(), FleetError> {
        if self.supervisor.worker_runs(name).await? {
            return Ok(());
        }
        let log = self.supervisor.folder(name)?.join("worker.log");
        let said = std::fs::read_to_string(log).unwrap_or_default();
        let said = model::bound::end(said.trim_end(), model::lease::TEXT_BYTES_MAX);
        Err(FleetError::Worker { host: name.to_owned(), said })
    }

    /// Kills every process, stops the lock server and removes the folder. Goes on after an error, and returns the first.
    ///
    /// # Errors
    /// Something may be left.
    pub(super) async fn stop(self) -> Result<(), FleetError> {
        drop(lock(&self.clients).take());
        let killed = self.supervisor.stop().await;
        let Parts { locks, tasks, mut janitor } = self.parts;
        drop(tasks);
        let stopped = locks.stop().await;
        let removed = self.folder.close().map_err(system("remove the demo's folder"));
        // Waiting closes its input, and it finds nothing left to do.
        let gone = janitor.wait().await.map(|_| ()).map_err(system("wait for the janitor"));
        killed.map_err(FleetError::from).and(stopped).and(removed).and(gone)
    }

    /// Installs the next build on every host, good or with this fault. Services run it from their next start on. Returns its
    /// number.
    ///
    /// # Errors
    /// Its file cannot be written.
    pub(super) fn install(&self, fault: Option<&str>) -> Result<u64, FleetError> {
        let mut number = lock(&self.build);
        let next = Build { number: *number + 1, fault: fault.map(str::to_owned) };
        next.install(&self.folder.path().join("build")).map_err(system("install a build"))?;
        *number = next.number;
        Ok(next.number)
    }

    async fn set(&self, setting: Setting) -> Result<(), FleetError> {
        let pool: Pool =
            POOL.parse().map_err(|error: model::names::NameError| FleetError::Refused(error.to_string()))?;
        let act = Act::Set { scope: Scope::Pool(pool), setting, reason: "the demo's own".to_owned(), for_ms: None };
        match self.admin(act).await? {
            Done::Did { .. } => Ok(()),
            other => Err(FleetError::Refused(format!("{other:?}"))),
        }
    }

    /// Has the lock server change something.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) async fn admin(&self, act: Act) -> Result<Done, coordinator::Error> {
        let admin = Admin { operation: coordinator::random_id()?, by: WHO.to_owned(), act };
        self.coordinator().admin(&admin).await
    }

    /// Its size and times.
    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// Its hosts.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Its processes.
    pub(super) fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// Its balancer.
    pub(super) fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// Its coordinator.
    pub(super) fn coordinator(&self) -> &Remote {
        self.parts.locks.coordinator()
    }

    /// Where the balancer takes requests.
    pub(super) fn client_side(&self) -> SocketAddr {
        self.client_side
    }

    /// What keeps the leases, in a word.
    pub(super) fn keeper(&self) -> &'static str {
        self.parts.locks.keeper()
    }

    /// The coordinator's URL.
    pub(super) fn url(&self) -> &str {
        self.parts.locks.url()
    }

    /// Where everything lies.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Every host has a loopback address of its own, so that no connection of somebody else can happen to use the port of a
/// service that is just being restarted.
fn address_of(number: u32) -> IpAddr {
    let [.., high, low] = number.to_be_bytes();
    IpAddr::from([127, 77, high, low])
}

pub(super) async fn bind() -> Result<(TcpListener, SocketAddr), FleetError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(system("listen"))?;
    let address = listener.local_addr().map_err(system("listen"))?;
    Ok((listener, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_counts_whole_turns() {
        let bound = |hosts, slots| {
            let options = Options { hosts, slots, drain: Duration::from_secs(1), restart: Duration::from_millis(200) };
            options.bound()
        };
        assert_eq!(bound(20, 2), Duration::from_secs(12));
        assert_eq!(bound(21, 2), Duration::from_millis(13_200));
        assert_eq!(bound(352, 35), Duration::from_millis(13_200));
    }

    #[test]
    fn every_host_has_an_address_of_its_own() {
        assert_eq!(address_of(1).to_string(), "127.77.0.1");
        assert_eq!(address_of(400).to_string(), "127.77.1.144");
    }
}
