//! Several lock servers that are doors to one store: the next one is asked when one is gone.
//!
//! Lock servers with records of their own know nothing of each other, and each would grant its slots. So none is used before it has
//! said which domain it is a door to, and that must be the same for all.

use super::connections::Connections;
use super::credentials::Credentials;
use super::{Reply, Request, is_success};
use crate::error::{Error, Result};
use crate::refusal::{Problem, kind};
use crate::wire::DomainView;
use http::Method;
use model::names::Id;
use reqwest::Response;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the others of a list may take to say whose doors they are, before the first is used.
const OTHERS_WAIT: Duration = Duration::from_secs(1);
/// Most lock servers in one URL.
const SERVERS_MAX: usize = 16;

/// Lock servers that stand side by side. Cheap to clone; clones agree on whom they ask.
#[derive(Debug, Clone)]
pub(super) struct Several(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    servers: Vec<Connections>,
    /// The one that is asked, as long as it answers.
    at: AtomicUsize,
    known: Mutex<Known>,
}

/// What the servers have said of themselves.
#[derive(Debug, Default)]
struct Known {
    /// The domain's random name.
    domain: Option<Id>,
    /// The server that said so last: another one, or the same after it was gone, is asked first.
    checked: Option<usize>,
}

impl Several {
    /// Those of `http://HOST:PORT,HOST:PORT…[/DOMAIN]`, or of the same with `https://`; `None` when the URL names but one.
    ///
    /// # Errors
    /// One of them cannot be: `NotApplied`, and a retry cannot help.
    pub(super) fn new(url: &str, credentials: &Credentials) -> Result<Option<Several>> {
        let Some((scheme, rest)) = url.split_once("://") else { return Ok(None) };
        let (hosts, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if !hosts.contains(',') {
            return Ok(None);
        }
        let servers: Vec<_> = hosts
            .split(',')
            .map(|host| Connections::new(&format!("{scheme}://{host}{path}"), credentials))
            .collect::<Result<_>>()?;
        let unfit = |why: String| Err(Error::NotApplied { retry: false, why });
        if servers.len() > SERVERS_MAX {
            return unfit(format!("{url:?} names more than {SERVERS_MAX} lock servers"));
        }
        if let Some(twice) =
            hosts.split(',').enumerate().find(|(at, host)| hosts.split(',').take(*at).any(|h| h == *host))
        {
            return unfit(format!("{url:?} names {} twice", twice.1));
        }
        let (name, at) = (url.trim_end_matches('/').to_owned(), AtomicUsize::new(0));
        Ok(Some(Several(Arc::new(Inner { name, servers, at, known: Mutex::default() }))))
    }

    /// Their addresses, for people.
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    /// Sends a request to the one that answers, and to the next when it was certainly not carried out there.
    pub(super) async fn send(&self, request: &Request) -> Result<Reply> {
        let mut whys = Vec::new();
        loop {
            let (place, server) = self.choose(&mut whys).await?;
            let asked = server.send(request).await.and_then(|reply| match unable(&reply) {
                Some(why) => Err(Error::NotApplied { retry: true, why }),
                None => Ok(reply),
            });
            if let Some(over) = self.judge(place, asked, &mut whys) {
                return over;
            }
        }
    }

    /// Asks for a stream of events, of the one that answers.
    pub(super) async fn watch(&self, path: &str, last: Option<u64>) -> Result<std::result::Result<Response, Reply>> {
        let mut whys = Vec::new();
        loop {
            let (place, server) = self.choose(&mut whys).await?;
            let asked = server.watch(path, last).await;
            if let Some(over) = self.judge(place, asked, &mut whys) {
                return over;
            }
        }
    }

    /// The server that is to be asked: the first that says that it is a door to the domain. `whys` has a line for each that was
    /// tried; when all were, they are the error.
    async fn choose(&self, whys: &mut Vec<String>) -> Result<(usize, &Connections)> {
        while whys.len() < self.0.servers.len() {
            let place = self.0.at.load(Ordering::Relaxed) % self.0.servers.len();
            let checked = match self.check(place).await {
                // Nothing was asked of it but who it is.
                Err(Error::Unknown { why }) => Err(Error::NotApplied { retry: true, why }),
                other => other,
            };
            match self.judge(place, checked, whys) {
                Some(Ok(())) => return Ok((place, &self.0.servers[place])),
                Some(Err(error)) => return Err(error),
                None => {}
            }
        }
        Err(Error::NotApplied { retry: true, why: whys.join("; ") })
    }

    /// What came of asking a server; `None` when it was certainly not carried out there, so that the next one is to be asked.
    fn judge<T>(&self, place: usize, asked: Result<T>, whys: &mut Vec<String>) -> Option<Result<T>> {
        let name = self.0.servers[place].name();
        match asked {
            Err(Error::NotApplied { retry: true, why }) => {
                self.leave(place);
                whys.push(format!("{name}: {why}"));
                None
            }
            Err(Error::Unknown { why }) => {
                // It may have been done there; whoever asked asks the same again, and then the next one.
                self.leave(place);
                Some(Err(Error::Unknown { why: format!("{name}: {why}") }))
            }
            other => Some(other),
        }
    }

    /// Asks a server which domain it is a door to, unless it just said so. The first time all are asked, so that a list of what
    /// does not belong together is refused by the first who uses it, and not when one of them is gone.
    async fn check(&self, place: usize) -> Result<()> {
        if self.known().checked == Some(place) {
            return Ok(());
        }
        let name = self.domain_of(place).await?;
        if self.known().domain.is_none() {
            let others = (0..self.0.servers.len()).filter(|other| *other != place);
            let asked = others.map(|other| async move {
                match tokio::time::timeout(OTHERS_WAIT, self.domain_of(other)).await {
                    Ok(said) => (other, said),
                    Err(_) => (other, Err(Error::Unknown { why: String::new() })),
                }
            });
            for (other, said) in futures_util::future::join_all(asked).await {
                match said {
                    Ok(said) if said != name => return Err(self.foreign(other)),
                    Err(error @ Error::NotApplied { retry: false, .. }) => return Err(error),
                    // It agrees; or is away, and is asked again before it is used.
                    Ok(_) | Err(_) => {}
                }
            }
        }
        let mut known = self.known();
        if known.domain.as_ref().is_some_and(|domain| *domain != name) {
            return Err(self.foreign(place));
        }
        known.domain = Some(name);
        known.checked = Some(place);
        Ok(())
    }

    /// The domain to which a server is a door.
    async fn domain_of(&self, place: usize) -> Result<Id> {
        let server = &self.0.servers[place];
        let reply = server.send(&Request::new(Method::GET, "/v1/domain".to_owned())).await?;
        if let Some(why) = unable(&reply) {
            return Err(Error::NotApplied { retry: true, why });
        }
        let view = serde_json::from_slice::<DomainView>(&reply.body).ok().filter(|_| is_success(reply.status));
        view.and_then(|view| view.name).ok_or_else(|| {
            let why = format!(
                "{} keeps records of its own, or does not say whose: only doors to one store can be listed together",
                server.name()
            );
            Error::NotApplied { retry: false, why }
        })
    }

    fn foreign(&self, place: usize) -> Error {
        let server = self.0.servers[place].name();
        let why = format!("{server} is a door to another domain than the others of the list; list those of one only");
        Error::NotApplied { retry: false, why }
    }

    /// Goes on to the one behind this one, unless somebody did so already.
    fn leave(&self, place: usize) {
        let next = (place + 1) % self.0.servers.len();
        let mut known = self.known();
        if known.checked == Some(place) {
            known.checked = None;
        }
        drop(known);
        // Whoever came first has moved it.
        let _ = self.0.at.compare_exchange(place, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a server says that it did nothing and another one may do it, when that is its answer.
fn unable(reply: &Reply) -> Option<String> {
    if reply.status != 503 {
        return None;
    }
    let problem: Problem = serde_json::from_slice(&reply.body).ok()?;
    let is_its_own = matches!(problem.kind.as_str(), kind::STORE | kind::STOPPING | kind::OVERLOADED);
    is_its_own.then(|| format!("{} ({})", problem.value, problem.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(url: &str) -> Result<Option<Several>> {
        Several::new(url, &Credentials::default())
    }

    #[test]
    fn several_are_named_by_one_url() {
        let several = new("http://a:1,b:2/web/").expect("a URL").expect("several");
        assert_eq!(several.name(), "http://a:1,b:2/web");
        let names: Vec<_> = several.0.servers.iter().map(Connections::name).collect();
        assert_eq!(names, ["http://a:1/web", "http://b:2/web"]);
        assert!(new("http://a:1/x").expect("a URL").is_none());
        for wrong in ["http://a:1,,b:2", "ftp://a:1,b:2", "http://a:1,b:2/x/y", "http://a:1,b:2,a:1"] {
            assert!(new(wrong).is_err(), "{wrong}");
        }
        let many = (0..=SERVERS_MAX).map(|host| format!("h{host}:1")).collect::<Vec<_>>().join(",");
        assert!(new(&format!("http://{many}")).is_err());
    }
}
