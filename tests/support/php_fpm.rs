//! A real php-fpm of its own: one pool, its sockets, its caches and its scripts in one folder. Nothing of the distribution's
//! configuration is read, and nothing of its services is started.
//!
//! It can be run by a test ([`PhpFpm::start`]), or by a service manager: [`PhpFpm::prepare`] only writes the files, and
//! [`PhpFpm::words`] is the command line, which stays in the foreground and tells systemd when it is ready.

use super::{Kept, SOON, processes_of, wait_for};
use rustix::process::Signal;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The program, and the packages that it and its caches come with.
const PROGRAM: &str = "/usr/sbin/php-fpm8.2";
const PACKAGES: &str = "php8.2-fpm php8.2-apcu";

/// How a pool is set up.
#[derive(Debug, Clone)]
pub(crate) struct PhpFpmOptions {
    /// How many requests it answers at once; `pm = static`.
    pub(crate) children: u32,
    /// Whether APCu is loaded.
    pub(crate) has_apcu: bool,
    /// Further lines of the pool, such as `php_admin_value[…] = …`.
    pub(crate) pool: String,
    /// Further settings of PHP that are read when it starts, such as `opcache.memory_consumption=16`.
    pub(crate) settings: Vec<String>,
}

impl Default for PhpFpmOptions {
    fn default() -> Self {
        Self { children: 4, has_apcu: true, pool: String::new(), settings: Vec::new() }
    }
}

/// A php-fpm, or its files. What runs of it is stopped when it is dropped, whoever started it.
#[derive(Debug)]
pub(crate) struct PhpFpm {
    pub(crate) folder: PathBuf,
    settings: Vec<String>,
    _kept: Kept,
}

impl PhpFpm {
    /// Writes its files into a folder `php` of this one, and starts nothing.
    pub(crate) fn prepare(folder: &Path, options: &PhpFpmOptions) -> PhpFpm {
        let folder = folder.join("php");
        std::fs::create_dir_all(folder.join("www")).expect("a folder");
        let at = folder.display();
        // The owner of a process is only asked for where it is root's.
        let user = if rustix::process::getuid().is_root() { "user = root\ngroup = root\n" } else { "" };
        let config = format!(
            "[global]\npid = {at}/pid\nerror_log = {at}/error.log\nlog_level = notice\ndaemonize = no\n\
             [www]\n{user}listen = {at}/www.sock\npm = static\npm.max_children = {children}\n\
             pm.status_path = /fpm-status\npm.status_listen = {at}/status.sock\nping.path = /ping\n\
             catch_workers_output = yes\ndecorate_workers_output = no\n{more}\n",
            children = options.children,
            more = options.pool,
        );
        std::fs::write(folder.join("php-fpm.conf"), config).expect("a configuration");
        let mut settings: Vec<String> = [
            "zend_extension=opcache",
            "opcache.enable=1",
            // Files count at once, also those that were written just now, and for as long as they are there.
            "opcache.file_update_protection=0",
            "opcache.validate_timestamps=0",
            "display_errors=0",
            "log_errors=1",
        ]
        .map(str::to_owned)
        .to_vec();
        if options.has_apcu {
            settings.push("extension=apcu".to_owned());
        }
        settings.extend(options.settings.iter().cloned());
        let kept = Kept::daemon(&folder.join("php-fpm.conf"));
        let fpm = PhpFpm { folder, settings, _kept: kept };
        fpm.write_restart();
        fpm
    }

    /// Starts one, and waits until it answers.
    pub(crate) fn start(folder: &Path, options: &PhpFpmOptions) -> PhpFpm {
        let fpm = PhpFpm::prepare(folder, options);
        assert!(Path::new(PROGRAM).exists(), "there is no {PROGRAM}: apt-get install {PACKAGES}");
        fpm.restart();
        fpm
    }

    /// The command line: program and arguments. It stays in the foreground.
    pub(crate) fn words(&self) -> Vec<String> {
        let config = self.config().display().to_string();
        // -n: no php.ini and nothing of conf.d. -R: root may own the pool, where a test runs as root.
        let mut words = [PROGRAM, "-n", "-R", "-F", "-y", &config].map(str::to_owned).to_vec();
        words.extend(self.settings.iter().flat_map(|setting| ["-d".to_owned(), setting.clone()]));
        words
    }

    /// A command that stops what runs, starts it anew and returns: it may be given to Stagger. What it starts outlives it.
    pub(crate) fn restart_command(&self) -> PathBuf {
        self.folder.join("restart")
    }

