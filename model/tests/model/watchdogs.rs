//! The invariants bite: each is shown a state or a decision that breaks it, and says so.

use crate::world::{World, ask, failed, name, rollout_of};
use model::apply::{Decision, Nudges};
use model::change::Change;
use model::invariants::{OF_DECISION, OF_STATE, Taken};
use model::lease::{Lease, LeaseState, Purpose};
use model::request::{Answer, Begin, BeginAsk, Ending, Granted, Reply, Request};
use model::rollout::{Progress, Rollout};
use model::settings::{Setting, Slots};
use model::state::{State, Stored};

/// The rules that a state breaks.
fn broken(state: &State) -> Vec<&'static str> {
    OF_STATE.iter().filter(|(_, rule)| rule(state).is_err()).map(|(name, _)| *name).collect()
}

/// A world with one of everything: a lease that is held, a failed one, a waiter, a rollout under way.
fn busy() -> World {
    let mut world = World::with_slots(2);
    for host in ["a", "b", "c"] {
        world.join(host, "php", &["p"]);
    }
    world.announce_with("php", |announce| announce.max_failures = Some(2));
    let php = rollout_of("php", 1);
    world.ask_for("a", "ca", &["p"], &php);
    world.begin("a", "ca");
    world.settle_with("a", "ca", Ending::Kept, Some(php.clone()), Some(failed("exit 1")));
    world.ask_for("b", "cb", &["p"], &php);
    world.ask_for("c", "cc", &["p"], &php);
    world
}

fn lease_of(world: &World, holder: &str) -> Lease {
    world.lease(holder).expect("a lease")
}

/// The state with one record put over what is there.
fn with(world: &World, record: Stored) -> State {
    let mut state = world.state.clone();
    state.put(record);
    state
}

fn rollout(world: &World) -> Rollout {
    let records = world.state.records();
    let found = records.into_iter().find_map(|record| match record {
        Stored::Rollout(rollout) => Some(*rollout),
        _ => None,
    });
    found.expect("a rollout")
}

#[test]
fn a_sound_state_breaks_no_rule() {
    assert_eq!(broken(&busy().state), [] as [&str; 0]);
}

#[test]
fn each_rule_of_a_state_bites() {
    let world = busy();
    let lease = |change: fn(&mut Lease)| {
        let mut lease = lease_of(&world, "b");
        change(&mut lease);
        broken(&with(&world, Stored::Lease(Box::new(lease))))
    };
    let tokens = "no two grants share a token";
    assert_eq!(lease(|lease| lease.pools.clear()), [tokens]);
    assert_eq!(lease(|lease| *lease.pools.get_mut(&name("p")).expect("p") = 1), [tokens], "granted twice");
    assert_eq!(lease(|lease| *lease.pools.get_mut(&name("p")).expect("p") = 99), [tokens], "never granted");
    assert_eq!(lease(|lease| lease.note = "x".repeat(1025)), ["everything is bounded"]);
    let says = "a failed lease says for what";
    assert_eq!(lease(|lease| lease.state = LeaseState::Failed), [says]);
    assert_eq!(
        lease(|lease| {
            lease.state = LeaseState::Lost;
            lease.has_begun = true;
        }),
        [says]
    );
    let waits = "nobody waits for what it holds";
    assert_eq!(lease(|lease| lease.holder = name("c")), [tokens, waits], "it holds and waits");
    let ticket = |change: fn(&mut model::lease::Ticket)| {
        let mut ticket = world.state.records().into_iter().find_map(|record| match record {
            Stored::Ticket(ticket) => Some(ticket),
            _ => None,
        });
        let ticket = ticket.as_mut().expect("a ticket");
        change(ticket);
        broken(&with(&world, Stored::Ticket(ticket.clone())))
    };
    assert_eq!(ticket(|ticket| ticket.pools.clear()), [waits]);
    assert_eq!(ticket(|ticket| ticket.holder = name("d")), [waits], "two with one number");
    let tally = "the tally counts the targets";
    let mut miscounted = rollout(&world);
    miscounted.tally.ok += 1;
    assert_eq!(broken(&with(&world, Stored::Rollout(Box::new(miscounted)))), [tally]);
}

