//! How a service restarts: by its service manager, by a command, or with the whole host.
//!
//! Owns the kinds, their keys and defaults. How each is done is decided in the module `unit`.

use super::error::Problem;
use super::probe::{self, Command};
use super::reader::{Field, Section};
use model::names::Host;
use model::request::AWAY_MS_MAX;
use model::settings::span;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How long a restart may take, unless said otherwise; of several units, each.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(90);
/// How long a host may take to boot, unless said otherwise.
pub const REBOOT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10 * 60);
/// Most units of one service.
pub const UNITS_MAX: usize = 16;
/// Longest name of a unit, in bytes: systemd's own bound.
const UNIT_BYTES_MAX: usize = 255;
/// What a unit's name ends in, when it can be restarted.
const ENDINGS: [&str; 8] = ["service", "socket", "target", "timer", "path", "mount", "swap", "automount"];

/// How a service restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// By which way.
    pub way: Way,
    /// How long it may take: the command, each unit, or until the host has booted.
    pub timeout: Duration,
}

impl Restart {
    /// The manager of its units; the system's when it has none.
    pub fn manager(&self) -> Manager {
        match &self.way {
            Way::Systemd(units) => units.manager,
            Way::Exec(_) | Way::Reboot(_) => Manager::System,
        }
    }

    /// How long the worker that does it may take: of several units each has its time, one after the other. One whose host is to boot
    /// can be stopped at once.
    pub fn longest(&self) -> Duration {
        match &self.way {
            Way::Exec(_) => self.timeout,
            Way::Systemd(units) => self.timeout.saturating_mul(u32::try_from(units.units.len()).unwrap_or(u32::MAX)),
            Way::Reboot(_) => Duration::ZERO,
        }
    }

    /// How long the worker may be gone by itself meanwhile: while its host boots. It lives through any other restart.
    pub fn away(&self) -> Duration {
        match self.way {
            Way::Reboot(_) => self.timeout,
            Way::Exec(_) | Way::Systemd(_) => Duration::ZERO,
        }
    }
}

/// The ways to restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// By a command.
    Exec(Commands),
    /// By systemd.
    Systemd(Units),
    /// With the whole host.
    Reboot(Reboot),
}

/// The commands of a service that is restarted by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    /// Restarts it; exit 0 is success.
    pub command: Command,
    /// Prints which incarnation of the service runs, so that after a crash one can tell whether it was restarted.
    pub identity: Option<Command>,
}

/// The units of a service that systemd restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Units {
    /// In the order in which they are restarted; never empty, none twice.
    pub units: Vec<UnitName>,
    /// Whose they are.
    pub manager: Manager,
    /// What is asked of it.
    pub action: Action,
}

/// Which instance of systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// The machine's.
    System,
    /// The one of the user that the worker runs as.
    User,
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Manager::System => "the system's systemd",
            Manager::User => "the user's systemd",
        })
    }
}

/// What systemd is asked to do with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Stop it, and start it again.
    Restart,
    /// Have it read its configuration anew where it can, and restart it where it cannot.
    ReloadOrRestart,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Action::Restart => "restart",
            Action::ReloadOrRestart => "reload-or-restart",
        })
    }
}

/// A service that is the host itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reboot {
    /// Has the host boot; without one, systemd is asked to.
    pub command: Option<Command>,
}

/// The name of a unit, such as `php8.2-fpm.service`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnitName(String);

/// Why the name of a unit was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitNameError {
    /// It does not say what kind of unit it is.
    #[error("a unit's name ends in its kind, such as `{0}.service`")]
    NoEnding(String),
    /// A kind that cannot be restarted, or none.
    #[error("this is no kind of unit that can be restarted; there are {}", ENDINGS.join(", "))]
    Ending,
    /// A template.
    #[error("a template is no unit; name an instance of it, such as `{0}`")]
    Template(String),
    /// Something that is in no name, or nothing.
    #[error("a unit's name is letters, digits and : - _ . \\ @, at most {UNIT_BYTES_MAX} bytes")]
    Form,
}

