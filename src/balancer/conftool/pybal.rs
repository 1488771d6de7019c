//! What a PyBal says of one host in one pool, over its instrumentation port.
//!
//! Owns the two forms of its answers: `{"enabled": true, "up": true, "pooled": true, "weight": 10}` when asked for JSON, and
//! `enabled/up/pooled` otherwise. Anything else is an error, which names the PyBal.

use crate::config::HttpUrl;
use crate::config::conftool::PyBal;
use crate::probe::ask::Client;
use crate::probe::observation::Observation;
use serde_json::Value as Json;
use std::fmt;
use std::time::Duration;

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// How the host is there.
    State(State),
    /// It knows the pool, and no such host in it.
    Absent,
}

/// How a host is in a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// It is meant to take part.
    pub(super) enabled: bool,
    /// All its checks are good.
    pub(super) up: bool,
    /// It gets requests.
    pub(super) pooled: bool,
}

impl fmt::Display for State {
    /// As PyBal itself writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |yes, one, other| if yes { one } else { other };
        let (enabled, up) = (word(self.enabled, "enabled", "disabled"), word(self.up, "up", "down"));
        write!(f, "{enabled}/{up}/{}", word(self.pooled, "pooled", "not pooled"))
    }
}

/// Asks it. That a host is not there is believed only when the pool as a whole says so too: the same status comes for a pool
/// that was mistyped.
pub(super) async fn ask(pybal: &PyBal, client: &Client, within: Duration) -> Result<Told, String> {
    let named = |why: String| format!("{}: {why}", pybal.name);
    let (status, said) = get(&pybal.url, client, within).await?;
    match status {
        200 => state(&said).map(Told::State).map_err(named),
        404 => {
            let (status, said) = get(&pybal.pool_url, client, within).await?;
            match status {
                200 => absent(&said, &pybal.host).map_err(named),
                404 => Err(named(format!("it knows no pool {}", pybal.pool))),
                _ => Err(named(said.figures())),
            }
        }
        _ => Err(named(said.figures())),
    }
}

async fn get(url: &HttpUrl, client: &Client, within: Duration) -> Result<(u16, Observation), String> {
    let said = client.get_json(url, within).await.map_err(|error| error.to_string())?;
    match said {
        Observation::Http { status, .. } => Ok((status, said)),
        _ => Err(format!("{url}: no answer of HTTP")),
    }
}

/// Reads the state of a host from the body of an answer, whichever form that has.
pub(super) fn read(body: &str) -> Result<State, String> {
    let (answer, headers) = (serde_json::from_str(body).unwrap_or_default(), std::collections::BTreeMap::new());
    state(&Observation::Http { status: 200, headers, body: body.to_owned(), answer, complaint: String::new() })
}

/// Reads the state of a host.
fn state(said: &Observation) -> Result<State, String> {
    let nonsense = || format!("not a state of PyBal: {}", said.figures());
    let Observation::Http { answer, body, .. } = said else { return Err(nonsense()) };
    match answer {
        Json::Object(_) => of_json(answer).ok_or_else(nonsense),
        Json::Null => of_text(body).ok_or_else(nonsense),
        _ => Err(nonsense()),
    }
}

fn of_json(answer: &Json) -> Option<State> {
    let flag = |name: &str| answer.get(name)?.as_bool();
    Some(State { enabled: flag("enabled")?, up: flag("up")?, pooled: flag("pooled")? })
}

fn of_text(body: &str) -> Option<State> {
    let line = body.strip_suffix('\n').unwrap_or(body);
    let [enabled, up, pooled] = line.split('/').collect::<Vec<_>>().try_into().ok()?;
    Some(State {
        enabled: one_of(enabled, "enabled", &["disabled"])?,
        up: one_of(up, "up", &["down", "partially up"])?,
        pooled: one_of(pooled, "pooled", &["not pooled"])?,
    })
}

fn one_of(word: &str, yes: &str, no: &[&str]) -> Option<bool> {
    if word == yes { Some(true) } else { no.contains(&word).then_some(false) }
}

/// Reads the state of a whole pool, in which the host must not be. Only JSON is believed: a list of lines that was cut off
/// looks like a whole one.
fn absent(said: &Observation, host: &str) -> Result<Told, String> {
    let Observation::Http { answer: Json::Object(hosts), .. } = said else {
        return Err(format!("not the hosts of a pool: {}", said.figures()));
    };
    match (hosts.contains_key(host), hosts.values().all(|host| of_json(host).is_some())) {
        (true, _) => Err(format!("it has {host} in the pool, and does not find it there")),
        (false, true) => Ok(Told::Absent),
        (false, false) => Err(format!("not the hosts of a pool: {}", said.figures())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(body: &str) -> Observation {
        let answer = serde_json::from_str(body).unwrap_or_default();
        Observation::Http {
            status: 200,
            headers: Default::default(),
            body: body.to_owned(),
            answer,
            complaint: String::new(),
        }
    }

    /// Scenario 10: what is no state of PyBal's says nothing.
    #[test]
    fn both_forms_are_read_and_nothing_else() {
        for (body, expected) in [
            (r#"{"pooled": true, "weight": 10, "up": true, "enabled": true}"#, "enabled/up/pooled"),
            (r#"{"pooled": false, "weight": 0, "up": true, "enabled": false}"#, "disabled/up/not pooled"),
            ("enabled/up/pooled\n", "enabled/up/pooled"),
            ("enabled/up/pooled", "enabled/up/pooled"),
            ("enabled/partially up/pooled\n", "enabled/down/pooled"),
            ("disabled/down/not pooled\n", "disabled/down/not pooled"),
        ] {
            assert_eq!(state(&http(body)).map(|state| state.to_string()).as_deref(), Ok(expected), "{body}");
        }
        for body in [
            "",
            "{}",
            "null",
            "true",
            "[]",
            "garbage",
            "enabled/up/poo",
            "enabled/up",
            "enabled/up/pooled/",
            "enabled/up/pooled\nenabled/up/pooled\n",
            "Enabled/Up/Pooled",
            "mw1001:\tenabled/up/pooled\n",
            r#"{"pooled": true, "up": true}"#,
            r#"{"pooled": "true", "up": true, "enabled": true}"#,
            r#"{"pooled": true, "up": true, "ena"#,
            r#"{"mw1001": {"pooled": true, "up": true, "enabled": true}}"#,
        ] {
            assert!(state(&http(body)).is_err(), "{body}");
        }
    }

    #[test]
    fn a_host_is_absent_when_the_whole_pool_says_so() {
        let pool = |hosts: &str| absent(&http(hosts), "mw1");
        let one = r#"{"pooled": true, "up": true, "enabled": true}"#;
        assert_eq!(pool(&format!("{{\"mw1001\": {one}}}")), Ok(Told::Absent), "a name that begins alike is another");
        assert!(pool(&format!("{{\"mw1001\": {one}, \"mw1\": {one}}}")).is_err());
        for nonsense in ["", "mw1001:\tenabled/up/pooled\n", "[]", r#"{"error": "no"}"#] {
            assert!(pool(nonsense).is_err(), "{nonsense}");
        }
    }
}
