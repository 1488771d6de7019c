//! Who may import whom within `src/`: the table of ARCHITECTURE.md, held. (Between packages Cargo holds it.)

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What each module of `src/` may know of the others.
const MAY_KNOW: [(&str, &[&str]); 9] = [
    ("config", &[]),
    ("probe", &["config"]),
    ("door", &[]),
    ("balancer", &["config", "probe", "door"]),
    ("unit", &["config", "probe"]),
    ("sequence", &["config", "probe", "balancer", "unit"]),
    ("telemetry", &["config", "door"]),
    ("worker", &["config", "probe", "balancer", "unit", "sequence", "telemetry"]),
    ("cli", &["config", "probe", "balancer", "unit", "sequence", "telemetry", "worker"]),
];

/// The packages that each module may know.
const MAY_USE: [(&str, &[&str]); 9] = [
    ("config", &["model", "coordinator", "lockserver"]),
    ("probe", &["model"]),
    ("door", &[]),
    ("balancer", &["model"]),
    ("unit", &["model"]),
    ("sequence", &["model"]),
    ("telemetry", &["model"]),
    ("worker", &["model", "coordinator"]),
    ("cli", &["model", "coordinator", "lockserver"]),
];

/// The clients of other systems, and the one place in `src/` that may speak to each.
const SPOKEN_TO: [(&str, &str); 3] =
    [("etcd_client", "balancer/conftool"), ("tokio_rustls", "balancer/conftool"), ("hyper", "balancer/conftool")];

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "tests") {
            rust_files(&path, found);
        } else if path.file_stem().is_some_and(|name| name == "tests") || path.ends_with("supervisor_tests.rs") {
            // Tests may know everything.
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The module of `src/` that a file belongs to; none for the roots.
fn module_of(path: &Path, source: &Path) -> Option<String> {
    let inside = path.strip_prefix(source).expect("inside the sources");
    let first = inside.components().next()?.as_os_str().to_str()?.trim_end_matches(".rs").to_owned();
    (!matches!(first.as_str(), "lib" | "main")).then_some(first)
}

/// The code of a file without its tests and comments.
fn code(text: &str) -> String {
    let upto = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..upto].lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (may_know, may_use): (BTreeMap<_, _>, BTreeMap<_, _>) = (MAY_KNOW.into(), MAY_USE.into());
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    assert!(files.len() > 20, "the sources were not found");
    let mut wrong = Vec::new();
    for path in files {
        // Tests set a module against the real thing, whatever that takes.
        if path.file_stem().is_some_and(|stem| stem == "tests")
            || path.components().any(|part| part.as_os_str() == "tests")
        {
            continue;
        }
        let Some(module) = module_of(&path, &source) else { continue };
        let known = may_know.get(module.as_str());
        let Some(known) = known else {
            wrong.push(format!("{}: the module {module} is not in the table", path.display()));
            continue;
        };
        let text = code(&std::fs::read_to_string(&path).expect("a readable file"));
        for other in may_know.keys().filter(|other| **other != module && !known.contains(other)) {
            if text.contains(&format!("crate::{other}::")) || text.contains(&format!("crate::{other};")) {
                wrong.push(format!("{}: {module} may not know {other}", path.display()));
            }
        }
        if text.contains("use crate::{") {
            wrong.push(format!(
                "{}: import each module on a line of its own, so that this test sees it",
                path.display()
            ));
        }
        for package in ["model", "coordinator", "lockserver"] {
            let used = text.lines().any(|line| {
                line.trim_start().starts_with(&format!("use {package}::")) || line.contains(&format!(" {package}::"))
            });
            if used && !may_use[module.as_str()].contains(&package) {
                wrong.push(format!("{}: {module} may not use the package {package}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn other_systems_are_spoken_to_in_one_place_each() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let mut wrong = Vec::new();
    for path in files {
        let text = code(&std::fs::read_to_string(&path).expect("a readable file"));
        for (client, place) in SPOKEN_TO {
            let is_there = path.strip_prefix(&source).is_ok_and(|inside| inside.starts_with(place));
            let is_used = text.contains(&format!("use {client}::")) || text.contains(&format!(" {client}::"));
            if is_used && !is_there {
                wrong.push(format!("{}: only {place} speaks through {client}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn only_the_command_line_prints_and_only_main_exits() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let mut wrong = Vec::new();
    for path in files {
        let text = code(&std::fs::read_to_string(&path).expect("a readable file"));
        let module = module_of(&path, &source).unwrap_or_default();
        if text.contains("process::exit") {
            wrong.push(format!("{}: only main exits, and by returning", path.display()));
        }
        let prints = ["println!", "eprintln!", "print!("].iter().any(|word| text.contains(word));
        if prints && module != "cli" {
            wrong.push(format!("{}: only the command line prints", path.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
