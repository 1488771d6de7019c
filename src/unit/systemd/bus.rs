//! How systemd is reached, and asked.
//!
//! Owns which bus that is, the time limits of calls, and what is read of a unit. A connection serves one question or one job:
//! so none is old when systemd was started anew. Systemd's own socket beside the bus (`systemd/private`) is for its own programs: it
//! names itself there as no sender may be named. Called by [`super`] and `job`.

use super::fault::SystemdError;
use crate::config::restart::{Action, Manager, UnitName};
use crate::probe::ask::Client;
use futures_util::StreamExt as _;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;
use zbus::as_variant::Deserialize as OfVariant;
use zbus::match_rule::Builder as MatchRuleBuilder;
use zbus::{
    Connection, DBusError as _, DeserializeDict, DynamicType, MatchRule, Message, MessageStream, OwnedObjectPath, Type,
};

/// How long one call may take, and the way to systemd.
pub(super) const CALL_MAX: Duration = Duration::from_secs(5);
/// How many ends of jobs may wait to be read: more are asked for by nobody in the time of a call.
const ENDS_QUEUED_MAX: Option<NonZeroUsize> = NonZeroUsize::new(1024);
/// The socket of the machine's bus.
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";

const SYSTEMD: &str = "org.freedesktop.systemd1";
const SYSTEMD_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const DBUS: &str = "org.freedesktop.DBus";
const DBUS_PATH: &str = "/org/freedesktop/DBus";
const LOGIND: &str = "org.freedesktop.login1";
const LOGIND_PATH: &str = "/org/freedesktop/login1";
const LOGIND_MANAGER: &str = "org.freedesktop.login1.Manager";

/// Now, in microseconds of the clock by which systemd tells its moments.
pub(super) fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(now.tv_sec).saturating_mul(1_000_000).saturating_add(part(now.tv_nsec) / 1000)
}

/// Where systemd may be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Over the bus with this socket.
    Bus(PathBuf),
    /// Over the bus of this address.
    Address(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Bus(path) => write!(f, "{}", path.display()),
            Place::Address(address) => f.write_str(address),
        }
    }
}

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It was answered with this error.
    Error {
        /// Its name.
        name: String,
        /// What was said.
        message: String,
    },
    /// There was no answer in time.
    Silent,
    /// The connection broke, or the answer cannot be read: why.
    Broken(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Error { name, message } if message.is_empty() => f.write_str(name),
            Refusal::Error { message, .. } => f.write_str(message),
            Refusal::Silent => write!(f, "no answer within {} s", CALL_MAX.as_secs()),
            Refusal::Broken(why) => f.write_str(why),
        }
    }
}

/// What systemd says of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Says {
    /// Whether its file is there and can be read: `loaded`, `not-found`, `masked`, …
    pub(super) load: String,
    /// Why it cannot be read.
    pub(super) load_error: String,
    /// `active`, `failed`, …
    pub(super) active: String,
    /// The same, in more detail.
    pub(super) sub: String,
    /// Which start of it runs, or ran last.
    pub(super) invocation: Option<String>,
    /// The job that is under way for it.
    pub(super) job: Option<u32>,
    /// Since when it has been active, in microseconds.
    pub(super) active_since_us: u64,
    /// When its state changed last, in microseconds.
    pub(super) changed_us: u64,
    /// Whether the conditions of its file held when they were last looked at.
    pub(super) condition: bool,
    /// When that was, in microseconds; 0 for never.
    pub(super) condition_us: u64,
}

impl Says {
    /// Whether it is up.
    pub(super) fn is_active(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading" | "refreshing")
    }

    /// Whether nothing of it runs, and nothing is under way.
    pub(super) fn is_down(&self) -> bool {
        matches!(self.active.as_str(), "inactive" | "failed") || self.is_between_tries()
    }

    /// Whether it ended by itself, and systemd will start it again.
    pub(super) fn is_between_tries(&self) -> bool {
        self.active == "activating" && self.sub.starts_with("auto-restart")
    }

    /// Its state, for people.
    pub(super) fn state(&self) -> String {
        match self.load.as_str() {
            "loaded" | "" if self.sub == self.active => self.active.clone(),
            "loaded" | "" => format!("{} ({})", self.active, self.sub),
            load => format!("{} ({load})", self.active),
        }
    }
}

/// One connection to systemd.
#[derive(Debug)]
pub(super) struct Bus {
    connection: Connection,
    pub(super) manager: Manager,
}

impl Bus {
    /// Reaches systemd.
    pub(super) async fn connect(manager: Manager, client: &Client) -> Result<Bus, SystemdError> {
        let place = place(manager, client);
        let away = |cause| SystemdError::Away { manager, cause: format!("{place}: {cause}") };
        Bus::at(&place, manager).await.map_err(away)
    }

    async fn at(place: &Place, manager: Manager) -> Result<Bus, String> {
        let connection = match timeout(CALL_MAX, open(place)).await {
            Ok(connection) => connection?,
            Err(_elapsed) => return Err(Refusal::Silent.to_string()),
        };
        let bus = Bus { connection, manager };
        // Whoever subscribes is told of jobs that end; and that it is answered shows that systemd is there.
        bus.manager::<_, ()>("Subscribe", &()).await.map_err(|refusal| refusal.to_string())?;
        Ok(bus)
    }

