//! States of an older form are brought forward, whatever happens on the way; those of a newer one are refused.

use super::form::Step;
use super::*;
use model::names::{Pool, Service};

/// A program two forms later: the first step renames the pool `old`, the second raises generations.
const LATER: Forms = Forms { current: 3, steps: &[Step { from: 1, bring: renamed }, Step { from: 2, bring: raised }] };
/// One whose step fails.
const FAILING: Forms = Forms { current: 2, steps: &[Step { from: 1, bring: |_| Err("it is odd".to_owned()) }] };

fn renamed(rows: Vec<Row>) -> Result<Vec<Row>, String> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|cause| cause.to_string());
    let rename = |(key, value): Row| Ok((key.replace("/old", "/new"), text(value)?.replace("old", "new").into_bytes()));
    rows.into_iter().map(rename).collect()
}

fn raised(rows: Vec<Row>) -> Result<Vec<Row>, String> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|cause| cause.to_string());
    let raise =
        |(key, value): Row| Ok((key, text(value)?.replace("\"generation\":4", "\"generation\":5").into_bytes()));
    rows.into_iter().map(raise).collect()
}

fn pool(name: &str) -> Pool {
    name.parse().expect("a pool")
}

fn service() -> Service {
    "php".parse().expect("a service")
}

/// A folder with a state as this program writes it.
fn written() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, loaded) = open(Place::Folder(folder.path().to_owned())).expect("a new one");
    assert!(loaded.state.is_fresh() && loaded.silent.is_zero());
    let records =
        [Stored::Token { pool: pool("old"), token: 7 }, Stored::Generation { service: service(), generation: 4 }];
    let rows: Vec<_> = records.into_iter().map(|record| (record.key(), Some(record))).collect();
    store.commit(&rows, Time(12)).expect("written");
    folder
}

fn open_later(folder: &Path, forms: &Forms) -> Result<Loaded, StoreError> {
    open_in(Place::Folder(folder.to_owned()), forms).map(|(_, loaded)| loaded)
}

fn is_brought(loaded: &Loaded) {
    assert_eq!(loaded.time, Time(12));
    assert_eq!(loaded.state.record(&Key::Token(pool("old"))), None);
    let token = Stored::Token { pool: pool("new"), token: 7 };
    assert_eq!(loaded.state.record(&Key::Token(pool("new"))), Some(token));
    let generation = Stored::Generation { service: service(), generation: 5 };
    assert_eq!(loaded.state.record(&Key::Generation(service())), Some(generation));
}

fn mark(folder: &Path) -> String {
    fs::read_to_string(folder.join(MARK)).expect("a mark").trim().to_owned()
}

#[test]
fn an_older_form_is_brought_forward_step_by_step_and_what_was_before_is_kept() {
    let folder = written();
    assert_eq!(mark(folder.path()), FORMAT.to_string());
    is_brought(&open_later(folder.path(), &LATER).expect("brought forward"));
    assert_eq!(mark(folder.path()), "3");
    is_brought(&open_later(folder.path(), &LATER).expect("it is there"));
    // Whoever wants to go back has what was there before.
    let before = tempfile::tempdir().expect("a folder");
    fs::copy(folder.path().join("state.redb.form1"), before.path().join(FILE)).expect("a copy");
    let (_, loaded) = open(Place::Folder(before.path().to_owned())).expect("the form of this program");
    assert!(loaded.state.record(&Key::Token(pool("old"))).is_some());
    assert_eq!(loaded.time, Time(12));
}

#[test]
fn a_newer_form_is_refused_and_left_as_it_is() {
    let folder = written();
    open_later(folder.path(), &LATER).expect("brought forward");
    let refused = open(Place::Folder(folder.path().to_owned())).expect_err("newer").to_string();
    assert_eq!(refused, "the state has form 3, and this version reads forms up to 1; start the version that wrote it");
    // The mark alone does not decide.
    fs::write(folder.path().join(MARK), "1\n").expect("written");
    let refused = open(Place::Folder(folder.path().to_owned())).expect_err("newer");
    assert!(matches!(&refused, StoreError::Format { found } if found == "3"), "{refused}");
    is_brought(&open_later(folder.path(), &LATER).expect("as it was"));
}

#[test]
fn wherever_it_is_cut_off_the_next_start_brings_it_forward() {
    // Half a copy is there.
    let folder = written();
    fs::write(folder.path().join(FILE_NEW), "half").expect("written");
    is_brought(&open_later(folder.path(), &LATER).expect("brought forward"));
    // The file is a step ahead of the mark.
    fs::write(folder.path().join(MARK), "1\n").expect("written");
    is_brought(&open_later(folder.path(), &LATER).expect("brought forward"));
    assert_eq!(mark(folder.path()), "3");
    // The mark was never written.
    fs::remove_file(folder.path().join(MARK)).expect("removed");
    is_brought(&open_later(folder.path(), &LATER).expect("brought forward"));
    assert_eq!(mark(folder.path()), "3");
}

#[test]
fn a_step_that_fails_changes_nothing() {
    let folder = written();
    let refused = open_later(folder.path(), &FAILING).expect_err("odd");
    assert!(matches!(&refused, StoreError::Damaged { what } if what == "it is no form 1: it is odd"), "{refused}");
    let (_, loaded) = open(Place::Folder(folder.path().to_owned())).expect("as it was");
    assert!(loaded.state.record(&Key::Token(pool("old"))).is_some());
}

#[test]
fn a_silence_lasts_until_something_is_decided_and_not_only_until_the_next_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    make(&data, &[], Time(5), Duration::from_secs(3)).expect("made");
    let refused = make(&data, &[], Time(5), Duration::ZERO).expect_err("it is there");
    assert!(matches!(refused, StoreError::Occupied { .. }), "{refused}");
    let silent = || open(Place::Folder(data.clone())).map(|(store, loaded)| (store, loaded.silent)).expect("a store");
    let (store, first) = silent();
    assert_eq!(first, Duration::from_secs(3));
    store.commit(&[], Time(6)).expect("the clock alone");
    drop(store);
    let (store, second) = silent();
    assert_eq!(second, Duration::from_secs(3));
    let token = Stored::Token { pool: pool("p"), token: 1 };
    store.commit(&[(token.key(), Some(token))], Time(7)).expect("written");
    drop(store);
    assert_eq!(silent().1, Duration::ZERO);
}
