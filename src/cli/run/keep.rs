//! Keeping the lease while the command runs: renewing it, ending the command when ownership cannot be confirmed in time,
//! waiting until nothing is left of it, and only then giving the lease back.
//!
//! Decides nothing itself: [`Ownership`] and [`Leftover`] do, and this loop tells them what happens. Called by `run`.

use super::boottime;
use super::child::{Child, News};
use super::leftover::{self, Leftover};
use super::ownership::{Due, Ownership};
use super::signals::Signals;
use super::wait::{Held, rounded, within};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::render::text::{clean, seconds};
use crate::cli::{exit, out};
use crate::worker::environment;
use coordinator::{Coordinator as _, Error};
use model::lease::Lease;
use model::request::{Ending, Own, Renew, Settle, Settled};
use model::time::millis;
use rustix::process::Signal;
use std::ffi::OsString;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

/// How long giving the lease back is tried for at least: its time to live, when that is longer.
const GIVE_BACK_MIN: Duration = Duration::from_secs(10);
/// The pause before the next try of it: it doubles, up to the second.
const GIVE_BACK_PAUSE: Duration = Duration::from_millis(100);
const GIVE_BACK_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long an answer to it is waited for.
const GIVE_BACK_ANSWER: Duration = Duration::from_secs(2);

type Renewal<'f> = Pin<Box<dyn Future<Output = (Duration, Result<Own, Error>)> + 'f>>;

/// Runs the command, stays until nothing is left of it, and gives the lease back. Returns its exit code, or 2 when it was
/// ended because the lease could not be confirmed.
///
/// # Errors
/// The command cannot be started; or its end cannot be learned, and then the lease is left to be lost by time.
pub(super) async fn keep(
    client: &Client,
    held: &Held,
    command: &[OsString],
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let lease = &held.lease;
    let mut own = Ownership::new(Duration::from_millis(lease.ttl_ms), held.confirmed);
    let mut left = Leftover::default();
    let mut renewal: Option<Renewal<'_>> = None;
    let started = Child::start(command, &environment(&lease.pools, &lease.holder), own.leash());
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            give_back(client, lease, signals).await;
            return Err(Failure::system("start the command", error));
        }
    };
    let code = loop {
        let now = boottime::now();
        while let Some(due) = own.due(now) {
            match due {
                Due::Renew => renewal = Some(Box::pin(renew(client, lease))),
                Due::Terminate => terminate(&mut child, &own, now),
                Due::Kill => child.end_all(Signal::KILL),
            }
        }
        if !own.is_ending() {
            look_after(&mut child, &mut left, now);
        }
        tokio::select! {
            news = child.news() => match news.map_err(|error| Failure::system("learn of the command's end", error))? {
                News::Ended => left.begins(boottime::now()),
                News::Over(code) => break code,
            },
            signal = signals.next() => {
                left.signalled(signal);
                if !left.is_all() {
                    child.forward(signal);
                }
            }
            (sent, answer) = finish(&mut renewal), if renewal.is_some() => {
                renewal = None;
                let now = boottime::now();
                match own.renewed(sent, answer, now) {
                    Some(_) => terminate(&mut child, &own, now),
                    None => child.keep_until(own.leash()),
                }
            }
            () = tokio::time::sleep(own.rest(now).min(left.rest(now))) => {}
        }
    };
    // This one may have been stopped, and the guard have done what was due.
    let was_ended = own.is_ending() || own.due(boottime::now()) == Some(Due::Terminate);
    give_back(client, lease, signals).await;
    if was_ended {
        out::note("error: the command was ended, because the lease could not be confirmed");
        return Ok(exit::NO_LEASE);
    }
    Ok(code.unwrap_or_else(|| {
        out::note("error: the guard of the command was killed, and the command with it");
        exit::of_signal(Signal::KILL.as_raw())
    }))
}

