//! A domain's passage from one coordinator to another: how far it is, at either end.
//!
//! At most one end is open at any moment, whatever dies in between: the old one is closed before its records are read, has
//! handed them over before the new one opens, and from then on only says where the new one is.

use crate::names::Id;
use crate::state::Stored;
use crate::time::{Time, Wall};
use serde::{Deserialize, Serialize};

/// How far a passage is, as one of its ends knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// The random name of the passage, the same at both ends.
    pub id: Id,
    /// How far it is.
    pub stage: Stage,
    /// The URL of the other end; at the new one without who logs in there, and how.
    pub place: String,
    /// Who moves it.
    pub by: String,
    /// Since when it is there.
    pub since: Wall,
    /// The old end's clock when it was closed: the new one goes on from it.
    pub time: Time,
    /// The passages that were here before, the last one last: a straggler of theirs finds its place taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Id>,
}

impl Passage {
    /// How many earlier passages are remembered.
    pub const EARLIER_MAX: usize = 32;

    /// The passages that were here, this one with them.
    pub fn with_earlier(&self) -> Vec<Id> {
        let too_many = (self.earlier.len() + 1).saturating_sub(Passage::EARLIER_MAX);
        self.earlier.iter().chain([&self.id]).skip(too_many).cloned().collect()
    }
}

/// The stages of a passage: the first three at the old end, the next two at the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Nothing is decided here any more, and no lease is held. It may be opened again.
    Closed,
    /// The new end may open at any moment: this one never will by itself.
    Handed,
    /// The new end is open.
    Gone,
    /// Records come in; nothing is decided here yet.
    Arriving,
    /// It is here, and open.
    Arrived,
    /// The passage was undone: whoever decided before decides.
    Undone,
}

impl Stage {
    /// Whether requests are decided at an end that is so far.
    pub fn is_open(self) -> bool {
        matches!(self, Stage::Arrived | Stage::Undone)
    }
}

/// One step of a passage. Each may be asked for again: it is done once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The random name of the passage.
    pub passage: Id,
    /// Who.
    pub by: String,
    /// What.
    pub step: MoveStep,
}

/// The steps of a passage, in their order; the first, third and last are the old end's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoveStep {
    /// Decide nothing any more. Refused while a lease is held. Later, it changes how one logs in at the new end.
    Close {
        /// The URL of the new end.
        to: String,
    },
    /// Begin to take records in, from the first. Refused where there are any, unless a domain was moved away from there.
    Arrive {
        /// The URL of the old end, without who logs in there.
        from: String,
        /// The old end's clock.
        time: Time,
    },
    /// Take these in.
    Bring {
        /// Records of the old end.
        records: Vec<Stored>,
    },
    /// Never open again by itself.
    HandOver,
    /// Open. Refused when records are missing.
    Open {
        /// How many records the old end has.
        count: u64,
    },
    /// Say from now on where the new end is.
    Leave,
    /// Stay: open again at the old end, or forget at the new one what has come in. Refused once it was handed over, or is open.
    Undo,
}

/// Why a domain answers nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shut {
    /// It is moved just now.
    Moving {
        /// From where, or to where.
        place: String,
    },
    /// It was moved.
    Moved {
        /// Where to.
        to: String,
    },
}

/// A URL as it is shown: without who logs in there, and how.
pub fn without_login(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (place, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    format!("{scheme}://{place}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_shown_how_to_log_in() {
        for (url, shown) in [
            ("redis://ann:p%40ss@h:1/web?wait=1", "redis://h:1/web?wait=1"),
            ("etcd://u:p@a:1,b:2", "etcd://a:1,b:2"),
            ("http://h:1", "http://h:1"),
            ("redis://h/web@1", "redis://h/web@1"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_login(url), shown);
        }
    }
}
