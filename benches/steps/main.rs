//! What a restart takes on an idle host beside the restart itself: from grant to settle, step by step.
//!
//! `cargo bench --bench steps` restarts 20 times; `-- 50`, so many times; `--profile dev` measures what is built already. A real worker
//! leaves a real HAProxy, has a systemd of the benchmark's own restart a unit that is up at once, and rejoins. What the worker reports of
//! each step stands beside what an observer sees: the lock server's events, with the moment in which each came.
//!
//! Apart from the total are the least drain, which is set, verification, of which there is none, and the restart itself: from the start of systemd's job
//! until the unit is active, by systemd's clock.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

mod observer;
#[path = "../../tests/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests need more of it")]
mod support;

use observer::{Observer, Seen};
use std::time::Duration;
use support::haproxy::Haproxy;
use support::{Host, LockServer, SOON, Tuning, UserSystemd, wait_for};

/// How often it restarts when nobody says.
const RUNS: usize = 20;
/// The least drain.
const DRAIN: Duration = Duration::from_millis(100);
/// The steps that a worker acts between grant and settle, in their order.
const STEPS: [&str; 6] = ["depool", "drain", "begin", "restart", "verify", "repool"];
/// What it is to take at most, beside what is apart.
const BOUND: Duration = Duration::from_millis(100);

/// One restart, in milliseconds.
struct Run {
    /// Each of [`STEPS`], as the worker reports it.
    reported: Vec<f64>,
    /// The restart itself.
    unit: f64,
    seen: Seen,
}

impl Run {
    /// From grant to settle, without what is apart.
    fn own(&self) -> f64 {
        let verify = STEPS.iter().position(|step| *step == "verify").map_or(0.0, |place| self.reported[place]);
        self.seen.total() - DRAIN.as_secs_f64() * 1e3 - verify - self.unit
    }
}

fn main() {
    let runs = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(RUNS);
    let folder = tempfile::tempdir().expect("a folder");
    let (server, systemd) = (LockServer::start(folder.path()), UserSystemd::start());
    let haproxy = Haproxy::start(folder.path(), "lb", "backend app\n    server mw1 127.0.0.1:9\n");
    let depool = format!("kind = \"haproxy\"\nsockets = [\"{}\"]\nserver = \"app/{{host}}\"", haproxy.admin);
    let tuning = Tuning { drain: "100ms", drain_more: "sessions = 0", ..Tuning::default() };
    let mut host = Host::with_depool(folder.path(), "mw1", &server.url, &depool, &tuning);
    host.environment = systemd.environment();
    host.restart_by("{ kind = \"systemd\", units = [\"web.service\"], manager = \"user\" }");
    systemd.write("web.service", "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=exec\nExecStart=/bin/sleep 1000\n");
    systemd.must(&["start", "web.service"]);
    let worker = host.work();
    wait_for("the worker has joined", SOON, || worker.has_joined().then_some(()));
    let observer = Observer::of(&server.url);
    let all: Vec<Run> = (1..=runs).filter_map(|number| restart(&server, &observer, number)).collect();
    assert!(!haproxy.is_out("app/mw1"), "it is back");
    print(&all);
}

/// Announces a rollout, and watches the host go through it; nothing when not every step was seen.
fn restart(server: &LockServer, observer: &Observer, number: usize) -> Option<Run> {
    server.must(&["announce", "web", "-m", "build"]);
    let seen = observer.watch();
    let report = wait_for("it is told", SOON, || {
        let shown = server.json(&["rollouts", &format!("web@{number}")]);
        (shown["row"]["state"] == "done").then(|| shown["targets"][0]["report"].clone())
    });
    assert_eq!(report["outcome"], "restarted", "{report}");
    let timings = report["timings"].as_array().expect("timings");
    let of = |step: &str| timings.iter().find(|timing| timing["step"] == step).unwrap_or_else(|| panic!("{report}"));
    let reported = STEPS.iter().map(|step| of(step)["ms"].as_f64().expect("a number")).collect();
    let note = of("restart")["note"].as_str().expect("a note");
    let unit = note.strip_prefix("web.service active after ").and_then(|span| span.strip_suffix("ms"));
    let unit = unit.and_then(|ms| ms.parse().ok()).unwrap_or_else(|| panic!("{note}"));
    Some(Run { reported, unit, seen: seen? })
}

fn print(all: &[Run]) {
    let build = if cfg!(debug_assertions) { "a debug build" } else { "an optimized build" };
    println!("{} restarts of {build}; ms, median (most)", all.len());
    let line = |name: &str, of: &dyn Fn(&Run) -> f64| {
        let mut each: Vec<f64> = all.iter().map(of).collect();
        each.sort_by(f64::total_cmp);
        let (median, most) = (each[each.len() / 2], each[each.len() - 1]);
        println!("  {name:<46} {median:>6.1} ({most:.1})");
        median
    };
    println!("reported by the worker");
    for (place, step) in STEPS.iter().enumerate() {
        line(step, &|run| run.reported[place]);
    }
    line("of the restart: the unit itself", &|run| run.unit);
    println!("seen by the observer");
    for (place, name) in observer::SPANS.iter().enumerate() {
        line(name, &|run| run.seen.spans()[place]);
    }
    line("grant to settle", &|run| run.seen.total());
    let own = line("without drain's least, verify, the unit itself", &Run::own);
    let word = if own <= BOUND.as_secs_f64() * 1e3 { "at most" } else { "MORE THAN" };
    println!("{word} {} ms", BOUND.as_millis());
}
