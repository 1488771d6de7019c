//! Scopes on the command line: strict where something is changed, lenient where something is looked at.

use model::names::{NameError, Scope};

/// A scope, or a bare name: `mw1331` is a host, `php-fpm@42` a rollout. Only for looking: a bare service would be read as a
/// host, and what changes something must not guess.
///
/// # Errors
/// It is neither.
pub(crate) fn lenient(text: &str) -> Result<Scope, NameError> {
    match text {
        _ if text == "all" || text.contains('/') => text.parse(),
        _ if text.contains('@') => text.parse().map(Scope::Rollout),
        _ => text.parse().map(Scope::Host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_a_host_and_one_with_an_at_a_rollout() {
        for (text, scope) in
            [("mw1331", "host/mw1331"), ("php-fpm@42", "rollout/php-fpm@42"), ("pool/a", "pool/a"), ("all", "all")]
        {
            assert_eq!(lenient(text).map(|scope| scope.to_string()), Ok(scope.to_owned()));
        }
        assert_eq!(lenient("pools/a"), Err(NameError::NoScope("pools/a".to_owned())));
        assert!(lenient("a b").is_err() && lenient("").is_err() && lenient("a@b").is_err());
    }
}
