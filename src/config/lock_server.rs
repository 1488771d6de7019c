//! The file of a lock server: where it listens, where its state lies, and what holds for pools and services that nobody has set.
//!
//! Owns its keys and their bounds. What flags say instead, and what of it can change while the server runs, is the command's to
//! know. Every value keeps the place at which it stands.

use super::error::{ConfigError, Problem};
use super::reader::{Field, Section};
use super::{CoordinatorUrl, document, text_of};
use coordinator::store;
use lockserver::access::{Allow, Limits, Settings, Tls};
use model::defaults::{Defaults, FromFile, Pattern, PoolDefaults, TABLES_MAX};
use model::names::{Scope, Service};
use model::settings::{Setting, SettingKind, Slots};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// The port at which clients of poolcounterd come in, unless it is said: poolcounterd's own.
pub const POOLCOUNTER_PORT: u16 = 7531;

/// The keys at the top.
const KEYS: [&str; 11] = [
    "api",
    "poolcounter",
    "data",
    "coordinator",
    "trusted_network",
    "tls",
    "tokens",
    "allow",
    "limits",
    "pool",
    "rollout",
];
/// The keys of a table for pools.
const POOL_KEYS: [&str; 6] = ["match", "slots", "max_queue", "wait", "ttl", "lost_after"];
/// The keys of a service's table.
const ROLLOUT_KEYS: [&str; 3] = ["max_failures", "strict", "expires"];

/// A value, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said<T> {
    /// The value.
    pub value: T,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

/// What a lock server's file says, valid as a whole; each may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LockServerConfig {
    /// Which file.
    pub path: PathBuf,
    /// Where it listens.
    pub api: Option<Said<SocketAddr>>,
    /// Where it listens for clients of poolcounterd.
    pub poolcounter: Option<Said<SocketAddr>>,
    /// The folder of its state. Never beside `coordinator`.
    pub data: Option<Said<PathBuf>>,
    /// The store to which it is a door.
    pub coordinator: Option<Said<CoordinatorUrl>>,
    /// Whether the network itself is the protection.
    pub trusted_network: Option<Said<bool>>,
    /// Who may come in: `tls`, `tokens`, `allow` and `limits`.
    pub access: Settings,
    /// What holds for pools and services that nobody has set.
    pub defaults: Defaults,
}

impl LockServerConfig {
    /// Where a value stands, for people: `/etc/stagger/lockserver.toml:3:7`.
    pub fn place<T>(&self, said: &Said<T>) -> String {
        format!("{}:{}:{}", self.path.display(), said.line, said.column)
    }
}

/// Reads a lock server's file.
///
/// # Errors
/// It cannot be read, or something in it is wrong; then the error shows each wrong place.
pub fn load(path: &Path) -> Result<LockServerConfig, ConfigError> {
    parse(&text_of(path)?, path)
}

/// Reads a lock server's configuration from text; `path` is for the messages.
///
/// # Errors
/// Something in it is wrong: the first wrong thing of each table.
pub fn parse(text: &str, path: &Path) -> Result<LockServerConfig, ConfigError> {
    let file = File { text, path };
    file.read().map_err(|problems| ConfigError::invalid(path, text, problems))
}

/// A file while it is read.
struct File<'t> {
    text: &'t str,
    path: &'t Path,
}

impl<'t> File<'t> {
    fn read(&self) -> Result<LockServerConfig, Vec<Problem>> {
        let document = document(self.text).map_err(|problem| vec![problem])?;
        let mut problems = Vec::new();
        let mut config = match self.top(document.get_ref()) {
            Ok(config) => config,
            Err(problem) => {
                problems.push(problem);
                LockServerConfig::default()
            }
        };
        match self.pools(document.get_ref()) {
            Ok(pools) => config.defaults.pools = pools,
            Err(more) => problems.extend(more),
        }
        match self.rollouts(document.get_ref()) {
            Ok(services) => config.defaults.services = services.into_iter().collect(),
            Err(more) => problems.extend(more),
        }
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    fn open(&self, table: &'t DeTable<'t>) -> Result<Section<'t>, Problem> {
        Section::open_of_lock_server(self.text, table, 0..0, "", &KEYS)
    }

