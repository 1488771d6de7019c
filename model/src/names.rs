//! The names of things: each its own type, checked where it enters, so that a pool cannot be taken for a host.
//!
//! Owns what a name may look like. Never knows whether the thing exists.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest name, in bytes. It bounds every record, line and path that holds one.
pub const NAME_BYTES_MAX: usize = 256;

/// Why a name was refused; each fits after "cannot read the name: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a {0} needs a name, and this one is empty")]
    Empty(&'static str),
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("a {kind} is named by at most {NAME_BYTES_MAX} bytes, and this one has {bytes}")]
    TooLong {
        /// What was to be named.
        kind: &'static str,
        /// How long it was.
        bytes: usize,
    },
    /// A character that would not survive a path, a key or a line.
    #[error("a {kind} is named by letters, digits and . _ - : + (not {found:?})")]
    BadCharacter {
        /// What was to be named.
        kind: &'static str,
        /// The first character that does not belong.
        found: char,
    },
    /// A scope that is none of the known forms.
    #[error("{0:?} is no scope: write all, pool/NAME, service/NAME, host/NAME or rollout/SERVICE@N")]
    NoScope(String),
    /// A rollout that is not `SERVICE@N`.
    #[error("{0:?} is no rollout: write SERVICE@N, such as php-fpm@42")]
    NoRollout(String),
}

fn checked(kind: &'static str, text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty(kind));
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { kind, bytes: text.len() });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '+');
    match text.chars().find(|c| !allowed(*c)) {
        Some(found) => Err(NameError::BadCharacter { kind, found }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                checked($kind, text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                checked($kind, &text)?;
                Ok(Self(text))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// A named group of interchangeable hosts with a counter.
    Pool, "pool"
);
name!(
    /// A machine, by the name its balancers know.
    Host, "host"
);
name!(
    /// Something on a host that restarts as one.
    Service, "service"
);
name!(
    /// Who has a lease, or waits for one: a host, or a name given to `run`.
    Holder, "holder"
);
name!(
    /// A random name that makes a repeated request recognisable: of an operation, a session or a claim.
    Id, "id"
);

impl From<Host> for Holder {
    fn from(host: Host) -> Holder {
        Holder(host.0)
    }
}

impl Holder {
    /// The host of this name, for scopes and members; a `run` holder is read as a host too, so that `pause host/…` reaches it.
    pub fn as_host(&self) -> Host {
        Host(self.0.clone())
    }
}

/// A rollout's number within its service; it only grows.
pub type Generation = u64;

/// A number that only grows per pool, one per grant.
pub type Token = u64;

/// One announced deploy, by name: `php-fpm@42`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RolloutName {
    /// What restarts.
    pub service: Service,
    /// Which announcement of it.
    pub generation: Generation,
}

impl fmt::Display for RolloutName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}@{}", self.service, self.generation))
    }
}

impl FromStr for RolloutName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError::NoRollout(text.chars().take(NAME_BYTES_MAX).collect());
        let (service, generation) = text.rsplit_once('@').ok_or_else(wrong)?;
        Ok(Self { service: service.parse()?, generation: generation.parse().map_err(|_| wrong())? })
    }
}

impl TryFrom<String> for RolloutName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<RolloutName> for String {
    fn from(name: RolloutName) -> String {
        name.to_string()
    }
}

/// What a pause, a setting or a question is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// Everything in the domain.
    All,
    /// One pool.
    Pool(Pool),
    /// One service, on all hosts.
    Service(Service),
    /// One host, or one holder of `run`.
    Host(Host),
    /// One rollout.
    Rollout(RolloutName),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::All => f.pad("all"),
            Scope::Pool(name) => f.pad(&format!("pool/{name}")),
            Scope::Service(name) => f.pad(&format!("service/{name}")),
            Scope::Host(name) => f.pad(&format!("host/{name}")),
            Scope::Rollout(name) => f.pad(&format!("rollout/{name}")),
        }
    }
}

impl FromStr for Scope {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "all" {
            return Ok(Scope::All);
        }
        match text.split_once('/') {
            Some(("pool", name)) => Ok(Scope::Pool(name.parse()?)),
            Some(("service", name)) => Ok(Scope::Service(name.parse()?)),
            Some(("host", name)) => Ok(Scope::Host(name.parse()?)),
            Some(("rollout", name)) => Ok(Scope::Rollout(name.parse()?)),
            _ => Err(NameError::NoScope(text.chars().take(NAME_BYTES_MAX).collect())),
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> String {
        scope.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_where_they_enter() {
        assert_eq!("".parse::<Pool>(), Err(NameError::Empty("pool")));
        assert_eq!("a b".parse::<Host>(), Err(NameError::BadCharacter { kind: "host", found: ' ' }));
        assert_eq!("<script>".parse::<Host>(), Err(NameError::BadCharacter { kind: "host", found: '<' }));
        assert_eq!("a".repeat(257).parse::<Service>(), Err(NameError::TooLong { kind: "service", bytes: 257 }));
        assert!("a".repeat(256).parse::<Holder>().is_ok());
        assert_eq!("rack.b4".parse::<Pool>().map(String::from), Ok("rack.b4".to_owned()));
        for ok in [".", "_", "-", ":", "+", "Z9"] {
            assert!(ok.parse::<Id>().is_ok(), "{ok}");
        }
    }

    #[test]
    fn scopes_and_rollouts_read_as_they_print() {
        for text in ["all", "pool/app", "service/php-fpm", "host/mw1331", "rollout/php-fpm@42"] {
            assert_eq!(text.parse::<Scope>().map(|scope| scope.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("hosts/x".parse::<Scope>(), Err(NameError::NoScope("hosts/x".into())));
        assert_eq!("pool".parse::<Scope>(), Err(NameError::NoScope("pool".into())));
        assert_eq!("rollout/php".parse::<Scope>(), Err(NameError::NoRollout("php".into())));
        assert_eq!("php@x".parse::<RolloutName>(), Err(NameError::NoRollout("php@x".into())));
        let name: RolloutName = "php@7".parse().expect("a name");
        assert_eq!((name.service.as_str(), name.generation), ("php", 7));
    }
}
