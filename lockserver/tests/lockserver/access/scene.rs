//! A lock server that wants tokens, everyone who has one, and a log that can be read.

use crate::common::*;
use jiff::Timestamp;
use lockserver::access::keep::Keeper;
use lockserver::access::secret::Secret;
use lockserver::access::tokens::{Proof, Role, Token};
use lockserver::access::{Settings, Tls};
use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tracing_subscriber::fmt::MakeWriter;

/// Here, and from another address of this machine.
pub(crate) const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
pub(crate) const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The tokens of a lock server.
pub(crate) struct Tokens {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
    secrets: BTreeMap<&'static str, Secret>,
}

impl Tokens {
    /// Everyone: one of each role, workers of two hosts, one whose time is over, one that was revoked.
    pub(crate) fn new() -> Tokens {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens");
        let mut tokens = Tokens { folder, path, secrets: BTreeMap::new() };
        tokens.add("reader", Role::Read, None);
        tokens.add("mw1", Role::Worker, Some("mw1"));
        tokens.add("mw2", Role::Worker, Some("mw2"));
        tokens.add("deploy1", Role::Deploy, None);
        tokens.add("boss", Role::Admin, None);
        let past = Timestamp::from_second(1_700_000_000).expect("a moment");
        tokens.put("old", |token| token.expires = Some(past));
        tokens.put("gone", |token| token.revoked = Some(past));
        tokens.secrets.insert("stranger", Secret::random().expect("a token"));
        tokens
    }

    pub(crate) fn add(&mut self, name: &'static str, role: Role, host: Option<&str>) {
        self.put(name, |token| (token.role, token.host) = (role, host.map(|host| host.parse().expect("a host"))));
    }

    fn put(&mut self, name: &'static str, change: impl FnOnce(&mut Token)) {
        let secret = Secret::random().expect("a token");
        let mut token = Token {
            name: name.parse().expect("a name"),
            role: Role::Admin,
            host: None,
            made: Timestamp::UNIX_EPOCH,
            expires: None,
            revoked: None,
            proof: Proof::Secret(secret.hash()),
        };
        change(&mut token);
        Keeper::open(&self.path).expect("the file").put(&token).expect("written");
        self.secrets.insert(name, secret);
    }

    /// Has the owner of a certificate known by it.
    pub(crate) fn certify(&self, name: &str, role: Role, certificate: &str) {
        let token = Token {
            name: name.parse().expect("a name"),
            role,
            host: None,
            made: Timestamp::UNIX_EPOCH,
            expires: None,
            revoked: None,
            proof: Proof::Certificate(certificate.parse().expect("a name")),
        };
        Keeper::open(&self.path).expect("the file").put(&token).expect("written");
    }

    pub(crate) fn revoke(&self, name: &str) {
        let mut keeper = Keeper::open(&self.path).expect("the file");
        let token = keeper.tokens().named(&name.parse().expect("a name")).expect("there").clone();
        keeper.put(&Token { revoked: Some(Timestamp::UNIX_EPOCH), ..token }).expect("written");
    }

    /// The text of somebody's token.
    pub(crate) fn of(&self, name: &str) -> &str {
        self.secrets[name].reveal()
    }

    pub(crate) fn bearer(&self, name: &str) -> String {
        format!("Bearer {}", self.of(name))
    }

    /// Every text that must not be told.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.secrets.values().map(Secret::reveal)
    }

    /// The file of somebody's token, as its owner has it.
    pub(crate) fn file_of(&self, name: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.folder.path().join(format!("{name}.token"));
        std::fs::write(&path, format!("{}\n", self.of(name))).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        path
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings { tokens: Some(self.path.clone()), ..Settings::default() }
    }
}

/// Starts a lock server with these settings.
pub(crate) async fn server(access: Settings) -> Server {
    Server::start(lockserver::Options { access, ..on(&Platter::new(0)) }).await
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn kind(&self) -> &str {
        self.body["kind"].as_str().unwrap_or_default()
    }
}

/// A connection from one of this machine's addresses.
pub(crate) async fn connect(address: &str, from: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((from, 0).into()).expect("an own address");
    soon("a connection", socket.connect(address.parse().expect("an address"))).await.expect("a connection")
}

/// One request by hand over a connection of its own, with this `authorization`; `None` when nothing was answered.
pub(crate) async fn asked(
    address: &str,
    from: Ipv4Addr,
    line: &str,
    body: &str,
    authorization: Option<&str>,
) -> Option<Answer> {
    let mut stream = connect(address, from).await;
    let authorization = authorization.map(|value| format!("authorization: {value}\r\n")).unwrap_or_default();
    let fleet_lock =
        if line.contains("pre-reboot") || line.contains("steady-state") { "fleet-lock-protocol: true\r\n" } else { "" };
    let request = format!(
        "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{authorization}{fleet_lock}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    // A server that refuses the connection may have closed it already.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = soon("an answer", stream.read_to_end(&mut answer)).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = serde_json::from_str(body).unwrap_or(Value::String(body.to_owned()));
    Some(Answer { status, head: head.to_lowercase(), body })
}

/// How often the lock server has counted a reason.
pub(crate) async fn counted(address: &str, reason: &str) -> u64 {
    let figures = asked(address, HERE, "GET /metrics", "", None).await.expect("figures");
    assert_eq!(figures.status, 200, "{figures:?}");
    let text = figures.body.as_str().unwrap_or_default().to_owned();
    let name = format!("stagger_access_refusals_total{{reason=\"{reason}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
}

/// The log of everything on this thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;
    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

impl Log {
    /// Keeps it as long as the guard lives.
    pub(crate) fn start() -> (Log, tracing::subscriber::DefaultGuard) {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("the log")).into_owned()
    }
}

/// An authority that certifies servers and clients.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) pem: PathBuf,
}

impl Authority {
    pub(crate) fn new(folder: &Path, name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let pem = folder.join(format!("{name}.ca.pem"));
        std::fs::write(&pem, issuer.pem()).expect("written");
        Authority { issuer, pem }
    }

    /// A certificate that is made out to a name, and its key: in these files, which are replaced at once.
    pub(crate) fn certify(&self, folder: &Path, file: &str, name: &str) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec![name.to_owned(), "127.0.0.1".to_owned()]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let write = |ending: &str, text: String| {
            let (path, new) = (folder.join(format!("{file}.{ending}")), folder.join(format!("{file}.new")));
            std::fs::write(&new, text).expect("written");
            std::fs::rename(&new, &path).expect("in its place");
            path
        };
        (write("crt", certificate.pem()), write("key", key.serialize_pem()))
    }

    /// What a lock server encrypts with.
    pub(crate) fn tls(&self, folder: &Path, client_ca: Option<&Authority>) -> Tls {
        let (cert, key) = self.certify(folder, "server", "localhost");
        Tls { cert, key, client_ca: client_ca.map(|ca| ca.pem.clone()) }
    }
}
