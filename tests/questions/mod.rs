//! The seven questions of docs/questions.md: each has one command, and it answers.

use crate::support::{Balancer, Host, LockServer, SOON, Tuning, run, stagger, wait_for};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::Stdio;

/// A fleet of three with one slot: one host failed in a bad build, which halted the rollout; the others owe it.
fn troubled(folder: &Path) -> (LockServer, Balancer, Vec<Host>, Vec<crate::support::Worker>) {
    let server = LockServer::start(folder);
    server.set("pool/p", "slots=1");
    let balancer = Balancer::start();
    let tuning = Tuning { restart: "echo unknown entry >&2; exit 78", ..Tuning::default() };
    let hosts: Vec<Host> =
        ["a", "b", "c"].iter().map(|name| Host::new(folder, name, &server.url, &balancer, &tuning)).collect();
    let workers = hosts.iter().map(Host::work).collect();
    wait_for("every worker has joined", SOON, || {
        (server.json(&["members"])["members"].as_array().map_or(0, Vec::len) == 3).then_some(())
    });
    server.must(&["announce", "web", "-m", "bad build"]);
    wait_for("the rollout is halted", SOON, || {
        (server.json(&["rollouts", "web@1"])["row"]["state"] == "halted").then_some(())
    });
    (server, balancer, hosts, workers)
}

/// The commands that docs/questions.md shows, as far as they are questions: its console blocks, in order.
fn documented() -> Vec<String> {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/questions.md")).expect("the page");
    page.lines().filter_map(|line| line.strip_prefix("$ stagger ")).map(str::to_owned).collect()
}

#[test]
fn each_question_has_one_command_and_it_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, balancer, _hosts, _workers) = troubled(folder.path());
    let failed = ["a", "b", "c"].into_iter().find(|name| balancer.is_out(name)).expect("a host is out");
    let well = ["a", "b", "c"].into_iter().find(|name| *name != failed).expect("another");
    let asked = documented();
    assert_eq!(asked.len(), 7, "seven questions: {asked:?}");
    let kinds: Vec<&str> = asked.iter().map(|line| line.split_whitespace().next().unwrap_or_default()).collect();
    assert_eq!(kinds, ["leases", "why", "why", "rollouts", "rollouts", "members", "leases"]);

    let now = server.must(&["leases"]);
    assert!(now.contains(failed) && now.contains("failed") && now.contains("p 1/1 full"), "{now}");

    let why = server.must(&["why", well]);
    assert!(why.contains("web@1 is halted") && why.contains("stagger resume rollout/web@1"), "{why}");

    let who = server.must(&["why", "rollout/web@1"]);
    assert!(who.contains(&format!("last {failed} failed: exit 78")), "{who}");

    let what = server.must(&["rollouts", "web@1"]);
    assert!(what.contains("unknown entry") && what.contains(failed), "{what}");

    let out = server.must(&["members", "--out"]);
    assert!(out.contains(failed) && out.contains("by Stagger"), "{out}");
    assert!(!out.lines().any(|line| line.starts_with(well)), "{out}");

    let lease = server.must(&["leases", &format!("host/{failed}")]);
    assert!(lease.contains("web@1") && lease.contains("failed"), "{lease}");

    // How long will it take? A rollout that moves says so.
    server.must(&["resume", "rollout/web@1"]);
    server.must(&["release", failed, "--reason", "it was looked at"]);
    wait_for("the rollout moves, and says what is left", SOON, || {
        let shown = server.must(&["rollouts", "web@1"]);
        (shown.contains("rolling") || shown.contains("halted")).then_some(())
    });
    let history = server.must(&["history"]);
    for line in ["announced", "halted", "released", "resumed", "it was looked at"] {
        assert!(history.contains(line), "{line} is not in {history}");
    }
}

/// Runs a command against a server: its exit code, and what it said on both outputs.
fn said(server: &LockServer, arguments: &[&str]) -> (i32, String) {
    let (code, out, err) = run(&mut server.command(arguments));
    (code, format!("{out}{err}"))
}

