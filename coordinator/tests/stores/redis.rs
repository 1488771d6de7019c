//! What is Redis' own: rights, servers that must not be used, replicas, sentinels, and what a call costs.

use crate::cases::{KEPT, SOON, Server, answer, call, hear, id, is_away, load, record, sit, sit_soon, until, write};
use crate::servers::{Process, Redis, ask, free_port};
use coordinator::store::redis::{ACL, RedisStore};
use coordinator::store::{Seat, Store, StoreError, Verdict};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

fn open(url: &str) -> Arc<dyn Store> {
    Arc::new(RedisStore::new(url).expect("a store"))
}

/// That it is refused for good, in one sentence with these words.
async fn is_unfit(store: &Arc<dyn Store>, says: &str) {
    match store.sit(&id()).await {
        Err(StoreError::Unfit(why)) => assert!(why.contains(says) && !why.contains('\n'), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// One round of everything that callers and stewards do.
async fn do_everything(store: &Arc<dyn Store>) {
    let who = id();
    let sitting = sit(store).await;
    sitting.commit(vec![write("lease/a", "1"), ("lease/b".to_owned(), None)]).await.expect("written");
    load(&*sitting).await;
    for number in 1..=3 {
        store.post(&call(&who, number), b"?".to_vec(), KEPT).await.expect("posted");
    }
    hear(&*sitting, 3).await;
    store.take_back(&call(&who, 3)).await.expect("taken back");
    hear(&*sitting, 1).await;
    sitting.reply(vec![(call(&who, 1), b"1".to_vec()), (call(&who, 2), b"2".to_vec())]).await.expect("answered");
    assert_eq!(sitting.take_back_answer(&call(&who, 2)).await, Ok(true));
    assert_eq!(answer(store, &who).await, (1, b"1".to_vec()));
    // A call that is out of time is thrown away.
    store.post(&call(&who, 4), b"?".to_vec(), Duration::from_millis(1)).await.expect("posted");
    sleep(Duration::from_millis(5)).await;
    store.post(&call(&who, 5), b"?".to_vec(), KEPT).await.expect("posted");
    sitting.stay().await.expect("it stays");
    assert_eq!(store.seat().await, Ok(Seat::Taken));
    sitting.leave(Vec::new()).await.expect("left");
}

#[tokio::test]
async fn records_are_read_with_redis_cli() {
    let redis = Redis::start().await;
    let sitting = sit(&redis.open("default")).await;
    sitting.commit(vec![write("lease/web01", "{}"), write("target/php@1/web01", "{\"a\":1}")]).await.expect("written");
    let leases: BTreeMap<String, String> = redis.ask(&["HGETALL", "stagger:{default}:lease"]).await.expect("a hash");
    assert_eq!(leases, BTreeMap::from([("web01".to_owned(), "{}".to_owned())]));
    let target: String = redis.ask(&["HGET", "stagger:{default}:target", "php@1/web01"]).await.expect("a field");
    assert_eq!(target, "{\"a\":1}");
}

#[tokio::test]
async fn a_password_is_asked_for_and_given() {
    let redis = Redis::with(&["--requirepass", "s3cr/t"]).await;
    let with = |login: &str| open(&redis.url("d").replace("redis://", &format!("redis://{login}@")));
    do_everything(&with(":s3cr%2Ft")).await;
    is_unfit(&with(":wrong"), "authentication failed").await;
    is_unfit(&redis.open("d"), "NOAUTH").await;
    assert!(!with("a:s3cr%2Ft").name().contains("s3cr"));
}

#[tokio::test]
async fn a_user_needs_the_rights_of_the_manual_and_no_more() {
    let redis = Redis::start().await;
    let store = open(&redis.url("d").replace("redis://", "redis://stagger:pw@"));
    let set_user = async |rights: &str| {
        let mut command = vec!["ACL", "SETUSER", "stagger", "reset", "on", ">pw"];
        command.extend(rights.split_whitespace());
        redis.ask::<String>(&command).await.expect("a user");
    };
    set_user(ACL).await;
    do_everything(&store).await;
    for right in ACL.split_whitespace().filter(|right| !matches!(*right, "+@connection" | "+wait")) {
        let less: Vec<_> = ACL.split_whitespace().filter(|granted| *granted != right).collect();
        set_user(&less.join(" ")).await;
        let store = open(&redis.url("d").replace("redis://", "redis://stagger:pw@"));
        let done = tokio::spawn(async move { do_everything(&store).await }).await;
        // EVAL is asked only of a server that does not have the script.
        assert!(done.is_err() || right == "+eval", "nothing needs {right}");
        redis.ask::<String>(&["FLUSHALL"]).await.expect("empty");
    }
}

#[tokio::test]
async fn a_right_that_is_missing_is_missed_before_anything_is_written() {
    let redis = Redis::start().await;
    for right in ["+hset", "+hdel", "+sadd", "+rpush"] {
        let mut command = vec!["ACL", "SETUSER", "stagger", "reset", "on", ">pw"];
        command.extend(ACL.split_whitespace().filter(|granted| *granted != right));
        redis.ask::<String>(&command).await.expect("a user");
        is_unfit(&open(&redis.url("d").replace("redis://", "redis://stagger:pw@")), "can't run this command").await;
        assert_eq!(redis.open("d").seat().await, Ok(Seat::Empty));
    }
}

#[tokio::test]
async fn a_redis_that_throws_away_is_refused() {
    let redis = Redis::with(&["--maxmemory-policy", "volatile-lru"]).await;
    let store = redis.open("d");
    is_unfit(&store, "set it to noeviction").await;
    assert!(matches!(store.post(&call(&id(), 1), vec![], KEPT).await, Err(StoreError::Unfit(_))));
    redis.ask::<String>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await.expect("set");
    sit(&store).await.leave(Vec::new()).await.expect("left");
    // Also when it was changed under a connection.
    redis.ask::<String>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lfu"]).await.expect("set");
    is_unfit(&store, "set it to noeviction").await;
}

#[tokio::test]
async fn a_cluster_is_refused() {
    let redis = Redis::with(&["--cluster-enabled", "yes"]).await;
    is_unfit(&redis.open("d"), "Redis Cluster").await;
}

/// What a server refuses for now is away, and nothing of it is done.
#[tokio::test]
async fn a_redis_that_refuses_to_write_is_away() {
    let redis = Redis::start().await;
    let (store, who) = (redis.open("d"), id());
    let sitting = sit(&store).await;
    sitting.commit(vec![write("lease/a", "1"), write("lease/b", "2")]).await.expect("written");
    store.post(&call(&who, 1), b"?".to_vec(), KEPT).await.expect("posted");
    let writes = vec![("lease/a".to_owned(), None), write("lease/b", "3"), write("lease/c", "4")];
    for (option, refusing, usual) in
        [("maxmemory", "1", "0"), ("min-replicas-to-write", "1", "0"), ("replicaof", "127.0.0.1 1", "no one")]
    {
        let set = async |value: &str| {
            let mut command = if option == "replicaof" { vec![option] } else { vec!["CONFIG", "SET", option] };
            command.extend(value.split(' ').take(if option == "replicaof" { 2 } else { 1 }));
            redis.ask::<String>(&command).await.expect("set");
        };
        set(refusing).await;
        for _ in 0..2 {
            let refused = sitting.commit(writes.clone()).await;
            assert!(matches!(refused, Err(StoreError::Away(_))), "{option}: {refused:?}");
            let refused = store.post(&call(&who, 2), b"?".to_vec(), KEPT).await;
            assert!(matches!(refused, Err(StoreError::Away(_))), "{option}: {refused:?}");
        }
        set(usual).await;
        if option == "replicaof" {
            assert_eq!(sitting.stay().await, Err(StoreError::Replaced), "it may have followed somebody else meanwhile");
            continue;
        }
        sitting.stay().await.expect("it still sits");
        assert_eq!(load(&*sitting).await, vec![record("lease/a", "1"), record("lease/b", "2")], "{option}");
    }
}

#[tokio::test]
async fn a_replica_is_away() {
    let master = Redis::start().await;
    let replica = Redis::with(&["--replicaof", &format!("127.0.0.1 {}", master.port)]).await;
    let store = replica.open("d");
    is_away(store.sit(&id())).await;
    is_away(store.post(&call(&id(), 1), vec![], KEPT)).await;
    is_away(store.seat()).await;
}

#[tokio::test]
async fn a_silent_server_leaves_it_unknown() {
    let redis = Redis::start().await;
    let store = redis.open("d");
    let sitting = sit(&store).await;
    redis.ask::<String>(&["CLIENT", "PAUSE", "7000", "ALL"]).await.expect("paused");
    let committed = sitting.commit(vec![write("lease/a", "1")]).await;
    assert!(matches!(committed, Err(StoreError::Unknown(_))), "{committed:?}");
    until(SOON, async || sitting.stay().await.is_ok()).await;
    let records = load(&*sitting).await;
    assert!(records.is_empty() || records == vec![record("lease/a", "1")], "{records:?}");
}

#[tokio::test]
async fn a_server_that_started_again_is_another_one() {
    let mut redis = Redis::start().await;
    let store = redis.open("d");
    let sitting = sit(&store).await;
    sitting.commit(vec![write("lease/a", "1")]).await.expect("written");
    redis.kill().await;
    redis.restart().await;
    until(SOON, async || match sitting.commit(vec![write("lease/a", "wrong")]).await {
        Err(StoreError::Away(_) | StoreError::Unknown(_)) => false,
        refused => refused == Err(StoreError::Replaced) || panic!("{refused:?}"),
    })
    .await;
    assert_eq!(sitting.stay().await, Err(StoreError::Replaced));
    assert_eq!(sitting.hear(Duration::ZERO).await, Err(StoreError::Replaced));
    assert_eq!(sitting.load().await, Err(StoreError::Replaced));
    // It stays so until somebody has written at the new one.
    for _ in 0..2 {
        let sitting = sit_soon(&store).await;
        assert!(sitting.may_lack());
        assert_eq!(load(&*sitting).await, vec![record("lease/a", "1")]);
        sitting.leave(Vec::new()).await.expect("left");
    }
}

#[tokio::test]
async fn a_commit_waits_for_as_many_replicas_as_it_should() {
    let master = Redis::start().await;
    let waiting = |count: usize| open(&format!("{}?wait={count}", master.url("d")));
    let sitting = sit(&waiting(1)).await;
    let committed = sitting.commit(vec![write("lease/a", "1")]).await;
    assert!(matches!(&committed, Err(StoreError::Unknown(why)) if why.contains("0 of 1 replicas")), "{committed:?}");
    let replica = Redis::with(&["--replicaof", &format!("127.0.0.1 {}", master.port)]).await;
    until(SOON, async || sitting.commit(vec![write("lease/b", "2")]).await.is_ok()).await;
    let onreplica: String = replica.ask(&["HGET", "stagger:{d}:lease", "b"]).await.expect("a record");
    assert_eq!(onreplica, "2");
}

#[tokio::test]
async fn what_nobody_may_miss_is_at_every_replica() {
    let master = Redis::start().await;
    let sitting = sit(&master.open("d")).await;
    sitting.spread().await.expect("there is no replica");
    let replica = Redis::with(&["--replicaof", &format!("127.0.0.1 {}", master.port)]).await;
    let is_there = async || replica.ask::<usize>(&["EXISTS", "stagger:{d}:store:seat"]).await == Ok(1);
    until(SOON, is_there).await;
    sitting.commit(vec![write("passage", "1")]).await.expect("written");
    sitting.spread().await.expect("the replica has it");
    let on_replica: String = replica.ask(&["HGET", "stagger:{d}:passage", ""]).await.expect("a record");
    assert_eq!(on_replica, "1");
    replica.signal("-STOP");
    sitting.commit(vec![write("passage", "2")]).await.expect("without ?wait that is enough");
    let spread = sitting.spread().await;
    assert!(matches!(&spread, Err(StoreError::Unknown(why)) if why.contains("0 of 1 replicas")), "{spread:?}");
}

#[tokio::test]
async fn what_a_lone_master_holds_is_not_taken_for_safe() {
    let master = Redis::start().await;
    let store = open(&format!("{}?wait=1", master.url("d")));
    let sitting = sit(&store).await;
    assert!(sitting.commit(vec![write("lease/a", "1")]).await.is_err());
    sitting.leave(Vec::new()).await.expect("left");
    // The next steward would find the record, and answer for it without another commit.
    let next = sit(&store).await;
    let is_refused =
        async || matches!(next.load().await, Err(StoreError::Unknown(why)) if why.contains("0 of 1 replicas"));
    assert!(is_refused().await);
    // Nor on a connection that has written nothing, for which Redis itself waits for nothing.
    master.ask::<usize>(&["CLIENT", "KILL", "TYPE", "normal"]).await.expect("killed");
    until(SOON, is_refused).await;
    let replica = Redis::with(&["--replicaof", &format!("127.0.0.1 {}", master.port)]).await;
    until(SOON, async || next.load().await == Ok(vec![record("lease/a", "1")])).await;
    next.stay().await.expect("it stays");
    drop(replica);
    until(SOON, async || next.stay().await.is_err()).await;
}

/// What a look finds that is not as it should be: its subject, and how bad.
async fn found(store: &Arc<dyn Store>) -> Vec<(String, Verdict)> {
    let found = store.examine().await.expect("it can be asked");
    let bad = found.into_iter().filter(|finding| finding.verdict != Verdict::Fine);
    bad.inspect(|finding| assert!(!finding.advice.is_empty(), "{finding:?}"))
        .map(|finding| (finding.subject, finding.verdict))
        .collect()
}

#[tokio::test]
async fn a_look_finds_what_may_lose_leases() {
    let redis = Redis::start().await;
    assert_eq!(found(&redis.open("d")).await, []);
    assert_eq!(redis.ask::<usize>(&["DBSIZE"]).await, Ok(0), "nothing stays");
    let bad = |subject: &str, verdict| vec![(subject.to_owned(), verdict)];
    redis.ask::<String>(&["CONFIG", "SET", "appendfsync", "everysec"]).await.expect("set");
    assert_eq!(found(&redis.open("d")).await, bad("sync of every write", Verdict::Look));
    redis.ask::<String>(&["CONFIG", "SET", "appendonly", "no"]).await.expect("set");
    assert_eq!(found(&redis.open("d")).await, bad("append-only file", Verdict::Wrong));
    redis.ask::<String>(&["CONFIG", "SET", "appendonly", "yes", "appendfsync", "always"]).await.expect("set");
    assert_eq!(found(&open(&format!("{}?wait=1", redis.url("d")))).await[0], bad("replicas", Verdict::Wrong)[0]);
    redis.ask::<String>(&["CONFIG", "SET", "maxmemory", "1mb"]).await.expect("set");
    assert_eq!(found(&redis.open("d")).await[0].0, "writing", "it is full");
    redis.ask::<String>(&["CONFIG", "SET", "maxmemory", "0"]).await.expect("set");
    let user = |rights: String| {
        let redis = &redis;
        async move {
            let mut command = vec!["ACL", "SETUSER", "stagger", "reset", "on", ">pw"];
            command.extend(rights.split_whitespace());
            redis.ask::<String>(&command).await.expect("a user");
            found(&open(&redis.url("d").replace("redis://", "redis://stagger:pw@"))).await
        }
    };
    assert_eq!(user(ACL.to_owned()).await, bad("sync of every write", Verdict::Look), "it may not look");
    assert_eq!(user(ACL.replace("+hset", "")).await[0], bad("rights", Verdict::Wrong)[0]);
    let _replica = Redis::with(&["--replicaof", &format!("127.0.0.1 {}", redis.port)]).await;
    until(SOON, async || found(&redis.open("d")).await == bad("a lone master", Verdict::Wrong)).await;
    redis.ask::<String>(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await.expect("set");
    until(SOON, async || found(&redis.open("d")).await.is_empty()).await;
}

/// A sentinel, alone in its opinion.
fn sentinel(master: &Redis) -> (tempfile::TempDir, Process, u16) {
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let text = format!(
        "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 1\n\
         sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n",
        master.port
    );
    std::fs::write(folder.path().join("sentinel.conf"), text).expect("written");
    let process = Process::start("redis-sentinel", "redis-sentinel", folder.path(), &["sentinel.conf"]);
    (folder, process, port)
}

#[tokio::test]
async fn a_master_that_was_a_replica_meanwhile_may_lack_what_it_had_though_it_never_stopped() {
    let (first, second) = (Redis::start().await, Redis::start().await);
    let follows = async |replica: &Redis, master: &Redis| {
        replica.ask::<()>(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]).await.expect("it follows");
        until(SOON, async || {
            let said: String = replica.ask(&["INFO", "replication"]).await.expect("said");
            said.contains("master_link_status:up")
        })
        .await;
    };
    let leads = async |master: &Redis| master.ask::<()>(&["REPLICAOF", "NO", "ONE"]).await.expect("it leads");
    let store = first.open("d");
    let sitting = sit(&store).await;
    sitting.commit(vec![write("lease/a", "1")]).await.expect("written");
    follows(&second, &first).await;
    sitting.commit(vec![write("lease/b", "1")]).await.expect("a replica changes nothing for its master");
    until(SOON, async || second.ask::<usize>(&["HLEN", "stagger:{d}:lease"]).await == Ok(2)).await;
    second.ask::<()>(&["REPLICAOF", "NO", "ONE"]).await.expect("it leads");
    sitting.commit(vec![write("lease/c", "1")]).await.expect("written where it is lost");
    follows(&first, &second).await;
    leads(&first).await;
    follows(&second, &first).await;
    assert_eq!(sitting.stay().await, Err(StoreError::Replaced));
    assert_eq!(sitting.commit(vec![write("lease/d", "1")]).await, Err(StoreError::Replaced));
    let next = sit_soon(&store).await;
    assert!(next.may_lack());
    let mut rows = load(&*next).await;
    rows.sort_unstable();
    assert_eq!(rows, [record("lease/a", "1"), record("lease/b", "1")]);
    next.commit(vec![write("lease/e", "1")]).await.expect("written");
    next.leave(Vec::new()).await.expect("left");
    assert!(!sit_soon(&store).await.may_lack(), "known from then on");
}

#[tokio::test]
async fn after_a_fail_over_nothing_counts_that_the_new_master_does_not_have() {
    let mut master = Redis::start().await;
    let replica = Redis::with(&["--replicaof", &format!("127.0.0.1 {}", master.port)]).await;
    let (_folder, _process, port) = sentinel(&master);
    until(SOON, async || {
        let replicas = ask::<Vec<redis::Value>>(port, &["SENTINEL", "REPLICAS", "main"]).await;
        replicas.is_ok_and(|replicas| replicas.len() == 1)
    })
    .await;
    let url = |master: &str| format!("redis+sentinel://127.0.0.1:1,127.0.0.1:{port}/{master}/d");
    assert!(open(&url("main")).name().ends_with("/main/d"));
    is_unfit(&open(&format!("redis+sentinel://127.0.0.1:{port}/other")), "knows a master \"other\"").await;
    is_away(open("redis+sentinel://127.0.0.1:1/main").seat()).await;

    let (store, caller, who) = (open(&url("main")), open(&url("main")), id());
    let before = sit(&store).await;
    before.commit(vec![write("lease/a", "1")]).await.expect("written");
    caller.post(&call(&who, 1), b"?".to_vec(), KEPT).await.expect("posted");
    until(SOON, async || {
        let (calls, record) = ("stagger:{d}:store:calls", "stagger:{d}:lease");
        let has = async |key| replica.ask::<usize>(&["HLEN", key]).await == Ok(1);
        has(calls).await && has(record).await
    })
    .await;
    master.kill().await;

    // Until the new master is there, and at it, the steward of the old one does nothing.
    until(SOON * 3, async || match before.commit(vec![write("lease/a", "wrong")]).await {
        Err(StoreError::Away(_) | StoreError::Unknown(_)) => false,
        refused => matches!(refused, Err(StoreError::Replaced | StoreError::Deposed)) || panic!("{refused:?}"),
    })
    .await;
    let sitting = sit_soon(&store).await;
    assert!(sitting.may_lack());
    // The sentinel cuts the connections of a server that it promotes.
    until(SOON, async || sitting.load().await == Ok(vec![record("lease/a", "1")])).await;
    assert_eq!(before.stay().await, Err(StoreError::Deposed));
    hear(&*sitting, 1).await;
    sitting.reply(vec![(call(&who, 1), b"one".to_vec())]).await.expect("answered");
    assert_eq!(answer(&caller, &who).await, (1, b"one".to_vec()));
    // The old master comes back, as it was, and is made a replica; nobody takes it for the store.
    master.restart().await;
    sitting.commit(vec![write("lease/a", "2")]).await.expect("written at the new one");
    let on_new: String = replica.ask(&["HGET", "stagger:{d}:lease", "a"]).await.expect("a record");
    assert_eq!(on_new, "2");
}

/// Makes an authority `ca.crt` and a certificate of 127.0.0.1, `tls.crt` with `tls.key`.
pub(crate) fn make_certificates(folder: &Path) {
    let openssl = |line: &str| {
        let made = Command::new("openssl").args(line.split(' ')).current_dir(folder).output();
        let made = made.unwrap_or_else(|cause| panic!("cannot start openssl ({cause}): apt-get install openssl"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    let new = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("{new} -x509 -days 2 -subj /CN=authority -keyout ca.key -out ca.crt"));
    openssl(&format!("{new} -subj /CN=redis -addext subjectAltName=IP:127.0.0.1 -keyout tls.key -out tls.csr"));
    openssl(
        "x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out tls.crt",
    );
}

#[tokio::test]
async fn tls_is_spoken_with_a_server_that_is_trusted() {
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    make_certificates(folder.path());
    let file = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    let (port, ca, certificate, key) = (port.to_string(), file("ca.crt"), file("tls.crt"), file("tls.key"));
    let mut options = vec!["--tls-port", &port, "--tls-ca-cert-file", &ca, "--tls-cert-file", &certificate];
    options.extend(["--tls-key-file", &key, "--tls-auth-clients", "no"]);
    let _redis = Redis::with(&options).await;
    let url = format!("rediss://127.0.0.1:{port}/d");
    is_unfit(&open(&url), "is not trusted").await;
    // Whom to trust is read from the environment, once: so another process has it.
    let trusting = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "redis::one_that_is_trusted", "--ignored"])
        .envs([("SSL_CERT_FILE", &ca), ("STAGGER_TEST_URL", &url)])
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&trusting.stdout);
    assert!(trusting.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "started by the test above"]
async fn one_that_is_trusted() {
    do_everything(&open(&std::env::var("STAGGER_TEST_URL").expect("a URL"))).await;
}

/// How often each command was carried out since it was counted anew; those within a script too.
async fn counted(redis: &Redis) -> BTreeMap<String, u64> {
    let stats: String = redis.ask(&["INFO", "commandstats"]).await.expect("counts");
    let count = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    stats.lines().filter_map(count).filter(|(name, _)| !matches!(name.as_str(), "config|resetstat")).collect()
}

#[tokio::test]
async fn a_call_costs_five_round_trips_and_a_commit_one() {
    let redis = Redis::start().await;
    let (store, caller, who) = (redis.open("d"), redis.open("d"), id());
    let sitting = sit(&store).await;
    let a_call = async |number: u64| {
        caller.post(&call(&who, number), b"?".to_vec(), KEPT).await.expect("posted");
        hear(&*sitting, 1).await;
        sitting.reply(vec![(call(&who, number), b"!".to_vec())]).await.expect("answered");
        answer(&caller, &who).await;
    };
    a_call(1).await;
    redis.ask::<String>(&["CONFIG", "RESETSTAT"]).await.expect("counted anew");
    a_call(2).await;
    let counts = counted(&redis).await;
    let of = |name: &str| counts.get(name).copied().unwrap_or(0);
    assert_eq!((of("evalsha"), of("brpop"), of("blpop"), of("eval")), (3, 1, 1, 0), "{counts:?}");

    redis.ask::<String>(&["CONFIG", "RESETSTAT"]).await.expect("counted anew");
    sitting.commit(vec![write("lease/a", "1"), write("lease/b", "2")]).await.expect("written");
    let counts = counted(&redis).await;
    let of = |name: &str| counts.get(name).copied().unwrap_or(0);
    assert_eq!((of("evalsha"), of("hset"), of("wait")), (1, 2, 0), "{counts:?}");
}
