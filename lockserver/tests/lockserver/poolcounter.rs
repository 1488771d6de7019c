//! The poolcounter door, as its clients see it: raw bytes, pools that are shared with native leases, storms and ends.

mod ring;
mod twin;

use crate::common::*;
use coordinator::Coordinator;
use lockserver::{Options, poolcounter};
use model::lease::LeaseState;
use model::read::{Leases, Selection};
use model::request::{Act, Answer, Ending};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How soon what must not come would have come.
const SILENCE: Duration = Duration::from_millis(100);

/// A lock server with a poolcounter door.
struct House {
    server: Server,
    door: SocketAddr,
}

impl House {
    async fn open() -> House {
        House::on(&Platter::new(0)).await
    }

    async fn on(platter: &Arc<Platter>) -> House {
        let listener = poolcounter::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        House::at(listener, platter).await
    }

    async fn at(listener: std::net::TcpListener, platter: &Arc<Platter>) -> House {
        let door = listener.local_addr().expect("an address");
        let server = Server::start(Options { poolcounter: Some(listener), ..on(platter) }).await;
        House { server, door }
    }

    async fn client(&self) -> Client {
        let stream = soon("a connection", TcpStream::connect(self.door)).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        Client(stream)
    }

    async fn leases(&self) -> Leases {
        self.server.client().leases(&Selection::default()).await.expect("leases")
    }
}

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("a socket that can be written");
    }

    /// Reads exactly this.
    async fn hears(&mut self, expected: &str) {
        let mut heard = vec![0; expected.len()];
        soon(expected, self.0.read_exact(&mut heard)).await.unwrap_or_else(|error| panic!("{expected:?}: {error}"));
        assert_eq!(String::from_utf8_lossy(&heard), expected);
    }

    /// One line, and what is answered.
    async fn says(&mut self, line: &str, expected: &str) {
        self.send(&format!("{line}\n")).await;
        self.hears(&format!("{expected}\n")).await;
    }

    /// Nothing comes.
    async fn hears_nothing(&mut self) {
        let mut byte = [0];
        let heard = tokio::time::timeout(SILENCE, self.0.read(&mut byte)).await;
        assert!(heard.is_err(), "{heard:?} {byte:?}");
    }

    /// The other end closes; what it says before.
    async fn last_words(mut self) -> String {
        let mut heard = Vec::new();
        // A reset is an end too.
        let _ = soon("the end", self.0.read_to_end(&mut heard)).await;
        String::from_utf8_lossy(&heard).into_owned()
    }
}

