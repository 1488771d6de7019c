//! Whether a request may be carried out: who asks, and what it may. Pure.
//!
//! Owns the reasons for a no, and their sentences. What a request needs is [`routes`](super::routes)'; who is known, [`tokens`](super::tokens)'.

use super::bearer::Bearer;
use super::routes::{Need, Whose};
use super::tokens::{Role, Token, TokenState, Tokens};
use coordinator::refusal::kind;
use jiff::Timestamp;
use model::names::Holder;
use serde_json::Value;

/// Every reason for a no: what the metrics count by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// No token came.
    NoToken,
    /// What came is no token.
    Malformed,
    /// Nobody has this token.
    Unknown,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
    /// Its role may not.
    Role,
    /// It is bound to another host.
    Host,
    /// The client comes from a network that is not let in.
    Network,
    /// Too many requests.
    Requests,
    /// Too many connections.
    Connections,
    /// The client has no certificate of the authority's, or none at all.
    Certificate,
    /// No encrypted connection came about, or not in time.
    Handshake,
}

impl Reason {
    /// All of them.
    pub(super) const ALL: [Reason; 12] = [
        Reason::NoToken,
        Reason::Malformed,
        Reason::Unknown,
        Reason::Expired,
        Reason::Revoked,
        Reason::Role,
        Reason::Host,
        Reason::Network,
        Reason::Requests,
        Reason::Connections,
        Reason::Certificate,
        Reason::Handshake,
    ];

    /// The word in metrics and in the log.
    pub(super) fn word(self) -> &'static str {
        match self {
            Reason::NoToken => "no_token",
            Reason::Malformed => "malformed",
            Reason::Unknown => "unknown",
            Reason::Expired => "expired",
            Reason::Revoked => "revoked",
            Reason::Role => "role",
            Reason::Host => "host",
            Reason::Network => "network",
            Reason::Requests => "requests",
            Reason::Connections => "connections",
            Reason::Certificate => "certificate",
            Reason::Handshake => "handshake",
        }
    }

    /// The kind of the refusal, which has its status.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Reason::NoToken | Reason::Malformed | Reason::Unknown | Reason::Expired | Reason::Revoked => {
                kind::UNAUTHORIZED
            }
            Reason::Requests | Reason::Connections => kind::LIMITED,
            Reason::Role | Reason::Host | Reason::Network | Reason::Certificate | Reason::Handshake => kind::FORBIDDEN,
        }
    }
}

/// A no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    /// The name of the token, where one is known.
    pub(super) token: Option<String>,
    /// The reason in a sentence, for whoever asked.
    pub(super) value: String,
    /// After how many seconds it is worth asking again, where it is.
    pub(super) retry_after_s: Option<u64>,
}

impl Refusal {
    pub(super) fn new(reason: Reason, token: Option<&Token>, value: impl Into<String>) -> Refusal {
        Refusal { reason, token: token.map(|token| token.name.to_string()), value: value.into(), retry_after_s: None }
    }

    /// From an address that is not let in.
    pub(super) fn network() -> Refusal {
        Refusal::new(Reason::Network, None, "clients of this address are not let in here")
    }

    /// Too often, by an address or a token.
    pub(super) fn requests(who: &str, token: Option<&Token>, wait_ms: u64) -> Refusal {
        let value = format!("too many requests by one {who}; ask again after a moment");
        Refusal { retry_after_s: Some(wait_ms.div_ceil(1_000).max(1)), ..Refusal::new(Reason::Requests, token, value) }
    }

    /// Over too many connections.
    pub(super) fn connections() -> Refusal {
        let value = "too many connections from one address; close some";
        Refusal { retry_after_s: Some(1), ..Refusal::new(Reason::Connections, None, value) }
    }
}

/// Who asks. A token goes before a certificate, which stands for one.
///
/// # Errors
/// Nobody who is known, or counts.
pub(super) fn who<'t>(
    tokens: &'t Tokens,
    bearer: &Bearer,
    certificate: &[String],
    now: Timestamp,
) -> Result<&'t Token, Refusal> {
    let token = match bearer {
        Bearer::Token(secret) => tokens.of_secret(secret),
        Bearer::Unreadable => {
            return Err(Refusal::new(
                Reason::Malformed,
                None,
                "the header authorization is: Bearer, and a token of this lock server",
            ));
        }
        Bearer::Nothing => match tokens.of_certificate(certificate) {
            Some(token) => Some(token),
            None => return Err(Refusal::new(Reason::NoToken, None, "this lock server wants a token")),
        },
    };
    let Some(token) = token else {
        return Err(Refusal::new(Reason::Unknown, None, "this lock server does not know the token"));
    };
    let over = |reason, what: &str| Err(Refusal::new(reason, Some(token), format!("the token {} {what}", token.name)));
    match token.state(now) {
        TokenState::Valid => Ok(token),
        TokenState::Expired => over(Reason::Expired, "has expired"),
        TokenState::Revoked => over(Reason::Revoked, "was revoked"),
    }
}

