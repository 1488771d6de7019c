//! Transcripts: what is said on which connection, and who is told what.

use super::super::command::parse;
use super::*;

/// Keys, a clock, and whether names that begin with `pool` are pools.
struct Table {
    keys: Keys,
    now: u64,
}

impl Table {
    fn of(connections: usize) -> Table {
        let mut table = Table { keys: Keys::default(), now: 0 };
        for connection in 0..connections {
            assert_eq!(table.keys.open() as usize, connection);
        }
        table
    }

    /// What happened, as `connection: reply`; leases by their numbers.
    fn effects(&mut self) -> Vec<String> {
        let shown = |effect| match effect {
            Effect::Say(to, reply) => format!("{to}: {}", String::from_utf8_lossy(reply.bytes()).trim_end()),
            Effect::Tell(to, text) => format!("{to}: {}", String::from_utf8_lossy(&text).trim_end()),
            Effect::Ask(asking) => {
                let key = String::from_utf8_lossy(&asking.key).into_owned();
                format!("{}: asks {key} as {} for lease {}", asking.connection, asking.ordinal, asking.lease)
            }
            Effect::End(lease) => format!("ends lease {lease}"),
            Effect::Abandon(lease) => format!("abandons lease {lease}"),
        };
        self.keys.effects.drain(..).map(shown).collect()
    }

    fn say(&mut self, connection: Connection, line: &str) -> Vec<String> {
        let is_pool = |key: &[u8]| key.starts_with(b"pool");
        self.keys.command(connection, parse(line.as_bytes()), is_pool, self.now);
        self.effects()
    }

    fn close(&mut self, connection: Connection) -> Vec<String> {
        self.keys.close(connection, false, self.now);
        self.effects()
    }

    fn wait_s(&mut self, seconds: u64) -> Vec<String> {
        self.now += seconds * 1_000_000;
        self.keys.pass_time(self.now);
        self.effects()
    }

    fn decided(&mut self, lease: LeaseNumber, outcome: Outcome) -> (Option<Connection>, Vec<String>) {
        let goes_on = self.keys.decided(lease, outcome, self.now);
        (goes_on, self.effects())
    }

    fn stat(&mut self, word: &str) -> u64 {
        let text = self.keys.stats.tell(word.as_bytes(), Duration::ZERO);
        let text = String::from_utf8(text).expect("text");
        text.trim_end().rsplit(' ').next().and_then(|count| count.parse().ok()).expect("a count")
    }
}

#[test]
fn slots_are_handed_out_and_handed_on_in_order() {
    let mut table = Table::of(4);
    assert_eq!(table.say(0, "ACQ4ME a 1 9 5"), ["0: LOCKED"]);
    assert!(table.say(1, "ACQ4ME a 1 9 5").is_empty());
    assert!(table.say(2, "ACQ4ME a 1 9 5").is_empty());
    assert_eq!(table.say(3, "ACQ4ME a 1 3 5"), ["3: QUEUE_FULL"], "holders and waiters count");
    assert_eq!(table.say(3, "ACQ4ME a 1 9 0"), ["3: TIMEOUT"]);
    assert_eq!(table.say(0, "RELEASE a"), ["1: LOCKED", "0: RELEASED"]);
    assert_eq!(table.say(0, "RELEASE"), ["0: NOT_LOCKED"]);
    assert_eq!(table.close(1), ["2: LOCKED"]);
    assert_eq!(table.say(3, "ACQ4ME a 2 9 5"), ["3: LOCKED"], "the caller says how many may");
    assert_eq!((table.stat("processing_workers"), table.stat("hashtable_entries")), (2, 1));
    assert!(table.close(2).is_empty() && table.close(3).is_empty());
    assert_eq!((table.stat("processing_workers"), table.stat("hashtable_entries")), (0, 0));
}

