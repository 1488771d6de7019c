//! What a real systemd cannot be brought to in a test: to boot the host, and to refuse. Somebody stands in for it and for logind on a real
//! bus, and writes down what is asked.

use super::host;
use crate::support::{Running, SOON, wait_for};
use futures_util::StreamExt as _;
use stagger::probe::Client;
use stagger::unit::Unit;
use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;
use zbus::{Connection, MessageStream, OwnedObjectPath, Variant};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const LOGIND: &str = "org.freedesktop.login1";
const DENIED: &str = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";

/// A bus with nobody on it.
struct Bus {
    folder: tempfile::TempDir,
    _daemon: Running,
}

impl Bus {
    fn start() -> Bus {
        let folder = tempfile::tempdir().expect("a folder");
        let address = format!("--address=unix:path={}", folder.path().join("bus").display());
        let mut command = Command::new("dbus-daemon");
        command.args(["--config-file=/usr/share/dbus-1/session.conf", "--nofork", "--nopidfile", &address]);
        let daemon = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let bus = Bus { folder, _daemon: Running::of(daemon.expect("apt-get install dbus-daemon")) };
        wait_for("the bus listens", SOON, || {
            std::os::unix::net::UnixStream::connect(bus.folder.path().join("bus")).ok()
        });
        bus
    }

    fn address(&self) -> String {
        format!("unix:path={}", self.folder.path().join("bus").display())
    }

    fn client(&self) -> Client {
        let client = Client::new(&"mw1".parse().expect("a host")).expect("a client");
        client.with("DBUS_SYSTEM_BUS_ADDRESS", &self.address())
    }
}

/// Somebody on the bus, and what was asked of it.
struct StandIn {
    asked: Arc<Mutex<Vec<String>>>,
    connection: Connection,
    task: JoinHandle<()>,
}

impl StandIn {
    /// Has this name, and refuses the methods of these names.
    async fn start(bus: &Bus, name: &str, refuses: &'static [&'static str]) -> StandIn {
        let connection = zbus::connection::Builder::address(bus.address().as_str()).build().await.expect("the bus");
        let calls = MessageStream::from(&connection);
        connection.request_name(name.to_owned()).await.expect("the name");
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let task = tokio::spawn(answer(connection.clone(), calls, Arc::clone(&asked), refuses));
        StandIn { asked, connection, task }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    connection: Connection,
    mut calls: MessageStream,
    asked: Arc<Mutex<Vec<String>>>,
    refuses: &'static [&'static str],
) {
    while let Some(Ok(call)) = calls.next().await {
        let header = call.header();
        let Some(method) = header.member().map(ToString::to_string) else { continue };
        if call.message_type() != zbus::message::Type::MethodCall {
            continue;
        }
        let body = call.body();
        let words: (String, String) = body.deserialize().unwrap_or_default();
        let said = match body.deserialize::<bool>() {
            Ok(flag) => format!("{method} {flag}"),
            Err(_) => format!("{method} {} {}", words.0, words.1),
        };
        asked.lock().expect("no panic").push(said.trim().to_owned());
        let path = || OwnedObjectPath::try_from("/org/freedesktop/systemd1/x").expect("a path");
        let answered = match method.as_str() {
            method if refuses.contains(&method) => {
                connection.reply_error(&header, DENIED, &"Interactive authentication required.").await
            }
            "LoadUnit" | "StartUnit" | "RestartUnit" => connection.reply(&header, &path()).await,
            "GetAll" => connection.reply(&header, &properties()).await,
            _ => connection.reply(&header, &()).await,
        };
        answered.expect("an answer");
    }
}

/// A unit that is active.
fn properties() -> HashMap<&'static str, Variant<'static>> {
    let none = || OwnedObjectPath::try_from("/").expect("a path");
    HashMap::from([
        ("LoadState", Variant::from("loaded")),
        ("LoadError", Variant::from((String::new(), String::new()))),
        ("ActiveState", Variant::from("active")),
        ("SubState", Variant::from("running")),
        ("InvocationID", Variant::from(vec![7_u8; 16])),
        ("Job", Variant::from((0_u32, none()))),
        ("ActiveEnterTimestampMonotonic", Variant::from(1_u64)),
        ("StateChangeTimestampMonotonic", Variant::from(1_u64)),
        ("ConditionResult", Variant::from(true)),
        ("ConditionTimestampMonotonic", Variant::from(1_u64)),
    ])
}

async fn restart(bus: &Bus, keys: &str) -> (String, Vec<String>) {
    let config = host(keys);
    let unit = Unit::new(config.services.values().next().expect("a service"), &bus.client());
    let told = std::cell::RefCell::new(Vec::new());
    let error = unit.restart(None, |what| told.borrow_mut().push(what.to_owned())).await.expect_err("it is a stand-in");
    (error.to_string(), told.into_inner())
}

