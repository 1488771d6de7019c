//! A PyBal to ask: it watches keys in etcd, as PyBal does, says of each host how it is in its pools, and can be out of order.

use crate::support::http;
use etcd_client::{GetOptions, WatchOptions};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As PyBal does: JSON for those who ask for it.
    Well,
    /// As a PyBal that knows lines only.
    Lines,
    /// It takes the question, and says nothing.
    Hangs,
    /// It says this, with a status of 200.
    Says(&'static str),
    /// It answers well, but for the status.
    Status(u16),
    /// It breaks off in the middle.
    Half,
    /// It shows this host whatever it is asked for, by name.
    Another(&'static str),
}

/// What it knows, and what happened.
#[derive(Debug)]
struct Inner {
    manner: Manner,
    /// Whether it looks at etcd at all.
    follows: bool,
    /// How long after a change it follows.
    delay: Duration,
    /// So long it refuses connections after the next change.
    leaves: Option<Duration>,
    /// By pool and host: `enabled/up/pooled`; nothing where the host is not known.
    hosts: BTreeMap<(String, String), String>,
    /// What a host was, whenever that changed.
    history: Vec<String>,
    /// The paths that it was asked for.
    asked: Vec<String>,
}

/// Pools by name, each with the folder of etcd that it follows.
pub(crate) type Pools = BTreeMap<&'static str, &'static str>;

/// A PyBal at an address that it keeps; it stops when it is dropped.
#[derive(Debug)]
pub(crate) struct PyBal {
    pub(crate) address: String,
    inner: Arc<Mutex<Inner>>,
    poke: Arc<Notify>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl PyBal {
    /// One that follows the etcd at this port, by `v2` or `v3`.
    pub(crate) fn start(api: &'static str, port: u16, pools: Pools) -> PyBal {
        let address = crate::support::own_address();
        let inner = Inner {
            manner: Manner::Well,
            follows: true,
            delay: Duration::ZERO,
            leaves: None,
            hosts: BTreeMap::new(),
            history: Vec::new(),
            asked: Vec::new(),
        };
        let (inner, poke) = (Arc::new(Mutex::new(inner)), Arc::new(Notify::new()));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (place, shared, poked) = (address.clone(), inner.clone(), poke.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (listening, is_listening) = watch::channel(true);
                tokio::select! {
                    () = serve(&place, shared.clone(), is_listening) => {}
                    () = follow(api, port, &pools, shared, &poked, &listening) => {}
                    _ = stopped => {}
                }
            });
        });
        PyBal { address, inner, poke, stop: Some(stop), thread: Some(thread) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic")
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn answers(&self, manner: Manner) {
        self.inner().manner = manner;
    }

    /// From now on it looks at etcd, or no longer.
    pub(crate) fn follows(&self, follows: bool) {
        self.inner().follows = follows;
        self.poke.notify_one();
    }

    /// It follows so long after each change.
    pub(crate) fn is_slow(&self, delay: Duration) {
        self.inner().delay = delay;
    }

    /// It refuses connections for so long, once, from the next change on.
    pub(crate) fn leaves_at_the_next_change(&self, away: Duration) {
        self.inner().leaves = Some(away);
    }

    /// How a host is in a pool; nothing where it is not known.
    pub(crate) fn state(&self, pool: &str, host: &str) -> Option<String> {
        self.inner().hosts.get(&(pool.to_owned(), host.to_owned())).cloned()
    }

    /// It finds a host ill: it gets nothing, however etcd wants it.
    pub(crate) fn finds_ill(&self, pool: &str, host: &str) {
        let ill = "enabled/down/not pooled".to_owned();
        self.inner().hosts.insert((pool.to_owned(), host.to_owned()), ill);
    }

    /// What became of a host in a pool, in order, since it was first known.
    pub(crate) fn history(&self, pool: &str, host: &str) -> Vec<String> {
        let beginning = format!("{pool} {host} ");
        self.inner().history.iter().filter_map(|line| line.strip_prefix(&beginning)).map(str::to_owned).collect()
    }

    /// The paths that it was asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.inner().asked.clone()
    }
}

