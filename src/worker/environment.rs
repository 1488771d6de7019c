//! What a command is told of the lease that it runs under.

use model::names::{Holder, Pool, Token};
use std::collections::BTreeMap;

/// `STAGGER_TOKEN`, the fencing token of the lease, or `pool:token,pool:token` when it covers several pools;
/// `STAGGER_TOKENS`, always in that form; and `STAGGER_HOLDER`. Without a lease only the holder.
pub fn environment(tokens: &BTreeMap<Pool, Token>, holder: &Holder) -> BTreeMap<&'static str, String> {
    let each = tokens.iter().map(|(pool, token)| format!("{pool}:{token}")).collect::<Vec<_>>().join(",");
    let mut told = BTreeMap::from([("STAGGER_HOLDER", holder.to_string())]);
    let one = tokens.values().next().filter(|_| tokens.len() == 1).map(ToString::to_string);
    if !tokens.is_empty() {
        told.insert("STAGGER_TOKEN", one.unwrap_or_else(|| each.clone()));
        told.insert("STAGGER_TOKENS", each);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pool_gives_a_bare_token_and_several_name_theirs() {
        let holder: Holder = "mw1".parse().expect("a holder");
        let pool = |name: &str| name.parse::<Pool>().expect("a pool");
        let told = environment(&BTreeMap::from([(pool("app"), 7)]), &holder);
        assert_eq!((told["STAGGER_TOKEN"].as_str(), told["STAGGER_TOKENS"].as_str()), ("7", "app:7"));
        let told = environment(&BTreeMap::from([(pool("app"), 7), (pool("rack"), 9)]), &holder);
        assert_eq!(told["STAGGER_TOKEN"], "app:7,rack:9");
        assert_eq!(told["STAGGER_TOKENS"], "app:7,rack:9");
        let told = environment(&BTreeMap::new(), &holder);
        assert_eq!(told, BTreeMap::from([("STAGGER_HOLDER", "mw1".to_owned())]));
    }
}
