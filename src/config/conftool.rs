//! How a host leaves its pools through conftool: an entry in etcd for each of its services, and the PyBals that follow it.
//!
//! Owns the keys of `depool` by `conftool`, and what a key and a pool may be called. How it is done is decided in the module
//! `balancer`. The layout is conftool's own: `/conftool/v1/pools/DC/CLUSTER/SERVICE/HOST`.

use super::depool::BALANCERS_MAX;
use super::error::Problem;
use super::etcd::EtcdUrl;
use super::probe::HttpUrl;
use super::reader::{Field, Section};
use model::names::Host;
use std::collections::BTreeSet;

/// Most pools of one key.
pub const POOLS_MAX: usize = 16;
/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 512;
/// What conftool's keys begin with, unless it was told otherwise; not shown to people.
const PREFIX: &str = "/conftool/v1/pools/";

/// The host's entries in etcd, and who follows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conftool {
    /// Where the entries are.
    pub etcd: EtcdUrl,
    /// How etcd is spoken to.
    pub api: EtcdApi,
    /// One for each service that the balancers know; never empty.
    pub entries: Vec<Entry>,
}

/// The two ways to speak to etcd, which know nothing of each other's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EtcdApi {
    /// HTTP: what conftool and PyBal speak.
    V2,
    /// gRPC.
    V3,
}

/// The host in one service: its key in etcd, and the pools of PyBal that follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, for people and for the journal: the key without what all keys begin with.
    pub name: String,
    /// The key, exactly.
    pub key: String,
    /// Each pool at each PyBal; every one must agree.
    pub pybals: Vec<PyBal>,
}

/// The host in one pool of one PyBal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PyBal {
    /// Its host and port.
    pub name: String,
    /// The pool, as it is called there.
    pub pool: String,
    /// The host, as it is called there: the last part of the key.
    pub host: String,
    /// What the whole pool is asked by.
    pub pool_url: HttpUrl,
    /// What this host in it is asked by.
    pub url: HttpUrl,
}

/// Reads the keys of `conftool`; the common ones are read by the caller.
pub(super) fn read(section: &Section<'_>, host: &Host) -> Result<Conftool, Problem> {
    let etcd = section.must("etcd", "\"etcds://HOST:PORT\" of conftool's etcd")?.parse::<EtcdUrl>()?;
    let api = section.get("api").map(|field| field.choice(&[("v2", EtcdApi::V2), ("v3", EtcdApi::V3)])).transpose()?;
    let shared = section.get("pybals").map(|field| read_pybals(&field, host)).transpose()?;
    let list =
        section.must("keys", "[{ key = \"/conftool/v1/pools/…/{host}.DOMAIN\", pools = [\"NAME_PORT\"] }, …]")?;
    let items = list.items("a list of keys: { key = \"/conftool/…/{host}\", pools = [\"NAME_PORT\"] }")?;
    if items.is_empty() || items.len() > BALANCERS_MAX {
        return Err(list.wrong(format!("between 1 and {BALANCERS_MAX} keys")));
    }
    let mut entries: Vec<Entry> = Vec::new();
    for item in &items {
        let entry = read_entry(item, host, shared.as_deref())?;
        if entries.iter().any(|known| known.key == entry.key) {
            return Err(item.wrong("this key is listed twice"));
        }
        entries.push(entry);
    }
    Ok(Conftool { etcd, api: api.unwrap_or(EtcdApi::V2), entries })
}

fn read_entry(field: &Field<'_>, host: &Host, shared: Option<&[HttpUrl]>) -> Result<Entry, Problem> {
    let section = field.section(&["key", "pools", "pybals"])?;
    let key = read_key(&section.must("key", "\"/conftool/v1/pools/…/{host}.DOMAIN\"")?, host)?;
    let own = section.get("pybals").map(|field| read_pybals(&field, host)).transpose()?;
    let pybals = match own.as_deref().or(shared) {
        Some(pybals) => pybals,
        None => {
            section.must("pybals", "[\"http://lvs1:9090\", …]: who must confirm, here or for all keys")?;
            &[]
        }
    };
    let pools =
        read_pools(&section.must("pools", "[\"NAME_PORT\", …]: what PyBal calls the pools that follow the key")?)?;
    let known_as = key.rsplit('/').next().unwrap_or_default();
    let mut asked = Vec::new();
    for base in pybals {
        for pool in &pools {
            let pool_url = format!("{}/pools/{pool}", base.as_str().trim_end_matches('/'));
            let url = format!("{pool_url}/{known_as}");
            let read =
                |url: &str| url.parse().map_err(|error: super::probe::HttpUrlError| field.wrong(error.to_string()));
            asked.push(PyBal {
                name: base.authority().to_owned(),
                pool: pool.clone(),
                host: known_as.to_owned(),
                pool_url: read(&pool_url)?,
                url: read(&url)?,
            });
        }
    }
    let name = key.strip_prefix(PREFIX).unwrap_or(&key).to_owned();
    Ok(Entry { name, key, pybals: asked })
}

