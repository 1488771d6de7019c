//! The lease under which the seat lies, kept alive. Etcd does that without a proposal.

use super::fault::Fault;
use super::link::{Kind, Link};
use etcd_client::{Error, LeaseKeepAliveStream, LeaseKeeper};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long etcd may take to say that the seat is kept.
const STAY_WAIT: Duration = Duration::from_secs(2);
/// A commit keeps the seat, but not more often.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// A lease that ends soon, unless it is kept.
pub(super) struct KeptLease {
    id: i64,
    keeping: Mutex<Keeping>,
}

struct Keeping {
    stream: Option<KeepStream>,
    kept_at: Instant,
}

struct KeepStream {
    /// The connection that it is part of.
    session: u64,
    keeper: LeaseKeeper,
    stream: LeaseKeepAliveStream,
}

impl KeptLease {
    /// The lease of this name, granted just now.
    pub(super) fn new(id: i64) -> KeptLease {
        KeptLease { id, keeping: Mutex::new(Keeping { stream: None, kept_at: Instant::now() }) }
    }

    fn kept(&self) -> MutexGuard<'_, Keeping> {
        self.keeping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps it; [`Fault::NoLease`] when it ended.
    pub(super) async fn keep(&self, link: &Link) -> Result<(), Fault> {
        // Not in its place while it is used: given up, it is not used again, and no old word is taken for a new one.
        let kept = self.kept().stream.take();
        if let Some(mut kept) = kept {
            let told = async {
                kept.keeper.keep_alive().await?;
                kept.stream.message().await
            };
            match timeout(STAY_WAIT, told).await {
                Ok(Ok(Some(told))) if told.ttl() > 0 => {
                    *self.kept() = Keeping { stream: Some(kept), kept_at: Instant::now() };
                    return Ok(());
                }
                Ok(Ok(Some(_))) => return Err(Fault::NoLease),
                // Broken off: begun again below.
                Ok(_) => {}
                Err(_) => link.give_up(kept.session).await,
            }
        }
        let lease = self.id;
        let begin = link.ask(Kind::Read, |mut session| async move {
            match timeout(STAY_WAIT, session.client.lease_keep_alive(lease)).await {
                Ok(begun) => begun.map(|(keeper, stream)| KeepStream { session: session.number, keeper, stream }),
                Err(_) => Err(Error::WatchError("it does not say whether the seat is kept".to_owned())),
            }
        });
        *self.kept() = Keeping { stream: Some(begin.await?), kept_at: Instant::now() };
        Ok(())
    }

    /// A steward that commits needs not say that it stays.
    pub(super) async fn keep_now_and_then(&self, link: &Link) {
        let kept_at = self.kept().kept_at;
        if kept_at.elapsed() >= KEEP_EVERY {
            // The next one does it, or a stay that says what is wrong.
            let _ = self.keep(link).await;
        }
    }
}
