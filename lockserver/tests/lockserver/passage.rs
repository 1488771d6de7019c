//! A domain moves from one coordinator to another: whole, and at no moment are both open, whatever stops in between.

use crate::common::*;
use coordinator::remote::Remote;
use coordinator::{Coordinator, Error};
use model::lease::{LeaseState, Purpose};
use model::passage::{Move, MoveStep, Stage};
use model::read::Selection;
use model::request::{Act, Answer, Ask, Done, Ending};
use model::settings::Setting;
use std::sync::Arc;
use std::time::Duration;

const NOW: Duration = Duration::ZERO;

/// Two lock servers, each on a disk that forgets what was not synced.
struct Ends {
    platters: [Arc<Platter>; 2],
    servers: [Option<Server>; 2],
    passage: &'static str,
}

impl Ends {
    async fn start() -> Ends {
        let platters = [Platter::new(0), Platter::new(0)];
        let servers = [Some(Server::on(&platters[0]).await), Some(Server::on(&platters[1]).await)];
        Ends { platters, servers, passage: "m1" }
    }

    fn server(&self, end: usize) -> &Server {
        self.servers[end].as_ref().expect("it runs")
    }

    fn client(&self, end: usize) -> Remote {
        self.server(end).client()
    }

    fn url(&self, end: usize) -> String {
        format!("http://{}", self.server(end).address)
    }

    /// The power of both fails, and comes back.
    async fn lose_power(&mut self) {
        for end in 0..2 {
            self.platters[end] = self.platters[end].power_off();
            if let Some(server) = self.servers[end].take() {
                server.kill().await;
            }
            self.servers[end] = Some(Server::on(&self.platters[end]).await);
        }
    }

    async fn step(&self, end: usize, step: MoveStep) -> Done {
        let wanted = Move { passage: id(self.passage), by: "ann".into(), step };
        soon("an answer", self.client(end).step(&wanted)).await.expect("an answer")
    }

    /// Takes the steps with these numbers.
    async fn take(&self, steps: std::ops::Range<usize>) {
        for number in steps {
            let old = self.client(0).passage().await.expect("how far it is");
            let (end, step) = match number {
                0 => (0, MoveStep::Close { to: self.url(1) }),
                1 => {
                    let time = old.passage.expect("a passage").time;
                    (1, MoveStep::Arrive { from: self.url(0), time })
                }
                2 => {
                    let luggage = self.client(0).luggage(None).await.expect("records");
                    assert_eq!(luggage.next, None);
                    let here = self.client(1).passage().await.expect("how far it is").passage.expect("a passage");
                    if here.stage != Stage::Arriving {
                        continue;
                    }
                    (1, MoveStep::Bring { records: luggage.records })
                }
                3 => (0, MoveStep::HandOver),
                4 => (1, MoveStep::Open { count: old.records }),
                _ => (0, MoveStep::Leave),
            };
            let done = self.step(end, step).await;
            assert!(matches!(done, Done::Did { .. }), "step {number}: {done:?}");
        }
    }

    /// How many of these grant anything.
    async fn granting(&self, of: &[usize]) -> usize {
        let ask = |end: usize| {
            let client = self.client(end);
            async move { client.ask(&ask(&format!("probe{end}"), &["probe"]), NOW).await }
        };
        let answers = futures_util::future::join_all(of.iter().map(|end| ask(*end))).await;
        let mut granting = 0;
        for (end, answer) in of.iter().zip(answers) {
            match answer {
                Ok(answer) => {
                    granted(answer);
                    granting += 1;
                    let settle = settle(&format!("probe{end}"), Ending::Released);
                    self.client(*end).settle(&settle).await.expect("an answer");
                }
                Err(Error::Unable { kind, .. }) => assert_eq!(kind, "moving"),
                Err(Error::Refused { kind, .. }) => assert_eq!(kind, "moved"),
                Err(other) => panic!("{other}"),
            }
        }
        granting
    }
}

/// How many steps there are.
const STEPS: usize = 6;

