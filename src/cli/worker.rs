//! `stagger worker`: restarts this host's services when a deploy is announced.
//!
//! Owns how it is started and ended. What it does is the module `worker`.

use super::context::Context;
use super::failure::Failure;
use super::{exit, logging, notify};
use crate::config::ServiceConfig;
use crate::worker::{self, Options, WorkerError};
use std::io::ErrorKind;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The variables by which tests of crashes kill the worker at a moment of its journal, the second as a power cut would: what was
/// not synced is lost. At the third's it waits, while a test kills something else. Only builds with debug assertions obey.
const CRASH_VARIABLE: &str = "STAGGER_CRASH_AT";
const POWER_CUT_VARIABLE: &str = "STAGGER_POWER_CUT_AT";
const PAUSE_VARIABLE: &str = "STAGGER_PAUSE_AT";

/// What stopping may take beside the sequence itself: a last report, and the goodbye.
const GOODBYE_MAX: Duration = Duration::from_secs(30);

/// Restart this host's services when a deploy is announced
///
/// One per host, run by the service manager. It joins, restarts what it owes as its leases allow, reports, and serves its
/// metrics. While the coordinator cannot be reached it goes on trying and restarts nothing. TERM stops it at the next safe
/// point. What it had begun when it was killed is finished, or undone, by the next start. A service manager that understands
/// sd_notify(3) is told when it is ready, that it lives, and how long it may take to stop.
///
/// Example: stagger worker -c /etc/stagger/stagger.toml
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WorkerArgs {}

/// Runs it until a signal ends it.
pub(crate) async fn run(_: WorkerArgs, context: &Context) -> Result<u8, Failure> {
    let config = context.config()?;
    logging::start();
    let failed = |error| Failure::system("listen for signals", error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let longest_end = config.services.values().map(ServiceConfig::longest_end).max().unwrap_or_default();
    // The worker first asks whether to stop when it is at work: its metrics are served, and the folder is its own.
    let shutdown = async move {
        notify::ready(|| true);
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        notify::stopping(longest_end.saturating_add(GOODBYE_MAX));
        tracing::info!("stopping at the next safe point");
    };
    let coordinator = (context.seats.known_by(&config.credentials).reach(config.coordinator.as_str()))
        .map_err(|error| failure(WorkerError::Coordinator(error)))?;
    worker::run(&config, coordinator, options(), None, shutdown).await.map_err(failure)?;
    Ok(exit::OK)
}

/// What a worker is given beside its configuration.
pub(super) fn options() -> Options {
    let moment = |variable| std::env::var(variable).ok().filter(|_| cfg!(debug_assertions))?.parse().ok();
    Options {
        exe: std::env::current_exe().ok(),
        crash_at: moment(CRASH_VARIABLE),
        power_cut_at: moment(POWER_CUT_VARIABLE),
        pause_at: moment(PAUSE_VARIABLE),
    }
}

/// Why it cannot run, as it is told.
pub(super) fn failure(error: WorkerError) -> Failure {
    match error {
        WorkerError::UnknownService { .. } => {
            Failure::Refused { why: error.to_string(), hint: "stagger.toml names them: [service.NAME]".to_owned() }
        }
        WorkerError::Duplicate { .. } => Failure::Work {
            what: error.to_string(),
            hint: "is another worker running here? Else give this host a name of its own: host = \"…\"".to_owned(),
            code: exit::FAILED,
        },
        WorkerError::Listen { ref source, .. } if source.kind() == ErrorKind::AddrInUse => Failure::Work {
            what: error.to_string(),
            hint: "another worker on this machine? Each needs its own host, listen and state: listen = \"127.0.0.1:0\" takes \
                   any free port"
                .to_owned(),
            code: exit::FAILED,
        },
        other => Failure::Work { what: other.to_string(), hint: String::new(), code: exit::FAILED },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_address_says_what_a_second_worker_needs() {
        let listen =
            |kind: ErrorKind| WorkerError::Listen { address: "127.0.0.1:7533".to_owned(), source: kind.into() };
        let told = failure(listen(ErrorKind::AddrInUse)).render();
        assert!(told.starts_with("error: cannot listen on 127.0.0.1:7533: "), "{told}");
        assert!(told.ends_with("listen = \"127.0.0.1:0\" takes any free port"), "{told}");
        assert!(!failure(listen(ErrorKind::PermissionDenied)).render().contains("hint:"));
    }
}
