//! Why something waits: every reason, its cause, since when, who, and the next command to type.

use crate::apply::{hindrance, pause_of};
use crate::lease::{Lease, LeaseState, Purpose, Ticket};
use crate::names::{Host, Pool, RolloutName, Scope, Service};
use crate::request::RefusalKind;
use crate::rollout::{Progress, RolloutState};
use crate::settings::span;
use crate::state::State;
use crate::time::{Now, Wall, millis};
use serde::{Deserialize, Serialize};

/// The answer to "why": a headline, and what stands for and against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// What was asked about.
    pub about: Scope,
    /// The answer in a line.
    pub headline: String,
    /// Each reason looked at, those that hinder first.
    pub findings: Vec<Finding>,
}

/// One reason that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Whether it stands in nobody's way.
    pub ok: bool,
    /// What was looked at: a pool, the pauses, the rollout, the host.
    pub what: String,
    /// How it stands.
    pub how: String,
    /// Who or what causes that, each with the command that would change it.
    pub causes: Vec<Cause>,
}

/// One cause, and what to type about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Who or what, since when.
    pub what: String,
    /// The command that would change it, when there is one.
    pub next: Option<String>,
}

fn ago(now: Now, wall: Wall) -> String {
    span(millis(now.wall.since(wall)) / 1000 * 1000)
}

fn fine(what: impl Into<String>, how: impl Into<String>) -> Finding {
    Finding { ok: true, what: what.into(), how: how.into(), causes: Vec::new() }
}

fn bad(what: impl Into<String>, how: impl Into<String>, causes: Vec<Cause>) -> Finding {
    Finding { ok: false, what: what.into(), how: how.into(), causes }
}

fn cause(what: impl Into<String>, next: Option<String>) -> Cause {
    Cause { what: what.into(), next }
}

impl State {
    /// Why something waits, or that it does not: the answer for a host, a pool, a service, a rollout, or everything.
    pub fn why(&self, scope: &Scope, now: Now) -> Why {
        let (headline, mut findings) = match scope {
            Scope::Host(host) => self.why_host(host, now),
            Scope::Pool(pool) => self.why_pool(pool, now),
            Scope::Service(service) => self.why_service(service, now),
            Scope::Rollout(name) => self.why_rollout(name, now),
            Scope::All => self.why_all(now),
        };
        findings.sort_by_key(|finding| finding.ok);
        Why { about: scope.clone(), headline, findings }
    }

