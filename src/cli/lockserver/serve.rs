//! A lock server from its start to its end: it says where it is, tells the service manager how it does, and stops on a signal.

use super::super::context::Context;
use super::super::failure::Failure;
use super::super::{exit, logging, notify, out};
use super::given::{Given, Place};
use super::reload::{Reloading, Told};
use super::{LockserverArgs, bind};
use ::lockserver::access::Settings;
use ::lockserver::{Error, Options, Pulse, relay};
use coordinator::mailbox::Mailbox;
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The variable by which tests of power cuts have the server lose what it did not sync: whenever it is killed, or by itself at
/// a sync of its disk; or have its disk hang there. Only builds with debug assertions obey.
const POWER_CUT_VARIABLE: &str = "STAGGER_POWER_CUT_AT";
/// How long it may take to stop, on a slow disk.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How long its disk may hang before the service manager is no longer told that it lives.
const HANGS_MAX: Duration = Duration::from_secs(10);

/// Runs it until a signal ends it.
pub(super) async fn run(args: &LockserverArgs, context: &Context) -> Result<u8, Failure> {
    let given = Given::of(args, context)?;
    logging::start();
    let signals = Signals::listen()?;
    let listener = bind::api(given.api).await?;
    let unbound = |error| Failure::system(format!("listen on {}", given.api), error);
    let scheme = if given.access.tls.is_some() { "https" } else { "http" };
    let api = format!("{scheme}://{}", listener.local_addr().map_err(unbound)?);
    let door = given.poolcounter.map(bind::poolcounter_door).transpose()?;
    let reloading = Reloading::new(context, &given);
    let doors = Doors { listener, api, poolcounter: door, access: given.access };
    match given.place {
        Place::Store(mailbox) => relayed(doors, mailbox, signals, reloading, context).await,
        Place::Folder(folder) => kept(doors, folder, signals, reloading, context).await,
    }
}

/// How it is reached, and by whom.
struct Doors {
    listener: TcpListener,
    /// The URL at which it listens.
    api: String,
    poolcounter: Option<(std::net::TcpListener, SocketAddr)>,
    access: Settings,
}

/// A door to a store.
async fn relayed(
    doors: Doors,
    mailbox: Arc<Mailbox>,
    signals: Signals,
    mut reloading: Reloading,
    context: &Context,
) -> Result<u8, Failure> {
    let Doors { listener, api, access, .. } = doors;
    let store = mailbox.store().name();
    let domain = store.rsplit('/').next().unwrap_or_default().to_owned();
    match context.globals.json {
        true => out::json(&json!({ "api": api, "store": store }))?,
        false => out::result(&format!("{api}  a door to {store}"))?,
    }
    let first = mailbox.clone();
    tokio::spawn(async move {
        if let Err(cause) = first.store().seat().await {
            tracing::warn!("the store does not answer yet, and nothing is decided meanwhile: {cause}");
        }
    });
    reloading.tell(Told::Store(mailbox.clone()));
    let shutdown = async move {
        notify::ready(|| true);
        signals.wait(reloading).await;
    };
    relay::run(listener, mailbox, &domain, &access, shutdown).await.map_err(failure)?;
    Ok(exit::OK)
}

/// One with its state in a folder.
async fn kept(
    doors: Doors,
    data: PathBuf,
    signals: Signals,
    mut reloading: Reloading,
    context: &Context,
) -> Result<u8, Failure> {
    let Doors { listener, api, poolcounter, access } = doors;
    let (as_json, told) = (context.globals.json, data.clone());
    let (door, address) = poolcounter.unzip();
    let tell = move || match (as_json, address) {
        (true, None) => out::json(&json!({ "api": api, "data": told })),
        (true, Some(address)) => out::json(&json!({ "api": api, "data": told, "poolcounter": address })),
        (false, None) => out::result(&format!("{api}  state in {}", told.display())),
        (false, Some(address)) => {
            out::result(&format!("{api}  state in {}\n{address}  for clients of poolcounterd", told.display()))
        }
    };
    let pulse = Pulse::default();
    let configured = reloading.tell(Told::LockServer);
    let options = Options { poolcounter: door, access, configured, pulse: pulse.clone(), ..options(data) };
    // The server first asks whether to stop when it serves; before that its address is not worth telling.
    let shutdown = async move {
        let _nobody_reads_it = tell();
        notify::ready(move || pulse.beats(HANGS_MAX));
        signals.wait(reloading).await;
    };
    ::lockserver::run(listener, options, shutdown).await.map_err(failure)?;
    Ok(exit::OK)
}

/// The signals that a lock server obeys.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// From now on they do not end the process by themselves.
    fn listen() -> Result<Signals, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::system("listen for signals", error));
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for one that ends it, and has its file read again at each HUP until then.
    async fn wait(mut self, mut reloading: Reloading) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => break,
                _ = self.terminate.recv() => break,
                Some(()) = self.hang_up.recv() => {
                    notify::reloading();
                    reloading.reload();
                    notify::reloaded();
                }
            }
        }
        notify::stopping(STOP_MAX);
        tracing::info!("stopping");
    }
}

fn options(folder: PathBuf) -> Options {
    let cut = std::env::var(POWER_CUT_VARIABLE).ok().filter(|_| cfg!(debug_assertions));
    let mut options = Options::folder(&folder);
    if let Some(cut) = cut.and_then(|cut| cut.parse().ok()) {
        options.place = ::lockserver::Place::Fragile { folder, cut };
    }
    options
}

fn failure(error: Error) -> Failure {
    let what = match &error {
        Error::Access(_) => {
            return Failure::Work { what: error.to_string(), hint: String::new(), code: exit::CONFIGURATION };
        }
        Error::Store(_) => format!("cannot open the store: {error}"),
        _ => format!("the lock server ended badly: {error}"),
    };
    Failure::Work { what, hint: String::new(), code: exit::FAILED }
}
