//! Redis as a store: one server, or a master that sentinels watch.
//!
//! Reading order: `store.lua` (what is done there, whole), this file (the traits), `link.rs` (connections and errors),
//! `address.rs` (URLs). All keys begin with `stagger:{DOMAIN}:`; `redis-cli HGETALL stagger:{default}:lease` shows the leases.
//!
//! Redis answers before a replica has a write. So a steward that finds another run of the server than the one at which it sat
//! is told so ([`StoreError::Replaced`]), and with `?wait=N` a commit, what was loaded and the seat itself count only when so many
//! replicas have them.

mod address;
mod examine;
mod link;

use super::{
    ANSWER_KEPT, CallAnswer, CallId, Doing, Finding, Heard, Record, SEAT_KEPT, Seat, Sitting, Store, StoreError, Write,
};
use address::Address;
use link::{Failure, Link, read};
use model::names::Id;
use redis::{Cmd, Script, Value};
use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is done at the server.
const SCRIPT: &str = include_str!("redis/store.lua");
static SCRIPT_HASH: LazyLock<String> = LazyLock::new(|| Script::new(SCRIPT).get_hash().to_owned());
/// How long `?wait=N` waits for the replicas.
const REPLICAS_WAIT: Duration = Duration::from_secs(2);
/// The shortest that Redis can wait: nothing would be for ever.
const PATIENCE_MIN: Duration = Duration::from_millis(1);

/// What a user of Redis must be allowed, for `ACL SETUSER NAME on >PASSWORD …`.
pub const ACL: &str = "~stagger:* +@connection +info +wait +eval +evalsha +time +get +set +incr +exists +del +pexpire \
     +hget +hset +hdel +hgetall +sadd +sismember +smembers +zadd +zrem +zrange +zrangebyscore \
     +lpush +rpush +rpop +lrange +lrem +blpop +brpop";

/// A domain in a Redis.
pub struct RedisStore {
    at: Arc<Redis>,
}

/// What callers and stewards of a domain have in common.
#[derive(Debug)]
struct Redis {
    link: Link,
    prefix: String,
}

/// The seat, taken.
#[derive(Debug)]
struct Seated {
    at: Arc<Redis>,
    /// Who sits, and which time that one sat.
    me: String,
    /// The server's run.
    run: String,
    may_lack: bool,
    /// What was heard and is not over.
    open: Mutex<HashSet<CallId>>,
    /// A bell that was taken may not have been heard: all must ring again.
    is_unsure: AtomicBool,
}

