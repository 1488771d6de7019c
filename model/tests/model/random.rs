//! Random interleavings of requests, deaths, returns and time: every invariant is checked after every step, a part of the
//! state decides like the whole, replaying the changes gives the live state, and a bystander never counts too many.

use crate::world::{World, name, pools};
use model::lease::Purpose;
use model::names::Id;
use model::request::{Act, Announce, Answer, Ask, Begin, BeginAsk, Ending, Own, Quiet, Renew, Reply, Request};
use model::rollout::{Outcome, Report};
use model::settings::{Setting, Slots};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// One thing that happens to a world of a few hosts and pools.
#[derive(Debug, Clone)]
enum Happening {
    Later(u64),
    Join { host: u8, session: u8 },
    Silent { host: u8 },
    Ask { host: u8, pools: u8, rollout: bool },
    WaiterSilent { host: u8 },
    Begin { host: u8 },
    Renew { host: u8 },
    Settle { host: u8, ending: Ending, outcome: Outcome },
    Dies { host: u8 },
    Announce { supersede: bool, strict: bool, max_failures: u32, only: u8 },
    Abort,
    Pause { scope: u8, for_ms: u64 },
    Resume { scope: u8 },
    Release { host: u8, live: bool, forget: bool },
    Slots { pool: u8, count: u32 },
    Restart { killed: bool },
    Tick,
}

const HOSTS: u8 = 6;
const SLOTS_MAX: u32 = 3;

fn host_name(host: u8) -> String {
    format!("h{}", host % HOSTS)
}

fn pool_names(bits: u8) -> Vec<&'static str> {
    let all = ["p", "q", "r"];
    let chosen: Vec<_> =
        all.into_iter().enumerate().filter(|(place, _)| bits & (1 << place) != 0).map(|(_, pool)| pool).collect();
    if chosen.is_empty() { vec!["p"] } else { chosen }
}

fn scope(number: u8) -> &'static str {
    ["all", "pool/p", "pool/q", "service/php", "host/h1", "rollout/php@1", "rollout/php@2"][usize::from(number) % 7]
}

fn happening() -> impl Strategy<Value = Happening> {
    let host = 0..HOSTS;
    prop_oneof![
        6 => prop_oneof![Just(1u64), Just(400), Just(1_000), Just(2_100), Just(20_000)].prop_map(Happening::Later),
        3 => (host.clone(), 0..3u8).prop_map(|(host, session)| Happening::Join { host, session }),
        1 => host.clone().prop_map(|host| Happening::Silent { host }),
        12 => (host.clone(), 0..8u8, any::<bool>()).prop_map(|(host, pools, rollout)| Happening::Ask { host, pools, rollout }),
        1 => host.clone().prop_map(|host| Happening::WaiterSilent { host }),
        6 => host.clone().prop_map(|host| Happening::Begin { host }),
        6 => host.clone().prop_map(|host| Happening::Renew { host }),
        8 => (host.clone(), 0..5usize, 0..4usize).prop_map(|(host, ending, outcome)| Happening::Settle {
            host,
            ending: [Ending::Released, Ending::Kept, Ending::FailedReleased, Ending::Cancelled, Ending::GaveWay][ending],
            outcome: [Outcome::Restarted, Outcome::Failed, Outcome::Skipped, Outcome::Cancelled][outcome],
        }),
        2 => host.clone().prop_map(|host| Happening::Dies { host }),
        2 => (any::<bool>(), any::<bool>(), 1..4u32, 0..4u8).prop_map(|(supersede, strict, max_failures, only)| {
            Happening::Announce { supersede, strict, max_failures, only }
        }),
        1 => Just(Happening::Abort),
        1 => (0..7u8, prop_oneof![Just(500u64), Just(60_000)]).prop_map(|(scope, for_ms)| Happening::Pause { scope, for_ms }),
        2 => (0..7u8).prop_map(|scope| Happening::Resume { scope }),
        1 => (host, any::<bool>(), any::<bool>()).prop_map(|(host, live, forget)| Happening::Release { host, live, forget }),
        1 => (0..3u8, 1..=SLOTS_MAX).prop_map(|(pool, count)| Happening::Slots { pool, count }),
        2 => any::<bool>().prop_map(|killed| Happening::Restart { killed }),
        2 => Just(Happening::Tick),
    ]
}

