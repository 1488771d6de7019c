//! `stagger man`: the manual pages, one for each command.
//!
//! Owns their sections and what stands in those that the help texts do not fill. The rest is taken from the help texts, so that
//! nothing is said twice.

use super::context::Context;
use super::failure::Failure;
use super::{command, exit, out};
use clap::Command;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use serde_json::json;
use std::path::{Path, PathBuf};

/// How a paragraph of a help text begins that lists exit codes, or tells of one, or shows an example.
const CODES: &str = "Exit codes: ";
const CODE: &str = "The exit code is ";
const EXAMPLE: &str = "Example: ";
/// Commands that are read about together.
const GROUPS: [&[&str]; 6] = [
    &["announce", "rollouts", "abort"],
    &["worker", "restart", "check", "depool", "repool"],
    &["leases", "pools", "members", "why", "history"],
    &["pause", "resume", "release", "set"],
    &["run", "lockserver", "pools", "leases"],
    &["demo", "completions", "man"],
];
const CONFIGURATION: (&str, &str) =
    ("/etc/stagger/stagger.toml", "The configuration of the host, unless -c names another.");
const LOCK_SERVER: (&str, &str) = (
    "/etc/stagger/lockserver.toml",
    "The configuration of the lock server, where it is there, unless -c names another.",
);
const STATE: (&str, &str) = (
    "/var/lib/stagger",
    "The worker's folder: its journal and its session. The configuration's state, or STATE_DIRECTORY, \
                          names another.",
);
const DATA: (&str, &str) = (
    "/var/lib/stagger-locks",
    "The lock server's folder: leases, rollouts, settings and history. --data, or STATE_DIRECTORY, names another.",
);
const ACCESS: (&str, &str) = (
    "/etc/stagger/tokens",
    "Who may ask a lock server that is given it with --tokens; stagger lockserver token keeps it.",
);
const COORDINATOR: (&str, &str) = (
    "STAGGER_COORDINATOR",
    "The URL of the lock server, such as http://locks:7532, when --coordinator does not say it.",
);
const TOKEN_FILE: (&str, &str) =
    ("STAGGER_TOKEN_FILE", "The file of the token that a lock server is shown, when --token-file does not say it.");
const NO_COLOR: (&str, &str) = ("NO_COLOR", "When it is set, nothing is coloured.");
const LOG: (&str, &str) = ("STAGGER_LOG", "How much is logged: info unless set, debug, warn, error.");
const STATE_DIRECTORY: (&str, &str) =
    ("STATE_DIRECTORY", "The folder that the service manager made for what is kept over restarts.");
const TOKENS: (&str, &str) = (
    "STAGGER_TOKEN, STAGGER_TOKENS, STAGGER_HOLDER",
    "Set for the command: the fencing token of its grant, the tokens as pool:token,pool:token, and the holder's name.",
);

