//! The configuration of one pretend host: the same file that a real host has, written for the pretend world.
//!
//! Owns its text. Called by the fleet, which puts it beside each worker.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// How long a drain may take at most.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// Where the parts of the pretend world are, as one host sees them.
#[derive(Debug, Clone, Copy)]
pub(super) struct World<'a> {
    /// The lock server's URL.
    pub(super) coordinator: &'a str,
    /// The balancer's admin side.
    pub(super) balancer: SocketAddr,
    /// The supervisor.
    pub(super) supervisor: SocketAddr,
    /// This program.
    pub(super) exe: &'a Path,
    /// The service that restarts, and the pool that it restarts under.
    pub(super) service: &'a str,
    /// The pool.
    pub(super) pool: &'a str,
    /// The least drain.
    pub(super) drain: Duration,
}

/// The configuration of the host of this name, whose service listens here and whose folder is this.
///
/// What is in flight is asked of the balancer: a service that failed to start cannot tell, and has nothing to drain.
/// One good answer is enough to verify: the supervisor answers a restart only when the old process is gone, so whoever
/// answers is the new one.
pub(super) fn text(world: &World<'_>, host: &str, service: SocketAddr, folder: &Path) -> String {
    let World { coordinator, balancer, supervisor, .. } = world;
    let (exe, state, identity) = (quoted(world.exe), quoted(&folder.join("state")), quoted(&folder.join("identity")));
    let (name, pool) = (world.service, world.pool);
    let (drain_ms, max_ms) = (world.drain.as_millis(), world.drain.max(DRAIN_MAX).as_millis());
    format!(
        r#"coordinator = "{coordinator}"
listen = "127.0.0.1:0"
host = "{host}"
state = {state}

[service.{name}]
pools = ["{pool}"]
restart = {{ kind = "exec", command = [{exe}, "demo-restart", "{supervisor}", "{{host}}"], identity = ["cat", {identity}] }}

[service.{name}.depool]
kind = "http"
balancers = ["http://{balancer}"]
out = {{ method = "PUT", url = "{{balancer}}/servers/{{host}}", body = "out" }}
in = {{ method = "PUT", url = "{{balancer}}/servers/{{host}}", body = "in" }}
status = {{ url = "{{balancer}}/servers/{{host}}", out_when = "answer.state == 'out'", in_when = "answer.state == 'in'" }}
pause = "100ms"

[service.{name}.drain]
http = "http://{balancer}/servers/{{host}}"
until = "answer.current == 0"
min = "{drain_ms}ms"
max = "{max_ms}ms"

[service.{name}.verify]
http = "http://{service}/healthz"
times = 1
every = "20ms"
within = "10s"
"#
    )
}

/// A path as a TOML string; a JSON string is one.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::restart::Way;
    use crate::config::{Surroundings, parse};

    #[test]
    fn a_worker_can_read_it() {
        let address = |text: &str| text.parse().expect("an address");
        let world = World {
            coordinator: "http://127.0.0.1:40112",
            balancer: address("127.0.0.1:40113"),
            supervisor: address("127.0.0.1:40114"),
            exe: Path::new("/usr/bin/stagger"),
            service: "demo",
            pool: "demo",
            drain: Duration::from_secs(40),
        };
        let folder = Path::new("/tmp/a \"quoted\" folder/host07");
        let text = text(&world, "host07", address("127.77.0.8:4000"), folder);
        let config = parse(&text, Path::new("stagger.toml"), &Surroundings::default()).expect("a configuration");
        assert_eq!((config.host.as_str(), config.coordinator.as_str()), ("host07", "http://127.0.0.1:40112"));
        assert_eq!(config.state, folder.join("state"));
        let service = config.services.values().next().expect("a service");
        assert_eq!((service.drain.min, service.drain.max), (Duration::from_secs(40), Duration::from_secs(40)));
        assert_eq!(service.verify.as_ref().map(|verify| verify.times), Some(1));
        let words = ["/usr/bin/stagger", "demo-restart", "127.0.0.1:40114", "host07"];
        let Way::Exec(commands) = &service.restart.way else { panic!("{:?}", service.restart) };
        assert_eq!(commands.command.words(), words);
    }
}
