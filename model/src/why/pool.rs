//! What fills a pool, and what stops it.

use super::{Cause, Finding, ago, bad, cause, fine, lease_cause};
use crate::lease::Lease;
use crate::names::{Pool, Scope};
use crate::settings::{count, span};
use crate::state::State;
use crate::time::{Now, millis};

impl State {
    pub(super) fn why_pool(&self, pool: &Pool, now: Now) -> (String, Vec<Finding>) {
        let row = self.pool_row(pool, now);
        let taken = row.held + row.failed + row.lost;
        let headline = format!(
            "{pool}: {taken} of {} out, {}, {}",
            row.slots,
            count(row.waiting, "waits", "wait"),
            count(row.members, "member", "members")
        );
        let mut findings = vec![self.pool_finding(pool, now)];
        findings.extend(row.pauses.iter().map(|pause| self.why_pause(&pause.scope, now)));
        if row.pauses.is_empty() {
            findings.push(fine("pauses", "none"));
        }
        (headline, findings)
    }

    /// How full a pool is, and who fills it.
    pub(super) fn pool_finding(&self, pool: &Pool, now: Now) -> Finding {
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

    pub(super) fn why_pause(&self, scope: &Scope, now: Now) -> Finding {
        let causes = self.pauses.get(scope).into_iter().map(|pause| {
            let left = span(millis(pause.until.since(now.time)) / 1000 * 1000);
            let what = format!("by {} {} ago, {left} more: {}", pause.by, ago(now, pause.since.wall), pause.reason);
            cause(what, Some(format!("stagger resume {scope}")))
        });
        bad("pauses", format!("{scope} is paused"), causes.collect())
    }
}
