//! What people watch: the worker's metrics, and how its sequences ended.
//!
//! Owns every metric of the worker, all defined here, and the [`tally`] that survives its restarts. Never influences a
//! decision. Called by the worker.

pub mod tally;

#[cfg(test)]
mod tests;

use crate::door;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use model::names::Service;
use model::sequence::Step;
use prometheus::core::Collector;
use prometheus::{
    Encoder as _, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tally::Tally;
use tokio::net::TcpListener;

/// Upper bounds of the time a step takes, in seconds: from a look at a balancer to a slow restart.
const STEP_SECONDS: [f64; 14] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0];
/// Upper bounds of the wait for a lease, in seconds: from at once to the longest wait.
const WAIT_SECONDS: [f64; 12] = [0.01, 0.1, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];

/// The metrics cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Two metrics of one name, or a name that cannot be: a bug of ours.
    #[error("cannot define a metric: {0}")]
    Define(#[from] prometheus::Error),
    /// The connections end.
    #[error("cannot serve metrics: {0}")]
    Serve(#[from] std::io::Error),
}

/// The worker's metrics. Cheap to clone; a clone counts into the same.
#[derive(Debug, Clone)]
pub struct Telemetry {
    registry: Registry,
    steps: HistogramVec,
    probe_failures: IntCounterVec,
    coordinator_up: IntGauge,
    lease_wait: Histogram,
    is_stuck: Arc<AtomicBool>,
    state: PathBuf,
}

impl Telemetry {
    /// Metrics that all say zero. `state` is the folder with the tally.
    ///
    /// # Errors
    /// A metric cannot be defined: a bug of ours.
    pub fn new(state: PathBuf) -> Result<Telemetry, TelemetryError> {
        let registry = Registry::new();
        let steps = HistogramOpts::new("stagger_step_duration_seconds", "How long each step of a sequence took.");
        let steps = HistogramVec::new(steps.buckets(STEP_SECONDS.to_vec()), &["service", "step", "outcome"])?;
        let failures = Opts::new(
            "stagger_probe_failures_total",
            "Checks, drains and looks that nobody answered usefully, by step.",
        );
        let probe_failures = IntCounterVec::new(failures, &["step"])?;
        let coordinator_up =
            IntGauge::new("stagger_coordinator_up", "Whether the coordinator answered last time: 1 or 0.")?;
        let wait = HistogramOpts::new("stagger_lease_wait_seconds", "How long this host waited for its leases.");
        let lease_wait = Histogram::with_opts(wait.buckets(WAIT_SECONDS.to_vec()))?;
        let all: [Box<dyn Collector>; 4] = [
            Box::new(steps.clone()),
            Box::new(probe_failures.clone()),
            Box::new(coordinator_up.clone()),
            Box::new(lease_wait.clone()),
        ];
        for metric in all {
            registry.register(metric)?;
        }
        Ok(Telemetry { registry, steps, probe_failures, coordinator_up, lease_wait, is_stuck: Arc::default(), state })
    }

    /// A step ended.
    pub fn step(&self, service: &Service, step: Step, ms: u64, ok: bool) {
        let seconds = Duration::from_millis(ms).as_secs_f64();
        let outcome = if ok { "ok" } else { "failed" };
        self.steps.with_label_values(&[service.as_str(), &step.to_string(), outcome]).observe(seconds);
        if step == Step::Ask && ok {
            self.lease_wait.observe(seconds);
        }
        if !ok && matches!(step, Step::Check | Step::Drain | Step::Verify) {
            self.probe_failures.with_label_values(&[&step.to_string()]).inc();
        }
    }

    /// Whether the coordinator answered.
    pub fn coordinator(&self, is_up: bool) {
        self.coordinator_up.set(i64::from(is_up));
    }

    /// Whether this worker can do nothing more without a person.
    pub fn stuck(&self, is_stuck: bool) {
        self.is_stuck.store(is_stuck, Ordering::Relaxed);
    }

    /// Everything, in Prometheus' text format.
    ///
    /// # Errors
    /// A metric cannot be written: a bug of ours.
    pub fn render(&self) -> Result<String, TelemetryError> {
        let mut families = self.registry.gather();
        families.extend(kept(&Tally::load(&self.state), self.is_stuck.load(Ordering::Relaxed))?.gather());
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Serves `/metrics` and `/healthz`, until it is dropped.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn serve(self, listener: TcpListener) -> Result<(), TelemetryError> {
        let metrics = move || {
            let answer = self.render();
            async move { respond(answer) }
        };
        let router = Router::new().route("/metrics", get(metrics)).route("/healthz", get(|| async { "ok\n" }));
        Ok(door::serve(listener, router).await?)
    }
}

fn respond(text: Result<String, TelemetryError>) -> Response {
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// How sequences ended, whoever ran them; and whether a person is needed.
fn kept(tally: &Tally, is_stuck: bool) -> Result<Registry, TelemetryError> {
    let labels = ["service", "outcome"];
    let total = Opts::new(
        "stagger_sequences_total",
        "How many sequences ended, by outcome; it survives restarts of the worker.",
    );
    let total = IntCounterVec::new(total, &labels)?;
    let last =
        Opts::new("stagger_sequence_last_timestamp_seconds", "When a sequence last ended so, in seconds since 1970.");
    let last = GaugeVec::new(last, &labels)?;
    for (service, outcomes) in &tally.ended {
        for (outcome, ended) in outcomes {
            total.with_label_values(&[service.as_str(), outcome]).inc_by(ended.count);
            let seconds = Duration::from_millis(ended.last_ms).as_secs_f64();
            last.with_label_values(&[service.as_str(), outcome]).set(seconds);
        }
    }
    let stuck = IntGauge::new("stagger_sequence_stuck", "Whether a person is needed on this host: 1 or 0.")?;
    stuck.set(i64::from(is_stuck || !tally.stuck.is_empty()));
    let registry = Registry::new();
    registry.register(Box::new(stuck))?;
    registry.register(Box::new(total))?;
    registry.register(Box::new(last))?;
    Ok(registry)
}
