//! The clock that ownership is measured with: it goes on while the machine sleeps, and nobody can set it.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Time since the machine started, its sleep included (`CLOCK_BOOTTIME`).
pub(super) fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
