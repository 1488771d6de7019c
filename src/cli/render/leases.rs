//! The leases: holders, then the queue, then how full each pool is.

use super::table::table;
use super::text::{age, clean, span};
use model::lease::{Failure, LeaseState, Purpose};
use model::names::{Pool, Token};
use model::read::{LeaseRow, Leases, PoolRow, WaiterRow};
use model::request::RefusalKind;

/// Holders, lost and failed ones first, the queue in its order, and a line with the pools. `nobody` is said when there is none.
pub(crate) fn leases(leases: &Leases, nobody: &str) -> String {
    if leases.leases.is_empty() && leases.queue.is_empty() {
        let pools = footer(&leases.pools);
        return if pools.is_empty() { nobody.to_owned() } else { format!("{nobody}\n{pools}") };
    }
    let held = leases.leases.iter().map(lease_cells);
    let rows: Vec<_> = held.chain(leases.queue.iter().map(waiter_cells)).collect();
    let mut text = table(&["HOLDER", "STATE", "AGE", "STEP", "POOL:TOKEN", "FOR"], rows);
    if leases.cut {
        text.push_str("\n… and more: name a scope, such as pool/NAME");
    }
    format!("{text}\n{}", footer(&leases.pools))
}

fn lease_cells(row: &LeaseRow) -> Vec<String> {
    let lease = &row.lease;
    let failure = lease.failed.values().next();
    let step = match (lease.state, &lease.purpose) {
        (LeaseState::Held, Purpose::Run(_) | Purpose::FleetLock) => Some("–".to_owned()),
        (LeaseState::Held | LeaseState::Lost, _) => lease.step.map(|step| step.to_string()),
        (LeaseState::Failed, _) => failure.and_then(|failure| failure.step).map(|step| step.to_string()),
    };
    let pools = lease.pools.iter().map(|(pool, token)| tokened(pool, *token)).collect::<Vec<_>>();
    vec![
        lease.holder.to_string(),
        lease.standing(),
        age(row.state_ms),
        step.unwrap_or_else(|| "?".to_owned()),
        pools.join(" "),
        what_for(row, failure),
    ]
}

fn tokened(pool: &Pool, token: Token) -> String {
    format!("{pool}:{token}")
}

fn what_for(row: &LeaseRow, failure: Option<&Failure>) -> String {
    let lease = &row.lease;
    let mut text = purpose(&lease.purpose);
    let mut add = |between: &str, more: String| {
        if !more.is_empty() {
            text.push_str(between);
            text.push_str(&more);
        }
    };
    match lease.state {
        LeaseState::Held => add(", ", clean(&lease.note)),
        LeaseState::Failed => add(", ", failure.map(|failure| clean(&failure.cause)).unwrap_or_default()),
        LeaseState::Lost => {
            add("; ", row.counts_ms.map_or("counts until released".to_owned(), |ms| format!("counts {} more", age(ms))))
        }
    }
    if row.stuck {
        add("; ", "a person is needed".to_owned());
    }
    if lease.attempt > 1 {
        add("; ", format!("attempt {}", lease.attempt));
    }
    text
}

/// What a lease is for, as people read it.
pub(crate) fn purpose(purpose: &Purpose) -> String {
    clean(&purpose.to_string())
}

/// Who holds a lease, and what for: for a line that waits for it.
pub(crate) fn holder_line(row: &LeaseRow) -> String {
    let step = row.lease.step.map(|step| format!(" in {step}")).unwrap_or_default();
    format!("{}, {}{step}: {}", row.lease.holder, row.lease.standing(), purpose(&row.lease.purpose))
}

fn waiter_cells(row: &WaiterRow) -> Vec<String> {
    let mut what_for = purpose(&row.purpose);
    if row.why.as_ref().is_some_and(|why| why.kind == RefusalKind::Paused) {
        what_for.push_str("; paused");
    }
    if !row.listens {
        what_for.push_str("; silent, others go first");
    }
    vec![
        row.holder.to_string(),
        format!("waiting #{}", row.place),
        age(row.waited_ms),
        "–".to_owned(),
        row.pools.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        what_for,
    ]
}

