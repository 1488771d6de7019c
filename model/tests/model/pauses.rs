//! Pauses, settings and other changes by people.

use crate::world::{World, ask, failed, name, rollout_of};
use model::request::{Act, Admin, Answer, Begin, Done, Ending, RefusalKind, Request};
use model::settings::{Setting, SettingKind, Slots};

fn why(answer: Answer) -> RefusalKind {
    match answer {
        Answer::Queued(queued) => queued.why.kind,
        Answer::Refused(refusal) => refusal.kind,
        Answer::Granted(_) => panic!("granted"),
    }
}

#[test]
fn a_pause_stops_grants_keeps_tickets_and_ends_by_itself() {
    for scope in ["all", "pool/p", "host/b"] {
        let mut world = World::with_slots(1);
        world.pause(scope, 60_000);
        assert_eq!(why(world.ask(&ask("b", "cb", &["p"]))), RefusalKind::Paused, "{scope}");
        world.later(59_999);
        assert_eq!(why(world.ask(&ask("b", "cb", &["p"]))), RefusalKind::Paused, "{scope}");
        world.later(1);
        world.granted("b", "cb", &["p"]);
    }
}

#[test]
fn a_pause_of_something_else_stops_nothing_and_a_paused_head_hinders_nobody() {
    let mut world = World::with_slots(1);
    for scope in ["pool/q", "service/php", "host/a", "rollout/php@1"] {
        world.pause(scope, 60_000);
    }
    world.granted("c", "cc", &["p"]);
    assert_eq!(why(world.ask(&ask("a", "ca", &["p"]))), RefusalKind::Paused);
    world.later(1);
    world.queued("b", "cb", &["p"]);
    world.settle("c", "cc", Ending::Released);
    assert_eq!(world.next_in_line().as_deref(), Some("b"));
    world.granted("b", "cb", &["p"]);
}

#[test]
fn a_pause_stops_the_waiters_clocks() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    let ask = model::request::Ask { wait_ms: Some(10_000), patience_ms: 100_000, ..ask("b", "cb", &["p"]) };
    world.ask(&ask);
    world.later(4_000);
    world.ask(&ask);
    world.pause("pool/p", 3_600_000);
    world.later(50_000);
    let row = world.state.read_leases(&Default::default(), world.now).queue.remove(0);
    assert_eq!((row.waited_ms, row.left_ms), (4_000, 6_000));
    let Answer::Queued(queued) = world.ask(&ask) else { panic!("it waits") };
    assert_eq!(queued.why.whole(), "pool/p is paused by ann@ops1: frozen; it ends in 59m10s");
    world.resume("pool/p");
    world.later(5_999);
    assert!(matches!(world.ask(&ask), Answer::Queued(queued) if queued.left_ms == 1));
    world.later(1);
    assert_eq!(why(world.ask(&ask)), RefusalKind::TimedOut);
}

#[test]
fn what_a_pause_lasted_is_not_waited_though_nobody_asked_meanwhile() {
    for by_itself in [true, false] {
        for scope in ["all", "pool/p", "host/b"] {
            let mut world = World::with_slots(1);
            world.set("pool/p", Setting::Ttl(3_600_000));
            world.granted("a", "ca", &["p"]);
            let ask = model::request::Ask { wait_ms: Some(10_000), patience_ms: 100_000, ..ask("b", "cb", &["p"]) };
            world.ask(&ask);
            world.later(4_000);
            world.pause(scope, if by_itself { 50_000 } else { 3_600_000 });
            world.later(20_000);
            // A second pause of the same waiter begins and ends, and its clock stands still all the same.
            world.pause("host/b", if scope == "host/b" && by_itself { 30_000 } else { 60_000 });
            world.later(30_000);
            let queue = |world: &World| world.state.read_leases(&Default::default(), world.now).queue.remove(0);
            assert_eq!(queue(&world).waited_ms, 4_000, "{scope}");
            world.resume("host/b");
            match by_itself {
                true => {
                    world.tick();
                }
                false => {
                    world.resume(scope);
                }
            }
            assert_eq!(queue(&world).waited_ms, 4_000, "{scope}");
            world.later(5_999);
            assert!(matches!(world.ask(&ask), Answer::Queued(queued) if queued.left_ms == 1), "{scope}");
            world.later(1);
            assert_eq!(why(world.ask(&ask)), RefusalKind::TimedOut, "{scope}");
        }
    }
}