#[test]
fn a_release_tells_all_who_need_it_done_by_anyone_and_a_close_tells_none() {
    let mut table = Table::of(5);
    table.say(0, "ACQ4ME a 1 9 5");
    for (connection, line) in [(1, "ACQ4ANY a 1 9 5"), (2, "ACQ4ME a 1 9 5"), (3, "ACQ4ANY a 1 9 5")] {
        assert!(table.say(connection, line).is_empty());
    }
    assert_eq!(table.say(0, "RELEASE"), ["1: DONE", "3: DONE", "2: LOCKED", "0: RELEASED"]);
    assert_eq!(table.say(1, "RELEASE"), ["1: NOT_LOCKED"], "whoever is told DONE holds nothing");
    assert!(table.say(3, "ACQ4ANY a 1 9 5").is_empty());
    assert!(table.say(4, "ACQ4ME a 1 9 5").is_empty());
    assert_eq!(table.close(2), ["4: LOCKED"], "who must do it goes first, though it came later");
    assert_eq!(table.close(4), ["3: LOCKED"]);
    assert_eq!(table.stat("waiting_workers"), 0);
}

#[test]
fn who_gives_a_wait_up_tells_the_others_too() {
    let mut table = Table::of(3);
    table.say(0, "ACQ4ME a 1 9 5");
    table.say(1, "ACQ4ME a 1 9 5");
    table.say(2, "ACQ4ANY a 1 9 5");
    assert_eq!(table.say(1, "RELEASE"), ["2: DONE", "1: RELEASED"]);
    assert_eq!((table.stat("waiting_workers"), table.stat("total_releases")), (0, 1));
    assert_eq!(table.say(0, "RELEASE"), ["0: RELEASED"]);
}

#[test]
fn a_connection_holds_four_locks_the_last_one_first() {
    let mut table = Table::of(2);
    for key in ["a", "b", "a", "c"] {
        assert_eq!(table.say(0, &format!("ACQ4ME {key} 9 9 5")), ["0: LOCKED"]);
    }
    assert_eq!(table.say(0, "ACQ4ME d 1 0 5"), ["0: LOCK_HELD"], "said before the line is looked at");
    assert!(table.say(1, "ACQ4ME c 1 9 5").is_empty());
    assert_eq!(table.say(1, "ACQ4ME"), ["1: ERROR BAD_COMMAND"]);
    assert_eq!(table.say(1, "ACQ4ME x"), ["1: ERROR WAIT_FOR_RESPONSE"]);
    assert_eq!(table.say(0, "RELEASE"), ["1: LOCKED", "0: RELEASED"]);
    assert_eq!(table.say(0, "ACQ4ME x 0 1 1"), ["0: ERROR BAD_SYNTAX"]);
    assert_eq!(table.stat("lock_mismatch") + table.stat("lock_while_waiting"), 2);
    assert!(table.say(1, "ACQ4ME b 1 9 5").is_empty());
    assert_eq!(table.close(0), ["1: LOCKED"]);
    assert_eq!(table.stat("hashtable_entries"), 2);
}

#[test]
fn a_wait_ends_at_its_time_whatever_is_said_meanwhile() {
    let mut table = Table::of(3);
    table.say(0, "ACQ4ME a 1 9 5");
    table.say(1, "ACQ4ME b 1 9 5");
    assert!(table.say(1, "ACQ4ME a 1 9 2").is_empty());
    assert_eq!(table.keys.next_deadline(), Some(2_000_000));
    assert!(table.wait_s(1).is_empty());
    table.say(1, "FOO");
    assert_eq!(table.wait_s(1), ["1: TIMEOUT"]);
    assert_eq!(table.say(1, "RELEASE"), ["1: RELEASED"], "its other lock is untouched");
    assert!(table.say(1, "ACQ4ME a 1 9 4294967295").is_empty());
    assert_eq!(table.say(0, "RELEASE"), ["1: LOCKED", "0: RELEASED"]);
    assert_eq!(table.keys.next_deadline(), None);
    assert!(table.wait_s(5_000_000_000).is_empty());
}