#[test]
fn a_name_that_is_not_there_is_told_with_the_nearest_that_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = LockServer::start(folder.path());
    let balancer = Balancer::start();
    let host = Host::new(folder.path(), "mw1331", &server.url, &balancer, &Tuning::default());
    let _worker = host.work();
    wait_for("the worker has joined", SOON, || {
        (server.json(&["members"])["members"].as_array().map_or(0, Vec::len) == 1).then_some(())
    });
    server.set("pool/app-eqiad", "slots=1");

    for (asked, meant) in [
        (&["why", "host/mw1332"][..], "did you mean host/mw1331?"),
        (&["why", "wab"], "no host or holder wab is known"),
        (&["leases", "pool/app-eqiat"], "did you mean pool/app-eqiad?"),
        (&["pools", "app-eqiat"], "did you mean pool/app-eqiad?"),
        (&["members", "host/none"], "no host or holder none is known"),
        (&["rollouts", "wab"], "did you mean service/web?"),
        (&["rollouts", "web@7"], "there is no web@7"),
        (&["history", "pool/nothing"], "no pool nothing is known"),
        (&["pause", "rollout/web@7", "--reason", "r", "--for", "1h"], "there is no web@7"),
        (&["release", "nobody", "--reason", "r"], "nobody has no lease"),
        (&["set", "pool/app-eqiad", "slots=0", "--reason", "r"], "slots lies between 1 and 100000"),
    ] {
        let (code, text) = said(&server, asked);
        assert!(code == 1 && text.contains(meant), "{asked:?} exits {code}: {text}");
    }
    // A pool may be set or paused before its first worker joins: that is done, and said.
    for change in [
        &["pause", "pool/app-eqiat", "--reason", "r", "--for", "1h"][..],
        &["set", "pool/app-eqiat", "slots=2", "--reason", "r"],
    ] {
        let (code, text) = said(&server, change);
        let warned = text.contains("warning: no pool app-eqiat is known yet") && text.contains("pool/app-eqiad?");
        assert!(code == 0 && warned, "{change:?} exits {code}: {text}");
    }
    let first = said(&server, &["run", "-p", "pp", "--", "true"]);
    assert!(first.0 == 0 && first.1.contains("warning: pp is a new pool, of no host, with slots=1"), "{first:?}");
    assert_eq!(said(&server, &["run", "-p", "pp", "--", "true"]), (0, String::new()), "it is told once");
    let known = said(&server, &["run", "-p", "app-eqiad", "--", "true"]);
    assert_eq!(known, (0, String::new()), "a pool that was set is meant");
    server.must(&["leases", "pool/app-eqiad"]);
    assert!(server.must(&["rollouts", "web"]).starts_with("no rollout of service/web"));
}

