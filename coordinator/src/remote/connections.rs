//! Requests over connections to a lock server: one pool of connections, no redirects, no proxy, a deadline on every call; encrypted
//! where the URL says `https://`, and with the token when there is one.
//!
//! Owns how a failure on the wire is read: sent without an answer is unknown. Sends again by itself only what went out on a
//! connection that had died unseen.

use super::credentials::{self, Credentials};
use super::{Reply, Request};
use crate::error::{Error, Result};
use crate::wire::{DOMAIN, LAST_EVENT_ID};
use reqwest::{RequestBuilder, Response, Url};
use rustls::{AlertDescription, ClientConfig};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long connecting may take.
pub const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// How long an answer may take, beyond the time for which it may be held: a door to a store may have to find the seat empty, and
/// sit down first.
pub const ANSWER_WAIT: Duration = Duration::from_secs(8);
/// How soon a silent connection is probed for life.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Longest answer, in bytes: a full page of reports fits.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How often it is looked whether certificates have changed, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The connections to one lock server. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    base: Url,
    credentials: Credentials,
    made: Arc<Mutex<Made>>,
}

/// The client, and the files that it was made with, as they were then.
#[derive(Debug)]
struct Made {
    client: reqwest::Client,
    files: Vec<PathBuf>,
    stamps: Vec<Option<Stamp>>,
    looked: Option<Instant>,
}

/// A file as it was: which one, and when it changed.
type Stamp = (u64, u64, i64, i64);

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp =
        |path: &PathBuf| std::fs::metadata(path).ok().map(|of| (of.dev(), of.ino(), of.ctime(), of.ctime_nsec()));
    files.iter().map(stamp).collect()
}

impl Connections {
    /// Connections to `http://HOST:PORT`, or `http://HOST:PORT/DOMAIN`, or the same with `https://`. Made when something is asked,
    /// not before.
    ///
    /// # Errors
    /// The URL is none of these, or a file of the credentials makes no sense, or the token must not be sent there: `NotApplied`, and
    /// a retry cannot help.
    pub(super) fn new(url: &str, credentials: &Credentials) -> Result<Connections> {
        let wrong = |why: String| Error::NotApplied { retry: false, why };
        let mut base = Url::parse(url).map_err(|cause| wrong(format!("{url:?} is no URL: {cause}")))?;
        let is_encrypted = base.scheme() == "https";
        if !is_encrypted && base.scheme() != "http" {
            let scheme = base.scheme();
            return Err(wrong(format!("{scheme}:// is not spoken here; write http://HOST:PORT, or https://HOST:PORT")));
        }
        if base.query().is_some()
            || base.fragment().is_some()
            || !base.username().is_empty()
            || base.password().is_some()
        {
            return Err(wrong(format!("{url:?} says too much; write http://HOST:PORT, or http://HOST:PORT/DOMAIN")));
        }
        let domain = base.path().trim_matches('/').to_owned();
        if domain.contains('/') {
            return Err(wrong(format!("{domain:?} is no domain: it has a slash")));
        }
        base.set_path(if domain.is_empty() || domain == DOMAIN { "" } else { &domain });
        let is_here = is_loopback(base.host_str());
        credentials.may_be_sent_to(base.as_str().trim_end_matches('/'), is_encrypted, is_here)?;
        let files = if is_encrypted { credentials.files() } else { Vec::new() };
        // What changes while it is read is seen at the next look.
        let stamps = stamps(&files);
        let client = client(if is_encrypted { credentials.tls()? } else { credentials::no_tls()? })?;
        let made = Arc::new(Mutex::new(Made { client, files, stamps, looked: None }));
        Ok(Connections { base, credentials: credentials.clone(), made })
    }

    /// The client, made anew when its files have changed. While the new ones make no sense, the old ones are used.
    fn client(&self) -> reqwest::Client {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = made.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
        if !made.files.is_empty() && is_due {
            made.looked = Some(Instant::now());
            let now = stamps(&made.files);
            if now != made.stamps
                && let Ok(new) = self.credentials.tls().and_then(client)
            {
                (made.client, made.stamps) = (new, now);
            }
        }
        made.client.clone()
    }

    /// The request with who asks.
    async fn signed(&self, request: RequestBuilder) -> Result<RequestBuilder> {
        Ok(match self.credentials.header().await? {
            Some(header) => request.header(http::header::AUTHORIZATION, header),
            None => request,
        })
    }

