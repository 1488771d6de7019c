//! Asks a FastCGI server, such as php-fpm, for one script.
//!
//! Owns the connection, one for each request, and what the server is told of it. The records are put together and taken apart
//! in `record`, the answer in them is read in `cgi`. An answer counts only when the server said itself that it is complete.
//! Called by the probes, and by the check for what a rule does.

mod cgi;
mod record;
#[cfg(test)]
mod tests;

use crate::config::FastCgi;
use crate::config::place::Place;
use crate::probe::ask::ProbeError;
use crate::probe::observation::{BODY_BYTES_MAX, Observation};
use record::Reply;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// The parameter by which a script knows that it is this program that asks. No visitor of a web server can send it: what a
/// web server hands on of a request begins with `HTTP_`.
pub const MARK: (&str, &str) = ("STAGGER_PROBE", "1");
/// How many bytes are read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// A FastCGI server gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum FastCgiError {
    /// Nobody can be reached there.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// As many connections wait there as may.
    #[error("cannot connect: as many connections wait there as may, so all its processes are busy")]
    Full,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[source] io::Error),
    /// It closed the connection before its answer was complete.
    #[error("it stopped in the middle of its answer{}", beside(said))]
    Truncated {
        /// What it complained.
        said: String,
    },
    /// It did not take the request.
    #[error("it refuses the request: {why}")]
    Refused {
        /// In the words of FastCGI.
        why: &'static str,
    },
    /// The script failed, by its own word.
    #[error("the script ended with {code}{}", beside(said))]
    Failed {
        /// Its exit code.
        code: u32,
        /// What it complained.
        said: String,
    },
    /// It has no such script, or may not run it.
    #[error("it does not run this script: {said}")]
    NoScript {
        /// In its words.
        said: String,
    },
    /// What it sent is no FastCGI.
    #[error("this is no FastCGI: {0}")]
    NotFastCgi(String),
    /// What the script printed is no answer.
    #[error("this is no answer: {why}{}", beside(said))]
    NotCgi {
        /// What is wrong in it.
        why: String,
        /// What it complained.
        said: String,
    },
}

/// What was complained, where something was.
fn beside(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

/// What comes of a reply that comes in these pieces: whether it is whole, and what was printed. A seam for the fuzz targets, and no part of
/// the interface.
///
/// # Errors
/// Why it is no reply, in words.
#[doc(hidden)]
pub fn pieced<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Result<(bool, Vec<u8>), String> {
    let mut reply = Reply::default();
    for piece in pieces {
        if reply.take(piece).map_err(|error| error.to_string())? {
            return Ok((true, reply.stdout().to_vec()));
        }
    }
    Ok((false, reply.stdout().to_vec()))
}

/// Sends one request and reads the beginning of its answer, whatever its status. A second call asks again. When it is dropped the
/// connection is closed, and what the server does about that is its business.
///
/// # Errors
/// There is no complete answer, or not within `within`.
pub(super) async fn ask(request: &FastCgi, within: Duration) -> Result<Observation, ProbeError> {
    match timeout(within, exchange(request)).await {
        Ok(Ok(observation)) => Ok(observation),
        Ok(Err(source)) => Err(ProbeError::FastCgi { what: request.to_string(), source }),
        Err(_elapsed) => Err(ProbeError::Silent { what: request.to_string(), after: within }),
    }
}

async fn exchange(request: &FastCgi) -> Result<Observation, FastCgiError> {
    match &request.at {
        Place::Unix(path) => talk(UnixStream::connect(path).await.map_err(unreachable)?, request).await,
        Place::Tcp(address) => talk(TcpStream::connect(address).await.map_err(unreachable)?, request).await,
    }
}

fn unreachable(error: io::Error) -> FastCgiError {
    // A socket of the file system never makes its clients wait for room: connect(2).
    if error.kind() == io::ErrorKind::WouldBlock { FastCgiError::Full } else { FastCgiError::Connect(error) }
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &FastCgi) -> Result<Observation, FastCgiError> {
    stream.write_all(&record::request(&parameters(request))).await.map_err(FastCgiError::Broken)?;
    let mut reply = Reply::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = match stream.read(&mut chunk).await {
            // A server that dies before it has read all that it was told resets the connection instead of closing it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            read => read.map_err(FastCgiError::Broken)?,
        };
        if length == 0 {
            return Err(FastCgiError::Truncated { said: reply.said() });
        }
        if reply.take(&chunk[..length])? {
            return observation(&reply);
        }
    }
}

/// What the server is told: what a web server would tell it of a visitor from this host.
fn parameters(request: &FastCgi) -> [(&str, &str); 15] {
    let script = &request.script;
    [
        MARK,
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_SOFTWARE", concat!("stagger/", env!("CARGO_PKG_VERSION"))),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_NAME", "localhost"),
        ("SERVER_ADDR", "127.0.0.1"),
        ("SERVER_PORT", "80"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", script.as_str()),
        ("DOCUMENT_URI", script.path()),
        // php-fpm knows its own pages by the name of the script, and only when there is a file name too.
        ("SCRIPT_NAME", script.path()),
        ("SCRIPT_FILENAME", script.path()),
        ("QUERY_STRING", script.query()),
        ("CONTENT_LENGTH", "0"),
    ]
}

/// What a complete reply says; one that was cut is complete as far as it is looked at.
fn observation(reply: &Reply) -> Result<Observation, FastCgiError> {
    let said = reply.said();
    if reply.has_no_script() {
        return Err(FastCgiError::NoScript { said });
    }
    let answer = cgi::read(reply.stdout()).map_err(|why| FastCgiError::NotCgi { why, said: said.clone() })?;
    let is_cut = reply.is_cut() || answer.body.len() > BODY_BYTES_MAX;
    let body = &answer.body[..answer.body.len().min(BODY_BYTES_MAX)];
    let json = if is_cut { None } else { serde_json::from_slice(body).ok() };
    let body = String::from_utf8_lossy(body).into_owned();
    let complaint = match said.is_empty() {
        true => record::first_line(&body),
        false => said,
    };
    Ok(Observation::Http {
        complaint: if (200..300).contains(&answer.status) { String::new() } else { complaint },
        status: answer.status,
        headers: answer.headers,
        body,
        answer: json.unwrap_or_default(),
    })
}
