//! The supervisor with scripts in place of the pretend service: what it does with processes, not what these do.

use super::*;

/// A supervisor of one host whose "program" is this script, and the folder that it all lies in.
fn with_script(script: &str) -> (tempfile::TempDir, Supervisor) {
    let folder = tempfile::tempdir().expect("a folder");
    let exe = folder.path().join("program");
    // Written by another process: a file that this one had open for writing might still be so in a child that another
    // test is just starting, and would then be "busy".
    let write = ["-c", r#"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod 755 "$0""#];
    let written = std::process::Command::new("sh").args(write).arg(&exe).arg(script).status();
    assert!(written.is_ok_and(|status| status.success()));
    let settings = Settings { exe, folder: folder.path().to_owned(), start: Duration::ZERO };
    let hosts = vec![("host1".to_owned(), IpAddr::from([127, 0, 0, 1]))];
    let supervisor = Supervisor::new(settings, hosts).expect("a supervisor");
    (folder, supervisor)
}

fn is_alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

const WELL: &str = "echo 127.0.0.1:4000; exec sleep 60";

#[tokio::test]
async fn a_restart_ends_the_old_process_before_the_new_one_starts() {
    let (folder, supervisor) = with_script(WELL);
    let identity = || std::fs::read_to_string(folder.path().join("host1/identity")).expect("an identity");
    assert_eq!(supervisor.restart_service("host1").await.expect("up"), "127.0.0.1:4000".parse().expect("an address"));
    let first = identity();
    supervisor.restart_service("host1").await.expect("up again");
    let second = identity();
    let pid = |identity: &str| identity.split(' ').next().map(str::to_owned).expect("a pid");
    assert_ne!(pid(&first), pid(&second));
    assert!(second.ends_with(" 2\n"), "{second:?}");
    assert!(!is_alive(&pid(&first)) && is_alive(&pid(&second)));
    supervisor.stop().await.expect("stopped");
    assert!(!is_alive(&pid(&second)));
}

#[tokio::test]
async fn a_service_that_exits_is_answered_with_its_code_and_its_own_words() {
    let (_folder, supervisor) = with_script("echo \"[build 3] unknown entry\" >&2; exit 78");
    let request =
        Request { method: "POST".to_owned(), target: "/hosts/host1/restart".to_owned(), ..Request::default() };
    for _ in 0..2 {
        let answer = supervisor.answer(&request).await;
        assert_eq!(
            answer,
            Answer::new(200, r#"{"exit":78,"stderr":"[build 3] unknown entry"}"#),
            "only the last start's words"
        );
    }
    assert_eq!(supervisor.answer(&Request::get("/hosts/host1/restart")).await.status, 404);
    let other = Request { target: "/hosts/host2/restart".to_owned(), ..request };
    assert_eq!(supervisor.answer(&other).await, Answer::new(500, "there is no host host2"));
}

#[tokio::test]
async fn a_host_can_be_frozen_and_a_worker_killed() {
    let (folder, supervisor) = with_script(WELL);
    supervisor.restart_service("host1").await.expect("up");
    supervisor.start_worker("host1").await.expect("started");
    assert!(supervisor.worker_runs("host1").await.expect("known"));
    let pid = std::fs::read_to_string(folder.path().join("host1/identity")).expect("an identity");
    let stat = format!("/proc/{}/stat", pid.split(' ').next().expect("a pid"));
    let frozen = || std::fs::read_to_string(&stat).expect("alive").contains(") T ");
    supervisor.unplug("host1").await.expect("frozen");
    until(frozen).await;
    supervisor.plug_in("host1").await.expect("thawed");
    until(|| !frozen()).await;
    supervisor.kill_worker("host1").await.expect("killed");
    assert!(!supervisor.worker_runs("host1").await.expect("known"));
    supervisor.kill_worker("host1").await.expect("killed before");
    supervisor.stop().await.expect("stopped");
    assert!(matches!(supervisor.kill_worker("host2").await, Err(SupervisorError::Unknown(_))));
}

async fn until(mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(10), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "did not come about in time");
}

#[tokio::test]
async fn starts_are_counted_by_the_services_own_account() {
    let (folder, supervisor) = with_script(WELL);
    assert!(supervisor.starts("host1").is_err());
    let log = folder.path().join("host1/starts.log");
    std::fs::write(&log, "pid=7 build=1 at_ms=5\nnonsense\npid=8 build=2 at_ms=6\n").expect("written");
    let starts = supervisor.starts("host1").expect("an account");
    assert_eq!(starts, [Start { pid: 7, build: 1, at_ms: 5 }, Start { pid: 8, build: 2, at_ms: 6 }]);
}
