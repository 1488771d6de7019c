//! The coordinator as commands see it: every list whole, every change sent until it is answered, every error with its place.
//!
//! Owns paging and the repeating of a person's change under one operation id. Decides nothing about leases.

use super::failure::Failure;
use super::render::text::clean;
use super::seat::Seats;
use coordinator::remote::Remote;
use coordinator::{Coordinator as _, Error};
use model::history::Entry;
use model::names::{RolloutName, Scope};
use model::read::{Leases, MemberRow, Page, PauseRow, PoolRow, RolloutDetail, RolloutRow, Selection};
use model::request::{Act, Admin, Done, for_nobody, replayed};
use model::why::Why;
use std::time::Duration;
use tokio::time::Instant;

/// How often a change is sent that nobody answered.
const TRIES_MAX: u32 = 5;
/// The pause before it is sent again; it doubles.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause while a coordinator that does not answer is waited for.
const AWAY_PAUSE_MAX: Duration = Duration::from_secs(2);
/// Most pages of one list: a bound on a server that never ends one.
const PAGES_MAX: usize = 1000;

/// A client of one coordinator.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    inner: Remote,
}

impl Client {
    /// A client of the coordinator at this URL. Connects when something is asked, not before.
    ///
    /// # Errors
    /// The URL is none.
    pub(crate) fn new(url: &str, seats: &Seats) -> Result<Client, Failure> {
        let inner = seats.reach(url).map_err(|error| Failure::usage(error.to_string(), ""))?;
        Ok(Client { inner })
    }

    /// A client of the coordinator at just this URL, also when the domain was moved elsewhere.
    ///
    /// # Errors
    /// The URL is none.
    pub(crate) fn here(url: &str, seats: &Seats) -> Result<Client, Failure> {
        let inner = seats.reach_here(url).map_err(|error| Failure::usage(error.to_string(), "stagger move --help"))?;
        Ok(Client { inner })
    }

    /// The coordinator's URL, as it is shown.
    pub(crate) fn url(&self) -> String {
        self.inner.url()
    }

    /// The bare coordinator, for what is asked again and again.
    pub(crate) fn coordinator(&self) -> &Remote {
        &self.inner
    }

    /// An error of the coordinator's, with what was asked of whom.
    pub(crate) fn failure(&self, doing: &str, source: Error) -> Failure {
        Failure::Coordinator { doing: doing.to_owned(), url: self.url(), source }
    }

    /// Waits until the coordinator answers, and says once that it does not. Changes nothing.
    ///
    /// # Errors
    /// It does not answer within `patience`; or what answers is no coordinator.
    pub(crate) async fn until_it_answers(&self, doing: &str, patience: Duration) -> Result<(), Failure> {
        let ends = Instant::now() + patience;
        let mut pause = PAUSE;
        let mut is_told = false;
        loop {
            let error = match self.inner.pauses().await {
                Ok(_) => return Ok(()),
                Err(error) if error.retryable() && Instant::now() + pause < ends => error,
                Err(error) => return Err(self.failure(doing, error)),
            };
            if !is_told {
                is_told = true;
                super::out::note(&self.silence(patience, &error));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AWAY_PAUSE_MAX);
        }
    }

    /// What is said, once, of a coordinator that does not answer and is asked again for so long.
    pub(crate) fn silence(&self, patience: Duration, error: &Error) -> String {
        let patience = model::settings::span(model::time::millis(patience));
        clean(&format!("no answer from {}, which is asked again for {patience}: {error}", self.url()))
    }

    /// The leases and the queue within a scope.
    pub(crate) async fn leases(&self, scope: Option<Scope>) -> Result<Leases, Failure> {
        let select = Selection { scope, ..Selection::default() };
        self.inner.leases(&select).await.map_err(|error| self.failure("read the leases", error))
    }

    /// Every pool within a scope.
    pub(crate) async fn pools(&self, scope: Option<Scope>) -> Result<Vec<PoolRow>, Failure> {
        self.whole(scope, "read the pools", async |select| self.inner.pools(&select).await).await
    }

    /// Every member within a scope.
    pub(crate) async fn members(&self, scope: Option<Scope>) -> Result<Vec<MemberRow>, Failure> {
        self.whole(scope, "read the members", async |select| self.inner.members(&select).await).await
    }

