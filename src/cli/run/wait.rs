//! Waiting for a lease: asking, asking again, and saying meanwhile who is in the way.
//!
//! Owns how long a person waits who said so, by the own clock, paused or not and answered or not; and how long a silent
//! coordinator is borne otherwise. The queue's order, and the times that its pools set, are the coordinator's.

use super::boottime;
use super::signals::Signals;
use crate::cli::client::Client;
use crate::cli::out;
use crate::cli::render::text::{self, clean, ordinal, span};
use crate::cli::screen::Screen;
use coordinator::{Coordinator as _, Error};
use model::lease::Lease;
use model::names::Pool;
use model::request::{Answer, Ask, Ending, Own, Queued, Refusal, Renew, Settle};
use model::time::millis;
use std::time::Duration;
use tokio::time::Instant;

/// How long one ask is held open. On a terminal the place is shown, so it is asked for more often.
const HOLD: Duration = Duration::from_secs(25);
const HOLD_SHOWN: Duration = Duration::from_secs(2);
/// How much longer than it is held an ask stands, so that nobody passes while the next one is on its way.
const MARGIN: Duration = Duration::from_secs(10);
/// How long the coordinator may be away once this one is in the queue, and before: unless it is said how long to wait.
const AWAY_MAX: Duration = Duration::from_secs(60);
const FIRST_MAX: Duration = Duration::from_secs(10);
/// How much longer than the wait its last answer, and leaving a queue of which nobody answers, may take.
const LAST_WORD: Duration = Duration::from_millis(150);
/// The pause before asking a silent coordinator again: it doubles, up to the second.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long leaving the queue may take.
const LEAVE_MAX: Duration = Duration::from_secs(2);
/// How often a grant is confirmed within a time to live, at most half of which is spent on it; and the pause between two tries.
const CONFIRM_TRIES: u32 = 8;
const CONFIRM_PAUSE: Duration = Duration::from_millis(100);
/// How many grants that are lost before anything began are asked for again.
const LOST_MAX: u32 = 5;

/// A lease, and when its ownership was last confirmed: when the request that was answered so was sent.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) lease: Lease,
    pub(super) confirmed: Duration,
}

/// Why a grant is not a lease that something can begin under.
enum Lost {
    /// It is there no more.
    Gone,
    /// Nobody confirmed it for so long; it may still be there.
    Unconfirmed(String),
    /// It was refused for good; why, for people.
    Refused(String),
}

/// What came of waiting.
pub(super) enum Waited {
    /// The lease is there.
    Held(Box<Held>),
    /// There is none; why, for people.
    No(String),
    /// It did not come in time, and the place in the queue is still there; why, for people.
    Late(String),
    /// Nobody answers, and the place in the queue may still be there; why, for people.
    Away(String),
    /// A signal ended the wait.
    Interrupted(i32),
}

/// Waits until the lease is there, the wait is over, or a signal comes. The queue is left in order.
pub(super) async fn wait(client: &Client, mut ask: Ask, signals: &mut Signals) -> Waited {
    let mut screen = Screen::open();
    let waited = tokio::select! {
        waited = obtain(client, &mut ask, &mut screen) => waited,
        signal = signals.next_end() => Waited::Interrupted(signal.as_raw()),
    };
    if let Some(screen) = &mut screen {
        screen.draw(&[], &[]);
    }
    match &waited {
        Waited::Held(_) | Waited::No(_) => {}
        // Whoever said how long to wait is not kept waiting by one who has not answered so long.
        Waited::Away(_) if ask.wait_ms.is_some() => leave(client, &ask, LAST_WORD).await,
        Waited::Late(_) | Waited::Away(_) | Waited::Interrupted(_) => leave(client, &ask, LEAVE_MAX).await,
    }
    waited
}

