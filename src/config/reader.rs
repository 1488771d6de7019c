//! Reads one table of the file key by key, and refuses every key that nobody asked for.
//!
//! Owns the sentences about keys and types; what a value means is its reader's business. Every value keeps its place.

use super::duration;
use super::error::Problem;
use super::nearest::nearest;
use super::predicate::Predicate;
use super::probe::{ARGUMENTS_MAX, Command, HttpUrl};
use model::names::Host;
use model::settings::SettingKind;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// Longest duration in the file.
pub(super) const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// What can be filled in; the second in some places only.
const PLACEHOLDERS: [&str; 2] = ["host", "balancer"];
/// Longest text value, in bytes.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// A table, while it is read.
pub(super) struct Section<'t> {
    text: &'t str,
    table: &'t DeTable<'t>,
    /// Where it is named.
    pub(super) at: Range<usize>,
    /// Its name in the file, such as `service.php-fpm.drain`; empty at the top.
    pub(super) name: String,
    /// Whose file it is.
    of: Of,
}

/// Whose file is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// A host's, in which no setting of a pool or a service stands.
    Host,
    /// The lock server's.
    LockServer,
}

/// A value, and where it stands.
pub(super) struct Field<'t> {
    text: &'t str,
    /// The keys that lead to it.
    pub(super) name: String,
    /// The bytes of the value.
    pub(super) at: Range<usize>,
    value: &'t DeValue<'t>,
}

impl<'t> Section<'t> {
    /// Opens a table that may have these keys and no other.
    pub(super) fn open(
        text: &'t str,
        table: &'t DeTable<'t>,
        at: Range<usize>,
        name: &str,
        known: &[&str],
    ) -> Result<Self, Problem> {
        Self { text, table, at, name: name.to_owned(), of: Of::Host }.without_others(known)
    }

    /// The same in the file of a lock server.
    pub(super) fn open_of_lock_server(
        text: &'t str,
        table: &'t DeTable<'t>,
        at: Range<usize>,
        name: &str,
        known: &[&str],
    ) -> Result<Self, Problem> {
        Self { text, table, at, name: name.to_owned(), of: Of::LockServer }.without_others(known)
    }

    /// The table, unless it has other keys.
    fn without_others(self, known: &[&str]) -> Result<Self, Problem> {
        let (table, section) = (self.table, self);
        let unknown = table.keys().filter(|key| !known.contains(&key.get_ref().as_ref()));
        match unknown.min_by_key(|key| key.span().start) {
            Some(key) => Err(section.unknown_key(key.get_ref(), key.span(), known)),
            None => Ok(section),
        }
    }

    /// Opens a table whose keys are not known yet, to read the one that decides which there may be.
    pub(super) fn unchecked(field: &Field<'t>, table: &'t DeTable<'t>) -> Self {
        Self { text: field.text, table, at: field.at.clone(), name: field.name.clone(), of: Of::Host }
    }

    fn unknown_key(&self, key: &str, at: Range<usize>, known: &[&str]) -> Problem {
        let problem = Problem::new(at, format!("unknown key `{key}`"));
        let setting = SettingKind::ALL.into_iter().find(|kind| kind.word() == key);
        if let Some(kind) = setting.filter(|_| self.of == Of::Host) {
            return self.setting(kind, problem);
        }
        let place = if self.name.is_empty() { "at the top".to_owned() } else { format!("in [{}]", self.name) };
        let problem = problem.label(format!("not a key {place}"));
        match (nearest(key, known), self.name.strip_prefix("service.")) {
            (Some(near), _) => problem.help(format!("did you mean `{near}`?")),
            // TOML takes a dot for the end of a table's name.
            (None, Some(service)) if self.get(key).is_some_and(|field| field.table("").is_ok()) => {
                problem.help(format!("a name with a dot is quoted: [service.\"{service}.{key}\"]"))
            }
            (None, _) => problem.help(format!("the keys here are {}", known.join(", "))),
        }
    }

