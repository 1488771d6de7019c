//! Bytes to lines to commands, as poolcounter's clients send them.

use lockserver::seams::{Command, Cut, LINE_BYTES_MAX, Wanted, cut, parse};

/// Cuts bytes into lines, and reads each.
pub fn check(mut bytes: &[u8]) {
    loop {
        match cut(bytes) {
            Cut::Line { text, bytes: taken } => {
                assert!(taken <= LINE_BYTES_MAX && bytes[taken - 1] == b'\n');
                assert!(!text.contains(&b'\n') && !text.contains(&0) && text.len() < taken);
                assert!(bytes.starts_with(text), "what counts is what stands at the front");
                assert_eq!(cut(&bytes[..taken]), Cut::Line { text, bytes: taken }, "what follows does not matter");
                assert_eq!(cut(&bytes[..taken - 1]), Cut::Part, "without its end it is no line");
                command(text);
                bytes = &bytes[taken..];
            }
            Cut::Part => return assert!(bytes.len() < LINE_BYTES_MAX && !bytes.contains(&b'\n')),
            Cut::TooLong => return assert!(!bytes[..LINE_BYTES_MAX].contains(&b'\n')),
        }
    }
}

fn command(text: &[u8]) {
    let command = parse(text);
    let printed = match command {
        Command::Acquire { anyone, wanted: Some(Wanted { key, workers, max_queue, timeout_s }) } => {
            assert!(!key.is_empty() && !key.contains(&b' ') && workers > 0 && max_queue > 0);
            let word = if anyone { "ACQ4ANY" } else { "ACQ4ME" };
            [word.as_bytes(), b" ", key, format!(" {workers} {max_queue} {timeout_s}").as_bytes()].concat()
        }
        Command::Acquire { anyone, wanted: None } => {
            let word: &[u8] = if anyone { b"ACQ4ANY " } else { b"ACQ4ME " };
            assert!(text.starts_with(word));
            word.to_vec()
        }
        Command::Release => b"RELEASE".to_vec(),
        Command::Stats(word) => [b"STATS ", word].concat(),
        Command::Unknown => return,
    };
    assert_eq!(parse(&printed), command, "printed as {:?}", String::from_utf8_lossy(&printed));
}
