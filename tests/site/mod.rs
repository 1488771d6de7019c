//! A small site as it is in the world: php-fpm on three hosts under systemd, a balancer in front, visitors who never stop. The
//! visitors count what they get, and the balancer what it sent where.

mod front;
mod recipe;
mod rollouts;
mod visitors;

use crate::support::haproxy::Haproxy;
use crate::support::{Host, LockServer, PhpFpm, PhpFpmOptions, SOON, Tuning, UserSystemd, Worker, wait_for};
use front::Front;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The hosts of the site.
const HOSTS: [&str; 3] = ["h0", "h1", "h2"];
/// How many requests a php-fpm answers at once: those that take long must not hold up the others.
const CHILDREN: u32 = 72;

/// The page that everybody visits: it takes as long as it is told to.
const PAGE: &str = "<?php usleep((int)($_GET['ms'] ?? 0) * 1000); echo 'from ', getenv('HOST_NAME'), ' ', getmypid();";

/// The whole site.
struct Site {
    // In the order in which they must go.
    workers: Vec<Worker>,
    front: Front,
    hosts: Vec<Host>,
    fpms: Vec<PhpFpm>,
    systemd: UserSystemd,
    server: LockServer,
    _folder: tempfile::TempDir,
}

/// What stands in front of the hosts.
#[derive(Clone, Copy)]
enum Kind {
    Haproxy,
    Nginx,
}

fn unit(host: &str) -> String {
    format!("php-fpm-{host}.service")
}

/// The folder of the pages.
fn pages(folder: &Path) -> PathBuf {
    folder.join("pages")
}

impl Site {
    /// All of it, at work.
    fn start(kind: Kind) -> Site {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(pages(folder.path())).expect("a folder");
        std::fs::write(pages(folder.path()).join("index.php"), PAGE).expect("a page");
        let (server, systemd) = (LockServer::start(folder.path()), UserSystemd::start());
        let options = PhpFpmOptions { children: CHILDREN, ..PhpFpmOptions::default() };
        let fpms: Vec<PhpFpm> = HOSTS.iter().map(|host| PhpFpm::prepare(&folder.path().join(host), &options)).collect();
        for (host, fpm) in HOSTS.iter().zip(&fpms) {
            let words = fpm.words().iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" ");
            systemd.write(&unit(host), &format!("[Service]\nType=notify\nExecStart={words}\nKillSignal=SIGQUIT\n"));
            systemd.must(&["start", &unit(host)]);
            fpm.wait_until_it_answers();
        }
        let front = match kind {
            Kind::Haproxy => {
                Front::Haproxy(Haproxy::start(folder.path(), "haproxy", &front::haproxy(folder.path(), &fpms)))
            }
            Kind::Nginx => Front::Nginx(front::Nginx::start(folder.path(), &fpms)),
        };
        let hosts =
            HOSTS.iter().zip(&fpms).map(|(name, fpm)| host(folder.path(), name, &server, &front, fpm)).collect();
        let mut site = Site { workers: Vec::new(), front, hosts, fpms, systemd, server, _folder: folder };
        site.must(&["set", "pool/app", "slots=1", "--reason", "test"]);
        for host in &mut site.hosts {
            host.environment = site.systemd.environment();
        }
        site.workers = site.hosts.iter().map(Host::work).collect();
        for worker in &site.workers {
            wait_for("the worker joins", SOON, || worker.has_joined().then_some(()));
        }
        wait_for("all are in", SOON, || (site.front.out() == Some(0)).then_some(()));
        site
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = crate::support::stagger();
        command.args(words).env("STAGGER_COORDINATOR", &self.server.url);
        command
    }

    fn must(&self, words: &[&str]) -> String {
        let (code, out, err) = crate::support::run(&mut self.command(words));
        assert_eq!(code, 0, "{words:?}: {out}{err}");
        out
    }

    /// Which process leads php-fpm on each host.
    fn pids(&self) -> Vec<String> {
        HOSTS.iter().map(|host| self.systemd.property(&unit(host), "MainPID")).collect()
    }
}

/// A host of the site, as the manual has it.
fn host(folder: &Path, name: &str, server: &LockServer, front: &Front, fpm: &PhpFpm) -> Host {
    // The files of a host as others make them, with a file of its own in the place of its configuration.
    let host = Host::with_depool(folder, name, &server.url, "kind = \"none\"", &Tuning::default());
    let text = format!(
        r#"coordinator = "{url}"
listen = "127.0.0.1:0"
host = "{name}"
state = "{state}"

[service.php-fpm]
restart = {{ kind = "systemd", units = ["{unit}"], manager = "user", timeout = "20s" }}
pools = ["app"]
steady = "0s"

[service.php-fpm.depool]
{depool}
tries = 20
pause = "200ms"

[service.php-fpm.drain]
fastcgi = "{status}"
script = "/fpm-status?json"
until = "answer['active processes'] == 0"
min = "500ms"
max = "10s"

[service.php-fpm.verify]
fastcgi = "{socket}"
script = "/ping"
times = 2
every = "100ms"
within = "10s"
"#,
        url = server.url,
        state = host.folder.join("state").display(),
        unit = unit(name),
        depool = front.depool(folder),
        status = fpm.status_socket().display(),
        socket = fpm.socket().display(),
    );
    std::fs::write(&host.config, text).expect("a configuration");
    host
}

/// How long a rollout over the three hosts may take.
const ROLLOUT: Duration = Duration::from_secs(120);
