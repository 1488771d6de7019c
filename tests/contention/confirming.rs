//! A grant is confirmed by its holder before anything runs under it: overheard on the way to the lock server.

use crate::support::{LockServer, SOON, pause, run};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, spawn};
use std::time::Instant;

/// Hands one connection on in both directions until it ends, and keeps what was asked.
fn overhear(mut client: TcpStream, server: &LockServer, heard: &Arc<Mutex<Vec<u8>>>) -> [JoinHandle<()>; 2] {
    let mut behind = TcpStream::connect(server.url.trim_start_matches("http://")).expect("the lock server");
    let (mut answers, mut back) = (behind.try_clone().expect("a handle"), client.try_clone().expect("a handle"));
    let heard = heard.clone();
    let asking = spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = client.read(&mut chunk) {
            heard.lock().expect("the other ones are well").extend_from_slice(&chunk[..length]);
            behind.write_all(&chunk[..length]).expect("handed on");
        }
        let _gone = behind.shutdown(Shutdown::Both);
    });
    // The one who asks may be gone before the last answer is.
    let answering = spawn(move || drop(std::io::copy(&mut answers, &mut back)));
    [asking, answering]
}

#[test]
fn a_grant_is_confirmed_before_the_command_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = LockServer::start(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("set");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let mut command = server.command(&["run", "-p", "p", "--name", "x", "--coordinator", &url, "--", "true"]);
    let running = spawn(move || run(&mut command));
    let (deadline, heard, mut hands) = (Instant::now() + SOON, Arc::default(), Vec::new());
    while !running.is_finished() {
        assert!(Instant::now() < deadline, "it does not end");
        match listener.accept() {
            Ok((client, _)) => {
                client.set_nonblocking(false).expect("set");
                hands.extend(overhear(client, &server, &heard));
            }
            Err(_) => pause(),
        }
    }
    let (code, _, err) = running.join().expect("it ran");
    assert_eq!(code, 0, "{err}");
    hands.into_iter().for_each(|hand| hand.join().expect("handed on"));
    let heard = String::from_utf8_lossy(&heard.lock().expect("nobody writes")).into_owned();
    let place = |request: &str| heard.find(request).unwrap_or_else(|| panic!("no {request} in {heard}"));
    let (ask, end) = (place("POST /v1/leases "), place("DELETE /v1/leases/x "));
    let renewal = place("PUT /v1/leases/x ");
    assert!(ask < renewal && renewal < end, "{heard}");
}
