//! `stagger demo`: a pretend fleet on this machine, put through its acts, and judged by an observer of its own.
//!
//! Reading order: [`run`]; `fleet` (what is started, and ends with the demo) and `config` (what each worker is told);
//! `acts` (one file each) and `summary` (what is told of them). The pretend world: [`service`], `supervisor`, [`restart`],
//! `balancer`, `observer`, `load`, over the little HTTP of `http`; and the [`janitor`]. The workers and the lock server are
//! the real ones. Called by the command line, on a runtime of the main thread alone: the children end with the thread that
//! spawned them.

mod acts;
mod balancer;
mod config;
mod fleet;
mod http;
pub(crate) mod janitor;
mod load;
mod locks;
mod observer;
mod progress;
pub(crate) mod restart;
pub(crate) mod service;
mod summary;
mod supervisor;

use super::{context::Context, exit, failure::Failure, out, render::text};
use acts::{Act, Stage};
use fleet::{Fleet, FleetError};
use progress::Progress;
use std::time::Duration;
use summary::Summary;
use tokio::signal::unix::{SignalKind, signal};

/// Most pretend hosts: with two cores more would measure the machine.
const HOSTS_MAX: i64 = 400;
/// The least and the most that a least drain, or a restart, may take here.
const TIME_MIN: Duration = Duration::from_millis(100);
const TIME_MAX: Duration = Duration::from_secs(60);

/// See it work: a pretend fleet on this machine
///
/// Starts a lock server (with --coordinator it uses that store instead, under a name of its own), pretend hosts with a real worker and a service each, a balancer and a load on loopback; rolls out
/// good and bad builds, kills and cuts off what it started, and checks that no request fails and that never more hosts are
/// out than there are slots.
///
/// Example: stagger demo --hosts 50 --slots 5
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DemoArgs {
    /// How many pretend hosts there are
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=HOSTS_MAX))]
    hosts: u32,
    /// How many of them may be out at once
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..HOSTS_MAX))]
    slots: u32,
    /// The least drain of a host
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = time)]
    drain: Duration,
    /// How long a service takes to start
    #[arg(long, value_name = "DURATION", default_value = "200ms", value_parser = time)]
    restart: Duration,
    /// Play only these acts
    #[arg(long, value_name = "ACT", value_enum, value_delimiter = ',')]
    acts: Vec<Act>,
    /// Leave the fleet running after the acts, to be looked at, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

fn time(text: &str) -> Result<Duration, String> {
    let time = crate::config::duration::parse(text).map_err(|error| error.to_string())?;
    let fits = (TIME_MIN..=TIME_MAX).contains(&time);
    fits.then_some(time).ok_or_else(|| format!("between {TIME_MIN:?} and {TIME_MAX:?}"))
}

/// Plays the demo. Returns the exit code: 0 when every act went well, 1 when one did not, or that of the signal that ended
/// it. Whatever happens, nothing that was started is left.
///
/// # Errors
/// The arguments do not fit each other, or the fleet cannot be started or cleared away.
pub(crate) async fn run(args: DemoArgs, context: &Context) -> Result<u8, Failure> {
    let json = context.globals.json;
    if args.slots >= args.hosts {
        return Err(Failure::usage(
            format!("{} hosts with {} slots: there would be nobody left to serve", args.hosts, args.slots),
            "give fewer --slots than --hosts",
        ));
    }
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let options = fleet::Options { hosts: args.hosts, slots: args.slots, drain: args.drain, restart: args.restart };
    let fleet = Fleet::prepare(options, context.globals.coordinator.as_deref()).await.map_err(failure)?;
    let played = tokio::select! {
        played = play(&fleet, &args, json) => played,
        _ = interrupt.recv() => Ok(exit::INTERRUPTED),
        _ = terminate.recv() => Ok(exit::TERMINATED),
    };
    let cleared = fleet.stop().await.map_err(failure);
    let code = played?;
    cleared?;
    match code {
        exit::OK | exit::FAILED if !json => {
            out::result(&format!("Nothing left behind. To look around: {} demo --keep", program()))?;
        }
        exit::OK | exit::FAILED => {}
        _ => out::note("Ended by a signal; nothing left behind."),
    }
    Ok(code)
}

