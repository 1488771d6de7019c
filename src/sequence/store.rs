//! Which journals there are: the one that is unfinished, and those kept of sequences that are over.
//!
//! Owns the folder `sequences`, but for what lies there of `disowned`: `MS-ID.jsonl` is unfinished, `MS-ID.done.jsonl` is closed,
//! and of these the last hundred are kept. Everything here is done under the host's lock, but for looks. Only an unfinished journal that is damaged stops the host;
//! of a closed one nothing more depends than what is known of the past. Called by the worker.

use crate::sequence::disk::{Disk, RealDisk};
use crate::sequence::disowned::{self, Disowned};
use crate::sequence::journal::{Crash, CrashPoint, Damage, Journal, parse};
use crate::sequence::power::Platter;
use model::names::{Id, Pool, Service, Token};
use model::sequence::record::Balancers;
use model::sequence::{Doubt, Illegal, Plan, Record, Sequence};
use model::time::Wall;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How many journals of closed sequences are kept.
pub const KEPT_MAX: usize = 100;
const FOLDER: &str = "sequences";
const ENDING: &str = ".jsonl";
const DONE: &str = ".done.jsonl";
/// So many digits sort as numbers do until the year 5138.
const MS_DIGITS: usize = 14;

/// The journals of a host.
#[derive(Debug, Clone)]
pub struct Journals {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    crash: Crash,
    /// The damaged ones that a warning was written of.
    told: Arc<Mutex<BTreeSet<PathBuf>>>,
}

/// Journals that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system fails.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which file or folder.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// There is no folder for them, and there can be none.
    #[error("cannot make the folder {path}: {source}")]
    Folder {
        /// Which.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A journal was damaged.
    #[error("a journal is damaged: {0}; move the file away when it is clear how far that sequence came")]
    Damaged(#[from] Damage),
    /// A journal tells what cannot have happened.
    #[error(
        "the journal {path} makes no sense: {source}; move the file away when it is clear how far that sequence came"
    )]
    Illegal {
        /// Which file.
        path: String,
        /// What is wrong.
        source: Illegal,
    },
}

impl StoreError {
    /// Whether only a person can mend it. Otherwise a later try may do better.
    pub fn is_damage(&self) -> bool {
        matches!(self, StoreError::Damaged(_) | StoreError::Illegal { .. })
    }
}

/// The newest sequence of a service, as far as it still speaks.
#[derive(Debug, Clone)]
pub struct Past {
    sequence: Sequence,
    disowned: Disowned,
}

impl Past {
    /// Where it left the host out, and nobody else moved it since.
    pub fn left_out(&self) -> Balancers {
        let mut left = self.sequence.left_out();
        left.retain(|balancer, _| match &self.disowned {
            Disowned::At(balancers) => !balancers.contains(balancer),
            Disowned::Perhaps => false,
        });
        left
    }

    /// What it left in doubt.
    pub fn doubt(&self) -> Option<&Doubt> {
        self.sequence.doubt()
    }
}