#[test]
fn the_rule_of_the_newest_bites() {
    let rule = "only the newest rollout moves";
    let mut world = busy();
    let generation = |generation| Stored::Generation { service: name("php"), generation };
    assert_eq!(broken(&with(&world, generation(0))), [rule], "newer than the newest");
    world.announce_with("php", |announce| announce.supersede = true);
    let mut old = world.state.read_rollout(&rollout_of("php", 1), world.now).expect("a rollout").row;
    assert!(old.ended.take().is_some());
    let mut record = world.state.records().into_iter().find_map(|record| match record {
        Stored::Rollout(rollout) if rollout.name.generation == 1 => Some(*rollout),
        _ => None,
    });
    let open = record.as_mut().expect("the older one");
    open.ended = None;
    assert_eq!(broken(&with(&world, Stored::Rollout(Box::new(open.clone())))), [rule]);
    // Expired before the newer one was announced, or with nothing left, it moves no more.
    open.expired = true;
    assert_eq!(broken(&with(&world, Stored::Rollout(Box::new(open.clone())))), [] as [&str; 0]);
}

/// The rules that a decision breaks of which everyone is told.
fn rules_broken(world: &World, request: &Request, reply: Reply, changes: Vec<Change>) -> Vec<&'static str> {
    let nudges = Nudges { scopes: [name("all")].into(), ..Nudges::default() };
    rules_broken_told(world, request, Decision { reply, changes, nudges })
}

fn rules_broken_told(world: &World, request: &Request, decision: Decision) -> Vec<&'static str> {
    let mut after = world.state.clone();
    after.replay(&decision.changes);
    let taken = Taken { before: &world.state, request, decision: &decision, after: &after, now: world.now };
    OF_DECISION.iter().filter(|(_, rule)| rule(&taken).is_err()).map(|(name, _)| *name).collect()
}

/// A decision that grants this lease to whoever asks for it.
fn grant(world: &World, asker: &str, lease: Lease) -> Vec<&'static str> {
    let request = Request::Ask(ask(asker, "new", &["p"]));
    let reply = Reply::Asked(Answer::Granted(Box::new(Granted { lease: lease.clone() })));
    let used = lease.pools.iter().map(|(pool, token)| Change::TokenUsed { pool: pool.clone(), token: *token });
    let changes = used.chain([Change::LeaseGranted(lease.clone())]).collect();
    rules_broken(world, &request, reply, changes)
}

#[test]
fn each_rule_of_a_grant_bites() {
    let mut world = busy();
    let fresh = |token| Lease {
        holder: name("z"),
        claim: name("new"),
        purpose: Purpose::Run("x".into()),
        pools: [(name("p"), token)].into(),
        has_begun: false,
        begun: None,
        ..lease_of(&busy(), "b")
    };
    let beyond = "nothing is granted beyond the slots";
    assert_eq!(grant(&world, "z", fresh(3)), [beyond], "two slots are taken");
    // A failed host on the slot that it keeps takes none.
    let kept = Lease { claim: name("new"), pools: [(name("p"), 3)].into(), ..lease_of(&world, "a") };
    assert_eq!(grant(&world, "a", kept), [] as [&str; 0]);
    world.set("pool/p", Setting::Slots(Slots::Count(3)));
    assert_eq!(grant(&world, "z", fresh(3)), [] as [&str; 0]);
    assert_eq!(grant(&world, "z", fresh(2)), ["tokens grow"], "used before");
    assert_eq!(grant(&world, "z", fresh(1)), ["tokens grow"], "and it falls");
    let own = "grants happen only inside the waiter's own ask";
    assert_eq!(grant(&world, "y", fresh(3)), [own], "another asked");
    assert_eq!(grant(&world, "z", Lease { claim: name("other"), ..fresh(3) }), [own], "another request of its");
    let request = Request::Ask(ask("z", "new", &["p"]));
    let used = Change::TokenUsed { pool: name("p"), token: 3 };
    let untold = rules_broken(&world, &request, Reply::Noted, vec![used, Change::LeaseGranted(fresh(3))]);
    assert_eq!(untold, [own], "nobody was told");
    world.pause("pool/p", 60_000);
    assert_eq!(grant(&world, "z", fresh(3)), ["a pause stops grants and begins"]);
}

