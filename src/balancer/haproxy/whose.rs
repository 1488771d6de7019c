//! Whose a server is: a name that was copied from another host's file must not take that host out.
//!
//! Owns what is certain. A server whose name has this host's in it is its own: no address says more, as the load balancer may see
//! another one than the host itself does. Called whenever a server is looked for, so that nothing is asked or moved of another's.

use super::answer::State;
use crate::config::depool::haproxy::{HaproxyServer, is_named_for};
use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};

/// Why this server is certainly another host's, as far as it is; `all` are those of its backend.
pub(super) fn another(server: &HaproxyServer, mine: &State, all: &[State]) -> Option<String> {
    let host = server.unnamed.as_ref()?;
    let elsewhere = mine.place.filter(|(address, _)| is_elsewhere(*address));
    let is_here = mine.place.is_some_and(|(address, _)| !address.is_loopback()) && elsewhere.is_none();
    let named = all.iter().find(|other| is_named_for(host, &other.server) && other.place != mine.place);
    let name = format!("{}/{}", mine.backend, mine.server);
    match (named, elsewhere) {
        (Some(own), _) if !is_here => {
            Some(format!("{name} is another host's: {host} is {}/{}", own.backend, own.server))
        }
        (_, Some((address, _))) => Some(format!("{name} is another host's: {host} has no address {address}")),
        _ => None,
    }
}

/// Whether this host has certainly not this address. The kernel lets nobody use one that is not its own.
pub(super) fn is_elsewhere(address: IpAddr) -> bool {
    let bound = UdpSocket::bind((address, 0));
    bound.is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable)
}