/// The command has ended, and something that it started has not.
fn look_after(child: &mut Child, left: &mut Leftover, now: Duration) {
    while let Some(due) = left.due(now) {
        match due {
            leftover::Due::Say => {
                let them = child.left().named();
                out::note(&format!(
                    "warning: the command has ended, and what it started has not: {them}; the lease is kept until then\n\
                     hint: TERM, or Ctrl-C, ends that too"
                ));
            }
            leftover::Due::Terminate => {
                let them = child.left().named();
                out::note(&format!("warning: the command has ended; ending what it started: {them}"));
                child.end_all(Signal::TERM);
            }
            leftover::Due::Kill => child.end_all(Signal::KILL),
        }
    }
}

fn terminate(child: &mut Child, own: &Ownership, now: Duration) {
    let silence = seconds(millis(own.silence(now)));
    out::note(&format!(
        "warning: the lease was last confirmed {silence} ago: {}; ending the command",
        clean(own.fault())
    ));
    child.keep_until(own.leash());
    child.end_all(Signal::TERM);
}

/// Renews once, within a third of the time to live.
async fn renew(client: &Client, lease: &Lease) -> (Duration, Result<Own, Error>) {
    let renew = Renew { holder: lease.holder.clone(), claim: lease.claim.clone(), step: None, note: String::new() };
    let limit = Duration::from_millis(lease.ttl_ms) / 3;
    let sent = boottime::now();
    (sent, within(limit, client.coordinator().renew(&renew)).await)
}

async fn finish(renewal: &mut Option<Renewal<'_>>) -> (Duration, Result<Own, Error>) {
    match renewal {
        Some(renewal) => renewal.await,
        None => std::future::pending().await,
    }
}

/// Gives the lease back. Tried for a bounded time, or until somebody does not want to wait: what is not given back is lost,
/// and shows.
async fn give_back(client: &Client, lease: &Lease, signals: &mut Signals) {
    if let Err(fault) = settle(client, lease, signals).await {
        let holder = &lease.holder;
        out::note(&format!(
            "warning: cannot give the lease back: {}\n\
             hint: it still counts, and is lost soon: stagger release {holder} --reason …",
            clean(&fault)
        ));
    }
}

/// Settles the lease, and says once that nobody answers; from then on a signal ends it.
///
/// # Errors
/// It is not settled: why.
async fn settle(client: &Client, lease: &Lease, signals: &mut Signals) -> Result<(), String> {
    let settle = Settle {
        holder: lease.holder.clone(),
        claim: lease.claim.clone(),
        ending: Ending::Released,
        rollout: None,
        report: None,
    };
    // What ended the command must not end this too.
    signals.forget();
    let until = Instant::now() + GIVE_BACK_MIN.max(Duration::from_millis(lease.ttl_ms));
    let mut pause = GIVE_BACK_PAUSE;
    let (mut is_said, mut may_be_done) = (false, false);
    loop {
        let call = within(GIVE_BACK_ANSWER, client.coordinator().settle(&settle));
        let settled = tokio::select! {
            settled = call => settled,
            _ = signals.next_end(), if is_said => return Err("interrupted".to_owned()),
        };
        let fault = match settled {
            Ok(Settled::Gone) if !may_be_done => {
                out::note("warning: the lease was gone before it was given back");
                return Ok(());
            }
            Ok(_) => return Ok(()),
            Err(fault) => fault,
        };
        may_be_done |= matches!(fault, Error::Unknown { .. });
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || !fault.retryable() {
            return Err(fault.to_string());
        }
        if !is_said {
            is_said = true;
            let silence = client.silence(rounded(left), &fault);
            out::note(&format!("warning: cannot give the lease back yet: {silence}\nhint: TERM, or Ctrl-C, ends that"));
        }
        tokio::select! {
            () = tokio::time::sleep(pause.min(left)) => {}
            _ = signals.next_end() => return Err("interrupted".to_owned()),
        }
        pause = (pause * 2).min(GIVE_BACK_PAUSE_MAX);
    }
}
