//! What is on disk after whatever happened.

use super::disk::{Disk, RealDisk};
use super::journal::{Crash, CrashPoint, Journal};
use super::store::{Journals, KEPT_MAX, StoreError, doubts as doubts_of};
use super::{HostLock, LockError};
use model::lease::Purpose;
use model::request::Ending;
use model::rollout::{Outcome, Report};
use model::sequence::record::Balancers;
use model::sequence::{Act, Doubt, Fault, Found, Memo, Plan, Record, Sequence, Step, Unwind};
use model::time::Wall;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A disk on which only what was synced survives, and on which writes can fail or be torn.
#[derive(Debug, Default)]
struct FlakyDisk {
    state: Mutex<Flaky>,
}

#[derive(Debug, Default)]
struct Flaky {
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// How many bytes of the next append reach the disk before it fails.
    torn_at: Option<usize>,
    syncs: usize,
}

impl FlakyDisk {
    fn bytes(&self, path: &Path) -> Vec<u8> {
        self.state.lock().expect("a lock").files.get(path).cloned().unwrap_or_default()
    }

    fn set(&self, path: &Path, bytes: Vec<u8>) {
        self.state.lock().expect("a lock").files.insert(path.to_owned(), bytes);
    }

    fn tear_next_at(&self, bytes: usize) {
        self.state.lock().expect("a lock").torn_at = Some(bytes);
    }
}

