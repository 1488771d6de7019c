//! What is observed, and when a predicate holds over it.

use crate::config::{Probe, Question};
use crate::probe::ask::ProbeError;
use crate::probe::fixture::{DEADLINE, client, exec, http, nobody, predicate, serve};
use crate::probe::holds::PredicateError;
use crate::probe::observation::{BODY_BYTES_MAX, EXCERPT_BYTES_MAX, Observation};
use axum::Router;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::get;
use std::time::Duration;

async fn holds(probe: &Probe, text: &str) -> Result<bool, PredicateError> {
    predicate(probe, text).holds(&probe.ask(&client()).await.expect("an answer"))
}

fn pages() -> Router {
    Router::new()
        .route(
            "/json",
            get(|| async { r#"{"free":99.5,"keys":27531,"max":32531,"big":18446744073709551615,"list":[1,2]}"# }),
        )
        .route("/text", get(|| async { "OK\nsecond" }))
        .route("/broken", get(|| async { (StatusCode::INTERNAL_SERVER_ERROR, "{\"state\":\"out\"}") }))
        .route("/away", get(|| async { Redirect::temporary("/text") }))
        .route("/silent", get(|| async { std::future::pending::<()>().await }))
        .route("/long", get(|| async { "x".repeat(BODY_BYTES_MAX + 1) }))
}

#[tokio::test]
async fn an_http_answer_is_seen_by_its_variables() {
    let server = serve(pages()).await;
    let json = http(&format!("{}/json", server.url));
    for yes in [
        "status == 200",
        "answer.free <= 100",
        "answer.keys >= answer.max - 5000",
        "answer.big > 1",
        "answer.list.exists(x, x == 2)",
        "headers['content-type'].startsWith('text/plain')",
        "body.contains('27531') && size(body) < 200",
    ] {
        assert_eq!(holds(&json, yes).await, Ok(true), "{yes}");
    }
    for no in ["status == 503", "answer.keys > answer.max", "answer.list.all(x, x == 2)"] {
        assert_eq!(holds(&json, no).await, Ok(false), "{no}");
    }
    let text = http(&format!("{}/text", server.url));
    assert_eq!(holds(&text, "answer == null && body.startsWith('OK')").await, Ok(true));
    assert_eq!(text.ask(&client()).await.expect("an answer").figures(), "status 200: OK");
}

#[tokio::test]
async fn unknown_is_never_a_yes_nor_a_no() {
    let server = serve(pages()).await;
    let json = http(&format!("{}/json", server.url));
    let missing = holds(&json, "answer.missing > 3").await.expect_err("no such key");
    assert!(matches!(missing, PredicateError::Evaluate { .. }), "{missing}");
    assert!(missing.to_string().contains("`answer.missing > 3`") && missing.to_string().contains("\"keys\":27531"));
    let number = holds(&json, "answer.keys").await.expect_err("no yes and no no");
    assert!(number.to_string().starts_with("`answer.keys` gives int and not true or false"), "{number}");
    let text = http(&format!("{}/text", server.url));
    assert!(holds(&text, "answer.free > 3").await.is_err(), "not JSON");
    let broken = http(&format!("{}/broken", server.url));
    let refused = holds(&broken, "answer.state == 'out'").await.expect_err("an error page");
    assert_eq!(refused, PredicateError::NoAnswer { said: "status 500".to_owned() });
    assert_eq!(holds(&broken, "status == 500 && answer.state == 'out'").await, Ok(true), "it was asked for");
    let away = http(&format!("{}/away", server.url));
    assert_eq!(holds(&away, "status == 307").await, Ok(true), "redirects are not followed");
}

#[tokio::test]
async fn no_answer_is_an_error_that_says_why() {
    let server = serve(pages()).await;
    let silent = Probe { timeout: Duration::from_millis(200), ..http(&format!("{}/silent", server.url)) };
    let error = silent.ask(&client()).await.expect_err("silent");
    assert!(matches!(error, ProbeError::Silent { .. }), "{error}");
    assert!(error.to_string().ends_with("/silent did not answer within 200ms"), "{error}");
    let refused = http(&format!("http://{}/", nobody().await)).ask(&client()).await.expect_err("nobody");
    assert!(refused.to_string().contains("Connection refused"), "{refused}");
    let missing = Probe { question: Question::Tcp("nowhere.invalid:1".to_owned()), timeout: DEADLINE };
    assert!(matches!(missing.ask(&client()).await, Err(ProbeError::Tcp { .. })));
}

#[tokio::test]
async fn a_long_body_is_cut_and_is_then_no_json() {
    let server = serve(pages()).await;
    let observation = http(&format!("{}/long", server.url)).ask(&client()).await.expect("an answer");
    assert!(observation.figures().len() < EXCERPT_BYTES_MAX + 20);
    let Observation::Http { body, answer, .. } = observation else { panic!("{observation:?}") };
    assert_eq!((body.len(), answer.is_null()), (BODY_BYTES_MAX, true));
}

#[tokio::test]
async fn a_connection_is_a_yes_and_a_refusal_a_no() {
    let server = serve(pages()).await;
    let probe = |address: &str| Probe { question: Question::Tcp(address.to_owned()), timeout: DEADLINE };
    let open = probe(server.url.trim_start_matches("http://"));
    assert_eq!(holds(&open, "connected").await, Ok(true));
    assert_eq!(holds(&probe(&nobody().await), "connected").await, Ok(false));
}

#[tokio::test]
async fn a_command_is_seen_by_its_variables() {
    let probe = exec(r#"echo '{"keys": 3}'; echo hm >&2"#);
    assert_eq!(holds(&probe, "exit == 0 && answer.keys == 3 && stderr == 'hm\\n'").await, Ok(true));
    assert_eq!(probe.ask(&client()).await.expect("an answer").figures(), "{\"keys\":3}");
    let failed = exec("echo wrong >&2; exit 3");
    assert_eq!(holds(&failed, "exit == 3").await, Ok(true));
    let refused = holds(&failed, "stdout == ''").await.expect_err("a failed command's output proves nothing");
    assert_eq!(refused.to_string(), "no usable answer: exit 3: wrong");
}

#[tokio::test]
async fn what_is_not_kept_of_a_long_output_is_neither_a_yes_nor_a_no() {
    let long = exec("echo 'DOWN: mw1'; seq 1 4000 | sed 's/.*/ok/'; echo '{}' >&2");
    for expression in ["!stdout.contains('DOWN')", "stdout.startsWith('ok')", "answer == null"] {
        let error = holds(&long, expression).await.expect_err(expression);
        assert!(matches!(error, PredicateError::Cut { .. }), "{expression}: {error}");
    }
    let said = holds(&long, "!stdout.contains('DOWN')").await.expect_err("not known");
    assert_eq!(said.to_string(), "the command printed more than 8192 bytes: `stdout` is not all of it");
    assert_eq!(holds(&long, "exit == 0 && stderr == '{}\\n'").await, Ok(true), "what is whole can be told");
    // The end of a long text may be JSON by itself.
    let number = exec("seq 1 4000 | tr -d '\\n'");
    assert!(matches!(holds(&number, "answer > 1").await, Err(PredicateError::Cut { variable: "answer" })));
    let complaints = exec("seq 1 4000 >&2; echo fine");
    assert_eq!(holds(&complaints, "stdout == 'fine\\n'").await, Ok(true));
    assert!(holds(&complaints, "!stderr.contains('error')").await.is_err());
}
