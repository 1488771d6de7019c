//! A store that loses one in so many of the answers that it has.

use coordinator::store::{CallAnswer, CallId, Doing, Finding, Seat, Sitting, Store};
use model::names::Id;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Lossy {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) one_in: u64,
    /// Counted by all who share it.
    pub(crate) answers: Arc<AtomicU64>,
}

impl Store for Lossy {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn post(&self, call: &CallId, request: Vec<u8>, kept: Duration) -> Doing<'_, Seat> {
        self.inner.post(call, request, kept)
    }

    fn answer(&self, caller: &Id, patience: Duration) -> Doing<'_, Option<CallAnswer>> {
        let caller = caller.clone();
        Box::pin(async move {
            let answer = self.inner.answer(&caller, patience).await?;
            let is_lost =
                answer.is_some() && (self.answers.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(self.one_in);
            Ok(answer.filter(|_| !is_lost))
        })
    }

    fn take_back(&self, call: &CallId) -> Doing<'_, ()> {
        self.inner.take_back(call)
    }

    fn seat(&self) -> Doing<'_, Seat> {
        self.inner.seat()
    }

    fn examine(&self) -> Doing<'_, Vec<Finding>> {
        self.inner.examine()
    }

    fn sit(&self, steward: &Id) -> Doing<'_, Option<Box<dyn Sitting>>> {
        self.inner.sit(steward)
    }
}
