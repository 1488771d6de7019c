//! Decides over what the clients wrote down, and nothing else, whether the lock server kept what it had told them. Pure.

use super::log::{Asked, Entry, Span, Told};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a lease lives without a word of its holder, unless set.
const TTL: Duration = Duration::from_secs(30);

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Leases that were granted.
    pub(super) grants: usize,
    /// How many clients had one.
    pub(super) holders: usize,
    /// Calls that were answered.
    pub(super) answers: usize,
    /// Calls that were not.
    pub(super) unanswered: usize,
    /// What must not be, each in a sentence.
    pub(super) faults: Vec<String>,
}

/// A lease, as its holder knows it.
#[derive(Debug, Clone)]
struct Grant {
    who: String,
    tokens: BTreeMap<&'static str, u64>,
    /// It was granted after this moment.
    after: Duration,
    /// It was granted before this moment, and held from then on.
    before: Duration,
    /// Held up to this moment at least; nothing when it was never to end.
    until: Option<Duration>,
}

/// Checks the logs, one for each client; `slots` says how many may hold each pool, and `deaths` when the server was being killed.
pub(super) fn check(logs: &[Vec<Entry>], slots: &BTreeMap<&'static str, usize>, deaths: &[Span]) -> Seen {
    let mut seen = Seen::default();
    let mut grants = Vec::new();
    for log in logs {
        let before = grants.len();
        follow(log, deaths, &mut grants, &mut seen.faults);
        seen.holders += usize::from(grants.len() > before);
        seen.answers += log.iter().filter(|entry| entry.told.is_some()).count();
    }
    seen.unanswered = logs.iter().map(Vec::len).sum::<usize>() - seen.answers;
    seen.grants = grants.len();
    for (pool, slots) in slots {
        let of_pool: Vec<(&Grant, u64)> =
            grants.iter().filter_map(|grant| Some((grant, *grant.tokens.get(pool)?))).collect();
        tokens_are_used_once(pool, &of_pool, &mut seen.faults);
        tokens_grow(pool, &of_pool, &mut seen.faults);
        slots_suffice(pool, *slots, &of_pool, &mut seen.faults);
    }
    seen
}

/// Where one client is with its claim.
#[derive(Debug, Default)]
struct Claim {
    number: u32,
    /// Its lease is the one at this place, once it was granted.
    granted: Option<usize>,
    /// A grant that is not known yet came after this.
    after: Duration,
    /// When it last heard that it has its lease: the sending of that call.
    confirmed: Duration,
    /// It was told that its lease is lost.
    is_lost: bool,
    /// It asked to end, and no answer came.
    may_have_ended: bool,
    has_ended: bool,
}

/// Goes through what one client was told: whoever was granted a lease has it, with the same tokens, until it ends it.
fn follow(log: &[Entry], deaths: &[Span], grants: &mut Vec<Grant>, faults: &mut Vec<String>) {
    let mut claim = Claim::default();
    for entry in log {
        if entry.claim != claim.number {
            claim = Claim { number: entry.claim, after: entry.span.from, ..Claim::default() };
        }
        let who = format!("client{} under claim {}", entry.holder, entry.claim);
        if entry.asked == Asked::End {
            end(entry, &who, &mut claim, deaths, grants, faults);
            continue;
        }
        if claim.has_ended || claim.may_have_ended {
            faults.push(format!("{who}: its log goes on behind its end: {entry:?}"));
        }
        match (&entry.told, claim.granted) {
            (Some(Told::Granted(tokens)), None) if entry.asked == Asked::Lease => {
                claim.granted = Some(grants.len());
                claim.confirmed = entry.span.from;
                let (who, tokens) = (who, tokens.clone());
                grants.push(Grant { who, tokens, after: claim.after, before: entry.span.to, until: None });
            }
            (Some(Told::Granted(tokens)), Some(place)) if *tokens == grants[place].tokens => {
                claim.confirmed = entry.span.from;
            }
            (Some(Told::Yours), Some(_)) => claim.confirmed = entry.span.from,
            // It was decided some time after the call was sent, so the grant is still to come.
            (Some(Told::NotYet), None) => claim.after = entry.span.from,
            (Some(Told::Gone), Some(place)) if entry.span.to - claim.confirmed >= TTL => {
                claim.is_lost = true;
                grants[place].until = Some(claim.confirmed);
            }
            (Some(Told::Refused(why)), None) => {
                faults.push(format!("{who}: refused, which nothing here calls for: {why}"))
            }
            (Some(told), Some(place)) => {
                let had = &grants[place];
                faults.push(format!(
                    "{who}: granted {:?} at {:?}, and at {:?} it was told {told:?}: the grant is forgotten",
                    had.tokens, had.before, entry.span.to
                ));
            }
            (Some(told), None) => faults.push(format!("{who}: told {told:?} without a lease")),
            (None, _) => {}
        }
    }
}

