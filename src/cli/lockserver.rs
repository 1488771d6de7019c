//! `stagger lockserver`: keeps the leases, the queue and the rollouts of a fleet; and what is done to its state.
//!
//! Owns its flags. Reading order: `given` (flags and file together), `serve` (from its start to its end) with `bind` (where it
//! listens), `access` (who may come in) and `reload` (its file, read again); `token`; `backup`, `restore` and `verify`. The server itself is the crate `lockserver`.

mod access;
mod backup;
mod bind;
mod given;
mod reload;
mod restore;
mod serve;
mod token;
mod verify;

use super::context::Context;
use super::failure::Failure;
use clap::Subcommand;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where clients of poolcounterd are listened to when nothing else is said, as by poolcounterd.
const POOLCOUNTER_DEFAULT: &str = "127.0.0.1";

/// Keep the leases, the queue and the rollouts of a fleet
///
/// It is what workers and commands ask. The state is in memory and on disk before anyone is answered; a lock server that starts again knows everything. It
/// prints its address, logs to standard error, and stops in order on TERM or Ctrl-C. A service manager that understands
/// sd_notify(3) is told when it is ready and that it lives.
///
/// What no flag says, its file does: -c, for this command, names that, and it is /etc/stagger/lockserver.toml where that is there. HUP has it read again; while something is wrong in
/// it, what it said before holds.
///
/// With -l it takes the place of poolcounterd too, for the clients of that: keys that name a pool share its slots with everyone else's leases. That protocol
/// knows no authentication, so beyond loopback whoever reaches the port may take locks.
///
/// With --coordinator and the URL of a Redis or an etcd it is a door to the domain there, for those who ask over HTTP: it keeps nothing, and several may stand
/// side by side.
///
/// Beyond loopback it wants encryption and tokens: whoever asks then shows a token, which may look, work, deploy, or do everything.
///
/// Example: stagger lockserver --api 10.0.0.5:7532 --tls-cert tls.crt --tls-key tls.key --tokens /etc/stagger/tokens
#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct LockserverArgs {
    /// The folder of its state [default: the file's, else STATE_DIRECTORY, else /var/lib/stagger-locks]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Listen here; port 0 takes any [default: the file's, else 127.0.0.1:7532]
    #[arg(long, value_name = "ADDRESS")]
    api: Option<SocketAddr>,
    /// Listen here for clients of poolcounterd; port 7531 unless said, and loopback without an address
    #[arg(short = 'l', long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = POOLCOUNTER_DEFAULT)]
    poolcounter: Option<String>,
    #[command(flatten)]
    access: access::AccessArgs,
    #[command(subcommand)]
    command: Option<LockserverCommand>,
}

/// What else is done with a lock server than to run it.
#[derive(Debug, Clone, Subcommand)]
enum LockserverCommand {
    Token(token::TokenArgs),
    Backup(backup::BackupArgs),
    Restore(restore::RestoreArgs),
    Verify(verify::VerifyArgs),
}

/// Runs it until a signal ends it; or does something to its state.
pub(crate) async fn run(mut args: LockserverArgs, context: &Context) -> Result<u8, Failure> {
    match args.command.take() {
        None => serve::run(&args, context).await,
        Some(LockserverCommand::Token(args)) => token::run(args, context),
        Some(LockserverCommand::Backup(args)) => backup::run(&args, context).await,
        Some(LockserverCommand::Restore(args)) => restore::run(&args, context),
        Some(LockserverCommand::Verify(args)) => verify::run(&args, context),
    }
}
