//! Stands between the program and a balancer, and spoils what is said when it is told to.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What can be wrong with a balancer that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It takes the question, and never answers.
    Hangs,
    /// Its answer ends in the middle.
    HalfALine,
    /// It answers with an error.
    Errs,
    /// It answers about another server.
    AnothersState,
    /// It closes the connection.
    Closes,
}

impl Trouble {
    pub(crate) const ALL: [Trouble; 5] =
        [Trouble::Hangs, Trouble::HalfALine, Trouble::Errs, Trouble::AnothersState, Trouble::Closes];
}

/// A proxy with an address of its own; it stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Meddler {
    pub(crate) address: String,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    /// What an error is in the words of this protocol.
    error: &'static str,
    trouble: Mutex<Option<Trouble>>,
    asked: Mutex<Vec<Instant>>,
    is_over: AtomicBool,
}

impl Meddler {
    pub(crate) fn before(upstream: &str, error: &'static str) -> Meddler {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            error,
            trouble: Mutex::default(),
            asked: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let its_own = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if its_own.is_over.load(Ordering::SeqCst) {
                    return;
                }
                its_own.asked.lock().expect("no panic").push(Instant::now());
                let shared = Arc::clone(&its_own);
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Meddler { address, shared, thread: Some(thread) }
    }

    /// From now on.
    pub(crate) fn trouble(&self, trouble: Option<Trouble>) {
        *self.shared.trouble.lock().expect("no panic") = trouble;
    }

    /// When it was asked something.
    pub(crate) fn asked(&self) -> Vec<Instant> {
        self.shared.asked.lock().expect("no panic").clone()
    }
}

impl Shared {
    /// Whatever breaks, the connection is over: that is what is to be found out by the other side.
    fn serve(&self, client: TcpStream) {
        let trouble = *self.trouble.lock().expect("no panic");
        let _broken = match trouble {
            None => self.hand_on(client, |_| ()),
            Some(Trouble::AnothersState) => self.hand_on(client, |bytes| {
                let at = |from: usize| bytes[from..].windows(3).position(|three| three == b"mw1").map(|at| from + at);
                let mut places = Vec::new();
                while let Some(place) = at(places.last().map_or(0, |last: &usize| last + 3)) {
                    places.push(place);
                }
                places.into_iter().for_each(|place| bytes[place + 2] = b'9');
            }),
            Some(Trouble::HalfALine) => self.hand_on(client, |bytes| bytes.truncate(bytes.len() / 2)),
            Some(Trouble::Errs) => read_some(&client).and_then(|_| (&client).write_all(self.error.as_bytes())),
            Some(Trouble::Closes) => Ok(()),
            // Until the other side has had enough.
            Some(Trouble::Hangs) => std::io::copy(&mut &client, &mut std::io::sink()).map(drop),
        };
    }

    /// Hands the question on, and the answer back, which is changed first; an answer that was cut is all there is.
    fn hand_on(&self, client: TcpStream, change: impl FnOnce(&mut Vec<u8>)) -> std::io::Result<()> {
        let server = TcpStream::connect(&self.upstream)?;
        let (mut question, mut to_server) = (client.try_clone()?, server.try_clone()?);
        std::thread::spawn(move || {
            let _broken = std::io::copy(&mut question, &mut to_server);
            let _broken = to_server.shutdown(Shutdown::Write);
        });
        let mut answer = read_some(&server)?;
        let whole = answer.len();
        change(&mut answer);
        (&client).write_all(&answer)?;
        if answer.len() == whole {
            std::io::copy(&mut &server, &mut &client)?;
        }
        client.shutdown(Shutdown::Both)
    }
}

fn read_some(mut stream: &TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; 256 * 1024];
    let count = stream.read(&mut bytes)?;
    bytes.truncate(count);
    Ok(bytes)
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Its next connection is its last.
        let _woken = TcpStream::connect(&self.address);
        if let Some(thread) = self.thread.take() {
            let _joined = thread.join();
        }
    }
}
