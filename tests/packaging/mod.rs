//! What is installed on hosts: the units, their users and rights, the files that come with them.
//!
//! Whether a whole package installs and runs on a fresh system is tried by `packaging/try`, which takes minutes.

mod life;
mod rights;
mod shut_in;

use stagger::config::lock_server;
use stagger::config::{self, Config, Surroundings};
use std::path::{Path, PathBuf};

/// Where a configuration is that the package brings.
const INSTALLED: &str = "/etc/stagger/stagger.toml";

/// A path in the sources.
fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A file of the sources.
fn read(path: &str) -> String {
    std::fs::read_to_string(source(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn parsed(text: &str) -> Config {
    let surroundings = Surroundings { hostname: "mw1331".to_owned(), state_directory: None };
    config::parse(text, Path::new(INSTALLED), &surroundings).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_file_that_is_installed_restarts_nothing_until_it_is_filled_in() {
    let text = read("packaging/stagger.toml");
    let config = parsed(&text);
    assert!(config.services.is_empty());
    // A host with this file asks whom it would ask without one.
    assert_eq!(config.coordinator.as_str(), "http://127.0.0.1:7532");
    let marker = "# A service";
    let (before, example) = text.split_once(marker).expect("an example");
    let (_, example) = example.split_once("\n#\n").expect("an example");
    let uncommented = |line: &str| line.strip_prefix("# ").or(line.strip_prefix('#')).unwrap_or(line).to_owned() + "\n";
    let filled_in = before.to_owned() + &example.lines().map(uncommented).collect::<String>();
    let config = parsed(&filled_in);
    let names: Vec<&str> = config.services.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["php-fpm"]);
}

#[test]
fn the_lock_servers_file_that_is_installed_says_nothing_until_it_is_filled_in() {
    let text = read("packaging/lockserver.toml");
    let read = |text: &str| lock_server::parse(text, Path::new("/etc/stagger/lockserver.toml"));
    let said = read(&text).unwrap_or_else(|error| panic!("{error}"));
    assert!(said.api.is_none() && said.data.is_none() && said.defaults.is_empty());
    let is_prose = |line: &&str| !line.starts_with("# ");
    let filled_in: String =
        text.lines().filter(is_prose).map(|line| line.trim_start_matches('#').to_owned() + "\n").collect();
    let said = read(&filled_in).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((said.defaults.pools.len(), said.defaults.services.len()), (2, 1));
    assert!(said.api.is_some() && said.poolcounter.is_some());
}

#[test]
fn what_the_package_takes_from_the_sources_is_there() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("a manifest");
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().expect("assets");
    let files: Vec<&str> = assets.iter().filter_map(|asset| asset[0].as_str()).collect();
    assert!(files.len() >= 10, "{files:?}");
    for file in files.iter().filter(|file| !file.starts_with("target/")) {
        let (folder, name) = file.rsplit_once('/').expect("a path");
        let ending = name.strip_prefix('*');
        let entries = std::fs::read_dir(source(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let is_there = names.into_iter().any(|found| found == name || ending.is_some_and(|end| found.ends_with(end)));
        assert!(is_there, "there is no {file}");
    }
}

#[test]
fn whoever_runs_a_unit_is_a_user_that_the_package_makes_and_the_examples_speak_of() {
    let users = read("packaging/stagger.sysusers");
    let made: Vec<&str> =
        users.lines().filter(|line| line.starts_with("u ")).filter_map(|line| line.split_whitespace().nth(1)).collect();
    let runs_as = |unit: &str| {
        let text = read(unit);
        let line = text.lines().find_map(|line| line.strip_prefix("User=")).expect("a user");
        line.to_owned()
    };
    let (worker, lock_server) =
        (runs_as("packaging/stagger-worker.service"), runs_as("packaging/stagger-lockserver.service"));
    assert_eq!(made, [worker.as_str(), lock_server.as_str()]);
    assert!(read("packaging/examples/50-stagger.rules").contains(&format!("subject.user === \"{worker}\"")));
    assert!(read("packaging/examples/stagger.sudoers").contains(&format!("\n{worker} ALL=(root) NOPASSWD: ")));
}
