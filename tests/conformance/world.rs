//! The coordinators that the cases are said of: each on a server of its own, gone with its value; and what cases say to them.

use crate::stores::servers::{Etcd, Redis};
use crate::support::SOON;
use coordinator::Coordinator as _;
use coordinator::mailbox::Mailbox;
use coordinator::remote::Remote;
use coordinator::store::Store;
use coordinator::store::memory::MemoryServer;
use lockserver::{Options, steward};
use model::lease::{LeaseState, Purpose};
use model::names::{Host, RolloutName};
use model::read::{LeaseRow, Selection};
use model::request::{
    Act, Admin, Announce, Answer, Ask, Done, Ending, Granted, Join, Joined, Own, Renew, Settle, Welcome,
};
use model::rollout::{Outcome, Report};
use model::settings::{Setting, Slots};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Not held: answered at once.
pub(super) const NOW: Duration = Duration::ZERO;
/// Held for as long as a call may be.
pub(super) const HOLD: Duration = Duration::from_secs(20);

/// A coordinator, and what it rests on.
pub(super) struct World {
    rests_on: Rests,
    client: Remote,
    /// Whoever decides, in this process.
    deciding: JoinHandle<()>,
}

enum Rests {
    Folder(tempfile::TempDir, String),
    Memory(MemoryServer),
    Redis(Redis),
    Etcd(Etcd),
}

/// A lock server with records of its own.
pub(super) async fn lock_server() -> World {
    let folder = tempfile::tempdir().expect("a folder");
    let address = crate::support::own_address();
    World::start(Rests::Folder(folder, address)).await
}

/// A steward over memory.
pub(super) async fn memory() -> World {
    World::start(Rests::Memory(MemoryServer::default())).await
}

/// A steward over a Redis.
pub(super) async fn redis() -> World {
    World::start(Rests::Redis(Redis::start())).await
}

/// A steward over an etcd.
pub(super) async fn etcd() -> World {
    World::start(Rests::Etcd(Etcd::start(1))).await
}

impl World {
    async fn start(rests_on: Rests) -> World {
        let (client, deciding) = begin(&rests_on).await;
        World { rests_on, client, deciding }
    }

    /// A client of it, for a process of its own.
    pub(super) async fn client(&self) -> Remote {
        match &self.rests_on {
            Rests::Folder(..) => self.client.clone(),
            rests_on => Remote::through(Mailbox::new(store(rests_on)).expect("a mailbox")),
        }
    }

    /// Whoever decides dies as by kill -9, and somebody takes its place.
    pub(super) async fn crash(&mut self) {
        self.deciding.abort();
        let _ = (&mut self.deciding).await;
        (self.client, self.deciding) = begin(&self.rests_on).await;
    }

    pub(super) async fn ask(&self, ask: &Ask, hold: Duration) -> Answer {
        soon(self.client.ask(ask, hold)).await.expect("an answer")
    }

    pub(super) async fn granted(&self, name: &str, pools: &[&str]) -> Granted {
        granted(self.ask(&ask(name, pools), NOW).await)
    }

    pub(super) async fn renew(&self, name: &str) -> Own {
        let (holder, claim) = (name.parse().expect("a holder"), claim_of(name));
        soon(self.client.renew(&Renew { holder, claim, step: None, note: String::new() })).await.expect("an answer")
    }

    pub(super) async fn settle(&self, name: &str, ending: Ending) -> model::request::Settled {
        self.settle_for(name, ending, None).await
    }

    pub(super) async fn settle_for(
        &self,
        name: &str,
        ending: Ending,
        rollout: Option<&RolloutName>,
    ) -> model::request::Settled {
        let outcome = if ending == Ending::Released { Outcome::Restarted } else { Outcome::Failed };
        let report = rollout.map(|_| Report::plain(outcome));
        let (holder, claim, rollout) = (name.parse().expect("a holder"), claim_of(name), rollout.cloned());
        soon(self.client.settle(&Settle { holder, claim, ending, rollout, report })).await.expect("an answer")
    }

    pub(super) async fn act(&self, act: Act) -> Done {
        soon(self.client.admin(&admin(act))).await.expect("an answer")
    }

    pub(super) async fn set(&self, pool: &str, setting: Setting) {
        let scope = format!("pool/{pool}").parse().expect("a scope");
        let done = self.act(Act::Set { scope, setting, reason: "test".into(), for_ms: None }).await;
        assert!(matches!(done, Done::Did { .. }), "{done:?}");
    }

    pub(super) async fn slots(&self, pool: &str, count: u32) {
        self.set(pool, Setting::Slots(Slots::Count(count))).await;
    }

    pub(super) async fn leases(&self) -> Vec<LeaseRow> {
        soon(self.client.leases(&Selection::default())).await.expect("leases").leases
    }

    pub(super) async fn state_of(&self, name: &str) -> Option<LeaseState> {
        self.leases().await.into_iter().find(|row| row.lease.holder.as_str() == name).map(|row| row.lease.state)
    }

