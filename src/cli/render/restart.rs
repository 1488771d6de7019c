//! A restart by hand: a line per step as it ends, and how it all ended.

use super::text::{clean, holders, last_lines, ordinal, seconds};
use crate::worker::{Progress, Trouble};
use model::host::Finish;
use model::names::{Host, Pool, Service};
use model::request::Holding;
use model::rollout::{Outcome, Report};
use model::sequence::{Fault, Step};

/// Lines shown of what a failing program printed.
const OUTPUT_LINES_MAX: usize = 10;

/// Where a line belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// A step that has ended: part of the result.
    Step(String),
    /// Something on the way.
    Aside(String),
    /// Nothing to show.
    None,
}

/// A line for something that happened.
pub(crate) fn progress(progress: &Progress) -> Line {
    match progress {
        Progress::Waiting { place, why, holders: who } => {
            Line::Aside(format!("waiting for a lease, {}: {}{}", ordinal(*place), clean(why), holders(who)))
        }
        Progress::Over { service, report, is_earlier: true } => {
            Line::Aside(format!("what an earlier process left of {service} is over: {}", earlier(report)))
        }
        Progress::Trouble(Trouble { why: Some(why), .. }) => Line::Aside(format!("trouble: {}", clean(why))),
        Progress::Trouble(Trouble { why: None, .. }) => Line::Aside("the trouble is over".to_owned()),
        // That nobody answers is said once, by the command itself; and a refusal at the end.
        Progress::Began(_)
        | Progress::Noted { .. }
        | Progress::Refused { .. }
        | Progress::Over { .. }
        | Progress::Unanswered(_) => Line::None,
        Progress::Ended { step, ms, note, fault } => Line::Step(step_line(*step, *ms, note, fault.as_ref())),
        Progress::Undoing(why) => Line::Aside(format!("undoing: {}", clean(why))),
        Progress::Resumed(service) => Line::Aside(format!("first finishing what an earlier process left of {service}")),
    }
}

/// `… drain      9.0s  3 in flight`, while a step goes on.
pub(crate) fn under_way(step: Step, ms: u64, note: &str) -> String {
    format!("… {step:<8} {:>6}  {}", seconds(ms), clean(note)).trim_end().to_owned()
}

/// `✓ drain    3.0s  0 in flight`.
fn step_line(step: Step, ms: u64, note: &str, fault: Option<&Fault>) -> String {
    let (sign, said) = match fault {
        Some(fault) => ("✗", clean(&fault.cause)),
        None => ("✓", clean(note)),
    };
    let line = format!("{sign} {step:<8} {:>6}  {said}", seconds(ms));
    let mut lines = vec![line.trim_end().to_owned()];
    if let Some(fault) = fault {
        let printed =
            last_lines(&fault.output, OUTPUT_LINES_MAX).into_iter().filter(|line| !fault.cause.contains(line.as_str()));
        lines.extend(printed.map(|line| format!("    {line}")));
    }
    lines.join("\n")
}

/// How it ended, in one word for programs.
pub(crate) fn word(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stopped => "stopped",
        Finish::Restarted(_) => "restarted",
        Finish::NothingToDo(_) => "nothing_to_do",
        Finish::Failed(_) => "failed",
        Finish::NoLease(_) => "no_lease",
        Finish::Leaseless(_) => "leaseless",
        Finish::Unconfirmed { .. } => "unconfirmed",
        Finish::Stuck(_) => "stuck",
        Finish::Unrun { .. } => "not_run",
        Finish::Interrupted => "interrupted",
    }
}

/// The report of a sequence that took place.
pub(crate) fn report(finish: &Finish) -> Option<&Report> {
    match finish {
        Finish::Restarted(report) | Finish::Failed(report) | Finish::Leaseless(report) | Finish::Stuck(report) => {
            Some(report)
        }
        Finish::Unconfirmed { report, .. } => Some(report),
        Finish::Unrun { earlier, .. } => Some(earlier),
        Finish::Stopped | Finish::NothingToDo(_) | Finish::NoLease(_) | Finish::Interrupted => None,
    }
}

/// What was seen on the way, for the hint at the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// The lock server that did not answer to the end.
    pub(crate) unanswered: Option<String>,
    /// Who was in the way, once it waited.
    pub(crate) waiting: Option<Vec<Holding>>,
    /// What the last step said, when that was shown.
    pub(crate) said: Option<String>,
    /// The pool to ask about.
    pub(crate) pool: Option<Pool>,
}

