//! A backup that is taken while leases are granted by the hundred, and what becomes of it elsewhere.

use super::{Server, get, launch, on_files};
use crate::support::{SOON, run, wait_for};
use coordinator::remote::Remote;
use coordinator::{Coordinator as _, Error};
use model::lease::Purpose;
use model::names::Id;
use model::read::Selection;
use model::request::{Answer, Ask, Ending, Own, Renew, Settle};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

/// Everyone who asks.
const CLIENTS: usize = 100;
/// So many of them keep what they are granted.
const KEEPERS: usize = 10;
/// Grants that the backups are taken under, at least.
const GRANTS: usize = 1_000;
const BACKUPS: usize = 3;

fn claim(name: &str, round: usize) -> Id {
    format!("c-{name}-{round}").parse().expect("an id")
}

fn ask(name: &str, round: usize) -> Ask {
    Ask {
        holder: name.parse().expect("a holder"),
        claim: claim(name, round),
        pools: ["p".parse().expect("a pool")].into(),
        purpose: Purpose::Run("test".into()),
        wait_ms: None,
        patience_ms: 60_000,
    }
}

/// Asks until it is granted; the token.
async fn granted(client: &Remote, name: &str, round: usize) -> Result<u64, Error> {
    loop {
        match client.ask(&ask(name, round), Duration::from_secs(5)).await? {
            Answer::Granted(granted) => return Ok(granted.lease.pools[&"p".parse().expect("a pool")]),
            Answer::Queued(_) => {}
            Answer::Refused(why) => panic!("{why:?}"),
        }
    }
}

async fn renewed(client: &Remote, name: &str, round: usize) -> Own {
    let renew =
        Renew { holder: name.parse().expect("a holder"), claim: claim(name, round), step: None, note: String::new() };
    client.renew(&renew).await.expect("an answer")
}

/// What clients do, and what they were told.
#[derive(Debug, Default)]
struct Load {
    /// Every token that was granted to anybody, as they wrote it down.
    told: Mutex<Vec<u64>>,
    grants: AtomicUsize,
    is_over: AtomicBool,
}

impl Load {
    fn grants(&self) -> usize {
        self.grants.load(Ordering::Relaxed)
    }

    fn highest(&self) -> u64 {
        self.told.lock().expect("the log").iter().copied().max().unwrap_or(0)
    }

    /// A client that takes a lease and gives it back, again and again; one that keeps does so once.
    async fn go_on(&self, client: Remote, name: String, keeps: bool) {
        for round in 0.. {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            let Ok(token) = granted(&client, &name, round).await else { return };
            self.told.lock().expect("the log").push(token);
            self.grants.fetch_add(1, Ordering::Relaxed);
            if keeps {
                // Confirmed: else it would be taken back in a while.
                let own = renewed(&client, &name, round).await;
                assert!(matches!(own, Own::Held { .. }), "{name}: {own:?}");
                return;
            }
            let (holder, claim) = (name.parse().expect("a holder"), claim(&name, round));
            let settle = Settle { holder, claim, ending: Ending::Released, rollout: None, report: None };
            if client.settle(&settle).await.is_err() {
                return;
            }
        }
    }
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_granted_while_a_backup_is_taken_is_never_granted_again_by_the_server_that_is_restored() {
    let mut server = Server::start("[[pool]]\nmatch = \"*\"\nslots = 70\n", &[]);
    let load = Arc::new(Load::default());
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let (client, load) = (server.client(), Arc::clone(&load));
        clients.spawn(async move { load.go_on(client, format!("h{number}"), number < KEEPERS).await });
    }
    let backups: Vec<_> = (0..BACKUPS).map(|number| server.path(&format!("backup{number}"))).collect();
    for (number, backup) in backups.iter().enumerate() {
        let before = GRANTS * number / BACKUPS;
        wait_for("some were granted", SOON * 2, || (load.grants() > before).then_some(()));
        let since = load.grants();
        server.must(&["lockserver", "backup", &path_text(backup)]);
        wait_for("it goes on", SOON, || (load.grants() > since).then_some(()));
        assert_eq!(std::fs::metadata(backup).expect("a file").permissions().mode() & 0o777, 0o600);
    }
    wait_for("enough were granted", SOON * 2, || (load.grants() > GRANTS).then_some(()));
    assert_ne!(server.metric("stagger_backup_timestamp_seconds"), "0");
    load.is_over.store(true, Ordering::Relaxed);
    while clients.join_next().await.is_some() {}
    // One that the backup knows nothing of.
    let client = server.client();
    granted(&client, "late", 0).await.expect("an answer");
    server.process.kill();

