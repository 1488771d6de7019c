//! Which start of each unit runs, and what that tells of a restart that nobody saw the end of.
//!
//! Pure. A start is told by its InvocationID; a reload leaves that as it is, so where a unit may be reloaded the moment of its last
//! change of state belongs to it. Called by [`super`].

use super::bus::Says;
use crate::config::restart::{Action, UnitName};
use crate::unit::look::Glimpse;
use std::collections::BTreeMap;
use std::fmt;

/// What stands for the incarnation of a unit that is down.
const DOWN: &str = "-";

/// Units, each with the incarnation that runs. As text, `a.service=5f3c… b.service=-`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Incarnations(BTreeMap<String, String>);

/// The incarnation that systemd tells of.
pub(super) fn of(says: &Says, action: Action) -> String {
    match (&says.invocation, action) {
        _ if says.is_down() => DOWN.to_owned(),
        (None, _) => DOWN.to_owned(),
        (Some(id), Action::Restart) => id.clone(),
        (Some(id), Action::ReloadOrRestart) => format!("{id}@{}", says.changed_us),
    }
}

impl Incarnations {
    /// Reads what was written down; what is not of its form tells of no unit.
    pub(super) fn parse(text: &str) -> Incarnations {
        let each = text.split(' ').filter_map(|part| part.split_once('='));
        Incarnations(each.map(|(unit, id)| (unit.to_owned(), id.to_owned())).collect())
    }

    /// Notes the incarnation of one unit.
    pub(super) fn note(&mut self, unit: &UnitName, says: &Says, action: Action) {
        self.0.insert(unit.to_string(), of(says, action));
    }

    /// What is seen of the restart of one unit that was begun when these ran. One that is down was not restarted, or came to
    /// nothing: to restart it harms nobody.
    pub(super) fn glimpse(&self, unit: &UnitName, says: &Says, action: Action) -> Glimpse {
        let Some(before) = self.0.get(unit.as_str()) else {
            return Glimpse::Untold(format!("which incarnation of {unit} ran before was not recorded"));
        };
        match says {
            Says { job: Some(job), .. } => Glimpse::Busy(format!("job {job} of {unit}, which is {}", says.state())),
            _ if says.is_down() => Glimpse::Same,
            _ if !says.is_active() => Glimpse::Busy(format!("{unit} is {}", says.state())),
            _ if of(says, action) == *before => Glimpse::Same,
            _ => Glimpse::Other,
        }
    }
}

impl fmt::Display for Incarnations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each: Vec<String> = self.0.iter().map(|(unit, id)| format!("{unit}={id}")).collect();
        f.write_str(&each.join(" "))
    }
}

/// What is seen of all units of a service. All must run anew; what goes on is waited for, whatever the others are.
pub(super) fn together(each: impl IntoIterator<Item = Glimpse>) -> Glimpse {
    let weight = |glimpse: &Glimpse| match glimpse {
        Glimpse::Other => 0,
        Glimpse::Same => 1,
        Glimpse::Unclear(_) => 2,
        Glimpse::Busy(_) => 3,
        Glimpse::Untold(_) => 4,
    };
    each.into_iter().max_by_key(weight).unwrap_or(Glimpse::Same)
}
