//! Whether what a scope names is there; and, when it is not, what was probably meant.
//!
//! Owns the looking up and the sentences. A command that looks refuses what is not there ([`must`]); one that changes something
//! says so and goes on ([`warn`]), since a pool may be set or paused before its first worker joins. Decides nothing else.

use super::client::Client;
use super::failure::Failure;
use super::out;
use super::scope::Typed;
use crate::config::nearest::distance;
use model::lease::Lease;
use model::names::{Host, NameError, Pool, Scope, Service};
use std::collections::BTreeSet;
use std::time::Duration;

/// How many names are offered in the place of one that is not there.
const OFFERED_MAX: usize = 3;
/// How long a command waits for a warning that it could do without.
const MOMENT: Duration = Duration::from_secs(1);

/// Refuses a scope that names nothing that is there.
///
/// # Errors
/// Nothing is named so: with the nearest names that are there. Or the coordinator cannot be asked.
pub(crate) async fn must(client: &Client, scope: &Scope) -> Result<(), Failure> {
    if is_known(client, scope).await? {
        return Ok(());
    }
    let near = nearest(client, scope).await?;
    Err(Failure::Refused { why: nothing(scope), hint: meant(&near, scope) })
}

/// As [`must`], when a list came out empty: of something that is there, it is rightly so.
///
/// # Errors
/// As [`must`].
pub(crate) async fn must_when_empty(client: &Client, scope: Option<&Scope>, is_empty: bool) -> Result<(), Failure> {
    match scope {
        Some(scope) if is_empty => must(client, scope).await,
        _ => Ok(()),
    }
}

/// Says so when a scope names nothing that is there yet. A rollout is refused: nobody names it before it is announced.
///
/// # Errors
/// There is no such rollout; or the coordinator cannot be asked.
pub(crate) async fn warn(client: &Client, scope: &Scope) -> Result<(), Failure> {
    if matches!(scope, Scope::Rollout(_)) {
        return must(client, scope).await;
    }
    if !is_known(client, scope).await? {
        let near = nearest(client, scope).await?;
        out::note(&format!("warning: {} yet\nhint: {}", nothing(scope), meant(&near, scope)));
    }
    Ok(())
}

/// The refusal of a deploy that no host would restart for, with what was probably meant.
pub(crate) async fn for_nobody(client: &Client, service: &Service, only: &[Scope]) -> Failure {
    let scope = Scope::Service(service.clone());
    let hint = match only {
        // Without an answer there is nothing to offer, and it is refused all the same.
        [] => meant(&nearest(client, &scope).await.unwrap_or_default(), &scope),
        _ => format!("those that have it: stagger members {scope}"),
    };
    Failure::Refused { why: model::request::for_nobody(service, only), hint }
}

/// What was typed, when only one thing of that name is there.
///
/// # Errors
/// A bare name is that of nothing, or of several things, which are then named. Or the coordinator cannot be asked.
pub(crate) async fn the_one(client: &Client, typed: Typed) -> Result<Scope, Failure> {
    match typed {
        Typed::Scope(scope) => Ok(scope),
        Typed::Bare(name) => {
            let known = names(client).await?;
            the_one_of(&name, &known)?.ok_or_else(|| nothing_named(&name, &known))
        }
    }
}

/// What is to be looked at: a bare name is a host or a holder when there is one, else the only thing that has it. When nothing has it,
/// a host, for whoever looks to refuse.
///
/// # Errors
/// Several things have the name, and no host; they are then named. Or the coordinator cannot be asked.
pub(crate) async fn looked_at(client: &Client, typed: Typed) -> Result<Scope, Failure> {
    let name = match typed {
        Typed::Scope(scope) => return Ok(scope),
        Typed::Bare(name) => name,
    };
    let host: Host = name.parse().map_err(|error: NameError| Failure::usage(error.to_string(), "write host/NAME"))?;
    let (host, known) = (Scope::Host(host), names(client).await?);
    if known.contains(&host) {
        return Ok(host);
    }
    Ok(the_one_of(&name, &known)?.unwrap_or(host))
}

/// As [`looked_at`], when something was typed.
///
/// # Errors
/// As [`looked_at`].
pub(crate) async fn looked_at_if(client: &Client, typed: Option<Typed>) -> Result<Option<Scope>, Failure> {
    match typed {
        Some(typed) => looked_at(client, typed).await.map(Some),
        None => Ok(None),
    }
}

/// The only one of these that is named so; nothing when none is.
///
/// # Errors
/// Several are, which are then named.
pub(crate) fn the_one_of(name: &str, known: &[Scope]) -> Result<Option<Scope>, Failure> {
    let named: Vec<&Scope> = known.iter().filter(|scope| scope.to_string().split('/').nth(1) == Some(name)).collect();
    if let [] | [_] = named[..] {
        return Ok(named.first().copied().cloned());
    }
    let named = named.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    Err(Failure::Refused { why: format!("{name} can be {named}"), hint: "write which of them".to_owned() })
}

