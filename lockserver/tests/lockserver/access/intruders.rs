//! The intruder's table: what whoever tries, each is refused with its status, counted and logged, and nothing is changed.

use super::scene::*;
use crate::common::*;
use serde_json::{Value, json};

/// One who tries: with which `authorization`, what, and how it ends.
struct Try {
    who: String,
    line: &'static str,
    body: Value,
    authorization: Option<String>,
    status: u16,
    reason: &'static str,
}

/// Everything that is not an open look, with what it takes at least. Each would be carried out for somebody who may.
fn acts() -> Vec<(&'static str, Value)> {
    let signed = |mut body: Value, operation: &str| {
        body["operation"] = operation.into();
        body["by"] = "intruder".into();
        body
    };
    let ask =
        json!({ "holder": "mw2", "claim": "x", "pools": ["free"], "purpose": { "run": "theft" }, "wait_ms": null });
    let fleet = json!({ "client_params": { "id": "mw2", "group": "free" } });
    vec![
        ("POST /v1/leases", ask),
        ("PUT /v1/leases/mw2", json!({ "claim": "c2" })),
        ("POST /v1/leases/mw2/begin", json!({ "claim": "c2" })),
        ("DELETE /v1/leases/mw2", json!({ "claim": "c2", "ending": "released", "rollout": null, "report": null })),
        ("PUT /v1/members/mw2", json!({ "session": "s9", "replaces": "s2" })),
        ("POST /v1/quiet", json!({ "waiter": { "holder": "mw2", "claim": "c2" } })),
        ("POST /v1/quiet", json!({ "member": { "host": "mw2", "session": "s2" } })),
        ("POST /v1/pre-reboot", fleet.clone()),
        ("POST /v1/steady-state", fleet),
        ("POST /v1/rollouts", signed(json!({ "service": "php", "message": "bad", "supersede": true }), "i1")),
        ("POST /v1/rollouts/php/1/abort", signed(json!({ "reason": "r" }), "i2")),
        ("PUT /v1/pauses/all", signed(json!({ "reason": "r", "for_ms": 1000 }), "i3")),
        ("DELETE /v1/pauses/pool/held", signed(json!({}), "i4")),
        ("PATCH /v1/settings/pool/held", signed(json!({ "reason": "r", "set": { "slots": { "count": 99 } } }), "i5")),
        ("DELETE /v1/leases/mw2", signed(json!({ "reason": "r", "live": true }), "i6")),
        ("POST /v1/move", json!({ "passage": "p", "by": "i", "step": { "close": { "to": "http://evil:1" } } })),
        ("GET /v1/records", Value::Null),
        ("GET /v1/move", Value::Null),
        ("GET /v1/nothing", Value::Null),
    ]
}

/// The first nine of the acts are a worker's, the next four a deployer's.
const WORKERS: usize = 9;
const DEPLOYERS: usize = 13;

