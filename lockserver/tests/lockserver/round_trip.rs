//! Every call of the client, through HTTP, to the model and back.

use crate::common::*;
use coordinator::Coordinator;
use model::lease::LeaseState;
use model::read::Selection;
use model::request::{
    Act, Announce, Answer, Begin, BeginAsk, Done, Ending, Join, Joined, Own, Quiet, RefusalKind, Renew, Settle, Settled,
};
use model::rollout::{Outcome, Report, RolloutState};
use model::sequence::Step;
use std::time::Duration;

const NOW: Duration = Duration::ZERO;

fn join(host: &str, session: &str) -> Join {
    Join {
        host: host.parse().expect("a host"),
        session: id(session),
        replaces: None,
        services: [("php".parse().expect("a service"), [pool("app")].into())].into(),
        version: "0.1.0".into(),
        metrics: None,
        sightings: Vec::new(),
        looked_ms: None,
        highest: Default::default(),
        trouble: String::new(),
        patience_ms: 30_000,
    }
}

fn announce() -> Act {
    Act::Announce(Announce {
        service: "php".parse().expect("a service"),
        message: "wmf.12".into(),
        only: Vec::new(),
        always: false,
        supersede: false,
        max_failures: None,
        strict: None,
        expires_ms: None,
    })
}

