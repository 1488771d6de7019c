//! Services that a real systemd restarts: what its units themselves wrote down decides.

mod bus;
mod helper;
mod units;
mod words;

use crate::support::{UserSystemd, lines};
use stagger::config::{Surroundings, parse};
use stagger::probe::Client;
use stagger::unit::Unit;
use std::path::{Path, PathBuf};

/// A systemd, and a folder that its units write to.
struct Site {
    folder: tempfile::TempDir,
    systemd: UserSystemd,
}

impl Site {
    fn start() -> Site {
        Site { folder: tempfile::tempdir().expect("a folder"), systemd: UserSystemd::start() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A unit that writes down each start of it, in its own folder's file of its name, and then does this; `more` are keys of its
    /// `[Service]`.
    fn unit(&self, name: &str, then: &str, more: &str) {
        let starts = self.path(name);
        let text = format!(
            "[Service]\nType=exec\nWorkingDirectory={}\nExecStart=/bin/sh -c 'echo start >> {}; {then}'\n{more}\n",
            self.folder.path().display(),
            starts.display()
        );
        self.systemd.write(name, &text);
    }

    /// The same, and it runs already.
    fn running(&self, name: &str, then: &str, more: &str) {
        self.unit(name, then, more);
        self.systemd.must(&["start", name]);
        crate::support::wait_for("it has started", crate::support::SOON, || (self.starts(name) == 1).then_some(()));
    }

    /// How often a unit was started, as it says itself.
    fn starts(&self, name: &str) -> usize {
        lines(&self.path(name)).len()
    }

    /// What restarts a service with these keys, on the host with this systemd.
    fn service(&self, keys: &str) -> Unit {
        let config = host(keys);
        Unit::new(config.services.values().next().expect("a service"), &self.client())
    }

    /// What restarts these units.
    fn units(&self, units: &str) -> Unit {
        self.service(&format!("restart = {{ kind = \"systemd\", manager = \"user\", units = [{units}] }}"))
    }

    fn client(&self) -> Client {
        let plain = Client::new(&"mw1".parse().expect("a host")).expect("a client");
        self.systemd.environment().iter().fold(plain, |client, (name, value)| client.with(name, value))
    }
}

/// The file of a host with one service.
fn host_file(keys: &str) -> String {
    format!(
        "coordinator = \"http://locks:7532\"\nhost = \"mw1\"\n[service.app]\npools = [\"p\"]\n\
         depool = {{ kind = \"none\" }}\n{keys}\n"
    )
}

/// The configuration of such a host.
fn host(keys: &str) -> stagger::config::Config {
    parse(&host_file(keys), Path::new("stagger.toml"), &Surroundings::default())
        .unwrap_or_else(|error| panic!("{error}"))
}
