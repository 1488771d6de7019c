//! The restart act itself, on a real systemd.

use super::{Site, host, host_file};
use crate::support::{SOON, lines, run, stagger, wait_for};
use model::sequence::Seen;
use stagger::unit::{Unit, UnitError, UnitRestarted, systemd};
use std::time::{Duration, Instant};

const RUNS: &str = "exec sleep 1000";

fn restart_by(keys: &str) -> String {
    format!("restart = {{ kind = \"systemd\", manager = \"user\", {keys} }}")
}

async fn restart(unit: &Unit) -> Result<stagger::unit::Restarted, UnitError> {
    unit.restart(None, |_| {}).await
}

#[tokio::test]
async fn a_restart_changes_the_identity_and_says_how_long_it_took() {
    let site = Site::start();
    site.running("app.service", RUNS, "ExecStartPre=/bin/sleep 0.3");
    let unit = site.units("\"app.service\"");
    let before = unit.identity().await.expect("asked").expect("an identity");
    assert_eq!(before, format!("app.service={}", site.systemd.property("app.service", "InvocationID")));
    assert_eq!(unit.inspect(Some(&before), true).await, Seen::NotDone);
    let restarted = restart(&unit).await.expect("restarted");
    let [UnitRestarted { unit: name, ms, has_ended: false }] = &restarted.units[..] else { panic!("{restarted:?}") };
    assert_eq!(name, "app.service");
    assert!((300..20_000).contains(ms) && *ms <= restarted.ms, "{restarted:?}");
    assert!(restarted.note().starts_with("app.service active after "), "{}", restarted.note());
    let after = unit.identity().await.expect("asked").expect("an identity");
    assert_ne!(before, after);
    assert_eq!(unit.inspect(Some(&before), true).await, Seen::Done);
    wait_for("it started again", SOON, || (site.starts("app.service") == 2).then_some(()));
}

#[tokio::test]
async fn a_unit_that_is_down_has_no_incarnation_and_is_started() {
    let site = Site::start();
    site.unit("app.service", RUNS, "");
    let unit = site.units("\"app.service\"");
    let before = unit.identity().await.expect("asked").expect("an identity");
    assert_eq!(before, "app.service=-");
    restart(&unit).await.expect("started");
    assert_eq!(unit.inspect(Some(&before), true).await, Seen::Done);
}

/// Whatever systemd does not keep in mind of a unit that is over.
#[tokio::test]
async fn a_unit_that_is_meant_to_end_has_run_anew() {
    let site = Site::start();
    site.unit("app.service", "exit 0", "Type=oneshot");
    let unit = site.units("\"app.service\"");
    for times in 1..=2 {
        let restarted = restart(&unit).await.expect("it ran");
        assert!(restarted.note().starts_with("app.service ended well after "), "{}", restarted.note());
        assert_eq!(site.starts("app.service"), times);
    }
    site.unit("app.service", "exit 3", "Type=oneshot");
    let error = restart(&unit).await.expect_err("it failed");
    assert_eq!(error.exit(), Some(3), "{error}");
}

#[tokio::test]
async fn a_unit_whose_condition_does_not_hold_was_not_restarted() {
    let site = Site::start();
    let file = |kind: &str| format!("Type={kind}\n[Unit]\nConditionPathExists=!{}", site.path("off").display());
    site.unit("ends.service", "exit 0", &file("oneshot"));
    site.unit("stays.service", "exit 0", &format!("RemainAfterExit=yes\n{}", file("oneshot")));
    site.unit("runs.service", RUNS, &file("exec"));
    for name in ["ends.service", "stays.service", "runs.service"] {
        restart(&site.units(&format!("\"{name}\""))).await.expect("restarted");
    }
    std::fs::write(site.path("off"), "").expect("written");
    let unmet = "nothing was started: a condition of its file does not hold";
    for (name, said) in [
        ("ends.service", unmet),
        ("stays.service", unmet),
        ("runs.service", "it is inactive (dead) after its job was done"),
    ] {
        let error = restart(&site.units(&format!("\"{name}\""))).await.expect_err("nothing ran");
        assert_eq!(error.to_string(), format!("{name}: {said}"));
        assert_eq!(site.starts(name), 1);
    }
}