/// A key is this host's and nobody else's: it is used as it stands, never as a pattern, and ends in the host's name.
fn read_key(field: &Field<'_>, host: &Host) -> Result<String, Problem> {
    let key = field.without_placeholders(field.filled(host)?)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '+');
    let is_part = |part: &str| !part.is_empty() && !matches!(part, "." | "..") && part.chars().all(is_plain);
    let parts = key.strip_prefix('/').map(|path| path.split('/').collect::<Vec<_>>());
    let Some(parts) = parts.filter(|parts| parts.len() > 1 && parts.iter().all(|part| is_part(part))) else {
        return Err(field.wrong("a key is /FOLDER/…/HOST: letters, digits and . _ - : + between slashes"));
    };
    if key.len() > KEY_BYTES_MAX {
        return Err(field.wrong(format!("a key has at most {KEY_BYTES_MAX} bytes")));
    }
    let last = parts.last().copied().unwrap_or_default();
    let is_ours = last.strip_prefix(host.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if !is_ours {
        let why = format!("the last part is a host, and must be this one: {host}, or {host}.DOMAIN");
        return Err(field.wrong(why).help("write {host} there, and the domain behind it"));
    }
    Ok(key)
}

fn read_pybals(field: &Field<'_>, host: &Host) -> Result<Vec<HttpUrl>, Problem> {
    let items = field.items("a list of base URLs, such as [\"http://lvs1:9090\"]")?;
    if items.is_empty() || items.len() > BALANCERS_MAX {
        return Err(field.wrong(format!("between 1 and {BALANCERS_MAX} PyBals")));
    }
    let mut names = BTreeSet::new();
    let mut urls = Vec::new();
    for item in items {
        let url = item.url(host)?;
        if url.as_str().trim_end_matches('/') != format!("http://{}", url.authority()) {
            return Err(item.wrong("only host and port: the path is PyBal's own").help("http://HOST:9090"));
        }
        if !names.insert(url.authority().to_owned()) {
            return Err(item.wrong("this PyBal is listed twice"));
        }
        urls.push(url);
    }
    Ok(urls)
}

