//! What is counted, in the Prometheus text format. All metrics of the lock server are defined here.
//!
//! Counters and histograms grow as things happen; gauges are computed from the state when they are asked for. Labels are
//! bounded: no host, no message, no rollout; services are as many as the model knows at most; pools beyond [`POOLS_MAX`] are
//! counted together as `other`.

use crate::domain::Domain;
use model::apply::Decision;
use model::change::Change;
use model::lease::LeaseState;
use model::names::Pool;
use model::read::Selection;
use model::request::Answer;
use model::rollout::RolloutState;
use model::state::Stored;
use model::{Now, Reply, State, Wall};
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Most pools that are told apart.
const POOLS_MAX: usize = 1000;
/// What the others are counted as.
const OTHER: &str = "other";
/// Upper bounds of waits and of how long leases are held, in seconds.
const SPANS: [f64; 14] = [0.05, 0.25, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
/// Upper bounds of a commit, in seconds.
const COMMITS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];
/// The states of a rollout, as labels.
const ROLLOUT_STATES: [RolloutState; 7] = [
    RolloutState::Announced,
    RolloutState::Rolling,
    RolloutState::Done,
    RolloutState::Halted,
    RolloutState::Aborted,
    RolloutState::Expired,
    RolloutState::Superseded,
];

/// Every metric.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Pools that have a label of their own.
    labelled: Mutex<BTreeSet<Pool>>,
    grants: IntCounterVec,
    losses: IntCounterVec,
    refusals: IntCounterVec,
    waits: HistogramVec,
    held: HistogramVec,
    requests: IntCounterVec,
    /// Operations that came again with another content.
    pub(crate) replays: IntCounter,
    /// Commits.
    pub(crate) commits: IntCounter,
    /// Records that they wrote.
    pub(crate) commit_records: IntCounter,
    /// How long they took.
    pub(crate) commit_seconds: Histogram,
    gauges: Mutex<Gauges>,
    /// The poolcounter door.
    pub(crate) poolcounter: Poolcounter,
    reload_ok: IntGauge,
    reload_at: IntGauge,
    backup_at: IntGauge,
}

/// What the poolcounter door counts; nothing of it moves while there is none.
#[derive(Debug)]
pub(crate) struct Poolcounter {
    connections: IntGauge,
    keys: IntGauge,
    held: IntGauge,
    waiting: IntGauge,
    acquired: IntCounter,
    full: IntCounter,
    errors: IntCounter,
}

impl Poolcounter {
    fn new(r: &Registry) -> Poolcounter {
        let locks = gauge(r, "stagger_poolcounter_locks", "Locks of poolcounter clients.", &["state"]);
        let plain = |name: &str, help: &str| made(r, IntGauge::new(name, help));
        let total = |name: &str, help: &str| made(r, IntCounter::new(name, help));
        Poolcounter {
            connections: plain("stagger_poolcounter_connections", "Connections of poolcounter clients."),
            keys: plain("stagger_poolcounter_keys", "Keys that poolcounter clients use."),
            held: locks.with_label_values(&["held"]),
            waiting: locks.with_label_values(&["waiting"]),
            acquired: total("stagger_poolcounter_acquired_total", "Locks given to poolcounter clients."),
            full: total("stagger_poolcounter_queue_full_total", "Poolcounter requests refused for a full queue."),
            errors: total("stagger_poolcounter_connect_errors_total", "Poolcounter clients that were not let in."),
        }
    }

