//! How requests travel over HTTP: bodies, paths and limits. Refusals are [`crate::refusal`]'s.
//!
//! Owns what both ends must agree on. Sends and serves nothing: the client is [`crate::remote`], the server another crate.

use crate::store::MESSAGE_BYTES_MAX;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use model::names::{Holder, Id, RolloutName, Scope};
use model::passage::Passage;
use model::request::{Act, Admin, Announce, Ask, Join};
use model::settings::{Override, PoolRules, Setting, SettingKind};
use model::state::Stored;
use model::time::Time;
use serde::{Deserialize, Serialize};
use std::io::{Read as _, Write as _};

/// Longest body of a request, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// About how many bytes of records travel at once when a domain moves; one record alone may be longer.
pub const LUGGAGE_BYTES: usize = 256 * 1024;
/// Longest body of a step of a domain's passage, in bytes.
pub const MOVE_BYTES_MAX: usize = 768 * 1024;
/// Longest answer that comes through a store, in bytes, once it is unpacked.
pub const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// From how many bytes on an answer through a store is compressed.
const PACKED_FROM: usize = 16 * 1024;
/// What gzip begins with, and JSON never does (RFC 1952, 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Longest time that a call is held open, in milliseconds.
pub const HOLD_MS_MAX: u64 = 60_000;
/// The one domain of a lock server that keeps its own state.
pub const DOMAIN: &str = "default";
/// The header that says which event a watcher saw last.
pub const LAST_EVENT_ID: &str = "last-event-id";
/// The event that says: some are gone, read again.
pub const EVENT_RESET: &str = "reset";

/// The body of an ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskBody {
    /// The ask.
    #[serde(flatten)]
    pub ask: Ask,
    /// How long the answer may take, in milliseconds.
    #[serde(default)]
    pub hold_ms: u64,
}

/// The body of a join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinBody {
    /// The join.
    #[serde(flatten)]
    pub join: Join,
    /// The rollouts that the worker knows itself to owe; the answer waits for others. It comes at once when not said.
    #[serde(default)]
    pub seen: Option<Vec<RolloutName>>,
    /// How long the answer may take, in milliseconds.
    #[serde(default)]
    pub hold_ms: u64,
}

/// The body of a person's change: who, under which operation, and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<T> {
    /// A random name for the change: sent again, it happens once.
    pub operation: Id,
    /// Who.
    pub by: String,
    /// What.
    #[serde(flatten)]
    pub what: T,
}

/// The rest of an abort's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Why.
    pub reason: String,
}

/// The rest of a pause's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseBody {
    /// Why.
    pub reason: String,
    /// For how long, in milliseconds.
    pub for_ms: u64,
}

/// The rest of a resume's body: nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {}

/// The rest of a release's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseBody {
    /// Why.
    pub reason: String,
    /// Even when it is still renewed.
    #[serde(default)]
    pub live: bool,
    /// And removes the host: it is gone for good.
    #[serde(default)]
    pub forget: bool,
}

/// The rest of the body that changes a setting: one of `set` and `unset`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingBody {
    /// Why.
    pub reason: String,
    /// The setting's new value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Setting>,
    /// The setting that goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unset: Option<SettingKind>,
    /// For how long, in milliseconds; for good when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

/// What was set for a scope, and for a pool what holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsView {
    /// What it is about.
    pub scope: Scope,
    /// What was changed for just this scope.
    pub overrides: Vec<Override>,
    /// What holds, when it is a pool.
    pub rules: Option<PoolRules>,
}

/// One call that carries out a person's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// How.
    pub method: http::Method,
    /// Where, below the version.
    pub path: String,
    /// What.
    pub body: serde_json::Value,
}

