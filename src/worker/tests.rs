//! The worker against a real lock server, with commands and a flag file for a service and its balancer.

mod told;

use super::*;
use crate::config::{self, Surroundings};
use crate::probe::fixture::{nobody, wait_until};
use crate::sequence::HostLock;
use coordinator::remote::Remote;
use model::lease::{LeaseState, Purpose};
use model::member::Presence;
use model::names::{Holder, Id, RolloutName};
use model::read::Selection;
use model::request::{Act, Admin, Announce, Answer, Ask, Done, Ending, Settle};
use model::rollout::Outcome;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, LocalSet};

/// A host with one service, and its lock server.
struct Site {
    folder: tempfile::TempDir,
    coordinator: Remote,
    config: Config,
    server: JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A worker that runs beside the test.
struct Running {
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<(), WorkerError>>,
    metrics: String,
}

impl Running {
    async fn stop(mut self) -> Result<(), WorkerError> {
        let _is_over = self.stop.take().map(|stop| stop.send(()));
        tokio::time::timeout(crate::probe::fixture::DEADLINE, self.ended).await.expect("in time").expect("no panic")
    }
}

impl Site {
    async fn new() -> Site {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let options = lockserver::Options::folder(folder.path().join("data"));
        let server = tokio::spawn(async move {
            lockserver::run(listener, options, std::future::pending()).await.expect("it serves");
        });
        let config = configured(folder.path(), &url);
        Site { coordinator: Remote::new(&url).expect("a client"), folder, config, server }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn touch(&self, name: &str) {
        std::fs::write(self.path(name), "").expect("written");
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).expect("removed");
    }

    fn restarts(&self) -> usize {
        std::fs::read_to_string(self.path("starts")).unwrap_or_default().lines().count()
    }

    fn is_out(&self) -> bool {
        self.path("out").exists()
    }

    async fn start(&self) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let metrics = listener.local_addr().expect("an address").to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let (config, coordinator) = (self.config.clone(), self.coordinator.clone());
        let ended = tokio::task::spawn_local(async move {
            let shutdown = async {
                let _sent = stopped.await;
            };
            run(&config, coordinator, Options::default(), Some(listener), shutdown).await
        });
        let running = Running { stop: Some(stop), ended, metrics };
        self.wait("the worker joins", async |site| site.members().await.iter().any(|member| !member.down)).await;
        running
    }

    async fn members(&self) -> Vec<model::read::MemberRow> {
        self.coordinator.members(&Selection::default()).await.expect("members").rows
    }

    async fn leases(&self) -> Vec<model::lease::Lease> {
        let leases = self.coordinator.leases(&Selection::default()).await.expect("leases");
        leases.leases.into_iter().map(|row| row.lease).collect()
    }

