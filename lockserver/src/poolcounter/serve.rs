//! The thread of the door: waits for all its connections at once, reads, has decided, and writes.
//!
//! Owns the sockets and their order. One thread, as poolcounterd is one: a decision takes less than a system call, and each
//! depends on the one before. It never waits for a disk: what the domain decides comes back through the inbox.

use super::command::parse;
use super::effect::{Connection, Effect, Outcome};
use super::inbox::{Inbox, LOCKS_SHOWN_MAX, Lock, Locks};
use super::keys::Keys;
use super::leases::Leases;
use super::line::{Cut, cut};
use super::socket::{self, Read, Socket};
use crate::access::Access;
use crate::clock::Stopwatch;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::net::SocketFlags;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// How many connections are looked at before time is looked at again.
const EVENTS_MAX: usize = 512;
/// How many connections are let in at once, before those that are in are looked at again.
const ACCEPTS_MAX: usize = 256;
/// How long nobody is let in after that failed, which is when there are no more file descriptors, in microseconds.
const ACCEPT_PAUSE_US: u64 = 50_000;
/// To so many connections replies are sent one after the other: whoever reads them is woken once for several, and still while
/// others are served.
const WRITTEN_TOGETHER: usize = 16;
/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;
/// What is not a connection.
const LISTENER: u64 = u64::MAX;
const BELL: u64 = u64::MAX - 1;

/// Listens at an address, so that it may be used again at once by whoever takes this one's place, and for as many clients at
/// once as the system lets.
///
/// # Errors
/// What the system says.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    // The standard library sets SO_REUSEADDR.
    let listener = TcpListener::bind(address)?;
    rustix::net::listen(&listener, socket::BACKLOG)?;
    Ok(listener)
}

/// Everything that the thread has.
#[derive(Debug)]
pub(super) struct Shop {
    epoll: OwnedFd,
    listener: TcpListener,
    inbox: Arc<Inbox>,
    leases: Leases,
    access: Arc<Access>,
    keys: Keys,
    /// The connections by their numbers.
    sockets: Vec<Option<Socket>>,
    connections: usize,
    connections_max: usize,
    /// Those to be written to.
    touched: Vec<Connection>,
    buffer: Vec<u8>,
    open: Stopwatch,
    now: u64,
    /// When connections are let in again.
    accept_at: Option<u64>,
}

impl Shop {
    /// A door that is ready to serve.
    pub(super) fn new(
        listener: TcpListener,
        leases: Leases,
        access: Arc<Access>,
        inbox: Arc<Inbox>,
        connections_max: usize,
    ) -> io::Result<Shop> {
        socket::prepare(&listener)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        epoll::add(&epoll, inbox.bell(), EventData::new_u64(BELL), EventFlags::IN)?;
        Ok(Shop {
            epoll,
            listener,
            inbox,
            leases,
            access,
            keys: Keys::default(),
            sockets: Vec::new(),
            connections: 0,
            connections_max,
            touched: Vec::new(),
            buffer: vec![0; READ_BYTES],
            open: Stopwatch::start(),
            now: 0,
            accept_at: None,
        })
    }

    /// The leases that are left.
    pub(super) fn into_leases(self) -> Leases {
        self.leases
    }