/// How it ended, for people, with what to type next.
pub(crate) fn finish(service: &Service, finish: &Finish, host: &Host, seen: &Seen) -> String {
    match finish {
        Finish::Restarted(report) => {
            format!("{service} restarted in {}{}", seconds(took_ms(report)), still_out(service, report))
        }
        Finish::NothingToDo(figures) if seen.said.as_ref() == Some(figures) => format!("NOT restarting {service}"),
        Finish::NothingToDo(figures) => format!("NOT restarting {service}: {}", clean(figures)),
        Finish::Failed(report) => failed(service, report),
        Finish::NoLease(why) => no_lease(service, why, host, seen),
        Finish::Leaseless(report) => {
            format!("warning: {service} {} without a lease{}{}", did(report), how(report), out_of(report))
        }
        Finish::Unconfirmed { report, why, leaseless } => {
            let lease = if *leaseless { " and without a lease" } else { "" };
            format!(
                "warning: {service} {} in its balancers{lease}{}; they did not confirm that it had left: {}",
                did(report),
                how(report),
                clean(why)
            )
        }
        // A sequence that is stuck is so at a step.
        Finish::Stuck(report) if report.step.is_none() => format!(
            "error: {service} is STUCK, a person is needed: {}\nhint: is {service} well, and {host} in its balancers? \
             then move that file away; if {host} still has a lease: stagger release {host} --reason …",
            cause(report)
        ),
        Finish::Stuck(report) => format!(
            "error: {service} is STUCK, a person is needed: {}{}\nhint: look at {service}; when it is well: stagger restart {service} --always",
            cause(report),
            out_of(report)
        ),
        Finish::Unrun { earlier: left, instead } => format!(
            "{}\nerror: what an earlier process left is over: {}\nhint: stagger why {host}",
            self::finish(service, instead, host, seen),
            earlier(left)
        ),
        Finish::Stopped | Finish::Interrupted => {
            format!("interrupted: {service} was not restarted, and all is as it was")
        }
    }
}

/// What became of a service that was restarted regardless.
fn did(report: &Report) -> &'static str {
    if report.outcome == Outcome::Restarted { "was restarted" } else { "failed" }
}

/// Where and why it did not go well, if it did not.
fn how(report: &Report) -> String {
    match (&report.step, report.cause.as_str()) {
        (None, "") => String::new(),
        _ => format!(": {}", cause(report)),
    }
}

/// How a sequence ended that was only finished here.
fn earlier(report: &Report) -> String {
    let how = match (report.stuck, report.outcome) {
        (true, _) => "STUCK, a person is needed".to_owned(),
        (false, outcome) => outcome.to_string(),
    };
    match (&report.step, report.cause.as_str()) {
        (None, "") => format!("{how}{}", out_of(report)),
        _ => format!("{how}, {}{}", cause(report), out_of(report)),
    }
}

/// Why there is no lease, and who can say more: the lock server when it answered, else nobody but its own host.
fn no_lease(service: &Service, why: &str, host: &Host, seen: &Seen) -> String {
    let (who, hint) = match (seen, &seen.pool) {
        (Seen { unanswered: Some(url), .. }, _) => {
            let last = format!("when it cannot come back: stagger restart {service} --emergency");
            (String::new(), format!("is the lock server running at {url}? {last}"))
        }
        (Seen { waiting: Some(who), .. }, Some(pool)) => (holders(who), format!("stagger why pool/{pool}")),
        _ => (String::new(), format!("stagger why {host}")),
    };
    format!("error: no lease, and nothing was done: {}{who}\nhint: {hint}", clean(why))
}

/// Where a host that was restarted is not, and what brings it back.
fn still_out(service: &Service, report: &Report) -> String {
    left_out(report).map(|left| format!("\n{left}: stagger repool {service}")).unwrap_or_default()
}

fn failed(service: &Service, report: &Report) -> String {
    let (left, hint) = match report.out_of.is_empty() {
        true => (String::new(), String::new()),
        false => ("; NOT repooling".to_owned(), format!("\nhint: fixed? stagger restart {service}")),
    };
    format!("error: {service} failed: {}{left}{}{hint}", cause(report), out_of(report))
}

fn cause(report: &Report) -> String {
    let step = report.step.map(|step| format!("{step}: ")).unwrap_or_default();
    format!("{step}{}", clean(&report.cause))
}

/// `; out of lb1, lb2`; of one that could not be put back nobody can tell.
pub(super) fn out_of(report: &Report) -> String {
    let word = if report.step == Some(Step::Repool) { "perhaps out of" } else { "out of" };
    match &report.out_of[..] {
        [] => String::new(),
        names => format!("; {word} {}", names.iter().map(|name| clean(name)).collect::<Vec<_>>().join(", ")),
    }
}

