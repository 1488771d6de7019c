//! Why a host waits, or what it does: its ticket or lease, its worker, what it owes, its balancers.

use super::{Finding, ago, bad, cause, fine, lease_cause};
use crate::apply::{hindrance, pause_of, pause_of_waiter};
use crate::lease::{Lease, LeaseState, Purpose, Ticket};
use crate::member::{Member, Presence, Remedy, Sighting};
use crate::names::{Host, RolloutName, Scope, Service};
use crate::read::members::in_although;
use crate::request::RefusalKind;
use crate::rollout::Progress;
use crate::settings::span;
use crate::state::State;
use crate::time::Now;
use std::collections::BTreeSet;

impl State {
    pub(super) fn why_host(&self, host: &Host, now: Now) -> (String, Vec<Finding>) {
        let holder = host.clone().into();
        let mut findings = Vec::new();
        let ticket = self.tickets.get(&holder);
        let headline = match (self.leases.get(&holder), ticket) {
            (_, Some(ticket)) => {
                findings.extend(self.why_ticket(ticket, now));
                let row = self.read_leases(
                    &crate::read::Selection { scope: Some(Scope::Host(host.clone())), ..Default::default() },
                    now,
                );
                let (waited, left, place) =
                    row.queue.first().map_or((0, 0, 0), |row| (row.waited_ms, row.left_ms, row.place));
                let pools: Vec<_> = ticket.pools.iter().map(ToString::to_string).collect();
                let left = span(left / 1000 * 1000);
                // A worker that gave up still owes it.
                let then = match ticket.purpose {
                    Purpose::Rollout(_) => format!("waits {left} more, then asks again"),
                    Purpose::Restart(_) | Purpose::Run(_) | Purpose::FleetLock => format!("gives up in {left}"),
                };
                format!(
                    "{host} waits {} for {}, place {place} for {}; {then}",
                    span(waited / 1000 * 1000),
                    ticket.purpose,
                    pools.join(" + "),
                )
            }
            (Some(lease), None) => {
                findings.push(self.why_lease(lease, now));
                let step = lease.step.map(|step| format!(", at {step}")).unwrap_or_default();
                format!(
                    "{host} has a lease, {} {}{step}, for {}",
                    lease.standing(),
                    ago(now, lease.since.wall),
                    lease.purpose
                )
            }
            (None, None) => match &self.owed_by(host)[..] {
                [] => format!("{host} neither holds nor waits"),
                owed => {
                    let owed: Vec<_> = owed.iter().map(ToString::to_string).collect();
                    format!("{host} owes {}, and neither holds nor waits", owed.join(", "))
                }
            },
        };
        let purpose = ticket.map(|ticket| &ticket.purpose);
        let purpose = purpose.or_else(|| self.leases.get(&holder).map(|lease| &lease.purpose));
        // Whoever runs a command under a lease, or updates a host by a client of its own, needs no worker.
        if self.members.contains_key(host) || !matches!(purpose, Some(Purpose::Run(_) | Purpose::FleetLock)) {
            findings.push(self.why_member(host, now));
        }
        if let Some(member) = self.members.get(host) {
            for service in member.services.keys() {
                findings.extend(self.why_owed(host, service, now));
            }
            if ticket.is_none() {
                findings.extend(self.pauses_of_owed(member, now));
            }
            findings.extend(self.why_out(member, now));
        }
        if !self.members.contains_key(host) && ticket.is_none() && !self.leases.contains_key(&holder) {
            return (format!("{host} is not known here"), findings);
        }
        (headline, findings)
    }

    /// What a host still is to restart for, of the newest rollouts.
    fn owed_by(&self, host: &Host) -> Vec<RolloutName> {
        let member = self.members.get(host).into_iter();
        let services = member.flat_map(|member| member.services.keys());
        let newest = services.filter_map(|service| {
            Some(RolloutName { service: service.clone(), generation: *self.generations.get(service)? })
        });
        let is_owed = |name: &RolloutName| {
            let target = self.targets.get(name).and_then(|hosts| hosts.get(host));
            let ends = self.rollouts.get(name).is_none_or(|rollout| !rollout.state(0).authorises());
            !ends && target.is_some_and(|target| target.progress == Progress::Owes)
        };
        newest.filter(is_owed).collect()
    }