    fn said<T>(&self, field: &Field<'_>, value: T) -> Said<T> {
        let before = self.text.get(..field.at.start).unwrap_or_default();
        let line_at = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before[line_at..].chars().count() + 1;
        Said { value, line: before.matches('\n').count() + 1, column }
    }

    fn top(&self, table: &'t DeTable<'t>) -> Result<LockServerConfig, Problem> {
        let top = self.open(table)?;
        let api = top.get("api").map(|field| Ok(self.said(&field, field.socket_address()?))).transpose()?;
        let poolcounter = top.get("poolcounter").map(|field| Ok(self.said(&field, door(&field)?))).transpose()?;
        let data = top.get("data").map(|field| Ok(self.said(&field, folder(&field)?))).transpose()?;
        let coordinator = top.get("coordinator").map(|field| Ok(self.said(&field, of_store(&field)?))).transpose()?;
        let trusted_network =
            top.get("trusted_network").map(|field| Ok(self.said(&field, field.yes_or_no()?))).transpose()?;
        if let (Some(_), Some(_), Some(field)) = (&data, &coordinator, top.get("data")) {
            let problem = field.wrong("a door to a store keeps nothing, and `coordinator` names one");
            return Err(problem.help("leave one of both out"));
        }
        let path = self.path.to_owned();
        Ok(LockServerConfig {
            path,
            api,
            poolcounter,
            data,
            coordinator,
            trusted_network,
            access: self.access(&top)?,
            defaults: Defaults::default(),
        })
    }

