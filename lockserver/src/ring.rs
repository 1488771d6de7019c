//! What is told as it happens: the last changes, numbered, for whoever watches.
//!
//! Owns the numbers and the bound. Nothing is told before it is on disk. Watchers read at their own pace, and hold nothing
//! up: who is too slow finds its place gone, and must read everything again.

use model::change::Change;
use model::lease::{Lease, Purpose, Ticket};
use model::names::{Holder, Pool, Scope};
use model::passage::{Passage, without_login};
use model::state::Stored;
use model::{State, Wall};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How many changes are kept for those who come back.
pub(crate) const KEPT_MAX: usize = 4096;
/// How far apart the first numbers of two runs of the server are per millisecond between their starts: more changes than
/// that per millisecond are not made, so that no number is ever used twice.
const NUMBERS_PER_MS: u64 = 1000;

/// A change, and under which scopes it is found.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// What changed.
    pub(crate) change: Change,
    /// What it is about.
    pub(crate) scopes: Vec<Scope>,
}

/// The last changes.
#[derive(Debug)]
pub(crate) struct Ring {
    kept: Mutex<Kept>,
    /// The number of the newest.
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Kept {
    next: u64,
    told: VecDeque<Arc<Told>>,
}

/// What is gone, or was never here: read again, and go on from this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reset(pub(crate) u64);

impl Ring {
    /// An empty ring of a server that started now.
    pub(crate) fn new(start: Wall) -> Ring {
        let next = start.0.saturating_mul(NUMBERS_PER_MS);
        let kept = Kept { next, told: VecDeque::new() };
        Ring { kept: Mutex::new(kept), newest: watch::Sender::new(next.saturating_sub(1)) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds changes, which are on disk.
    pub(crate) fn publish(&self, told: Vec<Told>) {
        if told.is_empty() {
            return;
        }
        let mut kept = self.kept();
        kept.next += told.len() as u64;
        kept.told.extend(told.into_iter().map(Arc::new));
        let over = kept.told.len().saturating_sub(KEPT_MAX);
        kept.told.drain(..over);
        let newest = kept.next - 1;
        drop(kept);
        self.newest.send_replace(newest);
    }

    /// Has everyone who watches read everything again.
    pub(crate) fn reset(&self) {
        let mut kept = self.kept();
        kept.told.clear();
        kept.next += 1;
        let newest = kept.next - 1;
        drop(kept);
        self.newest.send_replace(newest);
    }

    /// The number of the newest.
    pub(crate) fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    /// Wakes when there is a newer one.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// The changes behind a number, at most so many, with their numbers.
    pub(crate) fn behind(&self, number: u64, count_max: usize) -> Result<Vec<(u64, Arc<Told>)>, Reset> {
        let kept = self.kept();
        let first = kept.next - kept.told.len() as u64;
        if number.saturating_add(1) < first || number >= kept.next {
            return Err(Reset(kept.next - 1));
        }
        let skip = usize::try_from(number + 1 - first).unwrap_or(usize::MAX);
        let told = kept.told.iter().skip(skip).take(count_max).cloned();
        Ok((number + 1..).zip(told).collect())
    }
}

/// What to tell of a change, seen from the state before it. Signs of life that say nothing new are not told.
pub(crate) fn tell(change: &Change, before: &State) -> Option<Told> {
    match change {
        Change::TicketHeard(_) | Change::MemberHeard(_) => return None,
        Change::LeaseRenewed(lease) => {
            if let Some(Stored::Lease(old)) = before.record(&change.key())
                && old.step == lease.step
                && old.note == lease.note
            {
                return None;
            }
        }
        _ => {}
    }
    let scopes = scopes(change, before);
    let change = match change {
        // Whoever watches need not know how one logs in there.
        Change::PassageMoved(passage) => {
            Change::PassageMoved(Passage { place: without_login(&passage.place), ..passage.clone() })
        }
        change => change.clone(),
    };
    Some(Told { change, scopes })
}

fn scopes(change: &Change, before: &State) -> Vec<Scope> {
    use Change as C;
    match change {
        C::TicketTaken(ticket) | C::TicketHeard(ticket) | C::TicketPassed(ticket) => of_ticket(ticket),
        C::LeaseGranted(lease)
        | C::LeaseRenewed(lease)
        | C::LeaseReturned(lease)
        | C::LeaseBegun(lease)
        | C::LeaseFailed(lease)
        | C::LeaseLost(lease) => of_lease(lease),
        C::TicketDropped(holder) | C::LeaseEnded(holder) => match before.record(&change.key()) {
            Some(Stored::Ticket(ticket)) => of_ticket(&ticket),
            Some(Stored::Lease(lease)) => of_lease(&lease),
            _ => vec![Scope::Host(holder.as_host())],
        },
        C::TokenUsed { pool, .. } => vec![Scope::Pool(pool.clone())],
        C::DefaultsLoaded(_) | C::TokensRaised(_) => vec![Scope::All],
        C::MemberJoined(member) | C::MemberHeard(member) => {
            let services = member.services.keys().cloned().map(Scope::Service);
            let pools = member.pools().into_iter().cloned().map(Scope::Pool);
            [Scope::Host(member.host.clone())].into_iter().chain(services).chain(pools).collect()
        }
        C::MemberForgotten(host) => vec![Scope::Host(host.clone())],
        C::Paused(pause) => vec![pause.scope.clone()],
        C::Resumed(scope) | C::Reverted { scope, .. } => vec![scope.clone()],
        C::Configured(from) => vec![from.scope.clone()],
        C::GenerationUsed { service, .. } => vec![Scope::Service(service.clone())],
        C::RolloutAnnounced(rollout) | C::RolloutMoved(rollout) => of_rollout(&rollout.name),
        C::RolloutForgotten(name) => of_rollout(name),
        C::TargetMoved(target) => with_host(of_rollout(&target.rollout), &target.host),
        C::TargetForgotten { rollout, host } => with_host(of_rollout(rollout), host),
        C::Noted(entry) => entry.scopes.clone(),
        C::PassageMoved(_) => vec![Scope::All],
        // Whoever watched before it moved is told to read everything again.
        C::OperationDone(_) | C::OperationForgotten(_) | C::EntryForgotten(_) | C::Brought(_) | C::Cleared(_) => {
            Vec::new()
        }
    }
}

fn with_host(mut scopes: Vec<Scope>, host: &model::names::Host) -> Vec<Scope> {
    scopes.push(Scope::Host(host.clone()));
    scopes
}

fn of_rollout(name: &model::names::RolloutName) -> Vec<Scope> {
    vec![Scope::Rollout(name.clone()), Scope::Service(name.service.clone())]
}

fn of_ticket(ticket: &Ticket) -> Vec<Scope> {
    of_use(&ticket.holder, ticket.pools.iter(), &ticket.purpose)
}

fn of_lease(lease: &Lease) -> Vec<Scope> {
    of_use(&lease.holder, lease.pools.keys(), &lease.purpose)
}

fn of_use<'a>(holder: &Holder, pools: impl Iterator<Item = &'a Pool>, purpose: &Purpose) -> Vec<Scope> {
    let mut scopes = vec![Scope::Host(holder.as_host())];
    scopes.extend(pools.cloned().map(Scope::Pool));
    scopes.extend(purpose.service().cloned().map(Scope::Service));
    if let Purpose::Rollout(name) = purpose {
        scopes.push(Scope::Rollout(name.clone()));
    }
    scopes
}

/// Whether a scope covers what is told.
pub(crate) fn covers(scope: &Scope, told: &Told) -> bool {
    *scope == Scope::All || told.scopes.iter().any(|about| about == scope || *about == Scope::All)
}

/// The word of a change: its name in JSON.
pub(crate) fn word(change: &Change) -> &'static str {
    use Change as C;
    match change {
        C::TicketTaken(_) => "ticket_taken",
        C::TicketHeard(_) => "ticket_heard",
        C::TicketPassed(_) => "ticket_passed",
        C::TicketDropped(_) => "ticket_dropped",
        C::TokenUsed { .. } => "token_used",
        C::TokensRaised(_) => "tokens_raised",
        C::DefaultsLoaded(_) => "defaults_loaded",
        C::LeaseGranted(_) => "lease_granted",
        C::LeaseRenewed(_) => "lease_renewed",
        C::LeaseReturned(_) => "lease_returned",
        C::LeaseBegun(_) => "lease_begun",
        C::LeaseFailed(_) => "lease_failed",
        C::LeaseLost(_) => "lease_lost",
        C::LeaseEnded(_) => "lease_ended",
        C::MemberJoined(_) => "member_joined",
        C::MemberHeard(_) => "member_heard",
        C::MemberForgotten(_) => "member_forgotten",
        C::Paused(_) => "paused",
        C::Resumed(_) => "resumed",
        C::Configured(_) => "configured",
        C::Reverted { .. } => "reverted",
        C::GenerationUsed { .. } => "generation_used",
        C::RolloutAnnounced(_) => "rollout_announced",
        C::RolloutMoved(_) => "rollout_moved",
        C::RolloutForgotten(_) => "rollout_forgotten",
        C::TargetMoved(_) => "target_moved",
        C::TargetForgotten { .. } => "target_forgotten",
        C::OperationDone(_) => "operation_done",
        C::OperationForgotten(_) => "operation_forgotten",
        C::Noted(_) => "noted",
        C::EntryForgotten(_) => "entry_forgotten",
        C::PassageMoved(_) => "passage_moved",
        C::Brought(_) => "brought",
        C::Cleared(_) => "cleared",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pool: &str) -> Told {
        let change = Change::TokenUsed { pool: pool.parse().expect("a pool"), token: 1 };
        Told { scopes: scopes(&change, &State::default()), change }
    }

