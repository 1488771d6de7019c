//! What is read of what systemd says, and how it is told. The real one is asked in the tests of the whole program.

use super::bus::{Refusal, Says};
use super::fault::Cause;
use super::incarnation::{self, Incarnations};
use super::*;
use crate::config::restart::Action;
use crate::probe::fixture::{client, service};

fn unit(name: &str) -> UnitName {
    name.parse().expect("a unit's name")
}

fn says(active: &str, sub: &str, invocation: &str) -> Says {
    let invocation = Some(invocation.to_owned()).filter(|id| !id.is_empty());
    Says { load: "loaded".into(), active: active.into(), sub: sub.into(), invocation, changed_us: 7, ..Says::default() }
}

fn noted(says: &Says, action: Action) -> Incarnations {
    let mut noted = Incarnations::default();
    noted.note(&unit("a.service"), says, action);
    noted
}

#[test]
fn incarnations_are_written_down_by_unit_and_read_again() {
    let mut all = noted(&says("active", "running", "5f"), Action::Restart);
    all.note(&unit("b@1.service"), &says("failed", "failed", "6f"), Action::Restart);
    assert_eq!(all.to_string(), "a.service=5f b@1.service=-");
    assert_eq!(Incarnations::parse(&all.to_string()), all);
    assert_eq!(incarnation::of(&says("active", "running", "5f"), Action::ReloadOrRestart), "5f@7");
}

#[test]
fn a_restart_is_told_by_another_incarnation_that_is_up() {
    let before = noted(&says("active", "running", "5f"), Action::Restart);
    let seen = |now: Says| before.glimpse(&unit("a.service"), &now, Action::Restart);
    assert_eq!(seen(says("active", "running", "5f")), Glimpse::Same);
    assert_eq!(seen(says("active", "running", "6f")), Glimpse::Other);
    assert_eq!(seen(says("failed", "failed", "6f")), Glimpse::Same, "what is down may be restarted");
    assert_eq!(seen(says("activating", "auto-restart", "6f")), Glimpse::Same);
    let goes_on = Says { job: Some(9), ..says("deactivating", "stop-sigterm", "5f") };
    let said = "job 9 of a.service, which is deactivating (stop-sigterm)".to_owned();
    assert_eq!(seen(goes_on), Glimpse::Busy(said));
    assert!(matches!(seen(says("activating", "start", "6f")), Glimpse::Busy(_)));
    let other = before.glimpse(&unit("b.service"), &says("active", "running", "6f"), Action::Restart);
    assert!(matches!(other, Glimpse::Untold(why) if why.contains("b.service")));
    let down = noted(&says("inactive", "dead", ""), Action::Restart);
    assert_eq!(down.glimpse(&unit("a.service"), &says("active", "running", "6f"), Action::Restart), Glimpse::Other);
}

#[test]
fn of_several_units_all_must_run_anew_and_what_goes_on_is_waited_for() {
    let busy = || Glimpse::Busy("b goes on".to_owned());
    assert_eq!(incarnation::together([Glimpse::Other, Glimpse::Other]), Glimpse::Other);
    assert_eq!(incarnation::together([Glimpse::Other, Glimpse::Same]), Glimpse::Same);
    assert_eq!(incarnation::together([busy(), Glimpse::Same, Glimpse::Other]), busy());
    let untold = || Glimpse::Untold("unknown".to_owned());
    assert_eq!(incarnation::together([busy(), untold()]), untold());
}

fn fault(name: &str, cause: Cause, exit: Option<i32>, words: Option<Result<&str, &str>>) -> UnitFault {
    let words = words.map(|words| words.map(str::to_owned).map_err(str::to_owned));
    UnitFault { unit: name.to_owned(), cause, exit, words }
}

#[test]
fn each_failed_unit_is_named_with_its_exit_and_its_last_words() {
    let php = fault(
        "php.service",
        Cause::Failed("exit-code".to_owned()),
        Some(78),
        Some(Ok("[pool www] unknown entry 'x'\nERROR: FPM initialization failed\n")),
    );
    let one = SystemdError::Units { failed: vec![php.clone()], fine: Vec::new() };
    assert_eq!(one.to_string(), "php.service: exit 78: ERROR: FPM initialization failed");
    assert_eq!(one.output(), "[pool www] unknown entry 'x'\nERROR: FPM initialization failed\n");
    assert_eq!(one.exit(), Some(78));
    let killed = fault("b.service", Cause::Failed("signal".to_owned()), Some(137), Some(Err("no journal")));
    let two = SystemdError::Units { failed: vec![php, killed], fine: vec!["c.service".to_owned()] };
    let said = "php.service: exit 78: ERROR: FPM initialization failed; \
                b.service: failed (signal), exit 137; c.service restarted";
    assert_eq!(two.to_string(), said);
    assert!(two.output().starts_with("php.service:\n[pool www]"), "{}", two.output());
    assert!(two.output().ends_with("\nb.service: no journal\n"), "{}", two.output());
    let masked = |name: &str| fault(name, Cause::Masked, None, None);
    let same = SystemdError::Units { failed: vec![masked("a.service"), masked("b.service")], fine: Vec::new() };
    assert_eq!(same.to_string(), "a.service, b.service: it is masked; `systemctl unmask` allows it again");
    assert_eq!(same.output(), "");
}