fn read_pools(field: &Field<'_>) -> Result<Vec<String>, Problem> {
    let items = field.items("a list of pools as PyBal calls them, such as [\"apaches_80\"]")?;
    if items.is_empty() || items.len() > POOLS_MAX {
        return Err(field.wrong(format!("a key is followed by 1 to {POOLS_MAX} pools")));
    }
    let mut pools: Vec<String> = Vec::new();
    for item in items {
        let pool = item.string()?;
        // The same letters as in our own pools: they stand in a URL as they are.
        pool.parse::<model::names::Pool>().map_err(|error| item.wrong(error.to_string()))?;
        if pools.iter().any(|known| known == pool) {
            return Err(item.wrong("this pool is listed twice"));
        }
        pools.push(pool.to_owned());
    }
    Ok(pools)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::depool::Way;
    use crate::config::{Surroundings, parse};
    use std::path::Path;

    fn read(depool: &str) -> Result<Conftool, String> {
        let text = format!(
            "coordinator = \"http://locks:7532\"\n[service.web]\npools = [\"p\"]\n\
             restart = {{ kind = \"exec\", command = [\"true\"] }}\n[service.web.depool]\nkind = \"conftool\"\n{depool}"
        );
        let surroundings = Surroundings { hostname: "mw1".to_owned(), state_directory: None };
        let config = parse(&text, Path::new("stagger.toml"), &surroundings).map_err(|error| error.to_string())?;
        match config.services.into_values().next().map(|service| service.depool.way) {
            Some(Way::Conftool(conftool)) => Ok(conftool),
            other => panic!("another way: {other:?}"),
        }
    }

    const ETCD: &str = "etcd = \"etcd://conf1:2379\"\n";
    const PYBALS: &str = "pybals = [\"http://lvs1:9090\", \"http://lvs2:9090/\"]\n";

    #[test]
    fn each_key_has_its_pools_and_its_pybals() {
        let keys = "keys = [\n{ key = \"/conftool/v1/pools/eqiad/app/apache2/{host}.example.org\", pools = [\"apaches_80\", \"api_80\"] },\n\
                    { key = \"/other/{host}\", pools = [\"x_1\"], pybals = [\"http://lvs3:9090\"] },\n]\n";
        let conftool = read(&format!("{ETCD}{PYBALS}{keys}")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(conftool.api, EtcdApi::V2, "as conftool itself");
        let [one, two] = &conftool.entries[..] else { panic!("{conftool:?}") };
        assert_eq!(one.key, "/conftool/v1/pools/eqiad/app/apache2/mw1.example.org");
        assert_eq!(one.name, "eqiad/app/apache2/mw1.example.org");
        let urls: Vec<&str> = one.pybals.iter().map(|pybal| pybal.url.as_str()).collect();
        let expected = [
            "http://lvs1:9090/pools/apaches_80/mw1.example.org",
            "http://lvs1:9090/pools/api_80/mw1.example.org",
            "http://lvs2:9090/pools/apaches_80/mw1.example.org",
            "http://lvs2:9090/pools/api_80/mw1.example.org",
        ];
        assert_eq!(urls, expected);
        assert_eq!((two.name.as_str(), two.pybals.len()), ("/other/mw1", 1));
        assert_eq!(two.pybals[0].url.as_str(), "http://lvs3:9090/pools/x_1/mw1");
        let v3 = read(&format!("api = \"v3\"\n{ETCD}{PYBALS}{keys}")).expect("read");
        assert_eq!(v3.api, EtcdApi::V3);
    }

    /// Seen to go wrong: a pattern matched other hosts, and an unknown name everything.
    #[test]
    fn a_key_is_this_hosts_and_is_never_a_pattern() {
        let key = |key: &str| read(&format!("{ETCD}{PYBALS}keys = [{{ key = \"{key}\", pools = [\"a_80\"] }}]\n"));
        for good in ["/pools/{host}", "/pools/mw1", "/a/b/c/{host}.example.org"] {
            key(good).unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        for (bad, part) in [
            ("/pools/mw1001", "must be this one: mw1, or mw1.DOMAIN"),
            ("/pools/{host}001", "must be this one"),
            ("/pools/mw", "must be this one"),
            ("/pools/{host}/", "a key is /FOLDER/…/HOST"),
            ("pools/{host}", "a key is /FOLDER/…/HOST"),
            ("/{host}", "a key is /FOLDER/…/HOST"),
            ("/pools/*/{host}", "a key is /FOLDER/…/HOST"),
            ("/pools/../{host}", "a key is /FOLDER/…/HOST"),
            ("/pools/a?b/{host}", "a key is /FOLDER/…/HOST"),
            ("/pools/{hosts}", "did you mean `{host}`?"),
        ] {
            let error = key(bad).map(|_| ()).expect_err(bad);
            assert!(error.contains(part), "{bad}: {error}");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_said_with_its_place() {
        let keys = "keys = [{ key = \"/p/{host}\", pools = [\"a_80\"] }]\n";
        for (depool, part) in [
            (format!("{PYBALS}{keys}"), "missing key `etcd`"),
            (format!("{ETCD}{keys}"), "missing key `pybals`"),
            (format!("{ETCD}{PYBALS}"), "missing key `keys`"),
            (format!("{ETCD}{PYBALS}keys = []\n"), "between 1 and 16 keys"),
            (format!("{ETCD}pybals = []\n{keys}"), "between 1 and 16 PyBals"),
            (format!("{ETCD}pybals = [\"http://a:1\", \"http://a:1/\"]\n{keys}"), "this PyBal is listed twice"),
            (format!("{ETCD}pybals = [\"http://a:1/pools\"]\n{keys}"), "only host and port"),
            (format!("etcd = \"http://a:2379\"\n{PYBALS}{keys}"), "etcd://HOST:PORT"),
            (format!("api = \"v4\"\n{ETCD}{PYBALS}{keys}"), "this build knows v2, v3"),
            (format!("{ETCD}{PYBALS}{}", keys.replace("\"a_80\"", "")), "1 to 16 pools"),
            (format!("{ETCD}{PYBALS}{}", keys.replace("a_80", "a/80")), "a pool is named by"),
            (format!("{ETCD}{PYBALS}{}", keys.replace("\"a_80\"", "\"a_80\", \"a_80\"")), "this pool is listed twice"),
            (
                format!("{ETCD}{PYBALS}{}", keys.replace("}]", "}, { key = \"/p/mw1\", pools = [\"b_80\"] }]")),
                "this key is listed twice",
            ),
            (format!("path = \"/x\"\n{ETCD}{PYBALS}{keys}"), "unknown key `path`"),
        ] {
            let error = read(&depool).map(|_| ()).expect_err(&depool);
            assert!(error.contains(part) && error.contains("stagger.toml:"), "{depool}\n{error}");
        }
    }
}