/// A reload leaves the process as it is; that it was done can be told all the same.
#[tokio::test]
async fn what_can_be_reloaded_is_reloaded_and_what_cannot_is_restarted() {
    let site = Site::start();
    site.running("app.service", RUNS, "ExecReload=/bin/sh -c 'echo reload >> reloads'");
    site.running("other.service", RUNS, "");
    let pid = |name: &str| site.systemd.property(name, "MainPID");
    let (app, other) = (pid("app.service"), pid("other.service"));
    let both = restart_by("units = [\"app.service\", \"other.service\"], action = \"reload-or-restart\"");
    let unit = site.service(&both);
    let before = unit.identity().await.expect("asked").expect("an identity");
    restart(&unit).await.expect("done");
    assert_eq!((pid("app.service") == app, pid("other.service") == other), (true, false));
    assert_eq!(lines(&site.path("reloads")), ["reload"]);
    assert_eq!(unit.inspect(Some(&before), true).await, Seen::Done, "a reload can be told");
    let after = unit.identity().await.expect("asked").expect("an identity");
    assert_eq!(unit.inspect(Some(&after), true).await, Seen::NotDone);
}

/// Scenario 7.
#[tokio::test]
async fn all_units_are_restarted_even_after_a_failure_and_each_that_failed_is_named() {
    let site = Site::start();
    site.unit("first.service", "echo \"[pool www] unknown entry\" >&2; sleep 0.5; exit 78", "Type=notify");
    site.running("second.service", RUNS, "");
    let error = restart(&site.units("\"first.service\", \"second.service\"")).await.expect_err("the first failed");
    let said = "first.service: exit 78: [pool www] unknown entry; second.service restarted";
    assert_eq!((error.to_string().as_str(), error.exit()), (said, Some(78)));
    assert_eq!(error.output(), "[pool www] unknown entry\n");
    wait_for("the second was restarted", SOON, || (site.starts("second.service") == 2).then_some(()));
    site.unit("third.service", "exit 3", "Type=notify");
    let all = site.units("\"first.service\", \"second.service\", \"third.service\"");
    let error = restart(&all).await.expect_err("two failed").to_string();
    assert!(error.contains("first.service: exit 78") && error.contains("third.service: exit 3"), "{error}");
    assert!(error.ends_with("; second.service restarted"), "{error}");
}

#[tokio::test]
async fn a_unit_that_ends_at_once_has_failed_although_its_job_is_done() {
    let site = Site::start();
    site.unit("app.service", "exit 5", "Type=simple");
    // Whether systemd sees the end before or after the question is its own affair; what waits makes it certain.
    let keys =
        format!("{}\nverify = {{ unit = \"app.service\", within = \"2s\" }}", restart_by("units = [\"app.service\"]"));
    let config = host(&keys);
    let service = config.services.values().next().expect("a service");
    let running = service.verify.as_ref().and_then(|verify| verify.unit.as_ref()).expect("a unit");
    let started = restart(&Unit::new(service, &site.client())).await;
    wait_for("it has ended", SOON, || (site.systemd.property("app.service", "ActiveState") == "failed").then_some(()));
    let error = systemd::running(running, &site.client()).await.expect_err("not active");
    assert_eq!(error.to_string(), "app.service is failed");
    if let Err(error) = started {
        assert_eq!(error.exit(), Some(5), "{error}");
    }
}

#[tokio::test]
async fn a_command_before_the_main_one_fails_with_its_own_exit() {
    let site = Site::start();
    site.running(
        "app.service",
        RUNS,
        "ExecStartPre=/bin/sh -c 'test ! -e bad || { echo bad syntax >&2; sleep 0.5; exit 9; }'",
    );
    std::fs::write(site.path("bad"), "").expect("written");
    let error = restart(&site.units("\"app.service\"")).await.expect_err("failed");
    assert_eq!((error.to_string().as_str(), error.exit()), ("app.service: exit 9: bad syntax", Some(9)));
    assert_eq!(site.starts("app.service"), 1);
}