impl Disk for FlakyDisk {
    fn make_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock().expect("a lock");
        let inside = state.files.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        self.state.lock().expect("a lock").files.get(file).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, file: &Path) -> io::Result<()> {
        let mut state = self.state.lock().expect("a lock");
        match state.files.insert(file.to_owned(), Vec::new()) {
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => Ok(()),
        }
    }

    fn append(&self, file: &Path, length: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().expect("a lock");
        let torn_at = state.torn_at.take();
        let kept = torn_at.map_or(bytes.len(), |at| at.min(bytes.len()));
        let content = state.files.get_mut(file).ok_or(io::ErrorKind::NotFound)?;
        content.truncate(usize::try_from(length).expect("small"));
        content.extend(&bytes[..kept]);
        state.syncs += 1;
        if torn_at.is_some() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock().expect("a lock");
        let content = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        self.state.lock().expect("a lock").files.remove(file).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn plan(sequence: &str, service: &str) -> Plan {
    Plan {
        sequence: sequence.parse().expect("an id"),
        service: service.parse().expect("a service"),
        purpose: Purpose::Rollout(format!("{service}@7").parse().expect("a rollout")),
        pools: ["app".parse().expect("a pool")].into(),
        depool: true,
        keep: true,
        leaseless: false,
        away_ms: 0,
        left_out: Balancers::new(),
        doubt: None,
        before: Vec::new(),
    }
}

fn opened(sequence: &str, service: &str) -> Record {
    Record::Opened(Box::new(plan(sequence, service)))
}

fn ended() -> Record {
    Record::Ended { ending: Ending::Cancelled, report: Box::new(Report::plain(Outcome::Cancelled)) }
}

/// The records of a sequence that took its host out of `lb1` and failed.
fn failed(sequence: &str, service: &str) -> Vec<Record> {
    let found = Found { taken: [("lb1".to_owned(), "w10".to_owned())].into(), ..Found::default() };
    let fault = Act { fault: Some(Fault::plain("exit 78")), ..Act::default() };
    vec![
        opened(sequence, service),
        Record::Granted { tokens: [("app".parse().expect("a pool"), 7)].into(), ms: 1 },
        Record::Acting { step: Step::Depool, memo: Some(Memo::Found(found)) },
        Record::Acted { step: Step::Depool, act: Act::default() },
        Record::Acting { step: Step::Drain, memo: None },
        Record::Acted { step: Step::Drain, act: Act::default() },
        Record::Inspected { step: Step::Depool, seen: model::sequence::Seen::Done },
        Record::Begun { generation: Some(7), ms: 1 },
        Record::Acting { step: Step::Restart, memo: Some(Memo::Identity(None)) },
        Record::Acted { step: Step::Restart, act: fault },
        Record::Ended { ending: Ending::Kept, report: Box::new(Report::plain(Outcome::Failed)) },
        Record::Settled,
    ]
}

struct Rig {
    disk: Arc<FlakyDisk>,
    journals: Journals,
}

impl Rig {
    fn new() -> Rig {
        let disk = Arc::new(FlakyDisk::default());
        let journals = Journals::in_folder(disk.clone(), Path::new("/state"), Crash::default()).expect("journals");
        Rig { disk, journals }
    }

    fn write(&self, ms: u64, sequence: &str, records: &[Record]) -> Journal {
        let mut journal = self.journals.create(&sequence.parse().expect("an id"), Wall(ms)).expect("a journal");
        for record in records {
            journal.append(std::slice::from_ref(record)).expect("a receipt");
        }
        journal
    }

    fn close(&self, ms: u64, sequence: &str, records: &[Record]) {
        let journal = self.write(ms, sequence, records);
        self.journals.file_away(journal.path()).expect("filed away");
    }

    fn left(&self, service: &str) -> Vec<String> {
        let service = service.parse().expect("a service");
        let mut left = self.journals.left_out([&service].into_iter()).expect("readable");
        left.remove(&service).unwrap_or_default().into_keys().collect()
    }

    fn done(&self) -> Vec<String> {
        let names = self.disk.list(Path::new("/state/sequences")).expect("a folder");
        names.into_iter().filter_map(|name| name.strip_suffix(".done.jsonl").map(str::to_owned)).collect()
    }
}

#[test]
fn what_was_recorded_is_read_again() {
    let rig = Rig::new();
    let records = failed("q1", "php");
    let journal = rig.write(1_700_000_000_000, "q1", &records[..11]);
    assert_eq!(journal.path(), Path::new("/state/sequences/01700000000000-q1.jsonl"));
    assert_eq!(rig.disk.state.lock().expect("a lock").syncs, 11, "a sync per record");
    let (mut again, read) = rig.journals.unfinished().expect("readable").expect("unfinished");
    assert_eq!(read, records[..11]);
    assert_eq!(again.append(&[Record::Settled]).expect("a receipt").records(), 12);
    assert!(rig.journals.has_open().expect("readable"));
    assert!(rig.journals.unfinished().expect("readable").is_none());
    assert_eq!(rig.done(), ["01700000000000-q1"], "a closed one is filed away");
    assert!(!rig.journals.has_open().expect("readable"));
}

#[test]
fn lines_can_be_read_by_people() {
    let rig = Rig::new();
    let journal = rig.write(1, "q1", &[opened("q1", "php"), Record::Resumed]);
    let text = String::from_utf8(rig.disk.bytes(journal.path())).expect("text");
    let last = text.lines().last().expect("a line");
    assert_eq!(last, format!("{:08x} \"resumed\"", crc32fast::hash(b"\"resumed\"")));
}

#[test]
fn a_torn_line_is_ignored_wherever_it_was_torn_and_written_over() {
    let records = failed("q1", "php");
    let whole = {
        let rig = Rig::new();
        let journal = rig.write(1, "q1", &records[..3]);
        rig.disk.bytes(journal.path()).len()
    };
    let before = {
        let rig = Rig::new();
        let journal = rig.write(1, "q1", &records[..2]);
        rig.disk.bytes(journal.path()).len()
    };
    for torn_at in 0..whole - before {
        let rig = Rig::new();
        let mut journal = rig.write(1, "q1", &records[..2]);
        rig.disk.tear_next_at(torn_at);
        assert!(journal.append(&records[2..=2]).is_err());
        let (mut again, read) = rig.journals.unfinished().expect("readable").expect("unfinished");
        assert_eq!(read, records[..2], "torn at {torn_at}");
        assert_eq!(again.append(&records[2..=2]).expect("a receipt").records(), 3);
        assert_eq!(rig.journals.unfinished().expect("readable").expect("unfinished").1, records[..3]);
        // The same worker may try again too.
        rig.disk.tear_next_at(torn_at);
        assert!(again.append(&records[3..=3]).is_err());
        again.append(&records[3..=3]).expect("a receipt");
        assert_eq!(rig.journals.unfinished().expect("readable").expect("unfinished").1, records[..4]);
    }
}

#[test]
fn of_records_written_together_those_before_the_tear_are_there() {
    let records = failed("q1", "php");
    let lengths: Vec<usize> = (2..=6)
        .map(|count| {
            let rig = Rig::new();
            let journal = rig.write(1, "q1", &records[..count]);
            rig.disk.bytes(journal.path()).len()
        })
        .collect();
    for torn_at in 0..=lengths[4] - lengths[0] {
        let rig = Rig::new();
        let mut journal = rig.write(1, "q1", &records[..2]);
        let syncs = rig.disk.state.lock().expect("a lock").syncs;
        rig.disk.tear_next_at(torn_at);
        assert!(journal.append(&records[2..6]).is_err());
        let whole = lengths.iter().rposition(|length| *length <= lengths[0] + torn_at).expect("the first two") + 2;
        assert_eq!(rig.journals.unfinished().expect("readable").expect("unfinished").1, records[..whole], "{torn_at}");
        assert_eq!(journal.append(&records[2..6]).expect("a receipt").records(), 6);
        assert_eq!(rig.disk.state.lock().expect("a lock").syncs, syncs + 2, "one for all");
        assert_eq!(rig.journals.unfinished().expect("readable").expect("unfinished").1, records[..6]);
    }
}

#[test]
fn an_empty_or_a_torn_first_line_is_no_sequence() {
    let rig = Rig::new();
    let mut journal = rig.journals.create(&"q1".parse().expect("an id"), Wall(1)).expect("a journal");
    rig.disk.tear_next_at(20);
    assert!(journal.append(&[opened("q1", "php")]).is_err());
    assert!(rig.journals.unfinished().expect("readable").is_none());
    assert!(!rig.journals.has_open().expect("readable"), "it is removed");
}

#[test]
fn any_other_damage_is_told_by_its_place() {
    let rig = Rig::new();
    let journal = rig.write(1, "q1", &failed("q1", "php")[..4]);
    let good = rig.disk.bytes(journal.path());
    let ends: Vec<usize> = good.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        rig.disk.set(journal.path(), bad);
        let expected = ends.iter().filter(|end| **end < at).count() + 1;
        match rig.journals.unfinished() {
            Err(StoreError::Damaged(damage)) => assert_eq!(damage.line, expected, "byte {at}: {damage}"),
            // The last line break is gone, and with it the last line.
            Ok(Some((_, records))) => assert_eq!((at, records.len()), (good.len() - 1, 3)),
            other => panic!("byte {at}: {other:?}"),
        }
    }
    rig.disk.set(journal.path(), b"nonsense\n".to_vec());
    let error = rig.journals.unfinished().expect_err("damaged");
    assert!(error.to_string().contains("line 1 of /state/sequences/00000000000001-q1.jsonl: it has no checksum"));
    let json = "{\"moved\":1}";
    rig.disk.set(journal.path(), format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes());
    assert!(rig.journals.unfinished().expect_err("damaged").to_string().contains("no record that this version knows"));
}

