//! The units as systemd reads them: without a complaint, and shut in as far as the manual says.

use super::{read, source};
use crate::support::run;
use std::path::Path;
use std::process::Command;

const UNITS: [&str; 2] = ["stagger-worker.service", "stagger-lockserver.service"];
/// How exposed a unit may be at most, in tenths of what `systemd-analyze security` says.
const EXPOSED_MAX: [(&str, &str); 2] = [("stagger-worker.service", "20"), ("stagger-lockserver.service", "15")];
/// By how much other versions of systemd may count otherwise than the manual.
const COUNTED_OTHERWISE: f64 = 0.4;

/// The units as they are, but of the program that is tested, in a folder.
fn lay_out(folder: &Path) {
    for unit in UNITS {
        let text = read(&format!("packaging/{unit}"));
        assert!(text.contains("ExecStart=/usr/bin/stagger "), "{unit}");
        let text = text.replace("/usr/bin/stagger", env!("CARGO_BIN_EXE_stagger"));
        std::fs::write(folder.join(unit), text).expect("a unit");
    }
}

fn analyze(arguments: &[&str], unit: &Path) -> (i32, String, String) {
    let mut command = Command::new("systemd-analyze");
    run(command.args(arguments).arg(unit).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()))
}

#[test]
fn systemd_has_nothing_to_complain_about_the_units() {
    let folder = tempfile::tempdir().expect("a folder");
    lay_out(folder.path());
    for unit in UNITS {
        let (code, out, err) = analyze(&["verify", "--man=no"], &folder.path().join(unit));
        assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""), "{unit}");
    }
}

#[test]
fn units_are_shut_in() {
    let folder = tempfile::tempdir().expect("a folder");
    lay_out(folder.path());
    for (unit, most) in EXPOSED_MAX {
        let threshold = format!("--threshold={most}");
        let arguments = ["security", "--offline=true", "--no-pager", &threshold];
        let (code, out, err) = analyze(&arguments, &folder.path().join(unit));
        assert_eq!(code, 0, "{unit}\n{out}{err}");
    }
}

/// What systemd says of a unit as a whole, with this drop-in of the examples.
fn exposure(unit: &str, drop_in: Option<&str>) -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    lay_out(folder.path());
    if let Some(drop_in) = drop_in {
        let place = folder.path().join(format!("{unit}.d"));
        std::fs::create_dir(&place).expect("a folder");
        std::fs::copy(source("packaging/examples").join(drop_in), place.join(drop_in)).expect("a drop-in");
    }
    let (_, out, err) = analyze(&["security", "--offline=true", "--no-pager"], &folder.path().join(unit));
    let told = out.lines().last().and_then(|line| line.rsplit_once(": ")).and_then(|(_, told)| told.split(' ').next());
    told.and_then(|told| told.parse().ok()).unwrap_or_else(|| panic!("{unit} {drop_in:?}: {out}{err}"))
}

/// The manual's table: a unit, a drop-in or none, and what systemd says of both.
#[test]
fn the_manual_says_how_far_each_way_is_shut_in() {
    let page = read("docs/install.md");
    let mut rows = 0;
    for line in page.lines().filter(|line| line.starts_with("| `stagger-")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [unit, drop_in, told, ..] = cells[..] else { panic!("{line}") };
        let drop_in = drop_in.trim_matches('`');
        let told: f64 = told.parse().unwrap_or_else(|_| panic!("{line}"));
        let found = exposure(unit.trim_matches('`'), (!drop_in.is_empty()).then_some(drop_in));
        assert!((found - told).abs() <= COUNTED_OTHERWISE, "{line}\nand it is {found}");
        rows += 1;
    }
    assert_eq!(rows, 4, "two units, and two drop-ins for the worker");
}
