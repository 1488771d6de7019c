//! How a host leaves its balancers and rejoins them.
//!
//! Owns the ways, their keys and defaults. How each is done is decided in the module `balancer`.

pub mod haproxy;
pub mod lame_duck;

use super::conftool::{self, Conftool};
use super::error::Problem;
use super::predicate::Predicate;
use super::probe::{self, Command, HttpUrl, Probe, Question};
use super::reader::{Field, Section};
use haproxy::HaproxyServer;
use lame_duck::LameDuck;
use model::names::{Host, Service};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the balancers are asked for confirmation, unless said otherwise; HAProxy more often.
pub const TRIES_DEFAULT: u32 = 5;
/// How long to pause between two tries, unless said otherwise; jitter moves it by up to a half.
pub const PAUSE_DEFAULT: Duration = Duration::from_secs(1);
/// Most tries.
const TRIES_MAX: u32 = 1000;
/// The shortest pause.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Most balancers of one service.
pub const BALANCERS_MAX: usize = 16;

/// How a service leaves its balancers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Depool {
    /// By which way.
    pub way: Way,
    /// How long one request or command may take.
    pub timeout: Duration,
    /// How often to try until it is confirmed.
    pub tries: u32,
    /// How long to pause between two tries, before jitter.
    pub pause: Duration,
}

impl Depool {
    /// How long all balancers, which are moved at once, may take to confirm: in each try a look, a move, a look and a pause.
    pub fn longest_move(&self) -> Duration {
        if self.way == Way::None {
            return Duration::ZERO;
        }
        let longest_pause = self.pause.saturating_mul(3) / 2;
        self.timeout.saturating_mul(3).saturating_add(longest_pause).saturating_mul(self.tries)
    }
}

/// The ways to leave a balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// There is no balancer.
    None,
    /// Servers of one or several HAProxys; each must agree about each.
    Haproxy(Vec<HaproxyServer>),
    /// A flag file, which something that the balancer asks looks at.
    File(FlagFile),
    /// A health URL that the worker serves.
    LameDuck(LameDuck),
    /// Requests to one or several balancers; each must agree.
    Http(Vec<HttpBalancer>),
    /// An entry in conftool's etcd, and the PyBals that follow it.
    Conftool(Conftool),
    /// Commands.
    Exec(Commands),
}

/// A flag file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Whether the host is out while it is there; otherwise the host is out while it is missing.
    pub present_is_out: bool,
    /// Who says what the flag did.
    pub confirm: Option<Status>,
}

/// One balancer that is spoken to over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpBalancer {
    /// Its name, for people: host and port.
    pub name: String,
    /// Takes the host out.
    pub take_out: Request,
    /// Puts it in again.
    pub put_in: Request,
    /// Says whether it is in.
    pub status: Status,
}

/// One request that changes something. A status of 2xx is success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// GET, PUT, POST, PATCH or DELETE.
    pub method: Method,
    /// Where to.
    pub url: HttpUrl,
    /// With what.
    pub body: Option<String>,
}

/// The methods that a request may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are HTTP's own")]
pub enum Method {
    Get,
    Put,
    Post,
    Patch,
    Delete,
}

impl Method {
    const WORDS: [(&'static str, Method); 5] = [
        ("GET", Method::Get),
        ("PUT", Method::Put),
        ("POST", Method::Post),
        ("PATCH", Method::Patch),
        ("DELETE", Method::Delete),
    ];
}

/// A question whether the host is in, and how to read the answer. When neither or both hold, nobody can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What is asked.
    pub probe: Probe,
    /// Holds when the host is out.
    pub out_when: Predicate,
    /// Holds when it is in.
    pub in_when: Predicate,
}

/// The commands of a balancer that has a program of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    /// Takes the host out; exit 0 is success.
    pub depool: Command,
    /// Puts it in again; exit 0 is success.
    pub repool: Command,
    /// Prints `in` or `out` as its first word and exits 0; anything else is unknown.
    pub status: Command,
}