impl Journals {
    /// The journals in a state folder, which is made when it is missing.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn in_folder(disk: Arc<dyn Disk>, state: &Path, crash: Crash) -> Result<Journals, StoreError> {
        let folder = state.join(FOLDER);
        let failed = |source| StoreError::Folder { path: folder.display().to_string(), source };
        disk.make_folder(&folder).map_err(failed)?;
        Ok(Journals { disk, folder, crash, told: Arc::default() })
    }

    /// The same on the real disk, until its power is cut at this point: for tests.
    ///
    /// # Errors
    /// The folder cannot be made, or what is in it cannot be read.
    pub fn until_power_cut(state: &Path, point: CrashPoint) -> Result<Journals, StoreError> {
        let platter = Arc::new(Platter::found(state).map_err(|source| io_error(state, source))?);
        let disk = RealDisk::watched(Arc::clone(&platter));
        Journals::in_folder(Arc::new(disk), state, Crash::with_power(point, platter))
    }

    /// A journal for a new sequence.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(&self, sequence: &Id, now: Wall) -> io::Result<Journal> {
        // The names are in the order of the sequences, also when the clock was ahead and is set back.
        let names = self.disk.list(&self.folder)?;
        let made = names.iter().filter_map(|name| name.split_once('-')?.0.parse::<u64>().ok()).max();
        let number = made.map_or(now.0, |last| now.0.max(last.saturating_add(1)));
        let name = format!("{number:0MS_DIGITS$}-{sequence}{ENDING}");
        Journal::create(Arc::clone(&self.disk), self.folder.join(name), self.crash.clone())
    }

    /// The oldest journal that is not closed, with its records. Closed ones are filed away, empty ones removed.
    ///
    /// # Errors
    /// A journal cannot be read, or is damaged.
    pub fn unfinished(&self) -> Result<Option<(Journal, Vec<Record>)>, StoreError> {
        for path in self.files(State::Open)? {
            let opened = Journal::open(Arc::clone(&self.disk), path.clone(), self.crash.clone());
            let (journal, records) = opened.map_err(|source| io_error(&path, source))??;
            match records.last() {
                None => self.remove(&path)?,
                Some(Record::Settled) => self.file_away(&path)?,
                Some(_) => return Ok(Some((journal, records))),
            }
        }
        Ok(None)
    }

    /// Whether a journal lies there that is not filed away.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn has_open(&self) -> Result<bool, StoreError> {
        Ok(!self.files(State::Open)?.is_empty())
    }

    /// Files a closed journal away, and removes the oldest of those beyond [`KEPT_MAX`].
    ///
    /// # Errors
    /// It cannot be moved. Nothing is lost by that.
    pub fn file_away(&self, path: &Path) -> Result<(), StoreError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let done = self.folder.join(format!("{}{DONE}", name.trim_end_matches(ENDING)));
        self.disk.rename(path, &done).map_err(|source| io_error(path, source))?;
        self.prune()
    }

    /// The newest of a service that left its host out, or a restart in doubt, is kept, however old: what was left out must be
    /// known until it is put back. With a damaged one goes all that is older, since it may not be so any more.
    fn prune(&self) -> Result<(), StoreError> {
        let done = self.files(State::Done)?;
        let (old, recent) = done.split_at(done.len().saturating_sub(KEPT_MAX));
        let mut kept = Vec::new();
        for (at, path) in old.iter().enumerate() {
            match self.known(path)? {
                Some(sequence)
                    if (!sequence.left_out().is_empty() || sequence.doubt().is_some())
                        && !self.has_newer(&sequence, old[at + 1..].iter().chain(recent))? =>
                {
                    kept.push(path);
                }
                Some(_) => self.remove(path)?,
                None => kept.drain(..).chain([path]).try_for_each(|path| self.remove(path))?,
            }
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        self.disk.remove(path).map_err(|source| io_error(path, source))
    }

    fn has_newer<'p>(&self, sequence: &Sequence, newer: impl Iterator<Item = &'p PathBuf>) -> Result<bool, StoreError> {
        for path in newer {
            let other = self.known(path)?;
            if other.is_some_and(|other| other.plan().service == sequence.plan().service) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The newest sequence of each of these services; a service without one is missing. So is one whose newest sequence may be in a closed journal that is damaged: what is older may not be so
    /// any more, and what is not known to be Stagger's doing is not undone.
    ///
    /// # Errors
    /// A journal cannot be read, or an unfinished one is damaged.
    pub fn newest<'s>(
        &self,
        services: impl Iterator<Item = &'s Service>,
    ) -> Result<BTreeMap<Service, Past>, StoreError> {
        let mut wanted: BTreeSet<&Service> = services.collect();
        let mut newest = BTreeMap::new();
        for path in self.files(State::Any)?.iter().rev() {
            if wanted.is_empty() {
                break;
            }
            let sequence = match self.read(path) {
                Err(error) if error.is_damage() && is_done(path) => {
                    self.warn(path, &error);
                    break;
                }
                other => other?,
            };
            let Some(sequence) = sequence else { continue };
            let Plan { service, sequence: name, .. } = sequence.plan();
            if wanted.remove(service) {
                let disowned = disowned::read(&*self.disk, &self.folder, service, name);
                let disowned = disowned.map_err(|source| io_error(&self.folder, source))?;
                newest.insert(service.clone(), Past { sequence, disowned });
            }
        }
        Ok(newest)
    }

    /// Where the newest sequence of each of these services left the host out; those with nothing left out are missing.
    ///
    /// # Errors
    /// As [`Journals::newest`].
    pub fn left_out<'s>(
        &self,
        services: impl Iterator<Item = &'s Service>,
    ) -> Result<BTreeMap<Service, Balancers>, StoreError> {
        Ok(left_out(&self.newest(services)?))
    }

    /// Writes down that of the host's being out at these balancers nothing is Stagger's doing any more, whatever the newest sequence
    /// of the service did: somebody put it in there, or took it out for reasons of their own. To be called with the host's lock.
    ///
    /// Nothing, when that sequence is not over: it knows better what it did.
    ///
    /// # Errors
    /// As [`Journals::newest`]; or it cannot be written.
    pub fn disown(&self, service: &Service, is_theirs: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let newest = self.newest([service].into_iter())?;
        let Some(past) = newest.get(service).filter(|past| past.sequence.is_settled()) else { return Ok(()) };
        let balancers: BTreeSet<String> = past.left_out().into_keys().filter(|name| is_theirs(name)).collect();
        if balancers.is_empty() {
            return Ok(());
        }
        let name = past.sequence.plan().sequence.clone();
        let added = disowned::add(&*self.disk, &self.folder, service, name, balancers);
        added.map_err(|source| io_error(&self.folder, source))
    }

    /// The highest fencing token that these journals tell of, by pool. Damaged ones tell nothing.
    ///
    /// # Errors
    /// A journal cannot be read.
    pub fn highest_tokens(&self) -> Result<BTreeMap<Pool, Token>, StoreError> {
        let mut highest = BTreeMap::new();
        for path in self.files(State::Any)? {
            let bytes = self.disk.read(&path).map_err(|source| io_error(&path, source))?;
            let records = match parse(&path, &bytes) {
                Ok((records, _)) => records,
                Err(damage) => {
                    self.warn(&path, &damage.into());
                    continue;
                }
            };
            for record in &records {
                let Record::Granted { tokens, .. } = record else { continue };
                for (pool, token) in tokens {
                    let known = highest.entry(pool.clone()).or_insert(0);
                    *known = (*token).max(*known);
                }
            }
        }
        Ok(highest)
    }

    /// Of a closed one that is damaged nothing is known.
    fn known(&self, path: &Path) -> Result<Option<Sequence>, StoreError> {
        match self.read(path) {
            Err(error) if error.is_damage() => {
                self.warn(path, &error);
                Ok(None)
            }
            other => other,
        }
    }

    /// Says it once in a run.
    fn warn(&self, path: &Path, error: &StoreError) {
        let is_new = self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
        if is_new {
            tracing::warn!(%error, "nothing is known of what this journal tells");
        }
    }

    fn read(&self, path: &Path) -> Result<Option<Sequence>, StoreError> {
        let bytes = self.disk.read(path).map_err(|source| io_error(path, source))?;
        let (records, _) = parse(path, &bytes)?;
        Sequence::replay(&records).map_err(|source| StoreError::Illegal { path: path.display().to_string(), source })
    }

    /// The journals in this state, oldest first.
    fn files(&self, state: State) -> Result<Vec<PathBuf>, StoreError> {
        let mut names = self.disk.list(&self.folder).map_err(|source| io_error(&self.folder, source))?;
        names.retain(|name| match state {
            State::Any => name.ends_with(ENDING),
            State::Done => name.ends_with(DONE),
            State::Open => name.ends_with(ENDING) && !name.ends_with(DONE),
        });
        names.sort();
        Ok(names.into_iter().map(|name| self.folder.join(name)).collect())
    }
}

/// Where these left the host out.
pub(crate) fn left_out(newest: &BTreeMap<Service, Past>) -> BTreeMap<Service, Balancers> {
    let left_out = newest.iter().map(|(service, past)| (service.clone(), past.left_out()));
    left_out.filter(|(_, left)| !left.is_empty()).collect()
}

/// What these left in doubt.
pub(crate) fn doubts(newest: &BTreeMap<Service, Past>) -> BTreeMap<Service, Doubt> {
    newest.iter().filter_map(|(service, past)| Some((service.clone(), past.doubt()?.clone()))).collect()
}

/// Which journals.
#[derive(Debug, Clone, Copy)]
enum State {
    Open,
    Done,
    Any,
}

fn is_done(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(DONE))
}

fn io_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { path: path.display().to_string(), source }
}