impl RedisStore {
    /// A store at `redis://[USER:PASSWORD@]HOST[:PORT][/DOMAIN]`, `rediss://…` for TLS, or
    /// `redis+sentinel://HOST:PORT,HOST:PORT/MASTER[/DOMAIN]`; each with `?wait=N`, the number of replicas that must have a
    /// commit before it is done. Connects when something is asked, not before.
    ///
    /// # Errors
    /// The URL is none of these: [`StoreError::Unfit`].
    pub fn new(url: &str) -> Result<RedisStore, StoreError> {
        let address = Address::read(url)?;
        let prefix = address.prefix();
        Ok(RedisStore { at: Arc::new(Redis { link: Link::new(address), prefix }) })
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Redis {
    fn key(&self, name: &str) -> String {
        format!("{}store:{name}", self.prefix)
    }

    /// Has the script do something; by its hash, or whole when the server does not have it yet.
    async fn run(&self, args: &[&[u8]], again: bool) -> Result<Vec<Value>, StoreError> {
        let done = match self.link.ask(&self.command("EVALSHA", &SCRIPT_HASH, args), again).await {
            Err(Failure::NoScript) => self.link.ask(&self.command("EVAL", SCRIPT, args), again).await,
            done => done,
        };
        self.read(done.map_err(|failure| failure.of(&self.link.address))?)
    }

    fn command(&self, name: &str, script: &str, args: &[&[u8]]) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(1).arg(&self.prefix).arg(args);
        command
    }

    async fn wait(&self, command: &Cmd, patience: Duration) -> Result<Value, StoreError> {
        self.link.wait(command, patience).await.map_err(|failure| failure.of(&self.link.address))
    }

    fn read<T: redis::FromRedisValue>(&self, value: Value) -> Result<T, StoreError> {
        read(&self.link.address, value)
    }

    fn nonsense(&self) -> StoreError {
        StoreError::Unknown(format!("{} answers what makes no sense", self.link.address))
    }

    /// The only value of an answer: whether it is 1.
    fn is_one(&self, values: Vec<Value>) -> Result<bool, StoreError> {
        Ok(self.read::<Vec<u64>>(Value::Array(values))?.first() == Some(&1))
    }
}

/// Waits for the next entry of a list.
fn pop(name: &str, list: String, patience: Duration) -> (Cmd, Duration) {
    let patience = patience.max(PATIENCE_MIN);
    let mut command = redis::cmd(name);
    command.arg(list).arg(patience.as_secs_f64());
    (command, patience)
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

fn seat(is_taken: bool) -> Seat {
    if is_taken { Seat::Taken } else { Seat::Empty }
}

impl Store for RedisStore {
    fn name(&self) -> String {
        self.at.link.address.to_string()
    }

    fn post(&self, call: &CallId, request: Vec<u8>, kept: Duration) -> Doing<'_, Seat> {
        let (call, kept) = (call.to_string(), millis(kept));
        Box::pin(async move {
            let posted = self.at.run(&[b"post", call.as_bytes(), &request, kept.as_bytes()], true).await?;
            Ok(seat(self.at.is_one(posted)?))
        })
    }

    fn answer(&self, caller: &Id, patience: Duration) -> Doing<'_, Option<CallAnswer>> {
        let caller = caller.clone();
        Box::pin(async move {
            let (command, patience) = pop("BLPOP", self.at.key(&format!("answers:{caller}")), patience);
            let popped = self.at.wait(&command, patience).await?;
            let Some((_, answer)) = self.at.read::<Option<(String, Vec<u8>)>>(popped)? else { return Ok(None) };
            let space = answer.iter().position(|byte| *byte == b' ').ok_or_else(|| self.at.nonsense())?;
            let (number, text) = answer.split_at(space);
            let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
            let call = CallId { caller, number: number.ok_or_else(|| self.at.nonsense())? };
            Ok(Some((call, text[1..].to_vec())))
        })
    }

    fn take_back(&self, call: &CallId) -> Doing<'_, ()> {
        let call = call.to_string();
        Box::pin(async move { self.at.run(&[b"take_back", call.as_bytes()], true).await.map(|_| ()) })
    }

    fn seat(&self) -> Doing<'_, Seat> {
        Box::pin(async move { Ok(seat(self.at.is_one(self.at.run(&[b"seat"], true).await?)?)) })
    }

    fn examine(&self) -> Doing<'_, Vec<Finding>> {
        Box::pin(examine::examine(&self.at))
    }

    fn sit(&self, steward: &Id) -> Doing<'_, Option<Box<dyn Sitting>>> {
        let steward = steward.clone();
        Box::pin(async move {
            self.at.link.check().await?;
            let kept = millis(SEAT_KEPT);
            // Not again: one that sat and was not told so would find itself in its way.
            let sat = self.at.run(&[b"sit", steward.as_str().as_bytes(), kept.as_bytes()], false).await?;
            if sat.len() == 1 {
                return Ok(None);
            }
            let (_, me, run, may_lack): (String, String, String, bool) = self.at.read(Value::Array(sat))?;
            let (at, open, is_unsure) = (self.at.clone(), Mutex::default(), AtomicBool::new(false));
            Ok(Some(Box::new(Seated { at, me, run, may_lack, open, is_unsure }) as Box<dyn Sitting>))
        })
    }
}

impl Seated {
    /// Has the script do something that only a steward may.
    async fn run(&self, verb: &str, args: &[&[u8]], again: bool) -> Result<Vec<Value>, StoreError> {
        self.done(self.at.run(&self.words(verb, args), again).await?)
    }

