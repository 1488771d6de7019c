//! What disks do: slow, full, without power, damaged, gone, in use.

use crate::common::*;
use coordinator::{Coordinator, Error};
use lockserver::{Options, StoreError};
use model::lease::LeaseState;
use model::read::Selection;
use model::request::{Act, Answer, BeginAsk, Ending, Own, Renew};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const NOW: Duration = Duration::ZERO;

#[tokio::test]
async fn many_grants_share_a_sync() {
    const ASKS: u64 = 400;
    let platter = Platter::new(30);
    let server = Server::on(&platter).await;
    let client = server.client();
    slots(&client, "app", 2000).await;
    let mut syncs = Vec::new();
    // A machine that is busy with something else may bring the asks one by one: then once more.
    for round in 0..3 {
        let before = platter.syncs.load(Ordering::SeqCst);
        let mut asks = JoinSet::new();
        for number in 0..ASKS {
            let client = client.clone();
            asks.spawn(async move { client.ask(&ask(&format!("h{round}.{number}"), &["app"]), NOW).await });
        }
        while let Some(answer) = soon("the grants", asks.join_next()).await {
            granted(answer.expect("no panic").expect("an answer"));
        }
        syncs.push(platter.syncs.load(Ordering::SeqCst) - before);
        if syncs[round] * 20 <= ASKS {
            return;
        }
    }
    panic!("{ASKS} grants took {syncs:?} syncs");
}

#[tokio::test]
async fn a_power_failure_loses_nothing_that_was_answered() {
    let platter = Platter::new(2);
    let server = Server::on(&platter).await;
    let client = server.client();
    slots(&client, "app", 40).await;
    let answered: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
    let mut holders = JoinSet::new();
    for number in 0..80 {
        let (client, answered) = (server.client(), Arc::clone(&answered));
        holders.spawn(async move {
            let name = format!("h{number}");
            while let Ok(answer) = client.ask(&ask(&name, &["app"]), Duration::from_secs(10)).await {
                let Answer::Granted(granted) = answer else { continue };
                answered.lock().expect("the list").insert(name.clone(), granted.lease.pools[&pool("app")]);
                tokio::task::yield_now().await;
                if number % 2 == 0 {
                    return;
                }
                answered.lock().expect("the list").remove(&name);
                if client.settle(&settle(&name, Ending::Released)).await.is_err() {
                    return;
                }
            }
        });
    }
    until("some to be granted", || async { answered.lock().expect("the list").len() >= 25 }).await;
    let (known, found) = {
        let known = answered.lock().expect("the list").clone();
        (known, platter.power_off())
    };
    holders.shutdown().await;
    server.kill().await;

    let server = Server::on(&found).await;
    let client = server.client();
    let leases = client.leases(&Selection::default()).await.expect("leases");
    let kept: BTreeMap<String, u64> =
        leases.leases.iter().map(|row| (row.lease.holder.to_string(), row.lease.pools[&pool("app")])).collect();
    for (name, token) in &known {
        // The odd ones may have settled since, and been granted anew.
        let odd = name[1..].parse::<u32>().expect("a number") % 2 == 1;
        assert!(odd || kept.get(name) == Some(token), "{name} was granted {token}; kept: {kept:?}");
    }
    assert!(leases.leases.len() <= 40);
    let highest = known.values().chain(kept.values()).max().expect("some");
    assert!(leases.pools[0].token >= *highest, "tokens grow across a power failure");
}

