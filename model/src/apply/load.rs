//! What the lock server's file says takes the place of what one said before.

use crate::apply::{Draft, bounds};
use crate::bound::beginning;
use crate::change::Change;
use crate::defaults::Load;
use crate::history::EntryKind;
use crate::lease::TEXT_BYTES_MAX;
use crate::names::Scope;
use crate::request::Done;

pub(crate) fn load(draft: &mut Draft<'_>, load: &Load) -> Done {
    let (view, after) = (draft.view, &load.defaults);
    if let Some(why) = after.wrong() {
        return Done::Refused { why, hint: format!("put {} right", load.file) };
    }
    let pools = after.named_pools();
    if let Some(full) = bounds::pools(view, &pools).or_else(|| bounds::services(view, after.services.keys())) {
        return Done::Refused { why: full.why, hint: full.hint };
    }
    let before = view.defaults();
    if before == after {
        return did("it says what it said");
    }
    let differences = before.differences(after);
    draft.push(Change::DefaultsLoaded(after.clone()));
    if differences.is_empty() {
        return did("only its lines have moved");
    }
    let what = differences.join("; ");
    // Nobody was here for whom anything has changed.
    if !view.is_fresh() {
        let by = beginning(&load.by, TEXT_BYTES_MAX);
        let text = beginning(&format!("{}: {what}", load.file), TEXT_BYTES_MAX);
        draft.note(&by, EntryKind::Set, vec![Scope::All], text);
    }
    // Whichever pools it names: whoever is first in line looks again, and so does everybody whose wait may have changed.
    draft.nudges.pools.extend(view.wanted_pools().cloned());
    draft.nudges.all_in(&Scope::All);
    did(what)
}

fn did(what: impl Into<String>) -> Done {
    Done::Did { what: what.into() }
}
