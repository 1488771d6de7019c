//! One service of a host: how it restarts, under which pools, and the steps around it.
//!
//! Owns the keys of `[service.NAME]` and what they default to; the larger ones have files of their own. A service without a way to depool is refused: `none` must
//! be said.

use super::depool::{self, Depool, Way};
use super::error::Problem;
use super::reader::{Field, Section};
use super::restart::{self, Restart};
use super::steps::{self, Check, Drain, Verify};
use model::lease::POOLS_PER_LEASE_MAX;
use model::names::{Host, Pool, Service};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;
use toml::de::DeTable;

/// Folders that are empty after a boot.
const FORGOTTEN: [&str; 3] = ["/run", "/var/run", "/dev/shm"];

/// A service, valid as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Its name.
    pub name: Service,
    /// How it restarts.
    pub restart: Restart,
    /// The pools that it restarts under; never empty.
    pub pools: BTreeSet<Pool>,
    /// Whether a failed host keeps its slot.
    pub on_failure: OnFailure,
    /// What the one-shot command does when no coordinator answers, or a balancer cannot tell where the host is.
    pub unreachable: Unreachable,
    /// How long it must have been well before the slot moves on.
    pub steady: Duration,
    /// Whether it needs a restart; without one it always does.
    pub check: Option<Check>,
    /// How it leaves its balancers.
    pub depool: Depool,
    /// How it waits for what is in flight; not at all unless said so, where there is no balancer.
    pub drain: Drain,
    /// When it is well again; without one nobody asks.
    pub verify: Option<Verify>,
}

/// What becomes of a failed host's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It keeps it, so that a bad build stops by itself.
    Keep,
    /// It gives it back.
    Release,
}

/// What the one-shot command does when no coordinator answers, or a balancer cannot tell where the host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// Nothing.
    Stay,
    /// Restarts all the same, and says so by its exit code.
    Restart,
}

impl ServiceConfig {
    /// How long a worker may take from the beginning of a restart to the end of its sequence, when each step uses up its time: so
    /// long nothing can be stopped.
    pub fn longest_end(&self) -> Duration {
        let well = self.verify.as_ref().map_or(self.steady, |verify| verify.within);
        self.restart.longest().saturating_add(well).saturating_add(self.depool.longest_move())
    }
}

/// Reads `[service.NAME]`; `at` is where its name stands, `state` the worker's folder.
pub(super) fn read<'t>(
    text: &'t str,
    name: &str,
    at: &Range<usize>,
    table: &'t DeTable<'t>,
    host: &Host,
    state: &Path,
) -> Result<ServiceConfig, Problem> {
    const KEYS: [&str; 10] =
        ["units", "restart", "pools", "on_failure", "unreachable", "steady", "check", "depool", "drain", "verify"];
    let service: Service = name.parse().map_err(|error: model::names::NameError| {
        Problem::new(at.clone(), "unusable service name").label(error.to_string())
    })?;
    let section = Section::open(text, table, at.clone(), &format!("service.{name}"), &KEYS)?;
    let restart = restart::read(&section, host)?;
    let pools = read_pools(&section.must("pools", "[\"POOL\", …]: whose slots it needs")?)?;
    let depool = section.get("depool").ok_or_else(|| {
        Problem::new(at.clone(), format!("service `{name}` does not say how it leaves its balancers"))
            .label("missing key `depool`")
            .help(
                "depool = { kind = \"haproxy\", … }, \"file\" or another; { kind = \"none\" } when there is no balancer",
            )
    })?;
    let how = depool;
    let depool = depool::read(&how, host, &service, state)?;
    if let restart::Way::Reboot(_) = restart.way
        && let Some(forgotten) = forgotten(&depool.way, state)
    {
        return Err(how
            .wrong(forgotten)
            .help("the host would be in as soon as it is up, before anybody has verified it"));
    }
    let on_failure = section
        .get("on_failure")
        .map(|field| field.choice(&[("keep", OnFailure::Keep), ("release", OnFailure::Release)]))
        .transpose()?;
    let unreachable = section
        .get("unreachable")
        .map(|field| field.choice(&[("stay", Unreachable::Stay), ("restart", Unreachable::Restart)]))
        .transpose()?;
    let steady = section.duration("steady", Duration::ZERO, Duration::ZERO)?;
    let check = section.get("check").map(|field| steps::read_check(&field, host)).transpose()?;
    let drain = match section.get("drain") {
        Some(field) => steps::read_drain(&field, host, &depool.way)?,
        // Where there is no balancer, nothing stops arriving, and there is nothing to wait out.
        None if depool.way == Way::None => Drain { min: Duration::ZERO, max: Duration::ZERO, ..Drain::default() },
        None => Drain::default(),
    };
    let verify =
        section.get("verify").map(|field| steps::read_verify(&field, host, steady, restart.manager())).transpose()?;
    Ok(ServiceConfig {
        name: service,
        restart,
        pools,
        on_failure: on_failure.unwrap_or(OnFailure::Keep),
        unreachable: unreachable.unwrap_or(Unreachable::Stay),
        steady,
        check,
        depool,
        drain,
        verify,
    })
}

/// Why a host that boots would be in its balancers again by that alone: what says that it is out lies where nothing survives a boot.
fn forgotten(way: &Way, state: &Path) -> Option<String> {
    let (path, what) = match way {
        Way::File(flag) if flag.present_is_out => (flag.path.as_path(), "the flag"),
        Way::LameDuck(_) => (state, "what the health URL says (`state`)"),
        _ => return None,
    };
    let folder = FORGOTTEN.into_iter().find(|folder| path.starts_with(folder))?;
    Some(format!("{what} must survive the reboot, and {folder} does not"))
}

fn read_pools(field: &Field<'_>) -> Result<BTreeSet<Pool>, Problem> {
    let items = field.items("a list of pool names, such as [\"app-eqiad\"]")?;
    if items.is_empty() || items.len() > POOLS_PER_LEASE_MAX {
        return Err(field.wrong(format!("a service restarts under 1 to {POOLS_PER_LEASE_MAX} pools")));
    }
    let mut pools = BTreeSet::new();
    for item in items {
        if !pools.insert(item.parse::<Pool>()?) {
            return Err(item.wrong("this pool is listed twice"));
        }
    }
    Ok(pools)
}
