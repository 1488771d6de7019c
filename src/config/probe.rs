//! What a probe asks: a URL, an address, a command, a FastCGI server or the kernel; and the small checked types in it.
//!
//! Owns the kinds of probes, the variables that each gives to an expression, and how they are read. Asking is done by the
//! module `probe` beside this one's parent.

use super::error::Problem;
use super::place::{self, FastCgi, LocalEnd};
use super::reader::Section;
use model::names::Host;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How long a probe may take, unless said otherwise.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// The shortest time-out.
pub(super) const TIMEOUT_MIN: Duration = Duration::from_millis(10);
/// Most words of a command.
pub const ARGUMENTS_MAX: usize = 256;
/// The keys of a probe, in whichever table it stands.
pub(super) const KEYS: [&str; 7] = ["http", "tcp", "exec", "fastcgi", "script", "connections", "timeout"];
/// Those of them that are a question; a table has one.
const QUESTIONS: [&str; 5] = ["http", "tcp", "exec", "fastcgi", "connections"];

/// One question to the outside, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub question: Question,
    /// After this, there is no answer.
    pub timeout: Duration,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// GET this URL.
    Http(HttpUrl),
    /// Connect to this address, `HOST:PORT`.
    Tcp(String),
    /// Run this command.
    Exec(Command),
    /// Send this request to a FastCGI server.
    FastCgi(FastCgi),
    /// Count the connections of this end.
    Connections(LocalEnd),
}

impl Question {
    /// The variables that an expression over its answer may speak of.
    pub fn variables(&self) -> &'static [&'static str] {
        match self {
            Question::Http(_) | Question::FastCgi(_) => &["status", "body", "answer", "headers"],
            Question::Tcp(_) => &["connected"],
            Question::Exec(_) => &["exit", "stdout", "stderr", "answer"],
            Question::Connections(_) => &["connections", "close_wait", "listeners"],
        }
    }

    /// What a good answer is, unless said otherwise.
    pub fn expected(&self) -> &'static str {
        match self {
            Question::Http(_) | Question::FastCgi(_) => "status == 200",
            Question::Tcp(_) => "connected",
            Question::Exec(_) => "exit == 0",
            Question::Connections(_) => "connections > 0",
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Question::Http(url) => write!(f, "{url}"),
            Question::Tcp(address) => write!(f, "tcp {address}"),
            Question::Exec(command) => write!(f, "{command}"),
            Question::FastCgi(request) => write!(f, "{request}"),
            Question::Connections(end) => write!(f, "connections of {end}"),
        }
    }
}

/// A program and its arguments; no shell is involved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    words: Vec<String>,
}

impl Command {
    /// A command of these words; nothing when there is no program among them.
    pub fn new(words: Vec<String>) -> Option<Self> {
        let has_program = words.first().is_some_and(|program| !program.is_empty());
        let has_nul = words.iter().any(|word| word.contains('\0'));
        (has_program && !has_nul).then_some(Self { words })
    }

    /// The program.
    pub fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The program and its arguments; never empty.
    pub fn words(&self) -> &[String] {
        &self.words
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.words.join(" "))
    }
}

/// A URL that this build can ask.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpUrl(String);

/// Why a URL was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpUrlError {
    /// Another scheme.
    #[error("this build speaks http:// only")]
    Scheme,
    /// A name or password in it.
    #[error("a URL with a password in it would be shown in reports")]
    Credentials,
    /// Not a URL.
    #[error("not a URL: {0}")]
    Form(String),
}

impl HttpUrl {
    /// The URL as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its host and port, as written.
    pub fn authority(&self) -> &str {
        let rest = self.0.trim_start_matches("http://");
        rest.split(['/', '?']).next().unwrap_or(rest)
    }
}

impl FromStr for HttpUrl {
    type Err = HttpUrlError;
    fn from_str(text: &str) -> Result<Self, HttpUrlError> {
        if !text.starts_with("http://") {
            return Err(HttpUrlError::Scheme);
        }
        let uri: http::Uri =
            text.parse().map_err(|error: http::uri::InvalidUri| HttpUrlError::Form(error.to_string()))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(HttpUrlError::Credentials);
        }
        match uri.host() {
            Some(host) if !host.is_empty() => Ok(Self(text.to_owned())),
            _ => Err(HttpUrlError::Form("it names no host".to_owned())),
        }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Reads the probe of a table: exactly one question.
pub(super) fn read(section: &Section<'_>, host: &Host) -> Result<Probe, Problem> {
    match read_optional(section, host)? {
        Some(probe) => Ok(probe),
        None => Err(asks_nothing(section)),
    }
}

/// The problem of a table that needs a question and has none.
pub(super) fn asks_nothing(section: &Section<'_>) -> Problem {
    Problem::new(section.at.clone(), format!("[{}] asks nothing", section.name))
        .label(format!("exactly one of {}", QUESTIONS.join(", ")))
        .help("http = \"http://127.0.0.1/…\", tcp = \"127.0.0.1:80\", exec = [\"COMMAND\", …] or fastcgi = \"/run/php/….sock\"")
}

/// Reads the probe of a table: one question, or none.
pub(super) fn read_optional(section: &Section<'_>, host: &Host) -> Result<Option<Probe>, Problem> {
    let mut asked: Vec<_> = QUESTIONS.into_iter().filter_map(|key| section.get(key)).collect();
    asked.sort_by_key(|field| field.at.start);
    if let Some(second) = asked.get(1) {
        return Err(second.wrong(format!("a second question; exactly one of {}", QUESTIONS.join(", "))));
    }
    let timeout = section.duration("timeout", TIMEOUT_DEFAULT, TIMEOUT_MIN)?;
    let fastcgi = read_fastcgi(section, host)?;
    let question = if let Some(field) = section.get("http") {
        Question::Http(field.url(host)?)
    } else if let Some(field) = section.get("tcp") {
        Question::Tcp(place::address(&field, host, "an address is written HOST:PORT")?)
    } else if let Some(field) = section.get("exec") {
        Question::Exec(field.command(host)?)
    } else if let Some(request) = fastcgi {
        Question::FastCgi(request)
    } else if let Some(field) = section.get("connections") {
        Question::Connections(place::read_local_end(&field, host)?)
    } else {
        return Ok(None);
    };
    Ok(Some(Probe { question, timeout }))
}

/// Reads the request to a FastCGI server in a table, where there is one.
pub(super) fn read_fastcgi(section: &Section<'_>, host: &Host) -> Result<Option<FastCgi>, Problem> {
    match (section.get("fastcgi"), section.get("script")) {
        (Some(at), _) => {
            let script = section.must("script", "\"/fpm-status?json\", or the path of a script")?;
            place::read_fastcgi(&at, &script, host).map(Some)
        }
        (None, Some(script)) => Err(script.wrong("nobody is asked for it: say fastcgi, the server's socket, too")),
        (None, None) => Ok(None),
    }
}
