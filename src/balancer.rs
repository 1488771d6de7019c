//! The balancers of a service: whether this host is in their rotation, and how it leaves and rejoins.
//!
//! Owns asking, moving and confirming. An error, a time-out or nonsense is unknown, never a yes; all balancers must agree.
//! Never decides where the host should be, and never touches a balancer that it is not told to. Called by the worker.

mod conftool;
mod exec;
mod file;
mod haproxy;
mod http;
pub mod lame_duck;
#[doc(hidden)]
pub mod seams;
mod sessions;
mod status;

pub use sessions::{InFlight, Sessions};

use crate::config::depool::Way;
use crate::config::{Depool, ServiceConfig};
use crate::probe::ask::Client;
use crate::probe::pause;
use futures_util::future::join_all;
use model::member::{Presence, Remedy};
use model::sequence::record::Balancers as ByName;
use model::sequence::{Fault, Look};

/// The balancers of one service.
#[derive(Debug, Clone)]
pub struct Balancers {
    depool: Depool,
    client: Client,
}

/// What a look at a balancer's setup found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Whether no restart can go well like this; else somebody should look.
    pub is_wrong: bool,
    /// What, and where.
    pub says: String,
}

/// A balancer is not where it was told to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BalancerError {
    /// The configuration no longer knows a balancer that the host was taken out of.
    #[error("{balancer} is not configured any more, and the host was taken out there")]
    NotConfigured {
        /// Which.
        balancer: String,
    },
    /// Some balancer did not confirm after every try; each with what it said last.
    #[error("{}", unconfirmed(*wanted, said))]
    NotConfirmed {
        /// Where the host should be.
        wanted: Presence,
        /// Balancer and answer.
        said: Vec<(String, String)>,
    },
}

impl From<BalancerError> for Fault {
    fn from(error: BalancerError) -> Fault {
        Fault::plain(error.to_string())
    }
}

fn unconfirmed(wanted: Presence, said: &[(String, String)]) -> String {
    let each = said.iter().map(|(name, said)| format!("{name} does not confirm that the host is {wanted}: {said}"));
    each.collect::<Vec<_>>().join("; ")
}

/// What a balancer said when it was asked; the detail is for people.
struct Said {
    presence: Presence,
    detail: String,
    /// It answered well, and the host is neither in nor out, or out by what is never done here: somebody else's doing, which is left
    /// alone.
    is_foreign: bool,
    /// It is in, as far as anyone's will goes, and the balancer's own check has not found it well yet: that is worth waiting for.
    is_joining: bool,
    /// It answered well: it would use the host, and does not find it well.
    is_unwell: bool,
    /// What ends somebody else's doing there, where that is known.
    theirs: Option<String>,
}

impl Said {
    fn known(presence: Presence, detail: impl Into<String>) -> Self {
        Self { presence, detail: detail.into(), is_foreign: false, is_joining: false, is_unwell: false, theirs: None }
    }

    fn unknown(detail: impl Into<String>) -> Self {
        Self::known(Presence::Unknown, detail)
    }

    fn foreign(detail: impl Into<String>) -> Self {
        Self { is_foreign: true, ..Self::unknown(detail) }
    }

    /// Whether it is where it was told to be.
    fn confirms(&self, way: Move) -> bool {
        self.presence == way.wanted() && !self.is_joining
    }
}

/// Which way the host is to go.
#[derive(Clone, Copy)]
enum Move {
    Out,
    In,
}

impl Move {
    fn wanted(self) -> Presence {
        match self {
            Move::Out => Presence::Out,
            Move::In => Presence::In,
        }
    }
}

