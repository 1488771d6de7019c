//! Requests of the HTTP doors, FleetLock's among them: methods, paths, queries and bodies, one request after the other to one lock server.
//!
//! The bytes are lines of a method, a path and a body, parted by one space each.

use super::round;
use coordinator::refusal::{Problem, kind, status};
use coordinator::wire::{
    Answered, AskBody, JoinBody, Luggage, Nothing, PauseBody, Posted, Reason, ReleaseBody, SettingBody, Signed,
};
use lockserver::seams::Rig;
use model::change::Change;
use model::passage::Move;
use model::request::{Announce, BeginAsk, Quiet, Renew, Settle};
use model::state::{State, Stored};

/// Most requests of one input.
const REQUESTS_MAX: usize = 24;
/// What is asked at the end, whatever was asked before.
pub(crate) const LOOKS: [&str; 10] = [
    "/v1/leases",
    "/v1/pools",
    "/v1/members",
    "/v1/rollouts",
    "/v1/pauses",
    "/v1/history",
    "/v1/why",
    "/v1/move",
    "/v1/records",
    "/metrics",
];

/// Asks one lock server everything, and looks at what it is then.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let rig = Rig::new(Vec::new(), 0).expect("a rig");
    let mut is_moved = false;
    for line in text.lines().take(REQUESTS_MAX) {
        let mut parts = line.splitn(3, ' ');
        let (Some(method), Some(path)) = (parts.next(), parts.next()) else { continue };
        let body = parts.next().unwrap_or_default().as_bytes();
        bodies(body);
        is_moved |= path.contains("/move");
        ask(&rig, method, path, body);
    }
    looks(&rig);
    let records = rig.look(|state, _| {
        let records = records(state);
        // What is brought from elsewhere is taken as it is.
        let rules = model::invariants::OF_STATE.iter().take(if is_moved { 1 } else { usize::MAX });
        for (name, rule) in rules {
            assert_eq!(rule(state), Ok(()), "{name}");
        }
        records
    });
    let again = Rig::new(records.expect("a state"), 0).expect("a rig");
    looks(&again);
}

/// Makes a request. Its answer, when there is one, is no fault of the lock server's own, and a refusal has the one form.
pub(crate) fn ask(rig: &Rig, method: &str, path: &str, body: &[u8]) -> Option<u16> {
    let (said, answer) = rig.ask(method, path, body)?;
    let shown = || String::from_utf8_lossy(&answer);
    assert_ne!(said, 500, "{method} {path}: {}", shown());
    if said >= 400 {
        let problem: Problem = serde_json::from_slice(&answer).unwrap_or_else(|error| panic!("{error}: {}", shown()));
        assert_eq!(status(&problem.kind).as_u16(), said, "{method} {path}: {}", shown());
        assert!(!problem.value.is_empty() && problem.kind != kind::BUG, "{}", shown());
    } else {
        assert_eq!(said, 200, "{method} {path}: {}", shown());
    }
    Some(said)
}

/// Everything can be looked at.
pub(crate) fn looks(rig: &Rig) {
    for path in LOOKS {
        ask(rig, "GET", path, b"");
    }
}

/// The records of a state, each of which reads as it prints, and which together are that state.
pub(crate) fn records(state: &State) -> Vec<Stored> {
    let records = state.records();
    let mut copy = State::default();
    for record in &records {
        let printed = serde_json::to_vec(record).expect("a record can be printed");
        let read: Stored = serde_json::from_slice(&printed).expect("what was printed can be read");
        assert_eq!(*record, read);
        copy.put(read);
    }
    assert_eq!(copy, *state, "the records are the state");
    records
}

/// Every body that a door reads is read as it prints.
fn bodies(body: &[u8]) {
    round::<AskBody>(body);
    round::<JoinBody>(body);
    round::<BeginAsk>(body);
    round::<Renew>(body);
    round::<Settle>(body);
    round::<Quiet>(body);
    round::<Signed<Announce>>(body);
    round::<Signed<Reason>>(body);
    round::<Signed<PauseBody>>(body);
    round::<Signed<Nothing>>(body);
    round::<Signed<ReleaseBody>>(body);
    round::<Signed<SettingBody>>(body);
    round::<Move>(body);
    round::<Luggage>(body);
    round::<Change>(body);
    round::<Posted>(body);
    if let Some(answered) = round::<Answered>(body) {
        let packed = answered.pack().expect("a short one can be packed");
        assert_eq!(Answered::unpack(&packed).expect("unpacked"), answered);
    }
    if let Some(problem) = round::<Problem>(body) {
        status(&problem.kind);
    }
}