#[tokio::test]
async fn commands_are_answered_in_order_however_they_come() {
    let house = House::open().await;
    let mut a = house.client().await;
    a.send("ACQ4ME k 1 1 0\nSTATS total_acquired\r\nRELEASE k\nFOO\nRELEASE\n").await;
    a.hears("LOCKED\ntotal_acquired: 1\nRELEASED\nERROR BAD_COMMAND\nNOT_LOCKED\n").await;
    for byte in "ACQ4ANY  k 1 1 0\n".chars() {
        a.send(&byte.to_string()).await;
    }
    a.hears("LOCKED\n").await;
    let many = 20_000;
    let sent = "STATS FULL\nSTATS uptime\n".repeat(many);
    let (mut reading, mut writing) = a.0.split();
    let send = async { writing.write_all(sent.as_bytes()).await.expect("a socket that can be written") };
    let read = async {
        let (mut ends, mut buffer) = (0, vec![0; 65536]);
        while ends < many * 23 {
            let bytes = reading.read(&mut buffer).await.expect("a socket that can be read");
            ends += buffer[..bytes].iter().filter(|byte| **byte == b'\n').count();
        }
    };
    // Nobody reads while it is sent, so that the door has to stop listening.
    soon("the replies", async { tokio::join!(send, read) }).await;
    house.server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_line_too_long_ends_the_connection_and_its_locks() {
    let house = House::open().await;
    let (mut a, mut b) = (house.client().await, house.client().await);
    a.says("ACQ4ME k 1 9 9", "LOCKED").await;
    a.says(&"x".repeat(1023), "ERROR BAD_COMMAND").await;
    b.send("ACQ4ME k 1 9 9\n").await;
    b.hears_nothing().await;
    a.send(&format!("STATS nothing\n{}", "x".repeat(1024))).await;
    assert_eq!(a.last_words().await, "ERROR WRONG_STAT\n");
    b.hears("LOCKED\n").await;
    house.server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_wait_ends_when_its_seconds_are_over() {
    let house = House::open().await;
    let (mut a, mut b) = (house.client().await, house.client().await);
    a.says("ACQ4ME k 1 9 9", "LOCKED").await;
    let start = Instant::now();
    b.send("ACQ4ME k 1 9 1\nACQ4ME k 1 9 1\n").await;
    b.hears("ERROR WAIT_FOR_RESPONSE\nTIMEOUT\n").await;
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(995) && took < Duration::from_millis(1500), "{took:?}");
    house.server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_server_that_stops_tells_whoever_waits_so_that_nobody_takes_the_end_for_a_yes() {
    let house = House::open().await;
    slots(&house.server.client(), "app", 1).await;
    let (mut a, mut b, mut c) = (house.client().await, house.client().await, house.client().await);
    a.says("ACQ4ME app 1 9 9", "LOCKED").await;
    a.says("ACQ4ME k 1 9 9", "LOCKED").await;
    b.send("ACQ4ME k 1 9 9\n").await;
    c.send("ACQ4ME app 1 9 9\n").await;
    c.hears_nothing().await;
    house.server.stop().await.expect("a clean end");
    assert_eq!(b.last_words().await, "ERROR UNAVAILABLE\n");
    assert_eq!(c.last_words().await, "ERROR UNAVAILABLE\n");
    assert_eq!(a.last_words().await, "");
}

#[tokio::test]
async fn a_killed_server_listens_again_at_once() {
    let platter = Platter::new(0);
    let house = House::on(&platter).await;
    let mut a = house.client().await;
    a.says("ACQ4ME k 1 9 9", "LOCKED").await;
    let door = house.door;
    house.server.kill().await;
    assert_eq!(a.last_words().await, "");
    let listener = soon("the port", async {
        loop {
            match poolcounter::bind(door) {
                Ok(listener) => break listener,
                // The thread of the one before is just ending.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    });
    let house = House::at(listener.await, &platter).await;
    house.client().await.says("ACQ4ME k 1 1 0", "LOCKED").await;
    house.server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_native_lease_and_a_poolcounter_lock_make_each_other_wait() {
    let house = House::open().await;
    let client = house.server.client();
    slots(&client, "app", 1).await;
    let (mut a, mut b) = (house.client().await, house.client().await);
    a.says("ACQ4ME app 9 9 9", "LOCKED").await;
    let leases = house.leases().await;
    let own = a.0.local_addr().expect("an address");
    let held = &leases.leases[0];
    assert_eq!(held.lease.holder.as_str(), format!("poolcounter-{own}-1"));
    assert!(matches!(client.ask(&ask("native", &["app"]), Duration::ZERO).await, Ok(Answer::Queued(_))));
    let asking = house.server.client();
    let native = tokio::spawn(async move { asking.ask(&ask("native", &["app"]), Duration::from_secs(15)).await });
    b.says("ACQ4ME app 9 9 0", "TIMEOUT").await;
    b.send("ACQ4ME app 9 9 20\n").await;
    b.hears_nothing().await;
    a.says("RELEASE", "RELEASED").await;
    granted(soon("the native one", native).await.expect("no panic").expect("an answer"));
    b.hears_nothing().await;
    client.settle(&settle("native", Ending::Released)).await.expect("an answer");
    b.hears("LOCKED\n").await;
    drop(b);
    until("the lock to be given back", || async { house.leases().await.leases.is_empty() }).await;
    house.server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn pools_have_four_locks_a_connection_and_anyone_is_told() {
    let house = House::open().await;
    slots(&house.server.client(), "app", 3).await;
    let (mut a, mut b, mut c) = (house.client().await, house.client().await, house.client().await);
    a.send("ACQ4ME app 1 1 9\nACQ4ME other 1 1 9\nACQ4ME app 1 1 9\nACQ4ME app 1 1 9\nACQ4ME app 1 1 9\n").await;
    a.hears("LOCKED\nLOCKED\nLOCKED\nLOCKED\nLOCK_HELD\n").await;
    b.send("ACQ4ANY app 1 1 20\nACQ4ME k 1 1 1\n").await;
    b.hears("ERROR WAIT_FOR_RESPONSE\n").await;
    c.send("ACQ4ME app 1 1 20\n").await;
    until("both to wait", || async { house.leases().await.queue.len() == 2 }).await;
    a.says("RELEASE", "RELEASED").await;
    b.hears("DONE\n").await;
    c.hears("LOCKED\n").await;
    b.says("RELEASE", "NOT_LOCKED").await;
    let leases = house.leases().await;
    assert_eq!((leases.leases.len(), leases.queue.len()), (3, 0));
    let mut stats = house.client().await;
    stats.says("STATS hashtable_entries", "hashtable_entries: 2").await;
    house.server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_lock_on_a_pool_lives_as_long_as_its_connection_and_outlives_the_server() {
    let platter = Platter::new(0);
    let house = House::on(&platter).await;
    let client = house.server.client();
    slots(&client, "app", 1).await;
    let scope = "pool/app".parse().expect("a scope");
    let setting = model::settings::Setting::Ttl(500);
    do_it(&client, Act::Set { scope, setting, reason: "test".into(), for_ms: None }).await;
    let mut a = house.client().await;
    a.says("ACQ4ME app 1 9 9", "LOCKED").await;
    tokio::time::sleep(Duration::from_millis(1600)).await;
    assert_eq!(house.leases().await.leases[0].lease.state, LeaseState::Held, "it is renewed");
    house.server.stop().await.expect("a clean end");
    let house = House::on(&platter).await;
    let mut b = house.client().await;
    b.says("ACQ4ME app 1 9 0", "TIMEOUT").await;
    until("nobody to renew it", || async { house.leases().await.leases[0].lease.state == LeaseState::Lost }).await;
    b.says("ACQ4ME app 1 9 0", "TIMEOUT").await;
    house.server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn every_lock_is_shown_and_counted() {
    let house = House::open().await;
    slots(&house.server.client(), "app", 1).await;
    let (mut a, mut b) = (house.client().await, house.client().await);
    a.says("ACQ4ME k 1 9 9", "LOCKED").await;
    a.says("ACQ4ME app 1 9 9", "LOCKED").await;
    b.send("ACQ4ANY k 1 9 9\n").await;
    let mut stats = house.client().await;
    until("it to wait", || async {
        let shown = house.server.request("GET", "/v1/poolcounter", "").await.1;
        shown["locks"].as_array().is_some_and(|locks| locks.len() == 3)
    })
    .await;
    let (status, shown) = house.server.request("GET", "/v1/poolcounter", "").await;
    let row = |at: usize, field: &str| shown["locks"][at][field].to_string();
    let address = |client: &Client| format!("\"{}\"", client.0.local_addr().expect("an address"));
    assert_eq!((status, shown["cut"].as_bool()), (200, Some(false)));
    let rows: Vec<_> =
        (0..3).map(|at| (row(at, "key"), row(at, "client"), row(at, "state"), row(at, "is_lease"))).collect();
    let expected = [("app", &a, "held", "true"), ("k", &a, "held", "false"), ("k", &b, "waiting for anyone", "false")];
    let expected = expected.map(|(key, client, state, is_lease)| {
        (format!("\"{key}\""), address(client), format!("\"{state}\""), is_lease.to_owned())
    });
    assert_eq!(rows, expected);
    stats.says("STATS waiting_workers", "waiting_workers: 1").await;
    let metrics = house.server.request("GET", "/metrics", "").await.1;
    let metrics = metrics.as_str().expect("text");
    for line in [
        "stagger_poolcounter_connections 3",
        "stagger_poolcounter_keys 2",
        "stagger_poolcounter_locks{state=\"held\"} 2",
        "stagger_poolcounter_locks{state=\"waiting\"} 1",
        "stagger_poolcounter_acquired_total 2",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    house.server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_key_becomes_a_pool_when_somebody_sets_it() {
    let house = House::open().await;
    let (mut a, mut b) = (house.client().await, house.client().await);
    a.says("ACQ4ME app 1 9 9", "LOCKED").await;
    slots(&house.server.client(), "app", 1).await;
    b.says("ACQ4ME app 1 9 0", "LOCKED").await;
    assert_eq!(house.leases().await.leases.len(), 1);
    a.says("RELEASE", "RELEASED").await;
    a.says("ACQ4ME app 9 9 0", "TIMEOUT").await;
    house.server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_storm_is_let_in_and_served_in_order() {
    const CLIENTS: usize = 2_000;
    let house = House::open().await;
    let mut first = house.client().await;
    first.says("ACQ4ME k 1 20000 99", "LOCKED").await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = house.client().await;
        client.send("ACQ4ME k 1 20000 99\n").await;
        clients.push(client);
    }
    let mut stats = house.client().await;
    let line = format!("waiting_workers: {CLIENTS}");
    soon("all to wait", async {
        loop {
            stats.send("STATS waiting_workers\n").await;
            let mut text = String::new();
            while !text.ends_with('\n') {
                text.push(char::from(stats.0.read_u8().await.expect("a byte")));
            }
            if text.trim_end() == line {
                break;
            }
        }
    })
    .await;
    first.says("RELEASE", "RELEASED").await;
    for mut client in clients {
        client.hears("LOCKED\n").await;
        drop(client);
    }
    house.server.stop().await.expect("a clean end");
}
