//! Pools that only this host is in, with a name that is nearly that of another pool: mistyped, each would let one host more be out.
//!
//! Owns the looking, and what is near enough. Decides nothing: a pool may rightly have one host. Called by the daemon when it has
//! joined, and by the commands that look.

use crate::config::nearest::nearest;
use coordinator::Coordinator;
use model::names::{Host, Pool, Scope};
use model::read::{PoolRow, Selection};
use std::collections::BTreeSet;
use std::fmt;

/// Most pages of a list.
const PAGES_MAX: usize = 100;

/// A pool that may be mistyped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lonely {
    /// Which.
    pub pool: Pool,
    /// What was probably meant.
    pub near: Pool,
    /// How many hosts are in that.
    pub members: u32,
}

impl fmt::Display for Lonely {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lonely { pool, near, members } = self;
        let hosts = if *members == 1 { "host" } else { "hosts" };
        write!(f, "no other host is in the pool {pool}; did you mean {near}, of {members} {hosts}?")
    }
}

/// Those of a host's own pools that may be mistyped. Changes nothing.
///
/// # Errors
/// The coordinator does not answer.
pub async fn pools<C: Coordinator>(
    coordinator: &C,
    host: &Host,
    own: &BTreeSet<Pool>,
) -> coordinator::Result<Vec<Lonely>> {
    let mut alone = Vec::new();
    for pool in own {
        let select = Selection { scope: Some(Scope::Pool(pool.clone())), ..Selection::default() };
        alone.extend(coordinator.pools(&select).await?.rows.iter().all(|row| !is_shared(row)).then(|| pool.clone()));
    }
    if alone.is_empty() {
        return Ok(Vec::new());
    }
    let (rows, own) = (all(coordinator).await?, alone.into_iter().collect());
    let mut lonely = Vec::new();
    for found in of(&rows, &own) {
        // The only member may be another host, as one that has just joined by the right name.
        let select = Selection { scope: Some(Scope::Pool(found.pool.clone())), ..Selection::default() };
        let members = coordinator.members(&select).await?.rows;
        if members.iter().all(|member| member.host == *host) {
            lonely.push(found);
        }
    }
    Ok(lonely)
}

/// Those of all pools that may be mistyped.
///
/// # Errors
/// The coordinator does not answer.
pub async fn anywhere<C: Coordinator>(coordinator: &C) -> coordinator::Result<Vec<Lonely>> {
    let rows = all(coordinator).await?;
    let own = rows.iter().filter(|row| row.members == 1).map(|row| row.pool.clone()).collect();
    Ok(of(&rows, &own))
}

async fn all<C: Coordinator>(coordinator: &C) -> coordinator::Result<Vec<PoolRow>> {
    let (mut rows, mut after) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let page = coordinator.pools(&Selection { after, ..Selection::default() }).await?;
        rows.extend(page.rows);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(rows)
}

/// A pool of at most one host, for which nobody set anything, beside a pool of others with nearly its name.
fn of(rows: &[PoolRow], own: &BTreeSet<Pool>) -> Vec<Lonely> {
    let mut lonely = Vec::new();
    for pool in own {
        let row = rows.iter().find(|row| row.pool == *pool);
        if row.is_some_and(is_shared) {
            continue;
        }
        // Names that differ in their numbers are numbered on purpose: rack1, rack2.
        let others = rows.iter().filter(|other| other.pool != *pool && letters(&other.pool) != letters(pool));
        let others: Vec<&PoolRow> = others.filter(|other| is_shared(other)).collect();
        let names: Vec<&str> = others.iter().map(|other| other.pool.as_str()).collect();
        let near = nearest(pool.as_str(), &names);
        if let Some(near) = near.and_then(|near| others.iter().find(|other| other.pool.as_str() == near)) {
            lonely.push(Lonely { pool: pool.clone(), near: near.pool.clone(), members: near.members });
        }
    }
    lonely
}

/// Whether several hosts are in it, or somebody set something for this very pool: then its name is meant.
fn is_shared(row: &PoolRow) -> bool {
    let scope = Scope::Pool(row.pool.clone());
    row.members > 1 || row.overrides.iter().any(|from| from.set.scope == scope)
}

fn letters(pool: &Pool) -> String {
    pool.as_str().chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::settings::PoolRules;

    #[test]
    fn a_name_that_is_nearly_anothers_is_told_and_one_that_is_numbered_is_not() {
        let row = |name: &str, members| PoolRow {
            pool: name.parse().expect("a pool"),
            slots: 1,
            rules: PoolRules::default(),
            from_file: Vec::new(),
            overrides: Vec::new(),
            token: 0,
            held: 0,
            failed: 0,
            lost: 0,
            waiting: 0,
            members,
            down: 0,
            pauses: Vec::new(),
        };
        let told = |own: &str, rows: &[PoolRow]| {
            let own = [own.parse().expect("a pool")].into();
            of(rows, &own).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let rows = [row("app-eqiad", 2), row("app-eqaid", 1), row("rack1", 2), row("rack2", 1)];
        let expected = "no other host is in the pool app-eqaid; did you mean app-eqiad, of 2 hosts?";
        assert_eq!(told("app-eqaid", &rows), [expected]);
        assert_eq!(told("app-eqaid", &rows[..1]), [expected], "before it has joined");
        for fine in ["app-eqiad", "rack1", "rack2", "elsewhere"] {
            assert_eq!(told(fine, &rows), [""; 0], "{fine}");
        }
        assert_eq!(told("app-eqaid", &rows[1..]), [""; 0], "nothing is near");
    }
}
