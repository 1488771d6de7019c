//! What each effect of the host does to the outside.
//!
//! Owns one future per effect, which ends in the event that answers it. Dropping one gives it up. Decides nothing; whatever
//! goes wrong is part of the event. Called by the driver.

use crate::balancer::Balancers;
use crate::config::{Config, ServiceConfig};
use crate::probe::ask::Client;
use crate::probe::{check, drain, verify};
use crate::sequence::store::{self, Journals};
use crate::sequence::{HostLock, Journal, LockError, Receipt};
use crate::telemetry::Telemetry;
use crate::telemetry::tally::Tally;
use crate::unit::{Unit, systemd};
use crate::worker::{clock, environment};
use coordinator::Coordinator;
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use model::host::{Checked, Event, Locked, Prepared, Unheard};
use model::names::{Holder, Pool, Service, Token};
use model::request::{Ask, BeginAsk, Renew, Settle};
use model::sequence::record::Balancers as ByName;
use model::sequence::{Act, Fault, Look, Record, Seen, Step};
use model::time::{Time, millis};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What the effects work with. Cheap to clone.
#[derive(Debug)]
pub(super) struct Shop<C> {
    pub(super) config: Arc<Config>,
    pub(super) coordinator: Arc<C>,
    pub(super) client: Client,
    pub(super) journals: Journals,
    pub(super) telemetry: Telemetry,
    /// What the lock says of this process.
    pub(super) what: String,
}

impl<C> Clone for Shop<C> {
    fn clone(&self) -> Self {
        Shop {
            config: Arc::clone(&self.config),
            coordinator: Arc::clone(&self.coordinator),
            client: self.client.clone(),
            journals: self.journals.clone(),
            telemetry: self.telemetry.clone(),
            what: self.what.clone(),
        }
    }
}

/// What a main effect comes to: its event, and what the driver keeps of it.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) event: Event<Receipt>,
    pub(super) lock: Option<HostLock>,
    pub(super) journal: Option<Journal>,
}

impl From<Event<Receipt>> for Came {
    fn from(event: Event<Receipt>) -> Came {
        Came { event, lock: None, journal: None }
    }
}

/// A main effect under way.
pub(super) type Main = LocalBoxFuture<'static, Came>;

/// What goes on beside a main effect.
pub(super) type Beside = LocalBoxFuture<'static, Event<Receipt>>;

/// What there is to say about an act under way.
pub(super) type Notes = tokio::sync::mpsc::UnboundedSender<String>;

/// One step of a sequence, with what it needs of it.
#[derive(Debug, Clone)]
pub(super) struct Deed {
    pub(super) service: Service,
    pub(super) holder: Holder,
    pub(super) tokens: BTreeMap<Pool, Token>,
    /// The balancers that it is about.
    pub(super) balancers: ByName,
    /// Those that the host was out of before, by somebody else's doing.
    pub(super) out: BTreeSet<String>,
    pub(super) identity: Option<String>,
    /// Which incarnation ran before the first act for the same generation, when this is not the first.
    pub(super) since: Option<String>,
}

/// Does this, and ends in its event.
fn main(work: impl Future<Output = Event<Receipt>> + 'static) -> Main {
    work.map(Came::from).boxed_local()
}

