//! What the tests of probes, units and balancers share: a small server, commands, configured services, and waiting.

use crate::config::{self, Command, Predicate, Probe, Question, ServiceConfig, Surroundings};
use crate::probe::ask::Client;
use axum::Router;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long a test waits for what must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// A server on a free port; gone when dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) async fn serve(router: Router) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let task = tokio::spawn(async move {
        axum::serve(listener, router).await.expect("it serves until it is aborted");
    });
    Server { url, task }
}

/// An address where nobody listens: it was free a moment ago.
pub(crate) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

pub(crate) fn client() -> Client {
    Client::new(&"mw1".parse().expect("a host")).expect("a client")
}

pub(crate) fn command(words: &[&str]) -> Command {
    Command::new(words.iter().map(|word| (*word).to_owned()).collect()).expect("a command")
}

pub(crate) fn sh(script: &str) -> Command {
    command(&["sh", "-c", script])
}

pub(crate) fn http(url: &str) -> Probe {
    Probe { question: Question::Http(url.parse().expect("a URL")), timeout: DEADLINE }
}

pub(crate) fn exec(script: &str) -> Probe {
    Probe { question: Question::Exec(sh(script)), timeout: DEADLINE }
}

pub(crate) fn predicate(probe: &Probe, text: &str) -> Predicate {
    Predicate::compile(text, probe.question.variables()).expect("an expression")
}

/// The service of a file whose other keys are the least that there can be; `keys` are its own.
pub(crate) fn service(keys: &str) -> ServiceConfig {
    let mut text = "coordinator = \"http://locks:7532\"\n[service.app]\npools = [\"app\"]\n".to_owned();
    if !keys.contains("restart = ") {
        text.push_str("restart = { kind = \"exec\", command = [\"true\"] }\n");
    }
    if !keys.contains("depool") {
        text.push_str("depool = { kind = \"none\" }\n");
    }
    text.push_str(keys);
    let surroundings = Surroundings { hostname: "mw1".to_owned(), state_directory: None };
    let config = config::parse(&text, Path::new("test.toml"), &surroundings).unwrap_or_else(|error| panic!("{error}"));
    config.services.into_values().next().expect("a service")
}

/// Waits until it holds, and fails when it does not in time.
pub(crate) async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a process runs; one that ended and was not reaped does not.
pub(crate) fn runs(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.rsplit(") ").next().unwrap_or_default().starts_with('Z'),
        Err(_gone) => false,
    }
}