fn nothing_named(name: &str, known: &[Scope]) -> Failure {
    let kinds = ["pool", "service", "host"].iter().filter_map(|kind| format!("{kind}/{name}").parse().ok());
    let near: BTreeSet<Scope> = kinds.flat_map(|wanted: Scope| offered(&wanted, known)).collect();
    let near: Vec<Scope> = near.into_iter().take(OFFERED_MAX).collect();
    let why = format!("no pool, service or host {name} is known");
    Failure::Refused { why, hint: meant(&near, &Scope::All) }
}

/// Says so when a host that is back in its balancers still keeps the slots that it failed with. Takes a moment at most.
pub(crate) async fn note_kept_slots(client: &Client, host: &Host, service: &Service) {
    let leases = client.leases(Some(Scope::Host(host.clone())));
    let Ok(Ok(leases)) = tokio::time::timeout(MOMENT, leases).await else { return };
    for row in leases.leases.iter().filter(|row| row.lease.failed.contains_key(service)) {
        let pools = row.lease.pools.keys().map(Pool::as_str).collect::<Vec<_>>().join(", ");
        out::note(&format!(
            "{host} failed, and still keeps a slot of {pools}\n\
             hint: stagger restart {service} gives it back when it goes well; else: stagger release {host} --reason …"
        ));
    }
}

/// Says so when a lease is the very first of a pool that no host belongs to: its name may be mistyped. Takes a moment at most,
/// and nothing is said when the coordinator does not answer in it: the lease is there, and counts.
pub(crate) async fn warn_of_new_pools(client: &Client, lease: &Lease) {
    for (pool, _) in lease.pools.iter().filter(|(_, token)| **token == 1) {
        if let Ok(Ok(Some(warning))) = tokio::time::timeout(MOMENT, new_pool(client, pool)).await {
            out::note(&warning);
        }
    }
}

async fn new_pool(client: &Client, pool: &Pool) -> Result<Option<String>, Failure> {
    let scope = Scope::Pool(pool.clone());
    let rows = client.pools(Some(scope.clone())).await?;
    if rows.iter().any(|row| row.members > 0 || row.overrides.iter().any(|from| from.set.scope == scope)) {
        return Ok(None);
    }
    let slots = rows.first().map_or(1, |row| row.slots);
    let hint = meant(&nearest(client, &scope).await?, &scope);
    Ok(Some(format!("warning: {pool} is a new pool, of no host, with slots={slots}\nhint: {hint}")))
}

async fn is_known(client: &Client, scope: &Scope) -> Result<bool, Failure> {
    let here = Some(scope.clone());
    Ok(match scope {
        Scope::All => true,
        Scope::Pool(_) => !client.pools(here).await?.is_empty(),
        Scope::Rollout(_) => !client.rollouts(here).await?.is_empty(),
        Scope::Service(_) => {
            !client.members(here.clone()).await?.is_empty() || !client.rollouts(here).await?.is_empty()
        }
        Scope::Host(_) => {
            let is_member = !client.members(here.clone()).await?.is_empty();
            is_member || {
                let leases = client.leases(here).await?;
                !leases.leases.is_empty() || !leases.queue.is_empty()
            }
        }
    })
}

/// The names nearest to what is not there, nearest first.
async fn nearest(client: &Client, wanted: &Scope) -> Result<Vec<Scope>, Failure> {
    let known = match wanted {
        Scope::Rollout(_) => client.rollouts(None).await?.into_iter().map(|row| Scope::Rollout(row.name)).collect(),
        _ => names(client).await?,
    };
    Ok(offered(wanted, &known))
}

/// Everything but rollouts that has a name.
async fn names(client: &Client) -> Result<Vec<Scope>, Failure> {
    let members = client.members(None).await?;
    let leases = client.leases(None).await?;
    let mut names: BTreeSet<Scope> = client.pools(None).await?.into_iter().map(|row| Scope::Pool(row.pool)).collect();
    for member in members {
        names.extend(member.services.into_keys().map(Scope::Service));
        names.insert(Scope::Host(member.host));
    }
    names.extend(leases.leases.iter().map(|row| Scope::Host(row.lease.holder.as_host())));
    names.extend(leases.queue.iter().map(|row| Scope::Host(row.holder.as_host())));
    Ok(names.into_iter().collect())
}

/// Those that were probably meant: of the same name and another kind, then of the same kind and a similar name; of rollouts,
/// else, the newest of the service.
fn offered(wanted: &Scope, known: &[Scope]) -> Vec<Scope> {
    let mut near: Vec<(usize, &Scope)> = known
        .iter()
        .filter(|scope| *scope != wanted)
        .filter_map(|scope| Some((apart(wanted, scope)?, scope)))
        .collect();
    near.sort_by_key(|(apart, _)| *apart);
    near.into_iter().take(OFFERED_MAX).map(|(_, scope)| scope.clone()).collect()
}

