//! Stagger.

pub mod config;

pub mod probe;

pub mod balancer;
pub mod unit;
