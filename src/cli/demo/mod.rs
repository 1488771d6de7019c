//! scratch
mod balancer;
mod http;
mod load;
mod observer;
pub mod restart;
pub mod service;
mod supervisor;
