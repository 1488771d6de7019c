//! The whole program from outside: real processes, watched by observers that never ask the lock server.

mod architecture;
mod conformance;
mod contention;
mod crash;
mod demo;
mod docs;
mod outages;
mod questions;
mod stores;
mod support;
mod systemd;