/// One balancer, by whichever way it is spoken to.
#[derive(Clone, Copy)]
enum One<'b> {
    Haproxy(&'b crate::config::depool::haproxy::HaproxyServer),
    LameDuck(&'b crate::config::depool::lame_duck::LameDuck),
    File(&'b crate::config::depool::FlagFile),
    Http(&'b crate::config::depool::HttpBalancer),
    Conftool(&'b crate::config::conftool::Conftool, &'b crate::config::conftool::Entry),
    Exec(&'b crate::config::depool::Commands),
}

impl Balancers {
    /// The balancers of a service. Its commands see the client's environment.
    pub fn new(service: &ServiceConfig, client: &Client) -> Self {
        Self { depool: service.depool.clone(), client: client.of(&service.name) }
    }

    /// Asks every balancer, all at once, whether the host is in. Never fails: what cannot be told is unknown, with the
    /// reason. Empty when there is no balancer.
    pub async fn look(&self) -> Vec<Look> {
        self.look_as(|said| said.presence).await
    }

    /// As [`Balancers::look`], before a depool: a host that a balancer would use, and does not find well, counts as in. It can be
    /// taken out, restarted and put back, and mostly needs just that.
    pub async fn look_before(&self) -> Vec<Look> {
        self.look_as(|said| if said.is_unwell { Presence::In } else { said.presence }).await
    }

    async fn look_as(&self, read: impl Fn(&Said) -> Presence) -> Vec<Look> {
        let said = join_all(self.all().into_iter().map(|one| async move { (one, self.ask(one).await) })).await;
        let look = |(one, said): (One<'_>, Said)| Look {
            balancer: one.name(),
            presence: read(&said),
            is_foreign: said.is_foreign && said.presence == Presence::Out,
            // Nothing of the ways that exist must be put back beside the presence itself.
            restore: String::new(),
            remedy: match () {
                () if said.is_unwell => Remedy::Restart,
                () if said.is_foreign => Remedy::Theirs(said.theirs),
                () => Remedy::Repool,
            },
            detail: said.detail,
        };
        said.into_iter().map(look).collect()
    }

    /// What is, or may be, wrong with how the balancers are set up, beside what a look at each says. Moves nothing.
    pub async fn remarks(&self) -> Vec<Remark> {
        match &self.depool.way {
            Way::Haproxy(servers) => haproxy::setup::look(servers, self.depool.timeout).await,
            _ => Vec::new(),
        }
    }

    /// Takes the host out of these balancers, and returns when each of them confirms it. A second call finds it done. Dropped,
    /// it leaves some of them as they were.
    ///
    /// # Errors
    /// A balancer is not configured, or did not confirm after the tries. Others may have been left by then.
    pub async fn depool(&self, from: &ByName) -> Result<(), BalancerError> {
        self.bring_all(from, Move::Out, |said| said.confirms(Move::Out)).await
    }

    /// Puts the host into these balancers again, and returns when each of them confirms it. A second call finds it done. A
    /// host that somebody put into a state of its own in the meantime, neither in nor out, is not touched.
    /// Dropped, it leaves some of them as they were.
    ///
    /// # Errors
    /// A balancer is not configured, or did not confirm after the tries. Others may have been joined by then.
    pub async fn repool(&self, to: &ByName) -> Result<(), BalancerError> {
        self.bring_all(to, Move::In, |said| said.confirms(Move::In)).await
    }

    /// As [`Balancers::repool`], after a depool that no restart followed: the host may be ill, as it was before or has become by
    /// itself. It is put back as far as anyone's will goes, and no balancer sends it requests before it is well.
    ///
    /// # Errors
    /// The same, but not for a host that is only ill.
    pub async fn undo(&self, to: &ByName) -> Result<(), BalancerError> {
        self.bring_all(to, Move::In, |said| said.confirms(Move::In) || said.is_unwell).await
    }

    /// Counts the sessions that these balancers have at the host. Empty, so never anything but unknown, when they cannot count.
    pub fn sessions(&self) -> Sessions<'_> {
        match &self.depool.way {
            Way::Haproxy(servers) => Sessions::of(servers, self.depool.timeout),
            _ => Sessions::of(&[], self.depool.timeout),
        }
    }

    fn all(&self) -> Vec<One<'_>> {
        match &self.depool.way {
            Way::None => Vec::new(),
            Way::Haproxy(servers) => servers.iter().map(One::Haproxy).collect(),
            Way::LameDuck(duck) => vec![One::LameDuck(duck)],
            Way::File(flag) => vec![One::File(flag)],
            Way::Http(balancers) => balancers.iter().map(One::Http).collect(),
            Way::Conftool(conftool) => conftool.entries.iter().map(|entry| One::Conftool(conftool, entry)).collect(),
            Way::Exec(commands) => vec![One::Exec(commands)],
        }
    }

    async fn bring_all(
        &self,
        names: &ByName,
        way: Move,
        is_there: impl Fn(&Said) -> bool,
    ) -> Result<(), BalancerError> {
        let all = self.all();
        let mut chosen = Vec::new();
        for name in names.keys() {
            let found = all.iter().find(|one| one.name() == *name);
            chosen.push(*found.ok_or_else(|| BalancerError::NotConfigured { balancer: name.clone() })?);
        }
        let ends = join_all(chosen.iter().map(|one| self.bring(*one, way, &is_there))).await;
        let said: Vec<(String, String)> =
            chosen.iter().zip(ends).filter_map(|(one, end)| Some((one.name(), end.err()?))).collect();
        if said.is_empty() { Ok(()) } else { Err(BalancerError::NotConfirmed { wanted: way.wanted(), said }) }
    }

    /// Asks, moves and asks again, until it is confirmed or the tries are used up; then it says what was said last.
    async fn bring(&self, one: One<'_>, way: Move, is_there: impl Fn(&Said) -> bool) -> Result<(), String> {
        let mut last = String::new();
        for attempt in 0..self.depool.tries {
            if attempt > 0 {
                pause::jittered(self.depool.pause).await;
            }
            if let Err(why) = self.settle(one).await {
                last = why;
                continue;
            }
            let before = self.ask(one).await;
            if is_there(&before) {
                match self.seal(one, way).await {
                    Ok(()) => return Ok(()),
                    Err(why) => {
                        last = why;
                        continue;
                    }
                }
            }
            if before.is_foreign {
                last = match before.presence {
                    Presence::Out => format!("it is out by somebody else: {}", before.detail),
                    _ => before.detail,
                };
                continue;
            }
            let moved = match one {
                One::Haproxy(server) => haproxy::put(server, way, self.depool.timeout).await,
                One::LameDuck(duck) => lame_duck::put(duck, way, &self.client, self.depool.timeout).await,
                One::File(flag) => file::put(flag, way, self.depool.timeout).await,
                One::Http(balancer) => http::put(balancer, way, &self.client, self.depool.timeout).await,
                One::Conftool(conftool, entry) => conftool::put(conftool, entry, way, self.depool.timeout).await,
                One::Exec(commands) => exec::put(commands, way, &self.client, self.depool.timeout).await,
            };
            let said = self.ask(one).await;
            if is_there(&said) {
                return Ok(());
            }
            last = match moved {
                Err(refused) => refused,
                Ok(()) => format!("it says {}", said.describe()),
            };
        }
        Err(last)
    }

    /// Waits until nothing of an earlier move can come any more.
    async fn settle(&self, one: One<'_>) -> Result<(), String> {
        match one {
            One::Exec(commands) => exec::settle(commands, &self.client, self.depool.timeout).await,
            _ => Ok(()),
        }
    }

    /// Makes sure that nothing of before comes late: a host that was to leave and never left must not leave after all.
    async fn seal(&self, one: One<'_>, way: Move) -> Result<(), String> {
        match (one, way) {
            (One::Conftool(conftool, entry), Move::In) => conftool::seal(conftool, entry, self.depool.timeout).await,
            _ => Ok(()),
        }
    }

    async fn ask(&self, one: One<'_>) -> Said {
        match one {
            One::Haproxy(server) => haproxy::ask(server, self.depool.timeout).await,
            One::LameDuck(duck) => lame_duck::ask(duck, &self.client, self.depool.timeout).await,
            One::File(flag) => file::ask(flag, &self.client, self.depool.timeout).await,
            One::Http(balancer) => status::ask(&balancer.status, &self.client).await,
            One::Conftool(conftool, entry) => conftool::ask(conftool, entry, &self.client, self.depool.timeout).await,
            One::Exec(commands) => exec::ask(commands, &self.client, self.depool.timeout).await,
        }
    }
}

impl One<'_> {
    /// Its name, for people and for the journal.
    fn name(self) -> String {
        match self {
            One::Haproxy(server) => server.to_string(),
            One::LameDuck(duck) => format!("lame-duck {}{}", duck.listen, duck.path),
            One::File(flag) => flag.path.display().to_string(),
            One::Http(balancer) => balancer.name.clone(),
            One::Conftool(_, entry) => entry.name.clone(),
            One::Exec(commands) => {
                let program = commands.status.program();
                program.rsplit('/').next().unwrap_or(program).to_owned()
            }
        }
    }
}

impl Said {
    fn describe(&self) -> String {
        if self.detail.is_empty() { self.presence.to_string() } else { format!("{} ({})", self.presence, self.detail) }
    }
}

#[cfg(test)]
mod tests;
