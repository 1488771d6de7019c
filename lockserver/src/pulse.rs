//! Whether a lock server is alive: it decides, and what it decides comes to its disk.
//!
//! For whoever tells a service manager so, which starts it again when nobody does.

use crate::domain::Domain;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

/// By which others see that a lock server is alive. Cheap to clone; clones feel the same one.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<OnceLock<Weak<Domain>>>);

impl Pulse {
    /// Feels this domain from now on.
    pub(crate) fn feel(&self, domain: &Arc<Domain>) {
        let _only_once = self.0.set(Arc::downgrade(domain));
    }

    /// Whether it decides, and its committer has looked for something to write within such a time, as it does every 5 s at least.
    /// False when a disk hangs for longer, and when the store could not be written: nothing is granted any more then, and only a
    /// start anew changes that. True before it runs, and when it has ended in order.
    pub fn beats(&self, within: Duration) -> bool {
        self.0.get().and_then(Weak::upgrade).is_none_or(|domain| domain.beats(within))
    }
}