    async fn whole<T>(
        &self,
        scope: Option<Scope>,
        doing: &str,
        read: impl AsyncFn(Selection) -> coordinator::Result<Page<T>>,
    ) -> Result<Vec<T>, Failure> {
        let mut rows = Vec::new();
        let mut after = None;
        for _ in 0..PAGES_MAX {
            let select = Selection { scope: scope.clone(), after, limit: None };
            let page = read(select).await.map_err(|error| self.failure(doing, error))?;
            rows.extend(page.rows);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(rows)
    }

    /// Every pause.
    pub(crate) async fn pauses(&self) -> Result<Vec<PauseRow>, Failure> {
        self.inner.pauses().await.map_err(|error| self.failure("read the pauses", error))
    }

    /// The rollouts within a scope, the newest first.
    pub(crate) async fn rollouts(&self, scope: Option<Scope>) -> Result<Vec<RolloutRow>, Failure> {
        let select = Selection { scope, ..Selection::default() };
        self.inner.rollouts(&select).await.map_err(|error| self.failure("read the rollouts", error))
    }

    /// One rollout with every host's report.
    ///
    /// # Errors
    /// There is none of this name; or the coordinator does not answer.
    pub(crate) async fn rollout(&self, name: &RolloutName) -> Result<RolloutDetail, Failure> {
        let read = self.inner.rollout(name).await.map_err(|error| self.failure("read the rollout", error))?;
        read.ok_or_else(|| Failure::Refused { why: format!("there is no {name}"), hint: "stagger rollouts".to_owned() })
    }

    /// The newest history entries within a scope, behind the entry of this number, oldest first.
    pub(crate) async fn history(
        &self,
        scope: Option<Scope>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Entry>, Failure> {
        let select = Selection { scope, after: after.map(|number| number.to_string()), limit: Some(limit) };
        let page = self.inner.history(&select).await.map_err(|error| self.failure("read the history", error))?;
        Ok(page.rows)
    }

    /// Why something waits.
    pub(crate) async fn why(&self, scope: &Scope) -> Result<Why, Failure> {
        self.inner.why(scope).await.map_err(|error| self.failure("ask why", error))
    }

    /// Carries out a person's change, once, however often it has to be sent.
    ///
    /// # Errors
    /// The coordinator cannot be reached, or nobody knows whether it was done.
    pub(crate) async fn admin(&self, doing: &str, act: Act) -> Result<Done, Failure> {
        let operation = coordinator::random_id().map_err(|error| self.failure(doing, error))?;
        let admin = Admin { operation, by: super::context::actor(), act };
        let mut pause = PAUSE;
        for _ in 1..TRIES_MAX {
            match self.inner.admin(&admin).await {
                // It may have been done: the same operation again is done once. What was certainly not done is a person's
                // to repeat.
                Err(Error::Unknown { .. }) => tokio::time::sleep(pause).await,
                other => return other.map_err(|error| self.failure(doing, error)),
            }
            pause *= 2;
        }
        self.inner.admin(&admin).await.map_err(|error| self.failure(doing, error))
    }
}

/// What was done, in a sentence; the refusals as failures.
///
/// # Errors
/// The change was refused.
pub(crate) fn did(done: Done) -> Result<String, Failure> {
    match done {
        Done::Did { what } => Ok(what),
        Done::Announced { rollout, targets } => Ok(format!("{rollout} announced for {targets} hosts")),
        Done::Refused { why, hint } => Err(Failure::Refused { why, hint }),
        Done::Replayed { operation } => {
            Err(Failure::Refused { why: replayed(&operation), hint: "look at it: stagger history".to_owned() })
        }
        Done::ForNobody { service, only } => {
            Err(Failure::Refused { why: for_nobody(&service, &only), hint: "who has what: stagger members".to_owned() })
        }
        Done::UnderWay { rollout, state, by, since_ms, message } => Err(Failure::Refused {
            why: format!(
                "{rollout} is under way ({state}), announced by {by} {} ago: {message}",
                super::render::text::age(since_ms)
            ),
            hint: format!("watch it: stagger rollouts {rollout} --follow; take its place: --supersede"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::fixture::{nobody, serve};
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::get;
    use model::rollout::RolloutState;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn a_coordinator_that_is_away_is_waited_for_and_another_server_is_not() {
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let answer = async move || match count.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => {
                (StatusCode::SERVICE_UNAVAILABLE, r#"{"type": "stopping", "kind": "stopping", "value": "it stops"}"#)
            }
            _ => (StatusCode::OK, "[]"),
        };
        let server = serve(Router::new().route("/v1/pauses", get(answer))).await;
        let client = Client::new(&server.url, &Seats::default()).expect("a client");
        client.until_it_answers("announce", crate::probe::fixture::DEADLINE).await.expect("it answers");
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        let client = Client::new(&format!("http://{}", nobody().await), &Seats::default()).expect("a client");
        let patience = Duration::from_millis(300);
        let failure = client.until_it_answers("announce", patience).await.expect_err("nobody is there");
        assert_eq!(failure.exit_code(), 2);
        let server = serve(Router::new()).await;
        let client = Client::new(&server.url, &Seats::default()).expect("a client");
        let failure = client.until_it_answers("announce", Duration::from_secs(600)).await.expect_err("another server");
        let expected = format!(
            "error: cannot announce: {}: the answer makes no sense: status 404, and nothing else\nhint: is that a lock server, and of this version?",
            server.url
        );
        assert_eq!(failure.render(), expected);
    }

    #[test]
    fn a_second_deployer_is_told_who_deploys_since_when_and_why() {
        let under_way = Done::UnderWay {
            rollout: "php-fpm@42".parse().expect("a rollout"),
            state: RolloutState::Rolling,
            by: "deploy@deploy1".to_owned(),
            since_ms: 101_000,
            message: "wmf.12 to group1".to_owned(),
        };
        let failure = did(under_way).expect_err("refused");
        assert_eq!(failure.exit_code(), 1);
        let expected = "error: php-fpm@42 is under way (rolling), announced by deploy@deploy1 101s ago: wmf.12 to group1\n\
                        hint: watch it: stagger rollouts php-fpm@42 --follow; take its place: --supersede";
        assert_eq!(failure.render(), expected);
        assert_eq!(did(Done::Did { what: "done".to_owned() }).expect("done"), "done");
    }
}