#[test]
fn the_oldest_unfinished_one_comes_first() {
    let rig = Rig::new();
    rig.write(90, "q1", &[opened("q1", "php")]);
    rig.write(200, "q2", &[opened("q2", "php")]);
    let (mut first, _) = rig.journals.unfinished().expect("readable").expect("unfinished");
    assert!(first.path().ends_with("00000000000090-q1.jsonl"));
    first.append(&[ended()]).expect("a receipt");
    first.append(&[Record::Settled]).expect("a receipt");
    let (second, _) = rig.journals.unfinished().expect("readable").expect("unfinished");
    assert!(second.path().ends_with("00000000000200-q2.jsonl"));
}

#[test]
fn the_newest_sequence_of_a_service_says_what_is_left_out() {
    let rig = Rig::new();
    assert!(rig.left("php").is_empty());
    rig.close(1, "q1", &failed("q1", "php"));
    rig.close(2, "q2", &[opened("q2", "cron"), ended(), Record::Settled]);
    assert_eq!(rig.left("php"), ["lb1"]);
    assert!(rig.left("cron").is_empty());
    // One that only waits to be told counts too.
    rig.write(3, "q3", &failed("q3", "cron")[..11]);
    assert_eq!(rig.left("cron"), ["lb1"]);
    let sequence = Sequence::replay(&failed("q1", "php")).expect("legal").expect("a sequence");
    let left_out = sequence.left_out();
    assert_eq!(left_out.get("lb1").map(String::as_str), Some("w10"), "with what puts it back");
    let passed_on = Record::Opened(Box::new(Plan { left_out, ..plan("q4", "php") }));
    rig.close(4, "q4", &[passed_on, ended(), Record::Settled]);
    assert_eq!(rig.left("php"), ["lb1"]);
    rig.close(5, "q5", &[opened("q5", "php"), ended(), Record::Settled]);
    assert!(rig.left("php").is_empty());
}