/// Where a host that was restarted is not, which is nobody's doing here: `left out of lb1, not by Stagger`.
pub(super) fn left_out(report: &Report) -> Option<String> {
    // With --force it was never looked at.
    let has_looked = report.timings.iter().any(|timing| timing.step == Step::Depool);
    let by = if has_looked { ", not by Stagger" } else { "" };
    let names = report.out_of.iter().map(|name| clean(name)).collect::<Vec<_>>().join(", ");
    (!names.is_empty()).then(|| format!("left out of {names}{by}"))
}

/// How long the steps took, without the wait for a lease.
fn took_ms(report: &Report) -> u64 {
    report.timings.iter().filter(|timing| timing.step != Step::Ask).map(|timing| timing.ms).sum()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{failed_target, restarted_target};
    use super::*;

    fn names() -> (Service, Host) {
        ("php-fpm".parse().expect("a service"), "mw1".parse().expect("a host"))
    }

    fn holding() -> Holding {
        Holding {
            holder: "mw2".parse().expect("a holder"),
            pool: "app".parse().expect("a pool"),
            state: model::lease::LeaseState::Held,
            since_ms: 6_000,
            what: "php-fpm@42, drain".to_owned(),
        }
    }

    #[test]
    fn without_a_lease_whoever_can_say_more_is_named() {
        let (service, host) = names();
        let end = |seen: &Seen| finish(&service, &Finish::NoLease("waited 1s: 1 of 1 taken".to_owned()), &host, seen);
        let pool = Some("app".parse().expect("a pool"));
        let waited = Seen { waiting: Some(vec![holding()]), pool: pool.clone(), ..Seen::default() };
        assert_eq!(
            end(&waited),
            "error: no lease, and nothing was done: waited 1s: 1 of 1 taken; mw2 held 6s, php-fpm@42, drain\nhint: stagger why pool/app"
        );
        let silent = Seen { unanswered: Some("http://locks:7532".to_owned()), ..waited };
        let expected = "\nhint: is the lock server running at http://locks:7532? \
                        when it cannot come back: stagger restart php-fpm --emergency";
        assert!(end(&silent).ends_with(expected), "{}", end(&silent));
        assert!(
            end(&Seen { pool, ..Seen::default() }).ends_with("\nhint: stagger why mw1"),
            "it never came to the queue"
        );
    }

    #[test]
    fn a_damaged_journal_is_mended_by_hand() {
        let (service, host) = names();
        let cause = "j/1.jsonl: line 3".to_owned();
        let damage = Finish::Stuck(Box::new(Report { stuck: true, cause, ..Report::plain(Outcome::Failed) }));
        let expected = "error: php-fpm is STUCK, a person is needed: j/1.jsonl: line 3\n\
                        hint: is php-fpm well, and mw1 in its balancers? then move that file away; \
                        if mw1 still has a lease: stagger release mw1 --reason …";
        assert_eq!(finish(&service, &damage, &host, &Seen::default()), expected);
    }

    #[test]
    fn a_host_that_was_out_before_is_said_to_be_so_still() {
        let (service, host) = names();
        let mut report = restarted_target("mw1", &[(Step::Depool, 2), (Step::Restart, 200)]).report.expect("a report");
        report.out_of = vec!["lb1".to_owned()];
        let end =
            |report: &Report| finish(&service, &Finish::Restarted(Box::new(report.clone())), &host, &Seen::default());
        let expected = "php-fpm restarted in 0.2s\nleft out of lb1, not by Stagger: stagger repool php-fpm";
        assert_eq!(end(&report), expected);
        report.timings.remove(0);
        assert!(end(&report).ends_with("\nleft out of lb1: stagger repool php-fpm"), "with --force nobody looked");
    }

    #[test]
    fn each_step_is_a_line_with_its_time() {
        let ended = |step, ms, note: &str, fault| progress(&Progress::Ended { step, ms, note: note.to_owned(), fault });
        assert_eq!(
            ended(Step::Drain, 3_000, "0 in flight", None),
            Line::Step("✓ drain      3.0s  0 in flight".to_owned())
        );
        assert_eq!(ended(Step::Ask, 125_000, "", None), Line::Step("✓ ask        2m5s".to_owned()));
        let fault = Fault { cause: "exit 78: bad".to_owned(), output: "reading\nbad\n".to_owned() };
        assert_eq!(
            ended(Step::Restart, 200, "", Some(fault)),
            Line::Step("✗ restart    0.2s  exit 78: bad\n    reading".to_owned())
        );
        let why = "2 of 2 slots of app are taken".to_owned();
        let waiting = progress(&Progress::Waiting { place: 2, why, holders: vec![holding()] });
        let expected = "waiting for a lease, 2nd: 2 of 2 slots of app are taken; mw2 held 6s, php-fpm@42, drain";
        assert_eq!(waiting, Line::Aside(expected.to_owned()));
        assert_eq!(progress(&Progress::Began(Step::Drain)), Line::None);
    }

    #[test]
    fn how_an_earlier_sequence_ended_is_told() {
        let over = |report: Report, is_earlier| {
            progress(&Progress::Over { service: names().0, report: Box::new(report), is_earlier })
        };
        let good = Report::plain(Outcome::Restarted);
        let line = "what an earlier process left of php-fpm is over: restarted";
        assert_eq!(over(good.clone(), true), Line::Aside(line.to_owned()));
        assert_eq!(over(good, false), Line::None, "its own end has a line of its own");
        let stuck = Report { stuck: true, cause: "nobody can tell".to_owned(), ..Report::plain(Outcome::Failed) };
        let line = "what an earlier process left of php-fpm is over: STUCK, a person is needed, nobody can tell";
        assert_eq!(over(stuck, true), Line::Aside(line.to_owned()));
        let trouble =
            |why: Option<&str>| progress(&Progress::Trouble(Trouble { why: why.map(str::to_owned), is_damage: false }));
        assert_eq!(trouble(Some("disk full")), Line::Aside("trouble: disk full".to_owned()));
        assert_eq!(trouble(None), Line::Aside("the trouble is over".to_owned()));
    }

    #[test]
    fn the_end_says_what_became_of_the_host() {
        let (service, host) = names();
        let end = |how: Finish| finish(&service, &how, &host, &Seen::default());
        let report = |target: model::rollout::Target| Box::new(target.report.expect("a report"));
        let good = report(restarted_target("mw1", &[(Step::Ask, 9_000), (Step::Drain, 3_000), (Step::Restart, 200)]));
        assert_eq!(end(Finish::Restarted(good)), "php-fpm restarted in 3.2s");
        assert_eq!(end(Finish::NothingToDo("free_mib 300".to_owned())), "NOT restarting php-fpm: free_mib 300");
        let shown = Seen { said: Some("free_mib 300".to_owned()), ..Seen::default() };
        let (service, host) = ("php-fpm".parse().expect("a service"), "mw1".parse().expect("a host"));
        let end_shown = finish(&service, &Finish::NothingToDo("free_mib 300".to_owned()), &host, &shown);
        assert_eq!(end_shown, "NOT restarting php-fpm", "the figures were shown by the step before");
        let bad = report(failed_target("mw1"));
        let expected = "error: php-fpm failed: restart: exit 78: [pool www] unknown entry 'pm.max_chldren'; NOT repooling; \
                        out of lb1, lb2\nhint: fixed? stagger restart php-fpm";
        assert_eq!(end(Finish::Failed(bad.clone())), expected);
        assert!(end(Finish::Stuck(bad)).starts_with("error: php-fpm is STUCK, a person is needed: restart: exit 78"));
        let leaseless = Box::new(Report::plain(Outcome::Restarted));
        assert_eq!(end(Finish::Leaseless(leaseless.clone())), "warning: php-fpm was restarted without a lease");
        let unconfirmed = |leaseless| Finish::Unconfirmed {
            report: Box::new(Report::plain(Outcome::Restarted)),
            why: "lb1 is silent".to_owned(),
            leaseless,
        };
        let expected =
            "warning: php-fpm was restarted in its balancers; they did not confirm that it had left: lb1 is silent";
        assert_eq!(end(unconfirmed(false)), expected);
        assert!(end(unconfirmed(true)).contains(" in its balancers and without a lease; they did not"));
        assert_eq!(word(&unconfirmed(false)), "unconfirmed");
        assert_eq!(
            end(Finish::NoLease("full".to_owned())),
            "error: no lease, and nothing was done: full\nhint: stagger why mw1"
        );
        assert!(end(Finish::Interrupted).ends_with("all is as it was"));
        let instead = Box::new(Finish::NothingToDo("free_mib 300".to_owned()));
        let failed = report(failed_target("mw1"));
        let unrun = Finish::Unrun { earlier: failed.clone(), instead };
        let expected = "NOT restarting php-fpm: free_mib 300\nerror: what an earlier process left is over: failed, restart: \
                        exit 78: [pool www] unknown entry 'pm.max_chldren'; out of lb1, lb2\nhint: stagger why mw1";
        assert_eq!(end(unrun.clone()), expected);
        assert_eq!((word(&unrun), super::report(&unrun)), ("not_run", Some(&*failed)));
    }
}
