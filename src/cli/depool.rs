//! `stagger depool`: takes a service of this host out of its balancers, by hand.
//!
//! Owns what both ways of moving by hand share; `repool` is the other one. No lease is taken: maintenance lasts weeks.

use super::check::{probes, service_of};
use super::context::Context;
use super::failure::Failure;
use super::{exit, known, out, owner};
use crate::balancer::Balancers;
use crate::config::Config;
use crate::sequence::disk::RealDisk;
use crate::sequence::journal::Crash;
use crate::sequence::lock::HostLock;
use crate::sequence::{Journals, StoreError};
use model::member::{Presence, Remedy};
use model::names::Service;
use model::sequence::Look;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Take a service of this host out of its balancers, or all of them
///
/// Without a service, every one of the host's file, one after the other. Each balancer must confirm. It takes no lease, and the host stays out until somebody runs `repool`: a restart in the
/// meantime leaves it out.
///
/// Exit codes: 0 every balancer confirms; 1 one does not; 4 nobody can tell, a person is needed.
///
/// Example: stagger depool php-fpm
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DepoolArgs {
    /// Which; all of this host when left out
    service: Option<Service>,
}

/// Takes it out.
pub(crate) async fn run(args: DepoolArgs, context: &Context) -> Result<u8, Failure> {
    bring(args.service.as_ref(), Presence::Out, context).await
}

/// Brings one service where it is wanted, or every one of the host: then each line says of which it is. Of several, the worst code counts.
pub(super) async fn bring(service: Option<&Service>, wanted: Presence, context: &Context) -> Result<u8, Failure> {
    let config = context.config()?;
    let Some(service) = service else {
        let mut worst = exit::OK;
        for service in config.services.keys() {
            let code = bring_one(&config, service, wanted, context, &format!("{service}  ")).await?;
            worst = worst.max(code);
        }
        return Ok(worst);
    };
    bring_one(&config, service, wanted, context, "").await
}

/// Brings a service where it is wanted, at every balancer that does not say that it is there, and shows what each says then.
async fn bring_one(
    config: &Config,
    service: &Service,
    wanted: Presence,
    context: &Context,
    whose: &str,
) -> Result<u8, Failure> {
    let balancers = Balancers::new(service_of(config, service)?, &probes(config)?);
    let _lock = lock(config, service, wanted)?;
    let journals = journals(config);
    let before = balancers.look().await;
    if wanted == Presence::Out {
        disown(journals.as_ref(), service, |_| true);
    }
    let chosen = before.iter().filter(|look| look.presence != wanted);
    let chosen = chosen.map(|look| (look.balancer.clone(), look.restore.clone())).collect();
    let moved = match wanted {
        Presence::In => balancers.repool(&chosen).await,
        _ => balancers.depool(&chosen).await,
    };
    let after = balancers.look().await;
    if wanted == Presence::In {
        let is_in = |name: &str| after.iter().any(|look| look.balancer == name && look.presence == Presence::In);
        disown(journals.as_ref(), service, is_in);
    }
    crate::worker::wake(&config.state);
    let code = code(&after, wanted);
    match context.globals.json {
        true => out::json(&json!({ "service": service, "exit_code": code, "balancers": after }))?,
        false => out::result(&text(service, &before, &after, wanted, whose))?,
    }
    if wanted == Presence::In && code == exit::OK {
        known::note_kept_slots(&context.client()?, &config.host, service).await;
    }
    if let (Err(error), true) = (moved, code != exit::OK) {
        out::note(&format!("error: {}", super::render::text::clean(&error.to_string())));
        for hint in hints(service, &after, wanted) {
            out::note(&format!("hint: {hint}"));
        }
    }
    Ok(code)
}

/// Nobody moves a host by hand in the middle of a sequence.
fn lock(config: &Config, service: &Service, wanted: Presence) -> Result<HostLock, Failure> {
    let verb = if wanted == Presence::In { "repool" } else { "depool" };
    owner::check(&config.state, &[verb, service.as_str()])?;
    let failed = |error| Failure::system(format!("make {}", config.state.display()), error);
    std::fs::create_dir_all(&config.state).map_err(failed)?;
    HostLock::take(&config.state, &format!("{verb} of {service}")).map_err(|error| Failure::Work {
        what: format!("this host is at work: {error}"),
        hint: format!("wait for it: stagger why {}", config.host),
        code: exit::FAILED,
    })
}

