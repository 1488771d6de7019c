//! What people see: pure functions from what was read to text.
//!
//! Nothing here prints, reads a clock or knows a terminal; [`super::out`] breaks lines that a terminal is too narrow for and
//! colours the signs. Called by the commands, one function for each thing they show.

pub(crate) mod doctor;
pub(crate) mod follow;
pub(crate) mod history;
pub(crate) mod leases;
pub(crate) mod members;
pub(crate) mod pools;
pub(crate) mod restart;
pub(crate) mod rollouts;
pub(crate) mod summary;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod why;

#[cfg(test)]
pub(crate) mod samples;