    /// What the script is told of something that only a steward may do.
    fn words<'a>(&'a self, verb: &'a str, args: &[&'a [u8]]) -> Vec<&'a [u8]> {
        let mut all: Vec<&[u8]> = vec![verb.as_bytes(), self.me.as_bytes(), self.run.as_bytes()];
        all.extend(args);
        all
    }

    /// What the script answers to that.
    fn done(&self, said: Vec<Value>) -> Result<Vec<Value>, StoreError> {
        let mut done = said.into_iter();
        let (said, done) = (done.next().ok_or_else(|| self.at.nonsense())?, done.next());
        match (self.at.read::<String>(said)?.as_str(), done) {
            ("deposed", None) => Err(StoreError::Deposed),
            ("replaced", None) => Err(StoreError::Replaced),
            ("done", Some(done)) => self.at.read(done),
            _ => Err(self.at.nonsense()),
        }
    }

    /// Has the script do something with answers.
    async fn answer(&self, verb: &str, answers: &[CallAnswer], again: bool) -> Result<(), StoreError> {
        let kept = millis(ANSWER_KEPT);
        let numbers: Vec<_> = answers.iter().map(|(call, _)| call.number.to_string()).collect();
        let mut args: Vec<&[u8]> = vec![kept.as_bytes()];
        for ((call, text), number) in answers.iter().zip(&numbers) {
            args.extend([call.caller.as_str().as_bytes(), number.as_bytes(), text]);
        }
        self.run(verb, &args, again).await.map(|_| ())
    }

    fn open(&self) -> MutexGuard<'_, HashSet<CallId>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `?wait=N` replicas have everything that was written until now.
    async fn wait_for_replicas(&self) -> Result<(), StoreError> {
        self.wait_for(self.at.link.address.wait).await
    }

    /// Waits until so many replicas have everything that was written until now, by whomever. Stays seated, which is a write:
    /// Redis waits for the last write of the connection that asks, and for nothing on one that has written nothing yet.
    async fn wait_for(&self, wanted: usize) -> Result<(), StoreError> {
        let link = &self.at.link;
        if wanted == 0 {
            return Ok(());
        }
        let kept = millis(SEAT_KEPT);
        let mut both = redis::pipe();
        both.add_command(self.at.command("EVALSHA", &SCRIPT_HASH, &self.words("stay", &[kept.as_bytes()])));
        both.cmd("WAIT").arg(wanted).arg(millis(REPLICAS_WAIT));
        let unknown = |why: String| StoreError::Unknown(format!("{}: {why}", link.address));
        let done = link.ask_in_turn(&both).await.map_err(|failure| unknown(failure.of(&link.address).to_string()))?;
        let [stayed, have] = <[Value; 2]>::try_from(done).map_err(|_| self.at.nonsense())?;
        self.done(self.at.read(stayed)?)?;
        match self.at.read::<usize>(have)? {
            have if have < wanted => Err(unknown(format!("{have} of {wanted} replicas have the write"))),
            _ => Ok(()),
        }
    }
}

/// A call, and what it asks; nothing when it is gone.
type Rung = (String, Option<Vec<u8>>);

/// The kind of a record, and the rest of its key: what its hash is named by, and its field there.
fn parts(key: &str) -> (&str, &str) {
    key.split_once('/').unwrap_or((key, ""))
}

impl Sitting for Seated {
    fn may_lack(&self) -> bool {
        self.may_lack
    }

