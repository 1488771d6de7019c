//! A rollout of a whole fleet.

use crate::host::{HOLD, Host, Steward};
use crate::server::Server;
use coordinator::Coordinator as _;
use model::lease::Purpose;
use model::names::RolloutName;
use model::read::Selection;
use model::request::{Act, Announce, BeginAsk, Done, Joined};
use model::rollout::{Outcome, Report, RolloutState};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const HOSTS: usize = 1_000;
const SLOTS: u32 = 100;
/// How long each is out.
const OUT: Duration = Duration::from_secs(1);

/// What was seen, from the announcement on.
#[derive(Default)]
struct Seen {
    knows: Vec<Duration>,
    granted: Vec<Duration>,
}

pub(crate) async fn measure(server: &mut Server) {
    let url = format!("{}/fleet", server.url());
    let steward = Steward::sit(&url, SLOTS).await;
    let (seen, start) = (Arc::new(Mutex::new(Seen::default())), Arc::new(Mutex::new(Instant::now())));
    let hosts: Vec<_> = (0..HOSTS)
        .map(|number| {
            let (host, seen, start) = (Host::new(&url, number), Arc::clone(&seen), Arc::clone(&start));
            tokio::spawn(live(host, seen, start))
        })
        .collect();
    while steward.client.pools(&Selection::default()).await.expect("pools").rows.first().map_or(0, |row| row.members)
        < u32::try_from(HOSTS).expect("few")
    {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = server.count().await;
    *start.lock().expect("whole") = Instant::now();
    let begun = Instant::now();
    let announce = Announce {
        service: "php".parse().expect("a service"),
        message: "a build".into(),
        only: vec![],
        always: false,
        supersede: false,
        max_failures: None,
        strict: None,
        expires_ms: None,
    };
    let Done::Announced { rollout, .. } = steward.act(Act::Announce(announce)).await else { panic!("not announced") };
    loop {
        let row = steward.client.rollout(&rollout).await.expect("an answer").expect("a rollout").row;
        if row.state == RolloutState::Done {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let took = begun.elapsed().as_secs_f64();
    let requests = server.count().await - before;
    let bound = OUT.as_secs_f64() * HOSTS as f64 / f64::from(SLOTS);
    let mut seen = std::mem::take(&mut *seen.lock().expect("whole"));
    seen.knows.sort_unstable();
    seen.granted.sort_unstable();
    let at = |times: &[Duration], place: usize| times.get(place).map_or(0.0, Duration::as_secs_f64);
    println!(
        "  fleet, {HOSTS} hosts, {SLOTS} slots: {took:.1} s, {:.2} of the bound of {bound:.0} s; the last host knows after {:.2} s; \
         {SLOTS} slots are filled after {:.2} s; {:.1} {} a restart; no commit can conflict",
        bound / took,
        at(&seen.knows, HOSTS - 1),
        at(&seen.granted, SLOTS as usize - 1),
        requests as f64 / HOSTS as f64,
        server.unit(),
    );
    hosts.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Listens, restarts once, and listens on.
async fn live(mut host: Host, seen: Arc<Mutex<Seen>>, start: Arc<Mutex<Instant>>) {
    let join = host.join();
    let since = || start.lock().expect("whole").elapsed();
    let mut done = false;
    loop {
        let joined = match host.client.join(&join, Some(&[]), HOLD).await {
            Ok(Joined::Member(welcome)) => welcome,
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert!(error.retryable(), "{error}");
                continue;
            }
        };
        let Some(owed) = joined.owed.first().filter(|_| !done) else { continue };
        seen.lock().expect("whole").knows.push(since());
        restart(&mut host, &owed.rollout, &seen, &since).await;
        done = true;
    }
}

async fn restart(host: &mut Host, rollout: &RolloutName, seen: &Mutex<Seen>, since: &impl Fn() -> Duration) {
    host.take_turn(Purpose::Rollout(rollout.clone())).await;
    seen.lock().expect("whole").granted.push(since());
    tokio::time::sleep(OUT).await;
    let claim = host.ask_for(Purpose::Rollout(rollout.clone()), HOLD).claim;
    let begin = BeginAsk { holder: host.name.parse().expect("a holder"), claim, away_ms: 0 };
    while let Err(error) = host.client.begin(&begin).await {
        assert!(error.retryable(), "{error}");
    }
    let report = Report::plain(Outcome::Restarted);
    host.settle(|settle| (settle.rollout, settle.report) = (Some(rollout.clone()), Some(report))).await;
}
