//! The flags that say who may come in to a lock server.
//!
//! Owns that a door which others can reach is protected, unless somebody says that the network is. What protects it is the crate
//! `lockserver`'s.

use crate::cli::failure::Failure;
use crate::config::LockServerConfig;
use ::lockserver::access::{Allow, NETWORK, Settings, Tls};
use ipnet::IpNet;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What protects it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct AccessArgs {
    /// Encrypt, with this certificate and those between it and its authority, in PEM; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Let only those in who have a certificate of this authority, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    client_ca: Option<PathBuf>,
    /// Want a token of each who asks; they are in this file, which stagger lockserver token keeps
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Let only clients of this network in, such as 10.0.0.0/8; poolcounter=NET or api=NET for one of the doors
    #[arg(long, value_name = "NET", value_parser = allowed)]
    allow: Vec<Allowed>,
    /// Listen beyond loopback without encryption or tokens: whoever reaches the port may do everything
    #[arg(long)]
    trusted_network: bool,
}

/// A network, and the door that it is for; all of them when not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Allowed {
    door: Option<Door>,
    network: IpNet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Api,
    Poolcounter,
}

fn allowed(text: &str) -> Result<Allowed, String> {
    let (door, network) = match text.split_once('=') {
        None => (None, text),
        Some(("api", network)) => (Some(Door::Api), network),
        Some(("poolcounter", network)) => (Some(Door::Poolcounter), network),
        Some((other, _)) => return Err(format!("there is no door {other:?}: write api=NET or poolcounter=NET")),
    };
    let network = lockserver::access::network(network).ok_or(NETWORK)?;
    Ok(Allowed { door, network })
}

impl AccessArgs {
    /// What they come to with what the lock server's file says, for a door at this address. Each flag wins over what the file says of the same. `place` is where
    /// the file says the address, if it does.
    ///
    /// # Errors
    /// Others can reach it, and nothing protects it.
    pub(super) fn settings(
        &self,
        api: SocketAddr,
        file: Option<&LockServerConfig>,
        place: &str,
    ) -> Result<Settings, Failure> {
        let said = file.map(|file| file.access.clone()).unwrap_or_default();
        let trusted = file.and_then(|file| file.trusted_network.as_ref()).is_some_and(|trusted| trusted.value);
        let tls = self.tls_cert.clone().zip(self.tls_key.clone());
        let of_file = said.tls.as_ref().and_then(|tls| tls.client_ca.clone());
        let tls = tls.map(|(cert, key)| Tls { cert, key, client_ca: self.client_ca.clone().or(of_file) });
        let of = |door, said: Vec<IpNet>| {
            let here = self.allow.iter().filter(move |allowed| allowed.door.is_none_or(|of| of == door));
            let networks: Vec<_> = here.map(|allowed| allowed.network).collect();
            if networks.is_empty() { said } else { networks }
        };
        let allow =
            Allow { api: of(Door::Api, said.allow.api), poolcounter: of(Door::Poolcounter, said.allow.poolcounter) };
        let tokens = self.tokens.clone().or(said.tokens);
        let settings = Settings { tls: tls.or(said.tls), tokens, allow, limits: said.limits };
        match settings.unprotected() {
            Some(missing) if !(api.ip().is_loopback() || self.trusted_network || trusted) => Err(Failure::usage(
                format!("{place}{api} can be reached from elsewhere, and {missing}"),
                "give it --tls-cert, --tls-key and --tokens, or `tls` and `tokens` in its file; or listen on loopback; or say \
                 --trusted-network, or `trusted_network = true`, when the network itself is the protection",
            )),
            _ => Ok(settings),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        access: AccessArgs,
    }

    fn settings(line: &str, api: &str) -> Result<Settings, String> {
        let line = Line::try_parse_from(["x"].into_iter().chain(line.split_ascii_whitespace()));
        let access = line.map_err(|error| error.to_string())?.access;
        access.settings(api.parse().expect("an address"), None, "").map_err(|failure| failure.render())
    }

    #[test]
    fn a_door_that_others_can_reach_is_protected_or_trusted() {
        let whole = "--tls-cert /c --tls-key /k --tokens /t";
        for line in [whole, "--trusted-network", "--tokens /t --trusted-network"] {
            settings(line, "10.0.0.5:7532").expect(line);
        }
        settings("", "127.0.0.1:7532").expect("loopback");
        settings("", "[::1]:7532").expect("loopback");
        for (line, missing) in [
            ("", "neither encryption nor tokens protect it"),
            ("--tokens /t", "no encryption protects its tokens"),
            ("--tls-cert /c --tls-key /k", "no tokens protect it"),
        ] {
            for api in ["10.0.0.5:7532", "0.0.0.0:7532", "[::]:7532"] {
                let told = settings(line, api).expect_err(line);
                assert!(told.contains(missing) && told.contains("--trusted-network"), "{told}");
            }
        }
        for half in ["--tls-cert /c", "--tls-key /k", "--client-ca /a"] {
            assert!(settings(half, "127.0.0.1:1").is_err(), "{half}");
        }
    }

    #[test]
    fn a_flag_opens_nothing_that_the_file_closed() {
        let text = "tls = { cert = \"/a\", key = \"/b\", client_ca = \"/ca\" }\nallow = [\"10.0.0.0/8\"]\n";
        let file = crate::config::lock_server::parse(text, std::path::Path::new("/f.toml")).expect("a file");
        let line = ["x", "--tls-cert", "/c", "--tls-key", "/k", "--allow", "poolcounter=10.1.0.0/16"];
        let access = Line::try_parse_from(line).expect("flags").access;
        let settings = access.settings("127.0.0.1:1".parse().expect("an address"), Some(&file), "").expect("settings");
        let tls = settings.tls.expect("encrypted");
        assert_eq!((tls.cert.to_str(), tls.client_ca.as_deref()), (Some("/c"), Some(std::path::Path::new("/ca"))));
        assert_eq!(settings.allow.api, file.access.allow.api);
        assert_eq!(settings.allow.poolcounter, ["10.1.0.0/16".parse().expect("a network")]);
    }

    #[test]
    fn networks_are_for_all_doors_or_for_one() {
        let read = settings("--allow 10.0.0.0/8 --allow poolcounter=10.1.2.3 --allow api=::1/128", "127.0.0.1:1");
        let allow = read.expect("settings").allow;
        let texts = |networks: &[IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&allow.api), ["10.0.0.0/8", "::1/128"]);
        assert_eq!(texts(&allow.poolcounter), ["10.0.0.0/8", "10.1.2.3/32"]);
        for wrong in ["page=10.0.0.0/8", "10.0.0.0/33", "locks", ""] {
            assert!(allowed(wrong).is_err(), "{wrong}");
        }
    }
}
