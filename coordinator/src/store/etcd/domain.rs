//! A domain's keys, and how they are listed, watched and put under leases, by callers and by the steward alike.

use super::super::{CallId, StoreError};
use super::address::Address;
use super::fault::Fault;
use super::link::{Kind, Link};
use etcd_client::{
    Compare, Event, EventType, GetOptions, KeyValue, ResponseHeader, Txn, TxnOp, TxnOpResponse, WatchOptions,
    WatchResponse, WatchStream,
};
use model::names::Id;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

/// How many keys are read at once.
const PAGE: i64 = 500;
/// How often a list is begun again because etcd was compacted meanwhile.
const LISTS_MAX: u32 = 5;
/// Shortest time for which a lease is used, in seconds; the shortest that etcd grants is about 2 s.
const LEASE_SECONDS_MIN: u64 = 4;

/// A domain of an etcd.
pub(super) struct Domain {
    /// The connection.
    pub(super) link: Link,
    /// The URL for people.
    pub(super) name: String,
    /// `/stagger/DOMAIN/`.
    prefix: String,
    leases: Mutex<HashMap<u64, Lease>>,
}

/// A lease that many keys share. No lease for each call: granting and ending one are proposals of their own.
struct Lease {
    id: i64,
    ends_at: Instant,
}

impl Domain {
    /// The domain that the address names.
    pub(super) fn new(address: &Address) -> Domain {
        let prefix = format!("/stagger/{}/", address.domain);
        let link = Link::new(address, format!("{prefix}seat"));
        Domain { link, name: address.name.clone(), prefix, leases: Mutex::default() }
    }

    /// What every key of the domain begins with.
    pub(super) fn whole(&self) -> String {
        self.prefix.clone()
    }

    /// A key that nothing else uses, to try what may be done.
    pub(super) fn try_key(&self) -> String {
        format!("{}try", self.prefix)
    }

    pub(super) fn seat_key(&self) -> String {
        format!("{}seat", self.prefix)
    }

    pub(super) fn fence_key(&self) -> String {
        format!("{}fence", self.prefix)
    }

    pub(super) fn redo_key(&self) -> String {
        format!("{}redo/", self.prefix)
    }

    pub(super) fn record_key(&self, key: &str) -> String {
        format!("{}r/{key}", self.prefix)
    }

    pub(super) fn calls_key(&self) -> String {
        format!("{}call/", self.prefix)
    }

    pub(super) fn call_key(&self, call: &CallId) -> String {
        format!("{}call/{call}", self.prefix)
    }

    pub(super) fn answers_key(&self, caller: &Id) -> String {
        format!("{}answer/{caller}/", self.prefix)
    }

    pub(super) fn answer_key(&self, call: &CallId) -> String {
        format!("{}answer/{call}", self.prefix)
    }

    /// The call whose key this is.
    pub(super) fn call_of(&self, key: &[u8]) -> Option<CallId> {
        self.below("call/", key)?.parse().ok()
    }

    /// The call whose answer's key this is.
    pub(super) fn answer_of(&self, key: &[u8]) -> Option<CallId> {
        self.below("answer/", key)?.parse().ok()
    }

    /// The record whose key this is.
    pub(super) fn record_of(&self, key: &[u8]) -> Option<String> {
        self.below("r/", key).map(str::to_owned)
    }