#[test]
fn a_service_that_a_host_does_not_have_is_nothing_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = LockServer::start(folder.path());
    let balancer = Balancer::start();
    let host = Host::new(folder.path(), "mw1331", &server.url, &balancer, &Tuning::default());
    let config = host.config.display().to_string();
    for verb in ["restart", "check"] {
        let (code, text) = said(&server, &[verb, "wab", "-c", &config]);
        assert_eq!(code, 0, "{verb}: {text}");
        assert!(text.contains("not configured on mw1331") && text.contains("hint: did you mean web?"), "{text}");
        let (code, text) = said(&server, &[verb, "wab", "-c", &config, "--json"]);
        assert!(code == 0 && text.contains(r#""service":"wab""#), "{verb}: {text}");
    }
    let (code, text) = said(&server, &["depool", "wab", "-c", &config]);
    assert!(code == 1 && text.contains("error: wab is not configured on mw1331"), "exits {code}: {text}");
    assert_eq!(balancer.peak(), 0, "nothing was touched");
    let (code, _) = said(&server, &["restart", "--no-such-flag"]);
    assert_eq!(code, 64, "what cannot be understood is a usage error");
}

#[test]
fn the_steps_are_told_in_their_order_with_and_without_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = LockServer::start(folder.path());
    let balancer = Balancer::start();
    let host = Host::new(folder.path(), "mw1331", &server.url, &balancer, &Tuning::default());
    let config = host.config.display().to_string();
    let steps = |more: &[&str]| {
        let shown = server.must(&[&["restart", "web", "-c", &config], more].concat());
        let told = shown.lines().filter_map(|line| line.strip_prefix("✓ "));
        told.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(steps(&[]), ["check", "ask", "depool", "drain", "begin", "restart", "verify", "repool"]);
    assert_eq!(steps(&["--force"]), ["check", "ask", "begin", "restart", "verify"]);
}

#[test]
fn a_host_that_died_in_its_drain_is_shown_as_out_also_after_its_lease_was_released() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = LockServer::start(folder.path());
    server.set("pool/p", "slots=1");
    server.set("pool/p", "ttl=1s");
    let balancer = Balancer::start();
    let tuning = Tuning { drain: "4s", ..Tuning::default() };
    let host = Host::new(folder.path(), "h2", &server.url, &balancer, &tuning);
    let worker = host.work();
    wait_for("the worker has joined", SOON, || {
        (server.json(&["members"])["members"].as_array().map_or(0, Vec::len) == 1).then_some(())
    });
    // That it is in is known once it has looked.
    wait_for("it was looked at", SOON, || {
        server.must(&["members", "--out"]).contains("no member is out").then_some(())
    });
    server.must(&["announce", "web", "-m", "build"]);
    wait_for("it drains, and that is shown", SOON, || {
        server.must(&["members", "--out"]).contains("by Stagger, at drain, for web@1").then_some(())
    });
    drop(worker);
    wait_for("it is lost, and nobody can tell", SOON, || {
        server.must(&["members", "--out"]).contains("nobody can tell: its worker is down; lost at drain").then_some(())
    });
    assert!(balancer.is_out("h2"));
    let why = server.must(&["why", "all"]);
    assert!(why.contains("h2 lost"), "{why}");
    server.must(&["release", "h2", "--reason", "it was looked at"]);
    let out = server.must(&["members", "--out"]);
    assert!(out.contains("h2") && out.contains("nobody can tell: its worker is down"), "{out}");
    assert_eq!(server.json(&["members", "--out"])["members"][0]["presence"], "unknown");
    let _worker = host.work();
    wait_for("a new worker looked, and put it back", SOON, || {
        server.must(&["members", "--out"]).contains("no member is out").then_some(())
    });
    assert!(!balancer.is_out("h2"));
}

