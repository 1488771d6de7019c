//! Seats: one for each connection, and who loses its seat when there are too many.
//!
//! A connection waits as long as there is no whole request on it: from its first moment, while its header or a body comes byte by byte,
//! and from one answer to the next request. When every seat is taken, the one that has waited longest is ended, of the address with the
//! most that wait: so whoever connects and is slow, or silent, only ever takes seats from itself, and calls that are held lose none. The same
//! happens when the bodies that are on their way take too much memory.
//!
//! Owns the seats, and how long each has waited. Knows no socket and nothing of what is asked. Called by `serve`.

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// For so long a connection may be without a whole request, however many come: its first request is on its way.
const GRACE: Duration = Duration::from_millis(500);
/// How much memory the bodies of requests that are not whole may take together.
const BODIES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How often it is logged that connections are ended.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// All seats.
#[derive(Debug)]
pub(crate) struct Seats {
    bounds: Bounds,
    taken: Mutex<Taken>,
}

#[derive(Debug, Clone, Copy)]
struct Bounds {
    most: usize,
    bodies_bytes_max: usize,
    grace: Duration,
}

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    /// The number of the last one that began to wait.
    last: u64,
    /// Bytes of bodies that are not whole.
    bytes: usize,
    /// The networks of those that wait.
    networks: HashMap<Network, OfNetwork>,
    /// How many were ended since that was told, and when it was.
    ended: u64,
    told: Option<Instant>,
}

/// What one network takes.
#[derive(Debug, Default)]
struct OfNetwork {
    /// Its connections that wait, the one that has waited longest first.
    waiting: BTreeMap<u64, Waiting>,
    /// Bytes of their bodies.
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    /// Ends it.
    end: Arc<Notify>,
}

/// Who is taken for one: an address, and of IPv6 the network of 64 bits that any host can choose its addresses in (RFC 4291, 2.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Network(u128);

impl Network {
    fn of(address: IpAddr) -> Network {
        match address.to_canonical() {
            IpAddr::V4(address) => Network(u128::from(address.to_bits())),
            IpAddr::V6(address) => Network(address.to_bits() >> 64 << 64 | 1 << 63),
        }
    }
}

impl Seats {
    /// So many.
    pub(crate) fn new(most: usize) -> Arc<Seats> {
        Seats::within(Bounds { most, bodies_bytes_max: BODIES_BYTES_MAX, grace: GRACE })
    }

    fn within(bounds: Bounds) -> Arc<Seats> {
        Arc::new(Seats { bounds, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Every change to it is made of steps that cannot panic between two states that make sense.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for a new connection; nothing when all are taken and nobody has waited for long.
    pub(crate) fn take(self: &Arc<Seats>, address: IpAddr) -> Option<Arc<Seat>> {
        let mut taken = self.taken();
        if taken.count >= self.bounds.most && !taken.make_room(self.bounds.grace, |network| network.waiting.len()) {
            return None;
        }
        taken.count += 1;
        let (network, end) = (Network::of(address), Arc::new(Notify::new()));
        let number = taken.wait(network, &end);
        drop(taken);
        let own = Mutex::new(Own { number: Some(number), bytes: 0, has_ended: false });
        Some(Arc::new(Seat { seats: Arc::clone(self), network, end, own }))
    }
}

impl Taken {
    /// One begins to wait; its number.
    fn wait(&mut self, network: Network, end: &Arc<Notify>) -> u64 {
        self.last += 1;
        let waiting = Waiting { since: Instant::now(), end: Arc::clone(end) };
        self.networks.entry(network).or_default().waiting.insert(self.last, waiting);
        self.last
    }

    /// One waits no longer, and these bytes of its body are nobody's any more; false when it was ended.
    fn wait_no_longer(&mut self, network: Network, number: u64, bytes: usize) -> bool {
        self.bytes -= bytes;
        let Some(of_network) = self.networks.get_mut(&network) else { return false };
        of_network.bytes -= bytes;
        let was_there = of_network.waiting.remove(&number).is_some();
        if of_network.waiting.is_empty() && of_network.bytes == 0 {
            self.networks.remove(&network);
        }
        was_there
    }

    /// Ends the one that has waited longest, of the network that takes most. Whether there was one.
    fn make_room(&mut self, grace: Duration, takes: impl Fn(&OfNetwork) -> usize) -> bool {
        let Some(of_network) = self.networks.values_mut().max_by_key(|of_network| takes(of_network)) else {
            return false;
        };
        let longest = of_network.waiting.first_entry();
        let Some(longest) = longest.filter(|longest| longest.get().since.elapsed() >= grace) else { return false };
        longest.remove().end.notify_one();
        // It ends as soon as its task runs; whoever comes in its place need not wait for that.
        self.count -= 1;
        self.ended += 1;
        if self.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            let ended = std::mem::take(&mut self.ended);
            tracing::warn!(
                "there are too many connections: {ended} were ended that had been longest without a whole request"
            );
            self.told = Some(Instant::now());
        }
        true
    }
}

/// One connection's seat. Dropped, it is free.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    network: Network,
    end: Arc<Notify>,
    own: Mutex<Own>,
}

#[derive(Debug)]
struct Own {
    /// Its number among those that wait, while it does.
    number: Option<u64>,
    /// Bytes of its body, while that comes.
    bytes: usize,
    /// It was ended, and counts no more.
    has_ended: bool,
}

impl Seat {
    /// Comes when the connection is to be ended.
    pub(crate) async fn ended(&self) {
        self.end.notified().await;
    }