/// How full each pool is, on one line: `app-eqiad 14/35 · rack.b4 2/2 full`.
fn footer(pools: &[PoolRow]) -> String {
    let pool = |row: &PoolRow| {
        let taken = row.held + row.failed + row.lost;
        let full = if taken >= row.slots { " full" } else { "" };
        let paused =
            row.pauses.first().map(|pause| format!(", paused {} more", span(pause.left_ms))).unwrap_or_default();
        format!("{} {taken}/{}{full}{paused}", row.pool, row.slots)
    };
    pools.iter().map(pool).collect::<Vec<_>>().join(" · ")
}

#[cfg(test)]
mod tests {
    use super::super::samples::{failed, held, lease, leases as sample, lost, pause, pool, waiter};
    use super::*;
    use model::sequence::Step;

    #[test]
    fn holders_then_the_queue_then_the_pools() {
        let text = leases(&sample(), "nobody");
        let expected = "\
HOLDER    STATE       AGE  STEP     POOL:TOKEN                  FOR
mwmaint1  lost        31m  ?        app-eqiad:8871              run: apt upgrade; counts 29m more
mw1316    failed      62s  restart  app-eqiad:9113 rack.b4:412  php-fpm@42, exit 78
mw1402    held        6s   drain    app-eqiad:9127 rack.b4:415  php-fpm@42, 4 in flight
mw1331    waiting #1  41s  –        app-eqiad rack.b4           php-fpm@42
app-eqiad 14/35 · rack.b4 2/2 full";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_needs_a_person_is_said_in_words() {
        let mut stuck = failed("mw1", "exit 78");
        stuck.stuck = true;
        stuck.lease.failed.values_mut().for_each(|failure| failure.stuck = true);
        stuck.lease.attempt = 2;
        assert_eq!(lease_cells(&stuck)[5], "php-fpm@42, exit 78; a person is needed; attempt 2");
        assert_eq!(lease_cells(&stuck)[1], "stuck");
        stuck.lease.state = LeaseState::Held;
        assert_eq!(lease_cells(&stuck)[1], "held", "it is at work on it");
        let mut for_ever = lost("mw1", 1000);
        for_ever.counts_ms = None;
        assert_eq!(lease_cells(&for_ever)[5], "run: apt upgrade; counts until released");
        for_ever.lease.step = Some(Step::Drain);
        assert_eq!(lease_cells(&for_ever)[3], "drain", "where it was when it was last heard of");
        let mut plain = held("mw1", "");
        plain.lease = lease("mw1");
        assert_eq!(lease_cells(&plain)[5], "php-fpm@42");
        assert_eq!(lease_cells(&plain)[3], "?");
        plain.lease.purpose = Purpose::Run("true".to_owned());
        assert_eq!(lease_cells(&plain)[3], "–");
        let mut silent = waiter("mw1");
        silent.listens = false;
        assert_eq!(waiter_cells(&silent)[5], "php-fpm@42; silent, others go first");
    }

    #[test]
    fn nobody_and_too_many_are_said() {
        let none = Leases { leases: Vec::new(), queue: Vec::new(), pools: Vec::new(), cut: false };
        assert_eq!(leases(&none, "nobody waits"), "nobody waits");
        let mut row = pool("app", 0, 0, 2);
        row.pauses.push(pause("all"));
        let paused = Leases { pools: vec![row], ..none };
        assert_eq!(leases(&paused, "no lease is stuck"), "no lease is stuck\napp 0/2, paused 1h55m more");
        let cut = Leases { cut: true, ..sample() };
        assert!(leases(&cut, "nobody").contains("\n… and more: name a scope, such as pool/NAME\n"));
    }

    #[test]
    fn foreign_words_stay_on_their_line() {
        let mut row = held("mw1", "four\nin\u{1b}[31m flight");
        row.lease.purpose = Purpose::Run("apt\nupgrade".to_owned());
        assert_eq!(lease_cells(&row)[5], "run: apt upgrade, four in [31m flight");
    }
}