    /// A setting that lives in the coordinator was written into a host's file.
    fn setting(&self, kind: SettingKind, problem: Problem) -> Problem {
        let word = kind.word();
        let value = self.get(word).map_or_else(|| "…".to_owned(), |field| field.plain());
        if kind.is_of_pool() {
            let pools = self.get("pools").and_then(|field| field.texts().ok());
            let pool = pools.as_ref().and_then(|pools| pools.first()).map_or("POOL", String::as_str);
            let what = if kind == SettingKind::Slots { "size" } else { word };
            problem
                .label(format!("a pool's {what} lives in the coordinator, so hosts cannot disagree"))
                .help(format!("stagger set pool/{pool} {word}={value} --reason …"))
        } else {
            let service = self.name.strip_prefix("service.").unwrap_or("SERVICE");
            problem
                .label("a service's settings live in the coordinator, so hosts cannot disagree")
                .help(format!("stagger set service/{service} {word}={value} --reason …"))
        }
    }

    /// The value of a key, when it is there.
    pub(super) fn get(&self, key: &str) -> Option<Field<'t>> {
        let value = self.table.get(key)?;
        let name = if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) };
        Some(Field { text: self.text, name, at: value.span(), value: value.get_ref() })
    }

    /// The value of a key that must be there; `what` says what it holds.
    pub(super) fn must(&self, key: &str, what: &str) -> Result<Field<'t>, Problem> {
        self.get(key).ok_or_else(|| {
            let place = if self.name.is_empty() { "the file".to_owned() } else { format!("[{}]", self.name) };
            Problem::new(self.at.clone(), format!("missing key `{key}`"))
                .label(format!("{place} needs it"))
                .help(format!("{key} = … ({what})"))
        })
    }

    /// A duration that may be left out.
    pub(super) fn duration(&self, key: &str, default: Duration, least: Duration) -> Result<Duration, Problem> {
        self.get(key).map_or(Ok(default), |field| field.duration(least))
    }

    /// A count that may be left out.
    pub(super) fn count(&self, key: &str, default: u32, bounds: Range<u32>) -> Result<u32, Problem> {
        self.get(key).map_or(Ok(default), |field| field.count(bounds))
    }
}

impl<'t> Field<'t> {
    fn of_another_type(&self, wanted: &str) -> Problem {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.wrong(format!("this is {found}")).help(format!("{} wants {wanted}", self.key()))
    }

    fn key(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// A problem with this value; `why` stands beside its mark.
    pub(super) fn wrong(&self, why: impl Into<String>) -> Problem {
        Problem::new(self.at.clone(), format!("cannot use `{}`", self.name)).label(why)
    }

    /// The value as it was written, without quotes.
    fn plain(&self) -> String {
        match self.value {
            DeValue::String(text) => text.to_string(),
            _ => self.text.get(self.at.clone()).unwrap_or("…").to_owned(),
        }
    }

    /// The text.
    pub(super) fn string(&self) -> Result<&'t str, Problem> {
        match self.value {
            DeValue::String(text) if text.len() > TEXT_BYTES_MAX => {
                Err(self.wrong(format!("this has more than {TEXT_BYTES_MAX} bytes")))
            }
            DeValue::String(text) if text.contains('\0') => Err(self.wrong("this has a NUL in it")),
            DeValue::String(text) => Ok(text),
            _ => Err(self.of_another_type("a string")),
        }
    }

    /// The text, with `{host}` filled in.
    pub(super) fn filled(&self, host: &Host) -> Result<String, Problem> {
        self.fill(self.string()?, host)
    }

    /// A placeholder that was mistyped is refused; other words in brackets are the text's own.
    fn fill(&self, text: &str, host: &Host) -> Result<String, Problem> {
        let mistyped = |word: &&str| !PLACEHOLDERS.contains(word);
        let near = |word| nearest(word, &PLACEHOLDERS).map(|near| self.unknown_placeholder(word, Some(near)));
        placeholders(text).filter(mistyped).find_map(near).map_or_else(|| Ok(fill(text, host)), Err)
    }