    #[test]
    fn a_watcher_goes_on_where_it_was_or_is_told_to_read_again() {
        let ring = Ring::new(Wall(1));
        assert_eq!(ring.newest(), 999);
        assert!(ring.behind(999, 10).expect("nothing yet").is_empty());
        assert_eq!(ring.behind(1000, 10).err(), Some(Reset(999)), "a number from the future");
        ring.publish((0..KEPT_MAX + 2).map(|_| told("p")).collect());
        let newest = ring.newest();
        assert_eq!(newest, 999 + KEPT_MAX as u64 + 2);
        assert_eq!(ring.behind(1000, 10).err(), Some(Reset(newest)), "1001 is gone");
        let numbers: Vec<u64> = ring.behind(1001, 3).expect("kept").into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, [1002, 1003, 1004]);
        assert!(ring.behind(newest, 3).expect("up to date").is_empty());
    }

    #[test]
    fn a_scope_covers_its_own_and_all_covers_everything() {
        let (own, other) = ("pool/p".parse().expect("a scope"), "pool/q".parse().expect("a scope"));
        assert!(covers(&own, &told("p")) && covers(&Scope::All, &told("p")) && !covers(&other, &told("p")));
    }

    #[test]
    fn the_word_of_a_change_is_its_name_in_json() {
        for change in [
            Change::LeaseEnded("a".parse().expect("a holder")),
            Change::EntryForgotten(7),
            Change::TokenUsed { pool: "p".parse().expect("a pool"), token: 1 },
        ] {
            let json = serde_json::to_value(&change).expect("JSON");
            assert_eq!(
                json.as_object().and_then(|object| object.keys().next()).map(String::as_str),
                Some(word(&change))
            );
        }
    }
}
