//! What all acts do: announce, wait for something to be seen, count restarts, and look whether all is as it should be.
//!
//! Owns no act. Every wait has a limit.

use super::{ActError, must};
use crate::cli::demo::fleet::{Fleet, SERVICE};
use crate::cli::demo::observer::Counts;
use crate::cli::demo::supervisor::Start;
use crate::cli::render::text;
use coordinator::Coordinator as _;
use model::names::{RolloutName, Scope};
use model::read::{LeaseRow, RolloutDetail, RolloutRow, Selection};
use model::request::{self, Announce, Done};
use model::rollout::RolloutState;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How often the balancer is looked at: it is in this process and costs nothing.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often the lock server is asked how a rollout stands, while much is left and when it is about to end.
const ASK_EVERY: Duration = Duration::from_millis(100);
const ASK_EVERY_AT_END: Duration = Duration::from_millis(10);
/// How much longer than its bound a rollout may take before an act gives up: this is a busy machine, perhaps.
const PATIENCE: Duration = Duration::from_secs(60);

/// The fleet, as the acts see it.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli::demo) struct Stage<'a> {
    pub(super) fleet: &'a Fleet,
}

impl<'a> Stage<'a> {
    /// A stage with this fleet on it.
    pub(in crate::cli::demo) fn new(fleet: &'a Fleet) -> Stage<'a> {
        Stage { fleet }
    }

    /// What the observer counted until now.
    pub(super) fn counts(&self) -> Counts {
        self.fleet.balancer().counts()
    }

    /// How many slots there are.
    pub(super) fn slots(&self) -> u32 {
        self.fleet.options().slots
    }

    /// So many hosts, from the middle of the fleet on; all, when there are not so many.
    pub(super) fn some_hosts(&self, count: u32) -> Vec<String> {
        let names = self.fleet.names();
        let from = names.len() / 3;
        names.iter().cycle().skip(from).take(names.len().min(count as usize)).cloned().collect()
    }

    /// Announces the build that is installed; to these hosts, or to all when none are named. Any number of them may fail:
    /// what stops a bad build here is that failed hosts keep their slots.
    pub(super) async fn announce(&self, message: &str, only: &[String]) -> Result<RolloutName, ActError> {
        let scope = |name: &String| name.parse().map(Scope::Host);
        let only = only.iter().map(scope).collect::<Result<_, _>>();
        let service = SERVICE.parse();
        let wrong = |error: model::names::NameError| ActError::Seen(error.to_string());
        let announce = Announce {
            service: service.map_err(wrong)?,
            message: message.to_owned(),
            only: only.map_err(wrong)?,
            always: true,
            supersede: false,
            max_failures: Some(self.fleet.options().hosts),
            strict: None,
            expires_ms: None,
        };
        match self.fleet.admin(request::Act::Announce(announce)).await? {
            Done::Announced { rollout, .. } => Ok(rollout),
            other => Err(ActError::Seen(format!("the announcement was refused: {other:?}"))),
        }
    }

    /// Waits until a rollout stands as it should, for as long as so many hosts may need and some patience. Returns its row.
    pub(super) async fn rollout(
        &self,
        name: &RolloutName,
        hosts: u32,
        what: &str,
        stands: impl Fn(&RolloutRow) -> bool,
    ) -> Result<RolloutRow, ActError> {
        let options = self.fleet.options();
        let limit = (options.drain + options.restart) * hosts.div_ceil(options.slots) * 2 + PATIENCE;
        let deadline = Instant::now() + limit;
        let select = Selection { scope: Some(Scope::Rollout(name.clone())), ..Selection::default() };
        loop {
            let rows = match self.fleet.coordinator().rollouts(&select).await {
                // A store changes its master, or somebody moves the domain: the fleet goes on, and so does who watches it.
                Err(cause) if cause.retryable() && Instant::now() < deadline => {
                    tokio::time::sleep(ASK_EVERY).await;
                    continue;
                }
                asked => asked?,
            };
            let row = rows
                .into_iter()
                .next()
                .ok_or_else(|| ActError::Seen(format!("the lock server does not know {name}")))?;
            if stands(&row) {
                return Ok(row);
            }
            if Instant::now() >= deadline {
                let stand = format!("{name} {what} (it is {}: {:?})", row.state, row.tally);
                return Err(ActError::Late { what: stand, limit });
            }
            let ends_soon = row.tally.owes + row.tally.begun <= options.slots;
            tokio::time::sleep(if ends_soon { ASK_EVERY_AT_END } else { ASK_EVERY }).await;
        }
    }

    /// Waits until a rollout is done and every one of its so many hosts is well. None may be left, not even one that is down.
    pub(super) async fn all_well(&self, name: &RolloutName, hosts: u32) -> Result<RolloutRow, ActError> {
        let has_ended = |row: &RolloutRow| {
            let is_complete = row.state == RolloutState::Done && row.tally.owes + row.tally.begun == 0;
            is_complete || !row.state.authorises()
        };
        let row = self.rollout(name, hosts, "is done", has_ended).await?;
        must(row.tally.ok == hosts, || format!("{name}: not all of {hosts} hosts are well: {:?}", row.tally))?;
        Ok(row)
    }

    /// Every host's report.
    pub(super) async fn reports(&self, name: &RolloutName) -> Result<RolloutDetail, ActError> {
        let detail = self.fleet.coordinator().rollout(name).await?;
        detail.ok_or_else(|| ActError::Seen(format!("the lock server does not know {name}")))
    }

    /// Every lease there is.
    pub(super) async fn leases(&self) -> Result<Vec<LeaseRow>, ActError> {
        Ok(self.fleet.coordinator().leases(&Selection::default()).await?.leases)
    }

    /// Waits until one of these hosts is out and has nothing in flight any more. Returns its name.
    pub(super) async fn first_out(&self, hosts: &[String]) -> Result<String, ActError> {
        let limit = PATIENCE;
        let deadline = Instant::now() + limit;
        loop {
            let view = self.fleet.balancer().view();
            let out =
                view.into_iter().find(|server| !server.is_in && server.current == 0 && hosts.contains(&server.name));
            if let Some(server) = out {
                return Ok(server.name);
            }
            if Instant::now() >= deadline {
                return Err(ActError::Late { what: "a host leaves the balancer".to_owned(), limit });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether a host takes requests.
    pub(super) fn is_in(&self, name: &str) -> bool {
        self.fleet.balancer().view().iter().any(|server| server.name == name && server.is_in)
    }

    /// The starts of every host's service until now.
    pub(super) fn starts(&self) -> Result<BTreeMap<String, Vec<Start>>, ActError> {
        let starts = |name: &String| Ok((name.clone(), self.fleet.supervisor().starts(name)?));
        self.fleet.names().iter().map(starts).collect()
    }

    /// An error, unless these hosts, and no others, were restarted since `before`, each once and into this build.
    pub(super) fn restarted_once(
        &self,
        before: &BTreeMap<String, Vec<Start>>,
        hosts: &[String],
        build: u64,
    ) -> Result<(), ActError> {
        for (name, now) in self.starts()? {
            let fresh = &now[before.get(&name).map_or(0, Vec::len)..];
            let builds: Vec<u64> = fresh.iter().map(|start| start.build).collect();
            let expected: &[u64] = if hosts.contains(&name) { &[build] } else { &[] };
            must(builds == expected, || format!("{name} was started with builds {builds:?}, and not {expected:?}"))?;
        }
        Ok(())
    }

    /// An error, if this host's service was started since `before`.
    pub(super) fn restarted_none(&self, before: &BTreeMap<String, Vec<Start>>, host: &str) -> Result<(), ActError> {
        let (was, now) = (before.get(host).map_or(0, Vec::len), self.fleet.supervisor().starts(host)?.len());
        must(was == now, || format!("{host} was restarted too early"))
    }

    /// Waits until every host is in again and nobody holds a slot.
    pub(super) async fn at_rest(&self, limit: Duration) -> Result<(), ActError> {
        let deadline = Instant::now() + limit;
        loop {
            let (out, leases) = (self.counts().out, self.leases().await?.len());
            if out == 0 && leases == 0 {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let what = format!("all is as before: {out} hosts are out, {leases} leases held");
                return Err(ActError::Late { what, limit });
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// An error, if a request failed since `before`, or if ever more hosts were out than there are slots.
    pub(super) fn unharmed(&self, before: &Counts) -> Result<(), ActError> {
        let counts = self.counts();
        let peak = counts.peak_out;
        must(peak <= self.slots(), || {
            let slots = text::count(self.slots() as usize, "slot");
            format!("{peak} hosts were out at once, with {slots}")
        })?;
        let since = counts.since(before);
        must(since.failed_requests == 0, || {
            let first = since.causes.first().map_or("its cause was not kept", String::as_str);
            format!("{} of {} requests failed; the first: {first}", since.failed_requests, since.requests)
        })
    }
}