#[test]
fn what_somebody_else_moved_since_is_not_left_out_by_stagger() {
    let rig = Rig::new();
    let php = "php".parse().expect("a service");
    let path = Path::new("/state/sequences/php.disowned");
    let disown = |balancer: &str| rig.journals.disown(&php, |name| name == balancer).expect("written");
    disown("lb1");
    assert!(rig.disk.bytes(path).is_empty(), "there is nothing to disown");
    rig.close(1, "q1", &failed("q1", "php"));
    disown("lb2");
    assert_eq!(rig.left("php"), ["lb1"], "it was another balancer");
    disown("lb1");
    assert!(rig.left("php").is_empty());
    let said = rig.disk.bytes(path);
    disown("lb1");
    assert_eq!(rig.disk.bytes(path), said, "once is enough");
    // What was torn was not said; what makes no sense may have been anything.
    rig.disk.set(path, said[..said.len() - 1].to_vec());
    assert_eq!(rig.left("php"), ["lb1"]);
    rig.disk.set(path, b"?\n".to_vec());
    assert!(rig.left("php").is_empty());
    rig.disk.set(path, said);
    // A sequence that is not over knows better, and a newer one speaks for itself.
    let journal = rig.write(2, "q2", &failed("q2", "php")[..11]);
    disown("lb1");
    assert_eq!(rig.left("php"), ["lb1"]);
    let (mut journal, _) = {
        drop(journal);
        rig.journals.unfinished().expect("readable").expect("unfinished")
    };
    journal.append(&[Record::Settled]).expect("a receipt");
    rig.journals.file_away(journal.path()).expect("filed away");
    assert_eq!(rig.left("php"), ["lb1"]);
    disown("lb1");
    assert!(rig.left("php").is_empty());
    assert_eq!(rig.disk.bytes(path).split(|byte| *byte == b'\n').count(), 2, "of the older one nothing is kept");
}

#[test]
fn a_clock_that_is_set_back_changes_no_order() {
    let rig = Rig::new();
    rig.close(9_000_000, "q1", &[opened("q1", "php"), ended(), Record::Settled]);
    rig.close(1_000, "q2", &failed("q2", "php"));
    assert_eq!(rig.left("php"), ["lb1"], "the last one failed");
    rig.close(2_000, "q3", &[opened("q3", "php"), ended(), Record::Settled]);
    assert!(rig.left("php").is_empty(), "and the one after it put it back");
    assert_eq!(rig.done(), ["00000009000000-q1", "00000009000001-q2", "00000009000002-q3"]);
}

