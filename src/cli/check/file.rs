//! `stagger check` without a service: whether a host's file is right, as far as this host can tell.
//!
//! Owns what is looked at beside the file's own words: the folders and programs that it names and, when asked for, every probe of
//! it, once. What a worker needs for itself is looked at in `place`, what is shared with other hosts in `shared`. Nothing is moved,
//! nothing is restarted, no command of a rule is run. Called by `check`.

mod place;
mod shared;

use super::probes;
use crate::balancer::Balancers;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::render::text::{clean, count};
use crate::cli::{exit, out, program};
use crate::config::depool::lame_duck::LameDuck;
use crate::config::depool::{Status, Way};
use crate::config::restart;
use crate::config::steps::Then;
use crate::config::{Command, Config, Predicate, Probe, Question, ServiceConfig};
use crate::probe::Client;
use crate::unit::{Unit, systemd};
use model::member::Presence;
use model::names::Service;
use serde::Serialize;
use serde_json::json;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Row {
    /// Nothing, where it is about the whole host.
    service: Option<Service>,
    /// The key of the file that it stands in.
    part: &'static str,
    ok: bool,
    /// Nothing is wrong, and somebody should look.
    warning: bool,
    says: String,
    /// The exit code that it would give alone.
    #[serde(skip)]
    code: u8,
}

impl Row {
    fn new(service: &Service, part: &'static str, code: u8, says: String) -> Row {
        Row { service: Some(service.clone()), ..Row::of_host(part, code, says) }
    }

    fn of_host(part: &'static str, code: u8, says: String) -> Row {
        Row { service: None, part, ok: code == exit::OK, warning: false, says, code }
    }

    /// What a part of a service answered.
    fn answered(service: &Service, part: &'static str, ok: bool, says: String) -> Row {
        Row::new(service, part, if ok { exit::OK } else { exit::FAILED }, says)
    }

    fn warning(self) -> Row {
        Row { ok: true, warning: true, code: exit::OK, ..self }
    }

    fn sign(&self) -> &'static str {
        match (self.warning, self.ok) {
            (true, _) => "!",
            (false, true) => "✓",
            (false, false) => "✗",
        }
    }
}

/// Looks, and says what is wrong; with `asks`, what every probe answers too.
pub(super) async fn run(asks: bool, context: &Context) -> Result<u8, Failure> {
    let config = context.config()?;
    let mut rows = place::rows(&config).await;
    rows.extend(missing(&config, std::env::var_os("PATH").as_ref()));
    if asks {
        rows.extend(shared::rows(&config, &context.client()?).await);
        rows.extend(ask_all(&config, &probes(&config)?).await);
    }
    // What the host does not have weighs more than what does not answer.
    let code = rows.iter().map(|row| row.code).max().unwrap_or(exit::OK);
    match context.globals.json {
        true => out::json(&json!({ "host": config.host, "exit_code": code, "rows": rows }))?,
        false => out::result(&text(&config, &rows, code))?,
    }
    Ok(code)
}

/// What the file names and this host does not have.
fn missing(config: &Config, path: Option<&OsString>) -> Vec<Row> {
    let mut rows = Vec::new();
    for service in config.services.values() {
        let mut row = |part, says| rows.push(Row::new(&service.name, part, exit::CONFIGURATION, says));
        if let Way::File(flag) = &service.depool.way
            && let Some(folder) = flag.path.parent().filter(|folder| !folder.is_dir())
        {
            row("depool", format!("the folder {} is not there, and nobody makes it", folder.display()));
        }
        if let restart::Way::Reboot(_) = service.restart.way
            && let Some(folder) =
                marked_out_in(&service.depool.way, &config.state).filter(|folder| is_forgotten(folder))
        {
            let is_gone = "is in memory: after the reboot nothing says any more that the host is out";
            row("depool", format!("the folder {} {is_gone}", folder.display()));
        }
        for (part, command) in commands(service) {
            if let Err(absent) = program::find(OsStr::new(command.program()), path.cloned()) {
                row(part, format!("cannot run {}: {absent}", command.program()));
            }
        }
    }
    rows
}

