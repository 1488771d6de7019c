//! What can be said about access, as the flags and the lock server's file say it. Pure.

use ipnet::IpNet;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// How access to a lock server is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How connections to the HTTP doors are encrypted; not at all without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The file of the tokens; without it whoever reaches the door may do everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<PathBuf>,
    /// From where clients may come; from everywhere where nothing is named.
    pub allow: Allow,
    /// How often clients may ask. Without it there are the usual bounds where there are tokens, else none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// The files of an encrypted door, in PEM. They are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The server's certificate, and those between it and its authority.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who vouches for clients: with it only those come in that have a certificate of theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

/// The networks from which clients may come, for each door: `["10.0.0.0/8"]` for all of them, or `{ api = […], poolcounter = […] }`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Allow {
    /// To the HTTP door.
    pub api: Vec<IpNet>,
    /// To the door for clients of poolcounterd.
    pub poolcounter: Vec<IpNet>,
}

/// What a network is written as, for people.
pub const NETWORK: &str = "a network is written as 10.0.0.0/8 or 2001:db8::/32, or an address";

/// A network, or the one address that it is.
pub fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// A network as it stands in a file.
struct Network(IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
        let text = String::deserialize(deserializer)?;
        network(&text).map(Network).ok_or_else(|| D::Error::custom(format!("{text:?}: {NETWORK}")))
    }
}

impl<'de> Deserialize<'de> for Allow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Allow, D::Error> {
        deserializer.deserialize_any(AllowText)
    }
}

/// The two ways to write it.
struct AllowText;

impl<'de> Visitor<'de> for AllowText {
    type Value = Allow;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of networks, or { api = [...], poolcounter = [...] }")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Allow, A::Error> {
        let mut networks = Vec::new();
        while let Some(Network(network)) = list.next_element()? {
            networks.push(network);
        }
        Ok(Allow { api: networks.clone(), poolcounter: networks })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut doors: A) -> Result<Allow, A::Error> {
        let mut allow = Allow::default();
        while let Some(door) = doors.next_key::<String>()? {
            let of = match door.as_str() {
                "api" => &mut allow.api,
                "poolcounter" => &mut allow.poolcounter,
                _ => return Err(A::Error::unknown_field(&door, &["api", "poolcounter"])),
            };
            *of = doors.next_value::<Vec<Network>>()?.into_iter().map(|Network(network)| network).collect();
        }
        Ok(allow)
    }
}

/// How much one address, and one token, may ask. 0 is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests a second, of an address and of a token.
    pub requests: u32,
    /// How many more may come at once after a silence.
    pub burst: u32,
    /// Connections of an address at once.
    pub connections: u32,
}

impl Default for Limits {
    /// Far above what a host asks, and a fleet behind one address when it is deployed.
    fn default() -> Limits {
        Limits { requests: 500, burst: 5_000, connections: 2_000 }
    }
}

impl Settings {
    /// The bounds that hold.
    pub(crate) fn bounds(&self) -> Limits {
        let none = Limits { requests: 0, burst: 0, connections: 0 };
        self.limits.unwrap_or(if self.tokens.is_some() { Limits::default() } else { none })
    }

    /// What is missing before a door may be opened to a network that is not trusted; nothing when all is there.
    pub fn unprotected(&self) -> Option<&'static str> {
        match (&self.tls, &self.tokens) {
            (Some(_), Some(_)) => None,
            (None, Some(_)) => Some("no encryption protects its tokens"),
            (Some(_), None) => Some("no tokens protect it"),
            (None, None) => Some("neither encryption nor tokens protect it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Settings, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn settings_are_read_as_the_manual_writes_them() {
        assert_eq!(read("{}").expect("settings"), Settings::default());
        let all = read(
            r#"{"tls": {"cert": "/c", "key": "/k", "client_ca": "/a"}, "tokens": "/t", "allow": ["10.0.0.0/8", "::1/128"],
                "limits": {"requests": 7}}"#,
        )
        .expect("settings");
        assert_eq!((all.allow.api.len(), &all.allow.api), (2, &all.allow.poolcounter));
        assert_eq!(all.bounds(), Limits { requests: 7, ..Limits::default() });
        assert_eq!(all.unprotected(), None);
        let each = read(r#"{"allow": {"poolcounter": ["10.0.0.0/8"]}}"#).expect("settings");
        assert_eq!((each.allow.api.len(), each.allow.poolcounter.len()), (0, 1));
        assert_eq!(each.bounds().requests, 0, "nobody is bounded who needs no token");
        assert!(each.unprotected().is_some());
        for wrong in [
            r#"{"token": "/t"}"#,
            r#"{"tls": {"cert": "/c"}}"#,
            r#"{"allow": ["10.0.0"]}"#,
            r#"{"allow": {"page": []}}"#,
            r#"{"limits": {"requests": -1}}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let written = serde_json::to_string(&all).expect("JSON");
        assert_eq!(read(&written).expect("settings"), all);
    }
}
