//! What can be looked at, and why something waits.

use crate::world::{World, ask, failed, name, rollout_of};
use model::lease::Purpose;
use model::member::{Presence, Remedy, Sighting};
use model::names::Scope;
use model::read::Selection;
use model::request::{Act, Ending, Quiet, Renew, Request};
use model::sequence::Step;
use model::settings::{Setting, Slots};
use model::why::Why;

pub(crate) fn about(scope: &str) -> Selection {
    Selection { scope: Some(name(scope)), ..Selection::default() }
}

/// A world with one of each: held, failed, lost, waiting, down.
fn busy() -> World {
    let mut world = World::with_slots(3);
    world.set("pool/p", Setting::Ttl(2_000));
    for host in ["good", "bad", "slow", "late"] {
        world.join(host, "php", &["p"]);
    }
    world.announce("php");
    let php = rollout_of("php", 1);
    world.ask_for("bad", "c1", &["p"], &php);
    world.begin("bad", "c1");
    world.settle_with("bad", "c1", Ending::Kept, Some(php.clone()), Some(failed("exit 78")));
    world.granted("run-7.ops1", "c2", &["p"]);
    world.later(2_000);
    world.tick();
    world.ask_for("slow", "c3", &["p"], &php);
    let step = Renew { holder: name("slow"), claim: name("c3"), step: Some(Step::Drain), note: "4 in flight".into() };
    world.decide(&Request::Renew(step));
    world.ask_for("late", "c4", &["p"], &php);
    world.later(1_000);
    world
}

fn lines(why: &Why) -> Vec<String> {
    let mark = |ok| if ok { '+' } else { '-' };
    let mut lines = vec![why.headline.clone()];
    for finding in &why.findings {
        lines.push(format!("{} {}: {}", mark(finding.ok), finding.what, finding.how));
        for cause in &finding.causes {
            lines.push(format!("    {} | {}", cause.what, cause.next.clone().unwrap_or_default()));
        }
    }
    lines
}

pub(crate) fn why(world: &World, scope: &str) -> Vec<String> {
    lines(&world.state.why(&name::<Scope>(scope), world.now))
}

#[test]
fn leases_show_the_worst_first_and_the_queue_behind_them() {
    let world = busy();
    let shown = world.state.read_leases(&Selection::default(), world.now);
    let rows: Vec<_> = shown
        .leases
        .iter()
        .map(|row| (row.lease.holder.to_string(), row.lease.state.to_string(), row.state_ms, row.counts_ms))
        .collect();
    assert_eq!(
        rows,
        [
            ("run-7.ops1".into(), "lost".into(), 1_000, Some(3_599_000)),
            ("bad".into(), "failed".into(), 3_000, None),
            ("slow".into(), "held".into(), 1_000, None),
        ]
    );
    assert!(!shown.cut && !shown.leases[1].stuck);
    let waiter = &shown.queue[0];
    assert_eq!((waiter.holder.as_str(), waiter.place, waiter.waited_ms, waiter.left_ms), ("late", 1, 1_000, 599_000));
    assert!(waiter.listens && waiter.why.is_some());
    let pool = &shown.pools[0];
    assert_eq!(
        (pool.slots, pool.held, pool.failed, pool.lost, pool.waiting, pool.members, pool.down),
        (3, 1, 1, 1, 1, 4, 0)
    );
    assert_eq!(pool.token, 3);
    assert_eq!(pool.overrides.len(), 2);
}

