//! The configuration of a host: what it restarts, how it leaves its balancers, and how it knows that all is well; and that of a
//! lock server.
//!
//! Owns the file's keys, their defaults and bounds, and the sentences about what is wrong in it. A value of these types
//! is valid: expressions are compiled, names checked, `{host}` filled in. Never reads the environment, never asks
//! anything of the outside. Called by the command line, which hands the result to the worker.
//!
//! Reading order: [`Config`]; `coordinator` (whom it asks, and what they know each other by); [`service`], then its parts [`restart`], [`depool`] (with [`conftool`]) and [`steps`]; the small types
//! [`probe`], [`place`], [`predicate`] (with its `vocabulary`), [`etcd`] and [`duration`]; a lock server's file, [`lock_server`]; how it is read, `reader` and `nearest`, and what is said when it
//! cannot be, [`error`].

pub mod conftool;
mod coordinator;
pub mod depool;
pub mod duration;
pub mod error;
pub mod etcd;
pub mod lock_server;
pub(crate) mod nearest;
pub mod place;
pub mod predicate;
pub mod probe;
mod reader;
pub mod restart;
pub mod service;
pub mod steps;
mod vocabulary;

pub use self::coordinator::{CoordinatorUrl, CoordinatorUrlError};
pub use depool::Depool;
pub use error::ConfigError;
pub use lock_server::LockServerConfig;
pub use place::{FastCgi, LocalEnd};
pub use predicate::Predicate;
pub use probe::{Command, HttpUrl, Probe, Question};
pub use restart::Restart;
pub use service::ServiceConfig;
pub use steps::{Check, Drain, Verify};

use ::coordinator::remote::Credentials;
use error::Problem;
use model::names::{Host, Service};
use reader::Section;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// Where the worker's metrics are, unless said otherwise: this port on loopback.
pub const LISTEN_PORT: u16 = 7533;
/// Where the journal lies, unless said otherwise.
pub const STATE_DEFAULT: &str = "/var/lib/stagger";
/// Largest configuration file, in bytes.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Most services of one host: what a coordinator accepts of one member.
pub const SERVICES_MAX: usize = model::member::SERVICES_PER_MEMBER_MAX;

/// What the file does not say: read once by the caller, so that reading the file is pure.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// The system's name, without its domain.
    pub hostname: String,
    /// The folder that the service manager made for the worker's state.
    pub state_directory: Option<PathBuf>,
}

impl Surroundings {
    /// The system's own short name, beside the state folder that the caller knows of.
    pub fn of_system(state_directory: Option<PathBuf>) -> Self {
        let system = rustix::system::uname();
        let name = system.nodename().to_string_lossy();
        let hostname = name.split('.').next().unwrap_or_default().to_owned();
        Self { hostname, state_directory }
    }
}

/// A host's configuration, valid as a whole.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whom the worker asks.
    pub coordinator: CoordinatorUrl,
    /// What a lock server knows it by, and it the lock server.
    pub credentials: Credentials,
    /// Where the worker's metrics are served; port 0 takes any.
    pub listen: SocketAddr,
    /// The host's name, as its balancers know it.
    pub host: Host,
    /// The folder of journal and session.
    pub state: PathBuf,
    /// What restarts here.
    pub services: BTreeMap<Service, ServiceConfig>,
}

/// Reads a host's configuration from its file.
///
/// # Errors
/// The file cannot be read, or something in it is wrong; then the error shows each wrong place.
pub fn load(path: &Path, surroundings: &Surroundings) -> Result<Config, ConfigError> {
    parse(&text_of(path)?, path, surroundings)
}

/// The text of a configuration file.
fn text_of(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    Ok(text)
}

/// Reads a host's configuration from text; `path` is for the messages.
///
/// # Errors
/// Something in it is wrong: the first wrong thing at the top, and the first of every service.
pub fn parse(text: &str, path: &Path, surroundings: &Surroundings) -> Result<Config, ConfigError> {
    read(text, surroundings).map_err(|problems| ConfigError::invalid(path, text, problems))
}

