//! What the coordinator is told without a journal: what comes to nothing, and what another worker left.
//!
//! Owns how often that is tried. It is never of consequence when nobody hears it: a ticket falls silent, a lease is lost, and
//! what is owed comes up again. Called by [`Host::on`].

use crate::host::{Effect, Finish, Host, Phase, Unheard};
use crate::request::{Settle, Settled};
use crate::time::Time;

/// How often it is told again, when nobody answers.
const RETRIES_MAX: u32 = 5;
/// How often when the worker ends with it.
const LAST_RETRIES_MAX: u32 = 2;

/// A settle without a journal.
#[derive(Debug)]
pub(super) struct Telling {
    settle: Settle,
    /// Whether its report was refused as it was, and this is what is left of it.
    is_bare: bool,
    tries: u32,
    retry_at: Option<Time>,
    /// When an answer is no longer waited for, and it is not told again.
    until: Option<Time>,
    /// How the worker ends with it.
    exit: Option<Finish>,
}

/// What is left of a settle whose report was refused for good.
fn bare(settle: &Settle, refused: &str) -> Option<Settle> {
    let report = settle.report.as_ref()?.without_details(refused);
    Some(Settle { report: Some(report), ..settle.clone() })
}

impl Telling {
    pub(super) fn wake_at(&self) -> Option<Time> {
        self.retry_at.into_iter().chain(self.until).min()
    }
}

impl Host {
    /// Tells the coordinator something that needs no sequence; with `exit`, that is the last thing.
    pub(super) fn tell<R>(&mut self, settle: Settle, exit: Option<Finish>, out: &mut Vec<Effect<R>>) {
        out.push(Effect::Settle(settle.clone()));
        self.phase =
            Phase::Telling(Box::new(Telling { settle, is_bare: false, tries: 0, retry_at: None, until: None, exit }));
    }

    /// It is told once, and an answer is not waited for longer.
    pub(super) fn tell_until(&mut self, until: Time) {
        if let Phase::Telling(telling) = &mut self.phase {
            telling.until = Some(until);
        }
    }

    /// The worker ends with what it is telling.
    pub(super) fn tell_and_stop<R>(&mut self, out: &mut Vec<Effect<R>>) {
        let Phase::Telling(telling) = &mut self.phase else { return };
        telling.exit.get_or_insert(Finish::Interrupted);
        if telling.retry_at.take().is_some() {
            out.push(Effect::Settle(telling.settle.clone()));
        }
    }

    pub(super) fn tell_again<R>(&mut self, now: Time, out: &mut Vec<Effect<R>>) {
        let Phase::Telling(telling) = &mut self.phase else { return };
        if telling.until.is_some_and(|at| now >= at) {
            return self.told(out);
        }
        if telling.retry_at.is_some_and(|at| now >= at) {
            telling.retry_at = None;
            out.push(Effect::Settle(telling.settle.clone()));
        }
    }

    pub(super) fn settled<R>(&mut self, settled: Result<Settled, Unheard>, now: Time, out: &mut Vec<Effect<R>>) {
        match &mut self.phase {
            Phase::Working(work) => work.settled(settled, now, &mut self.pace, out),
            Phase::Telling(telling) => {
                if let Err(Unheard { why, is_for_good: true }) = &settled {
                    if let Some(bare) = bare(&telling.settle, why).filter(|_| !telling.is_bare) {
                        (telling.settle, telling.is_bare) = (bare, true);
                        return out.push(Effect::Settle(telling.settle.clone()));
                    }
                    telling.tries = RETRIES_MAX;
                }
                let retries_max = match telling.exit {
                    _ if telling.until.is_some() => 0,
                    Some(_) => LAST_RETRIES_MAX,
                    None => RETRIES_MAX,
                };
                if settled.is_err() && telling.tries < retries_max {
                    telling.retry_at = Some(now.plus(self.pace.retry(telling.tries)));
                    telling.tries += 1;
                    return;
                }
                self.told(out);
            }
            _ => {}
        }
    }

    /// It is told, or was in vain often enough.
    fn told<R>(&mut self, out: &mut Vec<Effect<R>>) {
        let Phase::Telling(telling) = &mut self.phase else { return };
        let exit = telling.exit.take();
        // A lease that no journal tells of is told about under the lock.
        out.push(Effect::Unlock);
        if let Some(exit) = exit {
            return self.exit(exit, out);
        }
        self.owed.clear();
        self.phase = Phase::Idle;
        out.push(Effect::Join);
    }
}