const REBOOT: &str = "restart = { kind = \"reboot\", timeout = \"300ms\" }";

#[tokio::test]
async fn logind_is_asked_to_boot_the_host_and_its_power_is_waited_for() {
    let bus = Bus::start();
    let _systemd = StandIn::start(&bus, SYSTEMD, &[]).await;
    let logind = StandIn::start(&bus, LOGIND, &[]).await;
    let (error, told) = restart(&bus, REBOOT).await;
    assert_eq!(error, "the host was asked to boot, and is up still after 300ms");
    assert_eq!(told, ["asked the host to boot; waits for the power to go"]);
    assert_eq!(logind.asked(), ["Reboot false"]);
}

#[tokio::test]
async fn where_there_is_no_logind_systemd_is_asked_to_go_down_in_order() {
    let bus = Bus::start();
    let systemd = StandIn::start(&bus, SYSTEMD, &[]).await;
    let (error, _) = restart(&bus, REBOOT).await;
    assert!(error.contains("is up still"), "{error}");
    assert_eq!(systemd.asked(), ["Subscribe", "StartUnit reboot.target replace-irreversibly"]);
}

#[tokio::test]
async fn what_polkit_refuses_is_told_with_its_action() {
    let bus = Bus::start();
    let _systemd = StandIn::start(&bus, SYSTEMD, &["RestartUnit"]).await;
    let logind = StandIn::start(&bus, LOGIND, &["Reboot"]).await;
    let (error, told) = restart(&bus, REBOOT).await;
    let said = "the host cannot be booted: no permission: polkit refuses org.freedesktop.login1.reboot \
                (Interactive authentication required.)";
    assert_eq!((error.as_str(), told), (said, Vec::new()));
    assert_eq!(logind.asked(), ["Reboot false"]);
    let (error, _) = restart(&bus, "units = [\"app.service\"]").await;
    let said = "app.service: no permission to restart it: polkit refuses org.freedesktop.systemd1.manage-units \
                (Interactive authentication required.)";
    assert_eq!(error, said);
}

#[tokio::test]
async fn a_bus_without_systemd_is_told_with_its_address() {
    let bus = Bus::start();
    let (error, _) = restart(&bus, "units = [\"app.service\"]").await;
    assert!(
        error.starts_with(&format!("app.service: cannot ask the system's systemd: {}: ", bus.address())),
        "{error}"
    );
}

/// Has this connection say, until it is dropped, that the job that a stand-in begins is done: to everybody, and to each.
fn say_done(connection: Connection) -> JoinHandle<()> {
    let job = OwnedObjectPath::try_from("/org/freedesktop/systemd1/x").expect("a path");
    let manager = "org.freedesktop.systemd1.Manager";
    tokio::spawn(async move {
        loop {
            let bus = Some("org.freedesktop.DBus");
            let names = connection.call_method(bus, "/", bus, "ListNames", &()).await.expect("an answer");
            let names: Vec<String> = names.body().deserialize().expect("names");
            let each = names.iter().filter(|name| name.starts_with(':')).map(|name| Some(name.as_str()));
            for to in each.chain([None]) {
                let body = (1_u32, &job, "app.service", "done");
                let sent = connection.emit_signal(to, "/org/freedesktop/systemd1", manager, "JobRemoved", &body).await;
                sent.expect("sent");
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
}

const UNIT: &str = "restart = { kind = \"systemd\", units = [\"app.service\"], timeout = \"1s\" }";

#[tokio::test]
async fn only_systemd_itself_is_believed_that_a_job_is_over() {
    let bus = Bus::start();
    let systemd = StandIn::start(&bus, SYSTEMD, &[]).await;
    let somebody = zbus::connection::Builder::address(bus.address().as_str()).build().await.expect("the bus");
    let lies = say_done(somebody);
    let (error, _) = restart(&bus, UNIT).await;
    lies.abort();
    assert_eq!(error, "app.service: not done within 1s; its job goes on, and it is active (running)");
    assert!(systemd.asked().iter().any(|asked| asked == "RestartUnit app.service replace"), "{:?}", systemd.asked());
}

#[tokio::test]
async fn a_job_that_is_done_is_no_restart_while_the_same_start_of_the_unit_runs() {
    let bus = Bus::start();
    let systemd = StandIn::start(&bus, SYSTEMD, &[]).await;
    let says = say_done(systemd.connection.clone());
    let (error, _) = restart(&bus, UNIT).await;
    says.abort();
    assert_eq!(error, "app.service: its job is done, and the same start of it as before still runs");
}