#[test]
fn leases_are_shown_within_a_scope_and_cut_to_a_limit() {
    let mut world = busy();
    let holders = |world: &World, scope: &str| -> Vec<String> {
        let shown = world.state.read_leases(&about(scope), world.now);
        let queue = shown.queue.iter().map(|row| row.holder.to_string());
        shown.leases.iter().map(|row| row.lease.holder.to_string()).chain(queue).collect()
    };
    assert_eq!(holders(&world, "host/late"), ["late"]);
    assert_eq!(holders(&world, "service/php"), ["bad", "slow", "late"]);
    assert_eq!(holders(&world, "rollout/php@1"), ["bad", "slow", "late"]);
    assert_eq!(holders(&world, "pool/p").len(), 4);
    assert_eq!(holders(&world, "pool/other"), [] as [&str; 0]);
    assert_eq!(
        world.state.read_leases(&about("pool/other"), world.now).pools.len(),
        1,
        "an idle pool is shown when asked for"
    );
    let cut = world.state.read_leases(&Selection { limit: Some(1), ..Selection::default() }, world.now);
    assert!(cut.cut && cut.leases.len() == 1 && cut.queue.len() == 1);
    world.settle("late", "c4", Ending::Cancelled);
    assert_eq!(holders(&world, "host/late"), [] as [&str; 0]);
}