    /// Who may come in. The tables have the form of the settings themselves.
    fn access(&self, top: &Section<'t>) -> Result<Settings, Problem> {
        /// All that the file says of it, among its other keys.
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Access {
            tls: Option<Tls>,
            tokens: Option<PathBuf>,
            allow: Allow,
            limits: Option<Limits>,
        }
        let access: Access = toml::from_str(self.text).map_err(|error| {
            let at = error.span().unwrap_or_default();
            let problem = Problem::new(at, "this says not who may come in").label(error.message());
            problem.help(
                "tls = { cert = \"FILE\", key = \"FILE\" }; tokens = \"FILE\"; allow = [\"10.0.0.0/8\"], or { api = [...], poolcounter = [...] }; \
                 limits = { requests = 500, burst = 5000, connections = 2000 }",
            )
        })?;
        let Access { tls, tokens, allow, limits } = access;
        let files = tls.iter().flat_map(|tls| [Some(&tls.cert), Some(&tls.key), tls.client_ca.as_ref()]).flatten();
        let relative = |key, mut files: Box<dyn Iterator<Item = &PathBuf> + '_>| {
            let field = top.get(key).filter(|_| files.any(|file| !file.is_absolute()))?;
            Some(field.wrong("a path from the root is needed"))
        };
        match relative("tls", Box::new(files)).or_else(|| relative("tokens", Box::new(tokens.iter()))) {
            Some(problem) => Err(problem),
            None => Ok(Settings { tls, tokens, allow, limits }),
        }
    }

    fn pools(&self, table: &'t DeTable<'t>) -> Result<Vec<PoolDefaults>, Vec<Problem>> {
        let Ok(top) = self.open(table) else { return Ok(Vec::new()) };
        let Some(field) = top.get("pool") else { return Ok(Vec::new()) };
        let tables = field.items("a table for each kind of pool: [[pool]]").map_err(|problem| {
            vec![problem.help("write [[pool]] with match = \"NAME\" below it; * stands for any run of characters")]
        })?;
        if tables.len() > TABLES_MAX {
            return Err(vec![Problem::new(field.at.clone(), format!("more than {TABLES_MAX} tables [[pool]]"))]);
        }
        let (read, wrong): (Vec<_>, Vec<_>) = tables.iter().map(|table| self.pool(table)).partition(Result::is_ok);
        if wrong.is_empty() {
            return Ok(read.into_iter().flatten().collect());
        }
        Err(wrong.into_iter().filter_map(Result::err).collect())
    }

    fn pool(&self, field: &Field<'t>) -> Result<PoolDefaults, Problem> {
        let table = field.table("a table")?;
        let section = Section::open_of_lock_server(self.text, table, field.at.clone(), "pool", &POOL_KEYS)?;
        let matches = section.must("match", "a pool's name; * stands for any run of characters")?.parse::<Pattern>()?;
        let settings = POOL_KEYS.iter().filter_map(|key| section.get(key).filter(|_| *key != "match"));
        let settings = settings.map(|field| self.setting(&field)).collect::<Result<_, _>>()?;
        Ok(PoolDefaults { matches, settings })
    }

    fn rollouts(&self, table: &'t DeTable<'t>) -> Result<Vec<(Service, Vec<FromFile>)>, Vec<Problem>> {
        let Ok(top) = self.open(table) else { return Ok(Vec::new()) };
        let Some(field) = top.get("rollout") else { return Ok(Vec::new()) };
        let tables = field.table("a table for each service: [rollout.SERVICE]").map_err(|problem| vec![problem])?;
        if tables.len() > TABLES_MAX {
            return Err(vec![Problem::new(
                field.at.clone(),
                format!("more than {TABLES_MAX} tables [rollout.SERVICE]"),
            )]);
        }
        let (mut read, mut wrong) = (Vec::new(), Vec::new());
        for (key, value) in tables {
            let DeValue::Table(table) = value.get_ref() else {
                let problem = Problem::new(value.span(), format!("`rollout.{}` wants a table", key.get_ref()));
                wrong.push(problem.help("write [rollout.SERVICE], one for each service"));
                continue;
            };
            match self.rollout(key.get_ref(), key.span(), table) {
                Ok(rollout) => read.push(rollout),
                Err(problem) => wrong.push(problem),
            }
        }
        if wrong.is_empty() { Ok(read) } else { Err(wrong) }
    }

    fn rollout(
        &self,
        name: &str,
        at: std::ops::Range<usize>,
        table: &'t DeTable<'t>,
    ) -> Result<(Service, Vec<FromFile>), Problem> {
        let service = name.parse::<Service>().map_err(|error| {
            Problem::new(at.clone(), format!("cannot use `rollout.{name}`")).label(error.to_string())
        })?;
        let section = Section::open_of_lock_server(self.text, table, at, &format!("rollout.{name}"), &ROLLOUT_KEYS)?;
        let settings = ROLLOUT_KEYS.iter().filter_map(|key| section.get(key));
        Ok((service, settings.map(|field| self.setting(&field)).collect::<Result<_, _>>()?))
    }

    /// A setting, named by the last of its keys.
    fn setting(&self, field: &Field<'_>) -> Result<FromFile, Problem> {
        let kind = SettingKind::ALL.into_iter().find(|kind| field.name.ends_with(&format!(".{}", kind.word())));
        let span = |field: &Field<'_>| field.span_ms();
        let setting = match kind {
            Some(SettingKind::Slots) => Setting::Slots(slots(field)?),
            Some(SettingKind::MaxQueue) => Setting::MaxQueue(field.count(0..u32::MAX)?),
            Some(SettingKind::Wait) => Setting::Wait(span(field)?),
            Some(SettingKind::Ttl) => Setting::Ttl(span(field)?),
            Some(SettingKind::LostAfter) if field.is_string() && field.string()? == "never" => Setting::LostAfter(None),
            Some(SettingKind::LostAfter) => Setting::LostAfter(Some(span(field)?)),
            Some(SettingKind::MaxFailures) => Setting::MaxFailures(field.count(0..u32::MAX)?),
            Some(SettingKind::Strict) => Setting::Strict(field.yes_or_no()?),
            Some(SettingKind::Expires) => Setting::Expires(span(field)?),
            None => return Err(field.wrong("this is no setting")),
        };
        setting.check(&Scope::All).map_err(|error| field.wrong(error.to_string()))?;
        let file = self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy();
        let file = model::bound::beginning(&file, model::defaults::PLACE_BYTES_MAX / 2);
        Ok(FromFile { setting, place: format!("{file}:{}", self.said(field, ()).line) })
    }
}

