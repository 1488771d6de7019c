//! The members, what they last saw of themselves, and whether that can still be believed.

use super::{MemberRow, Page, Selection, page};
use crate::lease::{Failure, Lease, LeaseState};
use crate::member::{Member, Presence, Sighting};
use crate::names::{Scope, Service};
use crate::sequence::Step;
use crate::state::State;
use crate::time::{Now, millis};

impl State {
    /// The members within a scope.
    pub fn read_members(&self, select: &Selection, now: Now) -> Page<MemberRow> {
        let about = |member: &Member| match &select.scope {
            None | Some(Scope::All) => true,
            Some(Scope::Host(host)) => member.host == *host,
            Some(Scope::Service(service)) => member.services.contains_key(service),
            Some(Scope::Pool(pool)) => member.pools().contains(pool),
            Some(Scope::Rollout(name)) => self.targets.get(name).is_some_and(|hosts| hosts.contains_key(&member.host)),
        };
        let rows = self.members.values().filter(|member| about(member));
        page(rows.map(|member| (member.host.to_string(), self.member_row(member, now))), select)
    }

    pub(crate) fn member_row(&self, member: &Member, now: Now) -> MemberRow {
        let lease = self.leases.get(&member.host.clone().into());
        let (presence, because) = presence(member, lease, now);
        MemberRow {
            host: member.host.clone(),
            down: member.is_down(now.time),
            heard_ms: millis(now.wall.since(member.heard.wall)),
            version: member.version.clone(),
            services: member.services.clone(),
            metrics: member.metrics.clone(),
            sightings: member.sightings.clone(),
            looked_ms: member.looked.map(|looked| millis(now.wall.since(looked.wall))),
            presence,
            because,
            in_although: in_although(member, lease, now).map(|seen| seen.balancer.clone()).collect(),
            trouble: member.trouble.clone(),
            lease: lease.map(|lease| lease.state),
            stuck: lease.is_some_and(Lease::is_stuck),
        }
    }
}

/// Whether a member is in rotation everywhere, and what else than its last look says so. What it saw is believed only while its
/// worker is there, and nothing was done under its lease since.
pub(crate) fn presence(member: &Member, lease: Option<&Lease>, now: Now) -> (Presence, String) {
    let seen = seen(member);
    let is_down = member.is_down(now.time);
    let at_work = lease.and_then(|lease| Some((lease, out_at(lease)?)));
    let unless_out = if seen == Presence::Out { Presence::Out } else { Presence::Unknown };
    match at_work {
        // It looks only when it is idle, so what it saw was before. Without a balancer there is nothing to be out of.
        Some((lease, _)) if lease.state == LeaseState::Held && !is_down && has_none(member) => (seen, String::new()),
        Some((lease, at)) if lease.state == LeaseState::Held && !is_down => {
            (Presence::Out, format!("by Stagger, {at}, for {}", lease.purpose))
        }
        Some((lease, at)) if is_down => (unless_out, format!("its worker is down; {} {at}", lease.state)),
        Some((lease, at)) if member.looked.is_none_or(|looked| looked.time < lease.since.time) => {
            (unless_out, format!("{} {at}, and it has not looked since", lease.state))
        }
        None if is_down => (unless_out, "its worker is down".to_owned()),
        _ if member.looked.is_none() && seen == Presence::In => (Presence::Unknown, "it has not looked yet".to_owned()),
        _ => (seen, String::new()),
    }
}

/// Where a member saw itself in rotation although a restart of that service failed, when it looked since. One that failed only as it
/// was put back was found well before.
pub(crate) fn in_although<'m>(
    member: &'m Member,
    lease: Option<&Lease>,
    now: Now,
) -> impl Iterator<Item = &'m Sighting> {
    let lease = lease.filter(|lease| lease.state == LeaseState::Failed && !member.is_down(now.time));
    let lease = lease.filter(|lease| member.looked.is_some_and(|looked| looked.time >= lease.since.time));
    let is_at_fault = |failure: &Failure| matches!(failure.step, Some(Step::Restart | Step::Verify));
    let failed = lease.into_iter().flat_map(|lease| &lease.failed).filter(move |(_, failure)| is_at_fault(failure));
    let failed: Vec<Service> = failed.map(|(service, _)| service.clone()).collect();
    let is_in = move |seen: &&Sighting| seen.presence == Presence::In && failed.contains(&seen.service);
    member.sightings.iter().filter(is_in)
}

/// What a member saw when it last looked, the worst of it.
fn seen(member: &Member) -> Presence {
    let all = || member.sightings.iter().map(|seen| seen.presence);
    if all().any(|presence| presence == Presence::Out) {
        return Presence::Out;
    }
    if all().any(|presence| presence == Presence::Unknown) { Presence::Unknown } else { Presence::In }
}

/// Whether it looked, and has no balancer.
fn has_none(member: &Member) -> bool {
    member.looked.is_some() && member.sightings.is_empty()
}

/// Where a lease stands, when its host may be out of a balancer by it: from depool on, or nobody can tell. Under a lease of which
/// no step is known nothing was done, unless it failed.
fn out_at(lease: &Lease) -> Option<String> {
    let failed_at = lease.failed.values().next().and_then(|failure| failure.step);
    let step = lease.step.or(failed_at);
    match step {
        // It is back before its lease ends.
        Some(Step::Settle) if lease.state == LeaseState::Held => None,
        Some(step) if step >= Step::Depool => Some(format!("at {step}")),
        Some(_) => None,
        None if lease.state == LeaseState::Failed => Some("at an unknown step".to_owned()),
        None => None,
    }
}
