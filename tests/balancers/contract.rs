//! What every way to depool must keep, whichever it is: one suite, one module for each way.
//!
//! A way that is added says how its balancers are set up and seen from behind ([`Way`]), and gets a line of its own at the end.

use super::meddler::Trouble;
use super::ways::{Exec, File, Flag, Haproxies, Http, InFlag, LameDuck};
use crate::support::{Host, LockServer, SOON, Tuning, run, wait_for};
use model::member::Presence;
use model::sequence::Look;
use model::sequence::record::Balancers as ByName;
use stagger::balancer::lame_duck::serve;
use stagger::balancer::{BalancerError, Balancers};
use stagger::config::{Surroundings, parse};
use stagger::probe::Client;
use std::path::Path;
use std::time::{Duration, Instant};

/// The host that all is about. Beside it there is `mw1001`, which nobody may touch.
pub(super) const HOST: &str = "mw1";

/// A way to depool, with balancers that the test sees from behind.
pub(super) trait Way {
    fn start(folder: &Path) -> Self;
    /// Its keys of `[service.web.depool]`, but for `timeout`, `tries` and `pause`.
    fn keys(&self) -> String;
    /// How many balancers there are.
    fn places(&self) -> usize;
    /// Whether the host is out of one of them, as the test finds out by itself.
    fn is_out(&self, place: usize) -> bool;
    /// Takes the host out there, or puts it in, as somebody else would.
    fn somebody(&self, place: usize, out: bool);
    /// Whether the neighbour is untouched everywhere.
    fn is_neighbour_in(&self) -> bool {
        true
    }
    /// The troubles that a balancer of this way can have.
    fn troubles(&self) -> Vec<Trouble> {
        Trouble::ALL.to_vec()
    }
    fn trouble(&self, place: usize, trouble: Option<Trouble>);
    /// When a balancer was asked something.
    fn asked(&self, place: usize) -> Vec<Instant>;
    /// Puts the host into a state of somebody's own there; `false` when this way has none.
    fn disown(&self, _place: usize) -> bool {
        false
    }
    /// Whether it is in that very state.
    fn is_disowned(&self, _place: usize) -> bool {
        false
    }
    /// Whether only a running worker can take the host out.
    fn needs_worker(&self) -> bool {
        false
    }
}

/// How patient the program is.
#[derive(Clone, Copy)]
struct Patience {
    timeout: &'static str,
    tries: u32,
    pause: &'static str,
}

const PATIENT: Patience = Patience { timeout: "5s", tries: 50, pause: "20ms" };
const BRIEF: Patience = Patience { timeout: "700ms", tries: 2, pause: "10ms" };

fn table(way: &impl Way, patience: Patience) -> String {
    let Patience { timeout, tries, pause } = patience;
    format!("{}\ntimeout = \"{timeout}\"\ntries = {tries}\npause = \"{pause}\"\n", way.keys())
}

/// The balancers of a host that is configured so.
fn balancers(way: &impl Way, folder: &Path, patience: Patience) -> Balancers {
    let text = format!(
        "coordinator = \"http://locks:7532\"\nhost = \"{HOST}\"\nstate = \"{}\"\n[service.web]\npools = [\"p\"]\n\
         restart = {{ kind = \"exec\", command = [\"true\"] }}\n[service.web.depool]\n{}",
        folder.join(HOST).join("state").display(),
        table(way, patience)
    );
    let config =
        parse(&text, Path::new("stagger.toml"), &Surroundings::default()).unwrap_or_else(|error| panic!("{error}"));
    let (client, service) = (Client::new(&config.host).expect("a client"), config.services.values().next());
    let service = service.expect("a service");
    if let Some(duck) = service.depool.way.lame_duck() {
        let listener = std::net::TcpListener::bind(duck.listen).expect("its address");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener for tokio");
        tokio::spawn(serve(listener, vec![duck.clone()]));
    }
    Balancers::new(service, &client)
}

fn names(looks: &[Look]) -> ByName {
    looks.iter().map(|look| (look.balancer.clone(), look.restore.clone())).collect()
}

fn presences(looks: &[Look]) -> Vec<Presence> {
    looks.iter().map(|look| look.presence).collect()
}

fn seen_out(way: &impl Way) -> Vec<bool> {
    (0..way.places()).map(|place| way.is_out(place)).collect()
}

