//! Asks a probe's question.
//!
//! Owns the one HTTP client of a worker, and the environment of the commands that it runs. Each request has its own
//! connection, so that a service that was just restarted is never asked over an old one.

use crate::config::{Command, HttpUrl, Probe, Question};
use crate::probe::connections::{self, ConnectionsError};
use crate::probe::exec::{self, ExecError, ExecOptions, Left};
use crate::probe::fastcgi::{self, FastCgiError};
use crate::probe::observation::{BODY_BYTES_MAX, Observation};
use model::names::{Host, Service};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What every probe of one service shares. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    env: Vec<(String, String)>,
    exe: Option<PathBuf>,
    left: Left,
}

/// There is no answer. It is always worth asking again.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No HTTP client can be made.
    #[error("cannot make an HTTP client: {0}")]
    Client(#[source] reqwest::Error),
    /// There is not even what connections are made with that nobody encrypts.
    #[error("cannot make an HTTP client: {0}")]
    Tls(#[source] rustls::Error),
    /// Nothing was answered in time.
    #[error("{what} did not answer within {}", model::settings::span(model::time::millis(*after)))]
    Silent {
        /// What was asked.
        what: String,
        /// How long it was given.
        after: Duration,
    },
    /// The request failed.
    #[error("{what}: {cause}")]
    Http {
        /// What was asked.
        what: String,
        /// In one line.
        cause: String,
    },
    /// The connection failed in another way than by being refused.
    #[error("{address}: {source}")]
    Tcp {
        /// What was asked.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The command did not end by itself.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The FastCGI server gave no answer.
    #[error("{what}: {source}")]
    FastCgi {
        /// What was asked.
        what: String,
        /// Why there is no answer.
        source: FastCgiError,
    },
    /// The kernel does not tell.
    #[error("{what}: {source}")]
    Connections {
        /// What was asked.
        what: String,
        /// Why not.
        source: ConnectionsError,
    },
}

/// What connections are made with that are never encrypted: the HTTP client wants something, and would else read the system's
/// authorities.
fn no_tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

impl Client {
    /// The client of a host. The commands that it runs see `STAGGER_HOST`.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(host: &Host) -> Result<Self, ProbeError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .tls_backend_preconfigured(no_tls().map_err(ProbeError::Tls)?)
            .build()
            .map_err(ProbeError::Client)?;
        Ok(Self { http, env: Vec::new(), exe: None, left: Left::default() }.with("STAGGER_HOST", host.as_str()))
    }

    /// The same client, whose acting commands end with this process, through its own executable: none goes on by itself, so
    /// that it could take effect after its sequence was taken up again.
    #[must_use]
    pub fn acting_through(self, exe: Option<PathBuf>) -> Self {
        Self { exe, ..self }
    }

    /// The same client, for one service: its commands see `STAGGER_SERVICE` too.
    #[must_use]
    pub fn of(&self, service: &Service) -> Self {
        self.with("STAGGER_SERVICE", service.as_str())
    }

    /// The same client, whose commands see one variable more, such as `STAGGER_TOKEN`. The last of a name counts.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut more = self.clone();
        more.env.push((name.to_owned(), value.to_owned()));
        more
    }

    /// What commands see beside this program's own environment.
    pub fn env(&self) -> &[(String, String)] {
        &self.env
    }

    /// What commands see of a variable: this client's own, else this program's.
    pub fn variable(&self, name: &str) -> Option<String> {
        let own = self.env.iter().rfind(|(known, _)| known == name).map(|(_, value)| value.clone());
        own.or_else(|| std::env::var(name).ok())
    }

    /// Runs a command that only looks, in this client's environment. One that outlives this process does no harm.
    ///
    /// # Errors
    /// It cannot be started, or took longer than `timeout`; then something of it may still run: [`Client::left`].
    pub async fn run(&self, command: &Command, timeout: Duration) -> Result<exec::Exit, ExecError> {
        exec::run(command, &self.options(timeout, None)).await
    }

    /// Runs a command that changes something, in this client's environment. It ends with this process.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub async fn act(&self, command: &Command, timeout: Duration) -> Result<exec::Exit, ExecError> {
        exec::run(command, &self.options(timeout, self.exe.clone())).await
    }

    fn options(&self, timeout: Duration, die_with_parent: Option<PathBuf>) -> ExecOptions {
        ExecOptions { timeout, env: self.env.clone(), die_with_parent, left: self.left.clone() }
    }

    /// What is left of the commands that this client, or a clone of it, had to kill.
    pub fn left(&self) -> &Left {
        &self.left
    }

    /// Sends one request and reads the beginning of its answer, whatever its status.
    ///
    /// # Errors
    /// Nothing was answered, or not within `timeout`.
    pub async fn request(
        &self,
        method: http::Method,
        url: &HttpUrl,
        body: Option<&str>,
        within: Duration,
    ) -> Result<Observation, ProbeError> {
        let mut request = self.http.request(method, url.as_str());
        if let Some(body) = body {
            let is_json = serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok();
            let kind = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
            request = request.header(http::header::CONTENT_TYPE, kind).body(body.to_owned());
        }
        sent(request, url, within).await
    }

    /// Asks for JSON with GET, and reads the beginning of what is answered, whatever its status and form.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn get_json(&self, url: &HttpUrl, within: Duration) -> Result<Observation, ProbeError> {
        sent(self.http.get(url.as_str()).header(http::header::ACCEPT, "application/json"), url, within).await
    }
}

