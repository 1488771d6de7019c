//! How many sessions the balancers have at this host: what a drain waits out.
//!
//! Owns the sum. Only a number from every one of them counts; a balancer that cannot tell may have any number.

use super::haproxy::Count;
use crate::config::depool::haproxy::HaproxyServer;
use futures_util::future::join_all;
use std::time::Duration;

/// Asks again and again.
pub struct Sessions<'b> {
    counts: Vec<(&'b HaproxyServer, Count<'b>)>,
    within: Duration,
}

/// What is in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// All sessions together, when every balancer told its own.
    pub sessions: Option<u64>,
    /// In a few words for people: where there are some, or who cannot tell and why.
    pub detail: String,
}

impl<'b> Sessions<'b> {
    pub(super) fn of(servers: &'b [HaproxyServer], within: Duration) -> Self {
        Self { counts: servers.iter().map(|server| (server, Count::of(server))).collect(), within }
    }

    /// Asks every balancer, all at once. Dropped, it has changed nothing.
    pub async fn ask(&mut self) -> InFlight {
        let within = self.within;
        let asked = self.counts.iter_mut().map(|(server, count)| async move { (*server, count.ask(within).await) });
        let answers = join_all(asked).await;
        if let Some((server, why)) = answers.iter().find_map(|(server, count)| Some((server, count.as_ref().err()?))) {
            return InFlight { sessions: None, detail: format!("{server} cannot tell how many are in flight: {why}") };
        }
        let counts = answers.into_iter().filter_map(|(server, count)| Some((server, count.ok()?))).collect::<Vec<_>>();
        if counts.is_empty() {
            return InFlight { sessions: None, detail: "no balancer counts sessions".to_owned() };
        }
        let all = counts.iter().fold(0_u64, |all, (_, count)| all.saturating_add(*count));
        let somewhere = counts.iter().filter(|(_, count)| *count > 0);
        let each = somewhere.map(|(server, count)| format!("{count} at {server}")).collect::<Vec<_>>().join(", ");
        let detail = if each.is_empty() { "0 in flight".to_owned() } else { format!("{all} in flight: {each}") };
        InFlight { sessions: Some(all), detail }
    }
}

impl InFlight {
    /// Whether it is known to be so few, or fewer.
    pub fn is_at_most(&self, most: u32) -> bool {
        self.sessions.is_some_and(|sessions| sessions <= u64::from(most))
    }
}
