//! A drain by the sessions that HAProxy itself counts.

use super::scene::{Scene, balancers, wait_until_joined};
use crate::support::haproxy::Haproxy;
use crate::support::{SOON, Tuning, wait_for};
use model::member::Presence;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

/// A server that answers each request when it is told to.
struct Slow {
    address: String,
    waiting: Receiver<Sender<()>>,
}

impl Slow {
    fn start() -> Slow {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        let (tell, waiting) = channel();
        // It ends with the test's process: it holds nothing but its port.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let tell = tell.clone();
                std::thread::spawn(move || answer(stream, &tell));
            }
        });
        Slow { address, waiting }
    }

    /// The next request, which waits for its answer until this is used or dropped.
    fn next(&self) -> Sender<()> {
        self.waiting.recv_timeout(SOON).expect("a request")
    }
}

fn answer(mut stream: TcpStream, tell: &Sender<Sender<()>>) -> std::io::Result<()> {
    let mut bytes = [0; 4096];
    if stream.read(&mut bytes)? == 0 {
        return Ok(());
    }
    let (go, gone) = channel();
    let _test_is_over = tell.send(go);
    let _told = gone.recv_timeout(SOON);
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
}

/// A request through a balancer, under way.
fn request(haproxy: &Haproxy) -> TcpStream {
    let mut stream = TcpStream::connect(&haproxy.front).expect("a frontend");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("sent");
    stream
}

fn whole_answer(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(SOON)).expect("a time-out");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn start(folder: &Path, name: &str, slow: &Slow) -> Haproxy {
    let backends = format!(
        "backend app\n    server other 127.0.0.1:9 weight 0\n    server mw1 {0}\nbackend api\n    server mw1 {0}\n",
        slow.address
    );
    Haproxy::start(folder, name, &backends)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sessions_of_all_balancers_are_summed_and_unknown_is_not_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let slow = Slow::start();
    let (one, two) = (start(folder.path(), "lb1", &slow), start(folder.path(), "lb2", &slow));
    let keys =
        format!("sockets = [\"{}\", \"{}\"]\nserver = [\"app/{{host}}\", \"api/{{host}}\"]", one.admin, two.admin);
    let balancers = balancers(&keys);
    let mut sessions = balancers.sessions();
    let none = sessions.ask().await;
    assert_eq!((none.sessions, none.detail.as_str()), (Some(0), "0 in flight"));
    let streams = [request(&one), request(&one), request(&two)];
    let waiting = [slow.next(), slow.next(), slow.next()];
    let three = sessions.ask().await;
    let each = format!("3 in flight: 2 at {} app/mw1, 1 at {} app/mw1", one.admin, two.admin);
    assert_eq!((three.sessions, three.detail), (Some(3), each));
    // Out, they are still there; and the numbers of servers may be others after a reload.
    let names = balancers.look().await.into_iter().map(|look| (look.balancer, look.restore)).collect();
    balancers.depool(&names).await.expect("out");
    assert_eq!(sessions.ask().await.sessions, Some(3));
    waiting.into_iter().for_each(|go| go.send(()).expect("it waits"));
    streams.into_iter().for_each(|stream| assert!(whole_answer(stream).ends_with("ok")));
    assert_eq!(sessions.ask().await.sessions, Some(0));
    two.configure(&format!(
        "backend app\n    server mw1 {}\n    server other 127.0.0.1:9\nbackend api\n    server mw1 127.0.0.1:9\n",
        slow.address
    ));
    two.restart();
    let moved = sessions.ask().await;
    assert!(moved.sessions.is_none() && moved.detail.contains("its statistics are of app/other"), "{moved:?}");
    assert_eq!(sessions.ask().await.sessions, Some(0), "asked for anew");
    two.kill();
    let unknown = sessions.ask().await;
    assert!(unknown.sessions.is_none() && !unknown.is_at_most(1_000_000), "{unknown:?}");
    assert!(unknown.detail.starts_with(&two.admin), "{unknown:?}");
}

/// HAProxy looks for a name among frontends and backends alike.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frontend_of_the_same_name_is_not_taken_for_the_backend() {
    let folder = tempfile::tempdir().expect("a folder");
    let slow = Slow::start();
    let backends = format!(
        "backend first\n    server other 127.0.0.1:9\nfrontend app\n    bind {}\n    default_backend app\n\
         backend app\n    server mw1 {}\n",
        crate::support::own_address(),
        slow.address
    );
    let haproxy = Haproxy::start(folder.path(), "lb1", &backends);
    let balancers = balancers(&format!("sockets = [\"{}\"]\nserver = \"app/{{host}}\"", haproxy.admin));
    let looks = balancers.look().await;
    assert_eq!((looks[0].presence, looks[0].detail.as_str()), (Presence::In, "UP, no check"));
    let in_flight = balancers.sessions().ask().await;
    assert_eq!(in_flight.sessions, Some(0), "{}", in_flight.detail);
    let names = looks.into_iter().map(|look| (look.balancer, look.restore)).collect();
    balancers.depool(&names).await.expect("out");
    assert!(haproxy.is_out("app/mw1"));
    balancers.repool(&names).await.expect("in");
    assert!(!haproxy.is_out("app/mw1"));
}

/// Scenario 4: it waits until what was in flight at the balancer is gone, and says what was not.
#[test]
fn a_drain_waits_for_the_sessions_and_says_what_is_left() {
    let slow = Slow::start();
    let backends = format!("backend app\n    server mw1 {}\n", slow.address);
    for (drain_max, is_answered) in [("60s", true), ("1s", false)] {
        let scene = Scene::with(&backends, 1);
        let host = scene.host("mw1", &Tuning { drain_max, drain_more: "sessions = 0", ..Tuning::default() });
        let worker = host.work();
        wait_until_joined(&worker);
        let stream = request(&scene.haproxy);
        let waiting = slow.next();
        scene.announce();
        wait_for("it is out", SOON, || scene.haproxy.is_out("app/mw1").then_some(()));
        if is_answered {
            wait_for("the drain tells what is in flight", SOON, || {
                let shown = scene.server.json(&["leases", "host/mw1"]);
                let note = shown["leases"][0]["note"].as_str().unwrap_or_default().to_owned();
                note.starts_with("1 in flight: 1 at ").then_some(())
            });
            assert_eq!(host.starts(), 0, "it waits");
            waiting.send(()).expect("it waits");
            assert!(whole_answer(stream).ends_with("ok"), "not cut");
        }
        scene.wait_until_done("web@1");
        scene.wait_until_settled(&host);
        let shown = scene.server.json(&["rollouts", "web@1"]);
        let timings = shown["targets"][0]["report"]["timings"].as_array().expect("timings");
        let drain = timings.iter().find(|timing| timing["step"] == "drain").expect("a drain");
        let note = drain["note"].as_str().expect("a note");
        match is_answered {
            true => assert_eq!(note, "0 in flight"),
            false => assert!(note.starts_with("went on after the longest wait: 1 in flight: 1 at "), "{note}"),
        }
        assert!(drain["ms"].as_u64().expect("a time") >= 100, "{drain}");
        assert!(!scene.haproxy.is_out("app/mw1"));
    }
}
