//! The act `unplugged`: a host is cut off in the middle. Its lease is lost and still counts, the others go on with one slot
//! fewer, and when it is back it catches up.

use super::{ActError, Stage, must};
use crate::cli::demo::fleet::TTL;
use model::lease::LeaseState;
use model::names::RolloutName;
use model::rollout::Tally;
use std::time::Duration;
use tokio::time::Instant;

/// How long after the time to live a lease may take to be called lost.
const LOST_MARGIN: Duration = Duration::from_secs(10);
/// How often one looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) async fn play(stage: &Stage<'_>) -> Result<String, ActError> {
    let hosts = stage.some_hosts(stage.slots() * 2);
    let count = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
    let starts = stage.starts()?;
    let build = stage.fleet.install(None)?;
    let rollout = stage.announce("with a host cut off", &hosts).await?;
    let victim = stage.first_out(&hosts).await?;
    let supervisor = stage.fleet.supervisor();
    supervisor.unplug(&victim).await?;
    // From here on to its return the host must be plugged in again, whatever is seen: nobody else can.
    let seen = watch(stage, &rollout, &victim, count).await;
    supervisor.plug_in(&victim).await?;
    seen?;
    stage.all_well(&rollout, count).await?;
    stage.restarted_once(&starts, &hosts, build)?;
    Ok(format!("{victim} lost, still counted"))
}

/// Waits until the lease of the one that is cut off is lost, and the others have gone as far as they can without its slot.
async fn watch(stage: &Stage<'_>, rollout: &RolloutName, victim: &str, hosts: u32) -> Result<(), ActError> {
    let starts = stage.starts()?;
    lost(stage, victim).await?;
    // With a single slot nobody can go on: it is the lost one's.
    if stage.slots() > 1 {
        let others_are_well = |tally: &Tally| tally.ok == hosts - 1;
        stage.rollout(rollout, hosts, "went on for the others", |row| others_are_well(&row.tally)).await?;
    }
    let leases = stage.leases().await?;
    let own = leases.iter().find(|row| row.lease.holder.as_str() == victim);
    let state = own.map(|row| row.lease.state);
    must(state == Some(LeaseState::Lost), || format!("{victim} is cut off, and its lease is {state:?}"))?;
    let out = stage.counts().out;
    must(!stage.is_in(victim) && out <= stage.slots(), || format!("{out} hosts are out, or {victim} is in"))?;
    stage.restarted_none(&starts, victim)
}

async fn lost(stage: &Stage<'_>, victim: &str) -> Result<(), ActError> {
    let limit = TTL + LOST_MARGIN;
    let deadline = Instant::now() + limit;
    loop {
        let leases = stage.leases().await?;
        let is_lost =
            |row: &model::read::LeaseRow| row.lease.holder.as_str() == victim && row.lease.state == LeaseState::Lost;
        if leases.iter().any(is_lost) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(ActError::Late { what: format!("the lease of {victim} is lost"), limit });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
