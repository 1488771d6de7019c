//! `stagger lockserver token`: makes, lists and revokes the tokens of a lock server.
//!
//! Owns what is printed: a token once, to whoever has it made. The file is the crate `lockserver`'s.

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::render::table;
use crate::cli::{exit, out};
use crate::config::duration;
use ::lockserver::access::keep::{KeepError, Keeper, PATH_DEFAULT, load};
use ::lockserver::access::secret::Secret;
use ::lockserver::access::tokens::{CertificateName, Name, Proof, Role, Token, TokenState};
use jiff::Timestamp;
use model::names::Host;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// Make, list and revoke the tokens by which a lock server knows who asks
///
/// A lock server that is given the file with --tokens knows of each change about a second later.
///
/// Example: stagger lockserver token add mw1331 --role worker --host mw1331
#[derive(Debug, Clone, clap::Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Command {
    /// Make one, and print it: only its hash is kept
    ///
    /// The roles: read looks; worker is for a host's worker and `stagger run`; deploy announces, aborts, pauses and resumes; admin does
    /// everything. Each may look. A worker's token should be bound to its host, so that no host acts for another.
    ///
    /// Example: stagger lockserver token add deploy1 --role deploy --for 90d
    Add(AddArgs),
    /// List them: names, roles, and until when each counts
    ///
    /// Example: stagger lockserver token list
    List(FileArgs),
    /// Take one back: whoever shows it is refused from then on
    ///
    /// Example: stagger lockserver token revoke mw1331
    Revoke(RevokeArgs),
}

#[derive(Debug, Clone, clap::Args)]
struct FileArgs {
    /// The file that they are in
    #[arg(long, value_name = "FILE", default_value = PATH_DEFAULT)]
    tokens: PathBuf,
}

#[derive(Debug, Clone, clap::Args)]
struct AddArgs {
    /// What it is called, in the history and in the log
    name: Name,
    /// What it may do: read, worker, deploy or admin
    #[arg(long, value_name = "ROLE")]
    role: Role,
    /// The one host that it may act for
    #[arg(long, value_name = "HOST")]
    host: Option<Host>,
    /// How long it counts, such as 90d [default: until it is revoked]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    lasts: Option<Duration>,
    /// Make no token: whoever has a client certificate that is made out to this name is known by it
    #[arg(long, value_name = "NAME")]
    certificate: Option<CertificateName>,
    #[command(flatten)]
    file: FileArgs,
}

#[derive(Debug, Clone, clap::Args)]
struct RevokeArgs {
    /// Which
    name: Name,
    #[command(flatten)]
    file: FileArgs,
}

/// Carries it out.
pub(super) fn run(args: TokenArgs, context: &Context) -> Result<u8, Failure> {
    match args.command {
        Command::Add(args) => add(args, context),
        Command::List(args) => list(&args, context),
        Command::Revoke(args) => revoke(&args, context),
    }
}

fn add(args: AddArgs, context: &Context) -> Result<u8, Failure> {
    let AddArgs { name, role, host, lasts, certificate, file } = args;
    if host.is_some() && role != Role::Worker {
        return Err(Failure::usage(
            "only a worker's token is bound to a host",
            "leave --host out, or say --role worker",
        ));
    }
    let mut keeper = Keeper::open(&file.tokens).map_err(failure)?;
    let now = now();
    if let Some(other) = keeper.tokens().named(&name).filter(|other| other.state(now) == TokenState::Valid) {
        let why = format!("there is a token {name} already, with the role {}", other.role);
        let hint = format!("name it otherwise; or first: stagger lockserver token revoke {name}");
        return Err(Failure::Refused { why, hint });
    }
    let too_long = || Failure::usage("that is longer than any token lasts", "leave --for out, and revoke it some day");
    let expires = lasts.map(|lasts| now.checked_add(lasts).map(whole_seconds).map_err(|_| too_long())).transpose()?;
    let secret = match certificate {
        Some(_) => None,
        None => Some(Secret::random().map_err(|error| Failure::system("make a token", error))?),
    };
    let proof = match (&secret, certificate) {
        (Some(secret), _) => Proof::Secret(secret.hash()),
        (None, Some(name)) => Proof::Certificate(name),
        (None, None) => unreachable!("it is known by one of both"),
    };
    let is_unbound = role == Role::Worker && host.is_none();
    let is_new = keeper.is_new();
    let token = Token { name, role, host, made: whole_seconds(now), expires, revoked: None, proof };
    keeper.put(&token).map_err(failure)?;
    if is_new {
        out::note(&format!("made {}; whoever runs the lock server must be able to read it", file.tokens.display()));
    }
    if is_unbound {
        out::note("whoever has it may act for every host; --host HOST binds it to one");
    }
    match (context.globals.json, &secret) {
        (true, secret) => {
            let mut row = row(&token, now);
            row["token"] = secret.as_ref().map(Secret::reveal).into();
            out::json(&row)?;
        }
        (false, Some(secret)) => out::result(secret.reveal())?,
        (false, None) => out::result(&format!("{} is known by its certificate", token.name))?,
    }
    Ok(exit::OK)
}

