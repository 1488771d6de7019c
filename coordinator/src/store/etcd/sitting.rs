//! What the steward does. Every write bears the proof that the seat's key is the one that it created.

use super::super::{
    ANSWER_KEPT, CallAnswer, CallId, Doing, Heard, MESSAGE_BYTES_MAX, Record, Sitting, StoreError, Write,
};
use super::domain::{Domain, Watching, is_put};
use super::fault::Fault;
use super::keep::KeptLease;
use super::link::Kind;
use super::{BREAKS_MAX, deleted, redo};
use etcd_client::{
    Compare, CompareOp, DeleteOptions, EventType, KeyValue, PutOptions, ResponseHeader, Txn, TxnOp, TxnOpResponse,
    TxnResponse, WatchResponse,
};
use futures_util::future::join;
use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Most answers in one transaction: 128 are allowed by default.
const ANSWERS_MAX: usize = 100;

/// The seat, taken.
pub(super) struct Seated {
    domain: Arc<Domain>,
    /// The revision in which the seat's key was created.
    revision: i64,
    /// The lease under which it lies.
    lease: KeptLease,
    /// Held while something is written.
    writing: tokio::sync::Mutex<Writing>,
    hearing: tokio::sync::Mutex<Hearing>,
    /// Calls that were heard, and are not over.
    open: Mutex<HashSet<CallId>>,
}

struct Writing {
    /// The revision in which the fence was touched last: a write from before that is not applied.
    fence: i64,
    /// Whether there is certainly no redo record, and no write without an answer.
    is_settled: bool,
    /// Whether a write went without an answer.
    is_unknown: bool,
}

#[derive(Default)]
struct Hearing {
    watching: Option<Watching>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn revision(done: &TxnResponse) -> i64 {
    done.header().map_or(0, ResponseHeader::revision)
}

impl Seated {
    /// Sits since `revision`, under `lease`.
    pub(super) fn new(domain: Arc<Domain>, revision: i64, lease: i64) -> Seated {
        Seated {
            domain,
            revision,
            lease: KeptLease::new(lease),
            writing: tokio::sync::Mutex::new(Writing { fence: revision, is_settled: false, is_unknown: false }),
            hearing: tokio::sync::Mutex::default(),
            open: Mutex::default(),
        }
    }

    /// The proof that nobody else sits.
    fn proof(&self) -> Compare {
        Compare::create_revision(self.domain.seat_key(), CompareOp::Equal, self.revision)
    }

    /// Does something as the steward.
    async fn act(&self, kind: Kind, proof: &[Compare], acts: Vec<TxnOp>) -> Result<TxnResponse, StoreError> {
        let done = self.domain.link.txn(kind, Txn::new().when(proof).and_then(acts)).await?;
        if done.succeeded() { Ok(done) } else { Err(StoreError::Deposed) }
    }

    /// Writes as the steward, fenced off from writes that went without an answer.
    async fn write(&self, writing: &mut Writing, acts: Vec<TxnOp>) -> Result<(), StoreError> {
        let fence = Compare::mod_revision(self.domain.fence_key(), CompareOp::Equal, writing.fence);
        // Given up while it is under way, it is as if there were no answer.
        let was_settled = std::mem::replace(&mut writing.is_settled, false);
        let was_unknown = std::mem::replace(&mut writing.is_unknown, true);
        let done = self.act(Kind::Write, &[self.proof(), fence], acts).await;
        if !matches!(done, Err(StoreError::Unknown(_))) {
            (writing.is_settled, writing.is_unknown) = (was_settled, was_unknown);
        }
        done.map(|_| ())
    }

    /// Makes sure that no write comes late, and that no commit is half written.
    async fn settle(&self, writing: &mut Writing) -> Result<(), StoreError> {
        if writing.is_settled {
            return Ok(());
        }
        if writing.is_unknown {
            self.touch_fence(writing).await?;
        }
        let prefix = self.domain.redo_key();
        let (parts, _) = self.domain.list(&[self.proof()], &prefix).await?;
        if !parts.is_empty() {
            match read_redo(&prefix, &parts) {
                Some(writes) => self.write_pieces(writing, &writes).await?,
                None => self.write(writing, vec![self.drop_redo()]).await?,
            }
        }
        writing.is_settled = true;
        Ok(())
    }