    /// Serves until the door is to close.
    pub(super) fn serve(&mut self) {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
        while !self.inbox.is_stopping() {
            events.clear();
            let wait = self.until_next();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), wait.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(cause) => {
                    tracing::error!("the poolcounter door cannot wait for its connections, and closes: {cause}");
                    break;
                }
            }
            self.now = self.open.elapsed_us();
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.let_in(),
                    BELL => self.hear(),
                    // A number that was used again meanwhile has just nothing to read.
                    connection => self.turn_to(u32::try_from(connection).unwrap_or(Connection::MAX), event.flags),
                }
            }
            self.write();
            self.pass_time();
            self.count();
        }
        self.keys.turn_away(self.now);
        self.carry_out();
        self.write();
    }

    /// How long there is nothing to do unless something comes.
    fn until_next(&self) -> Option<Timespec> {
        let next = [self.keys.next_deadline(), self.accept_at].into_iter().flatten().min()?;
        let wait_us = next.saturating_sub(self.open.elapsed_us());
        let nanos = (wait_us % 1_000_000) * 1_000;
        let seconds = i64::try_from(wait_us / 1_000_000).unwrap_or(i64::MAX);
        Some(Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanos).unwrap_or_default() })
    }

    fn pass_time(&mut self) {
        if self.accept_at.is_some_and(|at| at <= self.now) {
            self.accept_at = None;
            self.listen(EventFlags::IN);
        }
        if self.keys.next_deadline().is_some_and(|until| until <= self.now) {
            self.keys.pass_time(self.now);
            self.carry_out();
            self.write();
        }
    }

    /// Tells the metrics what there is by now.
    fn count(&self) {
        let stats = &self.keys.stats;
        self.leases.metrics().count(
            self.connections,
            stats.hashtable_entries,
            stats.processing_workers,
            stats.waiting_workers,
            [stats.total_acquired, stats.full_queues, stats.connect_errors],
        );
    }

    /// The locks as they are shown.
    fn locks(&self) -> Locks {
        let mut all: Vec<_> = self.keys.all().collect();
        all.sort_by_key(|(connection, key, anyone, since, _)| (*key, anyone.is_some(), *since, *connection));
        let cut = all.len() > LOCKS_SHOWN_MAX;
        let shown = all.into_iter().take(LOCKS_SHOWN_MAX).map(|(connection, key, anyone, since, is_lease)| {
            let peer = self.sockets.get(connection as usize).and_then(Option::as_ref).and_then(Socket::peer);
            Lock {
                key: String::from_utf8_lossy(key).into_owned(),
                client: peer.map_or_else(String::new, |peer| peer.to_string()),
                state: match anyone {
                    None => "held",
                    Some(false) => "waiting",
                    Some(true) => "waiting for anyone",
                },
                since_ms: self.now.saturating_sub(since) / 1_000,
                is_lease,
            }
        });
        Locks { locks: shown.collect(), cut }
    }

    fn listen(&self, interest: EventFlags) {
        if let Err(cause) = epoll::modify(&self.epoll, &self.listener, EventData::new_u64(LISTENER), interest) {
            tracing::error!("the poolcounter door lets nobody in: {cause}");
        }
    }

    /// Lets in who stands before the door.
    fn let_in(&mut self) {
        for _ in 0..ACCEPTS_MAX {
            let cause = match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(fd) if self.connections < self.connections_max && self.may_come_in(&fd) => match self.welcome(fd) {
                    Ok(()) => continue,
                    Err(cause) => cause,
                },
                Ok(_) => {
                    self.keys.stats.connect_errors += 1;
                    continue;
                }
                Err(rustix::io::Errno::AGAIN) => return,
                Err(rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => continue,
                Err(cause) => cause,
            };
            self.keys.stats.connect_errors += 1;
            tracing::warn!("the poolcounter door cannot let a client in: {cause}");
            self.listen(EventFlags::empty());
            self.accept_at = Some(self.now + ACCEPT_PAUSE_US);
            return;
        }
    }

    /// Whether a client comes from where clients may come from.
    fn may_come_in(&self, fd: &OwnedFd) -> bool {
        self.access.admits_poolcounter(|| socket::peer_of(fd).map(|peer| peer.ip()))
    }

    fn welcome(&mut self, fd: OwnedFd) -> rustix::io::Result<()> {
        let connection = self.keys.open();
        if let Err(cause) = epoll::add(&self.epoll, &fd, EventData::new_u64(u64::from(connection)), EventFlags::IN) {
            self.keys.close(connection, false, self.now);
            return Err(cause);
        }
        let index = connection as usize;
        if self.sockets.len() <= index {
            self.sockets.resize_with(index + 1, || None);
        }
        self.sockets[index] = Some(Socket::new(fd));
        self.connections += 1;
        Ok(())
    }

    fn socket(&mut self, connection: Connection) -> Option<&mut Socket> {
        self.sockets.get_mut(connection as usize)?.as_mut()
    }

    /// Hears what the domain has decided, and who wants to look.
    fn hear(&mut self) {
        let decided = self.inbox.take();
        for tells in self.inbox.looks() {
            // Whoever looked has gone when it cannot be told.
            let _ = tells.send(self.locks());
        }
        for (lease, outcome) in decided {
            let goes_on = self.keys.decided(lease, outcome, self.now);
            if let Outcome::Refused(_) = outcome {
                self.leases.refused(lease);
            }
            self.carry_out();
            if let Some(connection) = goes_on {
                self.go_on(connection);
            }
        }
        self.write();
    }

    /// Something is to be read from a connection, or may be written to it.
    fn turn_to(&mut self, connection: Connection, flags: EventFlags) {
        let mut buffer = std::mem::take(&mut self.buffer);
        if flags.contains(EventFlags::OUT) {
            self.go_on(connection);
        }
        if let Some(socket) = self.socket(connection)
            && flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR)
        {
            match socket.read(&mut buffer) {
                Read::Bytes(bytes) if socket.unread.is_empty() => self.take_in(connection, &buffer[..bytes]),
                Read::Bytes(bytes) => {
                    socket.unread.extend_from_slice(&buffer[..bytes]);
                    self.go_on(connection);
                }
                Read::Nothing => {}
                Read::Closed => self.close(connection, false),
                Read::Cut => self.close(connection, true),
            }
        }
        self.buffer = buffer;
        if self.touched.len() >= WRITTEN_TOGETHER {
            self.write();
        }
    }

    /// Carries out what came before and could not be carried out then.
    fn go_on(&mut self, connection: Connection) {
        let Some(socket) = self.socket(connection) else { return };
        let unread = std::mem::take(&mut socket.unread);
        self.take_in(connection, &unread);
    }

    /// Carries out the lines of some bytes, as long as the connection need not wait for anything; the rest is kept.
    fn take_in(&mut self, connection: Connection, mut bytes: &[u8]) {
        while !self.must_wait(connection) {
            let Cut::Line { text, bytes: taken } = cut(bytes) else { break };
            let leases = &self.leases;
            self.keys.command(connection, parse(text), |key| leases.is_pool(key), self.now);
            self.carry_out();
            bytes = &bytes[taken..];
        }
        self.touch(connection);
        let must_wait = self.must_wait(connection);
        let Some(socket) = self.socket(connection) else { return };
        socket.unread = bytes.to_vec();
        if !must_wait && cut(bytes) == Cut::TooLong {
            socket.write();
            self.close(connection, false);
        }
    }

    /// Whether a connection is not to be listened to now: the domain is being asked for it, or it does not read its replies.
    fn must_wait(&mut self, connection: Connection) -> bool {
        if self.keys.is_asking(connection) {
            return true;
        }
        let Some(socket) = self.socket(connection) else { return true };
        if socket.is_clogged() {
            socket.write();
        }
        socket.is_clogged()
    }

    fn touch(&mut self, connection: Connection) {
        let Some(socket) = self.socket(connection) else { return };
        if !socket.is_touched {
            socket.is_touched = true;
            self.touched.push(connection);
        }
    }

    /// Carries out what was decided, in its order.
    fn carry_out(&mut self) {
        if self.keys.effects.is_empty() {
            return;
        }
        let mut effects = std::mem::take(&mut self.keys.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Say(to, reply) => self.say(to, reply.bytes()),
                Effect::Tell(to, text) => self.say(to, &text),
                Effect::Ask(asking) => {
                    let peer = self.socket(asking.connection).and_then(|socket| socket.peer());
                    self.leases.ask(&asking, peer);
                }
                Effect::End(lease) => self.leases.end(lease),
                Effect::Abandon(lease) => self.leases.leave(lease),
            }
        }
        self.keys.effects = effects;
    }

    fn say(&mut self, to: Connection, bytes: &[u8]) {
        if let Some(socket) = self.socket(to) {
            socket.say(bytes);
        }
        self.touch(to);
    }

    /// Sends what there is to be sent, and listens again to whoever need not wait.
    fn write(&mut self) {
        while let Some(connection) = self.touched.pop() {
            let Some(socket) = self.socket(connection) else { continue };
            socket.is_touched = false;
            if !socket.write() {
                self.keys.stats.failed_sends += 1;
                // It is found closed when it is read.
            }
            self.attend(connection);
        }
    }

    /// Asks the system to tell of what matters now, when that is something else than before.
    fn attend(&mut self, connection: Connection) {
        let is_asking = self.keys.is_asking(connection);
        let Some(Some(socket)) = self.sockets.get_mut(connection as usize) else { return };
        let mut interest = EventFlags::empty();
        interest.set(EventFlags::IN, !is_asking && !socket.is_clogged());
        interest.set(EventFlags::OUT, socket.is_unsent());
        if interest == socket.interest {
            return;
        }
        socket.interest = interest;
        let data = EventData::new_u64(u64::from(connection));
        if let Err(cause) = epoll::modify(&self.epoll, &*socket, data, interest) {
            tracing::error!("a poolcounter connection cannot be waited for, and is closed: {cause}");
            self.close(connection, false);
        }
    }

    /// Closes a connection, and gives back what it had.
    fn close(&mut self, connection: Connection, is_cut: bool) {
        let Some(socket) = self.sockets.get_mut(connection as usize).and_then(Option::take) else { return };
        drop(socket);
        self.connections -= 1;
        self.keys.close(connection, is_cut, self.now);
        self.carry_out();
    }
}