impl Drop for PyBal {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _gone = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _joined = thread.join();
        }
    }
}

/// Reads all entries, and again whenever one changes. An etcd that is gone is tried again.
async fn follow(
    api: &str,
    port: u16,
    pools: &Pools,
    inner: Arc<Mutex<Inner>>,
    poke: &Notify,
    listening: &watch::Sender<bool>,
) {
    let mut last = BTreeMap::new();
    loop {
        let (Ok(entries), changed) = read(api, port).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (delay, leaves) = {
            let mut inner = inner.lock().expect("no panic");
            // What is told twice has changed once.
            (inner.delay, if entries == last { None } else { inner.leaves.take() })
        };
        last.clone_from(&entries);
        if let Some(away) = leaves {
            listening.send_replace(false);
            tokio::time::sleep(away).await;
            listening.send_replace(true);
        }
        tokio::time::sleep(delay).await;
        apply(&mut inner.lock().expect("no panic"), pools, &entries);
        tokio::select! {
            () = changed => {}
            () = poke.notified() => {}
        }
    }
}

/// Key and value of everything under `/conftool`, and a future that ends when something there has changed since.
async fn read(
    api: &str,
    port: u16,
) -> (Result<BTreeMap<String, String>, ()>, futures_util::future::BoxFuture<'static, ()>) {
    let found = if api == "v2" { read_v2(port).await } else { read_v3(port).await };
    match found {
        Ok((entries, changed)) => (Ok(entries), changed),
        Err(()) => (Err(()), Box::pin(std::future::ready(()))),
    }
}