#[test]
fn so_many_are_kept_and_what_was_left_out_is_not_forgotten() {
    let rig = Rig::new();
    let closed = |id: &str, service: &str| [opened(id, service), ended(), Record::Settled];
    rig.close(1, "left", &failed("left", "php"));
    rig.close(2, "old", &failed("old", "cron"));
    rig.close(3, "new", &closed("new", "cron"));
    for ms in 10..10 + KEPT_MAX as u64 {
        rig.close(ms, "q", &closed("q", "other"));
    }
    let mut done = rig.done();
    done.sort();
    assert_eq!(done.len(), KEPT_MAX + 1);
    assert_eq!(done[..2], ["00000000000001-left", "00000000000010-q"]);
    assert_eq!(rig.left("php"), ["lb1"]);
    assert!(rig.left("cron").is_empty());
    rig.close(5_000, "back", &closed("back", "php"));
    assert!(!rig.done().contains(&"00000000000001-left".to_owned()), "it was put back since");
}

#[test]
fn a_restart_in_doubt_is_known_until_a_newer_sequence_of_its_service() {
    let rig = Rig::new();
    let php = || ["php".parse().expect("a service")];
    let doubts = |rig: &Rig| doubts_of(&rig.journals.newest(php().iter()).expect("readable"));
    let doubt = Doubt { generation: 7, identity: "i1".to_owned() };
    let in_doubt = [Record::Resumed, Record::Inspected { step: Step::Restart, seen: model::sequence::Seen::NotDone }];
    let memo = Some(Memo::Identity(Some("i1".to_owned())));
    let restarting = [&failed("q1", "php")[..8], &[Record::Acting { step: Step::Restart, memo }]].concat();
    let undone =
        [Record::Undoing { why: Unwind::GaveWay("paused".to_owned()) }, Record::Undone { act: Act::default() }];
    rig.close(1, "q1", &[&restarting[..], &in_doubt, &undone, &[ended(), Record::Settled]].concat());
    let known = BTreeMap::from([("php".parse().expect("a service"), doubt)]);
    assert!(rig.left("php").is_empty());
    assert_eq!(doubts(&rig), known);
    for ms in 10..10 + KEPT_MAX as u64 {
        rig.close(ms, "q", &[opened("q", "other"), ended(), Record::Settled]);
    }
    assert_eq!(doubts(&rig), known, "however old");
    rig.close(5_000, "q2", &[opened("q2", "php"), ended(), Record::Settled]);
    assert!(doubts(&rig).is_empty(), "what is newer knows more");
}

#[test]
fn a_closed_journal_that_is_damaged_stops_nothing() {
    let rig = Rig::new();
    let spoil = |name: &str| rig.disk.set(&Path::new("/state/sequences").join(name), b"nonsense\n".to_vec());
    rig.close(1, "q1", &failed("q1", "php"));
    rig.close(2, "q2", &[opened("q2", "cron"), ended(), Record::Settled]);
    rig.close(3, "q3", &failed("q3", "cron"));
    spoil("00000000000002-q2.done.jsonl");
    assert!(rig.journals.unfinished().expect("readable").is_none());
    assert_eq!(rig.left("cron"), ["lb1"], "the newest one tells");
    assert!(rig.left("php").is_empty(), "what is older than the damage may not be so any more");
    let pool = "app".parse().expect("a pool");
    assert_eq!(rig.journals.highest_tokens().expect("readable").get(&pool), Some(&7), "the others tell");
    // It is no hindrance to those that come after it, and goes as they go.
    for ms in 10..10 + KEPT_MAX as u64 {
        rig.close(ms, "q", &[opened("q", "other"), ended(), Record::Settled]);
    }
    let done = rig.done();
    assert!(!done.contains(&"00000000000002-q2".to_owned()), "{done:?}");
    assert_eq!((done.len(), rig.left("cron")), (KEPT_MAX + 1, vec!["lb1".to_owned()]));
    assert!(rig.left("php").is_empty(), "with all that is older");
    // One that is not closed matters.
    rig.write(5_000, "q5", &failed("q5", "cron")[..4]);
    spoil("00000000005000-q5.jsonl");
    assert!(rig.journals.unfinished().expect_err("damaged").is_damage());
}

