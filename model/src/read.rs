//! What can be looked at, computed from the state: for people and programs. Changes nothing.
//!
//! Owns the pages and what selects them; `rows` has what they are made of, the files beside it one list each.
//! Ages are durations before now, so that nobody compares clocks. Lists are paged: at most [`ROWS_MAX`] rows each.

mod history;
mod leases;
pub(crate) mod members;
mod pools;
mod rollouts;
mod rows;

pub use rows::*;

use crate::names::Scope;
use serde::{Deserialize, Serialize};

/// Most rows of one answer.
pub const ROWS_MAX: usize = 1000;

/// A part of a list, and where the next part begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// What to give as `after` for the rest; nothing when this is the end.
    pub next: Option<String>,
}

/// Which part of a list, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Selection {
    /// Only what is about this; everything when not said.
    pub scope: Option<Scope>,
    /// The row to begin behind: a page's `next`.
    pub after: Option<String>,
    /// How many rows at most; [`ROWS_MAX`] when not said.
    pub limit: Option<usize>,
}

fn page<T>(rows: impl Iterator<Item = (String, T)>, select: &Selection) -> Page<T> {
    let limit = select.limit.unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX);
    let mut rows = rows.skip_while(|(key, _)| select.after.as_ref().is_some_and(|after| key <= after));
    let mut page = Page { rows: Vec::new(), next: None };
    let mut last = None;
    for (key, row) in rows.by_ref().take(limit) {
        page.rows.push(row);
        last = Some(key);
    }
    if rows.next().is_some() {
        page.next = last;
    }
    page
}
