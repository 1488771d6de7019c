//! Something that a balancer asks for a host's health: it looks at a flag file, and answers 503 while that is there.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A small HTTP server; it stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) address: String,
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Follower {
    pub(crate) fn of(flag: &Path) -> Follower {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        let is_over = Arc::new(AtomicBool::new(false));
        let (ended, flag) = (Arc::clone(&is_over), flag.to_owned());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let flag = flag.clone();
                std::thread::spawn(move || answer(stream, flag));
            }
        });
        Follower { address, is_over, thread: Some(thread) }
    }
}

fn answer(mut stream: TcpStream, flag: PathBuf) -> std::io::Result<()> {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        asked.extend(byte);
    }
    let (status, state) = if flag.exists() { ("503 Service Unavailable", "out") } else { ("200 OK", "in") };
    let body = format!("{{\"host\":\"mw1\",\"state\":\"{state}\"}}");
    let length = body.len();
    // In one piece, so that it can be spoilt as a whole.
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(answer.as_bytes())
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Its next connection is its last.
        let _woken = TcpStream::connect(&self.address);
        if let Some(thread) = self.thread.take() {
            let _joined = thread.join();
        }
    }
}
