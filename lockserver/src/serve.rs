//! Connections: accepted within a bound, given a deadline for their headers, and ended in order.
//!
//! Owns sockets and their tasks. Who may come in is [`access`](crate::access)'; which of them make room when there are too many, [`crate::seats`]
//! says; what is asked over a connection, the doors'.

use crate::access::{Access, Admitted, Peer};
use crate::seats::{Seat, Seats};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

/// Longest header, in bytes.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// A silent connection is probed after so many seconds, so often and so many times: a host that was unplugged must not be
/// granted what others wait for, merely because its call still seems open.
pub(crate) const PROBE_AFTER: Duration = Duration::from_secs(5);
pub(crate) const PROBE_EVERY: Duration = Duration::from_secs(3);
pub(crate) const PROBES: u32 = 3;
/// How long an answer may go unacknowledged before the connection counts as dead, in milliseconds.
pub(crate) const UNACKNOWLEDGED_MS: u32 = 15_000;
/// How long stopping may take.
const STOP_WAIT: Duration = Duration::from_millis(2500);
/// How long accepting rests after it failed, which is when there are no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Files that the server opens beside its connections, and connections that are about to end.
const FILES_OWN: usize = 512;
/// What a connection too many is told.
const OVERLOADED: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 67\r\n\
    connection: close\r\n\r\n{\"kind\":\"overloaded\",\"value\":\"too many connections; try again later\"}";

/// Serves until `shutdown` is ready; then says so in `stopping`, and ends what is held.
pub(crate) async fn serve(
    listener: TcpListener,
    router: axum::Router,
    access: &Arc<Access>,
    stopping: &watch::Sender<bool>,
    connections_max: usize,
    client_wait: Duration,
    shutdown: impl Future<Output = ()>,
) {
    allow_files(connections_max);
    let seats = Seats::new(connections_max);
    let mut tasks = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => match let_in(access, &seats, from.ip()) {
                    Ok((admitted, seat)) => {
                        let guest = Guest { from: from.ip(), seat, admitted };
                        let (router, access, stopping) = (router.clone(), Arc::clone(access), stopping.subscribe());
                        tasks.spawn(async move {
                            connection(stream, guest, router, &access, stopping, client_wait).await;
                        });
                    }
                    Err(told) => refuse(stream, &told).await,
                },
                Err(cause) => {
                    tracing::warn!("no connection can be accepted: {cause}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_WAIT, ended).await.is_err() {
        tasks.shutdown().await;
    }
}

/// A connection that was let in, and what it takes up until it ends.
struct Guest {
    from: IpAddr,
    seat: Arc<Seat>,
    admitted: Admitted,
}

/// Whether a connection from an address may come in, and there is room for it: what it takes up until it ends. Else what it is told.
fn let_in(access: &Access, seats: &Arc<Seats>, from: IpAddr) -> Result<(Admitted, Arc<Seat>), Vec<u8>> {
    let admitted = access.admit(from)?;
    match seats.take(from) {
        Some(seat) => Ok((admitted, seat)),
        // Before a connection is encrypted there is nothing to be said.
        None if access.is_encrypted() => Err(Vec::new()),
        None => Err(OVERLOADED.to_vec()),
    }
}

/// Serves one connection until it ends, has to make room, or the server stops and its last answer is sent.
async fn connection(
    stream: TcpStream,
    guest: Guest,
    router: axum::Router,
    access: &Access,
    mut stopping: watch::Receiver<bool>,
    client_wait: Duration,
) {
    if let Err(cause) = probe(&stream) {
        tracing::debug!("a connection cannot be set up: {cause}");
        return;
    }
    let Guest { from, seat, admitted: _admitted } = guest;
    let secured = tokio::select! {
        secured = access.secure(stream, from) => secured,
        () = seat.ended() => None,
        _ = stopping.wait_for(|stopping| *stopping) => None,
    };
    let Some((stream, peer)) = secured else { return };
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(client_wait).max_buf_size(HEADER_BYTES_MAX);
    let router = known(router, peer, Arc::clone(&seat));
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = pin!(served);
    tokio::select! {
        ended = &mut served => return log(ended),
        () = seat.ended() => return tracing::debug!("a connection without a whole request made room for another"),
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    served.as_mut().graceful_shutdown();
    log(served.await);
}

/// The router, told with each request who is at the other end; and the connection's seat, told of each request and answer.
fn known(
    router: axum::Router,
    peer: Peer,
    seat: Arc<Seat>,
) -> impl tower::Service<
    Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send + 'static,
> + Clone
+ Send
+ 'static {
    let going = Arc::clone(&seat);
    router
        .map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            request.map(|body| seat.follow(body))
        })
        .map_response(move |response: Response<_>| response.map(|body| going.answer(body)))
}

/// Has the system find out when the other end is gone, and send small answers at once. What a listener is told, its connections inherit.
pub(crate) fn probe(socket: impl AsFd + Copy) -> std::io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(socket, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(socket, PROBES)?;
    sockopt::set_tcp_user_timeout(socket, UNACKNOWLEDGED_MS)?;
    Ok(())
}

fn log(ended: hyper::Result<()>) {
    if let Err(cause) = ended {
        tracing::debug!("a connection ended badly: {cause}");
    }
}

/// Tells a connection that is not let in why, without waiting for anything.
async fn refuse(mut stream: TcpStream, why: &[u8]) {
    let told = tokio::time::timeout(ACCEPT_PAUSE, async {
        stream.write_all(why).await?;
        stream.shutdown().await
    });
    if told.await.is_err() {
        tracing::debug!("a connection that is not let in does not read");
    }
}

/// Asks the system for as many files as there may be connections; often it allows only 1024 unless asked.
pub(crate) fn allow_files(connections_max: usize) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = u64::try_from(connections_max.saturating_add(FILES_OWN)).unwrap_or(u64::MAX);
    let allowed = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    if limit.current.is_none_or(|current| current >= allowed) {
        return;
    }
    limit.current = Some(allowed);
    if let Err(cause) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("no more than the usual number of files may be opened: {cause}");
    }
}
