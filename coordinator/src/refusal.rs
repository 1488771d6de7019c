//! The one shape of every refusal over HTTP, its status, and the way back to what the model said.
//!
//! Used by the client and by the server, so that they cannot differ.

use model::request::{Answer, Begin, Done, Holding, Joined, Own, Refusal, RefusalKind, Settled, for_nobody, replayed};
use serde::{Deserialize, Serialize};

/// Every kind of refusal that is not a [`RefusalKind`], with its status.
pub mod kind {
    /// The lease is gone, or another claim has it.
    pub const GONE: &str = "gone";
    /// The rollout no longer wants the restart.
    pub const SUPERSEDED: &str = "superseded";
    /// Another live worker has the name.
    pub const DUPLICATE: &str = "duplicate";
    /// Something stands against a person's change, or a worker's join.
    pub const REFUSED: &str = "refused";
    /// Another rollout is under way.
    pub const UNDER_WAY: &str = "under_way";
    /// Something else was done under this operation's name.
    pub const REPLAYED: &str = "replayed";
    /// Who asks has not said who it is, or nobody knows it (any more).
    pub const UNAUTHORIZED: &str = "unauthorized";
    /// Who asks is known, and may not.
    pub const FORBIDDEN: &str = "forbidden";
    /// Who asks does so too often, or over too many connections.
    pub const LIMITED: &str = "limited";
    /// There is no such record.
    pub const NOT_FOUND: &str = "not_found";
    /// There is no such path, or no such domain.
    pub const NO_PATH: &str = "no_path";
    /// The path exists, but not for this method.
    pub const METHOD: &str = "method";
    /// The body cannot be read.
    pub const MALFORMED: &str = "malformed";
    /// The body is too long.
    pub const TOO_LARGE: &str = "too_large";
    /// The body did not come in time.
    pub const SLOW: &str = "slow";
    /// The server cannot write; nothing was done.
    pub const STORE: &str = "store";
    /// The server's state was restored, and it decides nothing yet; nothing was done.
    pub const SILENT: &str = "silent";
    /// The server is stopping; nothing was done.
    pub const STOPPING: &str = "stopping";
    /// There are too many connections; nothing was done.
    pub const OVERLOADED: &str = "overloaded";
    /// The domain is being moved; nothing was done.
    pub const MOVING: &str = "moving";
    /// The domain was moved to another coordinator; nothing was done.
    pub const MOVED: &str = "moved";
    /// It may have been done, or not.
    pub const UNKNOWN: &str = "unknown";
    /// No slot is free, in the word of the first FleetLock servers.
    pub const SEMAPHORE_FULL: &str = "failed_lock_semaphore_full";
    /// A fault of the server's own.
    pub const BUG: &str = "bug";
}