impl<C: Coordinator + 'static> Shop<C> {
    fn service(&self, name: &Service) -> Option<&ServiceConfig> {
        self.config.services.get(name)
    }

    /// Takes the host's lock, and looks at the journals.
    pub(super) fn lock(&self) -> Main {
        let shop = self.clone();
        blocking(move || shop.lock_now(), |why| Event::NotLocked(why).into())
    }

    /// Whether nobody has the host's lock at this moment.
    pub(super) fn is_lock_free(&self) -> bool {
        HostLock::take(&self.config.state, &self.what).is_ok()
    }

    fn lock_now(&self) -> Came {
        let lock = match HostLock::take(&self.config.state, &self.what) {
            Ok(lock) => lock,
            Err(LockError::Busy { who }) => return Event::Busy(who).into(),
            Err(error) => return Event::NotLocked(error.to_string()).into(),
        };
        let found = self.journals.unfinished();
        let newest = self.journals.newest(self.config.services.keys());
        match (found, newest, coordinator::random_id()) {
            (Ok(found), Ok(newest), Ok(fresh)) => {
                let (journal, unfinished) = found.unzip();
                let (left_out, doubts) = (store::left_out(&newest), store::doubts(&newest));
                let event = Event::Locked(Box::new(Locked { fresh, unfinished, left_out, doubts }));
                Came { event, lock: Some(lock), journal }
            }
            (Err(error), ..) | (_, Err(error), _) if error.is_damage() => Event::Damaged(error.to_string()).into(),
            (Err(error), ..) | (_, Err(error), _) => Event::NotLocked(error.to_string()).into(),
            (.., Err(error)) => Event::NotLocked(error.to_string()).into(),
        }
    }

    /// Writes records, and syncs them. The first one of a sequence makes its journal.
    pub(super) fn record(&self, journal: Option<Journal>, records: Vec<Record>) -> Main {
        let shop = self.clone();
        blocking(move || shop.record_now(journal, &records), |why| Event::NotRecorded(why).into())
    }

    fn record_now(&self, journal: Option<Journal>, records: &[Record]) -> Came {
        let journal = match (journal, records.first()) {
            (_, Some(Record::Opened(plan))) => self.journals.create(&plan.sequence, clock::wall()),
            (Some(journal), _) => Ok(journal),
            (None, _) => Err(std::io::Error::other("there is no journal to write to")),
        };
        let mut journal = match journal {
            Ok(journal) => journal,
            Err(error) => return Event::NotRecorded(error.to_string()).into(),
        };
        let event = match journal.append(records) {
            Ok(receipt) => Event::Recorded(receipt),
            Err(error) => Event::NotRecorded(error.to_string()),
        };
        if matches!((&event, records.last()), (Event::Recorded(_), Some(Record::Settled)))
            && let Err(error) = self.journals.file_away(journal.path())
        {
            tracing::warn!(%error, "a closed journal stays where it is");
        }
        Came { journal: Some(journal), ..event.into() }
    }

    /// Counts an end.
    pub(super) fn count(&self, service: &Service, report: &model::rollout::Report) {
        if let Err(error) = Tally::count(&self.config.state, service, report, clock::wall()) {
            tracing::warn!(%error, "cannot count an outcome");
        }
    }

    pub(super) fn check(&self, name: &Service) -> Main {
        let (client, check) = (self.client.of(name), self.service(name).and_then(|service| service.check.clone()));
        main(async move {
            let started = clock::now();
            let verdict = match &check {
                Some(check) => check::verdict(check, &client).await.map(Some),
                None => Ok(None),
            };
            let ms = millis(clock::now().since(started));
            let (note, restart) = match verdict {
                Ok(None) => ("no check is configured".to_owned(), Ok(true)),
                Ok(Some(verdict)) => (format!("{}: {}", verdict.why, verdict.figures), Ok(verdict.restart)),
                Err(error) => (String::new(), Err(Fault::plain(error.to_string()))),
            };
            Event::Checked(Checked { ms, note, restart })
        })
    }

    pub(super) fn ask(&self, ask: Ask, hold_ms: u64) -> Main {
        let coordinator = Arc::clone(&self.coordinator);
        main(async move {
            let sent = clock::now();
            let answer = coordinator.ask(&ask, Duration::from_millis(hold_ms)).await;
            Event::Answered { sent, answer: answer.map_err(unheard) }
        })
    }

    pub(super) fn begin(&self, ask: BeginAsk) -> Main {
        let coordinator = Arc::clone(&self.coordinator);
        main(async move {
            let sent = clock::now();
            let begin = coordinator.begin(&ask).await;
            Event::Begun { sent, begin: begin.map_err(unheard) }
        })
    }

    pub(super) fn settle(&self, settle: Settle) -> Main {
        let coordinator = Arc::clone(&self.coordinator);
        main(async move { Event::Settled(coordinator.settle(&settle).await.map_err(unheard)) })
    }

    /// Not a main effect: it goes on beside one.
    pub(super) fn renew(&self, renew: Renew) -> Beside {
        let coordinator = Arc::clone(&self.coordinator);
        async move {
            let sent = clock::now();
            let own = coordinator.renew(&renew).await.map_err(unheard);
            Event::Owned { claim: renew.claim, sent, own }
        }
        .boxed_local()
    }

    pub(super) fn look(&self, service: &Service) -> Main {
        let (balancers, name) = (self.balancers(service, &self.client), service.clone());
        main(async move { Event::Looked(look(balancers, &name).await) })
    }

    /// Looks once more, and hands the receipt of the act that waits for it back.
    pub(super) fn look_again(&self, recorded: Receipt, service: &Service) -> Main {
        let (balancers, name) = (self.balancers(service, &self.client), service.clone());
        main(async move { Event::LookedAgain(recorded, look(balancers, &name).await) })
    }

    /// What must be known before the depool.
    pub(super) fn prepare(&self, deed: &Deed) -> Main {
        let (balancers, name) = (self.balancers(&deed.service, &self.told(deed)), deed.service.clone());
        main(async move {
            Event::Prepared(Prepared::Looks(match &balancers {
                Some(balancers) => balancers.look_before().await,
                None => look(None, &name).await,
            }))
        })
    }

    /// What must be known before the restart. Not a main effect: it goes on beside one.
    pub(super) fn identify(&self, deed: &Deed) -> Beside {
        let unit = self.unit(deed);
        async move {
            let identity = match unit {
                Some(unit) => unit.identity().await,
                None => Ok(None),
            };
            // A service that is down has no identity, and may be restarted all the same.
            let identity = identity.unwrap_or_else(|error| {
                tracing::warn!(%error, "nobody can tell which incarnation runs");
                None
            });
            Event::Prepared(Prepared::Identity(identity))
        }
        .boxed_local()
    }

    /// Finds out whether the interrupted restart act was done; the first time that can take as long as a restart may, so it says
    /// until when.
    pub(super) fn inspect(&self, deed: &Deed, is_again: bool, notes: &Notes) -> Main {
        let (unit, identity) = (self.unit(deed), deed.identity.clone());
        let takes = unit.as_ref().and_then(|unit| unit.inspection(identity.as_deref(), is_again));
        if let Some(takes) = takes.filter(|takes| !takes.is_zero()) {
            let until = clock::time_of_day(clock::wall(), takes);
            // Nobody is left to tell when the driver is gone.
            drop(notes.send(format!("looks until {until} UTC whether its restart happened")));
        }
        main(async move {
            Event::Inspected(match unit {
                Some(unit) => unit.inspect(identity.as_deref(), is_again).await,
                None => Seen::Unknown("the service is not configured any more".to_owned()),
            })
        })
    }

    /// Acts a step. That it was recorded is said by the receipt, which this takes and keeps.
    pub(super) fn act(&self, _recorded: Receipt, step: Step, deed: Deed, notes: Notes) -> Main {
        let acting = self.clone().acting(step, deed, false, notes);
        main(async move { Event::Acted(acting.await) })
    }

    /// Puts the host back where this sequence took it out.
    pub(super) fn undo(&self, _recorded: Receipt, deed: Deed, notes: Notes) -> Main {
        let acting = self.clone().acting(Step::Repool, deed, true, notes);
        main(async move { Event::Undone(acting.await) })
    }

    async fn acting(self, step: Step, deed: Deed, is_undo: bool, notes: Notes) -> Act {
        let started = clock::now();
        let (note, fault) = match self.acted(step, &deed, is_undo, &notes).await {
            Ok(note) => (note, None),
            Err(fault) => (String::new(), Some(fault)),
        };
        Act { ms: millis(clock::now().since(started)), note, fault }
    }

    async fn acted(&self, step: Step, deed: &Deed, is_undo: bool, notes: &Notes) -> Result<String, Fault> {
        let client = self.told(deed);
        let missing = || Fault::plain(format!("{} is not configured any more", deed.service));
        let service = self.service(&deed.service).ok_or_else(missing)?;
        match step {
            Step::Depool => {
                Balancers::new(service, &client).depool(&deed.balancers).await?;
                Ok(depooled(deed))
            }
            Step::Drain => {
                // Nobody is left to tell when the driver is gone.
                let tell = |in_flight: &str| drop(notes.send(in_flight.to_owned()));
                let drained = match service.drain.sessions {
                    None => drain::drain(&service.drain, &client, tell).await,
                    Some(most) => {
                        let balancers = Balancers::new(service, &client);
                        let mut sessions = balancers.sessions();
                        let ask = async || {
                            let in_flight = sessions.ask().await;
                            (in_flight.detail.clone(), in_flight.is_at_most(most))
                        };
                        drain::wait(&service.drain, "some balancer", ask, tell).await
                    }
                };
                Ok(self::drained(&drained))
            }
            Step::Restart => {
                let tell = |what: &str| drop(notes.send(what.to_owned()));
                Ok(Unit::new(service, &client).restart(deed.since.as_deref(), tell).await?.note())
            }
            Step::Verify => {
                let (unit, before) = (Unit::new(service, &client), deed.identity.as_deref());
                let is_renewed = async || unit.is_renewed(before).await;
                let look = async |running: &_| {
                    let up = systemd::running(running, &client).await.map_err(|error| error.to_string())?;
                    Ok(verify::UnitLook { incarnation: up.incarnation, active: up.active })
                };
                let verified = verify::verify(service.verify.as_ref(), service.steady, &client, is_renewed, look).await;
                verified.map(|verified| verified.figures).map_err(|error| Fault::plain(error.to_string()))
            }
            Step::Repool => {
                let balancers = Balancers::new(service, &client);
                match is_undo {
                    true => balancers.undo(&deed.balancers).await?,
                    false => balancers.repool(&deed.balancers).await?,
                }
                Ok(names("in", &deed.balancers))
            }
            Step::Check | Step::Ask | Step::Gate | Step::Begin | Step::Settle => {
                Err(Fault::plain(format!("{step} is nothing that is acted")))
            }
        }
    }

    /// The client whose commands are told of the lease.
    fn told(&self, deed: &Deed) -> Client {
        let told = environment(&deed.tokens, &deed.holder);
        told.iter().fold(self.client.clone(), |client, (name, value)| client.with(name, value))
    }

    fn unit(&self, deed: &Deed) -> Option<Unit> {
        Some(Unit::new(self.service(&deed.service)?, &self.told(deed)))
    }

    pub(super) fn balancers(&self, service: &Service, client: &Client) -> Option<Balancers> {
        self.service(service).map(|service| Balancers::new(service, client))
    }
}

