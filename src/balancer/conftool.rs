//! Balancers that follow conftool: an entry in etcd says where the host should be, and every PyBal whether it is there.
//!
//! Owns reading both together, and changing one word of the entry. Everybody must agree; who does not is named. An entry that
//! is `inactive` is somebody else's decision: it is out, and never changed. Reading order: [`entry`] (the value), [`mod@pybal`]
//! (what a balancer says), `etcd` (where the value is, by `v2` or `v3`).

mod entry;
mod etcd;
mod pybal;
mod tls;
mod v2;
mod v3;

use super::{Move, Said};
use crate::config::conftool::{Conftool, Entry, PyBal};
use crate::probe::ask::Client;
use crate::probe::observation::excerpt;
use entry::Pooled;
use etcd::Replaced;
use futures_util::future::{join, join_all};
use model::member::Presence;
use pybal::Told;
use std::time::Duration;

/// How often an entry that somebody else changes at the same moment is read and changed again, in one try.
const CHANGES_MAX: u32 = 3;

/// The word that an entry says; see `seams`.
pub(super) fn word(text: &str) -> Result<String, String> {
    entry::read(text).map(|word| word.to_string())
}

/// The same entry with another word; see `seams`.
pub(super) fn with_word(text: &str, takes_part: bool) -> Result<String, String> {
    entry::with(text, if takes_part { Pooled::Yes } else { Pooled::No })
}

/// What a PyBal says of a host; see `seams`.
pub(super) fn pybal_says(text: &str) -> Result<String, String> {
    pybal::read(text).map(|state| state.to_string())
}

/// Reads the entry and asks every PyBal of it, all at once.
pub(super) async fn ask(conftool: &Conftool, entry: &Entry, client: &Client, within: Duration) -> Said {
    let kept = etcd::read(conftool, &entry.key, within);
    let told =
        join_all(entry.pybals.iter().map(|pybal| async move { (pybal, pybal::ask(pybal, client, within).await) }));
    let (kept, told) = join(kept, told).await;
    let pooled = kept.and_then(|kept| entry::read(&kept.value).map_err(|why| format!("{}: {why}", entry.key)));
    combine(pooled, &told)
}

/// Writes the one word of the entry, if nobody has changed the entry since it was read; everything else in it stays as it is.
/// Done already is done. What became of a write that nobody answered is seen by whoever asks next.
pub(super) async fn put(conftool: &Conftool, entry: &Entry, way: Move, within: Duration) -> Result<(), String> {
    let wanted = match way {
        Move::Out => Pooled::No,
        Move::In => Pooled::Yes,
    };
    write(conftool, entry, within, |found| (found != wanted).then_some(wanted)).await
}

/// Writes an entry that says yes once more. A `no` that was sent and never answered cannot come after that: it is for the
/// entry as it was before.
pub(super) async fn seal(conftool: &Conftool, entry: &Entry, within: Duration) -> Result<(), String> {
    write(conftool, entry, within, |found| (found == Pooled::Yes).then_some(found)).await
}

/// Reads the entry and writes the word that is chosen, if one is, until nobody has come between.
async fn write(
    conftool: &Conftool,
    entry: &Entry,
    within: Duration,
    choose: impl Fn(Pooled) -> Option<Pooled>,
) -> Result<(), String> {
    let named = |why: String| format!("{}: {why}", entry.key);
    for _ in 0..CHANGES_MAX {
        let kept = etcd::read(conftool, &entry.key, within).await?;
        let found = entry::read(&kept.value).map_err(named)?;
        if found == Pooled::Inactive {
            return Err(named("it is inactive, and left so".to_owned()));
        }
        let Some(word) = choose(found) else { return Ok(()) };
        let changed = entry::with(&kept.value, word).map_err(named)?;
        match etcd::replace(conftool, &entry.key, &changed, kept.revision, within).await? {
            Replaced::Done => return Ok(()),
            Replaced::Moved => {}
        }
    }
    Err(named("somebody else changes it all the time".to_owned()))
}

/// What all of them say together.
fn combine(pooled: Result<Pooled, String>, told: &[(&PyBal, Result<Told, String>)]) -> Said {
    let pooled = match pooled {
        Ok(pooled) => pooled,
        Err(why) => return Said::unknown(excerpt(&why)),
    };
    let fits = |told: &Result<Told, String>| match (pooled, told) {
        (Pooled::Yes, Ok(Told::State(state))) => state.enabled && state.up && state.pooled,
        (Pooled::No | Pooled::Inactive, Ok(Told::State(state))) => !state.enabled && !state.pooled,
        // PyBal forgets hosts that are inactive, and says so of the pool as a whole.
        (Pooled::Inactive, Ok(Told::Absent)) => true,
        (Pooled::Yes | Pooled::No, Ok(Told::Absent)) | (_, Err(_)) => false,
    };
    let others: Vec<String> =
        told.iter().filter(|(_, told)| !fits(told)).map(|(pybal, told)| says(pybal, told)).collect();
    let is_foreign = pooled == Pooled::Inactive;
    if told.is_empty() || !others.is_empty() {
        let detail = format!("etcd says {pooled}, and {}", others.join("; "));
        // It is sent requests as soon as it is well: so it can be taken out, and put back.
        let is_used = |told: &Result<Told, String>| matches!(told, Ok(Told::State(state)) if state.enabled);
        let is_unwell = pooled == Pooled::Yes && told.iter().all(|(_, told)| is_used(told));
        return Said { is_foreign, is_unwell, ..Said::unknown(excerpt(&detail)) };
    }
    let mut names: Vec<&str> = told.iter().map(|(pybal, _)| pybal.name.as_str()).collect();
    names.dedup();
    let presence = if pooled == Pooled::Yes { Presence::In } else { Presence::Out };
    let detail = excerpt(&format!("{pooled}; confirmed by {}", names.join(", ")));
    Said { is_foreign, ..Said::known(presence, detail) }
}

fn says(pybal: &PyBal, told: &Result<Told, String>) -> String {
    let PyBal { name, pool, host, .. } = pybal;
    match told {
        Ok(Told::State(state)) => format!("{name} says {state} for {pool}"),
        Ok(Told::Absent) => format!("{name} has no {host} in {pool}"),
        // It names the PyBal itself.
        Err(why) => why.clone(),
    }
}

#[cfg(test)]
mod tests;
