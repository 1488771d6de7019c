//! A domain in etcd. Everything lies under `/stagger/DOMAIN/`, for people to read with `etcdctl get --prefix`:
//!
//! - `r/KEY`: the records, as `r/lease/web01`;
//! - `seat`: the steward's name, under a lease of etcd's that ends with it. The revision in which it was created is the proof
//!   that every write of the steward bears;
//! - `fence`: touched after a write without an answer, so that none comes late;
//! - `redo/`: a commit that no transaction can hold, while it is written;
//! - `call/CALLER/NUMBER` and `answer/CALLER/NUMBER`: calls and their answers, under leases of etcd's that many share.
//!
//! A call costs two proposals of etcd's: post and reply. Its answer is deleted by the post of the caller's next call. A commit
//! costs one. Waiting, reading and staying seated cost none. Reading order: `address`, `fault`, `link` (the connection), `domain` (keys, lists, watches), this file (what a caller
//! does), `redo` (large commits), `keep` (the seat's lease), `sitting` (what the steward does).

mod address;
mod domain;
mod examine;
mod fault;
mod keep;
mod link;
mod redo;
mod sitting;

use super::{CallAnswer, CallId, Doing, Finding, MESSAGE_BYTES_MAX, SEAT_KEPT, Seat, Sitting, Store, StoreError};
use domain::{Domain, Watching, is_put};
use etcd_client::{Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp, TxnOpResponse};
use fault::Fault;
use link::Kind;
use model::names::Id;
use sitting::Seated;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long connecting to a member may take.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// How long its answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Most answers that one post deletes: 128 operations are allowed by default.
const DELETED_MAX: usize = 100;
/// How often a watch may break off before the wait is given up.
const BREAKS_MAX: u32 = 5;

/// A domain of an etcd.
pub struct EtcdStore {
    domain: Arc<Domain>,
    callers: Mutex<HashMap<Id, Arc<Caller>>>,
}

/// What is known of a caller.
#[derive(Default)]
struct Caller {
    /// Held by whoever waits for its answers.
    waiting: tokio::sync::Mutex<Waiting>,
    /// Answers that were read, and still lie there.
    read: Mutex<BTreeSet<CallId>>,
}

/// How a caller waits for its answers.
#[derive(Default)]
struct Waiting {
    watching: Option<Watching>,
    /// Answers that were read, and not given out.
    next: VecDeque<CallAnswer>,
}

impl Caller {
    fn read(&self) -> MutexGuard<'_, BTreeSet<CallId>> {
        // Each change to it is one insertion or removal, so a panic elsewhere leaves it whole.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of these answers, those that were not read before: a list, or a watch that begins anew, tells them again.
    fn unread(&self, answers: impl Iterator<Item = CallAnswer>) -> Vec<CallAnswer> {
        let mut read = self.read();
        answers.filter(|(call, _)| read.insert(call.clone())).collect()
    }
}

impl EtcdStore {
    /// The store at `etcd://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…][/DOMAIN]`, or `etcds://` with TLS, where `?ca=FILE` names
    /// the authority (without it: those of the system) and `cert=FILE&key=FILE` a client certificate. Several members of a
    /// cluster may be named; the next is asked when one does not serve. Connects when something is asked, not before.
    ///
    /// # Errors
    /// The URL is none of these, or a file of it cannot be read: [`StoreError::Unfit`].
    pub fn new(url: &str) -> Result<EtcdStore, StoreError> {
        let address = address::Address::read(url)?;
        Ok(EtcdStore { domain: Arc::new(Domain::new(&address)), callers: Mutex::default() })
    }

    fn caller(&self, caller: &Id) -> Arc<Caller> {
        let mut all = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(caller.clone()).or_default().clone()
    }

    async fn do_post(&self, call: &CallId, request: Vec<u8>, kept: Duration) -> Result<Seat, StoreError> {
        let domain = &self.domain;
        if request.len() > MESSAGE_BYTES_MAX {
            return Err(StoreError::Unfit(format!("a call of {} bytes is too long", request.len())));
        }
        let caller = self.caller(&call.caller);
        let read: Vec<CallId> = caller.read().iter().take(DELETED_MAX).cloned().collect();
        let mut is_again = false;
        loop {
            let lease = domain.lease(kept).await?;
            let put = TxnOp::put(domain.call_key(call), request.clone(), Some(PutOptions::new().with_lease(lease)));
            let seat = TxnOp::get(domain.seat_key(), Some(GetOptions::new().with_keys_only()));
            let deletes = read.iter().map(|call| TxnOp::delete(domain.answer_key(call), None));
            let acts: Vec<TxnOp> = deletes.chain([put, seat]).collect();
            match domain.link.txn(Kind::Write, Txn::new().and_then(acts)).await {
                Ok(done) => {
                    caller.read().retain(|call| !read.contains(call));
                    return Ok(seat_of(&done.op_responses()));
                }
                Err(Fault::NoLease) if !is_again => domain.forget_lease(lease).await,
                Err(fault) => return Err(fault.into()),
            }
            is_again = true;
        }
    }