#[test]
fn a_name_is_taken_in_each_spelling_that_can_mean_one_thing() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = LockServer::start(folder.path());
    let balancer = Balancer::start();
    let host = Host::new(folder.path(), "h1", &server.url, &balancer, &Tuning::default());
    let none = said(&server, &["announce", "web", "-m", "too early"]);
    assert!(none.0 == 1 && none.1.contains("no host has web"), "{none:?}");
    let _worker = host.work();
    wait_for("the worker has joined", SOON, || {
        (server.json(&["members"])["members"].as_array().map_or(0, Vec::len) == 1).then_some(())
    });
    server.set("pool/web", "slots=1");
    for (asked, code, expected) in [
        (&["announce", "webb", "-m", "x"][..], 1, "error: no host has webb\nhint: did you mean service/web?"),
        (&["announce", "web", "-m", "x", "--only", "host/nix"], 1, "no host or holder nix is known"),
        (&["announce", "web", "-m", "x", "--only", "pool/web"], 1, "no host of pool/web has web"),
        (&["announce", "web", "-m", " "], 1, "a message is missing"),
        (&["pause", "web", "--reason", "r", "--for", "1h"], 1, "web can be pool/web or service/web"),
        (&["pause", "h2", "--reason", "r", "--for", "1h"], 1, "did you mean host/h1?"),
        (&["pause", "h1", "--reason", "until Bob calls", "--for", "1h"], 0, "host/h1 is paused for 1h"),
        (&["pause", "h1", "--reason", "r", "--for", "1h"], 0, "by"),
        (&["announce", "--only", "h1", "service/web", "-m", "x"], 0, "web@1"),
        (&["why", "rollout/web@1"], 0, "host/h1 is paused"),
        (&["resume", "web@1"], 1, "rollout/web@1 is neither paused nor halted"),
        (&["abort", "rollout/web@1", "--reason", "r"], 0, "web@1 aborted"),
        (&["abort", "web@9", "--reason", "r"], 1, "there is no web@9"),
        (&["resume", "h2"], 1, "h2 is not paused"),
        (&["resume", "h1"], 0, "host/h1 is no longer paused"),
        (&["release", "host/h1", "--reason", "r"], 1, "h1 has no lease"),
        (&["set", "web", "slots=2", "--reason", "r"], 1, "web can be pool/web or service/web"),
        (&["set", "p", "slots=2", "--reason", "r"], 0, "pool/p slots"),
        (&["why", "web@99"], 1, "there is no web@99"),
        (&["why", "p"], 0, "p: 0 of 2 out"),
        (&["why", "web"], 1, "web can be pool/web or service/web"),
        (&["members", "h1"], 0, "h1"),
        (&["pools", "pool/p"], 0, "slots"),
        (&["pools", "all"], 0, "POOL"),
        (&["run", "-p", "pool/p", "--", "echo", "under a lease"], 0, "under a lease"),
        (&["members", "pool/web"], 0, "no member of pool/web"),
        (&["leases", "--state", "stuck"], 0, "no lease is stuck"),
        (&["leases", "nixhost"], 1, "no host or holder nixhost is known"),
    ] {
        let (ended, text) = said(&server, asked);
        assert!(ended == code && text.contains(expected), "{asked:?} exits {ended}: {text}");
    }
    let replaced = said(&server, &["pause", "h1", "--reason", "until Bob calls", "--for", "1h"]);
    assert_eq!(replaced.0, 0);
    let (_, text) = said(&server, &["pause", "h1", "--reason", "r", "--for", "2h"]);
    assert!(text.contains("it takes the place of") && text.contains("until Bob calls"), "{text}");
}

#[test]
fn a_rollout_is_followed_although_the_lock_server_is_away_when_that_begins() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = LockServer::start(folder.path());
    let balancer = Balancer::start();
    let host = Host::new(folder.path(), "a", &server.url, &balancer, &Tuning::default());
    let _worker = host.work();
    wait_for("the worker has joined", SOON, || {
        (server.json(&["members"])["members"].as_array().map_or(0, Vec::len) == 1).then_some(())
    });
    server.must(&["announce", "web", "-m", "build 2"]);
    wait_for("the rollout is done", SOON, || {
        (server.json(&["rollouts", "web@1"])["row"]["state"] == "done").then_some(())
    });
    server.signal(rustix::process::Signal::KILL);
    wait_for("the lock server is gone", SOON, || server.ended());
    let mut follow = server.command(&["rollouts", "web@1", "--follow"]);
    let mut follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut first = String::new();
    let mut errors = BufReader::new(follow.stderr.take().expect("its errors"));
    errors.read_line(&mut first).expect("a line");
    assert!(first.starts_with(&format!("no answer from {}, which is asked again", server.url)), "{first}");
    server.restart(None);
    let mut rest = String::new();
    errors.read_to_string(&mut rest).expect("the rest of it");
    let ended = follow.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && told.starts_with("web@1 done: 1 ok"), "{told}{rest}");
}

#[test]
fn a_restart_that_waited_in_vain_names_who_was_in_the_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = LockServer::start(folder.path());
    server.set("pool/p", "slots=1");
    let balancer = Balancer::start();
    let host = Host::new(folder.path(), "a", &server.url, &balancer, &Tuning::default());
    let file = host.config.to_str().expect("a path").to_owned();
    let mut run = server.command(&["run", "-p", "p", "--name", "other", "--", "sleep", "60"]);
    let mut run = crate::support::Running::of(run.spawn().expect("the program starts"));
    wait_for("the slot is taken", SOON, || server.must(&["leases"]).contains("other").then_some(()));
    let late = said(&server, &["restart", "web", "-c", &file, "--always", "--wait", "300ms"]);
    let named = late.1.contains("; other held ") && late.1.contains(&format!("\nhint: stagger -c {file} why pool/p"));
    assert!(late.0 == 2 && named, "{late:?}");
    run.kill();
}

