//! Balancers that have a program of their own.

use super::{Move, Said};
use crate::config::depool::Commands;
use crate::probe::ask::Client;
use crate::probe::exec::OUTPUT_BYTES_MAX;
use crate::probe::observation::excerpt;
use model::member::Presence;
use std::time::Duration;

/// Waits for what is left of earlier moves: a command that could not be killed may take effect at any moment, whatever the status says.
pub(super) async fn settle(commands: &Commands, client: &Client, within: Duration) -> Result<(), String> {
    client.left().ended([&commands.depool, &commands.repool], within).await
}

/// Runs the command that takes the host out or in; anything but exit 0 is a no, told in one line.
pub(super) async fn put(commands: &Commands, way: Move, client: &Client, timeout: Duration) -> Result<(), String> {
    let command = match way {
        Move::Out => &commands.depool,
        Move::In => &commands.repool,
    };
    match client.act(command, timeout).await {
        Ok(exit) if exit.is_success() => Ok(()),
        Ok(exit) => Err(excerpt(&exit.cause())),
        Err(error) => Err(error.to_string()),
    }
}

/// Runs the status command: exit 0 and `in` or `out` as the first word; anything else is unknown, and so is what is too long to
/// have its first word kept.
pub(super) async fn ask(commands: &Commands, client: &Client, timeout: Duration) -> Said {
    let exit = match client.run(&commands.status, timeout).await {
        Ok(exit) if exit.is_success() => exit,
        Ok(exit) => return Said::unknown(excerpt(&exit.cause())),
        Err(error) => return Said::unknown(error.to_string()),
    };
    if exit.is_stdout_cut {
        return Said::unknown(format!("its status printed more than {OUTPUT_BYTES_MAX} bytes"));
    }
    let mut words = exit.stdout.split_whitespace();
    let presence = match words.next() {
        Some("in") => Presence::In,
        Some("out") => Presence::Out,
        _ => {
            let printed = exit.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
            return Said::foreign(format!("its status is neither in nor out: {}", excerpt(&printed)));
        }
    };
    Said::known(presence, excerpt(&words.collect::<Vec<_>>().join(" ")))
}