/// Write the manual pages, one for each command, into a folder
///
/// Example: stagger man /usr/local/share/man/man1
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ManArgs {
    /// The folder; it is made when it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes them.
pub(crate) fn run(args: &ManArgs, context: &Context) -> Result<u8, Failure> {
    let folder = args.folder.display();
    let failed = |error| Failure::system(format!("write the manual pages into {folder}"), error);
    std::fs::create_dir_all(&args.folder).map_err(failed)?;
    write_all(&args.folder).map_err(failed)?;
    match context.globals.json {
        true => out::json(&json!({ "folder": args.folder }))?,
        false => out::note(&format!("manual pages are in {folder}")),
    }
    Ok(exit::OK)
}

fn write_all(folder: &Path) -> std::io::Result<()> {
    let mut root = command().disable_help_subcommand(true);
    root.build();
    let general = codes_of(&root);
    let mut left = vec![&root];
    while let Some(command) = left.pop() {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name());
        std::fs::write(folder.join(format!("{name}.1")), page(command, &general)?)?;
        left.extend(command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help"));
    }
    Ok(())
}

/// One page; `general` are the exit codes of a command that names none of its own.
fn page(command: &Command, general: &[(String, String)]) -> std::io::Result<Vec<u8>> {
    let name = command.get_name();
    let paragraphs = paragraphs(command);
    let is_apart = |text: &&String| [CODES, CODE, EXAMPLE].iter().any(|begin| text.starts_with(begin));
    let (apart, described): (Vec<&String>, Vec<&String>) = paragraphs.iter().partition(is_apart);
    let described = described.into_iter().map(String::as_str).collect::<Vec<_>>().join("\n\n");
    let source = format!("stagger {}", env!("CARGO_PKG_VERSION"));
    let shown = clap_mangen::Man::new(command.clone().long_about(described)).source(source).manual("Stagger");
    let mut page = Vec::new();
    shown.render_title(&mut page)?;
    shown.render_name_section(&mut page)?;
    synopsis(command).to_writer(&mut page)?;
    shown.render_description_section(&mut page)?;
    shown.render_options_section(&mut page)?;
    if command.has_subcommands() {
        shown.render_subcommands_section(&mut page)?;
    }
    let mut end = Roff::new();
    end.control("SH", ["EXIT STATUS"]);
    let own = codes_of(command);
    let told = apart.iter().find(|text| text.starts_with(CODE));
    match told {
        Some(told) => drop(end.text([roman(told.as_str())])),
        None => listed(&mut end, if own.is_empty() { general } else { &own }, bold),
    }
    end.control("SH", ["FILES"]);
    listed(&mut end, &files(name), italic);
    end.control("SH", ["ENVIRONMENT"]);
    listed(&mut end, &variables(name), bold);
    if let Some(example) = apart.iter().find_map(|text| text.strip_prefix(EXAMPLE)) {
        end.control("SH", ["EXAMPLES"]).text([roman(example)]);
    }
    end.control("SH", ["SEE ALSO"]).text([roman(see_also(name).join(", "))]);
    end.to_writer(&mut page)?;
    Ok(page)
}

fn paragraphs(command: &Command) -> Vec<String> {
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    about.split("\n\n").map(|text| text.replace('\n', " ")).collect()
}

/// What is typed, as the help says it.
fn synopsis(command: &Command) -> Roff {
    let usage = command.clone().render_usage().to_string();
    let mut section = Roff::new();
    section.control("SH", ["SYNOPSIS"]).text([roman(usage.trim_start_matches("Usage: ").trim())]);
    section
}

/// The exit codes that a command's help lists: `Exit codes: 0 well; 1 not`.
fn codes_of(command: &Command) -> Vec<(String, String)> {
    let paragraphs = paragraphs(command);
    let Some(list) = paragraphs.iter().find_map(|text| text.strip_prefix(CODES)) else { return Vec::new() };
    let code = |item: &str| item.trim().split_once(' ').map(|(code, means)| (code.to_owned(), means.to_owned()));
    list.trim_end_matches('.').split(';').filter_map(code).collect()
}

fn files(name: &str) -> Vec<(&'static str, &'static str)> {
    match name {
        "stagger" => vec![CONFIGURATION, STATE, DATA, ACCESS],
        "worker" | "restart" | "depool" | "repool" => vec![CONFIGURATION, STATE],
        "lockserver" => vec![LOCK_SERVER, DATA, ACCESS],
        "token" | "add" | "list" | "revoke" => vec![ACCESS],
        _ => vec![CONFIGURATION],
    }
}

fn variables(name: &str) -> Vec<(&'static str, &'static str)> {
    match name {
        "stagger" => vec![COORDINATOR, TOKEN_FILE, STATE_DIRECTORY, LOG, NO_COLOR],
        "worker" => vec![COORDINATOR, TOKEN_FILE, STATE_DIRECTORY, LOG],
        "restart" | "depool" | "repool" => vec![COORDINATOR, TOKEN_FILE, STATE_DIRECTORY, NO_COLOR],
        "lockserver" => vec![COORDINATOR, STATE_DIRECTORY, LOG],
        "token" | "add" | "list" | "revoke" => vec![NO_COLOR],
        "run" => vec![COORDINATOR, TOKEN_FILE, TOKENS],
        _ => vec![COORDINATOR, TOKEN_FILE, NO_COLOR],
    }
}

fn listed<T: AsRef<str>>(roff: &mut Roff, items: &[(T, T)], named: fn(String) -> Inline) {
    for (name, text) in items {
        roff.control("TP", []);
        roff.text([named(name.as_ref().to_owned())]).text([roman(text.as_ref())]);
    }
}

/// The pages to go on with.
fn see_also(name: &str) -> Vec<String> {
    let group = GROUPS.iter().find(|group| group.contains(&name)).copied();
    let others = group.unwrap_or(&["announce", "worker", "lockserver", "why"]).iter().filter(|other| **other != name);
    let first = (name != "stagger").then(|| "stagger(1)".to_owned());
    first.into_iter().chain(others.map(|other| format!("stagger-{other}(1)"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> Vec<(String, String)> {
        let folder = tempfile::tempdir().expect("a folder");
        write_all(folder.path()).expect("written");
        let entries = std::fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").path());
        let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
        entries.map(|path| (name(&path), std::fs::read_to_string(&path).expect("a page"))).collect()
    }

    #[test]
    fn every_page_has_the_sections_that_people_look_for_and_leads_to_pages_that_there_are() {
        let pages = pages();
        assert!(pages.len() > 20, "{}", pages.len());
        for (name, page) in &pages {
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "\"EXIT STATUS\"", "FILES", "ENVIRONMENT", "EXAMPLES"] {
                assert!(page.contains(&format!("\n.SH {section}\n")), "{name}: {section}\n{page}");
            }
            let (_, also) = page.split_once("\n.SH \"SEE ALSO\"\n").expect("SEE ALSO");
            let also = also.trim().replace("\\-", "-");
            assert!(also.contains("(1), "), "{name}: {also}");
            for other in also.split(", ").map(|other| other.replace("(1)", ".1")) {
                assert!(other != *name && pages.iter().any(|(page, _)| *page == other), "{name}: {other}");
            }
            assert!(!page.contains("Exit codes:") && !page.contains("Example:"), "{name}: told where it belongs");
        }
    }

    #[test]
    fn what_a_page_says_is_what_the_help_says() {
        let pages = pages();
        let page = |name: &str| pages.iter().find(|(page, _)| page == name).map(|(_, text)| text.clone()).expect(name);
        assert!(page("stagger-run.1").contains("stagger run [OPTIONS] \\-\\-pool <POOL> \\-\\- <CMD>..."));
        assert!(page("stagger-run.1").contains(".SH \"EXIT STATUS\"\nThe exit code is the command\\*(Aqs own;"));
        assert!(page("stagger-depool.1").contains("\\fB4\\fR\nnobody can tell, a person is needed\n"));
        assert!(page("stagger-leases.1").contains("\\fB78\\fR\nconfiguration\n"), "the general ones");
    }
}