/// Whether a token's role may do something. For [`Need::End`] what the body says may still ask for more.
///
/// # Errors
/// It may not.
pub(super) fn may(token: &Token, need: Need) -> Result<(), Refusal> {
    if need.is_met_by(token.role) {
        return Ok(());
    }
    Err(wants(token, need.role()))
}

fn wants(token: &Token, role: Role) -> Refusal {
    let value = format!("this takes the role {role}, and the token {} has {}", token.name, token.role);
    Refusal::new(Reason::Role, Some(token), value)
}

/// Whether the body has to be read before it is known what a token may.
pub(super) fn wants_body(token: &Token, need: Need) -> bool {
    let is_bound = token.host.is_some();
    match need {
        Need::Work(Whose::Path | Whose::Host) => false,
        Need::Work(_) => is_bound,
        // Without a claim it is a release, which is not a worker's.
        Need::End => token.role != Role::Admin,
        Need::Nothing | Need::Figures | Need::Read | Need::Deploy | Need::Admin => false,
    }
}

/// Whether a worker's token may act for whom the request acts. `path` is the first variable part of the path; `body` is what
/// [`wants_body`] had read, and nothing else.
///
/// # Errors
/// It may not.
pub(super) fn may_for(token: &Token, need: Need, path: Option<&str>, body: &Value) -> Result<(), Refusal> {
    // A member, and whoever reports for a rollout, is a host itself: under the names of its commands it could be many.
    let mut is_itself = false;
    let named = match need {
        Need::Work(Whose::Path) => path,
        Need::Work(Whose::Host) => {
            is_itself = true;
            path
        }
        Need::End if token.role != Role::Admin && body.get("claim").is_none() => {
            return Err(wants(token, Role::Admin));
        }
        Need::End => {
            is_itself = ["rollout", "report"].iter().any(|part| body.get(part).is_some_and(|part| !part.is_null()));
            path
        }
        Need::Work(Whose::Ask) => text(body, &["holder"]),
        Need::Work(Whose::Quiet) => text(body, &["waiter", "holder"]).or_else(|| {
            is_itself = true;
            text(body, &["member", "host"])
        }),
        Need::Work(Whose::FleetLock) => text(body, &["client_params", "id"]),
        Need::Nothing | Need::Figures | Need::Read | Need::Deploy | Need::Admin => return Ok(()),
    };
    let Some(host) = &token.host else { return Ok(()) };
    let holder: Option<Holder> = named.and_then(|name| name.parse().ok());
    if holder
        .is_some_and(|holder| if is_itself { holder.as_str() == host.as_str() } else { token.may_act_for(&holder) })
    {
        return Ok(());
    }
    let value = match is_itself {
        true => format!("the token {} is {host}'s, and of nobody else", token.name),
        false => format!("the token {} acts for {host} and run-PID.{host}, and for nobody else", token.name),
    };
    Err(Refusal::new(Reason::Host, Some(token), value))
}

fn text<'b>(body: &'b Value, path: &[&str]) -> Option<&'b str> {
    path.iter().try_fold(body, |body, part| body.get(part))?.as_str()
}

/// Who acts, as the history has it: the token; and behind it who its user says to be, when that is somebody else.
pub(super) fn signature(token: &str, said: &str) -> String {
    let said = said.trim();
    // What came through another door has been signed there.
    let whole = match said.strip_prefix(token) {
        Some("") => token.to_owned(),
        Some(rest) if rest.starts_with(FOR) => said.to_owned(),
        _ if said.is_empty() => token.to_owned(),
        _ => format!("{token}{FOR}{said}"),
    };
    model::bound::beginning(&whole, model::lease::TEXT_BYTES_MAX)
}

/// Between a token and who its user says to be.
const FOR: &str = " for ";

