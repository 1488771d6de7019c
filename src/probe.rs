//! Probes: questions to the outside, and what their answers mean.
//!
//! Owns asking ([`ask`]), with FastCGI ([`fastcgi`]) and the kernel's count of connections ([`connections`]), running commands
//! ([`exec`]), what was observed ([`observation`]) and whether a predicate holds
//! over it ([`holds`]); and the steps that are nothing but questions: [`check`], [`drain`], [`verify`]. No answer, or one
//! that cannot be read, is an error and never a yes or a no. Never decides what a step's outcome leads to. Called by the
//! balancers, the units and the worker. Everything here is cancelled by dropping its future.

pub mod ask;
pub mod check;
pub mod connections;
pub mod drain;
pub mod exec;
pub mod fastcgi;
pub mod holds;
mod in_flight;
pub mod observation;
pub mod pause;
pub mod verify;

pub use crate::config::{Predicate, Probe, Question};
pub use ask::{Client, ProbeError};
pub use connections::ConnectionsError;
pub use exec::{ExecError, ExecOptions, Exit};
pub use fastcgi::FastCgiError;
pub use holds::PredicateError;
pub use observation::{Connections, Observation};

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
