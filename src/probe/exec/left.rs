//! Commands that were killed, and whether something of them runs still.
//!
//! What runs as somebody else, under `sudo` for example, cannot be killed, and may take effect at any moment until it has ended by
//! itself. Owns the list of them, for as long as this program runs. Decides nothing.

use crate::config::Command;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process_group};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How far apart the looks are while an end is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The commands that were killed, by their process groups. Cheap to clone; a clone is the same list.
#[derive(Debug, Clone, Default)]
pub struct Left(Arc<Mutex<Vec<(Command, Pid)>>>);

impl Left {
    /// A command was killed, as far as that is possible.
    pub(super) fn note(&self, command: &Command, group: Pid) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, group)| runs(*group));
        all.push((command.clone(), group));
    }

    /// Waits for the end of all that is left of these commands, at most so long.
    ///
    /// # Errors
    /// Something of one of them runs still: which.
    pub async fn ended<'c, I>(&self, commands: I, within: Duration) -> Result<(), String>
    where
        I: IntoIterator<Item = &'c Command> + Clone,
    {
        let until = Instant::now() + within;
        loop {
            let Some(program) = self.of(commands.clone()) else { return Ok(()) };
            if Instant::now() >= until {
                return Err(format!("an earlier {program} could not be killed and still runs"));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// One of these commands of which something runs still. What has ended is forgotten: its number may become another's.
    fn of<'c>(&self, commands: impl IntoIterator<Item = &'c Command>) -> Option<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, group)| runs(*group));
        let mut commands = commands.into_iter();
        commands
            .find(|command| all.iter().any(|(left, _)| left == *command))
            .map(|command| command.program().to_owned())
    }
}

/// Whether something of a process group runs still. What cannot be seen does.
fn runs(group: Pid) -> bool {
    if test_kill_process_group(group) == Err(Errno::SRCH) {
        return false;
    }
    // What has ended is in its group until its parent looks, and some never do.
    let states = states(group);
    states.is_empty() || states.iter().any(|state| !matches!(state, 'Z' | 'X'))
}

/// The states of the processes of a group, of those that may be seen.
fn states(group: Pid) -> Vec<char> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).filter(|name| is_process(name));
    let stats = names.filter_map(|name| std::fs::read(format!("/proc/{name}/stat")).ok());
    let of_it = |(state, other): &(char, i32)| (*other == group.as_raw_nonzero().get()).then_some(*state);
    stats.filter_map(|stat| of_it(&parse(&String::from_utf8_lossy(&stat))?)).collect()
}

/// `/proc/PID/stat`: the process id, the name in brackets, which may hold anything, the state, the parent, the group.
fn parse(stat: &str) -> Option<(char, i32)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        assert_eq!(parse("7 (a) S 3 (b) S 12 9 7 0"), Some(('S', 9)));
        assert_eq!(parse("7 (a"), None);
    }
}
