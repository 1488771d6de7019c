//! Where an etcd is, and who asks it: reads `etcd://` and `etcds://` URLs. Connects to nothing.

use super::super::StoreError;
use super::{ANSWER_WAIT, CONNECT_WAIT};
use crate::wire::DOMAIN;
use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use model::names::Id;
use percent_encoding::percent_decode_str;
use std::fs;
use std::time::Duration;

/// How often a silent connection is probed. A server of etcd forbids more than one probe every 5 s.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// How long a probe may stay without an answer.
const PROBE_WAIT: Duration = Duration::from_secs(5);

/// What an URL says.
#[derive(Debug)]
pub(super) struct Address {
    /// `http://HOST:PORT` or `https://HOST:PORT`, one for each member.
    pub(super) endpoints: Vec<String>,
    /// User, password, certificates, waiting times.
    pub(super) options: ConnectOptions,
    /// The domain.
    pub(super) domain: String,
    /// The URL for people: without user, password and files.
    pub(super) name: String,
}

/// What is wrong with an URL.
fn wrong(what: impl Into<String>) -> StoreError {
    StoreError::Unfit(what.into())
}

impl Address {
    /// Reads `etcd://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…][/DOMAIN]`, or `etcds://…[?ca=FILE][&cert=FILE&key=FILE]`, and
    /// the files that it names.
    pub(super) fn read(url: &str) -> Result<Address, StoreError> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let has_tls = match scheme {
            "etcd" => false,
            "etcds" => true,
            _ => return Err(wrong("an etcd is named by etcd://HOST:PORT, or by etcds://HOST:PORT with TLS")),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, domain) = rest.split_once('/').unwrap_or((rest, ""));
        let domain = if domain.is_empty() { DOMAIN } else { domain };
        if domain.parse::<Id>().is_err() {
            return Err(wrong(format!("{domain:?} is no domain: it has letters, digits and . _ - : +")));
        }
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, authority),
        };
        let prefix = if has_tls { "https" } else { "http" };
        let endpoints = hosts.split(',').map(|host| endpoint(prefix, host)).collect::<Result<_, _>>()?;
        // `require_leader`: a member that lost its cluster says so, and breaks its watches off.
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT_WAIT)
            .with_timeout(ANSWER_WAIT)
            .with_keep_alive(PROBE_EVERY, PROBE_WAIT)
            .with_keep_alive_while_idle(false)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some(user) = user {
            let (user, password) = user
                .split_once(':')
                .ok_or_else(|| wrong("a user of etcd needs a password: etcd://USER:PASSWORD@HOST:PORT"))?;
            options = options.with_user(decoded(user)?, decoded(password)?);
        }
        let tls = tls(has_tls, query)?;
        if let Some(tls) = tls {
            options = options.with_tls(tls);
        }
        Ok(Address { endpoints, options, name: format!("{scheme}://{hosts}/{domain}"), domain: domain.to_owned() })
    }
}

fn endpoint(prefix: &str, host: &str) -> Result<String, StoreError> {
    let port = host.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    let endpoint = format!("{prefix}://{host}");
    match port {
        Some(Ok(_)) if endpoint.parse::<http::Uri>().is_ok() => Ok(endpoint),
        _ => Err(wrong(format!("{host:?} names no etcd: write HOST:PORT, and the port is mostly 2379"))),
    }
}

fn decoded(text: &str) -> Result<String, StoreError> {
    let text = percent_decode_str(text).decode_utf8();
    Ok(text.map_err(|_| wrong("user and password of etcd must be UTF-8"))?.into_owned())
}

/// Certificates: those of the system, unless the query names others.
fn tls(has_tls: bool, query: &str) -> Result<Option<TlsOptions>, StoreError> {
    let (mut ca, mut cert, mut key) = (None, None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, file) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match name {
            "ca" => &mut ca,
            "cert" => &mut cert,
            "key" => &mut key,
            _ => return Err(wrong(format!("{name:?} is no option of an etcd: there are ca, cert and key"))),
        };
        if !has_tls {
            return Err(wrong(format!("{name}= needs TLS: write etcds:// instead of etcd://")));
        }
        let file = decoded(file)?;
        let text = fs::read(&file).map_err(|cause| wrong(format!("cannot read {name}={file}: {cause}")))?;
        *place = Some(text);
    }
    if !has_tls {
        return Ok(None);
    }
    let tls = match ca {
        Some(ca) => TlsOptions::new().ca_certificate(Certificate::from_pem(ca)),
        None => TlsOptions::new().with_native_roots(),
    };
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(tls.identity(Identity::from_pem(cert, key)))),
        (None, None) => Ok(Some(tls)),
        _ => Err(wrong("a client certificate needs both: cert=FILE and key=FILE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_members_and_a_domain_and_shows_no_password() {
        let read = Address::read("etcd://ann:p%40s@a:2379,[::1]:2380/web").expect("an address");
        assert_eq!(read.endpoints, ["http://a:2379", "http://[::1]:2380"]);
        assert_eq!((read.domain.as_str(), read.name.as_str()), ("web", "etcd://a:2379,[::1]:2380/web"));
        let read = Address::read("etcds://a:2379").expect("an address");
        assert_eq!(read.endpoints, ["https://a:2379"]);
        assert_eq!((read.domain.as_str(), read.name.as_str()), ("default", "etcds://a:2379/default"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (url, part) in [
            ("redis://a:1", "etcd://HOST:PORT"),
            ("etcd://", "HOST:PORT"),
            ("etcd://a", "2379"),
            ("etcd://a:2379,", "2379"),
            ("etcd://a:x", "2379"),
            ("etcd://ann@a:2379", "password"),
            ("etcd://a:2379/b/c", "no domain"),
            ("etcd://a:2379?ca=/x", "etcds://"),
            ("etcds://a:2379?ca=/no/such/file", "/no/such/file"),
            ("etcds://a:2379?verify=no", "no option"),
            ("etcds://a:2379?cert=/dev/null", "key=FILE"),
        ] {
            match Address::read(url) {
                Err(StoreError::Unfit(why)) => assert!(why.contains(part), "{url}: {why}"),
                other => panic!("{url}: {other:?}"),
            }
        }
    }
}