/// The file as TOML has it.
fn document(text: &str) -> Result<toml::Spanned<DeTable<'_>>, Problem> {
    DeTable::parse(text).map_err(|error| {
        Problem::new(error.span().unwrap_or(0..0), "this is not TOML").label(error.message().replace('\n', "; "))
    })
}

fn read(text: &str, surroundings: &Surroundings) -> Result<Config, Vec<Problem>> {
    let document = document(text).map_err(|problem| vec![problem])?;
    let (mut config, services) = read_top(text, document.get_ref(), surroundings).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    for (name, at, table) in services {
        match service::read(text, &name, &at, table, &config.host, &config.state) {
            Ok(service) => {
                problems.extend(same_duck(&config, &service, &at));
                config.services.insert(service.name.clone(), service);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// A health URL says of one service whether the host is out.
fn same_duck(config: &Config, service: &ServiceConfig, at: &std::ops::Range<usize>) -> Option<Problem> {
    let duck = service.depool.way.lame_duck()?;
    let mut others = config.services.values().filter_map(|other| other.depool.way.lame_duck());
    let other = others.find(|other| other.listen == duck.listen && other.path == duck.path)?;
    let problem = Problem::new(at.clone(), format!("two services answer at {}{}", duck.listen, duck.path));
    Some(problem.label(format!("it is the health URL of {}, too", other.service)).help("give each a `path` of its own"))
}

/// The keys at the top of the file.
const KEYS: [&str; 8] = ["coordinator", "token", "tls", "trusted_network", "listen", "host", "state", "service"];

type ServiceTable<'t> = (String, std::ops::Range<usize>, &'t DeTable<'t>);

fn read_top<'t>(
    text: &'t str,
    document: &'t DeTable<'t>,
    surroundings: &Surroundings,
) -> Result<(Config, Vec<ServiceTable<'t>>), Problem> {
    let top = Section::open(text, document, 0..0, "", &KEYS)?;
    let url = top.must("coordinator", "http://HOST:PORT of the lock server")?.parse::<CoordinatorUrl>()?;
    let listen = match top.get("listen") {
        Some(field) => field.socket_address()?,
        None => SocketAddr::from((Ipv4Addr::LOCALHOST, LISTEN_PORT)),
    };
    let host = match top.get("host") {
        Some(field) => field.parse::<Host>()?,
        None => surroundings.hostname.parse().map_err(|error| {
            let hint = "say it in the file: host = \"…\", as the balancers know it";
            Problem::new(0..0, format!("the system's own name cannot be used: {error}")).help(hint)
        })?,
    };
    let state = match (top.get("state"), &surroundings.state_directory) {
        (Some(field), _) => field.absolute_path(&host)?,
        (None, Some(folder)) => folder.clone(),
        (None, None) => PathBuf::from(STATE_DEFAULT),
    };
    let credentials = coordinator::credentials(&top, &host)?;
    let services = match top.get("service") {
        Some(field) => read_service_tables(&field)?,
        None => Vec::new(),
    };
    Ok((Config { coordinator: url, credentials, listen, host, state, services: BTreeMap::new() }, services))
}

fn read_service_tables<'t>(field: &reader::Field<'t>) -> Result<Vec<ServiceTable<'t>>, Problem> {
    let tables = field.table("a table for each service: [service.NAME]")?;
    if tables.len() > SERVICES_MAX {
        return Err(Problem::new(field.at.clone(), format!("more than {SERVICES_MAX} services")));
    }
    tables
        .iter()
        .map(|(key, value)| match value.get_ref() {
            DeValue::Table(table) => Ok((key.get_ref().to_string(), key.span(), table)),
            _ => Err(Problem::new(value.span(), format!("`service.{}` wants a table", key.get_ref()))
                .help("write [service.NAME], one for each service")),
        })
        .collect()
}

#[cfg(test)]
mod tests;