    /// The pauses that keep a host from what it owes, and that no ticket of its tells of.
    fn pauses_of_owed(&self, member: &Member, now: Now) -> Vec<Finding> {
        let view = self.view();
        let pause = |name: RolloutName| {
            let pools = member.services.get(&name.service)?;
            pause_of(&view, &member.host.clone().into(), pools, &Purpose::Rollout(name)).map(|pause| &pause.scope)
        };
        let scopes: BTreeSet<&Scope> = self.owed_by(&member.host).into_iter().filter_map(pause).collect();
        scopes.into_iter().map(|scope| self.why_pause(scope, now)).collect()
    }

    /// Each pool, the pauses, and the order, as they stand for one waiter.
    fn why_ticket(&self, ticket: &Ticket, now: Now) -> Vec<Finding> {
        let view = self.view();
        let mut findings = Vec::new();
        match pause_of_waiter(&view, ticket) {
            Some(pause) => findings.push(self.why_pause(&pause.scope, now)),
            None => findings.push(fine("pauses", "none")),
        }
        findings.extend(ticket.pools.iter().map(|pool| self.pool_finding(pool, now)));
        if let Some(why) = hindrance(&view, ticket, now).filter(|why| why.kind == RefusalKind::NotFirst) {
            findings.push(bad("order", why.value, Vec::new()));
        }
        if !crate::apply::listens(ticket, now.time) {
            let holder = &ticket.holder;
            let cause = match ticket.purpose {
                Purpose::Run(_) => cause("its command is gone or stopped; its place is kept for a while", None),
                Purpose::Rollout(_) => cause("its worker is silent", Some(format!("{holder}$ stagger worker"))),
                Purpose::Restart(_) => cause("its restart by hand is gone or stopped", None),
                Purpose::FleetLock => cause("its client asks again in a while", None),
            };
            findings.push(bad("listening", "it has not asked lately; others go first", vec![cause]));
        }
        findings
    }

    fn why_lease(&self, lease: &Lease, now: Now) -> Finding {
        match lease.state {
            LeaseState::Held => fine("lease", lease_cause(lease, now).what),
            _ => bad("lease", lease.standing(), vec![lease_cause(lease, now)]),
        }
    }

    fn why_member(&self, host: &Host, now: Now) -> Finding {
        match self.members.get(host) {
            None => bad(
                "worker",
                "has never joined",
                vec![cause("no worker of this name", Some(format!("{host}$ stagger worker")))],
            ),
            Some(member) if member.is_down(now.time) => {
                let how = format!("down, last heard of {} ago", ago(now, member.heard.wall));
                let next = format!("{host}$ stagger worker; gone for good: stagger release {host} --forget --reason …");
                bad("worker", how, vec![cause("its worker does not answer", Some(next))])
            }
            Some(member) if !member.trouble.is_empty() => {
                let what = format!("{}; its log says more", member.trouble);
                bad("worker", "alive, and can restart nothing", vec![cause(what, None)])
            }
            Some(member) => fine("worker", format!("alive, version {}", member.version)),
        }
    }

    /// Which balancers a host is out of, by its last look, and whether something has happened since.
    fn why_out(&self, member: &Member, now: Now) -> Vec<Finding> {
        let host = &member.host;
        let row = self.member_row(member, now);
        let looked = row.looked_ms.map(|ms| format!(", looked {} ago", span(ms / 1000 * 1000))).unwrap_or_default();
        let mut findings = Vec::new();
        // A host at work is out by its lease, which is told above.
        let is_at_work = row.lease == Some(LeaseState::Held) && !row.down && !row.because.is_empty();
        if !row.because.is_empty() && !is_at_work {
            let how = match row.presence {
                Presence::Unknown => format!("nobody can tell: {}{looked}", row.because),
                out => format!("{out}: {}{looked}", row.because),
            };
            findings.push(bad("balancer", how, Vec::new()));
        }
        let told = |seen: &&Sighting| seen.presence != Presence::In && !(is_at_work && seen.by_stagger);
        findings.extend(member.sightings.iter().filter(told).map(|seen| {
            let by = match (seen.presence, seen.by_stagger, &seen.remedy) {
                (_, true, _) => "taken out by Stagger",
                (Presence::Unknown, _, Remedy::Restart) => "meant to be in, and found ill there",
                (Presence::Unknown, ..) => "nobody can tell",
                _ => "not by Stagger",
            };
            let how = format!("{} {} {}: {by}{looked}", seen.service, seen.presence, seen.balancer);
            bad("balancer", how, vec![cause(seen.detail.clone(), way_back(host, seen, row.lease))])
        }));
        let lease = self.leases.get(&host.clone().into());
        findings.extend(in_although(member, lease, now).map(|seen| {
            let how = format!("{} IN at {}, although it failed{looked}", seen.service, seen.balancer);
            bad("balancer", how, vec![cause(seen.detail.clone(), Some(way_out(host, seen)))])
        }));
        findings
    }

