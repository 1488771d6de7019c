//! Counts the connections to a port, an address or a socket of this host: the kernel is asked over netlink (sock_diag(7)).
//!
//! Owns the question and the count. The kernel picks the port itself, so that other connections cost next to nothing, and needs no
//! special rights; `/proc/net/tcp` would have every connection of the host written out as text each time. It tells of the
//! network namespace that this program runs in. It goes through its tables in pieces of some 32 KiB, so a count of hundreds is not of
//! one moment; one of a few is. Called by the probes.

use crate::config::LocalEnd;
use crate::probe::ask::ProbeError;
use crate::probe::observation::{Connections, Observation};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{
    AF_INET, AF_INET6, IPPROTO_TCP, TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_LISTEN,
};
use netlink_packet_sock_diag::inet::{self, InetRequest, InetResponse, SocketId};
use netlink_packet_sock_diag::unix::nlas::UnixDiagName;
use netlink_packet_sock_diag::unix::{self, UnixRequest, UnixResponse};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};
use std::io;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Most sockets that one count looks at.
pub const SOCKETS_MAX: u64 = 1_000_000;
/// Room for one piece of the kernel's answer, twice what it sends.
const PIECE_BYTES: usize = 64 * 1024;
/// Messages begin at multiples of this: `NLMSG_ALIGNTO`, netlink(7).
const ALIGNED_TO: usize = 4;

/// The kernel did not tell how many connections there are.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionsError {
    /// It cannot be asked, or broke off.
    #[error("the kernel cannot be asked over netlink: {0}")]
    Netlink(#[source] io::Error),
    /// It has no part that could tell.
    #[error("this kernel does not tell (modprobe tcp_diag unix_diag): {0}")]
    Refused(#[source] io::Error),
    /// Its answer cannot be read.
    #[error("the kernel's answer cannot be read: {0}")]
    Nonsense(String),
    /// There are more sockets than one count looks at.
    #[error("more than {SOCKETS_MAX} sockets")]
    TooMany,
    /// Counting ended in another way.
    #[error("the count was given up")]
    GivenUp,
}

/// Counts once. A second call counts again. When it is dropped the count goes on for `within` at most, unheard.
///
/// # Errors
/// The kernel does not tell, or not within `within`.
pub(super) async fn ask(end: &LocalEnd, within: Duration) -> Result<Observation, ProbeError> {
    let what = format!("connections of {end}");
    let (end, until) = (end.clone(), Instant::now() + within);
    // The kernel waits for nothing, but going through its tables takes it a while.
    let counting = tokio::task::spawn_blocking(move || count(&end, until));
    match timeout(within, counting).await {
        Ok(Ok(Ok(count))) => Ok(Observation::Connections(count)),
        Ok(Ok(Err(source))) => Err(ProbeError::Connections { what, source }),
        Ok(Err(_ended)) => Err(ProbeError::Connections { what, source: ConnectionsError::GivenUp }),
        Err(_elapsed) => Err(ProbeError::Silent { what, after: within }),
    }
}

fn count(end: &LocalEnd, until: Instant) -> Result<Connections, ConnectionsError> {
    let mut count = Connections::default();
    let mut seen = 0;
    for request in requests(end) {
        dump(request, until, |message| {
            seen += 1;
            tally(&mut count, end, &message);
            if seen > SOCKETS_MAX { Err(ConnectionsError::TooMany) } else { Ok(()) }
        })?;
    }
    Ok(count)
}

/// What is asked: for both kinds of addresses, since a socket for IPv6 may take connections of IPv4; or for sockets of the file
/// system, of which the kernel picks none by name.
fn requests(end: &LocalEnd) -> Vec<SockDiagMessage> {
    let port = match end {
        LocalEnd::Port(port) => *port,
        LocalEnd::Address(address) => address.port(),
        LocalEnd::Path(_) => {
            return vec![SockDiagMessage::UnixRequest(UnixRequest {
                state_flags: unix::StateFlags::ESTABLISHED | unix::StateFlags::LISTEN,
                inode: 0,
                show_flags: unix::ShowFlags::NAME | unix::ShowFlags::RQLEN,
                cookie: [0; 8],
            })];
        }
    };
    let of = |family, any: SocketId| {
        SockDiagMessage::InetRequest(InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: inet::ExtensionFlags::empty(),
            states: inet::StateFlags::ESTABLISHED | inet::StateFlags::CLOSE_WAIT | inet::StateFlags::LISTEN,
            socket_id: SocketId { source_port: port, ..any },
        })
    };
    vec![of(AF_INET, SocketId::new_v4()), of(AF_INET6, SocketId::new_v6())]
}