#[test]
fn whatever_units_said_their_output_is_bounded() {
    let words = "x".repeat(100_000);
    let long = |name: &str| fault(name, Cause::Masked, None, Some(Ok(&words)));
    let failed: Vec<UnitFault> = (0..16).map(|number| long(&format!("a{number}.service"))).collect();
    let output = SystemdError::Units { failed, fine: Vec::new() }.output();
    assert!(output.len() <= model::rollout::OUTPUT_BYTES_MAX + 16, "{}", output.len());
    assert_eq!(output.lines().count(), 16, "each has its part");
}

#[test]
fn what_systemd_refuses_is_said_in_people_s_words() {
    let refused = |name: &str, message: &str| {
        let refusal = Refusal::Error { name: name.to_owned(), message: message.to_owned() };
        UnitFault::refused(Manager::System, &unit("a.service"), Action::Restart, refusal).cause.to_string()
    };
    assert_eq!(
        refused("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", "Interactive authentication required."),
        "no permission to restart it: polkit refuses org.freedesktop.systemd1.manage-units (Interactive authentication required.)"
    );
    assert!(refused("org.freedesktop.DBus.Error.AccessDenied", "").contains("polkit refuses"));
    assert!(refused("org.freedesktop.systemd1.NoSuchUnit", "").contains("no such unit"));
    assert!(refused("org.freedesktop.systemd1.UnitMasked", "").contains("masked"));
    assert_eq!(refused("org.freedesktop.systemd1.ShuttingDown", "it ends"), "systemd refuses: it ends");
    let silent = UnitFault::refused(Manager::User, &unit("a.service"), Action::Restart, Refusal::Silent);
    assert_eq!(silent.cause.to_string(), "the user's systemd does not answer: no answer within 5 s");
    for (result, word) in [("canceled", "another job"), ("dependency", "needs"), ("timeout", "longer"), ("x", "\"x\"")]
    {
        assert!(Cause::Job(result.to_owned()).to_string().contains(word), "{result}");
    }
    let no_reboot = |name: &str| {
        let refusal = Refusal::Error { name: name.to_owned(), message: "no".to_owned() };
        SystemdError::no_reboot(&refusal).to_string()
    };
    assert!(
        no_reboot("org.freedesktop.DBus.Error.AccessDenied").contains("polkit refuses org.freedesktop.login1.reboot")
    );
}

#[tokio::test]
async fn a_systemd_that_is_not_there_is_told_with_the_bus_that_was_tried() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = "restart = { kind = \"systemd\", units = [\"a.service\"], manager = \"user\" }\n";
    let here = client().with("XDG_RUNTIME_DIR", &folder.path().display().to_string());
    let here = here.with("DBUS_SESSION_BUS_ADDRESS", "");
    let unit = crate::unit::Unit::new(&service(keys), &here);
    let error = unit.restart(None, |_| {}).await.expect_err("nobody is there").to_string();
    let at = folder.path().display();
    let said = format!("a.service: cannot ask the user's systemd: {at}/bus: No such file or directory");
    assert!(error.starts_with(&said), "{error}");
    assert!(unit.identity().await.is_err(), "not known, and not down");
    let bus = here.with("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere/bus");
    let error = crate::unit::Unit::new(&service(keys), &bus).identity().await.expect_err("nobody is there");
    assert!(error.to_string().contains("unix:path=/nowhere/bus: "), "{error}");
}

#[tokio::test]
async fn a_systemd_that_says_nothing_is_not_waited_for_for_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    let _silent = tokio::net::UnixListener::bind(folder.path().join("bus")).expect("a socket");
    let keys = "restart = { kind = \"systemd\", units = [\"a.service\"], manager = \"user\" }\n";
    let here = client().with("XDG_RUNTIME_DIR", &folder.path().display().to_string());
    let unit = crate::unit::Unit::new(&service(keys), &here.with("DBUS_SESSION_BUS_ADDRESS", ""));
    let error = unit.identity().await.expect_err("silent").to_string();
    assert!(error.contains("bus: no answer within 5 s"), "{error}");
}