#[test]
fn a_pause_of_a_pool_that_a_failed_host_keeps_stops_its_clock_and_its_end_starts_it() {
    let mut world = World::with_slots(1);
    let ask_for = |service: &str, claim: &str, pool: &str| model::request::Ask {
        purpose: model::lease::Purpose::Restart(name(service)),
        wait_ms: Some(10_000),
        patience_ms: 100_000,
        ..ask("h", claim, &[pool])
    };
    world.ask(&ask_for("kept", "c1", "q"));
    world.begin("h", "c1");
    world.settle_with("h", "c1", Ending::Kept, None, Some(crate::world::failed("exit 1")));
    world.pause("pool/q", 3_600_000);
    let ask = ask_for("other", "c2", "p");
    assert_eq!(why(world.ask(&ask)), RefusalKind::Paused, "it would have both");
    world.later(50_000);
    let row = world.state.read_leases(&Default::default(), world.now).queue.remove(0);
    assert_eq!((row.waited_ms, row.left_ms), (0, 10_000));
    let findings = world.state.why(&name::<model::names::Scope>("host/h"), world.now).findings;
    assert!(!findings.iter().any(|finding| finding.what == "pauses" && finding.ok), "{findings:?}");
    let resume = Admin { operation: name("r"), by: "ann@ops1".into(), act: Act::Resume { scope: name("pool/q") } };
    let nudges = world.decide(&Request::Admin(resume)).nudges;
    assert!(nudges.pools.contains(&name("p")), "it is its turn: {nudges:?}");
    assert!(matches!(world.ask(&ask), Answer::Granted(_)));
}

#[test]
fn a_pause_stops_begin_and_the_holder_gives_way() {
    let mut world = World::with_slots(1);
    world.join("a", "php", &["p"]);
    world.announce("php");
    world.ask_for("a", "ca", &["p"], &rollout_of("php", 1));
    for scope in ["all", "pool/p", "host/a", "service/php", "rollout/php@1"] {
        world.pause(scope, 60_000);
        let Begin::Paused(why) = world.begin("a", "ca") else { panic!("went on under {scope}") };
        assert_eq!(why, format!("{scope} is paused by ann@ops1: frozen"));
        assert!(matches!(world.resume(scope), Done::Did { what } if what == format!("{scope} is no longer paused")));
    }
    assert_eq!(world.begin("a", "ca"), Begin::Go { generation: Some(1) });
    assert!(matches!(world.resume("all"), Done::Refused { .. }), "nothing to resume");
}

#[test]
fn settings_go_back_by_themselves_or_by_hand() {
    let mut world = World::with_slots(1);
    let act = |setting, for_ms| Act::Set { scope: name("pool/p"), setting, reason: "busy".into(), for_ms };
    let done = world.act(act(Setting::Slots(Slots::Count(5)), Some(60_000)));
    assert_eq!(done, Done::Did { what: "pool/p slots: 1 → 5 for 1m".into() });
    assert_eq!(world.state.read_pools(&Default::default(), world.now).rows[0].slots, 5);
    world.later(60_000);
    world.tick();
    assert_eq!(world.state.read_pools(&Default::default(), world.now).rows[0].slots, 1, "what was set before");
    world.act(act(Setting::Slots(Slots::Count(5)), Some(60_000)));
    world.act(act(Setting::Slots(Slots::Count(6)), Some(30_000)));
    world.later(30_000);
    world.tick();
    assert_eq!(world.state.read_pools(&Default::default(), world.now).rows[0].slots, 1, "what was set for good before");
    world.act(act(Setting::Slots(Slots::Count(5)), Some(60_000)));
    let back = world.act(Act::Unset { scope: name("pool/p"), kind: SettingKind::Slots, reason: "r".into() });
    assert_eq!(back, Done::Did { what: "pool/p slots: 5 → 1".into() });
    world.set("all", Setting::Slots(Slots::Count(7)));
    let back = world.act(Act::Unset { scope: name("pool/p"), kind: SettingKind::Slots, reason: "r".into() });
    assert_eq!(back, Done::Did { what: "pool/p slots: 1 → 7 (set for all)".into() });
    world.join("h", "php", &["p"]);
    assert_eq!(world.state.read_pools(&Default::default(), world.now).rows[0].slots, 7);
    world.act(Act::Set {
        scope: name("pool/q"),
        setting: Setting::Slots(Slots::Count(2)),
        reason: "r".into(),
        for_ms: Some(10),
    });
    world.later(10);
    world.tick();
    assert_eq!(world.state.read_pools(&Default::default(), world.now).rows.len(), 1, "q is known no more");
    let unset = |kind| Act::Unset { scope: name("all"), kind, reason: "no more".into() };
    assert_eq!(world.act(unset(SettingKind::Slots)), Done::Did { what: "all slots: 7 → 10% (default)".into() });
    assert!(matches!(world.act(unset(SettingKind::Slots)), Done::Refused { .. }));
    let wrong = world.act(act(Setting::Slots(Slots::Count(0)), None));
    assert!(matches!(wrong, Done::Refused { why, .. } if why.contains("slots lies between 1 and 100000")));
}