#[tokio::test]
async fn a_rollout_goes_from_announcement_to_report() {
    let server = Server::on(&Platter::new(0)).await;
    let client = server.client();
    let joined = client.join(&join("mw1", "s1"), None, NOW).await.expect("an answer");
    assert!(matches!(&joined, Joined::Member(welcome) if welcome.owed.is_empty()), "{joined:?}");
    let other = client.join(&join("mw1", "s2"), None, NOW).await.expect("an answer");
    assert!(matches!(&other, Joined::Duplicate { version, .. } if version == "0.1.0"), "{other:?}");

    let done = do_it(&client, announce()).await;
    let rollout = "php@1".parse().expect("a rollout");
    assert_eq!(done, Done::Announced { rollout, targets: 1 });
    let again = do_it(&client, announce()).await;
    assert!(
        matches!(&again, Done::UnderWay { by, message, .. } if by == "me@here" && message == "wmf.12"),
        "{again:?}"
    );
    let joined = client.join(&join("mw1", "s1"), Some(&[]), PATIENCE).await.expect("an answer");
    let Joined::Member(welcome) = joined else { panic!("{joined:?}") };
    let rollout = welcome.owed[0].rollout.clone();

    let mut asked = ask("mw1", &["app"]);
    asked.purpose = model::lease::Purpose::Rollout(rollout.clone());
    let lease = granted(client.ask(&asked, NOW).await.expect("an answer")).lease;
    assert_eq!((lease.pools[&pool("app")], lease.state), (1, LeaseState::Held));
    let (holder, claim) = (lease.holder.clone(), lease.claim.clone());
    let renew =
        Renew { holder: holder.clone(), claim: claim.clone(), step: Some(Step::Drain), note: "4 in flight".into() };
    assert_eq!(client.renew(&renew).await, Ok(Own::Held { ttl_ms: 30_000 }));
    let begin = BeginAsk { holder: holder.clone(), claim: claim.clone(), away_ms: 0 };
    assert_eq!(client.begin(&begin).await, Ok(Begin::Go { generation: Some(1) }));
    let seen = client.leases(&Selection::default()).await.expect("leases");
    assert_eq!(seen.leases[0].lease.step, Some(Step::Begin));
    let report = Some(Report::plain(Outcome::Restarted));
    let settle = Settle { holder, claim, ending: Ending::Released, rollout: Some(rollout.clone()), report };
    assert_eq!(client.settle(&settle).await, Ok(Settled::Done));
    assert_eq!(client.settle(&settle).await, Ok(Settled::Gone));
    assert_eq!(client.renew(&renew).await, Ok(Own::Gone));
    assert_eq!(client.begin(&begin).await, Ok(Begin::Gone));

    let detail = client.rollout(&rollout).await.expect("an answer").expect("a rollout");
    assert_eq!((detail.row.state, detail.row.exit_code), (RolloutState::Done, 0));
    assert_eq!(client.rollout(&"php@9".parse().expect("a rollout")).await, Ok(None));
    assert_eq!(client.rollouts(&Selection::default()).await.expect("rollouts").len(), 1);
    assert_eq!(client.members(&Selection::default()).await.expect("members").rows[0].host.as_str(), "mw1");
    let pools = client.pools(&Selection::default()).await.expect("pools");
    assert_eq!((pools.rows[0].token, pools.rows[0].held, pools.rows[0].members), (1, 0, 1));
    let history = client.history(&Selection::default()).await.expect("history");
    assert!(history.rows.iter().any(|entry| entry.text.contains("wmf.12")), "{history:?}");
    let why = client.why(&"rollout/php@1".parse().expect("a scope")).await.expect("why");
    assert!(why.headline.contains("php@1 is done"), "{}", why.headline);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_deploy_for_nobody_is_refused_and_the_same_one_is_taken_when_somebody_has_joined() {
    let server = Server::on(&Platter::new(0)).await;
    let client = server.client();
    let operation = admin(announce());
    let service = "php".parse().expect("a service");
    assert_eq!(client.admin(&operation).await, Ok(Done::ForNobody { service, only: Vec::new() }));
    assert_eq!(client.rollouts(&Selection::default()).await.expect("rollouts").len(), 0);
    let body = r#"{"by":"me","service":"php","message":"go"}"#;
    let (status, answer) = server.request("POST", "/v1/rollouts", body).await;
    assert_eq!((status, &answer["kind"], &answer["value"]), (409, &"refused".into(), &"no host has php".into()));
    client.join(&join("mw1", "s1"), None, NOW).await.expect("an answer");
    let rollout = "php@1".parse().expect("a rollout");
    assert_eq!(client.admin(&operation).await, Ok(Done::Announced { rollout, targets: 1 }));
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn what_people_change_holds_at_once() {
    let server = Server::on(&Platter::new(0)).await;
    let client = server.client();
    slots(&client, "app", 1).await;
    granted(client.ask(&ask("a", &["app"]), NOW).await.expect("an answer"));
    let queued = client.ask(&ask("b", &["app"]), NOW).await.expect("an answer");
    assert!(
        matches!(&queued, Answer::Queued(queued) if queued.place == 1 && queued.why.slots == Some(1)),
        "{queued:?}"
    );
    let scope = || "pool/app".parse().expect("a scope");
    let pause = Act::Pause { scope: scope(), reason: "maintenance".into(), for_ms: 60_000 };
    assert!(matches!(do_it(&client, pause).await, Done::Did { .. }));
    assert_eq!(client.pauses().await.expect("pauses")[0].reason, "maintenance");
    let begin = BeginAsk { holder: holder("a"), claim: id("c-a"), away_ms: 0 };
    assert!(matches!(client.begin(&begin).await, Ok(Begin::Paused(why)) if why.contains("maintenance")));
    assert!(matches!(do_it(&client, Act::Resume { scope: scope() }).await, Done::Did { .. }));
    assert!(matches!(do_it(&client, Act::Resume { scope: scope() }).await, Done::Refused { .. }));

    let release = |live| Act::Release { holder: holder("a"), reason: "gone".into(), live, forget: false };
    assert!(matches!(do_it(&client, release(false)).await, Done::Refused { .. }));
    let operation = admin(release(true));
    let first = client.admin(&operation).await.expect("an answer");
    assert!(matches!(first, Done::Did { .. }));
    assert_eq!(client.admin(&operation).await, Ok(first), "the same operation again");
    granted(client.ask(&ask("b", &["app"]), NOW).await.expect("an answer"));
    let renew = Renew { holder: holder("b"), claim: id("c-b"), step: None, note: String::new() };
    assert!(matches!(client.renew(&renew).await, Ok(Own::Held { .. })));
    let quiet = Quiet::Waiter { holder: holder("b"), claim: id("c-b") };
    assert_eq!(client.quiet(&quiet).await, Ok(()));
    let mut impatient = ask("c", &["app"]);
    impatient.wait_ms = Some(0);
    let refused = client.ask(&impatient, NOW).await.expect("an answer");
    let Answer::Refused(why) = refused else { panic!("{refused:?}") };
    assert_eq!((why.kind, why.slots, why.holders[0].holder.as_str()), (RefusalKind::TimedOut, Some(1), "b"));
    assert!(why.source.is_some_and(|source| source.contains("me@here")));
    let abort = Act::Abort { rollout: "php@1".parse().expect("a rollout"), reason: "no".into() };
    assert!(matches!(do_it(&client, abort).await, Done::Refused { .. }));
    let unset = Act::Unset { scope: scope(), kind: model::settings::SettingKind::Slots, reason: "back".into() };
    assert!(matches!(do_it(&client, unset).await, Done::Did { .. }));
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_server_that_is_not_there_has_applied_nothing() {
    let server = Server::on(&Platter::new(0)).await;
    let client = server.client();
    client.pauses().await.expect("an answer");
    server.stop().await.expect("a clean end");
    let error = client.ask(&ask("a", &["app"]), NOW).await.expect_err("no server");
    assert!(matches!(error, coordinator::Error::NotApplied { retry: true, .. }), "{error:?}");
}

#[tokio::test]
async fn another_domain_is_refused_in_a_sentence() {
    let server = Server::on(&Platter::new(0)).await;
    let client = |domain: &str| {
        coordinator::remote::Remote::new(&format!("http://{}/{domain}", server.address)).expect("a client")
    };
    client("default").pauses().await.expect("the one there is");
    let error = client("eqiad").pauses().await.expect_err("no such domain");
    let coordinator::Error::Refused { value, status: 404, .. } = error else { panic!("{error:?}") };
    assert_eq!(value, "there is no domain \"eqiad\" here: this lock server has one, \"default\"");
    assert!(
        client("eqiad").rollout(&"php@1".parse().expect("a rollout")).await.is_err(),
        "no domain is not no rollout"
    );
}