fn unheard(error: coordinator::Error) -> Unheard {
    Unheard { is_for_good: error.is_for_good(), why: error.to_string() }
}

/// A service that is not configured any more has no balancer that could be asked: nobody can tell.
async fn look(balancers: Option<Balancers>, service: &Service) -> Vec<Look> {
    match balancers {
        Some(balancers) => balancers.look().await,
        None => vec![Look {
            balancer: service.to_string(),
            presence: model::member::Presence::Unknown,
            detail: "the service is not configured any more".to_owned(),
            restore: String::new(),
            is_foreign: false,
            remedy: model::member::Remedy::default(),
        }],
    }
}

fn names(where_: &str, balancers: &ByName) -> String {
    let names: Vec<&str> = balancers.keys().map(String::as_str).collect();
    if names.is_empty() { String::new() } else { format!("{where_} {}", names.join(", ")) }
}

/// What the host is out of now, and what it was out of before.
fn depooled(deed: &Deed) -> String {
    let out: Vec<&str> = deed.out.iter().map(String::as_str).collect();
    let out = if out.is_empty() { String::new() } else { format!("out of {} already, not by Stagger", out.join(", ")) };
    let both = [names("out of", &deed.balancers), out];
    both.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

fn drained(drained: &drain::Drained) -> String {
    match (drained.timed_out, drained.in_flight.is_empty()) {
        (true, _) => format!("went on after the longest wait: {}", drained.in_flight),
        (false, _) => drained.in_flight.clone(),
    }
}

/// Does what blocks on a thread of its own, so that a slow disk does not keep a lease from being renewed.
fn blocking(work: impl FnOnce() -> Came + Send + 'static, failed: impl FnOnce(String) -> Came + 'static) -> Main {
    let task = tokio::task::spawn_blocking(work);
    async move { task.await.unwrap_or_else(|error| failed(error.to_string())) }.boxed_local()
}

/// How long until this moment.
pub(super) fn until(at: Time) -> Duration {
    at.since(clock::now())
}
