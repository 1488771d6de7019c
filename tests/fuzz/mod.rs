//! The checks of the fuzz targets, on every seed that is kept in `fuzz/seeds`: those that were written by hand, and whatever was found.

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "in their own package they are the interface")]
mod checks;

use std::path::{Path, PathBuf};

/// Has a check read every seed of its target.
fn repeat(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds: Vec<PathBuf> = entries.map(|entry| entry.expect("a seed").path()).collect();
    seeds.sort();
    assert!(seeds.len() >= 3, "{target} has {} seeds", seeds.len());
    for seed in seeds {
        let bytes = std::fs::read(&seed).expect("a seed");
        let checked = std::panic::catch_unwind(|| check(&bytes));
        assert!(checked.is_ok(), "what is above was found by {}", seed.display());
    }
}

#[test]
fn lines_of_poolcounter() {
    repeat("poolcounter", checks::poolcounter::check);
}

#[test]
fn requests_of_the_api() {
    repeat("api", checks::api::check);
}

#[test]
fn files_of_hosts() {
    repeat("config", checks::config::check);
}

#[test]
fn records_of_a_store() {
    repeat("records", checks::records::check);
}

#[test]
fn stores_that_are_damaged() {
    repeat("store", checks::store::check);
}

#[test]
fn answers_of_others() {
    repeat("answers", checks::answers::check);
}
