//! The restart act and the look whether it happened, with real commands.

use super::*;
use crate::probe::fixture::{client, service};
use std::path::Path;

/// A unit whose commands are these shell lines.
fn unit(restart: &str, identity: Option<&str>) -> Unit {
    unit_within("2s", restart, identity)
}

/// The same, whose restart may take so long.
fn unit_within(timeout: &str, restart: &str, identity: Option<&str>) -> Unit {
    let identity = identity.map_or(String::new(), |line| format!(", identity = [\"sh\", \"-c\", '''{line}''']"));
    let keys = format!(
        "restart = {{ kind = \"exec\", command = [\"sh\", \"-c\", '''{restart}'''], timeout = \"{timeout}\"{identity} }}\n"
    );
    Unit::new(&service(&keys), &client())
}

/// An identity command that answers as `before` does until it is asked for the `look`th time, and then that 8 runs.
fn changes_at(look: u128, before: &str, folder: &Path) -> String {
    let asked = folder.join("asked").display().to_string();
    format!("echo asked >> {asked}; if [ $(wc -l < {asked}) -ge {look} ]; then echo 8; else {before}; fi")
}

#[tokio::test]
async fn a_restart_tells_what_it_printed() {
    let mut unit = unit("echo $STAGGER_HOST $STAGGER_SERVICE $STAGGER_TOKEN", None);
    unit.client = unit.client.with("STAGGER_TOKEN", "9127");
    let restarted = unit.restart(None, |_| {}).await.expect("restarted");
    assert_eq!(restarted.output, "mw1 app 9127\n");
    assert!(restarted.ms < 10_000);
}

#[tokio::test]
async fn a_failed_restart_tells_its_exit_and_its_last_words() {
    let error =
        unit("echo '[pool www] unknown entry' >&2; exit 78", None).restart(None, |_| {}).await.expect_err("failed");
    assert_eq!(error.to_string(), "exit 78: [pool www] unknown entry");
    assert_eq!(error.exit(), Some(78));
    let fault = Fault::from(error);
    assert_eq!(
        (fault.cause.as_str(), fault.output.as_str()),
        ("exit 78: [pool www] unknown entry", "[pool www] unknown entry\n")
    );
    let mut slow = unit("echo begun; sleep 600", None);
    slow.restart.timeout = Duration::from_millis(1500);
    let error = slow.restart(None, |_| {}).await.expect_err("slow");
    assert_eq!((error.exit(), error.output().as_str()), (None, "begun\n"));
}

#[tokio::test]
async fn an_identity_is_a_word_of_its_command() {
    assert_eq!(unit("true", None).identity().await.expect("none"), None);
    assert_eq!(unit("true", Some("echo pid 7")).identity().await.expect("one").as_deref(), Some("pid 7"));
    assert!(matches!(unit("true", Some("true")).identity().await, Err(UnitError::NoIdentity { bytes: 0 })));
    assert!(matches!(unit("true", Some("seq 1 1000")).identity().await, Err(UnitError::NoIdentity { .. })));
    let blank = "seq 1 9000 | tr -d '0-9'; echo 7";
    assert!(matches!(unit("true", Some(blank)).identity().await, Err(UnitError::NoIdentity { bytes: 8192 })));
    assert!(matches!(unit("true", Some("echo 7; exit 1")).identity().await, Err(UnitError::Failed { .. })));
}

#[tokio::test]
async fn a_unit_is_renewed_when_another_incarnation_runs() {
    let asked = async |identity: Option<&str>, before| unit("true", identity).is_renewed(before).await;
    assert_eq!(asked(Some("echo 8"), Some("7")).await, Ok(()));
    assert_eq!(
        asked(Some("echo 7"), Some("7")).await,
        Err("the old process still runs: its identity is the same".to_owned())
    );
    let unclear = asked(Some("exit 1"), Some("7")).await.expect_err("nobody can tell");
    assert_eq!(unclear, "which incarnation runs cannot be told: exit 1");
    for never_known in [asked(None, Some("7")).await, asked(Some("echo 7"), None).await] {
        assert_eq!(never_known, Ok(()));
    }
}

#[tokio::test]
async fn another_incarnation_is_a_restart_that_happened() {
    let unit = unit("true", Some("echo 8"));
    assert_eq!(unit.inspect(Some("7"), false).await, Seen::Done);
}

#[tokio::test]
async fn the_same_incarnation_is_believed_only_after_a_while() {
    let started = Instant::now();
    assert_eq!(unit("true", Some("echo 7")).inspect(Some("7"), false).await, Seen::NotDone);
    assert!(started.elapsed() >= QUIET);
    // A restart that goes on after its command died: it shows within the quiet time.
    let folder = tempfile::tempdir().expect("a folder");
    let unit = unit("true", Some(&changes_at(3, "echo 7", folder.path())));
    assert_eq!(unit.inspect(Some("7"), false).await, Seen::Done);
}

#[tokio::test]
async fn a_restart_that_goes_on_by_itself_is_waited_for_as_long_as_it_may_take() {
    let folder = tempfile::tempdir().expect("a folder");
    let beyond_quiet = QUIET.as_millis() / LOOK_EVERY.as_millis() + 2;
    let unit = unit_within("30s", "true", Some(&changes_at(beyond_quiet, "echo 7", folder.path())));
    assert_eq!(unit.inspect(Some("7"), false).await, Seen::Done);
}

#[tokio::test]
async fn what_nobody_can_tell_is_unknown() {
    let unknown =
        |seen: Seen, word: &str| assert!(matches!(&seen, Seen::Unknown(why) if why.contains(word)), "{seen:?}");
    unknown(unit("true", Some("echo 7")).inspect(None, false).await, "not recorded");
    unknown(unit("true", None).inspect(Some("7"), false).await, "no identity command");
    unknown(unit("true", Some("echo gone >&2; exit 1")).inspect(Some("7"), false).await, "exit 1: gone");
}

#[tokio::test]
async fn a_service_in_the_middle_of_its_restart_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let unit = unit("true", Some(&changes_at(4, "exit 1", folder.path())));
    assert_eq!(unit.inspect(Some("7"), false).await, Seen::Done);
}

#[tokio::test]
async fn looked_for_again_one_look_is_enough() {
    let started = Instant::now();
    assert_eq!(unit_within("30s", "true", Some("echo 7")).inspect(Some("7"), true).await, Seen::NotDone);
    assert!(started.elapsed() < Duration::from_secs(20), "it does not wait for as long as a restart may take");
    assert_eq!(unit("true", Some("echo 8")).inspect(Some("7"), true).await, Seen::Done);
    let folder = tempfile::tempdir().expect("a folder");
    let in_the_middle = unit("true", Some(&changes_at(4, "exit 1", folder.path())));
    assert_eq!(in_the_middle.inspect(Some("7"), true).await, Seen::Done, "while nobody can tell, it is asked again");
}