impl Way {
    /// Whether these balancers tell how many sessions they have at the host.
    pub fn counts_sessions(&self) -> bool {
        matches!(self, Way::Haproxy(_))
    }

    /// The health URL that the worker serves for it.
    pub fn lame_duck(&self) -> Option<&LameDuck> {
        match self {
            Way::LameDuck(duck) => Some(duck),
            _ => None,
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    None,
    Haproxy,
    File,
    LameDuck,
    Http,
    Conftool,
    Exec,
}

/// Reads `[service.NAME.depool]`; `state` is the worker's folder.
pub(super) fn read(field: &Field<'_>, host: &Host, service: &Service, state: &Path) -> Result<Depool, Problem> {
    const KINDS: [(&str, Kind); 7] = [
        ("none", Kind::None),
        ("haproxy", Kind::Haproxy),
        ("file", Kind::File),
        ("lame-duck", Kind::LameDuck),
        ("http", Kind::Http),
        ("conftool", Kind::Conftool),
        ("exec", Kind::Exec),
    ];
    const COMMON: [&str; 4] = ["kind", "timeout", "tries", "pause"];
    // The kind decides which keys there may be, so it is read before any other key is refused.
    let kinds = KINDS.map(|(word, _)| format!("\"{word}\"")).join(", ");
    let table = field.table(&format!("a table with its kind: {{ kind = \"…\" }}, one of {kinds}"))?;
    let named = Section::unchecked(field, table);
    let kind = named.must("kind", &format!("one of {kinds}"))?.choice(&KINDS)?;
    let own: &[&str] = match kind {
        Kind::None => &[],
        Kind::Haproxy => &["sockets", "server"],
        Kind::File => &["path", "present", "confirm"],
        Kind::LameDuck => &["listen", "path", "confirm"],
        Kind::Http => &["balancers", "out", "in", "status"],
        Kind::Conftool => &["etcd", "api", "pybals", "keys"],
        Kind::Exec => &["depool", "repool", "status"],
    };
    let common: &[&str] = if matches!(kind, Kind::None) { &COMMON[..1] } else { &COMMON };
    let section = field.section(&[common, own].concat())?;
    let timeout = section.duration("timeout", probe::TIMEOUT_DEFAULT, probe::TIMEOUT_MIN)?;
    let way = match kind {
        Kind::None => Way::None,
        Kind::Haproxy => Way::Haproxy(haproxy::read(&section, host)?),
        Kind::File => Way::File(read_file(&section, host)?),
        Kind::LameDuck => {
            let mut duck = lame_duck::read(&section, host, service, state)?;
            duck.flag.confirm = read_confirm(&section, host)?;
            Way::LameDuck(duck)
        }
        Kind::Http => Way::Http(read_http(&section, host, timeout)?),
        Kind::Conftool => Way::Conftool(conftool::read(&section, host)?),
        Kind::Exec => {
            let command = |key: &str| section.must(key, "[\"COMMAND\", …]")?.command(host);
            Way::Exec(Commands { depool: command("depool")?, repool: command("repool")?, status: command("status")? })
        }
    };
    let tries_default = if matches!(kind, Kind::Haproxy) { haproxy::TRIES_DEFAULT } else { TRIES_DEFAULT };
    let tries = section.count("tries", tries_default, 1..TRIES_MAX + 1)?;
    let pause = section.duration("pause", PAUSE_DEFAULT, PAUSE_MIN)?;
    Ok(Depool { way, timeout, tries, pause })
}

fn read_file(section: &Section<'_>, host: &Host) -> Result<FlagFile, Problem> {
    let path = section.must("path", "where the flag file lies")?.absolute_path(host)?;
    let present = section.get("present").map(|field| field.choice(&[("out", true), ("in", false)])).transpose()?;
    let confirm = read_confirm(section, host)?;
    Ok(FlagFile { path, present_is_out: present.unwrap_or(true), confirm })
}

fn read_confirm(section: &Section<'_>, host: &Host) -> Result<Option<Status>, Problem> {
    let Some(field) = section.get("confirm") else { return Ok(None) };
    let section = field.section(&[&probe::KEYS[..], &["out_when", "in_when"]].concat())?;
    let probe = probe::read(&section, host)?;
    read_status(&section, probe, host).map(Some)
}

fn read_status(section: &Section<'_>, probe: Probe, host: &Host) -> Result<Status, Problem> {
    let variables = probe.question.variables();
    let out_when = section.must("out_when", "an expression that holds when the host is out")?;
    let in_when = section.must("in_when", "an expression that holds when the host is in")?;
    Ok(Status { out_when: out_when.predicate(host, variables)?, in_when: in_when.predicate(host, variables)?, probe })
}

fn read_http(section: &Section<'_>, host: &Host, timeout: Duration) -> Result<Vec<HttpBalancer>, Problem> {
    let bases = match section.get("balancers") {
        None => return Ok(vec![read_http_balancer(section, host, None, timeout)?]),
        Some(field) => {
            let items = field.items("a list of base URLs, such as [\"http://lb1:9000\"]")?;
            if items.is_empty() || items.len() > BALANCERS_MAX {
                return Err(field.wrong(format!("between 1 and {BALANCERS_MAX} balancers")));
            }
            items
        }
    };
    let mut names = BTreeSet::new();
    let mut balancers = Vec::new();
    for base in bases {
        let url = base.url(host)?;
        let balancer = read_http_balancer(section, host, Some(url.as_str().trim_end_matches('/')), timeout)?;
        if !names.insert(balancer.name.clone()) {
            return Err(base.wrong("this balancer is listed twice"));
        }
        balancers.push(balancer);
    }
    Ok(balancers)
}

fn read_http_balancer(
    section: &Section<'_>,
    host: &Host,
    base: Option<&str>,
    timeout: Duration,
) -> Result<HttpBalancer, Problem> {
    let url = |field: &Field<'_>| -> Result<HttpUrl, Problem> {
        let written = field.filled(host)?;
        let url = match (base, written.contains("{balancer}")) {
            (Some(base), true) => written.replace("{balancer}", base),
            (None, false) => written,
            (Some(_), false) => return Err(field.wrong("without {balancer} in it, every balancer is the same one")),
            (None, true) => return Err(field.wrong("{balancer} needs `balancers`, the list of base URLs")),
        };
        let url = field.without_placeholders(url)?;
        url.parse().map_err(|error: super::probe::HttpUrlError| field.wrong(error.to_string()))
    };
    let request = |key: &str, what: &str| -> Result<Request, Problem> {
        let part = section.must(key, what)?.section(&["method", "url", "body"])?;
        let method = part.get("method").map(|field| field.choice(&Method::WORDS)).transpose()?;
        let body = part.get("body").map(|field| field.filled(host)).transpose()?;
        let body = body.map(|body| base.map_or(body.clone(), |base| body.replace("{balancer}", base)));
        Ok(Request {
            method: method.unwrap_or(Method::Post),
            url: url(&part.must("url", "where the request goes")?)?,
            body,
        })
    };
    let take_out = request("out", "{ method = \"PUT\", url = \"…\" }: takes the host out")?;
    let put_in = request("in", "{ method = \"PUT\", url = \"…\" }: puts the host in again")?;
    let part = section.must("status", "{ url = \"…\", out_when = \"…\", in_when = \"…\" }")?;
    let part = part.section(&["url", "out_when", "in_when"])?;
    let url = url(&part.must("url", "where the request goes")?)?;
    let name = url.authority().to_owned();
    let status = read_status(&part, Probe { question: Question::Http(url), timeout }, host)?;
    Ok(HttpBalancer { name, take_out, put_in, status })
}
