//! Encrypted doors: who trusts whom, certificates that change, and clients that never finish a handshake.

use super::scene::*;
use crate::common::*;
use coordinator::remote::{Credentials, Remote};
use coordinator::{Coordinator, Error};
use lockserver::access::Settings;
use lockserver::access::tokens::Role;
use model::read::Selection;
use std::path::Path;

fn client(server: &Server, credentials: Credentials) -> Remote {
    Remote::known(&format!("https://{}", server.address), &credentials).expect("a client")
}

fn trusting(authority: &Authority) -> Credentials {
    Credentials { ca: Some(authority.pem.clone()), ..Credentials::default() }
}

async fn look(client: &Remote) -> Result<(), Error> {
    client.leases(&Selection::default()).await.map(|_| ())
}

async fn not_applied(client: &Remote, what: &str) {
    let act = model::request::Act::Resume { scope: model::names::Scope::All };
    for error in [look(client).await.expect_err(what), client.admin(&admin(act.clone())).await.expect_err(what)] {
        assert!(matches!(error, Error::NotApplied { .. }), "{what}: {error:?}");
    }
}

#[tokio::test]
async fn a_client_and_a_server_that_do_not_trust_each_other_exchange_nothing() {
    let (log, _kept) = Log::start();
    let tokens = Tokens::new();
    let folder = tokens.folder.path();
    let (ours, theirs, clients) =
        (Authority::new(folder, "ours"), Authority::new(folder, "theirs"), Authority::new(folder, "clients"));
    let access = Settings { tls: Some(ours.tls(folder, Some(&clients))), ..tokens.settings() };
    let server = server(access).await;
    let own = |authority: &Authority, name: &str| Some(authority.certify(folder, name, name));
    let with = |identity, token: Option<&str>| {
        let token = token.map(|name| tokens.file_of(name));
        Credentials { identity, token, ..trusting(&ours) }
    };
    // A good one, by its token.
    let good = client(&server, with(own(&clients, "mw1.example"), Some("reader")));
    look(&good).await.expect("it is let in");
    let untrusting = Credentials { ca: Some(theirs.pem.clone()), ..with(own(&clients, "a"), Some("boss")) };
    not_applied(&client(&server, untrusting), "the server is not the client's").await;
    not_applied(&client(&server, with(own(&theirs, "b"), Some("boss"))), "a certificate of another authority").await;
    not_applied(&client(&server, with(None, Some("boss"))), "no certificate").await;
    let plain = Remote::new(&format!("http://{}", server.address)).expect("a client");
    assert!(look(&plain).await.is_err(), "nothing is answered that is not encrypted");
    // A certificate alone is nobody; one that somebody is known by is that one.
    let ops = with(own(&clients, "ops1.example"), None);
    let unknown = look(&client(&server, ops.clone())).await.expect_err("nobody knows it");
    assert!(matches!(&unknown, Error::Refused { status: 401, .. }), "{unknown:?}");
    tokens.certify("ops", Role::Read, "ops1.example");
    let known = client(&server, ops);
    until("it to be known", || async { look(&known).await.is_ok() }).await;
    let refused = known.admin(&admin(model::request::Act::Resume { scope: model::names::Scope::All })).await;
    assert!(matches!(&refused, Err(Error::Refused { status: 403, .. })), "{refused:?}");
    let log = log.text();
    assert!(log.contains("reason=\"certificate\"") && log.contains("reason=\"handshake\""), "{log}");
    assert!(log.contains("token=\"ops\" reason=\"role\""), "{log}");
    let (name, key) = (client(&server, with(own(&clients, "m"), Some("reader"))), "no text of a token");
    for secret in tokens.texts() {
        assert!(!log.contains(secret) && !format!("{name:?}").contains(secret), "{key}");
    }
}

#[tokio::test]
async fn certificates_are_loaded_again_when_they_change_and_wrong_ones_keep_the_old() {
    let (log, _kept) = Log::start();
    let folder = tempfile::tempdir().expect("a folder");
    let folder: &Path = folder.path();
    let (first, second) = (Authority::new(folder, "first"), Authority::new(folder, "second"));
    let tls = first.tls(folder, None);
    let server = server(Settings { tls: Some(tls.clone()), ..Settings::default() }).await;
    let (old, new) = (|| client(&server, trusting(&first)), || client(&server, trusting(&second)));
    look(&old()).await.expect("the first counts");
    std::fs::write(&tls.cert, "nonsense").expect("written");
    until("the damage to be told", || async { log.text().contains("what was read before still counts") }).await;
    look(&old()).await.expect("it still counts");
    second.certify(folder, "server", "localhost");
    until("the second to count", || async { look(&new()).await.is_ok() }).await;
    assert!(look(&old()).await.is_err(), "and the first no more");
    assert!(!log.text().contains("PRIVATE KEY"));
}

#[tokio::test]
async fn clients_that_say_nothing_cost_nobody_anything() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ours");
    let tls = authority.tls(folder.path(), None);
    let server = server(Settings { tls: Some(tls), ..Settings::default() }).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(connect(&server.address, ELSEWHERE).await);
    }
    let client = client(&server, trusting(&authority));
    for _ in 0..20 {
        look(&client).await.expect("it is served meanwhile");
    }
    // A stop does not wait for them either.
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_lock_server_that_cannot_be_protected_does_not_start() {
    let tokens = Tokens::new();
    std::fs::write(&tokens.path, "stagger-tokens 1\nboss root\n").expect("written");
    let damaged = server(tokens.settings()).await.ended().await.expect_err("damaged");
    assert!(damaged.to_string().contains("line 2: the roles are"), "{damaged}");
    std::fs::remove_file(&tokens.path).expect("removed");
    let missing = server(tokens.settings()).await.ended().await.expect_err("missing");
    assert!(missing.to_string().contains("cannot read the tokens in"), "{missing}");
    let authority = Authority::new(tokens.folder.path(), "ours");
    let mut tls = authority.tls(tokens.folder.path(), None);
    tls.key = authority.certify(tokens.folder.path(), "other", "localhost").1;
    let mixed = server(Settings { tls: Some(tls), ..Settings::default() }).await.ended().await.expect_err("no pair");
    assert!(mixed.to_string().contains("cannot use"), "{mixed}");
}
