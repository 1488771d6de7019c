//! Hosts, as light as can be: the coordinator's part of a worker.

use coordinator::Coordinator as _;
use coordinator::mailbox::Mailbox;
use coordinator::remote::Remote;
use coordinator::store::Store;
use lockserver::steward;
use model::lease::Purpose;
use model::request::{Act, Admin, Answer, Ask, Done, Ending, Join, Own, Renew, Settle};
use model::settings::{Setting, Slots};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long a call is held.
pub(crate) const HOLD: Duration = Duration::from_secs(25);

/// A store of a host's own.
pub(crate) fn store(url: &str) -> Arc<dyn Store> {
    coordinator::store::open(url).expect("a URL").expect("a store")
}

/// A client through a store; it sits nowhere.
pub(crate) fn client(store: Arc<dyn Store>) -> Remote {
    Remote::through(Mailbox::new(store).expect("a mailbox"))
}

/// Whoever decides: it sits until it is dropped.
pub(crate) struct Steward {
    pub(crate) client: Remote,
    task: JoinHandle<()>,
}

impl Steward {
    /// Sits, with so many slots in the pool `app`.
    pub(crate) async fn sit(url: &str, slots: u32) -> Steward {
        let mailbox = Mailbox::new(store(url)).expect("a mailbox");
        let attending = steward::attend(Arc::clone(mailbox.store()), mailbox.vacancy(), std::future::pending());
        let steward = Steward { client: Remote::through(mailbox), task: tokio::spawn(attending) };
        let (scope, reason) = ("pool/app".parse().expect("a scope"), "a benchmark".to_owned());
        steward.act(Act::Set { scope, setting: Setting::Slots(Slots::Count(slots)), reason, for_ms: None }).await;
        steward
    }

    pub(crate) async fn act(&self, act: Act) -> Done {
        let operation = coordinator::random_id().expect("an id");
        self.client.admin(&Admin { operation, by: "bench@here".into(), act }).await.expect("an answer")
    }
}

impl Drop for Steward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A host and its client.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) client: Remote,
    turn: u32,
}

impl Host {
    pub(crate) fn new(url: &str, number: usize) -> Host {
        Host::by(store(url), number)
    }

    pub(crate) fn by(store: Arc<dyn Store>, number: usize) -> Host {
        Host { name: format!("h{number:04}"), client: client(store), turn: 0 }
    }

    fn claim(&self) -> model::names::Id {
        format!("{}-{}", self.name, self.turn).parse().expect("an id")
    }

    pub(crate) fn ask_for(&self, purpose: Purpose, patience: Duration) -> Ask {
        Ask {
            holder: self.name.parse().expect("a holder"),
            claim: self.claim(),
            pools: ["app".parse().expect("a pool")].into(),
            purpose,
            wait_ms: Some(3_600_000),
            patience_ms: model::time::millis(patience),
        }
    }

    /// Waits for its turn, and confirms it.
    pub(crate) async fn take_turn(&mut self, purpose: Purpose) {
        self.turn += 1;
        let ask = self.ask_for(purpose, HOLD + Duration::from_secs(5));
        loop {
            match self.client.ask(&ask, HOLD).await {
                Ok(Answer::Granted(_)) if self.renews().await => return,
                Ok(Answer::Granted(_) | Answer::Queued(_)) => {}
                Ok(refused) => panic!("{refused:?}"),
                Err(error) => assert!(error.retryable(), "{error}"),
            }
        }
    }

    async fn renews(&self) -> bool {
        let (holder, claim) = (self.name.parse().expect("a holder"), self.claim());
        let renew = Renew { holder, claim, step: None, note: String::new() };
        loop {
            match tokio::time::timeout(Duration::from_secs(2), self.client.renew(&renew)).await {
                Ok(Ok(own)) => return matches!(own, Own::Held { .. }),
                Ok(Err(error)) => assert!(error.retryable(), "{error}"),
                Err(_) => {}
            }
        }
    }

    /// Gives its lease back.
    pub(crate) async fn settle(&self, settle: impl FnOnce(&mut Settle)) {
        let (holder, claim) = (self.name.parse().expect("a holder"), self.claim());
        let mut settled = Settle { holder, claim, ending: Ending::Released, rollout: None, report: None };
        settle(&mut settled);
        while let Err(error) = self.client.settle(&settled).await {
            assert!(error.retryable(), "{error}");
        }
    }

    pub(crate) fn join(&self) -> Join {
        Join {
            host: self.name.parse().expect("a host"),
            session: format!("s-{}", self.name).parse().expect("an id"),
            replaces: None,
            services: [("php".parse().expect("a service"), ["app".parse().expect("a pool")].into())].into(),
            version: "1".into(),
            metrics: None,
            sightings: vec![],
            looked_ms: None,
            highest: Default::default(),
            trouble: String::new(),
            patience_ms: 60_000,
        }
    }
}
