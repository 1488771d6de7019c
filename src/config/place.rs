//! Places on this host or near it: where a FastCGI server listens, and whose connections are counted.
//!
//! Owns their types and how they are read. Asking is done by the module `probe`.

use super::error::Problem;
use super::reader::Field;
use model::names::Host;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Longest path of a socket, in bytes: what the kernel has room for, and the NUL behind it (unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Longest path and query of a script, in bytes.
const SCRIPT_BYTES_MAX: usize = 2048;

/// What stands before an address or a path elsewhere, as in HAProxy's own configuration, and not here.
const UNDRESSED: [&str; 8] = ["unix://", "unix:", "unix@", "ipv4@", "ipv6@", "tcp://", "tcp@", "tcp:"];

/// A request to a FastCGI server, such as php-fpm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FastCgi {
    /// Where it listens.
    pub at: Place,
    /// What is asked of it.
    pub script: Script,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At this socket of the file system.
    Unix(PathBuf),
    /// At this `HOST:PORT`.
    Tcp(String),
}

/// A path from the root, of a file or of something that the server knows by itself, and the query behind its `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script(String);

impl Script {
    /// Path and query, as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path.
    pub fn path(&self) -> &str {
        self.0.split_once('?').map_or(&self.0, |(path, _)| path)
    }

    /// The query, without its `?`; empty when there is none.
    pub fn query(&self) -> &str {
        self.0.split_once('?').map_or("", |(_, query)| query)
    }
}

/// The end of connections that is on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalEnd {
    /// This port, at whichever address.
    Port(u16),
    /// This address and port.
    Address(SocketAddr),
    /// This socket of the file system, by the path that its server bound.
    Path(PathBuf),
}

impl fmt::Display for FastCgi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fastcgi {} {}", self.at, self.script.0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Unix(path) => write!(f, "{}", path.display()),
            Place::Tcp(address) => f.pad(address),
        }
    }
}

impl fmt::Display for LocalEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LocalEnd::Port(port) => write!(f, "port {port}"),
            LocalEnd::Address(address) => write!(f, "{address}"),
            LocalEnd::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Reads a request to a FastCGI server from its two keys.
pub(super) fn read_fastcgi(at: &Field<'_>, script: &Field<'_>, host: &Host) -> Result<FastCgi, Problem> {
    let place = if at.filled(host)?.starts_with('/') {
        Place::Unix(socket_path(at, host)?)
    } else {
        Place::Tcp(address(at, host, "a FastCGI server is named by its socket's path or by HOST:PORT")?)
    };
    Ok(FastCgi { at: place, script: read_script(script, host)? })
}

fn read_script(field: &Field<'_>, host: &Host) -> Result<Script, Problem> {
    let script = field.without_placeholders(field.filled(host)?)?;
    let is_odd = |letter: char| letter.is_control() || letter == ' ' || letter == '#';
    if !script.starts_with('/') {
        return Err(field.wrong("a path from the root is needed, such as /fpm-status?json or /srv/check.php"));
    }
    if script.len() > SCRIPT_BYTES_MAX {
        return Err(field.wrong(format!("a script and its query have at most {SCRIPT_BYTES_MAX} bytes")));
    }
    if script.contains(is_odd) {
        return Err(field.wrong("spaces, # and control characters cannot stand in it"));
    }
    Ok(Script(script))
}

/// Reads whose connections are counted: a port, an address, or a path.
pub(super) fn read_local_end(field: &Field<'_>, host: &Host) -> Result<LocalEnd, Problem> {
    const WANTED: &str = "a port (443), an address of this host (10.0.0.1:443, [::1]:443) or a socket's path";
    if !field.is_string() {
        return match field.count(1..65_536).map(u16::try_from) {
            Ok(Ok(port)) => Ok(LocalEnd::Port(port)),
            _ => Err(field.wrong(WANTED)),
        };
    }
    let text = field.filled(host)?;
    if text.starts_with('/') {
        return socket_path(field, host).map(LocalEnd::Path);
    }
    if let Ok(port) = text.parse::<u16>() {
        return if port == 0 { Err(field.wrong(WANTED)) } else { Ok(LocalEnd::Port(port)) };
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 && address.ip().is_unspecified() => {
            Err(field.wrong("no connection has this address; its port alone means every address"))
        }
        Ok(address) if address.port() > 0 => Ok(LocalEnd::Address(address)),
        _ => Err(field.wrong(WANTED)),
    }
}

/// Reads `HOST:PORT`, with `{host}` filled in; `why` is what is said when it is none.
pub(super) fn address(field: &Field<'_>, host: &Host, why: &str) -> Result<String, Problem> {
    let address = field.filled(host)?;
    if is_address(&address) {
        return Ok(address);
    }
    let problem = field.wrong(why);
    let bare = UNDRESSED.iter().find_map(|dress| address.strip_prefix(dress));
    Err(match bare.filter(|bare| bare.starts_with('/') || is_address(bare)) {
        Some(bare) => problem.help(format!("did you mean \"{bare}\"?")),
        None => problem,
    })
}

fn is_address(text: &str) -> bool {
    let is_of_host = |c: char| c.is_ascii_alphanumeric() || "._-:[]%".contains(c);
    text.rsplit_once(':').is_some_and(|(name, port)| {
        !name.is_empty() && name.chars().all(is_of_host) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn socket_path(field: &Field<'_>, host: &Host) -> Result<PathBuf, Problem> {
    let path = field.absolute_path(host)?;
    let is_long = |path: &Path| path.as_os_str().len() > SOCKET_PATH_BYTES_MAX;
    if is_long(&path) {
        return Err(field.wrong(format!("the path of a socket has at most {SOCKET_PATH_BYTES_MAX} bytes")));
    }
    Ok(path)
}