/// Fills a domain: a pool with a failed host that keeps its slot, a waiter, a setting, a pause.
async fn fill(client: &Remote) {
    slots(client, "app", 1).await;
    let restart = Ask { purpose: Purpose::Restart("php".parse().expect("a service")), ..ask("a", &["app"]) };
    granted(client.ask(&restart, NOW).await.expect("an answer"));
    client.settle(&settle("a", Ending::Kept)).await.expect("an answer");
    let waiter = Ask { patience_ms: 60_000, ..ask("b", &["app"]) };
    assert!(matches!(client.ask(&waiter, NOW).await.expect("an answer"), Answer::Queued(_)));
    let set = Act::Set {
        scope: "pool/other".parse().expect("a scope"),
        setting: Setting::Ttl(90_000),
        reason: "test".into(),
        for_ms: None,
    };
    do_it(client, set).await;
    let pause = Act::Pause { scope: "host/x".parse().expect("a scope"), reason: "test".into(), for_ms: 3_600_000 };
    do_it(client, pause).await;
}

#[tokio::test]
async fn everything_goes_along_and_who_asks_the_old_one_asks_the_new_one() {
    let ends = Ends::start().await;
    let old = ends.client(0);
    fill(&old).await;
    let select = Selection::default();
    let before = (old.leases(&select).await.expect("leases"), old.pauses().await.expect("pauses"));
    ends.take(0..STEPS).await;
    let url = ends.url(1);
    let reach = move |to: &str| {
        assert_eq!(to, url);
        Remote::new(to)
    };
    let follower = ends.client(0).following(Arc::new(reach));
    let after = (follower.leases(&select).await.expect("leases"), follower.pauses().await.expect("pauses"));
    assert_eq!(follower.url(), ends.url(1), "it asks there from now on");
    let lease = &after.0.leases[0].lease;
    assert_eq!((lease.state, lease), (LeaseState::Failed, &before.0.leases[0].lease));
    assert_eq!(after.0.queue[0].holder, holder("b"));
    assert_eq!(after.1[0].scope, before.1[0].scope);
    assert!(before.1[0].left_ms - after.1[0].left_ms < 5_000, "the pause goes on, and lasts no longer");
    // Tokens go on: the host's next try has a higher one.
    let again =
        Ask { claim: id("c2"), purpose: Purpose::Restart("php".parse().expect("a service")), ..ask("a", &["app"]) };
    let next = granted(follower.ask(&again, NOW).await.expect("an answer")).lease;
    assert!(next.pools[&pool("app")] > lease.pools[&pool("app")]);
    // One that does not follow is told where to go.
    let (status, body) = ends.server(0).request("GET", "/v1/leases", "").await;
    assert_eq!((status, body["kind"].as_str(), body["to"].as_str()), (410, Some("moved"), Some(&*ends.url(1))));
}

#[tokio::test]
async fn at_no_moment_are_both_open_and_the_same_steps_again_bring_it_to_its_end() {
    let cuts = (0..=STEPS).map(|cut| async move {
        let mut ends = Ends::start().await;
        fill(&ends.client(0)).await;
        for number in 0..cut {
            ends.take(number..number + 1).await;
            ends.lose_power().await;
        }
        // Before the second step the new one is another domain, empty and open.
        let granting = ends.granting(if cut < 2 { &[0] } else { &[0, 1] }).await;
        assert_eq!(granting, usize::from(matches!(cut, 0 | 5 | 6)), "after {cut} steps");
        if cut > 0 {
            ends.take(0..STEPS).await;
            assert_eq!(ends.granting(&[0, 1]).await, 1);
            let stage = |view: coordinator::wire::PassageView| view.passage.expect("a passage").stage;
            assert_eq!(stage(ends.client(0).passage().await.expect("it")), Stage::Gone);
            assert_eq!(stage(ends.client(1).passage().await.expect("it")), Stage::Arrived);
            let leases = ends.client(1).leases(&Selection::default()).await.expect("leases");
            assert_eq!(leases.leases.len(), 1);
        }
    });
    futures_util::future::join_all(cuts).await;
}

