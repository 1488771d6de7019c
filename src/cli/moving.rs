//! `stagger move`: carries a domain over from one coordinator to another.
//!
//! Owns the order of the steps, and asks again what got no answer. What each step may do, the two ends decide: so it may be killed
//! anywhere and started again, and never are both open.

use super::client::{self, Client};
use super::context::{Context, actor};
use super::failure::Failure;
use super::render::leases::holder_line;
use super::{exit, out};
use crate::config::CoordinatorUrl;
use clap::builder::TypedValueParser;
use coordinator::Error;
use coordinator::wire::PassageView;
use model::lease::LeaseState;
use model::names::{Id, Scope};
use model::passage::{Move, MoveStep, Passage, Stage, without_login};
use model::request::{Act, Done};
use model::settings::count;
use rustix::process::Signal;
use std::ffi::OsStr;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// For how long the old end is paused while held leases are waited for, in milliseconds; said again before it is over.
const PAUSE_MS: u64 = 3_600_000;
/// How little of it may be left.
const PAUSE_LEFT_MS: u64 = 600_000;
/// How often held leases are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// For how long an end that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause before.
const RETRY: Duration = Duration::from_millis(500);

/// Carry everything over from one coordinator to another
///
/// Pauses the old one, waits until no lease is held, copies everything, and leaves word there: workers and commands that ask the
/// old one go on at the new one by themselves. What it was interrupted in, the same command goes on with. Until the new one is
/// open, --undo opens the old one again.
///
/// Example: stagger move --from http://locks:7532 --to etcd://etcd1:2379,etcd2:2379,etcd3:2379
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MoveArgs {
    /// Where everything is now
    #[arg(long, value_name = "URL", value_parser = Secret)]
    from: CoordinatorUrl,
    /// Where it is to be: nothing may be there yet
    #[arg(long, value_name = "URL", value_parser = Secret)]
    to: CoordinatorUrl,
    /// Stays at the old one; refused once the new one may be open
    #[arg(long)]
    undo: bool,
}

/// Moves it.
pub(crate) async fn run(args: MoveArgs, context: &Context) -> Result<u8, Failure> {
    if args.from == args.to {
        return Err(Failure::usage("both URLs are the same", "name the old one with --from, the new one with --to"));
    }
    if args.to.is_loopback() && !args.from.is_loopback() {
        let why = format!("{} is another machine on each host that would be sent there", args.to);
        return Err(Failure::usage(why, "name it as the hosts reach it"));
    }
    let seats = context.seats()?;
    let end = |url: &CoordinatorUrl| Client::here(url.as_str(), &seats);
    let ends = Ends { from: end(&args.from)?, to: end(&args.to)?, args };
    if ends.args.undo {
        return ends.undo().await;
    }
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(|error| Failure::system("listen for signals", error))?;
    tokio::select! {
        moved = ends.carry_over() => moved,
        _ = interrupt.recv() => {
            out::note("interrupted: it may be paused or closed; the same command goes on, and with --undo it stays");
            Ok(exit::of_signal(Signal::INT.as_raw()))
        }
    }
}

/// Reads a URL for the command line; what is wrong with one is told without its password.
#[derive(Debug, Clone)]
struct Secret;

impl TypedValueParser for Secret {
    type Value = CoordinatorUrl;

