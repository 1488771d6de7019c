//! A host's file, and the URL of its coordinator.

use stagger::config::{self, ConfigError, CoordinatorUrl, SERVICES_MAX, Surroundings};
use std::path::Path;

/// Where the file is said to be.
const FILE: &str = "/etc/stagger/stagger.toml";

/// Reads a file. Either it is valid, and says the same again; or each wrong thing is shown with its place.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let surroundings = Surroundings { hostname: "mw1331".to_owned(), state_directory: None };
    let read = || config::parse(text, Path::new(FILE), &surroundings);
    match read() {
        Ok(config) => {
            assert!(config.services.len() <= SERVICES_MAX && config.state.is_absolute());
            for (name, service) in &config.services {
                assert_eq!(*name, service.name);
                assert!(!service.pools.is_empty(), "{name} restarts under no pool");
            }
            url(config.coordinator.as_str());
            assert_eq!(format!("{config:?}"), format!("{:?}", read().expect("read before")));
        }
        Err(ConfigError::Invalid { rendered }) => {
            assert!(!rendered.is_empty());
            let lines = text.lines().count().max(1);
            for problem in rendered {
                let mut shown = problem.lines();
                assert!(shown.next().is_some_and(|first| first.starts_with("error: ")), "{problem}");
                let place = shown.find_map(|line| line.split_once(&format!("{FILE}:"))).map(|(_, place)| place);
                let place = place.unwrap_or_else(|| panic!("no place in\n{problem}"));
                let line: usize = place.split(':').next().and_then(|line| line.parse().ok()).expect("a line");
                assert!((1..=lines + 1).contains(&line), "line {line} of {lines}:\n{problem}");
            }
        }
        Err(other) => panic!("read from nowhere: {other}"),
    }
    if let Some(line) = text.lines().next() {
        url(line);
    }
}

/// A URL that is taken prints as one that is taken, and not with its password.
fn url(text: &str) {
    let Ok(url) = text.parse::<CoordinatorUrl>() else { return };
    assert_eq!(url.as_str().parse(), Ok(url.clone()), "{text}");
    let login = text.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(login, _)| login);
    if let Some((_, password)) = login.and_then(|login| login.split_once(':')) {
        let shown = format!("{url} {url:?}");
        assert!(password.len() < 8 || !shown.contains(password), "{shown}");
    }
    url.is_loopback();
}
