//! What each way to depool reads as unknown. What all of them must keep is in `tests/balancers`.

use super::*;
use crate::probe::fixture::{Server, client, serve, service};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A balancer of our own: it knows one host, counts what it is told, and can be broken.
#[derive(Default)]
struct Fake {
    is_out: bool,
    moves: u32,
    /// It accepts what it is told, and does it only after so many more.
    ignores: u32,
    /// It answers every question with this.
    answers: Option<(u16, &'static str)>,
}

type Shared = Arc<Mutex<Fake>>;

async fn told(State(fake): State<Shared>, Json(wanted): Json<serde_json::Value>) -> StatusCode {
    let mut fake = fake.lock().expect("not poisoned");
    fake.moves += 1;
    if fake.ignores > 0 {
        fake.ignores -= 1;
    } else {
        fake.is_out = wanted["state"] == "drain";
    }
    StatusCode::NO_CONTENT
}

async fn asked(State(fake): State<Shared>) -> (StatusCode, String) {
    let fake = fake.lock().expect("not poisoned");
    let state = if fake.is_out { "drain" } else { "ready" };
    let (status, body) = fake.answers.unwrap_or((200, ""));
    let body = if body.is_empty() { format!("{{\"state\":\"{state}\"}}") } else { body.to_owned() };
    (StatusCode::from_u16(status).expect("a status"), body)
}

async fn fake() -> (Server, Shared) {
    let fake = Shared::default();
    let router = Router::new().route("/servers/mw1", put(told)).route("/servers/mw1", get(asked));
    (serve(router.with_state(fake.clone())).await, fake)
}

fn http_service(urls: &[&str]) -> Balancers {
    let urls: Vec<String> = urls.iter().map(|url| format!("{url:?}")).collect();
    Balancers::new(
        &service(&format!(
            r#"
            [service.app.depool]
            kind = "http"
            balancers = [{}]
            out = {{ method = "PUT", url = "{{balancer}}/servers/{{host}}", body = '{{"state":"drain"}}' }}
            in = {{ method = "PUT", url = "{{balancer}}/servers/{{host}}", body = '{{"state":"ready"}}' }}
            tries = 3
            pause = "10ms"
            [service.app.depool.status]
            url = "{{balancer}}/servers/{{host}}"
            out_when = "answer.state == 'drain'"
            in_when = "answer.state == 'ready'"
            "#,
            urls.join(", ")
        )),
        &client(),
    )
}

fn file_service(flag: &Path, more: &str) -> Balancers {
    let keys = format!("[service.app.depool]\nkind = \"file\"\npath = {flag:?}\ntries = 3\npause = \"10ms\"\n{more}");
    Balancers::new(&service(&keys), &client())
}

fn exec_service(flag: &Path, status: &str) -> Balancers {
    let keys = format!(
        r#"
        [service.app.depool]
        kind = "exec"
        depool = ["touch", {flag:?}]
        repool = ["rm", "-f", {flag:?}]
        status = ["sh", "-c", '''{status}''']
        tries = 3
        pause = "10ms"
        timeout = "5s"
        "#
    );
    Balancers::new(&service(&keys), &client())
}

fn presences(looks: &[Look]) -> Vec<Presence> {
    looks.iter().map(|look| look.presence).collect()
}

fn names(looks: &[Look]) -> ByName {
    looks.iter().map(|look| (look.balancer.clone(), look.restore.clone())).collect()
}

#[tokio::test]
async fn without_a_balancer_there_is_nothing_to_leave() {
    let none = Balancers::new(&service(""), &client());
    assert_eq!(none.look().await, []);
    none.depool(&ByName::new()).await.expect("nothing to do");
    none.repool(&ByName::new()).await.expect("nothing to do");
    assert_eq!(none.sessions().ask().await.sessions, None);
}

#[tokio::test]
async fn what_is_done_already_is_not_done_again() {
    let (server, fake) = fake().await;
    let balancers = http_service(&[&server.url]);
    let all = names(&balancers.look().await);
    for _again in 0..3 {
        balancers.depool(&all).await.expect("out");
    }
    assert_eq!(fake.lock().expect("not poisoned").moves, 1);
}

#[tokio::test]
async fn only_the_named_balancers_are_touched() {
    let ((one, first), (two, second)) = (fake().await, fake().await);
    let balancers = http_service(&[&one.url, &two.url]);
    let name = one.url.trim_start_matches("http://").to_owned();
    balancers.depool(&ByName::from([(name, String::new())])).await.expect("out");
    assert_eq!((first.lock().expect("ok").moves, second.lock().expect("ok").moves), (1, 0));
    assert_eq!(presences(&balancers.look().await), [Presence::Out, Presence::In]);
}

#[tokio::test]
async fn one_balancer_that_does_not_follow_is_named_with_what_it_says() {
    let ((one, _), (two, second)) = (fake().await, fake().await);
    second.lock().expect("ok").ignores = u32::MAX;
    let balancers = http_service(&[&one.url, &two.url]);
    let error = balancers.depool(&names(&balancers.look().await)).await.expect_err("not all agree");
    let name = two.url.trim_start_matches("http://");
    let said = format!("{name} does not confirm that the host is out: it says in ({{\"state\":\"ready\"}})");
    assert_eq!(error.to_string(), said);
    assert_eq!(second.lock().expect("ok").moves, 3, "as many tries as configured");
    assert_eq!(Fault::from(error).cause, said);
}

#[tokio::test]
async fn a_balancer_that_follows_late_is_waited_for() {
    let (server, fake) = fake().await;
    fake.lock().expect("ok").ignores = 2;
    let balancers = http_service(&[&server.url]);
    balancers.depool(&names(&balancers.look().await)).await.expect("out at the third try");
}

#[tokio::test]
async fn errors_silence_and_nonsense_are_unknown_and_never_confirm() {
    let (server, fake) = fake().await;
    let balancers = http_service(&[&server.url]);
    let all = names(&balancers.look().await);
    for (status, body) in [
        (500, "{\"state\":\"drain\"}"),
        (404, "{\"state\":\"drain\"}"),
        (302, "{\"state\":\"drain\"}"),
        (200, "garbage"),
        (200, "{}"),
        (200, "{\"state\":\"maint\"}"),
        (200, "{\"state\":null}"),
    ] {
        fake.lock().expect("ok").answers = Some((status, body));
        let looks = balancers.look().await;
        assert_eq!(presences(&looks), [Presence::Unknown], "{status} {body}");
        assert!(!looks[0].detail.is_empty());
        assert!(balancers.depool(&all).await.is_err(), "{status} {body}");
        assert!(balancers.repool(&all).await.is_err(), "{status} {body}");
    }
    drop(server);
    let gone = http_service(&["http://127.0.0.1:1"]).look().await;
    assert_eq!(presences(&gone), [Presence::Unknown]);
    assert!(gone[0].detail.contains("Connection refused"), "{gone:?}");
}

#[tokio::test]
async fn an_exec_status_of_another_form_is_unknown() {
    let flag = Path::new("/nonexistent/flag");
    for (script, detail) in [
        ("true", "neither in nor out"),
        ("echo IN", "neither in nor out: IN"),
        ("echo inactive", "neither in nor out: inactive"),
        ("echo out; exit 1", "exit 1: out"),
        ("echo oops >&2; exit 2", "exit 2: oops"),
        ("echo in; seq -f 'out%.0f' 1 4000 | tr '\\n' ' '; echo out", "its status printed more than 8192 bytes"),
    ] {
        let looks = exec_service(flag, script).look().await;
        assert_eq!(presences(&looks), [Presence::Unknown], "{script}");
        assert!(looks[0].detail.contains(detail), "{looks:?}");
    }
    let error = exec_service(flag, "echo in").depool(&ByName::from([("sh".to_owned(), String::new())])).await;
    assert!(error.expect_err("touch fails").to_string().contains("exit 1: touch"), "what it said is shown");
}

#[tokio::test]
async fn a_flag_is_confirmed_by_what_looks_at_it() {
    let (server, fake) = fake().await;
    let folder = tempfile::tempdir().expect("a folder");
    let flag = folder.path().join("out");
    let confirm = format!(
        "[service.app.depool.confirm]\nhttp = \"{}/servers/mw1\"\nout_when = \"status == 503\"\nin_when = \"status == 200\"",
        server.url
    );
    let balancers = file_service(&flag, &confirm);
    let all = names(&balancers.look().await);
    assert_eq!(presences(&balancers.look().await), [Presence::In]);
    let error = balancers.depool(&all).await.expect_err("nothing followed the flag");
    assert!(error.to_string().contains("the flag says out, and in is confirmed"), "{error}");
    assert_eq!(presences(&balancers.look().await), [Presence::Unknown]);
    fake.lock().expect("ok").answers = Some((503, "draining"));
    balancers.depool(&all).await.expect("out");
    assert!(balancers.repool(&all).await.is_err(), "the flag is gone, and out is still confirmed");
    assert!(!flag.exists());
    assert_eq!(presences(&balancers.look().await), [Presence::Out], "out by somebody else");
    fake.lock().expect("ok").answers = Some((500, "?"));
    assert_eq!(presences(&balancers.look().await), [Presence::Unknown]);
}

#[tokio::test]
async fn a_flag_of_somebody_else_keeps_its_content_and_a_missing_folder_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let flag = folder.path().join("out");
    std::fs::write(&flag, "maintenance, ask Ann").expect("written");
    let balancers = file_service(&flag, "");
    balancers.depool(&names(&balancers.look().await)).await.expect("out already");
    assert_eq!(std::fs::read_to_string(&flag).expect("there"), "maintenance, ask Ann");
    let nowhere = file_service(&folder.path().join("none/out"), "");
    let error = nowhere.depool(&names(&nowhere.look().await)).await.expect_err("no folder");
    assert!(error.to_string().contains("No such file or directory"), "{error}");
}

