//! `stagger demo` from outside: its acts, that its observer notices what goes wrong, and that nothing is left of it.

use crate::support::{SOON, run, signal, stagger, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A demo whose folder lies in this one, so that what it leaves behind is known.
fn demo(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = stagger();
    // A coordinator that somebody has set for their own commands must not reach the demo's workers.
    command.env("TMPDIR", folder).env("STAGGER_COORDINATOR", "http://127.0.0.1:9").arg("demo").args(arguments);
    command
}

/// A demo that is under way.
pub(crate) struct Running {
    child: Child,
    /// Its first line has been read: all hosts are up.
    output: BufReader<std::process::ChildStdout>,
    /// Its coordinator.
    pub(crate) url: String,
}

impl Running {
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Running {
        let mut child = demo(folder, arguments);
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the demo starts");
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        output.read_line(&mut line).expect("its first line");
        let url = line.trim_end().rsplit(' ').next().expect("a URL").to_owned();
        assert!(line.contains("pretend hosts"), "{line:?}");
        Running { child, output, url }
    }

    /// The rest of what it prints, and its exit code.
    pub(crate) fn end(mut self) -> (i32, String) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("its output");
        let status = self.child.wait().expect("its end");
        (status.code().unwrap_or(-1), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended before; what it started ends with it.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// How many processes name this folder in their command line.
fn processes_of(folder: &Path) -> usize {
    let name = folder.to_string_lossy().into_owned();
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(&name)).count()
}

fn nothing_left(folder: &Path) -> bool {
    processes_of(folder) == 0 && std::fs::read_dir(folder).expect("the folder").next().is_none()
}

fn tempdir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn every_act_goes_well_and_programs_can_read_it() {
    let folder = tempdir();
    let (code, printed, said) =
        run(&mut demo(folder.path(), &["--hosts", "5", "--slots", "2", "--drain", "300ms", "--json"]));
    let last: Value = serde_json::from_str(printed.lines().last().expect("a line")).expect("JSON");
    assert_eq!((code, said.as_str()), (0, ""), "{last:#}");
    for (key, value) in [("hosts", 5), ("slots", 2), ("restarted", 5), ("failed", 0), ("failed_requests", 0)] {
        assert_eq!(last[key], value, "{key}: {last:#}");
    }
    assert_eq!(last["peak_out"], 2, "all slots were used, and never more: {last:#}");
    let number = |key: &str| last[key].as_f64().unwrap_or_else(|| panic!("{key}: {last:#}"));
    assert_eq!(number("bound_s"), 1.5);
    assert!(number("wall_s") >= 1.5 && (number("efficiency") - 1.5 / number("wall_s")).abs() < 0.01, "{last:#}");
    // A slot that is given back goes to the next at once: whoever only asked again now and then would take far longer.
    assert!(number("wall_s") < 10.0, "{last:#}");
    assert!(number("requests") >= number("requests_while_out") && number("requests_while_out") > 500.0, "{last:#}");
    let acts: Vec<_> = last["acts"].as_array().expect("acts").iter().map(|act| (&act["name"], &act["ok"])).collect();
    let names = ["deploy", "slow", "bad build", "kill -9", "unplugged"];
    assert_eq!(acts.len(), names.len());
    assert!(acts.iter().zip(names).all(|(act, name)| *act.0 == name && *act.1 == true), "{last:#}");
    assert!(nothing_left(folder.path()));
}

#[test]
fn more_hosts_out_than_slots_are_noticed() {
    let folder = tempdir();
    let running = Running::start(folder.path(), &["--hosts", "6", "--slots", "1", "--drain", "2s", "--acts", "deploy"]);
    let set = ["set", "pool/demo", "slots=3", "--reason", "behind its back", "--coordinator", &running.url];
    assert_eq!(run(stagger().args(set)).0, 0);
    let (code, printed) = running.end();
    assert_eq!(code, 1, "{printed}");
    assert!(printed.starts_with("✗ deploy     3 hosts were out at once, with 1 slot"), "{printed}");
    assert!(nothing_left(folder.path()));
}

#[test]
fn a_service_that_dies_while_it_is_in_is_noticed() {
    let folder = tempdir();
    let running = Running::start(folder.path(), &["--hosts", "3", "--slots", "1", "--acts", "deploy"]);
    let demo =
        std::fs::read_dir(folder.path()).expect("the folder").flatten().next().expect("the demo's folder").path();
    let identity = |host: &str| std::fs::read_to_string(demo.join(host).join("identity")).expect("an identity");
    // Only one host is out at a time, so one of these two is in.
    for host in ["host1", "host2"] {
        let pid = identity(host).split(' ').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        kill_process(pid.expect("a pid"), Signal::KILL).expect("killed");
    }
    let (code, printed) = running.end();
    assert_eq!(code, 1, "{printed}");
    assert!(printed.starts_with("✗ deploy"), "{printed}");
    assert!(nothing_left(folder.path()));
}

#[test]
fn nothing_is_left_of_a_demo_that_is_ended_early() {
    for (which, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::KILL, -1)] {
        let folder = tempdir();
        let running = Running::start(folder.path(), &["--hosts", "4", "--slots", "2"]);
        wait_for("services and workers", SOON, || (processes_of(folder.path()) >= 8).then_some(()));
        signal(&running.child, which);
        assert_eq!(running.end().0, code);
        wait_for("nothing to be left", SOON, || nothing_left(folder.path()).then_some(()));
    }
}

#[test]
fn a_demo_that_is_kept_can_be_looked_at_until_it_is_ended() {
    let folder = tempdir();
    let arguments = ["--hosts", "3", "--slots", "1", "--drain", "100ms", "--acts", "deploy", "--keep"];
    let mut running = Running::start(folder.path(), &arguments);
    let mut line = String::new();
    running.output.read_line(&mut line).expect("a line");
    assert!(line.starts_with("✓ deploy     3 ok in "), "{line:?}");
    let members = run(stagger().args(["members", "--json", "--coordinator", &running.url]));
    assert_eq!((members.0, members.1.matches("\"host\":\"host").count()), (0, 3), "{members:?}");
    signal(&running.child, Signal::INT);
    assert_eq!(running.end().0, 130);
    assert!(nothing_left(folder.path()));
}

#[test]
fn people_read_a_line_for_each_act() {
    let folder = tempdir();
    let (code, printed, said) = run(&mut demo(folder.path(), &["--hosts", "2", "--slots", "1", "--drain", "100ms"]));
    assert_eq!((code, said.as_str()), (0, ""), "{printed}");
    let lines: Vec<&str> = printed.lines().collect();
    let begins = [
        "2 pretend hosts, 1 slot; lock server http://127.0.0.1:",
        "✓ deploy     2 ok in ",
        "✓ slow       ",
        "✓ bad build  1 failed, 1 left as they were",
        "✓ kill -9    host",
        "✓ unplugged  host",
        "Nothing left behind. To look around: ",
    ];
    assert_eq!(lines.len(), begins.len(), "{printed}");
    assert!(lines.iter().zip(begins).all(|(line, begin)| line.starts_with(begin)), "{printed}");
}
