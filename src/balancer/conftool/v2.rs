//! etcd by its older HTTP API, which conftool and PyBal speak: a read that the whole cluster agrees to, and a write that
//! compares the key's index. It knows nothing of the keys of v3.
//!
//! Owns one exchange over a connection of its own, encrypted or not.

use super::etcd::{Fault, Kept, Replaced, VALUE_BYTES_MAX, innermost, missing, text};
use super::tls;
use crate::config::etcd::EtcdUrl;
use crate::probe::observation::excerpt;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::pin::pin;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Longest answer that is read, in bytes: of a write it holds the value before and after, and JSON may double it.
const ANSWER_BYTES_MAX: usize = 5 * VALUE_BYTES_MAX;
/// etcd's own number for a key that is not there.
const KEY_NOT_FOUND: u32 = 100;
/// etcd's own number for a comparison that failed.
const COMPARE_FAILED: u32 = 101;

/// What etcd says of a key.
#[derive(Deserialize)]
struct Answer {
    node: Node,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    key: String,
    value: Option<String>,
    modified_index: i64,
}

/// What etcd says when it does not do as asked.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    error_code: u32,
    message: String,
}

/// Reads a key.
pub(super) async fn read(url: &EtcdUrl, member: &str, key: &str) -> Result<Kept, Fault> {
    let (status, body) = exchange(url, member, Method::GET, &format!("{key}?quorum=true"), String::new()).await?;
    if status != StatusCode::OK {
        return Err(refused(key, status, &body));
    }
    let Answer { node } = serde_json::from_slice(&body).map_err(|_| nonsense(&body))?;
    match node.value {
        Some(value) if node.key == key => Ok(Kept { value: text(value.as_bytes())?, revision: node.modified_index }),
        Some(_) => Err(Fault::Away(format!("it was asked for {key}, and tells of {}", node.key))),
        None => Err(Fault::Final(format!("{key} is a folder"))),
    }
}

/// Writes a key that is as it was at `revision`.
pub(super) async fn replace(
    url: &EtcdUrl,
    member: &str,
    key: &str,
    value: &str,
    revision: i64,
) -> Result<Replaced, Fault> {
    let form = format!("value={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
    let (status, body) = exchange(url, member, Method::PUT, &format!("{key}?prevIndex={revision}"), form).await?;
    match (status, serde_json::from_slice::<Refusal>(&body)) {
        (StatusCode::OK, Err(_)) => {
            let Answer { node } = serde_json::from_slice(&body).map_err(|_| nonsense(&body))?;
            if node.key == key { Ok(Replaced::Done) } else { Err(nonsense(&body)) }
        }
        (StatusCode::PRECONDITION_FAILED, Ok(Refusal { error_code: COMPARE_FAILED, .. })) => Ok(Replaced::Moved),
        _ => Err(refused(key, status, &body)),
    }
}

fn nonsense(body: &[u8]) -> Fault {
    Fault::Away(format!("not an answer of etcd: {}", excerpt(&String::from_utf8_lossy(body))))
}

fn refused(key: &str, status: StatusCode, body: &[u8]) -> Fault {
    match serde_json::from_slice::<Refusal>(body) {
        Ok(Refusal { error_code: KEY_NOT_FOUND, .. }) => missing(key, "v2", "v3"),
        Ok(Refusal { message, error_code }) if status.is_client_error() => {
            Fault::Final(excerpt(&format!("{message} ({error_code}, status {status})")))
        }
        Ok(Refusal { message, error_code }) => {
            Fault::Away(excerpt(&format!("{message} ({error_code}, status {status})")))
        }
        Err(_) if status == StatusCode::NOT_FOUND => {
            Fault::Final("it does not serve v2 (--enable-v2); is it api = \"v3\"?".to_owned())
        }
        Err(_) => Fault::Away(format!("status {status}: {}", excerpt(&String::from_utf8_lossy(body)))),
    }
}

/// One request and its answer.
async fn exchange(
    url: &EtcdUrl,
    member: &str,
    method: Method,
    key: &str,
    form: String,
) -> Result<(StatusCode, Bytes), Fault> {
    let mut request = Request::builder().method(method).uri(format!("/v2/keys{key}"));
    request = request.header(HOST, member).header(CONNECTION, "close");
    if !form.is_empty() {
        request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    }
    if let Some((name, password)) = &url.user {
        let login = BASE64_STANDARD.encode(format!("{name}:{password}"));
        request = request.header(AUTHORIZATION, format!("Basic {login}"));
    }
    let request = request.body(Full::new(Bytes::from(form))).map_err(|error| Fault::Final(error.to_string()))?;
    let stream = TcpStream::connect(member).await.map_err(|error| Fault::Away(error.to_string()))?;
    match &url.tls {
        None => speak(stream, request).await,
        Some(tls) => {
            let config = tls::of_http(tls).await.map_err(Fault::Final)?;
            let host = member.rsplit_once(':').map_or(member, |(host, _)| host).trim_matches(['[', ']']).to_owned();
            let name =
                rustls::pki_types::ServerName::try_from(host).map_err(|error| Fault::Final(error.to_string()))?;
            let connector = tokio_rustls::TlsConnector::from(config);
            let stream = connector.connect(name, stream).await.map_err(|error| Fault::Away(innermost(&error)))?;
            speak(stream, request).await
        }
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), Fault> {
    let away = |error: hyper::Error| Fault::Away(innermost(&error));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(away)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(away)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| Fault::Away(error.to_string()))?.to_bytes();
        Ok((status, body))
    };
    let (mut answer, connection) = (pin!(answer), pin!(connection));
    tokio::select! {
        biased;
        done = &mut answer => done,
        // What came before the end is still to be read.
        _ended = connection => answer.await,
    }
}