/// Asks the kernel, and hands on each socket that it tells of.
fn dump(
    request: SockDiagMessage,
    until: Instant,
    mut each: impl FnMut(SockDiagMessage) -> Result<(), ConnectionsError>,
) -> Result<(), ConnectionsError> {
    let netlink = |error: rustix::io::Errno| ConnectionsError::Netlink(error.into());
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut request = NetlinkMessage::new(header, request.into());
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);

    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG)).map_err(netlink)?;
    send(&socket, &bytes, SendFlags::empty()).map_err(netlink)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ConnectionsError::GivenUp);
        }
        set_socket_timeout(&socket, Timeout::Recv, Some(left)).map_err(netlink)?;
        let (_, length) = recv(&socket, &mut piece[..], RecvFlags::empty()).map_err(netlink)?;
        if read(&piece[..length], &mut each)? {
            return Ok(());
        }
    }
}

/// Reads one piece of the answer; whether it was the last.
fn read(
    mut piece: &[u8],
    each: &mut impl FnMut(SockDiagMessage) -> Result<(), ConnectionsError>,
) -> Result<bool, ConnectionsError> {
    let nonsense = |why: &str| ConnectionsError::Nonsense(why.to_owned());
    while !piece.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(piece)
            .map_err(|error| ConnectionsError::Nonsense(error.to_string()))?;
        let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
        match message.payload {
            NetlinkPayload::InnerMessage(message) => each(message)?,
            NetlinkPayload::Done(done) if done.code < 0 => {
                return Err(ConnectionsError::Refused(io::Error::from_raw_os_error(-done.code)));
            }
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) => return Err(ConnectionsError::Refused(error.to_io())),
            NetlinkPayload::Noop => {}
            _ => return Err(nonsense("a message of another kind")),
        }
        let length = length.next_multiple_of(ALIGNED_TO).min(piece.len());
        if length == 0 {
            return Err(nonsense("a message without a length"));
        }
        piece = &piece[length..];
    }
    Ok(false)
}

/// Counts a socket where it is one of this end.
fn tally(count: &mut Connections, end: &LocalEnd, message: &SockDiagMessage) {
    let (state, waiting) = match message {
        SockDiagMessage::InetResponse(socket) if is_at(end, socket) => (socket.header.state, 0),
        // Of those that nobody has accepted yet, the kernel tells only at the socket that listens.
        SockDiagMessage::UnixResponse(socket) if is_named(end, socket) => {
            (socket.header.state, socket.number_of_pending_connection().unwrap_or_default())
        }
        _ => return,
    };
    count.established += u64::from(waiting);
    match state {
        TCP_ESTABLISHED => count.established += 1,
        TCP_CLOSE_WAIT => count.close_wait += 1,
        TCP_LISTEN => count.listeners += 1,
        _ => {}
    }
}

/// Whether a socket has this end. Who listens at every address listens at this one too.
fn is_at(end: &LocalEnd, socket: &InetResponse) -> bool {
    let (own, state) = (&socket.header.socket_id, socket.header.state);
    match end {
        LocalEnd::Port(port) => own.source_port == *port,
        LocalEnd::Address(address) => {
            let is_any = state == TCP_LISTEN && own.source_address.is_unspecified();
            // A socket for IPv6 has the mapped address of IPv4.
            let is_this = own.source_address.to_canonical() == address.ip().to_canonical();
            own.source_port == address.port() && (is_any || is_this)
        }
        LocalEnd::Path(_) => false,
    }
}

/// Whether a socket is bound to this path; the accepting end of a connection is by its server's name.
fn is_named(end: &LocalEnd, socket: &UnixResponse) -> bool {
    matches!((end, socket.name()), (LocalEnd::Path(path), Some(UnixDiagName::Pathname(name))) if name == path.as_os_str())
}

#[cfg(test)]
mod tests;