#[test]
fn a_restart_of_a_host_that_was_taken_out_by_hand_says_that_it_is_out_still() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = LockServer::start(folder.path());
    let balancer = Balancer::start();
    let host = Host::new(folder.path(), "a", &server.url, &balancer, &Tuning::default());
    let file = host.config.to_str().expect("a path").to_owned();
    assert_eq!(said(&server, &["depool", "web", "-c", &file]).0, 0);
    let (code, text) = said(&server, &["restart", "web", "-c", &file, "--always"]);
    let told = text.contains(" already, not by Stagger\n")
        && text.contains(&format!(", not by Stagger: stagger -c {file} repool web"));
    assert!(code == 0 && told && balancer.is_out("a"), "{code}: {text}");
    assert_eq!(said(&server, &["repool", "web", "-c", &file]).0, 0);
    assert!(!balancer.is_out("a"));
}

#[test]
fn depool_and_repool_take_every_service_when_none_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = LockServer::start(folder.path());
    let balancer = Balancer::start();
    let host = Host::new(folder.path(), "a", &server.url, &balancer, &Tuning::default());
    let file = host.config.to_str().expect("a path").to_owned();
    let text = std::fs::read_to_string(&file).expect("the configuration");
    let flag = folder.path().join("second.out");
    let second = format!(
        "[service.second]\npools = [\"p\"]\nrestart = {{ kind = \"exec\", command = [\"true\"] }}\n\
         depool = {{ kind = \"file\", path = {flag:?} }}\n"
    );
    std::fs::write(&file, format!("{text}\n{second}")).expect("written");
    let (code, text) = said(&server, &["depool", "-c", &file]);
    assert!(code == 0 && balancer.is_out("a") && flag.exists(), "{code}: {text}");
    assert!(text.contains("✓ web  ") && text.contains("✓ second  "), "{text}");
    let (code, text) = said(&server, &["repool", "-c", &file]);
    assert!(code == 0 && !balancer.is_out("a") && !flag.exists(), "{code}: {text}");
}

#[test]
fn a_check_that_asks_says_whether_there_is_a_coordinator_and_whether_a_pool_may_be_mistyped() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = LockServer::start(folder.path());
    server.wait_until_ready();
    let file = folder.path().join("stagger.toml").display().to_string();
    let check = |url: &str, pool: &str| {
        let state = folder.path().join("state");
        let text = format!(
            "coordinator = \"{url}\"\nhost = \"mw1\"\nlisten = \"127.0.0.1:0\"\nstate = {state:?}\n[service.web]\n\
             pools = [\"{pool}\"]\nrestart = {{ kind = \"exec\", command = [\"true\"] }}\ndepool = {{ kind = \"none\" }}\n"
        );
        std::fs::write(&file, text).expect("written");
        let (code, out, err) = run(stagger().args(["check", "--ask", "-c", &file]));
        (code, out + &err)
    };
    let url = &server.url;
    server.set("pool/app-eqiad", "slots=1");
    let (code, text) = check(url, "app-eqiad");
    assert!(code == 0 && text.contains(&format!("✓ mw1  coordinator  {url}: it answers")), "{code}: {text}");
    assert!(!text.contains("! "), "{text}");
    let (code, text) = check(url, "app-eqaid");
    let meant = "! mw1  pools    no other host is in the pool app-eqaid; did you mean app-eqiad, ";
    assert!(code == 0 && text.contains(meant), "{code}: {text}");
    for (url, why) in [
        (format!("{url}/web"), "domain"),
        ("http://127.0.0.1:1".to_owned(), "refused"),
        ("http://no-such-host.invalid:7532".to_owned(), ""),
    ] {
        let (code, text) = check(&url, "app-eqiad");
        let told = text.lines().any(|line| line.starts_with("✗ mw1  coordinator  ") && line.contains(why));
        assert!(code == 1 && told, "{url}: {code}: {text}");
    }
}
