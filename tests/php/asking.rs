//! What php-fpm answers, and what is no answer of it.

use super::{ask, holds, probe, shared};
use crate::support::{PhpFpm, PhpFpmOptions, SOON, wait_for};
use stagger::probe::Observation;
use std::path::Path;
use std::time::Duration;

fn fpm(folder: &Path) -> PhpFpm {
    PhpFpm::start(folder, &PhpFpmOptions::default())
}

/// Why there is no answer, behind what was asked.
fn refused(socket: &Path, script: &str) -> String {
    let error = ask(&probe(socket, script)).expect_err("no answer").to_string();
    let (_, why) = error.split_once(&format!("{script}: ")).unwrap_or_else(|| panic!("{error}"));
    why.to_owned()
}

#[test]
fn its_status_page_and_its_ping_are_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let fpm = fpm(folder.path());
    let status = "/fpm-status?json";
    assert_eq!(
        holds(&fpm, status, "answer.pool == 'www' && answer['active processes'] == 1"),
        Ok(true),
        "this request"
    );
    assert_eq!(holds(&fpm, "/ping", "status == 200 && body == 'pong'"), Ok(true));
    let apart = ask(&probe(&fpm.status_socket(), status)).expect("an answer");
    assert!(apart.figures().contains("\"pool\":\"www\""), "{}", apart.figures());
    let Observation::Http { answer, .. } = apart else { panic!("{apart:?}") };
    assert_eq!(answer["active processes"], 0, "asked apart, it does not count itself");
}

#[test]
fn what_a_script_says_is_an_answer_as_over_http() {
    let folder = tempfile::tempdir().expect("a folder");
    let fpm = fpm(folder.path());
    let script = fpm.script(
        "teapot.php",
        "http_response_code(418); header('X-Kind: tea'); error_log('it whistles'); echo json_encode($_GET + $_SERVER);",
    );
    let asked = format!("{script}?cups=2&sugar[]=no");
    for yes in [
        "status == 418",
        "status == 418 && headers['x-kind'] == 'tea' && answer.cups == '2' && answer.sugar[0] == 'no'",
        "status == 418 && answer.REMOTE_ADDR == '127.0.0.1' && answer.REQUEST_METHOD == 'GET'",
    ] {
        assert_eq!(holds(&fpm, &asked, yes), Ok(true), "{yes}");
    }
    let unread = holds(&fpm, &asked, "answer.cups == '2'").expect_err("no success");
    assert!(unread.starts_with("no usable answer: status 418: ") && unread.contains("it whistles"), "{unread}");
    let long = fpm.script("long.php", "echo str_repeat('x', 300000);");
    assert_eq!(holds(&fpm, &long, "size(body) == 65536 && answer == null"), Ok(true));
}

#[test]
fn a_script_that_fails_or_is_not_there_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let fpm = fpm(folder.path());
    let thrown = fpm.script("thrown.php", "throw new Exception('no disk');");
    let said = holds(&fpm, &thrown, "answer.free > 3").expect_err("no success");
    assert!(said.starts_with("no usable answer: status 500: ") && said.contains("no disk"), "{said}");
    assert_eq!(holds(&fpm, &thrown, "status == 500"), Ok(true));
    assert_eq!(refused(&fpm.socket(), "/nowhere.php"), "it does not run this script: Primary script unknown");
    std::fs::write(fpm.folder.join("www/page.html"), "<?php echo 'x';").expect("written");
    let page = fpm.folder.join("www/page.html").display().to_string();
    let denied = refused(&fpm.socket(), &page);
    assert!(
        denied.starts_with("it does not run this script: Access to the script ") && denied.contains("denied"),
        "{denied}"
    );
}

