//! A holder is still at work.

use crate::apply::Draft;
use crate::bound::beginning;
use crate::change::Change;
use crate::lease::{LeaseState, TEXT_BYTES_MAX};
use crate::request::{Own, Renew};

pub(crate) fn renew(draft: &mut Draft<'_>, renew: &Renew) -> Own {
    let now = draft.now;
    let Some(lease) = draft.view.lease(&renew.holder).filter(|lease| lease.claim == renew.claim) else {
        return Own::Gone;
    };
    if lease.state == LeaseState::Failed && !lease.has_begun {
        return Own::Gone;
    }
    let mut lease = lease.clone();
    lease.renewed = now.time;
    lease.unconfirmed = false;
    if renew.step.is_some() && renew.step != lease.step {
        (lease.step, lease.step_since) = (renew.step, Some(now.wall));
    }
    lease.note = beginning(&renew.note, TEXT_BYTES_MAX);
    let ttl_ms = lease.ttl_ms;
    if lease.state == LeaseState::Held {
        draft.push(Change::LeaseRenewed(lease));
    } else {
        draft.take_up_again(&mut lease);
        draft.push(Change::LeaseReturned(lease));
    }
    Own::Held { ttl_ms }
}