/// The folder of what says that the host is out, where that is a file of its own.
fn marked_out_in<'c>(way: &'c Way, state: &'c Path) -> Option<&'c Path> {
    match way {
        Way::File(flag) if flag.present_is_out => flag.path.parent(),
        Way::LameDuck(_) => Some(state),
        _ => None,
    }
}

/// Whether a folder is gone after a boot. One that cannot be looked at is told of elsewhere.
fn is_forgotten(folder: &Path) -> bool {
    // The numbers of tmpfs and ramfs: statfs(2).
    const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];
    let kind = rustix::fs::statfs(folder).ok().and_then(|system| u32::try_from(system.f_type).ok());
    kind.is_some_and(|kind| IN_MEMORY.contains(&kind))
}

/// Every command of a service.
fn commands(service: &ServiceConfig) -> Vec<(&'static str, &Command)> {
    let mut found: Vec<(&str, &Command)> = match &service.restart.way {
        restart::Way::Exec(commands) => {
            std::iter::once(&commands.command).chain(&commands.identity).map(|command| ("restart", command)).collect()
        }
        restart::Way::Reboot(reboot) => reboot.command.iter().map(|command| ("restart", command)).collect(),
        restart::Way::Systemd(_) => Vec::new(),
    };
    if let Way::Exec(commands) = &service.depool.way {
        found.extend([&commands.depool, &commands.repool, &commands.status].map(|command| ("depool", command)));
    }
    let confirm = match &service.depool.way {
        Way::File(flag) | Way::LameDuck(LameDuck { flag, .. }) => {
            flag.confirm.as_ref().map(|Status { probe, .. }| ("depool", probe))
        }
        _ => None,
    };
    let asked = probes_of(service).into_iter().map(|(part, probe, _)| (part, probe)).chain(confirm);
    found.extend(asked.filter_map(|(part, probe)| match &probe.question {
        Question::Exec(command) => Some((part, command)),
        Question::Http(_) | Question::Tcp(_) | Question::FastCgi(_) | Question::Connections(_) => None,
    }));
    found.extend(service.check.iter().flat_map(|check| &check.rules).filter_map(|rule| match &rule.then {
        Then::Exec(command) => Some(("check", command)),
        Then::Restart | Then::FastCgi(_) => None,
    }));
    found
}

/// The probes of a service but those of its balancers, each with the expressions over its answer.
fn probes_of(service: &ServiceConfig) -> Vec<(&'static str, &Probe, Vec<&Predicate>)> {
    let check = service.check.iter();
    let check = check.map(|check| ("check", &check.probe, check.rules.iter().map(|rule| &rule.when).collect()));
    let drain = service.drain.until.iter().map(|(probe, until)| ("drain", probe, vec![until]));
    let verify = service.verify.iter().flat_map(|verify| &verify.probe);
    let verify = verify.map(|(probe, expect)| ("verify", probe, vec![expect]));
    check.chain(drain).chain(verify).collect()
}

/// Asks everything once, one after the other.
async fn ask_all(config: &Config, client: &Client) -> Vec<Row> {
    let mut rows = Vec::new();
    for service in config.services.values() {
        rows.extend(ask_unit(service, client).await);
        let balancers = Balancers::new(service, client);
        rows.extend(balancers.look().await.into_iter().map(|look| {
            let detail = if look.detail.is_empty() { String::new() } else { format!(" ({})", look.detail) };
            let says = format!("{}: {}{detail}", look.balancer, look.presence);
            Row::answered(&service.name, "depool", look.presence != Presence::Unknown, says)
        }));
        rows.extend(balancers.remarks().await.into_iter().map(|remark| {
            let row = Row::new(&service.name, "depool", exit::CONFIGURATION, remark.says);
            if remark.is_wrong { row } else { row.warning() }
        }));
        let mut row = |part, ok, says| rows.push(Row::answered(&service.name, part, ok, says));
        if service.drain.sessions.is_some() {
            let in_flight = balancers.sessions().ask().await;
            row("drain", in_flight.sessions.is_some(), in_flight.detail);
        }
        let client = client.of(&service.name);
        if let Some(running) = service.verify.iter().flat_map(|verify| &verify.unit).next() {
            match systemd::running(running, &client).await {
                Ok(_up) => row("verify", true, format!("{} is active", running.unit)),
                Err(error) => row("verify", false, error.to_string()),
            }
        }
        for (part, probe, expressions) in probes_of(service) {
            // Whether a check asks for a restart, or a drain is over, is no fault; that a service is not well is one.
            let must_hold = part == "verify";
            let question = probe.question.to_string();
            let (ok, says) = match ask(probe, &expressions, &client).await {
                Ok((all_hold, says)) => (all_hold || !must_hold, format!("{question}: {says}")),
                // Most errors name what was asked themselves.
                Err(error) if error.starts_with(&question) => (false, error),
                Err(error) => (false, format!("{question}: {error}")),
            };
            row(part, ok, says);
        }
    }
    rows
}

