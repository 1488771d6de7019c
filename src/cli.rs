//! The command line: one file per command. Only here anything is printed, and only `main` exits.
//!
//! Reading order: `Cli` and [`main`]; what every command is given, `context` and `client`; how it ends, `exit` and
//! `failure`; how it is shown, `render` (pure) and `out`. Never decides about leases or rollouts.

mod abort;
mod announce;
mod check;
mod client;
mod completions;
mod context;
mod demo;
mod depool;
mod doctor;
mod exit;
mod failure;
mod follow;
mod history;
mod known;
mod leases;
mod lockserver;
mod logging;
mod man;
mod members;
mod moving;
mod notify;
mod out;
mod owner;
mod pause;
mod pools;
mod program;
mod release;
mod render;
mod repool;
mod restart;
mod resume;
mod rollouts;
mod run;
mod scope;
mod screen;
mod seat;
mod set;
mod shim;
mod why;
mod worker;

use clap::{CommandFactory as _, Parser, Subcommand};
use context::{Context, Globals};
use failure::Failure;
use serde_json::json;

/// Restart a fleet's services in turn, without an orchestrator.
///
/// Every host runs a worker. When a deploy is announced, each worker takes a lease from shared pools that bound how many
/// hosts may be out at once, restarts its service safely, reports, and gives the lease back.
///
/// Example: stagger announce php-fpm -m "wmf.12 to group1" --follow
///
/// Exit codes: 0 done or nothing to do; 1 failed or refused; 2 no lease, or the coordinator cannot be reached; 3 restarted
/// without a lease; 4 stuck, a person is needed; 5 a rollout ended with failed hosts or was stopped; 64 usage; 78
/// configuration; 128 and a signal's number when interrupted.
#[derive(Debug, Parser)]
#[command(name = "stagger", version, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Announce(announce::AnnounceArgs),
    Rollouts(rollouts::RolloutsArgs),
    Abort(abort::AbortArgs),
    Restart(restart::RestartArgs),
    Check(check::CheckArgs),
    Depool(depool::DepoolArgs),
    Repool(repool::RepoolArgs),
    Run(run::RunArgs),
    Leases(leases::LeasesArgs),
    Pools(pools::PoolsArgs),
    Members(members::MembersArgs),
    Why(why::WhyArgs),
    History(history::HistoryArgs),
    Pause(pause::PauseArgs),
    Resume(resume::ResumeArgs),
    Release(release::ReleaseArgs),
    Set(set::SetArgs),
    Worker(worker::WorkerArgs),
    Lockserver(Box<lockserver::LockserverArgs>),
    Move(moving::MoveArgs),
    Doctor(doctor::DoctorArgs),
    Demo(demo::DemoArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
    #[command(hide = true)]
    DemoService(demo::service::DemoServiceArgs),
    #[command(hide = true)]
    DemoRestart(demo::restart::DemoRestartArgs),
    #[command(hide = true)]
    DemoJanitor(demo::janitor::DemoJanitorArgs),
}

/// The command line as it is understood: what tests hold the manual against.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command that the program was called with, and returns the code to exit with. Call it once, on the main thread:
/// commands under `run` end with the thread that started them.
pub fn main() -> u8 {
    if let Some(code) = shim::main(std::env::args_os()) {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return told(&error),
    };
    let context = Context { globals: cli.globals, seats: seat::Seats::default() };
    // A lock server's file is of no use to the commands that it proposes.
    let is_of_host = !matches!(cli.command, Command::Lockserver(_));
    if let Some(file) = context.globals.config.as_ref().filter(|_| is_of_host) {
        out::propose_with(file);
    }
    dispatch(cli.command, &context).unwrap_or_else(|failure| {
        match &failure {
            Failure::Configuration(_) => out::note_as_it_is(&failure.render()),
            _ => out::note(&failure.render()),
        }
        failure.exit_code()
    })
}

/// Prints what clap has to say: help on standard output, what is wrong on standard error.
fn told(error: &clap::Error) -> u8 {
    let _nobody_listens = error.print();
    if error.use_stderr() { exit::USAGE } else { exit::OK }
}

fn dispatch(command: Command, context: &Context) -> Result<u8, Failure> {
    match command {
        Command::Completions(args) => completions::run(&args, context),
        Command::Man(args) => man::run(&args, context),
        Command::Announce(args) => wait_for(announce::run(args, context), context),
        Command::Rollouts(args) => wait_for(rollouts::run(args, context), context),
        Command::Abort(args) => wait_for(abort::run(args, context), context),
        Command::Restart(args) => wait_for(restart::run(args, context), context),
        Command::Check(args) => wait_for(check::run(args, context), context),
        Command::Depool(args) => wait_for(depool::run(args, context), context),
        Command::Repool(args) => wait_for(repool::run(args, context), context),
        Command::Run(args) => wait_for(run::run(args, context), context),
        Command::Doctor(args) => wait_for(doctor::run(args, context), context),
        Command::Move(args) => wait_for(moving::run(args, context), context),
        Command::Leases(args) => wait_for(leases::run(args, context), context),
        Command::Pools(args) => wait_for(pools::run(args, context), context),
        Command::Members(args) => wait_for(members::run(args, context), context),
        Command::Why(args) => wait_for(why::run(args, context), context),
        Command::History(args) => wait_for(history::run(args, context), context),
        Command::Pause(args) => wait_for(pause::run(args, context), context),
        Command::Resume(args) => wait_for(resume::run(args, context), context),
        Command::Release(args) => wait_for(release::run(args, context), context),
        Command::Set(args) => wait_for(set::run(args, context), context),
        Command::Worker(args) => wait_for(worker::run(args, context), context),
        Command::Lockserver(args) => wait_for(lockserver::run(*args, context), context),
        Command::Demo(args) => wait_for(demo::run(args, context), context),
        Command::DemoRestart(args) => Ok(demo::restart::run(&args)),
        Command::DemoService(args) => wait_for(async { Ok(demo::service::run(args).await) }, context),
        Command::DemoJanitor(args) => wait_for(async { Ok(demo::janitor::run(args).await) }, context),
    }
}

/// Runs a command to its end, on this thread.
fn wait_for(command: impl Future<Output = Result<u8, Failure>>, context: &Context) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::system("start", error))?.block_on(async {
        let ended = command.await;
        context.seats.leave().await;
        ended
    })
}

/// Says what a person's change did.
fn changed(what: &str, context: &Context) -> Result<u8, Failure> {
    match context.globals.json {
        true => out::json(&json!({ "did": what }))?,
        false => out::result(what)?,
    }
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let help = command.get_long_about().map(ToString::to_string).unwrap_or_default();
            assert!(
                help.contains(&format!("Example: stagger {}", command.get_name())),
                "{}: {help}",
                command.get_name()
            );
        }
    }

    #[test]
    fn what_is_typed_wrong_is_refused() {
        for line in [
            "stagger",
            "stagger nonsense",
            "stagger pause pools/a --reason r --for 2h",
            "stagger pause all --reason r --for 2",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line);
            assert!(error.use_stderr(), "{line}");
        }
        for line in [
            "stagger leases --json",
            "stagger --json leases",
            "stagger run -p a -p b -- true --json",
            "stagger set pool/a slots= --reason r",
        ] {
            Cli::try_parse_from(line.split(' ')).expect(line);
        }
    }
}
