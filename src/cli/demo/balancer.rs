//! A small balancer: requests go in turn to the servers that are in, and workers take their own server out and put it back.
//!
//! Owns which server is in and how many requests each has. Never retries a request, never keeps a connection to a server,
//! and never asks whether a server is well: a host that is restarted while it is in costs requests, and that shows. Started
//! by the fleet; its admin side is what the workers' configuration names.

use crate::cli::demo::http::{self, Answer, Request};
use crate::cli::demo::observer::Counts;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// Longest that one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// One server, as the balancer knows it.
#[derive(Debug)]
struct Server {
    name: String,
    address: SocketAddr,
    /// Since when it is out; `None` while it is in.
    out_since: Option<Instant>,
    /// How many requests it has now.
    current: u32,
    /// Those among them that were for this server alone.
    pinned: u32,
    /// How often it was taken out.
    times_out: u32,
}

#[derive(Debug, Default)]
struct Inner {
    servers: Vec<Server>,
    /// Whose turn is next.
    turn: usize,
    counts: Counts,
}

/// One server, to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// Its host's name.
    pub(super) name: String,
    /// Whether it takes new requests.
    pub(super) is_in: bool,
    /// How many requests it has now.
    pub(super) current: u32,
    /// Those among them that were for this server alone.
    pub(super) pinned: u32,
    /// How often it was taken out.
    pub(super) times_out: u32,
}

/// The balancer's table, shared by its two listeners and by the acts that watch it.
///
/// One lock covers the servers and the counts, so that "this request was sent while so many were out" is one fact. It is
/// held for a few instructions and never across an await.
#[derive(Debug, Clone)]
pub(super) struct Balancer {
    inner: Arc<Mutex<Inner>>,
    least_drain: Duration,
}

/// A request on its way: counted at its server until dropped.
struct Turn<'a> {
    balancer: &'a Balancer,
    index: usize,
    name: String,
    address: SocketAddr,
    is_pinned: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut inner = self.balancer.lock();
        let server = &mut inner.servers[self.index];
        server.current -= 1;
        server.pinned -= u32::from(self.is_pinned);
    }
}

impl Balancer {
    /// A balancer without servers. `least_drain` only tells which requests outlasted it.
    pub(super) fn new(least_drain: Duration) -> Balancer {
        Balancer { inner: Arc::default(), least_drain }
    }

    /// Adds a server, which is in.
    pub(super) fn add(&self, name: &str, address: SocketAddr) {
        let name = name.to_owned();
        self.lock().servers.push(Server { name, address, out_since: None, current: 0, pinned: 0, times_out: 0 });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held; and counts that one did interrupt are still counts.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted until now.
    pub(super) fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// A client saw a request fail that the balancer itself could not.
    pub(super) fn request_failed(&self, cause: String) {
        self.lock().counts.request_failed(cause);
    }

    /// Every server as it stands.
    pub(super) fn view(&self) -> Vec<View> {
        self.lock().servers.iter().map(view).collect()
    }

    /// Answers clients until dropped.
    pub(super) async fn serve_clients(self, listener: TcpListener) {
        http::serve(listener, move |request| {
            let balancer = self.clone();
            async move { balancer.forward(request).await }
        })
        .await;
    }

    /// Answers workers, and people, until dropped: `GET /servers`, `GET /servers/NAME`, `PUT /servers/NAME` with `in` or
    /// `out`.
    pub(super) async fn serve_admin(self, listener: TcpListener) {
        http::serve(listener, move |request| {
            let answer = self.admin(&request);
            async move { answer }
        })
        .await;
    }

    /// Chooses whose turn it is. Counts the request, and one that nobody can take as failed.
    fn pick(&self, pin: Option<&str>) -> Option<Turn<'_>> {
        let mut inner = self.lock();
        inner.counts.request_came();
        let count = inner.servers.len();
        let takes = |server: &Server| server.out_since.is_none() && pin.is_none_or(|pin| pin == server.name);
        let mut order = (0..count).map(|step| (inner.turn + step) % count);
        let Some(index) = order.find(|index| takes(&inner.servers[*index])) else {
            let cause = format!("no server is in for {}", pin.unwrap_or("anyone"));
            inner.counts.request_failed(cause);
            return None;
        };
        inner.turn = (index + 1) % count;
        let server = &mut inner.servers[index];
        server.current += 1;
        server.pinned += u32::from(pin.is_some());
        Some(Turn {
            balancer: self,
            index,
            name: server.name.clone(),
            address: server.address,
            is_pinned: pin.is_some(),
        })
    }

