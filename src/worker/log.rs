//! What a daemon says in its log of what it does: for which service and rollout, and of whom it asks.
//!
//! Owns these lines. Decides nothing. Called by the driver of [`super::run`]; a one-shot command prints lines of its own.

use crate::config::{Config, CoordinatorUrl};
use crate::worker::membership::Heard;
use crate::worker::{Progress, Trouble, lonely};
use coordinator::Coordinator;
use model::lease::Purpose;
use model::names::Service;
use model::time::Time;
use std::net::SocketAddr;
use std::sync::Arc;
use tracing::field::display;

/// Says who starts, what is restarted here, and whom it asks.
pub(super) fn starting(config: &Config, listens: Option<SocketAddr>) {
    let services: Vec<&str> = config.services.keys().map(Service::as_str).collect();
    tracing::info!(
        host = %config.host,
        services = services.join(" "),
        coordinator = %config.coordinator,
        state = %config.state.display(),
        metrics = listens.map(|address| format!("http://{address}/metrics")),
        version = env!("CARGO_PKG_VERSION"),
        "starting"
    );
}

/// Whether the coordinator answers: said when that changes, not at each of its silences.
#[derive(Debug, Default)]
pub(super) struct Contact {
    has_joined: bool,
    /// Since when it is silent, and what was last said of that.
    silent: Option<(Time, String)>,
}

impl Contact {
    /// Says what is new about it.
    pub(super) fn say(&mut self, heard: &Heard, url: &CoordinatorUrl, now: Time) {
        match heard {
            Heard::Welcome(_) => {
                match self.silent.take() {
                    Some((since, _)) if self.has_joined => {
                        tracing::info!(%url, silent_for = span(now, since), "the coordinator answers again: joined");
                    }
                    _ if !self.has_joined => tracing::info!(%url, "joined"),
                    _ => {}
                }
                self.has_joined = true;
            }
            Heard::Silence(why) if self.is_told(why, now) => {
                tracing::debug!(%url, why, "the coordinator does not answer");
            }
            Heard::Silence(why) => {
                tracing::warn!(%url, why, "the coordinator does not answer; it is asked again and again");
            }
            Heard::Answered(why) if self.is_told(why, now) => {
                tracing::debug!(%url, why, "what answers there cannot be joined");
            }
            Heard::Answered(why) => {
                tracing::error!(%url, why, "what answers there cannot be joined; is the coordinator's URL right? It is asked again and again");
            }
            Heard::Taken | Heard::Duplicate(_) => {}
        }
    }

    /// Whether it has ever answered.
    pub(super) fn has_joined(&self) -> bool {
        self.has_joined
    }

    /// Whether just this was said last. From now on it was.
    fn is_told(&mut self, why: &str, now: Time) -> bool {
        let is_told = self.silent.as_ref().is_some_and(|(_, said)| said == why);
        self.silent = Some((self.silent.as_ref().map_or(now, |(since, _)| *since), why.to_owned()));
        is_told
    }
}

/// Says which pools of this host may be mistyped. What the coordinator does not answer is not said.
pub(super) async fn lonely<C: Coordinator>(coordinator: Arc<C>, config: Arc<Config>) {
    let own = config.services.values().flat_map(|service| service.pools.clone()).collect();
    for found in lonely::pools(&*coordinator, &config.host, &own).await.unwrap_or_default() {
        tracing::warn!(pool = %found.pool, near = %found.near, "{found}");
    }
}

fn span(now: Time, since: Time) -> String {
    let seconds = now.since(since).as_secs();
    model::settings::span(seconds * 1000)
}

/// Says what happens, and what it is for.
pub(super) fn progress(url: &CoordinatorUrl, purpose: Option<&Purpose>, progress: Progress) {
    let service = purpose.and_then(Purpose::service).map(display);
    let rollout = purpose.and_then(Purpose::rollout).map(display);
    match progress {
        Progress::Waiting { place, why, .. } => tracing::info!(service, rollout, place, why, "waiting for a lease"),
        // That it came to nothing is told when it is over.
        Progress::Refused { .. } => {}
        Progress::Noted { step, note, .. } => tracing::trace!(service, rollout, %step, note, "goes on"),
        Progress::Began(step) => tracing::debug!(service, rollout, %step, "begins"),
        Progress::Ended { step, ms, note, fault: None } => {
            tracing::info!(service, rollout, %step, ms, note = said(&note), "done");
        }
        Progress::Ended { step, ms, fault: Some(fault), .. } => {
            tracing::warn!(service, rollout, %step, ms, cause = fault.cause, output = said(&fault.output), "failed");
        }
        Progress::Undoing(why) => tracing::warn!(service, rollout, why, "undoing"),
        Progress::Resumed(service) => tracing::warn!(%service, rollout, "taking up an unfinished sequence"),
        Progress::Unanswered(why) => tracing::warn!(service, rollout, %url, why, "no answer"),
        Progress::Over { service, report, .. } if report.stuck => {
            tracing::error!(%service, rollout, cause = report.cause, "stuck: a person is needed");
        }
        Progress::Over { service, report, .. } => {
            tracing::info!(%service, rollout, outcome = %report.outcome, cause = said(&report.cause), "over");
        }
        Progress::Trouble(Trouble { why: Some(why), is_damage: true }) => {
            tracing::error!(why, "nothing is restarted until a person has looked; it is looked at again every minute");
        }
        Progress::Trouble(Trouble { why: Some(why), .. }) => {
            tracing::warn!(why, "nothing can be begun right now; it is tried again");
        }
        Progress::Trouble(Trouble { why: None, .. }) => tracing::info!("the trouble is over"),
    }
}

/// A text that says something.
fn said(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
