//! Reads what HAProxy answers to `show servers state` and `show stat`, strictly: a line of another form makes the whole answer
//! unreadable, since what is cut or mixed up must not be taken for a state.

use crate::probe::observation::excerpt;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The version of the form of `show servers state`.
const VERSION: &str = "1";
/// Whether an agent check is enabled, in `srv_agent_state`.
const AGENT_ENABLED: u32 = 0x04;

/// The numbers by which HAProxy knows a server until it is reloaded. A backend's name may be a frontend's too; its number is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) backend: String,
    pub(super) server: String,
}

/// A server, by `show servers state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) backend: String,
    pub(super) server: String,
    /// The numbers of its backend and of itself in it; never to be trusted without their names.
    pub(super) id: Id,
    /// Where it is: address and port, as far as both are known.
    pub(super) place: Option<(IpAddr, u16)>,
    /// `srv_op_state`.
    pub(super) operation: u32,
    /// `srv_admin_state`.
    pub(super) admin: u32,
    /// Its weight, as a user sees it.
    pub(super) weight: u32,
    pub(super) has_agent: bool,
}

/// All servers that were shown.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) all: Vec<State>,
}

impl Servers {
    /// Reads a whole answer.
    ///
    /// # Errors
    /// It is of another form: then the beginning of what was said.
    pub(super) fn read(text: &str) -> Result<Servers, String> {
        let mut lines = text.lines();
        match lines.next() {
            Some(VERSION) => {}
            first => return Err(unreadable(first.unwrap_or_default())),
        }
        let header = lines.next().and_then(|line| line.strip_prefix("# ")).ok_or_else(|| unreadable("no columns"))?;
        let columns: Vec<&str> = header.split(' ').collect();
        let all = lines.filter(|line| !line.is_empty()).map(|line| state(&columns, line)).collect::<Option<Vec<_>>>();
        all.map(|all| Servers { all }).ok_or_else(|| unreadable("a line of another form"))
    }
}

fn state(columns: &[&str], line: &str) -> Option<State> {
    let fields: Vec<&str> = line.split(' ').collect();
    let by_name: BTreeMap<&str, &str> = columns.iter().copied().zip(fields.iter().copied()).collect();
    let text = |name: &str| by_name.get(name).filter(|text| !text.is_empty()).map(|text| (*text).to_owned());
    let number = |name: &str| by_name.get(name)?.parse::<u32>().ok();
    if fields.len() != columns.len() {
        return None;
    }
    let id = |name: &str| text(name).filter(|id| id.bytes().all(|byte| byte.is_ascii_digit()));
    let id = Id { backend: id("be_id")?, server: id("srv_id")? };
    Some(State {
        backend: text("be_name")?,
        server: text("srv_name")?,
        id,
        place: place(text("srv_addr"), text("srv_port")),
        operation: number("srv_op_state")?,
        admin: number("srv_admin_state")?,
        weight: number("srv_uweight")?,
        has_agent: number("srv_agent_state")? & AGENT_ENABLED != 0,
    })
}

/// An address that does not resolve is a dash, or all zeros; a server that is asked at the very port of its visitor has port 0.
fn place(address: Option<String>, port: Option<String>) -> Option<(IpAddr, u16)> {
    let address = address?.parse::<IpAddr>().ok().filter(|address| !address.is_unspecified())?;
    Some((address, port?.parse().ok()?))
}

/// A server, by `show stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) backend: String,
    pub(super) server: String,
    /// Its sessions now.
    pub(super) current: u64,
    /// Those that wait for this very server.
    pub(super) queued: u64,
    /// `UP`, `UP 1/3`, `no check`, `DOWN`, `DRAIN`, `MAINT` and so on.
    pub(super) status: String,
    /// Its effective weight.
    pub(super) weight: u64,
    /// What its last check came to, such as `L7OK`; empty without a check.
    pub(super) check: String,
    /// The same in words.
    pub(super) last_check: String,
    /// `BACKEND/SERVER` that it follows, by `track`; empty when it follows none.
    pub(super) tracked: String,
}

impl Stat {
    /// Reads a whole answer.
    ///
    /// # Errors
    /// It is of another form: then the beginning of what was said.
    pub(super) fn read(text: &str) -> Result<Vec<Stat>, String> {
        let table = text.strip_prefix("# ").ok_or_else(|| unreadable(text))?;
        let mut reader = csv::ReaderBuilder::new().from_reader(table.trim_end_matches('\n').as_bytes());
        let columns = reader.headers().map_err(|error| unreadable(&error.to_string()))?.clone();
        let place = |name: &str| columns.iter().position(|column| column == name);
        let mut stats = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| unreadable(&error.to_string()))?;
            let text = |name: &str| Some(record.get(place(name)?)?.to_owned());
            let number = |name: &str| text(name)?.parse::<u64>().ok();
            let stat = || {
                Some(Stat {
                    backend: text("pxname")?,
                    server: text("svname")?,
                    current: number("scur")?,
                    queued: number("qcur")?,
                    status: text("status")?,
                    weight: number("weight")?,
                    // A star stands before it while the next check is under way.
                    check: text("check_status")?.trim_start_matches("* ").to_owned(),
                    last_check: text("last_chk")?,
                    // Nothing is moved by it, so nothing fails without it.
                    tracked: text("tracked").unwrap_or_default(),
                })
            };
            stats.push(stat().ok_or_else(|| unreadable("a line of another form"))?);
        }
        Ok(stats)
    }
}

fn unreadable(said: &str) -> String {
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    if said.is_empty() {
        "its answer is empty".to_owned()
    } else {
        format!("its answer cannot be read: {}", excerpt(&said))
    }
}
