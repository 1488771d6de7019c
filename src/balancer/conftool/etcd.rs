//! The etcd that conftool's entries are in: reads one key, and replaces its value if nobody has touched it.
//!
//! Owns which member is asked: one after the other, until one answers. A value is never written without the revision that it
//! was read at, so a write that nobody answered can safely be sent again.

use super::{v2, v3};
use crate::config::conftool::{Conftool, EtcdApi};
use crate::probe::observation::excerpt;
use std::time::Duration;
use tokio::time::timeout;

/// Longest value that is looked at, in bytes.
pub(super) const VALUE_BYTES_MAX: usize = 64 * 1024;

/// A value, and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) value: String,
    /// A number that only grows, and that every write of the key changes.
    pub(super) revision: i64,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replaced {
    Done,
    /// Somebody else has written the key since.
    Moved,
}

/// Why a member did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not to be had; another one may be.
    Away(String),
    /// No other will say anything else.
    Final(String),
}

/// The value of a key; one that is not there is an error.
pub(super) async fn read(conftool: &Conftool, key: &str, within: Duration) -> Result<Kept, String> {
    asked(conftool, within, async |member: &str| match conftool.api {
        EtcdApi::V2 => v2::read(&conftool.etcd, member, key).await,
        EtcdApi::V3 => v3::read(&conftool.etcd, member, key, within).await,
    })
    .await
}

/// Writes a value, if the key is as it was at `revision`.
pub(super) async fn replace(
    conftool: &Conftool,
    key: &str,
    value: &str,
    revision: i64,
    within: Duration,
) -> Result<Replaced, String> {
    asked(conftool, within, async |member: &str| match conftool.api {
        EtcdApi::V2 => v2::replace(&conftool.etcd, member, key, value, revision).await,
        EtcdApi::V3 => v3::replace(&conftool.etcd, member, key, value, revision, within).await,
    })
    .await
}

/// Asks one member after the other until one has an answer; what they said otherwise.
async fn asked<T>(
    conftool: &Conftool,
    within: Duration,
    act: impl AsyncFn(&str) -> Result<T, Fault>,
) -> Result<T, String> {
    let mut whys = Vec::new();
    for member in &conftool.etcd.members {
        match timeout(within, act(member)).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(Fault::Final(why))) => return Err(excerpt(&format!("etcd at {member}: {why}"))),
            Ok(Err(Fault::Away(why))) => whys.push(format!("etcd at {member}: {why}")),
            Err(_elapsed) => {
                let within = model::settings::span(model::time::millis(within));
                whys.push(format!("etcd at {member} did not answer within {within}"));
            }
        }
    }
    Err(excerpt(&whys.join("; ")))
}

/// The text of a value.
pub(super) fn text(value: &[u8]) -> Result<String, Fault> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(Fault::Final(format!("a value of more than {VALUE_BYTES_MAX} bytes is no entry")));
    }
    let text = std::str::from_utf8(value).map_err(|_| Fault::Final("the value is no text".to_owned()))?;
    Ok(text.to_owned())
}

/// A key that is not there, by the way in which it was looked for.
pub(super) fn missing(key: &str, asked_by: &str, other: &str) -> Fault {
    Fault::Final(format!("there is no key {key} (asked by {asked_by}; keys of {other} are others: api = \"{other}\")"))
}

/// The innermost cause, which says most.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}
