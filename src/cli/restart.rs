//! `stagger restart`: restarts a service of this host once, as the worker would.

use super::check::not_here;
use super::context::Context;
use super::failure::Failure;
use super::render::restart::{self as text, Seen};
use super::render::text::clean;
use super::worker::{failure, options};
use super::{exit, out, owner};
use crate::config::{Config, duration};
use crate::worker::{self, Progress, Wanted};
use model::host::Finish;
use model::names::Service;
use model::sequence::Step;
use serde_json::json;
use std::cell::Cell;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Restart a service of this host, as the worker would
///
/// It checks, waits for a lease, leaves the balancers, drains, restarts, verifies and rejoins, and prints a line per step.
/// Ctrl-C before the restart itself undoes what was done; after it the sequence is brought to its end.
///
/// Exit codes: 0 restarted, or nothing to do, as for a service that is not configured here; 1 a step failed; 2 no lease; 3
/// restarted without a lease, or without the balancers' word; 4 stuck.
///
/// Example: stagger restart php-fpm --always --wait 10m
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RestartArgs {
    /// Which
    service: Service,
    /// Restart whatever its check says
    #[arg(long)]
    always: bool,
    /// Stay in the balancers; the lease is taken all the same
    #[arg(long)]
    force: bool,
    /// Restart without a lease, and in the balancers when they do not confirm: for when nobody answers. Exits 3 even when all
    /// went well
    #[arg(long, conflicts_with = "wait")]
    emergency: bool,
    /// Wait for a lease, or for a coordinator that does not answer, at most so long, such as 10m [default: the pools' setting, 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    wait: Option<Duration>,
}

