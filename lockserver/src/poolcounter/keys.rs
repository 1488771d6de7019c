//! The keys, who holds them and who waits: everything that the poolcounter door decides.
//!
//! Pure: no sockets, no clock. Time is handed in, as microseconds that only grow; what is to be done is left in
//! [`Keys::effects`], for the caller to carry out in order. Keys that name a pool are decided elsewhere, by the domain: here
//! their locks only take part in what a connection may hold and who is told that somebody is done.

use super::command::{Command, Wanted};
use super::effect::{Asking, Connection, Effect, LOCKS_MAX, LeaseNumber, Outcome, Reply};
use super::stats::Stats;
use slab::Slab;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// No lock, in links and lists.
const NONE: u32 = u32::MAX;
/// No moment.
const NEVER: u64 = u64::MAX;

/// How a lock stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The domain is being asked.
    Asked {
        anyone: bool,
    },
    Waits {
        anyone: bool,
    },
    Holds,
}

#[derive(Debug)]
struct Lock {
    connection: Connection,
    key: u32,
    standing: Standing,
    /// Since when it waits, or holds.
    since: u64,
    /// Until when it waits.
    until: u64,
    /// Its lease, when its key names a pool.
    lease: Option<LeaseNumber>,
    /// Its neighbours in the queue.
    older: u32,
    newer: u32,
}

/// A queue: the locks that wait, linked through themselves, so that leaving it costs the same however long it is.
#[derive(Debug)]
struct Queue {
    oldest: u32,
    newest: u32,
}

impl Queue {
    const EMPTY: Queue = Queue { oldest: NONE, newest: NONE };
}

#[derive(Debug)]
struct Key {
    name: Arc<[u8]>,
    is_pool: bool,
    /// How many hold it or wait.
    count: u32,
    /// How many hold it.
    holders: u32,
    for_me: Queue,
    for_anyone: Queue,
}

/// The locks of a connection, the newest last.
#[derive(Debug, Default)]
struct Seat {
    locks: [u32; LOCKS_MAX],
    count: u8,
}

impl Seat {
    fn last(&self) -> Option<u32> {
        self.count.checked_sub(1).map(|last| self.locks[usize::from(last)])
    }
}

/// All keys, and all connections.
#[derive(Debug, Default)]
pub(super) struct Keys {
    seats: Slab<Seat>,
    locks: Slab<Lock>,
    keys: Slab<Key>,
    /// Keys that are counted here, by name.
    own: HashMap<Arc<[u8]>, u32>,
    /// Keys that name a pool.
    pools: HashMap<Arc<[u8]>, u32>,
    /// The locks that wait, by when they have waited enough.
    deadlines: BTreeSet<(u64, u32)>,
    /// Locks on keys that name a pool.
    leases: HashMap<LeaseNumber, u32>,
    last_lease: LeaseNumber,
    /// What is counted.
    pub(super) stats: Stats,
    /// What is to be done, in this order.
    pub(super) effects: Vec<Effect>,
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("there is not memory for so many")
}

fn span(since: u64, now: u64) -> Duration {
    Duration::from_micros(now.saturating_sub(since))
}

impl Keys {
    /// A connection came.
    pub(super) fn open(&mut self) -> Connection {
        number(self.seats.insert(Seat::default()))
    }

    /// A connection went, with everything that it had. `is_cut` when nobody closed it: the other end is not heard any more.
    pub(super) fn close(&mut self, connection: Connection, is_cut: bool, now: u64) {
        while let Some(lock) = self.seats[connection as usize].last() {
            if let (Some(lease), true) = (self.locks[lock as usize].lease, is_cut) {
                self.effects.push(Effect::Abandon(lease));
                self.locks[lock as usize].lease = None;
                self.leases.remove(&lease);
            }
            self.remove(lock, now);
        }
        self.seats.remove(connection as usize);
    }

    /// Whether what a connection says next has to wait: the domain is being asked for it.
    pub(super) fn is_asking(&self, connection: Connection) -> bool {
        let last = self.seats[connection as usize].last();
        last.is_some_and(|last| matches!(self.locks[last as usize].standing, Standing::Asked { .. }))
    }

