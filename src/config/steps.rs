//! The steps that ask a probe: does the service need a restart, is its traffic gone, is it well again.
//!
//! Owns their keys, defaults and bounds. How each is done is decided in the module `probe`.

use super::depool::Way;
use super::error::Problem;
use super::place::FastCgi;
use super::predicate::Predicate;
use super::probe::{self, Command, Probe};
use super::reader::{Field, Section};
use super::restart::{self, Manager, UnitName};
use model::names::Host;
use std::time::Duration;

/// The least a drain takes, unless said otherwise: the grace of the chain that came before.
pub const DRAIN_MIN_DEFAULT: Duration = Duration::from_secs(3);
/// The most a drain takes, unless said otherwise.
pub const DRAIN_MAX_DEFAULT: Duration = Duration::from_secs(30);
/// How many good answers in a row make a service well, unless said otherwise.
pub const VERIFY_TIMES_DEFAULT: u32 = 3;
/// How far apart they are, unless said otherwise.
pub const VERIFY_EVERY_DEFAULT: Duration = Duration::from_secs(1);
/// How long a service may take to become well, unless said otherwise.
pub const VERIFY_WITHIN_DEFAULT: Duration = Duration::from_secs(60);
/// The shortest pause between two answers.
const VERIFY_EVERY_MIN: Duration = Duration::from_millis(10);
/// Most good answers that can be asked for.
const VERIFY_TIMES_MAX: u32 = 1000;
/// Most sessions that a drain can leave.
const SESSIONS_MAX: u32 = 1_000_000;
/// Most rules of a check.
const RULES_MAX: usize = 64;

/// Whether the service needs a restart: one question, and what follows from its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What is asked.
    pub probe: Probe,
    /// In order; the first restart ends it.
    pub rules: Vec<Rule>,
}

/// What follows from the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// When this holds …
    pub when: Predicate,
    /// … this is done.
    pub then: Then,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// The service needs a restart.
    Restart,
    /// This command is run, and the next rule is looked at.
    Exec(Command),
    /// This is asked of a FastCGI server, and the next rule is looked at.
    FastCgi(FastCgi),
}

/// How long to wait for what is in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// At least so long.
    pub min: Duration,
    /// At most so long; then it goes on anyway.
    pub max: Duration,
    /// In between, until this holds; without it, and without `sessions`, the least is all.
    pub until: Option<(Probe, Predicate)>,
    /// Or until the balancers have at most so many sessions at the host, all together.
    pub sessions: Option<u32>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { min: DRAIN_MIN_DEFAULT, max: DRAIN_MAX_DEFAULT, until: None, sessions: None }
    }
}

/// When the service is well again: by a probe, by a unit, or by both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verify {
    /// What is asked, and what a good answer is; without one, the unit is all.
    pub probe: Option<(Probe, Predicate)>,
    /// The unit that must run.
    pub unit: Option<Running>,
    /// So many good answers in a row.
    pub times: u32,
    /// So far apart.
    pub every: Duration,
    /// Within this time.
    pub within: Duration,
}

/// A unit that must have been active, without a new incarnation, for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Which.
    pub unit: UnitName,
    /// Whose it is.
    pub manager: Manager,
    /// For how long.
    pub active: Duration,
}

/// Reads `[service.NAME.check]`.
pub(super) fn read_check(field: &Field<'_>, host: &Host) -> Result<Check, Problem> {
    let section = field.section(&[&probe::KEYS[..], &["rules"]].concat())?;
    let probe = probe::read(&section, host)?;
    let list = section.must("rules", "[{ when = \"EXPRESSION\", then = \"restart\" }, …]")?;
    let items = list.items("a list of rules: { when = \"EXPRESSION\", then = \"restart\" }")?;
    if items.is_empty() || items.len() > RULES_MAX {
        return Err(list.wrong(format!("a check has between 1 and {RULES_MAX} rules")));
    }
    let rules = items
        .iter()
        .map(|item| {
            let rule = item.section(&["when", "then"])?;
            let when = rule.must("when", "an expression over the answer")?;
            let when = when.predicate(host, probe.question.variables())?;
            let then = rule.must("then", "\"restart\", { exec = [\"COMMAND\", …] } or { fastcgi = …, script = … }")?;
            Ok(Rule { when, then: read_then(&then, host)? })
        })
        .collect::<Result<Vec<_>, Problem>>()?;
    if !rules.iter().any(|rule| rule.then == Then::Restart) {
        return Err(list.wrong("no rule ends in a restart, so this service would never restart"));
    }
    Ok(Check { probe, rules })
}

fn read_then(field: &Field<'_>, host: &Host) -> Result<Then, Problem> {
    if field.is_string() {
        return field.choice(&[("restart", ())]).map(|()| Then::Restart);
    }
    let section = field.section(&["exec", "fastcgi", "script"])?;
    match (probe::read_fastcgi(&section, host)?, section.get("exec")) {
        (Some(_), Some(_)) => Err(field.wrong("one rule does one thing: exec, or fastcgi with its script")),
        (Some(request), None) => Ok(Then::FastCgi(request)),
        (None, _) => Ok(Then::Exec(section.must("exec", "[\"COMMAND\", …]")?.command(host)?)),
    }
}