fn tries(tokens: &Tokens) -> Vec<Try> {
    let mut tries = Vec::new();
    let mut push = |who: &str, (line, body): (&'static str, Value), authorization: Option<String>, status, reason| {
        tries.push(Try { who: who.to_owned(), line, body, authorization, status, reason });
    };
    let looks = ["GET /v1/leases", "GET /v1/history", "GET /v1/events", "GET /v1/domain", "HEAD /v1/leases"];
    for act in acts().into_iter().chain(looks.map(|line| (line, Value::Null))) {
        push("nobody", act, None, 401, "no_token");
    }
    for line in ["GET /v1/leases", "POST /v1/rollouts", "GET /nothing"] {
        for wrong in ["Bearer", "Bearer x", "Basic eDp4", "stagger_", "Bearer stagger_00"] {
            push("nonsense", (line, json!({})), Some(wrong.to_owned()), 401, "malformed");
        }
        for (who, reason) in [("stranger", "unknown"), ("old", "expired"), ("gone", "revoked")] {
            push(who, (line, json!({})), Some(tokens.bearer(who)), 401, reason);
        }
    }
    for act in acts() {
        push("reader", act, Some(tokens.bearer("reader")), 403, "role");
    }
    for act in acts().split_off(WORKERS) {
        push("mw1", act.clone(), Some(tokens.bearer("mw1")), 403, "role");
        push("mw2", act, Some(tokens.bearer("mw2")), 403, "role");
    }
    for act in acts().into_iter().take(WORKERS).chain(acts().split_off(DEPLOYERS)) {
        push("deploy1", act, Some(tokens.bearer("deploy1")), 403, "role");
    }
    for act in acts().into_iter().take(WORKERS) {
        push("mw1", act, Some(tokens.bearer("mw1")), 403, "host");
    }
    // What names two hosts is read once: what is let in is what is carried out.
    for (line, body) in [
        ("PUT /v1/leases/mw%32", json!({ "claim": "c2" })),
        ("PUT /default/v1/leases/mw2", json!({ "claim": "c2", "holder": "mw1" })),
        ("POST /v1/leases", json!({ "Holder": "mw1", "holder": "mw2" })),
        ("POST /v1/leases", json!([{ "holder": "mw1" }])),
        ("POST /v1/quiet", json!({ "waiter": { "holder": "mw2", "claim": "c2" }, "member": { "host": "mw1" } })),
    ] {
        push("mw1", (line, body), Some(tokens.bearer("mw1")), 403, "host");
    }
    tries
}

/// What there is, but for what only time changes.
async fn everything(server: &Server, tokens: &Tokens) -> Value {
    fn still(value: Value) -> Value {
        match value {
            Value::Object(fields) => {
                let moves =
                    |name: &str| name.ends_with("_ms") || ["renewed", "heard", "live_until", "time"].contains(&name);
                fields.into_iter().filter(|(name, _)| !moves(name)).map(|(name, value)| (name, still(value))).collect()
            }
            Value::Array(items) => items.into_iter().map(still).collect(),
            other => other,
        }
    }
    let mut all = json!({});
    for path in ["leases", "members", "pools", "rollouts", "rollouts/php/1", "pauses", "history", "settings/pool/held"]
    {
        let line = format!("GET /v1/{path}");
        let answer = asked(&server.address, HERE, &line, "", Some(&tokens.bearer("boss"))).await.expect("an answer");
        assert_eq!(answer.status, 200, "{line}: {answer:?}");
        all[path] = still(answer.body);
    }
    all
}

/// Two workers, a lease of the second's, a rollout, a pause.
async fn furnish(server: &Server, tokens: &Tokens) {
    let must = async |who: &str, line: &str, body: Value| {
        let body = body.to_string();
        let answer = asked(&server.address, HERE, line, &body, Some(&tokens.bearer(who))).await.expect("an answer");
        assert_eq!(answer.status, 200, "{who}: {line}: {answer:?}");
    };
    for (host, session) in [("mw1", "s1"), ("mw2", "s2")] {
        let join = json!({ "session": session, "services": { "php": ["held"] }, "patience_ms": 120_000 });
        must(host, &format!("PUT /v1/members/{host}"), join).await;
    }
    let held =
        json!({ "holder": "mw2", "claim": "c2", "pools": ["held"], "purpose": { "run": "own" }, "wait_ms": null });
    must("mw2", "POST /v1/leases", held).await;
    must("mw2", "PUT /v1/leases/mw2", json!({ "claim": "c2" })).await;
    let run = json!({ "holder": "run-7.mw2", "claim": "c3", "pools": ["other"], "purpose": { "run": "own" }, "wait_ms": null });
    must("mw2", "POST /v1/leases", run).await;
    must(
        "deploy1",
        "POST /v1/rollouts",
        json!({ "operation": "o1", "by": "ann@ops1", "service": "php", "message": "m" }),
    )
    .await;
    let pause = json!({ "operation": "o2", "by": "ann@ops1", "reason": "r", "for_ms": 3_600_000 });
    must("deploy1", "PUT /v1/pauses/pool/held", pause).await;
}

