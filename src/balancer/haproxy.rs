//! HAProxy, over its runtime socket: where a server stands in a backend, and DRAIN as the way out.
//!
//! Owns what HAProxy's states mean here, and the two commands that move a server. Only DRAIN is ever set, and only DRAIN is
//! ever taken back: MAINT, a weight, and whatever a health check or an agent says are somebody else's. DRAIN and not MAINT, since
//! the checks go on in it: a server that leaves MAINT takes traffic before any check has passed (seen with 2.6). Words and
//! numbers are those of HAProxy's management guide, sections 9.1 and 9.3 (`show servers state`).

mod answer;
pub(super) mod setup;
mod socket;
mod whose;

use super::{Move, Said};
use crate::config::depool::haproxy::{HaproxyServer, Socket};
use crate::config::nearest::nearest;
use crate::probe::observation::excerpt;
use answer::{Id, Servers, Stat, State};
use model::member::Presence;
use std::time::Duration;

/// Bits of `srv_admin_state`: forced into maintenance; the same by the server that it tracks; only a memory that it began so, of no
/// effect; forced into drain; drain by the server that it tracks; its name does not resolve; only a memory that its name was set by
/// hand.
const FORCED_MAINT: u32 = 0x01;
const INHERITED_MAINT: u32 = 0x02;
const CONFIGURED_MAINT: u32 = 0x04;
const FORCED_DRAIN: u32 = 0x08;
const INHERITED_DRAIN: u32 = 0x10;
const UNRESOLVED: u32 = 0x20;
const NAMED_BY_HAND: u32 = 0x40;
const ALL_BITS: u32 = 0x7f;
/// Values of `srv_op_state`: down; up and warming up; up; up, and its check wants no new sessions.
const STOPPED: u32 = 0;
const STARTING: u32 = 1;
const RUNNING: u32 = 2;
const STOPPING: u32 = 3;
/// Most names that are shown of those that there are.
const NAMES_MAX: usize = 5;

/// How many servers `show servers state` tells of; see `seams`.
pub(super) fn servers(text: &str) -> Result<usize, String> {
    Servers::read(text).map(|servers| servers.all.len())
}

/// How many servers `show stat` tells of; see `seams`.
pub(super) fn stats(text: &str) -> Result<usize, String> {
    Stat::read(text).map(|stats| stats.len())
}

/// Whether the server takes new sessions there, by what `show servers state` says of it and, when it seems to, by `show stat` as
/// well. Anything but a whole answer about exactly this server is unknown.
pub(super) async fn ask(server: &HaproxyServer, within: Duration) -> Said {
    let state = match state(server, within).await {
        Ok(state) => state,
        Err(why) => return Said::unknown(excerpt(&why)),
    };
    match standing(&state) {
        Ok(Said { presence: Presence::In, .. }) => match stat(server, &state.id, within).await {
            Ok(stat) => excerpted(joined(&stat)),
            Err(why) => Said::unknown(excerpt(&why)),
        },
        Ok(said) => said,
        Err(why) => {
            // Its own words say more, when it has some.
            let stat = stat(server, &state.id, within).await.ok();
            let detail = excerpt(&format!("{why}{}", stat.map(|stat| because(&stat)).unwrap_or_default()));
            Said { is_unwell: is_unwell(&state), ..Said::unknown(detail) }
        }
    }
}