impl UnitName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UnitName {
    type Err = UnitNameError;
    fn from_str(text: &str) -> Result<Self, UnitNameError> {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        if text.is_empty() || text.len() > UNIT_BYTES_MAX || !text.chars().all(is_of_name) {
            return Err(UnitNameError::Form);
        }
        match text.rsplit_once('.') {
            Some((name, ending)) if ENDINGS.contains(&ending) && !name.is_empty() => match name.split_once('@') {
                Some((_, "")) => Err(UnitNameError::Template(format!("{name}1.{ending}"))),
                Some(("", _)) => Err(UnitNameError::Form),
                _ => Ok(Self(text.to_owned())),
            },
            Some(("", _)) => Err(UnitNameError::Form),
            Some((_, "device" | "scope" | "slice" | "snapshot")) => Err(UnitNameError::Ending),
            _ => Err(UnitNameError::NoEnding(text.to_owned())),
        }
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Exec,
    Systemd,
    Reboot,
}

/// Reads `restart` of a service, or its short form `units`.
pub(super) fn read(service: &Section<'_>, host: &Host) -> Result<Restart, Problem> {
    match (service.get("restart"), service.get("units")) {
        (Some(_), Some(units)) => Err(units.wrong("`restart` says how it restarts already; its units stand there")),
        (Some(restart), None) => read_table(&restart, host),
        (None, Some(units)) => {
            let units = Units { units: read_units(&units, host)?, manager: Manager::System, action: Action::Restart };
            Ok(Restart { way: Way::Systemd(units), timeout: TIMEOUT_DEFAULT })
        }
        (None, None) => {
            let help = "units = [\"NAME.service\"]; or restart = { kind = \"exec\", command = [\"COMMAND\", …] }";
            Err(Problem::new(service.at.clone(), "missing key `restart`, or `units`")
                .label(format!("[{}] does not say how it restarts", service.name))
                .help(help))
        }
    }
}

fn read_table(field: &Field<'_>, host: &Host) -> Result<Restart, Problem> {
    const KINDS: [(&str, Kind); 3] = [("systemd", Kind::Systemd), ("exec", Kind::Exec), ("reboot", Kind::Reboot)];
    let table = field.table("a table with its kind: { kind = \"exec\", command = [\"COMMAND\", …] }")?;
    let kind = Section::unchecked(field, table).must("kind", "\"systemd\", \"exec\" or \"reboot\"")?.choice(&KINDS)?;
    let (own, default): (&[&str], _) = match kind {
        Kind::Exec => (&["command", "identity"], TIMEOUT_DEFAULT),
        Kind::Systemd => (&["units", "manager", "action"], TIMEOUT_DEFAULT),
        Kind::Reboot => (&["command"], REBOOT_TIMEOUT_DEFAULT),
    };
    let section = field.section(&[&["kind", "timeout"], own].concat())?;
    let command = |key: &str| section.get(key).map(|field| field.command(host)).transpose();
    let way = match kind {
        Kind::Exec => {
            let restart = section.must("command", "[\"COMMAND\", …]")?.command(host)?;
            Way::Exec(Commands { command: restart, identity: command("identity")? })
        }
        Kind::Systemd => Way::Systemd(read_systemd(&section, host)?),
        Kind::Reboot => Way::Reboot(Reboot { command: command("command")? }),
    };
    let timeout = section.duration("timeout", default, probe::TIMEOUT_MIN)?;
    if let (Way::Reboot(_), Some(field)) = (&way, section.get("timeout"))
        && model::time::millis(timeout) > AWAY_MS_MAX
    {
        return Err(field.wrong(format!("a host that boots is waited for {} at most", span(AWAY_MS_MAX))));
    }
    Ok(Restart { way, timeout })
}

fn read_systemd(section: &Section<'_>, host: &Host) -> Result<Units, Problem> {
    let units = read_units(&section.must("units", "[\"NAME.service\"]")?, host)?;
    let manager = section.get("manager");
    let manager =
        manager.map(|field| field.choice(&[("system", Manager::System), ("user", Manager::User)])).transpose()?;
    let actions = [("restart", Action::Restart), ("reload-or-restart", Action::ReloadOrRestart)];
    let action = section.get("action").map(|field| field.choice(&actions)).transpose()?;
    let manager = manager.unwrap_or(Manager::System);
    Ok(Units { units, manager, action: action.unwrap_or(Action::Restart) })
}

fn read_units(field: &Field<'_>, host: &Host) -> Result<Vec<UnitName>, Problem> {
    let items = field.items("a list of units, such as [\"php8.2-fpm.service\"]")?;
    if items.is_empty() || items.len() > UNITS_MAX {
        return Err(field.wrong(format!("a service has 1 to {UNITS_MAX} units")));
    }
    let mut units = Vec::new();
    for item in items {
        let unit = read_unit(&item, host)?;
        if units.contains(&unit) {
            return Err(item.wrong("this unit is listed twice"));
        }
        units.push(unit);
    }
    Ok(units)
}

/// The name of one unit, with `{host}` filled in.
pub(super) fn read_unit(field: &Field<'_>, host: &Host) -> Result<UnitName, Problem> {
    let name = field.without_placeholders(field.filled(host)?)?;
    name.parse().map_err(|error: UnitNameError| field.wrong(error.to_string()))
}
