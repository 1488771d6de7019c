//! Several lock servers that are doors to one store: the next one is asked when one is gone.
//!
//! Lock servers with records of their own know nothing of each other, and each would grant its slots. So none is used before it has
//! said which domain it is a door to, and that must be the same for all.

use super::connections::Connections;
use super::{Reply, Request, is_success};
use crate::error::{Error, Result};
use crate::refusal::{Problem, kind};
use crate::wire::DomainView;
use http::Method;
use model::names::Id;
use reqwest::Response;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// Those of `http://HOST:PORT,HOST:PORT…[/DOMAIN]`; `None` when the URL names but one.
    ///
    /// # Errors
    /// One of them cannot be: `NotApplied`, and a retry cannot help.
    pub(super) fn new(url: &str) -> Result<Option<Several>> {
        let Some((scheme, rest)) = url.split_once("://") else { return Ok(None) };
        let (hosts, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if !hosts.contains(',') {
            return Ok(None);
        }
        let servers: Vec<_> = hosts
            .split(',')
            .map(|host| Connections::new(&format!("{scheme}://{host}{path}")))
            .collect::<Result<_>>()?;
        if servers.len() > SERVERS_MAX {
            let why = format!("{url:?} names more than {SERVERS_MAX} lock servers");
            return Err(Error::NotApplied { retry: false, why });
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

    /// Asks a server which domain it is a door to, unless it just said so.
    async fn check(&self, place: usize) -> Result<()> {
        if self.known().checked == Some(place) {
            return Ok(());
        }
        let server = &self.0.servers[place];
        let reply = server.send(&Request::new(Method::GET, "/v1/domain".to_owned())).await?;
        if let Some(why) = unable(&reply) {
            return Err(Error::NotApplied { retry: true, why });
        }
        let view = serde_json::from_slice::<DomainView>(&reply.body).ok().filter(|_| is_success(reply.status));
        let unfit = |why: String| Err(Error::NotApplied { retry: false, why });
        let Some(name) = view.and_then(|view| view.name) else {
            return unfit(format!(
                "{} keeps records of its own, or does not say whose: only doors to one store can be listed together",
                server.name()
            ));
        };
        let mut known = self.known();
        match &known.domain {
            Some(domain) if *domain != name => {
                let server = server.name();
                return unfit(format!(
                    "{server} is a door to another domain than the ones asked before; list those of one only"
                ));
            }
            _ => known.domain = Some(name),
        }
        known.checked = Some(place);
        Ok(())
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

    #[test]
    fn several_are_named_by_one_url() {
        let several = Several::new("http://a:1,b:2/web/").expect("a URL").expect("several");
        assert_eq!(several.name(), "http://a:1,b:2/web");
        let names: Vec<_> = several.0.servers.iter().map(Connections::name).collect();
        assert_eq!(names, ["http://a:1/web", "http://b:2/web"]);
        assert!(Several::new("http://a:1/x").expect("a URL").is_none());
        for wrong in ["http://a:1,,b:2", "https://a:1,b:2", "http://a:1,b:2/x/y"] {
            assert!(Several::new(wrong).is_err(), "{wrong}");
        }
        let many = (0..=SERVERS_MAX).map(|host| format!("h{host}:1")).collect::<Vec<_>>().join(",");
        assert!(Several::new(&format!("http://{many}")).is_err());
    }
}
