//! The records of a domain in a store that a fleet shares.
//!
//! Owns how they are read and written there: the same rows as in the lock server's file, and its clock.

use crate::clock;
use crate::commit::Keep;
use crate::store::Loaded;
use coordinator::store::{Record, Sitting, StoreError, Write};
use model::change::Key;
use model::names::Id;
use model::state::{State, Stored};
use model::{Now, Time};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// The version of the rows' form.
const FORMAT: u64 = 1;
/// Where that version is.
const META_FORMAT: &str = "meta/format";
/// Where the clock is, in milliseconds.
const META_TIME: &str = "meta/time_ms";

/// Where the domain's random name is, by which doors over the same store are told from others.
const META_DOMAIN: &str = "meta/domain";

/// The mark of a steward that wrote everything as it got up, renewals too: whoever sits next goes on from that very moment, and takes
/// the mark away first.
const META_WHOLE: &str = "meta/whole";

/// What lay in the store.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) loaded: Loaded,
    /// The domain's random name; none when it was never given one.
    pub(super) name: Option<Id>,
    /// Whether nothing is older than the clock, because the last steward got up in order.
    pub(super) is_whole: bool,
}

/// Puts a state together from rows; from none, an empty one.
pub(super) fn read(rows: Vec<Record>) -> Result<Read, StoreError> {
    let (mut state, mut name, mut is_whole) = (State::default(), None, false);
    let (mut format, mut time) = (None, None);
    let is_new = rows.is_empty();
    for (key, value) in rows {
        match key.as_str() {
            META_FORMAT => format = number(&value),
            META_TIME => time = number(&value),
            META_DOMAIN => name = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok()),
            META_WHOLE => is_whole = true,
            _ => {
                let unread = |cause| StoreError::Unfit(format!("record {key} is damaged: {cause}"));
                state.put(serde_json::from_slice::<Stored>(&value).map_err(unread)?);
            }
        }
    }
    match (format, time) {
        _ if is_new => Ok(Read { loaded: Loaded { state, time: Time(0), silent: Duration::ZERO }, name, is_whole }),
        (Some(FORMAT), Some(time)) => {
            Ok(Read { loaded: Loaded { state, time: Time(time), silent: Duration::ZERO }, name, is_whole })
        }
        (Some(FORMAT), None) => Err(StoreError::Unfit(format!("the records have no clock: {META_TIME} is missing"))),
        (found, _) => {
            let found = found.map_or_else(|| "none".to_owned(), |found| found.to_string());
            Err(StoreError::Unfit(format!(
                "the records have form {found}, and this version reads form {FORMAT}; use the version that wrote them"
            )))
        }
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// These records as rows, with the version of the rows' form and the clock.
///
/// # Errors
/// Why a record cannot be written.
pub(super) fn rows(records: &[(Key, Option<Stored>)], time: Time) -> Result<Vec<Write>, String> {
    let text = |record: &Stored| serde_json::to_vec(record).map_err(|cause| cause.to_string());
    let mut rows: Vec<Write> = Vec::with_capacity(records.len() + 2);
    for (key, record) in records {
        rows.push((key.to_string(), record.as_ref().map(text).transpose()?));
    }
    for (key, number) in [(META_FORMAT, FORMAT), (META_TIME, time.0)] {
        rows.push((key.to_owned(), Some(number.to_string().into_bytes())));
    }
    Ok(rows)
}

/// The rows with which a steward begins: the domain's random name, and no mark any more.
///
/// # Errors
/// Why a record cannot be written.
pub(super) fn begun(name: &Id, time: Time) -> Result<Vec<Write>, String> {
    let mut rows = rows(&[], time)?;
    rows.push((META_DOMAIN.to_owned(), Some(name.as_str().as_bytes().to_vec())));
    rows.push((META_WHOLE.to_owned(), None));
    Ok(rows)
}

/// The rows with which a steward ends that gets up in order: what is not written otherwise, and the mark.
///
/// # Errors
/// Why a record cannot be written.
pub(super) fn ended(records: &[(Key, Option<Stored>)], time: Time) -> Result<Vec<Write>, String> {
    let mut rows = rows(records, time)?;
    rows.push((META_WHOLE.to_owned(), Some(b"1".to_vec())));
    Ok(rows)
}

/// The rows with which a state goes on that may lack what was written last, now taken in.
///
/// # Errors
/// Why a record cannot be written.
pub(super) fn go_on(loaded: &mut Loaded) -> Result<Vec<Write>, String> {
    let changes = loaded.state.lacking(Now { time: loaded.time, wall: clock::wall() });
    loaded.state.replay(&changes);
    let records: Vec<_> = changes.iter().map(|change| (change.key(), loaded.state.record(&change.key()))).collect();
    let mut rows = rows(&records, loaded.time)?;
    rows.push((META_WHOLE.to_owned(), None));
    Ok(rows)
}

/// Writes the records of a sitting steward; for the committer's thread, which waits for the store.
#[derive(Debug)]
pub(super) struct Shared {
    sitting: Arc<dyn Sitting>,
    runtime: Handle,
}

impl Shared {
    /// On the runtime that it is called in.
    pub(super) fn new(sitting: Arc<dyn Sitting>) -> Shared {
        Shared { sitting, runtime: Handle::current() }
    }
}

impl Keep for Shared {
    fn commit(&self, records: &[(Key, Option<Stored>)], time: Time) -> Result<(), String> {
        let rows = rows(records, time)?;
        let is_of_passage = records.iter().any(|(key, _)| *key == Key::Passage);
        let committed = async {
            self.sitting.commit(rows).await?;
            // A step that a fail-over made undone might have both ends open.
            if is_of_passage { self.sitting.spread().await } else { Ok(()) }
        };
        self.runtime.block_on(committed).map_err(|cause| cause.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, value: &str) -> Record {
        (key.to_owned(), value.as_bytes().to_vec())
    }

    #[test]
    fn what_cannot_be_read_is_never_taken_for_nothing() {
        assert_eq!(read(Vec::new()).expect("a new one").loaded.time, Time(0));
        let whole = read(vec![row("meta/format", "1"), row("meta/time_ms", "7")]).expect("a state");
        assert_eq!((whole.loaded.time, whole.name, whole.is_whole), (Time(7), None, false));
        for rows in [
            vec![row("meta/time_ms", "7")],
            vec![row("meta/format", "1")],
            vec![row("meta/format", "2"), row("meta/time_ms", "7")],
            vec![row("meta/format", "one"), row("meta/time_ms", "7")],
            vec![row("meta/format", "1"), row("meta/time_ms", "7"), row("lease/a", "{}")],
        ] {
            assert!(matches!(read(rows.clone()), Err(StoreError::Unfit(_))), "{rows:?}");
        }
    }

    #[test]
    fn what_may_be_gone_is_made_good_by_a_gap_in_the_tokens() {
        let mut loaded = read(vec![
            row("meta/format", "1"),
            row("meta/time_ms", "7"),
            row("token/p", r#"{"token":{"pool":"p","token":5}}"#),
        ])
        .expect("a state")
        .loaded;
        let written = go_on(&mut loaded).expect("rows");
        assert!(written.contains(&(META_WHOLE.to_owned(), None)), "nobody takes it for whole any more");
        let kept = |rows: Vec<Write>| -> Vec<Record> {
            rows.into_iter().filter_map(|(key, text)| Some((key, text?))).collect()
        };
        let again = kept(written);
        let floor = |rows: &[Record]| {
            let row = rows.iter().find(|(key, _)| key == "token_floor").expect("a floor");
            String::from_utf8(row.1.clone()).expect("text")
        };
        assert_eq!(floor(&again), r#"{"token_floor":1000005}"#);
        let mut next = read(again).expect("a state").loaded;
        let twice = kept(go_on(&mut next).expect("rows"));
        assert_eq!(floor(&twice), r#"{"token_floor":2000005}"#);
    }
}
