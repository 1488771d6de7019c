//! Who really runs, by the kernel's own locks on marker files: a lock lasts as long as any process that inherited it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Counts, until it is stopped, how many marker files are locked at once.
pub(crate) struct Observer {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(usize, usize)>,
}

fn is_locked(path: &Path) -> bool {
    let Ok(file) = std::fs::File::open(path) else { return false };
    // Shared, so that a look never stands in the way of anything but a look.
    matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock))
}

/// How many run now.
pub(crate) fn running(markers: &Path) -> usize {
    let entries = std::fs::read_dir(markers).into_iter().flatten().flatten();
    entries.filter(|entry| is_locked(&entry.path())).count()
}

impl Observer {
    /// Looks on until it is stopped; when so many run at once, it makes the file `full`.
    pub(crate) fn start(markers: PathBuf, full: PathBuf, enough: usize) -> Observer {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut peak, mut looks) = (0, 0);
            while !stopped.load(Ordering::Relaxed) {
                let now = running(&markers);
                if now >= enough && peak < enough {
                    std::fs::write(&full, "").expect("a file");
                }
                (peak, looks) = (peak.max(now), looks + 1);
                std::thread::yield_now();
            }
            (peak, looks)
        });
        Observer { stop, thread }
    }

    /// Most that ran at once, and how often it looked.
    pub(crate) fn finish(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the observer")
    }
}