/// Asks until there is an answer that is none of "not yet", or the wait is over. A grant that is lost before anything began, as
/// when its coordinator dies with it, is asked for again: under another claim when it is surely gone.
async fn obtain(client: &Client, ask: &mut Ask, screen: &mut Option<Screen>) -> Waited {
    let wait = ask.wait_ms.map(Duration::from_millis);
    let ends = wait.map(|wait| Instant::now() + wait);
    let mut queued: Option<Queued> = None;
    let mut away: Option<Instant> = None;
    let mut pause = PAUSE_MIN;
    let mut lost = 0;
    loop {
        let sent = Instant::now();
        let left = ends.map_or(Duration::MAX, |ends| ends.saturating_duration_since(sent));
        // The first ask is not held, so that its place is known at once; nor is the last one.
        let hold = match (queued.is_some() && away.is_none(), screen.is_some()) {
            (false, _) => Duration::ZERO,
            (true, true) => HOLD_SHOWN.min(left),
            (true, false) => HOLD.min(left),
        };
        let asked = Ask { patience_ms: millis(hold + MARGIN), ..ask.clone() };
        let answer = within(left.saturating_add(LAST_WORD), client.coordinator().ask(&asked, hold)).await;
        let failure = match (answer, wait) {
            (Ok(Answer::Granted(granted)), _) => match confirmed(client, granted.lease).await {
                Ok(held) => return Waited::Held(Box::new(held)),
                Err(why) => {
                    lost += 1;
                    let left = ends.map(|ends| ends.saturating_duration_since(Instant::now()));
                    if let Err(waited) =
                        claim_again(ask, why, lost > LOST_MAX || left.is_some_and(|left| left.is_zero()))
                    {
                        return waited;
                    }
                    (ask.wait_ms, queued) = (left.map(millis), None);
                    say(screen, "the lease was granted, and lost before anything began: asking again".to_owned());
                    continue;
                }
            },
            (Ok(Answer::Refused(refusal)), _) => return Waited::No(refusal_text(&refusal, ask)),
            (Ok(Answer::Queued(place)), Some(wait)) if left.is_zero() => {
                return Waited::Late(late_text(wait, &place, ask));
            }
            (Ok(Answer::Queued(place)), _) => {
                let left_ms = place.left_ms.min(millis(left));
                let place = Queued { left_ms, ..place };
                show(screen, &place, ask, queued.is_none());
                (queued, away, pause) = (Some(place), None, PAUSE_MIN);
                continue;
            }
            (Err(failure), _) => failure,
        };
        let since = *away.get_or_insert(sent);
        let until = ends.unwrap_or(since + if queued.is_some() { AWAY_MAX } else { FIRST_MAX });
        let patience = until.saturating_duration_since(Instant::now());
        if patience.is_zero() || !failure.retryable() {
            let doing = wait
                .filter(|_| failure.retryable())
                .map(|wait| format!("get a lease in {}", model::settings::span(millis(wait))));
            return Waited::Away(client.failure(doing.as_deref().unwrap_or("get a lease"), failure).render());
        }
        if since == sent {
            say(screen, client.silence(rounded(patience), &failure));
        }
        tokio::time::sleep(pause.min(patience)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// The answer, if it comes so soon.
pub(super) async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let silent = |_| Err(Error::Unknown { why: "the coordinator is silent".to_owned() });
    tokio::time::timeout(limit, call).await.unwrap_or_else(silent)
}

/// Prepares to ask again after a grant that was lost; what came of it instead when that is of no use.
fn claim_again(ask: &mut Ask, why: Lost, is_last: bool) -> Result<(), Waited> {
    match why {
        Lost::Refused(why) => Err(Waited::Away(why)),
        Lost::Unconfirmed(why) if is_last => Err(Waited::Away(why)),
        Lost::Unconfirmed(_) => Ok(()),
        Lost::Gone => match coordinator::random_id() {
            Ok(claim) if !is_last => {
                ask.claim = claim;
                Ok(())
            }
            _ => Err(Waited::No("error: the lease was granted, and is gone again\nhint: stagger history".to_owned())),
        },
    }
}

/// Renews the lease before anything begins: a grant may be as old as the ask that brought it, and the coordinator takes one
/// back that its holder never answers.
async fn confirmed(client: &Client, lease: Lease) -> Result<Held, Lost> {
    let ttl = Duration::from_millis(lease.ttl_ms);
    let renew = Renew { holder: lease.holder.clone(), claim: lease.claim.clone(), step: None, note: String::new() };
    let ends = boottime::now() + ttl / 2;
    loop {
        let sent = boottime::now();
        // An answer that was lost on its way is not waited for until it is too late.
        let limit = (ttl / CONFIRM_TRIES).min(ends.saturating_sub(sent));
        let failure = match within(limit, client.coordinator().renew(&renew)).await {
            Ok(Own::Held { .. }) => return Ok(Held { lease, confirmed: sent }),
            Ok(Own::Gone) => return Err(Lost::Gone),
            Err(failure) if failure.retryable() => failure,
            Err(failure) => return Err(Lost::Refused(client.failure("confirm the lease", failure).render())),
        };
        if boottime::now() + CONFIRM_PAUSE >= ends {
            return Err(Lost::Unconfirmed(format!(
                "error: the lease was granted, and could not be confirmed in {}: {failure}",
                span(millis(ttl / 2))
            )));
        }
        tokio::time::sleep(CONFIRM_PAUSE).await;
    }
}

/// Leaves the queue, or gives back a lease that came too late; a bounded try, since a silent waiter loses its turn anyway.
async fn leave(client: &Client, ask: &Ask, limit: Duration) {
    let settle = Settle {
        holder: ask.holder.clone(),
        claim: ask.claim.clone(),
        ending: Ending::Cancelled,
        rollout: None,
        report: None,
    };
    let _passes_by_itself = within(limit, client.coordinator().settle(&settle)).await;
}

/// Shows the place: again and again on a terminal, else once.
fn show(screen: &mut Option<Screen>, place: &Queued, ask: &Ask, is_first: bool) {
    let line = queued_text(place, ask);
    match screen {
        Some(screen) => screen.draw(&[], &[line]),
        None if is_first => out::note(&line),
        None => {}
    }
}

/// `waiting for app, 2nd, gives up in 9m50s: 2 of 2 out; mw1402 held 6s, php-fpm@42, drain`.
fn queued_text(place: &Queued, ask: &Ask) -> String {
    let (pools, nth, left) = (pools(ask), ordinal(place.place), span(place.left_ms));
    format!("waiting for {pools}, {nth}, gives up in {left}: {}{}", clean(&place.why.whole()), holders(&place.why))
}

/// Says something that stays.
fn say(screen: &mut Option<Screen>, line: String) {
    match screen {
        Some(screen) => screen.draw(&[line], &[]),
        None => out::note(&line),
    }
}

/// A time in whole seconds, to the nearest, unless it is shorter.
pub(super) fn rounded(time: Duration) -> Duration {
    match time.as_secs() {
        0 => time,
        _ => Duration::from_secs((time + Duration::from_millis(500)).as_secs()),
    }
}

fn pools(ask: &Ask) -> String {
    ask.pools.iter().map(Pool::as_str).collect::<Vec<_>>().join(" + ")
}

fn holders(why: &Refusal) -> String {
    text::holders(&why.holders)
}

/// Why the lease did not come while it was waited for so long.
fn late_text(wait: Duration, place: &Queued, ask: &Ask) -> String {
    let value = format!("waited {}: {}", model::settings::span(millis(wait)), place.why.whole());
    refusal_text(&Refusal { value, ..place.why.clone() }, ask)
}

/// Why there is no lease, who holds it, and where the number of slots comes from.
fn refusal_text(why: &Refusal, ask: &Ask) -> String {
    let source = match (&why.slots, &why.source) {
        (Some(slots), Some(source)) => format!(" (slots={slots}: {})", clean(source)),
        _ => String::new(),
    };
    let hint = ask.pools.first().map(|pool| format!("\nhint: stagger why pool/{pool}")).unwrap_or_default();
    format!("error: no lease of {}: {}{source}{}{hint}", pools(ask), clean(&why.value), holders(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::lease::{LeaseState, Purpose};
    use model::request::{Holding, RefusalKind};

    fn ask() -> Ask {
        Ask {
            holder: "run-7.ops1".parse().expect("a holder"),
            claim: "c1".parse().expect("an id"),
            pools: ["app", "rack.b4"].iter().map(|pool| pool.parse().expect("a pool")).collect(),
            purpose: Purpose::Run("true".to_owned()),
            wait_ms: None,
            patience_ms: 0,
        }
    }

    fn full() -> Refusal {
        let holding = |holder: &str| Holding {
            holder: holder.parse().expect("a holder"),
            pool: "rack.b4".parse().expect("a pool"),
            state: LeaseState::Held,
            since_ms: 6_000,
            what: "php-fpm@42, drain".to_owned(),
        };
        Refusal {
            kind: RefusalKind::Full,
            value: "2 of 2 slots of rack.b4 are taken".to_owned(),
            holders: ["mw1", "mw2", "mw3", "mw4"].map(holding).to_vec(),
            slots: Some(2),
            source: Some("default".to_owned()),
            left_ms: None,
        }
    }

    #[test]
    fn a_waiter_sees_its_place_and_who_is_in_the_way() {
        let place =
            Queued { place: 2, left_ms: 590_000, why: Refusal { holders: full().holders[..1].to_vec(), ..full() } };
        let expected = "waiting for app + rack.b4, 2nd, gives up in 9m50s: 2 of 2 slots of rack.b4 are taken; mw1 held 6s, php-fpm@42, drain";
        assert_eq!(queued_text(&place, &ask()), expected);
    }

    #[test]
    fn whoever_waits_no_longer_is_told_how_long_that_was_and_when_a_pause_ends() {
        let why = Refusal {
            kind: RefusalKind::Paused,
            value: "pool/app is paused by ann@ops1: a switch".to_owned(),
            holders: Vec::new(),
            slots: None,
            source: None,
            left_ms: Some(3_599_100),
        };
        let text = late_text(Duration::from_millis(1_500), &Queued { place: 1, left_ms: 0, why }, &ask());
        let expected = "error: no lease of app + rack.b4: waited 1s500ms: pool/app is paused by ann@ops1: a switch; it ends in 59m59s\n\
            hint: stagger why pool/app";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_refusal_names_holders_slots_and_where_the_number_comes_from() {
        let expected = "error: no lease of app + rack.b4: 2 of 2 slots of rack.b4 are taken (slots=2: default); \
            mw1 held 6s, php-fpm@42, drain; mw2 held 6s, php-fpm@42, drain; mw3 held 6s, php-fpm@42, drain\n\
            hint: stagger why pool/app";
        assert_eq!(refusal_text(&full(), &ask()), expected);
        let plain = Refusal { holders: Vec::new(), slots: None, source: None, ..full() };
        assert!(
            refusal_text(&plain, &ask())
                .starts_with("error: no lease of app + rack.b4: 2 of 2 slots of rack.b4 are taken\n")
        );
    }
}
