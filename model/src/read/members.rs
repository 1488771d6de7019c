//! The members, and what they last saw of themselves.

use super::{MemberRow, Page, Selection, page};
use crate::member::Member;
use crate::names::Scope;
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
        let row = |member: &Member| MemberRow {
            host: member.host.clone(),
            down: member.is_down(now.time),
            heard_ms: millis(now.wall.since(member.heard.wall)),
            version: member.version.clone(),
            services: member.services.clone(),
            metrics: member.metrics.clone(),
            sightings: member.sightings.clone(),
            trouble: member.trouble.clone(),
            lease: self.leases.get(&member.host.clone().into()).map(|lease| lease.state),
        };
        let rows =
            self.members.values().filter(|member| about(member)).map(|member| (member.host.to_string(), row(member)));
        page(rows, select)
    }
}
