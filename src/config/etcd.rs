//! Where an etcd is that is not Stagger's own, and who asks it: `etcd://` and `etcds://` URLs.
//!
//! Owns what such a URL may say. Connects to nothing, and reads no certificate: that is done when it is asked.

use percent_encoding::percent_decode_str;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Most members that a URL can name.
pub const MEMBERS_MAX: usize = 16;
/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 2048;

/// An etcd: `etcd://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…]`, or `etcds://…[?ca=FILE][&cert=FILE&key=FILE]`. Shown without its
/// user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdUrl {
    /// Its members, `HOST:PORT` each; one of them is asked at a time.
    pub members: Vec<String>,
    /// Name and password of who asks.
    pub user: Option<(String, String)>,
    /// How the connection is encrypted; not at all without it.
    pub tls: Option<EtcdTls>,
}

/// The certificates of an encrypted connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EtcdTls {
    /// Who vouches for the members; the system's authorities without it.
    pub ca: Option<PathBuf>,
    /// Our own certificate, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why a URL of an etcd was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EtcdUrlError {
    /// Another scheme.
    #[error("an etcd is named by etcd://HOST:PORT, or by etcds://HOST:PORT with TLS")]
    Scheme,
    /// Longer than a URL can be.
    #[error("a URL has at most {URL_BYTES_MAX} bytes")]
    Length,
    /// A member without host or port.
    #[error("{0:?} names no etcd: write HOST:PORT, and the port is mostly 2379")]
    Member(String),
    /// Too many members.
    #[error("more than {MEMBERS_MAX} members")]
    Members,
    /// A user without a password, or one that is no text.
    #[error("a user of etcd needs a password: etcd://USER:PASSWORD@HOST:PORT")]
    User,
    /// Something behind the members.
    #[error("nothing may follow the members: the keys are named in `keys`")]
    Path,
    /// An option that there is not.
    #[error("{0:?} is no option of an etcd: there are ca, cert and key")]
    Option(String),
    /// Certificates without encryption.
    #[error("{0}= needs TLS: write etcds:// instead of etcd://")]
    NeedsTls(String),
    /// Half a client certificate.
    #[error("a client certificate needs both: cert=FILE and key=FILE")]
    HalfIdentity,
}

impl FromStr for EtcdUrl {
    type Err = EtcdUrlError;
    fn from_str(text: &str) -> Result<Self, EtcdUrlError> {
        if text.len() > URL_BYTES_MAX {
            return Err(EtcdUrlError::Length);
        }
        let (scheme, rest) = text.split_once("://").ok_or(EtcdUrlError::Scheme)?;
        let has_tls = match scheme {
            "etcd" => false,
            "etcds" => true,
            _ => return Err(EtcdUrlError::Scheme),
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (user, hosts) = match place.rsplit_once('@') {
            Some((user, hosts)) => (Some(read_user(user)?), hosts),
            None => (None, place),
        };
        let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
        if hosts.contains('/') {
            return Err(EtcdUrlError::Path);
        }
        let members = hosts.split(',').map(member).collect::<Result<Vec<_>, _>>()?;
        if members.len() > MEMBERS_MAX {
            return Err(EtcdUrlError::Members);
        }
        let certificates = read_query(query)?;
        match (has_tls, certificates) {
            (true, certificates) => Ok(Self { members, user, tls: Some(certificates) }),
            (false, certificates) if certificates == EtcdTls::default() => Ok(Self { members, user, tls: None }),
            (false, _) => Err(EtcdUrlError::NeedsTls(query.split('=').next().unwrap_or_default().to_owned())),
        }
    }
}

fn member(text: &str) -> Result<String, EtcdUrlError> {
    let wrong = || EtcdUrlError::Member(text.to_owned());
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_place = format!("http://{text}").parse::<http::Uri>().is_ok_and(|uri| uri.host().is_some());
    if host.is_empty() || !is_port || !is_place { Err(wrong()) } else { Ok(text.to_owned()) }
}

fn read_user(text: &str) -> Result<(String, String), EtcdUrlError> {
    let (name, password) = text.split_once(':').ok_or(EtcdUrlError::User)?;
    Ok((decoded(name)?, decoded(password)?))
}

fn decoded(text: &str) -> Result<String, EtcdUrlError> {
    Ok(percent_decode_str(text).decode_utf8().map_err(|_| EtcdUrlError::User)?.into_owned())
}

fn read_query(query: &str) -> Result<EtcdTls, EtcdUrlError> {
    let (mut ca, mut cert, mut key) = (None, None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, file) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match name {
            "ca" => &mut ca,
            "cert" => &mut cert,
            "key" => &mut key,
            _ => return Err(EtcdUrlError::Option(name.to_owned())),
        };
        *place = Some(PathBuf::from(decoded(file)?));
    }
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(EtcdTls { ca, identity: Some((cert, key)) }),
        (None, None) => Ok(EtcdTls { ca, identity: None }),
        _ => Err(EtcdUrlError::HalfIdentity),
    }
}

impl fmt::Display for EtcdUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "etcds" } else { "etcd" };
        f.pad(&format!("{scheme}://{}", self.members.join(",")))
    }
}

impl fmt::Debug for EtcdUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EtcdUrl({self}, {:?})", self.tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_members_and_shows_no_password() {
        let read: EtcdUrl = "etcd://ann:p%40s@conf1:2379,[::1]:2380/".parse().expect("an etcd");
        assert_eq!(read.members, ["conf1:2379", "[::1]:2380"]);
        assert_eq!(read.user, Some(("ann".to_owned(), "p@s".to_owned())));
        assert_eq!(read.tls, None);
        assert_eq!(read.to_string(), "etcd://conf1:2379,[::1]:2380");
        assert!(!format!("{read:?}").contains("p@s") && !format!("{read:?}").contains("p%40s"));
        let read: EtcdUrl = "etcds://conf1:2379?ca=/ca.pem&cert=/c.pem&key=/k.pem".parse().expect("an etcd");
        let tls = read.tls.expect("encrypted");
        assert_eq!(tls.ca, Some("/ca.pem".into()));
        assert_eq!(tls.identity, Some(("/c.pem".into(), "/k.pem".into())));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (url, part) in [
            ("http://a:2379", "etcd://HOST:PORT"),
            ("a:2379", "etcd://HOST:PORT"),
            ("etcd://", "HOST:PORT"),
            ("etcd://a", "2379"),
            ("etcd://a:0", "2379"),
            ("etcd://a:2379,", "2379"),
            ("etcd://ann@a:2379", "password"),
            ("etcd://a:2379/conftool", "`keys`"),
            ("etcd://a:2379?ca=/x", "ca= needs TLS"),
            ("etcds://a:2379?verify=no", "no option"),
            ("etcds://a:2379?cert=/c", "key=FILE"),
        ] {
            let error = url.parse::<EtcdUrl>().expect_err(url);
            assert!(error.to_string().contains(part), "{url}: {error}");
        }
    }
}
