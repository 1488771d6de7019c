//! What stands in anybody's way.

use super::host::{way_back, way_out};
use super::rollout::number;
use super::{Cause, Finding, bad, cause, fine, lease_cause};
use crate::apply::HOLDERS_NAMED_MAX;
use crate::lease::LeaseState;
use crate::member::{Member, Presence};
use crate::names::RolloutName;
use crate::read::members::{in_although, presence};
use crate::rollout::RolloutState;
use crate::settings::count;
use crate::state::State;
use crate::time::Now;

impl State {
    pub(super) fn why_all(&self, now: Now) -> (String, Vec<Finding>) {
        let mut findings: Vec<Finding> = self.pauses.keys().map(|scope| self.why_pause(scope, now)).collect();
        for pool in self.index.pools.iter() {
            let row = self.pool_row(pool, now);
            if row.waiting > 0 || row.failed + row.lost > 0 {
                findings.push(self.pool_finding(pool, now));
            }
        }
        let newest = self
            .generations
            .iter()
            .map(|(service, generation)| RolloutName { service: service.clone(), generation: *generation });
        for name in newest {
            let Some(rollout) = self.rollouts.get(&name) else { continue };
            let row = self.rollout_row(rollout, now);
            if row.state == RolloutState::Halted {
                findings.push(bad(name.to_string(), "halted", self.rollout_causes(&name, now)));
            } else if row.state.is_under_way() {
                findings.push(fine(name.to_string(), row.state.to_string()));
            }
        }
        findings.extend(self.at_work(now));
        findings.extend(self.why_members(now));
        let hinder = findings.iter().filter(|finding| !finding.ok).count();
        let held = self.leases.values().filter(|lease| lease.state == LeaseState::Held).count();
        let headline = match hinder {
            0 if held > 0 => {
                let held = count(u32::try_from(held).unwrap_or(u32::MAX), "is at work", "are at work");
                format!("nothing stands in the way of anything; {held}")
            }
            0 => "nothing stands in the way of anything".to_owned(),
            1 => "one thing stands in the way".to_owned(),
            _ => format!("{hinder} things stand in the way"),
        };
        (headline, findings)
    }

    /// The members that are down, that can restart nothing, and that are out of a balancer with no lease to end that.
    fn why_members(&self, now: Now) -> Vec<Finding> {
        let members = || self.members.values();
        let mut findings = Vec::new();
        let down = number(members().filter(|member| member.is_down(now.time)).count());
        if down > 0 {
            let next = cause("", Some("stagger members --down".to_owned()));
            findings.push(bad("members", count(down, "is down", "are down"), vec![next]));
        }
        let in_trouble = members().filter(|member| !member.trouble.is_empty() && !member.is_down(now.time));
        let in_trouble: Vec<_> = in_trouble.collect();
        if !in_trouble.is_empty() {
            let next = |member: &&Member| {
                cause(format!("{}: {}", member.host, member.trouble), Some(format!("stagger why host/{}", member.host)))
            };
            let causes = in_trouble.iter().take(HOLDERS_NAMED_MAX).map(next).collect();
            let how = count(number(in_trouble.len()), "is in trouble", "are in trouble");
            findings.push(bad("members", how, causes));
        }
        findings.extend(self.why_exposed(now));
        findings.extend(self.why_unclear(now));
        let is_left_out = |member: &&Member| {
            !self.leases.contains_key(&member.host.clone().into()) && presence(member, None, now).0 == Presence::Out
        };
        let out = number(members().filter(is_left_out).count());
        if out > 0 {
            let how = count(out, "is out of a balancer, with no lease", "are out of a balancer, with no lease");
            findings.push(bad("members", how, vec![cause("", Some("stagger members --out".to_owned()))]));
        }
        findings
    }

    /// The hosts that failed, and take traffic all the same.
    fn why_exposed(&self, now: Now) -> Option<Finding> {
        let exposed = self.members.values().filter_map(|member| {
            let seen = in_although(member, self.leases.get(&member.host.clone().into()), now).next()?;
            let what = format!("{} IN at {} for {}", member.host, seen.balancer, seen.service);
            Some(cause(what, Some(way_out(&member.host, seen))))
        });
        let mut exposed: Vec<Cause> = exposed.collect();
        let how = count(number(exposed.len()), "failed, and takes traffic", "failed, and take traffic");
        exposed.truncate(HOLDERS_NAMED_MAX);
        (!exposed.is_empty()).then(|| bad("members", how, exposed))
    }

    /// The hosts of which some balancer cannot tell whether they are in. One that is at work asks by itself.
    fn why_unclear(&self, now: Now) -> Option<Finding> {
        let unclear = self.members.values().filter(|member| !member.is_down(now.time)).filter_map(|member| {
            let lease = self.leases.get(&member.host.clone().into()).map(|lease| lease.state);
            let seen = member.sightings.iter().find(|seen| seen.presence == Presence::Unknown)?;
            let what = format!("{} for {} at {}: {}", member.host, seen.service, seen.balancer, seen.detail);
            (lease != Some(LeaseState::Held)).then(|| cause(what, way_back(&member.host, seen, lease)))
        });
        let mut unclear: Vec<Cause> = unclear.collect();
        let how = count(number(unclear.len()), "is neither in nor out", "are neither in nor out");
        unclear.truncate(HOLDERS_NAMED_MAX);
        (!unclear.is_empty()).then(|| bad("members", how, unclear))
    }

    /// Who is at work, those for longest first, each with its step and what it says of it.
    fn at_work(&self, now: Now) -> Vec<Finding> {
        let mut held: Vec<_> = self.leases.values().filter(|lease| lease.state == LeaseState::Held).collect();
        held.sort_by_key(|lease| lease.since);
        held.truncate(HOLDERS_NAMED_MAX);
        held.into_iter().map(|lease| fine("at work", lease_cause(lease, now).what)).collect()
    }
}