    fn parse_ref(
        &self,
        command: &clap::Command,
        flag: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<CoordinatorUrl, clap::Error> {
        let text = value.to_string_lossy();
        text.parse().map_err(|error| {
            let flag = flag.map(ToString::to_string).unwrap_or_default();
            let what = format!("{flag}: {} names no coordinator: {error}\n", CoordinatorUrl::masked(&text));
            clap::Error::raw(clap::error::ErrorKind::ValueValidation, what).with_cmd(command)
        })
    }
}

struct Ends {
    from: Client,
    to: Client,
    args: MoveArgs,
}

impl Ends {
    async fn carry_over(&self) -> Result<u8, Failure> {
        let under_way = self.under_way().await?;
        let id = match &under_way {
            Some(passage) => passage.id.clone(),
            None => coordinator::random_id().map_err(|error| self.from.failure("begin", error))?,
        };
        if under_way.is_none() {
            self.must_be_there().await?;
            self.must_take(&id).await?;
            self.close(&id).await?;
        }
        let PassageView { passage, records, .. } = look(&self.from).await?;
        let time = passage.as_ref().map(|passage| passage.time).unwrap_or_default();
        let is_gone = passage.is_some_and(|passage| passage.stage == Stage::Gone);
        // A store that forgot what it had answered may be on its way here again.
        if !is_gone || self.is_arriving(&id).await? {
            // Who logs in there, and how, may be another by now.
            step(&self.from, &id, MoveStep::Close { to: self.args.to.as_str().to_owned() }).await?;
            step(&self.to, &id, MoveStep::Arrive { from: without_login(self.args.from.as_str()), time }).await?;
            if self.is_arriving(&id).await? {
                self.copy(&id, records).await?;
            }
            step(&self.from, &id, MoveStep::HandOver).await?;
            step(&self.to, &id, MoveStep::Open { count: records }).await?;
            out::result(&format!("✓ open       {}", without_login(self.args.to.as_str())))?;
            step(&self.from, &id, MoveStep::Leave).await?;
        }
        self.resume(&self.to).await?;
        let from = without_login(self.args.from.as_str());
        out::result(&format!(
            "✓ moved      who asks {from} goes on at the new one; leave the old one there until every configuration names the new one"
        ))?;
        Ok(exit::OK)
    }

    /// Whether the new end takes the records of this passage in.
    async fn is_arriving(&self, id: &Id) -> Result<bool, Failure> {
        let here = look(&self.to).await?.passage;
        Ok(here.is_some_and(|here| here.id == *id && here.stage == Stage::Arriving))
    }

    async fn undo(&self) -> Result<u8, Failure> {
        let Some(passage) = self.under_way().await? else {
            if self.resume(&self.from).await? {
                return self.stays();
            }
            return Err(Failure::Refused {
                why: "no move to there is under way".to_owned(),
                hint: "look where it is: stagger history all".to_owned(),
            });
        };
        if passage.stage == Stage::Gone {
            let (from, to) = (without_login(self.args.from.as_str()), passage.place);
            let why = format!("it was moved to {to} and works there");
            return Err(Failure::Refused { why, hint: format!("move it back: stagger move --from {to} --to {from}") });
        }
        // First the old end: from then on the new one cannot open any more, since nothing is handed over.
        step(&self.from, &passage.id, MoveStep::Undo).await?;
        step(&self.to, &passage.id, MoveStep::Undo).await?;
        self.resume(&self.from).await?;
        self.stays()
    }

    fn stays(&self) -> Result<u8, Failure> {
        out::result(&format!("✓ stays      {} decides", without_login(self.args.from.as_str())))?;
        Ok(exit::OK)
    }

    /// The passage between these two that the old end knows of.
    async fn under_way(&self) -> Result<Option<Passage>, Failure> {
        let here = look(&self.from)
            .await?
            .passage
            .filter(|passage| matches!(passage.stage, Stage::Closed | Stage::Handed | Stage::Gone));
        match here {
            Some(passage) if passage.place != without_login(self.args.to.as_str()) => Err(Failure::Refused {
                why: match passage.stage {
                    Stage::Gone => format!("it was moved to {}", passage.place),
                    _ => format!("{} moves it to {}", passage.by, passage.place),
                },
                hint: "name that one with --to, to go on with it; or as --from, when it is there".to_owned(),
            }),
            other => Ok(other),
        }
    }

    /// Looks whether there is anything to move: a place of which nobody ever heard is a slip.
    async fn must_be_there(&self) -> Result<(), Failure> {
        if look(&self.from).await?.records > 0 {
            return Ok(());
        }
        let from = without_login(self.args.from.as_str());
        Err(Failure::Refused {
            why: format!("nothing is at {from}: no host, no lease, no setting"),
            hint: "is its domain named so? stagger members --coordinator URL shows who is there".to_owned(),
        })
    }

    /// Looks whether the new end would take anything, before the old one is paused.
    async fn must_take(&self, id: &Id) -> Result<(), Failure> {
        let PassageView { passage, records, fresh, .. } = look(&self.to).await?;
        let is_over = passage.is_some_and(|passage| passage.stage == Stage::Gone || passage.id == *id);
        if fresh || records == 0 || is_over {
            return Ok(());
        }
        let to = without_login(self.args.to.as_str());
        Err(Failure::Refused {
            why: format!(
                "{to} has {} of its own",
                count(u32::try_from(records).unwrap_or(u32::MAX), "record", "records")
            ),
            hint: "move into a domain that has none: another one, such as …/new, or an empty coordinator".to_owned(),
        })
    }