/// Restarts it.
pub(crate) async fn run(args: RestartArgs, context: &Context) -> Result<u8, Failure> {
    let config = context.config()?;
    if !config.services.contains_key(&args.service) {
        let (why, hint) = not_here(&config, &args.service);
        return nothing_to_do(args.service, &why, &hint, context, &config);
    }
    owner::check(&config.state, &["restart", args.service.as_str()])?;
    let failed = |error| Failure::system("listen for signals", error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let ended_by = Cell::new(exit::TERMINATED);
    let shutdown = async {
        tokio::select! {
            _ = interrupt.recv() => {
                ended_by.set(exit::INTERRUPTED);
                // Behind the ^C that the terminal itself shows.
                if out::is_watched() {
                    out::note(" ");
                }
            }
            _ = terminate.recv() => ended_by.set(exit::TERMINATED),
        }
    };
    let RestartArgs { service, always, force, emergency, wait } = args;
    let wanted = Wanted { service: service.clone(), always, force, emergency, wait };
    let coordinator = (context.seats.known_by(&config.credentials).reach(config.coordinator.as_str()))
        .map_err(|error| failure(worker::WorkerError::Coordinator(error)))?;
    let shows_steps = !context.globals.json;
    let mut silence = Silence { url: config.coordinator.to_string(), is_told: false };
    let (mut waiting, mut said) = (None, None);
    let mut unprinted = Ok(());
    let mut pace = Pace::default();
    let tell = |progress: Progress| {
        if let Some(line) = pace.line(&progress).filter(|_| shows_steps) {
            out::note(&line);
        }
        if let Some(line) = silence.line(&progress) {
            out::note(&line);
        }
        if let Progress::Waiting { holders, .. } | Progress::Refused { holders } = &progress {
            waiting = Some(holders.clone());
        }
        if let Progress::Ended { note, .. } = &progress {
            said = Some(note.clone()).filter(|_| shows_steps);
        }
        if let Err(error) = told(&progress, shows_steps) {
            unprinted = Err(error);
        }
    };
    let finish = worker::once(&config, coordinator, options(), wanted, tell, shutdown).await.map_err(failure)?;
    unprinted?;
    let code = match &finish {
        Finish::Interrupted => ended_by.get(),
        other => other.exit_code(),
    };
    if context.globals.json {
        out::json(
            &json!({ "service": service, "exit_code": code, "finish": text::word(&finish), "report": text::report(&finish) }),
        )?;
        return Ok(code);
    }
    let pools = config.services.get(&service).map(|service| service.pools.clone()).unwrap_or_default();
    let seen =
        Seen { unanswered: silence.is_told.then_some(silence.url), waiting, said, pool: pools.into_iter().next() };
    let lines = text::finish(&service, &finish, &config.host, &seen);
    match code {
        exit::OK => out::result(&lines)?,
        _ => out::note(&lines),
    }
    Ok(code)
}

/// A service that is not here: nothing is wrong, and nobody is asked.
fn nothing_to_do(service: Service, why: &str, hint: &str, context: &Context, config: &Config) -> Result<u8, Failure> {
    let finish = Finish::NothingToDo(why.to_owned());
    match context.globals.json {
        true => out::json(
            &json!({ "service": service, "exit_code": exit::OK, "finish": text::word(&finish), "report": null }),
        )?,
        false => out::result(&text::finish(&service, &finish, &config.host, &Seen::default()))?,
    }
    out::note(&format!("hint: {hint}"));
    Ok(exit::OK)
}

/// A coordinator that does not answer: said once, until it has answered.
struct Silence {
    url: String,
    is_told: bool,
}

impl Silence {
    /// What there is to say of it now.
    fn line(&mut self, progress: &Progress) -> Option<String> {
        match progress {
            Progress::Unanswered(_) if self.is_told => None,
            Progress::Unanswered(why) => {
                self.is_told = true;
                Some(format!("no answer from {}, which is asked again: {}", self.url, clean(why)))
            }
            Progress::Waiting { .. }
            | Progress::Refused { .. }
            | Progress::Ended { step: Step::Ask | Step::Begin, .. } => {
                self.is_told = false;
                None
            }
            _ => None,
        }
    }
}

/// What is said of a step while it goes on: nothing of one that is over soon, and a line now and then of one that takes long.
#[derive(Default)]
struct Pace {
    told_ms: u64,
}

/// How long a step may go on before something is said of it, and between two lines, in milliseconds.
const UNDER_WAY_EVERY_MS: u64 = 5_000;

impl Pace {
    /// What there is to say now.
    fn line(&mut self, progress: &Progress) -> Option<String> {
        match progress {
            Progress::Noted { step, ms, note } if *ms >= self.told_ms + UNDER_WAY_EVERY_MS => {
                self.told_ms = *ms;
                Some(text::under_way(*step, *ms, note))
            }
            Progress::Began(_) => {
                self.told_ms = 0;
                None
            }
            _ => None,
        }
    }
}

/// Prints what happens: steps as results, the rest aside.
fn told(progress: &Progress, shows_steps: bool) -> Result<(), Failure> {
    match text::progress(progress) {
        text::Line::Step(line) if shows_steps => out::result(&line),
        text::Line::Aside(line) => {
            out::note(&line);
            Ok(())
        }
        text::Line::Step(_) | text::Line::None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_takes_long_is_told_of_now_and_then() {
        let mut pace = Pace::default();
        let mut noted = |ms| pace.line(&Progress::Noted { step: Step::Drain, ms, note: "3 in flight".to_owned() });
        let said = [250, 4_900, 5_100, 5_350, 9_900, 10_100].map(&mut noted);
        let line = |time: &str| Some(format!("… drain      {time}  3 in flight"));
        assert_eq!(
            said,
            [None, None, line("5.1s"), None, None, line("10.1s").map(|line| line.replace("  10.1s", " 10.1s"))]
        );
        assert_eq!(pace.line(&Progress::Began(Step::Restart)), None);
        assert_eq!(pace.line(&Progress::Noted { step: Step::Restart, ms: 4_000, note: String::new() }), None);
    }

    #[test]
    fn a_silence_is_said_once_with_whom_it_is_about() {
        let mut silence = Silence { url: "http://locks:7532".to_owned(), is_told: false };
        let unanswered = || Progress::Unanswered("connection\nrefused".to_owned());
        let expected = "no answer from http://locks:7532, which is asked again: connection refused";
        assert_eq!(silence.line(&unanswered()).as_deref(), Some(expected));
        assert_eq!(silence.line(&unanswered()), None);
        assert_eq!(silence.line(&Progress::Waiting { place: 1, why: String::new(), holders: Vec::new() }), None);
        assert_eq!(silence.line(&unanswered()).as_deref(), Some(expected), "a second silence");
    }
}
