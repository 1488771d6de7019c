//! A command of the balancers that cannot be killed when its time is over, as under `sudo`, and that may take effect late.

use super::error;
use crate::support::{Host, LockServer, SOON, Tuning, run, wait_for};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A host whose depool runs as somebody else, and first does this. The test's program runs as a root that may kill nobody else's
/// processes.
struct Scene {
    folder: tempfile::TempDir,
    server: LockServer,
    host: Host,
}

impl Scene {
    fn new(timeout: &str, first: &str) -> Scene {
        let folder = tempfile::tempdir().expect("a folder");
        let server = LockServer::start(folder.path());
        let everybody_s = folder.path().join("flags");
        std::fs::create_dir(&everybody_s).expect("a folder");
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("our own folder");
        };
        open(folder.path(), 0o711);
        open(&everybody_s, 0o777);
        let at = everybody_s.display();
        let depool = format!(
            "kind = \"exec\"\ntimeout = \"{timeout}\"\ntries = 1\n\
             depool = [\"setpriv\", \"--reuid=1\", \"--clear-groups\", \"sh\", \"-c\", \"cd {at}; {first}; touch out\"]\n\
             repool = [\"rm\", \"-f\", \"{at}/out\"]\n\
             status = [\"sh\", \"-c\", \"if [ -e {at}/out ]; then echo out; else echo in; fi\"]"
        );
        let host = Host::with_depool(folder.path(), "mw1331", &server.url, &depool, &Tuning::default());
        Scene { folder, server, host }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("flags").join(name)
    }

    fn restart(&self) -> (i32, String, String) {
        let plain = self.host.command(&["restart", "web"]);
        let mut command = Command::new("setpriv");
        command
            .env_clear()
            .args(["--bounding-set=-kill", "--inh-caps=-kill"])
            .arg(plain.get_program())
            .args(plain.get_args());
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run(&mut command)
    }
}

#[test]
fn a_depool_that_comes_late_is_undone_when_it_has_come() {
    let scene = Scene::new("4s", "sleep 8");
    let (code, _, err) = scene.restart();
    assert!(
        code == 1 && error(&err).contains("took longer than 4s, could not be killed and still runs"),
        "{code}: {err}"
    );
    assert!(!scene.path("out").exists(), "{err}");
    assert_eq!(scene.host.starts(), 0);
    assert_eq!(scene.server.json(&["leases"])["leases"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_depool_that_may_come_still_is_a_person_s_business() {
    let scene = Scene::new("1s", "while [ ! -e go ]; do sleep 0.05; done");
    let (code, _, err) = scene.restart();
    let shown = scene.server.json(&["leases", "--state", "stuck"]);
    std::fs::write(scene.path("go"), "").expect("written");
    wait_for("the depool has come", SOON, || scene.path("out").exists().then_some(()));
    assert!(code == 4 && err.contains("an earlier setpriv could not be killed and still runs"), "{code}: {err}");
    assert_eq!(shown["leases"].as_array().map(Vec::len), Some(1), "{shown}");
    assert_eq!(scene.host.starts(), 0);
}