#[tokio::test]
async fn a_unit_that_there_is_not_is_told_with_the_one_that_may_be_meant() {
    let site = Site::start();
    site.unit("php8.2-fpm.service", RUNS, "");
    let error = restart(&site.units("\"php8.1-fpm.service\"")).await.expect_err("there is none");
    let said = "php8.1-fpm.service: there is no such unit; is php8.2-fpm.service meant?";
    assert_eq!((error.to_string().as_str(), error.output().as_str()), (said, ""));
    let error = restart(&site.units("\"quite-another-thing.service\"")).await.expect_err("there is none");
    assert!(error.to_string().ends_with("; `systemctl --user list-unit-files` shows which there are"), "{error}");
    let unfit = site.units("\"php8.2-fpm.service\", \"php8.1-fpm.service\"").unfit().await.expect("asked");
    assert_eq!(unfit.as_deref(), Some(said), "it is told before anything is restarted, too");
    assert_eq!(
        site.units("\"php8.2-fpm.service\"").unfit().await.expect("asked"),
        None,
        "one that is down can be started"
    );
    let mask = site.systemd.runtime().join("systemd/user/masked.service");
    std::os::unix::fs::symlink("/dev/null", mask).expect("a link");
    site.systemd.must(&["daemon-reload"]);
    let error = restart(&site.units("\"masked.service\"")).await.expect_err("masked").to_string();
    assert!(error.starts_with("masked.service: it is masked; `systemctl unmask` allows it"), "{error}");
    site.systemd.write("wrong.service", "[Service]\nType=oneshot\nRestart=always\nExecStart=nowhere\n");
    let error = restart(&site.units("\"wrong.service\"")).await.expect_err("unusable").to_string();
    assert!(error.starts_with("wrong.service: its file cannot be used: "), "{error}");
    site.systemd.write("needed.service", "[Unit]\nRefuseManualStart=yes\n[Service]\nExecStart=/bin/true\n");
    let error = restart(&site.units("\"needed.service\"")).await.expect_err("refused").to_string();
    assert!(error.starts_with("needed.service: systemd refuses: "), "{error}");
}

/// What the manual promises: it is said before the first rollout.
#[test]
fn stagger_check_refuses_a_unit_that_there_is_not() {
    let site = Site::start();
    site.running("php8.2-fpm.service", RUNS, "");
    let check = |unit: &str| {
        let file = site.path("stagger.toml");
        let keys = restart_by(&format!("units = [\"{unit}\"]"));
        std::fs::write(&file, host_file(&keys)).expect("a configuration");
        let mut command = stagger();
        command.envs(site.systemd.environment()).args(["check", "--ask", "-c"]).arg(file);
        run(&mut command)
    };
    // No coordinator is there.
    let (code, out, err) = check("php8.2-fpm.service");
    assert!(code == 1 && out.contains("✓ app  restart  identity: php8.2-fpm.service="), "{code}: {out}{err}");
    let (code, out, err) = check("php8.1-fpm.service");
    let said = "✗ app  restart  php8.1-fpm.service: there is no such unit; is php8.2-fpm.service meant?";
    assert!(code == 78 && out.contains("does not fit this host") && out.contains(said), "{code}: {out}{err}");
    assert!(!out.contains("identity"), "{out}");
}

#[tokio::test]
async fn a_job_that_hangs_is_left_to_systemd_after_the_timeout() {
    let site = Site::start();
    site.running("app.service", RUNS, "ExecStartPre=/bin/sh -c 'test ! -e slow || { echo waiting >&2; sleep 1000; }'");
    std::fs::write(site.path("slow"), "").expect("written");
    let unit = site.service(&restart_by("units = [\"app.service\"], timeout = \"1s\""));
    let before = unit.identity().await.expect("asked").expect("an identity");
    let error = restart(&unit).await.expect_err("too slow");
    let said = "app.service: not done within 1s; its job goes on, and it is activating (start-pre): waiting";
    assert_eq!(error.to_string(), said);
    let seen = unit.inspect(Some(&before), false).await;
    let Seen::Unknown(why) = seen else { panic!("{seen:?}") };
    assert!(why.starts_with("the restart goes on for too long: job "), "{why}");
}

#[tokio::test]
async fn a_job_whose_place_another_takes_is_told_so() {
    let site = Site::start();
    site.running("app.service", RUNS, "ExecStartPre=/bin/sh -c 'test ! -e slow || sleep 1000'");
    std::fs::write(site.path("slow"), "").expect("written");
    let unit = site.units("\"app.service\"");
    let stop = async {
        let is_starting = || site.systemd.property("app.service", "SubState") == "start-pre";
        while !is_starting() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        site.systemd.must(&["stop", "app.service"]);
    };
    let (ended, ()) = tokio::join!(restart(&unit), stop);
    let error = ended.expect_err("superseded").to_string();
    assert!(error.starts_with("app.service: another job took the place of this one"), "{error}");
}