#[tokio::test]
async fn every_intruder_is_refused_counted_and_logged_and_nothing_is_changed() {
    let (log, _kept) = Log::start();
    let tokens = Tokens::new();
    let server = server(tokens.settings()).await;
    furnish(&server, &tokens).await;
    let before = everything(&server, &tokens).await;
    let tries = tries(&tokens);
    assert!(tries.len() > 100, "only {} are tried", tries.len());
    for Try { who, line, body, authorization, status, reason } in tries {
        let what = format!("{who}: {line} {body}");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let count = counted(&server.address, reason).await;
        let said = log.text().len();
        let answer = asked(&server.address, HERE, line, &body, authorization.as_deref()).await.expect("an answer");
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        if !line.starts_with("HEAD") {
            let kind = if status == 401 { "unauthorized" } else { "forbidden" };
            assert_eq!(answer.kind(), kind, "{what}: {answer:?}");
        }
        assert_eq!(answer.head.contains("www-authenticate: bearer"), status == 401, "{what}: {answer:?}");
        assert_eq!(counted(&server.address, reason).await, count + 1, "{what} is not counted");
        let new = log.text()[said..].to_owned();
        // A flood is told in part: what is tried here within a second is one for some reasons.
        if !new.is_empty() {
            assert_eq!(new.matches("refused: ").count(), 1, "{what}: {new}");
            assert!(new.contains("from=127.0.0.1") && new.contains(&format!("reason=\"{reason}\"")), "{what}: {new}");
            assert!(status == 401 || new.contains(&format!("token=\"{who}\"")), "{what}: {new}");
        }
        for secret in tokens.texts() {
            assert!(!answer.body.to_string().contains(secret), "{what}: {answer:?}");
        }
    }
    assert_eq!(everything(&server, &tokens).await, before);
    let log = log.text();
    assert!(log.matches("refused: ").count() > 50, "{log}");
    for secret in tokens.texts() {
        assert!(!log.contains(secret), "a token is in the log");
    }
}

#[tokio::test]
async fn an_operation_that_comes_again_as_another_change_is_refused_counted_and_logged() {
    let (log, _kept) = Log::start();
    let tokens = Tokens::new();
    let server = server(tokens.settings()).await;
    furnish(&server, &tokens).await;
    let before = everything(&server, &tokens).await;
    let send = async |line: &str, mut body: Value| {
        body["operation"] = "o2".into();
        body["by"] = "mallory@ops9".into();
        asked(&server.address, ELSEWHERE, line, &body.to_string(), Some(&tokens.bearer("boss")))
            .await
            .expect("an answer")
    };
    for (line, body) in [
        ("PUT /v1/pauses/all", json!({ "reason": "r", "for_ms": 3_600_000 })),
        ("PUT /v1/pauses/pool/held", json!({ "reason": "another", "for_ms": 3_600_000 })),
        ("DELETE /v1/pauses/pool/held", json!({})),
        ("DELETE /v1/leases/mw2", json!({ "reason": "r", "live": true })),
    ] {
        let answer = send(line, body).await;
        assert_eq!((answer.status, answer.kind()), (409, "replayed"), "{line}: {answer:?}");
    }
    let same = send("PUT /v1/pauses/pool/held", json!({ "reason": "r", "for_ms": 3_600_000 })).await;
    assert_eq!(same.status, 200, "the very same is answered as before: {same:?}");
    assert_eq!(everything(&server, &tokens).await, before);
    let figures = asked(&server.address, HERE, "GET /metrics", "", None).await.expect("figures");
    assert!(figures.body.to_string().contains("stagger_replayed_operations_total 4"), "{figures:?}");
    let told =
        "refused: the operation was another change before operation=o2 by=\"boss for mallory@ops9\" from=\"127.0.0.2\"";
    assert_eq!(log.text().matches(told).count(), 4, "{}", log.text());
}

