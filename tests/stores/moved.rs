//! A domain that moves while the one who moves it is killed.

use super::servers::Etcd;
use crate::support::{LockServer, Running, run, stagger};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

fn carry_over(from: &str, to: &str) -> Command {
    let mut command = stagger();
    command.args(["move", "--from", from, "--to", to]);
    command
}

fn ask(url: &str, words: &[&str]) -> String {
    let (code, out, err) = run(stagger().args(words).env("STAGGER_COORDINATOR", url));
    assert_eq!(code, 0, "{words:?} at {url}: {err}");
    out
}

#[test]
fn a_move_that_is_killed_anywhere_goes_on_when_it_is_started_again() {
    let (folder, etcd) = (tempfile::tempdir().expect("a folder"), Etcd::start(1));
    let server = LockServer::start(folder.path());
    let (mut from, mut to) = (server.url.clone(), etcd.url());
    ask(&from, &["set", "pool/p", "slots=3", "--reason", "test"]);
    let token = ["run", "-p", "p", "--", "sh", "-c", "echo $STAGGER_TOKEN"];
    for lines in 1..=5_u64 {
        assert_eq!(ask(&from, &token).trim(), lines.to_string());
        let mut moving = carry_over(&from, &to);
        let mut moving = Running::of(moving.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts"));
        let mut said = BufReader::new(moving.0.stdout.take().expect("its output")).lines();
        let last = (0..lines).map_while(|_| said.next()).last().expect("a line").expect("text");
        moving.kill();
        let (code, out, err) = run(&mut carry_over(&from, &to));
        assert_eq!(code, 0, "killed after {last:?}: {out}{err}");
        assert!(ask(&to, &["pools"]).contains("slots=3"), "killed after {last:?}");
        assert_eq!(ask(&from, &["pools"]), ask(&to, &["pools"]), "who asks the old one is sent on");
        std::mem::swap(&mut from, &mut to);
    }
    assert_eq!(ask(&from, &token).trim(), "6", "tokens grow wherever it is");
}

#[test]
fn a_move_that_is_undone_leaves_everything_where_it_was() {
    let (folder, etcd) = (tempfile::tempdir().expect("a folder"), Etcd::start(1));
    let server = LockServer::start(folder.path());
    let (from, to) = (server.url.clone(), etcd.url());
    ask(&from, &["set", "pool/p", "slots=3", "--reason", "test"]);
    let mut holder = stagger();
    holder.args(["run", "-p", "p", "--name", "long", "--", "sleep", "600"]).env("STAGGER_COORDINATOR", &from);
    let holder = Running::of(holder.stderr(Stdio::null()).spawn().expect("it starts"));
    crate::support::wait_for("it holds", crate::support::SOON, || {
        ask(&from, &["leases"]).contains("long").then_some(())
    });
    let mut moving = carry_over(&from, &to);
    let mut moving = Running::of(moving.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts"));
    let mut said = BufReader::new(moving.0.stdout.take().expect("its output")).lines();
    let waits = (0..2).map_while(|_| said.next()).last().expect("a line").expect("text");
    assert!(waits.contains("waits for long"), "{waits}");
    moving.kill();
    let (code, out, err) = run(carry_over(&from, &to).arg("--undo"));
    assert_eq!((code, out.contains("✓ stays")), (0, true), "{out}{err}");
    drop(holder);
    assert!(!ask(&from, &["pools"]).contains("paused"));
}

#[test]
fn a_move_from_where_nothing_is_and_one_that_is_over_are_refused_and_no_password_is_told() {
    let (folder, etcd) = (tempfile::tempdir().expect("a folder"), Etcd::start(1));
    let server = LockServer::start(folder.path());
    let (from, to) = (server.url.clone(), etcd.url());
    let refused = |from: &str, to: &str, more: &[&str]| {
        let (code, _, err) = run(carry_over(from, to).args(more));
        (code, err)
    };
    let (code, err) = refused(&format!("{to}/slip"), &format!("{to}/new"), &[]);
    assert!(code == 1 && err.contains("nothing is at etcd://"), "{err}");
    assert!(!ask(&from, &["history"]).contains("paused"), "nor was anything paused");
    ask(&from, &["set", "pool/p", "slots=3", "--reason", "test"]);
    assert_eq!(run(&mut carry_over(&from, &to)).0, 0);
    let (code, err) = refused(&from, &to, &["--undo"]);
    assert!(code == 1 && err.contains(&format!("move it back: stagger move --from {to} --to {from}")), "{err}");
    for wrong in ["etcd://ann:s3cret@h", "redis://ann:s3cret/x@h", "nonsense://ann:s3cret@h"] {
        let (code, err) = refused(&from, wrong, &[]);
        assert_eq!((code, err.contains("s3cret")), (64, false), "{err}");
        let (code, _, err) = run(stagger().args(["leases", "--coordinator", wrong]));
        assert_eq!((code, err.contains("s3cret"), err.contains("ann:…@h")), (64, false, true), "{err}");
        let (code, _, err) = run(stagger().args(["lockserver", "--coordinator", wrong]));
        assert_eq!((code, err.contains("s3cret")), (64, false), "{err}");
    }
}
