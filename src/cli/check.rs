//! `stagger check`: asks whether a service of this host needs a restart, or whether the host's file is right, and does nothing
//! about it.

mod file;

use super::context::Context;
use super::failure::Failure;
use super::{exit, out};
use crate::config::nearest::nearest;
use crate::config::steps::{Rule, Then};
use crate::config::{Config, ServiceConfig};
use crate::probe::Client;
use model::names::Service;
use serde::Serialize;

/// Ask whether a service of this host needs a restart, or whether the host's file is right
///
/// Without a service it says whether the file can be read, and whether the folders and programs that it names are there; with
/// --ask it also asks every probe of the file once. For one service it shows what its check answers, each rule and whether it holds, and the verdict. Nothing is restarted, and no command of a
/// rule is run, nor its request sent. A service that is not configured here needs no restart.
///
/// Exit codes: 0 either verdict, or the file is right; 1 a check cannot be read, or with --ask a probe has no usable answer or a
/// service is not well; 78 the file is wrong, or names what this host does not have.
///
/// Example: stagger check --ask
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CheckArgs {
    /// Which; the whole file when left out
    service: Option<Service>,
    /// Ask every probe of the file once
    #[arg(long, conflicts_with = "service")]
    ask: bool,
}

/// What the check says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Verdict {
    service: Service,
    /// Whether it needs a restart.
    restart: bool,
    /// What was answered.
    figures: String,
    rules: Vec<RuleRow>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct RuleRow {
    when: String,
    then: String,
    holds: bool,
}

/// The configuration of one service of this host.
///
/// # Errors
/// There is none of this name.
pub(super) fn service_of<'c>(config: &'c Config, service: &Service) -> Result<&'c ServiceConfig, Failure> {
    config.services.get(service).ok_or_else(|| {
        let (why, hint) = not_here(config, service);
        Failure::Refused { why: format!("{service} is {why}"), hint }
    })
}

/// That a service is not configured here, and what is. Whoever restarts or checks it has nothing to do then: the same
/// commands go out to every host.
pub(super) fn not_here(config: &Config, service: &Service) -> (String, String) {
    let known = config.services.keys().map(Service::as_str).collect::<Vec<_>>();
    let hint = match nearest(service.as_str(), &known) {
        Some(near) => format!("did you mean {near}?"),
        None if known.is_empty() => "no service is".to_owned(),
        None => format!("these are: {}", known.join(", ")),
    };
    (format!("not configured on {}", config.host), hint)
}

/// A client of this host's probes.
///
/// # Errors
/// The HTTP client cannot be made.
pub(super) fn probes(config: &Config) -> Result<Client, Failure> {
    Client::new(&config.host)
        .map(|client| client.acting_through(std::env::current_exe().ok()))
        .map_err(|error| Failure::Work { what: error.to_string(), hint: String::new(), code: exit::FAILED })
}

/// Asks it.
pub(crate) async fn run(args: CheckArgs, context: &Context) -> Result<u8, Failure> {
    let Some(name) = args.service else { return file::run(args.ask, context).await };
    let config = context.config()?;
    let verdict = match config.services.get(&name) {
        Some(service) => ask(service, &probes(&config)?).await?,
        None => absent(&config, name),
    };
    match context.globals.json {
        true => out::json(&verdict)?,
        false => out::result(&text(&verdict))?,
    }
    Ok(exit::OK)
}

/// The verdict on a service that is not here.
fn absent(config: &Config, service: Service) -> Verdict {
    let (why, hint) = not_here(config, &service);
    out::note(&format!("hint: {hint}"));
    Verdict { service, restart: false, figures: why, rules: Vec::new() }
}