/// A number, or a percentage of the pool's members.
fn slots(field: &Field<'_>) -> Result<Slots, Problem> {
    if !field.is_string() {
        return field
            .count(0..u32::MAX)
            .map(Slots::Count)
            .map_err(|problem| problem.help("slots = 2, or slots = \"10%\" of the pool's members"));
    }
    let text = field.string()?;
    let percent = text.strip_suffix('%').and_then(|number| number.trim_end().parse().ok());
    match (percent, text.parse()) {
        (Some(percent), _) => Ok(Slots::Percent(percent)),
        (None, Ok(count)) => Ok(Slots::Count(count)),
        _ => Err(field.wrong("a number or a percentage is needed").help("slots = 2, or slots = \"10%\"")),
    }
}

/// Where clients of poolcounterd come in.
fn door(field: &Field<'_>) -> Result<SocketAddr, Problem> {
    let text = field.string()?;
    poolcounter_address(text).ok_or_else(|| {
        let why = format!("an IP address is needed, with its port unless that is {POOLCOUNTER_PORT}: \"10.0.0.5\"");
        field.wrong(why)
    })
}

/// An address for clients of poolcounterd: an IP address, with its port unless that is poolcounterd's own.
pub fn poolcounter_address(typed: &str) -> Option<SocketAddr> {
    let bare = || typed.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, POOLCOUNTER_PORT));
    typed.parse().ok().or_else(bare)
}

fn folder(field: &Field<'_>) -> Result<PathBuf, Problem> {
    let path = PathBuf::from(field.string()?);
    if path.is_absolute() { Ok(path) } else { Err(field.wrong("a path from the root is needed")) }
}