/// The hosts as they see themselves: their claim, and until when they may believe that a lease is theirs.
#[derive(Debug, Default)]
struct Hosts {
    claims: BTreeMap<u8, Id>,
    made: u32,
    believes_until: BTreeMap<Id, u64>,
}

impl Hosts {
    fn claim(&mut self, host: u8) -> Id {
        let made = &mut self.made;
        self.claims
            .entry(host % HOSTS)
            .or_insert_with(|| {
                *made += 1;
                name(&format!("c{made}"))
            })
            .clone()
    }

    fn forget(&mut self, host: u8) {
        if let Some(claim) = self.claims.remove(&(host % HOSTS)) {
            self.believes_until.remove(&claim);
        }
    }
}

fn happen(world: &mut World, hosts: &mut Hosts, happening: &Happening) {
    match happening {
        Happening::Later(ms) => world.later(*ms),
        Happening::Join { host, session } => {
            let text = host_name(*host);
            let join = model::request::Join {
                session: name(&format!("s{session}")),
                ..World::join_request(&text, "php", &pool_names(*host))
            };
            world.joined(&join);
        }
        Happening::Silent { host } => {
            world.decide(&Request::Quiet(Quiet::Member { host: name(&host_name(*host)), session: name("s1") }));
        }
        Happening::Ask { host, pools: bits, rollout } => {
            let newest = world.state.read_rollouts(&Default::default(), world.now).into_iter().next();
            let purpose = match newest.filter(|_| *rollout) {
                Some(row) => Purpose::Rollout(row.name),
                None if bits % 2 == 0 => Purpose::Restart(name("php")),
                None => Purpose::Run("x".into()),
            };
            let claim = hosts.claim(*host);
            let ask = Ask {
                holder: name(&host_name(*host)),
                claim: claim.clone(),
                pools: pools(&pool_names(*bits)),
                purpose,
                wait_ms: None,
                patience_ms: 1_000,
            };
            world.ask(&ask);
        }
        Happening::WaiterSilent { host } => {
            let claim = hosts.claim(*host);
            world.quiet(&host_name(*host), claim.as_str());
        }
        Happening::Begin { host } => {
            let ask = BeginAsk { holder: name(&host_name(*host)), claim: hosts.claim(*host), away_ms: 0 };
            let reply = world.decide(&Request::Begin(ask.clone())).reply;
            if matches!(reply, Reply::Begun(Begin::Go { .. })) {
                let again = world.decide(&Request::Begin(ask)).reply;
                assert_eq!(reply, again, "the same begin again is answered alike");
            }
        }
        Happening::Renew { host } => {
            let claim = hosts.claim(*host);
            let renew =
                Renew { holder: name(&host_name(*host)), claim: claim.clone(), step: None, note: String::new() };
            match world.decide(&Request::Renew(renew)).reply {
                // Only what is confirmed is believed in.
                Reply::Owned(Own::Held { ttl_ms }) => {
                    let lease = world.lease(&host_name(*host)).expect("what is renewed");
                    world.believers.insert(claim.clone(), (lease.holder, lease.pools.into_keys().collect()));
                    hosts.believes_until.insert(claim, world.now.time.0 + ttl_ms);
                }
                _ => {
                    hosts.believes_until.remove(&claim);
                }
            }
        }
        Happening::Settle { host, ending, outcome } => {
            let claim = hosts.claim(*host);
            let rollout = world.lease(&host_name(*host)).and_then(|lease| match lease.purpose {
                Purpose::Rollout(name) => Some(name),
                _ => None,
            });
            let report = Report { cause: "exit 1".into(), ..Report::plain(*outcome) };
            world.settle_with(&host_name(*host), claim.as_str(), *ending, rollout, Some(report));
            hosts.believes_until.remove(&claim);
            if *ending != Ending::GaveWay {
                hosts.forget(*host);
            }
        }
        Happening::Dies { host } => {
            let claim = hosts.claim(*host);
            world.quiet(&host_name(*host), claim.as_str());
            hosts.forget(*host);
        }
        Happening::Announce { supersede, strict, max_failures, only } => {
            let only = match only {
                0 => vec![name("pool/q")],
                1 => vec![name("host/h2")],
                _ => Vec::new(),
            };
            world.act(Act::Announce(Announce {
                service: name("php"),
                message: "m".into(),
                only,
                always: false,
                supersede: *supersede,
                max_failures: Some(*max_failures),
                strict: Some(*strict),
                expires_ms: Some(30_000),
            }));
        }
        Happening::Abort => {
            if let Some(row) = world.state.read_rollouts(&Default::default(), world.now).into_iter().next() {
                world.act(Act::Abort { rollout: row.name, reason: "r".into() });
            }
        }
        Happening::Pause { scope: number, for_ms } => world.pause(scope(*number), *for_ms),
        Happening::Resume { scope: number } => {
            world.resume(scope(*number));
        }
        Happening::Release { host, live, forget } => {
            world.release(&host_name(*host), *live, *forget);
            if *live {
                // A person took it away from one that may still believe in it; that is what the flag says.
                hosts.forget(*host);
            }
        }
        Happening::Slots { pool, count } => {
            world.set(&format!("pool/{}", ["p", "q", "r"][usize::from(*pool)]), Setting::Slots(Slots::Count(*count)));
        }
        Happening::Restart { killed } => {
            let before = world.now.time.0;
            if *killed {
                world.restart()
            } else {
                world.stop_and_start()
            }
            // The hosts' own clocks do not go back with the coordinator's.
            let back = before - world.now.time.0;
            hosts.believes_until.values_mut().for_each(|until| *until = until.saturating_sub(back));
        }
        Happening::Tick => {
            world.tick();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_invariants_hold(happenings in prop::collection::vec(happening(), 1..80)) {
        let mut world = World::with_slots(2);
        world.set("all", Setting::Ttl(2_000));
        world.set("all", Setting::LostAfter(Some(1_000)));
        world.set("pool/q", Setting::Slots(Slots::Count(1)));
        world.set("pool/r", Setting::Slots(Slots::Count(1)));
        let mut hosts = Hosts::default();
        for happening in &happenings {
            happen(&mut world, &mut hosts, happening);
            // The bystander: those who believe, by their own clock, to hold a slot.
            let now = world.now.time.0;
            hosts.believes_until.retain(|_, until| *until > now);
            world.believers.retain(|claim, _| hosts.believes_until.contains_key(claim));
            for pool in ["p", "q", "r"] {
                prop_assert!(world.believing(pool) <= SLOTS_MAX as usize, "{} believe to hold {pool}", world.believing(pool));
            }
        }
    }

    /// With a world that lets everyone through in the end, everyone gets a turn, and in the order of the tickets.
    #[test]
    fn everyone_gets_a_turn_in_order(sets in prop::collection::vec(1..8u8, 2..12), slots in 1..3u32) {
        let mut world = World::with_slots(slots);
        for pool in ["pool/q", "pool/r"] {
            world.set(pool, Setting::Slots(Slots::Count(1)));
        }
        let mut waiting: Vec<(String, Vec<&str>)> = Vec::new();
        for (place, bits) in sets.iter().enumerate() {
            waiting.push((format!("w{place}"), pool_names(*bits)));
        }
        let mut holding: Vec<String> = Vec::new();
        let mut served: Vec<(String, Vec<&str>)> = Vec::new();
        for _ in 0..200 {
            let mut still = Vec::new();
            for (holder, names) in waiting.drain(..) {
                world.later(1);
                match world.ask(&Ask { patience_ms: 60_000, ..crate::world::ask(&holder, &format!("c.{holder}"), &names) }) {
                    Answer::Granted(_) => {
                        holding.push(holder.clone());
                        served.push((holder, names));
                    }
                    Answer::Queued(_) => still.push((holder, names)),
                    Answer::Refused(refusal) => panic!("{refusal:?}"),
                }
            }
            waiting = still;
            if let Some(holder) = (!holding.is_empty()).then(|| holding.remove(0)) {
                world.settle(&holder, &format!("c.{holder}"), Ending::Released);
            }
            if waiting.is_empty() {
                break;
            }
        }
        prop_assert!(waiting.is_empty(), "{waiting:?} never got a turn");
        // Within one set of pools the order is that of arrival.
        for (earlier, (holder, names)) in served.iter().enumerate() {
            for (other, others) in &served[earlier + 1..] {
                let number = |text: &str| text[1..].parse::<u32>().expect("a number");
                prop_assert!(names != others || number(holder) < number(other), "{other} was served after {holder}");
            }
        }
    }
}
