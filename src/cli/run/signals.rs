//! The signals that reach `run`: those that a person or a service manager sends to the command through it.

use futures_util::FutureExt as _;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// INT, TERM, HUP, QUIT, USR1 and USR2, as they come.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    quit: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    /// Takes them over from now on.
    pub(super) fn listen() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next one. Dropping the future loses none.
    pub(super) async fn next(&mut self) -> rustix::process::Signal {
        use rustix::process::Signal as S;
        tokio::select! {
            _ = self.interrupt.recv() => S::INT,
            _ = self.terminate.recv() => S::TERM,
            _ = self.hangup.recv() => S::HUP,
            _ = self.quit.recv() => S::QUIT,
            _ = self.user1.recv() => S::USR1,
            _ = self.user2.recv() => S::USR2,
        }
    }

    /// Forgets those that came and were not looked at.
    pub(super) fn forget(&mut self) {
        while self.next().now_or_never().is_some() {}
    }

    /// The next one that ends a wait: not USR1 or USR2, which only the command would know what to do with.
    pub(super) async fn next_end(&mut self) -> rustix::process::Signal {
        use rustix::process::Signal as S;
        loop {
            let next = self.next().await;
            if next != S::USR1 && next != S::USR2 {
                return next;
            }
        }
    }
}
