//! Restarts of a php-fpm that is at work, by the whole program: whoever was in flight is answered.

use crate::support::{Balancer, LockServer, PhpFpm, PhpFpmOptions, SOON, run, stagger, wait_for};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A host with a php-fpm behind a balancer, and what is coming in.
struct Site {
    folder: tempfile::TempDir,
    server: LockServer,
    balancer: Balancer,
    fpm: PhpFpm,
}

/// How those fared who came in.
#[derive(Debug, Default)]
struct Visits {
    answered: AtomicU32,
    cut: AtomicU32,
    is_over: AtomicBool,
}

impl Site {
    fn new(children: u32) -> Site {
        let folder = tempfile::tempdir().expect("a folder");
        let server = LockServer::start(folder.path());
        let fpm = PhpFpm::start(folder.path(), &PhpFpmOptions { children, ..PhpFpmOptions::default() });
        fpm.script("slow.php", "usleep(1000 * (int) $_GET['ms']); echo 'done';");
        Site { server, balancer: Balancer::start(), fpm, folder }
    }

    /// The host's file, with this drain.
    fn config(&self, drain: &str) -> PathBuf {
        let (fpm, at) = (self.fpm.folder.display(), self.folder.path().display());
        let text = format!(
            r#"coordinator = "{url}"
listen = "127.0.0.1:0"
host = "mw1"
state = "{at}/state"
[service.php-fpm]
pools = ["app"]
restart = {{ kind = "exec", command = ["{fpm}/restart"], identity = ["cat", "{fpm}/pid"] }}
[service.php-fpm.depool]
kind = "http"
out = {{ method = "PUT", url = "{balancer}/servers/{{host}}", body = "out" }}
in = {{ method = "PUT", url = "{balancer}/servers/{{host}}", body = "in" }}
status = {{ url = "{balancer}/servers/{{host}}", out_when = "answer.state == 'out'", in_when = "answer.state == 'in'" }}
[service.php-fpm.drain]
{drain}
[service.php-fpm.verify]
fastcgi = "{fpm}/www.sock"
script = "/ping"
expect = "status == 200 && body == 'pong'"
every = "100ms"
within = "20s"
"#,
            url = self.server.url,
            balancer = self.balancer.url,
        );
        let file = self.folder.path().join("stagger.toml");
        std::fs::write(&file, text).expect("a configuration");
        file
    }

    /// Asks for one page after the other until the host has left its balancer.
    fn visit(&self, ms: u32, visits: &Visits) {
        let page = format!("{}/www/slow.php?ms={ms}", self.fpm.folder.display());
        while !self.balancer.is_out("mw1") && !visits.is_over.load(Ordering::Relaxed) {
            let answer = self.fpm.get(&self.fpm.socket(), &page);
            let is_whole = answer.is_some_and(|answer| answer.ends_with("\r\n\r\ndone"));
            if is_whole { &visits.answered } else { &visits.cut }.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Restarts under so many visitors whose pages take so long; the exit code, and what was said.
    fn restart_under_load(&self, config: &Path, visitors: u32, ms: u32, visits: &Visits) -> (i32, String) {
        let before = self.fpm.pid();
        let result = std::thread::scope(|scope| {
            for _ in 0..visitors {
                scope.spawn(|| self.visit(ms, visits));
            }
            wait_for("they all wait for their pages", SOON, || (self.in_flight() == visitors).then_some(()));
            let (code, out, err) = run(stagger().args(["restart", "php-fpm", "-c"]).arg(config));
            visits.is_over.store(true, Ordering::Relaxed);
            (code, format!("{out}{err}"))
        });
        assert!(before.is_some() && self.fpm.pid() != before, "another process runs: {}", result.1);
        assert!(!self.balancer.is_out("mw1"), "{}", result.1);
        result
    }

    /// How many connections its socket has, by the kernel's own list.
    fn in_flight(&self) -> u32 {
        let list = std::fs::read_to_string("/proc/net/unix").expect("the kernel's list");
        let socket = format!(" {}", self.fpm.socket().display());
        // Behind the flags of who listens (0x10000) or not: the type, and 03 for connected, 02 when nobody has accepted it yet.
        let states = [" 00000000 0001 03 ", " 00000000 0001 02 "];
        let is_one = |line: &&str| line.ends_with(&socket) && states.iter().any(|state| line.contains(state));
        u32::try_from(list.lines().filter(is_one).count()).expect("few")
    }
}

/// The line of a step in what a restart printed.
fn line_of<'t>(step: &str, text: &'t str) -> &'t str {
    text.lines().find(|line| line.starts_with(&format!("✓ {step}"))).unwrap_or_else(|| panic!("no {step} in {text}"))
}