    /// The server's address, for people.
    pub(super) fn name(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Sends a request and reads the answer whole.
    pub(super) async fn send(&self, request: &Request) -> Result<Reply> {
        let client = self.client();
        let wait = request.hold + ANSWER_WAIT;
        let mut sent = client.request(request.method.clone(), self.url_of(&request.path)).timeout(wait);
        if let Some(json) = &request.json {
            sent = sent.header(http::header::CONTENT_TYPE, "application/json").body(json.clone());
        }
        let sent = self.signed(sent).await?;
        // A body that is all there can be sent twice.
        let once = || sent.try_clone().map(RequestBuilder::send);
        let unclonable = || Error::Corrupt("the request cannot be sent".to_owned());
        let response = match once().ok_or_else(unclonable)?.await {
            Ok(response) => response,
            // A connection that the server had closed while it lay idle. Everything may be sent twice, so it is; and
            // whatever comes of the second, the first one may have been carried out.
            Err(cause) if was_cut(&cause) => {
                once().ok_or_else(unclonable)?.await.map_err(|cause| Error::Unknown { why: chain(&cause) })?
            }
            Err(cause) => return Err(unsent(cause)),
        };
        Ok(Reply { status: response.status().as_u16(), body: body(response).await? })
    }

    /// Asks for a stream of events, behind the one with the number `last`. Returns it, or what was answered instead.
    pub(super) async fn watch(&self, path: &str, last: Option<u64>) -> Result<std::result::Result<Response, Reply>> {
        let mut request = self.signed(self.client().get(self.url_of(path))).await?;
        if let Some(last) = last {
            request = request.header(LAST_EVENT_ID, last);
        }
        let sent = tokio::time::timeout(CONNECT_WAIT + ANSWER_WAIT, request.send()).await;
        let silent = |_| Error::Unknown { why: "the server is silent".to_owned() };
        let response = sent.map_err(silent)?.map_err(unsent)?;
        if response.status().is_success() {
            return Ok(Ok(response));
        }
        Ok(Err(Reply { status: response.status().as_u16(), body: body(response).await? }))
    }

    /// The URL of a path and its query.
    fn url_of(&self, path: &str) -> Url {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let mut url = self.base.clone();
        let domain = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{domain}{path}"));
        url.set_query(query);
        url
    }
}

fn client(tls: ClientConfig) -> Result<reqwest::Client> {
    let failed = |cause: reqwest::Error| {
        let why = format!("the HTTP client does not start: {}", chain(&cause));
        Error::NotApplied { retry: false, why }
    };
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_WAIT)
        .pool_idle_timeout(None)
        .tcp_keepalive(KEEPALIVE)
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(failed)
}

/// Whether a host is this very machine.
fn is_loopback(host: Option<&str>) -> bool {
    crate::store::is_loopback(host.into_iter().map(|host| host.trim_matches(['[', ']'])))
}

/// Reads an answer whole, within its bound. An answer cut short leaves unknown what was done.
async fn body(mut response: Response) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let part = response.chunk().await.map_err(|cause| Error::Unknown { why: chain(&cause) })?;
        let Some(part) = part else { return Ok(bytes) };
        bytes.extend_from_slice(&part);
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(Error::Corrupt(format!("it is longer than {ANSWER_BYTES_MAX} bytes")));
        }
    }
}

/// What a request that got no answer means for the caller.
fn unsent(cause: reqwest::Error) -> Error {
    let why = chain(&cause);
    if cause.is_connect() || was_turned_away(&cause) {
        return Error::NotApplied { retry: true, why };
    }
    if cause.is_builder() {
        return Error::NotApplied { retry: false, why };
    }
    Error::Unknown { why }
}

/// Whether the server did not take our certificate: it says so behind the handshake, before it reads anything.
fn was_turned_away(cause: &reqwest::Error) -> bool {
    use AlertDescription as A;
    let mut next: Option<&dyn std::error::Error> = Some(cause);
    while let Some(error) = next {
        let inner = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        let tls = inner.and_then(|inner| inner.downcast_ref()).or_else(|| error.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::AlertReceived(alert)) = tls {
            return matches!(
                alert,
                A::CertificateRequired
                    | A::UnknownCA
                    | A::BadCertificate
                    | A::UnsupportedCertificate
                    | A::CertificateRevoked
                    | A::CertificateExpired
                    | A::CertificateUnknown
                    | A::AccessDenied
                    | A::DecryptError
                    | A::HandshakeFailure
            );
        }
        next = error.source();
    }
    false
}

/// Whether the connection ended before the first byte of an answer.
fn was_cut(cause: &reqwest::Error) -> bool {
    !cause.is_connect() && !cause.is_builder() && !cause.is_timeout() && cause.is_request() && !was_turned_away(cause)
}

/// An error and its causes in a line, without saying anything twice. That a request was sent, and where to, the caller knows:
/// the layers of the HTTP client are left out where a cause below them says more.
pub(super) fn chain(cause: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = Some(cause);
    while let Some(error) = next {
        let part = error.to_string();
        let is_layer = part.starts_with("error sending request") || part.starts_with("client error (");
        let says_more = !is_layer || error.source().is_none();
        if says_more && !text.contains(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_checked_before_anything_is_sent() {
        for (url, path) in [
            ("http://127.0.0.1:7532", "/v1/leases"),
            ("http://127.0.0.1:7532/", "/v1/leases"),
            ("http://127.0.0.1:7532/default", "/v1/leases"),
            ("http://127.0.0.1:7532/eqiad/", "/eqiad/v1/leases"),
            ("https://locks:7532/eqiad", "/eqiad/v1/leases"),
        ] {
            let client = Connections::new(url, &Credentials::default()).expect("a URL");
            assert_eq!(client.url_of("/v1/leases").path(), path);
        }
        for url in
            ["", "127.0.0.1:7532", "ftp://a:1", "redis://a:1", "http://a:1/b/c", "http://u:p@a:1", "http://a:1/?q"]
        {
            let error = Connections::new(url, &Credentials::default()).expect_err(url);
            assert!(!error.retryable(), "{url}: {error}");
        }
    }

    #[test]
    fn a_token_goes_unencrypted_to_this_machine_alone() {
        let credentials = Credentials { token: Some("/nowhere".into()), ..Credentials::default() };
        for url in ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://locks:1"] {
            Connections::new(url, &credentials).expect(url);
        }
        for url in ["http://locks:1", "http://10.0.0.7:1"] {
            assert!(Connections::new(url, &credentials).is_err(), "{url}");
        }
    }
}
