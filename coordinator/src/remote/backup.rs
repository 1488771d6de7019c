//! A backup as it comes. What it says is not read here: whoever keeps it looks whether it is whole.

use super::connections::chain;
use crate::error::{Error, Result};
use reqwest::Response;
use std::time::Duration;

/// How long a backup may be silent: a part of it is sent as soon as there is one.
pub const BACKUP_WAIT: Duration = Duration::from_secs(60);

/// A backup as it comes; see [`Remote::backup`](super::Remote::backup).
#[derive(Debug)]
pub struct Backup(Response);

impl Backup {
    pub(super) fn of(response: Response) -> Backup {
        Backup(response)
    }

    /// The next part of it; none at its end.
    ///
    /// # Errors
    /// It ended too early, or fell silent: take another one.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let over = |why: String| Error::Unknown { why };
        let part = tokio::time::timeout(BACKUP_WAIT, self.0.chunk()).await;
        let part = part.map_err(|_| over("the backup fell silent".to_owned()))?;
        Ok(part.map_err(|cause| over(chain(&cause)))?.map(|part| part.to_vec()))
    }
}
