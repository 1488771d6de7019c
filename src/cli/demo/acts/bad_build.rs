//! The act `bad build`: a build that does not start takes out as many hosts as there are slots, and no more; then a good
//! one gets through, the failed hosts first.

use super::{ActError, Stage, must};
use crate::cli::demo::supervisor::Start;
use model::lease::LeaseState;
use model::names::RolloutName;
use model::rollout::{Progress, RolloutState};
use std::collections::BTreeMap;

/// What is wrong with the build, as php-fpm would say it.
const FAULT: &str = "unknown entry 'pm.max_chldren'";

pub(super) async fn play(stage: &Stage<'_>) -> Result<String, ActError> {
    let options = *stage.fleet.options();
    let starts = stage.starts()?;
    let bad = stage.fleet.install(Some(FAULT))?;
    let rollout = stage.announce(&format!("build {bad}, which is bad"), &[]).await?;
    let halted = stage.rollout(&rollout, options.hosts, "is halted", |row| {
        row.state == RolloutState::Halted && row.tally.begun == 0 && row.in_flight.is_empty()
    });
    let tally = halted.await?.tally;
    must(tally.failed == options.slots && tally.owes == options.hosts - options.slots, || {
        format!("{rollout} halted with {tally:?}, and there are {} slots", options.slots)
    })?;
    let failed = failed_hosts(stage, &rollout).await?;
    stage.restarted_once(&starts, &failed, bad)?;
    must(failed.iter().all(|host| !stage.is_in(host)), || "a failed host takes requests".to_owned())?;
    let out = stage.counts().out;
    must(out == options.slots, || format!("{out} hosts are out, and {} failed", options.slots))?;
    let leases = stage.leases().await?;
    let kept = leases.iter().filter(|row| row.lease.state == LeaseState::Failed).count();
    must(kept == failed.len() && leases.len() == kept, || {
        format!("{kept} of {} leases are kept by failed hosts", leases.len())
    })?;

    let starts = stage.starts()?;
    let good = stage.fleet.install(None)?;
    let rollout = stage.announce(&format!("build {good}, which is good"), &[]).await?;
    stage.all_well(&rollout, options.hosts).await?;
    stage.restarted_once(&starts, stage.fleet.names(), good)?;
    let first = first_started(&stage.starts()?);
    must(failed.contains(&first), || format!("{first} went before the failed hosts"))?;
    Ok(format!("{} failed, {} left as they were", failed.len(), options.hosts - options.slots))
}

/// The hosts that failed, each with its service's own words in its report.
async fn failed_hosts(stage: &Stage<'_>, rollout: &RolloutName) -> Result<Vec<String>, ActError> {
    let detail = stage.reports(rollout).await?;
    let mut failed = Vec::new();
    for target in detail.targets.iter().filter(|target| target.progress == Progress::Failed) {
        let said = target.report.as_ref().map_or("", |report| report.output.as_str());
        must(said.contains(FAULT), || format!("{}'s report lacks what the service printed: {said:?}", target.host))?;
        failed.push(target.host.to_string());
    }
    Ok(failed)
}

/// Whose newest start is the oldest.
fn first_started(starts: &BTreeMap<String, Vec<Start>>) -> String {
    let newest = starts.iter().filter_map(|(host, starts)| Some((starts.last()?.at_ms, host)));
    newest.min().map(|(_, host)| host.clone()).unwrap_or_default()
}
