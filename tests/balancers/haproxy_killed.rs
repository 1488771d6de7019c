//! kill -9 of HAProxy at every point of the worker's journal, alone and together with the worker as when the power goes: whatever
//! HAProxy knows of its servers when it is back, no service restarts while it would be sent requests, no host is left out, and what
//! an operator had taken out stays out. The witness is HAProxy itself, asked by each restart and at the end.

use super::scene::{Fleet, wait_until_joined};
use crate::crash::{POWER_CUT_AT, every_point, journal_lines};
use crate::support::haproxy::{DRAIN, Haproxy, MAINT, shown};
use crate::support::{Host, SOON, Tuning, Worker, run, wait_for};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use serde_json::Value;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::time::Duration;

/// The variable that has a worker of a debug build wait at a point of its journal.
const PAUSE_AT: &str = "STAGGER_PAUSE_AT";
/// What is between two answers in the file that the restarts write.
const AT_A_RESTART: &str = "at a restart";
const POINT_WITHIN: Duration = Duration::from_secs(90);

/// What HAProxy knows of its servers when it is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knows {
    /// It has no state file: all are in.
    Nothing,
    /// What it knew: its state was written before.
    All,
    /// What was so before the server's state was last changed.
    WhatWasBefore,
}

/// Who else has a hand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Nobody,
    /// Had drained the server before it all began.
    DrainedBefore,
    /// Puts it into maintenance at that very point.
    SetsMaint,
}

/// One host behind one HAProxy, and its point.
struct Case {
    host: Host,
    haproxy: Haproxy,
    point: String,
    worker: Worker,
    /// What HAProxy said at the beginning.
    before: String,
    witness: PathBuf,
    /// Whether the host had been put back when HAProxy died, and its worker will know.
    is_done: bool,
}

impl Case {
    fn server(&self) -> String {
        format!("app/{}", self.host.name)
    }

    /// Its worker comes to its point; there HAProxy is killed and started again, and so is the worker when the power is cut.
    fn comes_to_its_point(&mut self, variable: &str, knows: Knows, operator: Operator) {
        let what = format!("{} comes to {}", self.host.name, self.point);
        if variable == PAUSE_AT {
            let nonblock = OFlags::NONBLOCK.bits().cast_signed();
            let pipe = self.host.folder.join("state/pause");
            let open = || OpenOptions::new().write(true).custom_flags(nonblock).open(&pipe).ok();
            // The worker waits while it is open.
            let _pipe = wait_for(&what, POINT_WITHIN, open);
            self.is_done = self.was_back();
            self.strike(knows, operator);
        } else {
            let status = wait_for(&what, POINT_WITHIN, || self.worker.ended());
            assert_eq!(status.signal(), Some(9), "{}: {}", self.point, self.host.log());
            let is_back = "\"acted\":{\"step\":\"repool\"";
            self.is_done = self.was_back() && journal_lines(&self.host).iter().any(|line| line.contains(is_back));
            self.strike(knows, operator);
            self.worker = self.host.work();
        }
    }

    fn was_back(&self) -> bool {
        self.host.starts() > 0 && !self.haproxy.is_out(&self.server())
    }

    /// kill -9 of HAProxy, and its next start.
    fn strike(&self, knows: Knows, operator: Operator) {
        let server = self.server();
        if operator == Operator::SetsMaint {
            self.haproxy.set(&server, "state maint");
        }
        match knows {
            Knows::Nothing => {}
            Knows::All => self.haproxy.save_state(),
            Knows::WhatWasBefore if self.was_back() => {
                self.haproxy.set(&server, "state drain");
                self.haproxy.save_state();
            }
            Knows::WhatWasBefore => self.haproxy.keep_state(&self.before),
        }
        self.haproxy.restart();
    }

    /// What HAProxy said of the server at each restart.
    fn restarts(&self) -> Vec<u32> {
        let said = std::fs::read_to_string(&self.witness).unwrap_or_default();
        let each = said.split(AT_A_RESTART).skip(1);
        each.map(|states| shown(states, &self.server()).unwrap_or_else(|| panic!("{states}")).admin).collect()
    }
}