    async fn call<B, R>(&self, place: (&str, &str, &str), method: &str, body: &B) -> Result<R, Refusal>
    where
        B: Serialize + DynamicType + Sync,
        R: DeserializeOwned + Type,
    {
        let answer = self.ask(place, method, body).await?;
        answer.body().deserialize().map_err(|error| Refusal::Broken(error.to_string()))
    }

    async fn ask<B>(
        &self,
        (destination, path, interface): (&str, &str, &str),
        method: &str,
        body: &B,
    ) -> Result<Message, Refusal>
    where
        B: Serialize + DynamicType + Sync,
    {
        let asked = self.connection.call_method(Some(destination), path, Some(interface), method, body);
        match timeout(CALL_MAX, asked).await {
            Err(_elapsed) => Err(Refusal::Silent),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(zbus::Error::MethodError(name, message, _))) => {
                Err(Refusal::Error { name: name.to_string(), message: message.unwrap_or_default() })
            }
            // The errors that D-Bus itself has names for come as a kind of their own.
            Ok(Err(zbus::Error::FDO(error))) => {
                let message = error.description().unwrap_or_default().to_owned();
                Err(Refusal::Error { name: error.name().to_string(), message })
            }
            Ok(Err(error)) => Err(Refusal::Broken(error.to_string())),
        }
    }

    async fn manager<B, R>(&self, method: &str, body: &B) -> Result<R, Refusal>
    where
        B: Serialize + DynamicType + Sync,
        R: DeserializeOwned + Type,
    {
        self.call((SYSTEMD, SYSTEMD_PATH, MANAGER), method, body).await
    }

    /// The ends of jobs from now on; ask for them before a job is begun.
    pub(super) async fn ends(&self) -> Result<Ends, Refusal> {
        let rule = || MatchRule::builder().msg_type(zbus::message::Type::Signal);
        // Anybody may send anything over a bus. Who has systemd's name is asked, and only that one is believed; and when another
        // gets the name, which is systemd started anew, there is nobody to wait for any more.
        let owners = rule().sender(DBUS).interface(DBUS).member("NameOwnerChanged").arg(0, SYSTEMD);
        let owners = self.signals(owners).await?;
        let owner: String = self.call((DBUS, DBUS_PATH, DBUS), "GetNameOwner", &(SYSTEMD,)).await?;
        let jobs = self.signals(rule().sender(owner).interface(MANAGER).member("JobRemoved")).await?;
        Ok(Ends { jobs, owners })
    }

    async fn signals(&self, rule: MatchRuleBuilder<'static>) -> Result<MessageStream, Refusal> {
        let rule = rule.build().map_err(broken)?;
        match timeout(CALL_MAX, MessageStream::for_match_rule(rule, &self.connection, ENDS_QUEUED_MAX)).await {
            Ok(stream) => stream.map_err(broken),
            Err(_elapsed) => Err(Refusal::Silent),
        }
    }

    /// Keeps systemd from forgetting a unit that has ended, for as long as this connection lasts.
    pub(super) async fn hold(&self, unit: &UnitName) -> Result<(), Refusal> {
        let path: OwnedObjectPath = self.manager("LoadUnit", &(unit.as_str(),)).await?;
        self.call((SYSTEMD, path.as_str(), UNIT), "Ref", &()).await
    }

    /// Begins a job for a unit; its name.
    pub(super) async fn begin(&self, unit: &UnitName, action: Action) -> Result<OwnedObjectPath, Refusal> {
        let method = match action {
            Action::Restart => "RestartUnit",
            Action::ReloadOrRestart => "ReloadOrRestartUnit",
        };
        self.manager(method, &(unit.as_str(), "replace")).await
    }

    /// What systemd says of a unit; one that there is not is not found.
    pub(super) async fn says(&self, unit: &UnitName) -> Result<Says, Refusal> {
        let path: OwnedObjectPath = self.manager("LoadUnit", &(unit.as_str(),)).await?;
        let all: Properties = self.call((SYSTEMD, path.as_str(), PROPERTIES), "GetAll", &(UNIT,)).await?;
        Ok(all.into())
    }

    /// The same, when nothing but the answer is of interest.
    pub(super) async fn must_say(&self, unit: &UnitName) -> Result<Says, SystemdError> {
        self.says(unit)
            .await
            .map_err(|refusal| SystemdError::Unread { unit: unit.to_string(), cause: refusal.to_string() })
    }

    /// A property of a service; nothing when it has none of this kind.
    pub(super) async fn of_service<T: DeserializeOwned + Type>(&self, unit: &UnitName, name: &str) -> Option<T> {
        let kind = match unit.as_str().rsplit_once('.')?.1 {
            "service" => "org.freedesktop.systemd1.Service",
            "socket" => "org.freedesktop.systemd1.Socket",
            "mount" => "org.freedesktop.systemd1.Mount",
            "swap" => "org.freedesktop.systemd1.Swap",
            _ => return None,
        };
        let path: OwnedObjectPath = self.manager("LoadUnit", &(unit.as_str(),)).await.ok()?;
        let answer = self.ask((SYSTEMD, path.as_str(), PROPERTIES), "Get", &(kind, name)).await.ok()?;
        let body = answer.body();
        let value: OfVariant<'_, T> = body.deserialize().ok()?;
        Some(value.0)
    }

    /// The names of all units that have a file.
    pub(super) async fn known(&self) -> Vec<String> {
        let files: Vec<(String, String)> = self.manager("ListUnitFiles", &()).await.unwrap_or_default();
        let name = |path: String| Path::new(&path).file_name()?.to_str().map(str::to_owned);
        files.into_iter().filter_map(|(path, _)| name(path)).collect()
    }

    /// Asks for a boot of the host.
    pub(super) async fn reboot(&self) -> Result<(), SystemdError> {
        match self.call::<_, ()>((LOGIND, LOGIND_PATH, LOGIND_MANAGER), "Reboot", &(false,)).await {
            Ok(()) => Ok(()),
            Err(Refusal::Error { name, .. }) if is_nobody_there(&name) => {
                let target = ("reboot.target", "replace-irreversibly");
                let begun = self.manager::<_, OwnedObjectPath>("StartUnit", &target).await;
                begun.map(drop).map_err(|refusal| SystemdError::no_reboot(&refusal))
            }
            Err(refusal) => Err(SystemdError::no_reboot(&refusal)),
        }
    }
}

