//! Records made by hand, and servers that answer with whatever bytes a test wants.

use super::record::{REPLY_BYTES_MAX, Reply, STDERR_BYTES_MAX, STDOUT_BYTES_MAX, request};
use super::{FastCgiError, cgi};
use crate::config::place::Place;
use crate::config::{Probe, Question};
use crate::probe::fixture::{DEADLINE, client, nobody, predicate, service};
use crate::probe::observation::{BODY_BYTES_MAX, Observation};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener, UnixStream};

/// A record of request 1.
fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    padded(kind, content, 0)
}

fn padded(kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).expect("a short content").to_be_bytes();
    let head = [1, kind, 0, 1, high, low, padding, 0];
    [&head[..], content, &vec![0xAA; usize::from(padding)]].concat()
}

fn stdout(text: &str) -> Vec<u8> {
    record(6, text.as_bytes())
}

fn stderr(text: &str) -> Vec<u8> {
    record(7, text.as_bytes())
}

fn end(code: u32, protocol: u8) -> Vec<u8> {
    record(3, &[&code.to_be_bytes()[..], &[protocol, 0, 0, 0]].concat())
}

const WELL: &str = "Status: 200 OK\r\nContent-Type: application/json\r\n\r\n{\"free\":9}";

/// Takes a reply as it would come in pieces; whether it was over, and with which piece.
fn take(pieces: &[&[u8]]) -> Result<(Reply, Option<usize>), FastCgiError> {
    let mut reply = Reply::default();
    for (number, piece) in pieces.iter().enumerate() {
        if reply.take(piece)? {
            return Ok((reply, Some(number)));
        }
    }
    Ok((reply, None))
}

fn refused(bytes: &[u8]) -> String {
    take(&[bytes]).expect_err("no reply").to_string()
}