/// Sets DRAIN, or takes DRAIN back: nothing else, and not over a MAINT, which either would end. What is so already is left.
pub(super) async fn put(server: &HaproxyServer, way: Move, within: Duration) -> Result<(), String> {
    // Looked at once more: between this look and the command lies nothing but the network.
    let state = state(server, within).await.map_err(|why| excerpt(&why))?;
    let is_drained = state.admin & FORCED_DRAIN != 0;
    let word = match way {
        _ if state.admin & FORCED_MAINT != 0 => return Err("it is out by somebody else: MAINT".to_owned()),
        Move::Out if is_drained => return Ok(()),
        Move::In if !is_drained => return Ok(()),
        Move::Out => "drain",
        Move::In => "ready",
    };
    let command = format!("set server {}/{} state {word}", server.backend, server.server);
    match socket::ask(&server.socket, &command, within).await {
        Ok(nothing) if nothing.trim().is_empty() => Ok(()),
        Ok(said) if said.contains("Permission denied") => {
            Err("Permission denied: the socket needs `level admin`".to_owned())
        }
        Ok(said) => Err(excerpt(&one_line(&said))),
        Err(error) => Err(error.to_string()),
    }
}

/// The sessions at one server, asked again and again. HAProxy is asked for this server alone once its number is known there.
pub(super) struct Count<'s> {
    server: &'s HaproxyServer,
    id: Option<Id>,
}

impl<'s> Count<'s> {
    pub(super) fn of(server: &'s HaproxyServer) -> Self {
        Self { server, id: None }
    }

    /// How many sessions it has now, those that wait for this very server among them.
    pub(super) async fn ask(&mut self, within: Duration) -> Result<u64, String> {
        let id = match self.id.take() {
            Some(id) => id,
            None => state(self.server, within).await?.id,
        };
        // After a reload the number may be another server's; then it is asked for anew.
        let stat = stat(self.server, &id, within).await?;
        self.id = Some(id);
        Ok(stat.current.saturating_add(stat.queued))
    }
}

/// What the administrative and the operational state say together. Out by anything but a DRAIN of its own is somebody else's doing.
///
/// # Errors
/// Nobody can tell whether it is in or out for a while: a check, an agent or a resolver decides, and may change its mind.
fn standing(state: &State) -> Result<Said, String> {
    let admin = state.admin & !(CONFIGURED_MAINT | NAMED_BY_HAND);
    if state.admin & !ALL_BITS != 0 {
        return Err(format!("its administrative state is {}, which this build does not know", state.admin));
    }
    let out = |detail: &str| Ok(Said { is_foreign: true, ..Said::known(Presence::Out, detail) });
    match admin {
        _ if admin & FORCED_MAINT != 0 => {
            let undo = format!("in HAProxy: set server {}/{} state ready", state.backend, state.server);
            out("MAINT").map(|said| Said { theirs: Some(undo), ..said })
        }
        _ if admin & FORCED_DRAIN != 0 => Ok(Said::known(Presence::Out, "DRAIN")),
        _ if admin & INHERITED_MAINT != 0 => out("MAINT by the server that it tracks"),
        _ if admin & INHERITED_DRAIN != 0 => out("DRAIN by the server that it tracks"),
        _ if admin & UNRESOLVED != 0 => Err("MAINT, since its name does not resolve".to_owned()),
        _ => match state.operation {
            STOPPED => Err("DOWN by its check".to_owned()),
            STOPPING => Err("stopping by its check".to_owned()),
            STARTING | RUNNING if state.weight > 0 => Ok(Said::known(Presence::In, "")),
            STARTING | RUNNING if state.has_agent => Err("its weight is 0, perhaps by its agent".to_owned()),
            STARTING | RUNNING => out("its weight is 0"),
            other => Err(format!("its operational state is {other}, which this build does not know")),
        },
    }
}

/// Whether nobody has taken it out, and its check alone found it down: it is sent requests as soon as that passes. An agent may have
/// stopped it for a reason of its own.
fn is_unwell(state: &State) -> bool {
    let admin = state.admin & !(CONFIGURED_MAINT | NAMED_BY_HAND);
    admin == 0 && state.operation == STOPPED && state.weight > 0 && !state.has_agent
}