    async fn forward(&self, request: Request) -> Answer {
        let Some(turn) = self.pick(request.pin.as_deref()) else {
            return Answer::new(503, "no server is in");
        };
        let sent = tokio::time::timeout(REQUEST_TIMEOUT, http::send(turn.address, &request)).await;
        let cause = match sent {
            Ok(Ok(answer)) if answer.status == 200 => {
                self.answered(&turn);
                return answer;
            }
            Ok(Ok(answer)) => format!("{}: status {}", turn.name, answer.status),
            Ok(Err(error)) => format!("{}: {error}", turn.name),
            Err(_) => format!("{}: no answer within {REQUEST_TIMEOUT:?}", turn.name),
        };
        self.request_failed(cause.clone());
        Answer::new(502, cause)
    }

    fn answered(&self, turn: &Turn<'_>) {
        let mut inner = self.lock();
        let outlasted = inner.servers[turn.index].out_since.is_some_and(|since| since.elapsed() >= self.least_drain);
        inner.counts.outlasted += u64::from(outlasted);
    }

    fn admin(&self, request: &Request) -> Answer {
        match (request.method.as_str(), request.parts().as_slice()) {
            ("GET", ["servers"]) => Answer::json(&self.view().iter().map(shown).collect()),
            ("GET", ["servers", name]) => match self.view().iter().find(|server| server.name == *name) {
                Some(server) => Answer::json(&shown(server)),
                None => unknown(name),
            },
            ("PUT", ["servers", name]) => match request.body.trim() {
                "in" => self.set(name, true),
                "out" => self.set(name, false),
                other => Answer::new(400, format!("a server is put in or out, not {other:?}")),
            },
            _ => Answer::new(404, "there are GET /servers, GET and PUT /servers/NAME"),
        }
    }

    /// Takes a server out, or puts it back. Requests in flight go on.
    fn set(&self, name: &str, is_in: bool) -> Answer {
        let mut inner = self.lock();
        let Some(server) = inner.servers.iter_mut().find(|server| server.name == name) else { return unknown(name) };
        match (is_in, server.out_since) {
            (true, Some(_)) => server.out_since = None,
            (false, None) => {
                server.out_since = Some(Instant::now());
                server.times_out += 1;
            }
            _ => {}
        }
        let answer = Answer::json(&shown(&view(server)));
        let out = inner.servers.iter().filter(|server| server.out_since.is_some()).count();
        inner.counts.out_changed(u32::try_from(out).unwrap_or(u32::MAX));
        answer
    }
}

fn view(server: &Server) -> View {
    View {
        name: server.name.clone(),
        is_in: server.out_since.is_none(),
        current: server.current,
        pinned: server.pinned,
        times_out: server.times_out,
    }
}

fn shown(server: &View) -> serde_json::Value {
    let state = if server.is_in { "in" } else { "out" };
    json!({ "server": server.name, "state": state, "current": server.current })
}

