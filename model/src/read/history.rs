//! The history: who did what, and why.

use super::{Page, ROWS_MAX, Selection};
use crate::history::Entry;
use crate::names::Scope;
use crate::state::State;

impl State {
    /// The history within a scope, the newest entries of it, oldest first; `after` is an entry's number.
    pub fn read_history(&self, select: &Selection) -> Page<Entry> {
        let limit = select.limit.unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX);
        let after: u64 = select.after.as_ref().and_then(|after| after.parse().ok()).unwrap_or(0);
        let about = |entry: &&Entry| match &select.scope {
            None | Some(Scope::All) => true,
            Some(scope) => entry.scopes.contains(scope),
        };
        let mut rows: Vec<Entry> = self
            .history
            .range(after.saturating_add(1)..)
            .map(|(_, entry)| entry)
            .filter(about)
            .rev()
            .take(limit)
            .cloned()
            .collect();
        rows.reverse();
        let next = rows.last().map(|entry| entry.number.to_string());
        Page { rows, next }
    }
}