    async fn do_answer(&self, caller: &Id, patience: Duration) -> Result<Option<CallAnswer>, StoreError> {
        let deadline = Instant::now() + patience;
        let known = self.caller(caller);
        let mut waiting = known.waiting.lock().await;
        let mut why = String::new();
        for _ in 0..BREAKS_MAX {
            if let Some(answer) = waiting.next.pop_front() {
                return Ok(Some(answer));
            }
            let mut watching = match waiting.watching.take() {
                Some(watching) => watching,
                None => {
                    let (watching, answers) = self.begin_to_wait(caller).await?;
                    waiting.next.extend(known.unread(answers.into_iter()));
                    watching
                }
            };
            // While it is not in its place, giving up means to list again.
            while waiting.next.is_empty() {
                match timeout_at(deadline, watching.next()).await {
                    Ok(Ok(told)) => {
                        let answers = told.events().iter().filter(|event| is_put(event)).filter_map(|event| {
                            let kv = event.kv()?;
                            Some((self.domain.answer_of(kv.key())?, kv.value().to_vec()))
                        });
                        waiting.next.extend(known.unread(answers));
                    }
                    Ok(Err(broken)) => {
                        why = broken;
                        break;
                    }
                    Err(_) => {
                        waiting.watching = Some(watching);
                        return Ok(None);
                    }
                }
            }
            if let Some(answer) = waiting.next.pop_front() {
                waiting.watching = Some(watching);
                return Ok(Some(answer));
            }
        }
        Err(StoreError::Away(format!("etcd breaks watches off again and again: {why}")))
    }

    /// Lists the answers that lie there, and watches for more.
    async fn begin_to_wait(&self, caller: &Id) -> Result<(Watching, Vec<CallAnswer>), StoreError> {
        let prefix = self.domain.answers_key(caller);
        let (kvs, revision) = self.domain.list(&[], &prefix).await?;
        let watching = self.domain.watch(&[(prefix, true)], revision + 1).await?;
        let answers = kvs.iter().filter_map(|kv| Some((self.domain.answer_of(kv.key())?, kv.value().to_vec())));
        Ok((watching, answers.collect()))
    }

    async fn do_sit(&self, steward: &Id) -> Result<Option<Box<dyn Sitting>>, StoreError> {
        let domain = &self.domain;
        if self.do_seat().await? == Seat::Taken {
            return Ok(None);
        }
        // Granting changes nothing that anybody sees; a lease that is not used ends by itself.
        let seconds = SEAT_KEPT.as_secs() as i64;
        let grant = |mut session: link::Session| async move { session.client.lease_grant(seconds, None).await };
        let lease = domain.link.ask(Kind::Read, grant).await?.id();
        let options = PutOptions::new().with_lease(lease);
        let txn = Txn::new().when([Compare::create_revision(domain.seat_key(), CompareOp::Equal, 0)]).and_then([
            TxnOp::put(domain.seat_key(), steward.as_str(), Some(options)),
            TxnOp::put(domain.fence_key(), steward.as_str(), None),
        ]);
        let done = domain.link.txn(Kind::Write, txn).await?;
        let revision = done.header().map_or(0, etcd_client::ResponseHeader::revision);
        Ok(done.succeeded().then(|| Box::new(Seated::new(domain.clone(), revision, lease)) as Box<dyn Sitting>))
    }

    async fn do_seat(&self) -> Result<Seat, StoreError> {
        let seat = TxnOp::get(self.domain.seat_key(), Some(GetOptions::new().with_keys_only()));
        Ok(seat_of(&self.domain.link.txn(Kind::Read, Txn::new().and_then([seat])).await?.op_responses()))
    }
}

fn seat_of(done: &[TxnOpResponse]) -> Seat {
    match done.last() {
        Some(TxnOpResponse::Get(got)) if !got.kvs().is_empty() => Seat::Taken,
        _ => Seat::Empty,
    }
}

fn deleted(done: &TxnOpResponse) -> bool {
    matches!(done, TxnOpResponse::Delete(done) if done.deleted() > 0)
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Store for EtcdStore {
    fn name(&self) -> String {
        self.domain.name.clone()
    }

    fn post(&self, call: &CallId, request: Vec<u8>, kept: Duration) -> Doing<'_, Seat> {
        let call = call.clone();
        Box::pin(async move { self.do_post(&call, request, kept).await })
    }

    fn answer(&self, caller: &Id, patience: Duration) -> Doing<'_, Option<CallAnswer>> {
        let caller = caller.clone();
        Box::pin(async move { self.do_answer(&caller, patience).await })
    }

    fn take_back(&self, call: &CallId) -> Doing<'_, ()> {
        let deletes = [self.domain.call_key(call), self.domain.answer_key(call)].map(|key| TxnOp::delete(key, None));
        Box::pin(async move {
            self.domain.link.txn(Kind::Write, Txn::new().and_then(deletes)).await?;
            Ok(())
        })
    }

    fn seat(&self) -> Doing<'_, Seat> {
        Box::pin(self.do_seat())
    }

    fn examine(&self) -> Doing<'_, Vec<Finding>> {
        Box::pin(examine::examine(&self.domain))
    }

    fn sit(&self, steward: &Id) -> Doing<'_, Option<Box<dyn Sitting>>> {
        let steward = steward.clone();
        Box::pin(async move { self.do_sit(&steward).await })
    }
}
