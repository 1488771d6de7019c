//! A service manager of the test's own: systemd as a user's instance, with a journal, in a mount namespace and a control group of its
//! own. Nothing of the machine's service manager is seen or touched, and nothing is left of it when it is dropped.
//!
//! ```ignore
//! let systemd = UserSystemd::start();
//! systemd.write("app.service", "[Service]\nExecStart=/bin/sleep 1000\n");
//! systemd.must(&["start", "app.service"]);
//! let worker = host.work_with(&systemd.environment());   // knows it as `manager = "user"`
//! ```
//!
//! Its units see this machine's files, so what they write in a test's folder is there; only `/run/systemd`, `/run/user` and `/run/log` are
//! theirs alone. Their standard error goes to its journal.

use super::{Kept, Running, SOON, run, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where the hierarchies of control groups are that systemd uses: one of its own, or beside those of old.
const HIERARCHIES: [&str; 3] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];
/// How long the last processes may take to be gone when they are killed.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// What is done in the new mount namespace. The journal tells a user's units apart by the name of the control group.
const SCRIPT: &str = r#"
set -e
mkdir -p /run/systemd /run/user /run/log
mount -t tmpfs tmpfs /run/systemd
mkdir -p /run/systemd/system /run/systemd/journal /run/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nRateLimitIntervalSec=0\nRuntimeMaxUse=32M\n' \
    > /run/systemd/journald.conf.d/test.conf
mount -t tmpfs tmpfs /run/user
mkdir -m 700 "/run/user/$OWN_UID"
mount --bind "$FOLDER/runtime" "/run/user/$OWN_UID"
mount --bind "$FOLDER/log" /run/log
mine="user-$OWN_UID.slice/user@$OWN_UID.service"
for group in $OWN_GROUPS; do mkdir -p "$group/$mine" "$group/journald.service"; done
(
    for group in $OWN_GROUPS; do echo 0 > "$group/journald.service/cgroup.procs"; done
    exec /lib/systemd/systemd-journald
) &
for group in $OWN_GROUPS; do echo 0 > "$group/$mine/cgroup.procs"; done
while [ ! -S /run/systemd/journal/stdout ]; do sleep 0.01; done
unset OWN_GROUPS FOLDER mine
SYSTEMD_LOG_TARGET=journal XDG_RUNTIME_DIR="/run/user/$OWN_UID" exec /lib/systemd/systemd --user
"#;

/// A user's systemd; killed with all its services when it is dropped.
#[derive(Debug)]
pub(crate) struct UserSystemd {
    folder: tempfile::TempDir,
    /// Its control group, in each hierarchy.
    groups: Vec<PathBuf>,
    _kept: Vec<Kept>,
    process: Running,
}

impl UserSystemd {
    /// Starts one, and waits until it answers.
    pub(crate) fn start() -> UserSystemd {
        let folder = tempfile::Builder::new().prefix("systemd").tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for name in ["runtime/systemd/user", "log/journal", "bin"] {
            std::fs::create_dir_all(path(name)).expect("a folder");
        }
        let only_mine = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(path("runtime"), only_mine).expect("our own folder");
        let name = folder.path().file_name().and_then(|name| name.to_str()).expect("a name");
        let has_groups = |hierarchy: &&str| Path::new(hierarchy).join("cgroup.procs").exists();
        let groups = HIERARCHIES.into_iter().filter(has_groups);
        // A name with a dash would be taken for a slice within another.
        let groups: Vec<PathBuf> = groups.map(|hierarchy| Path::new(hierarchy).join(format!("{name}.slice"))).collect();
        let spoken = groups.iter().map(|group| group.display().to_string()).collect::<Vec<_>>().join(" ");
        let kept = groups.iter().map(|group| Kept::group(group)).collect();
        let log = std::fs::File::create(path("said")).expect("a log");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", SCRIPT])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder.path())
            .env("FOLDER", folder.path())
            .env("OWN_GROUPS", spoken)
            .env("OWN_UID", rustix::process::getuid().as_raw().to_string())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        let process = Running::of(command.spawn().expect("unshare, of util-linux"));
        let mut systemd = UserSystemd { folder, _kept: kept, groups, process };
        systemd.give_it_journalctl();
        wait_for("a user's systemd answers", SOON, || {
            let is_over = systemd.process.is_over();
            assert!(!is_over, "it needs root, and apt-get install systemd: {}", systemd.said());
            (systemd.ask(&["show", "--property=Version"]).0 == 0).then_some(())
        });
        systemd
    }

    /// A `journalctl` that reads its journal, as the machine's own reads the machine's.
    fn give_it_journalctl(&self) {
        let file = self.folder.path().join("bin/journalctl");
        let journal = self.folder.path().join("log/journal");
        let text = format!("#!/bin/sh\nexec /usr/bin/journalctl --directory={} \"$@\"\n", journal.display());
        std::fs::write(&file, text).expect("a script");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("our own file");
    }

    /// What systemd itself printed.
    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("said")).unwrap_or_default()
    }

    /// The folder that its user's programs know as `XDG_RUNTIME_DIR`.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.folder.path().join("runtime")
    }

    /// The variables by which programs find it and its journal.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = self.folder.path().join("bin");
        vec![
            ("XDG_RUNTIME_DIR".to_owned(), self.runtime().display().to_string()),
            ("DBUS_SESSION_BUS_ADDRESS".to_owned(), String::new()),
            ("PATH".to_owned(), format!("{}:{path}", bin.display())),
        ]
    }

    /// Has its journal be one that nobody can read: nothing is in it.
    pub(crate) fn lose_journal(&self) {
        std::fs::write(self.folder.path().join("bin/journalctl"), "#!/bin/sh\nexit 1\n").expect("a script");
    }

    /// Writes a unit, new or changed, and has it read.
    pub(crate) fn write(&self, unit: &str, text: &str) {
        std::fs::write(self.runtime().join("systemd/user").join(unit), text).expect("a unit");
        self.must(&["daemon-reload"]);
    }

    /// Runs `systemctl --user` on it; its exit code, and what it printed.
    pub(crate) fn ask(&self, arguments: &[&str]) -> (i32, String, String) {
        run(Command::new("systemctl").arg("--user").args(arguments).env("XDG_RUNTIME_DIR", self.runtime()))
    }

    /// The same, which must succeed.
    pub(crate) fn must(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.ask(arguments);
        assert_eq!(code, 0, "systemctl --user {arguments:?}: {err}");
        out
    }

    /// A property of a unit.
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        self.must(&["show", "--value", "--property", name, unit]).trim().to_owned()
    }

    /// What is left of its processes.
    fn processes(&self) -> Vec<Pid> {
        let mut found = Vec::new();
        for group in self.groups.iter().flat_map(|group| within(group)) {
            let pids = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            found.extend(pids.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)));
        }
        found
    }
}

/// A group and all groups in it, the innermost first.
fn within(group: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(group).into_iter().flatten().flatten();
    let inner = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut all: Vec<PathBuf> = inner.flat_map(|entry| within(&entry.path())).collect();
    all.push(group.to_owned());
    all
}

impl Drop for UserSystemd {
    fn drop(&mut self) {
        // First the one that would start them again.
        self.process.kill();
        let started = Instant::now();
        while started.elapsed() < GONE_WITHIN {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            for pid in left {
                let _already_gone = kill_process(pid, Signal::KILL);
            }
            super::pause();
        }
        for group in self.groups.iter().flat_map(|group| within(group)) {
            let _not_empty = std::fs::remove_dir(group);
        }
    }
}
