//! Records as a store keeps them, one a line: read, put into a state, and the lock server that starts on it.

use super::api::{ask, looks, records};
use super::round;
use lockserver::seams::Rig;
use model::state::{State, Stored};

/// Most records of one input.
const RECORDS_MAX: usize = 64;
/// What is asked of it then, beside everything that can be looked at.
const ASKED: [(&str, &str, &str); 6] = [
    ("POST", "/v1/leases", r#"{"holder":"h","claim":"c","pools":["app"],"purpose":{"run":"x"}}"#),
    ("PUT", "/v1/leases/h", r#"{"claim":"c"}"#),
    ("POST", "/v1/leases/h/begin", r#"{"claim":"c"}"#),
    ("PUT", "/v1/members/h", r#"{"session":"s","services":{"php":["app"]}}"#),
    ("POST", "/v1/rollouts", r#"{"by":"me","service":"php","message":"m","operation":"o"}"#),
    ("DELETE", "/v1/leases/h", r#"{"claim":"c","ending":"released"}"#),
];

/// Starts a lock server on whatever records there are.
pub fn check(bytes: &[u8]) {
    let mut parts = bytes.split(|byte| *byte == b'\n');
    let time_ms = parts.next().and_then(|line| std::str::from_utf8(line).ok()?.parse().ok()).unwrap_or(0);
    let mut state = State::default();
    for record in parts.take(RECORDS_MAX).filter_map(round::<Stored>) {
        let key = record.key();
        state.put(record.clone());
        // A floor of nothing is as good as none.
        let kept = Some(record).filter(|record| *record != Stored::TokenFloor(0));
        assert_eq!(state.record(&key), kept, "{key} is found again");
    }
    let index = model::invariants::the_index_is_what_the_records_say;
    assert_eq!(index(&state), Ok(()));
    let rig = Rig::new(records(&state), time_ms).expect("a rig");
    looks(&rig);
    for (method, path, body) in ASKED {
        ask(&rig, method, path, body.as_bytes());
    }
    looks(&rig);
    rig.look(|state, _| assert_eq!(index(state), Ok(()))).expect("a state");
}