    /// After this, every write from before is applied or never will be.
    async fn touch_fence(&self, writing: &mut Writing) -> Result<(), StoreError> {
        let key = self.domain.fence_key();
        let fence = Compare::mod_revision(key.clone(), CompareOp::Equal, writing.fence);
        let txn = Txn::new()
            .when([self.proof(), fence])
            .and_then([TxnOp::put(key.clone(), "", None)])
            .or_else([TxnOp::get(self.domain.seat_key(), None), TxnOp::get(key, None)]);
        let done = self.domain.link.txn(Kind::Write, txn).await?;
        let touched_at = if done.succeeded() {
            revision(&done)
        } else {
            // Touching went without an answer before, and was done nevertheless.
            let mut got = done.op_responses().into_iter().map(|done| match done {
                TxnOpResponse::Get(got) => got.kvs().first().map(|kv| (kv.create_revision(), kv.mod_revision())),
                _ => None,
            });
            match (got.next().flatten(), got.next().flatten()) {
                (Some((created, _)), Some((_, touched))) if created == self.revision => touched,
                _ => return Err(StoreError::Deposed),
            }
        };
        (writing.fence, writing.is_unknown) = (touched_at, false);
        Ok(())
    }

    fn drop_redo(&self) -> TxnOp {
        TxnOp::delete(self.domain.redo_key(), Some(DeleteOptions::new().with_prefix()))
    }

    fn operation(&self, (key, text): &Write) -> TxnOp {
        match text {
            Some(text) => TxnOp::put(self.domain.record_key(key), text.clone(), None),
            None => TxnOp::delete(self.domain.record_key(key), None),
        }
    }

    /// Writes what a redo record holds, and then drops that.
    async fn write_pieces(&self, writing: &mut Writing, writes: &[Write]) -> Result<(), StoreError> {
        let pieces = redo::pieces(writes);
        let last = pieces.len() - 1;
        for (at, piece) in pieces.into_iter().enumerate() {
            let mut acts: Vec<TxnOp> = piece.iter().map(|write| self.operation(write)).collect();
            if at == last {
                acts.push(self.drop_redo());
            }
            self.write(writing, acts).await?;
        }
        Ok(())
    }

    async fn do_commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let writes = redo::last_of_each(writes);
        if let Some((key, _)) = redo::too_long(&writes) {
            let most = redo::RECORD_BYTES_MAX;
            return Err(StoreError::Unfit(format!("the record {key} is longer than etcd can hold ({most} bytes)")));
        }
        let mut writing = self.writing.lock().await;
        self.settle(&mut writing).await?;
        if redo::pieces(&writes).len() == 1 {
            return self.write(&mut writing, writes.iter().map(|write| self.operation(write)).collect()).await;
        }
        let text = redo::encode(&writes);
        let parts: Vec<&[u8]> = text.chunks(redo::PART_BYTES_MAX).collect();
        let prefix = self.domain.redo_key();
        writing.is_settled = false;
        for (at, part) in parts.iter().enumerate() {
            let mut acts = vec![TxnOp::put(format!("{prefix}part/{at:05}"), *part, None)];
            if at + 1 == parts.len() {
                acts.push(TxnOp::put(format!("{prefix}seal"), redo::seal(parts.len(), text.len()), None));
            }
            self.write(&mut writing, acts).await?;
        }
        // It is decided: what does not go well now is done by whoever loads, or commits, next.
        match self.write_pieces(&mut writing, &writes).await {
            Ok(()) => {
                writing.is_settled = true;
                Ok(())
            }
            Err(StoreError::Unknown(why)) => Err(StoreError::Unknown(why)),
            Err(why) => Err(StoreError::Unknown(format!("the next load finishes it, for it broke off: {why}"))),
        }
    }

    async fn do_load(&self) -> Result<Vec<Record>, StoreError> {
        self.settle(&mut *self.writing.lock().await).await?;
        let (kvs, _) = self.domain.list(&[self.proof()], &self.domain.record_key("")).await?;
        let record = |kv: KeyValue| {
            let key = self.domain.record_of(kv.key())?;
            Some((key, kv.into_key_value().1))
        };
        Ok(kvs.into_iter().filter_map(record).collect())
    }

