//! The act `slow`: requests that take longer than the least drain, at hosts that are about to be drained. None may be cut.

use super::{ActError, Stage, must};
use crate::cli::demo::load;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How many requests must outlast the least drain.
const OUTLASTING: u64 = 40;
/// How many are under way at once, spread over the hosts of a round.
const PER_ROUND: usize = 20;
/// How much longer than the least drain each takes.
const LONGER: Duration = Duration::from_millis(1500);
/// Most rounds: on a machine so busy that a host is drained late, a request may end before that.
const ROUNDS_MAX: u32 = 8;
/// How long the requests may take to reach their services.
const FLIGHT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn play(stage: &Stage<'_>) -> Result<String, ActError> {
    let before = stage.counts();
    let hosts = stage.some_hosts(stage.slots().min(PER_ROUND as u32));
    let mut outlasted = 0;
    for _ in 0..ROUNDS_MAX {
        round(stage, &hosts).await?;
        outlasted = stage.counts().since(&before).outlasted;
        if outlasted >= OUTLASTING {
            return Ok(format!("{outlasted} requests outlasted the least drain; none cut"));
        }
    }
    Err(ActError::Seen(format!("only {outlasted} requests outlasted the least drain, in {ROUNDS_MAX} rounds")))
}

/// Restarts these hosts, all at once, while each is at some slow requests.
async fn round(stage: &Stage<'_>, hosts: &[String]) -> Result<(), ActError> {
    let starts = stage.starts()?;
    let build = stage.fleet.install(None)?;
    let balancer = stage.fleet.balancer();
    let time = stage.fleet.options().drain + LONGER;
    let mut requests = JoinSet::new();
    for host in hosts.iter().cycle().take(PER_ROUND) {
        requests.spawn(load::slow(stage.fleet.client_side(), balancer.clone(), host.clone(), time));
    }
    in_flight(stage).await?;
    let rollout = stage.announce("under slow requests", hosts).await?;
    let answered = requests.join_all().await;
    let cut = answered.iter().filter(|answered| !**answered).count();
    must(cut == 0, || format!("{cut} of {PER_ROUND} slow requests were cut"))?;
    stage.all_well(&rollout, u32::try_from(hosts.len()).unwrap_or(u32::MAX)).await?;
    stage.restarted_once(&starts, hosts, build)
}

/// Waits until every slow request is at its host.
async fn in_flight(stage: &Stage<'_>) -> Result<(), ActError> {
    let deadline = Instant::now() + FLIGHT_TIMEOUT;
    while stage.fleet.balancer().view().iter().map(|server| server.pinned as usize).sum::<usize>() < PER_ROUND {
        if Instant::now() >= deadline {
            return Err(ActError::Late { what: "the slow requests are under way".to_owned(), limit: FLIGHT_TIMEOUT });
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