/// What the statistics say of a server that nobody took out.
fn joined(stat: &Stat) -> Said {
    let in_now = |detail: String| Said::known(Presence::In, detail);
    match stat.status.as_str() {
        _ if stat.weight == 0 => Said::unknown("its effective weight is 0"),
        "no check" => in_now("UP, no check".to_owned()),
        "UP" if stat.check != "INI" => in_now("UP".to_owned()),
        // `UP 1/3`, or not checked yet: it takes traffic, and its check has not passed.
        status if status == "UP" || status.starts_with("UP ") => {
            Said { is_joining: true, ..in_now(format!("{status}, and its last check has not passed{}", because(stat))) }
        }
        status => Said::unknown(format!("{status}{}", because(stat))),
    }
}

fn excerpted(said: Said) -> Said {
    Said { detail: excerpt(&said.detail), ..said }
}

/// `: L4CON: Connection refused`, as far as there is something.
fn because(stat: &Stat) -> String {
    let parts = [stat.check.as_str(), stat.last_check.as_str()];
    parts.into_iter().filter(|part| !part.is_empty()).map(|part| format!(": {}", one_line(part))).collect()
}

/// This very server's state.
async fn state(server: &HaproxyServer, within: Duration) -> Result<State, String> {
    let command = format!("show servers state {}", server.backend);
    let said = socket::ask(&server.socket, &command, within).await.map_err(|error| error.to_string())?;
    if said.trim_end() == "Can't find backend." {
        return Err(no_backend(server, within).await);
    }
    let servers = Servers::read(&said)?;
    if let Some(other) = servers.all.iter().find(|other| other.backend != server.backend) {
        return Err(format!("it was asked about {}, and answers about {}", server.backend, other.backend));
    }
    let mut mine = servers.all.iter().filter(|other| other.server == server.server);
    match (mine.next(), mine.next()) {
        (Some(state), None) => match whose::another(server, state, &servers.all) {
            Some(why) => Err(why),
            None => Ok(state.clone()),
        },
        (Some(_), Some(_)) => Err(format!("{} has several servers {}", server.backend, server.server)),
        (None, _) => {
            let names: Vec<&str> = servers.all.iter().map(|other| other.server.as_str()).collect();
            Err(missing(&format!("{} has no server", server.backend), &server.server, &names))
        }
    }
}

/// The statistics of what has this number now. Asked by name, HAProxy may take a frontend for the backend.
async fn numbered(at: &Socket, id: &Id, within: Duration) -> Result<Vec<Stat>, String> {
    const SERVERS_ONLY: u32 = 4;
    let command = format!("show stat {} {SERVERS_ONLY} {}", id.backend, id.server);
    let said = socket::ask(at, &command, within).await.map_err(|error| error.to_string())?;
    Stat::read(&said)
}

/// This very server's statistics.
async fn stat(server: &HaproxyServer, id: &Id, within: Duration) -> Result<Stat, String> {
    match &numbered(&server.socket, id, within).await?[..] {
        [stat] if stat.backend == server.backend && stat.server == server.server => Ok(stat.clone()),
        [other] => Err(format!("its statistics are of {}/{}", other.backend, other.server)),
        others => Err(format!("its statistics have {} lines", others.len())),
    }
}

/// Why there is no such backend: those that there are.
async fn no_backend(server: &HaproxyServer, within: Duration) -> String {
    let said = socket::ask(&server.socket, "show backend", within).await.unwrap_or_default();
    let names: Vec<&str> = said.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    missing("it has no backend", &server.backend, &names)
}

/// `app has no server mw1, perhaps mw10? There are mw10, mw2`.
fn missing(what: &str, name: &str, names: &[&str]) -> String {
    let perhaps = nearest(name, names).map(|near| format!(", perhaps {near}?")).unwrap_or_default();
    let more = match names.len().saturating_sub(NAMES_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let shown = names.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
    let there = if names.is_empty() { "there is none".to_owned() } else { format!("there are {shown}{more}") };
    format!("{what} {name}{perhaps}; {there}").replace("?;", "?")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
