//! A deploy that a few hosts try before the others: the script of the manual, as it stands there.

use super::Scene;
use crate::support::{Host, SOON, Tuning, lines, run, stagger, wait_for};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The script that docs/operations.md shows, for the service here, and without its pause.
fn script() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, section) = page.split_once("\n## Canaries first\n").expect("the section");
    let (_, block) = section.split_once("```sh\n").expect("a script");
    let (script, _) = block.split_once("```").expect("its end");
    assert!(script.contains("sleep 20\n") && script.contains(" php-fpm "), "{script}");
    script.replace("sleep 20\n", "").replace(" php-fpm ", " web ")
}

/// A canary, and two others.
struct Fleet {
    scene: Scene,
    canary: Host,
    others: [Host; 2],
    /// Where the programs of the script are.
    programs: PathBuf,
}

impl Fleet {
    fn new() -> Fleet {
        let scene = Scene::new(&Tuning::default());
        scene.server.set("pool/canaries", "slots=100%");
        scene.server.set("pool/after-canaries", "slots=100%");
        let host = |name: &str, pool: &str| {
            let folder = scene.folder.path();
            let host = Host::new(folder, name, &scene.server.url, &scene.balancer, &Tuning::default());
            let text = std::fs::read_to_string(&host.config).expect("a configuration");
            let text = text.replace("pools = [\"p\"]", &format!("pools = [\"p\", \"{pool}\"]"));
            let text = text.replace("; true", &format!("; test ! -e {}", folder.join("bad-build").display()));
            std::fs::write(&host.config, text).expect("written");
            host
        };
        let (canary, others) = (host("mw1", "canaries"), ["mw2", "mw3"].map(|name| host(name, "after-canaries")));
        let programs = scene.folder.path().join("bin");
        std::fs::create_dir(&programs).expect("a folder");
        std::os::unix::fs::symlink(stagger().get_program(), programs.join("stagger")).expect("a link");
        Fleet { scene, canary, others, programs }
    }

    /// What looks at the canaries: it writes down who has restarted by then, and ends so.
    fn look_ends_with(&self, code: u8) {
        let starts = [&self.canary, &self.others[0], &self.others[1]].map(|host| host.folder.join("starts"));
        let [one, two, three] = starts.map(|path| path.display().to_string());
        let looked = self.scene.path("looked");
        let text = format!(
            "#!/bin/sh\nfor file in {one} {two} {three}; do cat $file 2>/dev/null | wc -l; done >> {looked}\nexit {code}\n"
        );
        let program = self.programs.join("canaries-are-well");
        std::fs::write(&program, text).expect("a program");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("our own file");
    }

    fn deploy(&self) -> (i32, String) {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command.args(["-c", &script(), "sh", "build"]);
        // As every command of the program here, with nothing else in its environment.
        command.env_clear().envs(stagger().get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PATH", format!("{}:{path}", self.programs.display()));
        let (code, out, err) = run(command.env("STAGGER_COORDINATOR", &self.scene.server.url));
        (code, format!("{out}{err}"))
    }

    fn starts(&self) -> [usize; 3] {
        [self.canary.starts(), self.others[0].starts(), self.others[1].starts()]
    }

    /// What the looks saw since this was asked before.
    fn looked(&self) -> Vec<String> {
        let path = self.scene.folder.path().join("looked");
        let seen = lines(&path);
        let _none_yet = std::fs::remove_file(path);
        seen
    }
}

/// Scenario 20: canaries restart first and are then looked at; a canary that fails, or a bad look, stops the rest.
#[test]
fn the_script_of_the_manual_restarts_canaries_first_and_a_bad_look_stops_it() {
    let fleet = Fleet::new();
    let _workers = [fleet.canary.work(), fleet.others[0].work(), fleet.others[1].work()];
    wait_for("all have joined", SOON, || {
        (fleet.scene.server.json(&["members"])["members"].as_array().map_or(0, Vec::len) == 3).then_some(())
    });
    fleet.look_ends_with(0);
    let (code, text) = fleet.deploy();
    assert_eq!((code, fleet.starts()), (0, [1, 1, 1]), "{text}");
    assert_eq!(fleet.looked(), ["1", "0", "0"], "the canary first, and nobody else before the look");

    fleet.look_ends_with(9);
    let (code, text) = fleet.deploy();
    assert_eq!((code, fleet.starts()), (9, [2, 1, 1]), "{text}");
    assert_eq!(fleet.looked(), ["2", "1", "1"]);

    std::fs::write(fleet.scene.path("bad-build"), "").expect("written");
    let (code, text) = fleet.deploy();
    assert_eq!((code, fleet.starts()), (5, [3, 1, 1]), "{text}");
    assert!(fleet.looked().is_empty() && text.contains("mw1"), "nobody need look at a canary that failed: {text}");

    std::fs::remove_file(fleet.scene.path("bad-build")).expect("removed");
    fleet.look_ends_with(0);
    let (code, text) = fleet.deploy();
    assert_eq!((code, fleet.starts()), (0, [4, 2, 2]), "{text}");
}
