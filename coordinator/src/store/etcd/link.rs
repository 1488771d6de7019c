//! The connection: to one member at a time, as long as it serves; then to the next.
//!
//! Owns when to move on to another member, and how long to wait. One member, not all in turn: reads and watches then agree,
//! and a member that hangs is met once and not by every third request.

use super::super::StoreError;
use super::address::Address;
use super::fault::Fault;
use super::{ANSWER_WAIT, CONNECT_WAIT};
use etcd_client::{Client, ConnectOptions, Error, GetOptions, KvClient, Txn, TxnResponse, WatchClient};
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};

/// How long a member may take until it has proved to serve.
const PROVING_WAIT: Duration = Duration::from_secs(4);
/// How long a member may take in all.
const LONGEST_WAIT: Duration = CONNECT_WAIT.saturating_add(ANSWER_WAIT);
/// Longest message that is read, in bytes: a page of the longest records.
const READ_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Whether a request changes something: then one without an answer must not be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It changes nothing that anybody sees.
    Read,
    /// It does.
    Write,
}

/// A connection to one member.
#[derive(Clone)]
pub(super) struct Session {
    /// Which connection of this process.
    pub(super) number: u64,
    endpoint: String,
    /// Keys.
    pub(super) kv: KvClient,
    /// Watches.
    pub(super) watch: WatchClient,
    /// Leases.
    pub(super) client: Client,
}

/// The connection of one store.
pub(super) struct Link {
    endpoints: Vec<String>,
    options: ConnectOptions,
    /// A key to read for proof that a member serves, and lets this user in.
    proof: String,
    held: Mutex<Held>,
    /// The number of the last connection that was given up.
    given_up: watch::Sender<u64>,
}

#[derive(Default)]
struct Held {
    /// Which member is next.
    at: usize,
    sessions: u64,
    session: Option<Session>,
    /// When no member served last, and why: for those who waited for the same.
    failed: Option<(Instant, StoreError)>,
}

impl Link {
    /// Connects when something is asked, not before.
    pub(super) fn new(address: &Address, proof: String) -> Link {
        Link {
            endpoints: address.endpoints.clone(),
            options: address.options.clone(),
            proof,
            held: Mutex::default(),
            given_up: watch::Sender::new(0),
        }
    }

    /// Every member that the URL names, and how it is connected to.
    pub(super) fn endpoints(&self) -> (&[String], &ConnectOptions) {
        (&self.endpoints, &self.options)
    }

    /// Tells when connections are given up.
    pub(super) fn given_up(&self) -> watch::Receiver<u64> {
        self.given_up.subscribe()
    }

    /// Does a transaction.
    pub(super) async fn txn(&self, kind: Kind, txn: Txn) -> Result<TxnResponse, Fault> {
        self.ask(kind, |mut session| {
            let txn = txn.clone();
            async move { session.kv.txn(txn).await }
        })
        .await
    }

    /// Asks the member that serves; others, as long as it was certainly not done.
    pub(super) async fn ask<T, F>(&self, kind: Kind, act: impl Fn(Session) -> F + Send + Sync) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        let since = Instant::now();
        let mut last = Fault::NotDone("no member of etcd was asked".to_owned());
        for _ in &self.endpoints {
            let session = self.session().await.map_err(Fault::Final)?;
            let (number, endpoint) = (session.number, session.endpoint.clone());
            let mut given_up = self.given_up();
            let fault = tokio::select! {
                biased;
                done = timeout(LONGEST_WAIT, act(session)) => match done {
                    Ok(Ok(done)) => return Ok(done),
                    Ok(Err(error)) => Fault::of(&error, &endpoint),
                    Err(_) => Fault::Lost(format!("etcd at {endpoint} is silent")),
                },
                // Somebody else found that this member does not serve: no need to find the same.
                _ = given_up.wait_for(|last| *last >= number), if kind == Kind::Read => {
                    Fault::NotDone(format!("etcd at {endpoint} is silent"))
                }
            };
            if matches!(fault, Fault::NotDone(_) | Fault::Lost(_)) {
                self.give_up(number).await;
            }
            last = match fault {
                Fault::NotDone(why) => Fault::NotDone(why),
                Fault::Lost(why) if kind == Kind::Read => Fault::NotDone(why),
                other => return Err(other),
            };
            if since.elapsed() >= LONGEST_WAIT {
                break;
            }
        }
        Err(last)
    }

    /// Never again this connection; the next member is asked.
    pub(super) async fn give_up(&self, number: u64) {
        let mut held = self.held.lock().await;
        if held.session.as_ref().is_some_and(|session| session.number == number) {
            held.session = None;
            held.at = (held.at + 1) % self.endpoints.len();
            self.given_up.send_replace(number);
        }
    }

    /// The connection that serves.
    async fn session(&self) -> Result<Session, StoreError> {
        let asked_at = Instant::now();
        let mut held = self.held.lock().await;
        if let Some(session) = &held.session {
            return Ok(session.clone());
        }
        match &held.failed {
            Some((at, why)) if *at >= asked_at => return Err(why.clone()),
            _ => {}
        }
        let mut whys = Vec::new();
        let mut unfit = None;
        for _ in &self.endpoints {
            let number = held.sessions + 1;
            match self.prove(number, self.endpoints[held.at].clone()).await {
                Ok(session) => {
                    held.sessions = number;
                    held.session = Some(session.clone());
                    return Ok(session);
                }
                Err(StoreError::Unfit(why)) => unfit = Some(StoreError::Unfit(why)),
                Err(other) => whys.push(other.to_string()),
            }
            held.at = (held.at + 1) % self.endpoints.len();
        }
        let why = unfit.unwrap_or_else(|| StoreError::Away(whys.join("; ")));
        held.failed = Some((Instant::now(), why.clone()));
        Err(why)
    }

    /// Connects, and reads a key.
    async fn prove(&self, number: u64, endpoint: String) -> Result<Session, StoreError> {
        let proving = async {
            let client = Client::connect([&endpoint], Some(self.options.clone())).await?;
            let mut kv = client.kv_client().max_decoding_message_size(READ_BYTES_MAX);
            let watch = client.watch_client().max_decoding_message_size(READ_BYTES_MAX);
            kv.get(self.proof.as_str(), Some(GetOptions::new().with_keys_only())).await?;
            Ok(Session { number, endpoint: endpoint.clone(), kv, watch, client })
        };
        match timeout(PROVING_WAIT, proving).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(error)) => Err(match Fault::of(&error, &endpoint) {
                Fault::Lost(why) => StoreError::Away(why),
                fault => fault.into(),
            }),
            Err(_) => Err(StoreError::Away(format!("etcd at {endpoint} is silent"))),
        }
    }
}