fn list(args: &FileArgs, context: &Context) -> Result<u8, Failure> {
    let tokens = load(&args.tokens).map_err(failure)?;
    let now = now();
    if context.globals.json {
        for token in tokens.all() {
            out::json(&row(token, now))?;
        }
        return Ok(exit::OK);
    }
    let rows = tokens.all().iter().map(|token| {
        let host = token.host.as_ref().map_or("–", Host::as_str);
        let by = match &token.proof {
            Proof::Secret(_) => "token".to_owned(),
            Proof::Certificate(name) => format!("certificate {}", name.as_str()),
        };
        vec![token.name.to_string(), token.role.to_string(), host.to_owned(), counts(token, now), by]
    });
    let rows: Vec<_> = rows.collect();
    match rows.is_empty() {
        true => out::result("no token")?,
        false => out::result(&table::table(&["NAME", "ROLE", "HOST", "COUNTS", "KNOWN BY"], rows))?,
    }
    Ok(exit::OK)
}

fn revoke(args: &RevokeArgs, context: &Context) -> Result<u8, Failure> {
    let path = &args.file.tokens;
    let mut keeper = Keeper::open(path).map_err(failure)?;
    let now = now();
    let Some(token) = keeper.tokens().named(&args.name).cloned() else {
        let why = format!("there is no token {} in {}", args.name, path.display());
        return Err(Failure::Refused { why, hint: "stagger lockserver token list".to_owned() });
    };
    let token = Token { revoked: token.revoked.or(Some(whole_seconds(now))), ..token };
    keeper.put(&token).map_err(failure)?;
    match context.globals.json {
        true => out::json(&row(&token, now))?,
        false => {
            out::result(&format!("{} is revoked; a lock server that runs knows it about a second later", token.name))?
        }
    }
    Ok(exit::OK)
}

/// Until when it counts, for people.
fn counts(token: &Token, now: Timestamp) -> String {
    match (token.state(now), token.expires, token.revoked) {
        (TokenState::Revoked, _, Some(at)) => format!("revoked {at}"),
        (TokenState::Expired, Some(at), _) => format!("expired {at}"),
        (TokenState::Valid, Some(at), _) => format!("until {at}"),
        _ => "until it is revoked".to_owned(),
    }
}

fn row(token: &Token, now: Timestamp) -> Value {
    let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let state = match token.state(now) {
        TokenState::Valid => "valid",
        TokenState::Expired => "expired",
        TokenState::Revoked => "revoked",
    };
    let certificate = match &token.proof {
        Proof::Certificate(name) => Some(name.as_str()),
        Proof::Secret(_) => None,
    };
    json!({
        "name": token.name.as_str(), "role": token.role.word(), "host": token.host, "state": state,
        "made": token.made.to_string(), "expires": text(token.expires), "revoked": text(token.revoked),
        "certificate": certificate,
    })
}

fn now() -> Timestamp {
    Timestamp::now()
}

/// A date is for people: nobody wants to know the nanosecond.
fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn failure(error: KeepError) -> Failure {
    let hint = match &error {
        KeepError::Unreadable { .. } if error.is_missing() => {
            "make one: stagger lockserver token add NAME --role ROLE; or say where it is: --tokens FILE"
        }
        KeepError::Damaged { .. } => "put the line right, or take it out; the tokens are not in it, only their hashes",
        _ => "",
    };
    Failure::Work { what: error.to_string(), hint: hint.to_owned(), code: exit::FAILED }
}
