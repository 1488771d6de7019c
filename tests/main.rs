//! The whole program from outside: real processes, watched by observers that never ask the lock server.

mod access;
mod architecture;
mod balancers;
mod conformance;
mod conftool;
mod contention;
mod crash;
mod demo;
mod docs;
mod fuzz;
mod keeping;
mod kills;
mod oneshot;
mod outages;
mod packaging;
mod php;
mod poolcounter;
mod questions;
mod site;
mod stores;
mod support;
mod systemd;
