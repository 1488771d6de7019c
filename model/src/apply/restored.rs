//! What a copy of the past must not bring back: tokens and generations that were given since, and rollouts that may have been
//! stopped since.

use crate::apply::{Draft, TOKENS_LACKING_MAX};
use crate::change::Change;
use crate::history::EntryKind;
use crate::names::{Generation, Scope, Token};
use crate::passage::Stage;
use crate::rollout::{Ended, Rollout};
use crate::settings::{PoolRules, Setting, span};
use crate::state::State;
use crate::time::{Now, Wall};
use std::time::Duration;

/// More rollouts of one service than are announced between a backup and its use.
const GENERATIONS_LACKING_MAX: Generation = 1_000;
/// Tokens go on from the wall clock in these: no pool ever granted so many a millisecond, so that a copy may be used twice, and
/// however old it is. Numbers of this size are exact in JSON for some two centuries.
const TOKENS_PER_MS: Token = 1_000;

/// When the minutes begin by which generations go on, in milliseconds since 1970: 2026-01-01.
const GENERATIONS_SINCE_MS: u64 = 1_767_225_600_000;

/// Generations that may have been given by a domain whose tokens go on above `floor`: of services, too, that the copy does not know, and by a
/// domain that went on from the same copy before. One a minute, up to the moment at which the copy was used; none where none ever was.
pub(crate) fn generations_below(floor: Token) -> Generation {
    (floor / TOKENS_PER_MS).saturating_sub(GENERATIONS_SINCE_MS) / 60_000
}

impl State {
    /// The changes with which a state goes on that is a copy of an earlier moment, `taken`. No token or generation is given again,
    /// and no rollout goes on that may have been stopped since: what should restart is announced again. None while records come in
    /// from another coordinator.
    pub fn restored(&self, now: Now, taken: Wall) -> Vec<Change> {
        let view = self.view();
        if view.passage().is_some_and(|passage| passage.stage == Stage::Arriving) {
            return Vec::new();
        }
        let mut draft = Draft::new(&view, now);
        let lacking = view.highest_token().saturating_add(TOKENS_LACKING_MAX);
        let floor = lacking.max(now.wall.0.saturating_mul(TOKENS_PER_MS));
        draft.push(Change::TokensRaised(floor));
        for (service, generation) in &self.generations {
            let generation = generation.saturating_add(GENERATIONS_LACKING_MAX).max(generations_below(floor));
            draft.push(Change::GenerationUsed { service: service.clone(), generation });
        }
        let age = span(crate::time::millis(now.wall.since(taken)) / 1000 * 1000);
        let reason = format!("restored from a backup {age} old; nobody can tell what became of it since");
        for rollout in view.rollouts().filter(|rollout| is_open(rollout)) {
            let ended = Ended { superseded: false, by: "stagger".to_owned(), reason: reason.clone(), at: now.wall };
            draft.push(Change::RolloutMoved(Rollout { ended: Some(ended), ..rollout.clone() }));
            let scopes = vec![Scope::Rollout(rollout.name.clone())];
            draft.note("stagger", EntryKind::Aborted, scopes, format!("{}: {reason}", rollout.name));
        }
        let text = format!(
            "restored from a backup {age} old: look at pauses, settings and leases, and announce again what was announced since; tokens \
             go on above {floor}"
        );
        draft.note("stagger", EntryKind::Lacking, vec![Scope::All], text);
        draft.changes
    }

    /// The longest time to live that any lease may have that was granted under these rules.
    pub fn longest_ttl(&self) -> Duration {
        let of = |setting: Setting| if let Setting::Ttl(ms) = setting { Some(ms) } else { None };
        let leases = self.leases.values().map(|lease| lease.ttl_ms);
        let set = self.settings.values().filter_map(|from| of(from.setting));
        let tables = self.defaults.pools.iter().flat_map(|table| &table.settings);
        let said = tables.filter_map(|from| of(from.setting));
        let longest = leases.chain(set).chain(said).chain([PoolRules::default().ttl_ms]).max();
        Duration::from_millis(longest.unwrap_or_default())
    }

    /// No token is granted that is not above this.
    pub fn token_floor(&self) -> Token {
        self.token_floor
    }
}

/// Whether it still moves, or may.
fn is_open(rollout: &Rollout) -> bool {
    rollout.ended.is_none() && !rollout.expired && rollout.tally.owes + rollout.tally.begun > 0
}
