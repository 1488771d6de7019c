//! One of the clients: takes a lease, holds it for milliseconds, gives it back, and writes down every call and what came of it.

use super::POOLS;
use super::log::{Asked, Entry, Span, Told};
use crate::support::Dice;
use coordinator::Coordinator as _;
use coordinator::remote::Remote;
use model::lease::Purpose;
use model::names::{Holder, Id, Pool};
use model::request::{Answer, Ask, Begin, BeginAsk, Ending, Own, Renew, Settle, Settled};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long an ask is held open.
const HOLD: Duration = Duration::from_secs(1);
/// How long a lease is held at most between two words, in milliseconds.
const HELD_MS: u64 = 12;
/// How long a client rests before it asks again what was not answered, at most, in milliseconds.
const PAUSE_MS: u64 = 100;

/// What all clients share.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) begun: Instant,
    /// Whether they are to come to their ends.
    pub(super) is_over: AtomicBool,
    /// How many grants they were told of, those that were told again among them.
    pub(super) grants: AtomicU64,
}

/// One client.
pub(super) struct Client {
    number: u32,
    holder: Holder,
    remote: Remote,
    course: Arc<Course>,
    dice: Dice,
    claim: u32,
    log: Vec<Entry>,
}

impl Client {
    pub(super) fn new(number: u32, remote: Remote, course: Arc<Course>, seed: u64) -> Client {
        let holder = format!("client{number}").parse().expect("a holder");
        let dice = Dice((seed ^ u64::from(number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1);
        Client { number, holder, remote, course, dice, claim: 0, log: Vec::new() }
    }

    /// Goes on until it is over; what it was told.
    pub(super) async fn run(mut self) -> Vec<Entry> {
        while !self.is_over() {
            self.claim += 1;
            if self.take().await {
                self.hold().await;
            }
            self.end().await;
        }
        self.log
    }

    fn is_over(&self) -> bool {
        self.course.is_over.load(Ordering::Relaxed)
    }

    fn id(&self) -> Id {
        format!("claim-{}-{}", self.number, self.claim).parse().expect("an id")
    }

    /// One pool, or two of them.
    fn pools(&mut self) -> BTreeSet<Pool> {
        let count = 1 + usize::from(self.dice.roll(4) == 0);
        let mut any = || POOLS[self.dice.roll(POOLS.len() as u64) as usize].0.parse().expect("a pool");
        (0..count).map(|_| any()).collect()
    }

    /// Asks until it has a lease, or it is over. Whether it has one.
    async fn take(&mut self) -> bool {
        let ask = Ask {
            holder: self.holder.clone(),
            claim: self.id(),
            pools: self.pools(),
            purpose: Purpose::Run("kills".to_owned()),
            wait_ms: None,
            patience_ms: 0,
        };
        loop {
            match self.ask(&ask).await {
                Some(Told::Granted(_)) => break,
                Some(Told::Refused(_)) => return false,
                _ if self.is_over() => return false,
                Some(_) => {}
                None => self.rest(PAUSE_MS).await,
            }
        }
        // Asked again it is the same.
        if self.dice.roll(3) == 0 {
            self.ask(&ask).await;
        }
        true
    }

    async fn ask(&mut self, ask: &Ask) -> Option<Told> {
        let remote = self.remote.clone();
        let told = async {
            Some(match remote.ask(ask, HOLD).await.ok()? {
                Answer::Granted(granted) => {
                    let name =
                        |pool: &Pool| POOLS.iter().find(|(name, _)| *name == pool.as_str()).expect("a pool of ours").0;
                    Told::Granted(granted.lease.pools.iter().map(|(pool, token)| (name(pool), *token)).collect())
                }
                Answer::Queued(_) => Told::NotYet,
                Answer::Refused(refusal) => Told::Refused(refusal.whole()),
            })
        };
        self.write_down(Asked::Lease, told).await
    }

    /// Holds its lease, as one that restarts something does.
    async fn hold(&mut self) {
        self.rest(HELD_MS).await;
        let remote = self.remote.clone();
        let renew = Renew { holder: self.holder.clone(), claim: self.id(), step: None, note: String::new() };
        let renewed = async {
            Some(match remote.renew(&renew).await.ok()? {
                Own::Held { .. } => Told::Yours,
                Own::Gone => Told::Gone,
            })
        };
        self.write_down(Asked::Word, renewed).await;
        if self.dice.roll(2) == 0 {
            return;
        }
        let remote = self.remote.clone();
        let begin = BeginAsk { holder: self.holder.clone(), claim: self.id(), away_ms: 0 };
        let begun = async {
            Some(match remote.begin(&begin).await.ok()? {
                Begin::Go { .. } => Told::Yours,
                Begin::Gone => Told::Gone,
                other => Told::Refused(format!("{other:?}")),
            })
        };
        self.write_down(Asked::Word, begun).await;
        self.rest(HELD_MS).await;
    }

    /// Ends its lease, or its wait: until it is told so.
    async fn end(&mut self) {
        let ending = if self.is_over() { Ending::Cancelled } else { Ending::Released };
        let settle = Settle { holder: self.holder.clone(), claim: self.id(), ending, rollout: None, report: None };
        loop {
            let remote = self.remote.clone();
            let settled = async {
                Some(match remote.settle(&settle).await.ok()? {
                    Settled::Done => Told::Done,
                    Settled::Gone => Told::Gone,
                })
            };
            if self.write_down(Asked::End, settled).await.is_some() {
                return;
            }
            self.rest(PAUSE_MS).await;
        }
    }

    /// Makes a call, and writes down what came of it.
    async fn write_down(&mut self, asked: Asked, call: impl Future<Output = Option<Told>>) -> Option<Told> {
        let from = self.course.begun.elapsed();
        let told = call.await;
        let span = Span { from, to: self.course.begun.elapsed() };
        self.course.grants.fetch_add(u64::from(matches!(told, Some(Told::Granted(_)))), Ordering::Relaxed);
        self.log.push(Entry { holder: self.number, claim: self.claim, asked, span, told: told.clone() });
        told
    }

    async fn rest(&mut self, at_most_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.dice.roll(at_most_ms + 1))).await;
    }
}
