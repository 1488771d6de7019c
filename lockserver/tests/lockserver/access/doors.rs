//! A door over a store is guarded as a lock server is, and signs what it hands on.

use super::scene::*;
use crate::common::*;
use coordinator::mailbox::Mailbox;
use coordinator::remote::{Credentials, Remote};
use coordinator::store::Store;
use coordinator::store::memory::MemoryServer;
use coordinator::{Coordinator, Error};
use lockserver::{relay, steward};
use model::read::Selection;
use model::request::Act;
use std::sync::Arc;
use tokio::net::TcpListener;

#[tokio::test]
async fn a_door_over_a_store_wants_tokens_and_says_who_acted_and_from_where() {
    let store = MemoryServer::default();
    let store: Arc<dyn Store> = Arc::new(store.open("web"));
    let mailbox = Mailbox::new(Arc::clone(&store)).expect("a mailbox");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let attending = tokio::spawn(steward::attend(store, mailbox.vacancy(), std::future::pending()));
    let tokens = Tokens::new();
    let settings = tokens.settings();
    let serving =
        tokio::spawn(async move { relay::run(listener, mailbox, "web", &settings, std::future::pending()).await });
    let by = |name: &str| {
        let credentials = Credentials { token: Some(tokens.file_of(name)), ..Credentials::default() };
        Remote::known(&format!("http://{address}/web"), &credentials).expect("a client")
    };
    let pause = || admin(Act::Pause { scope: model::names::Scope::All, reason: "r".into(), for_ms: 60_000 });
    for (name, status) in [("old", 401), ("stranger", 401), ("reader", 403), ("mw1", 403)] {
        let refused = by(name).admin(&pause()).await.expect_err(name);
        assert!(matches!(&refused, Error::Refused { status: found, .. } if *found == status), "{name}: {refused:?}");
    }
    let theft =
        by("mw1").ask(&crate::common::ask("mw2", &["p"]), std::time::Duration::ZERO).await.expect_err("not its own");
    assert!(matches!(&theft, Error::Refused { status: 403, .. }), "{theft:?}");
    soon("the pause", by("deploy1").admin(&pause())).await.expect("it may");
    let history = by("reader").history(&Selection::default()).await.expect("the history").rows;
    let last = history.last().expect("an entry");
    assert_eq!((last.by.as_str(), last.from.as_deref()), ("deploy1 for me@here", Some("127.0.0.1")));
    assert_eq!(history.len(), 1, "nothing else was done: {history:?}");
    assert_eq!(counted(&address, "role").await, 2);
    attending.abort();
    serving.abort();
}