async fn sent(request: reqwest::RequestBuilder, url: &HttpUrl, within: Duration) -> Result<Observation, ProbeError> {
    match timeout(within, answer(request)).await {
        Ok(Ok(observation)) => Ok(observation),
        Ok(Err(error)) => Err(ProbeError::Http { what: url.to_string(), cause: root_cause(&error) }),
        Err(_elapsed) => Err(ProbeError::Silent { what: url.to_string(), after: within }),
    }
}

impl Probe {
    /// Asks. A second call asks again.
    ///
    /// # Errors
    /// There is no answer; see [`ProbeError`]. A refused connection is an answer to a TCP probe and an error of the others.
    pub async fn ask(&self, client: &Client) -> Result<Observation, ProbeError> {
        match &self.question {
            Question::Http(url) => client.request(http::Method::GET, url, None, self.timeout).await,
            Question::Tcp(address) => connect(address, self.timeout).await,
            Question::Exec(command) => Ok(Observation::of_exit(client.run(command, self.timeout).await?)),
            Question::FastCgi(request) => fastcgi::ask(request, self.timeout).await,
            Question::Connections(end) => connections::ask(end, self.timeout).await,
        }
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Observation, reqwest::Error> {
    let mut response = request.send().await?;
    let status = response.status().as_u16();
    let headers: BTreeMap<String, String> = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let mut bytes = Vec::new();
    while bytes.len() < BODY_BYTES_MAX
        && let Some(chunk) = response.chunk().await?
    {
        bytes.extend_from_slice(&chunk[..chunk.len().min(BODY_BYTES_MAX - bytes.len())]);
    }
    let answer = serde_json::from_slice(&bytes).unwrap_or_default();
    let body = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Observation::Http { status, headers, body, answer, complaint: String::new() })
}

async fn connect(address: &str, within: Duration) -> Result<Observation, ProbeError> {
    match timeout(within, TcpStream::connect(address)).await {
        Ok(Ok(_connection)) => Ok(Observation::Tcp { connected: true }),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Observation::Tcp { connected: false }),
        Ok(Err(source)) => Err(ProbeError::Tcp { address: address.to_owned(), source }),
        Err(_elapsed) => Err(ProbeError::Silent { what: address.to_owned(), after: within }),
    }
}

/// The innermost reason, which is the one that helps: `connection refused` rather than `error sending request`.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
