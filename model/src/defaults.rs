//! Defaults: what the lock server's file says of pools and services. It holds where nobody has set anything else.
//!
//! Owns the patterns by which a file names pools, and the bounds. Reads no file: each value comes with the place at which it
//! stands, for people.

use crate::names::{NAME_BYTES_MAX, Pool, Service};
use crate::settings::{Setting, SettingKind};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Most tables for pools, and most for services.
pub const TABLES_MAX: usize = 128;
/// Longest place, in bytes.
pub const PLACE_BYTES_MAX: usize = 128;

/// What a file says, whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Defaults {
    /// For pools: the first table that matches a pool counts for it, and no other.
    #[serde(default)]
    pub pools: Vec<PoolDefaults>,
    /// For the rollouts of services.
    #[serde(default)]
    pub services: BTreeMap<Service, Vec<FromFile>>,
}

/// What it says of the pools that match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolDefaults {
    /// Which pools.
    pub matches: Pattern,
    /// What holds for them.
    pub settings: Vec<FromFile>,
}

/// A setting, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromFile {
    /// The value.
    pub setting: Setting,
    /// File and line, such as `lockserver.toml:9`.
    pub place: String,
}

/// A request to take in what a file says, in the place of what one said before. The same again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Who read it, such as `lockserver@locks1`.
    pub by: String,
    /// Which file.
    pub file: String,
    /// What it says.
    pub defaults: Defaults,
}

/// The names of pools, with `*` for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

/// Why a pattern was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pool is named by letters, digits and . _ - : +, and * stands for any of these")]
pub struct PatternError;