#[tokio::test]
async fn the_history_says_who_by_which_token_and_from_where() {
    let tokens = Tokens::new();
    let server = server(tokens.settings()).await;
    furnish(&server, &tokens).await;
    let failed = json!({ "claim": "c2", "ending": "kept", "rollout": null, "report": {
        "at": 0, "outcome": "failed", "step": "restart", "cause": "exit 78", "output": "", "stuck": false, "out_of": [], "timings": [] } });
    let settled =
        asked(&server.address, ELSEWHERE, "DELETE /v1/leases/mw2", &failed.to_string(), Some(&tokens.bearer("mw2")))
            .await;
    assert_eq!(settled.expect("an answer").status, 200);
    let history =
        asked(&server.address, HERE, "GET /v1/history", "", Some(&tokens.bearer("reader"))).await.expect("it");
    let rows = history.body["rows"].as_array().expect("rows").clone();
    let told: Vec<_> = rows
        .iter()
        .map(|row| ["kind", "by", "from"].map(|field| row[field].as_str().unwrap_or("–").to_owned()).join(" | "))
        .collect();
    let expected = [
        "joined | mw1 | 127.0.0.1",
        "joined | mw2 | 127.0.0.1",
        "announced | deploy1 for ann@ops1 | 127.0.0.1",
        "paused | deploy1 for ann@ops1 | 127.0.0.1",
        "failed | mw2 | 127.0.0.2",
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_token_is_known_and_forgotten_while_the_server_runs_and_a_damaged_file_changes_nothing() {
    let (log, _kept) = Log::start();
    let mut tokens = Tokens::new();
    let server = server(tokens.settings()).await;
    let status = async |tokens: &Tokens, who: &str| {
        asked(&server.address, HERE, "GET /v1/pools", "", Some(&tokens.bearer(who))).await.expect("an answer").status
    };
    assert_eq!(status(&tokens, "reader").await, 200);
    tokens.add("late", lockserver::access::tokens::Role::Read, None);
    until("the new one to be known", || async { status(&tokens, "late").await == 200 }).await;
    tokens.revoke("reader");
    until("the revoked one to be refused", || async { status(&tokens, "reader").await == 401 }).await;
    let good = std::fs::read_to_string(&tokens.path).expect("the file");
    let up = async || {
        let figures = asked(&server.address, HERE, "GET /metrics", "", None).await.expect("figures").body.to_string();
        figures.contains("stagger_access_file_up{file=\\\"tokens\\\"} 1")
    };
    until("the file to count", &up).await;
    for damaged in [String::new(), good[..good.len() / 2].to_owned(), good.replace("admin", "root")] {
        std::fs::write(&tokens.path, damaged).expect("written");
        until("the damage to be told", || async { !up().await }).await;
        assert_eq!((status(&tokens, "late").await, status(&tokens, "reader").await), (200, 401));
        std::fs::write(&tokens.path, &good).expect("written");
        until("the file to count again", &up).await;
    }
    assert!(log.text().contains("what was read before still counts: the tokens in"), "{}", log.text());
}

#[tokio::test]
async fn what_is_held_open_ends_when_its_token_is_revoked() {
    let tokens = Tokens::new();
    let server = server(tokens.settings()).await;
    furnish(&server, &tokens).await;
    let held =
        json!({ "session": "s1", "services": { "php": ["held"] }, "seen": ["php@1"], "hold_ms": 60_000 }).to_string();
    let (mw1, reader) = (tokens.bearer("mw1"), tokens.bearer("reader"));
    let join = asked(&server.address, HERE, "PUT /v1/members/mw1", &held, Some(&mw1));
    let events = asked(&server.address, HERE, "GET /v1/events", "", Some(&reader));
    let both = async { tokio::join!(join, events) };
    let revoke = async {
        until("both to be held", || async {
            let figures =
                asked(&server.address, HERE, "GET /metrics", "", None).await.expect("figures").body.to_string();
            figures.contains("stagger_held_calls{call=\\\"join\\\"} 1")
        })
        .await;
        tokens.revoke("mw1");
        tokens.revoke("reader");
    };
    let ((join, events), ()) = soon("both to end", async { tokio::join!(both, revoke) }).await;
    assert_eq!(join.map(|answer| answer.status), Some(401));
    assert_eq!(events.map(|answer| answer.status), Some(200), "it had begun");
    assert_eq!(counted(&server.address, "revoked").await, 1);
}
