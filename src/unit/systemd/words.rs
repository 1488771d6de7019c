//! What a unit said last, by its journal.
//!
//! Owns the bounds. That there is no journal, or nothing in it, is said as plainly as what is in it. Called by `job`.

use crate::config::Command;
use crate::probe::ask::Client;
use model::bound::end;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Most lines.
const LINES_MAX: usize = 20;
/// Most bytes.
const BYTES_MAX: usize = 4 * 1024;
/// How long `journalctl` may take.
const READ_MAX: Duration = Duration::from_secs(3);
/// How long the journal may lag behind the unit.
const LAG_MAX: Duration = Duration::from_secs(1);
/// How far apart the looks in that time are.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The last lines of a unit's start, or why there are none.
pub(super) type Words = Result<String, String>;

/// What the processes of this start of a unit said last; what systemd said of it, when they said nothing.
pub(super) async fn last(invocation: &str, client: &Client) -> Words {
    let until = Instant::now() + LAG_MAX;
    let own = [format!("_SYSTEMD_INVOCATION_ID={invocation}")];
    loop {
        let said = read(&own, client).await?;
        if !said.is_empty() {
            return Ok(said);
        }
        if Instant::now() >= until {
            break;
        }
        sleep(LOOK_EVERY).await;
    }
    let of_it = [format!("INVOCATION_ID={invocation}"), "+".to_owned(), format!("USER_INVOCATION_ID={invocation}")];
    let said = read(&of_it, client).await?;
    if said.is_empty() { Err("the journal has no line of this start".to_owned()) } else { Ok(said) }
}

async fn read(matches: &[String], client: &Client) -> Words {
    let fixed = ["journalctl", "--quiet", "--no-pager", "--output=cat", "--lines"].map(str::to_owned);
    let words: Vec<String> = fixed.into_iter().chain([LINES_MAX.to_string()]).chain(matches.iter().cloned()).collect();
    let Some(command) = Command::new(words) else { return Err("there is no journal".to_owned()) };
    match client.run(&command, READ_MAX).await {
        Ok(exit) if exit.is_success() => Ok(end(&exit.stdout, BYTES_MAX)),
        Ok(exit) => Err(format!("the journal cannot be read: {}", exit.cause())),
        Err(error) => Err(format!("the journal cannot be read: {error}")),
    }
}
