//! One command on a runtime socket: a connection of its own, a bounded answer, a bounded time.
//!
//! Owns what a whole answer is. HAProxy ends each one with an empty line, and then the connection; what ends otherwise was cut.

use crate::config::depool::haproxy::Socket;
use crate::probe::observation::excerpt;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// Largest answer, in bytes: some 20,000 servers of one backend.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// There is no answer that could be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    /// Nobody accepts a connection, or it broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The answer did not come, or did not end, in time.
    #[error("it did not answer within {}", model::settings::span(model::time::millis(*after)))]
    Silent {
        /// How long it was given.
        after: Duration,
    },
    /// The connection was closed before the answer's end.
    #[error("its answer was cut off: {beginning:?}")]
    Cut {
        /// What came.
        beginning: String,
    },
    /// A web server answered.
    #[error("this is HTTP, not a runtime socket")]
    Http,
    /// More than [`ANSWER_BYTES_MAX`].
    #[error("its answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
}

/// Sends one command, and returns its whole answer without the empty line at its end.
///
/// # Errors
/// See [`SocketError`]. What HAProxy says in refusal is an answer.
pub(super) async fn ask(socket: &Socket, command: &str, within: Duration) -> Result<String, SocketError> {
    let exchange = async {
        match socket {
            Socket::Tcp(address) => exchange(TcpStream::connect(address).await?, command).await,
            Socket::Unix(path) => exchange(UnixStream::connect(path).await?, command).await,
        }
    };
    let bytes = timeout(within, exchange).await.map_err(|_elapsed| SocketError::Silent { after: within })??;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > ANSWER_BYTES_MAX {
        return Err(SocketError::TooLong);
    }
    let answer = String::from_utf8_lossy(&bytes);
    if answer.starts_with("HTTP/") {
        return Err(SocketError::Http);
    }
    match answer.strip_suffix('\n') {
        Some(whole) if whole.is_empty() || whole.ends_with('\n') => Ok(whole.to_owned()),
        _ => Err(SocketError::Cut { beginning: excerpt(&answer) }),
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, command: &str) -> io::Result<Vec<u8>> {
    stream.write_all(format!("{command}\n").as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut bytes).await?;
    Ok(bytes)
}
