//! What a look at HAProxy's setup finds: what would fail in the first restart, or hurt in it.
//!
//! Owns what is asked beside the server itself: whether the socket may move it, where else it gets traffic from, and whether anything
//! says that it is this host's. Moves nothing. What cannot be told is left out: that somebody does not answer, the look at the server
//! itself says. Called by `stagger check --ask`.

use super::answer::{Servers, State};
use super::{numbered, socket, whose};
use crate::balancer::Remark;
use crate::config::depool::haproxy::{HaproxyServer, Socket};
use std::time::Duration;

/// Looks at every socket of these servers.
pub(in crate::balancer) async fn look(servers: &[HaproxyServer], within: Duration) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut seen: Vec<&Socket> = Vec::new();
    for server in servers {
        if seen.contains(&&server.socket) {
            continue;
        }
        seen.push(&server.socket);
        remarks.extend(level(&server.socket, within).await);
        let here: Vec<&HaproxyServer> = servers.iter().filter(|other| other.socket == server.socket).collect();
        remarks.extend(elsewhere(&here, within).await);
    }
    remarks
}

/// A socket that may only look.
async fn level(at: &Socket, within: Duration) -> Option<Remark> {
    let said = socket::ask(at, "show cli level", within).await.ok()?;
    let level = said.trim();
    let says = format!("{at}: it is of `level {level}`, which moves no server: the socket needs `level admin`");
    matches!(level, "user" | "operator").then_some(Remark { is_wrong: true, says })
}

/// Where else these servers of one socket get traffic from; and those that nothing says to be this host's.
async fn elsewhere(mine: &[&HaproxyServer], within: Duration) -> Vec<Remark> {
    let Some(first) = mine.first() else { return Vec::new() };
    let said = socket::ask(&first.socket, "show servers state", within).await;
    let Ok(servers) = said.map_err(|error| error.to_string()).and_then(|said| Servers::read(&said)) else {
        return Vec::new();
    };
    let is = |state: &State, server: &HaproxyServer| state.backend == server.backend && state.server == server.server;
    let mut remarks = Vec::new();
    for server in mine {
        let Some(state) = servers.all.iter().find(|state| is(state, server)) else { continue };
        remarks.extend(nobody_says(server, state));
        let Some(place) = state.place.filter(|(_, port)| *port > 0) else { continue };
        for other in servers.all.iter().filter(|other| other.place == Some(place)) {
            if mine.iter().any(|listed| is(other, listed)) || is_led(other, mine, within).await {
                continue;
            }
            let (backend, name) = (&other.backend, &other.server);
            remarks.push(Remark {
                is_wrong: false,
                says: format!(
                    "{server}: {backend}/{name} is at {} too, gets traffic in a restart, and is not listed",
                    std::net::SocketAddr::from(place)
                ),
            });
        }
    }
    remarks
}

/// Whether a server follows one of these wherever it is put: `track`.
async fn is_led(other: &State, mine: &[&HaproxyServer], within: Duration) -> bool {
    let Some(first) = mine.first() else { return false };
    let stats = numbered(&first.socket, &other.id, within).await.unwrap_or_default();
    let is_mine = |name: &str| mine.iter().any(|listed| format!("{}/{}", listed.backend, listed.server) == name);
    stats.iter().any(|stat| is_mine(&stat.tracked))
}

/// A server of which neither a name nor an address says whose it is.
fn nobody_says(server: &HaproxyServer, state: &State) -> Option<Remark> {
    let says = match (&server.unnamed, state.place) {
        (Some(host), None) => format!("{server}: neither its name nor an address says that it is {host}'s"),
        (None, Some((address, _))) if !address.is_loopback() && whose::is_elsewhere(address) => {
            format!("{server}: its address {address} is none of this host's: right behind a NAT only")
        }
        _ => return None,
    };
    Some(Remark { is_wrong: false, says })
}
