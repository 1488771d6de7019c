//! The demo's coordinator: a lock server of its own in this process, or a domain of its own in a store that is there.
//!
//! Owns what it starts there, and clears it away.

use crate::cli::demo::fleet::{FleetError, bind};
use crate::cli::seat::Seats;
use coordinator::remote::Remote;
use coordinator::store::{self, Store};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long the lock server may take to stop; it says itself that it takes 3 s at most.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the leases of the pretend fleet lie.
#[derive(Debug)]
pub(super) struct Locks {
    coordinator: Remote,
    /// The URL, as a worker's configuration names it.
    url: String,
    /// The stores in whose seats this process may sit.
    seats: Seats,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// In a lock server of the demo's own.
    Server {
        /// The server.
        task: JoinHandle<Result<(), lockserver::Error>>,
        /// Dropped, it stops.
        stop: oneshot::Sender<()>,
    },
    /// In a store.
    Store(Arc<dyn Store>),
}

impl Locks {
    /// Starts a lock server whose state lies in this folder; or reaches this store.
    ///
    /// # Errors
    /// The system refuses a socket; or the URL is no store's.
    pub(super) async fn start(store: Option<&str>, folder: &Path) -> Result<Locks, FleetError> {
        match store {
            Some(url) => Locks::in_store(url),
            None => Locks::serve(folder).await,
        }
    }

    async fn serve(folder: &Path) -> Result<Locks, FleetError> {
        let (listener, address) = bind().await?;
        let (stop, stopped) = oneshot::channel::<()>();
        let data = lockserver::Options::folder(folder.join("lockserver"));
        let task = tokio::spawn(lockserver::run(listener, data, async move {
            // A sender that is gone means the same.
            let _ = stopped.await;
        }));
        Locks::reach(format!("http://{address}"), Place::Server { task, stop })
    }

    fn in_store(url: &str) -> Result<Locks, FleetError> {
        let url = of_own(url, std::process::id());
        let Some(store) = store::open(&url)? else { return Err(FleetError::NoStore(url)) };
        Locks::reach(url, Place::Store(store))
    }

    fn reach(url: String, place: Place) -> Result<Locks, FleetError> {
        let seats = Seats::default();
        Ok(Locks { coordinator: seats.reach(&url)?, url, seats, place })
    }

    /// Its client.
    pub(super) fn coordinator(&self) -> &Remote {
        &self.coordinator
    }

    /// Its URL, as a worker's configuration names it.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// What keeps the leases, in a word or two.
    pub(super) fn keeper(&self) -> &'static str {
        match self.place {
            Place::Server { .. } => "lock server",
            Place::Store(_) => "store",
        }
    }

    /// Stops the lock server; removes the domain from the store. No worker may run any more.
    ///
    /// # Errors
    /// Something may be left.
    pub(super) async fn stop(self) -> Result<(), FleetError> {
        self.seats.leave().await;
        match self.place {
            Place::Server { mut task, stop } => {
                drop(stop);
                match tokio::time::timeout(STOP_TIMEOUT, &mut task).await {
                    Ok(ended) => ended.map_err(FleetError::from).and_then(|ended| ended.map_err(FleetError::from)),
                    Err(_) => {
                        task.abort();
                        Err(FleetError::Unstopped)
                    }
                }
            }
            Place::Store(store) => {
                let uncleared = |source| FleetError::Uncleared { store: store.name(), source };
                lockserver::steward::clear(&*store).await.map_err(uncleared)
            }
        }
    }
}

/// The URL of a domain of the demo's own, beside those that are in the store already.
fn of_own(url: &str, number: u32) -> String {
    let (place, query) = url.split_once('?').map_or((url, None), |(place, query)| (place, Some(query)));
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/demo-{number}{query}", place.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_domain_is_its_own() {
        assert_eq!(of_own("redis://a:6379", 7), "redis://a:6379/demo-7");
        assert_eq!(of_own("etcds://a:2379,b:2379/?ca=/x.pem", 7), "etcds://a:2379,b:2379/demo-7?ca=/x.pem");
        assert_eq!(of_own("redis+sentinel://a:1,b:2/mymaster", 7), "redis+sentinel://a:1,b:2/mymaster/demo-7");
    }
}
