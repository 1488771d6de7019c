//! A connection that speaks no more HTTP than it needs, so that the load costs little beside what it measures.

use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn to(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: Vec::new() })
    }

    /// Makes a request, and reads the answer: its status and its body.
    pub(crate) async fn call(&mut self, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
        self.send(method, path, body).await?;
        self.answer().await
    }

    pub(crate) async fn send(&mut self, method: &str, path: &str, body: &str) -> io::Result<()> {
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: locks\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        self.stream.write_all(request.as_bytes()).await
    }

    pub(crate) async fn answer(&mut self) -> io::Result<(u16, String)> {
        let nonsense = || io::Error::other("no answer of HTTP");
        self.buffer.clear();
        let head = loop {
            if let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let text = std::str::from_utf8(&self.buffer[..head]).map_err(io::Error::other)?.to_ascii_lowercase();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(nonsense)?;
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        let length = length.ok_or_else(nonsense)?;
        while self.buffer.len() < head + length {
            self.more().await?;
        }
        Ok((status, String::from_utf8_lossy(&self.buffer[head..head + length]).into_owned()))
    }

    /// A request that must be answered by 200; the body.
    pub(crate) async fn must(&mut self, method: &str, path: &str, body: &str) -> String {
        let (status, answer) = self.call(method, path, body).await.expect("an answer");
        assert_eq!(status, 200, "{method} {path} {body}: {answer}");
        answer
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// Sets how many may hold a pool.
pub(crate) async fn slots(connection: &mut Connection, pool: &str, slots: usize) {
    let body = format!(r#"{{"by":"bench","reason":"bench","set":{{"slots":{{"count":{slots}}}}}}}"#);
    connection.must("PATCH", &format!("/v1/settings/pool/{pool}"), &body).await;
}

/// The body of an ask for a slot of the pool `app`.
pub(crate) fn ask(holder: usize, claim: u64, hold_ms: u64) -> String {
    format!(
        r#"{{"holder":"holder{holder}","claim":"claim{claim}","pools":["app"],"purpose":{{"run":"bench"}},"hold_ms":{hold_ms}}}"#
    )
}

/// The path of a holder's lease, and the body that ends it.
pub(crate) fn end(holder: usize, claim: u64) -> (String, String) {
    let body = format!(r#"{{"claim":"claim{claim}","ending":"released","rollout":null,"report":null}}"#);
    (format!("/v1/leases/holder{holder}"), body)
}
