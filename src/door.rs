//! The small doors of a worker, its metrics and its health URLs: whoever connects there takes no more of it than is set aside.
//!
//! Owns the bounds: how many connections there are, and how long each may last. When there are too many, the oldest make room: who
//! is answered at once is gone long before. Knows nothing of what is asked. Called by the telemetry and the balancers.

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::map_response;
use axum::response::Response;
use axum::serve::Listener;
use std::collections::VecDeque;
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot::{Receiver, Sender, channel};
use tokio::time::{Sleep, sleep};

/// Most connections of one door.
pub const CONNECTIONS_MAX: usize = 64;
/// How long a connection may last, whatever is asked over it.
pub const LASTS_MAX: Duration = Duration::from_secs(5);
/// How long accepting rests after it failed, which is when there are no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until it is dropped: one request over each connection, so that none is asked over that is about to end.
///
/// # Errors
/// None that is known.
pub async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    let router = router.layer(map_response(|mut response: Response| async {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }));
    axum::serve(Door { listener, inside: VecDeque::new() }, router).await
}

struct Door {
    listener: TcpListener,
    /// The connections that there are, the oldest first: dropped, its end makes one go.
    inside: VecDeque<Sender<()>>,
}

impl Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => return (self.admit(stream), address),
                Err(error) => {
                    tracing::debug!(%error, "no connection can be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Door {
    fn admit(&mut self, stream: TcpStream) -> Connection {
        self.inside.retain(|connection| !connection.is_closed());
        while self.inside.len() >= CONNECTIONS_MAX {
            self.inside.pop_front();
        }
        let (stays, must_go) = channel();
        self.inside.push_back(stays);
        Connection { stream, until: Box::pin(sleep(LASTS_MAX)), must_go, is_over: false }
    }
}

/// A connection that ends when its time is over, or when it must make room.
struct Connection {
    stream: TcpStream,
    until: Pin<Box<Sleep>>,
    must_go: Receiver<()>,
    is_over: bool,
}

impl Connection {
    fn may_go_on(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        self.is_over = self.is_over
            || self.until.as_mut().poll(context).is_ready()
            || Pin::new(&mut self.must_go).poll(context).is_ready();
        if self.is_over { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.may_go_on(context)?;
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.may_go_on(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.may_go_on(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.may_go_on(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::io::Read as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::{Instant, timeout};

    const SOON: Duration = Duration::from_secs(30);

    async fn door() -> (SocketAddr, tokio::task::JoinHandle<io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        (address, tokio::spawn(serve(listener, Router::new().route("/", get(|| async { "well\n" })))))
    }

    async fn answer(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        timeout(SOON, stream.read_to_string(&mut answer)).await.expect("in time").expect("an answer");
        answer
    }

    /// Whether the other end has closed it.
    fn is_closed(stream: &std::net::TcpStream) -> bool {
        stream.set_nonblocking(true).expect("a socket");
        let mut stream = stream;
        !matches!(stream.read(&mut [0; 16]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn however_many_stand_at_the_door_whoever_asks_is_answered() {
        let (address, serving) = door().await;
        let mut idle: Vec<std::net::TcpStream> = Vec::new();
        for _ in 0..4 {
            idle.extend((0..CONNECTIONS_MAX).map(|_| std::net::TcpStream::connect(address).expect("a connection")));
            let started = Instant::now();
            assert!(answer(address).await.ends_with("\r\n\r\nwell\n"));
            assert!(started.elapsed() < LASTS_MAX, "it is closed as soon as it is answered");
        }
        let started = Instant::now();
        while idle.iter().filter(|stream| !is_closed(stream)).count() > CONNECTIONS_MAX {
            assert!(started.elapsed() < SOON, "more are held than there may be");
            sleep(Duration::from_millis(10)).await;
        }
        serving.abort();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_connection_lasts_as_long_as_it_may_whether_it_is_silent_or_slow() {
        let (address, serving) = door().await;
        let mut silent = TcpStream::connect(address).await.expect("a connection");
        let mut slow = TcpStream::connect(address).await.expect("a connection");
        let mut bytes = [0; 16];
        let started = Instant::now();
        let drip = async {
            while slow.write_all(b"G").await.is_ok() {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let (read, dripped) = tokio::join!(timeout(SOON, silent.read(&mut bytes)), timeout(SOON, drip));
        assert!(!matches!(read.expect("it is ended"), Ok(1..)), "it was told nothing");
        dripped.expect("it is ended");
        assert!(started.elapsed() >= LASTS_MAX, "not before its time");
        assert!(answer(address).await.ends_with("well\n"));
        serving.abort();
    }
}
