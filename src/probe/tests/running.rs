//! Commands: how they end, what is kept, what is killed and what is not.

use crate::probe::exec::{DIE_WITH_PARENT, ExecError, ExecOptions, Left, OUTPUT_BYTES_MAX, die_with_parent, run};
use crate::probe::fixture::{DEADLINE, client, command, runs, sh, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

const SHIM_PARENT: &str = "STAGGER_TEST_SHIM_PARENT";
const MAY_NOT_KILL: &str = "STAGGER_TEST_MAY_NOT_KILL";

fn options() -> ExecOptions {
    ExecOptions { timeout: DEADLINE, env: Vec::new(), die_with_parent: None, left: Left::default() }
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, Signal::KILL).expect("killed");
}

#[tokio::test]
async fn a_command_tells_how_it_ended_and_what_it_said() {
    let exit = run(&sh("echo out; echo first >&2; echo last words >&2; exit 78"), &options()).await.expect("ended");
    assert_eq!((exit.code, exit.is_success()), (78, false));
    assert_eq!((exit.stdout.as_str(), exit.stderr.as_str()), ("out\n", "first\nlast words\n"));
    assert_eq!(exit.cause(), "exit 78: last words");
    assert_eq!(exit.output(), "out\nfirst\nlast words\n");
    let quiet = run(&command(&["true"]), &options()).await.expect("ended");
    assert_eq!((quiet.is_success(), quiet.cause().as_str()), (true, "exit 0"));
    let killed = run(&sh("kill -9 $$"), &options()).await.expect("ended");
    assert_eq!(killed.code, 128 + 9);
}

#[tokio::test]
async fn only_the_end_of_a_long_output_is_kept() {
    let exit = run(&command(&["seq", "1", "100000"]), &options()).await.expect("ended");
    assert!(exit.stdout.len() <= OUTPUT_BYTES_MAX && exit.stdout.ends_with("99999\n100000\n"), "{}", exit.stdout.len());
    let both = run(&sh("seq 1 9999; seq 1 9999 >&2; printf é >&2"), &options()).await.expect("ended");
    assert!(both.output().len() <= OUTPUT_BYTES_MAX && both.output().ends_with("9999\né"));
}

#[tokio::test]
async fn a_command_sees_whom_it_is_for() {
    let client = client().of(&"app".parse().expect("a service")).with("STAGGER_TOKEN", "7");
    let exit =
        client.run(&sh("echo $STAGGER_HOST $STAGGER_SERVICE $STAGGER_TOKEN; cat"), DEADLINE).await.expect("ended");
    assert_eq!(exit.stdout, "mw1 app 7\n", "and its standard input is empty");
}