    /// Carries out a command. `is_pool` says whether a key names a pool.
    pub(super) fn command(
        &mut self,
        connection: Connection,
        command: Command<'_>,
        is_pool: impl FnOnce(&[u8]) -> bool,
        now: u64,
    ) {
        let reply = match command {
            Command::Acquire { anyone, wanted } => self.acquire(connection, anyone, wanted, is_pool, now),
            Command::Release => Some(self.release(connection, now)),
            Command::Stats(word) => {
                let text = self.stats.tell(word, Duration::from_micros(now));
                self.effects.push(Effect::Tell(connection, text));
                None
            }
            Command::Unknown => Some(Reply::BadCommand),
        };
        self.effects.extend(reply.map(|reply| Effect::Say(connection, reply)));
    }

    fn acquire(
        &mut self,
        connection: Connection,
        anyone: bool,
        wanted: Option<Wanted<'_>>,
        is_pool: impl FnOnce(&[u8]) -> bool,
        now: u64,
    ) -> Option<Reply> {
        let seat = &self.seats[connection as usize];
        if usize::from(seat.count) == LOCKS_MAX {
            self.stats.lock_mismatch += 1;
            return Some(Reply::LockHeld);
        }
        if seat.last().is_some_and(|last| self.locks[last as usize].standing != Standing::Holds) {
            self.stats.lock_while_waiting += 1;
            return Some(Reply::WaitForResponse);
        }
        let Some(wanted) = wanted else { return Some(Reply::BadSyntax) };
        if is_pool(wanted.key) {
            self.ask(connection, anyone, wanted, now);
            return None;
        }
        let found = self.own.get(wanted.key).map(|key| (*key, &self.keys[*key as usize]));
        let (count, holders) = found.map_or((0, 0), |(_, key)| (key.count, key.holders));
        if count >= wanted.max_queue {
            self.stats.full_queues += 1;
            return Some(Reply::QueueFull);
        }
        if holders >= wanted.workers && wanted.timeout_s == 0 {
            return Some(Reply::Timeout);
        }
        let key = found.map(|(key, _)| key).unwrap_or_else(|| self.add_key(wanted.key, false));
        if holders < wanted.workers {
            self.add_lock(connection, key, Standing::Holds, NEVER, now);
            self.keys[key as usize].holders += 1;
            self.stats.processing_workers += 1;
            self.stats.total_acquired += 1;
            return Some(Reply::Locked);
        }
        let lock = self.add_lock(connection, key, Standing::Waits { anyone }, until(wanted.timeout_s, now), now);
        self.wait(lock, anyone);
        None
    }

    /// Has the domain asked for a lease of the pool that a key names.
    fn ask(&mut self, connection: Connection, anyone: bool, wanted: Wanted<'_>, now: u64) {
        let known = self.pools.get(wanted.key).copied();
        let key = known.unwrap_or_else(|| self.add_key(wanted.key, true));
        let lock = self.add_lock(connection, key, Standing::Asked { anyone }, until(wanted.timeout_s, now), now);
        self.last_lease += 1;
        let lease = self.last_lease;
        self.locks[lock as usize].lease = Some(lease);
        self.leases.insert(lease, lock);
        self.effects.push(Effect::Ask(Box::new(Asking {
            lease,
            connection,
            ordinal: usize::from(self.seats[connection as usize].count),
            key: Arc::clone(&self.keys[key as usize].name),
            timeout_s: wanted.timeout_s,
        })));
    }