/// A host, and another server whose name begins alike, of which nobody speaks.
fn case(fleet: &Fleet, place: usize, point: &str, variable: &str) -> Case {
    let name = format!("h{place}");
    let backend = format!(
        "backend app\n    server {name} 127.0.0.1:9 weight 7\n    server {name}00 127.0.0.1:9 weight {}\n",
        place + 1
    );
    let haproxy = Haproxy::start(fleet.folder.path(), &format!("lb{place}"), &backend);
    let witness = fleet.folder.path().join(format!("witness{place}"));
    let socket = haproxy.admin.replace(':', "/");
    let asks = format!(
        "bash -c 'exec 3<>/dev/tcp/{socket} && echo show servers state app >&3 && (echo {AT_A_RESTART}; cat <&3) >> {}'",
        witness.display()
    );
    let host = fleet.host_behind(&haproxy, &name, &Tuning { restart: asks.leak(), ..Tuning::default() });
    if variable == PAUSE_AT {
        let state = host.folder.join("state");
        std::fs::create_dir_all(&state).expect("a folder");
        mknodat(CWD, state.join("pause"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a named pipe");
    }
    let worker = host.work_with(&[(variable, point)]);
    let before = haproxy.ask("show servers state");
    Case { host, haproxy, point: point.to_owned(), worker, before, witness, is_done: false }
}

/// A case for each point, through to its end: HAProxy is killed there, and the worker too when the power is cut.
fn at_every_point(variable: &str, knows: Knows, operator: Operator) -> (Fleet, Vec<Case>) {
    let mut points = every_point();
    if operator == Operator::DrainedBefore {
        // A host that was out neither drains nor rejoins: two acts less, each recorded before and after.
        points.truncate(points.len() - 8);
    }
    let fleet = Fleet::new(points.len());
    // Nobody is lost while the test is busy elsewhere.
    fleet.server.set("pool/p", "ttl=60s");
    let mut cases: Vec<Case> =
        points.iter().enumerate().map(|(place, point)| case(&fleet, place, point, variable)).collect();
    for case in &cases {
        if operator == Operator::DrainedBefore {
            case.haproxy.set(&case.server(), "state drain");
        }
        wait_until_joined(&case.worker);
    }
    fleet.announce();
    std::thread::scope(|scope| {
        for case in &mut cases {
            scope.spawn(|| case.comes_to_its_point(variable, knows, operator));
        }
    });
    for case in &cases {
        wait_until_over(&fleet, case);
        let (at, starts) = (format!("{} with {knows:?}, {operator:?}", case.point), case.restarts());
        assert_eq!(case.host.starts(), starts.len(), "{at}: each asked\n{}", case.host.log());
        assert!(starts.len() <= 1, "{at}: {} restarts\n{}", starts.len(), case.host.log());
        let is_out = |admin: &u32| admin & (DRAIN | MAINT) != 0;
        assert!(starts.iter().all(is_out), "{at}: restarted in rotation: {starts:?}\n{}", case.host.log());
        let [this, other] = ["", "00"].map(|end| case.haproxy.state(&format!("{}{end}", case.server())));
        assert_eq!((this.weight, other.admin, other.weight), (7, 0, other_weight(case)), "{at}");
    }
    (fleet, cases)
}

fn other_weight(case: &Case) -> u32 {
    case.host.name.trim_start_matches('h').parse::<u32>().expect("a number") + 1
}

/// What the coordinator was told of it at the end.
fn report(fleet: &Fleet, case: &Case) -> Option<Value> {
    let shown = fleet.server.json(&["rollouts", "web@1"]);
    let targets = shown["targets"].as_array()?;
    let mine = targets.iter().find(|target| target["host"] == case.host.name.as_str())?;
    // What was cancelled is tried again.
    Some(mine["report"].clone()).filter(|report| report.is_object() && report["outcome"] != "cancelled")
}

/// It was told, and it neither waits nor is at work.
fn wait_until_over(fleet: &Fleet, case: &Case) {
    wait_for(&format!("{} at {} is over", case.host.name, case.point), SOON, || {
        let shown = fleet.server.json(&["leases", &format!("host/{}", case.host.name)]);
        let is_left = |list: &str| shown[list].as_array().is_none_or(|list| !list.is_empty());
        let is_over = !is_left("queue") && (!is_left("leases") || shown["leases"][0]["state"] == "failed");
        (is_over && report(fleet, case).is_some()).then_some(())
    });
}

/// Restarted, and in.
fn is_in_and_restarted(case: &Case) {
    assert_eq!(case.host.starts(), 1, "{}: {}", case.point, case.host.log());
    assert_eq!(case.haproxy.state(&case.server()).admin, 0, "{} left out: {}", case.point, case.host.log());
}

#[test]
fn haproxy_killed_at_every_point_that_forgets_everything() {
    let (_fleet, cases) = at_every_point(PAUSE_AT, Knows::Nothing, Operator::Nobody);
    cases.iter().for_each(is_in_and_restarted);
}

#[test]
fn haproxy_killed_at_every_point_that_forgets_nothing() {
    let (_fleet, cases) = at_every_point(PAUSE_AT, Knows::All, Operator::Nobody);
    cases.iter().for_each(is_in_and_restarted);
}

/// What it takes for a drain of today may be an old one: that cannot be told from an operator's, and is seen by who looks.
fn left_out_only_by_an_old_file(fleet: &Fleet, cases: &[Case]) {
    let (old, others): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|case| case.is_done);
    assert!((4..8).contains(&old.len()), "at some points it was back, at most not: {}", old.len());
    others.into_iter().for_each(is_in_and_restarted);
    for case in old {
        wait_until_seen_out(fleet, case);
        assert_eq!((case.host.starts(), case.haproxy.state(&case.server()).admin), (1, DRAIN), "{}", case.point);
        let (code, out, err) = run(&mut case.host.command(&["repool", "web"]));
        assert_eq!(code, 0, "{out}{err}");
        is_in_and_restarted(case);
    }
}

/// Its worker sees it, and says so.
fn wait_until_seen_out(fleet: &Fleet, case: &Case) {
    wait_for(&format!("{} at {} is seen out", case.host.name, case.point), SOON, || {
        let (_, out, _) = run(&mut fleet.server.command(&["members", "--out"]));
        out.split_whitespace().any(|word| word == case.host.name).then_some(())
    });
}

#[test]
fn haproxy_killed_at_every_point_whose_state_file_is_old() {
    let (fleet, cases) = at_every_point(PAUSE_AT, Knows::WhatWasBefore, Operator::Nobody);
    left_out_only_by_an_old_file(&fleet, &cases);
}

#[test]
fn the_power_of_all_is_cut_at_every_point_and_haproxy_forgets_everything() {
    let (_fleet, cases) = at_every_point(POWER_CUT_AT, Knows::Nothing, Operator::Nobody);
    cases.iter().for_each(is_in_and_restarted);
}

#[test]
fn the_power_of_all_is_cut_at_every_point_and_haproxy_forgets_nothing() {
    let (_fleet, cases) = at_every_point(POWER_CUT_AT, Knows::All, Operator::Nobody);
    cases.iter().for_each(is_in_and_restarted);
}

#[test]
fn the_power_of_all_is_cut_at_every_point_and_the_state_file_is_old() {
    let (fleet, cases) = at_every_point(POWER_CUT_AT, Knows::WhatWasBefore, Operator::Nobody);
    left_out_only_by_an_old_file(&fleet, &cases);
}

/// The host restarts where it is, at most once, and its operator finds it as it was left.
fn is_still(case: &Case, state: u32) {
    assert_eq!(case.haproxy.state(&case.server()).admin, state, "{}: {}", case.point, case.host.log());
}

#[test]
fn a_maint_that_is_set_when_haproxy_or_everything_dies_stays() {
    for variable in [PAUSE_AT, POWER_CUT_AT] {
        let (_fleet, cases) = at_every_point(variable, Knows::All, Operator::SetsMaint);
        cases.iter().for_each(|case| is_still(case, MAINT));
        for case in &cases {
            assert_eq!(case.host.starts(), 1, "{}: {}", case.point, case.host.log());
        }
    }
}

#[test]
fn a_drain_of_an_operator_s_own_is_not_taken_back() {
    for variable in [PAUSE_AT, POWER_CUT_AT] {
        let (_fleet, cases) = at_every_point(variable, Knows::All, Operator::DrainedBefore);
        cases.iter().for_each(|case| is_still(case, DRAIN));
        assert!(cases.iter().all(|case| case.host.starts() == 1));
    }
}

/// HAProxy itself has ended it: the host is in, by nobody's doing here, and is not restarted there.
#[test]
fn a_drain_of_an_operator_s_own_that_haproxy_forgot_is_not_restarted_under() {
    let (_fleet, cases) = at_every_point(PAUSE_AT, Knows::Nothing, Operator::DrainedBefore);
    cases.iter().for_each(|case| is_still(case, 0));
}