    fn why_host(&self, host: &Host, now: Now) -> (String, Vec<Finding>) {
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
                format!(
                    "{host} waits {} for {}, place {place} for {}; gives up in {}",
                    span(waited / 1000 * 1000),
                    ticket.purpose,
                    pools.join(" + "),
                    span(left / 1000 * 1000)
                )
            }
            (Some(lease), None) => {
                findings.push(self.why_lease(lease, now));
                let step = lease.step.map(|step| format!(", at {step}")).unwrap_or_default();
                format!(
                    "{host} has a lease, {} {}{step}, for {}",
                    lease.state,
                    ago(now, lease.since.wall),
                    lease.purpose
                )
            }
            (None, None) => format!("{host} neither holds nor waits"),
        };
        findings.push(self.why_member(host, now));
        if let Some(member) = self.members.get(host) {
            for service in member.services.keys() {
                findings.extend(self.why_owed(host, service, now));
            }
            findings.extend(member.sightings.iter().filter(|seen| seen.presence != crate::member::Presence::In).map(
                |seen| {
                    let by = if seen.by_stagger { "taken out by Stagger" } else { "not by Stagger" };
                    let how = format!("{} {} {}: {by}", seen.service, seen.presence, seen.balancer);
                    let next = (!seen.by_stagger).then(|| format!("{host}$ stagger repool {}", seen.service));
                    bad("balancer", how, vec![cause(seen.detail.clone(), next)])
                },
            ));
        }
        if !self.members.contains_key(host) && ticket.is_none() && !self.leases.contains_key(&holder) {
            return (format!("{host} is not known here"), findings);
        }
        (headline, findings)
    }

    /// Each pool, the pauses, and the order, as they stand for one waiter.
    fn why_ticket(&self, ticket: &Ticket, now: Now) -> Vec<Finding> {
        let view = self.view();
        let mut findings = Vec::new();
        match pause_of(&view, &ticket.holder, &ticket.pools, &ticket.purpose) {
            Some(pause) => findings.push(self.why_pause(&pause.scope, now)),
            None => findings.push(fine("pauses", "none")),
        }
        findings.extend(ticket.pools.iter().map(|pool| self.pool_finding(pool, now)));
        if let Some(why) = hindrance(&view, ticket, now).filter(|why| why.kind == RefusalKind::NotFirst) {
            findings.push(bad("order", why.value, Vec::new()));
        }
        if !crate::apply::listens(ticket, now.time) {
            let next = format!("{}$ systemctl status stagger", ticket.holder);
            findings.push(bad(
                "listening",
                "it has not asked lately; others go first",
                vec![cause("its worker is silent", Some(next))],
            ));
        }
        findings
    }

    /// How full a pool is, and who fills it.
    fn pool_finding(&self, pool: &Pool, now: Now) -> Finding {
        let row = self.pool_row(pool, now);
        let taken = row.held + row.failed + row.lost;
        let how = format!("{taken} of {} out", row.slots);
        if taken < row.slots {
            return fine(pool.as_str(), how);
        }
        let mut leases: Vec<&Lease> = self.leases_in(pool).collect();
        leases.sort_by_key(|lease| (std::cmp::Reverse(lease.state), lease.since));
        let mut causes: Vec<Cause> = leases.into_iter().map(|lease| lease_cause(lease, now)).collect();
        causes.truncate(crate::apply::HOLDERS_NAMED_MAX);
        bad(pool.as_str(), format!("{how}   slots={}: {}", row.rules.slots, row.rules.source), causes)
    }

    fn why_lease(&self, lease: &Lease, now: Now) -> Finding {
        match lease.state {
            LeaseState::Held => fine("lease", lease_cause(lease, now).what),
            _ => bad("lease", format!("{}", lease.state), vec![lease_cause(lease, now)]),
        }
    }

    fn why_pause(&self, scope: &Scope, now: Now) -> Finding {
        let causes = self.pauses.get(scope).into_iter().map(|pause| {
            let left = span(millis(pause.until.since(now.time)) / 1000 * 1000);
            let what = format!("by {} {} ago, {left} more: {}", pause.by, ago(now, pause.since.wall), pause.reason);
            cause(what, Some(format!("stagger resume {scope}")))
        });
        bad("pauses", format!("{scope} is paused"), causes.collect())
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
                let next = format!(
                    "{host}$ systemctl start stagger; gone for good: stagger release {host} --forget --reason …"
                );
                bad("worker", how, vec![cause("its worker does not answer", Some(next))])
            }
            Some(member) if !member.trouble.is_empty() => {
                let next = format!("{host}$ journalctl -u stagger -p warning");
                bad("worker", "alive, and can restart nothing", vec![cause(member.trouble.clone(), Some(next))])
            }
            Some(member) => fine("worker", format!("alive, version {}", member.version)),
        }
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
        Some(match target.progress {
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

    fn why_pool(&self, pool: &Pool, now: Now) -> (String, Vec<Finding>) {
        let row = self.pool_row(pool, now);
        let taken = row.held + row.failed + row.lost;
        let headline = format!("{pool}: {taken} of {} out, {} wait, {} members", row.slots, row.waiting, row.members);
        let mut findings = vec![self.pool_finding(pool, now)];
        findings.extend(row.pauses.iter().map(|pause| self.why_pause(&pause.scope, now)));
        if row.pauses.is_empty() {
            findings.push(fine("pauses", "none"));
        }
        (headline, findings)
    }

    fn why_service(&self, service: &Service, now: Now) -> (String, Vec<Finding>) {
        match self.generations.get(service) {
            Some(generation) => {
                self.why_rollout(&RolloutName { service: service.clone(), generation: *generation }, now)
            }
            None => (format!("{service} was never announced"), Vec::new()),
        }
    }

    fn why_rollout(&self, name: &RolloutName, now: Now) -> (String, Vec<Finding>) {
        let Some(rollout) = self.rollouts.get(name) else {
            return (format!("there is no {name}"), Vec::new());
        };
        let row = self.rollout_row(rollout, now);
        let tally = row.tally;
        let left = tally.owes + tally.begun;
        let headline = format!(
            "{name} is {}: {} ok, {} failed, {left} left; by {} {} ago: {}",
            row.state,
            tally.ok + tally.skipped,
            tally.failed,
            row.by,
            ago(now, row.announced),
            row.message
        );
        let mut findings = Vec::new();
        match row.state {
            RolloutState::Announced | RolloutState::Rolling | RolloutState::Done => {
                findings.push(fine("rollout", row.state.to_string()))
            }
            _ => findings.push(bad("rollout", row.state.to_string(), self.rollout_causes(name, now))),
        }
        findings.extend(row.pauses.iter().map(|pause| self.why_pause(&pause.scope, now)));
        for blocked in &row.blocked {
            let keepers = blocked
                .keepers
                .keys()
                .filter_map(|holder| self.leases.get(holder))
                .map(|lease| lease_cause(lease, now));
            let how =
                format!("{} wait; {} of {} slots are kept", blocked.waiting, blocked.keepers.len(), blocked.slots);
            findings.push(bad(blocked.pool.as_str(), how, keepers.collect()));
        }
        if !row.down.is_empty() {
            let causes = row.down.iter().take(crate::apply::HOLDERS_NAMED_MAX);
            let causes = causes.map(|host| cause(host.as_str(), Some(format!("stagger why host/{host}")))).collect();
            findings.push(bad("down", format!("{} hosts owe it and are down", row.down.len()), causes));
        }
        (headline, findings)
    }

    /// Who or what stopped a rollout.
    fn rollout_causes(&self, name: &RolloutName, now: Now) -> Vec<Cause> {
        let Some(rollout) = self.rollouts.get(name) else { return Vec::new() };
        match (&rollout.ended, &rollout.halted) {
            (Some(ended), _) => {
                vec![cause(format!("by {} {} ago: {}", ended.by, ago(now, ended.at), ended.reason), None)]
            }
            (None, Some(halted)) => {
                let next = format!("stagger resume rollout/{name}   or announce the fix");
                vec![cause(format!("{} ago: {}", ago(now, halted.at), halted.cause), Some(next))]
            }
            (None, None) => vec![cause("its time is over", Some(format!("stagger announce {} -m …", name.service)))],
        }
    }

    fn why_all(&self, now: Now) -> (String, Vec<Finding>) {
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
        let down = self.members.values().filter(|member| member.is_down(now.time)).count();
        if down > 0 {
            findings.push(bad(
                "members",
                format!("{down} are down"),
                vec![cause("", Some("stagger members --down".to_owned()))],
            ));
        }
        let hinder = findings.iter().filter(|finding| !finding.ok).count();
        let headline = match hinder {
            0 => "nothing stands in the way of anything".to_owned(),
            1 => "one thing stands in the way".to_owned(),
            _ => format!("{hinder} things stand in the way"),
        };
        (headline, findings)
    }
}

/// A lease as a cause of waiting, and what ends it.
fn lease_cause(lease: &Lease, now: Now) -> Cause {
    let holder = &lease.holder;
    let since = ago(now, lease.since.wall);
    let purpose = match &lease.purpose {
        Purpose::Run(what) => format!("run: {what}"),
        other => other.to_string(),
    };
    match lease.state {
        LeaseState::Held => {
            let step = lease.step.map(|step| format!(", {step}")).unwrap_or_default();
            let note = if lease.note.is_empty() { String::new() } else { format!(", {}", lease.note) };
            cause(format!("{holder} held {since}{step}{note}, for {purpose}"), None)
        }
        LeaseState::Failed => {
            let failure = lease.failed.values().next();
            let stuck = if lease.is_stuck() { ", STUCK" } else { "" };
            let at = failure.and_then(|failure| failure.step).map(|step| format!(" at {step}")).unwrap_or_default();
            let text = failure.map(|failure| failure.cause.clone()).unwrap_or_default();
            let next = format!("stagger release {holder} --reason …");
            cause(format!("{holder} failed {since}{at}{stuck} ({text}), for {purpose}"), Some(next))
        }
        LeaseState::Lost => {
            let left = lease.lost_after_ms.map(|ms| {
                let over = millis(now.time.since(lease.since.time));
                format!("counts {} more", span(ms.saturating_sub(over) / 1000 * 1000))
            });
            let left = left.unwrap_or_else(|| "counts until released".to_owned());
            let next = format!("stagger release {holder} --reason …");
            cause(format!("{holder} lost {since}, {left}, for {purpose}"), Some(next))
        }
    }
}