impl Call {
    /// The call for a change.
    ///
    /// # Errors
    /// The change cannot be written as JSON; none is known that cannot.
    pub fn of(admin: &Admin) -> serde_json::Result<Call> {
        use http::Method as M;
        fn body<T: Serialize>(admin: &Admin, what: T) -> serde_json::Result<serde_json::Value> {
            serde_json::to_value(Signed { operation: admin.operation.clone(), by: admin.by.clone(), what })
        }
        let call = |method, path: String, body| Call { method, path, body };
        Ok(match &admin.act {
            Act::Announce(what) => call(M::POST, "rollouts".to_owned(), body::<&Announce>(admin, what)?),
            Act::Abort { rollout, reason } => {
                let path = format!("rollouts/{}/{}/abort", rollout.service, rollout.generation);
                call(M::POST, path, body(admin, Reason { reason: reason.clone() })?)
            }
            Act::Pause { scope, reason, for_ms } => {
                let what = PauseBody { reason: reason.clone(), for_ms: *for_ms };
                call(M::PUT, format!("pauses/{scope}"), body(admin, what)?)
            }
            Act::Resume { scope } => call(M::DELETE, format!("pauses/{scope}"), body(admin, Nothing {})?),
            Act::Release { holder, reason, live, forget } => {
                let what = ReleaseBody { reason: reason.clone(), live: *live, forget: *forget };
                call(M::DELETE, lease_path(holder), body(admin, what)?)
            }
            Act::Set { scope, setting, reason, for_ms } => {
                let (set, reason) = (Some(*setting), reason.clone());
                let what = SettingBody { reason, set, unset: None, for_ms: *for_ms };
                call(M::PATCH, format!("settings/{scope}"), body(admin, what)?)
            }
            Act::Unset { scope, kind, reason } => {
                let what = SettingBody { reason: reason.clone(), set: None, unset: Some(*kind), for_ms: None };
                call(M::PATCH, format!("settings/{scope}"), body(admin, what)?)
            }
        })
    }
}

/// Which domain answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainView {
    /// Its random name, when its records lie in a store that several doors may be over; a lock server with records of its own
    /// has none.
    pub name: Option<Id>,
}

/// How far a domain's passage is, as one of its ends knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassageView {
    /// The one that is under way, or was last.
    pub passage: Option<Passage>,
    /// How many records go along.
    pub records: u64,
    /// Whether there is nothing but what a lock server's file says: then a domain may come here.
    #[serde(default)]
    pub fresh: bool,
    /// The domain's clock.
    pub time: Time,
}

/// Some records of a domain that is shut, for its passage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Luggage {
    /// They.
    pub records: Vec<Stored>,
    /// What `after` gives the next ones; none when these are the last.
    pub next: Option<String>,
}

/// A call as it is posted through a store: what would be an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// `GET`, `PUT` and so on.
    pub method: String,
    /// The path and the query: `/v1/leases?limit=1`.
    pub path: String,
    /// How long the answer may take, in milliseconds.
    pub hold_ms: u64,
    /// The address of whoever asked a door for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The body; null when there is none.
    pub body: serde_json::Value,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The status, as HTTP has it.
    pub status: u16,
    /// The body.
    pub body: serde_json::Value,
    /// Whether the body is plain text, and here a JSON text of it: events, and metrics.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_text: bool,
}

impl Answered {
    /// No answer: whoever would have given it gets up, and the call is to be posted again. No server has this status.
    const SEAT_EMPTY: u16 = 0;

    /// What a few callers are told by a steward that gets up: that one of them may sit.
    pub fn seat_is_empty() -> Answered {
        Answered { status: Answered::SEAT_EMPTY, body: serde_json::Value::Null, is_text: false }
    }