#[cfg(test)]
mod tests {
    use super::super::secret::Secret;
    use super::super::tokens::tests::token;
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a moment")
    }

    #[test]
    fn who_asks_is_known_or_refused_with_the_reason() {
        let secrets: Vec<_> = (0..4).map(|_| Secret::random().expect("a token")).collect();
        let expired = Token { expires: Some(at(5)), ..token("old", Role::Admin, &secrets[1]) };
        let revoked = Token { revoked: Some(at(5)), ..token("gone", Role::Admin, &secrets[2]) };
        let proof = super::super::tokens::Proof::Certificate("ops.example".parse().expect("a name"));
        let certified = Token { proof, ..token("ops", Role::Deploy, &secrets[3]) };
        let tokens =
            Tokens::of(vec![token("good", Role::Read, &secrets[0]), expired, revoked, certified]).expect("tokens");
        let ask = |bearer: Bearer, names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            who(&tokens, &bearer, &names, at(10))
                .map(|token| token.name.to_string())
                .map_err(|no| (no.reason, no.token))
        };
        let by = |secret: &Secret| Bearer::Token(secret.clone());
        assert_eq!(ask(by(&secrets[0]), &[]), Ok("good".to_owned()));
        assert_eq!(ask(by(&secrets[0]), &["ops.example"]), Ok("good".to_owned()), "a token goes before a certificate");
        assert_eq!(ask(Bearer::Nothing, &["ops.example"]), Ok("ops".to_owned()));
        assert_eq!(ask(by(&secrets[1]), &[]), Err((Reason::Expired, Some("old".to_owned()))));
        assert_eq!(ask(by(&secrets[2]), &["ops.example"]), Err((Reason::Revoked, Some("gone".to_owned()))));
        assert_eq!(ask(by(&secrets[3]), &[]), Err((Reason::Unknown, None)), "a certificate's has no text");
        assert_eq!(ask(Bearer::Nothing, &["other"]), Err((Reason::NoToken, None)));
        assert_eq!(ask(Bearer::Unreadable, &["ops.example"]), Err((Reason::Malformed, None)));
    }

    #[test]
    fn a_bound_worker_acts_for_its_host_wherever_that_is_said() {
        let secret = Secret::random().expect("a token");
        let bound = Token { host: Some("mw1".parse().expect("a host")), ..token("w", Role::Worker, &secret) };
        let (free, admin) = (token("f", Role::Worker, &secret), token("a", Role::Admin, &secret));
        let asks = |token: &Token, need, path: &str, body: Value| {
            let body = if wants_body(token, need) { body } else { Value::Null };
            may(token, need).and_then(|()| may_for(token, need, Some(path), &body)).map_err(|no| no.reason)
        };
        let bodies = |name: &str| {
            [
                (Need::Work(Whose::Path), json!({})),
                (Need::Work(Whose::Host), json!({})),
                (Need::End, json!({ "claim": "c" })),
                (Need::End, json!({ "claim": "c", "rollout": "php@1", "report": { "outcome": "restarted" } })),
                (Need::Work(Whose::Ask), json!({ "holder": name })),
                (Need::Work(Whose::Quiet), json!({ "waiter": { "holder": name } })),
                (Need::Work(Whose::Quiet), json!({ "member": { "host": name } })),
                (Need::Work(Whose::FleetLock), json!({ "client_params": { "id": name, "group": "g" } })),
            ]
        };
        for (need, body) in bodies("mw1") {
            assert_eq!(asks(&bound, need, "mw1", body), Ok(()), "{need:?}");
        }
        for (need, body) in bodies("mw2") {
            assert_eq!(asks(&bound, need, "mw2", body.clone()), Err(Reason::Host), "{need:?}");
            assert_eq!(asks(&free, need, "mw2", body.clone()), Ok(()), "{need:?}");
            assert_eq!(asks(&admin, need, "mw2", body), Ok(()), "{need:?}");
        }
        for nobody in [json!({}), json!([]), json!({ "holder": 7 }), json!({ "holder": "a b" })] {
            assert_eq!(asks(&bound, Need::Work(Whose::Ask), "mw1", nobody), Err(Reason::Host));
        }
        // Its commands hold leases; they are no members, and report for no rollout.
        let command = "run-7.mw1";
        for (at, (need, body)) in bodies(command).into_iter().enumerate() {
            let wanted = if [1, 3, 6].contains(&at) { Err(Reason::Host) } else { Ok(()) };
            assert_eq!(asks(&bound, need, command, body), wanted, "{need:?}");
        }
        // A release by a person is none of a worker's acts, not even for its own host.
        assert_eq!(asks(&bound, Need::End, "mw1", json!({ "reason": "r" })), Err(Reason::Role));
        assert_eq!(asks(&free, Need::End, "mw1", json!({ "reason": "r" })), Err(Reason::Role));
        assert_eq!(asks(&admin, Need::End, "mw1", json!({ "reason": "r" })), Ok(()));
    }

    #[test]
    fn whoever_acts_is_named_by_the_token_once() {
        assert_eq!(signature("deploy1", "ann@ops1"), "deploy1 for ann@ops1");
        assert_eq!(signature("deploy1", "deploy1 for ann@ops1"), "deploy1 for ann@ops1");
        assert_eq!(signature("deploy1", " deploy1 "), "deploy1");
        assert_eq!(signature("deploy1", ""), "deploy1");
        assert_eq!(signature("deploy1", "deploy12"), "deploy1 for deploy12");
        assert!(signature("deploy1", &"x".repeat(10_000)).len() <= model::lease::TEXT_BYTES_MAX);
    }

    #[test]
    fn each_reason_has_a_word_of_its_own_and_a_status() {
        let words: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!((401..=429).contains(&coordinator::refusal::status(reason.kind()).as_u16()), "{reason:?}");
        }
    }
}