#[test]
fn set_tells_the_value_that_held_before() {
    let mut world = World::with_slots(1);
    let mut change = |scope: &str, setting| {
        let act = Act::Set { scope: name(scope), setting, reason: "r".into(), for_ms: None };
        match world.act(act) {
            Done::Did { what } => what,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(change("pool/q", Setting::Slots(Slots::Percent(20))), "pool/q slots: 10% → 20%");
    assert_eq!(change("pool/q", Setting::MaxQueue(5)), "pool/q max_queue: 10000 → 5");
    assert_eq!(change("pool/q", Setting::Wait(60_000)), "pool/q wait: 10m → 1m");
    assert_eq!(change("all", Setting::Ttl(2_000)), "all ttl: 30s → 2s; leases that are there keep theirs");
    assert_eq!(change("pool/q", Setting::Ttl(3_000)), "pool/q ttl: 2s → 3s; leases that are there keep theirs");
    assert_eq!(
        change("pool/q", Setting::LostAfter(None)),
        "pool/q lost_after: 1h → never; leases that are there keep theirs"
    );
    assert_eq!(change("service/s", Setting::MaxFailures(9)), "service/s max_failures: 3 → 9");
    assert_eq!(change("service/s", Setting::Strict(true)), "service/s strict: false → true");
    assert_eq!(change("service/s", Setting::Expires(60_000)), "service/s expires: 1d → 1m");
}

#[test]
fn a_percentage_counts_members_alive_or_not_until_they_are_forgotten() {
    let mut world = World::default();
    for n in 0..20 {
        world.join(&format!("h{n}"), "php", &["app"]);
    }
    let slots = |world: &World| world.state.read_pools(&Default::default(), world.now).rows[0].slots;
    assert_eq!(slots(&world), 2);
    world.later(100_000);
    assert_eq!(slots(&world), 2);
    world.release("h0", false, true);
    assert_eq!(slots(&world), 1);
}

#[test]
fn the_same_operation_again_happens_once() {
    let mut world = World::with_slots(1);
    let act = Act::Pause { scope: name("all"), reason: "once".into(), for_ms: 60_000 };
    let first = world.operate(name("once"), act.clone());
    world.later(10);
    world.resume("all");
    assert_eq!(world.operate(name("once"), act.clone()), first);
    world.granted("a", "ca", &["p"]);
    // After a day it is forgotten, and would happen again.
    world.later(24 * 3_600_000 - 11);
    world.tick();
    assert_eq!(world.operate(name("once"), act.clone()), first, "nearly a day");
    world.later(1);
    world.tick();
    world.operate(name("once"), act);
    assert_eq!(why(world.ask(&ask("b", "cb", &["p"]))), RefusalKind::Paused);
}

#[test]
fn a_change_without_a_reason_or_out_of_bounds_is_refused() {
    let mut world = World::with_slots(1);
    let long = "x".repeat(1025);
    let scope = || name("all");
    for act in [
        Act::Pause { scope: scope(), reason: " ".into(), for_ms: 1 },
        Act::Pause { scope: scope(), reason: "r".into(), for_ms: 0 },
        Act::Pause { scope: scope(), reason: "r".into(), for_ms: u64::MAX },
        Act::Pause { scope: scope(), reason: long.clone(), for_ms: 1 },
        Act::Set { scope: scope(), setting: Setting::Ttl(5_000), reason: String::new(), for_ms: None },
        Act::Set { scope: scope(), setting: Setting::Ttl(5_000), reason: "r".into(), for_ms: Some(0) },
        Act::Unset { scope: scope(), kind: SettingKind::Ttl, reason: String::new() },
        Act::Abort { rollout: rollout_of("php", 1), reason: String::new() },
        Act::Release { holder: name("a"), reason: String::new(), live: true, forget: true },
    ] {
        let done = world.act(act.clone());
        assert!(matches!(done, Done::Refused { .. }), "{act:?} gave {done:?}");
    }
    let year = 365 * 24 * 3_600_000;
    let done = world.act(Act::Pause { scope: scope(), reason: "x".repeat(1024), for_ms: year });
    assert!(matches!(done, Done::Did { .. }), "{done:?}");
}

#[test]
fn the_history_says_who_did_what_and_why() {
    let mut world = World::with_slots(1);
    world.join("a", "php", &["p"]);
    world.pause("pool/p", 60_000);
    world.later(60_000);
    world.tick();
    let select = |scope: &str| model::read::Selection { scope: Some(name(scope)), ..Default::default() };
    let lines = |world: &World, scope: &str| -> Vec<String> {
        let rows = world.state.read_history(&select(scope)).rows;
        rows.iter().map(|entry| format!("{} {} {}", entry.by, entry.kind.word(), entry.text)).collect()
    };
    assert_eq!(
        lines(&world, "pool/p"),
        [
            "ann@ops1 set pool/p slots: 10% → 1: test",
            "ann@ops1 paused pool/p for 1m: frozen",
            "stagger resumed the pause of pool/p is over"
        ]
    );
    assert_eq!(lines(&world, "host/a"), ["a joined a joined, with php"]);
    assert_eq!(lines(&world, "all").len(), 4);
    let tail = world.state.read_history(&model::read::Selection { after: Some("2".into()), ..Default::default() });
    assert_eq!(tail.rows.iter().map(|entry| entry.number).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(tail.next.as_deref(), Some("4"));
}

#[test]
fn the_history_is_found_under_whatever_an_entry_is_about() {
    let mut world = World::with_slots(3);
    world.set("service/php", Setting::MaxFailures(1));
    for host in ["a", "b"] {
        world.join(host, "php", &["p"]);
    }
    world.announce("php");
    let php = rollout_of("php", 1);
    world.ask_for("a", "ca", &["p"], &php);
    world.begin("a", "ca");
    world.settle_with("a", "ca", Ending::Kept, Some(php.clone()), Some(failed("exit 78")));
    world.resume("rollout/php@1");
    world.announce_with("php", |announce| announce.supersede = true);
    world.act(Act::Abort { rollout: rollout_of("php", 2), reason: "wrong".into() });
    world.act(Act::Release { holder: name("a"), reason: "gone".into(), live: false, forget: false });
    let words = |scope: &str| -> Vec<&str> {
        let select = model::read::Selection { scope: Some(name(scope)), ..Default::default() };
        world.state.read_history(&select).rows.iter().map(|entry| entry.kind.word()).collect()
    };
    assert_eq!(
        words("service/php"),
        ["set", "announced", "failed", "halted", "resumed", "superseded", "announced", "aborted", "released"]
    );
    assert_eq!(words("pool/p"), ["set", "failed", "released"]);
    assert_eq!(words("host/a"), ["joined", "failed", "halted", "released"]);
    assert_eq!(words("rollout/php@1"), ["announced", "failed", "halted", "resumed", "superseded", "released"]);
}

#[test]
fn a_pool_shows_where_each_setting_comes_from_and_what_it_goes_back_to() {
    let mut world = World::with_slots(1);
    world.join("a", "php", &["p"]);
    world.set("all", Setting::Ttl(2_000));
    world.set("all", Setting::Slots(Slots::Count(9)));
    for (setting, for_ms) in [(Setting::Slots(Slots::Count(5)), 60_000), (Setting::Wait(1_000), 30_000)] {
        let act = Act::Set { scope: name("pool/p"), setting, reason: "busy".into(), for_ms: Some(for_ms) };
        world.act(act);
    }
    world.later(10_000);
    let rows = world.state.read_pools(&Default::default(), world.now).rows.remove(0).overrides;
    let told = |row: &model::read::OverrideRow| {
        (row.set.scope.to_string(), row.set.setting.to_string(), row.left_ms, row.then.clone())
    };
    assert_eq!(
        rows.iter().map(told).collect::<Vec<_>>(),
        [
            ("pool/p".to_owned(), "5".to_owned(), Some(50_000), "1".to_owned()),
            ("pool/p".to_owned(), "1s".to_owned(), Some(20_000), "10m (default)".to_owned()),
            ("all".to_owned(), "2s".to_owned(), None, "30s (default)".to_owned()),
        ]
    );
}

#[test]
fn a_pause_says_how_many_that_have_begun_will_finish() {
    let mut world = World::with_slots(3);
    for host in ["a", "b"] {
        world.join(host, "php", &["p"]);
    }
    world.announce("php");
    for host in ["a", "b"] {
        world.ask_for(host, &format!("c{host}"), &["p"], &rollout_of("php", 1));
    }
    world.begin("a", "ca");
    let pause = || Act::Pause { scope: name("all"), reason: "r".into(), for_ms: 60_000 };
    let done = world.act(pause());
    assert_eq!(done, Done::Did { what: "all is paused for 1m; nothing new begins, 1 that has begun finishes".into() });
    world.later(30_000);
    world.tick();
    let done = world.act(pause());
    assert_eq!(done, Done::Did { what: "all is paused for 1m; nothing new begins, 0 that have begun finish; it takes the place of 30s by ann@ops1: r".into() });
}

#[test]
fn a_change_tells_those_whom_it_may_help_and_nobody_else() {
    let mut world = World::with_slots(1);
    world.granted("a", "ca", &["p"]);
    world.queued("b", "cb", &["p", "q"]);
    let mut number = 0;
    let mut told = |act| {
        number += 1;
        let admin = Admin { operation: name(&format!("n{number}")), by: "ann@ops1".into(), act };
        let nudges = world.decide(&Request::Admin(admin)).nudges;
        let pools = nudges.pools.iter().map(|pool| format!("next in {pool}"));
        let scopes = nudges.scopes.iter().map(|scope| format!("all of {scope}"));
        pools.chain(scopes).collect::<Vec<_>>()
    };
    let set = |scope: &str, setting| Act::Set { scope: name(scope), setting, reason: "r".into(), for_ms: None };
    let slots = Setting::Slots(Slots::Count(2));
    assert_eq!(
        told(set("pool/p", slots)),
        ["next in p", "next in q"],
        "those too who stand behind one that waits for p"
    );
    assert_eq!(told(set("all", slots)), ["next in p", "next in q"]);
    assert_eq!(told(set("pool/p", Setting::Wait(60_000))), ["all of pool/p"]);
    assert_eq!(told(set("pool/p", Setting::Ttl(60_000))), [] as [&str; 0]);
    assert_eq!(told(set("service/php", Setting::Strict(true))), [] as [&str; 0]);
    let unset = Act::Unset { scope: name("pool/p"), kind: SettingKind::Slots, reason: "r".into() };
    assert_eq!(told(unset), ["next in p", "next in q"]);
    let pause = |scope: &str| Act::Pause { scope: name(scope), reason: "r".into(), for_ms: 60_000 };
    for (scope, all) in [("all", "all"), ("host/b", "host/b"), ("pool/q", "pool/q"), ("rollout/php@1", "service/php")] {
        let behind = ["next in p", "next in q"].into_iter().filter(|_| !all.starts_with("service"));
        let all_told: Vec<_> = behind.map(String::from).chain([format!("all of {all}")]).collect();
        assert_eq!(told(pause(scope)), all_told);
        assert_eq!(told(Act::Resume { scope: name(scope) }), all_told);
    }
}

#[test]
fn nobody_is_next_in_a_pool_that_is_paused() {
    for scope in ["all", "pool/p", "pool/q"] {
        let mut world = World::with_slots(1);
        world.granted("a", "ca", &["p"]);
        world.queued("b", "cb", &["p", "q"]);
        world.settle("a", "ca", Ending::Released);
        assert_eq!(world.next_in_line().as_deref(), Some("b"));
        world.pause(scope, 5_000);
        assert_eq!(world.next_in_line(), None, "{scope}");
    }
}

#[test]
fn a_resume_that_is_refused_changes_nothing() {
    let mut world = World::with_slots(1);
    world.join("a", "php", &["p"]);
    world.join("b", "php", &["p"]);
    world.announce_with("php", |announce| (announce.max_failures, announce.expires_ms) = (Some(1), Some(60_000)));
    let rollout = rollout_of("php", 1);
    world.ask_for("a", "ca", &["p"], &rollout);
    world.begin("a", "ca");
    world.settle_with("a", "ca", Ending::Kept, Some(rollout.clone()), Some(failed("exit 78")));
    world.pause("rollout/php@1", 3_600_000);
    world.later(60_000);
    world.tick();
    let pauses = world.state.read_pauses(world.now).len();
    assert!(matches!(world.resume("rollout/php@1"), Done::Refused { why, .. } if why == "php@1 has expired"));
    assert_eq!((pauses, world.state.read_pauses(world.now).len()), (1, 1));
}