    /// The body as it is sent over HTTP.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn bytes(self) -> serde_json::Result<Vec<u8>> {
        match self.body {
            serde_json::Value::String(text) if self.is_text => Ok(text.into_bytes()),
            body => serde_json::to_vec(&body),
        }
    }

    /// As it is sent through a store: JSON, compressed by gzip when it is long.
    ///
    /// # Errors
    /// It is longer than a store takes ([`MESSAGE_BYTES_MAX`]).
    pub fn pack(&self) -> std::io::Result<Vec<u8>> {
        let text = serde_json::to_vec(self)?;
        let packed = match text.len() {
            0..PACKED_FROM => text,
            _ => {
                let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
                gzip.write_all(&text)?;
                gzip.finish()?
            }
        };
        if packed.len() > MESSAGE_BYTES_MAX {
            let why = format!("the answer is longer than {MESSAGE_BYTES_MAX} bytes; ask for fewer rows");
            return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, why));
        }
        Ok(packed)
    }

    /// Reads what was packed.
    ///
    /// # Errors
    /// It makes no sense, or is longer than [`ANSWER_BYTES_MAX`].
    pub fn unpack(packed: &[u8]) -> std::io::Result<Answered> {
        if !packed.starts_with(&GZIP_MAGIC) {
            return Ok(serde_json::from_slice(packed)?);
        }
        let mut text = Vec::new();
        GzDecoder::new(packed).take(ANSWER_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
        match text.len() {
            0..=ANSWER_BYTES_MAX => Ok(serde_json::from_slice(&text)?),
            _ => Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "the answer is too long")),
        }
    }

    /// Whether it is that.
    pub fn is_seat_empty(&self) -> bool {
        self.status == Answered::SEAT_EMPTY
    }
}

/// Where a holder's lease is, below the version.
pub fn lease_path(holder: &Holder) -> String {
    format!("leases/{holder}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::request::{Ending, Settle};
    use model::rollout::{Outcome, Report, Timing};
    use model::sequence::Step;

    #[test]
    fn answers_through_a_store_are_packed_when_they_are_long() {
        let answered = |body: &str| Answered { status: 200, body: body.into(), is_text: true };
        let short = answered("short").pack().expect("packed");
        assert_eq!(short, serde_json::to_vec(&answered("short")).expect("JSON"));
        let rows = "a row like the others, \"quoted\"\n".repeat(200_000);
        let long = answered(&rows).pack().expect("packed");
        assert!(long.len() < rows.len() / 20, "{} bytes of {}", long.len(), rows.len());
        for (packed, body) in [(short, "short"), (long.clone(), rows.as_str())] {
            assert_eq!(Answered::unpack(&packed).expect("read"), answered(body));
        }
        assert!(Answered::unpack(&long[..long.len() / 2]).is_err(), "a part is no answer");
        assert!(Answered::unpack(b"\x1f\x8bnonsense").is_err());
    }

    #[test]
    fn an_answer_that_no_store_takes_is_refused_and_one_that_swells_is_not_read() {
        // xorshift, so that nothing can be made shorter.
        let mut at = 1_u64;
        let noise: String = std::iter::repeat_with(|| {
            at ^= at << 13;
            at ^= at >> 7;
            at ^= at << 17;
            format!("{at:016x}")
        })
        .take(200_000)
        .collect();
        let refused = Answered { status: 200, body: noise.into(), is_text: true }.pack().expect_err("too long");
        assert!(refused.to_string().contains("ask for fewer rows"), "{refused}");
        let bomb = Answered { status: 200, body: " ".repeat(ANSWER_BYTES_MAX).into(), is_text: true };
        assert!(Answered::unpack(&bomb.pack().expect("packed")).is_err());
    }

    #[test]
    fn the_longest_report_fits_whatever_it_holds() {
        let longest: String = "a".repeat(model::names::NAME_BYTES_MAX);
        for letter in ["\u{1}", "\"", "\n", "x", "é", "\u{1F600}"] {
            let text = letter.repeat(100_000);
            let timing = Timing { step: Step::Restart, ms: u64::MAX, ok: false, note: text.clone() };
            let report = Report {
                step: Some(Step::Restart),
                cause: text.clone(),
                output: text.clone(),
                out_of: vec![text.clone(); 100],
                timings: vec![timing; 100],
                ..Report::plain(Outcome::Restarted)
            };
            let settle = Settle {
                holder: longest.parse().expect("a holder"),
                claim: longest.parse().expect("an id"),
                ending: Ending::FailedReleased,
                rollout: format!("{longest}@{}", u64::MAX).parse().ok(),
                report: Some(report.bounded()),
            };
            let bytes = serde_json::to_vec(&settle).expect("JSON").len();
            assert!(bytes <= BODY_BYTES_MAX, "{letter:?}: {bytes}");
        }
    }
}
