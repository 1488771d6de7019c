//! Where a Redis is: what a URL says, and nothing that must be asked.

use crate::store::StoreError;
use crate::wire::DOMAIN;
use percent_encoding::percent_decode_str;
use std::fmt;

/// The port of a Redis that names none.
const PORT: u16 = 6379;
/// The port of a sentinel that names none.
const SENTINEL_PORT: u16 = 26379;

/// What may be written.
const FORMS: &str = "write redis://HOST:PORT/DOMAIN, rediss://HOST:PORT/DOMAIN for TLS, or redis+sentinel://HOST:PORT,HOST:PORT/MASTER/DOMAIN; \
     the domain may be left out";

/// A server and its port.
pub(super) type Place = (String, u16);

/// How the server is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// It is this one.
    At(Place),
    /// These know where the master of this name is.
    By { sentinels: Vec<Place>, master: String },
}

/// Everything that a URL says.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) found: Found,
    pub(super) tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) domain: String,
    /// How many replicas must have a write.
    pub(super) wait: usize,
}

impl Address {
    /// Reads a URL. Fails with `Unfit`: the URL is none of the forms.
    pub(super) fn read(url: &str) -> Result<Address, StoreError> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| unfit(format!("this is no URL; {FORMS}")))?;
        let (sentinel, tls) = match scheme {
            "redis" => (false, false),
            "rediss" => (false, true),
            "redis+sentinel" => (true, false),
            "redis+cluster" | "rediss+cluster" => return Err(unfit(CLUSTER.to_owned())),
            _ => return Err(unfit(format!("{scheme}:// is no Redis; {FORMS}"))),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.contains('@') {
            return Err(unfit("a / in a password is written %2F, and @ is written %40".to_owned()));
        }
        let (login, hosts) =
            authority.rsplit_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            Some((user, password)) => (decoded(user)?, decoded(password)?),
            None => (None, None),
        };
        if user.is_some() && password.is_none() {
            return Err(unfit(format!("a user needs a password: {scheme}://USER:PASSWORD@HOST")));
        }
        let port = if sentinel { SENTINEL_PORT } else { PORT };
        let mut places = hosts.split(',').map(|host| place(host, port)).collect::<Result<Vec<_>, _>>()?;
        let mut path = path.trim_end_matches('/').split('/').filter(|part| !part.is_empty());
        let found = if sentinel {
            let master = path.next().ok_or_else(|| unfit(format!("no name of a master; {FORMS}")))?;
            Found::By { sentinels: places, master: master.to_owned() }
        } else if places.len() == 1 {
            Found::At(places.remove(0))
        } else {
            return Err(unfit(format!("several hosts are for redis+sentinel:// alone; {FORMS}")));
        };
        let domain = path.next().unwrap_or(DOMAIN).to_owned();
        if path.next().is_some() {
            return Err(unfit(format!("the path says too much; {FORMS}")));
        }
        let may = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '+');
        if !domain.chars().all(may) {
            return Err(unfit(format!("{domain:?} is no domain: it is named by letters, digits and . _ - : +")));
        }
        Ok(Address { found, tls, user, password, domain, wait: wait(query)? })
    }

    /// What every key of the domain begins with. The braces keep all of them in one slot.
    pub(super) fn prefix(&self) -> String {
        format!("stagger:{{{}}}:", self.domain)
    }
}

/// For people: without user and password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Found::At(at) => write!(f, "redis{}://{}", if self.tls { "s" } else { "" }, shown(at))?,
            Found::By { sentinels, master } => {
                let sentinels: Vec<_> = sentinels.iter().map(shown).collect();
                write!(f, "redis+sentinel://{}/{master}", sentinels.join(","))?;
            }
        }
        write!(f, "/{}", self.domain)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a cluster is refused.
pub(super) const CLUSTER: &str =
    "this is a Redis Cluster, which may lose writes when a master fails; use one Redis, or one with sentinels";

/// A place as it is written.
pub(super) fn shown((host, port): &Place) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn unfit(why: String) -> StoreError {
    StoreError::Unfit(why)
}

fn decoded(text: &str) -> Result<Option<String>, StoreError> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| unfit("user or password is no UTF-8".to_owned()))?;
    Ok((!text.is_empty()).then(|| text.into_owned()))
}

fn place(text: &str, port: u16) -> Result<Place, StoreError> {
    let wrong = || unfit(format!("{text:?} is no HOST:PORT; {FORMS}"));
    let (host, rest) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or_else(wrong)?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => port.parse().map_err(|_| wrong())?,
        None if rest.is_empty() => port,
        None => return Err(wrong()),
    };
    let is_of_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if host.is_empty() || !host.chars().all(is_of_host) {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

fn wait(query: &str) -> Result<usize, StoreError> {
    match query.split_once('=') {
        None if query.is_empty() => Ok(0),
        Some(("wait", count)) => count.parse().map_err(|_| unfit(format!("wait={count:?} is no number of replicas"))),
        _ => Err(unfit(format!("{query:?} is not known; wait=N is, the number of replicas that must have a write"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown_without_their_password() {
        let read = |url| Address::read(url).expect("an address");
        let plain = read("redis://redis01");
        assert_eq!((plain.to_string().as_str(), plain.wait), ("redis://redis01:6379/default", 0));
        assert_eq!(plain.prefix(), "stagger:{default}:");
        let full = read("rediss://us%40er:p%2Fw:x@[::1]:7000/eu.web?wait=2");
        assert_eq!((full.user.as_deref(), full.password.as_deref()), (Some("us@er"), Some("p/w:x")));
        assert_eq!((format!("{full:?}").as_str(), full.wait), ("rediss://[::1]:7000/eu.web", 2));
        assert_eq!(read("redis://:secret@h/").password.as_deref(), Some("secret"));
        let sentinel = read("redis+sentinel://:pw@a,b:7/mymaster/web");
        assert_eq!(sentinel.to_string(), "redis+sentinel://a:26379,b:7/mymaster/web");
        assert_eq!(read("redis+sentinel://a/mymaster").domain, "default");
    }

    #[test]
    fn what_is_no_address_says_what_would_be() {
        for (url, says) in [
            ("redis01", "is no URL"),
            ("http://h", "http:// is no Redis"),
            ("redis://", "is no HOST:PORT"),
            ("redis://h:x", "is no HOST:PORT"),
            ("redis://[::1", "is no HOST:PORT"),
            ("redis://a b", "is no HOST:PORT"),
            ("redis://a\0", "is no HOST:PORT"),
            ("redis://a,b", "redis+sentinel:// alone"),
            ("redis+sentinel://a", "no name of a master"),
            ("redis+cluster://a", "Redis Cluster"),
            ("redis://h/a/b", "says too much"),
            ("redis://h/a%20b", "is no domain"),
            ("redis://h/?db=1", "is not known"),
            ("redis://h/?wait=x", "no number"),
        ] {
            let error = Address::read(url).expect_err(url);
            assert!(matches!(&error, StoreError::Unfit(why) if why.contains(says)), "{url}: {error}");
        }
    }
}
