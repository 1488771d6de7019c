//! The check, the drain and the verify.

use crate::config::steps::Running;
use crate::config::steps::Then;
use crate::config::{Check, Drain, Verify};
use crate::probe::check::{self, CheckError};
use crate::probe::drain::drain;
use crate::probe::fixture::{client, exec, predicate, service, sh};
use crate::probe::verify::{UnitLook, Verified, VerifyError};
use std::path::Path;
use std::time::Duration;

/// The old process is gone.
async fn renewed() -> Result<(), String> {
    Ok(())
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A check over these figures, whose second rule writes the file `cleared`.
fn opcache(figures: &str, cleared: &Path) -> Check {
    let keys = format!(
        r#"
        [service.app.check]
        exec = ["sh", "-c", "echo '{figures}'"]
        rules = [
          {{ when = "answer.free_mib <= 100", then = "restart" }},
          {{ when = "answer.fragmentation >= 95", then = {{ exec = ["touch", "{}"] }} }},
          {{ when = "answer.keys >= answer.max_keys - 5000", then = "restart" }},
        ]"#,
        cleared.display()
    );
    service(&keys).check.expect("a check")
}

#[tokio::test]
async fn a_service_says_itself_whether_it_needs_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let cleared = folder.path().join("cleared");
    let figures = |free: u32, fragmentation: u32, keys: u32| {
        format!(r#"{{\"free_mib\":{free},\"fragmentation\":{fragmentation},\"keys\":{keys},\"max_keys\":32531}}"#)
    };
    let well = check::verdict(&opcache(&figures(101, 94, 27530), &cleared), &client()).await.expect("a verdict");
    assert!(!well.restart && well.ran.is_empty() && !cleared.exists(), "{well:?}");
    assert!(well.figures.contains("\"free_mib\":101"), "{well:?}");
    let full = check::verdict(&opcache(&figures(100, 99, 0), &cleared), &client()).await.expect("a verdict");
    assert!(full.restart && full.why == "answer.free_mib <= 100", "{full:?}");
    assert!(full.ran.is_empty() && !cleared.exists(), "the first restart ends it");
    let keys = check::verdict(&opcache(&figures(101, 95, 27531), &cleared), &client()).await.expect("a verdict");
    assert!(keys.restart && keys.why.contains("max_keys") && cleared.exists(), "{keys:?}");
    assert_eq!((keys.ran.len(), keys.ran[0].ok, keys.ran[0].outcome.as_str()), (1, true, "exit 0"));
}

#[tokio::test]
async fn a_check_that_cannot_be_read_restarts_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let unread = check::verdict(&opcache("no figures", &folder.path().join("x")), &client()).await;
    assert!(matches!(unread, Err(CheckError::Rule(_))), "{unread:?}");
    let mut check = opcache("", &folder.path().join("x"));
    check.probe = exec("exit 1");
    let failed = check::verdict(&check, &client()).await.expect_err("a failed command");
    assert_eq!(failed.to_string(), "the check cannot be read: no usable answer: exit 1");
}

#[tokio::test]
async fn a_rules_command_that_fails_is_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut check =
        opcache(r#"{\"free_mib\":101,\"fragmentation\":95,\"keys\":0,\"max_keys\":32531}"#, &folder.path().join("x"));
    check.rules[1].then = Then::Exec(sh("echo denied >&2; exit 4"));
    let verdict = check::verdict(&check, &client()).await.expect("a verdict");
    assert!(!verdict.restart);
    assert_eq!((verdict.ran[0].ok, verdict.ran[0].outcome.as_str()), (false, "exit 4: denied"));
}

