//! Probes: questions to the outside, and what their answers mean.
//!
//! Owns asking ([`ask`]), running commands ([`exec`]), what was observed ([`observation`]) and whether a predicate holds
//! over it ([`holds`]); and the steps that are nothing but questions: [`check`], [`drain`], [`verify`]. No answer, or one
//! that cannot be read, is an error and never a yes or a no. Never decides what a step's outcome leads to. Called by the
//! balancers, the units and the worker. Everything here is cancelled by dropping its future.

pub mod ask;
pub mod check;
pub mod drain;
pub mod exec;
pub mod holds;
mod in_flight;
pub mod observation;
pub mod pause;
pub mod verify;

pub use crate::config::{Predicate, Probe, Question};
pub use ask::{Client, ProbeError};
pub use exec::{ExecError, ExecOptions, Exit};
pub use holds::PredicateError;
pub use observation::Observation;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
