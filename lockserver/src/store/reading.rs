//! Reading a store: everything in it at one moment, whatever is written meanwhile.
//!
//! Owns what is read before a state is put together, and that each record is what its key says. Changes nothing.

use super::form::{Forms, Row};
use super::{Loaded, META, META_FORMAT, META_SILENT, META_TIME, RECORDS, StoreError, damaged};
use model::state::{State, Stored};
use model::time::Time;
use redb::{Database, ReadableDatabase, ReadableTable};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What a store holds, as it is.
#[derive(Debug)]
pub(crate) struct Contents {
    /// Every record, in the order of the keys.
    pub(crate) rows: Vec<Row>,
    /// The version of their form.
    pub(crate) form: u64,
    /// The clock when it was last written.
    pub(crate) time: Time,
    /// For how long nothing is to be decided at first.
    pub(crate) silent: Duration,
}

/// The version of the form of what is in a database.
///
/// # Errors
/// It cannot be read, or has none.
pub(crate) fn form(database: &Database) -> Result<u64, StoreError> {
    let read = || -> Result<Option<u64>, redb::Error> {
        let meta = database.begin_read()?.open_table(META)?;
        Ok(meta.get(META_FORMAT)?.map(|value| value.value()))
    };
    read().map_err(damaged)?.ok_or_else(|| StoreError::Format { found: "none".to_owned() })
}

/// Everything in a database at this moment.
///
/// # Errors
/// It cannot be read, or lacks its form or its clock.
pub(crate) fn contents(database: &Database) -> Result<Contents, StoreError> {
    let read = || -> Result<(Vec<Row>, [Option<u64>; 3]), redb::Error> {
        let transaction = database.begin_read()?;
        let meta = transaction.open_table(META)?;
        let number = |key| -> Result<Option<u64>, redb::Error> { Ok(meta.get(key)?.map(|value| value.value())) };
        let numbers = [number(META_FORMAT)?, number(META_TIME)?, number(META_SILENT)?];
        let mut rows = Vec::new();
        for row in transaction.open_table(RECORDS)?.iter()? {
            let (key, value) = row?;
            rows.push((key.value().to_owned(), value.value().to_owned()));
        }
        Ok((rows, numbers))
    };
    let (rows, [form, time, silent]) = read().map_err(damaged)?;
    let form = form.ok_or_else(|| StoreError::Format { found: "none".to_owned() })?;
    let time = time.map(Time).ok_or_else(|| StoreError::Damaged { what: "it has no clock".to_owned() })?;
    Ok(Contents { rows, form, time, silent: Duration::from_millis(silent.unwrap_or(0)) })
}

impl Contents {
    /// The state that it is, brought forward in memory where that is needed.
    ///
    /// # Errors
    /// Its form is unknown, or a record is damaged.
    pub(crate) fn load(self, forms: &Forms) -> Result<Loaded, StoreError> {
        let mut state = State::default();
        for row in forms.bring(self.form, self.rows)? {
            state.put(record(&row).map_err(|what| StoreError::Damaged { what })?);
        }
        Ok(Loaded { state, time: self.time, silent: self.silent })
    }
}

/// The record in a row.
///
/// # Errors
/// What is wrong with it: it cannot be read, or its key is another record's.
pub(crate) fn record((key, value): &Row) -> Result<Stored, String> {
    let record: Stored = serde_json::from_slice(value).map_err(|cause| format!("record {key}: {cause}"))?;
    match record.key().to_string() {
        own if own == *key => Ok(record),
        own => Err(format!("record {key} is of {own}")),
    }
}

/// What reads a store that is open for writing. It does not keep it open.
#[derive(Debug, Clone)]
pub(crate) struct Reader(Weak<Database>);

impl Reader {
    pub(super) fn of(database: &Arc<Database>) -> Reader {
        Reader(Arc::downgrade(database))
    }

    /// Everything in it at this moment; none when it was closed.
    pub(crate) fn contents(&self) -> Option<Result<Contents, StoreError>> {
        self.0.upgrade().map(|database| contents(&database))
    }
}
