//! The model, driven from outside: rule by rule, and at random with every invariant checked after every step.

mod borders;
mod bounds;
mod checked;
mod confirmed;
mod defaults;
mod due;
mod kept;
mod leases;
mod passage;
mod pauses;
mod queue;
mod random;
mod readings;
mod restarts;
mod rollouts;
mod told;
mod watchdogs;
mod whereabouts;
mod wire;
mod world;
