//! Each state that a server can have in a real HAProxy, and what it is read as.

use super::follower::Follower;
use super::scene::balancers;
use crate::support::haproxy::{DRAIN, Haproxy, MAINT};
use crate::support::{SOON, wait_for};
use model::member::{Presence, Remedy};
use model::sequence::Look;
use model::sequence::record::Balancers as ByName;

fn keys(haproxy: &Haproxy, server: &str) -> String {
    format!("sockets = [\"{}\"]\nserver = \"{server}\"\ntries = 3\npause = \"20ms\"", haproxy.admin)
}

async fn look(haproxy: &Haproxy, server: &str) -> Look {
    balancers(&keys(haproxy, server)).look().await.remove(0)
}

fn all(looks: &[Look]) -> ByName {
    looks.iter().map(|look| (look.balancer.clone(), look.restore.clone())).collect()
}

/// Waits until a server is in this operational state.
fn until_it_is(haproxy: &Haproxy, server: &str, operation: u32) {
    wait_for(&format!("{server} is {operation}"), SOON, || {
        (haproxy.state(server).operation == operation).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_state_is_in_or_out_or_nobody_can_tell() {
    let folder = tempfile::tempdir().expect("a folder");
    let flag = folder.path().join("flag");
    let (well, ill) = (Follower::of(&flag), Follower::of(folder.path()));
    let haproxy = Haproxy::start(
        folder.path(),
        "lb",
        &format!(
            "backend app\n    option httpchk GET /\n    default-server inter 100ms rise 2 fall 1\n    \
             server plain 127.0.0.1:9\n    server checked {well} check\n    server down {ill} check\n    \
             server disabled 127.0.0.1:9 disabled\n    server light 127.0.0.1:9 weight 0\n    \
             server agent {well} weight 0 agent-check agent-port 9 agent-inter 100ms\n    \
             server nameless nohost.invalid:80 init-addr none\n\
             backend tracking\n    server mw1 127.0.0.1:9 track app/checked\n",
            well = well.address,
            ill = ill.address,
        ),
    );
    until_it_is(&haproxy, "app/down", 0);
    until_it_is(&haproxy, "app/checked", 2);
    let is = async |server: &str, presence: Presence, detail: &str| {
        let found = look(&haproxy, server).await;
        assert!(found.presence == presence && found.detail.contains(detail), "{server}: {found:?}");
    };
    is("app/plain", Presence::In, "UP, no check").await;
    is("app/checked", Presence::In, "UP").await;
    is("app/down", Presence::Unknown, "DOWN by its check: L7STS").await;
    // It can be taken out; one that an agent, a resolver or an operator keeps out is left to them.
    for (server, before) in [
        ("app/down", Presence::In),
        ("app/agent", Presence::Unknown),
        ("app/nameless", Presence::Unknown),
        ("app/disabled", Presence::Out),
    ] {
        assert_eq!(balancers(&keys(&haproxy, server)).look_before().await[0].presence, before, "{server}");
    }
    is("app/disabled", Presence::Out, "MAINT").await;
    let undo = "in HAProxy: set server app/disabled state ready".to_owned();
    assert_eq!(look(&haproxy, "app/disabled").await.remedy, Remedy::Theirs(Some(undo)));
    is("app/light", Presence::Out, "its weight is 0").await;
    is("app/agent", Presence::Unknown, "its weight is 0, perhaps by its agent").await;
    is("app/nameless", Presence::Unknown, "its name does not resolve").await;
    // Only what its own check finds ill counts as in before a depool.
    for (server, presence) in
        [("app/down", Presence::In), ("app/agent", Presence::Unknown), ("app/nameless", Presence::Unknown)]
    {
        let before = balancers(&keys(&haproxy, server)).look_before().await.remove(0);
        assert_eq!(before.presence, presence, "{server}: {before:?}");
    }
    is("tracking/mw1", Presence::In, "UP").await;
    haproxy.set("app/checked", "state drain");
    is("app/checked", Presence::Out, "DRAIN").await;
    is("tracking/mw1", Presence::Out, "DRAIN by the server that it tracks").await;
    haproxy.set("app/checked", "state maint");
    is("tracking/mw1", Presence::Out, "MAINT by the server that it tracks").await;
    haproxy.set("app/disabled", "state ready");
    assert_eq!(haproxy.state("app/disabled").admin, 0x04, "it remembers how it began");
    is("app/disabled", Presence::In, "UP").await;
    haproxy.set("app/down", "state drain");
    is("app/down", Presence::Out, "DRAIN").await;
    haproxy.set("app/nameless", "state drain");
    is("app/nameless", Presence::Out, "DRAIN").await;
    haproxy.set("app/plain", "weight 0");
    is("app/plain", Presence::Out, "its weight is 0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_drain_is_set_and_only_drain_is_taken_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let haproxy = Haproxy::start(folder.path(), "lb", "backend app\n    server mw1 127.0.0.1:9\n");
    let balancers = balancers(&keys(&haproxy, "app/{host}"));
    let names = all(&balancers.look().await);
    haproxy.set("app/mw1", "weight 50");
    balancers.depool(&names).await.expect("out");
    assert_eq!((haproxy.state("app/mw1").admin, haproxy.state("app/mw1").weight), (DRAIN, 50));
    // An operator's weight, set meanwhile.
    haproxy.set("app/mw1", "weight 20");
    balancers.repool(&names).await.expect("in");
    assert_eq!((haproxy.state("app/mw1").admin, haproxy.state("app/mw1").weight), (0, 20));
    for is_out_before in [false, true] {
        if is_out_before {
            balancers.depool(&names).await.expect("out");
        }
        haproxy.set("app/mw1", "state maint");
        balancers.depool(&names).await.expect("out already");
        assert_eq!(haproxy.state("app/mw1").admin, MAINT, "a drain would end it");
        let error = balancers.repool(&names).await.expect_err("not ours").to_string();
        assert!(error.contains("it is out by somebody else: MAINT"), "{error}");
        assert_eq!(haproxy.state("app/mw1").admin, MAINT);
        haproxy.set("app/mw1", "state ready");
    }
    haproxy.set("app/mw1", "weight 0");
    let error = balancers.repool(&names).await.expect_err("not in").to_string();
    assert!(error.contains("its weight is 0"), "{error}");
    assert_eq!(haproxy.state("app/mw1").weight, 0);
}

/// A name is exact: neither a prefix nor another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_matches_no_server_is_refused_with_what_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let haproxy =
        Haproxy::start(folder.path(), "lb", "backend app\n    server mw1001 127.0.0.1:9\n    server mw2 127.0.0.1:9\n");
    for (server, said) in [
        ("app/{host}", "app has no server mw1, perhaps mw2? there are mw1001, mw2"),
        ("app/web-{host}", "app has no server web-mw1; there are mw1001, mw2"),
        ("ap/{host}", "it has no backend ap, perhaps app? there are app"),
        ("front/{host}", "it has no backend front; there are app"),
    ] {
        let balancers = balancers(&keys(&haproxy, server));
        let looks = balancers.look().await;
        assert_eq!((looks[0].presence, looks[0].detail.as_str()), (Presence::Unknown, said), "{server}");
        for moved in [balancers.depool(&all(&looks)).await, balancers.repool(&all(&looks)).await] {
            let error = moved.expect_err(server).to_string();
            assert!(error.contains(said) && error.contains(&haproxy.admin), "{error}");
        }
    }
    assert_eq!((haproxy.state("app/mw1001").admin, haproxy.state("app/mw2").admin), (0, 0));
}

/// Its own checks have the last word: they go on in DRAIN, and a server that they found down is not in before they passed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_in_again_when_its_check_has_passed() {
    let folder = tempfile::tempdir().expect("a folder");
    let flag = folder.path().join("flag");
    let health = Follower::of(&flag);
    let server = format!("server mw1 {} check inter 100ms rise 3 fall 2", health.address);
    let haproxy =
        Haproxy::start(folder.path(), "lb", &format!("backend app\n    option httpchk GET /\n    {server}\n"));
    let keys = keys(&haproxy, "app/{host}");
    let patient = balancers(&keys.replace("tries = 3", "tries = 1000"));
    let names = all(&patient.look().await);
    patient.depool(&names).await.expect("out");
    std::fs::write(&flag, "").expect("written");
    until_it_is(&haproxy, "app/mw1", 0);
    let error = balancers(&keys).repool(&names).await.expect_err("down").to_string();
    assert!(error.contains("DOWN by its check: L7STS"), "{error}");
    assert_eq!(haproxy.state("app/mw1").admin, 0, "it need not be told again");
    patient.depool(&names).await.expect("out");
    patient.undo(&names).await.expect("put back as far as anyone's will goes");
    assert_eq!((haproxy.state("app/mw1").admin, haproxy.state("app/mw1").operation), (0, 0));
    patient.depool(&names).await.expect("out");
    let (moved, ()) = futures_util::future::join(patient.repool(&names), async {
        while haproxy.is_out("app/mw1") {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(haproxy.state("app/mw1").operation, 0, "ready, and down");
        std::fs::remove_file(&flag).expect("well again");
    })
    .await;
    moved.expect("in");
    assert_eq!(haproxy.state("app/mw1").operation, 2);
    let stat = haproxy.ask("show stat app 4 1");
    assert!(stat.contains(",UP,"), "all its checks have passed: {stat}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_may_only_look_says_what_it_needs() {
    let folder = tempfile::tempdir().expect("a folder");
    let haproxy = Haproxy::start(folder.path(), "lb", "backend app\n    server mw1 127.0.0.1:9\n");
    let over = |socket: &std::path::Path| {
        balancers(&format!("sockets = [{socket:?}]\nserver = \"app/mw1\"\ntries = 2\npause = \"20ms\""))
    };
    let weak = over(&haproxy.operator);
    let looks = weak.look().await;
    assert_eq!(looks[0].presence, Presence::In);
    let error = weak.depool(&all(&looks)).await.expect_err("operators only look").to_string();
    let name = format!("{} app/mw1", haproxy.operator.display());
    assert!(
        error.starts_with(&name) && error.ends_with("Permission denied: the socket needs `level admin`"),
        "{error}"
    );
    let admin = over(&haproxy.socket);
    admin.depool(&all(&admin.look().await)).await.expect("out, over the file");
    assert!(haproxy.is_out("app/mw1"));
    haproxy.kill();
    let looks = admin.look().await;
    assert_eq!(looks[0].presence, Presence::Unknown);
    assert!(looks[0].detail.contains("Connection refused"), "{looks:?}");
}

/// A name that was copied from another host's file moves nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_hosts_server_is_neither_asked_nor_moved() {
    let folder = tempfile::tempdir().expect("a folder");
    let backends = "backend app\n    server mw1 127.0.0.1:9\n    server mw2 127.0.0.1:10\n\
                    backend far\n    server s7 192.0.2.7:80\n    server s8 127.0.0.1:9\n";
    let haproxy = Haproxy::start(folder.path(), "lb", backends);
    for (server, said) in [
        ("app/mw2", "app/mw2 is another host's: mw1 is app/mw1"),
        ("far/s7", "far/s7 is another host's: mw1 has no address 192.0.2.7"),
    ] {
        let balancers = balancers(&keys(&haproxy, server));
        let looks = balancers.look().await;
        assert_eq!((looks[0].presence, looks[0].detail.as_str()), (Presence::Unknown, said));
        let error = balancers.depool(&all(&looks)).await.expect_err("not ours").to_string();
        assert!(error.contains(said), "{error}");
        assert_eq!(haproxy.state(server).admin, 0);
    }
    let nameless = balancers(&keys(&haproxy, "far/s8"));
    assert_eq!(nameless.look().await[0].presence, Presence::In, "nothing says that it is another's");
}

/// What a look at the setup finds before the first restart does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_weak_socket_and_a_second_backend_are_found_before_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let backends = "backend app\n    server mw1 127.0.0.1:9\n    server mw2 127.0.0.1:10\n\
                    backend api\n    server mw1 127.0.0.1:9\n\
                    backend other\n    server mw1 127.0.0.1:11\n\
                    backend led\n    server mw1 127.0.0.1:9 track app/mw1\n";
    let backends = backends.replacen("127.0.0.1:9\n", "127.0.0.1:9 check inter 1h\n", 1);
    let haproxy = Haproxy::start(folder.path(), "lb", &backends);
    let remarks = async |depool: &str| {
        let remarks = balancers(depool).remarks().await;
        remarks.into_iter().map(|remark| (remark.is_wrong, remark.says)).collect::<Vec<_>>()
    };
    let says = format!(
        "{} app/mw1: api/mw1 is at 127.0.0.1:9 too, gets traffic in a restart, and is not listed",
        haproxy.admin
    );
    assert_eq!(remarks(&keys(&haproxy, "app/{host}")).await, [(false, says)]);
    let both = format!("sockets = [\"{}\"]\nserver = [\"app/{{host}}\", \"api/{{host}}\"]", haproxy.admin);
    assert_eq!(remarks(&both).await, []);
    let weak = format!("sockets = [{:?}]\nserver = \"other/{{host}}\"", haproxy.operator);
    let at = haproxy.operator.display();
    let says = format!("{at}: it is of `level operator`, which moves no server: the socket needs `level admin`");
    assert_eq!(remarks(&weak).await, [(true, says)]);
}
