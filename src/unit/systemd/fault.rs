//! What went wrong with systemd, in people's words: what it said, and what there is to do.
//!
//! Owns the sentences. Decides nothing.

use super::bus::Refusal;
use super::words::Words;
use crate::config::restart::{Action, Manager, UnitName};
use model::bound::end;
use model::rollout::OUTPUT_BYTES_MAX;
use std::time::Duration;

/// The polkit action by which units are restarted.
const MANAGE_UNITS: &str = "org.freedesktop.systemd1.manage-units";
/// The polkit action by which a host is booted.
const REBOOT: &str = "org.freedesktop.login1.reboot";

/// Systemd could not be asked, or did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SystemdError {
    /// It does not answer on its bus.
    #[error("cannot ask {manager}: {cause}")]
    Away {
        /// Which instance.
        manager: Manager,
        /// Which bus was tried, and what came of it.
        cause: String,
    },
    /// It does not tell of a unit.
    #[error("cannot ask systemd about {unit}: {cause}")]
    Unread {
        /// Which.
        unit: String,
        /// What it said.
        cause: String,
    },
    /// A unit that should run does not.
    #[error("{unit} is {state}")]
    NotActive {
        /// Which.
        unit: String,
        /// What it is.
        state: String,
    },
    /// Some units of a service failed.
    #[error("{}", summary(failed, fine))]
    Units {
        /// Those that failed, in their order; never empty.
        failed: Vec<UnitFault>,
        /// Those that were restarted.
        fine: Vec<String>,
    },
    /// The host is not booted.
    #[error("the host cannot be booted: {cause}")]
    NoReboot {
        /// What was said.
        cause: String,
    },
}

impl SystemdError {
    /// The exit code of the first failed unit that has one.
    pub fn exit(&self) -> Option<i32> {
        match self {
            SystemdError::Units { failed, .. } => failed.iter().find_map(|fault| fault.exit),
            _ => None,
        }
    }

    /// What the failed units said last, or that nothing is known of that; each under its name when there are several.
    pub fn output(&self) -> String {
        let SystemdError::Units { failed, .. } = self else { return String::new() };
        let each_max = OUTPUT_BYTES_MAX / failed.len().max(1);
        let said: Vec<_> = failed.iter().filter_map(|fault| Some((fault, fault.words.as_ref()?))).collect();
        let is_alone = failed.len() == 1;
        let texts = said.iter().map(|(fault, words)| match words {
            Ok(lines) if is_alone => end(lines, each_max),
            Ok(lines) => end(&format!("{}:\n{lines}", fault.unit), each_max),
            Err(why) => format!("{}: {why}\n", fault.unit),
        });
        texts.map(|text| if text.ends_with('\n') { text } else { format!("{text}\n") }).collect()
    }

    /// A boot that was refused.
    pub(super) fn no_reboot(refusal: &Refusal) -> SystemdError {
        let cause = match refusal {
            Refusal::Error { name, .. } if is_denied(name) => {
                format!("no permission: polkit refuses {REBOOT} ({refusal})")
            }
            other => other.to_string(),
        };
        SystemdError::NoReboot { cause }
    }
}

/// What went wrong with one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitFault {
    /// Which.
    pub unit: String,
    /// What went wrong.
    pub cause: Cause,
    /// The exit code of the command that failed, 128 and more for a signal.
    pub exit: Option<i32>,
    /// What it said last, or why that is not known; nothing when nothing of it was started.
    pub words: Option<Words>,
}

/// What went wrong with a unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// There is none of this name.
    #[error("there is no such unit{}", instead(near.as_deref(), *manager))]
    NoSuchUnit {
        /// The one that may be meant.
        near: Option<String>,
        /// Where it was looked for.
        manager: Manager,
    },
    /// Somebody forbade it.
    #[error("it is masked; `systemctl unmask` allows it again")]
    Masked,
    /// Its file is wrong.
    #[error("its file cannot be used: {0}")]
    Unreadable(String),
    /// Polkit, or whoever decides, does not allow it.
    #[error("no permission to {action} it: polkit refuses {MANAGE_UNITS} ({said})")]
    Denied {
        /// What was asked.
        action: Action,
        /// What was said.
        said: String,
    },
    /// Systemd is not there.
    #[error("{0}")]
    Away(String),
    /// Systemd did not take the job: what it said.
    #[error("systemd refuses: {0}")]
    Refused(String),
    /// It failed, in systemd's word.
    #[error("failed{}", in_brackets(.0))]
    Failed(String),
    /// Its job ended so, in systemd's word.
    #[error("{}", job(.0))]
    Job(String),
    /// Its job is done, and it is not active.
    #[error("it is {0} after its job was done")]
    NotActive(String),
    /// Its job is done, and its file did not let it start.
    #[error("nothing was started: a condition of its file does not hold")]
    Condition,
    /// Its job is done, and what runs is what ran before.
    #[error("its job is done, and the same start of it as before still runs")]
    SameStart,
    /// Its job is done, and systemd has forgotten what came of it.
    #[error(
        "its job is done, and nobody can tell whether it ran: systemd remembers a unit that ends only when polkit allows the verb `ref` too"
    )]
    Forgotten,
    /// Its job took too long, and goes on.
    #[error("not done within {}; its job goes on{}", model::settings::span(model::time::millis(*after)), it_is(state.as_deref()))]
    Hung {
        /// How long it was given.
        after: Duration,
        /// What it is.
        state: Option<String>,
    },
    /// Systemd was started anew in the middle, and nothing came of the job.
    #[error("systemd went away in the middle, and now it is {0}")]
    Broken(String),
}