/// A store's URL: a lock server is no door to another one.
fn of_store(field: &Field<'_>) -> Result<CoordinatorUrl, Problem> {
    let url = field.parse::<CoordinatorUrl>()?;
    match store::open(url.as_str()) {
        Ok(Some(_)) => Ok(url),
        _ => Err(field
            .wrong("a lock server is a door to a Redis or an etcd, or keeps its own state")
            .help("leave `coordinator` out, and say with `data` where its state is")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<LockServerConfig, String> {
        parse(text, Path::new("/etc/stagger/lockserver.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn every_value_knows_its_line() {
        let text = "\n  api = \"127.0.0.1:1\"\n[[pool]]\nmatch = \"rack.*\"\nslots = \"25%\"\nlost_after = \"never\"\n\n[[pool]]\n\
                    match = \"*\"\nslots = \"3\"\n[rollout.\"php.fpm\"]\nstrict = true\n";
        let config = read(text).expect("a file");
        let api = config.api.as_ref().expect("said");
        assert_eq!(config.place(api), "/etc/stagger/lockserver.toml:2:9");
        let told = |settings: &[FromFile]| {
            let told =
                settings.iter().map(|from| format!("{} {} {}", from.setting.kind().word(), from.setting, from.place));
            told.collect::<Vec<_>>()
        };
        let [racks, all] = &config.defaults.pools[..] else { panic!("{:?}", config.defaults) };
        assert_eq!(told(&racks.settings), ["slots 25% lockserver.toml:5", "lost_after never lockserver.toml:6"]);
        assert_eq!(told(&all.settings), ["slots 3 lockserver.toml:10"]);
        let service = "php.fpm".parse().expect("a service");
        assert_eq!(told(&config.defaults.services[&service]), ["strict true lockserver.toml:12"]);
        assert_eq!(config.defaults.wrong(), None, "the model takes what is read");
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_would_be_right() {
        for (text, said) in [
            ("data = \"/a\"\ncoordinator = \"redis://a/web\"\n", "a door to a store keeps nothing"),
            ("coordinator = \"http://a:1\"\n", "a lock server is a door to a Redis or an etcd, or keeps its own state"),
            ("data = \"a\"\n", "a path from the root is needed"),
            ("api = \"7532\"\n", "did you mean \"127.0.0.1:7532\"?"),
            ("poolcounter = \"locks1\"\n", "an IP address is needed, with its port unless that is 7531"),
            ("trusted_network = \"yes\"\n", "trusted_network wants true or false"),
            ("[pool]\nmatch = \"a\"\n", "write [[pool]] with match"),
            ("[[pool]]\nslots = 1\n", "missing key `match`"),
            ("[[pool]]\nmatch = \"a b\"\n", "a pool is named by letters"),
            ("[[pool]]\nmatch = \"a\"\nslots = \"0%\"\n", "slots lies between 1% and 100%, and this is 0%"),
            ("[[pool]]\nmatch = \"a\"\nslots = \"many\"\n", "slots = 2, or slots = \"10%\""),
            ("[[pool]]\nmatch = \"a\"\nttl = 30\n", "ttl wants a duration with its unit"),
            ("[rollout]\nweb = 1\n", "write [rollout.SERVICE], one for each service"),
            ("[rollout.web]\nmax_failures = 0\n", "max_failures lies between 1 and 1000000"),
            ("slots = 2\n", "the keys here are api, poolcounter"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
            assert!(error.contains("/etc/stagger/lockserver.toml:"), "{error}");
        }
        let two = read("[[pool]]\nslots = 1\n[[pool]]\nmatch = \"a\"\nslotz = 1\n").expect_err("two wrong tables");
        assert!(two.contains("missing key `match`") && two.contains("did you mean `slots`?"), "{two}");
    }

    #[test]
    fn who_may_come_in_is_said_as_the_settings_have_it() {
        assert_eq!(read("").expect("a file").access, Settings::default());
        let whole = "tls = { cert = \"/c\", key = \"/k\", client_ca = \"/a\" }\ntokens = \"/t\"\nallow = [\"10.0.0.0/8\"]\n[limits]\nrequests = 7\n";
        let access = read(whole).expect("a file").access;
        assert_eq!(access.tls.as_ref().map(|tls| tls.key.as_path()), Some(Path::new("/k")));
        assert_eq!(access.tokens.as_deref(), Some(Path::new("/t")));
        assert_eq!((access.allow.api.len(), access.allow.poolcounter.len()), (1, 1));
        let limits = access.limits.expect("limits");
        assert_eq!((limits.requests, limits.burst), (7, Limits::default().burst));
    }

    #[test]
    fn what_is_wrong_in_it_is_shown_where_it_stands() {
        for (text, place, word) in [
            ("\ntls = { cert = \"/c\", kee = \"/k\" }\n", "/etc/stagger/lockserver.toml:2:", "kee"),
            ("tls = { cert = \"/c\" }\n", "/etc/stagger/lockserver.toml:1:", "key"),
            (
                "allow = [\"10.0.0.1\", \"10.0.0.0/33\"]\n",
                "/etc/stagger/lockserver.toml:1:9",
                "\"10.0.0.0/33\": a network is written as",
            ),
            ("allow = { web = [] }\n", "/etc/stagger/lockserver.toml:1:", "expected `api` or `poolcounter`"),
            ("allow = 7\n", "/etc/stagger/lockserver.toml:1:", "a list of networks"),
            ("[limits]\nrequests = -1\n", "/etc/stagger/lockserver.toml:2:", "requests"),
            ("tokens = \"tokens\"\n", "/etc/stagger/lockserver.toml:1:", "root"),
            ("\ntls = { cert = \"/c\", key = \"k\" }\n", "/etc/stagger/lockserver.toml:2:", "root"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(place) && error.contains(word), "{text}: {error}");
        }
    }
}