    let elsewhere = server.path("elsewhere");
    for backup in &backups {
        let (code, said) = on_files(&["verify"], backup, &[]);
        assert!(code == 0 && said.contains("  lease "), "{said}");
    }
    let (code, said) = on_files(&["restore", "--silent", "0s"], &backups[1], &[&elsewhere]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = on_files(&["restore"], &backups[1], &[&elsewhere]);
    assert!(code == 1 && said.contains(" is not empty; choose another folder"), "{said}");
    let (code, out, err) = run(crate::support::stagger().args(["lockserver", "verify", "--data"]).arg(&elsewhere));
    assert_eq!(code, 0, "{out}{err}");

    std::fs::rename(server.data(), server.path("lost")).expect("moved");
    std::fs::rename(&elsewhere, server.data()).expect("moved");
    server.process = launch(server.folder.path(), &server.address, &[]);
    server.wait_until_it_answers();
    for number in 0..KEEPERS {
        let own = renewed(&client, &format!("h{number}"), 0).await;
        assert!(matches!(own, Own::Held { .. }), "h{number} holds its lease, and is told {own:?}");
    }
    assert_eq!(renewed(&client, "late", 0).await, Own::Gone, "nobody knows of it any more");
    let token = granted(&client, "afterwards", 0).await.expect("an answer");
    assert!(token > load.highest(), "{token} is not above {}", load.highest());
    let leases = client.leases(&Selection::default()).await.expect("leases").leases;
    let held = leases.iter().filter(|row| row.lease.pools.contains_key(&"p".parse().expect("a pool"))).count();
    assert!(held <= 70, "{held}");
    let history = server.must(&["history"]);
    assert!(history.contains("restored from a backup "), "{history}");
}

#[tokio::test]
async fn a_server_that_is_restored_decides_nothing_until_others_have_given_up_what_it_does_not_know_of() {
    let mut server = Server::start("[[pool]]\nmatch = \"*\"\nslots = 1\nttl = \"1s\"\n", &[]);
    let backup = server.path("backup");
    server.must(&["lockserver", "backup", &path_text(&backup)]);
    server.process.kill();
    std::fs::rename(server.data(), server.path("lost")).expect("moved");
    let (code, said) = on_files(&["restore", "--silent", "3s"], &backup, &[&server.data()]);
    assert!(code == 0 && said.contains("it decides nothing for 3s"), "{said}");
    server.process = launch(server.folder.path(), &server.address, &[]);
    server.wait_until_it_answers();
    let client = server.client();
    let refused = client.ask(&ask("early", 0), Duration::ZERO).await.expect_err("it is silent");
    assert!(matches!(&refused, Error::Unable { kind, .. } if kind == "silent"), "{refused:?}");
    assert!(refused.to_string().contains("restored from a backup"), "{refused}");
    assert!(get(&server.address, "/readyz").starts_with("HTTP/1.1 503 "));
    wait_for("it decides", SOON, || Some(()).filter(|()| get(&server.address, "/readyz").starts_with("HTTP/1.1 200 ")));
    granted(&client, "early", 0).await.expect("an answer");
    // Nothing is silent any more at the next start.
    server.kill_and_restart();
    assert!(matches!(renewed(&client, "early", 0).await, Own::Held { .. }));
}
