//! The model, driven from outside: rule by rule, and at random with every invariant checked after every step.

mod borders;
mod bounds;
mod confirmed;
mod kept;
mod leases;
mod pauses;
mod random;
mod readings;
mod restarts;
mod rollouts;
mod watchdogs;
mod whereabouts;
mod wire;
mod world;
