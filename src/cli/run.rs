//! `stagger run`: runs a command under a lease, and ends it when the lease can no longer be confirmed.
//!
//! Owns the order: a command that is there ([`program`]), a lease ([`wait`]), then the command ([`child`], behind its
//! [`mod@guard`]) while the lease is kept ([`keep`]), and when nothing is left of it the lease is given back. Never runs a command
//! without a lease that was confirmed, and never leaves anything running that has none.

mod boottime;
mod child;
mod guard;
mod keep;
mod leash;
mod leftover;
mod ownership;
mod processes;
mod signals;
mod wait;

use super::context::Context;
use super::failure::Failure;
use super::render::text::clean;
use super::{exit, known, out, program, scope};
use crate::config::duration;
use model::lease::{POOLS_PER_LEASE_MAX, Purpose, TEXT_BYTES_MAX};
use model::names::{Holder, Pool};
use model::request::Ask;
use model::time::millis;
use signals::Signals;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::time::Duration;
use wait::Waited;

pub(crate) use guard::{GUARD, guard};

/// Run a command while holding a lease of one or several pools
///
/// It waits in the queue, runs the command, and gives the lease back. The command sees STAGGER_TOKEN, the fencing token of
/// its grant (pool:token,pool:token when there are several pools), STAGGER_TOKENS, always in that form, and STAGGER_HOLDER.
/// When the lease cannot be confirmed in time, the command is ended with everything that it started: TERM, then KILL. When this
/// one is killed, they are killed too. What is still running when the command has ended is waited for; TERM or Ctrl-C
/// ends it.
///
/// The exit code is the command's own; 126 or 127 when it cannot be run or is not there, before any lease; 2, or the one of -E,
/// when there was no lease; 2 when the lease was lost.
///
/// Example: stagger run -p app-eqiad --wait 10m -- apt-get -y upgrade
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RunArgs {
    /// Of these pools, granted together or not at all
    #[arg(short, long = "pool", value_name = "POOL", required = true, value_parser = scope::pool)]
    pool: Vec<Pool>,
    /// Wait at most so long, such as 10m, paused or not, and also for a coordinator that does not answer [default: the pools'
    /// setting, 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    wait: Option<Duration>,
    /// The holder's name; while it has a lease nobody else can use it [default: run-PID.HOST]
    #[arg(long, value_name = "HOLDER")]
    name: Option<Holder>,
    /// Exit with this code when there is no lease
    #[arg(short = 'E', value_name = "N", default_value_t = exit::NO_LEASE)]
    exit_without_lease: u8,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs it.
pub(crate) async fn run(args: RunArgs, context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    if let Some(code) = args.command.first().and_then(|program| absent(program)) {
        return Ok(code);
    }
    let mut signals = Signals::listen().map_err(|error| Failure::system("listen for signals", error))?;
    let ask = ask(&args, context, &client)?;
    let held = match wait::wait(&client, ask, &mut signals).await {
        Waited::Held(held) => *held,
        Waited::No(why) | Waited::Late(why) | Waited::Away(why) => {
            out::note(&why);
            return Ok(args.exit_without_lease);
        }
        Waited::Interrupted(signal) => return Ok(exit::of_signal(signal)),
    };
    known::warn_of_new_pools(&client, &held.lease).await;
    keep::keep(&client, &held, &args.command, &mut signals).await
}

/// Says why a command cannot be run, and returns the code to end with; nothing when it can.
fn absent(program: &OsStr) -> Option<u8> {
    let absent = program::find(program, std::env::var_os("PATH")).err()?;
    out::note(&clean(&format!("error: cannot run {}: {absent}", program.to_string_lossy())));
    Some(absent.exit_code())
}

/// What is asked for.
fn ask(args: &RunArgs, context: &Context, client: &super::client::Client) -> Result<Ask, Failure> {
    let pools: BTreeSet<Pool> = args.pool.iter().cloned().collect();
    if pools.len() > POOLS_PER_LEASE_MAX {
        let what = format!("a lease covers at most {POOLS_PER_LEASE_MAX} pools, and these are {}", pools.len());
        return Err(Failure::usage(what, "name fewer"));
    }
    let holder = match &args.name {
        Some(name) => name.clone(),
        None => format!("run-{}.{}", std::process::id(), context.host()?).parse().map_err(|error| {
            Failure::usage(format!("this host's name does not make a holder's: {error}"), "say --name HOLDER")
        })?,
    };
    let words: Vec<_> = args.command.iter().map(|word| word.to_string_lossy()).collect();
    let what = clean(&words.join(" "));
    let claim = coordinator::random_id().map_err(|error| client.failure("ask for a lease", error))?;
    Ok(Ask {
        holder,
        claim,
        pools,
        purpose: Purpose::Run(model::bound::beginning(&what, TEXT_BYTES_MAX)),
        wait_ms: args.wait.map(millis),
        patience_ms: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::super::client::Client;
    use super::*;

    #[test]
    fn what_is_asked_for_names_its_holder_and_its_command() {
        let args = |pools: &[&str], name: Option<&str>| RunArgs {
            pool: pools.iter().map(|pool| pool.parse().expect("a pool")).collect(),
            wait: Some(Duration::from_secs(600)),
            name: name.map(|name| name.parse().expect("a holder")),
            exit_without_lease: 2,
            command: ["apt", "upgrade\n-y"].map(OsString::from).to_vec(),
        };
        let client = Client::new("http://127.0.0.1:1", &crate::cli::seat::Seats::default()).expect("a client");
        let ask = ask(&args(&["a", "a", "b"], None), &Context::default(), &client).expect("an ask");
        assert!(ask.holder.as_str().starts_with(&format!("run-{}.", std::process::id())), "{}", ask.holder);
        assert_eq!((ask.pools.len(), ask.wait_ms), (2, Some(600_000)));
        assert_eq!(ask.purpose, Purpose::Run("apt upgrade -y".to_owned()));
        assert_eq!(
            super::ask(&args(&["a"], Some("batch")), &Context::default(), &client).expect("an ask").holder.as_str(),
            "batch"
        );
        let many = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        assert_eq!(super::ask(&args(&many, None), &Context::default(), &client).expect_err("too many").exit_code(), 64);
    }
}
