//! The load: one thread with an epoll, so that it costs little beside what it measures.

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::net::sockopt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long a storm is waited for.
const STORM_MAX: Duration = Duration::from_secs(30);

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    // Closed at once, so that no port has to rest between rounds.
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("a socket");
    stream
}

/// Connections that take and give back, each a key of its own.
pub(crate) struct Pairs {
    epoll: OwnedFd,
    clients: Vec<(TcpStream, Vec<u8>, bool)>,
}

impl Pairs {
    pub(crate) fn new(address: SocketAddr, connections: usize) -> Pairs {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
        let mut clients = Vec::new();
        for number in 0..connections {
            let stream = connect(address);
            epoll::add(&epoll, &stream, EventData::new_u64(number as u64), EventFlags::IN).expect("an epoll");
            let acquire = format!("ACQ4ME bench:key:{number} 1 10 5\n").into_bytes();
            clients.push((stream, acquire, false));
        }
        for (stream, acquire, holds) in &mut clients {
            stream.write_all(acquire).expect("a server that hears");
            *holds = true;
        }
        Pairs { epoll, clients }
    }

    /// Goes on for so long; how many pairs that were, and how long it took.
    pub(crate) fn run(&mut self, time: Duration) -> (u64, Duration) {
        let start = Instant::now();
        let mut replies = 0_u64;
        let mut events: Vec<Event> = Vec::with_capacity(1_024);
        let mut buffer = [0; 256];
        while start.elapsed() < time {
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), None).expect("an epoll");
            for event in &events {
                let (stream, acquire, holds) = &mut self.clients[event.data.u64() as usize];
                let bytes = stream.read(&mut buffer).expect("a server that answers");
                assert!(bytes > 0 && buffer[bytes - 1] == b'\n', "replies come whole");
                stream.write_all(if *holds { b"RELEASE\n" } else { acquire }).expect("a server that hears");
                *holds = !*holds;
                replies += 1;
            }
        }
        (replies / 2, start.elapsed())
    }
}

fn hears(stream: &mut TcpStream, expected: &[u8]) {
    let mut heard = vec![0; expected.len()];
    stream.read_exact(&mut heard).expect("a server that answers");
    assert_eq!(heard, expected);
}

fn figure(control: &mut TcpStream, name: &str) -> usize {
    control.write_all(format!("STATS {name}\n").as_bytes()).expect("a server that hears");
    let mut text = Vec::new();
    while text.last() != Some(&b'\n') {
        let mut part = [0; 128];
        let bytes = control.read(&mut part).expect("a server that answers");
        text.extend_from_slice(&part[..bytes]);
    }
    let text = String::from_utf8(text).expect("text");
    text.trim_end().rsplit(' ').next().and_then(|count| count.parse().ok()).expect("a count")
}

/// One slot and so many waiters: how long each hand-over took.
pub(crate) fn hand_over(address: SocketAddr, waiters: usize) -> Vec<Duration> {
    let mut holder = connect(address);
    holder.write_all(b"ACQ4ME one 1 100000 600\n").expect("a server that hears");
    hears(&mut holder, b"LOCKED\n");
    let mut control = connect(address);
    let mut clients = Vec::new();
    for count in 1..=waiters {
        let mut client = connect(address);
        client.write_all(b"ACQ4ME one 1 100000 600\n").expect("a server that hears");
        clients.push(client);
        // So that their order is known.
        while figure(&mut control, "waiting_workers") < count {}
    }
    let mut took = Vec::new();
    for mut next in clients {
        let start = Instant::now();
        holder.write_all(b"RELEASE\n").expect("a server that hears");
        hears(&mut next, b"LOCKED\n");
        took.push(start.elapsed());
        hears(&mut holder, b"RELEASED\n");
        holder = next;
    }
    took
}

/// So many clients at once, who all wait for one slot: how long that took, how many stood in the queue by then, and they themselves.
/// It is given up when it takes too long.
pub(crate) fn storm(address: SocketAddr, count: usize) -> (Duration, usize, Vec<TcpStream>) {
    let mut holder = connect(address);
    holder.write_all(b"ACQ4ME one 1 100000 600\n").expect("a server that hears");
    hears(&mut holder, b"LOCKED\n");
    let mut control = connect(address);
    let start = Instant::now();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
    let mut clients = Vec::with_capacity(count);
    for number in 0..count {
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, flags, None);
        let socket = socket.expect("a socket");
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => panic!("{error}"),
        }
        epoll::add(&epoll, &socket, EventData::new_u64(number as u64), EventFlags::OUT).expect("an epoll");
        clients.push(TcpStream::from(socket));
    }
    let mut events: Vec<Event> = Vec::with_capacity(1_024);
    let mut connected = 0;
    while connected < count {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None).expect("an epoll");
        for event in &events {
            let client = &mut clients[event.data.u64() as usize];
            let flags = event.flags;
            assert!(flags.contains(EventFlags::OUT) && !flags.contains(EventFlags::ERR), "a client was not let in");
            epoll::delete(&epoll, &*client).expect("an epoll");
            client.write_all(b"ACQ4ME one 1 100000 600\n").expect("a server that hears");
            connected += 1;
        }
    }
    let queued = loop {
        let queued = figure(&mut control, "waiting_workers");
        if queued >= count || start.elapsed() > STORM_MAX {
            break queued;
        }
    };
    let took = start.elapsed();
    for client in &clients {
        sockopt::set_socket_linger(client, Some(Duration::ZERO)).expect("a socket");
    }
    clients.extend([holder, control]);
    (took, queued, clients)
}