#[test]
fn the_real_disk_keeps_what_it_is_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let journals =
        Journals::in_folder(Arc::new(RealDisk::default()), folder.path(), Crash::default()).expect("journals");
    let id = "q1".parse().expect("an id");
    let mut journal = journals.create(&id, Wall(7)).expect("a journal");
    assert!(RealDisk::default().create(journal.path()).is_err(), "one is never written over");
    for record in &failed("q1", "php")[..5] {
        journal.append(std::slice::from_ref(record)).expect("a receipt");
    }
    std::fs::OpenOptions::new()
        .append(true)
        .open(journal.path())
        .and_then(|mut file| io::Write::write_all(&mut file, b"torn"))
        .expect("written");
    let (mut again, read) = journals.unfinished().expect("readable").expect("unfinished");
    assert_eq!(read, failed("q1", "php")[..5]);
    again.append(&[failed("q1", "php")[5].clone()]).expect("a receipt");
    assert_eq!(journals.unfinished().expect("readable").expect("unfinished").1, failed("q1", "php")[..6]);
    let again = Journals::in_folder(Arc::new(RealDisk::default()), folder.path(), Crash::default()).expect("journals");
    assert!(again.has_open().expect("readable"));
    std::fs::remove_file(journal.path()).expect("removed");
    assert!(journal.append(&[Record::Resumed]).is_err());
    assert!(again.unfinished().expect("readable").is_none());
}

#[test]
fn points_of_a_journal_are_read_as_they_are_written() {
    assert_eq!("before:3".parse(), Ok(CrashPoint::Before(3)));
    assert_eq!("after:12".parse(), Ok(CrashPoint::After(12)));
    for wrong in ["", "3", "after:", "after:x", "during:3"] {
        assert!(wrong.parse::<CrashPoint>().is_err(), "{wrong}");
    }
}

/// The lock, once it is given back. A process that another test is just starting may have a copy of it, until it runs.
fn given_back(state: &Path, what: &str) -> HostLock {
    let started = std::time::Instant::now();
    loop {
        match HostLock::take(state, what) {
            Ok(lock) => return lock,
            Err(error) => assert!(started.elapsed().as_secs() < 10, "{error}"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn the_lock_is_had_once_and_names_who_has_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let lock = HostLock::take(folder.path(), "the worker").expect("free");
    match HostLock::take(folder.path(), "a restart") {
        Err(LockError::Busy { who }) => assert_eq!(who, format!("pid {}, the worker", std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(lock);
    let lock = given_back(folder.path(), "a restart by hand that has a long name");
    drop(lock);
    let lock = given_back(folder.path(), "short");
    match HostLock::take(folder.path(), "x") {
        Err(LockError::Busy { who }) => assert!(who.ends_with(", short"), "{who}"),
        other => panic!("{other:?}"),
    }
    let host = "mw1".parse().expect("a host");
    let worker = HostLock::of_worker(folder.path(), &host).expect("another lock");
    let again = HostLock::of_worker(folder.path(), &host);
    assert!(matches!(again, Err(LockError::Busy { who }) if who.ends_with(", the worker of mw1")));
    assert_eq!(super::lock::worker_in(folder.path()).as_deref(), Some("mw1"));
    drop((lock, worker));
    // A file that cannot be written to can be locked all the same.
    let full = folder.path().join("full");
    std::fs::create_dir(&full).expect("a folder");
    std::os::unix::fs::symlink("/dev/full", full.join("lock")).expect("a link");
    assert!(HostLock::take(&full, "x").is_ok(), "who has it is only for people");
    assert!(matches!(HostLock::take(&folder.path().join("missing"), "x"), Err(LockError::Io { .. })));
}