#[test]
fn a_request_is_written_as_the_protocol_says() {
    let long = "x".repeat(300);
    let bytes = request(&[("A", "1"), ("B", &long), ("C", "")]);
    let mut expected = vec![1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let pairs = [&b"\x01\x01A1\x01\x80\x00\x01\x2cB"[..], long.as_bytes(), b"\x01\x00C"].concat();
    expected.extend(record(4, &pairs));
    expected.extend([1, 4, 0, 1, 0, 0, 0, 0, 1, 5, 0, 1, 0, 0, 0, 0]);
    assert_eq!(bytes, expected);
    let huge = "y".repeat(70_000);
    let bytes = request(&[("A", &huge)]);
    assert_eq!(bytes[16..24], [1, 4, 0, 1, 0xFF, 0xFF, 0, 0], "a record's content has at most 65535 bytes");
    assert_eq!(bytes.len(), 16 + 8 + 65_535 + 8 + (70_000 + 6 - 65_535) + 16);
}

#[test]
fn a_reply_is_the_same_in_whatever_pieces_it_comes() {
    let bytes = [
        padded(6, &WELL.as_bytes()[..20], 5),
        stderr("PHP message: hm"),
        record(11, &[])[..2].iter().copied().chain([0, 0, 0, 8, 0, 0]).chain([9; 8]).collect(),
        padded(6, &WELL.as_bytes()[20..], 255),
        record(6, &[]),
        record(7, &[]),
        padded(3, &[0; 8], 3),
    ]
    .concat();
    let over = bytes.len() - 3;
    for at in 0..=bytes.len() {
        let (reply, with) = take(&[&bytes[..at], &bytes[at..]]).expect("a reply");
        assert_eq!(reply.stdout(), WELL.as_bytes(), "cut at {at}");
        assert_eq!(reply.said(), "PHP message: hm", "cut at {at}");
        assert_eq!(with, Some(usize::from(at < over)), "what fills the last record is not waited for: cut at {at}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(take(&single).expect("a reply").1, Some(over - 1));
    for at in 0..over {
        let (_, with) = take(&[&bytes[..at]]).expect("the beginning of a reply");
        assert_eq!(with, None, "{at} bytes are no whole reply");
    }
}

#[test]
fn what_is_no_reply_is_refused() {
    let head = |kind: u8, id: u8, content: u8| [1, kind, 0, id, 0, content, 0, 0];
    assert!(refused(b"HTTP/1.1 400 Bad Request\r\n").contains("its first bytes are \"HTTP/1.1\""));
    assert!(refused(&[0; 8]).starts_with("this is no FastCGI: "));
    assert!(refused(&head(6, 2, 3)).contains("a record of the request 2, which nobody sent"));
    assert!(refused(&head(3, 0, 8)).contains("a record of the request 0, which nobody sent"));
    for kind in [0, 1, 2, 4, 5, 8, 9, 10, 11, 12, 255] {
        assert!(refused(&head(kind, 1, 0)).contains(&format!("a record of the type {kind}")), "{kind}");
    }
    for length in [0, 7, 9] {
        assert!(refused(&head(3, 1, length)).contains("a request's end has 8 bytes"), "{length}");
    }
    assert!(refused(&end(0, 4)).contains("unknown status 4"));
}

#[test]
fn what_the_server_says_of_the_request_is_an_error_of_its_own() {
    let with = |last: Vec<u8>| refused(&[stdout(WELL), stderr("\n PHP Fatal error \nmore"), last].concat());
    assert_eq!(with(end(7, 0)), "the script ended with 7: PHP Fatal error");
    assert_eq!(with(end(0, 1)), "it refuses the request: one request after the other (CANT_MPX_CONN)");
    assert_eq!(with(end(0, 2)), "it refuses the request: it is overloaded (OVERLOADED)");
    assert_eq!(with(end(0, 3)), "it refuses the request: it answers no requests of this kind (UNKNOWN_ROLE)");
}

#[test]
fn an_endless_reply_is_cut_or_refused() {
    let piece = record(6, &[b'x'; 60_000]);
    let (reply, with) = take(&[&stdout("a: b\n\n"), &piece, &piece, &piece]).expect("a long reply");
    assert_eq!((reply.stdout().len(), reply.is_cut(), with), (STDOUT_BYTES_MAX, true, Some(2)));
    let complaint = record(7, &[b'e'; 60_000]);
    let mut reply = Reply::default();
    let error = loop {
        match reply.take(&complaint) {
            Ok(over) => assert!(!over),
            Err(error) => break error,
        }
    };
    assert_eq!(error.to_string(), format!("this is no FastCGI: a reply has at most {REPLY_BYTES_MAX} bytes"));
    assert!(reply.said().len() <= STDERR_BYTES_MAX);
}

#[test]
fn what_a_script_prints_is_read_as_cgi() {
    let read = |text: &'static str| cgi::read(text.as_bytes());
    let well = read(WELL).expect("an answer");
    assert_eq!((well.status, well.body), (200, &b"{\"free\":9}"[..]));
    assert_eq!(well.headers["content-type"], "application/json");
    let plain = read("X-A: 1\nx-a:  2 \n\nbody\n\nmore").expect("an answer");
    assert_eq!((plain.status, plain.headers["x-a"].as_str(), plain.body), (200, "2", &b"body\n\nmore"[..]));
    assert_eq!(read("Status: 404\n\n").expect("an answer").status, 404);
    assert_eq!(read("Location: /x\n\n").expect("an answer").status, 302);
    assert_eq!(read("\n").expect("no headers at all").status, 200);
    for (text, why) in [
        ("", "nothing was printed"),
        ("Content-Type: text/html", "its headers do not end"),
        ("Content-Type: text/html\n", "its headers do not end"),
        ("<html>\n\n", "a line that is no header"),
        (": x\n\n", "a line that is no header"),
        ("a b: x\n\n", "a line that is no header"),
        ("Status: fine\n\n", "a status that is none"),
        ("Status: 99\n\n", "a status that is none"),
        ("Status: 99999\n\n", "a status that is none"),
    ] {
        assert_eq!(read(text).expect_err(text), why);
    }
    let long = format!("a: {}\n\n", "x".repeat(cgi::HEADERS_BYTES_MAX));
    assert_eq!(cgi::read(long.as_bytes()).expect_err("too long"), "more than 16384 bytes of headers");
}

/// A probe for `/x?y` of a server that reads a request to its end, and answers with these bytes.
async fn answering(bytes: Vec<u8>) -> (Probe, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut asked = Vec::new();
        while !asked.ends_with(&[1, 5, 0, 1, 0, 0, 0, 0]) {
            let mut chunk = [0; 4096];
            let length = stream.read(&mut chunk).await.expect("a request");
            assert!(length > 0, "the request ends too early");
            asked.extend(&chunk[..length]);
        }
        // Whoever asked may have seen enough before all is written.
        let _closed = stream.write_all(&bytes).await;
        asked
    });
    (probe(&address), server)
}

fn probe(at: &str) -> Probe {
    let drain = service(&format!(
        "[service.app.drain]\nfastcgi = \"{at}\"\nscript = \"/x?y\"\nuntil = \"status == 200\"\ntimeout = \"10s\"\n"
    ));
    drain.drain.until.expect("a probe").0
}

async fn ask(bytes: Vec<u8>) -> Result<Observation, String> {
    let (probe, server) = answering(bytes).await;
    let answer = probe.ask(&client()).await.map_err(|error| error.to_string());
    server.await.expect("the server ends");
    let address = probe.question.to_string();
    answer.map_err(|error| error.strip_prefix(&format!("{address}: ")).unwrap_or(&error).to_owned())
}

#[tokio::test]
async fn a_script_is_asked_for_as_php_fpm_wants_it() {
    let (probe, server) = answering([stdout(WELL), end(0, 0)].concat()).await;
    let answer = probe.ask(&client()).await.expect("an answer");
    let asked = String::from_utf8_lossy(&server.await.expect("it was asked")).into_owned();
    for pair in [
        "SCRIPT_NAME/x",
        "SCRIPT_FILENAME/x",
        "QUERY_STRINGy",
        "REQUEST_URI/x?y",
        "STAGGER_PROBE1",
        "REQUEST_METHODGET",
    ] {
        assert!(asked.contains(pair), "{pair} is not in {asked:?}");
    }
    for yes in
        ["status == 200", "answer.free == 9", "headers['content-type'].endsWith('json')", "body.contains('free')"]
    {
        assert_eq!(predicate(&probe, yes).holds(&answer), Ok(true), "{yes}");
    }
    assert_eq!(answer.figures(), "{\"free\":9}");
}

#[tokio::test]
async fn an_answer_counts_only_when_it_is_whole() {
    let whole = [stdout(WELL), end(0, 0)].concat();
    assert!(ask(whole.clone()).await.is_ok());
    for at in [0, 1, 8, 20, whole.len() - 16, whole.len() - 1] {
        let error = ask(whole[..at].to_vec()).await.expect_err("half an answer");
        assert_eq!(error, "it stopped in the middle of its answer", "{at}");
    }
    let error = ask([stderr("child exited on signal 9"), stdout(WELL)].concat()).await.expect_err("half an answer");
    assert_eq!(error, "it stopped in the middle of its answer: child exited on signal 9");
    let garbage = ask(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()).await.expect_err("another server");
    assert_eq!(garbage, "this is no FastCGI: its first bytes are \"SSH-2.0-\"");
    let empty = ask([stderr("segfault"), end(0, 0)].concat()).await.expect_err("nothing printed");
    assert_eq!(empty, "this is no answer: nothing was printed: segfault");
}

#[tokio::test]
async fn a_status_that_is_no_success_comes_with_its_reason() {
    let text = "Status: 500 Internal Server Error\r\nContent-Type: text/html\r\n\r\n";
    let answer = ask([stderr("PHP message: PHP Fatal error: x"), stdout(text), end(0, 0)].concat()).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.figures(), "status 500: PHP message: PHP Fatal error: x");
    let (probe, _server) = answering(Vec::new()).await;
    let error = predicate(&probe, "answer.free > 3").holds(&answer).expect_err("no success");
    assert_eq!(error.to_string(), "no usable answer: status 500: PHP message: PHP Fatal error: x");
    assert_eq!(predicate(&probe, "status == 500").holds(&answer), Ok(true));
    let body = ask([stdout("Status: 503\n\nopcache is off\n"), end(0, 0)].concat()).await.expect("an answer");
    assert_eq!(body.figures(), "status 503: opcache is off");
    let missing = [stderr("Primary script unknown"), stdout("Status: 404\n\nFile not found.\n"), end(0, 0)].concat();
    assert_eq!(ask(missing).await.expect_err("no script"), "it does not run this script: Primary script unknown");
}

