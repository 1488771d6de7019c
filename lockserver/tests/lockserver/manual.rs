//! The page about the HTTP API: each of its examples is carried out, in its order, and must be answered as written.

use crate::common::*;
use coordinator::Coordinator;
use serde_json::Value;
use std::fmt::Write;

const PAGE: &str = include_str!("../../../docs/api.md");
/// Fields whose numbers differ from run to run.
const MOVING: [&str; 10] =
    ["time", "wall", "at", "renewed", "ticket", "number", "announced", "next", "waited_ms", "live_until"];

/// One example: the request, and the answer when one is written.
struct Example {
    method: String,
    path: String,
    body: String,
    answer: Option<(u16, Value)>,
}

fn examples() -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for block in PAGE.split("\n```").skip(1).step_by(2) {
        let (kind, text) = block.split_once('\n').unwrap_or((block, ""));
        if kind == "http" {
            let (line, body) = text.split_once('\n').unwrap_or((text, ""));
            let (method, path) = line.split_once(' ').expect("a method and a path");
            examples.push(Example { method: method.into(), path: path.into(), body: body.into(), answer: None });
        } else if let Some(status) = kind.strip_prefix("json ") {
            let answer = (status.parse().expect("a status"), serde_json::from_str(text).expect("JSON"));
            examples.last_mut().expect("a request before its answer").answer = Some(answer);
        }
    }
    examples
}

/// Where two answers differ, but for what differs from run to run.
fn difference(at: &str, written: &Value, found: &Value) -> Option<String> {
    let name = at.rsplit('.').next().unwrap_or_default();
    match (written, found) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
            let missing = &Value::String("(missing)".into());
            keys.into_iter().find_map(|key| {
                difference(&format!("{at}.{key}"), one.get(key).unwrap_or(missing), other.get(key).unwrap_or(missing))
            })
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            one.iter().zip(other).find_map(|(one, other)| difference(at, one, other))
        }
        (Value::Number(_), Value::Number(_)) if name.ends_with("_ms") || MOVING.contains(&name) => None,
        (one, other) if one == other => None,
        (one, other) => Some(format!("{at}: {one} is written, {other} was found")),
    }
}

#[tokio::test]
async fn every_example_of_the_page_is_true() {
    let server = Server::on(&Platter::new(0)).await;
    server.client().pauses().await.expect("the server answers");
    let mut wrong = String::new();
    let examples = examples();
    assert!(examples.len() > 20, "the page has examples");
    for example in examples {
        let (status, text) = server.request_text(&example.method, &example.path, &example.body).await;
        let found: Value = serde_json::from_str(&text).expect("JSON");
        let what = match &example.answer {
            None => Some("no answer is written".to_owned()),
            Some((written, _)) if *written != status => Some(format!("{written} is written")),
            Some((_, written)) => difference("", written, &found),
        };
        if let Some(what) = what {
            let request = format!("{} {}\n{}", example.method, example.path, example.body);
            writeln!(wrong, "<<<\n{request}\n=== {what}\n{status} {text}\n>>>").expect("written");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[tokio::test]
async fn every_metric_of_the_page_exists_and_every_other_is_on_it() {
    let server = Server::on(&Platter::new(0)).await;
    let client = server.client();
    let (_, _) = server.request("PUT", "/v1/members/mw1", r#"{"session":"s","services":{"php":["app"]}}"#).await;
    let (_, _) = server.request("POST", "/v1/rollouts", r#"{"by":"me","service":"php","message":"m"}"#).await;
    granted(client.ask(&ask("a", &["app"]), std::time::Duration::ZERO).await.expect("an answer"));
    let mut refused = ask("b", &["app"]);
    refused.wait_ms = Some(0);
    client.ask(&refused, std::time::Duration::ZERO).await.expect("an answer");
    let short = ask("c", &["other"]);
    granted(client.ask(&short, std::time::Duration::ZERO).await.expect("an answer"));
    client.settle(&settle("c", model::request::Ending::Released)).await.expect("an answer");
    let text = server.request("GET", "/metrics", "").await.1;
    let text = text.as_str().expect("text");
    let found: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let written: Vec<&str> = PAGE.split('`').filter(|word| word.starts_with("stagger_")).collect();
    for name in &found {
        assert!(written.contains(name), "{name} is not on the page");
    }
    for name in &written {
        // Nothing has been lost in this test.
        assert!(found.contains(name) || *name == "stagger_lease_losses_total", "there is no {name}:\n{text}");
    }
}