    async fn do_stay(&self) -> Result<(), StoreError> {
        let (kept, sits) =
            join(self.lease.keep(&self.domain.link), self.act(Kind::Read, &[self.proof()], vec![])).await;
        sits?;
        match kept {
            Err(Fault::NoLease) => Err(StoreError::Deposed),
            kept => Ok(kept?),
        }
    }

    async fn do_hear(&self, patience: Duration) -> Result<Vec<Heard>, StoreError> {
        let deadline = Instant::now() + patience;
        let mut hearing = self.hearing.lock().await;
        let mut breaks = 0;
        loop {
            let Some(watching) = &mut hearing.watching else {
                let (watching, heard) = self.begin_to_hear().await?;
                hearing.watching = Some(watching);
                if !heard.is_empty() {
                    return Ok(heard);
                }
                continue;
            };
            match timeout_at(deadline, watching.next()).await {
                Ok(Ok(told)) => {
                    let heard = self.heard(&told);
                    if heard.is_err() {
                        hearing.watching = None;
                    }
                    if !heard.as_ref().is_ok_and(Vec::is_empty) {
                        return heard;
                    }
                }
                Ok(Err(why)) => {
                    hearing.watching = None;
                    breaks += 1;
                    if breaks == BREAKS_MAX {
                        return Err(StoreError::Away(format!("etcd breaks watches off again and again: {why}")));
                    }
                }
                Err(_) => return Ok(vec![]),
            }
        }
    }

    /// Lists the calls that lie there, and watches for more, and for another steward.
    async fn begin_to_hear(&self) -> Result<(Watching, Vec<Heard>), StoreError> {
        let prefix = self.domain.calls_key();
        let (mut kvs, revision) = self.domain.list(&[self.proof()], &prefix).await?;
        let watching = self.domain.watch(&[(prefix, true), (self.domain.seat_key(), false)], revision + 1).await?;
        kvs.sort_by_key(KeyValue::mod_revision);
        let calls: Vec<_> =
            kvs.into_iter().filter_map(|kv| Some((self.domain.call_of(kv.key())?, kv.into_key_value().1))).collect();
        let mut open = locked(&self.open);
        let there: HashSet<CallId> = calls.iter().map(|(id, _)| id.clone()).collect();
        let gone = open.difference(&there).cloned().map(Heard::Gone);
        let came = calls.into_iter().filter(|(id, _)| !open.contains(id));
        let heard = gone.chain(came.map(|(id, request)| Heard::Call { id, request })).collect();
        *open = there;
        Ok((watching, heard))
    }

    /// What the watch tells.
    fn heard(&self, told: &WatchResponse) -> Result<Vec<Heard>, StoreError> {
        let (mut heard, mut open) = (Vec::new(), locked(&self.open));
        for event in told.events() {
            let Some(kv) = event.kv() else { continue };
            match self.domain.call_of(kv.key()) {
                None if event.event_type() == EventType::Delete || kv.create_revision() != self.revision => {
                    return Err(StoreError::Deposed);
                }
                None => {}
                Some(id) if is_put(event) => {
                    open.insert(id.clone());
                    heard.push(Heard::Call { id, request: kv.value().to_vec() });
                }
                // Answered calls are not open.
                Some(id) if open.remove(&id) => heard.push(Heard::Gone(id)),
                Some(_) => {}
            }
        }
        Ok(heard)
    }