#[tokio::test]
async fn a_state_that_somebody_else_chose_is_never_overwritten() {
    let (server, fake) = fake().await;
    let balancers = http_service(&[&server.url]);
    let all = names(&balancers.look().await);
    fake.lock().expect("ok").answers = Some((200, "{\"state\":\"inactive\"}"));
    let error = balancers.repool(&all).await.expect_err("neither in nor out");
    assert!(error.to_string().ends_with("neither in nor out: {\"state\":\"inactive\"}"), "{error}");
    assert!(balancers.depool(&all).await.is_err());
    assert_eq!(fake.lock().expect("ok").moves, 0);
    let folder = tempfile::tempdir().expect("a folder");
    let flag = folder.path().join("out");
    std::fs::write(&flag, "").expect("written");
    let exec = exec_service(&flag, "echo inactive since monday");
    assert!(exec.repool(&names(&exec.look().await)).await.is_err());
    assert!(flag.exists(), "its repool was not run");
}

#[tokio::test]
async fn a_depool_that_was_never_confirmed_is_undone() {
    let (server, _) = fake().await;
    let folder = tempfile::tempdir().expect("a folder");
    let flag = folder.path().join("out");
    let confirm = format!(
        "[service.app.depool.confirm]\nhttp = \"{}/servers/mw1\"\nout_when = \"status == 503\"\nin_when = \"status == 200\"",
        server.url
    );
    let balancers = file_service(&flag, &confirm);
    let all = names(&balancers.look().await);
    assert!(balancers.depool(&all).await.is_err() && flag.exists());
    balancers.repool(&all).await.expect("in again");
    assert!(!flag.exists());
}
