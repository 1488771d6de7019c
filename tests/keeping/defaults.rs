//! What the file says of pools and services: it holds where nobody has set anything, and is shown with its line.

use super::Server;
use serde_json::Value;

const FILE: &str = "\
[[pool]]
match = \"rack.*\"
slots = 2
ttl   = \"45s\"

[[pool]]
match = \"app-eqiad\"
slots = \"50%\"
lost_after = \"never\"

[[pool]]
match = \"*\"
slots = 7

[rollout.web]
max_failures = 1
";

fn pool(server: &Server, name: &str) -> String {
    server.must(&["pools", name])
}

#[test]
fn the_first_table_that_matches_holds_until_somebody_sets_something() {
    let mut server = Server::start(FILE, &[]);
    assert!(server.must(&["pools"]).contains("app-eqiad"), "a pool that the file names by itself is known");
    let shown = pool(&server, "app-eqiad");
    assert!(shown.contains("  slots       50% of 0, which makes 1   lockserver.toml:8\n"), "{shown}");
    assert!(shown.contains("  lost_after  never   lockserver.toml:9"), "{shown}");
    assert!(shown.contains("  ttl         30s   default\n"), "{shown}");

    let set = server.must(&["set", "pool/rack.b4", "slots=5", "--reason", "new switch"]);
    assert!(set.contains("2 → 5"), "{set}");
    let shown = pool(&server, "rack.b4");
    assert!(shown.contains("  slots       5   set pool/rack.b4 slots=5 by "), "{shown}");
    assert!(shown.contains("  ttl         45s   lockserver.toml:4\n"), "{shown}");
    let back = server.must(&["set", "pool/rack.b4", "slots=", "--reason", "as it was"]);
    assert!(back.contains("5 → 2 (lockserver.toml:3)"), "{back}");
    server.must(&["set", "all", "slots=9", "--reason", "wins too"]);
    server.must(&["set", "pool/rack.b4", "wait=1m", "--reason", "so that it is known"]);
    let shown = pool(&server, "rack.b4");
    assert!(shown.contains("  slots       9   set all slots=9 by "), "{shown}");

    server.kill_and_restart();
    let shown = pool(&server, "rack.b4");
    assert!(shown.contains("  ttl         45s   lockserver.toml:4\n"), "{shown}");
    let said: Value =
        serde_json::from_str(super::get(&server.address, "/v1/defaults").split("\r\n\r\n").nth(1).expect("a body"))
            .expect("JSON");
    assert_eq!(said["services"]["web"][0]["place"], "lockserver.toml:16", "{said}");
}