    fn load(&self) -> Doing<'_, Vec<Record>> {
        Box::pin(async move {
            let mut records = Vec::new();
            let kinds: Vec<String> = self.at.read(Value::Array(self.run("kinds", &[], true).await?))?;
            for kind in kinds {
                let rows = self.run("records", &[kind.as_bytes()], true).await?;
                let rows: Vec<(String, Vec<u8>)> = self.at.read(Value::Array(rows))?;
                records.extend(rows.into_iter().map(|(rest, text)| {
                    let key = if rest.is_empty() { kind.clone() } else { format!("{kind}/{rest}") };
                    (key, text)
                }));
            }
            self.wait_for_replicas().await?;
            Ok(records)
        })
    }

    fn commit(&self, writes: Vec<Write>) -> Doing<'_, ()> {
        Box::pin(async move {
            let kept = millis(SEAT_KEPT);
            let mut args: Vec<&[u8]> = vec![kept.as_bytes()];
            for (key, text) in &writes {
                let (kind, rest) = parts(key);
                let text: [&[u8]; 2] = text.as_ref().map_or([b"0", b""], |text| [b"1", text]);
                args.extend([kind.as_bytes(), rest.as_bytes(), text[0], text[1]]);
            }
            self.run("commit", &args, false).await?;
            self.wait_for_replicas().await
        })
    }

    fn spread(&self) -> Doing<'_, ()> {
        Box::pin(async move {
            let mut info = redis::cmd("INFO");
            let asked = self.at.link.ask(info.arg("replication"), true).await;
            let said: String = self.at.read(asked.map_err(|failure| failure.of(&self.at.link.address))?)?;
            let count = said.lines().find_map(|line| line.strip_prefix("connected_slaves:")?.trim().parse().ok());
            self.wait_for(count.ok_or_else(|| self.at.nonsense())?).await
        })
    }

    fn hear(&self, patience: Duration) -> Doing<'_, Vec<Heard>> {
        Box::pin(async move {
            // Given up or failed from here on, a bell may be lost: then the next one lets all ring again.
            let again = self.is_unsure.swap(true, Ordering::SeqCst);
            let mut rung = None;
            if !again {
                let (command, patience) = pop("BRPOP", self.at.key(&format!("bell:{}", self.me)), patience);
                rung = self.at.read::<Option<(String, String)>>(self.at.wait(&command, patience).await?)?;
            }
            let rung = rung.map(|(_, entry)| entry).unwrap_or_default();
            let done = self.run("hear", &[rung.as_bytes(), if again { b"1" } else { b"0" }], false).await?;
            let (heard, lying): (Vec<Rung>, Vec<String>) = self.at.read(Value::Array(done))?;
            let id = |text: &str| text.parse::<CallId>().map_err(|_| self.at.nonsense());
            let mut all = Vec::with_capacity(heard.len());
            for (call, request) in heard {
                let id = id(&call)?;
                all.push(match request {
                    Some(request) => Heard::Call { id, request },
                    None => Heard::Gone(id),
                });
            }
            let lying = lying.iter().map(|text| id(text)).collect::<Result<HashSet<_>, _>>()?;
            let mut open = self.open();
            if again {
                all.extend(open.iter().filter(|call| !lying.contains(call)).cloned().map(Heard::Gone));
            }
            for heard in &all {
                match heard {
                    Heard::Call { id, .. } => open.insert(id.clone()),
                    Heard::Gone(id) => open.remove(id),
                };
            }
            drop(open);
            self.is_unsure.store(false, Ordering::SeqCst);
            Ok(all)
        })
    }

    fn reply(&self, answers: Vec<CallAnswer>) -> Doing<'_, ()> {
        Box::pin(async move {
            self.answer("reply", &answers, true).await?;
            let mut open = self.open();
            for (call, _) in &answers {
                open.remove(call);
            }
            Ok(())
        })
    }

    fn take_back_answer(&self, call: &CallId) -> Doing<'_, bool> {
        let (caller, number) = (call.caller.clone(), call.number.to_string());
        Box::pin(async move {
            let taken = self.run("take_back_answer", &[caller.as_str().as_bytes(), number.as_bytes()], false).await?;
            self.at.is_one(taken)
        })
    }

    fn stay(&self) -> Doing<'_, ()> {
        Box::pin(async move {
            if self.at.link.address.wait > 0 {
                // A master that the others were cut off from must not go on for its side alone.
                return self.wait_for_replicas().await;
            }
            self.run("stay", &[millis(SEAT_KEPT).as_bytes()], true).await.map(|_| ())
        })
    }

    fn erase(&self) -> Doing<'_, ()> {
        Box::pin(async move { self.run("erase", &[], false).await.map(|_| ()) })
    }

    fn leave(&self, answers: Vec<CallAnswer>) -> Doing<'_, ()> {
        Box::pin(async move { self.answer("leave", &answers, false).await })
    }
}