    fn below<'a>(&self, folder: &str, key: &'a [u8]) -> Option<&'a str> {
        std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?.strip_prefix(folder)
    }

    /// A lease that lasts for at least `kept`, and for about twice that at most.
    pub(super) async fn lease(&self, kept: Duration) -> Result<i64, StoreError> {
        // Few classes, so that few leases serve all.
        let seconds = (kept.as_millis().div_ceil(1000) as u64).clamp(LEASE_SECONDS_MIN, 1 << 31).next_power_of_two();
        let mut leases = self.leases.lock().await;
        let now = Instant::now();
        match leases.get(&seconds) {
            Some(lease) if lease.ends_at >= now + kept => return Ok(lease.id),
            _ => {}
        }
        let ttl = Duration::from_secs(2 * seconds);
        // Granting changes nothing that anybody sees.
        let grant = self
            .link
            .ask(Kind::Read, |mut session| async move { session.client.lease_grant(ttl.as_secs() as i64, None).await });
        let id = grant.await?.id();
        leases.insert(seconds, Lease { id, ends_at: now + ttl });
        Ok(id)
    }

    /// Etcd does not know this lease.
    pub(super) async fn forget_lease(&self, id: i64) {
        self.leases.lock().await.retain(|_, lease| lease.id != id);
    }

    /// Everything below `prefix`, as it was in one revision, and which. With a proof that does not hold: deposed.
    pub(super) async fn list(&self, proof: &[Compare], prefix: &str) -> Result<(Vec<KeyValue>, i64), StoreError> {
        let mut last = Fault::Compacted;
        for _ in 0..LISTS_MAX {
            match self.list_once(proof, prefix).await {
                Ok(found) => return found.ok_or(StoreError::Deposed),
                Err(Fault::Compacted) => last = Fault::Compacted,
                Err(fault) => return Err(fault.into()),
            }
        }
        Err(last.into())
    }

    /// `None` when the proof does not hold.
    async fn list_once(&self, proof: &[Compare], prefix: &str) -> Result<Option<(Vec<KeyValue>, i64)>, Fault> {
        let (mut found, mut revision) = (Vec::new(), 0);
        let mut from = prefix.as_bytes().to_vec();
        loop {
            let options = GetOptions::new().with_range(end_of(prefix)).with_limit(PAGE).with_revision(revision);
            let txn = Txn::new().when(proof).and_then([TxnOp::get(from, Some(options))]);
            let done = self.link.txn(Kind::Read, txn).await?;
            if !done.succeeded() {
                return Ok(None);
            }
            if revision == 0 {
                revision = done.header().map_or(0, ResponseHeader::revision);
            }
            let Some(TxnOpResponse::Get(mut got)) = done.op_responses().pop() else {
                return Err(Fault::Lost("etcd answered something else than it was asked".to_owned()));
            };
            found.append(&mut got.take_kvs());
            match found.last() {
                Some(kv) if got.more() => from = [kv.key(), &[0]].concat(),
                _ => return Ok(Some((found, revision))),
            }
        }
    }

    /// Watches keys (with `true`: everything below) from a revision on.
    pub(super) async fn watch(&self, keys: &[(String, bool)], revision: i64) -> Result<Watching, StoreError> {
        let given_up = self.link.given_up();
        let open = self.link.ask(Kind::Read, |mut session| async move {
            let mut stream: Option<WatchStream> = None;
            for (key, is_prefix) in keys {
                let options = WatchOptions::new().with_start_revision(revision).with_fragment();
                let options = if *is_prefix { options.with_prefix() } else { options };
                match &mut stream {
                    None => stream = Some(session.watch.watch(key.as_str(), Some(options)).await?),
                    Some(stream) => stream.watch(key.as_str(), Some(options)).await?,
                }
            }
            let stream = stream.ok_or_else(|| etcd_client::Error::WatchError("nothing to watch".to_owned()))?;
            Ok((stream, session.number))
        });
        let (stream, number) = open.await?;
        Ok(Watching { stream, number, given_up })
    }
}

/// The first key that is not below `prefix`.
fn end_of(prefix: &str) -> Vec<u8> {
    // A prefix ends with a slash, and behind the slash comes the zero.
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// Whether something was written, and not deleted.
pub(super) fn is_put(event: &Event) -> bool {
    event.event_type() == EventType::Put
}

/// A watch, under way.
pub(super) struct Watching {
    stream: WatchStream,
    /// The connection that it is part of.
    number: u64,
    given_up: watch::Receiver<u64>,
}

impl Watching {
    /// What is told next, or why the watch broke off: then list again. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<WatchResponse, String> {
        let number = self.number;
        let told = tokio::select! {
            biased;
            told = self.stream.message() => told,
            _ = self.given_up.wait_for(|last| *last >= number) => return Err("the member does not serve".to_owned()),
        };
        match told {
            Ok(Some(told)) if told.canceled() && told.compact_revision() > 0 => Err("it was compacted".to_owned()),
            Ok(Some(told)) if told.canceled() => Err(told.cancel_reason().to_owned()),
            Ok(Some(told)) => Ok(told),
            Ok(None) => Err("the stream ended".to_owned()),
            Err(cause) => Err(cause.to_string()),
        }
    }
}