#[tokio::test]
async fn a_server_that_starts_again_knows_everything() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(Options::folder(folder.path())).await;
    let client = server.client();
    slots(&client, "app", 1).await;
    let lease = granted(client.ask(&ask("a", &["app"]), NOW).await.expect("an answer")).lease;
    let queued = client.ask(&ask("b", &["app"]), NOW).await.expect("an answer");
    assert!(matches!(queued, Answer::Queued(_)));
    let scope = "host/x".parse().expect("a scope");
    do_it(&client, Act::Pause { scope, reason: "why".into(), for_ms: 3_600_000 }).await;
    let before = client.leases(&Selection::default()).await.expect("leases");
    let history = client.history(&Selection::default()).await.expect("history");
    server.kill().await;

    let server = started_again(folder.path()).await;
    let client = server.client();
    let after = client.leases(&Selection::default()).await.expect("leases");
    assert_eq!(after.leases[0].lease.claim, before.leases[0].lease.claim);
    assert_eq!((after.queue[0].number, after.pools[0].slots), (before.queue[0].number, 1));
    assert_eq!(client.history(&Selection::default()).await.expect("history"), history);
    assert_eq!(client.pauses().await.expect("pauses")[0].reason, "why");
    let again = granted(client.ask(&ask("a", &["app"]), NOW).await.expect("an answer")).lease;
    assert_eq!((again.pools, again.ticket), (lease.pools, lease.ticket), "the same lease, and the same token");
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_server_that_starts_again_takes_nobody_for_silent() {
    const TTL: Duration = Duration::from_secs(1);
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(Options::folder(folder.path())).await;
    let client = server.client();
    slots(&client, "app", 2).await;
    let setting = model::settings::Setting::Ttl(model::time::millis(TTL));
    do_it(&client, Act::Set { scope: "all".parse().expect("a scope"), setting, reason: "test".into(), for_ms: None })
        .await;
    let renewed = async |client: &coordinator::remote::Remote, name: &str| {
        let renew = Renew { holder: holder(name), claim: id(&format!("c-{name}")), step: None, note: String::new() };
        client.renew(&renew).await.expect("an answer")
    };
    for name in ["runs", "begun"] {
        granted(client.ask(&ask(name, &["app"]), NOW).await.expect("an answer"));
    }
    client.begin(&BeginAsk { holder: holder("begun"), claim: id("c-begun"), away_ms: 0 }).await.expect("an answer");
    // Both are there for longer than a time to live; that they are is on no disk.
    let start = Instant::now();
    while start.elapsed() < TTL * 2 {
        for name in ["runs", "begun"] {
            assert!(matches!(renewed(&client, name).await, Own::Held { .. }), "{name}");
        }
        tokio::time::sleep(TTL / 4).await;
    }
    server.stop().await.expect("a clean end");

    let server = started_again(folder.path()).await;
    let client = server.client();
    let leases = client.leases(&Selection::default()).await.expect("leases").leases;
    assert_eq!(leases.iter().map(|row| row.lease.state).collect::<Vec<_>>(), [LeaseState::Held; 2]);
    for name in ["runs", "begun"] {
        assert!(matches!(renewed(&client, name).await, Own::Held { .. }), "{name}");
    }
    server.stop().await.expect("a clean end");
}

/// A killed server's thread may take a moment to let go of the file.
async fn started_again(folder: &std::path::Path) -> Server {
    let start = Instant::now();
    loop {
        let server = Server::start(Options::folder(folder)).await;
        let client = server.client();
        if client.pauses().await.is_ok() {
            return server;
        }
        let ended = server.ended().await;
        assert!(matches!(ended, Err(lockserver::Error::Store(StoreError::InUse { .. }))), "{ended:?}");
        assert!(start.elapsed() < PATIENCE, "the file is still in use");
    }
}