/// The status that goes with a kind.
pub fn status(kind: &str) -> http::StatusCode {
    use http::StatusCode as S;
    match kind {
        "invalid" | kind::MALFORMED => S::BAD_REQUEST,
        "paused" | kind::SEMAPHORE_FULL => S::LOCKED,
        kind::GONE => S::PRECONDITION_FAILED,
        kind::UNAUTHORIZED => S::UNAUTHORIZED,
        kind::FORBIDDEN => S::FORBIDDEN,
        kind::LIMITED => S::TOO_MANY_REQUESTS,
        kind::NOT_FOUND | kind::NO_PATH => S::NOT_FOUND,
        kind::MOVED => S::GONE,
        kind::METHOD => S::METHOD_NOT_ALLOWED,
        kind::TOO_LARGE => S::PAYLOAD_TOO_LARGE,
        kind::SLOW => S::REQUEST_TIMEOUT,
        kind::STORE | kind::SILENT | kind::STOPPING | kind::OVERLOADED | kind::MOVING | kind::UNKNOWN => {
            S::SERVICE_UNAVAILABLE
        }
        kind::BUG => S::INTERNAL_SERVER_ERROR,
        _ => S::CONFLICT,
    }
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Problem {
    /// Which reason: a [`RefusalKind`], or one of [`kind`].
    pub kind: String,
    /// The reason in a sentence.
    pub value: String,
    /// Who holds what is wanted, the first few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<Holding>,
    /// How many slots there are, where that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// Where that number comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The refused change, whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Done>,
    /// Where the domain is now, as a coordinator's URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The refused join, whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<Joined>,
}

impl Problem {
    /// A reason that needs no more than a sentence.
    pub fn new(kind: &str, value: impl Into<String>) -> Problem {
        Problem { kind: kind.to_owned(), value: value.into(), ..Problem::default() }
    }

    /// The status that goes with it.
    pub fn status(&self) -> http::StatusCode {
        status(&self.kind)
    }

    fn gone() -> Problem {
        Problem::new(kind::GONE, "the lease is gone, or another claim has it")
    }
}

/// An age as people read it, in whole seconds.
fn since(ms: u64) -> String {
    model::settings::span(ms / 1000 * 1000)
}

/// An answer of the model that may be a refusal: what of it is a success, and what a [`Problem`]. Both ways, so that a
/// client gets back what the model said.
pub trait Refusable: Sized {
    /// The answer as a problem, when it is one.
    fn problem(&self) -> Option<Problem>;
    /// The answer that a problem stands for; `None` when it stands for none, and is an error.
    fn of(problem: &Problem) -> Option<Self>;
}

impl Refusable for Answer {
    fn problem(&self) -> Option<Problem> {
        let Answer::Refused(why) = self else { return None };
        let why = why.clone();
        Some(Problem {
            holders: why.holders,
            slots: why.slots,
            source: why.source,
            ..Problem::new(why.kind.word(), why.value)
        })
    }

    fn of(problem: &Problem) -> Option<Answer> {
        let kind: RefusalKind = serde_json::from_value(problem.kind.clone().into()).ok()?;
        let Problem { value, holders, slots, source, .. } = problem.clone();
        Some(Answer::Refused(Refusal { kind, value, holders, slots, source, left_ms: None }))
    }
}

impl Refusable for Begin {
    fn problem(&self) -> Option<Problem> {
        match self {
            Begin::Go { .. } => None,
            Begin::Paused(why) => Some(Problem::new(RefusalKind::Paused.word(), why)),
            Begin::Halted(why) => Some(Problem::new(RefusalKind::Halted.word(), why)),
            Begin::Superseded(why) => Some(Problem::new(kind::SUPERSEDED, why)),
            Begin::Gone => Some(Problem::gone()),
        }
    }

    fn of(problem: &Problem) -> Option<Begin> {
        let why = problem.value.clone();
        match problem.kind.as_str() {
            "paused" => Some(Begin::Paused(why)),
            "halted" => Some(Begin::Halted(why)),
            kind::SUPERSEDED => Some(Begin::Superseded(why)),
            kind::GONE => Some(Begin::Gone),
            _ => None,
        }
    }
}

impl Refusable for Own {
    fn problem(&self) -> Option<Problem> {
        matches!(self, Own::Gone).then(Problem::gone)
    }

    fn of(problem: &Problem) -> Option<Own> {
        (problem.kind == kind::GONE).then_some(Own::Gone)
    }
}

impl Refusable for Settled {
    fn problem(&self) -> Option<Problem> {
        matches!(self, Settled::Gone).then(Problem::gone)
    }

    fn of(problem: &Problem) -> Option<Settled> {
        (problem.kind == kind::GONE).then_some(Settled::Gone)
    }
}

impl Refusable for Joined {
    fn problem(&self) -> Option<Problem> {
        let (kind, value) = match self {
            Joined::Member(_) => return None,
            Joined::Duplicate { since_ms, version } => {
                let since = since(*since_ms);
                (kind::DUPLICATE, format!("another worker of this name is alive, for {since}, version {version}"))
            }
            Joined::Refused { why } => (kind::REFUSED, why.clone()),
        };
        Some(Problem { joined: Some(self.clone()), ..Problem::new(kind, value) })
    }

    fn of(problem: &Problem) -> Option<Joined> {
        problem.joined.clone()
    }
}

impl Refusable for Done {
    fn problem(&self) -> Option<Problem> {
        let (kind, value) = match self {
            Done::Announced { .. } | Done::Did { .. } => return None,
            Done::Refused { why, hint } => (kind::REFUSED, format!("{why}: {hint}")),
            Done::Replayed { operation } => (kind::REPLAYED, replayed(operation)),
            Done::ForNobody { service, only } => (kind::REFUSED, for_nobody(service, only)),
            Done::UnderWay { rollout, state, by, since_ms, message } => {
                let since = since(*since_ms);
                (kind::UNDER_WAY, format!("{rollout} by {by} is {state} since {since}: {message}"))
            }
        };
        Some(Problem { done: Some(self.clone()), ..Problem::new(kind, value) })
    }

    fn of(problem: &Problem) -> Option<Done> {
        problem.done.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::rollout::RolloutState;

    fn there_and_back<T: Refusable + PartialEq + std::fmt::Debug>(answer: &T, status: u16) {
        let problem = answer.problem().expect("a refusal");
        assert_eq!(problem.status().as_u16(), status, "{problem:?}");
        let text = serde_json::to_string(&problem).expect("JSON");
        let back: Problem = serde_json::from_str(&text).expect("a problem");
        assert_eq!(T::of(&back).as_ref(), Some(answer), "{text}");
    }

    #[test]
    fn every_refusal_comes_back_as_the_model_said_it() {
        let refusal = |kind| Refusal {
            kind,
            value: "why".into(),
            holders: vec![],
            slots: Some(2),
            source: Some("set".into()),
            left_ms: None,
        };
        there_and_back(&Answer::Refused(refusal(RefusalKind::Full)), 409);
        there_and_back(&Answer::Refused(refusal(RefusalKind::TimedOut)), 409);
        there_and_back(&Answer::Refused(refusal(RefusalKind::Paused)), 423);
        there_and_back(&Answer::Refused(refusal(RefusalKind::Invalid)), 400);
        there_and_back(&Begin::Paused("p".into()), 423);
        there_and_back(&Begin::Halted("h".into()), 409);
        there_and_back(&Begin::Superseded("s".into()), 409);
        there_and_back(&Begin::Gone, 412);
        there_and_back(&Own::Gone, 412);
        there_and_back(&Settled::Gone, 412);
        there_and_back(&Joined::Duplicate { since_ms: 5, version: "1".into() }, 409);
        there_and_back(&Joined::Refused { why: "w".into() }, 409);
        there_and_back(&Done::Refused { why: "w".into(), hint: "h".into() }, 409);
        there_and_back(&Done::Replayed { operation: "o1".parse().expect("an id") }, 409);
        let for_nobody = |only: &[&str]| Done::ForNobody {
            service: "php".parse().expect("a service"),
            only: only.iter().map(|scope| scope.parse().expect("a scope")).collect(),
        };
        there_and_back(&for_nobody(&[]), 409);
        there_and_back(&for_nobody(&["pool/a", "host/h1"]), 409);
        let value = |done: Done| done.problem().map(|problem| (problem.kind, problem.value)).expect("a refusal");
        assert_eq!(value(for_nobody(&[])), ("refused".into(), "no host has php".into()));
        assert_eq!(value(for_nobody(&["pool/a", "host/h1"])).1, "no host of pool/a, host/h1 has php");
        let under_way = Done::UnderWay {
            rollout: "php@1".parse().expect("a rollout"),
            state: RolloutState::Rolling,
            by: "me".into(),
            since_ms: 61_500,
            message: "m".into(),
        };
        there_and_back(&under_way, 409);
        assert_eq!(
            under_way.problem().map(|problem| problem.value).as_deref(),
            Some("php@1 by me is rolling since 1m1s: m")
        );
    }

    #[test]
    fn successes_are_no_problems_and_problems_of_the_server_are_no_answers() {
        assert_eq!(Begin::Go { generation: None }.problem(), None);
        assert_eq!(Own::Held { ttl_ms: 1 }.problem(), None);
        assert_eq!(Settled::Done.problem(), None);
        assert_eq!(Done::Did { what: "w".into() }.problem(), None);
        for (name, status) in [
            (kind::STORE, 503),
            (kind::STOPPING, 503),
            (kind::OVERLOADED, 503),
            (kind::MOVING, 503),
            (kind::MOVED, 410),
            (kind::UNKNOWN, 503),
            (kind::BUG, 500),
            (kind::MALFORMED, 400),
            (kind::UNAUTHORIZED, 401),
            (kind::FORBIDDEN, 403),
            (kind::LIMITED, 429),
            (kind::NOT_FOUND, 404),
            (kind::NO_PATH, 404),
            (kind::METHOD, 405),
            (kind::SLOW, 408),
            (kind::TOO_LARGE, 413),
        ] {
            let problem = Problem::new(name, "v");
            assert_eq!(problem.status().as_u16(), status);
            assert_eq!(Answer::of(&problem), None);
            assert_eq!(Begin::of(&problem), None);
            assert_eq!(Own::of(&problem), None);
            assert_eq!(Settled::of(&problem), None);
            assert_eq!(Joined::of(&problem), None);
            assert_eq!(Done::of(&problem), None);
        }
    }
}
