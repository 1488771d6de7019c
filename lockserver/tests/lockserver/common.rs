//! A lock server in this process, on a free port, over a backend that can be slow, full, or lose its power.

use coordinator::remote::Remote;
use lockserver::{Options, Place};
use model::lease::Purpose;
use model::names::{Holder, Id, Pool};
use model::request::{Act, Admin, Answer, Ask, Done, Ending, Granted, Settle};
use model::settings::{Setting, Slots};
use redb::StorageBackend;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a disk holds, and what it was told to do.
#[derive(Debug, Default)]
pub(crate) struct Platter {
    synced: Mutex<Vec<u8>>,
    written: Mutex<Vec<u8>>,
    pub(crate) syncs: AtomicU64,
    sync_ms: AtomicU64,
    full: AtomicBool,
    dead: AtomicBool,
}

impl Platter {
    /// A new one, whose syncs take so long.
    pub(crate) fn new(sync_ms: u64) -> Arc<Platter> {
        Arc::new(Platter { sync_ms: AtomicU64::new(sync_ms), ..Platter::default() })
    }

    /// From now on its syncs take so long.
    pub(crate) fn slow(&self, sync_ms: u64) {
        self.sync_ms.store(sync_ms, Ordering::SeqCst);
    }

    /// From now on nothing more can be written.
    pub(crate) fn fill(&self) {
        self.full.store(true, Ordering::SeqCst);
    }

    /// The power fails: what was not synced is gone, and whoever still writes writes nowhere. Gives the disk as it is found.
    pub(crate) fn power_off(&self) -> Arc<Platter> {
        let synced = self.synced.lock().expect("the disk");
        self.dead.store(true, Ordering::SeqCst);
        let found =
            Platter { written: Mutex::new(synced.clone()), synced: Mutex::new(synced.clone()), ..Platter::default() };
        Arc::new(found)
    }

    /// The bytes on it, to be damaged.
    pub(crate) fn damage(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.synced.lock().expect("the disk");
        change(&mut bytes);
        self.written.lock().expect("the disk").clone_from(&bytes);
    }

    fn check(&self) -> io::Result<()> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(io::Error::other("no power"));
        }
        if self.full.load(Ordering::SeqCst) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device"));
        }
        Ok(())
    }
}

/// A platter as redb sees it.
#[derive(Debug)]
pub(crate) struct Drive(pub(crate) Arc<Platter>);

impl StorageBackend for Drive {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.written.lock().expect("the disk").len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.written.lock().expect("the disk");
        let start = usize::try_from(offset).expect("an offset");
        let part = bytes.get(start..start + out.len()).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.check()?;
        self.0.written.lock().expect("the disk").resize(usize::try_from(len).expect("a length"), 0);
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "the one fixed pause: it is how long this disk takes")]
    fn sync_data(&self) -> io::Result<()> {
        self.0.check()?;
        let bytes = self.0.written.lock().expect("the disk").clone();
        std::thread::sleep(Duration::from_millis(self.0.sync_ms.load(Ordering::SeqCst)));
        let mut synced = self.0.synced.lock().expect("the disk");
        self.0.check()?;
        *synced = bytes;
        self.0.syncs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.check()?;
        let start = usize::try_from(offset).expect("an offset");
        let mut bytes = self.0.written.lock().expect("the disk");
        let part =
            bytes.get_mut(start..start + data.len()).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        part.copy_from_slice(data);
        Ok(())
    }
}

/// A running lock server; dropped, it is killed.
pub(crate) struct Server {
    pub(crate) address: String,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), lockserver::Error>>,
    outcome: Option<Result<(), lockserver::Error>>,
}

impl Server {
    pub(crate) async fn start(options: Options) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(lockserver::run(listener, options, shutdown));
        Server { address, stop: Some(stop), task, outcome: None }
    }

    pub(crate) async fn on(platter: &Arc<Platter>) -> Server {
        Server::start(on(platter)).await
    }

    pub(crate) fn client(&self) -> Remote {
        Remote::new(&format!("http://{}", self.address)).expect("a client")
    }

    /// Stops it in order; how it ended.
    pub(crate) async fn stop(mut self) -> Result<(), lockserver::Error> {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        soon("the server to stop", &mut self.task).await.expect("no panic")
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(mut self) -> Result<(), lockserver::Error> {
        match self.outcome.take() {
            Some(outcome) => outcome,
            None => soon("the server to end", &mut self.task).await.expect("no panic"),
        }
    }

    /// The same, keeping the outcome for [`Server::ended`].
    pub(crate) async fn wait(&mut self) {
        let outcome = soon("the server to end", &mut self.task).await.expect("no panic");
        self.outcome = Some(outcome);
    }

    pub(crate) async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Sends raw bytes, and reads until the other end closes or falls silent after an answer.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(&self.address).await.expect("a connection");
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = soon("an answer", stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// One request by hand; its status and its body, as JSON when it is that.
    pub(crate) async fn request(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let (status, body) = self.request_text(method, path, body).await;
        (status, serde_json::from_str(&body).unwrap_or(serde_json::Value::String(body)))
    }

    /// The same, with the body as it came.
    pub(crate) async fn request_text(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let answer = self.raw(format!("{head}{body}").as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, if head.to_lowercase().contains("chunked") { unchunked(body) } else { body.to_owned() })
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn on(platter: &Arc<Platter>) -> Options {
    let place = Place::Backend(Box::new(Drive(Arc::clone(platter))));
    Options { place, connections_max: 2000, ..Options::folder("") }
}

/// What comes, within the patience of a test.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// Waits until a condition holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn id(name: &str) -> Id {
    name.parse().expect("an id")
}

pub(crate) fn holder(name: &str) -> Holder {
    name.parse().expect("a holder")
}

pub(crate) fn pool(name: &str) -> Pool {
    name.parse().expect("a pool")
}

/// An ask of `run`, whose claim is `c-` and the name.
pub(crate) fn ask(name: &str, pools: &[&str]) -> Ask {
    Ask {
        holder: holder(name),
        claim: id(&format!("c-{name}")),
        pools: pools.iter().map(|name| pool(name)).collect(),
        purpose: Purpose::Run("test".into()),
        wait_ms: None,
        patience_ms: 0,
    }
}

pub(crate) fn settle(name: &str, ending: Ending) -> Settle {
    Settle { holder: holder(name), claim: id(&format!("c-{name}")), ending, rollout: None, report: None }
}

pub(crate) fn admin(act: Act) -> Admin {
    Admin { operation: coordinator::random_id().expect("an id"), by: "me@here".into(), act }
}

pub(crate) async fn do_it(client: &Remote, act: Act) -> Done {
    use coordinator::Coordinator;
    client.admin(&admin(act)).await.expect("an answer")
}

pub(crate) async fn slots(client: &Remote, name: &str, count: u32) {
    let scope = format!("pool/{name}").parse().expect("a scope");
    let act = Act::Set { scope, setting: Setting::Slots(Slots::Count(count)), reason: "test".into(), for_ms: None };
    let done = do_it(client, act).await;
    assert!(matches!(done, Done::Did { .. }), "{done:?}");
}

pub(crate) fn granted(answer: Answer) -> Granted {
    match answer {
        Answer::Granted(granted) => *granted,
        other => panic!("not granted: {other:?}"),
    }
}