fn unknown(name: &str) -> Answer {
    Answer::new(404, format!("there is no server {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three servers that answer with their own name; the third is one that nobody listens at.
    async fn three() -> (Balancer, tokio::task::JoinSet<()>) {
        let balancer = Balancer::new(Duration::ZERO);
        let mut tasks = tokio::task::JoinSet::new();
        for name in ["a", "b"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            balancer.add(name, listener.local_addr().expect("its address"));
            tasks.spawn(http::serve(listener, move |_| async move { Answer::new(200, name) }));
        }
        let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("its address");
        balancer.add("c", gone);
        (balancer, tasks)
    }

    fn put(name: &str, state: &str) -> Request {
        Request {
            method: "PUT".to_owned(),
            target: format!("/servers/{name}"),
            body: state.to_owned(),
            ..Request::default()
        }
    }

    #[tokio::test]
    async fn requests_go_in_turn_to_those_that_are_in() {
        let (balancer, _tasks) = three().await;
        assert_eq!(balancer.admin(&put("c", "out")).status, 200);
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(balancer.forward(Request::get("/")).await.body);
        }
        assert_eq!(seen, ["a", "b", "a", "b"]);
        balancer.admin(&put("a", "out"));
        assert_eq!(balancer.forward(Request::get("/")).await.body, "b");
        let counts = balancer.counts();
        assert_eq!((counts.out, counts.peak_out, counts.requests, counts.requests_while_out), (2, 2, 5, 5));
        assert_eq!(counts.failed_requests, 0);
    }

    #[tokio::test]
    async fn a_request_that_nobody_answers_has_failed_and_is_not_sent_again() {
        let (balancer, _tasks) = three().await;
        balancer.admin(&put("a", "out"));
        balancer.admin(&put("b", "out"));
        assert_eq!(balancer.forward(Request::get("/")).await.status, 502);
        balancer.admin(&put("c", "out"));
        assert_eq!(balancer.forward(Request::get("/")).await.status, 503);
        let counts = balancer.counts();
        assert_eq!((counts.requests, counts.failed_requests, counts.causes.len()), (2, 2, 2));
        assert!(counts.causes[0].starts_with("c: "), "{:?}", counts.causes);
        assert!(balancer.view().iter().all(|server| server.current == 0));
    }

    #[tokio::test]
    async fn a_pinned_request_goes_to_its_server_or_fails() {
        let (balancer, _tasks) = three().await;
        let pinned = Request { pin: Some("b".to_owned()), ..Request::get("/") };
        assert_eq!(balancer.forward(pinned.clone()).await.body, "b");
        assert_eq!(balancer.forward(pinned.clone()).await.body, "b");
        balancer.admin(&put("b", "out"));
        assert_eq!(balancer.forward(pinned).await.status, 503);
    }

    #[tokio::test]
    async fn taking_out_twice_counts_once_and_names_are_exact() {
        let (balancer, _tasks) = three().await;
        balancer.admin(&put("a", "out"));
        let answer = balancer.admin(&put("a", "out"));
        assert_eq!(answer.body, r#"{"current":0,"server":"a","state":"out"}"#);
        assert_eq!(balancer.view()[0], View { name: "a".into(), is_in: false, current: 0, pinned: 0, times_out: 1 });
        assert_eq!(balancer.admin(&put("a", "in")).body, r#"{"current":0,"server":"a","state":"in"}"#);
        assert_eq!(balancer.admin(&Request::get("/servers/a")).body, r#"{"current":0,"server":"a","state":"in"}"#);
        assert_eq!((balancer.counts().out, balancer.counts().peak_out), (0, 1));
        assert_eq!(balancer.admin(&put("aa", "out")).status, 404);
        assert_eq!(balancer.admin(&put("a", "maybe")).status, 400);
        assert_eq!(balancer.admin(&Request::get("/nothing")).status, 404);
    }

    #[tokio::test]
    async fn a_request_in_flight_outlives_its_servers_departure_and_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (go, gone) = tokio::sync::watch::channel(false);
        let _server = tokio::spawn(http::serve(listener, move |_| {
            let mut gone = gone.clone();
            async move {
                let waited = gone.wait_for(|go| *go).await.is_ok();
                Answer::new(if waited { 200 } else { 500 }, "late")
            }
        }));
        let balancer = Balancer::new(Duration::ZERO);
        balancer.add("a", address);
        let flying = tokio::spawn({
            let balancer = balancer.clone();
            let pinned = Request { pin: Some("a".to_owned()), ..Request::get("/slow") };
            async move { balancer.forward(pinned).await }
        });
        while balancer.view()[0].pinned == 0 {
            tokio::task::yield_now().await;
        }
        balancer.admin(&put("a", "out"));
        go.send(true).expect("somebody listens");
        assert_eq!(flying.await.expect("no panic"), Answer::new(200, "late"));
        assert_eq!((balancer.counts().outlasted, balancer.counts().failed_requests), (1, 0));
        assert_eq!((balancer.view()[0].current, balancer.view()[0].pinned), (0, 0));
    }
}
