//! What the client makes of servers that misbehave: each fault becomes the one error that tells the caller what to do.

use coordinator::remote::Remote;
use coordinator::{Coordinator, Error};
use model::request::{BeginAsk, Own, Renew};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server that answers each request, over all connections in turn, with the next of these; nothing is a cut.
async fn server(answers: Vec<Option<String>>) -> Remote {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut answers = answers.into_iter();
        while let Ok((mut stream, _)) = listener.accept().await {
            while read_request(&mut stream).await {
                match answers.next() {
                    Some(Some(answer)) => stream.write_all(answer.as_bytes()).await.expect("sent"),
                    Some(None) => break,
                    None => return,
                }
            }
        }
    });
    Remote::new(&format!("http://{address}")).expect("a client")
}

/// Reads one request to the end of its body; `false` at the end of the connection.
async fn read_request(stream: &mut TcpStream) -> bool {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
            if body.len() >= length {
                return true;
            }
        }
        let mut part = [0; 4096];
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return false,
            Ok(count) => bytes.extend_from_slice(&part[..count]),
        }
    }
}

fn answer(status: &str, body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

fn renew() -> Renew {
    Renew {
        holder: "a".parse().expect("a holder"),
        claim: "c".parse().expect("an id"),
        step: None,
        note: String::new(),
    }
}

#[tokio::test]
async fn a_cut_connection_leaves_unknown_what_was_done() {
    let client = server(vec![None, None]).await;
    assert!(matches!(client.renew(&renew()).await, Err(Error::Unknown { .. })));
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"held\":".to_owned();
    let client = server(vec![Some(half), None]).await;
    let cut = tokio::time::timeout(std::time::Duration::from_secs(20), client.renew(&renew())).await.expect("a bound");
    assert!(matches!(cut, Err(Error::Unknown { .. })), "{cut:?}");
}

#[tokio::test]
async fn a_connection_that_died_while_idle_is_replaced_unseen() {
    let held = || answer("200 OK", "{\"held\":{\"ttl_ms\":7}}");
    let client = server(vec![held(), None, held()]).await;
    assert_eq!(client.renew(&renew()).await, Ok(Own::Held { ttl_ms: 7 }));
    assert_eq!(client.renew(&renew()).await, Ok(Own::Held { ttl_ms: 7 }), "the second was cut once");
}

#[tokio::test]
async fn statuses_and_bodies_are_read_for_what_they_say() {
    let problem = |kind: &str| format!("{{\"kind\":\"{kind}\",\"value\":\"v\"}}");
    let client = server(vec![
        answer("412 Precondition Failed", &problem("gone")),
        answer("503 Service Unavailable", &problem("store")),
        answer("503 Service Unavailable", &problem("unknown")),
        answer("500 Internal Server Error", "oops"),
        answer("400 Bad Request", &problem("malformed")),
        answer("200 OK", "<html>"),
        answer("302 Found", ""),
        answer("404 Not Found", "a web server of another kind"),
    ])
    .await;
    assert_eq!(client.renew(&renew()).await, Ok(Own::Gone));
    assert!(matches!(client.renew(&renew()).await, Err(Error::Unable { .. })));
    assert!(matches!(client.renew(&renew()).await, Err(Error::Unknown { .. })));
    assert!(matches!(client.renew(&renew()).await, Err(Error::Unknown { .. })));
    assert!(matches!(client.renew(&renew()).await, Err(Error::Refused { status: 400, .. })));
    assert!(matches!(client.renew(&renew()).await, Err(Error::Corrupt(_))));
    assert!(matches!(client.renew(&renew()).await, Err(Error::Corrupt(_))));
    let begin = BeginAsk { holder: "a".parse().expect("a holder"), claim: "c".parse().expect("an id"), away_ms: 0 };
    assert!(matches!(client.begin(&begin).await, Err(Error::Corrupt(_))), "a lock server says what it refuses");
}

#[tokio::test]
async fn a_refused_connection_has_applied_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let client = Remote::new(&format!("http://{address}")).expect("a client");
    let error = client.renew(&renew()).await.expect_err("nobody listens");
    assert!(matches!(error, Error::NotApplied { retry: true, .. }), "{error:?}");
    assert!(matches!(client.events(None, None).await, Err(Error::NotApplied { retry: true, .. })));
}