#[tokio::test]
async fn a_program_that_is_missing_is_named() {
    let error = run(&command(&["/nonexistent/restart"]), &options()).await.expect_err("missing");
    assert!(matches!(&error, ExecError::Start { program, .. } if program == "/nonexistent/restart"), "{error}");
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_its_group() {
    let timeout = Duration::from_millis(1500);
    let error = run(&sh("sleep 600 & echo $!; wait"), &ExecOptions { timeout, ..options() }).await.expect_err("slow");
    assert_eq!(error.to_string(), "sh took longer than 1s500ms and was killed");
    let ExecError::TimedOut { output, .. } = error else { panic!("{error}") };
    let grandchild: u32 = output.trim().parse().expect("a pid");
    wait_until("the grandchild is gone", || !runs(grandchild)).await;
}

/// Whether this is the test that was run again by itself, as a root that may kill nobody else's processes; else it is run so here.
fn may_not_kill(test: &str) -> bool {
    if std::env::var_os(MAY_NOT_KILL).is_some() {
        return true;
    }
    let this = std::env::current_exe().expect("this program");
    let mut again = std::process::Command::new("setpriv");
    again.args(["--bounding-set=-kill", "--inh-caps=-kill"]).arg(this).args(["--test-threads=1", "--exact", test]);
    let ended = again.env(MAY_NOT_KILL, "1").output().expect("setpriv, of util-linux");
    let said = [ended.stdout, ended.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(ended.status.success() && said.contains("1 passed"), "it needs root: {said}");
    false
}

/// As with `sudo`: what runs as somebody else.
#[tokio::test]
async fn a_command_that_cannot_be_killed_is_said_to_run_still_until_it_has_ended() {
    let name = "a_command_that_cannot_be_killed_is_said_to_run_still_until_it_has_ended";
    if !may_not_kill(&format!("probe::tests::running::{name}")) {
        return;
    }
    let options = ExecOptions { timeout: Duration::from_millis(200), ..options() };
    let other = command(&["setpriv", "--reuid=1", "--clear-groups", "sleep", "5"]);
    let error = run(&other, &options).await.expect_err("slow");
    assert_eq!(error.to_string(), "setpriv took longer than 200ms, could not be killed and still runs");
    let left = options.left.ended([&other], Duration::ZERO).await.expect_err("it runs");
    assert_eq!(left, "an earlier setpriv could not be killed and still runs");
    options.left.ended([&command(&["true"])], Duration::ZERO).await.expect("another command is none of it");
    options.left.ended([&other], DEADLINE).await.expect("it has ended");
    let patient = ExecOptions { timeout: DEADLINE, ..options.clone() };
    let dropped = tokio::time::timeout(Duration::from_millis(200), run(&other, &patient)).await;
    assert!(dropped.is_err(), "nobody waits for it");
    assert!(options.left.ended([&other], Duration::ZERO).await.is_err(), "and it runs");
    options.left.ended([&other], DEADLINE).await.expect("it has ended");
}

#[tokio::test]
async fn a_command_that_is_dropped_is_killed_with_its_group() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pid");
    let script = format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait", file.display());
    let task = tokio::spawn(async move { run(&sh(&script), &options()).await });
    wait_until("it started", || file.exists()).await;
    let grandchild: u32 = std::fs::read_to_string(&file).expect("a file").trim().parse().expect("a pid");
    assert!(runs(grandchild));
    task.abort();
    wait_until("the grandchild is gone", || !runs(grandchild)).await;
}

#[tokio::test]
async fn what_a_command_leaves_running_is_neither_killed_nor_waited_for() {
    let started = Instant::now();
    let exit = run(&sh("sleep 600 & echo $!"), &options()).await.expect("ended");
    assert!(started.elapsed() < DEADLINE / 2, "the service holds the pipe open, and nobody waits for it");
    let service: u32 = exit.stdout.trim().parse().expect("a pid");
    assert!(runs(service));
    kill(service);
}

/// The other half of the test below: run again with the variable set, this very test becomes the command.
#[test]
fn the_shim_becomes_its_command() {
    let Some(parent) = std::env::var_os(SHIM_PARENT) else { return };
    let parent = parent.to_str().and_then(|pid| pid.parse().ok()).expect("a pid");
    panic!("{}", die_with_parent(parent, &["sleep".into(), "600".into()]));
}

#[tokio::test]
async fn a_command_behind_the_shim_dies_with_its_parent() {
    let test = std::env::current_exe().expect("this program");
    let script = format!(
        "{SHIM_PARENT}=$$ '{}' --exact probe::tests::running::the_shim_becomes_its_command --test-threads=1 >/dev/null & echo $!; wait",
        test.display()
    );
    let mut parent = std::process::Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut line = String::new();
    BufReader::new(parent.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
    let shim: u32 = line.trim().parse().expect("a pid");
    let is_command = || std::fs::read_to_string(format!("/proc/{shim}/comm")).is_ok_and(|name| name.trim() == "sleep");
    wait_until("the shim became its command", is_command).await;
    kill(parent.id());
    wait_until("the command is gone", || !runs(shim)).await;
    parent.wait().expect("reaped");
}

#[test]
fn the_shim_refuses_when_its_parent_is_gone_already() {
    let error = die_with_parent(std::process::id(), &["true".into()]);
    assert!(error.to_string().contains("is gone"), "{error}");
}

#[tokio::test]
async fn a_command_is_started_through_the_shim_when_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let shim = folder.path().join("shim");
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(&shim).expect("a script");
    file.write_all(b"#!/bin/sh\necho \"$1 $2 $3\"; shift 3; exec \"$@\"\n").expect("written");
    drop(file);
    let options = ExecOptions { die_with_parent: Some(shim), ..options() };
    let exit = run(&command(&["echo", "a b", "c"]), &options).await.expect("ended");
    assert_eq!(exit.stdout, format!("{DIE_WITH_PARENT} {} --\na b c\n", std::process::id()));
}
