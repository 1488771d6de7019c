//! A lease of this host that no journal tells of: whose it is, and what becomes of it.
//!
//! Owns the rule that a lease without a journal is given back only when certainly nothing was done under it; else a person is
//! needed. It is done under the host's lock, to the end of the telling. Called by [`Host::on`].

use crate::host::{Effect, Host, Phase, Unheard};
use crate::lease::{Lease, LeaseState, Purpose};
use crate::names::Id;
use crate::request::{Ending, Own, Settle};
use crate::rollout::{Outcome, Report};
use crate::sequence::record::Balancers;
use crate::sequence::{Found, Look};
use crate::time::Time;

impl Host {
    /// Whether a lease that no journal tells of is still there.
    pub(super) fn owned<R>(
        &mut self,
        claim: &Id,
        sent: Time,
        own: Result<Own, Unheard>,
        now: Time,
        out: &mut Vec<Effect<R>>,
    ) {
        match &mut self.phase {
            Phase::Working(work) if work.sequence.plan().sequence == *claim => work.owned(sent, &own, now, out),
            Phase::Stray(lease) if lease.claim == *claim => {
                let has_begun = lease.has_begun;
                let service =
                    lease.purpose.service().filter(|service| self.setup.duties.contains_key(*service)).cloned();
                let is_untouched = is_untouched(lease);
                match (own, service) {
                    (Ok(Own::Held { .. }), _) if is_untouched => self.settle_stray("", out),
                    (Ok(Own::Held { .. }), Some(service)) if !has_begun => out.push(Effect::Look(service)),
                    (Ok(Own::Held { .. }), _) => {
                        self.settle_stray("its journal is gone, and nobody can tell how far its restart came", out);
                    }
                    (Ok(Own::Gone) | Err(_), _) => {
                        out.push(Effect::Unlock);
                        self.phase = Phase::Idle;
                    }
                }
            }
            _ => {}
        }
    }

    pub(super) fn looked<R>(&mut self, looks: &[Look], now: Time, out: &mut Vec<Effect<R>>) {
        match &mut self.phase {
            Phase::Working(work) => work.looked(looks, now, out),
            Phase::Stray(_) => match Found::of(looks, &Balancers::new()) {
                Ok(found) if found.out.is_empty() => self.settle_stray("", out),
                Ok(found) => {
                    let out_of: Vec<String> = found.out.into_iter().collect();
                    let why = format!("its journal is gone, and the host is out of {}", out_of.join(", "));
                    self.settle_stray(&why, out);
                }
                Err(fault) => self.settle_stray(&format!("its journal is gone, and {}", fault.cause), out),
            },
            _ => {}
        }
    }

    /// Gives a stray lease back when all is well, and marks it stuck otherwise.
    fn settle_stray<R>(&mut self, why: &str, out: &mut Vec<Effect<R>>) {
        let Phase::Stray(lease) = &self.phase else { return };
        let settle = if why.is_empty() {
            let report =
                Report { cause: "its journal is gone; nothing was done".into(), ..Report::plain(Outcome::Cancelled) };
            Settle { ending: Ending::Cancelled, report: Some(report), ..self.stuck_lease(lease, String::new()) }
        } else {
            self.stuck_lease(lease, why.to_owned())
        };
        self.tell(settle, None, out);
    }

    pub(super) fn stuck_lease(&self, lease: &Lease, why: String) -> Settle {
        let report = Some(stuck_report(why).bounded());
        let rollout = lease.purpose.rollout().cloned();
        Settle { holder: self.setup.holder.clone(), claim: lease.claim.clone(), ending: Ending::Kept, rollout, report }
    }
}

/// A lease whose sequence is not over: one that a person or the next rollout must end is left as it is. So is one that a
/// command was just granted: the command may be about to take the host's lock. If it is dead, the lease is soon lost.
pub(super) fn is_at_work(lease: &Lease) -> bool {
    let is_over = lease.state == LeaseState::Failed && !lease.has_begun;
    let is_a_commands = matches!(lease.purpose, Purpose::Restart(_));
    let is_just_granted = is_a_commands && lease.state == LeaseState::Held && is_untouched(lease);
    lease.purpose.service().is_some() && !is_over && !is_just_granted
}

/// Whether nothing was done under it: a step is told, and answered, before the first act.
fn is_untouched(lease: &Lease) -> bool {
    lease.step.is_none() && !lease.has_begun
}

pub(super) fn stuck_report(cause: String) -> Report {
    Report { cause, stuck: true, ..Report::plain(Outcome::Failed) }
}
