//! What others are told of a host: its log, and what it sees of itself.

use super::*;
use std::sync::Mutex;

/// What was logged on this thread while this lives.
struct Logged {
    lines: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

#[derive(Clone)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Logged {
    fn new() -> Logged {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Sink(Arc::clone(&lines));
        let subscriber = tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(move || sink.clone());
        Logged { lines, _guard: tracing::subscriber::set_default(subscriber.finish()) }
    }

    /// The lines that hold all of these.
    fn with(&self, parts: &[&str]) -> Vec<String> {
        let text = String::from_utf8(self.lines.lock().expect("no panic").clone()).expect("text");
        let holds = |line: &&str| parts.iter().all(|part| line.contains(part));
        text.lines().filter(holds).map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn the_log_says_whom_a_worker_asks_that_it_joined_and_what_each_step_is_for() {
    LocalSet::new()
        .run_until(async {
            let logged = Logged::new();
            let site = Site::new().await;
            let url = site.config.coordinator.as_str();
            let worker = site.start().await;
            let rollout = site.announce().await;
            site.wait("a report", async |site| site.outcome(&rollout).await.is_some()).await;
            worker.stop().await.expect("a clean end");
            let url_told = format!("coordinator={url}");
            let starting =
                logged.with(&["starting", "host=mw1", "services=\"php\"", &url_told, "metrics=\"http://127.0.0.1:"]);
            assert_eq!(starting.len(), 1);
            assert_eq!(logged.with(&["joined", &format!("url={url}")]).len(), 1, "once");
            for step in ["ask", "depool", "drain", "restart", "verify", "repool"] {
                let lines = logged.with(&["done", "service=php", "rollout=php@1", &format!("step={step} ")]);
                assert_eq!(lines.len(), 1, "{step}");
            }
            assert_eq!(logged.with(&["note=\"\""]), [""; 0], "what says nothing is left out");
        })
        .await;
}

#[test]
fn a_silence_is_said_once_and_so_is_its_end() {
    let logged = Logged::new();
    let url = "http://locks:7532".parse().expect("a URL");
    let mut contact = log::Contact::default();
    let welcome = || membership::Heard::Welcome(Box::default());
    let silence = |why: &str| membership::Heard::Silence(why.to_owned());
    for (heard, ms) in [
        (silence("refused"), 0),
        (welcome(), 500),
        (welcome(), 600),
        (silence("refused"), 1_000),
        (silence("refused"), 2_000),
        (silence("timed out"), 3_000),
        (welcome(), 62_000),
    ] {
        contact.say(&heard, &url, model::time::Time(ms));
    }
    assert_eq!(logged.with(&["joined"]).len(), 2);
    assert_eq!(logged.with(&["answers again", "url=http://locks:7532", "silent_for=\"1m1s\""]).len(), 1);
    assert_eq!(logged.with(&["does not answer", "url=http://locks:7532", "why=\"refused\""]).len(), 2);
    assert_eq!(logged.with(&["does not answer", "why=\"timed out\""]).len(), 1);
}

#[test]
fn what_answers_and_cannot_be_joined_is_told_as_that() {
    let logged = Logged::new();
    let url = "http://locks:7532/web".parse().expect("a URL");
    let mut contact = log::Contact::default();
    for ms in [0, 1_000] {
        let heard = membership::Heard::Answered("there is no domain web here (not_found, 404)".to_owned());
        contact.say(&heard, &url, model::time::Time(ms));
    }
    assert_eq!(logged.with(&["ERROR", "what answers there cannot be joined", "no domain web here"]).len(), 1);
    assert_eq!(logged.with(&["does not answer"]), [""; 0]);
}

#[tokio::test]
async fn a_pool_that_may_be_mistyped_is_told_when_it_has_joined() {
    LocalSet::new()
        .run_until(async {
            let logged = Logged::new();
            let mut site = Site::new().await;
            let act = Act::Set {
                scope: "pool/app-eqiad".parse().expect("a scope"),
                setting: model::settings::Setting::Slots(model::settings::Slots::Count(1)),
                reason: "a test".to_owned(),
                for_ms: None,
            };
            let operation = coordinator::random_id().expect("an id");
            site.coordinator.admin(&Admin { operation, by: "me".to_owned(), act }).await.expect("set");
            for service in site.config.services.values_mut() {
                service.pools = ["app-eqaid".parse().expect("a pool")].into();
            }
            let worker = site.start().await;
            site.wait("it is told", async |_| !logged.with(&["WARN", "did you mean app-eqiad"]).is_empty()).await;
            let anywhere = lonely::anywhere(&site.coordinator).await.expect("an answer");
            let told: Vec<_> = anywhere.iter().map(|found| (found.pool.as_str(), found.near.as_str())).collect();
            assert_eq!(told, [("app-eqaid", "app-eqiad")], "and to whoever asks");
            worker.stop().await.expect("a clean end");
        })
        .await;
}

#[tokio::test]
async fn what_a_command_did_to_the_host_is_told_at_once() {
    LocalSet::new()
        .run_until(async {
            let site = Site::new().await;
            let worker = site.start().await;
            let sees = async |site: &Site, presence| {
                let members = site.members().await;
                members.iter().flat_map(|member| &member.sightings).any(|seen| seen.presence == presence)
            };
            site.wait("it is in", async |site| sees(site, Presence::In).await).await;
            site.touch("out");
            wake(&site.config.state);
            site.wait("it is out", async |site| sees(site, Presence::Out).await).await;
            site.touch("bad");
            let (finish, _) = site.once(php()).await;
            assert!(matches!(finish, Finish::Failed(_)), "{finish:?}");
            site.remove("bad");
            site.remove("out");
            let (finish, _) = site.once(php()).await;
            assert!(matches!(finish, Finish::Restarted(_)), "{finish:?}");
            site.wait("it is in again", async |site| sees(site, Presence::In).await).await;
            worker.stop().await.expect("a clean end");
        })
        .await;
}
