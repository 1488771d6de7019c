//! Settings: what a pool or a service is allowed, and where each number comes from.
//!
//! Owns the kinds of settings, their bounds and their defaults. A setting lives in the coordinator, so hosts cannot disagree.

use crate::names::Scope;
use crate::time::{Time, Wall};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most slots a pool can have.
pub const SLOTS_MAX: u32 = 100_000;
/// Shortest time to live: below it a worker could not renew in time.
pub const TTL_MS_MIN: u64 = 500;
/// Longest duration of any setting: a year.
pub const SPAN_MS_MAX: u64 = 365 * 24 * 3600 * 1000;

/// How many leases of a pool may exist at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slots {
    /// So many.
    Count(u32),
    /// A percentage of the pool's members, alive or not, rounded down, at least 1.
    Percent(u32),
}

impl Slots {
    /// The number for a pool of so many members.
    pub fn of(self, members: usize) -> u32 {
        match self {
            Slots::Count(count) => count,
            Slots::Percent(percent) => {
                let members = u64::try_from(members).unwrap_or(u64::MAX);
                let share = members.saturating_mul(u64::from(percent)) / 100;
                u32::try_from(share).unwrap_or(SLOTS_MAX).clamp(1, SLOTS_MAX)
            }
        }
    }
}

impl fmt::Display for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slots::Count(count) => write!(f, "{count}"),
            Slots::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Which setting; the word people type before `=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is documented at Setting")]
pub enum SettingKind {
    Slots,
    MaxQueue,
    Wait,
    Ttl,
    LostAfter,
    MaxFailures,
    Strict,
    Expires,
}

impl SettingKind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [SettingKind; 8] = [
        SettingKind::Slots,
        SettingKind::MaxQueue,
        SettingKind::Wait,
        SettingKind::Ttl,
        SettingKind::LostAfter,
        SettingKind::MaxFailures,
        SettingKind::Strict,
        SettingKind::Expires,
    ];

    /// The word people type.
    pub fn word(self) -> &'static str {
        match self {
            SettingKind::Slots => "slots",
            SettingKind::MaxQueue => "max_queue",
            SettingKind::Wait => "wait",
            SettingKind::Ttl => "ttl",
            SettingKind::LostAfter => "lost_after",
            SettingKind::MaxFailures => "max_failures",
            SettingKind::Strict => "strict",
            SettingKind::Expires => "expires",
        }
    }

    /// What holds when nothing is set.
    pub fn default(self) -> Setting {
        let (pool, service) = (PoolRules::default(), ServiceRules::default());
        match self {
            SettingKind::Slots => Setting::Slots(pool.slots),
            SettingKind::MaxQueue => Setting::MaxQueue(pool.max_queue),
            SettingKind::Wait => Setting::Wait(pool.wait_ms),
            SettingKind::Ttl => Setting::Ttl(pool.ttl_ms),
            SettingKind::LostAfter => Setting::LostAfter(pool.lost_after_ms),
            SettingKind::MaxFailures => Setting::MaxFailures(service.max_failures),
            SettingKind::Strict => Setting::Strict(service.strict),
            SettingKind::Expires => Setting::Expires(service.expires_ms),
        }
    }

    /// Whether it is a pool's; the others are a service's.
    pub fn is_of_pool(self) -> bool {
        matches!(
            self,
            SettingKind::Slots | SettingKind::MaxQueue | SettingKind::Wait | SettingKind::Ttl | SettingKind::LostAfter
        )
    }
}

/// One setting and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// How many leases of the pool may exist at once. Default 10 %.
    Slots(Slots),
    /// How many may wait for the pool. Default 10000.
    MaxQueue(u32),
    /// How long a waiter waits, in milliseconds. Default 10 min.
    Wait(u64),
    /// How long a lease lives without being renewed, in milliseconds. Default 30 s.
    Ttl(u64),
    /// How long a lost lease goes on counting, in milliseconds; `None` is for ever. Default 1 h.
    LostAfter(Option<u64>),
    /// How many failed hosts halt a rollout. Default 3.
    MaxFailures(u32),
    /// Whether hosts in flight count as failed when another wants to begin. Default no.
    Strict(bool),
    /// How long a rollout is owed, in milliseconds. Default 24 h.
    Expires(u64),
}

/// Why a setting was refused; fits after "cannot set: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// The number lies outside its bounds.
    #[error("{word} lies between {least} and {most}, and this is {found}")]
    OutOfBounds {
        /// Which setting.
        word: &'static str,
        /// The least that it may be, as people type it.
        least: String,
        /// The most.
        most: String,
        /// What was given; `more` when that is a longer time than anybody needs.
        found: String,
    },
    /// A pool's setting given to a service, or the other way round.
    #[error("{word} is a setting of a {owner}, and {scope} is none")]
    WrongScope {
        /// Which setting.
        word: &'static str,
        /// What has such a setting.
        owner: &'static str,
        /// What it was given for.
        scope: String,
    },
}

impl Setting {
    /// Which setting it is.
    pub fn kind(self) -> SettingKind {
        match self {
            Setting::Slots(_) => SettingKind::Slots,
            Setting::MaxQueue(_) => SettingKind::MaxQueue,
            Setting::Wait(_) => SettingKind::Wait,
            Setting::Ttl(_) => SettingKind::Ttl,
            Setting::LostAfter(_) => SettingKind::LostAfter,
            Setting::MaxFailures(_) => SettingKind::MaxFailures,
            Setting::Strict(_) => SettingKind::Strict,
            Setting::Expires(_) => SettingKind::Expires,
        }
    }

    /// Nothing, when the value and the scope fit each other and their bounds.
    ///
    /// # Errors
    /// A number out of bounds, or a scope that has no such setting.
    pub fn check(self, scope: &Scope) -> Result<(), SettingError> {
        let word = self.kind().word();
        let (least, most, found) = match self {
            Setting::Slots(Slots::Count(count)) => (1, u64::from(SLOTS_MAX), u64::from(count)),
            Setting::Slots(Slots::Percent(percent)) => (1, 100, u64::from(percent)),
            Setting::MaxQueue(count) => (1, 1_000_000, u64::from(count)),
            Setting::Wait(ms) | Setting::Expires(ms) => (1000, SPAN_MS_MAX, ms),
            Setting::Ttl(ms) => (TTL_MS_MIN, SPAN_MS_MAX, ms),
            Setting::LostAfter(Some(ms)) => (0, SPAN_MS_MAX, ms),
            Setting::LostAfter(None) | Setting::Strict(_) => (0, 0, 0),
            Setting::MaxFailures(count) => (1, 1_000_000, u64::from(count)),
        };
        if !(least..=most).contains(&found) {
            let [least, most, found] = self.typed([least, most, found]);
            return Err(SettingError::OutOfBounds { word, least, most, found });
        }
        match (scope, self.kind().is_of_pool()) {
            (Scope::All, _) | (Scope::Pool(_), true) | (Scope::Service(_), false) => Ok(()),
            (_, of_pool) => Err(SettingError::WrongScope {
                word,
                owner: if of_pool { "pool" } else { "service" },
                scope: scope.to_string(),
            }),
        }
    }
}

impl Setting {
    /// Its bounds and its value, as people type them.
    fn typed(self, numbers: [u64; 3]) -> [String; 3] {
        match self {
            Setting::Slots(Slots::Percent(_)) => numbers.map(|percent| format!("{percent}%")),
            Setting::Wait(_) | Setting::Ttl(_) | Setting::LostAfter(_) | Setting::Expires(_) => {
                numbers.map(|ms| if ms > SPAN_MS_MAX { "more".to_owned() } else { span(ms) })
            }
            _ => numbers.map(|number| number.to_string()),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::Slots(slots) => write!(f, "{slots}"),
            Setting::MaxQueue(count) | Setting::MaxFailures(count) => write!(f, "{count}"),
            Setting::Wait(ms) | Setting::Ttl(ms) | Setting::Expires(ms) | Setting::LostAfter(Some(ms)) => {
                f.write_str(&span(*ms))
            }
            Setting::LostAfter(None) => f.write_str("never"),
            Setting::Strict(strict) => write!(f, "{strict}"),
        }
    }
}

/// A number with what it counts, in one form for one and another for more: `1 host`, `2 hosts`.
pub fn count(number: u32, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// A duration as people type it: `90s`, `1m30s`, `250ms`, `1h`; two units at most.
pub fn span(ms: u64) -> String {
    const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let Some(first) = UNITS.iter().position(|(_, size)| ms >= *size) else {
        return "0s".to_owned();
    };
    let (unit, size) = UNITS[first];
    let (whole, rest) = (ms / size, ms % size);
    match UNITS.get(first + 1) {
        Some((next, part)) if rest / part > 0 => format!("{whole}{unit}{}{next}", rest / part),
        _ => format!("{whole}{unit}"),
    }
}

/// A setting that somebody changed, with who and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// What it is about.
    pub scope: Scope,
    /// The value.
    pub setting: Setting,
    /// Who set it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When, for people.
    pub at: Wall,
    /// When it goes back by itself.
    pub until: Option<Time>,
    /// What it goes back to, when that was set too.
    pub before: Option<Box<Override>>,
}

/// What holds for one pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRules {
    /// How many leases may exist at once.
    pub slots: Slots,
    /// Where `slots` comes from: `default`, the line of the lock server's file, or who set it and why.
    pub source: String,
    /// How many may wait.
    pub max_queue: u32,
    /// How long a waiter waits, in milliseconds.
    pub wait_ms: u64,
    /// How long a lease lives without being renewed, in milliseconds.
    pub ttl_ms: u64,
    /// How long a lost lease goes on counting, in milliseconds; `None` is for ever.
    pub lost_after_ms: Option<u64>,
}

impl Default for PoolRules {
    fn default() -> Self {
        Self {
            slots: Slots::Percent(10),
            source: "default".to_owned(),
            max_queue: 10_000,
            wait_ms: 600_000,
            ttl_ms: 30_000,
            lost_after_ms: Some(3_600_000),
        }
    }
}

/// What holds for the rollouts of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRules {
    /// How many failed hosts halt a rollout.
    pub max_failures: u32,
    /// Whether hosts in flight count as failed when another wants to begin.
    pub strict: bool,
    /// How long a rollout is owed, in milliseconds.
    pub expires_ms: u64,
}

impl Default for ServiceRules {
    fn default() -> Self {
        Self { max_failures: 3, strict: false, expires_ms: 24 * 3_600_000 }
    }
}

impl PoolRules {
    /// Puts one override in force.
    pub(crate) fn take(&mut self, from: &Override) {
        self.put(from.setting, || format!("set {} slots={} by {}: {}", from.scope, from.setting, from.by, from.reason));
    }

    /// Puts a value in force; `source` is where it comes from, should it be the slots.
    pub(crate) fn put(&mut self, setting: Setting, source: impl FnOnce() -> String) {
        match setting {
            Setting::Slots(slots) => {
                self.slots = slots;
                self.source = source();
            }
            Setting::MaxQueue(count) => self.max_queue = count,
            Setting::Wait(ms) => self.wait_ms = ms,
            Setting::Ttl(ms) => self.ttl_ms = ms,
            Setting::LostAfter(ms) => self.lost_after_ms = ms,
            Setting::MaxFailures(_) | Setting::Strict(_) | Setting::Expires(_) => {}
        }
    }
}

impl ServiceRules {
    /// Puts a value in force.
    pub(crate) fn put(&mut self, setting: Setting) {
        match setting {
            Setting::MaxFailures(count) => self.max_failures = count,
            Setting::Strict(strict) => self.strict = strict,
            Setting::Expires(ms) => self.expires_ms = ms,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_rounded_down_and_never_nothing() {
        assert_eq!(Slots::Percent(10).of(352), 35);
        assert_eq!(Slots::Percent(10).of(9), 1);
        assert_eq!(Slots::Percent(10).of(0), 1);
        assert_eq!(Slots::Percent(100).of(7), 7);
        assert_eq!(Slots::Count(3).of(0), 3);
        assert_eq!(Slots::Percent(100).of(usize::MAX), SLOTS_MAX);
    }

    #[test]
    fn spans_read_as_people_type_them() {
        for (ms, text) in [
            (0, "0s"),
            (1, "1ms"),
            (999, "999ms"),
            (1000, "1s"),
            (1250, "1s250ms"),
            (90_000, "1m30s"),
            (3_600_000, "1h"),
            (3_660_000, "1h1m"),
            (3_601_000, "1h"),
            (86_400_000, "1d"),
            (90_000_000, "1d1h"),
        ] {
            assert_eq!(span(ms), text);
        }
    }

    #[test]
    fn settings_know_their_bounds_and_their_owner() {
        let pool: Scope = "pool/app".parse().expect("a scope");
        let service: Scope = "service/php".parse().expect("a scope");
        let bounds = |setting: Setting, expected: &str| {
            let wrong = setting.check(&Scope::All).expect_err("out of bounds");
            assert_eq!(wrong.to_string(), format!("{} lies between {expected}", setting.kind().word()));
        };
        bounds(Setting::Slots(Slots::Count(0)), "1 and 100000, and this is 0");
        bounds(Setting::Slots(Slots::Percent(200)), "1% and 100%, and this is 200%");
        bounds(Setting::Ttl(499), "500ms and 365d, and this is 499ms");
        bounds(Setting::Wait(0), "1s and 365d, and this is 0s");
        bounds(Setting::Expires(SPAN_MS_MAX + 1), "1s and 365d, and this is more");
        bounds(Setting::MaxQueue(0), "1 and 1000000, and this is 0");
        bounds(Setting::MaxFailures(0), "1 and 1000000, and this is 0");
        bounds(Setting::LostAfter(Some(u64::MAX)), "0s and 365d, and this is more");
        assert_eq!(Setting::Ttl(500).check(&pool), Ok(()));
        assert_eq!(Setting::Strict(true).check(&service), Ok(()));
        assert_eq!(Setting::LostAfter(None).check(&Scope::All), Ok(()));
        assert!(matches!(Setting::Ttl(500).check(&service), Err(SettingError::WrongScope { owner: "pool", .. })));
        assert!(matches!(Setting::Strict(true).check(&pool), Err(SettingError::WrongScope { owner: "service", .. })));
    }

    #[test]
    fn settings_print_their_value_and_their_word() {
        let all = [
            (Setting::Slots(Slots::Percent(10)), "slots", "10%", true),
            (Setting::MaxQueue(7), "max_queue", "7", true),
            (Setting::Wait(600_000), "wait", "10m", true),
            (Setting::Ttl(2000), "ttl", "2s", true),
            (Setting::LostAfter(None), "lost_after", "never", true),
            (Setting::MaxFailures(3), "max_failures", "3", false),
            (Setting::Strict(true), "strict", "true", false),
            (Setting::Expires(3_600_000), "expires", "1h", false),
        ];
        for ((setting, word, value, of_pool), kind) in all.into_iter().zip(SettingKind::ALL) {
            assert_eq!(setting.kind(), kind);
            assert_eq!((kind.word(), setting.to_string().as_str(), kind.is_of_pool()), (word, value, of_pool));
        }
        assert_eq!(Slots::Count(4).to_string(), "4");
        assert_eq!(Setting::LostAfter(Some(1000)).to_string(), "1s");
    }
}
