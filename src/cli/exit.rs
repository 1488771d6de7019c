//! The exit codes: every number that the program ends with, in one place.
//!
//! Scripts rely on them; they do not change. What maps an error to its code is [`super::failure`].

/// Done, or nothing to do.
pub(crate) const OK: u8 = 0;
/// The sequence failed and all is undone or kept out as designed; or a request was refused.
pub(crate) const FAILED: u8 = 1;
/// No lease: time-out, queue full, refused, or the coordinator cannot be reached.
pub(crate) const NO_LEASE: u8 = 2;
/// Stuck: a person is needed.
pub(crate) const STUCK: u8 = 4;
/// A rollout ended with failed hosts, or with some left; or it was halted, aborted or has expired.
pub(crate) const ROLLOUT_NOT_CLEAN: u8 = 5;
/// The command line is wrong: `EX_USAGE` of sysexits.h.
pub(crate) const USAGE: u8 = 64;
/// The configuration is wrong: `EX_CONFIG` of sysexits.h.
pub(crate) const CONFIGURATION: u8 = 78;
/// A command under `run` is there and cannot be started, as shells say it.
pub(crate) const CANNOT_START: u8 = 126;
/// A command under `run` is not there, as shells say it.
pub(crate) const NOT_FOUND: u8 = 127;
/// Ended by a signal, when its number is added: 130 is Ctrl-C, 143 is TERM. As shells say it.
pub(crate) const SIGNAL_BASE: u8 = 128;
/// Ctrl-C.
pub(crate) const INTERRUPTED: u8 = SIGNAL_BASE + 2;
/// TERM.
pub(crate) const TERMINATED: u8 = SIGNAL_BASE + 15;

/// The code of a program that was ended by this signal.
pub(crate) fn of_signal(signal: i32) -> u8 {
    u8::try_from(signal).ok().and_then(|signal| SIGNAL_BASE.checked_add(signal)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_told_as_shells_do() {
        assert_eq!([2, 9, 15, 127, 128, -1].map(of_signal), [130, 137, 143, 255, 255, 255]);
        assert_eq!((of_signal(2), of_signal(15)), (INTERRUPTED, TERMINATED));
    }
}