#[tokio::test]
async fn a_full_disk_grants_nothing_and_says_what_to_do() {
    let platter = Platter::new(0);
    let server = Server::on(&platter).await;
    let client = server.client();
    slots(&client, "app", 5).await;
    granted(client.ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    platter.fill();
    let error = client.ask(&ask("b", &["app"]), NOW).await.expect_err("nothing can be written");
    assert!(matches!(error, Error::Unknown { .. }), "{error:?}");
    for name in ["b", "c", "a"] {
        let error = client.ask(&ask(name, &["app"]), NOW).await.expect_err("nothing can be written");
        let Error::Unable { value: why, .. } = error else { panic!("{error:?}") };
        assert!(why.contains("no space left on device") && why.contains("start the lock server again"), "{why}");
    }
    client.leases(&Selection::default()).await.expect_err("what is in memory is not what is known");
    assert_eq!(server.request("GET", "/readyz", "").await.0, 503);
    assert_eq!(server.request("GET", "/healthz", "").await.0, 200);
    let metrics = server.request("GET", "/metrics", "").await.1;
    assert!(metrics.as_str().expect("text").contains("stagger_store_up 0"));
    let ended = server.stop().await;
    assert!(matches!(ended, Err(lockserver::Error::Unclosed(_))), "{ended:?}");

    let server = Server::on(&platter.power_off()).await;
    let client = server.client();
    let leases = client.leases(&Selection::default()).await.expect("leases").leases;
    assert_eq!(leases.iter().map(|row| row.lease.holder.as_str()).collect::<Vec<_>>(), ["a"]);
    granted(client.ask(&ask("b", &["app"]), NOW).await.expect("an answer"));
}

/// A disk with some hundred leases on it, and how many.
async fn full_of_leases() -> (Arc<Platter>, usize) {
    const LEASES: usize = 300;
    let platter = Platter::new(0);
    let server = Server::on(&platter).await;
    let client = server.client();
    slots(&client, "app", 1000).await;
    let mut asks = JoinSet::new();
    for number in 0..LEASES {
        let client = client.clone();
        asks.spawn(
            async move { granted(client.ask(&ask(&format!("h{number}"), &["app"]), NOW).await.expect("an answer")) },
        );
    }
    while let Some(answer) = soon("the grants", asks.join_next()).await {
        answer.expect("no panic");
    }
    server.stop().await.expect("a clean end");
    (platter, LEASES)
}

/// How a server takes a disk: how many leases it knows, or why it did not start.
async fn leases_found(platter: &Arc<Platter>) -> Result<usize, StoreError> {
    let mut server = Server::on(platter).await;
    let client = server.client();
    let everything = Selection::default();
    let leases = tokio::select! {
        leases = client.leases(&everything) => leases,
        () = server.wait() => Err(Error::Corrupt("it ended".into())),
    };
    match leases {
        Ok(leases) => Ok(leases.leases.len()),
        Err(_) => match server.ended().await {
            Err(lockserver::Error::Store(cause)) => Err(cause),
            other => panic!("{other:?}"),
        },
    }
}

#[tokio::test]
async fn a_damaged_state_is_never_taken_for_an_empty_one() {
    const PLACES: usize = 48;
    let (whole, count) = full_of_leases().await;
    assert_eq!(leases_found(&whole.power_off()).await.expect("a whole state"), count);
    let mut refused = 0;
    for place in 0..PLACES {
        let platter = whole.power_off();
        platter.damage(|bytes| {
            let at = bytes.len() / PLACES * place;
            bytes[at..at + 64].iter_mut().for_each(|byte| *byte ^= 0xa5);
        });
        match leases_found(&platter).await {
            Ok(found) => assert_eq!(found, count, "a part that nobody reads, at {place}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0, "no damage was found");
    for keep in [1, 2, 3] {
        let platter = whole.power_off();
        platter.damage(|bytes| bytes.truncate(bytes.len() * keep / 4));
        leases_found(&platter).await.expect_err("a part of a state");
    }
    let platter = whole.power_off();
    platter.damage(|bytes| bytes.fill(0));
    leases_found(&platter).await.expect_err("zeros");
}

async fn refused(folder: &std::path::Path) -> StoreError {
    let ended = Server::start(Options::folder(folder)).await.ended().await;
    match ended {
        Err(lockserver::Error::Store(cause)) => cause,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_folder_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("deep").join("down");
    let server = Server::start(Options::folder(&data)).await;
    slots(&server.client(), "app", 1).await;
    let cause = refused(&data).await;
    assert!(matches!(cause, StoreError::InUse { .. }) && cause.to_string().contains("stop that one"), "{cause}");
    server.stop().await.expect("a clean end");

    let (file, mark) = (data.join("state.redb"), data.join("FORMAT"));
    std::fs::write(&mark, "7\n").expect("written");
    let cause = refused(&data).await;
    assert!(matches!(&cause, StoreError::Format { found } if found == "7"), "{cause}");
    std::fs::write(&mark, "1\n").expect("written");

    let whole = std::fs::read(&file).expect("a state");
    std::fs::remove_file(&file).expect("removed");
    let cause = refused(&data).await;
    assert!(matches!(cause, StoreError::Missing { .. }) && cause.to_string().contains("restore it"), "{cause}");
    assert!(!file.exists(), "nothing was made in its place");
    for bytes in [&b""[..], b"this is no state", &whole[..whole.len() / 2]] {
        std::fs::write(&file, bytes).expect("written");
        let cause = refused(&data).await;
        assert!(matches!(cause, StoreError::Damaged { .. }), "{cause}");
        assert_eq!(std::fs::read(&file).expect("the file"), bytes, "nothing was changed");
    }
    std::fs::write(&file, &whole).expect("written");
    let server = Server::start(Options::folder(&data)).await;
    assert_eq!(server.client().pools(&Selection::default()).await.expect("pools").rows[0].slots, 1);

    let cause = refused(std::path::Path::new("/dev/null/x")).await;
    assert!(matches!(cause, StoreError::Io { .. }), "{cause}");
}