    /// Whether a host owes the newest generation of a service.
    fn why_owed(&self, host: &Host, service: &Service, now: Now) -> Option<Finding> {
        let generation = *self.generations.get(service)?;
        let name = RolloutName { service: service.clone(), generation };
        let target = self.targets.get(&name).and_then(|hosts| hosts.get(host));
        let Some(target) = target else {
            return Some(fine("rollout", format!("{name} is not for {host}")));
        };
        let row = self.rollout_row(self.rollouts.get(&name)?, now);
        let holder = host.clone().into();
        let lease = self.leases.get(&holder).filter(|lease| lease.purpose.service() == Some(service));
        let idles = lease.is_none() && !self.tickets.contains_key(&holder);
        Some(match target.progress {
            Progress::Owes if row.state.authorises() && idles && target.report.is_some() => {
                let report = target.report.as_ref();
                let gave_way = report.map(|report| format!("gave way {} ago: {}", ago(now, report.at), report.cause));
                let again = cause(format!("{}; its worker asks again", gave_way.unwrap_or_default()), None);
                bad("rollout", format!("{name} owes, {}", row.state), vec![again])
            }
            // What failed is being brought to its end, or tried again: nothing is to be typed.
            Progress::Failed if lease.is_some_and(|lease| lease.state == LeaseState::Held) => {
                fine("rollout", format!("{name} failed here, and {host} is at work on it"))
            }
            Progress::Owes | Progress::Begun if row.state.authorises() => {
                fine("rollout", format!("{name} {}, {}", target.progress, row.state))
            }
            Progress::Owes | Progress::Begun => {
                bad("rollout", format!("{name} is {}", row.state), self.rollout_causes(&name, now))
            }
            Progress::Failed => {
                let report = target.report.as_ref();
                let what = report.map_or_else(String::new, |report| report.cause.clone());
                bad(
                    "rollout",
                    format!("{name} failed here"),
                    vec![cause(what, Some(format!("{host}$ stagger restart {service}")))],
                )
            }
            Progress::Ok | Progress::Skipped => fine("rollout", format!("{name} {}", target.progress)),
        })
    }
}

/// What puts a host in again at a balancer at which it is not in; nothing where its lease does, or only somebody else can, and nobody knows
/// how.
pub(super) fn way_back(host: &Host, seen: &Sighting, lease: Option<LeaseState>) -> Option<String> {
    let service = &seen.service;
    match (seen.by_stagger, lease, &seen.remedy) {
        // What ended its lease left it out, and nothing else brings it back.
        (true, None, _) => Some(format!("{host}$ stagger restart {service}")),
        (true, Some(_), _) => None,
        (false, _, Remedy::Theirs(what)) => what.clone(),
        (false, _, Remedy::Restart) => Some(format!("{host}$ stagger restart {service}")),
        (false, ..) if seen.presence == Presence::Unknown => Some(format!("{host}$ stagger check --ask")),
        (false, ..) => Some(format!("{host}$ stagger repool {service}")),
    }
}

/// What to do about a host that failed and takes traffic.
pub(super) fn way_out(host: &Host, seen: &Sighting) -> String {
    let service = &seen.service;
    format!("fixed? {host}$ stagger restart {service}; else {host}$ stagger depool {service}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Ask, Request};

    #[test]
    fn a_command_under_a_lease_is_not_blamed_for_having_no_worker() {
        let mut state = State::default();
        let ask = Ask {
            holder: "run-7.ops1".parse().expect("a holder"),
            claim: "c1".parse().expect("an id"),
            pools: ["app".parse().expect("a pool")].into(),
            purpose: Purpose::Run("true".to_owned()),
            wait_ms: None,
            patience_ms: 1_000,
        };
        let decision = crate::apply(&state, &Request::Ask(ask), Now::default());
        state.replay(&decision.changes);
        let why = state.why(&"host/run-7.ops1".parse().expect("a scope"), Now::default());
        assert_eq!(why.headline, "run-7.ops1 has a lease, held 0s, for run: true");
        assert!(why.findings.iter().all(|finding| finding.ok && finding.what != "worker"), "{why:?}");
    }
}
