//! How many of everything a domain holds at most.
//!
//! What would be one too many is refused, with the bound and what to do. What exists is never refused for a bound: nobody
//! who renews, begins, settles or asks again comes by here. Settings are bounded by the names that they are for, leases by
//! the slots, operations and the history by what is forgotten.

use crate::lease::POOLS_PER_LEASE_MAX;
use crate::member::SERVICES_PER_MEMBER_MAX;
use crate::names::{Pool, Scope, Service};
use crate::request::Join;
use crate::view::View;
use std::collections::BTreeSet;

/// Most pools that may be known. None that was ever granted is forgotten, since its tokens must grow.
pub const POOLS_MAX: usize = 4_096;
/// Most services that may be known. None that was ever announced is forgotten, since its generations must grow.
pub const SERVICES_MAX: usize = 1_024;
/// Most members.
pub const MEMBERS_MAX: usize = 16_384;
/// Most waiters, whatever they wait for.
pub const TICKETS_MAX: usize = 65_536;
/// Most pauses at once; one of everything always fits.
pub const PAUSES_MAX: usize = 1_024;
/// Most rollouts that are kept, over or not.
pub const ROLLOUTS_MAX: usize = 4_096;
/// Most rollouts that are kept though they are over and a newer one took their place, and most of their targets.
pub const ROLLOUTS_PAST_MAX: usize = 1_000;
/// See [`ROLLOUTS_PAST_MAX`].
pub const TARGETS_PAST_MAX: usize = 262_144;

/// Which bound is reached, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) why: String,
    pub(crate) hint: String,
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.why, self.hint)
    }
}

fn full(why: String, hint: &str) -> Option<Full> {
    Some(Full { why, hint: hint.to_owned() })
}

/// Whether these pools would be too many.
pub(crate) fn pools<'p>(view: &View<'_>, pools: impl IntoIterator<Item = &'p Pool>) -> Option<Full> {
    let known = view.known_pools();
    let new: BTreeSet<&Pool> = pools.into_iter().filter(|pool| !known.contains(pool)).collect();
    let first = new.first().filter(|_| known.len() + new.len() > POOLS_MAX)?;
    let why = format!("pool/{first} would be new, and at most {POOLS_MAX} pools are known at once");
    full(why, "use one of those that stagger pools shows")
}

/// Whether these services would be too many.
pub(crate) fn services<'s>(view: &View<'_>, services: impl IntoIterator<Item = &'s Service>) -> Option<Full> {
    let known = view.known_services();
    let new: BTreeSet<&Service> = services.into_iter().filter(|service| !known.contains(service)).collect();
    let first = new.first().filter(|_| known.len() + new.len() > SERVICES_MAX)?;
    let why = format!("service/{first} would be new, and at most {SERVICES_MAX} services are known at once");
    full(why, "use one of those that stagger members shows")
}

/// Whether the pool or service of a setting would be one too many.
pub(crate) fn setting(view: &View<'_>, scope: &Scope) -> Option<Full> {
    match scope {
        Scope::Pool(pool) => pools(view, [pool]),
        Scope::Service(service) => services(view, [service]),
        _ => None,
    }
}

/// Whether a worker cannot be let in: it, or what it has, would be too much.
pub(crate) fn member(view: &View<'_>, join: &Join) -> Option<Full> {
    let count = join.services.len();
    if count > SERVICES_PER_MEMBER_MAX {
        let why = format!("{} has {count} services, and a member has at most {SERVICES_PER_MEMBER_MAX}", join.host);
        return full(why, "configure fewer");
    }
    if let Some((service, pools)) = join.services.iter().find(|(_, pools)| pools.len() > POOLS_PER_LEASE_MAX) {
        let why = format!("{service} is in {} pools, and a lease covers at most {POOLS_PER_LEASE_MAX}", pools.len());
        return full(why, "configure fewer");
    }
    if view.member(&join.host).is_none() && view.hosts() >= MEMBERS_MAX {
        let why = format!("{} would be new, and there are {MEMBERS_MAX} members already", join.host);
        return full(why, "stagger release HOST --forget for each that is gone for good");
    }
    pools(view, join.services.values().flatten()).or_else(|| services(view, join.services.keys()))
}

/// Whether another waiter would be one too many.
pub(crate) fn ticket(view: &View<'_>) -> Option<Full> {
    if view.waiting() < TICKETS_MAX {
        return None;
    }
    full(format!("{TICKETS_MAX} wait already, for one pool or another"), "try again later")
}

/// Whether a pause of something else would be one too many. Everything can be paused whatever there is.
pub(crate) fn pause(view: &View<'_>, scope: &Scope) -> Option<Full> {
    if *scope == Scope::All || view.pause(scope).is_some() || view.pauses().count() < PAUSES_MAX {
        return None;
    }
    full(format!("there are {PAUSES_MAX} pauses already"), "resume some, or pause a pool, a service or all instead")
}

/// Whether another rollout would be one too many.
pub(crate) fn rollout(view: &View<'_>) -> Option<Full> {
    if view.rollouts().count() >= ROLLOUTS_MAX {
        let why = format!("{ROLLOUTS_MAX} rollouts are kept already");
        return full(why, "try again in a few seconds: the oldest that are over are forgotten by then");
    }
    None
}