/// A job that is begun goes on when whoever asked for it is gone: it is waited for, and no longer than it takes.
#[tokio::test]
async fn a_job_under_way_is_waited_for_when_somebody_looks() {
    let site = Site::start();
    site.running(
        "app.service",
        RUNS,
        "ExecStartPre=/bin/sh -c 'test ! -e slow || while [ ! -e land ]; do sleep 0.05; done'",
    );
    std::fs::write(site.path("slow"), "").expect("written");
    let unit = site.service(&restart_by("units = [\"app.service\"], timeout = \"300s\""));
    let before = unit.identity().await.expect("asked").expect("an identity");
    let asked = tokio::time::timeout(Duration::from_millis(300), restart(&unit)).await;
    assert!(asked.is_err(), "it is under way: {asked:?}");
    let land = async {
        let slow = tokio::time::timeout(systemd::QUIET * 2, std::future::pending::<()>()).await;
        assert!(slow.is_err());
        std::fs::write(site.path("land"), "").expect("written");
        Instant::now()
    };
    let (seen, landed) = tokio::join!(unit.inspect(Some(&before), false), land);
    assert_eq!(seen, Seen::Done);
    assert!(landed.elapsed() < Duration::from_secs(20), "it does not wait for as long as a restart may take");
    // And one that never was asked for is known not to be done soon.
    let before = unit.identity().await.expect("asked").expect("an identity");
    let started = Instant::now();
    assert_eq!(unit.inspect(Some(&before), false).await, Seen::NotDone);
    assert!((systemd::QUIET..Duration::from_secs(20)).contains(&started.elapsed()), "{:?}", started.elapsed());
}

/// An act that was broken off between two units is not done, and done again it leaves the first alone.
#[tokio::test]
async fn of_two_units_only_the_one_that_is_left_is_restarted_when_it_is_done_again() {
    let site = Site::start();
    site.running("a.service", RUNS, "");
    site.running("b.service", RUNS, "");
    let both = site.units("\"a.service\", \"b.service\"");
    let before = both.identity().await.expect("asked").expect("an identity");
    restart(&site.units("\"a.service\"")).await.expect("restarted");
    assert_eq!(both.inspect(Some(&before), false).await, Seen::NotDone);
    let restarted = both.restart(Some(&before), |_| {}).await.expect("restarted");
    let names: Vec<&str> = restarted.units.iter().map(|restarted| restarted.unit.as_str()).collect();
    assert_eq!(names, ["b.service"]);
    assert_eq!(both.inspect(Some(&before), true).await, Seen::Done);
    wait_for("both have started", SOON, || {
        (site.starts("a.service") == 2 && site.starts("b.service") == 2).then_some(())
    });
    restart(&both).await.expect("restarted");
    wait_for("by themselves both restart", SOON, || {
        (site.starts("a.service") == 3 && site.starts("b.service") == 3).then_some(())
    });
}

/// A systemd that is started anew in the middle of a job tells its end to nobody.
#[tokio::test]
async fn systemd_itself_may_be_started_anew_in_the_middle() {
    let site = Site::start();
    site.running(
        "app.service",
        RUNS,
        "ExecStartPre=/bin/sh -c 'test ! -e slow || while [ ! -e land ]; do sleep 0.05; done'",
    );
    std::fs::write(site.path("slow"), "").expect("written");
    let unit = site.service(&restart_by("units = [\"app.service\"], timeout = \"60s\""));
    let anew = async {
        while site.systemd.property("app.service", "SubState") != "start-pre" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        site.systemd.ask(&["daemon-reexec"]);
        std::fs::write(site.path("land"), "").expect("written");
    };
    let (ended, ()) = tokio::join!(restart(&unit), anew);
    ended.expect("restarted");
    wait_for("it started again", SOON, || (site.starts("app.service") == 2).then_some(()));
}

/// By the folder of the user's session, and by the address that the session names: which is meant then, and no other.
#[tokio::test]
async fn a_user_s_systemd_is_asked_over_the_user_s_bus() {
    let site = Site::start();
    site.running("app.service", RUNS, "");
    let bus = site.systemd.runtime().join("bus");
    assert!(bus.exists(), "apt-get install dbus-user-session");
    let config = host(&restart_by("units = [\"app.service\"]"));
    let service = config.services.values().next().expect("a service");
    let unit = |folder: &str, address: &str| {
        let client = site.client().with("XDG_RUNTIME_DIR", folder).with("DBUS_SESSION_BUS_ADDRESS", address);
        Unit::new(service, &client)
    };
    let runtime = site.systemd.runtime().display().to_string();
    for unit in [unit(&runtime, ""), unit("/nowhere", &format!("unix:path={}", bus.display()))] {
        let before = unit.identity().await.expect("asked").expect("an identity");
        restart(&unit).await.expect("restarted");
        assert_eq!(unit.inspect(Some(&before), true).await, Seen::Done);
    }
    let error = unit(&runtime, "unix:path=/nowhere/bus").identity().await.expect_err("nobody is there").to_string();
    assert!(error.starts_with("cannot ask the user's systemd: unix:path=/nowhere/bus: "), "{error}");
}