/// Whether what restarts is there, and which incarnation of it runs.
async fn ask_unit(service: &ServiceConfig, client: &Client) -> Option<Row> {
    let unit = Unit::new(service, client);
    let identity = match unit.unfit().await {
        // A unit that there is not would count as one that is down, and could not be started either.
        Ok(Some(why)) => return Some(Row::new(&service.name, "restart", exit::CONFIGURATION, why)),
        Ok(None) => unit.identity().await.transpose()?,
        Err(error) => Err(error),
    };
    let (code, says) = match identity {
        Ok(identity) => (exit::OK, identity),
        Err(error) => (exit::FAILED, error.to_string()),
    };
    Some(Row::new(&service.name, "restart", code, format!("identity: {says}")))
}

/// What a probe answers, whether every expression holds over that, and what holds and what does not.
async fn ask(probe: &Probe, expressions: &[&Predicate], client: &Client) -> Result<(bool, String), String> {
    let answer = probe.ask(client).await.map_err(|error| error.to_string())?;
    let mut all_hold = true;
    let mut says = answer.figures();
    for expression in expressions {
        let holds = expression.holds(&answer).map_err(|error| error.to_string())?;
        all_hold &= holds;
        says.push_str(&format!("; {expression}: {}", if holds { "yes" } else { "no" }));
    }
    Ok((all_hold, says))
}

