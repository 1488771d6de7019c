//! What the coordinator says to a sequence under way.
//!
//! Owns the reading of its answers: what cuts short, how long a lease is known to be its own. Silence is never read as an
//! answer. Called by `work`; what is said to a waiter is in `wait`.

use crate::host::pace::Pace;
use crate::host::work::{Doing, Work};
use crate::host::{Effect, Unheard};
use crate::request::{Begin, Settled};
use crate::sequence::{Record, Unwind};
use crate::time::{Time, millis};

/// How often a settle is tried when the worker is about to end: the next start goes on with it.
const SETTLE_TRIES_MAX: u32 = 3;

impl Work {
    fn retry(&mut self, now: Time, pace: &mut Pace) {
        self.doing = Doing::Pausing(now.plus(pace.retry(self.tries)));
        self.tries += 1;
    }

    fn cut_short<R>(&mut self, why: Unwind, now: Time, out: &mut Vec<Effect<R>>) {
        self.cut = Some(why);
        self.advance_from(now, out);
    }

    pub(super) fn owned<R>(
        &mut self,
        sent: Time,
        own: &Result<crate::request::Own, Unheard>,
        now: Time,
        out: &mut Vec<Effect<R>>,
    ) {
        use crate::request::Own::{Gone, Held};
        match own {
            Ok(Held { ttl_ms }) => {
                self.lease.ttl_ms = *ttl_ms;
                self.lease.heard(sent);
                if self.doing == Doing::Claiming {
                    self.advance_from(now, out);
                }
            }
            Ok(Gone) => {
                self.lease.is_gone = true;
                self.lease.renew_at = None;
                self.abandon(now, out);
            }
            // It goes on renewing, and says less.
            Err(Unheard { is_for_good: true, .. }) => self.note.clear(),
            Err(_) => {}
        }
    }

    pub(super) fn begun<R>(
        &mut self,
        sent: Time,
        begin: Result<Begin, Unheard>,
        now: Time,
        pace: &mut Pace,
        out: &mut Vec<Effect<R>>,
    ) {
        if self.doing != Doing::Beginning {
            return;
        }
        match begin {
            Ok(Begin::Go { generation }) => {
                self.lease.heard(sent);
                self.happened(Record::Begun { generation, ms: millis(now.since(self.since)) }, now, out);
            }
            Ok(Begin::Paused(why)) => self.cut_short(Unwind::GaveWay(why), now, out),
            Ok(Begin::Halted(why) | Begin::Superseded(why)) => self.cut_short(Unwind::Cancelled(why), now, out),
            Ok(Begin::Gone) => {
                self.lease.is_gone = true;
                self.cut_short(Unwind::Cancelled("the lease is gone".to_owned()), now, out);
            }
            Err(Unheard { why, is_for_good: true }) => self.cut_short(Unwind::Cancelled(why), now, out),
            Err(_) => self.retry(now, pace),
        }
    }

    pub(super) fn settled<R>(
        &mut self,
        settled: Result<Settled, Unheard>,
        now: Time,
        pace: &mut Pace,
        out: &mut Vec<Effect<R>>,
    ) {
        if self.doing != Doing::Settling {
            return;
        }
        if let Err(Unheard { why, is_for_good: true }) = &settled
            && self.refused.is_none()
        {
            self.refused = Some(why.clone());
            return self.advance_from(now, out);
        }
        // Without a lease there is nothing that must be given back. What is refused for good even so is left to the coordinator,
        // at which its lease runs out.
        let is_over = settled.is_ok() || matches!(settled, Err(Unheard { is_for_good: true, .. }));
        if is_over || self.sequence.plan().leaseless {
            return self.write(Record::Settled, out);
        }
        if (self.is_stopping || self.is_once) && self.tries + 1 >= SETTLE_TRIES_MAX {
            return self.leave();
        }
        self.retry(now, pace);
    }
}
