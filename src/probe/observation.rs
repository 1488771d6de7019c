//! What a probe observed, bounded.
//!
//! Owns the variables that expressions see, and how an observation is shown to people.

use crate::probe::exec::Exit;
use cel::{Context, Value};
use model::bound::beginning;
use serde_json::Value as Json;
use std::collections::{BTreeMap, HashMap};

/// Most bytes of a body that are looked at.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest excerpt that is shown to people, in bytes.
pub const EXCERPT_BYTES_MAX: usize = 256;

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// To an HTTP request, or to one of a FastCGI server.
    Http {
        /// Its status.
        status: u16,
        /// Its headers, by name in small letters; of several with one name, the last.
        headers: BTreeMap<String, String>,
        /// The first [`BODY_BYTES_MAX`] bytes of its body.
        body: String,
        /// The body as JSON; null when it is none, or was cut.
        answer: Json,
        /// Why the status is not 2xx, in one line and where that is known: what a FastCGI server complained beside its answer.
        complaint: String,
    },
    /// To an attempt to connect.
    Tcp {
        /// Whether somebody listens; otherwise it was refused.
        connected: bool,
    },
    /// To a command.
    Exec {
        /// How it ended.
        exit: Exit,
        /// Its standard output as JSON; null when it is none, or was cut.
        answer: Json,
    },
    /// To the question how many connections there are.
    Connections(Connections),
}

/// How many connections one end has on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Connections {
    /// Those that are established, accepted by their server or not.
    pub established: u64,
    /// Those that the other end has closed for its part, and the server has not.
    pub close_wait: u64,
    /// The sockets that listen there.
    pub listeners: u64,
}

impl Observation {
    pub(super) fn of_exit(exit: Exit) -> Self {
        let answer =
            if exit.is_stdout_cut { Json::Null } else { serde_json::from_str(&exit.stdout).unwrap_or_default() };
        Self::Exec { exit, answer }
    }

    /// The variables that hold only the end of what there was: what is not in them may have been in it.
    pub(super) fn cut(&self) -> impl Iterator<Item = &'static str> {
        let (out, err) = match self {
            Self::Exec { exit, .. } => (exit.is_stdout_cut, exit.is_stderr_cut),
            Self::Http { .. } | Self::Tcp { .. } | Self::Connections(_) => (false, false),
        };
        [("stdout", out), ("answer", out), ("stderr", err)]
            .into_iter()
            .filter(|(_, is_cut)| *is_cut)
            .map(|(name, _)| name)
    }

    /// The number that a way leads to: a variable, and the keys in it.
    pub(super) fn number(&self, way: &[&str]) -> Option<u64> {
        let (variable, keys) = way.split_first()?;
        match (self, *variable) {
            (Self::Http { answer, .. } | Self::Exec { answer, .. }, "answer") => {
                keys.iter().try_fold(answer, |json, key| json.get(key)).and_then(Json::as_u64)
            }
            (Self::Connections(count), "connections") => Some(count.established),
            (Self::Connections(count), "close_wait") => Some(count.close_wait),
            _ => None,
        }
    }

    /// The variable that says whether this is an answer at all, and what it says when it is not.
    pub(super) fn failure(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Http { status, complaint, .. } if !(200..300).contains(status) => {
                let why = if complaint.is_empty() { String::new() } else { format!(": {complaint}") };
                Some(("status", format!("status {status}{why}")))
            }
            Self::Exec { exit, .. } if !exit.is_success() => Some(("exit", exit.cause())),
            // A mistyped port has no connections either.
            Self::Connections(Connections { established: 0, listeners: 0, .. }) => {
                Some(("listeners", "nobody listens there, and nobody is connected".to_owned()))
            }
            Self::Http { .. } | Self::Tcp { .. } | Self::Exec { .. } | Self::Connections(_) => None,
        }
    }

    /// What was observed, in one bounded line for people.
    pub fn figures(&self) -> String {
        let line = |text: &str| excerpt(text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim());
        match self {
            Self::Http { status, complaint, .. } if !complaint.is_empty() => format!("status {status}: {complaint}"),
            Self::Http { status, answer: Json::Null, body, .. } => {
                let said = line(body);
                if said.is_empty() { format!("status {status}") } else { format!("status {status}: {said}") }
            }
            Self::Http { status: 200, answer, .. } => excerpt(&answer.to_string()),
            Self::Http { status, answer, .. } => format!("status {status}: {}", excerpt(&answer.to_string())),
            Self::Tcp { connected: true } => "connected".to_owned(),
            Self::Tcp { connected: false } => "connection refused".to_owned(),
            Self::Exec { exit, answer } if exit.is_success() && !answer.is_null() => excerpt(&answer.to_string()),
            Self::Exec { exit, .. } => excerpt(&exit.cause()),
            Self::Connections(Connections { established, close_wait: 0, .. }) => format!("connections {established}"),
            Self::Connections(Connections { established, close_wait, .. }) => {
                format!("connections {established}, close_wait {close_wait}")
            }
        }
    }

    /// The variables of an expression.
    pub(super) fn context(&self) -> Context<'static, 'static> {
        let mut context = Context::default();
        match self {
            Self::Http { status, headers, body, answer, complaint: _ } => {
                let headers: HashMap<String, Value> =
                    headers.iter().map(|(name, value)| (name.clone(), Value::from(value.clone()))).collect();
                context.add_variable_from_value("status", i64::from(*status));
                context.add_variable_from_value("headers", headers);
                context.add_variable_from_value("body", body.clone());
                context.add_variable_from_value("answer", value(answer));
            }
            Self::Tcp { connected } => context.add_variable_from_value("connected", *connected),
            Self::Exec { exit, answer } => {
                context.add_variable_from_value("exit", i64::from(exit.code));
                context.add_variable_from_value("stdout", exit.stdout.clone());
                context.add_variable_from_value("stderr", exit.stderr.clone());
                context.add_variable_from_value("answer", value(answer));
            }
            Self::Connections(Connections { established, close_wait, listeners }) => {
                let counts = [("connections", established), ("close_wait", close_wait), ("listeners", listeners)];
                for (name, count) in counts {
                    context.add_variable_from_value(name, i64::try_from(*count).unwrap_or(i64::MAX));
                }
            }
        }
        context
    }
}

/// JSON for an expression. Whole numbers become `int`, never `uint`, so that they can be reckoned with plain literals.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(yes) => Value::Bool(*yes),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::Int(whole),
            (None, Some(float)) => Value::Float(float),
            (None, None) => Value::Null,
        },
        Json::String(text) => Value::from(text.clone()),
        Json::Array(items) => Value::from(items.iter().map(value).collect::<Vec<_>>()),
        Json::Object(entries) => {
            let entries: HashMap<String, Value> =
                entries.iter().map(|(key, item)| (key.clone(), value(item))).collect();
            Value::from(entries)
        }
    }
}

/// The beginning of a text, at most [`EXCERPT_BYTES_MAX`] bytes of it in JSON.
pub fn excerpt(text: &str) -> String {
    beginning(text, EXCERPT_BYTES_MAX)
}
