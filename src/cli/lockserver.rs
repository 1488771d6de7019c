//! `stagger lockserver`: keeps the leases, the queue and the rollouts of a fleet.
//!
//! Owns where it listens and how it is ended. The server itself is the crate `lockserver`.

mod access;
mod token;

use super::context::{Context, no_coordinator, state_directory};
use super::failure::Failure;
use super::{exit, logging, notify, out};
use crate::config::CoordinatorUrl;
use ::lockserver::{Error, Options, Place, poolcounter, relay};
use coordinator::mailbox::Mailbox;
use serde_json::json;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// The variable by which tests of power cuts have the server lose what it did not sync: whenever it is killed, or by itself at
/// a sync of its disk. Only builds with debug assertions obey.
const POWER_CUT_VARIABLE: &str = "STAGGER_POWER_CUT_AT";
/// How long it may take to stop, on a slow disk.
const STOP_MAX: Duration = Duration::from_secs(10);
/// Where the state lies, unless said otherwise; a worker's on the same machine lies elsewhere.
const DATA_DEFAULT: &str = "/var/lib/stagger-locks";

/// Where clients of poolcounterd are listened to when nothing else is said, as by poolcounterd.
const POOLCOUNTER_DEFAULT: &str = "127.0.0.1";

/// Keep the leases, the queue and the rollouts of a fleet
///
/// It is what workers and commands ask. The state is in memory and on disk before anyone is answered; a lock server that starts again knows everything. It
/// prints its address, logs to standard error, and stops in order on TERM or Ctrl-C. A service manager that understands
/// sd_notify(3) is told when it is ready and that it lives.
///
/// With -l it takes the place of poolcounterd too, for the clients of that: keys that name a pool share its slots with everyone else's leases. That protocol
/// knows no authentication, so beyond loopback whoever reaches the port may take locks.
///
/// With --coordinator and the URL of a Redis or an etcd it is a door to the domain there, for those who ask over HTTP: it keeps nothing, and several may stand
/// side by side.
///
/// Beyond loopback it wants encryption and tokens: whoever asks then shows a token, which may look, work, deploy, or do everything.
///
/// Example: stagger lockserver --api 10.0.0.5:7532 --tls-cert tls.crt --tls-key tls.key --tokens /etc/stagger/tokens
#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct LockserverArgs {
    #[command(subcommand)]
    command: Option<Command>,
    /// The folder of its state [default: STATE_DIRECTORY, else /var/lib/stagger-locks]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Listen here; port 0 takes any
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7532")]
    api: SocketAddr,
    /// Listen here for clients of poolcounterd; port 7531 unless said, and loopback without an address
    #[arg(short = 'l', long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = POOLCOUNTER_DEFAULT)]
    poolcounter: Option<String>,
    #[command(flatten)]
    access: access::AccessArgs,
}

/// What else is done with a lock server than to run it.
#[derive(Debug, Clone, clap::Subcommand)]
enum Command {
    Token(token::TokenArgs),
}