impl FromStr for Pattern {
    type Err = PatternError;
    fn from_str(text: &str) -> Result<Pattern, PatternError> {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || ".-_:+*".contains(c);
        let is_one = !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.chars().all(is_of_name);
        if is_one { Ok(Pattern(text.to_owned())) } else { Err(PatternError) }
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;
    fn try_from(text: String) -> Result<Pattern, PatternError> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pattern {
    /// Whether it names this pool.
    pub fn matches(&self, pool: &Pool) -> bool {
        let (mut pattern, mut name) = (self.0.as_bytes(), pool.as_str().as_bytes());
        // What is left of both behind the last star, should the rest not fit: then the star takes one character more.
        let mut again: Option<(&[u8], &[u8])> = None;
        loop {
            match (pattern.split_first(), name.split_first()) {
                (Some((b'*', behind)), _) => {
                    again = Some((behind, name));
                    pattern = behind;
                }
                (Some((wanted, behind)), Some((found, rest))) if wanted == found => (pattern, name) = (behind, rest),
                (None, None) => return true,
                _ => match again.and_then(|(behind, from)| Some((behind, from.split_first()?.1))) {
                    Some((behind, from)) => {
                        again = Some((behind, from));
                        (pattern, name) = (behind, from);
                    }
                    None => return false,
                },
            }
        }
    }

    /// The one pool that it names, when it has no star.
    pub fn pool(&self) -> Option<Pool> {
        self.0.parse().ok()
    }
}

impl Defaults {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.pools.is_empty() && self.services.is_empty()
    }

    /// What it says of a pool.
    pub fn of_pool(&self, pool: &Pool) -> &[FromFile] {
        self.pools.iter().find(|table| table.matches.matches(pool)).map_or(&[], |table| &table.settings)
    }

    /// What it says of a service.
    pub fn of_service(&self, service: &Service) -> &[FromFile] {
        self.services.get(service).map_or(&[], Vec::as_slice)
    }

    /// The pools that it names one by one.
    pub fn named_pools(&self) -> BTreeSet<Pool> {
        self.pools.iter().filter_map(|table| table.matches.pool()).collect()
    }

    /// What is wrong, when something is; fits after "cannot take it: ".
    pub fn wrong(&self) -> Option<String> {
        if self.pools.len() > TABLES_MAX || self.services.len() > TABLES_MAX {
            return Some(format!("there are more than {TABLES_MAX} tables of one kind"));
        }
        let of_pools = self.pools.iter().map(|table| (true, &table.settings));
        let of_services = self.services.values().map(|settings| (false, settings));
        of_pools.chain(of_services).find_map(|(is_of_pool, settings)| wrong(is_of_pool, settings))
    }

    /// What differs in another, one by one: `rack.* slots 2 → 3`. Places do not count, the order of tables does.
    pub fn differences(&self, other: &Defaults) -> Vec<String> {
        let (before, after) = (self.entries(), other.entries());
        let shown = |value: Option<&Setting>| value.map_or_else(|| "default".to_owned(), Setting::to_string);
        let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let changed = keys.into_iter().filter(|key| before.get(*key) != after.get(*key));
        let told = |key: &(bool, &str, SettingKind)| {
            format!("{} {} {} → {}", key.1, key.2.word(), shown(before.get(key)), shown(after.get(key)))
        };
        let mut differences: Vec<String> = changed.map(told).collect();
        if differences.is_empty()
            && !self.pools.iter().map(|table| &table.matches).eq(other.pools.iter().map(|table| &table.matches))
        {
            differences.push("the order of the tables".to_owned());
        }
        differences
    }

    /// Each value by what it is for; of two tables with the same pattern the first counts.
    fn entries(&self) -> BTreeMap<(bool, &str, SettingKind), Setting> {
        let pools = self.pools.iter().map(|table| (true, table.matches.0.as_str(), &table.settings));
        let services = self.services.iter().map(|(service, settings)| (false, service.as_str(), settings));
        let mut entries = BTreeMap::new();
        for (is_pool, name, settings) in pools.chain(services) {
            for from in settings {
                entries.entry((is_pool, name, from.setting.kind())).or_insert(from.setting);
            }
        }
        entries
    }
}

fn wrong(is_of_pool: bool, settings: &[FromFile]) -> Option<String> {
    let mut seen = BTreeSet::new();
    settings.iter().find_map(|from| {
        let kind = from.setting.kind();
        if from.place.len() > PLACE_BYTES_MAX {
            return Some(format!("a place has more than {PLACE_BYTES_MAX} bytes"));
        }
        if kind.is_of_pool() != is_of_pool {
            return Some(format!("{}: {} stands in the wrong table", from.place, kind.word()));
        }
        if !seen.insert(kind) {
            return Some(format!("{}: {} is said twice", from.place, kind.word()));
        }
        from.setting.check(&crate::names::Scope::All).err().map(|error| format!("{}: {error}", from.place))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Slots;

    fn pattern(text: &str) -> Pattern {
        text.parse().expect("a pattern")
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (text, name, is_match) in [
            ("*", "app", true),
            ("app", "app", true),
            ("app", "app-eqiad", false),
            ("app", "ap", false),
            ("rack.*", "rack.b4", true),
            ("rack.*", "rack.", true),
            ("rack.*", "rack", false),
            ("*-eqiad", "app-eqiad", true),
            ("*-eqiad", "app-eqiad-2", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("a**", "a", true),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(pattern(text).matches(&name.parse().expect("a pool")), is_match, "{text} and {name}");
        }
        for wrong in ["", "a b", "rack.?", "ä*"] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
        assert_eq!(pattern("app").pool().map(|pool| pool.to_string()).as_deref(), Some("app"));
        assert_eq!(pattern("app*").pool(), None);
    }

    fn from(setting: Setting, place: &str) -> FromFile {
        FromFile { setting, place: place.to_owned() }
    }

    fn sample() -> Defaults {
        let table = |text: &str, settings| PoolDefaults { matches: pattern(text), settings };
        Defaults {
            pools: vec![
                table("rack.*", vec![from(Setting::Slots(Slots::Count(2)), "f:2")]),
                table("*", vec![from(Setting::Slots(Slots::Percent(5)), "f:5"), from(Setting::Ttl(60_000), "f:6")]),
            ],
            services: [("php".parse().expect("a service"), vec![from(Setting::MaxFailures(2), "f:9")])].into(),
        }
    }

    #[test]
    fn the_first_table_that_matches_counts_alone() {
        let defaults = sample();
        let places = |pool: &str| {
            let found = defaults.of_pool(&pool.parse().expect("a pool")).iter();
            found.map(|from| from.place.clone()).collect::<Vec<_>>()
        };
        assert_eq!(places("rack.b4"), ["f:2"]);
        assert_eq!(places("app"), ["f:5", "f:6"]);
        assert_eq!(defaults.wrong(), None);
    }

    #[test]
    fn what_cannot_hold_is_refused_with_its_place() {
        let with = |settings| Defaults { pools: vec![PoolDefaults { matches: pattern("*"), settings }], ..sample() };
        let wrong = |settings| with(settings).wrong().expect("wrong");
        assert_eq!(wrong(vec![from(Setting::Strict(true), "f:1")]), "f:1: strict stands in the wrong table");
        let twice = vec![from(Setting::Ttl(1000), "f:1"), from(Setting::Ttl(2000), "f:2")];
        assert_eq!(wrong(twice), "f:2: ttl is said twice");
        let none = wrong(vec![from(Setting::Slots(Slots::Count(0)), "f:1")]);
        assert_eq!(none, "f:1: slots lies between 1 and 100000, and this is 0");
        assert!(wrong(vec![from(Setting::Ttl(1000), &"f".repeat(PLACE_BYTES_MAX + 1))]).contains("more than"));
        let mut many = sample();
        many.pools = vec![many.pools[0].clone(); TABLES_MAX + 1];
        assert!(many.wrong().is_some());
    }

    #[test]
    fn only_values_differ_and_not_their_places() {
        let mut after = sample();
        after.pools[0].settings[0].place = "f:70".to_owned();
        assert_eq!(sample().differences(&after), Vec::<String>::new());
        after.pools[0].settings[0].setting = Setting::Slots(Slots::Count(3));
        after.services.clear();
        assert_eq!(sample().differences(&after), ["php max_failures 2 → default", "rack.* slots 2 → 3"]);
        after = sample();
        after.pools.reverse();
        assert!(!sample().differences(&after).is_empty(), "the first that matches counts");
    }
}
