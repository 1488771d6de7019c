//! What every command is given: the global flags, the coordinator they lead to, and who acts.
//!
//! Owns the order in which the coordinator is found: the flag, the environment, the configuration file, the default.
//! Reads the environment once, when asked; no other part of the program does.

use super::client::Client;
use super::failure::Failure;
use super::seat::Seats;
use crate::config::{self, Config, CoordinatorUrl, CoordinatorUrlError, Surroundings};
use model::names::Host;
use std::path::{Path, PathBuf};

/// Where a host's configuration is, unless said otherwise.
const CONFIG_DEFAULT: &str = "/etc/stagger/stagger.toml";
/// The coordinator, when nothing names another: a lock server on this machine.
const COORDINATOR_DEFAULT: &str = "http://127.0.0.1:7532";
/// The variable that names the coordinator.
const COORDINATOR_VARIABLE: &str = "STAGGER_COORDINATOR";
/// The variable that names the file of the token.
const TOKEN_VARIABLE: &str = "STAGGER_TOKEN_FILE";
/// The variable that names the worker's state folder: systemd sets it for `StateDirectory=`.
const STATE_VARIABLE: &str = "STATE_DIRECTORY";

/// Flags that every command has.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Globals {
    /// Print JSON, one object on a line
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(crate) json: bool,
    /// Read the host's configuration from here [default: /etc/stagger/stagger.toml]
    #[arg(short = 'c', long = "config", value_name = "FILE", global = true, help_heading = "Everywhere")]
    pub(crate) config: Option<PathBuf>,
    /// Ask this coordinator [default: STAGGER_COORDINATOR, else the configuration's, else http://127.0.0.1:7532]
    #[arg(long, value_name = "URL", global = true, help_heading = "Everywhere")]
    pub(crate) coordinator: Option<String>,
    /// Show the lock server the token in this file [default: STAGGER_TOKEN_FILE, else the configuration's]
    #[arg(long, value_name = "FILE", global = true, help_heading = "Everywhere")]
    pub(crate) token_file: Option<PathBuf>,
}

/// What a command is given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Context {
    /// The flags that every command has.
    pub(crate) globals: Globals,
    /// The stores that it has reached; see [`Context::seats`].
    pub(crate) seats: Seats,
}

impl Context {
    /// The host's configuration: an error when there is none. `--coordinator` and `--token-file`, when given, take the place of its own.
    ///
    /// # Errors
    /// The file cannot be read or is wrong; or the flag is.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let path = self.globals.config.as_deref().unwrap_or(Path::new(CONFIG_DEFAULT));
        let mut config = config::load(path, &surroundings())?;
        if let Some(url) = self.chosen_coordinator()? {
            config.coordinator = url;
        }
        if let Some(file) = self.chosen_token() {
            config.credentials.token = Some(file);
        }
        Ok(config)
    }

    /// A client of the coordinator.
    ///
    /// # Errors
    /// The coordinator's URL, or the configuration that would name it, is wrong.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.coordinator()?, &self.seats()?)
    }

    /// The ways to coordinators, which know who asks.
    ///
    /// # Errors
    /// The configuration is wrong that would say so.
    pub(crate) fn seats(&self) -> Result<Seats, Failure> {
        let mut credentials = self.optional_config()?.map(|config| config.credentials).unwrap_or_default();
        credentials.token = self.chosen_token().or(credentials.token);
        Ok(self.seats.known_by(&credentials))
    }

    /// The same for a command whose `-c` names a lock server's file: what this host and lock servers know each other by stands in the host's, where
    /// that is there. `ca` vouches for the lock server, when it is said.
    ///
    /// # Errors
    /// The host's configuration is wrong.
    pub(crate) fn seats_of_host(&self, ca: Option<PathBuf>) -> Result<Seats, Failure> {
        let globals = Globals { config: None, ..self.globals.clone() };
        let mut credentials =
            Context { globals, seats: self.seats.clone() }.optional_config()?.map(|config| config.credentials);
        let credentials = credentials.get_or_insert_default();
        credentials.token = self.chosen_token().or(credentials.token.take());
        credentials.ca = ca.or(credentials.ca.take());
        Ok(self.seats.known_by(credentials))
    }

    /// The coordinator's URL, with its password.
    ///
    /// # Errors
    /// It, or the configuration that would name it, is wrong.
    pub(crate) fn coordinator(&self) -> Result<String, Failure> {
        Ok(match self.chosen_coordinator()? {
            Some(url) => url.as_str().to_owned(),
            None => self
                .optional_config()?
                .map_or_else(|| COORDINATOR_DEFAULT.to_owned(), |config| config.coordinator.as_str().to_owned()),
        })
    }

    /// The name of this host: the configuration's, else the system's.
    ///
    /// # Errors
    /// The configuration is wrong, or the system's name is no name.
    pub(crate) fn host(&self) -> Result<Host, Failure> {
        if let Some(config) = self.optional_config()? {
            return Ok(config.host);
        }
        let name = surroundings().hostname;
        name.parse().map_err(|error| Failure::usage(format!("this host has no usable name: {error}"), "name a scope"))
    }

    /// The coordinator that the flag or the environment names.
    ///
    /// # Errors
    /// It is no coordinator's URL.
    pub(crate) fn chosen_coordinator(&self) -> Result<Option<CoordinatorUrl>, Failure> {
        let variable = || std::env::var(COORDINATOR_VARIABLE).ok().filter(|url| !url.is_empty());
        let Some(url) = self.globals.coordinator.clone().or_else(variable) else { return Ok(None) };
        url.parse().map(Some).map_err(|error| no_coordinator(&url, &error))
    }

    /// The file of the token that the flag or the environment names.
    fn chosen_token(&self) -> Option<PathBuf> {
        let variable = || std::env::var_os(TOKEN_VARIABLE).filter(|file| !file.is_empty()).map(PathBuf::from);
        self.globals.token_file.clone().or_else(variable)
    }

    /// The configuration, or nothing when it was not named and is not there.
    fn optional_config(&self) -> Result<Option<Config>, Failure> {
        if self.globals.config.is_none() && !Path::new(CONFIG_DEFAULT).exists() {
            return Ok(None);
        }
        self.config().map(Some)
    }
}

