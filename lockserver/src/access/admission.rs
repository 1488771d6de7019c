//! Connections: which are let in, and how they are encrypted.
//!
//! Owns how many each address has, and the deadline of a handshake. What is asked over them is the guard's affair.

use super::judge::{Reason, Refusal};
use super::{Access, certificates, lock, within};
use coordinator::refusal::{Problem, status};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// How long a client may take to agree on encryption. It waits in a task of its own, and takes up a connection of its address.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// How long a client may take to hear that it is not let in.
const PART_WAIT: Duration = Duration::from_secs(1);

/// How many connections there are of each address that has one.
type Counts = Arc<Mutex<HashMap<IpAddr, u32>>>;

/// How many connections each address may have, and has.
#[derive(Debug)]
pub(super) struct Connected {
    /// How many there may be; 0 is no bound.
    most: u32,
    counts: Counts,
}

impl Connected {
    pub(super) fn new(most: u32) -> Connected {
        Connected { most, counts: Arc::default() }
    }

    fn take(&self, address: IpAddr) -> Option<Admitted> {
        if self.most == 0 {
            return Some(Admitted(None));
        }
        let address = one_of(address);
        let mut counts = lock(&self.counts);
        let count = counts.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Admitted(Some((address, Arc::clone(&self.counts)))))
    }
}

/// A connection that was let in; dropped, its address may have another.
#[derive(Debug)]
pub(crate) struct Admitted(Option<(IpAddr, Counts)>);

impl Drop for Admitted {
    fn drop(&mut self) {
        let Some((address, counts)) = &self.0 else { return };
        let mut counts = lock(counts);
        if let Some(count) = counts.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(address);
            }
        }
    }
}

/// An address as it is bounded: of IPv6 a whole /64, which one host has for itself.
pub(super) fn one_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(super) address: IpAddr,
    /// The names that its certificate is made out to, when it has one that was found good.
    pub(super) certificate: Arc<[String]>,
}

/// A connection, encrypted or not.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl Access {
    /// Whether a connection from an address is let in.
    ///
    /// # Errors
    /// It is not: what is to be sent before it is closed; nothing where encryption would come first.
    pub(crate) fn admit(&self, from: IpAddr) -> Result<Admitted, Vec<u8>> {
        let refusal = match within(&self.allow.api, from) {
            true => match self.connected.take(from) {
                Some(admitted) => return Ok(admitted),
                None => Refusal::connections(),
            },
            false => Refusal::network(),
        };
        self.count.refused(&refusal, from);
        Err(if self.is_encrypted() { Vec::new() } else { answer(&refusal) })
    }

    /// Whether clients have to speak TLS.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.certificates.is_some()
    }

    /// Agrees with a client on encryption, where there is any. `None` when that comes to nothing, or takes too long.
    pub(crate) async fn secure(&self, stream: TcpStream, from: IpAddr) -> Option<(Stream, Peer)> {
        let address = from.to_canonical();
        let Some(certificates) = &self.certificates else {
            return Some((Stream::Plain(stream), Peer { address, certificate: Arc::default() }));
        };
        let accepting = certificates.acceptor().accept(stream).into_fallible();
        let refusal = match tokio::time::timeout(HANDSHAKE_WAIT, accepting).await {
            Ok(Ok(stream)) => {
                let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                let certificate = certificate.map(certificates::names).unwrap_or_default().into();
                return Some((Stream::Encrypted(Box::new(stream)), Peer { address, certificate }));
            }
            Ok(Err((cause, stream))) => {
                let refusal = Refusal::new(reason(&cause), None, format!("no encrypted connection: {cause}"));
                self.count.refused(&refusal, from);
                part(stream).await;
                return None;
            }
            Err(_) => {
                Refusal::new(Reason::Handshake, None, format!("no encrypted connection within {HANDSHAKE_WAIT:?}"))
            }
        };
        self.count.refused(&refusal, from);
        None
    }
}

/// Closes a connection so that the client hears why: what it sent meanwhile is read, else the system would throw away what was said.
async fn part(mut stream: TcpStream) {
    let closing = async {
        let mut unread = [0; 1024];
        if stream.shutdown().await.is_ok() {
            while stream.read(&mut unread).await.is_ok_and(|bytes| bytes > 0) {}
        }
    };
    // Whoever goes on and on is cut off.
    let _ = tokio::time::timeout(PART_WAIT, closing).await;
}

/// Whether it is the client's certificate, or something else, that a handshake came to nothing for.
fn reason(cause: &std::io::Error) -> Reason {
    let inner = cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_)) => Reason::Certificate,
        _ => Reason::Handshake,
    }
}

/// A refusal as the answer to whatever would be asked.
fn answer(refusal: &Refusal) -> Vec<u8> {
    let problem = Problem::new(refusal.reason.kind(), refusal.value.as_str());
    // It is text and numbers, which can always be written.
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let status = status(refusal.reason.kind());
    let retry = refusal.retry_after_s.map(|after| format!("retry-after: {after}\r\n")).unwrap_or_default();
    format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{retry}connection: close\r\n\r\n{body}",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
        body.len()
    )
    .into_bytes()
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Encrypted(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Encrypted(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Stream::Encrypted(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Encrypted(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Encrypted(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Encrypted(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_no_more() {
        let connected = Connected::new(2);
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let (one, other) = (connected.take(address("10.0.0.7")), connected.take(address("::ffff:10.0.0.7")));
        assert!(one.is_some() && other.is_some() && connected.take(address("10.0.0.7")).is_none());
        assert!(connected.take(address("10.0.0.8")).is_some());
        drop(one);
        assert!(connected.take(address("10.0.0.7")).is_some(), "and gave it back at once");
        drop(other);
        assert!(lock(&connected.counts).is_empty(), "who has none is not kept");
        assert_eq!(one_of(address("2001:db8::1:2:3:4")), address("2001:db8::"));
        let unbounded = Connected::new(0);
        assert!((0..100).all(|_| unbounded.take(address("10.0.0.7")).is_some()));
    }
}
