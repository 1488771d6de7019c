//! A balancer that watches: which hosts are out of it, and how many were so at once.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// What it knows.
#[derive(Debug, Default)]
struct Watch {
    out: BTreeMap<String, bool>,
    peak: usize,
    failing: bool,
    /// Those that an operator put into a state of their own.
    odd: BTreeSet<String>,
}

/// A balancer with an address of its own; it stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Balancer {
    pub(crate) url: String,
    watch: Arc<Mutex<Watch>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

type Shared = State<Arc<Mutex<Watch>>>;

async fn look(State(watch): Shared, Path(host): Path<String>) -> (axum::http::StatusCode, Json<Value>) {
    let watch = watch.lock().expect("the watch");
    if watch.failing {
        return (axum::http::StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": "out of order" })));
    }
    let state = if watch.odd.contains(&host) {
        "inactive"
    } else if watch.out.get(&host).copied().unwrap_or(false) {
        "out"
    } else {
        "in"
    };
    (axum::http::StatusCode::OK, Json(json!({ "host": host, "state": state })))
}

async fn change(State(watch): Shared, Path(host): Path<String>, body: String) -> axum::http::StatusCode {
    let mut watch = watch.lock().expect("the watch");
    if watch.failing {
        return axum::http::StatusCode::INTERNAL_SERVER_ERROR;
    }
    let is_out = body == "out";
    watch.odd.remove(&host);
    watch.out.insert(host, is_out);
    watch.peak = watch.peak.max(watch.out.values().filter(|out| **out).count());
    axum::http::StatusCode::OK
}

impl Balancer {
    pub(crate) fn start() -> Balancer {
        let watch: Arc<Mutex<Watch>> = Arc::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let app = Router::new().route("/servers/{host}", get(look).put(change)).with_state(watch.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let serve = axum::serve(listener, app);
                tokio::select! {
                    _ = async { serve.await } => {}
                    _ = stopped => {}
                }
            });
        });
        Balancer { url, watch, stop: Some(stop), thread: Some(thread) }
    }

    /// Whether a host is out.
    pub(crate) fn is_out(&self, host: &str) -> bool {
        self.watch.lock().expect("the watch").out.get(host).copied().unwrap_or(false)
    }

    /// How many were out at once, at most.
    pub(crate) fn peak(&self) -> usize {
        self.watch.lock().expect("the watch").peak
    }

    /// How many are out now.
    pub(crate) fn out_now(&self) -> usize {
        self.watch.lock().expect("the watch").out.values().filter(|out| **out).count()
    }

    /// Takes a host out as an operator would, or puts it in.
    pub(crate) fn set(&self, host: &str, out: bool) {
        let mut watch = self.watch.lock().expect("the watch");
        watch.odd.remove(host);
        watch.out.insert(host.to_owned(), out);
    }

    /// Puts a host into a state that is neither in nor out, as an operator would. Whatever it is told ends that.
    pub(crate) fn make_inactive(&self, host: &str) {
        self.watch.lock().expect("the watch").odd.insert(host.to_owned());
    }

    /// Whether a host is in such a state.
    pub(crate) fn is_inactive(&self, host: &str) -> bool {
        self.watch.lock().expect("the watch").odd.contains(host)
    }

    /// Answers every request with 500, or no longer.
    pub(crate) fn fail(&self, failing: bool) {
        self.watch.lock().expect("the watch").failing = failing;
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _gone = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _joined = thread.join();
        }
    }
}