/// It asks to end its lease, or its wait.
fn end(entry: &Entry, who: &str, claim: &mut Claim, deaths: &[Span], grants: &mut [Grant], faults: &mut Vec<String>) {
    let Some(place) = claim.granted else {
        claim.may_have_ended = true;
        claim.has_ended = entry.told.is_some();
        return;
    };
    grants[place].until.get_or_insert(entry.span.from);
    // The client sends a call again by itself whose connection ended before its answer came: the first may have been carried out.
    let may_be_second = claim.may_have_ended || deaths.iter().any(|death| death.overlaps(entry.span));
    let is_late = entry.span.to - claim.confirmed >= TTL;
    match &entry.told {
        Some(Told::Done) => claim.has_ended = true,
        Some(Told::Gone) if may_be_second || is_late || claim.is_lost => claim.has_ended = true,
        Some(told) => {
            let Grant { tokens, before, .. } = &grants[place];
            faults.push(format!(
                "{who}: granted {tokens:?} at {before:?}, and its end at {:?} was answered {told:?}: the grant is forgotten",
                entry.span.to
            ));
        }
        None => claim.may_have_ended = true,
    }
}

fn tokens_are_used_once(pool: &str, grants: &[(&Grant, u64)], faults: &mut Vec<String>) {
    let mut used: BTreeMap<u64, &Grant> = BTreeMap::new();
    for (grant, token) in grants {
        if let Some(other) = used.insert(*token, grant) {
            faults.push(format!("{pool}: the token {token} was given to {} and to {}", other.who, grant.who));
        }
    }
}

/// Of two grants of which one surely came first, the later one has the larger token.
fn tokens_grow(pool: &str, grants: &[(&Grant, u64)], faults: &mut Vec<String>) {
    let (mut by_end, mut by_start) = (grants.to_vec(), grants.to_vec());
    by_end.sort_by_key(|(grant, _)| grant.before);
    by_start.sort_by_key(|(grant, _)| grant.after);
    let mut earlier = by_end.into_iter().peekable();
    let mut highest: Option<(&Grant, u64)> = None;
    for (grant, token) in by_start {
        while let Some(other) = earlier.next_if(|(other, _)| other.before < grant.after) {
            highest = highest.filter(|highest| highest.1 >= other.1).or(Some(other));
        }
        if let Some((other, higher)) = highest.filter(|(_, higher)| *higher > token) {
            faults.push(format!(
                "{pool}: {} had the token {higher} at {:?}, and {}, which was granted after {:?}, has {token}",
                other.who, other.before, grant.who, grant.after
            ));
        }
    }
}

