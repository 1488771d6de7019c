//! Visitors: so many at once, each asking one thing after the other, one in twenty of them for something that takes two seconds. They
//! count every answer that is not as it should be, and how many asked while a host was out.

use super::front::Front;
use crate::support::http::http;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How many there are at once.
const VISITORS: usize = 110;
/// One request in so many takes long, and for how long, in milliseconds.
const SLOW_EVERY: usize = 20;
const SLOW_MS: u32 = 2_000;
/// How long a visitor waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of the visits.
#[derive(Debug, Default)]
pub(super) struct Visits {
    asked: AtomicUsize,
    answered: AtomicUsize,
    while_out: AtomicUsize,
    slow: AtomicUsize,
    failures: Mutex<Vec<String>>,
    peak_out: AtomicUsize,
    is_out: AtomicBool,
    is_over: AtomicBool,
}

/// The same, once nobody visits any more.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) answered: usize,
    pub(super) while_out: usize,
    pub(super) slow: usize,
    pub(super) failures: Vec<String>,
    /// How many hosts were out at once at most, as the front says.
    pub(super) peak_out: usize,
}

impl Visits {
    pub(super) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    pub(super) fn while_out(&self) -> usize {
        self.while_out.load(Ordering::Relaxed)
    }

    async fn one(&self, client: &reqwest::Client, url: &str) -> Result<(), String> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let is_slow = number.is_multiple_of(SLOW_EVERY);
        let url = if is_slow { format!("{url}?ms={SLOW_MS}") } else { url.to_owned() };
        let was_out = self.is_out.load(Ordering::Relaxed);
        let answer = client.get(&url).send().await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| format!("{error:?}"))?;
        if status != 200 || !text.starts_with("from ") {
            return Err(format!("{status}: {text}"));
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.while_out.fetch_add(usize::from(was_out), Ordering::Relaxed);
        self.slow.fetch_add(usize::from(is_slow), Ordering::Relaxed);
        Ok(())
    }
}

/// Has visitors come for as long as the work takes. They are all done when it returns.
pub(super) fn visited(front: &Front, work: impl FnOnce(&Visits)) -> Counted {
    let visits = Arc::new(Visits::default());
    let url = format!("http://{}/index.php", front.address());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    std::thread::scope(|scope| {
        let visitors = scope.spawn(|| {
            runtime.block_on(async {
                // Whatever fails is told, and tried by nobody a second time.
                let client = http().timeout(PATIENCE).build().expect("a client");
                let each = (0..VISITORS).map(|_| async {
                    while !visits.is_over.load(Ordering::Relaxed) {
                        if let Err(failure) = visits.one(&client, &url).await {
                            visits.failures.lock().expect("whole").push(failure);
                        }
                    }
                });
                futures_util::future::join_all(each).await;
            });
        });
        let witness = scope.spawn(|| {
            while !visits.is_over.load(Ordering::Relaxed) {
                if let Some(out) = front.out() {
                    visits.is_out.store(out > 0, Ordering::Relaxed);
                    visits.peak_out.fetch_max(out, Ordering::Relaxed);
                }
                crate::support::pause();
            }
        });
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&visits)));
        visits.is_over.store(true, Ordering::Relaxed);
        let _ended = (visitors.join().expect("the visitors"), witness.join().expect("the witness"));
        if let Err(panic) = worked {
            std::panic::resume_unwind(panic);
        }
    });
    Counted {
        answered: visits.answered(),
        while_out: visits.while_out(),
        slow: visits.slow.load(Ordering::Relaxed),
        failures: std::mem::take(&mut *visits.failures.lock().expect("whole")),
        peak_out: visits.peak_out.load(Ordering::Relaxed),
    }
}
