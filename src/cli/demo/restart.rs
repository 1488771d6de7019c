//! The pretend `systemctl restart`: `stagger demo-restart`, the restart command in the demo's configurations.
//!
//! Asks the demo's supervisor and ends as the unit did, with what that printed. Owns no process itself. Plain blocking
//! sockets, since its own start is part of what every pretend restart costs.

use crate::cli::out;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How it ends when the supervisor does not answer.
const EXIT_FAILED: u8 = 1;
/// Longest wait for an answer: more than any start may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Most that is read of an answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Restart a pretend service of `stagger demo`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DemoRestartArgs {
    /// Where the demo's supervisor listens
    supervisor: SocketAddr,
    /// Whose service
    host: String,
}

/// Has the service restarted. Returns the unit's exit code, 0 once it is well.
pub(crate) fn run(args: &DemoRestartArgs) -> u8 {
    match ask(args) {
        Ok((exit, stderr)) => {
            if !stderr.is_empty() {
                out::note(&stderr);
            }
            exit
        }
        Err(error) => {
            out::note(&format!("cannot restart the service of {}: {error}", args.host));
            EXIT_FAILED
        }
    }
}

fn ask(args: &DemoRestartArgs) -> std::io::Result<(u8, String)> {
    let mut stream = TcpStream::connect_timeout(&args.supervisor, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let host = &args.host;
    stream.write_all(format!("POST /hosts/{host}/restart HTTP/1.1\r\ncontent-length: 0\r\n\r\n").as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    read(&answer).ok_or_else(|| std::io::Error::other(format!("the supervisor answered {answer:?}")))
}

/// The unit's exit code and what it printed.
fn read(answer: &str) -> Option<(u8, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return None;
    }
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    let exit = body.get("exit")?.as_i64()?;
    let stderr = body.get("stderr")?.as_str()?;
    // What does not fit into an exit code is a failure all the same.
    Some((u8::try_from(exit).unwrap_or(EXIT_FAILED), stderr.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_as_the_unit_did() {
        let answer = |body: &str| read(&format!("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{body}"));
        assert_eq!(answer(r#"{"exit":0,"stderr":""}"#), Some((0, String::new())));
        assert_eq!(answer(r#"{"exit":78,"stderr":"[build 3] no"}"#), Some((78, "[build 3] no".to_owned())));
        assert_eq!(answer(r#"{"exit":-9,"stderr":""}"#), Some((1, String::new())));
    }

    #[test]
    fn anything_else_is_no_answer() {
        assert_eq!(read(""), None);
        assert_eq!(read("HTTP/1.1 500 Not OK\r\n\r\n{\"exit\":0,\"stderr\":\"\"}"), None);
        assert_eq!(read("HTTP/1.1 200 OK\r\n\r\n{\"exit\":0}"), None);
        assert_eq!(read("HTTP/1.1 200 OK\r\n\r\nnonsense"), None);
    }
}