/// However often it is told, it leaves, stays out, and rejoins; and another's host is not touched.
pub(super) async fn leaves_and_rejoins_however_often_it_is_told<W: Way>() {
    let folder = tempfile::tempdir().expect("a folder");
    let way = W::start(folder.path());
    let (balancers, places) = (balancers(&way, folder.path(), PATIENT), way.places());
    let before = balancers.look().await;
    assert_eq!(presences(&before), vec![Presence::In; places], "{before:?}");
    let all = names(&before);
    assert_eq!(all.len(), places, "names are distinct: {all:?}");
    for _twice in 0..2 {
        balancers.depool(&all).await.expect("out");
        assert_eq!(presences(&balancers.look().await), vec![Presence::Out; places]);
        assert_eq!((seen_out(&way), way.is_neighbour_in()), (vec![true; places], true));
    }
    for _twice in 0..2 {
        balancers.repool(&all).await.expect("in");
        let looks = balancers.look().await;
        assert_eq!(presences(&looks), vec![Presence::In; places], "{looks:?}");
        assert_eq!((seen_out(&way), way.is_neighbour_in()), (vec![false; places], true));
    }
    balancers.depool(&ByName::new()).await.expect("nothing to do");
    assert_eq!(seen_out(&way), vec![false; places], "nobody asked for it");
    let stranger = ByName::from([("lb9:1".to_owned(), String::new())]);
    let error = balancers.repool(&stranger).await.expect_err("not ours");
    assert_eq!(error, BalancerError::NotConfigured { balancer: "lb9:1".to_owned() });
}

/// Where it was out by somebody else, it is found out, and only what was taken out is put back.
pub(super) async fn what_somebody_else_took_out_stays_out<W: Way>() {
    let folder = tempfile::tempdir().expect("a folder");
    let way = W::start(folder.path());
    let balancers = balancers(&way, folder.path(), PATIENT);
    way.somebody(0, true);
    let looks = balancers.look().await;
    let was_out: Vec<bool> = (0..way.places()).map(|place| place == 0).collect();
    let found: Vec<bool> = looks.iter().map(|look| look.presence == Presence::Out).collect();
    assert_eq!(found, was_out, "{looks:?}");
    let taken = looks.into_iter().filter(|look| look.presence == Presence::In).collect::<Vec<_>>();
    balancers.depool(&names(&taken)).await.expect("out everywhere");
    assert_eq!(seen_out(&way), vec![true; way.places()]);
    balancers.repool(&names(&taken)).await.expect("in where it was");
    assert_eq!(seen_out(&way), was_out);
}

/// A balancer in trouble is unknown, whatever the trouble is; the others are known; and neither way is confirmed.
pub(super) async fn a_balancer_in_trouble_confirms_nothing<W: Way>() {
    let folder = tempfile::tempdir().expect("a folder");
    let way = W::start(folder.path());
    let balancers = balancers(&way, folder.path(), BRIEF);
    let all = names(&balancers.look().await);
    let last = way.places() - 1;
    for trouble in way.troubles() {
        for is_out in [false, true] {
            way.trouble(last, None);
            (0..way.places()).for_each(|place| way.somebody(place, is_out));
            way.trouble(last, Some(trouble));
            let looks = balancers.look().await;
            let mut expected = vec![if is_out { Presence::Out } else { Presence::In }; last];
            expected.push(Presence::Unknown);
            assert_eq!(presences(&looks), expected, "{trouble:?}, out: {is_out}: {looks:?}");
            assert!(!looks[last].detail.is_empty(), "{trouble:?} says nothing");
            for moved in [balancers.depool(&all).await, balancers.repool(&all).await] {
                let error = moved.expect_err("not confirmed everywhere").to_string();
                assert!(error.contains(&looks[last].balancer), "{trouble:?} at {looks:?}: {error}");
            }
        }
        way.trouble(last, None);
        (0..way.places()).for_each(|place| way.somebody(place, false));
    }
}

/// It is tried again, and a balancer that comes back is believed.
pub(super) async fn a_trouble_that_passes_is_waited_out<W: Way>() {
    let folder = tempfile::tempdir().expect("a folder");
    let way = W::start(folder.path());
    if way.troubles().is_empty() {
        return;
    }
    let balancers = balancers(&way, folder.path(), Patience { tries: 1000, ..PATIENT });
    let all = names(&balancers.look().await);
    way.trouble(0, Some(Trouble::Errs));
    let asked_before = way.asked(0).len();
    let mut depool = std::pin::pin!(balancers.depool(&all));
    while way.asked(0).len() < asked_before + 4 {
        let brief = tokio::time::timeout(Duration::from_millis(5), &mut depool).await;
        assert!(brief.is_err(), "an error is no success: {brief:?}");
    }
    way.trouble(0, None);
    depool.await.expect("out in the end");
    assert_eq!(seen_out(&way), vec![true; way.places()]);
}

