//! Just enough HTTP/1.1 for the demo's own traffic: short messages with a `content-length`, over plain sockets.
//!
//! Owns reading and writing of requests and answers. Never retries and never redirects. Called by the pretend service, the
//! balancer, the supervisor and the load. A full HTTP stack would do too, but the demo is mostly run from an unoptimised
//! build, and at several hundred requests a second its cost would hide what the demo is there to show.

use std::future::Future;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Longest line of a head, in bytes.
const LINE_BYTES_MAX: usize = 4 * 1024;
/// Most header lines of one head.
const HEADERS_MAX: usize = 64;
/// Longest body, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// The header that names the server which a request is for; only the demo's own slow requests carry it.
const PIN_HEADER: &str = "x-demo-server";

/// A request, as far as the demo cares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Request {
    /// Such as `GET`.
    pub(super) method: String,
    /// The path, with its query.
    pub(super) target: String,
    /// The one server that may answer it; any when not said.
    pub(super) pin: Option<String>,
    /// The body, empty when there is none.
    pub(super) body: String,
}

impl Request {
    /// A request without a body.
    pub(super) fn get(target: &str) -> Request {
        Request { method: "GET".to_owned(), target: target.to_owned(), ..Request::default() }
    }

    /// The path, without its query, in parts.
    pub(super) fn parts(&self) -> Vec<&str> {
        let path = self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path);
        path.split('/').filter(|part| !part.is_empty()).collect()
    }

    /// The value of one key of the query.
    pub(super) fn query(&self, key: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key).map(|(_, value)| value)
    }
}

/// An answer, as far as the demo cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Such as 200.
    pub(super) status: u16,
    /// The body.
    pub(super) body: String,
}

impl Answer {
    /// An answer of this status and body.
    pub(super) fn new(status: u16, body: impl Into<String>) -> Answer {
        Answer { status, body: body.into() }
    }

