//! Backups of the store that is written meanwhile: one at a time, of one moment, sent as fast as it is taken.
//!
//! It is read at once, from a snapshot of redb's: nothing that is decided waits for it. What a client does not take within some time
//! ends its backup, so that nobody keeps others from theirs for ever.

use super::write;
use crate::clock;
use crate::store::StoreError;
use crate::store::reading::{Contents, Reader};
use futures_util::stream::{self, BoxStream};
use model::time::Wall;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// About how many bytes are sent at once.
const PART_BYTES: usize = 64 * 1024;
/// How many parts may wait for the client.
const PARTS_MAX: usize = 4;

/// Where backups are taken.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    reader: Reader,
    turn: Arc<Semaphore>,
}

/// Why no backup was begun. Each fits after "cannot take a backup: ".
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoBackup {
    /// Another one is being taken.
    #[error("another one is being taken; try again when that is over")]
    Busy,
    /// The server stops.
    #[error("the store is closed")]
    Closed,
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Desk {
    pub(crate) fn new(reader: Reader) -> Desk {
        Desk { reader, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Begins one of this moment: everything that was answered before is in it. Its parts come as the client takes them, each within
    /// `patience`. `done` is called when the last one was taken.
    ///
    /// # Errors
    /// None was begun.
    pub(crate) async fn take(
        &self,
        patience: Duration,
        done: impl FnOnce(Wall) + Send + 'static,
    ) -> Result<BoxStream<'static, io::Result<Vec<u8>>>, NoBackup> {
        let turn = Arc::clone(&self.turn).try_acquire_owned().map_err(|_| NoBackup::Busy)?;
        let reader = self.reader.clone();
        let read = tokio::task::spawn_blocking(move || reader.contents()).await.map_err(|_| NoBackup::Closed)?;
        let contents = read.ok_or(NoBackup::Closed)??;
        let (send, receive) = mpsc::channel(PARTS_MAX);
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            let taken = clock::wall();
            let parts = Parts { send: send.clone(), runtime: runtime.clone(), patience };
            match send_all(&contents, taken, parts, turn) {
                Ok(()) => done(taken),
                Err(cause) => {
                    tracing::warn!("a backup was not taken to its end: {cause}");
                    // What ends without this would look whole.
                    let _nobody_listens = send.try_send(Err(cause));
                }
            }
        });
        let parts = stream::unfold(receive, |mut receive| async { receive.recv().await.map(|part| (part, receive)) });
        Ok(Box::pin(parts))
    }
}

fn send_all(contents: &Contents, taken: Wall, parts: Parts, _turn: OwnedSemaphorePermit) -> io::Result<()> {
    let mut buffered = BufWriter::with_capacity(PART_BYTES, parts);
    write(contents, taken, &mut buffered)?;
    buffered.flush()
}

/// What is written goes to the client, or nowhere when it does not take it in time.
struct Parts {
    send: mpsc::Sender<io::Result<Vec<u8>>>,
    runtime: Handle,
    patience: Duration,
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = async { tokio::time::timeout(self.patience, self.send.send(Ok(bytes.to_vec()))).await };
        match self.runtime.block_on(sent) {
            Ok(Ok(())) => Ok(bytes.len()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client went away")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not take it")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