fn journals(config: &Config) -> Result<Journals, StoreError> {
    let journals = Journals::in_folder(Arc::new(RealDisk::default()), &config.state, Crash::default())?;
    if journals.has_open()? {
        out::note("note: a restart on this host was cut short; whoever ends it may put the host back");
    }
    Ok(journals)
}

/// What an earlier restart left out there is a person's doing from now on: no good end of a later one changes it. When that cannot
/// be written down, the host is moved all the same.
fn disown(journals: Result<&Journals, &StoreError>, service: &Service, is_theirs: impl Fn(&str) -> bool) {
    let written = journals.map_err(ToString::to_string);
    let written = written.and_then(|journals| journals.disown(service, is_theirs).map_err(|error| error.to_string()));
    if let Err(why) = written {
        out::note(&format!("note: a later restart may take this for its own doing, and undo it: {why}"));
    }
}

fn code(looks: &[Look], wanted: Presence) -> u8 {
    match looks {
        _ if looks.iter().any(|look| look.presence == Presence::Unknown) => exit::STUCK,
        _ if looks.iter().any(|look| look.presence != wanted) => exit::FAILED,
        _ => exit::OK,
    }
}

/// What puts the host in where `repool` does not.
fn hints(service: &Service, after: &[Look], wanted: Presence) -> BTreeSet<String> {
    let left = after.iter().filter(|look| wanted == Presence::In && look.presence != Presence::In);
    let hint = |look: &Look| match &look.remedy {
        Remedy::Repool => None,
        Remedy::Restart => Some(format!("stagger restart {service}")),
        Remedy::Theirs(what) => what.clone(),
    };
    left.filter_map(hint).collect()
}

/// `✓ lb1  out`, a line for each balancer; `whose` stands before each.
fn text(service: &Service, before: &[Look], after: &[Look], wanted: Presence, whose: &str) -> String {
    if after.is_empty() {
        return format!("{service} has no balancer");
    }
    let was = |look: &Look| before.iter().any(|old| old.balancer == look.balancer && old.presence == wanted);
    let line = |look: &Look| {
        let sign = if look.presence == wanted { "✓" } else { "✗" };
        let already = if look.presence == wanted && was(look) { ", as before" } else { "" };
        let detail = super::render::text::clean(&look.detail);
        let detail = if detail.is_empty() { detail } else { format!(" ({detail})") };
        format!("{sign} {whose}{}  {}{already}{detail}", look.balancer, look.presence)
    };
    after.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(balancer: &str, presence: Presence, detail: &str) -> Look {
        Look {
            balancer: balancer.to_owned(),
            presence,
            detail: detail.to_owned(),
            restore: String::new(),
            is_foreign: false,
            remedy: Remedy::default(),
        }
    }

    #[test]
    fn each_balancer_answers_for_itself() {
        let service = "web".parse().expect("a service");
        let before = [look("lb1", Presence::In, ""), look("lb2", Presence::Out, ""), look("lb3", Presence::In, "")];
        let after = [
            look("lb1", Presence::Out, ""),
            look("lb2", Presence::Out, ""),
            look("lb3", Presence::Unknown, "timed out"),
        ];
        let expected = "✓ lb1  out\n✓ lb2  out, as before\n✗ lb3  unknown (timed out)";
        assert_eq!(text(&service, &before, &after, Presence::Out, ""), expected);
        assert_eq!(text(&service, &[], &[], Presence::Out, ""), "web has no balancer");
    }

    #[test]
    fn where_repool_does_not_help_it_is_said_what_does() {
        let service = "web".parse().expect("a service");
        let undo = "in HAProxy: set server app/mw1 state ready".to_owned();
        let theirs = Look { remedy: Remedy::Theirs(Some(undo.clone())), ..look("lb1", Presence::Out, "MAINT") };
        let ill = Look { remedy: Remedy::Restart, ..look("lb2", Presence::Unknown, "DOWN") };
        let looks = [theirs, ill, look("lb3", Presence::Out, "")];
        assert_eq!(Vec::from_iter(hints(&service, &looks, Presence::In)), [undo, "stagger restart web".to_owned()]);
        assert!(hints(&service, &looks, Presence::Out).is_empty());
    }

    #[test]
    fn unknown_is_never_yes_and_asks_for_a_person() {
        let looks = |presence| [look("lb1", Presence::Out, ""), look("lb2", presence, "")];
        assert_eq!(code(&looks(Presence::Out), Presence::Out), 0);
        assert_eq!(code(&looks(Presence::In), Presence::Out), 1);
        assert_eq!(code(&looks(Presence::Unknown), Presence::Out), 4);
        assert_eq!(code(&[], Presence::Out), 0);
    }
}
