//! The poolcounter door: the protocol of poolcounterd, for its clients.
//!
//! Reading order: `line` (bytes to lines), `command` (lines to commands), `keys` (what is decided, pure), its words in `effect` and its `stats`;
//! `leases` (keys that name a pool are decided by the domain), `socket` and `serve` (one thread for all connections), `inbox` (how
//! the rest of the server speaks to that thread). docs/poolcounter.md says where it differs from poolcounterd.

mod command;
mod effect;
mod inbox;
mod keys;
mod leases;
mod line;
mod serve;
mod socket;
mod stats;

#[doc(hidden)]
pub use command::{Command, Wanted, parse};
pub(crate) use inbox::{Inbox, Locks};
#[doc(hidden)]
pub use line::{Cut, LINE_BYTES_MAX, cut};
pub use serve::bind;

use crate::access::Access;
use crate::domain::Domain;
use leases::Leases;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The port of the protocol.
pub const PORT: u16 = 7531;
/// How long closing may take.
const CLOSE_WAIT: Duration = Duration::from_millis(500);

/// An open door. Dropped, it closes, and forgets the locks of all keys that name no pool.
#[derive(Debug)]
pub(crate) struct Door {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<Leases>>,
    ended: oneshot::Receiver<()>,
}

impl Door {
    /// Opens it: from now on connections to the listener are served, by a thread of its own.
    ///
    /// # Errors
    /// There is no thread, or no file descriptor, to be had.
    pub(crate) fn open(
        listener: TcpListener,
        domain: Arc<Domain>,
        access: Arc<Access>,
        connections_max: usize,
    ) -> io::Result<Door> {
        let inbox = Arc::new(Inbox::new()?);
        // A domain has one.
        let _ = domain.poolcounter.set(Arc::clone(&inbox));
        let leases = Leases::new(domain, Handle::current(), Arc::clone(&inbox));
        let mut shop = serve::Shop::new(listener, leases, access, Arc::clone(&inbox), connections_max)?;
        let (ends, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("poolcounter".to_owned()).spawn(move || {
            // Dropped when the thread ends, however it does.
            let _ends: oneshot::Sender<()> = ends;
            shop.serve();
            shop.into_leases()
        })?;
        Ok(Door { inbox, thread: Some(thread), ended })
    }

    /// Waits until it is closed by a fault of its own.
    pub(crate) async fn ended(&mut self) {
        // It says nothing; it is dropped.
        let _ = (&mut self.ended).await;
    }

    /// Closes it: whoever waits is told, and waits in no pool any more. Leases of pools stay: their holders may be at work.
    pub(crate) async fn close(mut self) {
        self.inbox.stop();
        let Some(thread) = self.thread.take() else { return };
        let closing = async {
            if let Ok(Ok(leases)) = tokio::task::spawn_blocking(move || thread.join()).await {
                leases.abandon().await;
            }
        };
        if tokio::time::timeout(CLOSE_WAIT, closing).await.is_err() {
            tracing::warn!("the poolcounter door takes too long to close");
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.inbox.stop();
    }
}
