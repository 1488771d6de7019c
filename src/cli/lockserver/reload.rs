//! The lock server's file, read again while it runs: what can change does, what cannot is told, and what is wrong changes nothing.
//!
//! Owns which is which. Reads the file when it is told to, and hands on what it says.

use super::super::context::{Context, hostname};
use super::given::{Given, path};
use crate::config::lock_server::{self, Said};
use crate::config::{ConfigError, LockServerConfig};
use ::lockserver::access::Settings;
use ::lockserver::{Configured, relay};
use coordinator::mailbox::Mailbox;
use model::defaults::Load;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// To whom is told what the file says.
#[derive(Debug)]
pub(super) enum Told {
    /// To the lock server in this process.
    LockServer,
    /// To whoever decides in a store.
    Store(Arc<Mailbox>),
}

/// What the file said last, and who is to know.
#[derive(Debug)]
pub(super) struct Reloading {
    /// Which file; none when there was none at the start.
    path: Option<PathBuf>,
    /// What the server was started with.
    began: Option<LockServerConfig>,
    configured: watch::Sender<Configured>,
}

impl Reloading {
    /// Of a server that was started with this.
    pub(super) fn new(context: &Context, given: &Given) -> Reloading {
        let load = given.file.as_ref().map(load_of);
        let configured = watch::Sender::new(Configured { load, is_good: true });
        Reloading { path: path(context), began: given.file.clone(), configured }
    }

    /// What the file says now and from then on, for whom it is told.
    pub(super) fn tell(&mut self, told: Told) -> watch::Receiver<Configured> {
        let receiver = self.configured.subscribe();
        if let Told::Store(mailbox) = told {
            tokio::spawn(relay::hand_in(mailbox, receiver.clone()));
        }
        receiver
    }

    /// Reads the file again. What is wrong in it is logged, with its place, and changes nothing.
    pub(super) fn reload(&mut self) {
        let Some(path) = &self.path else {
            tracing::warn!("there is no file to read again: this lock server was started without one");
            return;
        };
        match lock_server::load(path) {
            Ok(config) => {
                for what in self.began.iter().flat_map(|began| kept(began, &config)) {
                    tracing::warn!("{what}");
                }
                tracing::info!("{} was read again", path.display());
                self.configured.send_replace(Configured { load: Some(load_of(&config)), is_good: true });
            }
            Err(error) => {
                tracing::error!("{}", refused(&error, path));
                self.configured.send_modify(|configured| configured.is_good = false);
            }
        }
    }
}

fn refused(error: &ConfigError, path: &std::path::Path) -> String {
    let what = error.to_string();
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    format!("{} is not taken, what it said before holds: {what}", path.display())
}

/// What a file says of pools and services, and who read it.
fn load_of(config: &LockServerConfig) -> Load {
    Load {
        by: format!("lockserver@{}", hostname()),
        file: config.path.display().to_string(),
        defaults: config.defaults.clone(),
    }
}

/// What is said otherwise than at the start and cannot change while the server runs, a sentence each.
fn kept(began: &LockServerConfig, now: &LockServerConfig) -> Vec<String> {
    [
        differs("api", began.api.as_ref(), now.api.as_ref()),
        differs("poolcounter", began.poolcounter.as_ref(), now.poolcounter.as_ref()),
        differs("data", began.data.as_ref(), now.data.as_ref()),
        differs("coordinator", began.coordinator.as_ref(), now.coordinator.as_ref()),
        differs("trusted_network", began.trusted_network.as_ref(), now.trusted_network.as_ref()),
    ]
    .into_iter()
    .flatten()
    .chain(differing(&began.access, &now.access).into_iter().map(|key| (key, None)))
    .map(|(key, line)| {
        let place = line.map(|line| format!(":{line}")).unwrap_or_default();
        format!("{}{place}: `{key}` has changed; it holds when the lock server is started again", now.path.display())
    })
    .collect()
}

/// The keys of access that say something else. What is in the files that they name is read again by itself.
fn differing(before: &Settings, now: &Settings) -> Vec<&'static str> {
    let all = [
        ("tls", before.tls != now.tls),
        ("tokens", before.tokens != now.tokens),
        ("allow", before.allow != now.allow),
        ("limits", before.limits != now.limits),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

/// The key, and the line at which it stands now, when it says something else.
fn differs<'k, T: PartialEq>(
    key: &'k str,
    before: Option<&Said<T>>,
    now: Option<&Said<T>>,
) -> Option<(&'k str, Option<usize>)> {
    let is_same = before.map(|said| &said.value) == now.map(|said| &said.value);
    (!is_same).then(|| (key, now.map(|said| said.line)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_cannot_change_is_named_with_its_line() {
        let read = |text: &str| lock_server::parse(text, Path::new("/f.toml")).expect("a file");
        let began = read("api = \"127.0.0.1:1\"\ndata = \"/a\"\n");
        assert_eq!(kept(&began, &read("data = \"/a\"\n\napi = \"127.0.0.1:1\"\n")), [""; 0]);
        let changed = kept(&began, &read("# moved\napi = \"127.0.0.1:2\"\n"));
        assert_eq!(changed.len(), 2, "{changed:?}");
        assert!(changed[0].starts_with("/f.toml:2: `api` has changed; "), "{changed:?}");
        assert!(changed[1].starts_with("/f.toml: `data` has changed; "), "{changed:?}");
        let changed = kept(&began, &read("api = \"127.0.0.1:1\"\ndata = \"/a\"\nallow = [\"10.0.0.0/8\"]\n"));
        assert!(changed[0].starts_with("/f.toml: `allow` has changed; "), "{changed:?}");
    }
}