    async fn do_reply(&self, answers: Vec<CallAnswer>) -> Result<(), StoreError> {
        if let Some((id, text)) = answers.iter().find(|(_, text)| text.len() > MESSAGE_BYTES_MAX) {
            return Err(StoreError::Unfit(format!("the answer to {id} is too long: {} bytes", text.len())));
        }
        let mut answers = answers.into_iter().peekable();
        while answers.peek().is_some() {
            let (mut some, mut size) = (Vec::new(), 0);
            while some.len() < ANSWERS_MAX
                && let Some(answer) =
                    answers.next_if(|(_, text)| some.is_empty() || size + text.len() < MESSAGE_BYTES_MAX)
            {
                size += answer.1.len();
                some.push(answer);
            }
            // No more open before it is done: the watch may tell of it sooner than the answer does.
            let were_open: Vec<CallId> = {
                let mut open = locked(&self.open);
                some.iter().filter_map(|(id, _)| open.take(id)).collect()
            };
            if let Err(error) = self.reply_some(&some, &[]).await {
                locked(&self.open).extend(were_open);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Answers as many calls as one transaction can, and does something else in the same transaction.
    async fn reply_some(&self, answers: &[CallAnswer], besides: &[TxnOp]) -> Result<(), StoreError> {
        let mut is_again = false;
        loop {
            let lease = self.domain.lease(ANSWER_KEPT).await?;
            let reply = |(id, text): &CallAnswer| {
                let call = self.domain.call_key(id);
                let options = PutOptions::new().with_lease(lease);
                let is_open = Compare::create_revision(call.clone(), CompareOp::Greater, 0);
                let answer = TxnOp::put(self.domain.answer_key(id), text.clone(), Some(options));
                TxnOp::txn(Txn::new().when([is_open]).and_then([TxnOp::delete(call, None), answer]))
            };
            let operations: Vec<_> = answers.iter().map(reply).chain(besides.iter().cloned()).collect();
            let txn = Txn::new().when([self.proof()]).and_then(operations);
            match self.domain.link.txn(Kind::Write, txn).await {
                Ok(done) if done.succeeded() => return Ok(()),
                Ok(_) => return Err(StoreError::Deposed),
                Err(Fault::NoLease) if !is_again => self.domain.forget_lease(lease).await,
                Err(fault) => return Err(fault.into()),
            }
            is_again = true;
        }
    }

    async fn do_take_back_answer(&self, call: &CallId) -> Result<bool, StoreError> {
        let delete = TxnOp::delete(self.domain.answer_key(call), None);
        let done = self.act(Kind::Write, &[self.proof()], vec![delete]).await?;
        Ok(done.op_responses().first().is_some_and(deleted))
    }

    async fn do_leave(&self, answers: Vec<CallAnswer>) -> Result<(), StoreError> {
        // The lease ends by itself: ending it now would be a proposal as well.
        let get_up = [TxnOp::delete(self.domain.seat_key(), None)];
        if answers.is_empty() {
            return self.act(Kind::Write, &[self.proof()], get_up.to_vec()).await.map(|_| ());
        }
        self.reply_some(&answers, &get_up).await
    }
}

/// The writes of a redo record that is whole.
fn read_redo(prefix: &str, parts: &[KeyValue]) -> Option<Vec<Write>> {
    let (seal, parts) = parts.split_last()?;
    let text: Vec<u8> = parts.iter().flat_map(|part| part.value()).copied().collect();
    let is_sealed = seal.key() == format!("{prefix}seal").as_bytes();
    let is_whole = is_sealed && seal.value() == redo::seal(parts.len(), text.len()).as_bytes();
    if is_whole { redo::decode(&text) } else { None }
}

impl fmt::Debug for Seated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the seat of {}, taken in revision {}", self.domain.name, self.revision)
    }
}

impl Sitting for Seated {
    /// Never: etcd says that something was written when most members have it on their disks.
    fn may_lack(&self) -> bool {
        false
    }

    fn load(&self) -> Doing<'_, Vec<Record>> {
        Box::pin(self.do_load())
    }

    fn commit(&self, writes: Vec<Write>) -> Doing<'_, ()> {
        Box::pin(async move { join(self.do_commit(writes), self.lease.keep_now_and_then(&self.domain.link)).await.0 })
    }

    fn hear(&self, patience: Duration) -> Doing<'_, Vec<Heard>> {
        Box::pin(self.do_hear(patience))
    }

    fn reply(&self, answers: Vec<CallAnswer>) -> Doing<'_, ()> {
        Box::pin(self.do_reply(answers))
    }

    fn take_back_answer(&self, call: &CallId) -> Doing<'_, bool> {
        let call = call.clone();
        Box::pin(async move { self.do_take_back_answer(&call).await })
    }

    fn stay(&self) -> Doing<'_, ()> {
        Box::pin(self.do_stay())
    }

    fn erase(&self) -> Doing<'_, ()> {
        let all = TxnOp::delete(self.domain.whole(), Some(DeleteOptions::new().with_prefix()));
        Box::pin(async move { self.act(Kind::Write, &[self.proof()], vec![all]).await.map(|_| ()) })
    }

    fn leave(&self, answers: Vec<CallAnswer>) -> Doing<'_, ()> {
        Box::pin(self.do_leave(answers))
    }
}
