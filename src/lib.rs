//! Stagger.

pub mod config;

pub mod probe;

pub mod door;

pub mod balancer;
pub mod unit;

pub mod sequence;
pub mod telemetry;
pub mod worker;

pub mod cli;
