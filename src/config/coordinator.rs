//! Whom a host asks: the coordinator's URL, and what both know each other by.
//!
//! Owns what such a URL may say, and the keys `token`, `tls` and `trusted_network`. Connects to nothing, and reads no token and no
//! certificate: that is done when something is asked.

use super::error::Problem;
use super::reader::Section;
use ::coordinator::remote::Credentials;
use model::names::Host;
use model::passage::without_login;
use std::fmt;
use std::str::FromStr;

/// Longest coordinator URL, in bytes.
const URL_BYTES_MAX: usize = 2048;

/// Where a coordinator is: `http://HOST:PORT[,HOST:PORT…][/DOMAIN]` of a lock server, or of several doors to one store, or the
/// same with `https://`; or the URL of a store. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct CoordinatorUrl(String);

/// Why a coordinator's URL was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoordinatorUrlError {
    /// Another way to reach a coordinator.
    #[error(
        "a coordinator is reached by http://, https://, redis://, rediss://, redis+sentinel://, etcd:// or etcds://"
    )]
    Scheme,
    /// No way at all.
    #[error("it does not begin with http:// or another scheme; did you mean {meant}?")]
    NoScheme {
        /// What was probably meant.
        meant: String,
    },
    /// A store's URL that is wrong.
    #[error("{0}")]
    Store(String),
    /// No port, or none that can be.
    #[error("a coordinator is named by host and port, such as http://locks:7532")]
    Authority,
    /// A domain that cannot be named so, or more than one.
    #[error("a domain is named by letters, digits and . _ -, and there is one at most")]
    Domain,
}

impl CoordinatorUrl {
    /// The URL as text, without a trailing slash, and with its password.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names another machine on each host: that very host.
    pub fn is_loopback(&self) -> bool {
        let place = without_login(&self.0);
        let authority = place.split_once("://").map_or("", |(_, rest)| rest);
        let authority = authority.split(['/', '?']).next().unwrap_or_default();
        let hosts = authority.split(',').map(|place| match place.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => host,
            _ => place,
        });
        ::coordinator::store::is_loopback(hosts)
    }

    /// The same without the password.
    fn shown(&self) -> String {
        CoordinatorUrl::masked(&self.0)
    }

    /// What may be meant as a URL, without what may be meant as its password.
    pub fn masked(text: &str) -> String {
        let hidden = || {
            let (scheme, rest) = text.split_once("://")?;
            let (user, place) = rest.rsplit_once('@')?;
            let name = user.split(':').next().unwrap_or_default();
            Some(format!("{scheme}://{name}:…@{place}"))
        };
        hidden().unwrap_or_else(|| text.to_owned())
    }
}

impl fmt::Display for CoordinatorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.shown())
    }
}

impl fmt::Debug for CoordinatorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CoordinatorUrl({:?})", self.shown())
    }
}

impl FromStr for CoordinatorUrl {
    type Err = CoordinatorUrlError;
    fn from_str(text: &str) -> Result<Self, CoordinatorUrlError> {
        let text = text.strip_suffix('/').unwrap_or(text);
        if text.len() > URL_BYTES_MAX {
            return Err(CoordinatorUrlError::Authority);
        }
        let store = ::coordinator::store::open(text).map_err(|error| CoordinatorUrlError::Store(error.to_string()))?;
        if store.is_some() {
            return if text.ends_with('/') { Err(CoordinatorUrlError::Domain) } else { Ok(Self(text.to_owned())) };
        }
        let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
            let meant = format!("http://{text}");
            return Err(match meant.parse::<CoordinatorUrl>() {
                Ok(_) if !text.contains("://") => CoordinatorUrlError::NoScheme { meant },
                _ => CoordinatorUrlError::Scheme,
            });
        };
        let (authority, domain) = rest.split_once('/').map_or((rest, None), |(host, domain)| (host, Some(domain)));
        let is_of_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
        for server in authority.split(',') {
            let (host, port) = server.rsplit_once(':').ok_or(CoordinatorUrlError::Authority)?;
            let has_host = !host.is_empty() && host.chars().all(is_of_host);
            if !has_host || port.parse::<u16>().map_or(true, |port| port == 0) {
                return Err(CoordinatorUrlError::Authority);
            }
        }
        let is_of_domain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        match domain {
            Some(name) if name.is_empty() || !name.chars().all(is_of_domain) => Err(CoordinatorUrlError::Domain),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

/// Reads what the lock server knows the host by, and the host the lock server.
pub(super) fn credentials(top: &Section<'_>, host: &Host) -> Result<Credentials, Problem> {
    let path = |field: super::reader::Field<'_>| field.absolute_path(host);
    let mut credentials = Credentials { token: top.get("token").map(path).transpose()?, ..Credentials::default() };
    credentials.trusted_network = top.get("trusted_network").map_or(Ok(false), |field| field.flag())?;
    let Some(field) = top.get("tls") else { return Ok(credentials) };
    let tls = field.section(&["ca", "cert", "key"])?;
    credentials.ca = tls.get("ca").map(path).transpose()?;
    credentials.identity = match (tls.get("cert"), tls.get("key")) {
        (Some(cert), Some(key)) => Some((path(cert)?, path(key)?)),
        (None, None) => None,
        (Some(half), None) | (None, Some(half)) => {
            return Err(half.wrong("a client certificate needs both: cert and key"));
        }
    };
    Ok(credentials)
}