#[tokio::test]
async fn a_drain_counts_the_connections_of_a_port() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    let connect = || (std::net::TcpStream::connect(address).expect("connected"), listener.accept().expect("accepted"));
    let keys = format!(
        "[service.app.drain]\nconnections = {}\nuntil = \"connections <= 1\"\nmin = \"0s\"\nmax = \"9s\"\n",
        address.port()
    );
    let wanted = service(&keys).drain;
    let (first, second, third) = (connect(), connect(), connect());
    let mut left = vec![first, second];
    let mut told = Vec::new();
    let gone = drain(&wanted, &client(), |note| {
        told.push(note.to_owned());
        left.pop();
    })
    .await;
    assert_eq!(told, ["3 in flight", "2 in flight", "1 in flight"]);
    assert!(!gone.timed_out && gone.in_flight == "1 in flight", "{gone:?}");
    let late = drain(&Drain { max: ms(300), ..service(&keys.replace("<= 1", "== 0")).drain }, &client(), |_| ()).await;
    assert!(late.timed_out && late.in_flight == "1 in flight", "{late:?}");
    drop(third);
}

#[tokio::test]
async fn a_drain_takes_its_least_even_when_nothing_is_in_flight() {
    let plain = drain(&Drain { min: ms(120), max: ms(5000), until: None, sessions: None }, &client(), |_| ()).await;
    assert!(plain.waited >= ms(120) && plain.waited < ms(2000) && !plain.timed_out, "{plain:?}");
    let probe = exec("echo 0");
    let until = predicate(&probe, "answer == 0");
    let quiet =
        drain(&Drain { min: ms(120), max: ms(5000), until: Some((probe, until)), sessions: None }, &client(), |_| ())
            .await;
    assert!(quiet.waited >= ms(120) && quiet.waited < ms(4000) && !quiet.timed_out, "{quiet:?}");
    assert_eq!(quiet.in_flight, "0 in flight");
}

#[tokio::test]
async fn a_drain_waits_for_what_is_in_flight_but_not_for_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    let count = folder.path().join("count");
    // Each question leaves one request less in flight.
    let script = format!("n=$(cat {0} 2>/dev/null || echo 3); echo $((n-1)) > {0}; echo $n", count.display());
    let probe = exec(&script);
    let until = predicate(&probe, "answer <= 1");
    let gone = drain(
        &Drain { min: ms(0), max: ms(9000), until: Some((probe.clone(), until.clone())), sessions: None },
        &client(),
        |_| (),
    )
    .await;
    assert!(!gone.timed_out && gone.in_flight == "1 in flight" && gone.waited >= ms(500), "{gone:?}");
    std::fs::write(&count, "1000").expect("written");
    let late =
        drain(&Drain { min: ms(0), max: ms(1500), until: Some((probe, until)), sessions: None }, &client(), |_| ())
            .await;
    assert!(
        late.timed_out
            && late.waited >= ms(1450)
            && late.in_flight.starts_with("10") | late.in_flight.starts_with("99"),
        "{late:?}"
    );
    let broken = exec("exit 1");
    let until = predicate(&broken, "stdout == ''");
    let unread =
        drain(&Drain { min: ms(0), max: ms(1500), until: Some((broken, until)), sessions: None }, &client(), |_| ())
            .await;
    assert!(unread.timed_out && unread.in_flight == "no usable answer: exit 1", "{unread:?}");
    let silent = exec("sleep 600");
    let until = predicate(&silent, "exit == 0");
    let unheard =
        drain(&Drain { min: ms(0), max: ms(1500), until: Some((silent, until)), sessions: None }, &client(), |_| ())
            .await;
    assert!(unheard.timed_out && unheard.waited < ms(9000), "{unheard:?}");
}

#[tokio::test]
async fn a_drain_tells_what_is_in_flight_at_each_look() {
    let folder = tempfile::tempdir().expect("a folder");
    let count = folder.path().join("count");
    let script = format!("n=$(cat {0} 2>/dev/null || echo 3); echo $((n-1)) > {0}; echo $n", count.display());
    let probe = exec(&script);
    let until = predicate(&probe, "answer <= 1");
    let mut told = Vec::new();
    let wanted = Drain { min: ms(0), max: ms(9000), until: Some((probe.clone(), until.clone())), sessions: None };
    let gone = drain(&wanted, &client(), |note| told.push(note.to_owned())).await;
    assert_eq!(told, ["3 in flight", "2 in flight", "1 in flight"]);
    assert_eq!(Some(&gone.in_flight), told.last());
    std::fs::write(&count, "1").expect("written");
    let (mut told, started) = (Vec::new(), std::time::Instant::now());
    let wanted = Drain { min: ms(700), ..wanted };
    let least = drain(&wanted, &client(), |note| told.push((note.to_owned(), started.elapsed()))).await;
    assert!(least.waited >= ms(700) && !least.timed_out, "{least:?}");
    assert_eq!(told.iter().map(|(note, _)| note.as_str()).collect::<Vec<_>>(), ["1 in flight", "0 in flight"]);
    assert!(told[0].1 < ms(700), "and in the least time already, without ending it: {told:?}");
}

