//! The act `deploy`: a good build for everyone, timed against the bound.

use super::{ActError, Stage, must};
use crate::cli::demo::summary::{Deploy, grouped};
use tokio::time::Instant;

/// Returns what to tell, and the figures.
pub(super) async fn play(stage: &Stage<'_>) -> Result<(String, Deploy), ActError> {
    let options = *stage.fleet.options();
    let (counts, starts) = (stage.counts(), stage.starts()?);
    let build = stage.fleet.install(None)?;
    let announced = Instant::now();
    let rollout = stage.announce(&format!("build {build}"), &[]).await?;
    let row = stage.all_well(&rollout, options.hosts).await?;
    let wall = announced.elapsed();
    stage.restarted_once(&starts, stage.fleet.names(), build)?;
    let counts = stage.counts().since(&counts);
    must(counts.requests_while_out > 0, || "no request was made while a host was out".to_owned())?;
    let detail = format!(
        "{} ok in {:.1}s ({:.1}s at best), never more than {} out; {} requests, {} failed",
        options.hosts,
        wall.as_secs_f64(),
        options.bound().as_secs_f64(),
        counts.peak_out,
        grouped(counts.requests),
        if counts.failed_requests == 0 { "none".to_owned() } else { grouped(counts.failed_requests) },
    );
    Ok((detail, Deploy { restarted: options.hosts, failed: row.tally.failed, wall, counts }))
}