async fn ask(service: &ServiceConfig, client: &Client) -> Result<Verdict, Failure> {
    let name = service.name.clone();
    let Some(check) = &service.check else {
        let figures = "no check is configured".to_owned();
        return Ok(Verdict { service: name, restart: true, figures, rules: Vec::new() });
    };
    let unreadable = |error: String| Failure::Work {
        what: format!("the check of {} cannot be read: {error}", service.name),
        hint: "nothing is restarted by a check that cannot be read".to_owned(),
        code: exit::FAILED,
    };
    let client = client.of(&name);
    let answer = check.probe.ask(&client).await.map_err(|error| unreadable(error.to_string()))?;
    let mut rules = Vec::new();
    let mut restart = false;
    for rule in &check.rules {
        let holds = rule.when.holds(&answer).map_err(|error| unreadable(error.to_string()))?;
        restart |= holds && rule.then == Then::Restart;
        rules.push(row(rule, holds));
    }
    Ok(Verdict { service: name, restart, figures: answer.figures(), rules })
}

fn row(rule: &Rule, holds: bool) -> RuleRow {
    let then = match &rule.then {
        Then::Restart => "restart".to_owned(),
        Then::Exec(command) => format!("run {command}"),
        Then::FastCgi(request) => format!("ask {request}"),
    };
    RuleRow { when: rule.when.to_string(), then, holds }
}

fn text(verdict: &Verdict) -> String {
    let service = &verdict.service;
    let mut lines = vec![format!("{service}: {}", super::render::text::clean(&verdict.figures))];
    lines.extend(verdict.rules.iter().map(|rule| {
        let holds = if rule.holds { "yes" } else { "no " };
        format!("  {holds}  {} → {}", rule.when, rule.then)
    }));
    lines.push(match verdict.restart {
        true => format!("{service} needs a restart"),
        false => format!("{service} needs no restart"),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Surroundings, parse};
    use std::path::Path;

    fn config(check: &str) -> Config {
        let text = format!(
            "coordinator = \"http://a:1\"\nhost = \"mw1\"\n[service.web]\npools = [\"p\"]\n\
             restart = {{ kind = \"exec\", command = [\"true\"] }}\ndepool = {{ kind = \"none\" }}\n{check}"
        );
        parse(&text, Path::new("stagger.toml"), &Surroundings::default()).expect("a configuration")
    }

    async fn asked(check: &str) -> Result<Verdict, Failure> {
        let config = config(check);
        let service = "web".parse().expect("a service");
        ask(service_of(&config, &service)?, &probes(&config)?).await
    }

    const RULES: &str = "rules = [{ when = \"answer.free <= 100\", then = { exec = [\"false\"] } }, \
                         { when = \"answer.keys > 5\", then = \"restart\" }]\n";

    #[tokio::test]
    async fn figures_rules_and_verdict_are_shown_and_no_command_is_run() {
        let check = format!("[service.web.check]\nexec = [\"echo\", '{{\"free\": 90, \"keys\": 5}}']\n{RULES}");
        let verdict = asked(&check).await.expect("a verdict");
        let expected = "\
web: {\"free\":90,\"keys\":5}
  yes  answer.free <= 100 → run false
  no   answer.keys > 5 → restart
web needs no restart";
        assert_eq!(text(&verdict), expected);
        let check = check.replace("\"keys\": 5", "\"keys\": 6");
        let verdict = asked(&check).await.expect("a verdict");
        assert!(text(&verdict).ends_with("  yes  answer.keys > 5 → restart\nweb needs a restart"), "{verdict:?}");
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_no_verdict() {
        let check = format!("[service.web.check]\nexec = [\"echo\", \"garbage\"]\n{RULES}");
        let failure = asked(&check).await.expect_err("unreadable");
        assert_eq!(failure.exit_code(), 1);
        assert!(failure.render().starts_with("error: the check of web cannot be read: "), "{}", failure.render());
    }

    #[tokio::test]
    async fn without_a_check_it_always_needs_one_and_an_unknown_service_is_named() {
        assert!(text(&asked("").await.expect("a verdict")).ends_with("\nweb needs a restart"));
        let failure = service_of(&config(""), &"php".parse().expect("a service")).map(|_| ()).expect_err("unknown");
        assert_eq!(failure.render(), "error: php is not configured on mw1\nhint: these are: web");
        assert_eq!(not_here(&config(""), &"wab".parse().expect("a service")).1, "did you mean web?");
    }
}