    /// The domain has said what becomes of a lease. Returns the connection when its next commands have waited for that.
    pub(super) fn decided(&mut self, lease: LeaseNumber, outcome: Outcome, now: u64) -> Option<Connection> {
        // What comes of a lease that was given up meanwhile is nobody's affair here.
        let lock = *self.leases.get(&lease)?;
        let Lock { connection, standing, since, until, key, .. } = self.locks[lock as usize];
        let asked = match standing {
            Standing::Asked { anyone } => Some(anyone),
            Standing::Waits { .. } => None,
            Standing::Holds => return None,
        };
        match (outcome, asked) {
            (Outcome::Queued, Some(anyone)) if until > now => {
                self.locks[lock as usize].standing = Standing::Waits { anyone };
                self.wait(lock, anyone);
            }
            (Outcome::Queued, Some(_)) => {
                self.stats.wasted += span(since, now);
                self.effects.push(Effect::Say(connection, Reply::Timeout));
                self.remove(lock, now);
            }
            (Outcome::Queued, None) => {}
            (Outcome::Granted, _) => {
                self.stop_waiting(lock);
                if let Standing::Waits { anyone } = standing {
                    self.count_wait(anyone, span(since, now));
                }
                let taken = &mut self.locks[lock as usize];
                (taken.standing, taken.since) = (Standing::Holds, now);
                self.keys[key as usize].holders += 1;
                self.stats.processing_workers += 1;
                self.stats.total_acquired += 1;
                self.effects.push(Effect::Say(connection, Reply::Locked));
            }
            (Outcome::Refused(reply), _) => {
                match reply {
                    Reply::QueueFull => self.stats.full_queues += 1,
                    _ => self.stats.wasted += span(since, now),
                }
                self.effects.push(Effect::Say(connection, reply));
                self.leases.remove(&lease);
                self.locks[lock as usize].lease = None;
                self.remove(lock, now);
            }
        }
        asked.map(|_| connection)
    }

    fn release(&mut self, connection: Connection, now: u64) -> Reply {
        let Some(lock) = self.seats[connection as usize].last() else {
            self.stats.release_mismatch += 1;
            return Reply::NotLocked;
        };
        let Lock { key, since, .. } = self.locks[lock as usize];
        // Also when it only waited: so it has always been.
        self.stop_waiting(lock);
        loop {
            let waiter = self.keys[key as usize].for_anyone.oldest;
            if waiter == NONE {
                break;
            }
            let waited = &self.locks[waiter as usize];
            self.effects.push(Effect::Say(waited.connection, Reply::Done));
            self.stats.waited_for_good += span(waited.since, now);
            self.stats.gained += span(since, now);
            self.remove(waiter, now);
        }
        self.remove(lock, now);
        self.stats.total_releases += 1;
        Reply::Released
    }

    /// Time has come this far: tells those who have waited enough.
    pub(super) fn pass_time(&mut self, now: u64) {
        while let Some((_, lock)) = self.deadlines.first().copied().filter(|(until, _)| *until <= now) {
            let waited = &self.locks[lock as usize];
            self.stats.wasted += span(waited.since, now);
            self.effects.push(Effect::Say(waited.connection, Reply::Timeout));
            self.remove(lock, now);
        }
    }

    /// When the next one has waited enough.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// All locks: whose, on which key, how they stand (for whom they wait), since when, and whether they are leases.
    pub(super) fn all(&self) -> impl Iterator<Item = (Connection, &Arc<[u8]>, Option<bool>, u64, bool)> {
        self.locks.iter().map(|(_, lock)| {
            let anyone = match lock.standing {
                Standing::Asked { anyone } | Standing::Waits { anyone } => Some(anyone),
                Standing::Holds => None,
            };
            let key = &self.keys[lock.key as usize];
            (lock.connection, &key.name, anyone, lock.since, key.is_pool)
        })
    }

    /// Has everyone who waits told that nothing will come of it: the door closes.
    pub(super) fn turn_away(&mut self, now: u64) {
        let asked = |lock: &Lock| lock.standing != Standing::Holds;
        let waiting: Vec<u32> =
            self.locks.iter().filter(|(_, lock)| asked(lock)).map(|(lock, _)| number(lock)).collect();
        for lock in waiting {
            self.effects.push(Effect::Say(self.locks[lock as usize].connection, Reply::Unavailable));
            self.remove(lock, now);
        }
    }

    fn add_key(&mut self, name: &[u8], is_pool: bool) -> u32 {
        let name: Arc<[u8]> = name.into();
        let key = Key {
            name: Arc::clone(&name),
            is_pool,
            count: 0,
            holders: 0,
            for_me: Queue::EMPTY,
            for_anyone: Queue::EMPTY,
        };
        let key = number(self.keys.insert(key));
        let names = if is_pool { &mut self.pools } else { &mut self.own };
        names.insert(name, key);
        self.stats.hashtable_entries += 1;
        key
    }