    /// A request began; it is whole when its body is. Has the seat follow that.
    pub(crate) fn follow<B>(self: &Arc<Seat>, body: B) -> Body
    where
        B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + Unpin + 'static,
    {
        if body.is_end_stream() {
            self.is_whole();
            return Body::empty();
        }
        Body::new(Coming { body, seat: Arc::clone(self) })
    }

    /// An answer begins; the seat waits again when it is over.
    pub(crate) fn answer(self: &Arc<Seat>, body: Body) -> Body {
        Body::new(Going { body, _over: Over(Arc::clone(self)) })
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a whole request.
    fn is_whole(&self) {
        let (mut own, mut taken) = (self.own(), self.seats.taken());
        self.leave(&mut own, &mut taken);
    }

    /// An answer is over.
    fn is_answered(&self) {
        let (mut own, mut taken) = (self.own(), self.seats.taken());
        self.leave(&mut own, &mut taken);
        if !own.has_ended {
            own.number = Some(taken.wait(self.network, &self.end));
        }
    }

    /// It waits no longer, and holds no part of a body.
    fn leave(&self, own: &mut Own, taken: &mut Taken) {
        if let Some(number) = own.number.take() {
            let bytes = std::mem::take(&mut own.bytes);
            own.has_ended |= !taken.wait_no_longer(self.network, number, bytes);
        }
    }

    /// More of a body came.
    fn takes(&self, bytes: usize) {
        let (mut own, mut taken) = (self.own(), self.seats.taken());
        if own.number.is_none() {
            return;
        }
        own.bytes += bytes;
        taken.bytes += bytes;
        taken.networks.entry(self.network).or_default().bytes += bytes;
        if taken.bytes > self.seats.bounds.bodies_bytes_max {
            taken.make_room(self.seats.bounds.grace, |network| network.bytes);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let (mut own, mut taken) = (self.own(), self.seats.taken());
        self.leave(&mut own, &mut taken);
        if !own.has_ended {
            taken.count -= 1;
        }
    }
}

/// The body of a request, as it comes.
struct Coming<B> {
    body: B,
    seat: Arc<Seat>,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Coming<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(part)) = &frame {
            self.seat.takes(part.data_ref().map_or(0, Bytes::len));
        }
        if frame.is_none() || self.body.is_end_stream() {
            self.seat.is_whole();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, until it is dropped: when all of it is on its way, or the connection ends.
struct Going {
    body: Body,
    _over: Over,
}

impl HttpBody for Going {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Dropped, an answer is over.
struct Over(Arc<Seat>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.is_answered();
    }
}

#[cfg(test)]
mod tests;
