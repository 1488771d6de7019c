//! What a person sees while an act is under way: one live line, on a terminal only; what has no room on it stands below.
//!
//! Owns the line. Knows nothing but the balancer's counts and the words it is told.

use crate::cli::demo::balancer::Balancer;
use crate::cli::demo::summary::under;
use crate::cli::{out, render::text};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often the line is drawn again.
const REDRAW: Duration = Duration::from_millis(100);
/// What stands before the text: a sign that turns, and a space.
const SPINNER_WIDTH: usize = 2;

/// The live line. Gone when it is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    act: Arc<Mutex<String>>,
    redraw: JoinHandle<()>,
}

impl Progress {
    /// Starts the line; without a terminal nothing is ever shown.
    pub(super) fn start(balancer: Balancer) -> Progress {
        let bar = ProgressBar::no_length().with_style(ProgressStyle::default_spinner());
        bar.set_draw_target(if out::is_watched() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        });
        let act = Arc::new(Mutex::new(String::new()));
        let redraw = tokio::spawn(redraw(bar.clone(), Arc::clone(&act), balancer));
        Progress { bar, act, redraw }
    }

    /// What is under way now.
    pub(super) fn tell(&self, act: &str) {
        act.clone_into(&mut self.act.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Prints something else without the line in its way.
    pub(super) fn aside<R>(&self, print: impl FnOnce() -> R) -> R {
        self.bar.suspend(print)
    }

    /// Takes the line away.
    pub(super) fn end(&self) {
        self.redraw.abort();
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

async fn redraw(bar: ProgressBar, act: Arc<Mutex<String>>, balancer: Balancer) {
    loop {
        let counts = balancer.counts();
        let act = act.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_out = format!("{} out, at most {}", counts.out, counts.peak_out);
        let requests = text::count(usize::try_from(counts.requests).unwrap_or(usize::MAX), "request");
        let said = format!("{is_out}; {requests}, {} failed", counts.failed_requests);
        let width = out::width(&std::io::stderr()).map(|width| width.saturating_sub(SPINNER_WIDTH));
        bar.set_message(
            under(&format!("{act}   "), &said, width).replace('\n', &format!("\n{}", " ".repeat(SPINNER_WIDTH))),
        );
        bar.tick();
        tokio::time::sleep(REDRAW).await;
    }
}
