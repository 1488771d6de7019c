//! The tests' own service manager behaves as a host's.

use crate::support::{SOON, UserSystemd, lines, wait_for};

#[test]
fn a_user_s_systemd_starts_units_keeps_their_words_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let starts = folder.path().join("starts");
    let systemd = UserSystemd::start();
    systemd.write(
        "app.service",
        &format!(
            "[Service]\nExecStart=/bin/sh -c 'echo $$$$ >> {}; echo \"it is on\" >&2; exec sleep 1000'\n",
            starts.display()
        ),
    );
    systemd.must(&["start", "app.service"]);
    let pid = wait_for("the unit wrote its start", SOON, || lines(&starts).first().cloned());
    let first = systemd.property("app.service", "InvocationID");
    let shown = wait_for("the journal has its words", SOON, || {
        let mut journalctl = std::process::Command::new("sh");
        journalctl.args(["-c", &format!("journalctl -q -o cat _SYSTEMD_INVOCATION_ID={first}")]);
        let (code, out, err) = crate::support::run(journalctl.envs(systemd.environment()));
        assert_eq!(code, 0, "{err}");
        (!out.is_empty()).then_some(out)
    });
    assert_eq!(shown, "it is on\n");
    systemd.must(&["restart", "app.service"]);
    assert_ne!(systemd.property("app.service", "InvocationID"), first);
    assert_ne!(systemd.ask(&["start", "none.service"]).0, 0);
    // One that was killed and that nobody has taken note of yet does not run.
    let runs = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
    };
    let second = wait_for("it started twice", SOON, || lines(&starts).get(1).cloned());
    assert!(!runs(&pid) && runs(&second), "{pid} {second}");
    drop(systemd);
    assert!(!runs(&second), "its services end with it");
}