    async fn wait(&self, what: &str, holds: impl AsyncFn(&Site) -> bool) {
        let deadline = tokio::time::Instant::now() + crate::probe::fixture::DEADLINE;
        while !holds(self).await {
            assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn announce(&self) -> RolloutName {
        let announce = Announce {
            service: "php".parse().expect("a service"),
            message: "a build".to_owned(),
            only: Vec::new(),
            always: false,
            supersede: true,
            max_failures: None,
            strict: None,
            expires_ms: None,
        };
        let operation = coordinator::random_id().expect("an id");
        let admin = Admin { operation, by: "test".to_owned(), act: Act::Announce(announce) };
        match self.coordinator.admin(&admin).await.expect("an answer") {
            Done::Announced { rollout, targets: 1 } => rollout,
            other => panic!("{other:?}"),
        }
    }

    async fn outcome(&self, name: &RolloutName) -> Option<model::rollout::Report> {
        let detail = self.coordinator.rollout(name).await.expect("a rollout").expect("there");
        detail.targets.into_iter().find_map(|target| target.report)
    }

    async fn once(&self, wanted: Wanted) -> (Finish, Vec<Progress>) {
        let told = Rc::new(RefCell::new(Vec::new()));
        let tell = {
            let told = Rc::clone(&told);
            move |progress| told.borrow_mut().push(progress)
        };
        let coordinator = self.coordinator.clone();
        let finish = once(&self.config, coordinator, Options::default(), wanted, tell, std::future::pending()).await;
        (finish.expect("it starts"), Rc::try_unwrap(told).expect("the driver is gone").into_inner())
    }
}

/// A service whose restart waits while `hold` is there, fails while `bad` is, and returns half a second before it happens while
/// `late` is; and that is out while `out` is there.
fn configured(folder: &Path, url: &str) -> Config {
    let at = folder.display();
    let text = format!(
        r#"
        coordinator = "{url}"
        host = "mw1"
        state = "{at}/state"
        listen = "127.0.0.1:0"
        [service.php]
        pools = ["app"]
        [service.php.restart]
        kind = "exec"
        timeout = "5s"
        command = ["sh", "-c", '''cd {at}; while [ -e hold ]; do touch held; sleep 0.02; done
            if [ -e bad ]; then echo "[pool www] unknown entry" >&2; exit 78; fi
            if [ -e late ]; then (sleep 0.5; echo "$STAGGER_TOKEN" >> starts) >/dev/null 2>&1 & exit 0; fi
            echo "$STAGGER_TOKEN" >> starts''']
        identity = ["sh", "-c", "cat {at}/starts 2>/dev/null | wc -l"]
        [service.php.depool]
        kind = "file"
        path = "{at}/out"
        present = "out"
        [service.php.drain]
        min = "20ms"
        max = "8s"
        exec = ["test", "!", "-e", "{at}/busy"]
        until = "exit == 0"
        [service.php.verify]
        exec = ["true"]
        times = 1
        every = "10ms"
        [service.php.check]
        exec = ["test", "!", "-e", "{at}/fine"]
        rules = [{{ when = "exit == 0", then = "restart" }}]
        "#
    );
    let surroundings = Surroundings { hostname: "unused".to_owned(), state_directory: None };
    config::parse(&text, Path::new("test.toml"), &surroundings).unwrap_or_else(|error| panic!("{error}"))
}

fn php() -> Wanted {
    Wanted { service: "php".parse().expect("a service"), always: false, force: false, emergency: false, wait: None }
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    answer
}

fn steps(told: &[Progress]) -> Vec<Step> {
    told.iter()
        .filter_map(|told| match told {
            Progress::Ended { step, fault: None, .. } => Some(*step),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_rollout_restarts_the_host_once_and_leaves_nothing_behind() {
    LocalSet::new()
        .run_until(async {
            let site = Site::new().await;
            let worker = site.start().await;
            let rollout = site.announce().await;
            site.wait("a report", async |site| site.outcome(&rollout).await.is_some()).await;
            let report = site.outcome(&rollout).await.expect("a report");
            assert_eq!((report.outcome, report.cause.as_str()), (Outcome::Restarted, ""));
            let order: Vec<Step> = report.timings.iter().map(|timing| timing.step).collect();
            let expected = [
                Step::Check,
                Step::Ask,
                Step::Depool,
                Step::Drain,
                Step::Begin,
                Step::Restart,
                Step::Verify,
                Step::Repool,
            ];
            assert_eq!(order, expected);
            assert!(report.timings[3].ms >= 20, "the least drain");
            assert_eq!((site.restarts(), site.is_out()), (1, false));
            site.wait("the lease ends", async |site| site.leases().await.is_empty()).await;
            let metrics = get(&worker.metrics, "/metrics").await;
            assert!(metrics.contains(r#"stagger_sequences_total{outcome="restarted",service="php"} 1"#), "{metrics}");
            assert!(
                metrics.contains(r#"stagger_step_duration_seconds_count{outcome="ok",service="php",step="drain"} 1"#)
            );
            assert!(metrics.contains("stagger_coordinator_up 1"));
            assert!(get(&worker.metrics, "/healthz").await.ends_with("ok\n"));
            wait_until("the lock is free", || HostLock::take(&site.config.state, "a test").is_ok()).await;
            worker.stop().await.expect("a clean end");
            assert_eq!(site.restarts(), 1);
        })
        .await;
}

#[tokio::test]
async fn a_check_that_asks_for_nothing_restarts_nothing() {
    LocalSet::new()
        .run_until(async {
            let site = Site::new().await;
            site.touch("fine");
            let worker = site.start().await;
            let rollout = site.announce().await;
            site.wait("a report", async |site| site.outcome(&rollout).await.is_some()).await;
            assert_eq!(site.outcome(&rollout).await.map(|report| report.outcome), Some(Outcome::Skipped));
            assert_eq!(site.restarts(), 0);
            worker.stop().await.expect("a clean end");
            let (finish, told) = site.once(php()).await;
            assert!(matches!(finish, Finish::NothingToDo(_)), "{finish:?}");
            assert_eq!(steps(&told), [Step::Check]);
            let (finish, _) = site.once(Wanted { always: true, ..php() }).await;
            assert!(matches!(finish, Finish::Restarted(_)), "{finish:?}");
            assert_eq!(site.restarts(), 1);
        })
        .await;
}

#[tokio::test]
async fn a_command_tells_each_step_and_hands_the_token_on() {
    LocalSet::new()
        .run_until(async {
            let site = Site::new().await;
            let (finish, told) = site.once(php()).await;
            assert!(matches!(finish, Finish::Restarted(_)), "{finish:?}");
            let expected = [
                Step::Check,
                Step::Ask,
                Step::Depool,
                Step::Drain,
                Step::Begin,
                Step::Restart,
                Step::Verify,
                Step::Repool,
            ];
            assert_eq!(steps(&told), expected);
            assert!(matches!(told.last(), Some(Progress::Over { .. })), "{told:?}");
            let token = std::fs::read_to_string(site.path("starts")).expect("the starts");
            assert_eq!(token, "1\n", "the first token of the pool");
            assert!(site.leases().await.is_empty());
        })
        .await;
}

#[tokio::test]
async fn a_bad_build_stays_out_keeps_its_slot_and_a_good_one_puts_it_back() {
    LocalSet::new()
        .run_until(async {
            let site = Site::new().await;
            site.touch("bad");
            let worker = site.start().await;
            let rollout = site.announce().await;
            site.wait("a report", async |site| site.outcome(&rollout).await.is_some()).await;
            let report = site.outcome(&rollout).await.expect("a report");
            assert_eq!((report.outcome, report.step), (Outcome::Failed, Some(Step::Restart)));
            assert_eq!(report.cause, "exit 78: [pool www] unknown entry");
            assert_eq!(report.output, "[pool www] unknown entry\n");
            assert!(site.is_out());
            assert_eq!(
                site.leases().await.iter().map(|lease| lease.state).collect::<Vec<_>>(),
                [model::lease::LeaseState::Failed]
            );
            site.wait("it is seen to be out, by whose doing", async |site| {
                let members = site.members().await;
                let seen = members.iter().flat_map(|member| &member.sightings);
                seen.into_iter().any(|seen| seen.presence == Presence::Out && seen.by_stagger)
            })
            .await;
            site.remove("bad");
            let rollout = site.announce().await;
            site.wait("a report", async |site| site.outcome(&rollout).await.is_some()).await;
            assert_eq!(site.outcome(&rollout).await.map(|report| report.outcome), Some(Outcome::Restarted));
            assert_eq!((site.restarts(), site.is_out()), (1, false));
            site.wait("the slot is free", async |site| site.leases().await.is_empty()).await;
            worker.stop().await.expect("a clean end");
        })
        .await;
}

/// Seen to go wrong: a restart command that returned while the old process still answered. The one good answer that is wanted
/// here comes from the new one.
#[tokio::test]
async fn a_restart_that_comes_after_its_command_is_waited_for() {
    LocalSet::new()
        .run_until(async {
            let site = Site::new().await;
            site.touch("late");
            let (finish, told) = site.once(php()).await;
            assert!(matches!(finish, Finish::Restarted(_)), "{finish:?}");
            assert_eq!((site.restarts(), site.is_out()), (1, false), "{told:?}");
        })
        .await;
}

#[tokio::test]
async fn a_host_that_somebody_took_out_is_restarted_in_place() {
    LocalSet::new()
        .run_until(async {
            let site = Site::new().await;
            site.touch("out");
            let (finish, told) = site.once(php()).await;
            match finish {
                Finish::Restarted(report) => assert_eq!(report.out_of.len(), 1),
                other => panic!("{other:?}"),
            }
            assert!(!steps(&told).contains(&Step::Drain), "{told:?}");
            assert!(site.is_out(), "and left out");
        })
        .await;
}

#[tokio::test]
async fn stopped_before_the_restart_it_undoes_what_it_did() {
    LocalSet::new()
        .run_until(async {
            let site = Site::new().await;
            site.touch("busy");
            let worker = site.start().await;
            let rollout = site.announce().await;
            wait_until("it is out", || site.is_out()).await;
            worker.stop().await.expect("a clean end");
            assert_eq!((site.restarts(), site.is_out()), (0, false));
            assert!(site.leases().await.is_empty());
            site.remove("busy");
            let worker = site.start().await;
            site.wait("the next run owes it still", async |site| {
                site.outcome(&rollout).await.is_some_and(|report| report.outcome == Outcome::Restarted)
            })
            .await;
            assert_eq!(site.restarts(), 1);
            worker.stop().await.expect("a clean end");
        })
        .await;
}

#[tokio::test]
async fn killed_in_the_restart_act_the_next_run_finds_out_and_restarts_once() {
    LocalSet::new()
        .run_until(async {
            let site = Site::new().await;
            site.touch("hold");
            let worker = site.start().await;
            let rollout = site.announce().await;
            wait_until("it restarts", || site.path("held").exists()).await;
            worker.ended.abort();
            assert!(worker.ended.await.is_err_and(|error| error.is_cancelled()));
            assert_eq!((site.restarts(), site.is_out()), (0, true));
            site.remove("hold");
            let worker = site.start().await;
            site.wait("its lease says what it does", async |site| {
                let note =
                    |note: &str| note.starts_with("looks until ") && note.ends_with(" whether its restart happened");
                site.leases().await.iter().any(|lease| lease.step == Some(Step::Restart) && note(&lease.note))
            })
            .await;
            site.wait("a report", async |site| site.outcome(&rollout).await.is_some()).await;
            assert_eq!(site.outcome(&rollout).await.map(|report| report.outcome), Some(Outcome::Restarted));
            assert_eq!((site.restarts(), site.is_out()), (1, false));
            worker.stop().await.expect("a clean end");
        })
        .await;
}

#[tokio::test]
async fn killed_while_draining_the_next_run_goes_on() {
    LocalSet::new()
        .run_until(async {
            let site = Site::new().await;
            site.touch("busy");
            let worker = site.start().await;
            let rollout = site.announce().await;
            wait_until("it is out", || site.is_out()).await;
            worker.ended.abort();
            let _cancelled = worker.ended.await;
            site.remove("busy");
            let worker = site.start().await;
            site.wait("a report", async |site| site.outcome(&rollout).await.is_some()).await;
            assert_eq!((site.restarts(), site.is_out()), (1, false));
            worker.stop().await.expect("a clean end");
        })
        .await;
}

#[tokio::test]
async fn an_emergency_needs_no_coordinator_and_says_so() {
    LocalSet::new()
        .run_until(async {
            let mut site = Site::new().await;
            let url = format!("http://{}", nobody().await);
            site.coordinator = Remote::new(&url).expect("a client");
            let (finish, _) = site.once(Wanted { emergency: true, ..php() }).await;
            assert!(matches!(finish, Finish::Leaseless(_)), "{finish:?}");
            assert_eq!((site.restarts(), site.is_out(), finish.exit_code()), (1, false, 3));
        })
        .await;
}

#[tokio::test]
async fn one_at_a_time_and_the_second_is_told_who_is_first() {
    LocalSet::new()
        .run_until(async {
            let site = Site::new().await;
            std::fs::create_dir_all(&site.config.state).expect("a folder");
            let lock = HostLock::take(&site.config.state, "the worker").expect("free");
            let (finish, _) = site.once(php()).await;
            let why = format!("this host is at work already: pid {}, the worker", std::process::id());
            assert_eq!(finish, Finish::NoLease(why));
            drop(lock);
            assert_eq!(site.once(php()).await.0.exit_code(), 0);
        })
        .await;
}

/// Somebody has the only slot, and the worker waits for it.
async fn waiting(site: &Site) -> (Running, RolloutName, Settle) {
    let pools = ["app".parse().expect("a pool")].into();
    let (holder, claim): (Holder, Id) = ("run".parse().expect("a holder"), coordinator::random_id().expect("an id"));
    let purpose = Purpose::Run("apt upgrade".to_owned());
    let ask = Ask { holder: holder.clone(), claim: claim.clone(), pools, purpose, wait_ms: None, patience_ms: 1_000 };
    let worker = site.start().await;
    let answer = site.coordinator.ask(&ask, Duration::ZERO).await.expect("an answer");
    assert!(matches!(answer, Answer::Granted(_)), "{answer:?}");
    let rollout = site.announce().await;
    site.wait("the worker waits", async |site| site.waits_for("php@").await).await;
    wait_until("nobody has the host's lock", || HostLock::take(&site.config.state, "a test").is_ok()).await;
    (worker, rollout, Settle { holder, claim, ending: Ending::Released, rollout: None, report: None })
}

impl Site {
    async fn waits_for(&self, what: &str) -> bool {
        let leases = self.coordinator.leases(&Selection::default()).await.expect("leases");
        leases.queue.iter().any(|row| row.holder.as_str() == "mw1" && row.purpose.to_string().starts_with(what))
    }
}

#[tokio::test]
async fn while_the_worker_waits_a_person_can_restart() {
    LocalSet::new()
        .run_until(async {
            let site = Site::new().await;
            let (worker, rollout, settle) = waiting(&site).await;
            let (finish, _) = site.once(Wanted { emergency: true, always: true, ..php() }).await;
            assert!(matches!(finish, Finish::Leaseless(_)), "{finish:?}");
            assert_eq!(site.restarts(), 1);
            assert!(site.waits_for("php@").await, "and the worker still waits");
            let ((finish, _), ()) = tokio::join!(site.once(php()), async {
                site.wait("the person waits", async |site| site.waits_for("restart php").await).await;
                site.coordinator.settle(&settle).await.expect("settled");
            });
            assert!(matches!(finish, Finish::Restarted(_)), "{finish:?}");
            assert_eq!(site.restarts(), 2);
            site.wait("what the person did counts", async |site| {
                site.outcome(&rollout).await.is_some_and(|report| report.outcome == Outcome::Restarted)
            })
            .await;
            worker.stop().await.expect("a clean end");
            assert_eq!(site.restarts(), 2);
        })
        .await;
}

#[tokio::test]
async fn a_lease_that_comes_while_somebody_is_at_work_on_the_host_is_given_back() {
    LocalSet::new()
        .run_until(async {
            let site = Site::new().await;
            let (worker, rollout, settle) = waiting(&site).await;
            let lock = HostLock::take(&site.config.state, "depool of php").expect("free");
            site.coordinator.settle(&settle).await.expect("settled");
            site.wait("it says why", async |site| {
                site.outcome(&rollout).await.is_some_and(|report| report.cause.ends_with("depool of php"))
            })
            .await;
            assert!(site.leases().await.is_empty(), "it does not keep the slot from others");
            assert_eq!(site.restarts(), 0);
            drop(lock);
            site.wait("it restarts then", async |site| {
                site.outcome(&rollout).await.is_some_and(|report| report.outcome == Outcome::Restarted)
            })
            .await;
            assert_eq!((site.restarts(), site.is_out()), (1, false));
            worker.stop().await.expect("a clean end");
        })
        .await;
}

#[tokio::test]
async fn whatever_a_restart_prints_its_report_arrives() {
    LocalSet::new()
        .run_until(async {
            let mut site = Site::new().await;
            let php = site.config.services.values_mut().next().expect("php");
            let script = "i=0; while [ $i -lt 9000 ]; do printf '\\001'; i=$((i+1)); done; echo last words; exit 78";
            let words = ["sh", "-c", script].map(str::to_owned).to_vec();
            let command = config::Command::new(words).expect("a command");
            php.restart.way = config::restart::Way::Exec(config::restart::Commands { command, identity: None });
            let (finish, _) = site.once(self::php()).await;
            let Finish::Failed(report) = &finish else { panic!("{finish:?}") };
            assert!(report.output.starts_with('…') && report.output.ends_with("last words\n"));
            let leases = site.leases().await;
            assert_eq!(leases.iter().map(|lease| lease.state).collect::<Vec<_>>(), [LeaseState::Failed]);
        })
        .await;
}

#[tokio::test]
async fn a_second_worker_on_the_same_folder_does_not_start() {
    LocalSet::new()
        .run_until(async {
            let site = Site::new().await;
            let worker = site.start().await;
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let coordinator = site.coordinator.clone();
            let second =
                run(&site.config, coordinator, Options::default(), Some(listener), std::future::pending()).await;
            let told = second.expect_err("refused").to_string();
            assert_eq!(
                told,
                format!("one worker runs per host and state folder: pid {}, the worker of mw1", std::process::id())
            );
            worker.stop().await.expect("a clean end");
        })
        .await;
}

#[tokio::test]
async fn a_damaged_journal_stops_everything_and_is_seen() {
    LocalSet::new()
        .run_until(async {
            let site = Site::new().await;
            let folder = site.config.state.join("sequences");
            std::fs::create_dir_all(&folder).expect("a folder");
            std::fs::write(folder.join("00000000000001-q.jsonl"), "nonsense\n").expect("written");
            let (finish, _) = site.once(php()).await;
            assert_eq!(finish.exit_code(), 4, "{finish:?}");
            let worker = site.start().await;
            let rollout = site.announce().await;
            site.wait("its trouble is known", async |site| {
                site.members().await.iter().any(|member| member.trouble.contains("00000000000001-q.jsonl"))
            })
            .await;
            let metrics = get(&worker.metrics, "/metrics").await;
            assert!(metrics.contains("stagger_sequence_stuck 1"), "{metrics}");
            worker.stop().await.expect("a clean end");
            assert!(site.outcome(&rollout).await.is_none());
            assert_eq!(site.restarts(), 0);
        })
        .await;
}

#[tokio::test]
async fn what_cannot_be_read_right_now_is_tried_again() {
    LocalSet::new()
        .run_until(async {
            let site = Site::new().await;
            // A folder where the lock file should be: nobody can lock it, and nothing is damaged.
            let in_the_way = site.config.state.join("lock");
            std::fs::create_dir_all(&in_the_way).expect("a folder");
            let (finish, _) = site.once(php()).await;
            assert_eq!(finish.exit_code(), 2, "{finish:?}");
            let worker = site.start().await;
            let rollout = site.announce().await;
            let trouble = async |site: &Site| site.members().await.remove(0).trouble;
            site.wait("its trouble is known", async |site| trouble(site).await.starts_with("cannot lock ")).await;
            let metrics = get(&worker.metrics, "/metrics").await;
            assert!(metrics.contains("stagger_sequence_stuck 0"), "{metrics}");
            std::fs::remove_dir(&in_the_way).expect("removed");
            site.wait("a report", async |site| site.outcome(&rollout).await.is_some()).await;
            assert_eq!((site.restarts(), site.is_out()), (1, false));
            assert_eq!(trouble(&site).await, "", "it is over, and known to be");
            worker.stop().await.expect("a clean end");
        })
        .await;
}

#[tokio::test]
async fn what_is_in_flight_is_seen_in_the_lease() {
    LocalSet::new()
        .run_until(async {
            let mut site = Site::new().await;
            let text = format!(
                "coordinator = \"http://127.0.0.1:1\"\n[service.app]\npools = [\"app\"]\nrestart = {{ kind = \"exec\", command = [\"true\"] }}\ndepool = {{ kind = \"none\" }}\n\
                 [service.app.drain]\nexec = [\"cat\", \"{}\"]\nuntil = \"answer == 0\"\n",
                site.path("flying").display()
            );
            let surroundings = Surroundings { hostname: "mw1".to_owned(), state_directory: None };
            let drain = config::parse(&text, Path::new("test.toml"), &surroundings).expect("a configuration");
            let drain = drain.services.into_values().next().expect("a service").drain;
            let php = site.config.services.values_mut().next().expect("php");
            php.drain = crate::config::Drain { min: Duration::from_secs(8), max: Duration::from_secs(9), ..drain };
            std::fs::write(site.path("flying"), "4").expect("written");
            let worker = site.start().await;
            site.announce().await;
            let says = async |site: &Site, note: &str| site.leases().await.iter().any(|lease| lease.note == note);
            site.wait("it is seen", async |site| says(site, "4 in flight").await).await;
            std::fs::write(site.path("flying"), "1").expect("written");
            site.wait("so is what changes", async |site| says(site, "1 in flight").await).await;
            worker.stop().await.expect("a clean end");
            assert!(!site.is_out());
        })
        .await;
}

#[tokio::test]
async fn an_unknown_service_is_named_with_those_that_are_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = configured(folder.path(), "http://127.0.0.1:1");
    let coordinator = Remote::new(config.coordinator.as_str()).expect("a client");
    let wanted = Wanted { service: "nginx".parse().expect("a service"), ..php() };
    let error = once(&config, coordinator, Options::default(), wanted, |_| (), std::future::pending()).await;
    assert_eq!(error.expect_err("unknown").to_string(), "nginx is not configured here; these are: php");
}