    fn unknown_placeholder(&self, word: &str, near: Option<&str>) -> Problem {
        let problem = Problem::new(self.at.clone(), format!("unknown placeholder `{{{word}}}`"));
        let problem = problem.label(format!("nothing is filled in for this in `{}`", self.name));
        problem.help(match near {
            Some(near) => format!("did you mean `{{{near}}}`?"),
            None => "`{host}` is the name of this host; no other is known here".to_owned(),
        })
    }

    /// In a path or a URL, nobody means a bracket.
    pub(super) fn without_placeholders(&self, filled: String) -> Result<String, Problem> {
        let unknown = placeholders(&filled).next().map(|word| self.unknown_placeholder(word, None));
        unknown.map_or(Ok(filled), Err)
    }

    /// The text as something that reads itself.
    pub(super) fn parse<T: FromStr<Err: std::fmt::Display>>(&self) -> Result<T, Problem> {
        self.string()?.parse().map_err(|error: T::Err| self.wrong(error.to_string()))
    }

    /// An IP address and a port, to listen at.
    pub(super) fn socket_address(&self) -> Result<SocketAddr, Problem> {
        let text = self.string()?;
        text.parse().map_err(|_: std::net::AddrParseError| {
            let problem = self.wrong("an IP address and a port are needed, such as \"127.0.0.1:7533\"");
            let local = text.strip_prefix("localhost").unwrap_or(text);
            match local.strip_prefix(':').unwrap_or(local).parse::<u16>() {
                Ok(port) => problem.help(format!("did you mean \"127.0.0.1:{port}\"?")),
                Err(_) => problem,
            }
        })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Problem> {
        let found = self.string()?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == found) {
            return Ok(*value);
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let key = self.key();
        Err(match nearest(found, &words) {
            Some(near) => Problem::new(self.at.clone(), format!("unknown {key} `{found}`"))
                .label(format!("this build knows {}", words.join(", ")))
                .help(format!("did you mean \"{near}\"?")),
            None => Problem::new(self.at.clone(), format!("unknown {key} `{found}`"))
                .label(format!("this build knows {}", words.join(", "))),
        })
    }

    /// A duration of at least `least` and at most [`DURATION_MAX`].
    pub(super) fn duration(&self, least: Duration) -> Result<Duration, Problem> {
        let DeValue::String(text) = self.value else {
            return Err(self.of_another_type("a duration with its unit, such as \"3s\" or \"1m30s\""));
        };
        let found = duration::parse(text).map_err(|error| self.wrong(error.to_string()))?;
        let said = |duration: Duration| model::settings::span(model::time::millis(duration));
        if found > DURATION_MAX {
            return Err(self.wrong(format!("longer than {}", said(DURATION_MAX))));
        }
        if found < least {
            return Err(self.wrong(format!("shorter than {}", said(least))));
        }
        Ok(found)
    }

    /// A duration in milliseconds, as long as anybody likes.
    pub(super) fn span_ms(&self) -> Result<u64, Problem> {
        let DeValue::String(text) = self.value else {
            return Err(self.of_another_type("a duration with its unit, such as \"30s\" or \"1h\""));
        };
        duration::parse(text).map(model::time::millis).map_err(|error| self.wrong(error.to_string()))
    }

    /// Whether or not.
    pub(super) fn yes_or_no(&self) -> Result<bool, Problem> {
        match self.value {
            DeValue::Boolean(value) => Ok(*value),
            _ => Err(self.of_another_type("true or false")),
        }
    }

    /// A whole number within bounds; the end is outside.
    pub(super) fn count(&self, bounds: Range<u32>) -> Result<u32, Problem> {
        let DeValue::Integer(number) = self.value else {
            return Err(self.of_another_type("a whole number"));
        };
        match u32::from_str_radix(number.as_str(), number.radix()) {
            Ok(count) if bounds.contains(&count) => Ok(count),
            _ => Err(self.wrong(format!("not between {} and {}", bounds.start, bounds.end - 1))),
        }
    }

    /// True or false.
    pub(super) fn flag(&self) -> Result<bool, Problem> {
        match self.value {
            DeValue::Boolean(flag) => Ok(*flag),
            _ => Err(self.of_another_type("true or false")),
        }
    }

    /// A path from the root, with `{host}` filled in.
    pub(super) fn absolute_path(&self, host: &Host) -> Result<PathBuf, Problem> {
        let path = PathBuf::from(self.without_placeholders(self.filled(host)?)?);
        if path.is_absolute() { Ok(path) } else { Err(self.wrong("a path from the root is needed")) }
    }

    /// A list of texts.
    pub(super) fn texts(&self) -> Result<Vec<String>, Problem> {
        self.items("a list of strings")?.into_iter().map(|item| Ok(item.string()?.to_owned())).collect()
    }

    /// A command: a list of its words, with `{host}` filled in.
    pub(super) fn command(&self, host: &Host) -> Result<Command, Problem> {
        let DeValue::Array(_) = self.value else {
            return Err(
                self.of_another_type("a list, such as [\"systemctl\", \"restart\", \"app\"]; no shell is involved")
            );
        };
        let words = self.texts()?.iter().map(|word| self.fill(word, host)).collect::<Result<Vec<_>, _>>()?;
        if words.len() > ARGUMENTS_MAX {
            return Err(self.wrong(format!("a command has at most {ARGUMENTS_MAX} words")));
        }
        Command::new(words).ok_or_else(|| self.wrong("a command needs a program, and this one has none"))
    }

    /// A URL, with `{host}` filled in.
    pub(super) fn url(&self, host: &Host) -> Result<HttpUrl, Problem> {
        let url = self.without_placeholders(self.filled(host)?)?;
        url.parse().map_err(|error: super::probe::HttpUrlError| self.wrong(error.to_string()))
    }

    /// An expression over these variables, with `{host}` filled in.
    pub(super) fn predicate(&self, host: &Host, variables: &[&str]) -> Result<Predicate, Problem> {
        let written = self.string()?;
        let filled = fill(written, host);
        Predicate::compile(&filled, variables).map_err(|error| {
            // The place inside is known when nothing was escaped or filled in: then the text stands between its quotes as it is.
            let start = self.text.get(self.at.clone()).and_then(|quoted| quoted.find(written));
            let start = start.filter(|_| filled == written).map(|start| self.at.start + start);
            let exact = start.zip(error.at.filter(|at| *at < written.len()));
            let at = exact.map_or(self.at.clone(), |(start, at)| start + at..start + at + width(&written[at..]));
            Problem::new(at, format!("cannot use the expression `{}`", self.name)).label(error.message)
        })
    }

    /// The table.
    pub(super) fn table(&self, wanted: &str) -> Result<&'t DeTable<'t>, Problem> {
        match self.value {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.of_another_type(wanted)),
        }
    }

