//! One connection of the door: its socket, what came and is not a whole line yet, and what is still to be sent.
//!
//! Owns how a socket is read and written. Knows no command.

use crate::serve::probe;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// As many clients may stand before the door as the system lets.
pub(super) const BACKLOG: i32 = 65_535;
/// A client that does not read its replies is not listened to, from so many bytes on.
pub(super) const UNREAD_BYTES_MAX: usize = 64 * 1024;
/// How much room is kept for replies that were sent.
const ROOM_BYTES: usize = 64;

/// Makes a listener ready for a storm. Connections inherit everything that is set here.
pub(super) fn prepare(listener: &TcpListener) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    rustix::net::listen(listener, BACKLOG)?;
    probe(listener)
}

/// What came of reading.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// The other end closed it.
    Closed,
    /// The other end is not heard any more.
    Cut,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    /// What came and could not be carried out yet.
    pub(super) unread: Vec<u8>,
    /// What is to be sent.
    unsent: Vec<u8>,
    /// What the system was asked to tell of it.
    pub(super) interest: EventFlags,
    /// Whether it stands in the list of those to be written to.
    pub(super) is_touched: bool,
}

/// Where the other end of a connection is; nowhere when it has gone already.
pub(super) fn peer_of(fd: &OwnedFd) -> Option<SocketAddr> {
    rustix::net::getpeername(fd).ok().flatten().and_then(|peer| peer.try_into().ok())
}

impl Socket {
    pub(super) fn new(fd: OwnedFd) -> Socket {
        Socket { fd, unread: Vec::new(), unsent: Vec::new(), interest: EventFlags::IN, is_touched: false }
    }

    /// Where the other end is.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        peer_of(&self.fd)
    }

    /// Reads once, as much as there is room for.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Read {
        match rustix::io::read(&self.fd, buffer) {
            Ok(0) => Read::Closed,
            Ok(bytes) => Read::Bytes(bytes),
            Err(Errno::AGAIN | Errno::INTR) => Read::Nothing,
            Err(Errno::TIMEDOUT | Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::HOSTDOWN | Errno::NETDOWN) => {
                Read::Cut
            }
            Err(_) => Read::Closed,
        }
    }

    /// Has something sent with the next [`Socket::write`].
    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// Whether the other end leaves too much unread.
    pub(super) fn is_clogged(&self) -> bool {
        self.unsent.len() >= UNREAD_BYTES_MAX
    }

    /// Whether something is still to be sent.
    pub(super) fn is_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Sends what the system takes, all in one; the rest stays. Returns whether the connection can still be written.
    pub(super) fn write(&mut self) -> bool {
        while !self.unsent.is_empty() {
            match rustix::net::send(&self.fd, &self.unsent, SendFlags::NOSIGNAL) {
                Ok(sent) if sent == self.unsent.len() => self.unsent.clear(),
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => {
                    self.unsent = Vec::new();
                    return false;
                }
            }
        }
        if self.unsent.capacity() > ROOM_BYTES {
            self.unsent = Vec::new();
        }
        true
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::{PROBE_AFTER, PROBE_EVERY, PROBES, UNACKNOWLEDGED_MS};
    use rustix::net::sockopt;

    #[test]
    fn connections_inherit_what_the_listener_has() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        prepare(&listener).expect("a listener that can be set up");
        let _client = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        listener.set_nonblocking(false).expect("a listener");
        let (accepted, _) = listener.accept().expect("a connection");
        assert_eq!(sockopt::tcp_nodelay(&accepted), Ok(true));
        assert_eq!(sockopt::socket_keepalive(&accepted), Ok(true));
        assert_eq!(sockopt::tcp_keepidle(&accepted), Ok(PROBE_AFTER));
        assert_eq!(sockopt::tcp_keepintvl(&accepted), Ok(PROBE_EVERY));
        assert_eq!(sockopt::tcp_keepcnt(&accepted), Ok(PROBES));
        assert_eq!(sockopt::tcp_user_timeout(&accepted), Ok(UNACKNOWLEDGED_MS));
    }
}