/// Reads `[service.NAME.drain]` of a service that leaves its balancers this way.
pub(super) fn read_drain(field: &Field<'_>, host: &Host, way: &Way) -> Result<Drain, Problem> {
    let section = field.section(&[&probe::KEYS[..], &["until", "sessions", "min", "max"]].concat())?;
    let min = section.duration("min", DRAIN_MIN_DEFAULT, Duration::ZERO)?;
    // A longer least alone moves the most along, so that the least can be said by itself.
    let max = section.duration("max", DRAIN_MAX_DEFAULT.max(min), Duration::ZERO)?;
    if min > max {
        let which = section.get("max").or_else(|| section.get("min"));
        let at = which.map_or(section.at.clone(), |field| field.at);
        let (min, max) = (span(min), span(max));
        return Err(Problem::new(at, format!("[{}] ends before it may", section.name))
            .label(format!("at least {min}, and at most {max}")));
    }
    let until = match (probe::read_optional(&section, host)?, section.get("until")) {
        (Some(probe), Some(until)) => {
            let until = until.predicate(host, probe.question.variables())?;
            Some((probe, until))
        }
        (None, Some(until)) => {
            return Err(until.wrong("there is no answer to look at: say what is asked too, such as http or fastcgi"));
        }
        (Some(_), None) => {
            section.must("until", "an expression that holds when the traffic is gone")?;
            None
        }
        (None, None) => None,
    };
    let sessions = match section.get("sessions") {
        Some(field) if !way.counts_sessions() => {
            return Err(field.wrong("only balancers of `kind = \"haproxy\"` count sessions"));
        }
        Some(field) if until.is_some() => return Err(field.wrong("either `sessions`, or a probe with `until`")),
        Some(field) => Some(field.count(0..SESSIONS_MAX + 1)?),
        None => None,
    };
    Ok(Drain { min, max, until, sessions })
}

/// Reads `[service.NAME.verify]`; its unit is this manager's.
pub(super) fn read_verify(
    field: &Field<'_>,
    host: &Host,
    steady: Duration,
    manager: Manager,
) -> Result<Verify, Problem> {
    let section =
        field.section(&[&probe::KEYS[..], &["expect", "unit", "active", "times", "every", "within"]].concat())?;
    let unit = read_running(&section, host, manager)?;
    let probe = match probe::read_optional(&section, host)? {
        Some(probe) => {
            let expect = read_expect(&section, &probe, host)?;
            Some((probe, expect))
        }
        None if unit.is_none() => return Err(probe::asks_nothing(&section)),
        None => {
            let lacks_answer = section.get("expect").or_else(|| section.get("timeout"));
            if let Some(field) = lacks_answer {
                return Err(field.wrong("there is no answer to look at: say what is asked too, such as http"));
            }
            None
        }
    };
    // Systemd itself watches its units all the time, so that one look tells all.
    let times_default = if probe.is_some() { VERIFY_TIMES_DEFAULT } else { 1 };
    let times = section.count("times", times_default, 1..VERIFY_TIMES_MAX + 1)?;
    let every = section.duration("every", VERIFY_EVERY_DEFAULT, VERIFY_EVERY_MIN)?;
    let within = section.duration("within", VERIFY_WITHIN_DEFAULT, VERIFY_EVERY_MIN)?;
    let active = unit.as_ref().map_or(Duration::ZERO, |running| running.active);
    let least = steady.max(every.saturating_mul(times - 1)).max(active);
    if least >= within {
        let at = section.get("within").map_or(section.at.clone(), |field| field.at);
        let active = if active.is_zero() { String::new() } else { format!(", active for {}", span(active)) };
        return Err(Problem::new(at, format!("[{}] can never succeed", section.name)).label(format!(
            "{times} {} every {}, steady for {}{active}: more than {}",
            if times == 1 { "answer" } else { "answers" },
            span(every),
            span(steady),
            span(within)
        )));
    }
    Ok(Verify { probe, unit, times, every, within })
}

fn read_expect(section: &Section<'_>, probe: &Probe, host: &Host) -> Result<Predicate, Problem> {
    match section.get("expect") {
        Some(field) => field.predicate(host, probe.question.variables()),
        None => Predicate::compile(probe.question.expected(), probe.question.variables())
            .map_err(|error| Problem::new(section.at.clone(), error.to_string())),
    }
}

fn read_running(section: &Section<'_>, host: &Host, manager: Manager) -> Result<Option<Running>, Problem> {
    let Some(field) = section.get("unit") else {
        let active = section.get("active");
        let alone = |field: Field<'_>| Err(field.wrong("nothing says which unit: unit = \"NAME.service\""));
        return active.map_or(Ok(None), alone);
    };
    let active = section.duration("active", Duration::ZERO, Duration::ZERO)?;
    Ok(Some(Running { unit: restart::read_unit(&field, host)?, manager, active }))
}

fn span(duration: Duration) -> String {
    model::settings::span(model::time::millis(duration))
}
