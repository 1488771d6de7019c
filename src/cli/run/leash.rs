//! The leash between `run` and the guard of its command: a pair of sockets, one of them the guard's standard input.
//!
//! `run` tells how long the command may live at most, in milliseconds of `CLOCK_BOOTTIME`: at first together with its own
//! standard input, which is the command's. The guard tells the command's process id, and then, when the command has ended
//! and something that it started has not, its exit code. An end that is closed says that its process is gone. Never waits for
//! a slow reader: a message that does not fit is dropped, and the guard is then merely stricter.

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, send, sendmsg,
};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as Blocking;
use std::time::Duration;
use tokio::net::UnixStream;

/// A message in either direction, in bytes. So small a one is written whole or not at all.
const MESSAGE_BYTES: usize = 8;

/// One end.
#[derive(Debug)]
pub(super) struct Leash(UnixStream);

impl Leash {
    /// `run`'s end, and the guard's, which becomes its standard input.
    ///
    /// # Errors
    /// The system has no socket left.
    pub(super) fn pair() -> io::Result<(Blocking, OwnedFd)> {
        let (ours, theirs) = Blocking::pair()?;
        Ok((ours, theirs.into()))
    }

    /// `run`: hands over its standard input, and how long the command may live.
    ///
    /// # Errors
    /// The guard is gone, and has started nothing.
    pub(super) fn hold(ours: Blocking, input: &impl AsFd, until: Duration) -> io::Result<Leash> {
        let rights = [input.as_fd()];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&rights));
        let message = number(until).to_le_bytes();
        let leash = Leash::from_blocking(ours)?;
        sendmsg(&leash.0, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(leash)
    }

    /// The guard: waits for what `run` hands over: the command's standard input, and how long it may live.
    ///
    /// # Errors
    /// `run` is gone, or this is no leash.
    pub(super) fn take(ours: Blocking) -> io::Result<(Leash, OwnedFd, Duration)> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut message = [0; MESSAGE_BYTES];
        let received =
            recvmsg(&ours, &mut [IoSliceMut::new(&mut message)], &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
        let rights = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
            _ => None,
        });
        match rights {
            Some(input) if received == MESSAGE_BYTES => {
                Ok((Leash::from_blocking(ours)?, input, Duration::from_millis(u64::from_le_bytes(message))))
            }
            _ => Err(io::Error::other("the program that wanted this command is gone")),
        }
    }

    fn from_blocking(ours: Blocking) -> io::Result<Leash> {
        ours.set_nonblocking(true)?;
        UnixStream::from_std(ours).map(Leash)
    }

    /// `run`: how long the command may live now.
    pub(super) fn until(&self, at: Duration) {
        self.tell(number(at));
    }

    /// The guard: a process id, or an exit code.
    pub(super) fn tell(&self, value: u64) {
        // Whoever is gone is known to be gone by its end; whoever is slow has what was told before.
        // Not by the runtime, which would not dare before it has seen once that there is room.
        let _not_told = send(&self.0, &value.to_le_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    }

    /// What the other end tells next; nothing when it is gone. Dropping the future loses nothing.
    pub(super) async fn next(&self) -> Option<u64> {
        let mut message = [0; MESSAGE_BYTES];
        loop {
            self.0.readable().await.ok()?;
            match self.0.try_read(&mut message) {
                Ok(MESSAGE_BYTES) => return Some(u64::from_le_bytes(message)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => return None,
            }
        }
    }
}

fn number(at: Duration) -> u64 {
    model::time::millis(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[tokio::test]
    async fn standard_input_and_time_go_one_way_and_what_became_of_it_the_other() {
        let (ours, theirs) = Leash::pair().expect("a pair");
        let (mut input, mut far) = Blocking::pair().expect("a pair");
        let held = Leash::hold(ours, &input, Duration::from_millis(7)).expect("handed over");
        let (taken, handed, until) = Leash::take(theirs.into()).expect("taken");
        assert_eq!(until, Duration::from_millis(7));
        far.write_all(b"typed").expect("written");
        let mut typed = [0; 5];
        Blocking::from(handed).read_exact(&mut typed).expect("the same input");
        assert_eq!(&typed, b"typed");
        input.shutdown(std::net::Shutdown::Both).expect("shut");
        assert_eq!(input.read(&mut typed).expect("the end"), 0);

        held.until(Duration::from_secs(9));
        held.until(Duration::from_secs(10));
        assert_eq!((taken.next().await, taken.next().await), (Some(9_000), Some(10_000)));
        taken.tell(4711);
        assert_eq!(held.next().await, Some(4711));
        drop(held);
        assert_eq!(taken.next().await, None);
    }

    #[tokio::test]
    async fn a_guard_whose_run_is_gone_takes_nothing() {
        let (ours, theirs) = Leash::pair().expect("a pair");
        drop(ours);
        let error = Leash::take(theirs.into()).expect_err("gone");
        assert!(error.to_string().contains("is gone"), "{error}");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_slow_reader() {
        let (ours, theirs) = Leash::pair().expect("a pair");
        let (input, _far) = Blocking::pair().expect("a pair");
        let held = Leash::hold(ours, &input, Duration::ZERO).expect("handed over");
        for second in 0..100_000 {
            held.until(Duration::from_secs(second));
        }
        let (taken, _, _) = Leash::take(theirs.into()).expect("taken");
        assert_eq!(taken.next().await, Some(0), "the oldest are there, whole");
    }
}
