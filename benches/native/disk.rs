//! A file as redb writes to it, whose syncs may take longer than the disk's own, and are counted.

use redb::StorageBackend;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Slow {
    pub(crate) file: File,
    /// How much longer a sync takes.
    pub(crate) longer: Duration,
    pub(crate) syncs: Arc<AtomicU64>,
}

impl StorageBackend for Slow {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    #[expect(clippy::disallowed_methods, reason = "it is how long this disk takes")]
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        if !self.longer.is_zero() {
            std::thread::sleep(self.longer);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }
}
