//! The way to a coordinator: over HTTP, or through a store that the fleet shares. In that store's seat this process sits down
//! when something is asked and nobody else sits there.
//!
//! Owns that it gets up again when the command ends. Decides nothing about leases: the steward does, as a lock server would.

use ::lockserver::steward;
use coordinator::mailbox::Mailbox;
use coordinator::remote::{Credentials, Remote};
use coordinator::{Error, store};
use model::passage::without_login;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long getting up may take; after that the seat is found empty some seconds later.
const LEAVE_WAIT: Duration = Duration::from_secs(2);

/// The stores that a command has reached so far, and what lock servers know it by.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seats {
    attending: Arc<Mutex<Vec<Attending>>>,
    credentials: Credentials,
}

/// One store, in whose seat this process may sit.
#[derive(Debug)]
struct Attending {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Seats {
    /// The same, for lock servers that are to know who asks.
    pub(crate) fn known_by(&self, credentials: &Credentials) -> Seats {
        Seats { credentials: credentials.clone(), ..self.clone() }
    }

    /// The coordinator at this URL. Asks nothing yet.
    ///
    /// # Errors
    /// The URL is none.
    pub(crate) fn reach(&self, url: &str) -> Result<Remote, Error> {
        let seats = self.clone();
        let reach = move |to: &str| {
            let shown = without_login(to);
            tracing::warn!("the domain was moved: asks {shown} from now on; name it in the configuration");
            seats.reach_here(to)
        };
        Ok(self.reach_here(url)?.following(Arc::new(reach)))
    }

    /// The same, but that it asks just there, also when the domain was moved elsewhere.
    ///
    /// # Errors
    /// The URL is none.
    pub(crate) fn reach_here(&self, url: &str) -> Result<Remote, Error> {
        Ok(match self.mailbox(url)? {
            Some(mailbox) => Remote::through(mailbox),
            None => Remote::known(url, &self.credentials)?,
        })
    }

    /// The mailbox in the store at this URL, in whose seat this process may sit from now on; none when it is no store's.
    ///
    /// # Errors
    /// It is the URL of a store, and wrong.
    pub(crate) fn mailbox(&self, url: &str) -> Result<Option<Arc<Mailbox>>, Error> {
        let Some(store) = store::open(url)? else { return Ok(None) };
        let mailbox = Mailbox::new(Arc::clone(&store))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            // A sender that is gone means the same.
            let _ = stopped.await;
        };
        let task = tokio::spawn(steward::attend(store, mailbox.vacancy(), shutdown));
        self.attending.lock().unwrap_or_else(PoisonError::into_inner).push(Attending { stop, task });
        Ok(Some(mailbox))
    }

    /// Gets up wherever this process sits, so that another can sit at once.
    pub(crate) async fn leave(&self) {
        let attending = std::mem::take(&mut *self.attending.lock().unwrap_or_else(PoisonError::into_inner));
        for Attending { stop, task } in attending {
            drop(stop);
            // One that does not end in time ends with the process.
            let _ = tokio::time::timeout(LEAVE_WAIT, task).await;
        }
    }
}
