//! Access: who may come in, and what each may do.
//!
//! Reading order. Pure: [`secret`] (the text of a token), [`tokens`] (who is known, and the file that says so), `routes` (what each
//! path and method needs), `bearer` (what a request brings), `judge` (whether it may), `limits` (how often). Shells: [`keep`] (the
//! tokens on disk), `certificates` (TLS), `watched` (files that change), `admission` (connections), `guard` (requests), `count` (metrics and the log).
//!
//! Called by whoever serves connections, in front of the doors; the doors know of it no more than who asked. Decides nothing about
//! leases.

mod admission;
mod bearer;
mod certificates;
mod count;
mod guard;
mod judge;
pub mod keep;
mod limits;
mod routes;
pub mod secret;
mod settings;
pub mod tokens;
mod watched;

pub use settings::{Allow, Limits, NETWORK, Settings, Tls, network};

pub(crate) use admission::{Admitted, Peer};
pub(crate) use guard::{Asker, guard};

use crate::clock::Stopwatch;
use admission::Connected;
use certificates::Certificates;
use count::Count;
use ipnet::IpNet;
use keep::KeepError;
use limits::Buckets;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokens::Tokens;
use tokio::sync::watch;
use watched::Watched;

/// How often it is looked whether a file has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a lock server cannot protect itself as it was told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tokens.
    #[error(transparent)]
    Tokens(#[from] KeepError),
    /// The certificates.
    #[error(transparent)]
    Certificates(#[from] certificates::CertificateError),
}

/// What stands in front of the doors of one lock server.
#[derive(Debug)]
pub(crate) struct Access {
    /// Who is known; nobody need be when there is none.
    tokens: Option<Watched<Tokens>>,
    /// How often they were read again.
    reads: watch::Sender<u64>,
    certificates: Option<Certificates>,
    allow: Allow,
    connected: Connected,
    /// How often each address, and each token, may ask.
    addresses: Option<Mutex<Buckets<IpAddr>>>,
    names: Option<Mutex<Buckets<Arc<str>>>>,
    started: Stopwatch,
    count: Count,
    /// The name of the domain in paths, beside none at all.
    domain: String,
    /// How long a body may take to arrive.
    body_wait: Duration,
}

impl Access {
    /// Reads what the settings name.
    ///
    /// # Errors
    /// A file cannot be read, or is damaged.
    pub(crate) fn open(settings: &Settings, domain: &str, body_wait: Duration) -> Result<Arc<Access>, Error> {
        let tokens = settings.tokens.as_deref().map(watched).transpose()?;
        let certificates = settings.tls.as_ref().map(Certificates::open).transpose()?;
        let limits = settings.bounds();
        Ok(Arc::new(Access {
            tokens,
            reads: watch::Sender::new(0),
            certificates,
            allow: settings.allow.clone(),
            connected: Connected::new(limits.connections),
            addresses: Buckets::of(limits.requests, limits.burst).map(Mutex::new),
            names: Buckets::of(limits.requests, limits.burst).map(Mutex::new),
            started: Stopwatch::start(),
            count: Count::new(),
            domain: domain.to_owned(),
            body_wait,
        }))
    }

    /// Reads again what has changed on disk, for ever: the caller drops it.
    pub(crate) async fn watch(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Some(tokens) = &self.tokens {
                let before = tokens.get();
                self.count.tokens_read(tokens.look());
                if !Arc::ptr_eq(&before, &tokens.get()) {
                    self.reads.send_modify(|reads| *reads += 1);
                }
            }
            if let Some(certificates) = &self.certificates {
                self.count.certificates_read(certificates.look());
            }
        }
    }

    /// Whether a client of the poolcounter door may come from where it does, which is asked when it matters; one that may not is
    /// counted.
    pub(crate) fn admits_poolcounter(&self, from: impl FnOnce() -> Option<IpAddr>) -> bool {
        if self.allow.poolcounter.is_empty() {
            return true;
        }
        let Some(from) = from() else { return false };
        let admits = within(&self.allow.poolcounter, from);
        if !admits {
            self.count.refused(&judge::Refusal::network(), from);
        }
        admits
    }

    /// The milliseconds since the start, for the limits.
    fn now_ms(&self) -> u64 {
        self.started.elapsed_us() / 1_000
    }
}

fn watched(path: &Path) -> Result<Watched<Tokens>, KeepError> {
    Watched::open(vec![path.to_owned()], {
        let path = path.to_owned();
        move || keep::load(&path)
    })
}

/// Whether an address is in one of these networks; in any when none is named.
fn within(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.is_empty() || networks.iter().any(|network| network.contains(&address))
}

/// What a mutex guards, whatever became of who held it: everything here is whole after each statement.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