/// A decision that lets a holder begin, with this lease and these targets afterwards.
fn begin(world: &World, lease: &Lease, reply: Begin) -> Vec<&'static str> {
    let request = Request::Begin(BeginAsk { holder: lease.holder.clone(), claim: lease.claim.clone(), away_ms: 0 });
    rules_broken(world, &request, Reply::Begun(reply), vec![Change::LeaseBegun(lease.clone())])
}

#[test]
fn each_rule_of_a_begin_bites() {
    let go = || Begin::Go { generation: Some(1) };
    let begun = |world: &World| Lease { has_begun: true, begun: Some(1), ..lease_of(world, "b") };
    let world = busy();
    assert_eq!(begin(&world, &begun(&world), go()), [] as [&str; 0]);
    let (newest, over) = ("only the newest generation authorises", "what is over stays over");
    assert_eq!(begin(&world, &begun(&world), Begin::Gone), [newest], "it was not told");
    for scope in ["all", "pool/p", "host/b", "service/php", "rollout/php@1"] {
        let mut world = busy();
        world.pause(scope, 60_000);
        assert_eq!(begin(&world, &begun(&world), go()), ["a pause stops grants and begins"], "{scope}");
    }
    for scope in ["pool/q", "host/a", "service/x", "rollout/php@2"] {
        let mut world = busy();
        world.pause(scope, 60_000);
        assert_eq!(begin(&world, &begun(&world), go()), [] as [&str; 0], "{scope}");
    }
    let mut superseded = busy();
    superseded.announce_with("php", |announce| announce.supersede = true);
    assert_eq!(begin(&superseded, &begun(&superseded), go()), [newest]);
    let mut aborted = busy();
    aborted.act(model::request::Act::Abort { rollout: rollout_of("php", 1), reason: "r".into() });
    assert_eq!(begin(&aborted, &begun(&aborted), go()), [newest]);
    let mut expired = busy();
    expired.later(25 * 3_600_000);
    assert_eq!(begin(&expired, &begun(&expired), go()), [over], "nobody has said that it is");
    let mut record = rollout(&expired);
    record.expired = true;
    expired.state.put(Stored::Rollout(Box::new(record.clone())));
    assert_eq!(begin(&expired, &begun(&expired), go()), [newest]);
    record.expired = false;
    let moved = vec![Change::RolloutMoved(record)];
    expired.now.time = world.now.time;
    assert_eq!(rules_broken(&expired, &Request::Tick, Reply::Noted, moved), [over], "it came back");
    let mut halted = world.state.clone();
    let mut record = rollout(&world);
    record.halted = Some(model::rollout::Halted { cause: "x".into(), host: None, at: world.now.wall });
    halted.put(Stored::Rollout(Box::new(record)));
    let halted = World { state: halted, now: world.now, ..World::default() };
    assert_eq!(begin(&halted, &begun(&world), go()), [newest]);
}

#[test]
fn the_rules_of_once_and_of_the_budget_bite() {
    let world = busy();
    let lease = Lease { has_begun: true, begun: Some(1), ..lease_of(&world, "b") };
    let changed = |change: &dyn Fn(&mut Rollout), progress: Progress| {
        let mut state = world.state.clone();
        let mut record = rollout(&world);
        change(&mut record);
        state.put(Stored::Rollout(Box::new(record)));
        state.put(Stored::Target(Box::new(model::rollout::Target {
            rollout: rollout_of("php", 1),
            host: name("b"),
            progress,
            report: None,
        })));
        let world = World { state, now: world.now, ..World::default() };
        begin(&world, &lease, Begin::Go { generation: Some(1) })
    };
    let nothing = |_: &mut Rollout| {};
    assert_eq!(changed(&nothing, Progress::Ok), ["no host restarts twice for a rollout"]);
    assert_eq!(changed(&nothing, Progress::Skipped), ["no host restarts twice for a rollout"]);
    for open in [Progress::Owes, Progress::Begun, Progress::Failed] {
        assert_eq!(changed(&nothing, open), [] as [&str; 0], "{open}");
    }
    let budget = "failures stay within the budget";
    // One has failed, and two may.
    assert_eq!(changed(&|rollout| rollout.max_failures = 1, Progress::Owes), [budget]);
    let forgiven = |rollout: &mut Rollout| {
        rollout.max_failures = 1;
        rollout.forgiven = 1;
    };
    assert_eq!(changed(&forgiven, Progress::Owes), [] as [&str; 0]);
    let strict = |begun| {
        move |rollout: &mut Rollout| {
            rollout.strict = true;
            rollout.tally.begun = begun;
        }
    };
    assert_eq!(changed(&strict(1), Progress::Owes), [] as [&str; 0], "one failed, one at stake, and two may");
    assert_eq!(changed(&strict(2), Progress::Owes), [budget]);
}