    /// Waits until a waiter of this name listens.
    pub(super) async fn listens(&self, name: &str, wanted: bool) {
        until(async || {
            let queue = soon(self.client.leases(&Selection::default())).await.expect("leases").queue;
            queue.iter().any(|row| row.holder.as_str() == name && row.listens == wanted)
        })
        .await;
    }

    pub(super) async fn join(&self, host: &str, services: &[&str]) -> Welcome {
        match soon(self.client.join(&join(host, services), None, NOW)).await.expect("an answer") {
            Joined::Member(welcome) => welcome,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn announce(&self, change: impl FnOnce(&mut Announce)) -> Done {
        let mut announce = Announce {
            service: "php".parse().expect("a service"),
            message: "wmf.12".into(),
            only: vec![],
            always: false,
            supersede: false,
            max_failures: None,
            strict: None,
            expires_ms: None,
        };
        change(&mut announce);
        self.act(Act::Announce(announce)).await
    }

    /// The host asks for the lease that a rollout wants, and is granted it.
    pub(super) async fn restarts(&self, host: &str, rollout: &RolloutName) -> Granted {
        granted(self.ask(&for_rollout(host, rollout), NOW).await)
    }

    pub(super) fn remote(&self) -> &Remote {
        &self.client
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.deciding.abort();
    }
}

fn store(rests_on: &Rests) -> Arc<dyn Store> {
    let open = |url: String| coordinator::store::open(&url).expect("a URL").expect("a store");
    match rests_on {
        Rests::Memory(server) => Arc::new(server.open("default")),
        Rests::Redis(redis) => open(redis.url()),
        Rests::Etcd(etcd) => open(etcd.url()),
        Rests::Folder(..) => unreachable!("a lock server has no store"),
    }
}

async fn begin(rests_on: &Rests) -> (Remote, JoinHandle<()>) {
    if let Rests::Folder(folder, address) = rests_on {
        let (data, address) = (folder.path().to_owned(), address.clone());
        let at = address.clone();
        let serving = tokio::spawn(async move {
            // The one before may still be about to let go of its files.
            loop {
                let running = lockserver::run(bind(&at).await, Options::folder(&data), std::future::pending()).await;
                let in_use = matches!(&running, Err(lockserver::Error::Store(lockserver::StoreError::InUse { .. })));
                assert!(in_use, "{running:?}");
            }
        });
        let client = Remote::new(&format!("http://{address}")).expect("a client");
        until(async || client.pauses().await.is_ok()).await;
        return (client, serving);
    }
    let mailbox = Mailbox::new(store(rests_on)).expect("a mailbox");
    let attending = steward::attend(Arc::clone(mailbox.store()), mailbox.vacancy(), std::future::pending());
    (Remote::through(mailbox), tokio::spawn(attending))
}

async fn bind(address: &str) -> TcpListener {
    let start = Instant::now();
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(cause) => assert!(start.elapsed() < SOON, "{address}: {cause}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What comes, within the patience of a test.
pub(super) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("waited {SOON:?} in vain"))
}

/// Waits until a condition holds.
pub(super) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < SOON, "waited {SOON:?} in vain");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn claim_of(name: &str) -> model::names::Id {
    format!("c-{name}").parse().expect("an id")
}

/// An ask of `run`, whose claim is `c-` and the name.
pub(super) fn ask(name: &str, pools: &[&str]) -> Ask {
    Ask {
        holder: name.parse().expect("a holder"),
        claim: claim_of(name),
        pools: pools.iter().map(|name| name.parse().expect("a pool")).collect(),
        purpose: Purpose::Run("test".into()),
        wait_ms: None,
        patience_ms: 60_000,
    }
}

/// An ask of a host for a rollout, in the pool `app`.
pub(super) fn for_rollout(host: &str, rollout: &RolloutName) -> Ask {
    Ask { purpose: Purpose::Rollout(rollout.clone()), ..ask(host, &["app"]) }
}

/// A worker that makes itself known, with its services in the pool `app`.
pub(super) fn join(host: &str, services: &[&str]) -> Join {
    let pools: std::collections::BTreeSet<_> = ["app".parse().expect("a pool")].into();
    Join {
        host: host.parse::<Host>().expect("a host"),
        session: format!("s-{host}").parse().expect("an id"),
        replaces: None,
        services: services.iter().map(|name| (name.parse().expect("a service"), pools.clone())).collect(),
        version: "1".into(),
        metrics: None,
        sightings: vec![],
        looked_ms: None,
        highest: Default::default(),
        trouble: String::new(),
        patience_ms: 60_000,
    }
}

pub(super) fn admin(act: Act) -> Admin {
    Admin { operation: coordinator::random_id().expect("an id"), by: "me@here".into(), act }
}

pub(super) fn rollout(generation: u64) -> RolloutName {
    format!("php@{generation}").parse().expect("a rollout")
}

pub(super) fn granted(answer: Answer) -> Granted {
    match answer {
        Answer::Granted(granted) => *granted,
        other => panic!("not granted: {other:?}"),
    }
}

pub(super) fn token(granted: &Granted, pool: &str) -> u64 {
    granted.lease.pools[&pool.parse().expect("a pool")]
}
