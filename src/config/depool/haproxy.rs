//! How a host leaves HAProxy: which runtime sockets there are, and which servers the host is there.
//!
//! Owns the keys and what a name of HAProxy's may look like. What is said over the sockets is decided in the module `balancer`.

use super::BALANCERS_MAX;
use crate::config::error::Problem;
use crate::config::place;
use crate::config::reader::{Field, Section};
use model::names::Host;
use std::fmt;
use std::path::PathBuf;

/// Most servers of one service, over all sockets.
pub const SERVERS_MAX: usize = 64;
/// How often it is tried until it is confirmed, unless said otherwise: with the pauses, longer than HAProxy's own checks take to
/// find a server well again (`rise 2`, `inter 2s`).
pub const TRIES_DEFAULT: u32 = 10;

/// One server at one load balancer: what is asked, moved and confirmed by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaproxyServer {
    /// The load balancer's runtime socket.
    pub socket: Socket,
    /// The backend, by its exact name.
    pub backend: String,
    /// The server in it, by its exact name.
    pub server: String,
    /// This host, where no name says that the server is its own: then what the load balancer knows of it must not say that it is
    /// another's.
    pub unnamed: Option<Host>,
}

impl fmt::Display for HaproxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.socket, self.backend, self.server)
    }
}

/// A runtime socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Socket {
    /// `HOST:PORT`.
    Tcp(String),
    /// A file on this machine.
    Unix(PathBuf),
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Socket::Tcp(address) => f.pad(address),
            Socket::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Reads the keys of this kind: every server at every socket.
pub(super) fn read(section: &Section<'_>, host: &Host) -> Result<Vec<HaproxyServer>, Problem> {
    let field =
        section.must("sockets", "[\"lb1:9999\", \"/run/haproxy/admin.sock\"]: every load balancer's runtime socket")?;
    let sockets = read_sockets(&field, host)?;
    let field = section.must("server", "\"BACKEND/{host}\", or a list of such")?;
    let at = field.at.clone();
    let names = if field.is_string() { vec![field] } else { field.items("\"BACKEND/{host}\", or a list of such")? };
    if names.is_empty() || names.len() * sockets.len() > SERVERS_MAX {
        let label = format!("between 1 and {SERVERS_MAX} servers, over all sockets");
        return Err(Problem::new(at, format!("cannot use `{}.server`", section.name)).label(label));
    }
    let mut servers: Vec<HaproxyServer> = Vec::new();
    for name in names {
        let (backend, server) = read_server(&name, host)?;
        let is_named = name.string()?.contains("{host}") || is_named_for(host, &format!("{backend}/{server}"));
        if servers.iter().any(|other| other.backend == backend && other.server == server) {
            return Err(name.wrong("this server is listed twice"));
        }
        servers.extend(sockets.iter().map(|socket| HaproxyServer {
            socket: socket.clone(),
            backend: backend.clone(),
            server: server.clone(),
            unnamed: (!is_named).then(|| host.clone()),
        }));
    }
    Ok(servers)
}

/// Whether the host's name stands in this one, whole: `mw1` in `php-mw1`, and not in `mw10`. Of a long name, its first part does.
pub fn is_named_for(host: &Host, name: &str) -> bool {
    let (host, name) = (host.as_str().to_ascii_lowercase(), name.to_ascii_lowercase());
    let short = host.split('.').next().filter(|short| short.contains(|c: char| c.is_ascii_alphabetic()));
    std::iter::once(host.as_str()).chain(short).any(|word| {
        name.match_indices(word).any(|(at, _)| {
            let is_of_word = |c: char| c.is_ascii_alphanumeric();
            !name[..at].ends_with(is_of_word) && !name[at + word.len()..].starts_with(is_of_word)
        })
    })
}

fn read_sockets(field: &Field<'_>, host: &Host) -> Result<Vec<Socket>, Problem> {
    let items = field.items("a list of sockets, such as [\"lb1:9999\", \"/run/haproxy/admin.sock\"]")?;
    if items.is_empty() || items.len() > BALANCERS_MAX {
        return Err(field.wrong(format!("between 1 and {BALANCERS_MAX} sockets")));
    }
    let mut sockets = Vec::new();
    for item in items {
        let socket = if item.string()?.starts_with('/') {
            Socket::Unix(item.absolute_path(host)?)
        } else {
            Socket::Tcp(place::address(&item, host, "a socket is HOST:PORT, or a path from the root")?)
        };
        if sockets.contains(&socket) {
            return Err(item.wrong("this socket is listed twice"));
        }
        sockets.push(socket);
    }
    Ok(sockets)
}

/// `BACKEND/SERVER`. What HAProxy would not accept as a name is refused: a number sign would be read as an id, and a semicolon as
/// the end of the command.
fn read_server(field: &Field<'_>, host: &Host) -> Result<(String, String), Problem> {
    let filled = field.without_placeholders(field.filled(host)?)?;
    let Some((backend, server)) = filled.split_once('/') else {
        return Err(field.wrong("a server is written BACKEND/SERVER, such as \"app/{host}\""));
    };
    for name in [backend, server] {
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c));
        if !is_name {
            return Err(field.wrong(format!("{name:?} is no name in HAProxy: letters, digits and - _ . : are")));
        }
    }
    Ok((backend.to_owned(), server.to_owned()))
}