#[test]
fn the_rule_of_what_time_may_free_bites() {
    let world = busy();
    let rule = "time frees nothing that began or failed";
    let ended = |holder: &str| vec![Change::LeaseEnded(name(holder))];
    assert_eq!(rules_broken(&world, &Request::Tick, Reply::Noted, ended("a")), [rule], "it failed");
    assert_eq!(
        rules_broken(&world, &Request::Tick, Reply::Noted, ended("b")),
        [] as [&str; 0],
        "nobody has heard of it"
    );
    let mut confirmed = busy();
    confirmed.renew("b", "cb");
    let taken_back = "only what nobody confirmed is taken back";
    assert_eq!(rules_broken(&confirmed, &Request::Tick, Reply::Noted, ended("b")), [taken_back], "it may be at work");
    let mut begun = busy();
    begun.begin("b", "cb");
    assert_eq!(rules_broken(&begun, &Request::Tick, Reply::Noted, ended("b")), [rule], "it began");
    let settle = |holder: &str| {
        Request::Settle(model::request::Settle {
            holder: name(holder),
            claim: name("c"),
            ending: Ending::Released,
            rollout: None,
            report: None,
        })
    };
    assert_eq!(rules_broken(&begun, &settle("b"), Reply::Noted, ended("b")), [] as [&str; 0]);
    assert_eq!(rules_broken(&begun, &settle("c"), Reply::Noted, ended("b")), [rule], "another's settle");
    let falls = vec![Change::TokenUsed { pool: name("p"), token: 1 }];
    assert_eq!(rules_broken(&world, &Request::Tick, Reply::Noted, falls), ["tokens grow"]);
    let mut world = world;
    world.state.replay(&[Change::TokensRaised(9)]);
    let falls = vec![Change::TokensRaised(8)];
    assert_eq!(rules_broken(&world, &Request::Tick, Reply::Noted, falls), ["tokens grow"]);
}

#[test]
fn the_rule_of_who_is_told_bites() {
    let world = busy();
    let freed = |request: &Request, nudges| {
        let changes = vec![Change::LeaseEnded(name("b"))];
        rules_broken_told(&world, request, Decision { reply: Reply::Noted, changes, nudges })
    };
    let rule = "whoever may go is told";
    assert_eq!(freed(&Request::Tick, Nudges::default()), [rule], "c waits");
    for scope in ["pool/q", "host/a", "service/x"] {
        assert_eq!(
            freed(&Request::Tick, Nudges { scopes: [name(scope)].into(), ..Nudges::default() }),
            [rule],
            "{scope}"
        );
    }
    for scope in ["all", "pool/p", "host/c", "service/php"] {
        let nudges = Nudges { scopes: [name(scope)].into(), ..Nudges::default() };
        assert_eq!(freed(&Request::Tick, nudges), [] as [&str; 0], "{scope}");
    }
    let nudges = |pool| Nudges { pools: [name(pool)].into(), ..Nudges::default() };
    assert_eq!(freed(&Request::Tick, nudges("p")), [] as [&str; 0]);
    assert_eq!(freed(&Request::Tick, nudges("q")), [rule]);
    assert_eq!(freed(&Request::Ask(ask("c", "cc", &["p"])), Nudges::default()), [] as [&str; 0], "it is answered");
    assert_eq!(freed(&Request::Ask(ask("d", "cd", &["p"])), Nudges::default()), [rule]);
}