/// Whether an error of the bus says that nobody has the name that was asked for.
fn is_nobody_there(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    matches!(last, "ServiceUnknown" | "NameHasNoOwner") || name.starts_with("org.freedesktop.DBus.Error.Spawn.")
}

fn broken(error: zbus::Error) -> Refusal {
    Refusal::Broken(error.to_string())
}

/// The ends of jobs, in order, as systemd tells them.
pub(super) struct Ends {
    jobs: MessageStream,
    /// That systemd's name has another owner.
    owners: MessageStream,
}

impl Ends {
    /// How a job ended; nothing when the connection broke before, or systemd is another.
    pub(super) async fn of(&mut self, job: &OwnedObjectPath) -> Option<String> {
        loop {
            let message = tokio::select! {
                biased;
                message = self.jobs.next() => message?.ok()?,
                _another = self.owners.next() => return None,
            };
            let body = message.body();
            let read: Result<(u32, OwnedObjectPath, String, String), _> = body.deserialize();
            if let Ok((_, path, _, result)) = read
                && path == *job
            {
                return Some(result);
            }
        }
    }
}

async fn open(place: &Place) -> Result<Connection, String> {
    use zbus::connection::Builder;
    let builder = match place {
        Place::Bus(path) => Builder::unix_stream(plain(path).await?),
        Place::Address(address) => Builder::address(address.as_str()),
    };
    builder.build().await.map_err(|error| error.to_string())
}

/// Reached by ourselves, so that it is said why when it cannot be.
async fn plain(path: &Path) -> Result<std::os::unix::net::UnixStream, String> {
    let stream = UnixStream::connect(path).await.and_then(UnixStream::into_std);
    stream.map_err(|error| error.to_string())
}

/// Where it is. Whoever names a bus means that one, and no other.
fn place(manager: Manager, client: &Client) -> Place {
    let said = |name: &str| client.variable(name).filter(|value| !value.is_empty());
    match manager {
        Manager::System => {
            said("DBUS_SYSTEM_BUS_ADDRESS").map_or_else(|| Place::Bus(SYSTEM_BUS.into()), Place::Address)
        }
        Manager::User => {
            let own = || format!("/run/user/{}", rustix::process::geteuid().as_raw());
            let bus = || Place::Bus(PathBuf::from(said("XDG_RUNTIME_DIR").unwrap_or_else(own)).join("bus"));
            said("DBUS_SESSION_BUS_ADDRESS").map_or_else(bus, Place::Address)
        }
    }
}

/// What is read of a unit's properties.
#[derive(DeserializeDict, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
struct Properties {
    load_state: String,
    load_error: (String, String),
    active_state: String,
    sub_state: String,
    #[zbus(rename = "InvocationID")]
    invocation: Vec<u8>,
    job: (u32, OwnedObjectPath),
    active_enter_timestamp_monotonic: u64,
    state_change_timestamp_monotonic: u64,
    condition_result: bool,
    condition_timestamp_monotonic: u64,
}

impl From<Properties> for Says {
    fn from(all: Properties) -> Says {
        let is_set = all.invocation.iter().any(|byte| *byte != 0);
        Says {
            load: all.load_state,
            load_error: all.load_error.1,
            active: all.active_state,
            sub: all.sub_state,
            invocation: is_set.then(|| hex(&all.invocation)),
            job: Some(all.job.0).filter(|job| *job != 0),
            active_since_us: all.active_enter_timestamp_monotonic,
            changed_us: all.state_change_timestamp_monotonic,
            condition: all.condition_result,
            condition_us: all.condition_timestamp_monotonic,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
