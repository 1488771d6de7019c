//! What slow clients cost others.

use crate::client::{Connection, ask, end, slots};
use crate::permille;
use crate::server::Server;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// Slow connections, a third of each kind.
const SLOW: usize = 10_000;
/// Others, half of which connect anew for each lease.
const OTHERS: usize = 16;
/// How often a slow connection says a byte.
const DRIP: Duration = Duration::from_secs(1);
/// How long others are measured.
const ROUND: Duration = Duration::from_secs(6);
const ROUNDS: usize = 3;
const HALF: &[u8] = b"POST /v1/leases HTTP/1.1\r\nhost: locks\r\ncontent-length: 60000\r\n\r\n{\"holder\":\"";
const HEADER: &[u8] = b"POST /v1/leases HTTP/1.1\r\nhost: locks\r\nx-padding: ";

pub(crate) async fn measure() {
    // Where they find room, and where every place is theirs.
    for places in [lockserver::CONNECTIONS_MAX, SLOW] {
        let (mut quiet, mut slowed) = (Vec::new(), Vec::new());
        let mut grew = 0;
        for _ in 0..ROUNDS {
            let server = Server::start(0, places).await;
            slots(&mut server.connect().await, "app", 1000).await;
            quiet.push(others(server.address, 0).await);
            let before = server.memory();
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command.args(["slow-clients", &server.address.to_string(), &SLOW.to_string()]);
            let mut slow = command.stdout(Stdio::piped()).spawn().expect("slow clients");
            let mut told = String::new();
            let mut lines = std::io::BufReader::new(slow.stdout.take().expect("piped"));
            std::io::BufRead::read_line(&mut lines, &mut told).expect("they are there");
            slowed.push(others(server.address, OTHERS).await);
            grew = server.memory().saturating_sub(before);
            let _ = slow.kill();
            let _ = slow.wait();
        }
        let [quiet, slowed] = [quiet, slowed].map(|rounds| {
            let middle = |part: fn(&(Duration, Duration)) -> Duration| {
                permille(&mut rounds.iter().map(part).collect::<Vec<_>>(), 500)
            };
            (middle(|round| round.0), middle(|round| round.1))
        });
        println!(
            "slow, {SLOW} slow clients and {places} places: a call takes {:.2?} (p50), {:.2?} (p99); without them {:.2?}, {:.2?}: \
             {:.2} of the p99; {} bytes of memory each",
            slowed.0,
            slowed.1,
            quiet.0,
            quiet.1,
            slowed.1.as_secs_f64() / quiet.1.as_secs_f64(),
            grew / SLOW as u64
        );
    }
}

/// How long the calls of those take who take leases and give them back: p50 and p99. Their names begin with this number, since those
/// of before still have leases.
async fn others(address: SocketAddr, first: usize) -> (Duration, Duration) {
    let took = Rc::new(RefCell::new(Vec::new()));
    let (local, mut all) = (LocalSet::new(), Vec::new());
    for holder in first..first + OTHERS {
        let took = Rc::clone(&took);
        all.push(local.spawn_local(async move {
            let mut connection = connect(address).await;
            for claim in 0.. {
                let start = Instant::now();
                if holder % 2 == 0 {
                    connection = connect(address).await;
                }
                connection.must("POST", "/v1/leases", &ask(holder, claim, 0)).await;
                let asked = start.elapsed();
                let (path, body) = end(holder, claim);
                let start = Instant::now();
                connection.must("DELETE", &path, &body).await;
                took.borrow_mut().extend([asked, start.elapsed()]);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }));
    }
    local.run_until(tokio::time::sleep(ROUND)).await;
    assert!(!all.iter().any(tokio::task::JoinHandle::is_finished), "somebody was not answered");
    let mut took = took.take();
    (permille(&mut took, 500), permille(&mut took, 990))
}

async fn connect(address: SocketAddr) -> Connection {
    Connection::to(address).await.expect("a connection")
}

/// Is the slow clients, until it is killed: each connects again when it is ended. Says when all have connected.
pub(crate) fn attack(address: SocketAddr, count: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for number in 0..count {
            let stream = TcpStream::connect(address).await.expect("a connection");
            tokio::spawn(async move {
                let mut stream = Some(stream);
                loop {
                    let next = match stream.take() {
                        Some(stream) => stream,
                        None => match TcpStream::connect(address).await {
                            Ok(stream) => stream,
                            Err(_) => {
                                tokio::time::sleep(DRIP).await;
                                continue;
                            }
                        },
                    };
                    be_slow(next, number).await;
                    tokio::time::sleep(DRIP).await;
                }
            });
        }
        println!("all are there");
        std::future::pending::<()>().await;
    });
}

/// Says nothing whole, until the other end has had enough.
async fn be_slow(mut stream: TcpStream, number: usize) {
    let (mut ear, mut mouth) = stream.split();
    let say = async {
        let (at_once, rest): (&[u8], &[u8]) = match number % 3 {
            0 => return std::future::pending().await,
            1 => (b"", HEADER),
            _ => (HALF, b""),
        };
        mouth.write_all(at_once).await?;
        for byte in rest.iter().chain(std::iter::repeat(&b'x')) {
            mouth.write_all(&[*byte]).await?;
            tokio::time::sleep(DRIP).await;
        }
        std::io::Result::Ok(())
    };
    let mut told = [0; 1024];
    tokio::select! {
        _ = ear.read(&mut told) => {}
        _ = say => {}
    }
}
