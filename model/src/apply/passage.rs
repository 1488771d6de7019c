//! The steps by which a domain moves from one coordinator to another.

use crate::apply::Draft;
use crate::change::Change;
use crate::history::EntryKind;
use crate::lease::LeaseState;
use crate::names::Scope;
use crate::passage::{Move, MoveStep, Passage, Stage, without_login};
use crate::request::Done;
use crate::settings::count;
use crate::state::Stored;

/// Carries out one step.
pub(super) fn step(draft: &mut Draft<'_>, wanted: &Move) -> Done {
    let here = draft.view.passage();
    if here.is_some_and(|here| here.earlier.contains(&wanted.passage)) {
        return refused(Some(Stage::Undone));
    }
    let here = here.filter(|passage| passage.id == wanted.passage);
    let stage = here.map(|passage| passage.stage);
    let place = here.map_or_else(|| "nowhere".to_owned(), |passage| without_login(&passage.place));
    match (&wanted.step, stage) {
        (MoveStep::Close { to }, Some(Stage::Closed | Stage::Handed | Stage::Gone)) => {
            log_in_as(draft, to);
            did(format!("closed for {place}"))
        }
        (MoveStep::Close { to }, None) => close(draft, wanted, to),
        (MoveStep::Arrive { .. }, Some(Stage::Arrived)) => did("it is here already"),
        (MoveStep::Arrive { from, time }, None | Some(Stage::Arriving)) => {
            let passage = Passage { time: *time, ..passage(draft, wanted, Stage::Arriving, from) };
            arrive(draft, passage)
        }
        (MoveStep::Bring { records }, Some(Stage::Arriving)) => {
            let brought = records.iter().filter(|record| !matches!(record, Stored::Passage(_)));
            draft.changes.extend(brought.map(|record| Change::Brought(Box::new(record.clone()))));
            did(format!("{} records are here", records.len()))
        }
        (MoveStep::HandOver, Some(Stage::Handed | Stage::Gone)) => did("handed over"),
        (MoveStep::HandOver, Some(Stage::Closed)) => {
            go_on(draft, Stage::Handed);
            did("handed over")
        }
        (MoveStep::Open { .. }, Some(Stage::Arrived)) => did("it is open"),
        (MoveStep::Open { count }, Some(Stage::Arriving)) => open(draft, *count),
        (MoveStep::Leave, Some(Stage::Gone)) => did(format!("it is at {place}")),
        (MoveStep::Leave, Some(Stage::Handed)) => {
            go_on(draft, Stage::Gone);
            did(format!("it is at {place}"))
        }
        (MoveStep::Undo, None | Some(Stage::Undone)) => did("nothing of it is here"),
        (MoveStep::Undo, Some(Stage::Closed)) => {
            go_on(draft, Stage::Undone);
            draft.nudges.all_in(&Scope::All);
            did("open again")
        }
        (MoveStep::Undo, Some(Stage::Arriving)) => {
            clear(draft);
            go_on(draft, Stage::Undone);
            did("what had come in is forgotten")
        }
        (_, stage) => refused(stage),
    }
}

/// Takes another user or password for the same place; another place it leaves alone.
fn log_in_as(draft: &mut Draft<'_>, to: &str) {
    let Some(passage) = draft.view.passage() else { return };
    if passage.place != to && without_login(&passage.place) == without_login(to) {
        let passage = Passage { place: to.to_owned(), ..passage.clone() };
        draft.push(Change::PassageMoved(passage));
    }
}

fn close(draft: &mut Draft<'_>, wanted: &Move, to: &str) -> Done {
    if let Some(other) = draft.view.passage().filter(|passage| !passage.stage.is_open()) {
        return under_way(other);
    }
    let held = draft.view.leases().filter(|lease| lease.state == LeaseState::Held).count();
    if held > 0 {
        let held = count(u32::try_from(held).unwrap_or(u32::MAX), "lease is held", "leases are held");
        return Done::Refused { why: held, hint: "wait until none is: stagger leases".to_owned() };
    }
    let passage = passage(draft, wanted, Stage::Closed, to);
    // What waited until now is counted, so that the time of the passage is not.
    draft.turn(&Scope::All);
    draft.push(Change::PassageMoved(passage));
    did(format!("closed for {}", without_login(to)))
}

fn under_way(other: &Passage) -> Done {
    Done::Refused {
        why: format!("it is being moved already, by {}: {}", other.by, without_login(&other.place)),
        hint: "go on with that passage, or undo it".to_owned(),
    }
}

fn arrive(draft: &mut Draft<'_>, passage: Passage) -> Done {
    match draft.view.passage() {
        Some(other) if other.stage == Stage::Gone => {}
        Some(other) if other.stage == Stage::Arriving && other.id == passage.id => {}
        Some(other) if !other.stage.is_open() => return under_way(other),
        // What its own lock server's file says is no reason: what comes takes its place.
        _ if draft.view.is_fresh() => {}
        _ => {
            return Done::Refused {
                why: "it has records of its own".to_owned(),
                hint: "move into a domain that has none, or was moved away".to_owned(),
            };
        }
    }
    clear(draft);
    draft.push(Change::PassageMoved(passage));
    did("records may come in")
}

fn open(draft: &mut Draft<'_>, wanted: u64) -> Done {
    let here = draft.view.luggage().count() as u64;
    if here != wanted {
        return Done::Refused {
            why: format!("{here} records are here, and there are {wanted}"),
            hint: "bring all of them".to_owned(),
        };
    }
    let Some(passage) = draft.view.passage() else { return refused(None) };
    draft.note(
        &passage.by,
        EntryKind::Moved,
        vec![Scope::All],
        format!("everything came from {}", without_login(&passage.place)),
    );
    go_on(draft, Stage::Arrived);
    draft.nudges.all_in(&Scope::All);
    did("it is open")
}

fn clear(draft: &mut Draft<'_>) {
    let records: Vec<_> = draft.view.luggage().map(|record| Change::Cleared(Box::new(record))).collect();
    draft.changes.extend(records);
}

fn go_on(draft: &mut Draft<'_>, stage: Stage) {
    if let Some(passage) = draft.view.passage() {
        draft.push(Change::PassageMoved(Passage { stage, since: draft.now.wall, ..passage.clone() }));
    }
}

fn passage(draft: &Draft<'_>, wanted: &Move, stage: Stage, place: &str) -> Passage {
    let (id, by, place) = (wanted.passage.clone(), wanted.by.clone(), place.to_owned());
    let earlier = match draft.view.passage() {
        Some(old) if old.id == id => old.earlier.clone(),
        Some(old) => old.with_earlier(),
        None => Vec::new(),
    };
    Passage { id, stage, place, by, since: draft.now.wall, time: draft.now.time, earlier }
}

fn did(what: impl Into<String>) -> Done {
    Done::Did { what: what.into() }
}

fn refused(stage: Option<Stage>) -> Done {
    let why = match stage {
        None => "no such passage is under way here",
        Some(Stage::Closed) => "it is closed, and not handed over",
        Some(Stage::Handed) => "it was handed over",
        Some(Stage::Gone) => "it was moved away",
        Some(Stage::Arriving) => "it is not open yet",
        Some(Stage::Arrived) => "it is open",
        Some(Stage::Undone) => "that passage is over",
    };
    Done::Refused { why: why.to_owned(), hint: "start the move again: it goes on where it was".to_owned() }
}
