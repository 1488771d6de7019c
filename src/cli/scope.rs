//! Scopes and names on the command line, in whichever spelling messages print them: `pool/app` or `app`, `rollout/web@3` or
//! `web@3`, `host/mw1` or `mw1`. Owns how they are read; what a bare name means, [`super::known`] says.

use model::names::{Holder, NameError, Pool, RolloutName, Scope, Service};

/// A scope: written whole, or a bare name, which may be that of a pool, a service or a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Written whole; or `SERVICE@N`, which can only be a rollout.
    Scope(Scope),
    /// A bare name.
    Bare(String),
}

/// A scope, `S@N`, or a bare name.
///
/// # Errors
/// It is none of them.
pub(crate) fn typed(text: &str) -> Result<Typed, NameError> {
    match text {
        _ if text == "all" || text.contains('/') => text.parse().map(Typed::Scope),
        _ if text.contains('@') => text.parse().map(|name| Typed::Scope(Scope::Rollout(name))),
        _ => text.parse::<Holder>().map(|_| Typed::Bare(text.to_owned())),
    }
}

/// A rollout: `S@N` or `rollout/S@N`.
///
/// # Errors
/// It is neither.
pub(crate) fn rollout(text: &str) -> Result<RolloutName, NameError> {
    text.strip_prefix("rollout/").unwrap_or(text).parse()
}

/// A pool: its name, or `pool/NAME`.
///
/// # Errors
/// It is neither.
pub(crate) fn pool(text: &str) -> Result<Pool, NameError> {
    text.strip_prefix("pool/").unwrap_or(text).parse()
}

/// A pool: its name, or `pool/NAME`; or `all`.
///
/// # Errors
/// It is none of them.
pub(crate) fn pool_or_all(text: &str) -> Result<Scope, NameError> {
    if text == "all" { Ok(Scope::All) } else { pool(text).map(Scope::Pool) }
}

/// A holder: its name, or `host/NAME`.
///
/// # Errors
/// It is neither.
pub(crate) fn holder(text: &str) -> Result<Holder, NameError> {
    text.strip_prefix("host/").unwrap_or(text).parse()
}

/// A service: its name, or `service/NAME`.
///
/// # Errors
/// It is neither.
pub(crate) fn service(text: &str) -> Result<Service, NameError> {
    text.strip_prefix("service/").unwrap_or(text).parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_stays_bare() {
        let scope = |text: &str| Typed::Scope(text.parse().expect("a scope"));
        assert_eq!(typed("all"), Ok(scope("all")));
        assert_eq!(typed("pool/a"), Ok(scope("pool/a")));
        assert_eq!(typed("php-fpm@42"), Ok(scope("rollout/php-fpm@42")));
        assert_eq!(typed("rollout/php-fpm@42"), Ok(scope("rollout/php-fpm@42")));
        assert_eq!(typed("php-fpm"), Ok(Typed::Bare("php-fpm".to_owned())));
        assert_eq!(typed("pools/a"), Err(NameError::NoScope("pools/a".to_owned())));
        assert!(typed("").is_err() && typed("a b").is_err() && typed("a@b").is_err());
    }

    #[test]
    fn a_name_of_one_kind_is_read_in_both_spellings() {
        assert_eq!(rollout("web@3"), rollout("rollout/web@3"));
        assert_eq!(holder("host/mw1").map(|name| name.to_string()), Ok("mw1".to_owned()));
        assert_eq!(service("service/web"), service("web"));
        assert_eq!(pool("pool/app"), pool("app"));
        assert_eq!((pool_or_all("all"), pool_or_all("pool/all")), (Ok(Scope::All), pool("all").map(Scope::Pool)));
        assert!(rollout("pool/web@3").is_err() && holder("pool/mw1").is_err() && service("host/web").is_err());
    }
}
