//! What a rollout waits for, and who or what stopped it.

use super::{Cause, Finding, ago, bad, cause, fine, lease_cause};
use crate::names::{RolloutName, Service};
use crate::rollout::RolloutState;
use crate::settings::count;
use crate::state::State;
use crate::time::Now;

impl State {
    pub(super) fn why_service(&self, service: &Service, now: Now) -> (String, Vec<Finding>) {
        match self.generations.get(service) {
            Some(generation) => {
                self.why_rollout(&RolloutName { service: service.clone(), generation: *generation }, now)
            }
            None => (format!("{service} was never announced"), Vec::new()),
        }
    }

    pub(super) fn why_rollout(&self, name: &RolloutName, now: Now) -> (String, Vec<Finding>) {
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
            let how = format!(
                "{}; {} of {} slots are kept",
                count(blocked.waiting, "waits", "wait"),
                blocked.keepers.len(),
                blocked.slots
            );
            findings.push(bad(blocked.pool.as_str(), how, keepers.collect()));
        }
        if !row.down.is_empty() {
            let causes = row.down.iter().take(crate::apply::HOLDERS_NAMED_MAX);
            let causes = causes.map(|host| cause(host.as_str(), Some(format!("stagger why host/{host}")))).collect();
            findings.push(bad(
                "down",
                count(number(row.down.len()), "host owes it and is down", "hosts owe it and are down"),
                causes,
            ));
        }
        if row.state == RolloutState::Done && !row.kept.is_empty() {
            let keepers = row.kept.iter().take(crate::apply::HOLDERS_NAMED_MAX);
            let keepers = keepers.filter_map(|host| self.leases.get(&host.clone().into()));
            let how = count(number(row.kept.len()), "failed host keeps its slot", "failed hosts keep their slots");
            findings.push(bad("kept", how, keepers.map(|lease| lease_cause(lease, now)).collect()));
        }
        (headline, findings)
    }

    /// Who or what stopped a rollout.
    pub(super) fn rollout_causes(&self, name: &RolloutName, now: Now) -> Vec<Cause> {
        let Some(rollout) = self.rollouts.get(name) else { return Vec::new() };
        match (&rollout.ended, &rollout.halted) {
            (Some(ended), _) => {
                vec![cause(format!("by {} {} ago: {}", ended.by, ago(now, ended.at), ended.reason), None)]
            }
            (None, Some(halted)) => {
                let resume = format!("stagger resume rollout/{name}");
                let what = format!("{} ago: {}", ago(now, halted.at), halted.cause);
                match rollout.tally.failed {
                    // Whoever failed is well by now; that it goes on is still for a person to say.
                    0 => vec![cause(format!("{what}; no host is failed any more"), Some(resume))],
                    _ => vec![cause(what, Some(format!("{resume}   or announce the fix")))],
                }
            }
            (None, None) => vec![cause("its time is over", Some(format!("stagger announce {} -m …", name.service)))],
        }
    }
}

pub(super) fn number(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}