    /// Pauses the old end and closes it as soon as no lease is held.
    async fn close(&self, id: &Id) -> Result<(), Failure> {
        let mut told = String::new();
        loop {
            self.pause().await?;
            let wanted = Move {
                passage: id.clone(),
                by: actor(),
                step: MoveStep::Close { to: self.args.to.as_str().to_owned() },
            };
            match again(&self.from, "close", async || self.from.coordinator().step(&wanted).await).await? {
                Done::Refused { .. } => {}
                done => {
                    client::did(done)?;
                    return out::result(&format!("✓ closed     {}", without_login(self.args.from.as_str())));
                }
            }
            let leases = self.from.leases(None).await?.leases;
            let held: Vec<String> =
                leases.iter().filter(|row| row.lease.state == LeaseState::Held).map(holder_line).collect();
            let waiting = held.join("\n           ");
            if !held.is_empty() && waiting != told {
                out::result(&format!("… waits for {waiting}"))?;
                told = waiting;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Pauses everything at the old end, unless it is paused for long enough.
    async fn pause(&self) -> Result<(), Failure> {
        let pauses = self.from.pauses().await?;
        let reason = self.reason();
        let own = pauses.iter().find(|pause| pause.scope == Scope::All);
        if own.is_some_and(|pause| pause.reason != reason || pause.left_ms > PAUSE_LEFT_MS) {
            return Ok(());
        }
        let act = Act::Pause { scope: Scope::All, reason, for_ms: PAUSE_MS };
        let what = client::did(self.from.admin("pause it", act).await?)?;
        out::result(&format!("✓ paused     {what}"))
    }

    /// Ends the pause that the move made, at the end that decides now. Returns whether there was one.
    async fn resume(&self, end: &Client) -> Result<bool, Failure> {
        let reason = self.reason();
        let is_paused = end.pauses().await?.iter().any(|pause| pause.scope == Scope::All && pause.reason == reason);
        if is_paused {
            client::did(end.admin("resume it", Act::Resume { scope: Scope::All }).await?)?;
            out::result("✓ resumed    what waited goes on")?;
        }
        Ok(is_paused)
    }

    fn reason(&self) -> String {
        format!("moves to {}", without_login(self.args.to.as_str()))
    }

    /// Copies every record.
    async fn copy(&self, id: &Id, records: u64) -> Result<(), Failure> {
        let mut after = None;
        let mut copied = 0;
        loop {
            let read = async || self.from.coordinator().luggage(after.clone()).await;
            let luggage = again(&self.from, "read the records", read).await?;
            copied += luggage.records.len();
            step(&self.to, id, MoveStep::Bring { records: luggage.records }).await?;
            after = luggage.next;
            if after.is_none() {
                return out::result(&format!("✓ copied     {copied} of {records} records"));
            }
            if out::is_watched() {
                out::note(&format!("… copies     {copied} of {records} records"));
            }
        }
    }
}

async fn look(end: &Client) -> Result<PassageView, Failure> {
    again(end, "look how far it is", async || end.coordinator().passage().await).await
}

/// Has an end take a step, which it may refuse.
async fn step(end: &Client, passage: &Id, step: MoveStep) -> Result<(), Failure> {
    let wanted = Move { passage: passage.clone(), by: actor(), step };
    client::did(again(end, "move it", async || end.coordinator().step(&wanted).await).await?)?;
    Ok(())
}

/// Asks until there is an answer: each step is done once, however often it is asked for.
async fn again<T>(end: &Client, doing: &str, ask: impl AsyncFn() -> Result<T, Error>) -> Result<T, Failure> {
    let ends = Instant::now() + PATIENCE;
    let mut is_told = false;
    loop {
        match ask().await {
            Err(error) if error.retryable() && Instant::now() < ends => {
                if !std::mem::replace(&mut is_told, true) {
                    out::note(&end.silence(PATIENCE, &error));
                }
                tokio::time::sleep(RETRY).await;
            }
            asked => return asked.map_err(|error| end.failure(doing, error)),
        }
    }
}