#[test]
fn lists_are_paged() {
    let mut world = World::with_slots(1);
    for n in 0..5 {
        world.join(&format!("h{n}"), "php", &[["p", "q"][n % 2]]);
    }
    let first = world.state.read_members(&Selection { limit: Some(2), ..Selection::default() }, world.now);
    assert_eq!(first.rows.iter().map(|row| row.host.to_string()).collect::<Vec<_>>(), ["h0", "h1"]);
    assert_eq!(first.next.as_deref(), Some("h1"));
    let rest = world.state.read_members(&Selection { after: first.next, ..Selection::default() }, world.now);
    assert_eq!(rest.rows.iter().map(|row| row.host.to_string()).collect::<Vec<_>>(), ["h2", "h3", "h4"]);
    assert_eq!(rest.next, None);
    let within = |scope: &str| world.state.read_members(&about(scope), world.now).rows.len();
    assert_eq!(
        (within("pool/q"), within("service/php"), within("host/h3"), within("service/x"), within("all")),
        (2, 5, 1, 0, 5)
    );
    let pools = |scope: &str| {
        world.state.read_pools(&about(scope), world.now).rows.iter().map(|row| row.pool.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(pools("host/h1"), ["q"]);
    assert_eq!(pools("pool/p"), ["p"]);
    assert_eq!(pools("service/php"), ["p", "q"]);
    assert_eq!(pools("rollout/php@3"), ["p", "q"]);
    assert_eq!(pools("service/x"), [] as [&str; 0]);
}

#[test]
fn a_rollout_shows_who_is_in_flight_who_is_down_and_what_blocks_it() {
    let mut world = busy();
    world.decide(&Request::Quiet(Quiet::Member { host: name("good"), session: name("s.good") }));
    world.later(5_000);
    let row = world.state.read_rollouts(&Selection::default(), world.now).remove(0);
    assert_eq!(
        row.in_flight
            .iter()
            .map(|flight| (flight.host.to_string(), flight.step, flight.note.clone(), flight.ms))
            .collect::<Vec<_>>(),
        [("slow".to_owned(), Some(Step::Drain), "4 in flight".to_owned(), 6_000)]
    );
    assert_eq!(row.down, [name("good")]);
    assert_eq!(row.blocked.len(), 1);
    let blocked = &row.blocked[0];
    assert_eq!((blocked.pool.as_str(), blocked.waiting, blocked.slots), ("p", 1, 3));
    let keepers: Vec<_> = blocked.keepers.iter().map(|(holder, state)| format!("{state} {holder}")).collect();
    assert_eq!(keepers, ["failed bad", "lost run-7.ops1"]);
    assert_eq!((row.age_ms, row.last_report_ms, row.newest), (8_000, Some(0), true));
    world.announce_with("php", |announce| announce.supersede = true);
    world.later(1);
    world.join("y", "nginx", &["y"]);
    world.announce("nginx");
    let rows = world.state.read_rollouts(&Selection::default(), world.now);
    assert_eq!(
        rows.iter().map(|row| (row.name.to_string(), row.newest)).collect::<Vec<_>>(),
        [("nginx@1".to_owned(), true), ("php@2".to_owned(), true), ("php@1".to_owned(), false)]
    );
    let count = |scope: &str| world.state.read_rollouts(&about(scope), world.now).len();
    assert_eq!(
        (count("service/php"), count("rollout/php@1"), count("host/good"), count("pool/p"), count("pool/x")),
        (2, 1, 2, 2, 0)
    );
    let limited = world.state.read_rollouts(&Selection { limit: Some(1), ..Selection::default() }, world.now);
    assert_eq!(limited.len(), 1);
}

#[test]
fn why_a_host_waits() {
    let world = busy();
    assert_eq!(
        why(&world, "host/late"),
        [
            "late waits 1s for php@1, place 1 for p; waits 9m59s more, then asks again",
            "- p: 3 of 3 out   slots=3: set pool/p slots=3 by ann@ops1: test",
            "    run-7.ops1 lost 1s, counts 59m59s more, for run: test | stagger release run-7.ops1 --reason …",
            "    bad failed 3s at restart (exit 78), for php@1 | fixed? bad$ stagger restart php; give up: stagger release bad --reason …",
            "    slow held 1s, drain, 4 in flight, for php@1 | ",
            "+ pauses: none",
            "+ worker: alive, version 0.1.0",
            "+ rollout: php@1 owes, rolling",
        ]
    );
}

#[test]
fn why_a_silent_or_younger_waiter_waits() {
    let mut world = World::with_slots(1);
    world.set("pool/q", Setting::Slots(Slots::Count(1)));
    world.granted("a", "ca", &["p"]);
    world.queued("b", "cb", &["p"]);
    world.later(1);
    world.queued("c", "cc", &["p"]);
    world.settle("a", "ca", Ending::Released);
    assert!(why(&world, "host/c").contains(&"- order: b asked before".to_owned()), "{:?}", why(&world, "host/c"));
    world.quiet("b", "cb");
    let said = why(&world, "host/b");
    assert!(said.contains(&"- listening: it has not asked lately; others go first".to_owned()), "{said:?}");
    assert!(
        said.contains(&"    its command is gone or stopped; its place is kept for a while | ".to_owned()),
        "{said:?}"
    );
    world.pause("all", 60_000);
    let said = why(&world, "host/c");
    assert_eq!(
        &said[1..3],
        ["- pauses: all is paused", "    by ann@ops1 0s ago, 1m more: frozen | stagger resume all"]
    );
}

#[test]
fn why_a_host_that_holds_or_failed_or_is_down_does_what_it_does() {
    let mut world = busy();
    assert_eq!(
        why(&world, "host/slow")[..2],
        ["slow has a lease, held 1s, at drain, for php@1", "+ lease: slow held 1s, drain, 4 in flight, for php@1"]
    );
    let said = why(&world, "host/bad");
    assert_eq!(said[0], "bad has a lease, failed 3s, at restart, for php@1");
    assert!(said.contains(&"- rollout: php@1 failed here".to_owned()), "{said:?}");
    assert!(said.contains(&"    exit 78 | bad$ stagger restart php".to_owned()), "{said:?}");
    world.later(65_000);
    let said = why(&world, "host/good");
    assert_eq!(said[0], "good owes php@1, and neither holds nor waits");
    assert_eq!(said[1], "- worker: down, last heard of 1m8s ago");
    assert_eq!(why(&world, "host/nobody")[..2], ["nobody is not known here", "- worker: has never joined"]);
    let run = why(&world, "host/run-7.ops1");
    assert_eq!(run[0], "run-7.ops1 has a lease, lost 1m6s, for run: test");
}

#[test]
fn why_a_host_is_out_of_a_balancer() {
    let mut world = World::with_slots(1);
    let seen = |balancer: &str, presence, by_stagger| Sighting {
        service: name("php"),
        balancer: balancer.into(),
        presence,
        by_stagger,
        detail: "DRAIN".into(),
        remedy: Remedy::default(),
    };
    let join = model::request::Join {
        sightings: vec![
            seen("lb1", Presence::In, false),
            seen("lb2", Presence::Out, false),
            seen("lb3", Presence::Out, true),
        ],
        ..World::join_request("a", "php", &["p"])
    };
    world.joined(&join);
    assert_eq!(
        why(&world, "host/a"),
        [
            "a neither holds nor waits",
            "- balancer: php out lb2: not by Stagger, looked 0s ago",
            "    DRAIN | a$ stagger repool php",
            "- balancer: php out lb3: taken out by Stagger, looked 0s ago",
            "    DRAIN | a$ stagger restart php",
            "+ worker: alive, version 0.1.0",
        ]
    );
    let everything = [
        "one thing stands in the way",
        "- members: 1 is out of a balancer, with no lease",
        "     | stagger members --out",
    ];
    assert_eq!(why(&world, "all"), everything);
    world.granted("a", "ca", &["p"]);
    assert!(
        why(&world, "all")[0].starts_with("nothing stands in the way"),
        "its lease says so: {:?}",
        why(&world, "all")
    );
}

#[test]
fn a_host_that_stagger_cannot_put_back_is_told_what_does() {
    let mut world = World::with_slots(1);
    let seen = |balancer: &str, presence, remedy| Sighting {
        service: name("php"),
        balancer: balancer.into(),
        presence,
        by_stagger: false,
        detail: "says so".into(),
        remedy,
    };
    let join = model::request::Join {
        sightings: vec![
            seen("lb1", Presence::Out, Remedy::Theirs(Some("set server app/a state ready".into()))),
            seen("lb2", Presence::Out, Remedy::Theirs(None)),
            seen("lb3", Presence::Unknown, Remedy::Restart),
            seen("lb4", Presence::Unknown, Remedy::Repool),
        ],
        ..World::join_request("a", "php", &["p"])
    };
    world.joined(&join);
    assert_eq!(
        why(&world, "host/a")[1..9],
        [
            "- balancer: php out lb1: not by Stagger, looked 0s ago",
            "    says so | set server app/a state ready",
            "- balancer: php out lb2: not by Stagger, looked 0s ago",
            "    says so | ",
            "- balancer: php unknown lb3: meant to be in, and found ill there, looked 0s ago",
            "    says so | a$ stagger restart php",
            "- balancer: php unknown lb4: nobody can tell, looked 0s ago",
            "    says so | a$ stagger check --ask",
        ]
    );
    let said = why(&world, "all");
    assert!(said.contains(&"- members: 1 is neither in nor out".to_owned()), "{said:?}");
    assert!(said.contains(&"    a for php at lb3: says so | a$ stagger restart php".to_owned()), "{said:?}");
}

#[test]
fn why_a_host_that_owes_has_not_asked() {
    let mut world = World::with_slots(1);
    world.join("a", "php", &["p"]);
    world.announce("php");
    assert_eq!(
        why(&world, "host/a"),
        [
            "a owes php@1, and neither holds nor waits",
            "+ worker: alive, version 0.1.0",
            "+ rollout: php@1 owes, announced",
        ]
    );
    for scope in ["pool/p", "host/a", "service/php"] {
        world.pause(scope, 60_000);
        let said = why(&world, "host/a");
        assert_eq!(said[1], format!("- pauses: {scope} is paused"), "{said:?}");
        world.resume(scope);
    }
    world.act(Act::Abort { rollout: rollout_of("php", 1), reason: "wrong".into() });
    assert_eq!(why(&world, "host/a")[0], "a neither holds nor waits");
}

#[test]
fn a_stuck_lease_is_called_so_wherever_it_is_shown() {
    let mut world = World::with_slots(1);
    world.join("a", "php", &["p"]);
    world.announce("php");
    let php = rollout_of("php", 1);
    world.ask_for("a", "c1", &["p"], &php);
    let report = model::rollout::Report { stuck: true, ..failed("nobody can tell") };
    world.settle_with("a", "c1", Ending::Kept, Some(php), Some(report));
    let said = why(&world, "host/a");
    assert!(said[0].starts_with("a has a lease, stuck 0s") && said.contains(&"- lease: stuck".to_owned()), "{said:?}");
    assert!(world.state.read_members(&about("host/a"), world.now).rows[0].stuck);
}

#[test]
fn a_worker_in_trouble_says_why_and_says_when_it_is_over() {
    let mut world = World::with_slots(1);
    let join =
        model::request::Join { trouble: "a journal is damaged".into(), ..World::join_request("a", "php", &["p"]) };
    world.joined(&join);
    let trouble = |world: &World| world.state.read_members(&about("host/a"), world.now).rows.remove(0).trouble;
    assert_eq!(trouble(&world), "a journal is damaged");
    assert_eq!(
        why(&world, "host/a"),
        [
            "a neither holds nor waits",
            "- worker: alive, and can restart nothing",
            "    a journal is damaged; its log says more | ",
        ]
    );
    assert_eq!(
        why(&world, "all"),
        [
            "one thing stands in the way",
            "- members: 1 is in trouble",
            "    a: a journal is damaged | stagger why host/a"
        ]
    );
    let long = model::request::Join { trouble: "x".repeat(5_000), ..join.clone() };
    world.joined(&long);
    assert_eq!(trouble(&world).len(), model::lease::TEXT_BYTES_MAX);
    world.joined(&model::request::Join { trouble: String::new(), ..join.clone() });
    assert_eq!(trouble(&world), "");
    assert!(why(&world, "host/a").contains(&"+ worker: alive, version 0.1.0".to_owned()));
    world.joined(&join);
    world.decide(&Request::Quiet(Quiet::Member { host: name("a"), session: join.session.clone() }));
    world.later(5_000);
    assert!(why(&world, "host/a")[1].starts_with("- worker: down"), "being down comes first");
}

#[test]
fn why_a_pool_a_rollout_and_everything_stand_still() {
    let mut world = busy();
    assert_eq!(why(&world, "pool/p")[0], "p: 3 of 3 out, 1 waits, 4 members");
    assert_eq!(
        why(&world, "pool/idle"),
        ["idle: 0 of 1 out, 0 wait, 0 members", "+ idle: 0 of 1 out", "+ pauses: none"]
    );
    assert_eq!(
        why(&world, "service/php"),
        [
            "php@1 is rolling: 0 ok, 1 failed, 3 left; by ann@ops1 3s ago: build 7",
            "- p: 1 waits; 2 of 3 slots are kept",
            "    bad failed 3s at restart (exit 78), for php@1 | fixed? bad$ stagger restart php; give up: stagger release bad --reason …",
            "    run-7.ops1 lost 1s, counts 59m59s more, for run: test | stagger release run-7.ops1 --reason …",
            "+ rollout: rolling",
        ]
    );
    world.pause("service/php", 60_000);
    let said = why(&world, "rollout/php@1");
    assert!(said.contains(&"- pauses: service/php is paused".to_owned()), "{said:?}");
    assert_eq!(why(&world, "all")[0], "2 things stand in the way");
    world.act(Act::Abort { rollout: rollout_of("php", 1), reason: "wrong".into() });
    let said = why(&world, "rollout/php@1");
    assert!(said.contains(&"    by ann@ops1 0s ago: wrong | ".to_owned()), "{said:?}");
    assert_eq!(why(&world, "rollout/php@9"), ["there is no php@9"]);
    assert_eq!(why(&world, "service/nginx"), ["nginx was never announced"]);
    assert_eq!(why(&World::with_slots(1), "all"), ["nothing stands in the way of anything"]);
}

#[test]
fn why_a_rollout_is_halted_expired_or_waits_for_hosts_that_are_down() {
    let mut world = World::with_slots(1);
    for host in ["a", "b"] {
        world.join(host, "php", &["p"]);
    }
    world.announce_with("php", |announce| announce.expires_ms = Some(100_000));
    world.later(70_000);
    let said = why(&world, "rollout/php@1");
    assert_eq!(said[1..3], ["- down: 2 hosts owe it and are down", "    a | stagger why host/a"]);
    assert!(why(&world, "all").contains(&"- members: 2 are down".to_owned()));
    world.join("a", "php", &["p"]);
    let php = rollout_of("php", 1);
    world.ask_for("a", "c1", &["p"], &php);
    world.begin("a", "c1");
    world.settle_with("a", "c1", Ending::Kept, Some(php), Some(failed("exit 78")));
    let said = why(&world, "all");
    assert!(said.contains(&"- php@1: halted".to_owned()), "{said:?}");
    let cause = "    0s ago: a failed host keeps the only slot of p; last a failed: exit 78 | stagger resume rollout/php@1   or announce the fix";
    assert!(said.contains(&cause.to_owned()), "{said:?}");
    let mut world = World::with_slots(1);
    world.join("a", "php", &["p"]);
    world.announce_with("php", |announce| announce.expires_ms = Some(1_000));
    assert!(why(&world, "all").contains(&"+ php@1: announced".to_owned()));
    world.later(1_000);
    world.tick();
    let said = why(&world, "host/a");
    assert!(said.contains(&"- rollout: php@1 is expired".to_owned()), "{said:?}");
    assert!(said.contains(&"    its time is over | stagger announce php -m …".to_owned()), "{said:?}");
    world.join("x", "php", &["x"]);
    world.announce_with("php", |announce| announce.only = vec![name("pool/x")]);
    assert!(why(&world, "host/a").contains(&"+ rollout: php@2 is not for a".to_owned()));
}

#[test]
fn a_stuck_host_and_a_lease_lost_for_ever_say_so() {
    let mut world = World::with_slots(2);
    world.set("pool/p", Setting::LostAfter(None));
    let restart = model::request::Ask { purpose: Purpose::Restart(name("php")), ..ask("a", "c1", &["p"]) };
    world.ask(&restart);
    let report = model::rollout::Report { stuck: true, ..failed("nobody can tell") };
    world.settle_with("a", "c1", Ending::Kept, None, Some(report));
    world.granted("b", "c2", &["p"]);
    world.later(30_000);
    world.tick();
    let said = why(&world, "pool/p");
    assert!(
        said.iter().any(|line| line.contains("a failed 30s at restart, STUCK (nobody can tell), for restart php")),
        "{said:?}"
    );
    assert!(said.iter().any(|line| line.contains("b lost 0s, counts until released, for run: test")), "{said:?}");
    assert!(world.state.read_leases(&Selection::default(), world.now).leases[1].stuck);
    let pauses = |world: &World| world.state.read_pauses(world.now).len();
    assert_eq!(pauses(&world), 0);
    world.pause("host/a", 1_000);
    assert_eq!(pauses(&world), 1);
}

#[test]
fn the_next_moment_is_when_time_alone_changes_something() {
    let mut world = World::with_slots(1);
    assert_eq!(world.state.next_due(), None);
    world.granted("a", "ca", &["p"]);
    let due = |world: &World| world.state.next_due().map(|time| time.0 - world.now.time.0);
    assert_eq!(due(&world), Some(30_000));
    world.queued("b", "cb", &["p"]);
    assert_eq!(due(&world), Some(10_000), "when b counts as silent");
    world.pause("host/x", 5_000);
    assert_eq!(due(&world), Some(5_000));
    world.act(Act::Set { scope: name("pool/x"), setting: Setting::Ttl(900), reason: "r".into(), for_ms: Some(4_000) });
    assert_eq!(due(&world), Some(4_000));
    world.later(30_000);
    world.tick();
    assert_eq!(
        world.state.next_due().map(|time| time.0 - world.now.time.0),
        Some(580_000),
        "when b's ticket is dropped"
    );
}

#[test]
fn each_waiter_is_shown_at_its_own_place() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    for (place, holder) in ["b", "c", "d"].into_iter().enumerate() {
        world.later(1_000);
        world.queued(holder, &format!("c{place}"), &["p"]);
    }
    let shown = world.state.read_leases(&Selection::default(), world.now);
    let places: Vec<_> = shown.queue.iter().map(|row| (row.holder.to_string(), row.place, row.waited_ms)).collect();
    assert_eq!(places, [("b".into(), 1, 2_000), ("c".into(), 2, 1_000), ("d".into(), 3, 0)]);
    assert_eq!(why(&world, "host/d")[0], "d waits 0s for run: test, place 3 for p; gives up in 10m");
}

#[test]
fn everything_that_stands_in_the_way_is_named_and_nothing_else() {
    let mut world = World::with_slots(1);
    world.set("pool/q", Setting::Slots(Slots::Count(1)));
    world.granted("a", "ca", &["p"]);
    let said = why(&world, "all");
    assert_eq!(said[0], "nothing stands in the way of anything; 1 is at work", "a full pool that nobody waits for");
    assert_eq!(said[1..], ["+ at work: a held 0s, for run: test"]);
    world.queued("b", "cb", &["p"]);
    assert_eq!(why(&world, "all")[0], "one thing stands in the way");
    world.settle("b", "cb", Ending::Cancelled);
    world.later(30_000);
    world.tick();
    let said = why(&world, "all");
    assert_eq!(said[1], "- p: 1 of 1 out   slots=1: set pool/p slots=1 by ann@ops1: test");
    assert_eq!(said.len(), 3, "{said:?}");
}

#[test]
fn a_rollouts_headline_counts_the_skipped_as_well() {
    let mut world = World::with_slots(3);
    for host in ["a", "b", "c"] {
        world.join(host, "php", &["p"]);
    }
    world.announce("php");
    let php = rollout_of("php", 1);
    let skipped = model::rollout::Report::plain(model::rollout::Outcome::Skipped);
    world.settle_with("a", "c0", Ending::Cancelled, Some(php.clone()), Some(skipped));
    for host in ["b", "c"] {
        let claim = format!("c{host}");
        world.ask_for(host, &claim, &["p"], &php);
        world.begin(host, &claim);
    }
    let well = model::rollout::Report::plain(model::rollout::Outcome::Restarted);
    world.settle_with("b", "cb", Ending::Released, Some(php.clone()), Some(well));
    assert_eq!(
        why(&world, "rollout/php@1")[0],
        "php@1 is rolling: 2 ok, 0 failed, 1 left; by ann@ops1 0s ago: build 7"
    );
}

#[test]
fn after_a_restart_of_the_coordinator_members_and_waiters_have_a_moment_to_come_back() {
    let mut world = World::with_slots(1);
    world.join("a", "php", &["p"]);
    world.granted("x", "cx", &["p"]);
    world.queued("b", "cb", &["p"]);
    world.later(70_000);
    let down = |world: &World| world.state.read_members(&Selection::default(), world.now).rows[0].down;
    assert!(down(&world));
    world.restart();
    assert!(!down(&world));
    world.later(9_999);
    assert!(world.state.read_leases(&Selection::default(), world.now).queue[0].listens);
    world.later(1);
    assert!(!world.state.read_leases(&Selection::default(), world.now).queue[0].listens);
    world.later(5_000);
    assert!(down(&world));
}

#[test]
fn a_waiter_that_fell_silent_is_not_waited_for_again_and_again() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    world.queued("b", "cb", &["p"]);
    world.later(10_000);
    world.tick();
    let due = world.state.next_due().map(|time| time.0 - world.now.time.0);
    assert_eq!(due, Some(20_000), "when a's lease is lost");
}

#[test]
fn the_oldest_lease_is_told_by_pool_and_state() {
    let mut world = World::with_slots(3);
    world.granted("a", "ca", &["p"]);
    world.later(1_000);
    world.granted("b", "cb", &["p", "q"]);
    world.later(29_000);
    world.renew("b", "cb");
    world.later(500);
    world.tick();
    let (p, q) = (name("p"), name("q"));
    let oldest = world.state.read_oldest(world.now);
    let expected = [
        ((&p, model::lease::LeaseState::Held), 29_500),
        ((&p, model::lease::LeaseState::Lost), 30_500),
        ((&q, model::lease::LeaseState::Held), 29_500),
    ];
    assert_eq!(oldest, expected.into());
}