#[test]
fn times_are_added_up_for_the_right_lock() {
    let mut table = Table::of(3);
    table.say(0, "ACQ4ME a 1 9 50");
    table.wait_s(1);
    table.say(1, "ACQ4ME a 1 9 50");
    table.say(2, "ACQ4ANY a 1 9 50");
    table.wait_s(2);
    table.say(0, "RELEASE");
    table.wait_s(4);
    table.close(1);
    let stats = &table.keys.stats;
    assert_eq!(stats.processing, Duration::from_secs(3 + 4));
    assert_eq!(stats.waited_for_me, Duration::from_secs(2));
    assert_eq!(stats.waited_for_good, Duration::from_secs(2));
    assert_eq!(stats.gained, Duration::from_secs(3));
    assert_eq!((stats.processed_count, stats.total_acquired), (2, 2));
}

#[test]
fn a_key_that_names_a_pool_is_decided_by_the_domain() {
    let mut table = Table::of(2);
    assert_eq!(table.say(0, "ACQ4ME pool 1 1 5"), ["0: asks pool as 1 for lease 1"]);
    assert!(table.keys.is_asking(0) && !table.keys.is_asking(1));
    assert_eq!(table.decided(1, Outcome::Granted), (Some(0), vec!["0: LOCKED".to_owned()]));
    assert_eq!(table.say(1, "ACQ4ME pool 1 1 5"), ["1: asks pool as 1 for lease 2"], "its own numbers do not count");
    assert_eq!(table.decided(2, Outcome::Queued), (Some(1), vec![]));
    assert_eq!(table.say(1, "ACQ4ME a 1 1 1"), ["1: ERROR WAIT_FOR_RESPONSE"]);
    assert_eq!(table.say(0, "RELEASE"), ["ends lease 1", "0: RELEASED"], "the domain hands it on");
    assert_eq!(table.decided(2, Outcome::Granted), (None, vec!["1: LOCKED".to_owned()]));
    assert_eq!(table.close(1), ["ends lease 2"]);
    assert_eq!(table.decided(2, Outcome::Granted), (None, vec![]), "what comes too late is nobody's");
    assert_eq!((table.stat("hashtable_entries"), table.stat("total_acquired")), (0, 2));
}

#[test]
fn a_wait_for_a_pool_ends_like_any_other() {
    let mut table = Table::of(4);
    table.say(0, "ACQ4ME pool 1 1 5");
    table.decided(1, Outcome::Granted);
    table.say(1, "ACQ4ME pool 1 1 0");
    assert_eq!(table.decided(2, Outcome::Queued), (Some(1), vec!["1: TIMEOUT".to_owned(), "ends lease 2".to_owned()]));
    table.say(1, "ACQ4ME pool 1 1 2");
    table.decided(3, Outcome::Queued);
    assert_eq!(table.wait_s(2), ["1: TIMEOUT", "ends lease 3"]);
    table.say(1, "ACQ4ME pool 1 1 2");
    assert_eq!(table.decided(4, Outcome::Refused(Reply::QueueFull)), (Some(1), vec!["1: QUEUE_FULL".to_owned()]));
    for (connection, lease) in [(1, 5), (2, 6), (3, 7)] {
        table.say(connection, "ACQ4ANY pool 1 1 9");
        table.decided(lease, Outcome::Queued);
    }
    assert_eq!(table.close(3), ["ends lease 7"]);
    let told = table.say(0, "RELEASE");
    assert_eq!(told, ["1: DONE", "ends lease 5", "2: DONE", "ends lease 6", "ends lease 1", "0: RELEASED"]);
    assert_eq!(table.stat("waiting_workers"), 0);
}