#[tokio::test]
async fn a_long_body_is_cut_and_is_then_no_json() {
    let number = "1".repeat(30_000);
    let parts = [stdout("\n"), stdout(&number), stdout(&number), stdout(&number), end(0, 0)].concat();
    let Observation::Http { body, answer, .. } = ask(parts).await.expect("an answer") else { panic!("no HTTP") };
    assert_eq!((body.len(), answer.is_null()), (BODY_BYTES_MAX, true));
}

#[tokio::test]
async fn who_cannot_be_reached_or_says_nothing_is_named() {
    let address = nobody().await;
    let error = probe(&address).ask(&client()).await.expect_err("nobody").to_string();
    assert!(error.starts_with(&format!("fastcgi {address} /x?y: cannot connect: Connection refused")), "{error}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fpm.sock");
    let missing = probe(&path.display().to_string());
    let Question::FastCgi(asked) = &missing.question else { panic!("{missing:?}") };
    assert_eq!(asked.at, Place::Unix(path.clone()));
    let error = missing.ask(&client()).await.expect_err("no socket").to_string();
    assert!(error.contains("fpm.sock /x?y: cannot connect: No such file or directory"), "{error}");

    let _silent = UnixListener::bind(&path).expect("a socket");
    let silent = Probe { timeout: Duration::from_millis(200), ..probe(&path.display().to_string()) };
    let error = silent.ask(&client()).await.expect_err("silent").to_string();
    assert_eq!(error, format!("fastcgi {} /x?y did not answer within 200ms", path.display()));
}

