//! HUP has the file read again. What is wrong in it changes nothing, and is told with its place.

use super::Server;
use crate::support::{SOON, run, stagger, wait_for};

const TWO: &str = "[[pool]]\nmatch = \"rack.*\"\nslots = 2\n";

#[test]
fn a_file_that_is_right_holds_at_once_and_one_that_is_wrong_changes_nothing() {
    let server = Server::start(TWO, &[]);
    server.must(&["set", "pool/rack.b4", "wait=5m", "--reason", "so that it is known"]);
    let slots = |expected: &str| {
        wait_for(&format!("it has {expected}"), SOON, || {
            server.must(&["pools", "rack.b4"]).contains(&format!("  slots       {expected}\n")).then_some(())
        });
    };
    slots("2   lockserver.toml:3");
    assert_eq!(server.metric("stagger_config_reload_ok"), "1");
    let first = server.metric("stagger_config_reload_timestamp_seconds").parse::<u64>().expect("a time");
    assert!(first > 1_600_000_000);

    server.reload("# three from now on\n[[pool]]\nmatch = \"rack.*\"\nslots = 3\n");
    slots("3   lockserver.toml:4");
    let history = server.must(&["history"]);
    assert!(history.contains("rack.* slots 2 → 3") && history.contains("lockserver@"), "{history}");

    server.reload("[[pool]]\nmatch = \"rack.*\"\nslotz = 4\n");
    server.wait_until_logged("unknown key `slotz`");
    server.wait_until_logged("lockserver.toml:3:1");
    server.wait_until_logged("did you mean `slots`?");
    assert_eq!(server.metric("stagger_config_reload_ok"), "0");
    slots("3   lockserver.toml:4");

    std::fs::remove_file(server.path("lockserver.toml")).expect("removed");
    crate::support::signal(&server.process.0, rustix::process::Signal::HUP);
    server.wait_until_logged("cannot read the configuration");
    slots("3   lockserver.toml:4");

    server.reload("");
    slots("10% of 0, which makes 1   default");
    assert_eq!(server.metric("stagger_config_reload_ok"), "1");
}

#[test]
fn what_cannot_change_while_it_runs_is_told() {
    let server = Server::start("", &[]);
    server.reload("\ndata = \"/srv/elsewhere\"\n");
    server.wait_until_logged("lockserver.toml:2: `data` has changed; it holds when the lock server is started again");
    server.must(&["pools"]);
}

#[test]
fn a_file_that_is_wrong_at_the_start_is_refused_with_its_places() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("lockserver.toml");
    std::fs::write(&file, "apy = \"127.0.0.1:0\"\n[[pool]]\nslots = 0\nmatch = \"x\"\n[rollout.web]\nsoak = \"1m\"\n")
        .expect("a file");
    let (code, out, err) = run(stagger().arg("lockserver").arg("-c").arg(&file));
    assert_eq!((code, out.as_str()), (78, ""), "{err}");
    for said in ["unknown key `apy`", "lockserver.toml:1:1", "did you mean `api`?"] {
        assert!(err.contains(said), "{err}");
    }
    std::fs::write(&file, "[[pool]]\nslots = 0\nmatch = \"x\"\n[rollout.web]\nsoak = \"1m\"\n").expect("a file");
    let (code, _, err) = run(stagger().arg("lockserver").arg("-c").arg(&file));
    assert_eq!(code, 78);
    for said in ["slots lies between 1 and 100000", "lockserver.toml:2:9", "unknown key `soak`", "lockserver.toml:5:1"]
    {
        assert!(err.contains(said), "{said}: {err}");
    }
    let (code, _, err) = run(stagger().args(["lockserver", "-c"]).arg(folder.path().join("missing.toml")));
    assert_eq!(code, 78, "{err}");
}