    /// A JSON body, with status 200.
    pub(super) fn json(value: &serde_json::Value) -> Answer {
        Answer::new(200, value.to_string())
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// One line without its end; `None` when the stream ended before it began.
async fn line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let mut bounded = stream.take(LINE_BYTES_MAX as u64);
    bounded.read_until(b'\n', &mut bytes).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.pop() != Some(b'\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "cut in the middle of a line, or a line too long"));
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes).map(Some).map_err(|_| invalid("a head that is no text"))
}

/// The headers and the body that follow a first line: the body, and the pin.
async fn rest<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> io::Result<(String, Option<String>)> {
    let (mut length, mut pin) = (0, None);
    for _ in 0..HEADERS_MAX {
        let header = line(stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if header.is_empty() {
            if length > BODY_BYTES_MAX {
                return Err(invalid("a body too long"));
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            return String::from_utf8(body).map(|body| (body, pin)).map_err(|_| invalid("a body that is no text"));
        }
        let Some((name, value)) = header.split_once(':') else { return Err(invalid("a header without a colon")) };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(|_| invalid("a length that is no number"))?;
        } else if name.eq_ignore_ascii_case(PIN_HEADER) {
            pin = Some(value.trim().to_owned());
        }
    }
    Err(invalid("too many headers"))
}

/// Reads a request; `None` when the other side closed instead of sending one.
///
/// # Errors
/// The stream broke, ended in the middle, or carries something else.
pub(super) async fn read_request<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> io::Result<Option<Request>> {
    let Some(first) = line(stream).await? else { return Ok(None) };
    let mut words = first.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Err(invalid("no request line")) };
    let (body, pin) = rest(stream).await?;
    Ok(Some(Request { method: method.to_owned(), target: target.to_owned(), pin, body }))
}

/// Reads an answer. One that is cut short is an error, whatever its status said.
///
/// # Errors
/// The stream broke, ended in the middle, or carries something else.
pub(super) async fn read_answer<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> io::Result<Answer> {
    let first = line(stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = first.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(|| invalid("no status line"))?;
    let (body, _) = rest(stream).await?;
    Ok(Answer { status, body })
}

/// Writes a request, in one piece.
///
/// # Errors
/// The stream broke.
pub(super) async fn write_request<S: AsyncWrite + Unpin>(stream: &mut S, request: &Request) -> io::Result<()> {
    let Request { method, target, pin, body } = request;
    let pin = pin.as_ref().map(|pin| format!("{PIN_HEADER}: {pin}\r\n")).unwrap_or_default();
    let length = body.len();
    let text = format!("{method} {target} HTTP/1.1\r\nhost: demo\r\n{pin}content-length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await
}

/// Writes an answer, in one piece.
///
/// # Errors
/// The stream broke.
pub(super) async fn write_answer<S: AsyncWrite + Unpin>(stream: &mut S, answer: &Answer) -> io::Result<()> {
    let Answer { status, body } = answer;
    let reason = if *status == 200 { "OK" } else { "Not OK" };
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await
}

/// Sends one request over a connection of its own. Dropped, it closes the connection.
///
/// # Errors
/// Nobody listens, or the connection broke before the whole answer was there.
pub(super) async fn send(address: std::net::SocketAddr, request: &Request) -> io::Result<Answer> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    write_request(stream.get_mut(), request).await?;
    read_answer(&mut stream).await
}

/// Answers requests at a listener until dropped; each connection may carry any number of them, one after the other. A
/// request that was read is handled to its end, even when its sender goes away.
pub(super) async fn serve<F, A>(listener: TcpListener, handle: F)
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send,
{
    let handle = Arc::new(handle);
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // No more sockets for a moment: those that there are go on, and their ends free some.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        let handle = Arc::clone(&handle);
        connections.spawn(async move {
            let mut stream = BufReader::new(stream);
            while let Ok(Some(request)) = read_request(&mut stream).await {
                let answer = handle(request).await;
                if write_answer(stream.get_mut(), &answer).await.is_err() {
                    break;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_read_as_they_were_written() {
        let request = Request {
            method: "PUT".to_owned(),
            target: "/servers/host07?now=1&ms=20".to_owned(),
            pin: Some("host07".to_owned()),
            body: "out".to_owned(),
        };
        let mut bytes = Vec::new();
        write_request(&mut bytes, &request).await.expect("written");
        let mut stream = BufReader::new(bytes.as_slice());
        let read = read_request(&mut stream).await.expect("a request").expect("one");
        assert_eq!(read, request);
        assert_eq!((read.parts(), read.query("ms"), read.query("none")), (vec!["servers", "host07"], Some("20"), None));
        assert_eq!(read_request(&mut stream).await.expect("the end"), None);

        let answer = Answer::new(503, "no server is in");
        let mut bytes = Vec::new();
        write_answer(&mut bytes, &answer).await.expect("written");
        assert_eq!(read_answer(&mut BufReader::new(bytes.as_slice())).await.expect("an answer"), answer);
    }

    #[tokio::test]
    async fn what_is_cut_short_or_too_long_is_an_error() {
        for text in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfour",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: no\r\n\r\n",
            "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
            "garbage\r\n\r\n",
        ] {
            assert!(read_answer(&mut BufReader::new(text.as_bytes())).await.is_err(), "{text:?}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(LINE_BYTES_MAX));
        assert!(read_request(&mut BufReader::new(long.as_bytes())).await.is_err());
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX));
        assert!(read_request(&mut BufReader::new(many.as_bytes())).await.is_err());
    }

    #[tokio::test]
    async fn a_server_answers_several_requests_on_one_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let server = tokio::spawn(serve(listener, |request| async move { Answer::new(200, request.target) }));
        let mut stream = BufReader::new(TcpStream::connect(address).await.expect("connected"));
        for target in ["/one", "/two"] {
            write_request(stream.get_mut(), &Request::get(target)).await.expect("sent");
            assert_eq!(read_answer(&mut stream).await.expect("answered"), Answer::new(200, target));
        }
        server.abort();
    }
}
