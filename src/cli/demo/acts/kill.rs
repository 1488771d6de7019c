//! The act `kill -9`: a worker is killed while its host is out. The next one finds its journal and brings the host back.

use super::{ActError, Stage, must};

pub(super) async fn play(stage: &Stage<'_>) -> Result<String, ActError> {
    let hosts = stage.some_hosts(stage.slots() * 2);
    let count = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
    let starts = stage.starts()?;
    let build = stage.fleet.install(None)?;
    let rollout = stage.announce("with a worker killed", &hosts).await?;
    let victim = stage.first_out(&hosts).await?;
    let supervisor = stage.fleet.supervisor();
    supervisor.kill_worker(&victim).await?;
    must(!stage.is_in(&victim), || format!("{victim} came back before its worker was killed"))?;
    stage.restarted_none(&starts, &victim)?;
    supervisor.start_worker(&victim).await?;
    stage.all_well(&rollout, count).await?;
    stage.restarted_once(&starts, &hosts, build)?;
    must(stage.is_in(&victim), || format!("{victim} was left out"))?;
    Ok(format!("{victim} killed while depooled; repooled by its journal"))
}
