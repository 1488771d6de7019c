//! What others answer: HAProxy, PyBal and conftool's etcd, FastCGI servers, and a lock server's events.
//!
//! The first byte says whose answer the others are.

use coordinator::events::{Event, Parser};
use coordinator::wire::Answered;
use stagger::balancer::seams;
use stagger::probe::fastcgi::pieced;

/// Reads an answer.
pub fn check(bytes: &[u8]) {
    let Some((whose, said)) = bytes.split_first() else { return };
    match whose % 6 {
        0 => text(said, servers),
        1 => text(said, stats),
        2 => text(said, pybal),
        3 => text(said, entry),
        4 => fastcgi(said),
        _ => events(said),
    }
}

fn text(said: &[u8], check: impl FnOnce(&str)) {
    if let Ok(text) = std::str::from_utf8(said) {
        check(text);
    }
}

/// Every line behind the two of the head is a server, or nothing is read.
fn servers(text: &str) {
    if let Ok(count) = seams::servers(text) {
        let lines = text.lines().skip(2).filter(|line| !line.is_empty()).count();
        assert_eq!(count, lines);
    }
}

fn stats(text: &str) {
    if let Ok(count) = seams::stats(text) {
        assert!(count <= text.lines().count());
    }
}

/// What it says is read the same from the short form.
fn pybal(text: &str) {
    if let Ok(state) = seams::pybal(text) {
        assert_eq!(seams::pybal(&state), Ok(state));
    }
}

/// One word is replaced, and every other byte stays.
fn entry(text: &str) {
    let Ok(word) = seams::entry(text) else { return };
    let (out, into) =
        (seams::entry_with(text, false).expect("read before"), seams::entry_with(text, true).expect("read"));
    assert_eq!((seams::entry(&out).as_deref(), seams::entry(&into).as_deref()), (Ok("no"), Ok("yes")));
    assert_eq!(seams::entry_with(&out, true), Ok(into.clone()), "there and back");
    if word != "inactive" && !text.contains('\\') {
        assert_eq!(if word == "no" { out } else { into }, text, "the same word changes nothing");
    }
}

/// However the bytes are cut, the same comes of them.
fn fastcgi(bytes: &[u8]) {
    let whole = pieced([bytes]);
    assert_eq!(pieced(bytes.chunks(1)), whole);
    assert_eq!(pieced(bytes.chunks(7)), whole);
}

/// However the bytes are cut, the same events come of them; and each prints as one that reads the same.
fn events(bytes: &[u8]) {
    let whole = told(bytes, bytes.len().max(1));
    assert_eq!(told(bytes, 1), whole);
    for event in whole.into_iter().flatten() {
        let Event::Changed { id, change } = &event else { continue };
        let json = serde_json::to_string(change).expect("it was read");
        let text = format!("id: {id}\nevent: x\ndata: {json}\n\n");
        assert_eq!(told(text.as_bytes(), 64), Some(vec![event]));
    }
    if let Ok(answered) = Answered::unpack(bytes) {
        assert_eq!(Answered::unpack(&answered.pack().expect("packed")).expect("unpacked"), answered);
    }
}

/// The events in bytes that come so many at once; nothing when they are none.
fn told(bytes: &[u8], at_once: usize) -> Option<Vec<Event>> {
    let (mut parser, mut events) = (Parser::default(), Vec::new());
    for part in bytes.chunks(at_once) {
        parser.feed(part).ok()?;
        events.extend(std::iter::from_fn(|| parser.take()));
    }
    Some(events)
}