/// A URL that names no coordinator; its password is not told.
pub(crate) fn no_coordinator(url: &str, error: &CoordinatorUrlError) -> Failure {
    let hint = match error {
        CoordinatorUrlError::Store(_) => "",
        _ => "write --coordinator https://HOST:PORT, or http://HOST:PORT, or several HOST:PORT with commas",
    };
    Failure::usage(format!("{} names no coordinator: {error}", CoordinatorUrl::masked(url)), hint)
}

/// The folder that the service manager made for what is kept over restarts.
pub(crate) fn state_directory() -> Option<PathBuf> {
    surroundings().state_directory
}

/// What the configuration does not say.
fn surroundings() -> Surroundings {
    Surroundings::of_system(std::env::var_os(STATE_VARIABLE).map(PathBuf::from))
}

/// The system's own short name.
pub(crate) fn hostname() -> String {
    surroundings().hostname
}

/// Who acts: user@host. Behind sudo, the person who typed it.
pub(crate) fn actor() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = variable("SUDO_USER").filter(|_| rustix::process::geteuid().is_root());
    let user = user.or_else(|| variable("USER")).or_else(|| variable("LOGNAME"));
    let user = user.unwrap_or_else(|| user_of(rustix::process::getuid().as_raw()));
    let name = format!("{user}@{}", hostname());
    model::bound::beginning(&name, model::lease::TEXT_BYTES_MAX)
}

/// The name of a user; `uid` and the number where the system knows none.
pub(crate) fn user_of(id: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("uid{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(config: Option<PathBuf>, coordinator: Option<&str>) -> Context {
        Context {
            globals: Globals { config, coordinator: coordinator.map(str::to_owned), ..Globals::default() },
            seats: Seats::default(),
        }
    }

    #[test]
    fn the_flag_wins_over_the_configuration() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stagger.toml");
        std::fs::write(&path, "coordinator = \"http://locks:7532\"\nhost = \"mw1\"\n").expect("written");
        let from_file = context(Some(path.clone()), None);
        assert_eq!(from_file.config().expect("a configuration").coordinator.as_str(), "http://locks:7532");
        assert_eq!(from_file.host().expect("a host").as_str(), "mw1");
        let from_flag = context(Some(path), Some("http://other:1"));
        assert_eq!(from_flag.client().expect("a client").url(), "http://other:1");
        assert_eq!(from_flag.config().expect("a configuration").coordinator.as_str(), "http://other:1");
    }

    #[test]
    fn a_wrong_url_is_a_usage_error_and_a_missing_file_one_of_configuration() {
        let wrong = context(None, Some("ftp://a:1")).client().expect_err("no client");
        assert_eq!(wrong.exit_code(), 64);
        let missing = context(Some(PathBuf::from("/nonexistent/stagger.toml")), None).client().expect_err("no client");
        assert_eq!(missing.exit_code(), 78);
    }

    #[test]
    fn whoever_acts_has_a_name() {
        let name = actor();
        let (user, host) = name.split_once('@').expect("user@host");
        assert!(!user.is_empty() && !host.is_empty(), "{name}");
        assert_eq!((user_of(0).as_str(), user_of(4_000_000_000).as_str()), ("root", "uid4000000000"));
    }
}
