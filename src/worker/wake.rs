//! The socket by which a command on this host tells its worker that it has moved the host, so that the worker looks at once.
//!
//! Owns the socket in the state folder. What is sent says nothing but that; a worker that never hears it looks within a minute
//! all the same. Listened to by the driver of the daemon; told by one-shot commands.

use std::io;
use std::os::unix::net;
use std::path::Path;
use tokio::net::UnixDatagram;

/// The socket in the state folder.
const SOCKET_FILE: &str = "wake";

/// What a daemon listens on.
#[derive(Debug)]
pub(super) struct Wake {
    socket: UnixDatagram,
}

impl Wake {
    /// Listens in this state folder, of which the caller has the daemon's lock: what a worker before it left is taken away.
    ///
    /// # Errors
    /// There can be no socket: the folder's path is too long for one, or it cannot be written to.
    pub(super) fn listen(state: &Path) -> io::Result<Wake> {
        let path = state.join(SOCKET_FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Wake { socket: UnixDatagram::bind(path)? })
    }

    /// Ends when somebody has told it so. Dropping the future loses nothing.
    pub(super) async fn told(&self) {
        if self.socket.recv(&mut [0]).await.is_err() {
            return std::future::pending().await;
        }
        // Told several times is told once.
        while self.socket.try_recv(&mut [0]).is_ok() {}
    }
}

/// Tells the worker of this state folder, when one runs, that the host was moved. Never waits.
pub fn wake(state: &Path) {
    let told = net::UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.send_to(&[0], state.join(SOCKET_FILE))
    });
    if let Err(error) = told {
        tracing::debug!(%error, "no worker was told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_told_once_however_often_and_a_missing_worker_is_no_error() {
        let folder = tempfile::tempdir().expect("a folder");
        wake(folder.path());
        for _ in 0..2 {
            // The second one finds the socket of the first.
            let listening = Wake::listen(folder.path()).expect("a socket");
            (0..3).for_each(|_| wake(folder.path()));
            tokio::time::timeout(crate::probe::fixture::DEADLINE, listening.told()).await.expect("told");
            let again = std::pin::pin!(listening.told());
            assert!(futures_util::FutureExt::now_or_never(again).is_none());
        }
    }
}