async fn verify(wanted: Option<&Verify>, steady: Duration) -> Result<Verified, VerifyError> {
    let no_unit = async |_: &Running| panic!("no unit is asked for");
    crate::probe::verify::verify(wanted, steady, &client(), renewed, no_unit).await
}

/// Asks a command that answers good (`0`) or bad as the file's lines say, one line per question; then good for ever.
fn scripted(folder: &Path, answers: &str, times: u32, every: u64, within: u64) -> Verify {
    let file = folder.join("answers");
    std::fs::write(&file, answers).expect("written");
    let script = format!("c=$(head -n1 {0}); sed -i 1d {0}; echo asked >> {0}.log; exit ${{c:-0}}", file.display());
    let probe = exec(&script);
    let expect = predicate(&probe, "exit == 0");
    Verify { probe: Some((probe, expect)), unit: None, times, every: ms(every), within: ms(within) }
}

fn asked(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join("answers.log")).expect("a log").lines().count()
}

#[tokio::test]
async fn a_service_is_well_after_good_answers_in_a_row() {
    let folder = tempfile::tempdir().expect("a folder");
    let dying = scripted(folder.path(), "0\n1\n0\n0\n", 3, 10, 9000);
    let verified = verify(Some(&dying), Duration::ZERO).await.expect("well");
    assert_eq!(asked(folder.path()), 5, "a bad answer starts the row anew");
    assert!(verified.waited >= ms(40) && verified.figures == "exit 0", "{verified:?}");
}

/// Seen to go wrong: a restart command that returned while the old process still answered.
#[tokio::test]
async fn answers_of_the_old_process_do_not_count() {
    let folder = tempfile::tempdir().expect("a folder");
    let well = scripted(folder.path(), "", 2, 10, 9000);
    let looks = std::cell::Cell::new(0);
    let is_renewed = async || {
        looks.set(looks.get() + 1);
        if looks.get() <= 3 { Err("the old process still runs".to_owned()) } else { Ok(()) }
    };
    let no_unit = async |_: &Running| panic!("no unit is asked for");
    crate::probe::verify::verify(Some(&well), Duration::ZERO, &client(), is_renewed, no_unit).await.expect("well");
    assert_eq!(
        (looks.get(), asked(folder.path())),
        (4, 2),
        "nothing is asked of the old one, and the new one is looked for once"
    );
    let never = scripted(folder.path(), "", 2, 10, 300);
    let is_renewed = async || Err("the old process still runs".to_owned());
    let verified = crate::probe::verify::verify(Some(&never), Duration::ZERO, &client(), is_renewed, no_unit).await;
    let error = verified.expect_err("the old one");
    assert_eq!(error.to_string(), "not well within 300ms: the old process still runs");
}

#[tokio::test]
async fn a_service_must_be_steady() {
    let folder = tempfile::tempdir().expect("a folder");
    let steady = scripted(folder.path(), "1\n", 1, 50, 9000);
    let verified = verify(Some(&steady), ms(300)).await.expect("well");
    assert!(verified.waited >= ms(350) && asked(folder.path()) > 2, "{verified:?}");
    let unasked = verify(None, ms(100)).await.expect("nobody asks");
    assert!(unasked.waited >= ms(100) && unasked.figures.is_empty());
}