/// How far a known scope is from the one that was named; nothing when it is too far.
fn apart(wanted: &Scope, known: &Scope) -> Option<usize> {
    match (wanted, known) {
        // The list is the newest first, and sorting keeps that.
        (Scope::Rollout(wanted), Scope::Rollout(known)) => distance(wanted.service.as_str(), known.service.as_str()),
        _ if std::mem::discriminant(wanted) == std::mem::discriminant(known) => distance(name(wanted), name(known)),
        _ => (name(wanted) == name(known)).then_some(0),
    }
}

fn name(scope: &Scope) -> &str {
    match scope {
        Scope::All => "all",
        Scope::Pool(name) => name.as_str(),
        Scope::Service(name) => name.as_str(),
        Scope::Host(name) => name.as_str(),
        Scope::Rollout(name) => name.service.as_str(),
    }
}

fn nothing(scope: &Scope) -> String {
    match scope {
        Scope::All => "nothing is known".to_owned(),
        Scope::Pool(pool) => format!("no pool {pool} is known"),
        Scope::Service(service) => format!("no service {service} is known"),
        Scope::Host(host) => format!("no host or holder {host} is known"),
        Scope::Rollout(name) => format!("there is no {name}"),
    }
}

fn meant(near: &[Scope], wanted: &Scope) -> String {
    let list = match wanted {
        Scope::All | Scope::Host(_) | Scope::Service(_) => "stagger members",
        Scope::Pool(_) => "stagger pools",
        Scope::Rollout(_) => "stagger rollouts",
    };
    match near {
        [] => format!("all that are known: {list}"),
        near => {
            let near = near.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            format!("did you mean {near}? All that are known: {list}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(texts: &[&str]) -> Vec<Scope> {
        texts.iter().map(|text| text.parse().expect("a scope")).collect()
    }

    fn near(wanted: &str, known: &[&str]) -> Vec<String> {
        offered(&wanted.parse().expect("a scope"), &scopes(known)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_nearest_of_the_same_kind_are_offered_and_the_same_name_of_another() {
        let known = ["pool/app-eqiad", "pool/app-codfw", "host/mw1331", "host/mw1332", "service/php-fpm", "pool/rack"];
        assert_eq!(near("pool/app-eqiat", &known), ["pool/app-eqiad"]);
        assert_eq!(near("host/mw133", &known), ["host/mw1331", "host/mw1332"]);
        assert_eq!(near("host/php-fpm", &known), ["service/php-fpm"]);
        assert_eq!(near("host/rack", &known), ["pool/rack"]);
        assert!(near("host/elsewhere", &known).is_empty());
        let many = ["host/a1", "host/a2", "host/a3", "host/a4"];
        assert_eq!(near("host/a5", &many).len(), OFFERED_MAX);
    }

    #[test]
    fn a_bare_name_is_what_alone_has_it() {
        let known = scopes(&["pool/web", "service/web", "service/api", "host/mw1"]);
        let one = |name: &str| {
            the_one_of(name, &known).map(|one| one.map(|one| one.to_string())).map_err(|failure| failure.render())
        };
        assert_eq!(one("api"), Ok(Some("service/api".to_owned())));
        assert_eq!(one("mw1"), Ok(Some("host/mw1".to_owned())));
        let several = "error: web can be pool/web or service/web\nhint: write which of them";
        assert_eq!(one("web"), Err(several.to_owned()));
        let none = nothing_named("mw2", &known).render();
        assert!(
            none.starts_with("error: no pool, service or host mw2 is known\nhint: did you mean host/mw1?"),
            "{none}"
        );
    }

    #[test]
    fn in_the_place_of_a_rollout_the_newest_of_its_service_are_offered() {
        let known = ["rollout/php-fpm@42", "rollout/web@7", "rollout/php-fpm@41"];
        assert_eq!(near("rollout/php-fpm@43", &known), ["rollout/php-fpm@42", "rollout/php-fpm@41"]);
        assert_eq!(near("rollout/php-fmp@42", &known), ["rollout/php-fpm@42", "rollout/php-fpm@41"]);
    }

    #[test]
    fn what_is_not_there_is_said_with_what_may_be_meant() {
        let wanted: Scope = "pool/typo".parse().expect("a scope");
        assert_eq!(nothing(&wanted), "no pool typo is known");
        assert_eq!(meant(&[], &wanted), "all that are known: stagger pools");
        let near = scopes(&["pool/tipo", "pool/type"]);
        assert_eq!(meant(&near, &wanted), "did you mean pool/tipo, pool/type? All that are known: stagger pools");
    }
}