fn text(config: &Config, rows: &[Row], code: u8) -> String {
    let head = match code {
        exit::CONFIGURATION => "the file can be read, and does not fit this host",
        exit::FAILED => "the file is right, and not everything answers as it should",
        _ => "the file is right",
    };
    let services = count(config.services.len(), "service");
    let mut lines = vec![format!("{head}: {}, {services}, {}", config.host, config.coordinator)];
    lines.extend(rows.iter().map(|row| {
        let whose = row.service.as_ref().map_or(config.host.as_str(), Service::as_str);
        format!("{} {whose}  {:<7}  {}", row.sign(), row.part, clean(&row.says))
    }));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Surroundings, parse};

    pub(super) fn config(folder: &Path, parts: &str) -> Config {
        let text = format!(
            "coordinator = \"http://locks:7532\"\nhost = \"mw1\"\n[service.web]\npools = [\"p\"]\n\
             restart = {{ kind = \"exec\", command = [\"true\"], identity = [\"echo\", \"pid 7\"] }}\n{}",
            parts.replace("FOLDER", &folder.display().to_string())
        );
        parse(&text, Path::new("stagger.toml"), &Surroundings::default()).expect("a configuration")
    }

    pub(super) fn says(rows: &[Row]) -> Vec<String> {
        rows.iter().map(|row| format!("{} {} {}", row.sign(), row.part, row.says)).collect()
    }

    #[test]
    fn what_the_file_names_and_the_host_has_not_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = OsString::from("/usr/bin:/bin");
        let right = config(folder.path(), "depool = { kind = \"file\", path = \"FOLDER/out\" }\n");
        assert_eq!(missing(&right, Some(&path)), []);
        assert_eq!(text(&right, &[], exit::OK), "the file is right: mw1, 1 service, http://locks:7532");
        let wrong = config(
            folder.path(),
            "depool = { kind = \"file\", path = \"FOLDER/none/out\" }\nverify = { exec = [\"no-such-program\"] }\n\
             drain = { exec = [\"FOLDER\"], until = \"exit == 0\" }\n",
        );
        let at = folder.path().display();
        let expected = [
            format!("✗ depool the folder {at}/none is not there, and nobody makes it"),
            format!("✗ drain cannot run {at}: {at} is no executable file"),
            "✗ verify cannot run no-such-program: it is in no folder of PATH (/usr/bin:/bin)".to_owned(),
        ];
        assert_eq!(says(&missing(&wrong, Some(&path))), expected);
    }

    #[test]
    fn what_says_that_a_host_is_out_must_not_be_in_memory_when_it_boots() {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
        std::os::unix::fs::symlink(memory.path(), folder.path().join("flags")).expect("a link");
        let path = OsString::from("/usr/bin:/bin");
        let depool = "depool = { kind = \"file\", path = \"FOLDER/flags/out\" }\n";
        let stays = config(folder.path(), depool);
        assert_eq!(missing(&stays, Some(&path)), []);
        let mut boots = stays;
        let reboot = restart::Way::Reboot(restart::Reboot { command: None });
        boots.services.values_mut().for_each(|service| service.restart.way = reboot.clone());
        let at = folder.path().display();
        let said = format!(
            "✗ depool the folder {at}/flags is in memory: after the reboot nothing says any more that the host is out"
        );
        assert_eq!(says(&missing(&boots, Some(&path))), [said]);
    }

    #[tokio::test]
    async fn what_was_asked_is_named_once_when_there_is_no_answer() {
        let folder = tempfile::tempdir().expect("a folder");
        for (probe, named) in [
            ("fastcgi = \"FOLDER/none\", script = \"/ping\"", "/ping"),
            ("http = \"http://127.0.0.1:1/ping\"", "/ping"),
        ] {
            let parts = format!("depool = {{ kind = \"none\" }}\nverify = {{ {probe} }}\n");
            let config = config(folder.path(), &parts);
            let rows = says(&ask_all(&config, &probes(&config).expect("a client")).await);
            let told = rows.iter().find(|row| row.starts_with("✗ verify ")).expect("a row");
            assert_eq!(told.matches(named).count(), 1, "{told}");
        }
    }

    #[tokio::test]
    async fn every_probe_is_asked_once_and_no_command_of_a_rule_is_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let asked = |parts: &str| {
            let config = config(folder.path(), parts);
            async move { says(&ask_all(&config, &probes(&config).expect("a client")).await) }
        };
        let parts = r#"
depool = { kind = "file", path = "FOLDER/out" }
check = { exec = ["echo", '{"free": 9}'], rules = [{ when = "answer.free > 1", then = { exec = ["touch", "FOLDER/ran"] } }, { when = "answer.free < 1", then = "restart" }] }
drain = { exec = ["false"], until = "exit == 0" }
verify = { exec = ["sh", "-c", "exit 3"] }
"#;
        let rows = asked(parts).await;
        assert_eq!(rows[0], "✓ restart identity: pid 7");
        assert!(rows[1].starts_with("✓ depool ") && rows[1].contains(": in"), "{rows:?}");
        let check = "✓ check echo {\"free\": 9}: {\"free\":9}; answer.free > 1: yes; answer.free < 1: no";
        assert_eq!(rows[2..4], [check, "✓ drain false: exit 1; exit == 0: no"]);
        assert_eq!(rows[4], "✗ verify sh -c exit 3: exit 3; exit == 0: no");
        assert!(!folder.path().join("ran").exists());
        let parts = "depool = { kind = \"none\" }\nverify = { exec = [\"echo\", \"x\"], expect = \"answer.ok\" }\n";
        let rows = asked(parts).await;
        assert!(rows[1].starts_with("✗ verify echo x: cannot evaluate `answer.ok`"), "{rows:?}");
    }
}