type Read = Result<(BTreeMap<String, String>, futures_util::future::BoxFuture<'static, ()>), ()>;

async fn read_v2(port: u16) -> Read {
    let url = format!("http://127.0.0.1:{port}/v2/keys/conftool?recursive=true");
    let response = http::get(&url).await.map_err(drop)?;
    let index = response.headers().get("x-etcd-index").and_then(|index| index.to_str().ok()?.parse::<u64>().ok());
    let index = index.ok_or(())?;
    let answer: serde_json::Value = response.json().await.map_err(drop)?;
    let mut entries = BTreeMap::new();
    collect(&answer["node"], &mut entries);
    let changed = async move {
        let _ended = http::get(&format!("{url}&wait=true&waitIndex={}", index + 1)).await;
    };
    Ok((entries, Box::pin(changed)))
}

fn collect(node: &serde_json::Value, entries: &mut BTreeMap<String, String>) {
    if let (Some(key), Some(value)) = (node["key"].as_str(), node["value"].as_str()) {
        entries.insert(key.to_owned(), value.to_owned());
    }
    node["nodes"].as_array().into_iter().flatten().for_each(|node| collect(node, entries));
}

async fn read_v3(port: u16) -> Read {
    let mut client = etcd_client::Client::connect([format!("127.0.0.1:{port}")], None).await.map_err(drop)?;
    let found = client.get("/conftool", Some(GetOptions::new().with_prefix())).await.map_err(drop)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let entries = found.kvs().iter().map(|kv| (text(kv.key()), text(kv.value()))).collect();
    let next = found.header().map_or(0, |header| header.revision()) + 1;
    let changed = async move {
        let options = WatchOptions::new().with_prefix().with_start_revision(next);
        let Ok(mut stream) = client.watch("/conftool", Some(options)).await else { return };
        // The first message may say only that the watch is there.
        while let Ok(Some(message)) = stream.message().await {
            if !message.events().is_empty() {
                return;
            }
        }
    };
    Ok((entries, Box::pin(changed)))
}

/// Brings the pools where the entries want them.
fn apply(inner: &mut Inner, pools: &Pools, entries: &BTreeMap<String, String>) {
    if !inner.follows {
        return;
    }
    for (pool, folder) in pools {
        for (key, value) in entries {
            let Some(host) = key.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')) else { continue };
            let value: serde_json::Value = serde_json::from_str(value).unwrap_or_default();
            let state = match value["pooled"].as_str() {
                Some("yes") => Some("enabled/up/pooled"),
                Some("no") => Some("disabled/up/not pooled"),
                _ => None,
            };
            let place = ((*pool).to_owned(), host.to_owned());
            let state = state.map(str::to_owned);
            if inner.hosts.get(&place) == state.as_ref() {
                continue;
            }
            inner.history.push(format!("{pool} {host} {}", state.as_deref().unwrap_or("gone")));
            match state {
                Some(state) => inner.hosts.insert(place, state),
                None => inner.hosts.remove(&place),
            };
        }
    }
}

/// Answers as long as it listens.
async fn serve(address: &str, inner: Arc<Mutex<Inner>>, mut is_listening: watch::Receiver<bool>) {
    loop {
        let listener = TcpListener::bind(address).await.expect("an address of our own");
        loop {
            tokio::select! {
                connection = listener.accept() => {
                    let Ok((stream, _)) = connection else { continue };
                    tokio::spawn(answer(stream, inner.clone()));
                }
                changed = is_listening.wait_for(|is| !is) => {
                    if changed.is_err() {
                        return;
                    }
                    break;
                }
            }
        }
        drop(listener);
        if is_listening.wait_for(|is| *is).await.is_err() {
            return;
        }
    }
}

async fn answer(mut stream: TcpStream, inner: Arc<Mutex<Inner>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let wants_json = head.to_lowercase().contains("\r\naccept: application/json\r\n");
    let (manner, hosts) = {
        let mut inner = inner.lock().expect("no panic");
        inner.asked.push(path.clone());
        (inner.manner, inner.hosts.clone())
    };
    let is_json = wants_json && manner != Manner::Lines;
    let (status, body) = said(&path, &hosts, is_json, manner);
    let length = if manner == Manner::Half { body.len() * 2 } else { body.len() };
    let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    if manner == Manner::Hangs {
        // Until the other end gives up.
        let _gone = stream.read_u8().await;
        return;
    }
    let _gone = stream.write_all(format!("{head}{body}").as_bytes()).await;
    let _closed = stream.shutdown().await;
}

fn said(path: &str, hosts: &BTreeMap<(String, String), String>, is_json: bool, manner: Manner) -> (u16, String) {
    let json = |state: &str| {
        let is = |word: &str| state.split('/').any(|part| part == word);
        format!(r#"{{"pooled": {}, "weight": 10, "up": {}, "enabled": {}}}"#, is("pooled"), is("up"), is("enabled"))
    };
    let shown = |state: &str| if is_json { json(state) } else { format!("{state}\n") };
    let mut parts = path.trim_start_matches("/pools/").splitn(2, '/');
    let (pool, host) = (parts.next().unwrap_or_default(), parts.next());
    let of_pool: Vec<_> = hosts.iter().filter(|((name, _), _)| name == pool).collect();
    let missing = || (404, "The desired url was not found".to_owned());
    let (status, body) = match host {
        _ if of_pool.is_empty() => missing(),
        Some(host) => match hosts.get(&(pool.to_owned(), host.to_owned())) {
            Some(state) => (200, shown(state)),
            None => missing(),
        },
        None if is_json => {
            let all: Vec<String> =
                of_pool.iter().map(|((_, host), state)| format!("{host:?}: {}", json(state))).collect();
            (200, format!("{{{}}}", all.join(", ")))
        }
        None => (200, of_pool.iter().map(|((_, host), state)| format!("{host}:\t{state}\n")).collect()),
    };
    match manner {
        Manner::Says(text) => (200, text.to_owned()),
        Manner::Status(status) => (status, body),
        Manner::Another(other) => (200, format!("{other}:\tdisabled/up/not pooled\n")),
        Manner::Well | Manner::Lines | Manner::Hangs | Manner::Half => (status, body),
    }
}