/// Never more hold than there are slots, from when each knew of its lease to when it asked to end it.
fn slots_suffice(pool: &str, slots: usize, grants: &[(&Grant, u64)], faults: &mut Vec<String>) {
    // At the same moment ends come first.
    let mut moves: Vec<(Duration, bool, &Grant)> = Vec::new();
    for (grant, _) in grants {
        moves.push((grant.before, true, grant));
        moves.extend(grant.until.map(|until| (until.max(grant.before), false, *grant)));
    }
    moves.sort_by_key(|(at, is_begin, _)| (*at, *is_begin));
    let mut holding: Vec<&Grant> = Vec::new();
    for (at, is_begin, grant) in moves {
        if !is_begin {
            holding.retain(|other| !std::ptr::eq(*other, grant));
            continue;
        }
        holding.push(grant);
        if holding.len() > slots {
            let who: Vec<&str> = holding.iter().map(|grant| grant.who.as_str()).collect();
            faults.push(format!(
                "{pool}: at {at:?} {} hold, and there are {slots} slots: {}",
                who.len(),
                who.join(", ")
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "one";

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    /// A log of calls, each `(claim, asked, sent, answered, told)`.
    fn log(holder: u32, calls: &[(u32, Asked, u64, u64, Option<Told>)]) -> Vec<Entry> {
        let entry = |(claim, asked, from, to, told): &(u32, Asked, u64, u64, Option<Told>)| {
            let span = Span { from: ms(*from), to: ms(*to) };
            Entry { holder, claim: *claim, asked: *asked, span, told: told.clone() }
        };
        calls.iter().map(entry).collect()
    }

    fn granted(token: u64) -> Option<Told> {
        Some(Told::Granted([(ONE, token)].into()))
    }

    /// A lease from one moment to another: asked for, confirmed, ended, each answered after a millisecond.
    fn lease(holder: u32, token: u64, from: u64, to: u64) -> Vec<Entry> {
        let calls = [
            (1, Asked::Lease, from - 1, from, granted(token)),
            (1, Asked::Word, from, from + 1, Some(Told::Yours)),
            (1, Asked::End, to, to + 1, Some(Told::Done)),
        ];
        log(holder, &calls)
    }

    fn faults(logs: &[Vec<Entry>], deaths: &[Span]) -> Vec<String> {
        check(logs, &[(ONE, 1)].into(), deaths).faults
    }

    /// Exactly one thing is found, and it says this.
    fn finds(logs: &[Vec<Entry>], says: &str) {
        let faults = faults(logs, &[]);
        assert!(matches!(&faults[..], [fault] if fault.contains(says)), "{says}: {faults:#?}");
    }

    #[test]
    fn one_after_the_other_is_as_it_should_be() {
        let logs = [lease(1, 1, 10, 20), lease(2, 2, 22, 30), lease(3, 5, 30, 40)];
        let seen = check(&logs, &[(ONE, 1)].into(), &[]);
        assert_eq!(seen.faults, Vec::<String>::new());
        assert_eq!((seen.grants, seen.holders, seen.answers, seen.unanswered), (3, 3, 9, 0));
    }

    #[test]
    fn a_grant_that_is_forgotten_is_found_by_whatever_is_told_next() {
        for told in [Some(Told::NotYet), granted(2), Some(Told::Refused("busy".to_owned()))] {
            let calls = [
                (1, Asked::Lease, 0, 1, granted(1)),
                (1, Asked::Lease, 5, 6, told),
                (1, Asked::End, 7, 8, Some(Told::Done)),
            ];
            finds(&[log(1, &calls)], "the grant is forgotten");
        }
        for asked in [Asked::Word, Asked::End] {
            let calls = [(1, Asked::Lease, 0, 1, granted(1)), (1, asked, 5, 6, Some(Told::Gone))];
            finds(&[log(1, &calls)], "the grant is forgotten");
        }
        let second = [(1, Asked::Lease, 0, 1, granted(1)), (1, Asked::Lease, 2, 3, granted(1))];
        assert_eq!(faults(&[log(1, &second)], &[]), Vec::<String>::new(), "asked again it is the same");
    }

    #[test]
    fn an_end_may_have_been_carried_out_before_it_was_asked_for_again() {
        let granted = (1, Asked::Lease, 0, 1, granted(1));
        let twice = [granted.clone(), (1, Asked::End, 5, 6, None), (1, Asked::End, 7, 8, Some(Told::Gone))];
        assert_eq!(faults(&[log(1, &twice)], &[]), Vec::<String>::new());
        let once = [log(1, &[granted, (1, Asked::End, 5, 8, Some(Told::Gone))])];
        assert_eq!(
            faults(&once, &[Span { from: ms(6), to: ms(7) }]),
            Vec::<String>::new(),
            "the server died meanwhile"
        );
        assert_eq!(faults(&once, &[Span { from: ms(9), to: ms(10) }]).len(), 1, "it died later");
    }

    #[test]
    fn an_end_that_is_forgotten_shows_when_the_next_claim_is_refused() {
        let mut calls = lease(1, 1, 10, 20);
        calls.extend(log(1, &[(2, Asked::Lease, 22, 23, Some(Told::Refused("busy".to_owned())))]));
        finds(&[calls], "busy");
    }

    #[test]
    fn who_was_silent_for_a_time_to_live_may_have_lost_its_lease() {
        let late = TTL.as_millis() as u64 + 10;
        let calls = |at| [(1, Asked::Lease, 0, 1, granted(1)), (1, Asked::Word, at - 1, at, Some(Told::Gone))];
        assert_eq!(faults(&[log(1, &calls(late))], &[]), Vec::<String>::new());
        assert_eq!(faults(&[log(1, &calls(late - 20))], &[]).len(), 1, "not so soon");
    }

    #[test]
    fn a_token_that_is_given_twice_is_found() {
        finds(&[lease(1, 1, 10, 20), lease(2, 2, 21, 30), lease(3, 2, 32, 40)], "the token 2 was given to client2");
    }

    #[test]
    fn a_token_that_does_not_grow_is_found_where_the_order_is_known() {
        finds(
            &[lease(1, 5, 10, 20), lease(2, 3, 22, 30)],
            "client2 under claim 1, which was granted after 21ms, has 3",
        );
        // The second had asked before the first was granted, and who came first nobody knows.
        let long = [(1, Asked::Lease, 5, 25, granted(3)), (1, Asked::End, 26, 27, Some(Told::Done))];
        assert_eq!(faults(&[lease(1, 5, 10, 20), log(2, &long)], &[]), Vec::<String>::new());
        // But it was told that it has to wait, after the first had it.
        let told = [(1, Asked::Lease, 5, 15, None), (1, Asked::Lease, 16, 17, Some(Told::NotYet)), long[0].clone()];
        finds(&[lease(1, 5, 10, 20), log(2, &told)], "has 3");
    }

    #[test]
    fn more_holders_than_slots_are_found() {
        finds(&[lease(1, 1, 10, 20), lease(2, 2, 15, 25)], "2 hold, and there are 1 slots");
        let two = check(&[lease(1, 1, 10, 20), lease(2, 2, 15, 25)], &[(ONE, 2)].into(), &[]);
        assert_eq!(two.faults, Vec::<String>::new());
        let never_ended = log(1, &[(1, Asked::Lease, 0, 1, granted(1))]);
        finds(&[never_ended, lease(2, 2, 100, 110)], "2 hold");
    }
}
