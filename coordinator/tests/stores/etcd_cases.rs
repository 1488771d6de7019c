//! What is true of etcd alone.

use crate::cases::{Server, hear, load, no_answer, sit, sit_soon, until};
use crate::etcd::{Etcd, READY};
use crate::redis::make_certificates;
use coordinator::random_id;
use coordinator::store::{CallId, Heard, Record, Seat, Sitting, Store, StoreError, Verdict, Write};
use model::names::Id;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(20);
const KEPT: Duration = Duration::from_secs(60);

fn id() -> Id {
    random_id().expect("an id")
}

fn call(caller: &Id, number: u64) -> CallId {
    CallId { caller: caller.clone(), number }
}

fn write(key: &str, text: &str) -> Write {
    (key.to_owned(), Some(text.as_bytes().to_vec()))
}

fn unfit<T: std::fmt::Debug>(done: Result<T, StoreError>) -> String {
    match done {
        Err(StoreError::Unfit(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// Goes on as a steward does: what is away or unknown is tried again, and who is deposed sits again.
async fn commit_at_last(store: &Arc<dyn Store>, sitting: &mut Box<dyn Sitting>, writes: &[Write]) {
    let deadline = Instant::now() + READY;
    loop {
        match sitting.commit(writes.to_vec()).await {
            Ok(()) => return,
            Err(StoreError::Deposed) => *sitting = sit_soon(store).await,
            Err(StoreError::Away(_) | StoreError::Unknown(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(other) => panic!("{other}"),
        }
        assert!(Instant::now() < deadline, "the cluster does not come back");
    }
}

#[tokio::test]
async fn a_cluster_whose_leader_dies_loses_nothing_and_goes_on() {
    let mut etcd = Etcd::with(3, &[]).await;
    // The clients are connected to the very member that dies.
    let leader = etcd.leader().await;
    etcd.ports.rotate_left(leader);
    etcd.processes.rotate_left(leader);
    let (steward, caller, who) = (etcd.open("d"), etcd.open("d"), id());
    let mut sitting = sit(&steward).await;
    let mut expected = BTreeMap::new();
    let answering = async {
        let mut answered = 0;
        for number in 1..=60u64 {
            let write = write(&format!("lease/web{:02}", number % 50), &number.to_string());
            commit_at_last(&steward, &mut sitting, std::slice::from_ref(&write)).await;
            expected.insert(write.0, number.to_string().into_bytes());
            if number == 10 {
                etcd.processes[0] = None;
            }
        }
        let deadline = Instant::now() + READY;
        while answered == 0 {
            assert!(Instant::now() < deadline);
            if let Ok(heard) = sitting.hear(Duration::from_secs(1)).await {
                for heard in heard {
                    if let Heard::Call { id, .. } = heard
                        && sitting.reply(vec![(id, b"yes".to_vec())]).await.is_ok()
                    {
                        answered += 1;
                    }
                }
            }
        }
    };
    let asking = async {
        until(READY, async || caller.post(&call(&who, 1), b"?".to_vec(), KEPT).await.is_ok()).await;
        let mut answer = None;
        until(READY * 2, async || {
            answer = caller.answer(&who, Duration::from_secs(1)).await.ok().flatten();
            answer.is_some()
        })
        .await;
        assert_eq!(answer, Some((call(&who, 1), b"yes".to_vec())));
    };
    tokio::join!(answering, asking);
    let expected: Vec<Record> = expected.into_iter().collect();
    assert_eq!(load(&*sitting).await, expected);
    sitting.leave(Vec::new()).await.expect("left");
    assert_eq!(load(&*sit(&etcd.open("d")).await).await, expected, "as another process reads it");
}

#[tokio::test]
async fn the_next_member_is_asked_when_one_hangs() {
    let mut etcd = Etcd::with(3, &[]).await;
    let leader = etcd.leader().await;
    // One that is not the leader is first.
    etcd.ports.rotate_left((leader + 1) % 3);
    etcd.processes.rotate_left((leader + 1) % 3);
    let (store, caller, who) = (etcd.open("d"), etcd.open("d"), id());
    let sitting = sit(&store).await;
    assert_eq!(sitting.hear(Duration::ZERO).await, Ok(vec![]));
    caller.post(&call(&who, 1), b"?".to_vec(), KEPT).await.expect("posted");
    hear(&*sitting, 1).await;
    etcd.processes[0].as_ref().expect("a member").signal("-STOP");
    timeout(SOON, sitting.stay()).await.expect("soon").expect("it stays with another member");
    until(SOON, async || caller.post(&call(&who, 2), b"?".to_vec(), KEPT).await.is_ok()).await;
    let heard = hear(&*sitting, 1).await;
    assert_eq!(heard, vec![Heard::Call { id: call(&who, 2), request: b"?".to_vec() }]);
    etcd.processes[0].as_ref().expect("a member").signal("-CONT");
}

#[tokio::test]
async fn a_steward_that_listens_hears_at_once_that_it_is_deposed() {
    let etcd = Etcd::with(1, &[]).await;
    let store = etcd.open("d");
    let sitting = sit(&store).await;
    assert_eq!(sitting.hear(Duration::ZERO).await, Ok(vec![]));
    let since = Instant::now();
    etcd.ctl(0, &["del", "/stagger/d/seat"]);
    let next = sit(&store).await;
    for _ in 0..2 {
        assert_eq!(sitting.hear(SOON).await, Err(StoreError::Deposed));
        assert_eq!(sitting.stay().await, Err(StoreError::Deposed));
    }
    assert!(since.elapsed() < SOON / 2);
    next.stay().await.expect("it sits");
}

#[tokio::test]
async fn compaction_harms_neither_watches_nor_lists() {
    let mut etcd = Etcd::with(1, &[]).await;
    let (steward, caller, who) = (etcd.open("d"), etcd.open("d"), id());
    let sitting = sit(&steward).await;
    let records: Vec<Write> = (0..1200).map(|at| write(&format!("lease/web{at:04}"), "1")).collect();
    sitting.commit(records).await.expect("written");
    assert_eq!(sitting.hear(Duration::ZERO).await, Ok(vec![]));
    assert_eq!(caller.answer(&who, Duration::ZERO).await, Ok(None));
    let compact = |etcd: &Etcd| {
        let status = etcd.ctl(0, &["endpoint", "status", "--write-out=json"]);
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        etcd.ctl(0, &["compaction", &status[0]["Status"]["header"]["revision"].to_string()]);
    };
    for number in 1..=5 {
        caller.post(&call(&who, number), b"?".to_vec(), KEPT).await.expect("posted");
        compact(&etcd);
        assert_eq!(hear(&*sitting, 1).await.len(), 1);
        assert_eq!(load(&*sitting).await.len(), 1200);
        sitting.reply(vec![(call(&who, number), b"yes".to_vec())]).await.expect("answered");
        sitting.commit(vec![write("lease/web0001", &number.to_string())]).await.expect("written");
        compact(&etcd);
        assert_eq!(caller.answer(&who, SOON).await, Ok(Some((call(&who, number), b"yes".to_vec()))));
    }
    // Watches break off, and what happened since is compacted when they come back.
    etcd.kill().await;
    etcd.restart().await;
    let other = etcd.open("d");
    until(SOON, async || other.post(&call(&who, 9), b"?".to_vec(), KEPT).await.is_ok()).await;
    compact(&etcd);
    let mut heard = Vec::new();
    until(SOON, async || {
        heard = sitting.hear(Duration::from_secs(1)).await.unwrap_or_default();
        !heard.is_empty()
    })
    .await;
    assert_eq!(heard, vec![Heard::Call { id: call(&who, 9), request: b"?".to_vec() }]);
}

#[tokio::test]
async fn a_user_needs_the_rights_of_one_domain_and_no_more() {
    let etcd = Etcd::with(1, &[]).await;
    for command in [
        "role add stagger-web",
        "role grant-permission stagger-web --prefix=true readwrite /stagger/web/",
        "user add stagger:p@ss",
        "user grant-role stagger stagger-web",
        "user add root:root",
        "user grant-role root root",
        "auth enable",
    ] {
        etcd.ctl(0, &command.split(' ').collect::<Vec<_>>());
    }
    let url = |user: &str, domain: &str| etcd.url(domain).replace("etcd://", &format!("etcd://{user}"));
    let (store, who) = (etcd.open_at(&url("stagger:p%40ss@", "web")), id());
    assert!(!store.name().contains("p%40ss") && !format!("{store:?}").contains("p@ss"));
    let sitting = sit(&store).await;
    let many: Vec<Write> = (0..300).map(|at| write(&format!("lease/web{at:04}"), "1")).collect();
    sitting.commit(many).await.expect("written");
    assert_eq!(load(&*sitting).await.len(), 300);
    assert_eq!(store.post(&call(&who, 1), b"?".to_vec(), KEPT).await, Ok(Seat::Taken));
    hear(&*sitting, 1).await;
    sitting.reply(vec![(call(&who, 1), b"yes".to_vec())]).await.expect("answered");
    assert_eq!(store.answer(&who, SOON).await, Ok(Some((call(&who, 1), b"yes".to_vec()))));
    store.take_back(&call(&who, 1)).await.expect("there is none");
    assert_eq!(sitting.take_back_answer(&call(&who, 1)).await, Ok(false));
    sitting.stay().await.expect("it stays");
    sitting.leave(Vec::new()).await.expect("left");
    for (user, domain, part) in [
        ("stagger:p%40ss@", "db", "does not let this user"),
        ("stagger:wrong@", "web", "user and password"),
        ("", "web", "wants a user and a password"),
    ] {
        let why = unfit(etcd.open_at(&url(user, domain)).sit(&id()).await);
        assert!(why.contains(part), "{why}");
    }
}

#[tokio::test]
async fn users_of_an_etcd_that_knows_none_are_told() {
    let etcd = Etcd::with(1, &[]).await;
    let why = unfit(etcd.open_at(&etcd.url("d").replace("etcd://", "etcd://ann:x@")).seat().await);
    assert!(why.contains("knows no users"), "{why}");
}

#[tokio::test]
async fn a_full_etcd_says_what_to_do() {
    let etcd = Etcd::with(1, &["--quota-backend-bytes=1000000"]).await;
    let (steward, who) = (etcd.open("d"), id());
    let sitting = sit(&steward).await;
    let text = "x".repeat(100_000);
    let mut why = None;
    until(SOON, async || {
        match sitting.commit(vec![write("lease/a", &text)]).await {
            Ok(()) => {}
            // The first of them was done, and those after it are not: etcd says the same of both.
            Err(StoreError::Unknown(said)) => why = Some(said),
            Err(other) => panic!("{other:?}"),
        }
        why.is_some()
    })
    .await;
    assert!(why.expect("a reason").contains("etcdctl alarm disarm"));
    assert!(matches!(steward.post(&call(&who, 1), vec![], KEPT).await, Err(StoreError::Unknown(_))));
    // Looking goes on, and staying.
    assert_eq!(steward.seat().await, Ok(Seat::Taken));
    sitting.stay().await.expect("it stays");
}

/// Polls so often, and then drops it.
async fn given_up_after<T>(polls: usize, doing: impl Future<Output = T>) -> Option<T> {
    let (mut doing, mut left) = (pin!(doing), polls);
    poll_fn(|context| {
        left -= 1;
        match doing.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[tokio::test]
async fn a_large_commit_that_broke_off_is_whole_or_not_there() {
    let etcd = Etcd::with(1, &[]).await;
    let versions = |version: usize| -> Vec<Write> {
        (0..1000)
            .map(|at| write(&format!("target/a@1/web{at:04}"), &format!("{version} {}", "x".repeat(1500))))
            .collect()
    };
    let (one, other) = (etcd.open("d"), etcd.open("d"));
    let (mut old, mut new) = (0, 0);
    let mut last = 0;
    for version in 1..=30 {
        let sitting = sit(&one).await;
        let is_done = given_up_after(version, sitting.commit(versions(version))).await == Some(Ok(()));
        // Either the same steward goes on, or the next one.
        let records = if version % 2 == 0 {
            let records = load(&*sitting).await;
            sitting.leave(Vec::new()).await.expect("left");
            records
        } else {
            sitting.leave(Vec::new()).await.expect("left");
            let next = sit(&other).await;
            let records = load(&*next).await;
            next.leave(Vec::new()).await.expect("left");
            records
        };
        let found = records.first().map_or(0, |(_, text)| {
            String::from_utf8_lossy(text).split(' ').next().and_then(|version| version.parse().ok()).expect("a version")
        });
        let whole: Vec<Record> = if found == 0 {
            vec![]
        } else {
            versions(found).into_iter().map(|(key, text)| (key, text.expect("a text"))).collect()
        };
        assert!(records == whole, "version {version} was mixed with {found}");
        assert!(found == version || (found == last && !is_done), "found {found} instead of {version}");
        *(if found == version { &mut new } else { &mut old }) += 1;
        last = found;
    }
    assert!(new > 3 && old > 3, "{new} commits were done, {old} were not");
    assert_eq!(etcd.ctl(0, &["get", "--prefix", "--keys-only", "/stagger/d/redo/"]).trim(), "");
}

#[tokio::test]
async fn a_redo_record_is_finished_when_it_is_valid_and_dropped_when_not() {
    let etcd = Etcd::with(1, &[]).await;
    let store = etcd.open("d");
    sit(&store).await.leave(Vec::new()).await.expect("left");
    etcd.ctl(0, &["put", "/stagger/d/r/lease/b", "2"]);
    let redo = |parts: &[&str], seal: Option<&str>| {
        for (at, part) in parts.iter().enumerate() {
            etcd.ctl(0, &["put", &format!("/stagger/d/redo/part/{at:05}"), part]);
        }
        if let Some(seal) = seal {
            etcd.ctl(0, &["put", "/stagger/d/redo/seal", seal]);
        }
    };
    let before: Vec<Record> = vec![("lease/b".to_owned(), b"2".to_vec())];
    for (parts, seal) in [
        (vec!["put lease/a 1\n1\n"], None),
        (vec!["put lease/a 1\n1\n"], Some("2 parts, 16 bytes")),
        (vec!["put lease/a 1\n1\n"], Some("1 parts, 17 bytes")),
    ] {
        redo(&parts, seal);
        let sitting = sit(&store).await;
        assert_eq!(load(&*sitting).await, before);
        assert_eq!(etcd.ctl(0, &["get", "--prefix", "--keys-only", "/stagger/d/redo/"]).trim(), "");
        sitting.leave(Vec::new()).await.expect("left");
    }
    redo(&["put lease/a 1\n1\ndel", "ete lease/b\n"], Some("2 parts, 31 bytes"));
    let sitting = sit(&store).await;
    assert_eq!(load(&*sitting).await, vec![("lease/a".to_owned(), b"1".to_vec())]);
    assert_eq!(etcd.ctl(0, &["get", "--prefix", "--keys-only", "/stagger/d/redo/"]).trim(), "");
}

/// Proposals, and requests that a client sent, so far.
async fn costs(etcd: &Etcd) -> (f64, f64) {
    let proposals = etcd.metric(0, "etcd_server_proposals_committed_total ", &[]).await.expect("metrics");
    let requests = etcd.metric(0, "grpc_server_handled_total", &["grpc_code=\"OK\"", "unary"]).await.expect("metrics");
    (proposals, requests)
}

#[tokio::test]
async fn a_call_costs_two_proposals_and_waiting_none() {
    const MANY: u64 = 50;
    let etcd = Etcd::with(1, &[]).await;
    let (steward, caller, who) = (etcd.open("d"), etcd.open("d"), id());
    let sitting = sit(&steward).await;
    let exchange = async |number: u64| {
        caller.post(&call(&who, number), b"?".to_vec(), KEPT).await.expect("posted");
        hear(&*sitting, 1).await;
        sitting.reply(vec![(call(&who, number), b"yes".to_vec())]).await.expect("answered");
        assert_eq!(caller.answer(&who, SOON).await, Ok(Some((call(&who, number), b"yes".to_vec()))));
    };
    exchange(0).await;
    sitting.commit(vec![write("lease/a", "0")]).await.expect("written");

    let before = costs(&etcd).await;
    for number in 1..=MANY {
        exchange(number).await;
    }
    let calls = costs(&etcd).await;
    for number in 1..=MANY {
        sitting.commit(vec![write("lease/a", &number.to_string()), write("lease/b", "1")]).await.expect("written");
    }
    let commits = costs(&etcd).await;
    for _ in 0..20 {
        sitting.stay().await.expect("it stays");
        assert_eq!(caller.seat().await, Ok(Seat::Taken));
        assert!(caller.sit(&id()).await.expect("a store").is_none());
        tokio::join!(async { sitting.hear(Duration::from_millis(20)).await.expect("heard") }, async {
            caller.answer(&who, Duration::from_millis(20)).await.expect("nothing")
        });
    }
    load(&*sitting).await;
    let waiting = costs(&etcd).await;
    let each = |from: (f64, f64), to: (f64, f64)| ((to.0 - from.0) / MANY as f64, (to.1 - from.1) / MANY as f64);
    // The cluster itself proposes something now and then.
    assert!((2.0..2.2).contains(&each(before, calls).0), "{:?}", each(before, calls));
    assert!((1.0..1.2).contains(&each(calls, commits).0), "{:?}", each(calls, commits));
    assert!(waiting.0 - commits.0 <= 2.0, "waiting cost {} proposals", waiting.0 - commits.0);
}

#[tokio::test]
async fn an_answer_is_not_lost_when_waiting_for_it_is_given_up() {
    let etcd = Etcd::with(1, &[]).await;
    let (steward, caller, who) = (etcd.open("d"), etcd.open("d"), id());
    let sitting = sit(&steward).await;
    for number in 0..100 {
        sitting.stay().await.expect("it sits");
        caller.post(&call(&who, number), b"?".to_vec(), KEPT).await.expect("posted");
        hear(&*sitting, 1).await;
        let answers = async {
            // Given up sooner and later, also in the very moment in which it comes.
            for micros in (0..).step_by(100) {
                let waiting = tokio::time::timeout(Duration::from_micros(micros), caller.answer(&who, SOON));
                if let Ok(answer) = waiting.await {
                    return answer;
                }
            }
            unreachable!("some wait is long enough")
        };
        let reply = sitting.reply(vec![(call(&who, number), b"yes".to_vec())]);
        let (answer, replied) = tokio::join!(answers, reply);
        replied.expect("answered");
        assert_eq!(answer, Ok(Some((call(&who, number), b"yes".to_vec()))));
    }
    no_answer(&caller, &who).await;
}

#[tokio::test]
async fn tls_proves_both_sides() {
    let folder = tempfile::tempdir().expect("a folder");
    make_certificates(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut etcd = Etcd::with(1, &[]).await;
    etcd.kill().await;
    etcd.has_tls = true;
    etcd.more = vec![
        format!("--cert-file={}", path("tls.crt")),
        format!("--key-file={}", path("tls.key")),
        format!("--trusted-ca-file={}", path("ca.crt")),
        "--client-cert-auth".to_owned(),
    ];
    etcd.restart().await;
    let url = etcd.url("d").replace("etcd://", "etcds://");
    let whole = format!("{url}?ca={}&cert={}&key={}", path("ca.crt"), path("tls.crt"), path("tls.key"));
    let store = etcd.open_at(&whole);
    until(READY, async || store.seat().await.is_ok()).await;
    let sitting = sit(&store).await;
    sitting.commit(vec![write("lease/a", "1")]).await.expect("written");
    assert_eq!(load(&*sitting).await.len(), 1);
    // Neither a server of another authority is trusted, nor a client without a certificate.
    for url in [url.clone(), format!("{url}?ca={}", path("ca.crt")), etcd.url("d")] {
        let done = etcd.open_at(&url).seat().await;
        assert!(matches!(done, Err(StoreError::Away(_))), "{done:?}");
    }
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
async fn a_look_finds_what_may_stop_decisions() {
    let few = Etcd::start().await;
    let bad = |subject: &str, verdict| (subject.to_owned(), verdict);
    assert_eq!(found(&few.open("d")).await, [bad("members", Verdict::Look)]);
    assert_eq!(few.ctl(0, &["get", "--prefix", "--keys-only", ""]).trim(), "", "nothing stays");
    let mut many = Etcd::with(3, &[]).await;
    assert_eq!(found(&many.open("d")).await, []);
    many.processes[2] = None;
    until(SOON, async || found(&many.open("d")).await == [bad("member", Verdict::Wrong)]).await;
    drop(many);
    for line in ["user add root:pw", "user grant-role root root", "role add r", "user add u:pw", "user grant-role u r"]
    {
        few.ctl(0, &line.split(' ').collect::<Vec<_>>());
    }
    few.ctl(0, &["role", "grant-permission", "r", "--prefix=true", "readwrite", "/stagger/d/"]);
    few.ctl(0, &["auth", "enable"]);
    let of = |domain: &str| few.open_at(&few.url(domain).replace("etcd://", "etcd://u:pw@"));
    let narrow = found(&of("d")).await;
    assert!(!narrow.iter().any(|(subject, _)| subject == "rights" || subject == "who may ask"), "{narrow:?}");
    assert!(found(&of("other")).await.contains(&bad("rights", Verdict::Wrong)));
}