    /// Takes over what the door has counted; what only grows is counted from the door's opening.
    pub(crate) fn count(&self, connections: usize, keys: u64, held: u64, waiting: u64, grown: [u64; 3]) {
        self.connections.set(signed(connections));
        for (gauge, count) in [(&self.keys, keys), (&self.held, held), (&self.waiting, waiting)] {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for (counter, count) in [&self.acquired, &self.full, &self.errors].into_iter().zip(grown) {
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }
}

fn seconds(at: Wall) -> i64 {
    i64::try_from(at.0 / 1000).unwrap_or(i64::MAX)
}

/// What is computed when it is asked for.
#[derive(Debug)]
struct Gauges {
    slots: IntGaugeVec,
    members: IntGaugeVec,
    leases: IntGaugeVec,
    waiters: IntGaugeVec,
    paused: IntGaugeVec,
    oldest: IntGaugeVec,
    hosts: IntGaugeVec,
    states: IntGaugeVec,
    generations: IntGaugeVec,
    calls: IntGaugeVec,
    store: IntGaugeVec,
}

fn counter(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    made(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauge(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    made(registry, IntGaugeVec::new(Opts::new(name, help), labels))
}

fn histogram(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    made(registry, HistogramVec::new(HistogramOpts::new(name, help).buckets(SPANS.to_vec()), labels))
}

fn made<C: prometheus::core::Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<C>) -> C {
    let registered = metric.and_then(|metric| registry.register(Box::new(metric.clone())).map(|()| metric));
    match registered {
        Ok(metric) => metric,
        Err(cause) => unreachable!("a metric is defined wrongly: {cause}"),
    }
}

impl Metrics {
    /// All of them, at nothing.
    pub(crate) fn new() -> Metrics {
        let registry = Registry::new();
        let r = &registry;
        let gauges = Gauges {
            slots: gauge(r, "stagger_pool_slots", "Leases of the pool that may exist at once.", &["pool"]),
            members: gauge(r, "stagger_pool_members", "Members of the pool.", &["pool", "state"]),
            leases: gauge(r, "stagger_pool_leases", "Leases of the pool.", &["pool", "state"]),
            waiters: gauge(r, "stagger_pool_waiters", "Waiters for the pool.", &["pool"]),
            paused: gauge(r, "stagger_pool_paused", "Whether the pool, or everything, is paused.", &["pool"]),
            oldest: gauge(r, "stagger_lease_oldest_age_seconds", "Age of the pool's oldest lease.", &["pool", "state"]),
            hosts: gauge(r, "stagger_rollout_hosts", "Hosts of the service's newest rollout.", &["service", "state"]),
            states: gauge(r, "stagger_rollout_state", "1 for the state of the newest rollout.", &["service", "state"]),
            generations: gauge(r, "stagger_rollout_generation", "The service's newest generation.", &["service"]),
            calls: gauge(r, "stagger_held_calls", "Calls held open.", &["call"]),
            store: gauge(r, "stagger_store_up", "Whether the store can be written.", &[]),
        };
        let plain = |name: &str, help: &str| made(r, IntGauge::new(name, help));
        let reload_ok = plain("stagger_config_reload_ok", "Whether the configuration could be read the last time.");
        // Where there is no file, nothing is wrong in it.
        reload_ok.set(1);
        let commit_opts = HistogramOpts::new("stagger_commit_seconds", "How long a commit to disk took.");
        Metrics {
            labelled: Mutex::new(BTreeSet::new()),
            grants: counter(r, "stagger_lease_grants_total", "Leases granted.", &["pool"]),
            losses: counter(r, "stagger_lease_losses_total", "Leases whose holder stopped renewing.", &["pool"]),
            refusals: counter(r, "stagger_lease_refusals_total", "Asks refused.", &["kind"]),
            waits: histogram(r, "stagger_lease_wait_seconds", "How long a granted lease was waited for.", &["pool"]),
            held: histogram(r, "stagger_lease_held_seconds", "How long an ended lease existed.", &["pool"]),
            requests: counter(r, "stagger_requests_total", "Requests answered.", &["method", "status"]),
            replays: made(
                r,
                IntCounter::new("stagger_replayed_operations_total", "Operations that came again as another change."),
            ),
            commits: made(r, IntCounter::new("stagger_commits_total", "Commits to disk.")),
            commit_records: made(r, IntCounter::new("stagger_commit_records_total", "Records written to disk.")),
            commit_seconds: made(r, Histogram::with_opts(commit_opts.buckets(COMMITS.to_vec()))),
            gauges: Mutex::new(gauges),
            poolcounter: Poolcounter::new(r),
            reload_ok,
            reload_at: plain("stagger_config_reload_timestamp_seconds", "When the configuration was last read."),
            backup_at: plain("stagger_backup_timestamp_seconds", "When a backup was last taken, 0 before the first."),
            registry,
        }
    }

    /// The configuration was read.
    pub(crate) fn configured(&self, is_good: bool, at: Wall) {
        self.reload_ok.set(i64::from(is_good));
        self.reload_at.set(seconds(at));
    }

    /// A backup was taken.
    pub(crate) fn backed_up(&self, at: Wall) {
        self.backup_at.set(seconds(at));
    }

    fn label<'p>(&self, pool: &'p Pool) -> &'p str {
        let mut labelled = self.labelled.lock().unwrap_or_else(PoisonError::into_inner);
        if labelled.contains(pool) {
            return pool.as_str();
        }
        if labelled.len() >= POOLS_MAX {
            return OTHER;
        }
        labelled.insert(pool.clone());
        pool.as_str()
    }

    /// Counts what a decision does, seen from the state before it.
    pub(crate) fn decided(&self, before: &State, decision: &Decision, now: Now) {
        if let Reply::Asked(Answer::Refused(why)) = &decision.reply {
            self.refusals.with_label_values(&[why.kind.word()]).inc();
        }
        for change in &decision.changes {
            match change {
                Change::LeaseGranted(lease) => {
                    let ticket = before.record(&model::change::Key::Ticket(lease.holder.clone()));
                    let waited = match ticket {
                        Some(Stored::Ticket(ticket)) => now.time.since(ticket.taken.time).as_secs_f64(),
                        _ => 0.0,
                    };
                    for pool in lease.pools.keys().map(|pool| self.label(pool)) {
                        self.grants.with_label_values(&[pool]).inc();
                        self.waits.with_label_values(&[pool]).observe(waited);
                    }
                }
                Change::LeaseLost(lease) => {
                    for pool in lease.pools.keys() {
                        self.losses.with_label_values(&[self.label(pool)]).inc();
                    }
                }
                Change::LeaseEnded(_) => {
                    if let Some(Stored::Lease(lease)) = before.record(&change.key()) {
                        let held = now.time.since(lease.granted.time).as_secs_f64();
                        for pool in lease.pools.keys() {
                            self.held.with_label_values(&[self.label(pool)]).observe(held);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Counts an answered request.
    pub(crate) fn answered(&self, method: &http::Method, status: http::StatusCode) {
        let method = match method.as_str() {
            known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE") => known,
            _ => OTHER,
        };
        self.requests.with_label_values(&[method, status.as_str()]).inc();
    }

    /// All of it as text.
    pub(crate) fn render(&self, domain: &Domain) -> Result<Vec<u8>, prometheus::Error> {
        let gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.reset();
        domain.glance(|state, now| {
            self.look_at_pools(&gauges, state, now);
            look_at_rollouts(&gauges, state, now);
        });
        let (waiters, members) = domain.calls.count();
        gauges.calls.with_label_values(&["ask"]).set(signed(waiters));
        gauges.calls.with_label_values(&["join"]).set(signed(members));
        gauges.store.with_label_values::<&str>(&[]).set(i64::from(domain.fault().is_none()));
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    fn look_at_pools(&self, gauges: &Gauges, state: &State, now: Now) {
        let all = Selection { limit: Some(POOLS_MAX), ..Selection::default() };
        for row in state.read_pools(&all, now).rows {
            let pool = self.label(&row.pool);
            if pool == OTHER {
                continue;
            }
            gauges.slots.with_label_values(&[pool]).set(i64::from(row.slots));
            gauges.members.with_label_values(&[pool, "alive"]).set(i64::from(row.members - row.down.min(row.members)));
            gauges.members.with_label_values(&[pool, "down"]).set(i64::from(row.down));
            for (state, count) in
                [(LeaseState::Held, row.held), (LeaseState::Failed, row.failed), (LeaseState::Lost, row.lost)]
            {
                gauges.leases.with_label_values(&[pool, &state.to_string()]).set(i64::from(count));
            }
            gauges.waiters.with_label_values(&[pool]).set(i64::from(row.waiting));
            gauges.paused.with_label_values(&[pool]).set(i64::from(!row.pauses.is_empty()));
        }
        for ((pool, state), age_ms) in state.read_oldest(now) {
            let pool = self.label(pool);
            if pool != OTHER {
                let oldest = gauges.oldest.with_label_values(&[pool, &state.to_string()]);
                oldest.set(i64::try_from(age_ms / 1000).unwrap_or(i64::MAX));
            }
        }
    }
}

fn look_at_rollouts(gauges: &Gauges, state: &State, now: Now) {
    for row in state.read_newest_rollouts(now) {
        let service = row.name.service.as_str();
        let tally = row.tally;
        let counts = [
            ("owes", tally.owes),
            ("begun", tally.begun),
            ("ok", tally.ok),
            ("skipped", tally.skipped),
            ("failed", tally.failed),
        ];
        for (state, count) in counts {
            gauges.hosts.with_label_values(&[service, state]).set(i64::from(count));
        }
        for state in ROLLOUT_STATES {
            gauges.states.with_label_values(&[service, &state.to_string()]).set(i64::from(row.state == state));
        }
        let generation = i64::try_from(row.name.generation).unwrap_or(i64::MAX);
        gauges.generations.with_label_values(&[service]).set(generation);
    }
}

impl Gauges {
    fn reset(&self) {
        let all = [
            &self.slots,
            &self.members,
            &self.leases,
            &self.waiters,
            &self.paused,
            &self.oldest,
            &self.hosts,
            &self.states,
            &self.generations,
        ];
        all.into_iter().for_each(IntGaugeVec::reset);
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