fn instead(near: Option<&str>, manager: Manager) -> String {
    let user = if manager == Manager::User { " --user" } else { "" };
    match near {
        Some(near) => format!("; is {near} meant?"),
        None => format!("; `systemctl{user} list-unit-files` shows which there are"),
    }
}

fn it_is(state: Option<&str>) -> String {
    state.map(|state| format!(", and it is {state}")).unwrap_or_default()
}

/// The exit code tells more than that there is one.
fn in_brackets(result: &str) -> String {
    if result == "exit-code" { String::new() } else { format!(" ({result})") }
}

fn job(result: &str) -> String {
    match result {
        "failed" => "its job failed".to_owned(),
        "timeout" => "its job took longer than systemd allows".to_owned(),
        "dependency" => "a unit that it needs failed".to_owned(),
        "canceled" => "another job took the place of this one: somebody asked systemd for something else".to_owned(),
        "skipped" => "systemd skipped it: a condition of its file does not hold".to_owned(),
        "assert" => "an assertion of its file does not hold".to_owned(),
        other => format!("its job ended as {other:?}"),
    }
}

fn is_denied(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    matches!(last, "AccessDenied" | "InteractiveAuthorizationRequired" | "AuthFailed")
}

impl UnitFault {
    pub(super) fn plain(unit: &UnitName, cause: Cause) -> Box<UnitFault> {
        Box::new(UnitFault { unit: unit.to_string(), cause, exit: None, words: None })
    }

    pub(super) fn away(unit: &UnitName, away: &SystemdError) -> Box<UnitFault> {
        UnitFault::plain(unit, Cause::Away(away.to_string()))
    }

    /// A call that came to nothing.
    pub(super) fn refused(manager: Manager, unit: &UnitName, action: Action, refusal: Refusal) -> Box<UnitFault> {
        let said = refusal.to_string();
        let cause = match &refusal {
            Refusal::Error { name, .. } if is_denied(name) => Cause::Denied { action, said },
            Refusal::Error { name, .. } if name.ends_with(".NoSuchUnit") => Cause::NoSuchUnit { near: None, manager },
            Refusal::Error { name, .. } if name.ends_with(".UnitMasked") => Cause::Masked,
            Refusal::Error { .. } => Cause::Refused(said),
            Refusal::Silent | Refusal::Broken(_) => Cause::Away(format!("{manager} does not answer: {said}")),
        };
        UnitFault::plain(unit, cause)
    }

    /// What went wrong, with the exit code and the last words when there are any.
    fn cause(&self) -> String {
        let mut cause = match (&self.cause, self.exit) {
            (Cause::Failed(result), Some(exit)) if result == "exit-code" => format!("exit {exit}"),
            (cause, Some(exit)) => format!("{cause}, exit {exit}"),
            (cause, None) => cause.to_string(),
        };
        let words = self.words.iter().flatten().flat_map(|words| words.lines());
        if let Some(last) = words.map(str::trim).rfind(|line| !line.is_empty()) {
            cause.push_str(": ");
            cause.push_str(last);
        }
        cause
    }
}

/// Each failed unit, those with the same cause together, and which were restarted all the same.
fn summary(failed: &[UnitFault], fine: &[String]) -> String {
    let mut groups: Vec<(Vec<&str>, String)> = Vec::new();
    for fault in failed {
        let cause = fault.cause();
        match groups.iter_mut().find(|(_, known)| *known == cause) {
            Some((units, _)) => units.push(&fault.unit),
            None => groups.push((vec![&fault.unit], cause)),
        }
    }
    let mut parts: Vec<String> = groups.iter().map(|(units, cause)| format!("{}: {cause}", units.join(", "))).collect();
    if !fine.is_empty() {
        parts.push(format!("{} restarted", fine.join(", ")));
    }
    parts.join("; ")
}
