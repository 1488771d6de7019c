//! A look at the setup of a Redis: what may lose leases, or stop them.

use super::address::{Found, shown};
use super::link::read;
use super::{ACL, Redis};
use crate::store::finding::is_loopback;
use crate::store::{Finding, StoreError};
use redis::Cmd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How far the clock of the wall may be off before somebody should look.
const CLOCK_OFF_MAX: Duration = Duration::from_secs(5);
/// How full the memory may be, in percent, before somebody should look.
const FULL_PERCENT: u64 = 80;

/// Looks at everything; fails only when nothing can be asked.
pub(super) async fn examine(at: &Redis) -> Result<Vec<Finding>, StoreError> {
    let start = Instant::now();
    let info: String = ask(at, redis::cmd("INFO").arg("everything")).await?;
    let took = start.elapsed();
    let said = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).unwrap_or_default().to_owned()
    };
    let number = |name: &str| said(name).parse::<u64>().unwrap_or(0);
    let answers = format!("Redis {}, {:.1} ms", said("redis_version"), took.as_secs_f64() * 1e3);
    let mut found = vec![Finding::fine("reachable", answers), rights(at).await, width(at).await];
    let is_on = said("aof_enabled") == "1";
    let advice = "CONFIG SET appendonly yes, and in redis.conf: else a Redis that dies forgets its leases";
    found.push(Finding::must(is_on, "append-only file", if is_on { "on" } else { "off" }, advice));
    if is_on {
        let is_ok = said("aof_last_write_status") == "ok";
        let advice = "make room on its disk: see redis-cli INFO persistence";
        found.push(Finding::must(is_ok, "last write to disk", said("aof_last_write_status"), advice));
        found.push(match setting(at, "appendfsync").await {
            None => unseen("sync of every write", "appendfsync"),
            Some(when) if when == "always" => Finding::fine("sync of every write", "appendfsync always"),
            Some(when) => {
                let seen = format!("appendfsync {when}: a power cut may lose the last second");
                Finding::look("sync of every write", seen, "CONFIG SET appendfsync always, and in redis.conf")
            }
        });
    }
    found.push(memory(number("used_memory"), number("maxmemory")));
    found.extend(replicas(at, number("connected_slaves")).await);
    found.extend(sentinels(at).await);
    found.push(clock(at).await);
    Ok(found)
}

async fn ask<T: redis::FromRedisValue>(at: &Redis, command: &Cmd) -> Result<T, StoreError> {
    let address = &at.link.address;
    read(address, at.link.ask(command, true).await.map_err(|failure| failure.of(address))?)
}

/// A setting, when this user may look at it.
async fn setting(at: &Redis, name: &str) -> Option<String> {
    let pair: Vec<String> = ask(at, redis::cmd("CONFIG").arg("GET").arg(name)).await.ok()?;
    pair.into_iter().nth(1)
}

fn unseen(subject: &str, name: &str) -> Finding {
    Finding::look(subject, "this user may not look", format!("look with another: redis-cli CONFIG GET {name}"))
}

/// Whether this user may do what is needed.
async fn rights(at: &Redis) -> Finding {
    match at.run(&[b"try"], true).await {
        Ok(_) => Finding::fine("rights", "all that are needed"),
        Err(StoreError::Unfit(cause)) => {
            let rights = ACL.replacen("~stagger:*", "'~stagger:*'", 1);
            Finding::wrong("rights", cause, format!("redis-cli ACL SETUSER USER on '>PASSWORD' {rights}"))
        }
        Err(cause) => {
            Finding::wrong("writing", cause.to_string(), "what refuses it stands in this line: put that right")
        }
    }
}

/// Whether this user, or anybody, may do more.
async fn width(at: &Redis) -> Finding {
    let address = &at.link.address;
    let hosts: Vec<&str> = match &address.found {
        Found::At((host, _)) => vec![host],
        Found::By { sentinels, .. } => sentinels.iter().map(|(host, _)| host.as_str()).collect(),
    };
    let may_do_more = match ask::<u64>(at, &redis::cmd("DBSIZE")).await {
        Ok(_) => true,
        Err(StoreError::Unfit(_)) => false,
        Err(cause) => return Finding::look("who may ask", format!("unknown: {cause}"), "ask again"),
    };
    let advice = "a user of its own: the manual's page on stores has its rights";
    match (address.password.is_some(), may_do_more) {
        (true, false) => Finding::fine("who may ask", "a user with no more rights than are needed"),
        _ if is_loopback(hosts.into_iter()) => Finding::fine("who may ask", "this machine, as far as the URL says"),
        (false, _) => Finding::look("who may ask", "nobody is asked for a password", advice),
        (true, true) => Finding::look("who may ask", "this user may do more than is needed", advice),
    }
}