/// Runs it until a signal ends it.
pub(crate) async fn run(args: LockserverArgs, context: &Context) -> Result<u8, Failure> {
    if let Some(Command::Token(args)) = args.command {
        return token::run(args, context);
    }
    let relayed = match &context.globals.coordinator {
        None => None,
        Some(url) => Some(relayed(url, &args, context)?),
    };
    let access = args.access.settings(args.api)?;
    let door = args.poolcounter.as_deref().map(poolcounter_address).transpose()?;
    logging::start();
    let failed = |error| Failure::system("listen for signals", error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let unbound = |error| Failure::system(format!("listen on {}", args.api), error);
    let listener = TcpListener::bind(args.api).await.map_err(|error| taken(args.api, error))?;
    let scheme = if access.tls.is_some() { "https" } else { "http" };
    let api = format!("{scheme}://{}", listener.local_addr().map_err(unbound)?);
    let door = door.map(poolcounter_door).transpose()?;
    if let Some(mailbox) = relayed {
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
        let shutdown = async move {
            notify::ready();
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            notify::stopping(STOP_MAX);
            tracing::info!("stopping");
        };
        relay::run(listener, mailbox, &domain, &access, shutdown).await.map_err(failure)?;
        return Ok(exit::OK);
    }
    let data = args.data.or_else(state_directory).unwrap_or_else(|| PathBuf::from(DATA_DEFAULT));
    let (as_json, told) = (context.globals.json, data.clone());
    let (door, address) = door.unzip();
    let tell = move || match (as_json, address) {
        (true, None) => out::json(&json!({ "api": api, "data": told })),
        (true, Some(address)) => out::json(&json!({ "api": api, "data": told, "poolcounter": address })),
        (false, None) => out::result(&format!("{api}  state in {}", told.display())),
        (false, Some(address)) => {
            out::result(&format!("{api}  state in {}\n{address}  for clients of poolcounterd", told.display()))
        }
    };
    // The server first asks whether to stop when it serves; before that its address is not worth telling.
    let shutdown = async move {
        let _nobody_reads_it = tell();
        notify::ready();
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        notify::stopping(STOP_MAX);
        tracing::info!("stopping");
    };
    let options = Options { poolcounter: door, access, ..options(data) };
    ::lockserver::run(listener, options, shutdown).await.map_err(failure)?;
    Ok(exit::OK)
}

/// The way to the store to which it is a door.
fn relayed(url: &str, args: &LockserverArgs, context: &Context) -> Result<Arc<Mailbox>, Failure> {
    if args.poolcounter.is_some() {
        let hint = "start a lock server of its own for them, or leave -l out";
        return Err(Failure::usage("a door to a store has none for clients of poolcounterd", hint));
    }
    if args.data.is_some() {
        return Err(Failure::usage("a door to a store keeps nothing, so --data has no use", "leave one of both out"));
    }
    let url: CoordinatorUrl = url.parse().map_err(|error| no_coordinator(url, &error))?;
    let mailbox = context.seats.mailbox(url.as_str()).map_err(|error| Failure::usage(error.to_string(), ""))?;
    mailbox.ok_or_else(|| {
        let what = format!("a lock server keeps its own state here, and --coordinator {url} would name another's");
        Failure::usage(
            what,
            "leave --coordinator out; --data says where the state is. Or name a Redis or an etcd, to be a door to it",
        )
    })
}

/// Where to listen for clients of poolcounterd. What is no address ends it as it ends poolcounterd.
fn poolcounter_address(typed: &str) -> Result<SocketAddr, Failure> {
    let whole = typed.parse().or_else(|_| typed.parse().map(|ip| SocketAddr::new(ip, poolcounter::PORT)));
    whole.map_err(|_| Failure::Work {
        what: format!("address `{typed}` is not valid to listen on"),
        hint: format!("write an IP address, with its port unless that is {}: -l 10.0.0.5", poolcounter::PORT),
        code: exit::FAILED,
    })
}

/// The listening socket for clients of poolcounterd, and its address.
fn poolcounter_door(address: SocketAddr) -> Result<(std::net::TcpListener, SocketAddr), Failure> {
    let bound =
        poolcounter::bind(address).and_then(|listener| listener.local_addr().map(|address| (listener, address)));
    bound.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::AddrInUse => "poolcounterd runs here, or another program has the port: -l ADDRESS:PORT",
            _ => "",
        };
        Failure::Work {
            what: format!("cannot listen on {address}: {error}"),
            hint: hint.to_owned(),
            code: exit::FAILED,
        }
    })
}

/// Why it cannot listen, and what to do where another program does.
fn taken(api: SocketAddr, error: std::io::Error) -> Failure {
    let hint = match error.kind() {
        ErrorKind::AddrInUse => "a lock server runs here already, or another program has the port: --api ADDRESS:PORT",
        _ => "",
    };
    Failure::Work { what: format!("cannot listen on {api}: {error}"), hint: hint.to_owned(), code: exit::FAILED }
}

fn options(folder: PathBuf) -> Options {
    let cut = std::env::var(POWER_CUT_VARIABLE).ok().filter(|_| cfg!(debug_assertions));
    let mut options = Options::folder(&folder);
    if let Some(cut) = cut.and_then(|cut| cut.parse().ok()) {
        options.place = Place::Fragile { folder, cut };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_state_does_not_lie_in_the_folder_of_a_worker() {
        assert_ne!(DATA_DEFAULT, crate::config::STATE_DEFAULT);
        let help =
            crate::cli::command().find_subcommand_mut("lockserver").expect("there").render_long_help().to_string();
        assert!(help.contains(&format!("else {DATA_DEFAULT}]")), "{help}");
    }

    #[test]
    fn where_poolcounter_clients_come_in_is_typed_as_for_poolcounterd() {
        let read = |typed| poolcounter_address(typed).map(|address| address.to_string());
        assert_eq!(read("10.0.0.5").ok().as_deref(), Some("10.0.0.5:7531"));
        assert_eq!(read("::1").ok().as_deref(), Some("[::1]:7531"));
        assert_eq!(read("127.0.0.1:0").ok().as_deref(), Some("127.0.0.1:0"));
        assert_eq!(read("[::1]:75").ok().as_deref(), Some("[::1]:75"));
        for wrong in ["", "localhost", "10.0.0", "7531", "10.0.0.5:x"] {
            let failure = read(wrong).expect_err("no address");
            assert!(matches!(failure, Failure::Work { code: 1, .. }));
            assert!(failure.render().starts_with(&format!("error: address `{wrong}` is not valid to listen on")));
        }
    }

    #[test]
    fn a_taken_port_says_what_to_do() {
        let api = "127.0.0.1:7532".parse().expect("an address");
        let failure = taken(api, ErrorKind::AddrInUse.into()).render();
        assert!(failure.starts_with("error: cannot listen on 127.0.0.1:7532: "), "{failure}");
        assert!(failure.ends_with("has the port: --api ADDRESS:PORT"), "{failure}");
    }
}