#[tokio::test]
async fn it_stays_when_that_is_wished_in_time_and_no_time_has_passed() {
    let mut ends = Ends::start().await;
    let client = ends.client(0);
    fill(&client).await;
    ends.take(0..3).await;
    assert!(matches!(ends.step(0, MoveStep::Undo).await, Done::Did { .. }));
    assert!(matches!(ends.step(1, MoveStep::Undo).await, Done::Did { .. }));
    assert!(client.leases(&Selection::default()).await.expect("leases").queue[0].listens);
    assert_eq!(ends.client(1).passage().await.expect("it").records, 0, "what had come in is forgotten");
    // Once more, to its end: now it is too late.
    ends.passage = "m2";
    ends.take(0..4).await;
    assert!(matches!(ends.step(0, MoveStep::Undo).await, Done::Refused { .. }));
    ends.take(4..STEPS).await;
    assert!(matches!(ends.step(1, MoveStep::Undo).await, Done::Refused { .. }));
    // And back again: what the old one still has is of no use any more.
    let back = |step| Move { passage: id("m3"), by: "ann".into(), step };
    let (new, old) = (ends.client(1), ends.client(0));
    let refused = old.step(&back(MoveStep::Close { to: "http://x:1".into() })).await.expect("an answer");
    assert!(matches!(refused, Done::Refused { .. }), "it is not here any more");
    new.step(&back(MoveStep::Close { to: ends.url(0) })).await.expect("closed");
    let view = new.passage().await.expect("how far it is");
    let time = view.passage.expect("a passage").time;
    let luggage = new.luggage(None).await.expect("records").records;
    for (client, step) in [
        (&old, MoveStep::Arrive { from: ends.url(1), time }),
        (&old, MoveStep::Bring { records: luggage }),
        (&new, MoveStep::HandOver),
        (&old, MoveStep::Open { count: view.records }),
        (&new, MoveStep::Leave),
    ] {
        let done = client.step(&back(step)).await.expect("an answer");
        assert!(matches!(done, Done::Did { .. }), "{done:?}");
    }
    assert_eq!(ends.granting(&[0, 1]).await, 1);
    assert_eq!(old.leases(&Selection::default()).await.expect("leases").leases.len(), 1);
}

#[tokio::test]
async fn what_must_not_move_is_refused() {
    let ends = Ends::start().await;
    let old = ends.client(0);
    slots(&old, "app", 1).await;
    granted(old.ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    let why = |done| match done {
        Done::Refused { why, .. } => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(ends.step(0, MoveStep::Close { to: ends.url(1) }).await), "1 lease is held");
    assert!(matches!(old.luggage(None).await, Err(Error::Refused { .. })), "an open domain changes");
    old.settle(&settle("a", Ending::Released)).await.expect("an answer");
    let (held, time) = (MoveStep::Close { to: ends.url(1) }, model::Time(1));
    assert!(matches!(ends.step(0, held).await, Done::Did { .. }));
    slots(&ends.client(1), "own", 1).await;
    let arrive = || MoveStep::Arrive { from: ends.url(0), time };
    assert_eq!(why(ends.step(1, arrive()).await), "it has records of its own");
    for (end, step, says) in [
        (1, MoveStep::Bring { records: vec![] }, "no such passage is under way here"),
        (1, MoveStep::Open { count: 0 }, "no such passage is under way here"),
        (0, MoveStep::Leave, "it is closed, and not handed over"),
        (0, MoveStep::Open { count: 0 }, "it is closed, and not handed over"),
    ] {
        assert_eq!(why(ends.step(end, step.clone()).await), says, "{step:?}");
    }
    let third = Server::on(&Platter::new(0)).await;
    let step = |step| Move { passage: id("m1"), by: "ann".into(), step };
    let client = third.client();
    client.step(&step(arrive())).await.expect("an answer");
    let open = client.step(&step(MoveStep::Open { count: 4 })).await.expect("an answer");
    assert_eq!(why(open), "0 records are here, and there are 4");
}

#[tokio::test]
async fn a_call_that_comes_while_it_moves_waits_for_the_end_of_it() {
    let ends = Ends::start().await;
    fill(&ends.client(0)).await;
    ends.take(0..5).await;
    let url = ends.url(1);
    let follower = ends.client(0).following(Arc::new(move |_: &str| Remote::new(&url)));
    let waiting = tokio::spawn(async move { follower.leases(&Selection::default()).await });
    tokio::task::yield_now().await;
    ends.take(5..STEPS).await;
    assert_eq!(soon("the answer", waiting).await.expect("no panic").expect("leases").leases.len(), 1);
}