    fn write_restart(&self) {
        let quoted: Vec<String> = self.words().iter().map(|word| format!("'{word}'")).collect();
        let script = format!(
            "#!/bin/sh\ncd '{at}' || exit 1\n\
             old=$(cat pid 2>/dev/null) && kill -TERM \"$old\" && \\\n\
             while grep -q '^State:.[^ZX]' \"/proc/$old/status\" 2>/dev/null; do sleep 0.02; done\n\
             {start} >>output 2>&1 </dev/null &\n\
             new=$!\n\
             while kill -0 $new && ! {{ [ -s pid ] && [ \"$(cat pid)\" = $new ] && [ -S www.sock ]; }}; do sleep 0.02; done\n\
             kill -0 $new\n",
            at = self.folder.display(),
            start = quoted.join(" "),
        );
        std::fs::write(self.restart_command(), script).expect("a script");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.restart_command(), executable).expect("a script of our own");
    }

    /// Stops it when it runs, starts it, and waits until it answers.
    pub(crate) fn restart(&self) {
        let status = Command::new(self.restart_command()).stdin(Stdio::null()).status().expect("a shell");
        assert!(status.success(), "php-fpm does not start: {}", self.error_log());
        self.wait_until_it_answers();
    }

    /// Stops it at once, whatever it is doing, and waits until it is gone. It is looked for by its command line, since its folder may
    /// be gone already.
    pub(crate) fn stop(&self) {
        let signal = |signal| {
            let running = processes_of(&self.config());
            for pid in &running {
                let _already_gone = rustix::process::kill_process(*pid, signal);
            }
            !running.is_empty()
        };
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while signal(Signal::TERM) && std::time::Instant::now() < deadline {
            super::pause();
        }
        signal(Signal::KILL);
    }

    fn config(&self) -> PathBuf {
        self.folder.join("php-fpm.conf")
    }

    pub(crate) fn wait_until_it_answers(&self) {
        wait_for("php-fpm answers", SOON, || (self.get(&self.socket(), "/ping")?.ends_with("pong")).then_some(()));
    }

    /// Where its requests come in.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("www.sock")
    }

    /// Where it tells of itself, also when all that answer requests are busy (`pm.status_listen`).
    pub(crate) fn status_socket(&self) -> PathBuf {
        self.folder.join("status.sock")
    }

    /// Writes a script of it; its path.
    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        let path = self.folder.join("www").join(name);
        std::fs::write(&path, format!("<?php\n{text}\n")).expect("a script");
        path.display().to_string()
    }

    /// The process of its master, which is another after each restart.
    pub(crate) fn pid(&self) -> Option<i32> {
        std::fs::read_to_string(self.folder.join("pid")).ok()?.trim().parse().ok()
    }

    /// What it complained of.
    pub(crate) fn error_log(&self) -> String {
        let text = |name: &str| std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        text("output") + &text("error.log")
    }

    /// What a script prints, asked for over FastCGI with as little as possible, as another program would ask; nothing when
    /// the answer breaks off.
    pub(crate) fn get(&self, socket: &Path, script: &str) -> Option<String> {
        self.request(socket, script, &[])
    }

    /// The same, with further parameters.
    pub(crate) fn request(&self, socket: &Path, script: &str, more: &[(&str, &str)]) -> Option<String> {
        let (path, query) = script.split_once('?').unwrap_or((script, ""));
        let own =
            [("SCRIPT_NAME", path), ("SCRIPT_FILENAME", path), ("QUERY_STRING", query), ("REQUEST_METHOD", "GET")];
        let mut stream = UnixStream::connect(socket).ok()?;
        stream.set_read_timeout(Some(SOON)).expect("a time-out");
        stream.write_all(&fcgi_request(own.iter().chain(more))).ok()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).ok()?;
        fcgi_stdout(&bytes)
    }
}

impl Drop for PhpFpm {
    fn drop(&mut self) {
        self.stop();
    }
}

fn fcgi_request<'p>(parameters: impl Iterator<Item = &'p (&'p str, &'p str)>) -> Vec<u8> {
    let record = |kind: u8, content: &[u8]| {
        let length = u16::try_from(content.len()).expect("a short request").to_be_bytes();
        [&[1, kind, 0, 1, length[0], length[1], 0, 0], content].concat()
    };
    let mut pairs = Vec::new();
    for (name, value) in parameters {
        pairs.push(u8::try_from(name.len()).expect("a short name"));
        pairs.extend((u32::try_from(value.len()).expect("a short value") | 1 << 31).to_be_bytes());
        pairs.extend([name.as_bytes(), value.as_bytes()].concat());
    }
    [record(1, &[0, 1, 0, 0, 0, 0, 0, 0]), record(4, &pairs), record(4, &[]), record(5, &[])].concat()
}

/// What was printed, when the answer is whole.
fn fcgi_stdout(mut bytes: &[u8]) -> Option<String> {
    let mut printed = Vec::new();
    while let [1, kind, _, _, high, low, padding, _, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let content = rest.get(..length)?;
        match kind {
            3 => return Some(String::from_utf8_lossy(&printed).into_owned()),
            6 => printed.extend(content),
            _ => {}
        }
        bytes = rest.get(length + usize::from(*padding)..)?;
    }
    None
}