    /// The table as a section that may have these keys and no other.
    pub(super) fn section(&self, known: &[&str]) -> Result<Section<'t>, Problem> {
        let table = self.table("a table")?;
        Section::open(self.text, table, self.at.clone(), &self.name, known)
    }

    /// The items of a list.
    pub(super) fn items(&self, wanted: &str) -> Result<Vec<Field<'t>>, Problem> {
        let DeValue::Array(array) = self.value else {
            return Err(self.of_another_type(wanted));
        };
        let field = |item: &'t toml::Spanned<DeValue<'t>>| Field {
            text: self.text,
            name: self.name.clone(),
            at: item.span(),
            value: item.get_ref(),
        };
        Ok(array.iter().map(field).collect())
    }

    /// Whether it is a text rather than a table or a list.
    pub(super) fn is_string(&self) -> bool {
        matches!(self.value, DeValue::String(_))
    }
}

/// The words in brackets, such as `host` in `/run/{host}.out`.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('{').filter_map(|(at, _)| {
        let (found, _) = text[at + 1..].split_once('}')?;
        let is_word = !found.is_empty() && found.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        is_word.then_some(found)
    })
}

/// Puts the host's name where `{host}` stands.
pub(super) fn fill(text: &str, host: &Host) -> String {
    text.replace("{host}", host.as_str())
}

/// The bytes of the first word, or else of the first character.
fn width(text: &str) -> usize {
    let word = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    if word > 0 { word } else { text.chars().next().map_or(1, char::len_utf8) }
}
