//! A real php-fpm: asked over FastCGI, its caches checked, its requests drained. Each has one of its own, see
//! [`crate::support::PhpFpm`].

mod asking;
mod caches;
mod drain;
mod manual;

use crate::support::PhpFpm;
use stagger::config::{self, ServiceConfig, Surroundings};
use stagger::probe::{Client, Observation, Probe, ProbeError};
use std::path::{Path, PathBuf};

/// The scripts that Stagger brings along.
fn shared(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("share").join(name)
}

/// The service of a host's file with these keys.
fn service(keys: &str) -> ServiceConfig {
    let text = format!(
        "coordinator = \"http://locks:7532\"\n[service.php-fpm]\npools = [\"app\"]\ndepool = {{ kind = \"none\" }}\n\
         restart = {{ kind = \"exec\", command = [\"true\"] }}\n{keys}"
    );
    let surroundings = Surroundings { hostname: "mw1".to_owned(), state_directory: None };
    let config = config::parse(&text, Path::new("test.toml"), &surroundings).unwrap_or_else(|error| panic!("{error}"));
    config.services.into_values().next().expect("a service")
}

/// A probe of this script, at this socket.
fn probe(socket: &Path, script: &str) -> Probe {
    let verify =
        format!("verify = {{ fastcgi = \"{}\", script = \"{script}\", timeout = \"10s\" }}\n", socket.display());
    service(&verify).verify.expect("a verify").probe.expect("a probe").0
}

/// Runs what a worker would, on a thread of its own.
fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

fn client() -> Client {
    Client::new(&"mw1".parse().expect("a host")).expect("a client")
}

fn ask(probe: &Probe) -> Result<Observation, ProbeError> {
    run(probe.ask(&client()))
}

/// Whether an expression holds over what a script of this server answers.
fn holds(fpm: &PhpFpm, script: &str, expression: &str) -> Result<bool, String> {
    let probe = probe(&fpm.socket(), script);
    let predicate = config::Predicate::compile(expression, probe.question.variables()).expect("an expression");
    predicate.holds(&ask(&probe).expect("an answer")).map_err(|error| error.to_string())
}