/// Scenario 4: nobody is cut, and the drain takes as long as its slowest request.
#[test]
fn requests_in_flight_are_waited_out_by_what_php_fpm_says() {
    let site = Site::new(4);
    let status = site.fpm.status_socket();
    let drain = format!(
        "fastcgi = \"{}\"\nscript = \"/fpm-status?json\"\nuntil = \"answer['active processes'] == 0\"\nmin = \"300ms\"",
        status.display()
    );
    let visits = Visits::default();
    let (code, said) = site.restart_under_load(&site.config(&drain), 4, 1500, &visits);
    assert_eq!(code, 0, "{said}");
    assert!(line_of("drain", &said).ends_with("  0 in flight"), "{said}");
    assert_eq!(visits.cut.load(Ordering::Relaxed), 0, "{said}\n{}", site.fpm.error_log());
    assert!(visits.answered.load(Ordering::Relaxed) >= 4);
}

/// The same by the kernel's count, which also sees those that no process has taken yet.
#[test]
fn requests_that_only_wait_are_in_flight_too_by_the_count_of_connections() {
    let site = Site::new(2);
    let drain =
        format!("connections = \"{}\"\nuntil = \"connections == 0\"\nmin = \"0s\"", site.fpm.socket().display());
    let visits = Visits::default();
    let (code, said) = site.restart_under_load(&site.config(&drain), 6, 700, &visits);
    assert_eq!(code, 0, "{said}");
    assert!(line_of("drain", &said).ends_with("  0 in flight"), "{said}");
    assert_eq!(visits.cut.load(Ordering::Relaxed), 0, "{said}\n{}", site.fpm.error_log());
    assert!(visits.answered.load(Ordering::Relaxed) >= 6);
}

/// Scenario 4: the longest wait bounds it; what was in flight then is in the report, and those were cut.
#[test]
fn after_the_longest_wait_it_goes_on_and_says_what_was_in_flight() {
    for (drain, figure) in [
        (
            "fastcgi = \"STATUS\"\nscript = \"/fpm-status?json\"\nuntil = \"answer['active processes'] == 0\"",
            "3 in flight",
        ),
        ("connections = \"MAIN\"\nuntil = \"connections == 0\"", "3 in flight"),
    ] {
        let site = Site::new(4);
        let drain = drain.replace("STATUS", &site.fpm.status_socket().display().to_string());
        let drain = drain.replace("MAIN", &site.fpm.socket().display().to_string());
        let visits = Visits::default();
        let config = site.config(&format!("{drain}\nmin = \"0s\"\nmax = \"600ms\""));
        let (code, said) = site.restart_under_load(&config, 3, 600_000, &visits);
        assert_eq!(code, 0, "{said}");
        let expected = format!("went on after the longest wait: {figure}");
        assert!(line_of("drain", &said).ends_with(&expected), "{said}");
        assert_eq!((visits.cut.load(Ordering::Relaxed), visits.answered.load(Ordering::Relaxed)), (3, 0), "{said}");
    }
}

/// Verify over FastCGI: a host whose php-fpm does not become well stays out, and says why.
#[test]
fn a_php_fpm_that_does_not_answer_its_ping_is_not_well() {
    let site = Site::new(2);
    let file = site.config("min = \"0s\"");
    let text = std::fs::read_to_string(&file).expect("the file");
    std::fs::write(&file, text.replace("\"/ping\"", "\"/pong\"").replace("20s", "1s")).expect("written");
    let (code, out, err) = run(stagger().args(["restart", "php-fpm", "-c"]).arg(&file));
    assert_eq!(code, 1, "{out}{err}");
    let said = format!("{out}{err}");
    assert!(said.contains("not well within 1s: fastcgi ") && said.contains("Primary script unknown"), "{said}");
    assert!(site.balancer.is_out("mw1"));
}
