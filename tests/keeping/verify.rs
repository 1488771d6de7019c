//! What is sound is said to be, and what is not is named.

use super::{Server, on_files};
use crate::support::{run, stagger};
use std::path::Path;

/// Flips a bit of a byte.
fn flip(bytes: &mut [u8], at: usize) {
    bytes[at] ^= 0x10;
}

fn verify(path: &Path) -> (i32, String) {
    let (code, out, err) = run(stagger().args(["lockserver", "verify", "--data"]).arg(path));
    (code, format!("{out}{err}"))
}

/// A lock server's folder with something in it, and a backup of it; nobody uses it any more.
fn kept() -> (Server, std::path::PathBuf) {
    let mut server = Server::start("", &[]);
    for pool in 0..40 {
        server.must(&["set", &format!("pool/rack.b{pool}"), "slots=3", "--reason", "a record that takes some room"]);
    }
    let (code, said) = verify(&server.data());
    assert_eq!(code, 1);
    assert!(said.contains("a lock server uses ") && said.contains("stagger lockserver backup FILE"), "{said}");
    let backup = server.path("backup");
    let said = server.must(&["lockserver", "backup", &backup.display().to_string()]);
    assert!(said.contains(" records"), "{said}");
    server.process.kill();
    (server, backup)
}

#[test]
fn a_state_and_a_backup_are_sound_until_a_byte_of_them_is_another() {
    let (server, backup) = kept();
    let data = server.data();
    for (code, said) in [verify(&data), on_files(&["verify"], &backup, &[])] {
        assert_eq!(code, 0, "{said}");
        assert!(said.contains(": sound, form 1, ") && said.contains("  setting      40\n"), "{said}");
    }

    let whole = std::fs::read(&backup).expect("a backup");
    let at = whole.windows(8).position(|bytes| bytes == b"rack.b17").expect("a record");
    let mut damaged = whole.clone();
    flip(&mut damaged, at);
    std::fs::write(&backup, &damaged).expect("written");
    let (code, said) = on_files(&["verify"], &backup, &[]);
    assert!(code == 1 && said.contains("it is damaged: its checksum is "), "{said}");
    let (code, said) = on_files(&["restore"], &backup, &[&server.path("elsewhere")]);
    assert!(code == 1 && said.contains("it is damaged"), "{said}");
    assert!(!server.path("elsewhere").exists(), "nothing was made of it");
    std::fs::write(&backup, &whole[..whole.len() / 2]).expect("written");
    assert!(on_files(&["verify"], &backup, &[]).1.contains("it is not whole"));

    // Every page that holds a record is known by what stands in it.
    let file = data.join("state.redb");
    let whole = std::fs::read(&file).expect("a state");
    let places: Vec<usize> =
        whole.windows(8).enumerate().filter(|(_, bytes)| *bytes == b"rack.b17").map(|(at, _)| at).collect();
    let found = places.iter().filter(|at| {
        let mut damaged = whole.clone();
        flip(&mut damaged, **at);
        std::fs::write(&file, &damaged).expect("written");
        let (code, said) = verify(&data);
        assert_eq!(std::fs::read(&file).expect("there"), damaged, "looking changed something");
        assert!(code == 0 || said.contains("is not sound") && said.contains("damaged"), "{said}");
        code == 1
    });
    assert!(found.count() > 0, "{places:?}: no damage was found");
    std::fs::write(&file, &whole).expect("written");
    assert_eq!(verify(&data).0, 0);
}

#[test]
fn a_record_that_does_not_fit_the_others_is_found_though_every_byte_is_as_it_was_written() {
    let (server, backup) = kept();
    let text = std::fs::read_to_string(&backup).expect("a backup");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.pop();
    let lost = r#"{"key":"token/q","record":{"token":{"pool":"p","token":4}}}"#;
    lines.push(lost.to_owned());
    let body = lines.join("\n") + "\n";
    let end = format!("{{\"records\":{},\"crc32\":\"{:08x}\"}}\n", lines.len() - 1, crc32fast::hash(body.as_bytes()));
    std::fs::write(&backup, body + &end).expect("written");
    let (code, said) = on_files(&["verify"], &backup, &[]);
    assert!(code == 1 && said.contains("record token/q is of token/p"), "{said}");
    drop(server);
}

#[test]
fn a_later_form_is_refused_in_a_sentence() {
    let (server, backup) = kept();
    let text = std::fs::read_to_string(&backup).expect("a backup");
    std::fs::write(&backup, text.replacen("\"stagger_backup\":1", "\"stagger_backup\":9", 1)).expect("written");
    let (code, said) = on_files(&["verify"], &backup, &[]);
    assert!(code == 1 && said.contains("it is a backup of form 9, and this version reads form 1"), "{said}");
    std::fs::write(server.data().join("FORMAT"), "9\n").expect("written");
    let (code, said) = verify(&server.data());
    assert_eq!(code, 1, "{said}");
    let (code, _, err) = run(stagger().args(["lockserver", "--api", "127.0.0.1:0", "--data"]).arg(server.data()));
    assert_eq!(code, 1);
    assert!(err.contains("the state has form 9, and this version reads forms up to 1"), "{err}");
}