#[tokio::test]
async fn a_socket_where_too_many_wait_is_told_as_such() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fpm.sock");
    let socket = tokio::net::UnixSocket::new_stream().expect("a socket");
    socket.bind(&path).expect("a free path");
    let _listener = socket.listen(1).expect("it listens");
    let mut waiting = Vec::new();
    while let Ok(stream) = UnixStream::connect(&path).await {
        waiting.push(stream);
        assert!(waiting.len() < 100, "it takes whoever comes");
    }
    let full = Probe { timeout: DEADLINE, ..probe(&path.display().to_string()) };
    let error = full.ask(&client()).await.expect_err("full").to_string();
    assert!(error.ends_with("as many connections wait there as may, so all its processes are busy"), "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_bytes_come_are_taken_or_refused(
        pieces in proptest::collection::vec((0u8..13, 0u8..3, proptest::collection::vec(0u8..=255, 0..40), 0u8..9), 0..20),
        cut in 0usize..400,
    ) {
        let bytes: Vec<u8> = pieces
            .iter()
            .flat_map(|(kind, id, content, padding)| {
                let mut bytes = padded(*kind, content, *padding);
                bytes[3] = *id;
                bytes
            })
            .collect();
        let (before, after) = bytes.split_at(cut.min(bytes.len()));
        let whole = take(&[&bytes]).map(|(reply, with)| (reply.stdout().to_vec(), with.is_some()));
        let parts = take(&[before, after]).map(|(reply, with)| (reply.stdout().to_vec(), with.is_some()));
        match (whole, parts) {
            (Ok(whole), Ok(parts)) => assert_eq!(whole, parts),
            (Err(whole), Err(parts)) => assert_eq!(whole.to_string(), parts.to_string()),
            (whole, parts) => panic!("{whole:?} at once and {parts:?} in two pieces"),
        }
        let _read = cgi::read(&bytes);
    }
}