fn memory(used: u64, most: u64) -> Finding {
    let mib = |bytes: u64| bytes / 1024 / 1024;
    match most {
        0 => Finding::fine("memory", format!("{} MiB used, no bound; nothing is thrown away", mib(used))),
        most if used.saturating_mul(100) / most >= FULL_PERCENT => Finding::look(
            "memory",
            format!("{} of {} MiB used: when it is full nothing is decided", mib(used), mib(most)),
            "CONFIG SET maxmemory to more, or find what fills it: redis-cli --bigkeys",
        ),
        most => Finding::fine("memory", format!("{} of {} MiB used; nothing is thrown away", mib(used), mib(most))),
    }
}

async fn replicas(at: &Redis, count: u64) -> Vec<Finding> {
    let wanted = at.link.address.wait as u64;
    let is_watched = matches!(at.link.address.found, Found::By { .. });
    let mut found = vec![match count {
        count if wanted > count => Finding::wrong(
            "replicas",
            format!("{count} connected, and ?wait={wanted} wants {wanted}: nothing is decided"),
            "start the missing ones, or say a smaller ?wait= on every host",
        ),
        0 if is_watched => Finding::look("replicas", "none: nobody takes over", "start one: replicaof HOST PORT"),
        count => Finding::fine("replicas", format!("{count} connected")),
    }];
    if count > 0 || is_watched {
        let advice =
            "CONFIG SET min-replicas-to-write 1, on all of them: a master that is cut off must not go on alone";
        found.push(match (wanted, setting(at, "min-replicas-to-write").await) {
            (1.., _) => Finding::fine("a lone master", format!("decides nothing: ?wait={wanted}")),
            (_, None) => unseen("a lone master", "min-replicas-to-write"),
            (_, Some(least)) if least == "0" => Finding::wrong("a lone master", "would go on taking writes", advice),
            (_, Some(least)) => {
                Finding::fine("a lone master", format!("takes no writes: min-replicas-to-write {least}"))
            }
        });
    }
    found
}

async fn sentinels(at: &Redis) -> Option<Finding> {
    let Found::By { sentinels, master } = &at.link.address.found else { return None };
    let answers = at.link.each_sentinel(sentinels, master).await;
    let all = answers.len();
    let silent: Vec<String> =
        answers.iter().filter(|(_, said)| said.is_none()).map(|(place, _)| shown(place)).collect();
    let mut masters: Vec<_> = answers.iter().filter_map(|(_, said)| said.as_ref()).map(shown).collect();
    masters.sort();
    masters.dedup();
    Some(match (silent.is_empty(), masters.as_slice()) {
        (true, [one]) if all >= 3 => Finding::fine("sentinels", format!("{all} of {all} say {one}")),
        (true, [one]) => Finding::look(
            "sentinels",
            format!("{all} of {all} say {one}"),
            "name three or more, on machines of their own: fewer cannot outvote one that errs",
        ),
        (_, [one]) => {
            Finding::look("sentinels", format!("silent: {}; the others say {one}", silent.join(", ")), "start them")
        }
        (_, several) => Finding::wrong(
            "sentinels",
            format!("they say {}", several.join(" and ")),
            "wait until they agree; if they do not: redis-cli -p 26379 SENTINEL MASTERS",
        ),
    })
}

async fn clock(at: &Redis) -> Finding {
    let own = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, micros) = match ask::<(u64, u64)>(at, &redis::cmd("TIME")).await {
        Ok(time) => time,
        Err(cause) => return Finding::look("clock", cause.to_string(), "redis-cli TIME"),
    };
    let off = (Duration::from_secs(seconds) + Duration::from_micros(micros)).abs_diff(own);
    let seen = format!("{:.1} s apart", off.as_secs_f64());
    match off > CLOCK_OFF_MAX {
        true => {
            let seen = format!("{seen}; no lease depends on it, but the times that are shown do");
            Finding::look("clock", seen, "chronyc tracking, here and there")
        }
        false => Finding::fine("clock", seen),
    }
}