    fn add_lock(&mut self, connection: Connection, key: u32, standing: Standing, until: u64, now: u64) -> u32 {
        let lock = Lock { connection, key, standing, since: now, until, lease: None, older: NONE, newer: NONE };
        let lock = number(self.locks.insert(lock));
        self.keys[key as usize].count += 1;
        let seat = &mut self.seats[connection as usize];
        seat.locks[usize::from(seat.count)] = lock;
        seat.count += 1;
        lock
    }

    fn queue(&mut self, key: u32, anyone: bool) -> &mut Queue {
        let key = &mut self.keys[key as usize];
        if anyone { &mut key.for_anyone } else { &mut key.for_me }
    }

    /// Puts a lock at the end of its queue.
    fn wait(&mut self, lock: u32, anyone: bool) {
        let Lock { key, until, .. } = self.locks[lock as usize];
        let queue = self.queue(key, anyone);
        let older = std::mem::replace(&mut queue.newest, lock);
        if older == NONE {
            queue.oldest = lock;
        } else {
            self.locks[older as usize].newer = lock;
        }
        self.locks[lock as usize].older = older;
        self.deadlines.insert((until, lock));
        self.stats.waiting_workers += 1;
    }

    /// Takes a lock out of its queue, when it stands in one.
    fn stop_waiting(&mut self, lock: u32) {
        let Lock { key, standing: Standing::Waits { anyone }, until, older, newer, .. } = self.locks[lock as usize]
        else {
            return;
        };
        if !self.deadlines.remove(&(until, lock)) {
            return;
        }
        if older == NONE {
            self.queue(key, anyone).oldest = newer;
        } else {
            self.locks[older as usize].newer = newer;
        }
        if newer == NONE {
            self.queue(key, anyone).newest = older;
        } else {
            self.locks[newer as usize].older = older;
        }
        let left = &mut self.locks[lock as usize];
        (left.older, left.newer) = (NONE, NONE);
        self.stats.waiting_workers -= 1;
    }

    /// Ends a lock, which is the newest of its connection; the slot goes to whoever is next.
    fn remove(&mut self, lock: u32, now: u64) {
        self.stop_waiting(lock);
        let Lock { connection, key, standing, since, lease, .. } = self.locks.remove(lock as usize);
        let seat = &mut self.seats[connection as usize];
        seat.count -= 1;
        debug_assert_eq!(seat.locks[usize::from(seat.count)], lock, "only the newest lock of a connection ends");
        if let Some(lease) = lease {
            self.leases.remove(&lease);
            self.effects.push(Effect::End(lease));
        }
        if standing == Standing::Holds {
            self.stats.processing += span(since, now);
            self.stats.processed_count += 1;
            self.hand_on(key, now);
        }
        self.keys[key as usize].count -= 1;
        if self.keys[key as usize].count == 0 {
            let Key { name, is_pool, .. } = self.keys.remove(key as usize);
            let names = if is_pool { &mut self.pools } else { &mut self.own };
            names.remove(&name);
            self.stats.hashtable_entries -= 1;
        }
    }

    /// A slot of a key is free: it goes to the oldest who must do the work itself, else to the oldest whoever may.
    fn hand_on(&mut self, key: u32, now: u64) {
        let Key { is_pool, for_me, for_anyone, .. } = &self.keys[key as usize];
        let next = if for_me.oldest == NONE { for_anyone.oldest } else { for_me.oldest };
        if *is_pool || next == NONE {
            self.keys[key as usize].holders -= 1;
            self.stats.processing_workers -= 1;
            return;
        }
        self.stop_waiting(next);
        let lock = &mut self.locks[next as usize];
        let (waited, anyone) = (span(lock.since, now), lock.standing == Standing::Waits { anyone: true });
        (lock.standing, lock.since) = (Standing::Holds, now);
        self.effects.push(Effect::Say(lock.connection, Reply::Locked));
        self.count_wait(anyone, waited);
        self.stats.total_acquired += 1;
    }

    fn count_wait(&mut self, anyone: bool, waited: Duration) {
        let sum = if anyone { &mut self.stats.waited_for_anyone } else { &mut self.stats.waited_for_me };
        *sum += waited;
    }
}

fn until(timeout_s: u32, now: u64) -> u64 {
    now + u64::from(timeout_s) * 1_000_000
}

#[cfg(test)]
mod tests;
