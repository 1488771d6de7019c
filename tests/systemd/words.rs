//! What a failed unit said last, and that nothing is known of it where there is no journal.

use super::Site;

/// It stays for a moment: of a process that is gone already the journal of a user cannot tell in which start it spoke.
const FAILS: &str = "for i in $(seq 50); do echo \"line $i\" >&2; done; sleep 0.5; exit 78";

#[tokio::test]
async fn the_last_lines_of_the_failed_start_are_told_and_no_others() {
    let site = Site::start();
    site.unit(
        "app.service",
        "test -e bad || exec sleep 1000; echo \"this start\" >&2; sleep 0.5; exit 1",
        "Type=notify\nNotifyAccess=all",
    );
    site.unit("chatty.service", FAILS, "Type=notify");
    let chatty = site.units("\"chatty.service\"").restart(None, |_| {}).await.expect_err("failed");
    let lines: Vec<String> = (31..=50).map(|number| format!("line {number}\n")).collect();
    assert_eq!(chatty.output(), lines.concat());
    assert_eq!(chatty.to_string(), "chatty.service: exit 78: line 50");
    std::fs::write(site.path("bad"), "").expect("written");
    let error = site.units("\"app.service\"").restart(None, |_| {}).await.expect_err("failed");
    assert_eq!(error.output(), "this start\n");
}

#[tokio::test]
async fn a_unit_that_said_nothing_is_spoken_for_by_systemd() {
    let site = Site::start();
    site.unit("app.service", "exit 78", "Type=notify");
    let error = site.units("\"app.service\"").restart(None, |_| {}).await.expect_err("failed");
    assert!(error.output().contains("Main process exited, code=exited, status=78"), "{}", error.output());
}

#[tokio::test]
async fn where_there_is_no_journal_that_is_said() {
    let site = Site::start();
    site.unit("app.service", FAILS, "Type=notify");
    site.systemd.lose_journal();
    let error = site.units("\"app.service\"").restart(None, |_| {}).await.expect_err("failed");
    assert_eq!(error.to_string(), "app.service: exit 78");
    assert_eq!(error.output(), "app.service: the journal cannot be read: exit 1\n");
}
