//! A lock server, an HAProxy and hosts of it.

use crate::support::haproxy::Haproxy;
use crate::support::{Host, LockServer, SOON, Tuning, Worker, wait_for};
use stagger::balancer::Balancers;
use stagger::config::{Surroundings, parse};
use stagger::probe::Client;
use std::path::Path;
use std::time::Duration;

/// A lock server, and a folder for its hosts and their balancers.
pub(super) struct Fleet {
    pub(super) folder: tempfile::TempDir,
    pub(super) server: LockServer,
}

/// A fleet behind one HAProxy.
pub(super) struct Scene {
    fleet: Fleet,
    pub(super) haproxy: Haproxy,
}

impl std::ops::Deref for Scene {
    type Target = Fleet;
    fn deref(&self) -> &Fleet {
        &self.fleet
    }
}

impl Scene {
    /// With these servers in the backend `app`, and so many slots.
    pub(super) fn new(names: &[String], slots: usize) -> Scene {
        let servers = names.iter().map(|name| format!("    server {name} 127.0.0.1:9\n")).collect::<String>();
        Scene::with(&format!("backend app\n{servers}"), slots)
    }

    /// With these backends.
    pub(super) fn with(backends: &str, slots: usize) -> Scene {
        let fleet = Fleet::new(slots);
        let haproxy = Haproxy::start(fleet.folder.path(), "lb", backends);
        Scene { fleet, haproxy }
    }

    pub(super) fn host(&self, name: &str, tuning: &Tuning) -> Host {
        self.host_behind(&self.haproxy, name, tuning)
    }
}

impl Fleet {
    /// With so many slots.
    pub(super) fn new(slots: usize) -> Fleet {
        let folder = tempfile::tempdir().expect("a folder");
        let server = LockServer::start(folder.path());
        server.set("pool/p", &format!("slots={slots}"));
        server.set("pool/p", "ttl=10s");
        server.set("service/web", "max_failures=1000");
        Fleet { folder, server }
    }

    pub(super) fn host_behind(&self, haproxy: &Haproxy, name: &str, tuning: &Tuning) -> Host {
        Host::with_depool(self.folder.path(), name, &self.server.url, &by(&haproxy.admin), tuning)
    }

    pub(super) fn announce(&self) {
        self.server.must(&["announce", "web", "-m", "build"]);
    }

    pub(super) fn wait_until_done(&self, rollout: &str) {
        wait_for("the rollout is done", Duration::from_secs(90), || {
            let shown = self.server.json(&["rollouts", rollout]);
            (shown["row"]["state"] == "done").then_some(())
        });
    }

    /// Its service has started, and it neither holds nor waits.
    pub(super) fn wait_until_settled(&self, host: &Host) {
        wait_for(&format!("{} has restarted and settled", host.name), SOON, || {
            let shown = self.server.json(&["leases", &format!("host/{}", host.name)]);
            let is_free = ["leases", "queue"].iter().all(|list| shown[list].as_array().is_some_and(Vec::is_empty));
            (host.starts() > 0 && is_free).then_some(())
        });
    }
}

/// The lines of `[service.web.depool]` for HAProxy's socket.
pub(super) fn by(socket: &str) -> String {
    format!("kind = \"haproxy\"\nsockets = [\"{socket}\"]\nserver = \"app/{{host}}\"\npause = \"100ms\"")
}

pub(super) fn wait_until_joined(worker: &Worker) {
    wait_for("the worker has joined", SOON, || worker.has_joined().then_some(()));
}

/// The balancers of the host mw1, whose `[service.web.depool]` has these lines.
pub(super) fn balancers(depool: &str) -> Balancers {
    let text = format!(
        "coordinator = \"http://locks:7532\"\nhost = \"mw1\"\n[service.web]\npools = [\"p\"]\n\
         restart = {{ kind = \"exec\", command = [\"true\"] }}\n[service.web.depool]\nkind = \"haproxy\"\n{depool}\n"
    );
    let config = parse(&text, Path::new("stagger.toml"), &Surroundings::default());
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    let client = Client::new(&config.host).expect("a client");
    Balancers::new(config.services.values().next().expect("a service"), &client)
}