#[test]
fn a_script_that_dies_in_the_middle_gives_no_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let fpm = fpm(folder.path());
    let dying = fpm.script("dying.php", "echo 'half'; flush(); exec('kill -9 ' . getmypid());");
    let why = refused(&fpm.socket(), &dying);
    assert!(why.starts_with("it stopped in the middle of its answer"), "{why}");
    assert_eq!(holds(&fpm, "/ping", "status == 200"), Ok(true), "the others go on");
}

#[test]
fn a_pool_that_is_saturated_is_silent_and_tells_of_itself_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let fpm = PhpFpm::start(folder.path(), &PhpFpmOptions { children: 1, ..PhpFpmOptions::default() });
    let slow = fpm.script("slow.php", "while (!file_exists($_GET['until'])) usleep(10000); echo 'done';");
    let until = folder.path().join("go");
    let asked = format!("{slow}?until={}", until.display());
    let answer = std::thread::scope(|scope| {
        let busy = scope.spawn(|| fpm.get(&fpm.socket(), &asked));
        let status = probe(&fpm.status_socket(), "/fpm-status?json");
        wait_for("all its processes are busy", SOON, || {
            let Ok(Observation::Http { answer, .. }) = ask(&status) else { return None };
            (answer["active processes"] == 1).then_some(())
        });
        let mut main = probe(&fpm.socket(), "/fpm-status?json");
        main.timeout = Duration::from_millis(300);
        let silent = ask(&main).expect_err("nobody is free to answer").to_string();
        assert!(silent.ends_with("/fpm-status?json did not answer within 300ms"), "{silent}");
        assert!(ask(&status).is_ok(), "it tells of itself all the same");
        std::fs::write(&until, "").expect("written");
        busy.join().expect("a thread")
    });
    assert!(answer.is_some_and(|answer| answer.ends_with("done")), "and whoever was in flight is answered");
}

#[test]
fn a_server_that_stops_in_the_middle_or_is_gone_gives_no_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let fpm = fpm(folder.path());
    let slow = fpm.script("slow.php", "echo 'half'; flush(); touch($_GET['seen']); sleep(600);");
    let (seen, socket) = (folder.path().join("seen"), fpm.socket());
    let asked = format!("{slow}?seen={}", seen.display());
    let why = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| refused(&socket, &asked));
        wait_for("it has begun to answer", SOON, || seen.exists().then_some(()));
        fpm.stop();
        waiting.join().expect("a thread")
    });
    assert!(why.starts_with("it stopped in the middle of its answer"), "{why}");
    let gone = refused(&socket, "/ping");
    assert!(gone.starts_with("cannot connect: "), "{gone}");
}

/// Behind a web server, the scripts that come along tell visitors nothing and do nothing for them.
#[test]
fn the_scripts_that_come_along_are_not_for_visitors() {
    let folder = tempfile::tempdir().expect("a folder");
    let fpm = fpm(folder.path());
    let fill = fpm.script("fill.php", "apcu_store('kept', 1); echo 'ok';");
    fpm.get(&fpm.socket(), &fill).expect("filled");
    for name in ["opcache.php", "apcu-clear.php"] {
        let script = shared(name).display().to_string();
        for visitor in [
            &[][..],
            &[("HTTP_STAGGER_PROBE", "1"), ("REMOTE_ADDR", "127.0.0.1"), ("HTTP_HOST", "www")],
            &[("STAGGER_PROBE", "")],
        ] {
            let asked = format!("{script}?STAGGER_PROBE=1");
            let answer = fpm.request(&fpm.socket(), &asked, visitor).expect("an answer");
            assert!(answer.starts_with("Status: 403 ") && answer.ends_with("\r\n\r\nnot for visitors\n"), "{answer}");
        }
        assert_eq!(holds(&fpm, &script, "status == 200"), Ok(true), "{name}: for Stagger it is");
        let kept = holds(&fpm, &shared("opcache.php").display().to_string(), "answer.apcu_entries == 1");
        assert_eq!(kept, Ok(name == "opcache.php"), "only the second empties anything");
    }
}
