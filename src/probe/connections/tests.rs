//! The kernel's count, over real connections.

use crate::config::{LocalEnd, Probe, Question};
use crate::probe::fixture::{DEADLINE, client, nobody, predicate};
use crate::probe::observation::{Connections, Observation};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

fn probe(end: LocalEnd) -> Probe {
    Probe { question: Question::Connections(end), timeout: DEADLINE }
}

async fn count(end: LocalEnd) -> Connections {
    match probe(end).ask(&client()).await.expect("an answer") {
        Observation::Connections(count) => count,
        other => panic!("{other:?}"),
    }
}

fn listen(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(address).expect("a free port");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

/// A connection: the client's end, and the server's.
fn connect(listener: &TcpListener, to: SocketAddr) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(to).expect("connected");
    (client, listener.accept().expect("accepted").0)
}

#[tokio::test]
async fn established_connections_of_a_port_are_counted_and_others_are_not() {
    let (listener, at) = listen("127.0.0.1:0");
    let (other, elsewhere) = listen("127.0.0.1:0");
    let port = || LocalEnd::Port(at.port());
    assert_eq!(count(port()).await, Connections { listeners: 1, ..Connections::default() });
    let first = connect(&listener, at);
    let _elsewhere = connect(&other, elsewhere);
    let waiting = TcpStream::connect(at).expect("it waits to be accepted");
    assert_eq!(count(port()).await, Connections { established: 2, close_wait: 0, listeners: 1 });
    assert_eq!(count(LocalEnd::Address(at)).await.established, 2);
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], at.port()));
    assert_eq!(count(LocalEnd::Address(elsewhere)).await, Connections::default(), "another address");
    let (client, server) = first;
    drop(client);
    assert_eq!(count(port()).await, Connections { established: 1, close_wait: 1, listeners: 1 });
    drop(server);
    drop(waiting);
    drop(listener);
    let gone = count(port()).await;
    assert_eq!((gone.established, gone.listeners), (0, 0), "TIME_WAIT is nobody's: {gone:?}");
}

#[tokio::test]
async fn a_socket_for_ipv6_is_counted_by_both_kinds_of_addresses() {
    let (listener, at) = listen("[::]:0");
    let (four, six) = (SocketAddr::from(([127, 0, 0, 1], at.port())), format!("[::1]:{}", at.port()));
    let six: SocketAddr = six.parse().expect("an address");
    let _four = connect(&listener, four);
    assert_eq!(count(LocalEnd::Port(at.port())).await, Connections { established: 1, close_wait: 0, listeners: 1 });
    assert_eq!(count(LocalEnd::Address(four)).await.established, 1, "by its mapped address");
    assert_eq!(count(LocalEnd::Address(six)).await.established, 0);
    let _six = connect(&listener, six);
    assert_eq!(count(LocalEnd::Address(six)).await, Connections { established: 1, close_wait: 0, listeners: 1 });
    assert_eq!(count(LocalEnd::Port(at.port())).await.established, 2);
}

#[tokio::test]
async fn connections_of_a_socket_of_the_file_system_are_counted_by_its_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("www.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let end = || LocalEnd::Path(path.clone());
    assert_eq!(count(end()).await, Connections { listeners: 1, ..Connections::default() });
    let client = UnixStream::connect(&path).expect("connected");
    let (server, _) = listener.accept().expect("accepted");
    let _waiting = UnixStream::connect(&path).expect("it waits to be accepted");
    assert_eq!(count(end()).await, Connections { established: 2, close_wait: 0, listeners: 1 });
    drop(client);
    assert_eq!(count(end()).await.established, 2, "the server has not closed it");
    drop(server);
    assert_eq!(count(end()).await.established, 1);
    assert_eq!(count(LocalEnd::Path(folder.path().join("ww.sock"))).await, Connections::default());
}

#[tokio::test]
async fn a_port_without_a_listener_is_no_port_without_connections() {
    let address: SocketAddr = nobody().await.parse().expect("an address");
    let probe = probe(LocalEnd::Port(address.port()));
    let answer = probe.ask(&client()).await.expect("an answer");
    let error = predicate(&probe, "connections == 0").holds(&answer).expect_err("mistyped, perhaps");
    assert_eq!(error.to_string(), "no usable answer: nobody listens there, and nobody is connected");
    let knowing = predicate(&probe, "connections == 0 && listeners >= 0");
    assert_eq!(knowing.holds(&answer), Ok(true), "it was asked for");
}

#[tokio::test]
async fn a_count_that_takes_too_long_is_no_count() {
    let (_listener, at) = listen("127.0.0.1:0");
    let probe = Probe { timeout: std::time::Duration::ZERO, ..probe(LocalEnd::Address(at)) };
    assert!(probe.ask(&client()).await.is_err());
}

/// What the kernel would have to say for each of these.
#[test]
fn what_is_no_answer_of_the_kernel_is_an_error() {
    let read = |bytes: &[u8]| super::read(bytes, &mut |_| Ok(())).map_err(|error| error.to_string());
    let message = |kind: u16, content: &[u8]| {
        let length = u32::try_from(16 + content.len()).expect("short").to_ne_bytes();
        [&length[..], &kind.to_ne_bytes(), &[0; 10], content].concat()
    };
    assert_eq!(read(&[]), Ok(false), "more may come");
    assert_eq!(read(&message(3, &[0; 4])), Ok(true));
    let denied = (-1i32).to_ne_bytes();
    assert!(read(&message(3, &denied)).expect_err("an end that is an error").contains("not permitted"));
    assert!(read(&message(2, &[&denied[..], &[0; 16]].concat())).expect_err("an error").contains("not permitted"));
    for garbage in
        [&b"garbage"[..], &message(20, &[2]), &message(20, b"\x02\x01\0\0"), &message(77, &[0; 72]), &[0; 16]]
    {
        assert!(read(garbage).is_err(), "{garbage:?}");
    }
}
