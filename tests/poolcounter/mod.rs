//! `stagger lockserver -l` in poolcounterd's place: the process, its address, its ends. What is said over the wire is held in lockserver/tests.

use crate::support::{Running, SOON, own_address, stagger, wait_for};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How soon a client may come in after the start.
const READY: Duration = Duration::from_millis(100);
/// How often it is started: other tests may have the processors meanwhile.
const STARTS: usize = 8;

fn launch(data: &Path, door: &str) -> Running {
    let mut command = stagger();
    command.args(["lockserver", "--api", "127.0.0.1:0", "-l", door, "--data"]).arg(data);
    Running::of(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts"))
}

/// A client, as soon as it is let in and answered.
fn client(door: &str) -> TcpStream {
    wait_for("the door to open", SOON, || {
        let mut stream = TcpStream::connect(door).ok()?;
        says(&mut stream, "STATS uptime", "uptime: 0 days, 0h 0m 0s").then_some(stream)
    })
}

fn says(stream: &mut TcpStream, line: &str, expected: &str) -> bool {
    let mut heard = vec![0; expected.len() + 1];
    let said = stream.write_all(format!("{line}\n").as_bytes()).and_then(|()| stream.read_exact(&mut heard));
    said.is_ok() && heard == format!("{expected}\n").as_bytes()
}

#[test]
fn it_is_ready_at_once_and_again_after_a_kill_with_clients_connected() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, door) = (folder.path().join("data"), own_address());
    let mut fastest = Duration::MAX;
    let mut clients = Vec::new();
    for _ in 0..STARTS {
        let start = Instant::now();
        let mut server = launch(&data, &door);
        let mut holder = client(&door);
        fastest = fastest.min(start.elapsed());
        assert!(says(&mut holder, "ACQ4ME key 1 1 0", "LOCKED"));
        clients.push(holder);
        server.kill();
    }
    assert!(fastest < READY, "the fastest of {STARTS} starts took {fastest:?}");
}

#[test]
fn it_tells_its_addresses_and_shows_who_holds_a_pool() {
    let folder = tempfile::tempdir().expect("a folder");
    let door = own_address();
    let mut server = launch(&folder.path().join("data"), &door);
    let mut lines = BufReader::new(server.0.stdout.take().expect("piped")).lines();
    let first = lines.next().expect("a line").expect("text");
    assert_eq!(lines.next().expect("a line").expect("text"), format!("{door}  for clients of poolcounterd"));
    let url = first.split("  ").next().expect("a URL").to_owned();
    let stagger = |arguments: &[&str]| {
        let output = stagger().args(["--coordinator", &url]).args(arguments).output().expect("the program starts");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    stagger(&["set", "pool/app", "slots=1", "--reason", "test"]);
    let mut holder = client(&door);
    assert!(says(&mut holder, "ACQ4ME app 9 9 9", "LOCKED"));
    let leases = stagger(&["leases"]);
    let name = format!("poolcounter-{}-1", holder.local_addr().expect("an address"));
    assert!(leases.contains(&name) && leases.contains("app 1/1 full"), "{leases}");
}

#[test]
fn what_is_no_address_ends_it_as_it_ends_poolcounterd() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    for wrong in ["nonsense", "10.0.0", "::1::"] {
        let output =
            stagger().args(["lockserver", "-l", wrong, "--data"]).arg(&data).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&format!("address `{wrong}` is not valid to listen on")), "{said}");
    }
    assert!(!data.exists(), "nothing was begun");
}