#[test]
fn a_connection_that_is_cut_leaves_its_leases_alone() {
    let mut table = Table::of(2);
    table.say(0, "ACQ4ME a 1 9 5");
    table.say(0, "ACQ4ME pool 1 1 5");
    table.decided(1, Outcome::Granted);
    table.say(1, "ACQ4ME a 1 9 5");
    table.keys.close(0, true, table.now);
    assert_eq!(table.effects(), ["abandons lease 1", "1: LOCKED"]);
}

#[test]
fn a_door_that_closes_tells_whoever_waits() {
    let mut table = Table::of(3);
    table.say(0, "ACQ4ME a 1 9 5");
    table.say(1, "ACQ4ME a 1 9 5");
    table.say(2, "ACQ4ME pool 1 9 5");
    table.keys.turn_away(table.now);
    assert_eq!(table.effects(), ["1: ERROR UNAVAILABLE", "2: ERROR UNAVAILABLE", "ends lease 1"]);
}

/// What must hold between any two commands.
fn check(keys: &Keys) {
    let (mut holders, mut waiting) = (0, 0);
    for (number, key) in &keys.keys {
        let of_key = || keys.locks.iter().filter(|(_, lock)| lock.key as usize == number);
        assert_eq!(key.count as usize, of_key().count());
        assert!(key.count > 0, "a key exists while it is used");
        let held = of_key().filter(|(_, lock)| lock.standing == Standing::Holds).count();
        assert_eq!(key.holders as usize, held);
        holders += held;
        let names = if key.is_pool { &keys.pools } else { &keys.own };
        assert_eq!(names.get(&key.name).map(|key| *key as usize), Some(number));
        for (queue, anyone) in [(&key.for_me, false), (&key.for_anyone, true)] {
            let (mut lock, mut older, mut length) = (queue.oldest, NONE, 0);
            while lock != NONE {
                let waits = &keys.locks[lock as usize];
                assert_eq!((waits.older, waits.standing), (older, Standing::Waits { anyone }));
                assert!(keys.deadlines.contains(&(waits.until, lock)));
                (older, lock, length) = (lock, waits.newer, length + 1);
            }
            assert_eq!(queue.newest, older);
            let standing = Standing::Waits { anyone };
            assert_eq!(length, of_key().filter(|(_, lock)| lock.standing == standing).count());
            waiting += length;
        }
    }
    assert_eq!(keys.own.len() + keys.pools.len(), keys.keys.len());
    assert_eq!(keys.deadlines.len(), waiting);
    assert_eq!(keys.stats.waiting_workers as usize, waiting);
    assert_eq!(keys.stats.processing_workers as usize, holders);
    assert_eq!(keys.stats.hashtable_entries as usize, keys.keys.len());
    assert_eq!(keys.seats.iter().map(|(_, seat)| usize::from(seat.count)).sum::<usize>(), keys.locks.len());
}

#[test]
fn whatever_comes_the_books_balance() {
    for seed in 1..200_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut table = Table::of(6);
        for _ in 0..200 {
            let connection = u32::try_from(next(6)).expect("small");
            match next(12) {
                0..=5 => {
                    let (form, key) = (["ACQ4ME", "ACQ4ANY"][next(2) as usize], ["a", "b", "pool"][next(3) as usize]);
                    let line = format!("{form} {key} {} {} {}", next(3), 1 + next(6), next(4));
                    if !table.keys.is_asking(connection) {
                        table.say(connection, &line);
                    }
                }
                6 | 7 => {
                    if !table.keys.is_asking(connection) {
                        table.say(connection, "RELEASE");
                    }
                }
                8 => {
                    table.keys.close(connection, next(2) == 0, table.now);
                    assert_eq!(table.keys.open(), connection);
                }
                9 => {
                    table.wait_s(1);
                }
                _ => {
                    let lease = table.keys.last_lease.saturating_sub(next(4));
                    let outcomes = [Outcome::Queued, Outcome::Granted, Outcome::Refused(Reply::QueueFull)];
                    table.decided(lease, outcomes[next(3) as usize]);
                }
            }
            table.effects();
            check(&table.keys);
        }
    }
}