#[tokio::test]
async fn a_service_that_does_not_become_well_is_told_with_the_last_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let bad = scripted(folder.path(), &"7\n".repeat(1000), 3, 20, 1500);
    let error = verify(Some(&bad), Duration::ZERO).await.expect_err("never well");
    assert_eq!(error.to_string(), "not well within 1s500ms: `exit == 0` does not hold: exit 7");
    let mut silent = scripted(folder.path(), "", 3, 20, 1500);
    silent.probe = silent.probe.map(|(_, expect)| (exec("sleep 600"), expect));
    let error = verify(Some(&silent), Duration::ZERO).await.expect_err("never well");
    assert!(error.to_string().contains("did not answer"), "{error}");
    let flapping = scripted(folder.path(), &"0\n1\n".repeat(1000), 2, 20, 1500);
    assert!(verify(Some(&flapping), Duration::ZERO).await.is_err());
}

/// A unit that must have been active for so long.
fn active_for(active: Duration) -> Option<Running> {
    let unit = "app.service".parse().expect("a unit");
    Some(Running { unit, manager: crate::config::restart::Manager::User, active })
}

/// A unit as these looks see it, the last of them for ever.
async fn verify_unit(wanted: &Verify, looks: &[Result<(&str, u64), &str>]) -> (Result<Verified, VerifyError>, usize) {
    let count = std::cell::Cell::new(0);
    let look = async |_: &Running| {
        let look = looks[count.replace(count.get() + 1).min(looks.len() - 1)];
        let seen = look.map(|(incarnation, ms)| (incarnation.to_owned(), Duration::from_millis(ms)));
        seen.map(|(incarnation, active)| UnitLook { incarnation, active }).map_err(str::to_owned)
    };
    let verified = crate::probe::verify::verify(Some(wanted), Duration::ZERO, &client(), renewed, look).await;
    (verified, count.get())
}

#[tokio::test]
async fn a_unit_must_have_been_active_for_as_long_as_is_asked_for() {
    let wanted = Verify { probe: None, unit: active_for(ms(5000)), times: 1, every: ms(10), within: ms(9000) };
    let looks = [Ok(("a", 0)), Ok(("a", 4990)), Ok(("a", 5000))];
    let (verified, asked) = verify_unit(&wanted, &looks).await;
    assert_eq!((verified.expect("well").figures.as_str(), asked), ("app.service active for 5s", 3));
    let soon = Verify { every: ms(8000), ..wanted.clone() };
    let (verified, _) = verify_unit(&soon, &[Ok(("a", 4950)), Ok(("a", 5000))]).await;
    assert!(
        verified.expect("well").waited < ms(5000),
        "it looks again when the time is, not when the next look would be"
    );
    let short = Verify { within: ms(200), ..wanted };
    let (failed, _) = verify_unit(&short, &[Err("app.service is failed")]).await;
    assert_eq!(failed.expect_err("not well").to_string(), "not well within 200ms: app.service is failed");
    let (failed, _) = verify_unit(&short, &[Ok(("a", 100))]).await;
    assert!(failed.is_err(), "active for too short a time is not well");
}

#[tokio::test]
async fn good_answers_count_only_beside_one_and_the_same_incarnation_of_the_unit() {
    let folder = tempfile::tempdir().expect("a folder");
    let both = Verify { unit: active_for(Duration::ZERO), ..scripted(folder.path(), "", 3, 10, 9000) };
    let looks = [Ok(("a", 0)), Ok(("a", 0)), Ok(("b", 0))];
    let (verified, asked) = verify_unit(&both, &looks).await;
    assert!(verified.expect("well").figures.ends_with("; exit 0"));
    assert_eq!(asked, 5, "another incarnation starts the row anew");
    let looks = [Ok(("a", 0)), Ok(("a", 0)), Err("app.service is failed"), Ok(("a", 0))];
    let (verified, asked) = verify_unit(&both, &looks).await;
    assert_eq!((verified.is_ok(), asked), (true, 6), "a unit that is down makes every answer bad");
    let bad = Verify {
        within: ms(300),
        unit: active_for(Duration::ZERO),
        ..scripted(folder.path(), &"7\n".repeat(99), 3, 10, 300)
    };
    let (failed, _) = verify_unit(&bad, &[Ok(("a", 9000))]).await;
    assert!(
        failed.expect_err("not well").to_string().contains("does not hold: exit 7"),
        "an active unit alone is not enough"
    );
}