/// A fleet that failed together does not try again together.
pub(super) async fn the_pauses_between_tries_are_spread<W: Way>() {
    let folder = tempfile::tempdir().expect("a folder");
    let way = W::start(folder.path());
    if way.troubles().is_empty() {
        return;
    }
    let balancers = balancers(&way, folder.path(), Patience { tries: 9, pause: "200ms", ..PATIENT });
    let all = names(&balancers.look().await);
    way.trouble(0, Some(Trouble::Errs));
    let asked_before = way.asked(0).len();
    balancers.depool(&all).await.expect_err("never confirmed");
    let asked = way.asked(0)[asked_before..].to_vec();
    let gaps = asked.windows(2).map(|two| two[1] - two[0]);
    let pauses: Vec<Duration> = gaps.filter(|gap| *gap >= Duration::from_millis(95)).collect();
    assert!(pauses.len() >= 8, "a pause of half of 200ms at least between two tries: {pauses:?}");
    let (least, most) = (pauses.iter().min().expect("some"), pauses.iter().max().expect("some"));
    assert!(*most - *least > Duration::from_millis(10), "each of them alike: {pauses:?}");
}

/// A state of somebody's own is overwritten by neither way, whenever it came.
pub(super) async fn a_state_of_somebodys_own_is_never_overwritten<W: Way>() {
    let folder = tempfile::tempdir().expect("a folder");
    let way = W::start(folder.path());
    let balancers = balancers(&way, folder.path(), BRIEF);
    let all = names(&balancers.look().await);
    for is_out_before in [false, true] {
        if is_out_before {
            balancers.depool(&all).await.expect("out");
        }
        if !way.disown(0) {
            return;
        }
        // Out or unknown: never in, and never confirmed as put back.
        assert_ne!(balancers.look().await[0].presence, Presence::In);
        let _out_already_or_refused = balancers.depool(&all).await;
        assert!(way.is_disowned(0), "by the depool");
        let error = balancers.repool(&all).await.expect_err("it is not in").to_string();
        assert!(error.contains(&balancers.look().await[0].balancer), "{error}");
        assert!(way.is_disowned(0), "by the repool");
        way.somebody(0, false);
        balancers.repool(&all).await.expect("in");
    }
}

/// Scenario 8: the whole program restarts nothing that is not confirmed out, undoes what it did, and names the balancer.
pub(super) fn nothing_is_restarted_that_is_not_confirmed_out<W: Way>() {
    let folder = tempfile::tempdir().expect("a folder");
    let way = W::start(folder.path());
    let server = LockServer::start(folder.path());
    server.wait_until_ready();
    let host = Host::with_depool(folder.path(), HOST, &server.url, &table(&way, BRIEF), &Tuning::default());
    let worker = way.needs_worker().then(|| host.work());
    if let Some(worker) = &worker {
        wait_for("the worker has joined", SOON, || worker.has_joined().then_some(()));
    }
    let last = way.places() - 1;
    for trouble in way.troubles() {
        way.trouble(last, Some(trouble));
        let (code, out, err) = run(&mut host.command(&["restart", "web", "--always"]));
        assert_eq!((code, host.starts()), (1, 0), "{trouble:?}: {out}{err}");
        way.trouble(last, None);
        let balancer = host.command(&["check", "--ask", "--json"]).output().expect("the program starts");
        let shown: serde_json::Value = serde_json::from_slice(&balancer.stdout).expect("JSON");
        let rows = shown["rows"].as_array().expect("rows").iter().filter(|row| row["part"] == "depool");
        let says = rows.filter_map(|row| row["says"].as_str()).nth(last).expect("a balancer");
        let name = says.rsplit_once(": in").expect("in again").0;
        assert!(out.contains(name) || err.contains(name), "{trouble:?} at {name}: {out}{err}");
        assert_eq!(seen_out(&way), vec![false; way.places()], "{trouble:?}: all is undone");
    }
    let (code, out, err) = run(&mut host.command(&["restart", "web", "--always"]));
    assert_eq!((code, host.starts()), (0, 1), "{out}{err}");
    assert_eq!(seen_out(&way), vec![false; way.places()]);
}

macro_rules! contract {
    ($module:ident: $way:ty) => {
        mod $module {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn leaves_and_rejoins_however_often_it_is_told() {
                super::leaves_and_rejoins_however_often_it_is_told::<$way>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn what_somebody_else_took_out_stays_out() {
                super::what_somebody_else_took_out_stays_out::<$way>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_balancer_in_trouble_confirms_nothing() {
                super::a_balancer_in_trouble_confirms_nothing::<$way>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_trouble_that_passes_is_waited_out() {
                super::a_trouble_that_passes_is_waited_out::<$way>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn the_pauses_between_tries_are_spread() {
                super::the_pauses_between_tries_are_spread::<$way>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_state_of_somebodys_own_is_never_overwritten() {
                super::a_state_of_somebodys_own_is_never_overwritten::<$way>().await;
            }

            #[test]
            fn nothing_is_restarted_that_is_not_confirmed_out() {
                super::nothing_is_restarted_that_is_not_confirmed_out::<$way>();
            }
        }
    };
}

contract!(haproxy: Haproxies);
contract!(http: Http);
contract!(exec: Exec);
contract!(file: Flag);
contract!(file_while_in: InFlag);
contract!(confirmed_file: File);
contract!(lame_duck: LameDuck);