fn listen(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|error| Failure::system("listen for signals", error))
}

fn failure(error: FleetError) -> Failure {
    Failure::Work { what: format!("cannot play the demo: {error}"), hint: String::new(), code: exit::FAILED }
}

async fn play(fleet: &Fleet, args: &DemoArgs, json: bool) -> Result<u8, Failure> {
    let progress = Progress::start(fleet.balancer().clone());
    progress.tell("starting");
    fleet.start().await.map_err(failure)?;
    if !json {
        let slots = text::count(args.slots as usize, "slot");
        progress.aside(|| {
            out::result(&format!("{} pretend hosts, {slots}; {} {}", args.hosts, fleet.keeper(), fleet.url()))
        })?;
    }
    let chosen: Vec<Act> = Act::ALL.into_iter().filter(|act| args.acts.is_empty() || args.acts.contains(act)).collect();
    let stage = Stage::new(fleet);
    let mut summary = Summary::new(fleet.options());
    for (place, act) in chosen.iter().enumerate() {
        progress.tell(&format!("{} (act {} of {})", act.name(), place + 1, chosen.len()));
        let played = acts::play(&stage, *act).await;
        if !json {
            let lines = played.lines(out::width(&std::io::stdout()));
            progress.aside(|| out::result(&lines))?;
        }
        summary.add(played);
    }
    progress.end();
    summary.close(fleet.balancer().counts().peak_out);
    if json {
        out::json(&summary)?;
    }
    if args.keep {
        out::note(&keeping(fleet));
        // The signal that is waited for ends the whole of `play`.
        std::future::pending::<()>().await;
    }
    Ok(if summary.is_well() { exit::OK } else { exit::FAILED })
}

/// How this program was called, so that what is told to be typed can be typed.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "stagger".to_owned())
}

fn keeping(fleet: &Fleet) -> String {
    let (program, url, service) = (program(), fleet.url(), fleet::SERVICE);
    let folder = fleet.folder().display();
    let host = fleet.names().first().map_or("host01", String::as_str);
    format!(
        "Still running; Ctrl-C ends it. Look at it from another terminal:\n  \
         export STAGGER_COORDINATOR={url}\n  \
         {program} leases\n  \
         {program} members\n  \
         {program} announce {service} -m again --follow\n\
         As if on a host, {host} for example:\n  \
         {program} restart {service} -c {folder}/{host}/stagger.toml\n\
         Logs of the hosts: {folder}/host*/worker.log"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: DemoArgs,
    }

    fn read(words: &[&str]) -> Result<DemoArgs, String> {
        let words = [&["demo"], words].concat();
        Line::try_parse_from(words).map(|line| line.args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_arguments_have_their_defaults_and_bounds() {
        let args = read(&[]).expect("the defaults");
        assert_eq!(
            (args.hosts, args.slots, args.drain, args.restart),
            (20, 2, Duration::from_secs(1), Duration::from_millis(200))
        );
        assert!(args.acts.is_empty() && !args.keep);
        let args = read(&["--acts", "deploy,kill-9", "--drain", "3s"]).expect("two acts");
        assert_eq!((args.acts, args.drain), (vec![Act::Deploy, Act::Kill9], Duration::from_secs(3)));
        for wrong in [
            ["--hosts", "1"],
            ["--hosts", "401"],
            ["--slots", "0"],
            ["--drain", "99ms"],
            ["--drain", "2h"],
            ["--acts", "x"],
        ] {
            assert!(read(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn somebody_must_be_left_to_serve() {
        let args = read(&["--hosts", "3", "--slots", "3"]).expect("each in its bounds");
        let context = Context::default();
        assert_eq!(run(args, &context).await.expect_err("refused").exit_code(), exit::USAGE);
    }
}
